//! The gradient of a convolution's input: places of the input are rows, and terms are the outputs that read them.

use std::ops::Range;

use wgrad_tiles::{Row, pack, panel_width};

use super::{Strips, applies, by_columns, is_cut_into_columns, may_have_border, rows_of_task, with_border};
use crate::cpu::kernels::float::Float;
use crate::cpu::kernels::matrix::flops;
use crate::cpu::kernels::panels::{Panels, by_rows};
use crate::cpu::kernels::{Finish, PARALLEL_FLOPS, finish_all, for_each_chunk};
use crate::cpu::simd::vectorized;
use crate::geometry::{Conv2dGeometry, group_channels};

/// Each class is a product of its own: more of them are too small each.
const MOST_CLASSES: usize = 1 << 10;

/// Along one axis: which taps read the places of a class (those that are as far from a multiple of the stride), and which output
/// each tap reads for the first of them.
struct Class {
    taps: Vec<(usize, isize)>,
}

impl Class {
    /// As many as the stride, but none without a place.
    fn all(places: usize, kernel: usize, stride: usize, dilation: usize, before: usize) -> Vec<Class> {
        let class = |first: usize| {
            let taps = (0..kernel).filter_map(|tap| {
                let reach = (first + before) as isize - (tap * dilation) as isize;
                (reach.rem_euclid(stride as isize) == 0).then(|| (tap, reach / stride as isize))
            });
            Class { taps: taps.collect() }
        };
        (0..stride.min(places)).map(class).collect()
    }

    /// How far beyond `outputs` outputs the taps of all classes reach, before and after, for `places` places of the input.
    fn border(classes: &[Class], places: usize, outputs: usize) -> [usize; 2] {
        let mut border = [0; 2];
        for (first, class) in classes.iter().enumerate() {
            let count = (places - first).div_ceil(classes.len()) as isize;
            for &(_, at) in &class.taps {
                border[0] = border[0].max(-at);
                border[1] = border[1].max(at + count - outputs as isize);
            }
        }
        border.map(|b| b as usize)
    }
}

/// How the gradient of the input is computed.
pub struct InputGrad {
    rows: Vec<Class>,
    columns: Vec<Class>,
    /// Zeros around the gradient of the output: top, bottom, left, right.
    border: [usize; 4],
}

/// Whether places of the input are so many more than those that outputs read at a time that what is multiplied are mostly zeros of the border,
/// as without padding in a small image. To add up what each output read then costs less.
fn reads_zeros(g: &Conv2dGeometry) -> bool {
    let read = [g.oh, g.ow, g.stride[0], g.stride[1]].into_iter().fold(1, usize::saturating_mul);
    4 * g.h * g.w > read.saturating_mul(5)
}

impl InputGrad {
    /// If it is for this module.
    pub fn new<T: Float>(g: &Conv2dGeometry, w: &[T]) -> Option<InputGrad> {
        let classes = g.stride[0].min(g.h).saturating_mul(g.stride[1].min(g.w));
        if !applies::<T>(g) || g.cin / g.groups < 8 || classes > MOST_CLASSES || reads_zeros(g) {
            return None;
        }
        let rows = Class::all(g.h, g.kh, g.stride[0], g.dilation[0], g.padding[0]);
        let columns = Class::all(g.w, g.kw, g.stride[1], g.dilation[1], g.padding[2]);
        let [top, bottom] = Class::border(&rows, g.h, g.oh);
        let [left, right] = Class::border(&columns, g.w, g.ow);
        let border = [top, bottom, left, right];
        // Zeros of the border times what is not finite would be NaN, where nothing was read.
        let fits = may_have_border([g.n, g.oh, g.ow, g.cout], border) && are_finite(w);
        fits.then_some(InputGrad { rows, columns, border })
    }

    /// See [`conv2d_input_grad`](super::super::conv2d::conv2d_input_grad).
    pub fn run<T: Float>(&self, g: &Conv2dGeometry, dy: &[T], w: &[T], dx: &mut [T], finish: Finish<T>) {
        let (group_in, group_out) = group_channels(g);
        let [top, bottom, left, right] = self.border;
        let wide = (left + g.ow + right) * g.cout;
        let image = (top + g.oh + bottom) * wide;
        let panels = Panels::new::<T>(group_in);
        // Of each class of rows and of columns the taps, and where they are.
        let classes = self.rows.iter().enumerate().flat_map(|(y, rows)| {
            self.columns.iter().enumerate().map(move |(x, columns)| {
                let taps = rows.taps.iter().flat_map(|ty| columns.taps.iter().map(move |tx| (ty, tx)));
                let taps = taps.map(|(&(ky, oy), &(kx, ox))| {
                    let place = (oy + top as isize) as usize * wide + (ox + left as isize) as usize * g.cout;
                    (ky * g.kw + kx, place)
                });
                ([y, x], taps.collect::<Vec<_>>())
            })
        });
        let classes: Vec<_> = classes
            .map(|(class, taps)| {
                let terms = taps.iter().flat_map(|&(_, place)| place as u32..(place + group_out) as u32);
                let terms: Vec<u32> = terms.collect();
                (class, taps, terms)
            })
            .collect();
        let lines = g.n * g.h;
        let depth = g.kh * g.kw * group_out;
        let parallel = flops([lines * g.w, depth, g.cin]) >= PARALLEL_FLOPS;
        let few = is_cut_into_columns(lines * g.w, depth, group_in);
        let reach = classes.iter().flat_map(|(_, taps, _)| taps).map(|&(_, place)| place / wide + 1).max();
        let size = [g.oh, g.ow, g.cout];
        let strips = Strips::new(g, few, size, self.border, g.h, reach.unwrap_or(0));
        let border = if strips.is_some() { [0; 4] } else { self.border };
        with_border(dy, [g.n, g.oh, g.ow, g.cout], border, |dy| {
            for group in 0..g.groups {
                let write =
                    |taps: &[(usize, usize)], terms: Range<usize>, columns: Range<usize>, panel: &mut [T]| {
                        let width = panel_width::<T>(columns.len());
                        let mut at = terms.start;
                        let mut panel = panel;
                        while at < terms.end {
                            let end = ((at / group_out + 1) * group_out).min(terms.end);
                            let (now, later) = panel.split_at_mut((end - at) * width);
                            let row = taps[at / group_out].0 * group_in + columns.start;
                            let first = row * g.cout + group * group_out + at % group_out;
                            pack(&w[first..], [1, g.cout], columns.len(), now);
                            (at, panel) = (end, later);
                        }
                    };
                // Where the gradients that a line reads begin.
                let begin = |line: usize| line / g.h * image + line % g.h / self.rows.len() * wide;
                let rows = |lines: Range<usize>, [y, x]: [usize; 2], begin: &dyn Fn(usize) -> usize| {
                    let (sy, sx) = (self.rows.len(), self.columns.len());
                    let mut rows = Vec::with_capacity(lines.len().div_ceil(sy) * g.w.div_ceil(sx));
                    for line in lines.clone().filter(|line| line % g.h % sy == y) {
                        let from = begin(line) + group * group_out;
                        let to = (line - lines.start) * g.w * g.cin + group * group_in;
                        let places = (x..g.w).step_by(sx).enumerate();
                        rows.extend(places.map(|(i, x)| Row { from: from + i * g.cout, to: to + x * g.cin }));
                    }
                    rows
                };
                if few {
                    for (class, taps, terms) in &classes {
                        let write = |terms: Range<usize>, columns: Range<usize>, panel: &mut [T]| {
                            write(taps, terms, columns, panel);
                        };
                        by_columns(dy, &rows(0..lines, *class, &begin), terms, &panels, &write, dx);
                    }
                    continue;
                }
                T::with_scratch(panels.packed_len::<T>(depth), |packed| {
                    let mut packed = packed;
                    let mut ready = Vec::with_capacity(classes.len());
                    for (class, taps, terms) in &classes {
                        let (now, later) = packed.split_at_mut(panels.packed_len::<T>(terms.len()));
                        panels.pack(
                            terms.len(),
                            &|terms, columns, panel: &mut [T]| write(taps, terms, columns, panel),
                            now,
                        );
                        ready.push((*class, terms, &*now));
                        packed = later;
                    }
                    let each = match &strips {
                        Some(strips) => strips.lines_of_task(g.w, g.n),
                        None => {
                            let rows = rows_of_task(2 * depth * group_in / classes.len(), lines * g.w);
                            rows.div_ceil(g.w)
                        }
                    };
                    let each = each.next_multiple_of(self.rows.len());
                    for_each_chunk(dx, each * g.w * g.cin, parallel, |task, dx| {
                        let first = task * each;
                        let lines = first..first + dx.len() / (g.w * g.cin);
                        let mut product = |dy: &[T], begin: &dyn Fn(usize) -> usize| {
                            for (class, terms, packed) in &ready {
                                by_rows(dy, &rows(lines.clone(), *class, begin), terms, &panels, packed, dx);
                            }
                        };
                        let row = |line: usize| line / self.rows.len();
                        match &strips {
                            None => product(dy, &begin),
                            Some(strips) => strips.lend(dy, lines.clone(), row, |dy, places| {
                                product(dy, &|line| places[line - first]);
                            }),
                        }
                        if group + 1 == g.groups {
                            finish(first * g.w * g.cin, dx);
                        }
                    });
                });
            }
        });
        if few {
            finish_all(dx, 0, parallel, finish);
        }
    }
}

/// Whether none is NaN or infinite.
fn are_finite<T: Float>(x: &[T]) -> bool {
    const CHUNK: usize = 1 << 16;
    let mut sums = vec![T::ZERO; x.len().div_ceil(CHUNK)];
    for_each_chunk(&mut sums, 1, x.len() > 4 * CHUNK, |i, sum| {
        sum_of_nothing(&x[i * CHUNK..x.len().min((i + 1) * CHUNK)], &mut sum[0]);
    });
    sums.iter().all(|&sum| sum == T::ZERO)
}

vectorized! {
/// Zero; NaN if a number is not finite.
fn sum_of_nothing[T: Float](x: &[T], sum: &mut T) {
    let mut sums = [T::ZERO; 64];
    let chunks = x.chunks_exact(64);
    for &x in chunks.remainder() {
        *sum += x * T::ZERO;
    }
    for x in chunks {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += *x * T::ZERO;
        }
    }
    for x in sums {
        *sum += x;
    }
}
}
