// found[row, i] = how many elements of a sorted row are below a value, or not above it.

struct Sizes {
    total: u32, // values of all rows
    count: u32, // values of a row: all, where there is one sorted row
    len: u32, // of a sorted row
    right: u32, // equal ones count
    float: u32,
    flip: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> sorted: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> found: array<u32>;

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
    let key = key_of(values[i]);
    let row = (i / sizes.count) * sizes.len;
    var low = 0u;
    var high = sizes.len;
    while low < high {
        let probe = (low + high) / 2u;
        let other = key_of(sorted[row + probe]);
        if other < key || (sizes.right != 0u && other == key) {
            low = probe + 1u;
        } else {
            high = probe;
        }
    }
    found[i] = low;
}
