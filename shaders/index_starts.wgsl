// starts[a] = how many of the sorted indices are below a, for a = 0 to axis: the run of index a is starts[a] .. starts[a + 1].

struct Sizes {
    total: u32, // axis + 1
    count: u32, // pairs
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> starts: array<u32>;

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
    starts[i] = below(i);
}
