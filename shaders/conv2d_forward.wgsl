// Operands of the forward convolution as an implicit GEMM, one batch per group:
//   out[(n, oy, ox), co] = sum over (ky, kx, ci) of x[n, oy * stride - padding + ky * dilation, ..., ci] * w[ky, kx, ci, co]
// Rows are output pixels, columns output channels. See gemm_matrix.wgsl for what the functions are for.

struct Params {
// include: shared/gemm_params.wgsl
    // A step of the walk, in its three digits (channel, kernel column, kernel row), and their bases.
    step0: u32,
    step1: u32,
    step2: u32,
    base0: u32,
    base1: u32,
    // Rows go through the pixels of an image, then through the images; or the other way round where `images_first`. How
    // many make up one round of the first.
    inner: u32,
    images_first: u32,
    // Elements of A and B and of the output from one group to the next.
    group_a: u32,
    group_b: u32,
    group_out: u32,
    h: u32,
    w: u32,
    cin: u32,
    oh: u32,
    ow: u32,
    padding_y: u32,
    padding_x: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    // Segments per kernel row: one for each kernel column, or 1 where a whole kernel row is contiguous in the image.
    row_segments: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// include: shared/divide.wgsl

// include: shared/conv2d_batch.wgsl

// The upper left corner of a window. It may lie in the padding: coordinates and index then wrap below zero, and an
// unsigned comparison with the height or width tells. `out` is its row of the output.
struct Row { index: u32, y: u32, x: u32, out: u32 }

fn row_init(m: u32, batch: Batch) -> Row {
    let outer = divide(m, p.inner);
    let inner = m - outer * p.inner;
    let image = select(outer, inner, p.images_first != 0u);
    let pixel = select(inner, outer, p.images_first != 0u);
    let line = divide(pixel, p.ow);
    let column = pixel - line * p.ow;
    let y = line * p.stride_y - p.padding_y;
    let x = column * p.stride_x - p.padding_x;
    return Row(batch.a + ((image * p.h + y) * p.w + x) * p.cin, y, x, image * p.oh * p.ow + pixel);
}

fn tap(row: Row, ky: u32, kx: u32) -> Place {
    let y = ky * p.dilation_y;
    let x = kx * p.dilation_x;
    return Place(row.index + (y * p.w + x) * p.cin, row.y + y < p.h && row.x + x < p.w);
}

struct Segment { ky: u32, kx: u32, b: u32 }

fn segment_init(s: u32, batch: Batch) -> Segment {
    let ky = s / p.row_segments;
    return Segment(ky, s - ky * p.row_segments, batch.b + s * p.k * p.b_k);
}

fn a_segment(row: Row, segment: Segment) -> Place {
    return tap(row, segment.ky, segment.kx);
}

// k as a number with the digits (ky, kx, ci), so that going on along k is additions and carries.
// include: shared/conv2d_walk.wgsl

fn a_place(row: Row, w: Walk) -> Place {
    let place = tap(row, w.d2, w.d1);
    return Place(place.index + w.d0, place.valid);
}

fn a_start(row: Row) -> u32 {
    return row.index;
}

fn a_offset(w: Walk) -> u32 {
    return w.d2 * (p.dilation_y * p.w * p.cin) + w.d1 * (p.dilation_x * p.cin) + w.d0;
}

fn a_inside(row: Row, w: Walk) -> bool {
    return row.y + w.d2 * p.dilation_y < p.h && row.x + w.d1 * p.dilation_x < p.w;
}

fn b_offset(w: Walk) -> u32 {
    return w.k * p.b_k;
}

// ---- plain kernel ----
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.n || id.y >= p.m || id.z >= p.batches {
        return;
    }
    let batch = batch_init(id.z);
    let row = row_init(id.y, batch);
    var sum = 0.0;
    var w = walk_init(0u);
    for (var k = 0u; k < p.k * p.segments; k++) {
        let place = a_place(row, w);
        if place.valid {
            sum += a[place.index] * b[b_index(w, batch) + id.x * p.b_n];
        }
        w = walk_next(w);
    }
    let i = batch.out + row.out * p.out_m + id.x;
    out[i] = epilogue(sum, i);
}
