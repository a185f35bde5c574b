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

fn store(v: vec4<f32>, row: u32, n: u32) {
    let i = row + n;
    if n < p.n { out[i / 4u] = epilogue4(v, i); }
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {
        return;
    }
    let outer = tile / p.tiles_n;
    let n0 = (tile - outer * p.tiles_n) * 32u;
    let plane = outer / p.tiles_m;
    let m0 = (outer - plane * p.tiles_m) * 8u;
    let split = plane / p.batches;
    let batch = batch_init(plane - split * p.batches);
    let first = split * p.chunk;
    let by_segment = p.segments > 1u;
    let s0 = select(0u, first, by_segment);
    let s1 = select(1u, min(first + p.chunk, p.segments), by_segment);
    let k0 = select(first, 0u, by_segment);
    let k1 = select(min(first + p.chunk, p.k), p.k, by_segment);
    let b_step = p.b_k / 4u;
    let column0 = n0 + 0u + lane * 4u;
    let col0 = min(column0, p.n - 4u) / 4u;
    var c0_0 = vec4<f32>();
    var c1_0 = vec4<f32>();
    var c2_0 = vec4<f32>();
    var c3_0 = vec4<f32>();
    var c4_0 = vec4<f32>();
    var c5_0 = vec4<f32>();
    var c6_0 = vec4<f32>();
    var c7_0 = vec4<f32>();
    var d0_0 = vec4<f32>();
    var d1_0 = vec4<f32>();
    var d2_0 = vec4<f32>();
    var d3_0 = vec4<f32>();
    var d4_0 = vec4<f32>();
    var d5_0 = vec4<f32>();
    var d6_0 = vec4<f32>();
    var d7_0 = vec4<f32>();
    let row0 = row_init(min(m0 + 0u + lane, p.m - 1u), batch);
    var pending = 0u;
    for (var i = s0; i < s1; i++) {
        let segment = segment_init(i, batch);
        let place0 = a_segment(row0, segment);
        let at0 = place0.index;
        var ai0 = (at0 + k0) / 4u;
        var bi0 = (segment.b + k0 * p.b_k) / 4u + col0;
        var k = k0;
        while k + 4u <= k1 {
        let from_k = k;
        let stop = min(k1, k + p.block - pending);
        for (; k + 4u <= stop; k += 4u) {
            let bi0_0 = bi0;
            bi0 = bi0_0 + b_step;
            let b0_0 = b[bi0_0];
            let bi1_0 = bi0;
            bi0 = bi1_0 + b_step;
            let b1_0 = b[bi1_0];
            let bi2_0 = bi0;
            bi0 = bi2_0 + b_step;
            let b2_0 = b[bi2_0];
            let bi3_0 = bi0;
            bi0 = bi3_0 + b_step;
            let b3_0 = b[bi3_0];
            let a0 = a[ai0];
            ai0 += 1u;
            let r0 = subgroupBroadcast(a0, 0u);
            c0_0 += ((r0.x * b0_0 + r0.y * b1_0) + (r0.z * b2_0 + r0.w * b3_0));
            let r1 = subgroupBroadcast(a0, 1u);
            c1_0 += ((r1.x * b0_0 + r1.y * b1_0) + (r1.z * b2_0 + r1.w * b3_0));
            let r2 = subgroupBroadcast(a0, 2u);
            c2_0 += ((r2.x * b0_0 + r2.y * b1_0) + (r2.z * b2_0 + r2.w * b3_0));
            let r3 = subgroupBroadcast(a0, 3u);
            c3_0 += ((r3.x * b0_0 + r3.y * b1_0) + (r3.z * b2_0 + r3.w * b3_0));
            let r4 = subgroupBroadcast(a0, 4u);
            c4_0 += ((r4.x * b0_0 + r4.y * b1_0) + (r4.z * b2_0 + r4.w * b3_0));
            let r5 = subgroupBroadcast(a0, 5u);
            c5_0 += ((r5.x * b0_0 + r5.y * b1_0) + (r5.z * b2_0 + r5.w * b3_0));
            let r6 = subgroupBroadcast(a0, 6u);
            c6_0 += ((r6.x * b0_0 + r6.y * b1_0) + (r6.z * b2_0 + r6.w * b3_0));
            let r7 = subgroupBroadcast(a0, 7u);
            c7_0 += ((r7.x * b0_0 + r7.y * b1_0) + (r7.z * b2_0 + r7.w * b3_0));
        }
        pending += k - from_k;
        if pending >= p.block {
            pending = 0u;
            d0_0 += c0_0;
            c0_0 = vec4<f32>();
            d1_0 += c1_0;
            c1_0 = vec4<f32>();
            d2_0 += c2_0;
            c2_0 = vec4<f32>();
            d3_0 += c3_0;
            c3_0 = vec4<f32>();
            d4_0 += c4_0;
            c4_0 = vec4<f32>();
            d5_0 += c5_0;
            c5_0 = vec4<f32>();
            d6_0 += c6_0;
            c6_0 = vec4<f32>();
            d7_0 += c7_0;
            c7_0 = vec4<f32>();
        }
        }
    }
    c0_0 += d0_0;
    c1_0 += d1_0;
    c2_0 += d2_0;
    c3_0 += d3_0;
    c4_0 += d4_0;
    c5_0 += d5_0;
    c6_0 += d6_0;
    c7_0 += d7_0;
    let base = batch.out + split * p.out_split;
    var m = m0;
    let last = min(m0 + 8u, p.m);
    for (; m < last; m += 4u) {
        let at0 = base + (m + 0u) * p.out_m;
        if m + 0u < last {
            store(c0_0, at0, column0);
        }
        let at1 = base + (m + 1u) * p.out_m;
        if m + 1u < last {
            store(c1_0, at1, column0);
        }
        let at2 = base + (m + 2u) * p.out_m;
        if m + 2u < last {
            store(c2_0, at2, column0);
        }
        let at3 = base + (m + 3u) * p.out_m;
        if m + 3u < last {
            store(c3_0, at3, column0);
        }
        c0_0 = c4_0;
        c1_0 = c5_0;
        c2_0 = c6_0;
        c3_0 = c7_0;
    }
}
