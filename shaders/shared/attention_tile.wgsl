// Attention goes over tiles of 32 rows and 32 columns of its weights. A workgroup has a tile of rows, and of the tile of columns that it
// meets its invocation (across, down), of 8 by 8, has rows 4 down to 4 down + 3 and columns across, across + 8, across + 16 and
// across + 24. Of the rows of sums it has the quads across, across + 8 and so on, for the same rows.
const TILE = 32u;
const LINE = 9u; // quads of a line in workgroup memory, one more than are used: neighbouring lines are in different banks

// First rows of the head's queries and keys, and of the tile.
struct Place { queries: u32, keys: u32, row: u32, column: u32 }

// Quads of eight in a row of sums.
override CHUNKS: u32 = 4u;

var<workgroup> left: array<vec4<f32>, 288>;
var<workgroup> right: array<vec4<f32>, 288>;
var<workgroup> weights: array<f32, 1056>; // rows of 32, 33 apart
var<private> sums: array<vec4<f32>, 16>;

fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}
