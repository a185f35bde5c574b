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
