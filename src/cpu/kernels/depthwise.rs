//! Convolution with one input channel per group: too little for a matrix product, so loops along the channels.

use std::ops::Range;

use super::float::Float;
use super::gemm::sum_partials;
use super::{CHAIN, PARALLEL_WORK, for_each_chunk, pairwise, units_per_task};
use crate::geometry::Conv2dGeometry;

/// Parts that the positions are cut into for the weight gradient, whatever the number of threads.
const SPLITS: usize = 16;

/// Whether `g` is for this module: groups of a single input channel.
pub(super) fn applies(g: &Conv2dGeometry) -> bool {
    g.groups == g.cin && g.groups > 1
}

/// `y[c * m + j] += x[c] * w[c * m + j]` over channels c and the multiplier's j.
#[inline(always)]
fn multiply_add<T: Float>(y: &mut [T], x: &[T], w: &[T]) {
    if x.len() == y.len() {
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y += *x * *w;
        }
    } else {
        let multiplier = y.len() / x.len();
        for ((y, x), w) in y.chunks_exact_mut(multiplier).zip(x).zip(w.chunks_exact(multiplier)) {
            for (y, w) in y.iter_mut().zip(w) {
                *y += *x * *w;
            }
        }
    }
}

/// Work of a row of outputs.
fn row_work(g: &Conv2dGeometry) -> usize {
    (g.ow * g.kh * g.kw * g.cout).div_ceil(4)
}

/// `out = sum over the kernel's rows`, of which `term` adds some to what it is given: all at once, or a few where they have
/// many taps.
#[inline(always)]
fn over_kernel_rows<T: Float>(
    g: &Conv2dGeometry,
    out: &mut [T],
    mut term: impl FnMut(Range<usize>, &mut [T]),
) {
    let together = (CHAIN / g.kw).max(1);
    if g.kh <= together {
        out.fill(T::ZERO);
        return term(0..g.kh, out);
    }
    pairwise(0..g.kh.div_ceil(together), out, &mut |i, out| {
        out.fill(T::ZERO);
        term(i * together..g.kh.min((i + 1) * together), out);
    });
}

/// Calls `f(x place, tap)` for each tap in these rows of the kernel at `(image, oy, ox)` that is not padding.
#[inline(always)]
fn for_each_tap(
    g: &Conv2dGeometry,
    [image, oy, ox]: [usize; 3],
    kernel_rows: Range<usize>,
    mut f: impl FnMut(usize, usize),
) {
    for ky in kernel_rows {
        let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.padding[0]);
        if iy >= g.h {
            continue;
        }
        for kx in 0..g.kw {
            let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.padding[2]);
            if ix < g.w {
                f(((image * g.h + iy) * g.w + ix) * g.cin, ky * g.kw + kx);
            }
        }
    }
}

/// See [`super::conv2d::conv2d_forward`].
pub(super) fn forward<T: Float>(g: &Conv2dGeometry, x: &[T], w: &[T], y: &mut [T]) {
    let rows = units_per_task(row_work(g));
    let parallel = row_work(g) * g.n * g.oh >= PARALLEL_WORK;
    for_each_chunk(y, rows * g.ow * g.cout, parallel, |task, y| {
        for (i, y) in y.chunks_exact_mut(g.cout).enumerate() {
            let (row, ox) = (task * rows + i / g.ow, i % g.ow);
            over_kernel_rows(g, y, |kernel_rows, y| {
                for_each_tap(g, [row / g.oh, row % g.oh, ox], kernel_rows, |place, tap| {
                    multiply_add(y, &x[place..place + g.cin], &w[tap * g.cout..(tap + 1) * g.cout]);
                });
            });
        }
    });
}

/// See [`super::conv2d::conv2d_input_grad`].
pub(super) fn input_grad<T: Float>(g: &Conv2dGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let parallel = row_work(g) * g.n * g.oh >= PARALLEL_WORK;
    let rows = units_per_task(g.w * g.kh * g.kw * g.cout / 4);
    // The output whose tap `k` lies on input `i`, if there is one.
    let source = |i: usize, k: usize, axis: usize, size: usize| {
        let place = (i + g.padding[2 * axis]).checked_sub(k * g.dilation[axis])?;
        (place % g.stride[axis] == 0 && place / g.stride[axis] < size).then_some(place / g.stride[axis])
    };
    for_each_chunk(dx, rows * g.w * g.cin, parallel, |task, dx| {
        for (i, dx) in dx.chunks_exact_mut(g.cin).enumerate() {
            let (row, ix) = (task * rows + i / g.w, i % g.w);
            let (image, iy) = (row / g.h, row % g.h);
            over_kernel_rows(g, dx, |kernel_rows, dx| {
                for ky in kernel_rows {
                    let Some(oy) = source(iy, ky, 0, g.oh) else { continue };
                    for kx in 0..g.kw {
                        let Some(ox) = source(ix, kx, 1, g.ow) else { continue };
                        let dy = &dy[((image * g.oh + oy) * g.ow + ox) * g.cout..][..g.cout];
                        let w = &w[(ky * g.kw + kx) * g.cout..][..g.cout];
                        add_products(dx, dy, w);
                    }
                }
            });
        }
    });
}

/// `dx[c] += sum over j of dy[c * m + j] w[c * m + j]` over channels c and the multiplier's j.
#[inline(always)]
fn add_products<T: Float>(dx: &mut [T], dy: &[T], w: &[T]) {
    let multiplier = dy.len() / dx.len();
    if multiplier == 1 {
        return multiply_add(dx, dy, w);
    }
    for ((dx, dy), w) in dx.iter_mut().zip(dy.chunks_exact(multiplier)).zip(w.chunks_exact(multiplier)) {
        for (dy, w) in dy.iter().zip(w) {
            *dx += *dy * *w;
        }
    }
}

/// See [`super::conv2d::conv2d_weight_grad`].
pub(super) fn weight_grad<T: Float>(g: &Conv2dGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let rows = g.n * g.oh;
    let parallel = row_work(g) * rows >= PARALLEL_WORK;
    let per_split = if parallel { rows.div_ceil(SPLITS) } else { rows };
    let splits = rows.div_ceil(per_split);
    T::with_scratch(splits * dw.len(), |partial| {
        for_each_chunk(partial, dw.len(), parallel, |split, partial| {
            let first = split * per_split * g.ow;
            let last = rows.min((split + 1) * per_split) * g.ow;
            pairwise(0..(last - first).div_ceil(CHAIN), partial, &mut |i, partial| {
                partial.fill(T::ZERO);
                let start = first + i * CHAIN;
                for position in start..last.min(start + CHAIN) {
                    let (row, ox) = (position / g.ow, position % g.ow);
                    let dy = &dy[position * g.cout..][..g.cout];
                    for_each_tap(g, [row / g.oh, row % g.oh, ox], 0..g.kh, |place, tap| {
                        multiply_add(
                            &mut partial[tap * g.cout..(tap + 1) * g.cout],
                            &x[place..place + g.cin],
                            dy,
                        );
                    });
                }
            });
        });
        sum_partials(partial, dw);
    });
}

#[cfg(test)]
mod tests {
    use super::super::conv2d::tests::{check, geometry};

    #[test]
    fn depthwise() {
        check(&geometry([2, 7, 6, 5], [3, 3, 5], [1, 1], [1; 4], [1, 1], 5));
        check(&geometry([2, 9, 8, 4], [3, 2, 4], [2, 3], [1, 0, 2, 1], [1, 2], 4));
        check(&geometry([3, 20, 19, 16], [3, 3, 16], [1, 1], [1; 4], [1, 1], 16));
    }

    #[test]
    fn multiplier() {
        check(&geometry([2, 7, 6, 3], [3, 3, 6], [1, 1], [1; 4], [1, 1], 3));
        check(&geometry([5, 17, 18, 8], [3, 3, 24], [2, 2], [0, 1, 0, 1], [1, 1], 8));
    }

    #[test]
    fn empty() {
        check(&geometry([0, 5, 5, 2], [3, 3, 4], [1, 1], [0; 4], [1, 1], 2));
    }
}
