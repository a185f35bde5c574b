// First pass of a stable sort of the indices: sorts every block of 64 by counting, for each element, those before it.
// Pairs are (index, position in the list).

struct Sizes {
    total: u32, // indices
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> pairs: array<vec2<u32>>;

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
    let key = indices[i];
    let block = i & ~63u;
    let end = min(block + 64u, sizes.total);
    var rank = 0u;
    for (var j = block; j < end; j++) {
        let other = indices[j];
        rank += select(0u, 1u, other < key || (other == key && j < i));
    }
    pairs[block + rank] = vec2<u32>(key, i);
}
