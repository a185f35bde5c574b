//! Selecting along an axis by integer indices, its gradient, and the indices of extremes.

use std::borrow::Cow;

use super::pool2d::{GROUP, widen};
use super::{KernelTarget, Launch, Launches, Operand, Turns, fold};
use crate::dtype::DType;

/// Length of the blocks that the first pass of the sort orders (as in `index_sort_block.wgsl`).
const SORT_BLOCK: usize = 64;

/// Finding a place among up to 2^32 of them by halves.
const BISECTION: Turns = Turns::of(33);

/// Sorted indices per partial sum of [`index_add`]: so many that neither a sum's indices nor the sums of an index that comes
/// all the time are too many for a loop.
fn add_chunk(count: usize) -> usize {
    count.isqrt().next_power_of_two().clamp(256, 16_384)
}

/// The gradient of selecting lines by index, for f32: `dx[outer, axis, inner]`, each line the sum of the lines of `dy` that were selected
/// from it, always added in the same order.
///
/// Inputs: `dy[outer, count, inner]`, `indices[count]` as u32. Lines whose index is not below `axis` are left out.
///
/// The indices are sorted with their positions (blocks by counting, then stable merges), so that each line of `dx` finds its
/// lines of `dy` in a row. Cost: about `count * log2(count)^2 / 2 + outer * (axis + count) * inner`, however the indices are
/// distributed.
pub fn index_add(t: &KernelTarget, outer: usize, axis: usize, inner: usize, count: usize) -> Launches {
    let mut launches = Launches::default();
    if outer * axis * inner == 0 {
        return launches;
    }
    let pairs = [launches.temp(2 * count.max(1)), launches.temp(2 * count.max(1))];
    launches.push(
        t,
        Step {
            label: "index_add/sort_block",
            source: include_str!("../../../shaders/index_sort_block.wgsl").into(),
            total: count,
            sizes: &[],
            inputs: vec![Operand::Input(1)],
            output: pairs[0],
            turns: Turns::of(SORT_BLOCK),
            epilogue: false,
        },
    );
    let mut sorted = 0;
    let mut run = SORT_BLOCK;
    while run < count {
        launches.push(
            t,
            Step {
                label: "index_add/sort_merge",
                source: include_str!("../../../shaders/index_sort_merge.wgsl").into(),
                total: count,
                sizes: &[run],
                inputs: vec![pairs[sorted]],
                output: pairs[1 - sorted],
                turns: BISECTION,
                epilogue: false,
            },
        );
        sorted = 1 - sorted;
        run *= 2;
    }
    let starts = launches.temp(axis + 1);
    launches.push(
        t,
        Step {
            label: "index_add/starts",
            source: include_str!("../../../shaders/index_starts.wgsl").into(),
            total: axis + 1,
            sizes: &[count],
            inputs: vec![pairs[sorted]],
            output: starts,
            turns: BISECTION,
            epilogue: false,
        },
    );
    let chunk = add_chunk(count);
    let chunks = count / chunk;
    let sums = launches.temp(outer * chunks.max(1) * inner.next_multiple_of(4));
    let (width, source) = widen(include_str!("../../../shaders/index_add_chunks.wgsl"), inner);
    let sizes = [axis, inner / width, count, chunks, chunk, chunk.ilog2() as usize];
    launches.push(
        t,
        Step {
            label: "index_add/chunks",
            source,
            total: outer * chunks * (inner / width),
            sizes: &sizes,
            inputs: vec![Operand::Input(0), pairs[sorted]],
            output: sums,
            turns: Turns::around(chunk / 256, Turns::around(16, Turns::of(16))),
            epilogue: false,
        },
    );
    let (width, source) = widen(include_str!("../../../shaders/index_add.wgsl"), inner);
    launches.push(
        t,
        Step {
            label: "index_add",
            source,
            total: outer * axis * (inner / width),
            sizes: &sizes,
            inputs: vec![Operand::Input(0), pairs[sorted], starts, sums],
            output: Operand::Output,
            // whole chunks, and what is left of two
            turns: Turns::of(chunks + 2 * chunk),
            epilogue: true,
        },
    );
    launches
}

/// `out[outer, inner]` (i32) = the place of the first maximum (or minimum) of `x[outer, axis, inner]` along the axis, a NaN being
/// the extreme. `x` is f32, i32 or u32.
///
/// Inputs: `x`.
pub fn argmax(t: &KernelTarget, [outer, axis, inner]: [usize; 3], dtype: DType, min: bool) -> Launches {
    let mut launches = Launches::default();
    if axis == 0 {
        return launches;
    }
    let (width, _) = widen("", inner);
    let lines = outer * (inner / width);
    // Bits to be flipped so that the maximum of what comes out, as floats or as unsigned integers, is what is looked for.
    let flip: u32 = match (dtype, min) {
        (DType::U32 | DType::U8, false) => 0,
        (DType::U32 | DType::U8, true) => u32::MAX,
        (DType::I32, false) => 1 << 31,
        (DType::I32, true) => !(1 << 31),
        (DType::F32 | DType::F64, false) => 0,
        (DType::F32 | DType::F64, true) => 1 << 31,
    };
    let source = |text: &'static str| match dtype.is_float() {
        true => widen(text, inner).1,
        false => of_integers(&widen(text, inner).1).into(),
    };
    // Two passes where the axis is too long for one loop, or long with few others to work beside.
    let chunk =
        if axis > 32_768 || (axis > 1024 && lines < 1024) { (axis.isqrt() + 1).max(256) } else { axis };
    let chunks = axis.div_ceil(chunk);
    let sizes = [axis, inner / width, chunk, chunks, flip as usize];
    let step = |label, text, total, input, output, turns| Step {
        label,
        source: source(text),
        total,
        sizes: &sizes,
        inputs: vec![input],
        output,
        turns: Turns::of(turns),
        epilogue: false,
    };
    if chunks == 1 {
        let text = include_str!("../../../shaders/index_argmax.wgsl");
        launches.push(t, step("argmax", text, lines, Operand::Input(0), Operand::Output, axis));
    } else {
        let found = launches.temp(2 * outer * chunks * inner);
        let text = include_str!("../../../shaders/index_argmax_chunks.wgsl");
        launches.push(t, step("argmax/chunks", text, lines * chunks, Operand::Input(0), found, chunk));
        let text = include_str!("../../../shaders/index_argmax_merge.wgsl");
        launches.push(t, step("argmax/merge", text, lines, found, Operand::Output, chunks));
    }
    launches
}

/// An argmax kernel for values that are compared as unsigned integers.
fn of_integers(source: &str) -> String {
    let nan = "(bitcast<U>(v) & U(0x7fffffffu)) > U(0x7f800000u)";
    let compared = source.replace(nan, "v != v"); // no integer is
    compared
        .replace("alias F = vec4<f32>;", "alias F = vec4<u32>;")
        .replace("alias F = f32;", "alias F = u32;")
}

/// One dispatch with an invocation per item.
struct Step<'a> {
    label: &'static str,
    source: Cow<'static, str>,
    total: usize,
    /// What the uniform block holds after the total.
    sizes: &'a [usize],
    inputs: Vec<Operand>,
    output: Operand,
    turns: Turns,
    epilogue: bool,
}

/// What the kernels of this file need of [`Launches`].
trait Build {
    fn temp(&mut self, words: usize) -> Operand;
    fn push(&mut self, t: &KernelTarget, step: Step);
}

impl Build for Launches {
    fn temp(&mut self, words: usize) -> Operand {
        self.temps.push(4 * words);
        Operand::Temp(self.temps.len() - 1)
    }

    fn push(&mut self, t: &KernelTarget, step: Step) {
        if step.total == 0 {
            return;
        }
        let mut uniform = vec![step.total as u32];
        uniform.extend(step.sizes.iter().map(|&v| v as u32));
        self.list.push(Launch {
            label: step.label,
            source: step.source,
            constants: Vec::new(),
            uniform,
            inputs: step.inputs,
            output: step.output,
            workgroups: fold(step.total.div_ceil(GROUP), t.max_workgroups_per_dimension),
            turns: step.turns,
            epilogue: step.epilogue,
        });
    }
}
