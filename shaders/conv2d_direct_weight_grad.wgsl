// Weight gradient of a convolution with few channels per group: one weight and one part of the output lines per invocation.
// Where there are several parts, gemm_reduce.wgsl adds them.
// `Value` becomes vec4<f32> for a depthwise convolution whose channels are a multiple of 4: channels are then independent of
// each other, and all channel counts are counts of quads.

struct Params {
    // Elements (or quads) of the output.
    count: u32,
    h: u32,
    w: u32,
    cin: u32,
    cout: u32,
    oh: u32,
    ow: u32,
    group_cin: u32,
    group_cout: u32,
    kernel_h: u32,
    kernel_w: u32,
    padding_y: u32,
    padding_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    stride_y: u32,
    stride_x: u32,
    // Output lines of all images together, those of a part, and parts.
    lines: u32,
    chunk: u32,
    parts: u32,
}

alias Value = f32;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read_write> out: array<Value>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

// include: shared/divide.wgsl

// Terms that are added one after the other.
const BLOCK = 32u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + local;
    let part = divide(i, p.count);
    if part >= p.parts {
        return;
    }
    let element = i - part * p.count;
    let filter_row = divide(element, p.cout);
    let co = element - filter_row * p.cout;
    let tap = divide(filter_row, p.group_cin);
    let ci = filter_row - tap * p.group_cin + divide(co, p.group_cout) * p.group_cin;
    let ky = divide(tap, p.kernel_w);
    // Coordinates above or left of the image wrap below zero; an unsigned comparison tells.
    let y0 = ky * p.dilation_y - p.padding_y;
    let x0 = (tap - ky * p.kernel_w) * p.dilation_x - p.padding_x;
    // Sums of short sums: rounding errors then don't grow with the number of pixels.
    var sum = Value();
    let last = min((part + 1u) * p.chunk, p.lines);
    for (var block = part * p.chunk; block < last; block += BLOCK) {
        var block_sum = Value();
        for (var line = block; line < min(block + BLOCK, last); line++) {
            let image = divide(line, p.oh);
            let iy = y0 + (line - image * p.oh) * p.stride_y;
            if iy < p.h {
                let at = (image * p.h + iy) * p.w;
                var line_sum = Value();
                for (var piece = 0u; piece < p.ow; piece += BLOCK) {
                    var piece_sum = Value();
                    for (var ox = piece; ox < min(piece + BLOCK, p.ow); ox++) {
                        let ix = x0 + ox * p.stride_x;
                        if ix < p.w {
                            piece_sum += x[(at + ix) * p.cin + ci] * dy[(line * p.ow + ox) * p.cout + co];
                        }
                    }
                    line_sum += piece_sum;
                }
                block_sum += line_sum;
            }
        }
        sum += block_sum;
    }
    out[i] = epilogue(sum, i);
}
