// Operands of the input gradient of a convolution as an implicit GEMM, one batch per group (a gather, no atomics):
//   dx[(n, iy, ix), ci] = sum over (ky, kx, co) of dy[n, oy, ox, co] * w[ky, kx, ci, co]
// over the taps whose oy = (iy + padding - ky * dilation) / stride is a whole number and lies in the image, and likewise ox.
// Rows are input pixels, columns input channels. See gemm_matrix.wgsl for what the functions are for.

override stride_y: u32 = 1u;
override stride_x: u32 = 1u;
override dilation_y: u32 = 1u;
override dilation_x: u32 = 1u;

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
    cout: u32,
    oh: u32,
    ow: u32,
    padding_y: u32,
    padding_x: u32,
    // From an output row, and from an output pixel, back to the one before: to be added, what is below zero wraps.
    row_back: u32,
    pixel_back: u32,
    kernel_w: u32,
    // Elements of the weight from one tap to the next.
    b_tap: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// include: shared/divide.wgsl

// include: shared/conv2d_batch.wgsl

// An input pixel, in the coordinates of the padded image, and its row of the output.
struct Row { index: u32, y: u32, x: u32, out: u32 }

fn row_init(m: u32, batch: Batch) -> Row {
    let outer = divide(m, p.inner);
    let inner = m - outer * p.inner;
    let image = select(outer, inner, p.images_first != 0u);
    let pixel = select(inner, outer, p.images_first != 0u);
    let line = divide(pixel, p.w);
    let column = pixel - line * p.w;
    let y = line + p.padding_y;
    let x = column + p.padding_x;
    return Row(batch.a + image * p.oh * p.ow * p.cout, y, x, image * p.h * p.w + pixel);
}

// Differences below zero wrap: they are then too large for an output coordinate.
fn tap(row: Row, ky: u32, kx: u32) -> Place {
    let y = row.y - ky * dilation_y;
    let x = row.x - kx * dilation_x;
    let oy = y / stride_y;
    let ox = x / stride_x;
    let valid = oy < p.oh && ox < p.ow && oy * stride_y == y && ox * stride_x == x;
    return Place(row.index + (oy * p.ow + ox) * p.cout, valid);
}

struct Segment { ky: u32, kx: u32, b: u32 }

fn segment_init(s: u32, batch: Batch) -> Segment {
    let ky = s / p.kernel_w;
    return Segment(ky, s - ky * p.kernel_w, batch.b + s * p.b_tap);
}

fn a_segment(row: Row, segment: Segment) -> Place {
    return tap(row, segment.ky, segment.kx);
}

// k as a number with the digits (ky, kx, co), so that going on along k is additions and carries.
// include: shared/conv2d_walk.wgsl

fn a_place(row: Row, w: Walk) -> Place {
    let place = tap(row, w.d2, w.d1);
    return Place(place.index + w.d0, place.valid);
}

// Where a tap is valid, its distance and the pixel's coordinate have the same remainder, so quotients may be taken of each.
fn a_start(row: Row) -> u32 {
    return row.index + (row.y / stride_y * p.ow + row.x / stride_x) * p.cout;
}

fn a_offset(w: Walk) -> u32 {
    let y = w.d2 * dilation_y / stride_y;
    let x = w.d1 * dilation_x / stride_x;
    // Three terms that are added are one instruction.
    return w.d0 + y * p.row_back + x * p.pixel_back;
}

fn a_inside(row: Row, w: Walk) -> bool {
    return tap(row, w.d2, w.d1).valid;
}

fn b_offset(w: Walk) -> u32 {
    return w.d2 * (p.kernel_w * p.b_tap) + w.d1 * p.b_tap + w.d0;
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
