struct Sizes {
    total: u32, // workgroups
    row_tiles: u32,
    heads: u32,
    group: u32,
    queries: u32,
    keys: u32,
    depth: u32, // quads of a query or key
    width: u32, // quads of a value
    causal: u32,
    scale: u32, // bits
    has_bias: u32,
    bias_batch: u32,
    bias_head: u32,
    bias_query: u32,
    bias_key: u32,
    has_lengths: u32,
    first: u32, // where the rows of sums are stored
    logs: u32, // where the logarithms are, behind them
}

fn negative_infinity() -> f32 {
    var bits = 0xff800000u; // through a variable: a constant infinity is rejected
    return bitcast<f32>(bits);
}

fn quiet_nan() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

// Keys that a batch has.
fn length_of(batch: u32) -> u32 {
    // One return: after an early one FXC takes the value for one that invocations may differ in, and refuses the barriers behind it.
    var length = sizes.keys;
    if sizes.has_lengths != 0u {
        length = min(length, u32(max(lengths[batch], 0)));
    }
    return length;
}
