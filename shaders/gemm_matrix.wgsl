// Operands of a batched matrix product: C[z, m, n] = sum over k of A[z, m, k] * B[z, k, n].
//
// This is one of the operand files of the GEMM kernels (the others are conv2d_*.wgsl). Each says where the elements of
// A and B live; `src/gpu/kernels/gemm/` generates the loops. What stands below the line "plain kernel" shows what is
// computed, one output element per invocation, and is replaced by a blocked kernel.
//
// Two ways of going along k are offered, because an integer division in an inner loop is ruinous:
// * by segments: `segment_init`, then plain increments of k within the segment (A contiguous along k);
// * by a walk: `walk_init` once (`walk_early` where it begins before the first k), then `walk_step` (a fixed number of
//   k) or `walk_next` (one k) without a division.

struct Params {
// include: shared/gemm_params.wgsl
    // k per step of the walk.
    step: u32,
    // Strides of A along m and k; the first elements of A and B; strides of everything along the batch.
    a_m: u32,
    a_k: u32,
    a_first: u32,
    b_first: u32,
    out_batch: u32,
    batch1: u32,
    batch2: u32,
    a_batch0: u32,
    a_batch1: u32,
    a_batch2: u32,
    b_batch0: u32,
    b_batch1: u32,
    b_batch2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// First elements of one matrix of the batch.
struct Batch { a: u32, b: u32, out: u32 }

fn batch_init(z: u32) -> Batch {
    if p.batches == 1u {
        return Batch(p.a_first, p.b_first, 0u);
    }
    let i2 = z % p.batch2;
    let outer = z / p.batch2;
    let i1 = outer % p.batch1;
    let i0 = outer / p.batch1;
    return Batch(
        p.a_first + i0 * p.a_batch0 + i1 * p.a_batch1 + i2 * p.a_batch2,
        p.b_first + i0 * p.b_batch0 + i1 * p.b_batch1 + i2 * p.b_batch2,
        z * p.out_batch,
    );
}

// An element of A; where it is not `valid`, A is zero there.
struct Place { index: u32, valid: bool }

struct Row { index: u32 }

fn row_init(m: u32, batch: Batch) -> Row {
    return Row(batch.a + m * p.a_m);
}

struct Segment { b: u32 }

fn segment_init(s: u32, batch: Batch) -> Segment {
    return Segment(batch.b);
}

fn a_segment(row: Row, segment: Segment) -> Place {
    return Place(row.index, true);
}

struct Walk { k: u32 }

fn walk_init(k: u32) -> Walk {
    return Walk(k);
}

fn walk_early(k: u32) -> Walk {
    return Walk(k);
}

fn walk_step(w: Walk) -> Walk {
    return Walk(w.k + p.step);
}

fn walk_next(w: Walk) -> Walk {
    return Walk(w.k + 1u);
}

fn a_place(row: Row, w: Walk) -> Place {
    return Place(row.index + w.k * p.a_k, true);
}

// The same in parts: of the row, of k, and whether both together are inside; and the part of k of an element of B that is
// contiguous along k.
fn a_start(row: Row) -> u32 {
    return row.index;
}

fn a_offset(w: Walk) -> u32 {
    return w.k * p.a_k;
}

fn a_inside(row: Row, w: Walk) -> bool {
    return true;
}

fn b_offset(w: Walk) -> u32 {
    return w.k * p.b_k;
}

fn b_index(w: Walk, batch: Batch) -> u32 {
    return batch.b + b_offset(w);
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
