// Second pass of a split reduction: out[i] = sum over s of partial[s, i], in the order of s, so that the same problem
// gives the same bits every time.

struct Params {
    // Elements of the output.
    count: u32,
    splits: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + local;
    if i >= p.count {
        return;
    }
    var sum = partial[i];
    for (var s = 1u; s < p.splits; s++) {
        sum += partial[s * p.count + i];
    }
    out[i] = epilogue(sum, i);
}
