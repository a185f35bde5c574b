// Attention goes over tiles of 32 rows and 32 columns of its weights. A workgroup has a tile of rows, and of the tile of columns that it
// meets its invocation (across, down), of 8 by 8, has rows 4 down to 4 down + 3 and columns across, across + 8, across + 16 and
// across + 24. Of the rows of sums it has the quads across, across + 8 and so on, for the same rows.
const TILE = 32u;
const LINE = 9u; // quads of a line in workgroup memory, one more than are used: neighbouring lines are in different banks

struct Sizes {
    total: u32, // workgroups
    row_tiles: u32,
    heads: u32,
    group: u32,
    queries: u32,
    keys: u32,
    depth: u32, // quads of a query or key
    width: u32, // quads of a value
    causal: u32,
    scale: u32, // bits
    has_bias: u32,
    bias_batch: u32,
    bias_head: u32,
    bias_query: u32,
    bias_key: u32,
    has_lengths: u32,
    first: u32, // where the rows of sums are stored
    logs: u32, // where the logarithms are, behind them
}

// First rows of the head's queries and keys, and of the tile.
struct Place { queries: u32, keys: u32, row: u32, column: u32 }

// Quads of eight in a row of sums.
override CHUNKS: u32 = 4u;

var<workgroup> left: array<vec4<f32>, 288>;
var<workgroup> right: array<vec4<f32>, 288>;
var<workgroup> weights: array<f32, 1056>; // rows of 32, 33 apart
var<private> sums: array<vec4<f32>, 16>;

fn negative_infinity() -> f32 {
    var bits = 0xff800000u; // through a variable: a constant infinity is rejected
    return bitcast<f32>(bits);
}

fn quiet_nan() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}
