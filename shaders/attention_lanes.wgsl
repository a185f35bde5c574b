// Attention by subgroups, for adapters that run on a CPU: src/gpu/kernels/attention/lanes.rs writes the kernels, forwards and backwards. The
// plain kernel says what the forward one computes.

// include: shared/attention_sizes.wgsl

const LOWEST = -0x1.fffffep+127;

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> value: array<vec4<f32>>;

// include: shared/natural_log.wgsl

// A mean of values; of queries that see no key zeros. A sum of 0 is of scores that have no softmax.
fn result(mean: vec4<f32>, sum: f32, length: u32) -> vec4<f32> {
    return select(vec4<f32>(), select(mean, vec4<f32>(quiet_nan()), sum == 0.0), length > 0u);
}

// NaN where a score has no softmax, being NaN or plus infinity, else 0: exponentials of NaN are the driver's affair.
fn broken(score: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(score);
    let infinite = bits == vec4<u32>(0x7f800000u);
    return lost(score) + select(vec4<f32>(), vec4<f32>(quiet_nan()), infinite);
}

// NaN where there is one, else 0.
fn lost(v: vec4<f32>) -> vec4<f32> {
    let none = (bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) <= vec4<u32>(0x7f800000u);
    return select(vec4<f32>(quiet_nan()), vec4<f32>(), none);
}

// The logarithm of a row's sum of exponentials, plus infinity where no key is seen. A sum that is NaN stays one.
fn logarithm(peak: f32, sum: f32, length: u32) -> f32 {
    let log = select(quiet_nan(), peak + natural_log(sum), sum > 0.0);
    return select(-negative_infinity(), log, length > 0u);
}

fn store(v: vec4<f32>, at: u32) {
    out[at] = v.x;
    out[at + 1u] = v.y;
    out[at + 2u] = v.z;
    out[at + 3u] = v.w;
}

// ---- plain kernel ----
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> lengths: array<i32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

fn score(row: u32, column: u32) -> f32 {
    var sum = vec4<f32>();
    for (var quad = 0u; quad < sizes.depth; quad++) {
        sum += query[row * sizes.depth + quad] * key[column * sizes.depth + quad];
    }
    return (sum.x + sum.y + sum.z + sum.w) * bitcast<f32>(sizes.scale);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let plane = id.x / sizes.queries;
    if plane >= sizes.total {
        return;
    }
    let length = length_of(plane / sizes.heads);
    let end = select(length, min(length, id.x - plane * sizes.queries + 1u), sizes.causal != 0u);
    let keys = plane / sizes.group * sizes.keys;
    var peak = LOWEST;
    for (var k = 0u; k < end; k++) {
        peak = max(peak, score(id.x, keys + k));
    }
    for (var quad = 0u; quad < sizes.width; quad++) {
        var sum = 0.0;
        var mean = vec4<f32>();
        for (var k = 0u; k < end; k++) {
            let weight = exp(score(id.x, keys + k) - peak);
            sum += weight;
            mean += weight * value[(keys + k) * sizes.width + quad];
        }
        store(result(mean / sum, sum, length), 4u * (id.x * sizes.width + quad));
        out[sizes.logs + id.x] = logarithm(peak, sum, length);
    }
}
