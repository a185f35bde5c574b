// First pass over rows too long for a team: what each part of a row comes down to. The parts of a row interleave, so that
// neighbouring invocations read neighbouring elements.

// Whether there are probabilities, beside the logits.
override PROBS: bool = false;

// include: shared/row_quads.wgsl

struct Sizes {
    total: u32, // invocations: rows * parts
    cols: u32, // in units of F
    parts: u32, // of a row
}

// include: shared/row_stats.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> logits: array<F>;
@group(0) @binding(2) var<storage, read> probs: array<F>;
@group(0) @binding(3) var<storage, read_write> stats: array<Stats>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + local;
    if i >= sizes.total {
        return;
    }
    let row = i / sizes.parts;
    let base = row * sizes.cols;
    let first = i - row * sizes.parts;

    var negative_infinity = 0xff800000u; // through a variable: a constant infinity is rejected
    var top = F(bitcast<f32>(negative_infinity));
    var magnitude = U(0u);
    for (var j = first; j < sizes.cols; j += sizes.parts) {
        let v = logits[base + j];
        top = max(top, v);
        magnitude = max(magnitude, bitcast<U>(v) & U(0x7fffffffu));
    }
    var infinity = 0x7f800000u;
    let peak = select(largest(top), bitcast<f32>(infinity), any(magnitude > U(0x7f800000u)));

    var sum = F(0.0);
    var mass = F(0.0);
    var cross = F(0.0);
    var j = first;
    while j < sizes.cols {
        // By blocks: the rounding errors of long sums of equal terms add up.
        let end = min(j + 16u * sizes.parts, sizes.cols);
        var block = F(0.0);
        var block_mass = F(0.0);
        var block_cross = F(0.0);
        for (; j < end; j += sizes.parts) {
            let shifted = logits[base + j] - F(peak);
            block += exp(shifted);
            if PROBS {
                let p = probs[base + j];
                block_mass += p;
                block_cross -= select(p * shifted, F(0.0), p == F(0.0));
            }
        }
        sum += block;
        mass += block_mass;
        cross += block_cross;
    }
    stats[i] = Stats(peak, total(sum), total(mass), total(cross));
}
