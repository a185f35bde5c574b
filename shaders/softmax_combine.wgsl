// Further passes over rows too long for a team: what parts of a row come down to together.

struct Sizes {
    total: u32, // invocations: rows * left
    parts: u32, // of a row
    left: u32, // parts of a row after this pass
}

// include: shared/row_stats.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> parts: array<Stats>;
@group(0) @binding(2) var<storage, read_write> stats: array<Stats>;

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
    let row = i / sizes.left;
    let base = row * sizes.parts;
    let first = i - row * sizes.left;

    var negative_infinity = 0xff800000u; // through a variable: a constant infinity is rejected
    var peak = bitcast<f32>(negative_infinity);
    for (var k = first; k < sizes.parts; k += sizes.left) {
        peak = max(peak, parts[base + k].peak);
    }
    var all = Stats(peak, 0.0, 0.0, 0.0);
    var k = first;
    while k < sizes.parts {
        let end = min(k + 16u * sizes.left, sizes.parts);
        var block = vec3<f32>();
        for (; k < end; k += sizes.left) {
            let part = parts[base + k];
            // Nothing but -inf: the sum is 0, and probabilities there cost the infinite distance to the peak.
            let empty = bitcast<u32>(part.peak) == 0xff800000u;
            let sum = select(part.sum * exp(part.peak - peak), 0.0, empty);
            let apart = select((peak - part.peak) * part.mass, 0.0, part.mass == 0.0);
            block += vec3<f32>(sum, part.mass, select(part.cross, 0.0, empty) + apart);
        }
        all.sum += block.x;
        all.mass += block.y;
        all.cross += block.z;
    }
    stats[i] = all;
}
