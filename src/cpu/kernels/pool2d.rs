//! 2-D pooling over NHWC, channels innermost.

use std::ops::Range;

use super::super::simd::vectorized;
use super::Finish;
use super::float::{Float, Number};
use super::{PARALLEL_WORK, for_each_chunk, units_per_task, window_sums};
use crate::geometry::Pool2dGeometry;

/// Channels that a window's maxima are followed for at a time.
const LANES: usize = 32;
/// Tasks that the gradient is cut into at least, where images are few.
const MIN_TASKS: usize = 16;
/// Places of a window that are averaged one after the other; larger windows go along rows, then along columns, with
/// [`window_sums`], which is faster and rounds less.
const PLAIN_WINDOW: usize = 32;

/// `y[n, oy, ox, c] = max over the window of x[n, oy*sh + ky - top, ox*sw + kx - left, c]`. Padding is never picked; NaN is
/// larger than everything. A window that lies in the padding altogether gives negative infinity.
pub fn max_pool2d_forward<T: Float>(g: &Pool2dGeometry, x: &[T], y: &mut [T]) {
    let pairs = is_pairs(g);
    for_each_output_row(g, y, |image, oy, y| {
        if pairs {
            return pair_row(g, x, image, oy, y);
        }
        y.fill(T::NEG_INFINITY);
        for (ox, y) in y.chunks_exact_mut(g.c).enumerate() {
            for_each_place(g, image, oy, ox, |place| {
                for (y, x) in y.iter_mut().zip(&x[place..place + g.c]) {
                    *y = y.larger(*x);
                }
            });
        }
    });
}

/// The gradient of max-pooling's input: `dy` goes to the maximum of its window, to the first in row-major order if several
/// are equal, to the first NaN if there is one. Windows that overlap add up. `finish` is called on each band of `dx`.
pub fn max_pool2d_input_grad<T: Float>(
    g: &Pool2dGeometry,
    x: &[T],
    dy: &[T],
    dx: &mut [T],
    finish: Finish<T>,
) {
    if is_empty(g) {
        dx.fill(T::ZERO);
        return finish(0, dx);
    }
    let pairs = is_pairs(g);
    for_each_band(g, dx, finish, |image, rows, dx| {
        if pairs {
            return pair_bands_grad(g, x, dy, image, rows, dx);
        }
        if windows_of_place(g) <= PLAIN_SUM {
            dx.fill(T::ZERO);
            return for_each_maximum(g, x, dy, image, &rows, |at, dy| dx[at] += dy);
        }
        let mut sums = vec![T::Sum::ZERO; dx.len()];
        for_each_maximum(g, x, dy, image, &rows, |at, dy| sums[at] = sums[at].plus(dy.to_sum()));
        for (dx, sum) in dx.iter_mut().zip(sums) {
            *dx = T::from_sum(sum);
        }
    });
}

/// Gradients that are summed plainly in their own type; sums of more are kept in a wider one.
const PLAIN_SUM: usize = 16;

/// Windows that a place is in, at most.
fn windows_of_place(g: &Pool2dGeometry) -> usize {
    let along = |axis: usize, count: usize| g.kernel[axis].div_ceil(g.stride[axis]).min(count);
    along(0, g.oh).saturating_mul(along(1, g.ow))
}

/// Calls `f` with the place of each window's first maximum, counted from the beginning of these rows of the input, and the
/// window's gradient; the maxima in other rows are left out.
#[inline(always)]
fn for_each_maximum<T: Float>(
    g: &Pool2dGeometry,
    x: &[T],
    dy: &[T],
    image: usize,
    rows: &Range<usize>,
    mut f: impl FnMut(usize, T),
) {
    let start = (image * g.h + rows.start) * g.w * g.c;
    let end = (image * g.h + rows.end) * g.w * g.c;
    for oy in outputs_of_rows(g, rows) {
        for ox in 0..g.ow {
            let dy = &dy[((image * g.oh + oy) * g.ow + ox) * g.c..][..g.c];
            for (block, dy) in dy.chunks(LANES).enumerate() {
                let mut best = [T::NEG_INFINITY; LANES];
                let mut at = [usize::MAX; LANES];
                for_each_place(g, image, oy, ox, |place| {
                    let place = place + block * LANES;
                    for (i, x) in x[place..place + dy.len()].iter().enumerate() {
                        // The first place counts even if it holds negative infinity.
                        if x.beats_max(best[i]) | (at[i] == usize::MAX) {
                            (best[i], at[i]) = (*x, place + i);
                        }
                    }
                });
                for (at, dy) in at.iter().zip(dy) {
                    if *at >= start && *at < end {
                        f(*at - start, *dy);
                    }
                }
            }
        }
    }
}

/// `out[window] = v[place of the window's first maximum of x]`: the adjoint of [`max_pool2d_input_grad`] in `dy`.
pub fn max_pool2d_gather<T: Float>(g: &Pool2dGeometry, x: &[T], v: &[T], out: &mut [T]) {
    for_each_output_row(g, out, |image, oy, out| {
        for (ox, out) in out.chunks_exact_mut(g.c).enumerate() {
            for (c, out) in out.iter_mut().enumerate() {
                let mut best: Option<usize> = None;
                for_each_place(g, image, oy, ox, |place| {
                    if best.is_none_or(|b| x[place + c].beats_max(x[b])) {
                        best = Some(place + c);
                    }
                });
                *out = best.map_or(T::ZERO, |b| v[b]);
            }
        }
    });
}

vectorized! {
/// A row of maxima of 2x2 windows with stride 2.
fn pair_row[T: Float](g: &Pool2dGeometry, x: &[T], image: usize, oy: usize, y: &mut [T]) {
    let [top, bottom] = row_pair(g, x, image, oy);
    let windows = top.chunks_exact(2 * g.c).zip(bottom.chunks_exact(2 * g.c));
    for (y, (top, bottom)) in y.chunks_exact_mut(g.c).zip(windows) {
        window_max(y, quarters(g.c, top, bottom));
    }
}
}

#[inline(always)]
fn window_max<T: Float>(y: &mut [T], [a, b, c, d]: [&[T]; 4]) {
    let n = y.len();
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    for i in 0..n {
        y[i] = a[i].larger(b[i]).larger(c[i].larger(d[i]));
    }
}

vectorized! {
/// The gradient for 2x2 windows with stride 2: every input belongs to one window at most, so each is written once.
fn pair_bands_grad[T: Float](
    g: &Pool2dGeometry,
    x: &[T],
    dy: &[T],
    image: usize,
    rows: Range<usize>,
    dx: &mut [T],
) {
    let row_len = g.w * g.c;
    for (i, dx) in dx.chunks_mut(2 * row_len).enumerate() {
        let oy = rows.start / 2 + i;
        if oy >= g.oh || dx.len() < 2 * row_len {
            dx.fill(T::ZERO);
            continue;
        }
        let (dx_top, dx_bottom) = dx.split_at_mut(row_len);
        dx_top[2 * g.ow * g.c..].fill(T::ZERO);
        dx_bottom[2 * g.ow * g.c..].fill(T::ZERO);
        let [top, bottom] = row_pair(g, x, image, oy);
        let dy = dy[(image * g.oh + oy) * g.ow * g.c..][..g.ow * g.c].chunks_exact(g.c);
        let windows = top.chunks_exact(2 * g.c).zip(bottom.chunks_exact(2 * g.c));
        let dx = dx_top.chunks_exact_mut(2 * g.c).zip(dx_bottom.chunks_exact_mut(2 * g.c));
        for ((dy, (top, bottom)), (dx_top, dx_bottom)) in dy.zip(windows).zip(dx) {
            let (dx_a, dx_b) = dx_top.split_at_mut(g.c);
            let (dx_c, dx_d) = dx_bottom.split_at_mut(g.c);
            window_grad(quarters(g.c, top, bottom), dy, dx_a, dx_b, dx_c, dx_d);
        }
    }
}
}

/// One window of [`pair_bands_grad`]. That the outputs are parameters of their own tells the compiler that none of the nine
/// slices overlap: only then does it use vectors.
#[inline(always)]
fn window_grad<T: Float>(
    [a, b, c, d]: [&[T]; 4],
    dy: &[T],
    dx_a: &mut [T],
    dx_b: &mut [T],
    dx_c: &mut [T],
    dx_d: &mut [T],
) {
    let n = dy.len();
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    let (dx_a, dx_b, dx_c, dx_d) = (&mut dx_a[..n], &mut dx_b[..n], &mut dx_c[..n], &mut dx_d[..n]);
    for i in 0..n {
        // Four comparisons without branches; the first maximum stays because a later one must beat it.
        let b_wins = b[i].beats_max(a[i]);
        let best = if b_wins { b[i] } else { a[i] };
        let c_wins = c[i].beats_max(best);
        let best = if c_wins { c[i] } else { best };
        let d_wins = d[i].beats_max(best);
        let (dy, zero) = (dy[i], T::ZERO);
        dx_a[i] = if b_wins | c_wins | d_wins { zero } else { dy };
        dx_b[i] = if b_wins & !(c_wins | d_wins) { dy } else { zero };
        dx_c[i] = if c_wins & !d_wins { dy } else { zero };
        dx_d[i] = if d_wins { dy } else { zero };
    }
}

/// `y = sum over the window of x / count`, where count is the number of places in the window: those of the input, and with
/// `count_include_pad` those of the padding, too (but never places beyond the padding, as in PyTorch).
pub fn avg_pool2d_forward<T: Float>(g: &Pool2dGeometry, x: &[T], y: &mut [T]) {
    if g.kernel[0].saturating_mul(g.kernel[1]) > PLAIN_WINDOW && !is_empty(g) {
        return separate_avg(g, x, y);
    }
    for_each_output_row(g, y, |image, oy, y| {
        y.fill(T::ZERO);
        for (ox, y) in y.chunks_exact_mut(g.c).enumerate() {
            for_each_place(g, image, oy, ox, |place| {
                for (y, x) in y.iter_mut().zip(&x[place..place + g.c]) {
                    *y += *x;
                }
            });
            let count = T::from_f64(window_count(g, oy, ox) as f64);
            for y in y {
                *y = *y / count;
            }
        }
    });
}

/// The gradient of average pooling's input: each place of a window gets `dy / count`.
pub fn avg_pool2d_input_grad<T: Float>(g: &Pool2dGeometry, dy: &[T], dx: &mut [T]) {
    if is_empty(g) {
        dx.fill(T::ZERO);
        return;
    }
    if g.kernel[0].saturating_mul(g.kernel[1]) > PLAIN_WINDOW {
        return separate_avg_grad(g, dy, dx);
    }
    for_each_band(g, dx, &|_, _| {}, |image, rows, dx| {
        dx.fill(T::ZERO);
        let dx_start = (image * g.h + rows.start) * g.w * g.c;
        for oy in outputs_of_rows(g, &rows) {
            for ox in 0..g.ow {
                let dy = &dy[((image * g.oh + oy) * g.ow + ox) * g.c..][..g.c];
                let count = T::from_f64(window_count(g, oy, ox) as f64);
                for_each_place(g, image, oy, ox, |place| {
                    if let Some(start) = place.checked_sub(dx_start)
                        && let Some(dx) = dx.get_mut(start..start + g.c)
                    {
                        for (dx, dy) in dx.iter_mut().zip(dy) {
                            *dx += *dy / count;
                        }
                    }
                });
            }
        }
    });
}

/// [`avg_pool2d_forward`] for large windows: sums along columns of what the sums along rows give.
fn separate_avg<T: Float>(g: &Pool2dGeometry, x: &[T], y: &mut [T]) {
    let parallel = x.len() >= PARALLEL_WORK / 8;
    let rows: Vec<_> = (0..g.oh).map(|o| window(g, o, 0, g.h)).collect();
    let columns: Vec<_> = (0..g.ow).map(|o| window(g, o, 1, g.w)).collect();
    T::with_scratch(g.n * g.h * g.ow * g.c, |sums| {
        window_sums::sum(x, [g.w, g.c], &columns, parallel, sums);
        window_sums::sum(sums, [g.h, g.ow * g.c], &rows, parallel, y);
    });
    for (i, y) in y.chunks_exact_mut(g.c).enumerate() {
        let count = T::from_f64(window_count(g, i / g.ow % g.oh, i % g.ow) as f64);
        y.iter_mut().for_each(|y| *y = *y / count);
    }
}

/// [`avg_pool2d_input_grad`] for large windows: a place's gradient is a sum over the windows that it lies in, which follow
/// each other along both axes.
fn separate_avg_grad<T: Float>(g: &Pool2dGeometry, dy: &[T], dx: &mut [T]) {
    let parallel = dx.len() >= PARALLEL_WORK / 8;
    let rows: Vec<_> = (0..g.oh).map(|o| window(g, o, 0, g.h)).collect();
    let columns: Vec<_> = (0..g.ow).map(|o| window(g, o, 1, g.w)).collect();
    T::with_scratch(dy.len(), |shares| {
        for (i, (shares, dy)) in shares.chunks_exact_mut(g.c).zip(dy.chunks_exact(g.c)).enumerate() {
            let count = T::from_f64(window_count(g, i / g.ow % g.oh, i % g.ow) as f64);
            shares.iter_mut().zip(dy).for_each(|(share, dy)| *share = *dy / count);
        }
        T::with_scratch(g.n * g.h * g.ow * g.c, |sums| {
            let windows = window_sums::containing(&rows, g.h);
            window_sums::sum(shares, [g.oh, g.ow * g.c], &windows, parallel, sums);
            let windows = window_sums::containing(&columns, g.w);
            window_sums::sum(sums, [g.ow, g.c], &windows, parallel, dx);
        });
    });
}

/// Places that an average divides by; at least 1, so that a window beyond everything gives 0.
fn window_count(g: &Pool2dGeometry, oy: usize, ox: usize) -> usize {
    let along = |o: usize, axis: usize, size: usize| {
        let (before, after) = (g.padding[2 * axis], g.padding[2 * axis + 1]);
        // In coordinates of the padded input.
        let start = o * g.stride[axis];
        let end = start + g.kernel[axis];
        let (low, high) =
            if g.count_include_pad { (0, before + size + after) } else { (before, before + size) };
        end.min(high).saturating_sub(start.max(low))
    };
    (along(oy, 0, g.h) * along(ox, 1, g.w)).max(1)
}

/// Calls `f` with the place of the first channel of each input in a window, row-major, without padding.
#[inline(always)]
fn for_each_place(g: &Pool2dGeometry, image: usize, oy: usize, ox: usize, mut f: impl FnMut(usize)) {
    for iy in window(g, oy, 0, g.h) {
        for ix in window(g, ox, 1, g.w) {
            f(((image * g.h + iy) * g.w + ix) * g.c);
        }
    }
}

/// The part of a window that lies in the input, along one axis.
#[inline(always)]
fn window(g: &Pool2dGeometry, o: usize, axis: usize, size: usize) -> Range<usize> {
    let start = o * g.stride[axis];
    let end = (start + g.kernel[axis]).saturating_sub(g.padding[2 * axis]).min(size);
    start.saturating_sub(g.padding[2 * axis])..end
}

/// The rows of the output whose windows touch these rows of the input.
fn outputs_of_rows(g: &Pool2dGeometry, rows: &Range<usize>) -> Range<usize> {
    let start = (rows.start + g.padding[0] + 1).saturating_sub(g.kernel[0]).div_ceil(g.stride[0]);
    let end = ((rows.end - 1 + g.padding[0]) / g.stride[0] + 1).min(g.oh);
    start.min(end)..end
}

/// Whether windows are pairs of rows and columns, side by side.
fn is_pairs(g: &Pool2dGeometry) -> bool {
    (g.kernel, g.stride, g.padding) == ([2, 2], [2, 2], [0; 4]) && 2 * g.oh <= g.h && 2 * g.ow <= g.w
}

/// The two input rows under row `oy` of the output of a pairs geometry, as far as windows cover them.
fn row_pair<'a, T>(g: &Pool2dGeometry, x: &'a [T], image: usize, oy: usize) -> [&'a [T]; 2] {
    let start = (image * g.h + 2 * oy) * g.w * g.c;
    [start, start + g.w * g.c].map(|start| &x[start..start + 2 * g.ow * g.c])
}

/// The four inputs of a 2x2 window, each with `c` channels.
#[inline(always)]
fn quarters<'a, T>(c: usize, top: &'a [T], bottom: &'a [T]) -> [&'a [T]; 4] {
    [&top[..c], &top[c..2 * c], &bottom[..c], &bottom[c..2 * c]]
}

fn is_empty(g: &Pool2dGeometry) -> bool {
    [g.n, g.h, g.w, g.c, g.oh, g.ow].contains(&0)
}

/// Work of a row of outputs.
fn row_work(g: &Pool2dGeometry) -> usize {
    g.ow * g.c * g.kernel[0] * g.kernel[1] / 2
}

/// Calls `f(image, oy, row)` for each row of the output.
fn for_each_output_row<T: Float>(
    g: &Pool2dGeometry,
    y: &mut [T],
    f: impl Fn(usize, usize, &mut [T]) + Sync + Send,
) {
    let row_len = g.ow * g.c;
    if row_len == 0 || g.oh == 0 {
        return;
    }
    let rows = units_per_task(row_work(g));
    let parallel = row_work(g) * g.n * g.oh >= PARALLEL_WORK;
    for_each_chunk(y, rows * row_len, parallel, |task, y| {
        for (i, y) in y.chunks_exact_mut(row_len).enumerate() {
            let row = task * rows + i;
            f(row / g.oh, row % g.oh, y);
        }
    });
}

/// Calls `f(image, rows, dx)` for bands of rows of the input: whole images, or parts of them where images are few. Each band
/// is written by its own call alone, so windows that reach over its edge are looked at twice. `finish` follows each call.
fn for_each_band<T: Float>(
    g: &Pool2dGeometry,
    dx: &mut [T],
    finish: Finish<T>,
    f: impl Fn(usize, Range<usize>, &mut [T]) + Sync + Send,
) {
    let image_len = g.h * g.w * g.c;
    let parallel = row_work(g) * g.n * g.oh >= PARALLEL_WORK;
    let per_image = MIN_TASKS.div_ceil(g.n).min(g.h / (2 * g.kernel[0])).max(1);
    // An even number, so that pairs of rows stay together.
    let band = if parallel { g.h.div_ceil(per_image).next_multiple_of(2) } else { g.h.next_multiple_of(2) };
    for_each_chunk(dx, image_len, parallel, |image, dx| {
        for_each_chunk(dx, band * g.w * g.c, parallel, |i, dx| {
            f(image, i * band..g.h.min((i + 1) * band), dx);
            finish(image * image_len + i * band * g.w * g.c, dx);
        });
    });
}

#[cfg(test)]
mod tests;
