// Gradient of 2-D average pooling whose windows do not overlap (stride >= kernel): each input element is in one window or
// none. One invocation per input place and four channels.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias B = vec4<bool>;

struct Sizes {
    total: u32, // invocations
    h: u32,
    w: u32,
    c: u32, // channels, in units of F
    oh: u32,
    ow: u32,
    kh: u32,
    kw: u32,
    sh: u32, // stride
    sw: u32,
    pt: u32, // padding at the top and at the left
    pl: u32,
    h_end: u32, // height + padding at the bottom
    w_end: u32, // width + padding at the right
    include_pad: u32,
    part: u32, // places of a window, or windows of a place, that one invocation goes through
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> dy: array<F>;
@group(0) @binding(2) var<storage, read_write> dx: array<F>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

// How many places one dimension of window o contributes to the mean's divisor: those inside the padded image, or those
// inside the image.
fn extent(o: u32, stride: u32, pad: u32, kernel: u32, size: u32, padded_end: u32) -> u32 {
    let first = i32(o * stride) - i32(pad);
    let begin = select(max(first, 0), first, sizes.include_pad != 0u);
    let end = min(first + i32(kernel), i32(select(size, padded_end, sizes.include_pad != 0u)));
    return u32(max(end - begin, 1)); // 1: a window without elements has the sum 0
}

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
