// loss[row] = -sum(probs * log_softmax(logits)), for targets that are distributions. Logits that have no softmax (NaN,
// +inf) make the row's loss NaN.

// include: shared/row_quads.wgsl

struct Sizes {
    rows: u32,
    cols: u32, // in units of F
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<F>;
@group(0) @binding(2) var<storage, read> probs: array<F>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

// include: shared/natural_log.wgsl

// include: shared/row_team.wgsl

// What a row comes down to. Of rows too long for a team softmax_parts.wgsl and softmax_combine.wgsl find it out, and the
// host puts their results in place of this block.
// statistics:
// include: shared/row_max_and_sum.wgsl

// sum of p * (log(sum) - (logit - peak)): every term is at least 0, so nothing cancels.
fn row_loss(base: u32, lane: u32, peak: f32, log_sum: f32) -> f32 {
    var sum = F(0.0);
    var j = lane;
    while j < sizes.cols {
        let end = min(j + 16u * TEAM, sizes.cols);
        var block = F(0.0);
        for (; j < end; j += TEAM) {
            let p = probs[base + j];
            let x = logits[base + j];
            // What is impossible and not expected either counts for nothing, where 0 times infinity would be NaN.
            let nothing = (bitcast<U>(x) == U(0xff800000u)) & ((bitcast<U>(p) & U(0x7fffffffu)) == U(0u));
            block += select(p * (F(log_sum) - (x - F(peak))), F(0.0), nothing);
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
    var v = row_loss(base, lane, peak, natural_log(sum));
    if wanted >= sizes.rows || lane != 0u {
        return;
    }
    if is_infinite(peak) {
        v = quiet_nan();
    }
    loss[row] = epilogue(v, row);
}
