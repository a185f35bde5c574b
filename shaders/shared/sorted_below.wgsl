// How many of the sorted pairs have an index below a.
fn below(a: u32) -> u32 {
    var low = 0u;
    var high = sizes.count;
    while low < high {
        let probe = (low + high) / 2u;
        if pairs[probe].x < a {
            low = probe + 1u;
        } else {
            high = probe;
        }
    }
    return low;
}
