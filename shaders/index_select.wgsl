// out[o, j, i] = x[o, indices[j], i], in 4-byte words of any type. An index beyond the axis gives 0.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias U = vec4<u32>;

struct Sizes {
    total: u32, // invocations
    axis: u32,
    inner: u32, // in units of U
    count: u32, // indices
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<U>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<U>;

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
    let o = line / sizes.count;
    let index = indices[line - o * sizes.count];
    var v = U(0u);
    if index < sizes.axis {
        v = x[(o * sizes.axis + index) * sizes.inner + column];
    }
    out[i] = v;
}
