//! Convolution with nine taps in all, which is 3x3 over a single channel: the first layer for grey images. As a matrix product
//! it would be nine deep, too shallow to be worth copying the image for.

use super::direct::{may_have_border, with_border};
use super::float::Float;
use super::gemm::sum_partials;
use super::{CHAIN, Finish, PARALLEL_FLOPS, for_each_chunk, pairwise};
use crate::cpu::simd::vectorized;
use crate::geometry::Conv2dGeometry;

/// Taps of the kernels here.
const TAPS: usize = 9;
/// Channels that the weight's gradient is summed for at a time; the output has a multiple of them.
const LANES: usize = 16;
/// Outputs of a task.
const TASK: usize = 1 << 14;
/// Parts of the batch that the weight's gradient is summed over separately.
const SPLITS: usize = 16;

pub fn applies(g: &Conv2dGeometry) -> bool {
    let taps = g.groups == 1 && g.kh * g.kw * g.cin == TAPS && g.cout.is_multiple_of(LANES);
    taps && may_have_border([g.n, g.h, g.w, g.cin], g.padding)
}

/// How far apart things are in the padded images.
struct ImageStrides {
    /// Elements of an image, and from one output to the next down and to the right.
    image: usize,
    down: usize,
    right: usize,
    /// Where each tap is, from the window's first.
    taps: [usize; TAPS],
    oh: usize,
    ow: usize,
    cout: usize,
    parallel: bool,
}

impl ImageStrides {
    fn new(g: &Conv2dGeometry) -> ImageStrides {
        let [height, width] = padded_size(g);
        let row = width * g.cin;
        let tap = |t: usize| {
            let (ky, kx, c) = (t / (g.kw * g.cin), t / g.cin % g.kw, t % g.cin);
            ky * g.dilation[0] * row + kx * g.dilation[1] * g.cin + c
        };
        ImageStrides {
            image: height * row,
            down: g.stride[0] * row,
            right: g.stride[1] * g.cin,
            taps: std::array::from_fn(tap),
            oh: g.oh,
            ow: g.ow,
            cout: g.cout,
            parallel: 2 * TAPS * g.n * g.oh * g.ow * g.cout >= PARALLEL_FLOPS,
        }
    }

    /// Where the windows of a row of outputs begin; rows are counted through all images.
    fn start(&self, row: usize) -> usize {
        row / self.oh * self.image + row % self.oh * self.down
    }

    /// The window of output `ox` of a row. (A loop, because `array::map` would be a call from vectorized code.)
    #[inline(always)]
    fn window<T: Float>(&self, x: &[T], ox: usize) -> [T; TAPS] {
        let mut window = [T::ZERO; TAPS];
        for t in 0..TAPS {
            window[t] = x[ox * self.right + self.taps[t]];
        }
        window
    }
}

fn padded_size(g: &Conv2dGeometry) -> [usize; 2] {
    [g.padding[0] + g.h + g.padding[1], g.padding[2] + g.w + g.padding[3]]
}

/// See [`super::conv2d::conv2d_forward`].
pub fn forward<T: Float>(g: &Conv2dGeometry, x: &[T], w: &[T], y: &mut [T], finish: Finish<T>) {
    let strides = ImageStrides::new(g);
    let row_len = g.ow * g.cout;
    let rows = (TASK / row_len).max(1);
    with_border(x, [g.n, g.h, g.w, g.cin], g.padding, |x| {
        for_each_chunk(y, rows * row_len, strides.parallel, |task, y| {
            forward_rows(&strides, x, w, task * rows, y);
            finish(task * rows * row_len, y);
        });
    });
}

vectorized! {
/// Rows of outputs from `first` on.
fn forward_rows[T: Float](strides: &ImageStrides, x: &[T], w: &[T], first: usize, y: &mut [T]) {
    for (row, y) in y.chunks_exact_mut(strides.ow * strides.cout).enumerate() {
        let x = &x[strides.start(first + row)..];
        for block in (0..strides.cout).step_by(LANES) {
            let mut weight = [[T::ZERO; LANES]; TAPS];
            for t in 0..TAPS {
                weight[t] = lanes(&w[t * strides.cout + block..]);
            }
            let mut ox = 0;
            while ox + 2 <= strides.ow {
                let [y0, y1] = forward_block(&[strides.window(x, ox), strides.window(x, ox + 1)], &weight);
                y[ox * strides.cout + block..][..LANES].copy_from_slice(&y0);
                y[(ox + 1) * strides.cout + block..][..LANES].copy_from_slice(&y1);
                ox += 2;
            }
            if ox < strides.ow {
                let [y0] = forward_block(&[strides.window(x, ox)], &weight);
                y[ox * strides.cout + block..][..LANES].copy_from_slice(&y0);
            }
        }
    }
}
}

/// Some channels of `N` outputs.
#[inline(always)]
fn forward_block<T: Float, const N: usize>(x: &[[T; TAPS]; N], w: &[[T; LANES]; TAPS]) -> [[T; LANES]; N] {
    let mut y = [[T::ZERO; LANES]; N];
    for c in 0..LANES {
        for i in 0..N {
            let mut sum = x[i][0] * w[0][c];
            for t in 1..TAPS {
                sum += x[i][t] * w[t][c];
            }
            y[i][c] = sum;
        }
    }
    y
}

/// See [`super::conv2d::conv2d_weight_grad`].
pub fn weight_grad<T: Float>(g: &Conv2dGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let strides = ImageStrides::new(g);
    let rows = g.n * g.oh;
    let per_split = rows.div_ceil(SPLITS);
    let splits = rows.div_ceil(per_split);
    with_border(x, [g.n, g.h, g.w, g.cin], g.padding, |x| {
        T::with_scratch(splits * dw.len(), |partial| {
            for_each_chunk(partial, dw.len(), strides.parallel, |split, dw| {
                let start = split * per_split;
                let end = rows.min(start + per_split);
                // A row of outputs counts for a quarter of its length: four products are added at a time.
                let together = (4 * CHAIN / strides.ow.max(1)).max(1);
                pairwise(0..(end - start).div_ceil(together), dw, &mut |i, dw| {
                    dw.fill(T::ZERO);
                    let start = start + i * together;
                    weight_grad_rows(&strides, x, dy, start, end.min(start + together), dw);
                });
            });
            sum_partials(partial, dw);
        });
    });
}

vectorized! {
/// Adds what rows `first..end` of outputs say about the weight.
fn weight_grad_rows[T: Float](strides: &ImageStrides, x: &[T], dy: &[T], first: usize, end: usize, dw: &mut [T]) {
    for row in first..end {
        let x = &x[strides.start(row)..];
        let dy = &dy[row * strides.ow * strides.cout..][..strides.ow * strides.cout];
        for block in (0..strides.cout).step_by(LANES) {
            let mut sums = [[T::ZERO; LANES]; TAPS];
            for (t, sums) in sums.iter_mut().enumerate() {
                sums.copy_from_slice(&dw[t * strides.cout + block..][..LANES]);
            }
            let mut ox = 0;
            let at = |ox: usize| lanes(&dy[ox * strides.cout + block..]);
            while ox + 4 <= strides.ow {
                let (a, b) = (strides.window(x, ox), strides.window(x, ox + 1));
                let (c, d) = (strides.window(x, ox + 2), strides.window(x, ox + 3));
                let dy = [at(ox), at(ox + 1), at(ox + 2), at(ox + 3)];
                weight_grad_block(&[a, b, c, d], &dy, &mut sums);
                ox += 4;
            }
            while ox < strides.ow {
                weight_grad_block(&[strides.window(x, ox)], &[at(ox)], &mut sums);
                ox += 1;
            }
            for (t, sums) in sums.iter().enumerate() {
                dw[t * strides.cout + block..][..LANES].copy_from_slice(sums);
            }
        }
    }
}
}

#[inline(always)]
fn lanes<T: Float>(data: &[T]) -> [T; LANES] {
    let mut lanes = [T::ZERO; LANES];
    lanes.copy_from_slice(&data[..LANES]);
    lanes
}

/// Adds the products of `N` windows with `N` gradients.
#[inline(always)]
fn weight_grad_block<T: Float, const N: usize>(
    x: &[[T; TAPS]; N],
    dy: &[[T; LANES]; N],
    sums: &mut [[T; LANES]; TAPS],
) {
    for c in 0..LANES {
        for t in 0..TAPS {
            let mut sum = x[0][t] * dy[0][c];
            for i in 1..N {
                sum += x[i][t] * dy[i][c];
            }
            sums[t][c] += sum;
        }
    }
}
