// First pass of a stable sort of rows: sorts every block of 64 places of a row by counting, for each element, those before it.
// Pairs are (key, place in the row).

struct Sizes {
    total: u32, // elements of all rows
    len: u32, // of a row
    float: u32,
    flip: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> elements: array<u32>;
@group(0) @binding(2) var<storage, read_write> pairs: array<vec2<u32>>;

// include: shared/sort_key.wgsl

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
    let key = key_of(elements[i]);
    let row = i / sizes.len;
    let place = i - row * sizes.len;
    let block = i - (place & 63u);
    let end = min(block + 64u, (row + 1u) * sizes.len);
    var rank = 0u;
    for (var j = block; j < end; j++) {
        let other = key_of(elements[j]);
        rank += select(0u, 1u, other < key || (other == key && j < i));
    }
    pairs[block + rank] = vec2<u32>(key, place);
}
