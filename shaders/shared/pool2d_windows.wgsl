// The windows that contain input place p along one dimension: first and end.
fn windows(p: u32, stride: u32, pad: u32, kernel: u32, count: u32) -> vec2<u32> {
    let q = p + pad;
    return vec2<u32>(select(0u, (q - kernel) / stride + 1u, q >= kernel), min(q / stride + 1u, count));
}
