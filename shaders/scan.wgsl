// y[o, a, i] = sum of x[o, b, i] over the b up to a (in reverse: from a on), each chunk from what the chunks up to the one before
// it add up to: starts[o, q, i], which this kernel makes of the sums of scan_totals.wgsl.

// include: shared/scan_chunks.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read> starts: array<F>;
@group(0) @binding(3) var<storage, read_write> y: array<F>;

// include: shared/long_sum.wgsl

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

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
    var start = F(0.0);
    if chunk.q > 0u {
        start = starts[i - sizes.inner];
    }
    var sum = LongSum();
    for (var k = chunk.first; k < chunk.end; k++) {
        let at = place(chunk, k);
        sum = plus(sum, x[at]);
        y[at] = finish(start + so_far(sum), at);
    }
}
