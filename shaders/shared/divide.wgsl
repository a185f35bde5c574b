// a / b, rounded down; exact for a below 2^31. lavapipe divides integers lane by lane, but floats all lanes at once.
fn divide(a: u32, b: u32) -> u32 {
    let divisor = f32(i32(b));
    var q = i32(f32(i32(a)) / divisor);
    q += i32(floor(f32(i32(a) - q * i32(b)) / divisor));
    let rest = i32(a) - q * i32(b);
    return u32(q - select(0, 1, rest < 0) + select(0, 1, rest >= i32(b)));
}
