// totals[o, q, i] = sum of x[o, b, i] over the b of chunk q, counted from the end of the axis in reverse.

// include: shared/scan_chunks.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read_write> totals: array<F>;

// include: shared/long_sum.wgsl

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
    let chunk = chunk_of(i);
    var sum = LongSum();
    for (var k = chunk.first; k < chunk.end; k++) {
        sum = plus(sum, x[place(chunk, k)]);
    }
    totals[i] = so_far(sum);
}
