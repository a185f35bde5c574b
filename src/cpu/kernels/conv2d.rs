//! 2-D convolution: im2col in pieces that fit a core's cache, and matrix products.
//!
//! `y[n, oy, ox, o] = sum over ky, kx, c of x[n, oy*sh + ky*dh - top, ox*sw + kx*dw - left, c] * w[ky, kx, c, o]`
//!
//! Seen as a product, `y` is `[positions, cout]`, the weight is `[taps, cout]` and im2col's `col` is `[positions, taps]`,
//! where a position is an `(n, oy, ox)` and a tap is a `(ky, kx, c)`:
//! forward is `y = col W`, the weight gradient `dW = col' dy`, the input gradient `dcol = dy W'` added back into places.
// Over 500 lines in one file: the three passes share the pieces that positions are cut into, and im2col.

use std::ops::Range;

use super::float::Float;
use super::gemm::{gemm, gemm_by_stretches, sum_partials};
use super::matrix::{Matrix, flops};
use super::{CHAIN, CHAIN_OF_SUMS, Finish, PARALLEL_FLOPS, finish_all, for_each_chunk, pairwise};
use super::{depthwise, direct, shallow};
use crate::cpu::simd::vectorized;
use crate::geometry::{Conv2dGeometry, group_channels};

/// Bytes of im2col that a thread works on at a time: with the weight and the output they should stay in its second-level cache.
const PIECE_BYTES: usize = 256 << 10;
/// A weight of more elements than this is dear to stream through the cache for each piece: pieces become large, one after
/// the other, and threads share each product instead.
const LARGE_WEIGHT: usize = 256 << 10;
/// Pieces that a problem is cut into where it is large enough: plenty for threads to share evenly.
const MIN_PIECES: usize = 16;
/// Pieces have a multiple of so many rows, which is one of the GEMM's tiles too (6 rows with AVX-512, 4 or 8 else).
const ROW_TILE: usize = 24;
/// The weight's gradient is summed in parts over at least so many positions, or to make and add up the parts costs more than
/// the products.
const MIN_SPLIT: usize = 128;

/// `y = conv(x, w)`: x `[n, h, w, cin]`, w `[kh, kw, cin / groups, cout]`, y `[n, oh, ow, cout]`. `finish` is called on each
/// piece of `y`.
pub fn conv2d_forward<T: Float>(g: &Conv2dGeometry, x: &[T], w: &[T], y: &mut [T], finish: Finish<T>) {
    if is_empty(g) {
        y.fill(T::ZERO);
        return finish(0, y);
    }
    if depthwise::applies(g) {
        depthwise::forward(g, x, w, y);
        return finish_all(y, 0, true, finish);
    }
    if shallow::applies(g) {
        return shallow::forward(g, x, w, y, finish);
    }
    if direct::applies::<T>(g) {
        return direct::forward(g, x, w, y, finish);
    }
    let plan = ConvPlan::new::<T>(g);
    for_each_chunk(y, plan.rows * g.cout, plan.parallel_pieces, |piece, y| {
        let rows = y.len() / g.cout;
        for group in 0..g.groups {
            with_col(&plan, group, x, piece * plan.rows, rows, |col| {
                let w = Matrix { data: &w[group * plan.group_out..], strides: [g.cout, 1] };
                let y = &mut y[group * plan.group_out..];
                let size = [rows, plan.group_out, plan.taps];
                gemm_by_stretches(size, col, w, y, g.cout, !plan.parallel_pieces);
            });
        }
        finish_all(y, piece * plan.rows * g.cout, !plan.parallel_pieces, finish);
    });
}

/// `dw = sum over positions of col' dy`: the gradient of the weight, from x and dy `[n, oh, ow, cout]`.
pub fn conv2d_weight_grad<T: Float>(g: &Conv2dGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    if is_empty(g) {
        dw.fill(T::ZERO);
        return;
    }
    if depthwise::applies(g) {
        return depthwise::weight_grad(g, x, dy, dw);
    }
    if shallow::applies(g) {
        return shallow::weight_grad(g, x, dy, dw);
    }
    if direct::applies::<T>(g) {
        return direct::weight_grad(g, x, dy, dw);
    }
    let plan = ConvPlan::new::<T>(g);
    let positions = plan.positions;
    // A power of two: threads mostly are.
    let splits = (positions / MIN_SPLIT).clamp(1, MIN_PIECES);
    let splits = if plan.parallel_pieces { 1 << splits.ilog2() } else { 1 };
    let per_split = positions.div_ceil(splits);
    let splits = positions.div_ceil(per_split);
    let rows = plan.rows.min(CHAIN);
    let group_rows = rows * CHAIN_OF_SUMS;
    let sum_split = |split: usize, dw: &mut [T]| {
        let start = split * per_split;
        let end = positions.min(start + per_split);
        pairwise(0..(end - start).div_ceil(group_rows), dw, &mut |i, dw| {
            let start = start + i * group_rows;
            let end = end.min(start + group_rows);
            for first in (start..end).step_by(rows) {
                let rows = rows.min(end - first);
                for group in 0..g.groups {
                    with_col(&plan, group, x, first, rows, |col| {
                        let col = Matrix { data: col.data, strides: [col.strides[1], col.strides[0]] };
                        let at = first * g.cout + group * plan.group_out;
                        let dy = Matrix { data: &dy[at..], strides: [g.cout, 1] };
                        let dw = &mut dw[group * plan.group_out..];
                        let size = [plan.taps, plan.group_out, rows];
                        gemm(size, col, dy, dw, g.cout, first != start, !plan.parallel_pieces);
                    });
                }
            }
        });
    };
    if splits == 1 {
        sum_split(0, dw);
    } else {
        T::with_scratch(splits * dw.len(), |partial| {
            for_each_chunk(partial, dw.len(), true, sum_split);
            sum_partials(partial, dw);
        });
    }
}

/// The gradient of the input: `dcol = dy W'`, each element added to the place of x that it was copied from.
/// `finish` is called on each piece of it.
pub fn conv2d_input_grad<T: Float>(g: &Conv2dGeometry, dy: &[T], w: &[T], dx: &mut [T], finish: Finish<T>) {
    if is_empty(g) {
        dx.fill(T::ZERO);
        return finish(0, dx);
    }
    if depthwise::applies(g) {
        depthwise::input_grad(g, dy, w, dx);
        return finish_all(dx, 0, true, finish);
    }
    if let Some(direct) = direct::InputGrad::new(g, w) {
        return direct.run(g, dy, w, dx, finish);
    }
    let plan = ConvPlan::new::<T>(g);
    T::with_scratch(w.len(), |transposed| {
        transpose_weight(&plan, w, transposed);
        let transposed = &*transposed;
        if plan.is_product {
            return for_each_chunk(dx, plan.rows * g.cin, plan.parallel_pieces, |piece, dx| {
                let rows = dx.len() / g.cin;
                for group in 0..g.groups {
                    let dx = &mut dx[group * plan.group_in..];
                    input_grad_product(&plan, dy, transposed, group, piece * plan.rows, rows, dx, g.cin);
                }
                finish_all(dx, piece * plan.rows * g.cin, !plan.parallel_pieces, finish);
            });
        }
        // A task owns some images, or a band of rows of one image where images are few.
        let parallel = plan.work() >= PARALLEL_FLOPS;
        let window = (g.kh - 1) * g.dilation[0] + 1;
        let per_image = MIN_PIECES.div_ceil(g.n).min(g.h / (2 * window)).max(1);
        let band = if parallel { g.h.div_ceil(per_image) } else { g.h };
        let images = (plan.rows / (g.oh * g.ow)).clamp(1, g.n.div_ceil(MIN_PIECES));
        let one_task = g.n <= images && band == g.h;
        for_each_chunk(dx, images * g.h * g.w * g.cin, parallel, |i, dx| {
            for_each_chunk(dx, if band == g.h { dx.len() } else { band * g.w * g.cin }, parallel, |j, dx| {
                let n = dx.len() / (g.h * g.w * g.cin);
                let (first_image, last_image) = (i * images, i * images + n.max(1) - 1);
                let oy = outputs_of_rows(g, j * band..g.h.min((j + 1) * band));
                let positions = (first_image * g.oh + oy.start) * g.ow..(last_image * g.oh + oy.end) * g.ow;
                let dx_start = (first_image * g.h + j * band) * g.w * g.cin;
                scatter_input_grad(&plan, dy, transposed, positions, dx_start, dx, one_task);
                finish_all(dx, dx_start, one_task, finish);
            });
        });
    });
}

/// Adds what the outputs at `positions` say about `dx`, which begins at element `dx_start` of the whole gradient. Places
/// outside of `dx` belong to another task.
fn scatter_input_grad<T: Float>(
    plan: &ConvPlan,
    dy: &[T],
    transposed: &[T],
    positions: Range<usize>,
    dx_start: usize,
    dx: &mut [T],
    parallel: bool,
) {
    dx.fill(T::ZERO);
    let plan = ConvPlan { parallel_pieces: !parallel, ..*plan };
    let dx_end = dx_start + dx.len();
    let rows = plan.rows.min(positions.len());
    T::with_scratch(rows * plan.taps, |col| {
        for first in positions.clone().step_by(rows.max(1)) {
            let rows = rows.min(positions.end - first);
            for group in 0..plan.g.groups {
                input_grad_product(&plan, dy, transposed, group, first, rows, col, plan.taps);
                for_each_run(plan.g, group, first, rows, |run| {
                    if let Some(start) = run.x
                        && start >= dx_start
                        && start < dx_end
                    {
                        let place = start - dx_start;
                        add(&mut dx[place..place + run.len], &col[run.col..run.col + run.len]);
                    }
                });
            }
        }
    });
}

/// `out[rows, taps] = dy[rows, :] W'` for one group, rows of `out` being `stride` elements apart.
#[allow(clippy::too_many_arguments)]
fn input_grad_product<T: Float>(
    plan: &ConvPlan,
    dy: &[T],
    transposed: &[T],
    group: usize,
    first: usize,
    rows: usize,
    out: &mut [T],
    stride: usize,
) {
    let g = plan.g;
    let dy = Matrix { data: &dy[first * g.cout + group * plan.group_out..], strides: [g.cout, 1] };
    let w = Matrix { data: &transposed[group * plan.group_out * plan.taps..], strides: [plan.taps, 1] };
    gemm_by_stretches([rows, plan.taps, plan.group_out], dy, w, out, stride, !plan.parallel_pieces);
}

/// The weight as `[cout, taps]`: the product with it then reads rows, which the GEMM need not repack for each piece.
fn transpose_weight<T: Float>(plan: &ConvPlan, w: &[T], transposed: &mut [T]) {
    let cout = plan.g.cout;
    let block = 16 * plan.taps;
    for_each_chunk(transposed, block, w.len() >= 1 << 16, |i, out| {
        let first = i * 16;
        for tap in 0..plan.taps {
            for (o, out) in out[tap..].iter_mut().step_by(plan.taps).enumerate() {
                *out = w[tap * cout + first + o];
            }
        }
    });
}

/// The rows of the output whose windows touch these rows of the input, as a range (with stride, some may touch none).
fn outputs_of_rows(g: &Conv2dGeometry, rows: Range<usize>) -> Range<usize> {
    let reach = (g.kh - 1) * g.dilation[0];
    let start = (rows.start + g.padding[0]).saturating_sub(reach).div_ceil(g.stride[0]);
    let end = ((rows.end - 1 + g.padding[0]) / g.stride[0] + 1).min(g.oh);
    start.min(end)..end
}

fn is_empty(g: &Conv2dGeometry) -> bool {
    [g.n, g.h, g.w, g.cin, g.kh, g.kw, g.cout, g.oh, g.ow].contains(&0)
}

/// How a convolution is cut up: a matter of its sizes alone.
#[derive(Clone, Copy)]
struct ConvPlan<'a> {
    g: &'a Conv2dGeometry,
    /// Input and output channels per group.
    group_in: usize,
    group_out: usize,
    /// Rows of a group's weight matrix: `kh * kw * group_in`.
    taps: usize,
    /// Output positions in all: `n * oh * ow`.
    positions: usize,
    /// Output positions per piece.
    rows: usize,
    /// Whether threads share the pieces (else they share each piece's product).
    parallel_pieces: bool,
    /// A 1x1 convolution with stride 1 and no padding is a matrix product as it stands.
    is_product: bool,
}

impl<'a> ConvPlan<'a> {
    fn new<T>(g: &'a Conv2dGeometry) -> Self {
        let (group_in, group_out) = group_channels(g);
        let taps = g.kh * g.kw * group_in;
        let positions = g.n * g.oh * g.ow;
        let is_product = (g.kh, g.kw, g.stride, g.padding) == (1, 1, [1, 1], [0; 4]);
        let large = taps * group_out > LARGE_WEIGHT;
        let bytes = if large { 16 * PIECE_BYTES } else { PIECE_BYTES };
        let fitting = (bytes / size_of::<T>() / taps).clamp(64, 2048).next_multiple_of(ROW_TILE);
        let rows = if large {
            fitting
        } else {
            fitting.min(positions.div_ceil(MIN_PIECES).next_multiple_of(ROW_TILE)).max(2 * ROW_TILE)
        };
        let plan =
            ConvPlan { g, group_in, group_out, taps, positions, rows, parallel_pieces: false, is_product };
        ConvPlan { parallel_pieces: !large && plan.work() >= PARALLEL_FLOPS && positions > rows, ..plan }
    }

    fn work(&self) -> usize {
        flops([self.positions, self.taps, self.g.cout])
    }
}

/// Calls `f` with rows `first..first + rows` of a group's im2col matrix.
fn with_col<T: Float>(
    plan: &ConvPlan,
    group: usize,
    x: &[T],
    first: usize,
    rows: usize,
    f: impl FnOnce(Matrix<T>),
) {
    let (g, taps) = (plan.g, plan.taps);
    if plan.is_product {
        return f(Matrix { data: &x[first * g.cin + group * plan.group_in..], strides: [g.cin, 1] });
    }
    T::with_scratch(rows * taps, |col| {
        let parallel = !plan.parallel_pieces && rows * taps >= 1 << 17;
        for_each_chunk(col, 64 * taps, parallel, |i, col| {
            for_each_run(g, group, first + i * 64, col.len() / taps, |run| {
                let col = &mut col[run.col..run.col + run.len];
                match run.x {
                    None => col.fill(T::ZERO),
                    Some(start) => copy(col, &x[start..start + run.len]),
                }
            });
        });
        f(Matrix { data: col, strides: [taps, 1] });
    });
}

/// `to = from`, by moves instead of a call where a kernel's row of one or three channels is short.
#[inline(always)]
fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    #[inline(always)]
    fn fixed<T: Copy, const N: usize>(to: &mut [T], from: &[T]) {
        to[..N].copy_from_slice(&from[..N]);
    }
    match from.len() {
        1 => fixed::<T, 1>(to, from),
        2 => fixed::<T, 2>(to, from),
        3 => fixed::<T, 3>(to, from),
        4 => fixed::<T, 4>(to, from),
        5 => fixed::<T, 5>(to, from),
        7 => fixed::<T, 7>(to, from),
        9 => fixed::<T, 9>(to, from),
        15 => fixed::<T, 15>(to, from),
        _ => to.copy_from_slice(from),
    }
}

vectorized! {
fn add[T: Float](to: &mut [T], from: &[T]) {
    for (t, f) in to.iter_mut().zip(from) {
        *t += *f;
    }
}
}

/// A stretch of the im2col matrix that is contiguous in the input, too.
struct Stretch {
    /// Where it begins in im2col, counted from the first row asked for.
    col: usize,
    len: usize,
    /// Where it begins in the input; none for padding.
    x: Option<usize>,
}

/// Walks rows `first..first + rows` of a group's im2col matrix `[positions, taps]`, in order.
#[inline(always)]
fn for_each_run(g: &Conv2dGeometry, group: usize, first: usize, rows: usize, mut visit: impl FnMut(Stretch)) {
    let channels = g.cin / g.groups;
    // Without dilation and groups the taps of a kernel's row lie side by side in the input.
    let whole_rows = g.groups == 1 && (g.dilation[1] == 1 || g.kw == 1);
    let row_len = g.kw * channels;
    let [sh, sw] = g.stride;
    let [top, _, left, _] = g.padding;
    let mut image = first / (g.oh * g.ow);
    let mut oy = first / g.ow % g.oh;
    let mut ox = first % g.ow;
    let mut col = 0;
    for _ in 0..rows {
        let x_left = (ox * sw) as isize - left as isize;
        for ky in 0..g.kh {
            let iy = (oy * sh + ky * g.dilation[0]).wrapping_sub(top);
            if iy >= g.h {
                visit(Stretch { col, len: row_len, x: None });
            } else if whole_rows {
                let x_row = (image * g.h + iy) * g.w;
                if x_left >= 0 && x_left as usize + g.kw <= g.w {
                    visit(Stretch { col, len: row_len, x: Some((x_row + x_left as usize) * channels) });
                } else {
                    let start = ((-x_left).max(0) as usize).min(g.kw);
                    let end = ((g.w as isize - x_left).max(0) as usize).clamp(start, g.kw);
                    visit(Stretch { col, len: start * channels, x: None });
                    if end > start {
                        let x = (x_row + (x_left + start as isize) as usize) * channels;
                        visit(Stretch {
                            col: col + start * channels,
                            len: (end - start) * channels,
                            x: Some(x),
                        });
                    }
                    visit(Stretch { col: col + end * channels, len: (g.kw - end) * channels, x: None });
                }
            } else {
                for kx in 0..g.kw {
                    let ix = x_left + (kx * g.dilation[1]) as isize;
                    let inside = ix >= 0 && (ix as usize) < g.w;
                    let x =
                        inside.then(|| ((image * g.h + iy) * g.w + ix as usize) * g.cin + group * channels);
                    visit(Stretch { col: col + kx * channels, len: channels, x });
                }
            }
            col += row_len;
        }
        ox += 1;
        if ox == g.ow {
            (ox, oy) = (0, oy + 1);
            if oy == g.oh {
                (oy, image) = (0, image + 1);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::float::testing::{assert_close, numbers, to_f32};
    use super::*;

    /// Calls `f(x place, w place, y place)` for each product that the convolution sums.
    fn naive(g: &Conv2dGeometry, mut f: impl FnMut(usize, usize, usize)) {
        let (cg, og) = group_channels(g);
        for n in 0..g.n {
            for (oy, ox, o) in
                (0..g.oh).flat_map(|oy| (0..g.ow).flat_map(move |ox| (0..g.cout).map(move |o| (oy, ox, o))))
            {
                for (ky, kx) in (0..g.kh).flat_map(|ky| (0..g.kw).map(move |kx| (ky, kx))) {
                    let iy = (oy * g.stride[0] + ky * g.dilation[0]) as isize - g.padding[0] as isize;
                    let ix = (ox * g.stride[1] + kx * g.dilation[1]) as isize - g.padding[2] as isize;
                    if iy < 0 || ix < 0 || iy >= g.h as isize || ix >= g.w as isize {
                        continue;
                    }
                    for c in 0..cg {
                        f(
                            ((n * g.h + iy as usize) * g.w + ix as usize) * g.cin + o / og * cg + c,
                            ((ky * g.kw + kx) * cg + c) * g.cout + o,
                            ((n * g.oh + oy) * g.ow + ox) * g.cout + o,
                        );
                    }
                }
            }
        }
    }

    pub fn check(g: &Conv2dGeometry) {
        let x_len = g.n * g.h * g.w * g.cin;
        let w_len = g.kh * g.kw * (g.cin / g.groups) * g.cout;
        let y_len = g.n * g.oh * g.ow * g.cout;
        let (x, w, dy) = (numbers(x_len, 1), numbers(w_len, 2), numbers(y_len, 3));
        let (mut y_want, mut dx_want, mut dw_want) = (vec![0.0; y_len], vec![0.0; x_len], vec![0.0; w_len]);
        naive(g, |xi, wi, yi| {
            y_want[yi] += x[xi] * w[wi];
            dx_want[xi] += dy[yi] * w[wi];
            dw_want[wi] += dy[yi] * x[xi];
        });
        let (mut y, mut dx, mut dw) = (vec![f64::NAN; y_len], vec![f64::NAN; x_len], vec![f64::NAN; w_len]);
        conv2d_forward(g, &x, &w, &mut y, &|_, _| {});
        conv2d_input_grad(g, &dy, &w, &mut dx, &|_, _| {});
        conv2d_weight_grad(g, &x, &dy, &mut dw);
        assert_close(&y, &y_want, 1e-11, &format!("y {g:?}"));
        assert_close(&dx, &dx_want, 1e-11, &format!("dx {g:?}"));
        assert_close(&dw, &dw_want, 1e-11, &format!("dw {g:?}"));
        let (x, w, dy) = (to_f32(&x), to_f32(&w), to_f32(&dy));
        let run = |threads: usize| {
            let (mut y, mut dx, mut dw) =
                (vec![f32::NAN; y_len], vec![f32::NAN; x_len], vec![f32::NAN; w_len]);
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                conv2d_forward(g, &x, &w, &mut y, &|_, _| {});
                conv2d_input_grad(g, &dy, &w, &mut dx, &|_, _| {});
                conv2d_weight_grad(g, &x, &dy, &mut dw);
            });
            [y, dx, dw]
        };
        let [y, dx, dw] = run(1);
        assert_close(&y, &y_want, 1e-4, &format!("f32 y {g:?}"));
        assert_close(&dx, &dx_want, 1e-4, &format!("f32 dx {g:?}"));
        assert_close(&dw, &dw_want, 1e-4, &format!("f32 dw {g:?}"));
        assert!([y, dx, dw] == run(3), "depends on the number of threads: {g:?}");
    }

    pub fn geometry(
        [n, h, w, cin]: [usize; 4],
        [kh, kw, cout]: [usize; 3],
        stride: [usize; 2],
        padding: [usize; 4],
        dilation: [usize; 2],
        groups: usize,
    ) -> Conv2dGeometry {
        let out =
            |size: usize, kernel: usize, stride: usize, before: usize, after: usize, dilation: usize| {
                (size + before + after)
                    .checked_sub((kernel - 1) * dilation + 1)
                    .map_or(0, |room| room / stride + 1)
            };
        let oh = out(h, kh, stride[0], padding[0], padding[1], dilation[0]);
        let ow = out(w, kw, stride[1], padding[2], padding[3], dilation[1]);
        Conv2dGeometry { n, h, w, cin, kh, kw, cout, stride, padding, dilation, groups, oh, ow }
    }

    #[test]
    fn odd_shapes() {
        check(&geometry([2, 7, 9, 3], [3, 3, 5], [1, 1], [0; 4], [1, 1], 1));
        check(&geometry([3, 8, 6, 1], [3, 5, 4], [1, 1], [1, 1, 2, 2], [1, 1], 1));
        check(&geometry([2, 9, 8, 4], [3, 2, 6], [2, 3], [1, 0, 2, 1], [1, 1], 1));
        check(&geometry([1, 11, 12, 2], [3, 3, 3], [1, 2], [2, 3, 0, 4], [2, 3], 1));
        check(&geometry([2, 6, 6, 6], [3, 3, 9], [1, 1], [1; 4], [1, 1], 3));
        check(&geometry([2, 7, 6, 4], [2, 3, 8], [2, 1], [1, 2, 0, 1], [2, 2], 2));
        check(&geometry([2, 5, 5, 7], [1, 1, 6], [1, 1], [0; 4], [1, 1], 1));
        check(&geometry([2, 5, 5, 6], [1, 1, 4], [1, 1], [0; 4], [1, 1], 2));
        check(&geometry([2, 5, 5, 6], [1, 1, 4], [2, 2], [0; 4], [1, 1], 1));
        check(&geometry([2, 5, 4, 3], [1, 1, 4], [1, 1], [1; 4], [3, 2], 1));
        // Stride larger than the kernel leaves inputs untouched; padding larger than the kernel gives all-padding windows.
        check(&geometry([2, 10, 10, 2], [2, 2, 3], [4, 4], [0; 4], [1, 1], 1));
        check(&geometry([1, 2, 2, 2], [2, 2, 3], [1, 1], [4; 4], [1, 1], 1));
        check(&geometry([1, 3, 3, 2], [5, 5, 3], [1, 1], [2; 4], [1, 1], 1));
    }

    #[test]
    fn cut_into_pieces() {
        check(&geometry([17, 14, 14, 8], [3, 3, 16], [1, 1], [0; 4], [1, 1], 1));
        check(&geometry([33, 14, 13, 1], [3, 3, 32], [1, 1], [1; 4], [1, 1], 1));
        check(&geometry([1, 64, 48, 6], [3, 3, 12], [1, 1], [1; 4], [1, 1], 1));
        check(&geometry([2, 49, 40, 8], [5, 3, 12], [2, 2], [2, 1, 1, 1], [1, 1], 2));
        check(&geometry([9, 16, 16, 24], [1, 1, 40], [1, 1], [0; 4], [1, 1], 1));
    }

    #[test]
    fn nine_taps() {
        check(&geometry([2, 9, 8, 1], [3, 3, 16], [1, 1], [0; 4], [1, 1], 1));
        check(&geometry([3, 9, 11, 1], [3, 3, 48], [2, 1], [2, 0, 1, 3], [1, 2], 1));
        check(&geometry([2, 4, 7, 3], [1, 3, 32], [1, 2], [0, 1, 2, 0], [1, 1], 1));
        check(&geometry([2, 5, 5, 9], [1, 1, 16], [1, 1], [0; 4], [1, 1], 1));
        check(&geometry([40, 15, 14, 1], [3, 3, 32], [1, 1], [0; 4], [1, 1], 1));
    }

    #[test]
    fn large_weight() {
        check(&geometry([2, 6, 5, 170], [3, 3, 180], [1, 1], [1; 4], [1, 1], 1));
        check(&geometry([3, 2, 3, 520], [1, 1, 530], [1, 1], [0; 4], [1, 1], 1));
    }

    #[test]
    fn empty() {
        check(&geometry([0, 5, 5, 2], [3, 3, 4], [1, 1], [0; 4], [1, 1], 1));
        check(&geometry([2, 2, 5, 2], [3, 3, 4], [1, 1], [0; 4], [1, 1], 1));
        check(&geometry([2, 5, 5, 0], [3, 3, 4], [1, 1], [0; 4], [1, 1], 1));
    }
}
