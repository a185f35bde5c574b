// dlogits = g[row] * (softmax(logits) - onehot(label)). A label that is no class makes the row NaN, and so do logits that
// have no softmax (NaN, +inf).

// include: shared/row_quads.wgsl
fn columns(j: u32) -> U { return U(4u * j) + U(0u, 1u, 2u, 3u); }

struct Sizes {
    rows: u32,
    cols: u32, // in units of F
    classes: u32, // columns
    g_stride: u32, // 0 where one upstream gradient serves all rows
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<F>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> g: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<F>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

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
    if wanted >= sizes.rows {
        return;
    }
    let label = labels[row];
    let upstream = g[row * sizes.g_stride];
    let broken = label >= sizes.classes || is_infinite(peak);
    let scale = 1.0 / sum;
    for (var j = lane; j < sizes.cols; j += TEAM) {
        let onehot = select(F(0.0), F(1.0), columns(j) == U(label));
        var v = upstream * (exp(logits[base + j] - F(peak)) * scale - onehot);
        if broken {
            v = F(quiet_nan());
        }
        dlogits[base + j] = finish(v, base + j);
    }
}
