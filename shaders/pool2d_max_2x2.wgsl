// 2-D max-pooling with 2x2 windows, stride 2 and no window that reaches beyond the image: the usual case, without loops.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias U = vec4<u32>;
alias B = vec4<bool>;

// include: shared/pool2d_sizes.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read_write> y: array<F>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

// include: shared/beats.wgsl

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
    let place = i / sizes.c;
    let ch = i - place * sizes.c;
    let row = place / sizes.ow;
    let ox = place - row * sizes.ow;
    let n = row / sizes.oh;
    let oy = row - n * sizes.oh;
    let top = ((n * sizes.h + 2u * oy) * sizes.w + 2u * ox) * sizes.c + ch;
    let bottom = top + sizes.w * sizes.c;
    var best = x[top];
    let v1 = x[top + sizes.c];
    best = select(best, v1, beats(v1, best));
    let v2 = x[bottom];
    best = select(best, v2, beats(v2, best));
    let v3 = x[bottom + sizes.c];
    best = select(best, v3, beats(v3, best));
    y[i] = finish(best, i);
}
