// An example of what src/gpu/kernels/gemm/ generates; nothing reads this file but a test that compares it.
//
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
    m: u32,
    n: u32,
    // Length of a segment; of the whole reduction where there is one segment.
    k: u32,
    segments: u32,
    // What one workgroup sums up: that many segments, or that many k where there is one segment.
    chunk: u32,
    tiles_m: u32,
    tiles_n: u32,
    // Tiles in all: m, n, batches and splits of k.
    tiles: u32,
    batches: u32,
    // Strides of C along m, of its partial sums along the split, of B along k and n.
    out_m: u32,
    out_split: u32,
    b_k: u32,
    b_n: u32,
    // Where accumulators have levels: k that the first takes before it is emptied into the second, and how often it is before
    // that is emptied into the third.
    block: u32,
    blocks: u32,
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

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }

// Operands: A along k by 4, B along n by 4, C by 4.
var<workgroup> tile_a: array<vec4<f32>, 160>;
var<workgroup> tile_b: array<vec4<f32>, 128>;

// Quads from elements, which may lie before zero.
fn quads(i: u32) -> u32 { return u32(i32(i) >> 2u); }

fn store(v: vec4<f32>, base: u32, m: u32, n: u32) {
    if m >= p.m || n >= p.n { return; }
    let i = base + m * p.out_m + n;
    out[i / 4u] = epilogue4(v, i);
}

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {
        return;
    }
    let outer = tile / p.tiles_n;
    let n0 = (tile - outer * p.tiles_n) * 32u;
    let plane = outer / p.tiles_m;
    let m0 = (outer - plane * p.tiles_m) * 32u;
    let split = plane / p.batches;
    let batch = batch_init(plane - split * p.batches);
    let first = split * p.chunk;
    let by_segment = p.segments > 1u;
    let s0 = select(0u, first, by_segment);
    let s1 = select(1u, min(first + p.chunk, p.segments), by_segment);
    let k0 = select(first, 0u, by_segment);
    let k1 = select(min(first + p.chunk, p.k), p.k, by_segment);
    let tiles = (k1 - k0 + 15u) / 16u;
    let lead = tiles * 16u - (k1 - k0);
    let a_k = index % 4u * 4u;
    let a_line = index / 4u;
    var wa = walk_early(k0 + a_k - lead);
    let row0 = row_init(min(m0 + a_line + 0u, p.m - 1u), batch);
    let row0_a = quads(a_start(row0));
    let row1 = row_init(min(m0 + a_line + 16u, p.m - 1u), batch);
    let row1_a = quads(a_start(row1));
    let b_k = index / 4u;
    let b_line = index % 4u * 4u;
    let line_b = quads(b_k * p.b_k);
    let step_b = quads(16u * p.b_k);
    var tile_b_at = quads((k0 - lead) * p.b_k);
    let column0_b = (batch.b + min(n0 + b_line + 0u, p.n - 4u)) / 4u;
    let column1_b = (batch.b + min(n0 + b_line + 16u, p.n - 4u)) / 4u;
    let to_a = a_line * 5u + a_k / 4u;
    let to_b = b_k * 8u + b_line / 4u;
    let from_a = local.y * 20u;
    var c0_0 = vec4<f32>();
    var c1_0 = vec4<f32>();
    var c2_0 = vec4<f32>();
    var c3_0 = vec4<f32>();
    var d0_0 = vec4<f32>();
    var d1_0 = vec4<f32>();
    var d2_0 = vec4<f32>();
    var d3_0 = vec4<f32>();
    let first_a = a_k >= lead;
    let first_b = b_k >= lead;
    let at_a = select(0u, quads(a_offset(wa)), first_a);
    let qa0 = a[row0_a + at_a];
    let qa1 = a[row1_a + at_a];
    let at_b = select(0u, line_b + tile_b_at, first_b);
    let qb0 = b[column0_b + at_b];
    let qb1 = b[column1_b + at_b];
    tile_a[to_a + 0u] = qa0;
    tile_a[to_a + 80u] = qa1;
    tile_b[to_b + 0u] = qb0;
    tile_b[to_b + 4u] = qb1;
    if !first_a { tile_a[to_a + 0u] = vec4<f32>(); }
    if !first_a { tile_a[to_a + 80u] = vec4<f32>(); }
    if !first_b { tile_b[to_b + 0u] = vec4<f32>(); }
    if !first_b { tile_b[to_b + 4u] = vec4<f32>(); }
    var tile_k = 0u;
    let chain = p.block / 16u;
    var end = (tiles - 1u) % chain + 1u;
    loop {
        for (; tile_k < end; tile_k++) {
            workgroupBarrier();
            let more = tile_k + 1u < tiles;
            wa = walk_step(wa);
            tile_b_at += step_b;
            let at_a = select(0u, quads(a_offset(wa)), more);
            let qa0 = a[row0_a + at_a];
            let qa1 = a[row1_a + at_a];
            let at_b = select(0u, line_b + tile_b_at, more);
            let qb0 = b[column0_b + at_b];
            let qb1 = b[column1_b + at_b];
            for (var q = 0u; q < 4u; q++) {
                let b0_0 = tile_b[(q * 4u + 0u) * 8u + local.x + 0u];
                let b1_0 = tile_b[(q * 4u + 1u) * 8u + local.x + 0u];
                let b2_0 = tile_b[(q * 4u + 2u) * 8u + local.x + 0u];
                let b3_0 = tile_b[(q * 4u + 3u) * 8u + local.x + 0u];
                let a0 = tile_a[from_a + 0u + q];
                c0_0 = fma(vec4<f32>(a0.x), b0_0, c0_0);
                c0_0 = fma(vec4<f32>(a0.y), b1_0, c0_0);
                c0_0 = fma(vec4<f32>(a0.z), b2_0, c0_0);
                c0_0 = fma(vec4<f32>(a0.w), b3_0, c0_0);
                let a1 = tile_a[from_a + 5u + q];
                c1_0 = fma(vec4<f32>(a1.x), b0_0, c1_0);
                c1_0 = fma(vec4<f32>(a1.y), b1_0, c1_0);
                c1_0 = fma(vec4<f32>(a1.z), b2_0, c1_0);
                c1_0 = fma(vec4<f32>(a1.w), b3_0, c1_0);
                let a2 = tile_a[from_a + 10u + q];
                c2_0 = fma(vec4<f32>(a2.x), b0_0, c2_0);
                c2_0 = fma(vec4<f32>(a2.y), b1_0, c2_0);
                c2_0 = fma(vec4<f32>(a2.z), b2_0, c2_0);
                c2_0 = fma(vec4<f32>(a2.w), b3_0, c2_0);
                let a3 = tile_a[from_a + 15u + q];
                c3_0 = fma(vec4<f32>(a3.x), b0_0, c3_0);
                c3_0 = fma(vec4<f32>(a3.y), b1_0, c3_0);
                c3_0 = fma(vec4<f32>(a3.z), b2_0, c3_0);
                c3_0 = fma(vec4<f32>(a3.w), b3_0, c3_0);
            }
            workgroupBarrier();
            tile_a[to_a + 0u] = qa0;
            tile_a[to_a + 80u] = qa1;
            tile_b[to_b + 0u] = qb0;
            tile_b[to_b + 4u] = qb1;
        }
        if tile_k >= tiles { break; }
        d0_0 += c0_0;
        c0_0 = vec4<f32>();
        d1_0 += c1_0;
        c1_0 = vec4<f32>();
        d2_0 += c2_0;
        c2_0 = vec4<f32>();
        d3_0 += c3_0;
        c3_0 = vec4<f32>();
        end += chain;
    }
    c0_0 += d0_0;
    c1_0 += d1_0;
    c2_0 += d2_0;
    c3_0 += d3_0;
    let base = batch.out + split * p.out_split;
    let m = m0 + local.y * 4u;
    let column0 = n0 + (local.x + 0u) * 4u;
    store(c0_0, base, m + 0u, column0);
    store(c1_0, base, m + 1u, column0);
    store(c2_0, base, m + 2u, column0);
    store(c3_0, base, m + 3u, column0);
}
