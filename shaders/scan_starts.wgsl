// starts[o, q, i] = sum of totals[o, p, i] over the chunks p before q.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;

struct Sizes {
    total: u32, // invocations
    axis: u32,
    inner: u32, // in units of F
    chunk: u32, // places along the axis that an invocation takes
    chunks: u32,
    reverse: u32, // 1: from the end of the axis
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> totals: array<F>;
@group(0) @binding(2) var<storage, read_write> starts: array<F>;

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
    var sum = F(0.0);
    var part = F(0.0);
    var block = F(0.0);
    var terms = 0u;
    for (var q = 0u; q < sizes.chunks; q++) {
        let at = (o * sizes.chunks + q) * sizes.inner + column;
        starts[at] = sum + (part + block);
        block += totals[at];
        // Sums of sixteen and of sixteen times sixteen: the rounding errors of long sums of equal terms add up.
        terms += 1u;
        if terms % 16u == 0u {
            part += block;
            block = F(0.0);
        }
        if terms % 256u == 0u {
            sum += part;
            part = F(0.0);
        }
    }
}
