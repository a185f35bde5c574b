// last[a] = one more than the last position at which index a stands in the list, 0 where at none: the last of its run among the
// sorted indices.

struct Sizes {
    total: u32, // axis
    count: u32, // pairs
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> last: array<u32>;

// include: shared/sorted_below.wgsl

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
    let end = below(i + 1u);
    var found = 0u;
    if end > 0u {
        let pair = pairs[end - 1u];
        found = select(0u, pair.y + 1u, pair.x == i);
    }
    last[i] = found;
}
