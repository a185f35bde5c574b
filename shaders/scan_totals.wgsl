// totals[o, q, i] = sum of x[o, b, i] over the b of chunk q, counted from the end of the axis in reverse.

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
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read_write> totals: array<F>;

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
    let q = line - o * sizes.chunks;
    var sum = F(0.0);
    var part = F(0.0);
    var block = F(0.0);
    var terms = 0u;
    let end = min((q + 1u) * sizes.chunk, sizes.axis);
    for (var k = q * sizes.chunk; k < end; k++) {
        let a = select(k, sizes.axis - 1u - k, sizes.reverse == 1u);
        block += x[(o * sizes.axis + a) * sizes.inner + column];
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
    totals[i] = sum + (part + block);
}
