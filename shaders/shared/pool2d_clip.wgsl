// The part of a window that lies in the image: first and end along one dimension.
fn clip(o: u32, stride: u32, pad: u32, kernel: u32, size: u32) -> vec2<u32> {
    let first = i32(o * stride) - i32(pad);
    return vec2<u32>(u32(max(first, 0)), u32(clamp(first + i32(kernel), 0, i32(size))));
}
