//! Reductions over any axes of a view with any strides.
//!
//! Sums are pairwise: blocks of a fixed length are summed plainly, then halves are added to halves. The error grows with the
//! logarithm of the length, and the tree depends on the sizes alone, so threads can share it without changing a bit.

use super::super::simd::vectorized;
use super::float::{Index, Number};
use super::layout::Strided;
use super::{PARALLEL_WORK, for_each_chunk, units_per_task};
use crate::threads::on_threads;

/// Accumulators that a block of consecutive elements is summed into, so that the compiler can use vectors.
const LANES: usize = 16;
/// Consecutive elements that are summed plainly, sixteen to a lane: more of equal size err by 1e-6, since rounding them goes one
/// way.
const BLOCK: usize = 16 * LANES;
/// Rows that are summed plainly, column by column.
const BLOCK_ROWS: usize = 16;
/// Columns that are reduced together.
const BLOCK_COLS: usize = 512;
/// Elements from which two threads share one sum.
const SHARED: usize = 128 * 1024;

/// An associative operation with a neutral element.
trait Reduction<T: Number>: Copy + Send + Sync + 'static {
    fn neutral(self) -> Option<T>;
    fn combine(self, a: T, b: T) -> T;
}

#[derive(Clone, Copy)]
struct Sum;
#[derive(Clone, Copy)]
struct Prod;
#[derive(Clone, Copy)]
struct Max;
#[derive(Clone, Copy)]
struct Min;

macro_rules! reduction {
    ($name:ident, $neutral:expr, $combine:expr) => {
        impl<T: Number> Reduction<T> for $name {
            #[inline(always)]
            fn neutral(self) -> Option<T> {
                $neutral
            }

            #[inline(always)]
            fn combine(self, a: T, b: T) -> T {
                $combine(a, b)
            }
        }
    };
}

reduction!(Sum, Some(T::ZERO), T::plus);
reduction!(Prod, Some(T::ONE), T::times);
reduction!(Max, None, T::larger);
reduction!(Min, None, T::smaller);

/// `out = sum of x over axes`: one element per place of the remaining dimensions, row-major. An empty sum is 0.
pub fn sum<T: Number>(x: Strided<T>, axes: &[usize], out: &mut [T]) {
    reduce(Sum, x, axes, out);
}

/// `out = product of x over axes`. An empty product is 1.
pub fn prod<T: Number>(x: Strided<T>, axes: &[usize], out: &mut [T]) {
    reduce(Prod, x, axes, out);
}

/// `out = max of x over axes`; NaN if there is one. The caller sees to it that there is something to choose from.
pub fn max<T: Number>(x: Strided<T>, axes: &[usize], out: &mut [T]) {
    reduce(Max, x, axes, out);
}

/// `out = min of x over axes`; NaN if there is one. The caller sees to it that there is something to choose from.
pub fn min<T: Number>(x: Strided<T>, axes: &[usize], out: &mut [T]) {
    reduce(Min, x, axes, out);
}

/// `out = index of the maximum along axis`, row-major over the other dimensions; the first of several, the first NaN if any.
pub fn argmax<T: Number, I: Index>(x: Strided<T>, axis: usize, out: &mut [I]) {
    arg_best(x, axis, out, T::beats_max);
}

/// `out = index of the minimum along axis`, row-major over the other dimensions; the first of several, the first NaN if any.
pub fn argmin<T: Number, I: Index>(x: Strided<T>, axis: usize, out: &mut [I]) {
    arg_best(x, axis, out, T::beats_min);
}

fn arg_best<T: Number, I: Index>(
    x: Strided<T>,
    axis: usize,
    out: &mut [I],
    beats: impl Fn(T, T) -> bool + Sync + Send,
) {
    let len = x.shape()[axis];
    if len == 0 {
        out.fill(I::from_place(0));
        return;
    }
    let stride = x.strides()[axis];
    let (shape, strides) = without(&x, &[axis]);
    let origin = Origin(x.as_ptr());
    let per_task = units_per_task(2 * len);
    for_each_chunk(out, per_task, 2 * x.len() >= PARALLEL_WORK, |task, out| {
        walk(&shape, &strides, task * per_task, out.len(), |i, offset| {
            // SAFETY: `offset + place * stride` is the offset of an element of the view.
            let at = |place: usize| unsafe { origin.at(offset + place as isize * stride) };
            let (mut best, mut best_place) = (at(0), 0);
            for place in 1..len {
                let value = at(place);
                if beats(value, best) {
                    (best, best_place) = (value, place);
                }
            }
            out[i] = I::from_place(best_place);
        });
    });
}

/// The first element of a view, to share between threads: they only read.
struct Origin<T>(*const T);

impl<T: Copy> Origin<T> {
    /// # Safety
    /// `offset` must be that of an element of the view, which must still be borrowed.
    #[inline(always)]
    unsafe fn at(&self, offset: isize) -> T {
        // SAFETY: the caller's promise.
        unsafe { *self.0.offset(offset) }
    }
}

// SAFETY: it points into a borrowed view of `T: Sync`, which outlives the use, and nobody writes through it.
unsafe impl<T: Sync> Sync for Origin<T> {}

/// Shape and strides of the dimensions that are not in `axes`.
fn without<T>(x: &Strided<T>, axes: &[usize]) -> (Vec<usize>, Vec<isize>) {
    (0..x.ndim()).filter(|d| !axes.contains(d)).map(|d| (x.shape()[d], x.strides()[d])).unzip()
}

/// Calls `f(i, offset)` for `count` places of a strided shape, from the row-major place `first` on.
#[inline(always)]
fn walk(shape: &[usize], strides: &[isize], first: usize, count: usize, mut f: impl FnMut(usize, isize)) {
    let (mut few, mut many) = ([0; 8], Vec::new());
    let place = if shape.len() <= few.len() {
        &mut few[..shape.len()]
    } else {
        many.resize(shape.len(), 0);
        &mut many[..]
    };
    let mut rest = first;
    for d in (0..shape.len()).rev() {
        place[d] = rest % shape[d];
        rest /= shape[d];
    }
    let mut offset: isize = place.iter().zip(strides).map(|(&p, &s)| p as isize * s).sum();
    for i in 0..count {
        f(i, offset);
        for d in (0..shape.len()).rev() {
            place[d] += 1;
            offset += strides[d];
            if place[d] < shape[d] {
                break;
            }
            offset -= strides[d] * shape[d] as isize;
            place[d] = 0;
        }
    }
}

fn reduce<T: Number, R: Reduction<T>>(r: R, x: Strided<T>, axes: &[usize], out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    if x.is_empty() {
        if let Some(neutral) = r.neutral() {
            out.fill(neutral);
        }
        return;
    }
    match (x.as_slice(), side_by_side(x.shape(), axes)) {
        (Some(x), Some(size)) => reduce_block(r, x, size, out),
        _ => reduce_strided(r, &x, axes, out),
    }
}

/// `[outer, len, inner]` if the reduced axes lie side by side, so that together they are the middle axis.
fn side_by_side(shape: &[usize], axes: &[usize]) -> Option<[usize; 3]> {
    let mut size = [1; 3];
    let mut part = 0;
    for (d, &len) in shape.iter().enumerate().filter(|(_, len)| **len != 1) {
        part = match (axes.contains(&d), part) {
            (true, 2) => return None,
            (true, _) => 1,
            (false, 0) => 0,
            (false, _) => 2,
        };
        size[part] *= len;
    }
    Some(size)
}

/// Reduces the middle axis of a contiguous `[outer, len, inner]`.
fn reduce_block<T: Number, R: Reduction<T>>(r: R, x: &[T], [_, len, inner]: [usize; 3], out: &mut [T]) {
    let parallel = x.len() >= PARALLEL_WORK;
    let per_task = units_per_task(len * inner);
    if inner == 1 {
        for_each_chunk(out, per_task, parallel, |task, out| {
            for (x, out) in x[task * per_task * len..].chunks_exact(len).zip(out) {
                *out = reduce_run(r, x);
            }
        });
        return;
    }
    for_each_chunk(out, per_task * inner, parallel, |task, out| {
        let x = x[task * per_task * len * inner..].chunks_exact(len * inner);
        for (x, out) in x.zip(out.chunks_exact_mut(inner)) {
            for_each_chunk(out, BLOCK_COLS, len * inner >= PARALLEL_WORK, |block, out| {
                reduce_rows(r, &x[block * BLOCK_COLS..], len, inner, out);
            });
        }
    });
}

/// Where to halve `len`, so that the first half is whole blocks.
fn halfway(len: usize, block: usize) -> usize {
    (len / 2).next_multiple_of(block)
}

/// Runs both once, in either order or at once. By `dyn`, as [`for_each_chunk`] and for the same reason.
fn both(shared: bool, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
    if shared {
        on_threads(&mut || {
            rayon::join(&mut *a, &mut *b);
        });
    } else {
        a();
        b();
    }
}

/// Reduces consecutive elements, at least one.
fn reduce_run<T: Number, R: Reduction<T>>(r: R, x: &[T]) -> T {
    if x.len() > BLOCK {
        let (low, high) = x.split_at(halfway(x.len(), BLOCK));
        let (mut one, mut two) = (x[0], x[0]);
        both(x.len() >= SHARED, &mut || one = reduce_run(r, low), &mut || two = reduce_run(r, high));
        return r.combine(one, two);
    }
    let combine = |a: T, b: &T| r.combine(a, *b);
    let Some((lanes, rest)) = x.split_first_chunk::<LANES>() else {
        return x[1..].iter().fold(x[0], combine);
    };
    let mut lanes = *lanes;
    let mut chunks = rest.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = r.combine(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = r.combine(*lane, *value);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low = r.combine(*low, *high);
        }
    }
    lanes[0]
}

/// `out[c] = reduction over rows of x[row * stride + c]`, for at most [`BLOCK_COLS`] columns and at least one row.
fn reduce_rows<T: Number, R: Reduction<T>>(r: R, x: &[T], rows: usize, stride: usize, out: &mut [T]) {
    let cols = out.len();
    if rows <= BLOCK_ROWS {
        out.copy_from_slice(&x[..cols]);
        return combine_rows(r, &x[stride.min(x.len())..], rows - 1, stride, out);
    }
    let low_rows = halfway(rows, BLOCK_ROWS);
    let mut high = [x[0]; BLOCK_COLS];
    let high = &mut high[..cols];
    both(rows * cols >= SHARED, &mut || reduce_rows(r, x, low_rows, stride, out), &mut || {
        reduce_rows(r, &x[low_rows * stride..], rows - low_rows, stride, high)
    });
    combine_rows(r, high, 1, cols, out);
}

vectorized! {
/// Combines `out` with `rows` rows of `x`, in order.
fn combine_rows[T: Number, R: Reduction<T>](r: R, x: &[T], rows: usize, stride: usize, out: &mut [T]) {
    for row in 0..rows {
        for (out, value) in out.iter_mut().zip(&x[row * stride..]) {
            *out = r.combine(*out, *value);
        }
    }
}
}

/// Any axes, any strides: each output gathers its elements block by block.
fn reduce_strided<T: Number, R: Reduction<T>>(r: R, x: &Strided<T>, axes: &[usize], out: &mut [T]) {
    let (shape, strides) = without(x, axes);
    let kept: Vec<usize> = (0..x.ndim()).filter(|d| !axes.contains(d)).collect();
    let (reduced_shape, reduced_strides) = without(x, &kept);
    let len: usize = reduced_shape.iter().product();
    let origin = Origin(x.as_ptr());
    let per_task = units_per_task(2 * len);
    for_each_chunk(out, per_task, 2 * x.len() >= PARALLEL_WORK, |task, out| {
        walk(&shape, &strides, task * per_task, out.len(), |i, offset| {
            let gather = |first: usize, block: &mut [T]| {
                walk(&reduced_shape, &reduced_strides, first, block.len(), |i, reduced| {
                    // SAFETY: kept and reduced offsets add up to the offset of an element of the view.
                    block[i] = unsafe { origin.at(offset + reduced) };
                });
            };
            out[i] = reduce_gathered(r, &gather, 0, len);
        });
    });
}

/// As [`reduce_run`], over elements `first..first + len` that `gather` fetches.
fn reduce_gathered<T: Number, R: Reduction<T>>(
    r: R,
    gather: &(impl Fn(usize, &mut [T]) + Sync),
    first: usize,
    len: usize,
) -> T {
    if len <= BLOCK {
        let mut block = [T::ZERO; BLOCK];
        gather(first, &mut block[..len]);
        return reduce_run(r, &block[..len]);
    }
    let low_len = halfway(len, BLOCK);
    let (mut low, mut high) = (T::ZERO, T::ZERO);
    both(len >= SHARED, &mut || low = reduce_gathered(r, gather, first, low_len), &mut || {
        high = reduce_gathered(r, gather, first + low_len, len - low_len)
    });
    r.combine(low, high)
}

#[cfg(test)]
mod tests;
