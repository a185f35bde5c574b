// First pass of an argmax along a long axis: the first maximum within each chunk of the axis, as (value's bits, place).
// The minimum is the maximum of the values with their signs flipped.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias U = vec4<u32>;
alias B = vec4<bool>;

struct Sizes {
    total: u32, // invocations
    axis: u32,
    inner: u32, // in units of F
    chunk: u32, // places of the axis per invocation
    chunks: u32,
    flip: u32, // 0x80000000 for the minimum: the sign bit
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read_write> found: array<U>;

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
    let line = i / sizes.inner;
    let column = i - line * sizes.inner;
    let o = line / sizes.chunks;
    let begin = (line - o * sizes.chunks) * sizes.chunk;
    let end = min(begin + sizes.chunk, sizes.axis);
    let base = o * sizes.axis * sizes.inner + column;
    var best = bitcast<F>(bitcast<U>(x[base + begin * sizes.inner]) ^ U(sizes.flip));
    var best_at = U(begin);
    for (var a = begin + 1u; a < end; a++) {
        let v = bitcast<F>(bitcast<U>(x[base + a * sizes.inner]) ^ U(sizes.flip));
        let wins = beats(v, best);
        best = select(best, v, wins);
        best_at = select(best_at, U(a), wins);
    }
    found[2u * i] = bitcast<U>(best);
    found[2u * i + 1u] = best_at;
}
