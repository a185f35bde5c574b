// out[window] = v[place of the first maximum of x in the window]: the adjoint of the max-pooling gradient, for gradients of
// gradients. A window that holds only padding gets 0.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;
alias U = vec4<u32>;
alias B = vec4<bool>;

// include: shared/pool2d_sizes.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read> v: array<F>;
@group(0) @binding(3) var<storage, read_write> out: array<F>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

// include: shared/beats.wgsl

// include: shared/pool2d_clip.wgsl

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
    let ys = clip(oy, sizes.sh, sizes.pt, sizes.kh, sizes.h);
    let xs = clip(ox, sizes.sw, sizes.pl, sizes.kw, sizes.w);
    let image = n * sizes.h * sizes.w;
    // Through a variable: a constant infinity is rejected.
    var negative_infinity = 0xff800000u;
    var best = F(bitcast<f32>(negative_infinity));
    // Reading v beside x is dearer than remembering the place, but needs no dynamic component access; this kernel is rare.
    var picked = F(0.0);
    // The places of the window as one line, of which this is a part; the host writes group.z where there are several.
    let part = 0u;
    let cols = select(0u, xs.y - xs.x, xs.x < xs.y);
    let from_place = part * sizes.part;
    let to_place = min(from_place + sizes.part, select(0u, (ys.y - ys.x) * cols, ys.x < ys.y));
    var iy = ys.x + from_place / max(cols, 1u);
    var ix = xs.x + from_place % max(cols, 1u);
    if from_place < to_place {
        picked = v[(image + iy * sizes.w + ix) * sizes.c + ch];
    }
    for (var q = from_place; q < to_place; q++) {
        let k = (image + iy * sizes.w + ix) * sizes.c + ch;
        let candidate = x[k];
        let wins = beats(candidate, best);
        best = select(best, candidate, wins);
        picked = select(picked, v[k], wins);
        ix += 1u;
        if ix == xs.y {
            ix = xs.x;
            iy += 1u;
        }
    }
    let to = part * sizes.total + i;
    out[to] = finish(picked, to);
}
