//! What a GEMM is: sizes, layouts, and what its operand file is told.

use super::super::Uniform;
use super::super::uniform::uniform;
use super::parts::ALayout;

uniform! {
    /// What the uniform block of every operand file begins with; `shaders/shared/gemm_params.wgsl` says what the fields are.
    pub(in super::super) struct GemmParams {
        m: usize,
        n: usize,
        k: usize,
        segments: usize,
        chunk: usize,
        tiles_m: usize,
        tiles_n: usize,
        tiles: usize,
        batches: usize,
        out_m: usize,
        out_split: usize,
        b_k: usize,
        b_n: usize,
        block: usize,
        blocks: usize,
    }
}

/// What an operand file's uniform block has to say of the loops, besides [`GemmParams`].
#[derive(Clone, Copy)]
pub(in super::super) struct Loops {
    /// k per step of a walk.
    pub step: usize,
    /// Rows go through the images first, then through the pixels of an image.
    pub images_first: bool,
}

/// A GEMM whose operands are addressed by an operand file.
pub(in super::super) struct Problem<'p> {
    /// Labels of the `subgroup`, `register` and `tiled` variants and of the second pass.
    pub labels: [&'static str; 4],
    /// The operand file.
    pub operands: &'static str,
    pub constants: Vec<(&'static str, f64)>,
    pub m: usize,
    pub n: usize,
    /// k in all.
    pub k: usize,
    /// k is all pixels of a batch: any number, mostly a large one.
    pub pixels: bool,
    /// Parts of k within which A is contiguous along k.
    pub segments: usize,
    pub batches: usize,
    pub a: ALayout,
    /// Elements of A (along its contiguous dimension) that can be loaded at once: 8, 4 or 1. So many are aligned, and
    /// none of these groups straddles a segment or the end.
    pub a_width: usize,
    /// Elements of A that one more k brings along, where A is contiguous along m: a pixel's channels are those of all taps.
    pub a_row: usize,
    pub b_along_k: bool,
    /// The same for B.
    pub b_width: usize,
    /// Some places of A lie outside of the image.
    pub masked: bool,
    /// Element strides of B along k and n (along k: within a segment).
    pub b_strides: [usize; 2],
    /// Element stride of C along m.
    pub out_m: usize,
    /// Quads of C along n are aligned and n is a multiple of 4.
    pub out_aligned: bool,
    /// Rows are the pixels of several images, and may be gone through in either order.
    pub images: bool,
    /// The operand file's uniform block.
    pub uniform: &'p dyn Fn(GemmParams, Loops) -> Uniform,
    /// Elements of the output.
    pub out_len: usize,
}
