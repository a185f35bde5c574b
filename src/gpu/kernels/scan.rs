//! Running sums along an axis.

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

/// `y[outer, axis, inner]` = the sums of `x` along the axis up to each place, or from it on in `reverse`; always added in the
/// same order.
///
/// Inputs: `x`.
pub fn cumsum(t: &KernelTarget, [outer, axis, inner]: [usize; 3], reverse: bool) -> Launches {
    let (width, _) = by_width("", inner);
    let lines = outer * (inner / width);
    // Chunks of an axis: their totals, what is before each, and then all at once.
    let chunk = chunk_of_axis(axis, lines, 4096);
    let chunks = axis.div_ceil(chunk);
    let sizes = ScanSizes { total: lines * chunks, axis, inner: inner / width, chunk, chunks, reverse };
    let pass = |label, text, sizes: &ScanSizes, inputs, output, epilogue| Pass {
        label,
        source: by_width(text, inner).1,
        total: sizes.total,
        uniform: Uniform::of(sizes),
        inputs,
        output,
        turns: Turns::of(sizes.chunk),
        epilogue,
    };
    let mut launches = Launches::default();
    let (x, text) = (Operand::Input(0), shader!("scan.wgsl"));
    // Nothing is before an only chunk: what is bound there is not read. (It is not x, which may be so large that each binding of it
    // is many.)
    let sums = if chunks > 1 { outer * chunks * inner } else { 4 };
    let totals = launches.temp(sums);
    let mut starts = totals;
    if chunks > 1 {
        launches.push(t, pass("cumsum/totals", shader!("scan_totals.wgsl"), &sizes, vec![x], totals, false));
        starts = launches.temp(sums);
        // The same of the totals, which are in the order of the scan.
        let of_totals = ScanSizes {
            total: lines,
            axis: chunks,
            chunk: chunks,
            chunks: 1,
            reverse: false,
            ..sizes.clone()
        };
        launches.push(t, pass("cumsum/starts", text, &of_totals, vec![totals, totals], starts, false));
    }
    launches.push(t, pass("cumsum", text, &sizes, vec![x, starts], Operand::Output, true));
    launches
}

/// `h[outer, axis, inner]` of `h[t] = a[t] h[t - 1] + b[t]` along the axis from `h[0] = b[0]`, or from its end in `reverse`.
///
/// Inputs: `a`, `b`.
pub fn recurrence(t: &KernelTarget, [outer, axis, inner]: [usize; 3], reverse: bool) -> Launches {
    let (width, _) = by_width("", inner);
    let lines = outer * (inner / width);
    // Chunks of an axis, as of a running sum: what each makes of any start is a factor and an end.
    let chunk = chunk_of_axis(axis, lines, 4096);
    let chunks = axis.div_ceil(chunk);
    let sizes = ScanSizes { total: lines * chunks, axis, inner: inner / width, chunk, chunks, reverse };
    let pass = |label, text, sizes: &ScanSizes, inputs, output, epilogue| Pass {
        label,
        source: by_width(text, inner).1,
        total: sizes.total,
        uniform: Uniform::of(sizes),
        inputs,
        output,
        turns: Turns::of(sizes.chunk),
        epilogue,
    };
    let mut launches = Launches::default();
    let (a, b, text) = (Operand::Input(0), Operand::Input(1), shader!("scan_recurrence.wgsl"));
    let sums = if chunks > 1 { outer * chunks * inner } else { 4 };
    let factors = launches.temp(sums);
    let mut starts = factors;
    if chunks > 1 {
        let (of_factors, of_ends) =
            (shader!("scan_recurrence_factors.wgsl"), shader!("scan_recurrence_ends.wgsl"));
        let ends = launches.temp(sums);
        launches.push(t, pass("recurrence/factors", of_factors, &sizes, vec![a], factors, false));
        launches.push(t, pass("recurrence/ends", of_ends, &sizes, vec![a, b], ends, false));
        starts = launches.temp(sums);
        // The same of the chunks, which are in the order of the scan.
        let of_chunks = ScanSizes {
            total: lines,
            axis: chunks,
            chunk: chunks,
            chunks: 1,
            reverse: false,
            ..sizes.clone()
        };
        launches.push(
            t,
            pass("recurrence/starts", text, &of_chunks, vec![factors, ends, factors], starts, false),
        );
    }
    launches.push(t, pass("recurrence", text, &sizes, vec![a, b, starts], Operand::Output, true));
    launches
}
