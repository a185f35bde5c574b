// Forward convolution with few channels per group, where a GEMM would have next to nothing to do: one output per invocation.
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
}

alias Value = f32;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read> w: array<Value>;
@group(0) @binding(3) var<storage, read_write> out: array<Value>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

// include: shared/divide.wgsl

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + local;
    if i >= p.count {
        return;
    }
    let pixel = divide(i, p.cout);
    let co = i - pixel * p.cout;
    let first_ci = divide(co, p.group_cout) * p.group_cin;
    let line = divide(pixel, p.ow);
    let image = divide(line, p.oh);
    // Coordinates above or left of the image wrap below zero; an unsigned comparison tells.
    let y0 = (line - image * p.oh) * p.stride_y - p.padding_y;
    let x0 = (pixel - line * p.ow) * p.stride_x - p.padding_x;
    var sum = Value();
    for (var ky = 0u; ky < p.kernel_h; ky++) {
        let iy = y0 + ky * p.dilation_y;
        var row_sum = Value();
        for (var kx = 0u; kx < p.kernel_w; kx++) {
            let ix = x0 + kx * p.dilation_x;
            if iy < p.h && ix < p.w {
                let at = ((image * p.h + iy) * p.w + ix) * p.cin + first_ci;
                let weight = (ky * p.kernel_w + kx) * p.group_cin * p.cout + co;
                var tap_sum = Value();
                for (var ci = 0u; ci < p.group_cin; ci++) {
                    tap_sum += x[at + ci] * w[weight + ci * p.cout];
                }
                row_sum += tap_sum;
            }
        }
        sum += row_sum;
    }
    out[i] = epilogue(sum, i);
}
