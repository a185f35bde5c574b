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

// Terms that are added one after the other: sums of sums round less than one long sum.
const BLOCK = 32u;

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
    var sum = f32();
    for (var band = 0u; band < p.splits; band += BLOCK * BLOCK) {
        var band_sum = f32();
        for (var block = band; block < min(band + BLOCK * BLOCK, p.splits); block += BLOCK) {
            var block_sum = f32();
            for (var s = block; s < min(block + BLOCK, p.splits); s++) {
                block_sum += partial[s * p.count + i];
            }
            band_sum += block_sum;
        }
        sum += band_sum;
    }
    out[i] = epilogue(sum, i);
}
