// factors[o, q, i] = product of a[o, k, i] over the k of chunk q, counted from the end of the axis in reverse.

// include: shared/scan_chunks.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> a: array<F>;
@group(0) @binding(2) var<storage, read_write> factors: array<F>;

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
    var product = F(1.0);
    for (var k = chunk.first; k < chunk.end; k++) {
        product = product * a[place(chunk, k)];
    }
    factors[i] = product;
}
