// sums[o, q, i] = sum of dy over chunk q of the sorted indices, where the whole chunk is one index: what keeps the loops of
// index_add.wgsl short when an index comes very often.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;

struct Sizes {
    total: u32, // invocations
    axis: u32,
    inner: u32, // in units of F
    count: u32, // indices
    chunks: u32, // complete chunks
    chunk: u32, // sorted indices per chunk: a power of two
    shift: u32, // its logarithm
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> dy: array<F>;
@group(0) @binding(2) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<F>;

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
    let q = line % sizes.chunks;
    let o = line / sizes.chunks;
    let begin = q * sizes.chunk;
    let end = begin + sizes.chunk;
    if pairs[begin].x != pairs[end - 1u].x {
        return; // nobody reads it
    }
    // By blocks of blocks: the rounding errors of long sums of equal terms add up.
    var sum = F();
    var j = begin;
    while j < end {
        let middle = min(j + 256u, end);
        var part = F();
        while j < middle {
            let last = min(j + 16u, middle);
            var block = F();
            for (; j < last; j++) {
                block += dy[(o * sizes.count + pairs[j].y) * sizes.inner + column];
            }
            part += block;
        }
        sum += part;
    }
    sums[i] = sum;
}
