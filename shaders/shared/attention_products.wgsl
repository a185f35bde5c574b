// What is added to a score; minus infinity where the key is hidden, or either is beyond the end.
fn added(batch: u32, head: u32, query: u32, key: u32, length: u32) -> f32 {
    if query >= sizes.queries || key >= length || (sizes.causal != 0u && key > query) {
        return negative_infinity();
    }
    if sizes.has_bias == 0u {
        return 0.0;
    }
    let at = batch * sizes.bias_batch + head * sizes.bias_head;
    return bias[at + query * sizes.bias_query + key * sizes.bias_key];
}

fn is_hidden(bias: f32) -> bool {
    return bitcast<u32>(bias) == 0xff800000u;
}

fn fill_left(pair: u32, at: Place, i: u32, quad: u32) {
    left[(i / 8u) * LINE + (i & 7u)] = left_quad(pair, at, i / 8u, quad + (i & 7u));
}

fn fill_right(pair: u32, at: Place, i: u32, quad: u32) {
    right[(i / 8u) * LINE + (i & 7u)] = right_quad(pair, at, i / 8u, quad + (i & 7u));
}

fn dots(row: u32, k: u32, b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>) -> vec4<f32> {
    let a = left[row * LINE + k];
    return vec4<f32>(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
}

// The products of a tile's rows with its columns, of rows so many quads long.
fn product(pair: u32, at: Place, quads: u32, local: u32) -> array<vec4<f32>, 4> {
    let across = local & 7u;
    let row = 4u * (local / 8u);
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var quad = 0u; quad < quads; quad += 8u) {
        workgroupBarrier(); // everyone has read what was there before
        fill_left(pair, at, local, quad);
        fill_left(pair, at, local + 64u, quad);
        fill_left(pair, at, local + 128u, quad);
        fill_left(pair, at, local + 192u, quad);
        fill_right(pair, at, local, quad);
        fill_right(pair, at, local + 64u, quad);
        fill_right(pair, at, local + 128u, quad);
        fill_right(pair, at, local + 192u, quad);
        workgroupBarrier();
        for (var k = 0u; k < 8u; k++) {
            let b0 = right[across * LINE + k];
            let b1 = right[(across + 8u) * LINE + k];
            let b2 = right[(across + 16u) * LINE + k];
            let b3 = right[(across + 24u) * LINE + k];
            s0 += dots(row, k, b0, b1, b2, b3);
            s1 += dots(row + 1u, k, b0, b1, b2, b3);
            s2 += dots(row + 2u, k, b0, b1, b2, b3);
            s3 += dots(row + 3u, k, b0, b1, b2, b3);
        }
    }
    return array<vec4<f32>, 4>(s0, s1, s2, s3);
}

fn four(row: u32, k: u32, x0: vec4<f32>, x1: vec4<f32>, x2: vec4<f32>, x3: vec4<f32>) -> vec4<f32> {
    let at = row * 33u + k;
    return (weights[at] * x0 + weights[at + 1u] * x1) + (weights[at + 2u] * x2 + weights[at + 3u] * x3);
}

// Adds up the rows of the columns' second matrix by the weights, which everybody has stored.
fn accumulate(at: Place, local: u32) {
    let across = local & 7u;
    let row = 4u * (local / 8u);
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        workgroupBarrier();
        fill_right(2u, at, local, 8u * chunk);
        fill_right(2u, at, local + 64u, 8u * chunk);
        fill_right(2u, at, local + 128u, 8u * chunk);
        fill_right(2u, at, local + 192u, 8u * chunk);
        workgroupBarrier();
        var s0 = vec4<f32>();
        var s1 = vec4<f32>();
        var s2 = vec4<f32>();
        var s3 = vec4<f32>();
        for (var k = 0u; k < TILE; k += 4u) {
            let x0 = right[k * LINE + across];
            let x1 = right[(k + 1u) * LINE + across];
            let x2 = right[(k + 2u) * LINE + across];
            let x3 = right[(k + 3u) * LINE + across];
            s0 += four(row, k, x0, x1, x2, x3);
            s1 += four(row + 1u, k, x0, x1, x2, x3);
            s2 += four(row + 2u, k, x0, x1, x2, x3);
            s3 += four(row + 3u, k, x0, x1, x2, x3);
        }
        sums[4u * chunk] += s0;
        sums[4u * chunk + 1u] += s1;
        sums[4u * chunk + 2u] += s2;
        sums[4u * chunk + 3u] += s3;
    }
}

fn store(v: vec4<f32>, at: u32) {
    out[at] = v.x;
    out[at + 1u] = v.y;
    out[at + 2u] = v.z;
    out[at + 3u] = v.w;
}
