//! Running sums along an axis, and linear recurrences.

use super::launch::{Build, Pass, chunk_of_axis};
use super::uniform::uniform;
use super::{KernelTarget, Launches, Operand, Turns, Uniform};
use crate::gpu::wgsl::{by_width, shader};

uniform! {
    /// The block of `scan.wgsl`, `scan_totals.wgsl` and `scan_recurrence*.wgsl`.
    struct ScanSizes {
        total: usize,
        axis: usize,
        inner: usize,
        chunk: usize,
        chunks: usize,
        reverse: bool,
    }
}

/// How lines along an axis are cut into chunks: something is found of each chunk, the same scan goes over these, which are in its
/// order, and then over all chunks at once, each from what is before it.
struct Chunks {
    inner: usize,
    sizes: ScanSizes,
    /// Over what was found of the chunks, where there are several.
    of_chunks: Option<ScanSizes>,
    /// Elements that are found. Nothing is before an only chunk: what is bound there is not read. (It is not the input, which may be so
    /// large that each binding of it is many.)
    found: usize,
}

impl Chunks {
    fn of([outer, axis, inner]: [usize; 3], reverse: bool) -> Chunks {
        let (width, _) = by_width("", inner);
        let lines = outer * (inner / width);
        let chunk = chunk_of_axis(axis, lines, 4096);
        let chunks = axis.div_ceil(chunk);
        let sizes = ScanSizes { total: lines * chunks, axis, inner: inner / width, chunk, chunks, reverse };
        let of_chunks = (chunks > 1).then(|| ScanSizes {
            total: lines,
            axis: chunks,
            chunk: chunks,
            chunks: 1,
            reverse: false,
            ..sizes.clone()
        });
        let found = if chunks > 1 { outer * chunks * inner } else { 4 };
        Chunks { inner, sizes, of_chunks, found }
    }

    fn pass(
        &self,
        label: &'static str,
        text: &'static str,
        sizes: &ScanSizes,
        inputs: Vec<Operand>,
        output: Operand,
    ) -> Pass {
        Pass {
            label,
            source: by_width(text, self.inner).1,
            total: sizes.total,
            uniform: Uniform::of(sizes),
            inputs,
            output,
            turns: Turns::of(sizes.chunk),
            epilogue: matches!(output, Operand::Output),
        }
    }
}

/// `y[outer, axis, inner]` = the sums of `x` along the axis up to each place, or from it on in `reverse`; always added in the
/// same order.
///
/// Inputs: `x`.
pub fn cumsum(t: &KernelTarget, dims: [usize; 3], reverse: bool) -> Launches {
    let chunks = Chunks::of(dims, reverse);
    let mut launches = Launches::default();
    let (x, text) = (Operand::Input(0), shader!("scan.wgsl"));
    let totals = launches.temp(chunks.found);
    let mut starts = totals;
    if let Some(of_chunks) = &chunks.of_chunks {
        let of_each = shader!("scan_totals.wgsl");
        launches.push(t, chunks.pass("cumsum/totals", of_each, &chunks.sizes, vec![x], totals));
        starts = launches.temp(chunks.found);
        launches.push(t, chunks.pass("cumsum/starts", text, of_chunks, vec![totals, totals], starts));
    }
    launches.push(t, chunks.pass("cumsum", text, &chunks.sizes, vec![x, starts], Operand::Output));
    launches
}

/// `h[outer, axis, inner]` of `h[t] = a[t] h[t - 1] + b[t]` along the axis from `h[0] = b[0]`, or from its end in `reverse`. What a chunk
/// makes of any start is a factor and an end.
///
/// Inputs: `a`, `b`.
pub fn recurrence(t: &KernelTarget, dims: [usize; 3], reverse: bool) -> Launches {
    let chunks = Chunks::of(dims, reverse);
    let mut launches = Launches::default();
    let (a, b, text) = (Operand::Input(0), Operand::Input(1), shader!("scan_recurrence.wgsl"));
    let factors = launches.temp(chunks.found);
    let mut starts = factors;
    if let Some(of_chunks) = &chunks.of_chunks {
        let (of_factors, of_ends) =
            (shader!("scan_recurrence_factors.wgsl"), shader!("scan_recurrence_ends.wgsl"));
        let ends = launches.temp(chunks.found);
        launches.push(t, chunks.pass("recurrence/factors", of_factors, &chunks.sizes, vec![a], factors));
        launches.push(t, chunks.pass("recurrence/ends", of_ends, &chunks.sizes, vec![a, b], ends));
        starts = launches.temp(chunks.found);
        let inputs = vec![factors, ends, factors];
        launches.push(t, chunks.pass("recurrence/starts", text, of_chunks, inputs, starts));
    }
    launches.push(t, chunks.pass("recurrence", text, &chunks.sizes, vec![a, b, starts], Operand::Output));
    launches
}
