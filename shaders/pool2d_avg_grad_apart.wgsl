// Gradient of 2-D average pooling whose windows do not overlap (stride >= kernel): each input element is in one window or
// none. One invocation per input place and four channels.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias B = vec4<bool>;

// include: shared/pool2d_sizes.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> dy: array<F>;
@group(0) @binding(2) var<storage, read_write> dx: array<F>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

// include: shared/pool2d_extent.wgsl

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
    let row = place / sizes.w;
    let ix = place - row * sizes.w;
    let n = row / sizes.h;
    let iy = row - n * sizes.h;
    // The only window that can contain the place, and how far into its stride the place is.
    let oy = (iy + sizes.pt) / sizes.sh;
    let ox = (ix + sizes.pl) / sizes.sw;
    let ky = iy + sizes.pt - oy * sizes.sh;
    let kx = ix + sizes.pl - ox * sizes.sw;
    let inside = oy < sizes.oh && ox < sizes.ow && ky < sizes.kh && kx < sizes.kw;
    let k = select(0u, ((n * sizes.oh + oy) * sizes.ow + ox) * sizes.c + ch, inside);
    let rows = extent(oy, sizes.sh, sizes.pt, sizes.kh, sizes.h, sizes.h_end);
    let cols = extent(ox, sizes.sw, sizes.pl, sizes.kw, sizes.w, sizes.w_end);
    dx[i] = finish(select(F(0.0), dy[k] / F(f32(rows) * f32(cols)), B(inside)), i);
}
