// Second pass of an argmax along a long axis: the first maximum among those of the chunks.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias U = vec4<u32>;
alias B = vec4<bool>;
alias I = vec4<i32>;

struct Sizes {
    total: u32, // invocations
    axis: u32,
    inner: u32, // in units of F
    chunk: u32, // places of the axis per invocation
    chunks: u32,
    flip: u32, // 0x80000000 for the minimum: the sign bit
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> found: array<U>;
@group(0) @binding(2) var<storage, read_write> out: array<I>;

// include: shared/beats.wgsl

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
    let o = i / sizes.inner;
    let column = i - o * sizes.inner;
    var k = 2u * (o * sizes.chunks * sizes.inner + column);
    var best = bitcast<F>(found[k]);
    var best_at = found[k + 1u];
    for (var q = 1u; q < sizes.chunks; q++) {
        k += 2u * sizes.inner;
        let v = bitcast<F>(found[k]);
        let wins = beats(v, best);
        best = select(best, v, wins);
        best_at = select(best_at, found[k + 1u], wins);
    }
// store:
    out[i] = I(best_at);
// end of store
}
