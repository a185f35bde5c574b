// Gradients of attention without a matrix of scores, which are computed again: of queries, whose tiles meet keys; of keys or values, whose
// tiles meet the queries of all heads that share them.

// include: shared/attention_sizes.wgsl

// include: shared/attention_tile.wgsl

override BY_KEY: bool = false; // whether rows are keys
override OF_VALUE: bool = false; // whether of these the values' gradient is wanted

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> means: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read> lengths: array<i32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

// A quad of a query or of its output's gradient.
fn query_quad(other: bool, at: Place, row: u32, quad: u32) -> vec4<f32> {
    if row >= sizes.queries || quad >= select(sizes.depth, sizes.width, other) {
        return vec4<f32>();
    }
    if other {
        return d_out[(at.queries + row) * sizes.width + quad];
    }
    return query[(at.queries + row) * sizes.depth + quad];
}

// A quad of a key or of its value.
fn key_quad(other: bool, at: Place, row: u32, quad: u32) -> vec4<f32> {
    if row >= sizes.keys || quad >= select(sizes.depth, sizes.width, other) {
        return vec4<f32>();
    }
    if other {
        return value[(at.keys + row) * sizes.width + quad];
    }
    return key[(at.keys + row) * sizes.depth + quad];
}

fn left_quad(pair: u32, at: Place, row: u32, quad: u32) -> vec4<f32> {
    if BY_KEY {
        return key_quad(pair == 1u, at, at.row + row, quad);
    }
    return query_quad(pair == 1u, at, at.row + row, quad);
}

fn right_quad(pair: u32, at: Place, row: u32, quad: u32) -> vec4<f32> {
    if BY_KEY {
        return query_quad(pair == 1u || (pair == 2u && OF_VALUE), at, at.column + row, quad);
    }
    return key_quad(pair == 1u, at, at.column + row, quad);
}

// include: shared/attention_products.wgsl

// What a tile adds to the sums.
fn add_tile(at: Place, batch: u32, head: u32, length: u32, local: u32) {
    let scale = bitcast<f32>(sizes.scale);
    let across = local & 7u;
    let down = 4u * (local / 8u);
    let scores = product(0u, at, sizes.depth, local);
    var slopes = array<vec4<f32>, 4>();
    if !OF_VALUE {
        slopes = product(1u, at, sizes.width, local);
    }
    // Numbers, not vectors: to write a component that a variable chooses FXC has to unroll every loop around it, and can't.
    var w = array<f32, 16>();
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            var q = at.row + down + r;
            var k = at.column + across + 8u * c;
            if BY_KEY {
                q = at.column + across + 8u * c;
                k = at.row + down + r;
            }
            let more = added(batch, head, q, k, length);
            if is_hidden(more) {
                continue;
            }
            let of_query = means[at.queries + q];
            var weight = exp(scores[r][c] * scale + more - of_query.x);
            if is_nan(of_query.x) {
                weight = of_query.x;
            }
            if !OF_VALUE && weight != 0.0 {
                weight = weight * (slopes[r][c] - of_query.y) * scale;
            }
            w[4u * r + c] = weight;
        }
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            weights[33u * (down + r) + across + 8u * c] = w[4u * r + c];
        }
    }
    accumulate(at, local);
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
    var at = Place();
    at.row = (tile - plane * sizes.row_tiles) * TILE;
    if BY_KEY {
        let shared_by = sizes.heads / sizes.group;
        let batch = plane / shared_by;
        let length = length_of(batch);
        at.keys = plane * sizes.keys;
        let first = select(0u, at.row, sizes.causal != 0u);
        let end = select(0u, sizes.queries, at.row < length);
        for (var member = 0u; member < sizes.group; member++) {
            let of_heads = plane * sizes.group + member;
            at.queries = of_heads * sizes.queries;
            for (var column = first; column < end; column += TILE) {
                at.column = column;
                add_tile(at, batch, of_heads - batch * sizes.heads, length, local);
            }
        }
    } else {
        let batch = plane / sizes.heads;
        let length = length_of(batch);
        at.queries = plane * sizes.queries;
        at.keys = (plane / sizes.group) * sizes.keys;
        var end = length;
        if sizes.causal != 0u {
            end = min(length, at.row + TILE);
        }
        for (var column = 0u; column < end; column += TILE) {
            at.column = column;
            add_tile(at, batch, plane - batch * sizes.heads, length, local);
        }
    }
    let rows = select(sizes.queries, sizes.keys, BY_KEY);
    let quads = select(sizes.depth, sizes.width, OF_VALUE);
    let down = 4u * (local / 8u);
    for (var r = 0u; r < 4u; r++) {
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            let quad = 8u * chunk + (local & 7u);
            let row = at.row + down + r;
            if row < rows && quad < quads {
                store(sums[4u * chunk + r], sizes.first + 4u * ((plane * rows + row) * quads + quad));
            }
        }
    }
}
