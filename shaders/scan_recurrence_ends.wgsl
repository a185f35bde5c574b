// ends[o, q, i] = what a recurrence h[k] = a[k] h[k - 1] + b[k] ends with in chunk q, if it begins there.

// include: shared/scan_chunks.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> a: array<F>;
@group(0) @binding(2) var<storage, read> b: array<F>;
@group(0) @binding(3) var<storage, read_write> ends: array<F>;

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
    var state = b[place(chunk, chunk.first)];
    for (var k = chunk.first + 1u; k < chunk.end; k++) {
        let at = place(chunk, k);
        state = a[at] * state + b[at];
    }
    ends[i] = state;
}
