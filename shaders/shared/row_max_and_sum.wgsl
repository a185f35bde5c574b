// The row's maximum; infinite where the row has no softmax: +inf for a NaN or +inf in it, -inf where it holds nothing else.
fn row_max(base: u32, lane: u32) -> f32 {
    var negative_infinity = 0xff800000u; // through a variable: a constant infinity is rejected
    var top = F(bitcast<f32>(negative_infinity));
    var magnitude = U(0u);
    for (var j = lane; j < sizes.cols; j += TEAM) {
        let v = logits[base + j];
        top = max(top, v);
        magnitude = max(magnitude, bitcast<U>(v) & U(0x7fffffffu));
    }
    var infinity = 0x7f800000u;
    let found = any(magnitude > U(0x7f800000u));
    return team_max(select(largest(top), bitcast<f32>(infinity), found), lane);
}

// sum of exp(logit - peak)
fn row_sum(base: u32, lane: u32, peak: f32) -> f32 {
    var sum = F(0.0);
    var j = lane;
    while j < sizes.cols {
        // By blocks: the rounding errors of long sums of equal terms add up.
        let end = min(j + 16u * TEAM, sizes.cols);
        var block = F(0.0);
        for (; j < end; j += TEAM) {
            block += exp(logits[base + j] - F(peak));
        }
        sum += block;
    }
    return team_sum(total(sum), lane);
}
