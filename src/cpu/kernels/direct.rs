//! Convolution by products that read the windows of an image where they lie (see [`wgrad_tiles`]): nothing is copied but the weight, which is
//! packed, and the border of an image that has padding.
//!
//! All passes are such a product. Forward, a row is a window and a term a tap. For the input's gradient a row is a place of the input and a
//! term an output that read it, with its channel; with strides, places fall into classes that are read by different taps, each of which is a
//! product of its own. For the weight's gradient a row is a tap and a term a window.

use std::ops::Range;

use wgrad_tiles::{Right, Row, Terms, pack, panel_width, product, width};

use super::float::Float;
use super::matrix::flops;
use super::panels::{BLOCK, Panels, Write, blocks, by_rows, onto};
use super::{Finish, PARALLEL_FLOPS, finish_all, for_each_chunk};
use crate::geometry::{Conv2dGeometry, group_channels};

mod input_grad;
mod weight_grad;

pub(super) use input_grad::InputGrad;
pub(super) use weight_grad::weight_grad;

/// Floating-point operations of a task: some 50 us.
const TASK: usize = 8 << 20;
/// Pieces that a problem is cut into where it is large enough: plenty for threads to share evenly.
const MIN_PIECES: usize = 16;
/// The number of rows of a task is a multiple of this, which is one of all tiles' too.
const ROWS: usize = 24;
/// Positions of a task that copies what it reads.
const STRIP: usize = 480;
/// Elements of images with their borders, at most, but for those of a single image.
const BORDERED: usize = 4 << 20;
/// A problem with at most so many rows, and a weight of at least so many elements, is cut into columns: each thread then packs and reads its
/// own part of the weight.
const FEW_ROWS: usize = 768;
const LARGE_WEIGHT: usize = 256 << 10;

/// Images in their border take at most so many times what they take without it, or so many elements.
const MOST_BORDER: usize = 8;
const SMALL_BORDER: usize = 1 << 20;

/// Whether `g` is for this module on this processor. Products with 1x1 kernels are the GEMM's.
pub(super) fn applies<T: Float>(g: &Conv2dGeometry) -> bool {
    // Short sums and narrow panels are not worth the packing.
    let (group_in, group_out) = group_channels(g);
    let worth = g.kh * g.kw > 1 && g.kh * g.kw * group_in >= 8 && group_out >= 8;
    worth && width::<T>().is_some() && may_have_border([g.n, g.h, g.w, g.cin], g.padding)
}

/// Whether images `[n, height, width, channels]` may be copied into a border: places in it are numbers of 32 bits, and it isn't so wide,
/// as padding may be whose zeros strides leap over, that hardly anything else would be copied.
pub(super) fn may_have_border(
    [n, height, width, channels]: [usize; 4],
    [top, bottom, left, right]: [usize; 4],
) -> bool {
    let len = |height: usize, width: usize| {
        [height, width, channels]
            .into_iter()
            .try_fold(n, usize::checked_mul)
            .filter(|&len| u32::try_from(len).is_ok())
    };
    let (inside, whole) = (len(height, width), len(top + height + bottom, left + width + right));
    inside
        .zip(whole)
        .is_some_and(|(inside, whole)| whole <= inside.saturating_mul(MOST_BORDER).max(SMALL_BORDER))
}

/// Lends `f` images `[n, height, width, channels]` in borders of zeros.
pub(super) fn with_border<T: Float, R>(
    images: &[T],
    [n, height, width, channels]: [usize; 4],
    [top, bottom, left, right]: [usize; 4],
    f: impl FnOnce(&[T]) -> R,
) -> R {
    if [top, bottom, left, right] == [0; 4] {
        return f(images);
    }
    let wide = (left + width + right) * channels;
    let rows = top + height + bottom;
    T::with_scratch(n * rows * wide, |bordered| {
        for_each_chunk(bordered, rows * wide, n * rows * wide >= 1 << 17, |i, to| {
            let image = &images[i * height * width * channels..];
            copy_bordered(image, [height, width, channels], [top, left, right], 0, to);
        });
        f(bordered)
    })
}

/// Writes rows of an image in its border of zeros, from row `first` of both on, as many as there is room for.
fn copy_bordered<T: Float>(
    image: &[T],
    [height, width, channels]: [usize; 3],
    [top, left, right]: [usize; 3],
    first: usize,
    to: &mut [T],
) {
    let (row, wide) = (width * channels, (left + width + right) * channels);
    for (y, to) in (first..).zip(to.chunks_exact_mut(wide)) {
        match y.checked_sub(top).filter(|&y| y < height) {
            None => to.fill(T::ZERO),
            Some(y) => {
                to[..left * channels].fill(T::ZERO);
                to[left * channels..][..row].copy_from_slice(&image[y * row..][..row]);
                to[left * channels + row..].fill(T::ZERO);
            }
        }
    }
}

/// Images with a border, of which each task copies what it reads, and reads it again while it is in a core's cache.
struct Strips {
    /// Height, width and channels of an image, and its border above, on the left and on the right.
    size: [usize; 3],
    border: [usize; 3],
    /// Lines of the result of each image, and rows of the image in its border that a line reads.
    lines: usize,
    reach: usize,
}

impl Strips {
    /// Of images of this size and border, where tasks are of lines; where there are groups, each of them would copy all channels.
    fn new(
        g: &Conv2dGeometry,
        few: bool,
        size: [usize; 3],
        border: [usize; 4],
        lines: usize,
        reach: usize,
    ) -> Option<Strips> {
        let [top, _, left, right] = border;
        let worth = g.groups == 1 && border != [0; 4] && !few;
        worth.then_some(Strips { size, border: [top, left, right], lines, reach })
    }

    /// Lines of a task, for so many positions in each and so many images.
    fn lines_of_task(&self, positions: usize, images: usize) -> usize {
        let pieces = (images * self.lines).div_ceil(MIN_PIECES);
        STRIP.div_ceil(positions.max(1)).min(pieces).min(self.lines).max(1)
    }

    /// Lends `f` what some lines read, counted through all images, and where the first row of each begins; `first` gives which row of its
    /// image that is.
    fn lend<T: Float>(
        &self,
        images: &[T],
        lines: Range<usize>,
        first: impl Fn(usize) -> usize,
        f: impl FnOnce(&[T], &[usize]),
    ) {
        let [height, width, channels] = self.size;
        let wide = (self.border[1] + width + self.border[2]) * channels;
        let parts = (lines.start / self.lines..lines.end.div_ceil(self.lines)).map(|image| {
            let begin = image * self.lines;
            let own = lines.start.max(begin) - begin..lines.end.min(begin + self.lines) - begin;
            let rows = first(own.start)..first(own.end - 1) + self.reach;
            (image, own, rows)
        });
        let len: usize = parts.clone().map(|(_, _, rows)| rows.len() * wide).sum();
        T::with_scratch(len, |strips| {
            let (mut at, mut places) = (0, Vec::with_capacity(lines.len()));
            for (image, own, rows) in parts {
                let to = &mut strips[at..at + rows.len() * wide];
                let image = &images[image * height * width * channels..];
                copy_bordered(image, self.size, self.border, rows.start, to);
                places.extend(own.map(|line| at + (first(line) - rows.start) * wide));
                at += rows.len() * wide;
            }
            f(strips, &places);
        });
    }
}

/// Windows of the padded input: where they begin, and where their taps are.
struct Windows {
    /// Elements from one image to the next, from one window to the next below it, and beside it.
    image: usize,
    down: usize,
    right: usize,
    oh: usize,
    ow: usize,
    taps: Vec<u32>,
}

impl Windows {
    fn new(g: &Conv2dGeometry) -> Windows {
        let [top, bottom, left, right] = g.padding;
        let (height, width) = (top + g.h + bottom, left + g.w + right);
        let row = width * g.cin;
        let channels = g.cin / g.groups;
        let tap = |ky: usize, kx: usize, c: usize| ky * g.dilation[0] * row + kx * g.dilation[1] * g.cin + c;
        let taps = (0..g.kh)
            .flat_map(|ky| (0..g.kw).flat_map(move |kx| (0..channels).map(move |c| tap(ky, kx, c) as u32)));
        Windows {
            image: height * row,
            down: g.stride[0] * row,
            right: g.stride[1] * g.cin,
            oh: g.oh,
            ow: g.ow,
            taps: taps.collect(),
        }
    }

    /// Calls `f` with each window's place in this range, in order.
    fn for_each(&self, windows: Range<usize>, mut f: impl FnMut(usize)) {
        let (mut ox, line) = (windows.start % self.ow, windows.start / self.ow);
        let (mut oy, mut image) = (line % self.oh, line / self.oh);
        for _ in windows {
            f(image * self.image + oy * self.down + ox * self.right);
            ox += 1;
            if ox == self.ow {
                (ox, oy) = (0, oy + 1);
                if oy == self.oh {
                    (oy, image) = (0, image + 1);
                }
            }
        }
    }
}

/// Rows of a task, each of so many operations, of so many rows in all.
fn rows_of_task(operations: usize, rows: usize) -> usize {
    let large = (TASK / operations.max(1)).next_multiple_of(ROWS);
    large.min(rows.div_ceil(MIN_PIECES).next_multiple_of(ROWS)).clamp(2 * ROWS, 4096)
}

/// Whether a product is cut into columns, not into rows.
fn is_cut_into_columns(rows: usize, terms: usize, columns: usize) -> bool {
    rows <= FEW_ROWS && terms * columns >= LARGE_WEIGHT
}

/// The product of all rows, a panel being a task's.
fn by_columns<T: Float>(
    a: &[T],
    rows: &[Row],
    terms: &[u32],
    panels: &Panels,
    write: Write<'_, T>,
    c: &mut [T],
) {
    if rows.is_empty() {
        return;
    }
    let each = rows.len() * panels.each;
    let places: Vec<Row> = (0..rows.len()).map(|i| Row { from: rows[i].from, to: i * panels.each }).collect();
    let parallel = flops([rows.len(), terms.len(), panels.columns]) >= PARALLEL_FLOPS;
    T::with_scratch(panels.len() * each, |out| {
        for_each_chunk(out, each, parallel, |panel, out| {
            let columns = panels.columns(panel);
            T::with_scratch(terms.len().min(BLOCK) * panels.each, |packed| {
                for part in blocks(terms.len()) {
                    let packed = &mut packed[..part.len() * panel_width::<T>(columns.len())];
                    write(part.clone(), columns.clone(), packed);
                    let sums = onto(part.start == 0);
                    product(
                        a,
                        &places,
                        Terms::new(&terms[part]),
                        Right::panel(packed, columns.len()),
                        columns.len(),
                        out,
                        sums,
                    );
                }
            });
        });
        for (panel, out) in out.chunks_exact(each).enumerate() {
            let columns = panels.columns(panel);
            for (row, out) in rows.iter().zip(out.chunks_exact(panels.each)) {
                c[row.to + columns.start..][..columns.len()].copy_from_slice(&out[..columns.len()]);
            }
        }
    });
}

/// See [`super::conv2d::conv2d_forward`].
pub(super) fn forward<T: Float>(g: &Conv2dGeometry, x: &[T], w: &[T], y: &mut [T], finish: Finish<T>) {
    let [top, bottom, left, right] = g.padding;
    let bordered = (top + g.h + bottom) * (left + g.w + right) * g.cin;
    let (group_in, group_out) = group_channels(g);
    let few = is_cut_into_columns(g.n * g.oh * g.ow, g.kh * g.kw * group_in, group_out);
    // Some images of a large batch at a time, where all of them are copied: that would take as much memory again.
    let copied = g.padding != [0; 4] && (g.groups > 1 || few);
    let images = if copied { (BORDERED / bordered).clamp(1, g.n) } else { g.n };
    let (image, output) = (g.h * g.w * g.cin, g.oh * g.ow * g.cout);
    for (i, y) in y.chunks_mut(images * output).enumerate() {
        let part = Conv2dGeometry { n: y.len() / output, ..*g };
        let first = i * images;
        let finish: Finish<T> = &|at, piece| finish(first * output + at, piece);
        forward_part(&part, &x[first * image..][..part.n * image], w, y, finish);
    }
}

fn forward_part<T: Float>(g: &Conv2dGeometry, x: &[T], w: &[T], y: &mut [T], finish: Finish<T>) {
    let (group_in, group_out) = group_channels(g);
    let windows = Windows::new(g);
    let terms = windows.taps.len();
    let positions = g.n * g.oh * g.ow;
    let panels = Panels::new::<T>(group_out);
    let parallel = flops([positions, terms, g.cout]) >= PARALLEL_FLOPS;
    let few = is_cut_into_columns(positions, terms, group_out);
    let reach = (g.kh - 1) * g.dilation[0] + 1;
    let strips = Strips::new(g, few, [g.h, g.w, g.cin], g.padding, g.oh, reach);
    let border = if strips.is_some() { [0; 4] } else { g.padding };
    with_border(x, [g.n, g.h, g.w, g.cin], border, |x| {
        for group in 0..g.groups {
            let write = |terms: Range<usize>, columns: Range<usize>, panel: &mut [T]| {
                let first = terms.start * g.cout + group * group_out + columns.start;
                pack(&w[first..], [g.cout, 1], columns.len(), panel);
            };
            let rows = |range: Range<usize>| {
                let mut rows = Vec::with_capacity(range.len());
                windows.for_each(range, |from| {
                    rows.push(Row {
                        from: from + group * group_in,
                        to: rows.len() * g.cout + group * group_out,
                    });
                });
                rows
            };
            if few {
                by_columns(x, &rows(0..positions), &windows.taps, &panels, &write, y);
                continue;
            }
            T::with_scratch(panels.packed_len::<T>(terms), |packed| {
                panels.pack(terms, &write, packed);
                let each = match &strips {
                    Some(strips) => strips.lines_of_task(g.ow, g.n) * g.ow,
                    None => rows_of_task(2 * terms * group_out, positions),
                };
                for_each_chunk(y, each * g.cout, parallel, |task, y| {
                    let first = task * each;
                    let range = first..first + y.len() / g.cout;
                    let product = |x: &[T], rows: &[Row], y: &mut [T]| {
                        by_rows(x, rows, &windows.taps, &panels, packed, y);
                    };
                    if let Some(strips) = &strips {
                        let lines = range.start / g.ow..range.end / g.ow;
                        let below = |oy: usize| oy * g.stride[0];
                        strips.lend(x, lines, below, |x, places| {
                            let line = |&from: &usize| (0..g.ow).map(move |ox| from + ox * windows.right);
                            let places = places.iter().flat_map(line).enumerate();
                            let rows = places.map(|(i, from)| Row { from, to: i * g.cout });
                            product(x, &rows.collect::<Vec<_>>(), y);
                        });
                    } else {
                        product(x, &rows(range), y);
                    }
                    if group + 1 == g.groups {
                        finish(first * g.cout, y);
                    }
                });
            });
        }
    });
    if few {
        finish_all(y, 0, parallel, finish);
    }
}

#[cfg(test)]
mod tests;
