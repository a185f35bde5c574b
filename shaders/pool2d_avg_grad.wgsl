// Gradient of 2-D average pooling as a gather: each input element adds up dy / divisor of the windows that contain it.
// One invocation per input place and four channels.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;

// include: shared/pool2d_sizes.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> dy: array<F>;
@group(0) @binding(2) var<storage, read_write> dx: array<F>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

// include: shared/pool2d_windows.wgsl

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
    let ys = windows(iy, sizes.sh, sizes.pt, sizes.kh, sizes.oh);
    let xs = windows(ix, sizes.sw, sizes.pl, sizes.kw, sizes.ow);
    // The windows that contain the place as one line, of which this is a part; the host writes group.z where there are several.
    let part = 0u;
    let cols = select(0u, xs.y - xs.x, xs.x < xs.y);
    let from_place = part * sizes.part;
    let to_place = min(from_place + sizes.part, select(0u, (ys.y - ys.x) * cols, ys.x < ys.y));
    var oy = ys.x + from_place / max(cols, 1u);
    var ox = xs.x + from_place % max(cols, 1u);
    // By blocks of sixteen, and by sixteen of them: the rounding errors of long sums of equal terms add up.
    var sum = F(0.0);
    var blocks = F(0.0);
    var q = from_place;
    while q < to_place {
        let end = min(q + 16u, to_place);
        var block = F(0.0);
        for (; q < end; q++) {
            let rows = f32(extent(oy, sizes.sh, sizes.pt, sizes.kh, sizes.h, sizes.h_end));
            let columns = f32(extent(ox, sizes.sw, sizes.pl, sizes.kw, sizes.w, sizes.w_end));
            block += dy[((n * sizes.oh + oy) * sizes.ow + ox) * sizes.c + ch] / F(rows * columns);
            ox += 1u;
            if ox == xs.y {
                ox = xs.x;
                oy += 1u;
            }
        }
        blocks += block;
        if q % 256u == 0u {
            sum += blocks;
            blocks = F(0.0);
        }
    }
    sum += blocks;
    let to = part * sizes.total + i;
    dx[to] = finish(sum, to);
}
