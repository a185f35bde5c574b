// loss[row] = log(sum(exp(logits))) - logits[label], from logits and integer labels. A label that is no class makes the
// row's loss NaN, and so do logits that have no softmax (NaN, +inf).

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias U = vec4<u32>;
fn largest(v: F) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn total(v: F) -> f32 { return v.x + v.y + (v.z + v.w); }
fn component(v: F, k: u32) -> f32 { return v[k]; }
const WIDTH = 4u;

struct Sizes {
    rows: u32,
    cols: u32, // in units of F
    classes: u32, // columns
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<F>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

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

// Who works on a row: here one invocation. For long rows the host puts softmax_team_subgroup.wgsl or
// softmax_team_workgroup.wgsl in place of this block.
// team:
const GROUP = 64u; // invocations per workgroup
const TEAM = 1u; // of which so many share a row
fn team_max(v: f32, lane: u32) -> f32 { return v; }
fn team_sum(v: f32, lane: u32) -> f32 { return v; }
// end of team

fn is_infinite(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) == 0x7f800000u;
}

fn quiet_nan() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

// What a row comes down to. Of rows too long for a team softmax_parts.wgsl and softmax_combine.wgsl find it out, and the
// host puts their results in place of this block.
// statistics:
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
// end of statistics

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.y * groups.x + group.x) * GROUP + local;
    let wanted = index / TEAM;
    let lane = index % TEAM;
    // Those beyond the end repeat the last row and store nothing: all must reach the barriers of a reduction.
    let row = min(wanted, sizes.rows - 1u);
    let base = row * sizes.cols;

    let peak = row_max(base, lane);
    let sum = row_sum(base, lane, peak);
    if wanted >= sizes.rows || lane != 0u {
        return;
    }
    let label = labels[row];
    let read = min(label, sizes.classes - 1u);
    var v = natural_log(sum) - (component(logits[base + read / WIDTH], read % WIDTH) - peak);
    if label >= sizes.classes || is_infinite(peak) {
        v = quiet_nan();
    }
    loss[row] = epilogue(v, row);
}
