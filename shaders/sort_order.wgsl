// order[row, a] = the place of the a-th of a sorted row, for the first of each row.

struct Sizes {
    total: u32, // places that are kept of all rows
    len: u32, // of a row
    kept: u32, // of a row
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> order: array<u32>;

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
    let row = i / sizes.kept;
    order[i] = pairs[row * sizes.len + (i - row * sizes.kept)].y;
}
