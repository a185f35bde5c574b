// Input gradient of a convolution with few channels per group: one input pixel's channel per invocation, which gathers.
// `Value` becomes vec4<f32> for a depthwise convolution whose channels are a multiple of 4: channels are then independent of
// each other, and all channel counts are counts of quads.

override stride_y: u32 = 1u;
override stride_x: u32 = 1u;

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
}

alias Value = f32;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
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
    let pixel = divide(i, p.cin);
    let ci = i - pixel * p.cin;
    let channel_group = divide(ci, p.group_cin);
    let line = divide(pixel, p.w);
    let image = divide(line, p.h);
    let y = line - image * p.h + p.padding_y;
    let x = pixel - line * p.w + p.padding_x;
    let first_co = channel_group * p.group_cout;
    let group_ci = ci - channel_group * p.group_cin;
    var sum = Value();
    for (var ky = 0u; ky < p.kernel_h; ky++) {
        // Differences below zero wrap: they are then too large for an output coordinate.
        let ty = y - ky * p.dilation_y;
        let oy = ty / stride_y;
        var row_sum = Value();
        for (var kx = 0u; kx < p.kernel_w; kx++) {
            let tx = x - kx * p.dilation_x;
            let ox = tx / stride_x;
            if oy < p.oh && ox < p.ow && oy * stride_y == ty && ox * stride_x == tx {
                let at = ((image * p.oh + oy) * p.ow + ox) * p.cout + first_co;
                let weight = ((ky * p.kernel_w + kx) * p.group_cin + group_ci) * p.cout + first_co;
                var tap_sum = Value();
                for (var co = 0u; co < p.group_cout; co++) {
                    tap_sum += dy[at + co] * w[weight + co];
                }
                row_sum += tap_sum;
            }
        }
        sum += row_sum;
    }
    out[i] = epilogue(sum, i);
}
