// Four neighbours at a time; the host rewrites these lines to single words where four do not divide the row.
alias F = vec4<f32>;

struct Sizes {
    total: u32, // invocations
    axis: u32,
    inner: u32, // in units of F
    chunk: u32, // places along the axis that an invocation takes
    chunks: u32,
    reverse: u32, // 1: from the end of the axis
}

// What an invocation goes through, in the order of the scan: places first to end.
struct Chunk { o: u32, q: u32, column: u32, first: u32, end: u32 }

fn chunk_of(i: u32) -> Chunk {
    let line = i / sizes.inner;
    let o = line / sizes.chunks;
    let q = line - o * sizes.chunks;
    let first = q * sizes.chunk;
    return Chunk(o, q, i - line * sizes.inner, first, min(first + sizes.chunk, sizes.axis));
}

// Where the k-th element in the order of the scan is.
fn place(c: Chunk, k: u32) -> u32 {
    let a = select(k, sizes.axis - 1u - k, sizes.reverse == 1u);
    return (c.o * sizes.axis + a) * sizes.inner + c.column;
}
