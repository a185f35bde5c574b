// Operands of the weight gradient of a convolution as an implicit GEMM, one batch per group:
//   dw[(ky, kx, ci), co] = sum over (n, oy, ox) of x[n, oy * stride - padding + ky * dilation, ..., ci] * dy[n, oy, ox, co]
// Rows are the elements of one filter, columns output channels, k output pixels: A is contiguous along its rows and is
// gone through by a walk only. See gemm_matrix.wgsl for what the functions are for.

struct Params {
// include: shared/gemm_params.wgsl
    // A step of the walk, in its three digits (output column, output row, image), and their bases.
    step0: u32,
    step1: u32,
    step2: u32,
    base0: u32,
    base1: u32,
    // Elements of A and B and of the output from one group to the next.
    group_a: u32,
    group_b: u32,
    group_out: u32,
    h: u32,
    w: u32,
    cin: u32,
    group_cin: u32,
    kernel_w: u32,
    padding_y: u32,
    padding_x: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// include: shared/divide.wgsl

// include: shared/conv2d_batch.wgsl

// An element of the filter: where it lies over the image when the window is in the upper left corner (in the padding,
// coordinates and index wrap below zero).
struct Row { index: u32, y: u32, x: u32 }

fn row_init(m: u32, batch: Batch) -> Row {
    let tap = divide(m, p.group_cin);
    let ky = divide(tap, p.kernel_w);
    let y = ky * p.dilation_y - p.padding_y;
    let x = (tap - ky * p.kernel_w) * p.dilation_x - p.padding_x;
    return Row(batch.a + (y * p.w + x) * p.cin + m - tap * p.group_cin, y, x);
}

// k as a number with the digits (n, oy, ox), so that going on along k is additions and carries.
// include: shared/conv2d_walk.wgsl

fn a_place(row: Row, w: Walk) -> Place {
    let y = w.d1 * p.stride_y;
    let x = w.d0 * p.stride_x;
    let index = row.index + ((w.d2 * p.h + y) * p.w + x) * p.cin;
    return Place(index, row.y + y < p.h && row.x + x < p.w);
}

fn a_start(row: Row) -> u32 {
    return row.index;
}

fn a_offset(w: Walk) -> u32 {
    return w.d2 * (p.h * p.w * p.cin) + w.d1 * (p.stride_y * p.w * p.cin) + w.d0 * (p.stride_x * p.cin);
}

fn a_inside(row: Row, w: Walk) -> bool {
    return row.y + w.d1 * p.stride_y < p.h && row.x + w.d0 * p.stride_x < p.w;
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
    let i = batch.out + id.y * p.out_m + id.x;
    out[i] = epilogue(sum, i);
}
