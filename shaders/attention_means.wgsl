// Of each query: the logarithm of its sum of exponentials, and the mean of what its weights' gradients are, which is the product of its
// output with the output's gradient.

struct Sizes {
    total: u32,
    width: u32,
    logs: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> results: array<f32>;
@group(0) @binding(2) var<storage, read> d_out: array<f32>;
@group(0) @binding(3) var<storage, read_write> means: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (group.y * groups.x + group.x) * 64u + local;
    if row >= sizes.total {
        return;
    }
    var sum = vec4<f32>();
    for (var c = 0u; c < sizes.width; c += 4u) {
        let i = row * sizes.width + c;
        sum.x += results[i] * d_out[i];
        sum.y += results[i + 1u] * d_out[i + 1u];
        sum.z += results[i + 2u] * d_out[i + 2u];
        sum.w += results[i + 3u] * d_out[i + 3u];
    }
    means[row] = vec2<f32>(results[sizes.logs + row], (sum.x + sum.y) + (sum.z + sum.w));
}
