// Gradient of 2-D max-pooling with 2x2 windows, stride 2 and no window that reaches beyond the image: one invocation per
// 2x2 cell of the input and four channels. The odd row and column at the end, in no window, form cells of their own.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias U = vec4<u32>;
alias B = vec4<bool>;

// include: shared/pool2d_sizes.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read> dy: array<F>;
@group(0) @binding(3) var<storage, read_write> dx: array<F>;

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
    let cells_x = (sizes.w + 1u) / 2u;
    let cells_y = (sizes.h + 1u) / 2u;
    let place = i / sizes.c;
    let ch = i - place * sizes.c;
    let row = place / cells_x;
    let cx = place - row * cells_x;
    let n = row / cells_y;
    let cy = row - n * cells_y;
    let right = 2u * cx + 1u < sizes.w;
    let below = 2u * cy + 1u < sizes.h;
    let window = cx < sizes.ow && cy < sizes.oh;
    // A cell without a window reads its first element only, and dy at 0, and uses neither.
    let k0 = ((n * sizes.h + 2u * cy) * sizes.w + 2u * cx) * sizes.c + ch;
    let k1 = k0 + select(0u, sizes.c, right);
    let k2 = k0 + select(0u, sizes.w * sizes.c, below);
    let k3 = k2 + select(0u, sizes.c, right);
    var best = x[k0];
    let v1 = x[k1];
    let win1 = beats(v1, best);
    best = select(best, v1, win1);
    let v2 = x[k2];
    let win2 = beats(v2, best);
    best = select(best, v2, win2);
    let win3 = beats(x[k3], best);
    let source = select(0u, ((n * sizes.oh + cy) * sizes.ow + cx) * sizes.c + ch, window);
    let d = select(F(0.0), dy[source], B(window));
    dx[k0] = finish(select(d, F(0.0), win1 | win2 | win3), k0);
    if right {
        dx[k1] = finish(select(F(0.0), d, win1 & !win2 & !win3), k1);
    }
    if below {
        dx[k2] = finish(select(F(0.0), d, win2 & !win3), k2);
    }
    if right && below {
        dx[k3] = finish(select(F(0.0), d, win3), k3);
    }
}
