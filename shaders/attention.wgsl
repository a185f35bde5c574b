// Attention without a matrix of scores: 32 queries meet 32 keys at a time, and what was summed up is corrected whenever a larger score comes.
// Behind the output stands the logarithm of each row's sum of exponentials, plus infinity for queries that see no key.

// include: shared/attention_sizes.wgsl

// include: shared/attention_tile.wgsl

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> lengths: array<i32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

var<workgroup> shared_rows: array<f32, 256>; // of each row, what its eight invocations have

fn left_quad(pair: u32, at: Place, row: u32, quad: u32) -> vec4<f32> {
    if at.row + row >= sizes.queries || quad >= sizes.depth {
        return vec4<f32>();
    }
    return query[(at.queries + at.row + row) * sizes.depth + quad];
}

fn right_quad(pair: u32, at: Place, row: u32, quad: u32) -> vec4<f32> {
    let index = at.keys + at.column + row;
    let quads = select(sizes.depth, sizes.width, pair == 2u);
    if at.column + row >= sizes.keys || quad >= quads {
        return vec4<f32>();
    }
    if pair == 2u {
        return value[index * quads + quad];
    }
    return key[index * quads + quad];
}

// include: shared/attention_products.wgsl

// include: shared/natural_log.wgsl

fn row_max(row: u32) -> f32 {
    let at = 8u * row;
    let a = max(max(shared_rows[at], shared_rows[at + 1u]), max(shared_rows[at + 2u], shared_rows[at + 3u]));
    let b = max(max(shared_rows[at + 4u], shared_rows[at + 5u]), max(shared_rows[at + 6u], shared_rows[at + 7u]));
    return max(a, b);
}

fn row_sum(row: u32) -> f32 {
    let at = 8u * row;
    let a = (shared_rows[at] + shared_rows[at + 1u]) + (shared_rows[at + 2u] + shared_rows[at + 3u]);
    let b = (shared_rows[at + 4u] + shared_rows[at + 5u]) + (shared_rows[at + 6u] + shared_rows[at + 7u]);
    return a + b;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = group.y * groups.x + group.x;
    if tile >= sizes.total {
        return;
    }
    let plane = tile / sizes.row_tiles;
    let batch = plane / sizes.heads;
    let head = plane - batch * sizes.heads;
    var at = Place();
    at.queries = plane * sizes.queries;
    at.keys = (plane / sizes.group) * sizes.keys;
    at.row = (tile - plane * sizes.row_tiles) * TILE;
    let length = length_of(batch);
    var end = length;
    if sizes.causal != 0u {
        end = min(length, at.row + TILE);
    }
    let scale = bitcast<f32>(sizes.scale);
    let across = local & 7u;
    let down = 4u * (local / 8u);
    const LOWEST = -0x1.fffffep+127;
    // Numbers, not vectors: to write a component that a variable chooses FXC has to unroll every loop around it, and can't.
    var peak = array<f32, 4>(LOWEST, LOWEST, LOWEST, LOWEST);
    var sum = array<f32, 4>();
    // Of each row 0, 1 where a key is seen, 2 where one has no softmax: a NaN or plus infinity.
    var found = array<f32, 4>();
    for (var column = 0u; column < end; column += TILE) {
        at.column = column;
        let products = product(0u, at, sizes.depth, local);
        var scores = array<f32, 16>();
        var open = 0u;
        var high = peak;
        for (var r = 0u; r < 4u; r++) {
            for (var c = 0u; c < 4u; c++) {
                let more = added(batch, head, at.row + down + r, column + across + 8u * c, length);
                if is_hidden(more) {
                    continue;
                }
                let score = products[r][c] * scale + more;
                let broken = is_nan(score) || bitcast<u32>(score) == 0x7f800000u;
                found[r] = max(found[r], select(1.0, 2.0, broken));
                scores[4u * r + c] = score;
                high[r] = max(high[r], score);
                open |= 1u << (4u * r + c);
            }
        }
        workgroupBarrier();
        for (var r = 0u; r < 4u; r++) {
            shared_rows[8u * (down + r) + across] = high[r];
        }
        workgroupBarrier();
        for (var r = 0u; r < 4u; r++) {
            let top = row_max(down + r);
            let factor = exp(peak[r] - top);
            peak[r] = top;
            sum[r] *= factor;
            for (var chunk = 0u; chunk < CHUNKS; chunk++) {
                sums[4u * chunk + r] *= factor;
            }
            for (var c = 0u; c < 4u; c++) {
                let seen = (open & (1u << (4u * r + c))) != 0u;
                let weight = select(0.0, exp(scores[4u * r + c] - top), seen);
                sum[r] += weight;
                weights[33u * (down + r) + across + 8u * c] = weight;
            }
        }
        accumulate(at, local);
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) {
        shared_rows[8u * (down + r) + across] = sum[r];
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) {
        sum[r] = row_sum(down + r);
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) {
        shared_rows[8u * (down + r) + across] = found[r];
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) {
        let row = at.row + down + r;
        if row >= sizes.queries {
            continue;
        }
        let index = at.queries + row;
        let state = row_max(down + r);
        let lost = state > 1.5 || (state > 0.5 && sum[r] == 0.0);
        let factor = 1.0 / sum[r];
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            let quad = 8u * chunk + across;
            if quad >= sizes.width {
                continue;
            }
            var mean = select(vec4<f32>(), sums[4u * chunk + r] * factor, state > 0.5);
            if lost {
                mean = vec4<f32>(quiet_nan());
            }
            store(mean, 4u * (index * sizes.width + quad));
        }
        if across == 0u {
            var log = peak[r] + natural_log(sum[r]);
            if state < 0.5 {
                log = -negative_infinity();
            }
            if lost {
                log = quiet_nan();
            }
            out[sizes.logs + index] = log;
        }
    }
}
