// log(x) of a normal number, to its last digits: WGSL leaves its own to the driver, and lavapipe's is 2.5e-4 off near 1.
fn natural_log(x: f32) -> f32 {
    let bits = bitcast<i32>(x);
    let k = (bits - 0x3f3504f3) >> 23u;
    let f = bitcast<f32>(bits - (k << 23u)) - 1.0;
    let z = f * f;
    let p = 0.333333313 + f * (-0.24999997 + f * (0.200007156 + f * (-0.166678026 + f * (0.142490581 + f * (-0.124256872
        + f * (0.116854198 + f * (-0.114797339 + f * 0.0697161183)))))));
    return (((f * z) * p - f32(k) * 2.1219444e-4 - z * 0.5) + f) + f32(k) * 0.693359375;
}
