// loss[row] = log(sum(exp(logits))) - logits[label], from logits and integer labels. A label that is no class makes the
// row's loss NaN, and so do logits that have no softmax (NaN, +inf).

// include: shared/row_quads.wgsl
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

// include: shared/natural_log.wgsl

// include: shared/row_team.wgsl

// What a row comes down to. Of rows too long for a team softmax_parts.wgsl and softmax_combine.wgsl find it out, and the
// host puts their results in place of this block.
// statistics:
// include: shared/row_max_and_sum.wgsl
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
