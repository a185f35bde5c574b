//! Selecting along an axis by integer indices, its gradient, and the indices of extremes.

use super::launch::{Build, Pass, chunk_of_axis};
use super::sort::{Key, bisection, sorted_pairs};
use super::uniform::uniform;
use super::{KernelTarget, Launches, Operand, Turns, Uniform};
use crate::dtype::DType;
use crate::gpu::wgsl::{by_width, exchange, exchange_block, set_alias, shader};
use std::borrow::Cow;

uniform! {
    /// The block of `index_starts.wgsl` and `index_last.wgsl`. `total`, here and below: invocations.
    struct StartsSizes {
        total: usize,
        count: usize,
    }
}

uniform! {
    /// The block of `index_add.wgsl` and `index_add_chunks.wgsl`.
    struct AddSizes {
        total: usize,
        axis: usize,
        inner: usize,
        count: usize,
        chunks: usize,
        chunk: usize,
        shift: usize,
    }
}

uniform! {
    /// The block of `index_argmax.wgsl`, `index_argmax_chunks.wgsl` and `index_argmax_merge.wgsl`.
    struct ArgmaxSizes {
        total: usize,
        axis: usize,
        inner: usize,
        chunk: usize,
        chunks: usize,
        flip: usize,
    }
}

/// Sorted indices per partial sum of [`index_add`]: so many that neither a sum's indices nor the sums of an index that comes
/// all the time are too many for a loop.
fn add_chunk(count: usize) -> usize {
    count.isqrt().next_power_of_two().clamp(256, 16_384)
}

/// The indices with their positions, sorted: `indices[count]` as u32.
fn sorted_indices(launches: &mut Launches, t: &KernelTarget, indices: Operand, count: usize) -> Operand {
    sorted_pairs(launches, t, indices, [1, count], Key::of(DType::U32, false))
}

/// The gradient of selecting lines by index, for words of 32 bits: `dx[outer, axis, inner]`, each line the sum of the lines of `dy`
/// that were selected from it, always added in the same order. Integers wrap.
///
/// Inputs: `dy[outer, count, inner]`, `indices[count]` as u32. Lines whose index is not below `axis` are left out.
///
/// The indices are sorted with their positions, so that each line of `dx` finds its lines of `dy` in a row. Cost: about `count *
/// log2(count)^2 / 2 + outer * (axis + count) * inner`, however the indices are distributed.
pub fn index_add(t: &KernelTarget, [outer, axis, inner]: [usize; 3], count: usize, dtype: DType) -> Launches {
    let mut launches = Launches::default();
    if outer * axis * inner == 0 {
        return launches;
    }
    let pairs = sorted_indices(&mut launches, t, Operand::Input(1), count);
    let starts = launches.temp(axis + 1);
    launches.push(
        t,
        Pass {
            label: "index_add/starts",
            source: shader!("index_starts.wgsl").into(),
            total: axis + 1,
            uniform: Uniform::of(&StartsSizes { total: axis + 1, count }),
            inputs: vec![pairs],
            output: starts,
            turns: bisection(count),
            epilogue: false,
        },
    );
    let chunk = add_chunk(count);
    let chunks = count / chunk;
    let sums = launches.temp(outer * chunks.max(1) * inner.next_multiple_of(4));
    let (width, source) = by_width(shader!("index_add_chunks.wgsl"), inner);
    let typed = |source: Cow<'static, str>| match dtype.is_float() {
        true => source,
        false => set_alias(&source, "F", if width == 4 { "vec4<u32>" } else { "u32" }).into(),
    };
    let shift = chunk.ilog2() as usize;
    let uniform =
        |total| Uniform::of(&AddSizes { total, axis, inner: inner / width, count, chunks, chunk, shift });
    let total = outer * chunks * (inner / width);
    launches.push(
        t,
        Pass {
            label: "index_add/chunks",
            source: typed(source),
            total,
            uniform: uniform(total),
            inputs: vec![Operand::Input(0), pairs],
            output: sums,
            // What is added here is not added below, and mostly nothing is.
            turns: Turns::around(chunk / 256, Turns::around(16, Turns::of(16))).in_the_mean(0),
            epilogue: false,
        },
    );
    let (_, source) = by_width(shader!("index_add.wgsl"), inner);
    let source = match (dtype.is_float(), width) {
        (true, _) => source,
        (false, 4) => exchange(&typed(source), "return epilogue4(v, 4u * i);", "return v;").into(),
        (false, _) => exchange(&typed(source), "{ return epilogue(v, i); }", "{ return v; }").into(),
    };
    let total = outer * axis * (inner / width);
    launches.push(
        t,
        Pass {
            label: "index_add",
            source,
            total,
            uniform: uniform(total),
            inputs: vec![Operand::Input(0), pairs, starts, sums],
            output: Operand::Output,
            // At most whole chunks, and what is left of two. All lines together take each index once.
            turns: Turns::of(chunks + 2 * chunk).in_the_mean(1 + count / axis),
            epilogue: dtype.is_float(),
        },
    );
    launches
}

/// `last[axis]` (u32) = one more than the last position at which each number stands among the indices, 0 where at none.
///
/// Inputs: `indices[count]` as u32.
pub fn index_last(t: &KernelTarget, axis: usize, count: usize) -> Launches {
    let mut launches = Launches::default();
    let pairs = sorted_indices(&mut launches, t, Operand::Input(0), count);
    launches.push(
        t,
        Pass {
            label: "index_last",
            source: shader!("index_last.wgsl").into(),
            total: axis,
            uniform: Uniform::of(&StartsSizes { total: axis, count }),
            inputs: vec![pairs],
            output: Operand::Output,
            turns: bisection(count),
            epilogue: false,
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
    // Along the last axis an invocation of a real GPU reads four neighbours of it: they are columns until the end.
    let row = !t.cpu_adapter && inner == 1 && axis.is_multiple_of(4);
    let [axis, inner] = if row { [axis / 4, 4] } else { [axis, inner] };
    let (width, _) = by_width("", inner);
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
        true => by_width(text, inner).1,
        false => of_integers(&by_width(text, inner).1, width).into(),
    };
    // What is stored at the end: of four columns each its own, or of one row the first of four.
    let last = |text: &'static str| match row {
        true => set_alias(&exchange_block(source(text), "store", FIRST_OF_ROW), "I", "i32").into(),
        false => source(text),
    };
    // Two passes where the axis is too long for one loop, or long with few others to work beside.
    let chunk = chunk_of_axis(axis, lines, 32_768);
    let chunks = axis.div_ceil(chunk);
    let uniform = |total| {
        Uniform::of(&ArgmaxSizes { total, axis, inner: inner / width, chunk, chunks, flip: flip as usize })
    };
    let pass = |label, source, total, input, output, turns| Pass {
        label,
        source,
        total,
        uniform: uniform(total),
        inputs: vec![input],
        output,
        turns: Turns::of(turns),
        epilogue: false,
    };
    if chunks == 1 {
        let text = last(shader!("index_argmax.wgsl"));
        launches.push(t, pass("argmax", text, lines, Operand::Input(0), Operand::Output, axis));
    } else {
        let found = launches.temp(2 * outer * chunks * inner);
        let text = source(shader!("index_argmax_chunks.wgsl"));
        launches.push(t, pass("argmax/chunks", text, lines * chunks, Operand::Input(0), found, chunk));
        let text = last(shader!("index_argmax_merge.wgsl"));
        launches.push(t, pass("argmax/merge", text, lines, found, Operand::Output, chunks));
    }
    launches
}

/// How an argmax along a row ends, whose places `4 * best_at + lane` are: of four lanes the best, of equals the first.
const FIRST_OF_ROW: &str = "    best_at = 4u * best_at + U(0u, 1u, 2u, 3u);
    var other = best.zwxy;
    var other_at = best_at.zwxy;
    var wins = beats(other, best) | (!beats(best, other) & (other_at < best_at));
    best = select(best, other, wins);
    best_at = select(best_at, other_at, wins);
    other = best.yxwz;
    other_at = best_at.yxwz;
    wins = beats(other, best) | (!beats(best, other) & (other_at < best_at));
    out[i] = i32(select(best_at, other_at, wins).x);
";

/// An argmax kernel for values that are compared as unsigned integers.
fn of_integers(source: &str, width: usize) -> String {
    let nan = "(bitcast<U>(v) & U(0x7fffffffu)) > U(0x7f800000u)";
    let compared = exchange(source, nan, "v != v"); // no integer is
    set_alias(&compared, "F", if width == 4 { "vec4<u32>" } else { "u32" })
}

#[cfg(test)]
mod tests {
    use super::super::tests::target;
    use super::*;

    #[test]
    fn each_index_is_added_once_in_the_mean() {
        let t = target(true, Some(8));
        for (axis, count) in
            [(50_000, 1_000), (50_000, 400_000), (10, 1_000_000), (1, 63), (7, 0), (3, 1 << 28)]
        {
            let launches = index_add(&t, [1, axis, 8], count, DType::F32);
            let last = launches.list.last().expect("at least the starts and the sums").turns;
            let taken = axis * last.mean() as usize;
            // The bound where few places have very many, whose chunks are added before.
            assert!(
                taken >= count.min(axis * (last.count() as usize)) && taken <= count + axis,
                "{axis} {count}"
            );
            for launch in &launches.list {
                launch.turns.check("", launch.label, String::new).unwrap();
                assert!(launch.turns.mean() <= launch.turns.count());
            }
        }
    }
}
