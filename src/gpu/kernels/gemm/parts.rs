//! What the generated kernels have in common: how operands are laid out, and the text around the loops.

use crate::gpu::wgsl::EPILOGUES;

/// Appends a formatted line. Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _ = writeln!($out, $($arg)*); }};
}
pub(in crate::gpu::kernels) use line;

/// The dimension along which A is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::gpu::kernels) enum ALayout {
    AlongK,
    AlongM,
}

/// How elements of B are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::gpu::kernels) enum BLoad {
    QuadsAlongN,
    QuadsAlongK,
    Scalar,
}

/// Declares the storage bindings, whose elements are of these types, and the epilogues.
pub(super) fn bindings(a: &str, b: &str, out_vec4: bool) -> String {
    let [one, four] = EPILOGUES;
    format!(
        "@group(0) @binding(1) var<storage, read> a: array<{a}>;
@group(0) @binding(2) var<storage, read> b: array<{b}>;
@group(0) @binding(3) var<storage, read_write> out: array<{}>;

{one}
{four}

",
        element(out_vec4)
    )
}

pub(super) fn element(vec4: bool) -> &'static str {
    if vec4 { "vec4<f32>" } else { "f32" }
}

/// First lines of `main`: which tile, matrix of the batch and part of k this workgroup has.
pub(super) fn tile_prologue(tile_m: usize, tile_n: usize) -> String {
    format!(
        "    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {{
        return;
    }}
    let outer = tile / p.tiles_n;
    let n0 = (tile - outer * p.tiles_n) * {tile_n}u;
    let plane = outer / p.tiles_m;
    let m0 = (outer - plane * p.tiles_m) * {tile_m}u;
    let split = plane / p.batches;
    let batch = batch_init(plane - split * p.batches);
    let first = split * p.chunk;
    let by_segment = p.segments > 1u;
    let s0 = select(0u, first, by_segment);
    let s1 = select(1u, min(first + p.chunk, p.segments), by_segment);
    let k0 = select(first, 0u, by_segment);
    let k1 = select(min(first + p.chunk, p.k), p.k, by_segment);
"
    )
}
