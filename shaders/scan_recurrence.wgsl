// h[k] = a[k] h[k - 1] + b[k] in the order of the scan, from h[0] = b[0]; each chunk from what the one before it ends with:
// starts[o, q, i], which this kernel makes of scan_recurrence_factors.wgsl and scan_recurrence_ends.wgsl.

// include: shared/scan_chunks.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> a: array<F>;
@group(0) @binding(2) var<storage, read> b: array<F>;
@group(0) @binding(3) var<storage, read> starts: array<F>;
@group(0) @binding(4) var<storage, read_write> h: array<F>;

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
    var state = F(0.0);
    if chunk.q > 0u {
        state = starts[i - sizes.inner];
    }
    for (var k = chunk.first; k < chunk.end; k++) {
        let at = place(chunk, k);
        if k == 0u {
            state = b[at];
        } else {
            state = a[at] * state + b[at];
        }
        h[at] = finish(state, at);
    }
}
