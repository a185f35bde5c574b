// How many places one dimension of window o contributes to the mean's divisor: those inside the padded image, or those
// inside the image.
fn extent(o: u32, stride: u32, pad: u32, kernel: u32, size: u32, padded_end: u32) -> u32 {
    let first = i32(o * stride) - i32(pad);
    let begin = select(max(first, 0), first, sizes.include_pad != 0u);
    let end = min(first + i32(kernel), i32(select(size, padded_end, sizes.include_pad != 0u)));
    return u32(max(end - begin, 1)); // 1: a window without elements has the sum 0
}
