// dx[o, a, i] = sum of dy[o, j, i] over the j whose index is a, in a fixed order: the run of a among the sorted indices,
// whole chunks of it by the sums of index_add_chunks.wgsl. An index beyond the axis is in no run that is read.

// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;

struct Sizes {
    total: u32, // invocations
    axis: u32,
    inner: u32, // in units of F
    count: u32, // indices
    chunks: u32, // complete chunks
    chunk: u32, // sorted indices per chunk: a power of two
    shift: u32, // its logarithm
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> dy: array<F>;
@group(0) @binding(2) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read> sums: array<F>;
@group(0) @binding(5) var<storage, read_write> dx: array<F>;

// include: shared/long_sum.wgsl

fn epilogue(v: f32, i: u32) -> f32 { return v; }
fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
fn finish(v: F, i: u32) -> F { return epilogue4(v, 4u * i); }

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + local;
    if i >= sizes.total {
        return;
    }
    let line = i / sizes.inner;
    let column = i - line * sizes.inner;
    let o = line / sizes.axis;
    let a = line - o * sizes.axis;
    // One loop, because lavapipe runs the body of even an empty loop once.
    var sum = LongSum();
    var j = starts[a];
    let end = starts[a + 1u];
    while j < end {
        if (j & (sizes.chunk - 1u)) == 0u && j + sizes.chunk <= end {
            sum = plus(sum, sums[(o * sizes.chunks + (j >> sizes.shift)) * sizes.inner + column]);
            j += sizes.chunk;
        } else {
            sum = plus(sum, dy[(o * sizes.count + pairs[j].y) * sizes.inner + column]);
            j += 1u;
        }
    }
    dx[i] = finish(so_far(sum), i);
}
