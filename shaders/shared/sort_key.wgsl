// A number that is below another where the element is: floats by their bits, with 0 for both zeros and the largest for NaN; of other
// types one bit is flipped at most. Then all are flipped where the largest come first.
fn key_of(bits: u32) -> u32 {
    var key = bits;
    if sizes.float != 0u {
        let magnitude = bits & 0x7fffffffu;
        key = select(bits ^ 0x80000000u, ~bits, (bits >> 31u) != 0u && magnitude != 0u);
        key = select(key, 0x80000000u, magnitude == 0u);
        key = select(key, 0xffffffffu, magnitude > 0x7f800000u);
    }
    return key ^ sizes.flip;
}
