//! Running sums along an axis.

use super::uniform::uniform;
use super::{GROUP, KernelTarget, Launch, Launches, Operand, Turns, Uniform, fold};
use crate::gpu::wgsl::{by_width, shader};

uniform! {
    /// The block of `scan.wgsl`, `scan_totals.wgsl` and `scan_starts.wgsl`.
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
    // Chunks of an axis that is long, or that has few others to work beside: their totals, what is before each, and then all at once.
    let chunk = if axis > 4096 || (axis > 1024 && lines < 1024) { (axis.isqrt() + 1).max(256) } else { axis };
    let chunks = axis.div_ceil(chunk);
    let launch = |label, text, total: usize, inputs, output, turns, epilogue| Launch {
        label,
        source: by_width(text, inner).1,
        constants: Vec::new(),
        uniform: Uniform::of(&ScanSizes { total, axis, inner: inner / width, chunk, chunks, reverse }),
        inputs,
        output,
        workgroups: fold(total.div_ceil(GROUP), t.max_workgroups_per_dimension),
        turns: Turns::of(turns),
        epilogue,
    };
    let (x, totals, starts) = (Operand::Input(0), Operand::Temp(0), Operand::Temp(1));
    let scan = |starts| {
        let text = shader!("scan.wgsl");
        launch("cumsum", text, lines * chunks, vec![x, starts], Operand::Output, chunk, true)
    };
    if chunks == 1 {
        // Nothing is before the only chunk: what is bound there is not read.
        return Launches { temps: Vec::new(), list: vec![scan(x)] };
    }
    let text = shader!("scan_totals.wgsl");
    let first = launch("cumsum/totals", text, lines * chunks, vec![x], totals, chunk, false);
    let text = shader!("scan_starts.wgsl");
    let second = launch("cumsum/starts", text, lines, vec![totals], starts, chunks, false);
    Launches { temps: vec![4 * outer * chunks * inner; 2], list: vec![first, second, scan(starts)] }
}
