// Softmax, or its logarithm, along the rows of a matrix. A row that holds a NaN or +inf, or only -inf, becomes NaN.

override LOG: bool = false;

// include: shared/row_quads.wgsl

struct Sizes {
    rows: u32,
    cols: u32, // in units of F
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<F>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

// include: shared/natural_log.wgsl

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
    let broken = is_infinite(peak);
    let log_sum = natural_log(sum);
    let scale = 1.0 / sum;
    for (var j = lane; j < sizes.cols; j += TEAM) {
        let shifted = logits[base + j] - F(peak);
        var v = shifted - F(log_sum);
        if !LOG {
            v = exp(shifted) * scale;
        }
        if broken {
            v = F(quiet_nan());
        }
        out[base + j] = finish(v, base + j);
    }
}
