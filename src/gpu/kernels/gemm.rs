//! Matrix products, and the machinery that convolutions share with them.
//!
//! Everything here is C = A B over some addressing of A and B. The addressing is a WGSL file of functions (an *operand
//! file*: `shaders/gemm_matrix.wgsl`, `shaders/conv2d_*.wgsl`); the loops around it are generated, because a block of
//! accumulators stays in registers only when it is written out. Three kinds of loops, by the kind of adapter:
//!
//! * `subgroup`: adapters that run on a CPU and have subgroups; registers and `subgroupBroadcast` ([`registers`]).
//! * `register`: adapters that run on a CPU and have none; registers only. Both take small blocks where the driver's compiler is a
//!   weak one.
//! * `tiled`: real GPUs; tiles in workgroup memory, register blocks on top ([`tiled`]).
//!
//! Few tiles and a long k: k is split over workgroups, whose partial sums a second dispatch adds in a fixed order.
//!
//! Sizes decide how k is split and which loops are best; several loops give the same bits ([`forms`]), so that those that are
//! compiled already can do the work of those that are not.

mod accumulators;
mod forms;
mod parts;
mod problem;
mod registers;
mod split;
mod text;
mod tiled;

use super::launch::Build;
use super::uniform::uniform;
use super::{Form, KernelTarget, Launch, Launches, Operand, Turns, Uniform, fold};
use crate::geometry::MatmulGeometry;
use crate::gpu::wgsl::shader;
use accumulators::{emptied_after, levels};
pub(super) use parts::ALayout;
use parts::BLoad;
pub(super) use parts::line;
pub(super) use problem::{GemmParams, Loops, Problem};
use registers::Registers;
use split::{MAX_CHUNK, REGISTER_WORK, Split, Work, round};
#[cfg(test)]
pub(in crate::gpu) use text::ALL_FORMS;
use text::{Loop, complete, written};
use tiled::{Block, LEVELS, TILED_CHAIN, Tiled};

/// Partial sums that are added one after the other (as in the two shaders).
const REDUCE_BLOCK: usize = 32;

uniform! {
    /// The block of `shaders/gemm_matrix.wgsl`.
    struct MatrixParams {
        gemm: GemmParams,
        step: usize,
        a_m: usize,
        a_k: usize,
        a_first: usize,
        b_first: usize,
        out_batch: usize,
        batch1: usize,
        batch2: usize,
        a_batch0: usize,
        a_batch1: usize,
        a_batch2: usize,
        b_batch0: usize,
        b_batch1: usize,
        b_batch2: usize,
    }
}

uniform! {
    /// The block of `shaders/gemm_reduce.wgsl` and `gemm_reduce4.wgsl`.
    struct ReduceParams {
        count: usize,
        splits: usize,
    }
}

/// The longest k that adapters that run on a CPU take at once, with B in registers.
const SHORT_K: usize = 32;

/// Blocks for real GPUs, largest first.
const BLOCKS: [Block; 4] = [
    Block { bm: 128, bn: 128, bk: 8, tm: 8, tn: 8 },
    Block { bm: 128, bn: 32, bk: 16, tm: 8, tn: 4 },
    Block { bm: 64, bn: 64, bk: 16, tm: 8, tn: 4 },
    Block { bm: 32, bn: 32, bk: 16, tm: 4, tn: 4 },
];

/// `C[b, m, n] = sum over k of A[b, m, k] B[b, k, n]`; inputs A and B, any strides that [`MatmulGeometry`] allows, each from an
/// element of what is bound on: a slice begins anywhere, a binding only at multiples of 256 bytes.
pub fn matmul(g: &MatmulGeometry, first: [usize; 2], t: &KernelTarget) -> Launches {
    let [a_m, a_k] = g.a_strides;
    let [b_k, b_n] = g.b_strides;
    // A dimension of length 1 may have any stride. Of one k, the rows tell: the gradient of a weight by a single example is no
    // other kernel than by several.
    let a_along_k = a_k == 1 || (g.k == 1 && a_m != 1);
    let b_along_n = b_n == 1 || g.n == 1;
    let whole = |width: usize, side: usize, contiguous: bool, stride: usize, len: [usize; 2]| {
        let strides = [&g.a_batch, &g.b_batch][side];
        contiguous
            && first[side].is_multiple_of(width)
            && len[1].is_multiple_of(width)
            && (stride.is_multiple_of(width) || len[0] == 1)
            && strides.iter().zip(&g.batch).all(|(stride, len)| *len == 1 || stride.is_multiple_of(width))
    };
    // Length and stride across the contiguous dimension, then those along it.
    let (a_len, a_contiguous, a_stride) =
        if a_along_k { ([g.m, g.k], a_k == 1, a_m) } else { ([g.k, g.m], a_m == 1, a_k) };
    let (b_len, b_contiguous, b_stride) =
        if b_along_n { ([g.k, g.n], b_n == 1, b_k) } else { ([g.n, g.k], b_k == 1, b_n) };
    let a_width = widest(|w| whole(w, 0, a_contiguous, a_stride, a_len));
    let b_width = widest(|w| whole(w, 1, b_contiguous, b_stride, b_len));
    let batches: usize = g.batch.iter().product();
    let uniform = |gemm, loops: Loops| {
        Uniform::of(&MatrixParams {
            gemm,
            step: loops.step,
            a_m,
            a_k,
            a_first: first[0],
            b_first: first[1],
            out_batch: g.m * g.n,
            batch1: g.batch[1],
            batch2: g.batch[2],
            a_batch0: g.a_batch[0],
            a_batch1: g.a_batch[1],
            a_batch2: g.a_batch[2],
            b_batch0: g.b_batch[0],
            b_batch1: g.b_batch[1],
            b_batch2: g.b_batch[2],
        })
    };
    let problem = Problem {
        labels: ["matmul/subgroup", "matmul/register", "matmul/tiled", "matmul/reduce"],
        operands: shader!("gemm_matrix.wgsl"),
        constants: Vec::new(),
        m: g.m,
        n: g.n,
        k: g.k,
        pixels: false,
        segments: 1,
        batches,
        a: if a_along_k { ALayout::AlongK } else { ALayout::AlongM },
        a_width,
        a_row: g.m,
        b_along_k: !b_along_n,
        b_width,
        masked: false,
        // Of one k any stride is right; that of several would not be whole quads.
        b_strides: [if g.k == 1 { 0 } else { b_k }, b_n],
        out_m: g.n,
        out_aligned: g.n.is_multiple_of(4),
        images: false,
        uniform: &uniform,
        out_len: batches * g.m * g.n,
    };
    problem.launches(t)
}

/// The largest width of a load, in elements, that is `possible`.
pub(super) fn widest(possible: impl Fn(usize) -> bool) -> usize {
    [8, 4].into_iter().find(|&width| possible(width)).unwrap_or(1)
}

/// The loops that were chosen for a problem, and in which order they add up.
struct Variant {
    label: &'static str,
    kernel: Loop,
    /// Other loops that give the same bits, the next best first.
    others: Vec<Loop>,
    images_first: bool,
    /// Segments that the kernel loops over (1 where it walks through all of k).
    segments: usize,
    split: Split,
    /// Levels of accumulators that the sums need.
    levels: usize,
}

impl Problem<'_> {
    /// The dispatches that compute this problem on `t`.
    pub fn launches(&self, t: &KernelTarget) -> Launches {
        let variant = match (t.cpu_adapter, t.subgroup) {
            (true, Some(lanes @ (4 | 8 | 16))) => self.register_kernel(Some(lanes as usize), t),
            (true, _) => self.register_kernel(None, t),
            (false, _) => match self.block(t) {
                Some(block) => self.tiled_kernel(block, t),
                None => self.register_kernel(None, t),
            },
        };
        let form = |kernel: &Loop, text| self.form(&variant, kernel, text, t);
        let best = form(&variant.kernel, complete(self.operands, variant.kernel.clone()));
        let others = variant.others.iter();
        let others = others.filter_map(|kernel| Some(form(kernel, written(self.operands, kernel)?)));
        // Partial sums have no epilogue: it belongs to what the second pass stores.
        let Split { splits, second_pass, .. } = variant.split;
        let mut launches = Launches::default();
        let output = if second_pass { launches.temp(splits * self.out_len) } else { Operand::Output };
        launches.list.push(Launch {
            label: variant.label,
            source: best.source,
            constants: self.constants.clone(),
            uniform: best.uniform,
            inputs: vec![Operand::Input(0), Operand::Input(1)],
            output,
            workgroups: best.workgroups,
            turns: best.turns,
            epilogue: !second_pass,
            others: others.collect(),
        });
        if second_pass {
            launches.list.push(reduce(self.labels[3], self.out_len, self.out_aligned, splits, t));
        }
        launches
    }

    /// A dispatch of these loops.
    fn form(&self, variant: &Variant, kernel: &Loop, text: &'static str, t: &KernelTarget) -> Form {
        let [tile_m, tile_n] = kernel.tile();
        let Split { chunk, splits, .. } = variant.split;
        let (tiles_m, tiles_n) = (self.m.div_ceil(tile_m), self.n.div_ceil(tile_n));
        let tiles = tiles_m * tiles_n * self.batches * splits;
        let [block, blocks] = emptied_after(variant.levels, kernel.block());
        let gemm = GemmParams {
            m: self.m,
            n: self.n,
            k: self.k / variant.segments,
            segments: variant.segments,
            chunk,
            tiles_m,
            tiles_n,
            tiles,
            batches: self.batches,
            out_m: self.out_m,
            out_split: self.out_len,
            b_k: self.b_strides[0],
            b_n: self.b_strides[1],
            block,
            blocks,
        };
        let loops = Loops { step: kernel.step(), images_first: variant.images_first };
        let segments = variant.segments;
        Form {
            source: text.into(),
            uniform: (self.uniform)(gemm, loops),
            workgroups: fold(tiles, t.max_workgroups_per_dimension),
            turns: kernel.turns(if segments > 1 { [chunk, self.k / segments] } else { [1, chunk] }),
            // Levels that stay empty cost register kernels next to nothing, others registers.
            slower: matches!(kernel, Loop::Tiled(_)) || kernel.tile() != variant.kernel.tile(),
        }
    }

    /// A kernel without workgroup memory; `subgroup` is the size of a subgroup.
    fn register_kernel(&self, subgroup: Option<usize>, t: &KernelTarget) -> Variant {
        let lanes = subgroup.unwrap_or(8);
        let along_k = self.a == ALayout::AlongK;
        let widest = if t.int64 { 8 } else { 4 };
        let short_k = (subgroup.is_some()
            && !t.small_blocks
            && along_k
            && !(self.a_width > 1 && (self.k / self.segments).is_multiple_of(4))
            && self.k <= SHORT_K)
            .then_some(self.k);
        // Loading B along k, a lane touches a line of memory per column.
        let b_along_k = along_k && self.b_along_k && self.b_width > 1 && short_k.is_none();
        let cols = match self.n.div_ceil(lanes) {
            1 => 1,
            2 => 2,
            3 | 4 => 4,
            _ if t.small_blocks || along_k && self.b_along_k => 4,
            _ => 8,
        };
        let (b, b_width) = match self.b_along_k {
            true if b_along_k => {
                // Eight k at a time take eight of both.
                let width = self.b_width.min(self.a_width).max(4).min(widest);
                (BLoad::QuadsAlongK, width)
            }
            // Narrow blocks hold no quads of C, and narrower ones no octets.
            false if self.b_width > 1 && cols >= 4 => {
                (BLoad::QuadsAlongN, if cols == 8 { self.b_width.min(widest) } else { 4 })
            }
            _ => (BLoad::Scalar, 1),
        };
        let a_width = match short_k {
            Some(_) => 1,
            None if !along_k => self.a_width.min(widest),
            None if b_width == 8 && b == BLoad::QuadsAlongK => 8,
            None => self.a_width.min(4),
        };
        let most = if t.small_blocks { 8 } else { 16 };
        let rows = match self.m {
            _ if short_k.is_some() => 8 * lanes,
            m if m <= most && !along_k && a_width == 1 => m,
            m if m <= 4 => 4,
            m if m <= 8 || t.small_blocks => 8,
            m if m <= 16 => 16,
            _ => 32,
        };
        // Rows at the same place of different images have the same taps outside of the image: whole segments are
        // skipped, which with strides is most of the work of an input gradient.
        let images_first = short_k.is_none() && self.masked && along_k && self.images;
        let mut kernel = Registers {
            lanes,
            subgroup: subgroup.is_some(),
            rows,
            cols,
            short_k,
            whole: false,
            a: self.a,
            a_width,
            b,
            b_width,
            masked: self.masked,
            permuted: images_first,
            out_vec4: self.out_aligned && cols >= 4,
            levels: 1,
        };
        let segments = if along_k && short_k.is_none() { self.segments } else { 1 };
        kernel.whole = kernel.step() == 1 || along_k && (self.k / segments).is_multiple_of(kernel.step());
        let split = match short_k {
            Some(k) => Split { chunk: k, splits: 1, second_pass: false },
            None => {
                let multiple = kernel.step().max(4);
                REGISTER_WORK.split(self, [rows, kernel.tile_n()], segments, multiple, MAX_CHUNK)
            }
        };
        if short_k.is_none() {
            // A batch along k is contiguous along m: the last, smaller one of an epoch shall need no other kernel.
            let k = if along_k { self.k } else { round(self.k) };
            let together = k.div_ceil(split.splits);
            kernel.levels = levels(together / kernel.tree(), k);
        }
        Variant {
            label: self.labels[if subgroup.is_some() { 0 } else { 1 }],
            levels: kernel.levels,
            others: forms::of_registers(&kernel),
            kernel: Loop::Registers(kernel),
            images_first,
            segments,
            split,
        }
    }

    /// The block for a real GPU: the largest that gives enough workgroups (k split, where it is long) and wastes little at
    /// the edges.
    fn block(&self, t: &KernelTarget) -> Option<Block> {
        let parts = (round(self.k) / 1024).max(1);
        let tiles = |b: &Block| round(self.m).div_ceil(b.bm) * self.n.div_ceil(b.bn) * self.batches * parts;
        let waste = |b: &Block| {
            let m = round(self.m);
            (m.next_multiple_of(b.bm) * self.n.next_multiple_of(b.bn)) as f64 / (m * self.n) as f64
        };
        let mut fitting = BLOCKS.iter().filter(|b| b.fits(t));
        let smallest = fitting.clone().next_back()?;
        let limit = 1.25 * waste(smallest);
        Some(*fitting.find(|b| tiles(b) >= t.busy() && waste(b) <= limit).unwrap_or(smallest))
    }

    fn tiled_kernel(&self, block: Block, t: &KernelTarget) -> Variant {
        let a_vec4 = self.a_width > 1;
        let longest = TILED_CHAIN * TILED_CHAIN;
        let split = Work::tiled(t).split(self, [block.bm, block.bn], 1, block.bk, longest);
        let kernel = Tiled {
            block,
            a: self.a,
            a_vec4,
            b_vec4: self.b_width > 1,
            b_along_k: self.b_along_k,
            masked: self.masked,
            out_vec4: self.out_aligned,
        };
        Variant {
            label: self.labels[2],
            levels: LEVELS,
            others: forms::of_tiles(&kernel, BLOCKS.iter().filter(|b| b.fits(t))),
            kernel: Loop::Tiled(kernel),
            images_first: false,
            segments: 1,
            split,
        }
    }
}

/// Adds the partial sums in `Temp(0)`.
pub(super) fn reduce(
    label: &'static str,
    len: usize,
    aligned: bool,
    splits: usize,
    t: &KernelTarget,
) -> Launch {
    let (source, count) = match aligned {
        true => (shader!("gemm_reduce4.wgsl"), len / 4),
        false => (shader!("gemm_reduce.wgsl"), len),
    };
    Launch {
        label,
        source: source.into(),
        constants: Vec::new(),
        uniform: Uniform::of(&ReduceParams { count, splits }),
        inputs: vec![Operand::Temp(0)],
        output: Operand::Output,
        workgroups: fold(count.div_ceil(64), t.max_workgroups_per_dimension),
        turns: Turns::in_blocks(splits.div_ceil(REDUCE_BLOCK), REDUCE_BLOCK, Turns::of(REDUCE_BLOCK)),
        epilogue: true,
        others: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
