//! Products of a few rows with a large matrix: recurrent layers, and dense ones with small batches. The matrix is read where it lies, since to
//! pack it, as the GEMM does, takes longer than to multiply by it.

use std::ops::Range;

use wgrad_tiles::{CHAIN, Onto, Right, Row, Terms, pack, panel_width, product, width};

use super::float::Float;
use super::matrix::{Matrix, flops};
use super::panels::{self, Panels};
use super::{CHAIN_OF_SUMS, PARALLEL_FLOPS, for_each_chunk};

/// Rows that are few.
const FEW: std::ops::RangeInclusive<usize> = 8..=96;
/// Elements of a matrix that is large.
const LARGE: usize = 1 << 16;
/// Columns of a task.
const COLUMNS: usize = 64;

/// Whether a product of these sizes is for this module on this processor.
pub(super) fn applies<T: Float>([m, n, k]: [usize; 3], a: Matrix<T>, b: Matrix<T>) -> bool {
    let reach =
        |matrix: Matrix<T>, along: usize| u32::try_from(k.saturating_mul(matrix.strides[along])).is_ok();
    // Longer sums are added up in more levels than there are here.
    let sum = (CHAIN / 2..=CHAIN * CHAIN_OF_SUMS).contains(&k);
    FEW.contains(&m)
        && n >= COLUMNS
        && sum
        && n * k >= LARGE
        && reach(a, 1)
        && reach(b, 0)
        && width::<T>().is_some()
}

/// `C[m, n] = sum over k of A[m, k] B[k, n]`; rows of `c` lie one after the other.
pub(super) fn multiply<T: Float>(size: [usize; 3], a: Matrix<T>, b: Matrix<T>, c: &mut [T], parallel: bool) {
    // A task has some columns of C. They don't lie together: it computes them aside.
    let [m, n, k] = size;
    let parallel = parallel && flops(size) >= PARALLEL_FLOPS;
    let terms = |stride: usize| (0..k).map(|i| (i * stride) as u32).collect::<Vec<_>>();
    let each = m * COLUMNS;
    T::with_scratch(n.div_ceil(COLUMNS) * each, |out| {
        if b.strides[1] == 1 {
            let rows: Vec<Row> = (0..m).map(|i| Row { from: i * a.strides[0], to: i * COLUMNS }).collect();
            let terms = terms(a.strides[1]);
            for_each_chunk(out, each, parallel, |task, out| {
                let first = task * COLUMNS;
                by_rows(
                    a.data,
                    &rows,
                    Terms::new(&terms),
                    Matrix { data: &b.data[first..], ..b },
                    COLUMNS.min(n - first),
                    out,
                );
            });
            gather(out, each, c, [m, n], |block, i, columns| block[i * COLUMNS..][..columns].iter());
        } else {
            // The transpose of C, of which the matrix is the left side.
            let terms = terms(b.strides[0]);
            let panels = Panels::new::<T>(m);
            T::with_scratch(panels.packed_len::<T>(k), |packed| {
                let write = |terms: Range<usize>, rows: Range<usize>, panel: &mut [T]| {
                    let first = terms.start * a.strides[1] + rows.start * a.strides[0];
                    pack(&a.data[first..], [a.strides[1], a.strides[0]], rows.len(), panel);
                };
                panels.pack(k, &write, packed);
                for_each_chunk(out, each, parallel, |task, out| {
                    let columns = task * COLUMNS..n.min((task + 1) * COLUMNS);
                    let row = |(i, j)| Row { from: j * b.strides[1], to: i * m };
                    let rows: Vec<Row> = columns.enumerate().map(row).collect();
                    panels::by_rows(b.data, &rows, &terms, &panels, packed, out);
                });
            });
            gather(out, each, c, [m, n], |block, i, columns| block[i..].iter().step_by(m).take(columns));
        }
    });
}

/// The right side of products that are computed again and again, in panels.
pub struct PackedRight<T> {
    panels: Panels,
    /// Places of a contiguous row's elements.
    terms: Vec<u32>,
    packed: Vec<T>,
}

impl<T: Float> PackedRight<T> {
    /// Of a `k` by `n` matrix; none where there are no kernels for it.
    pub fn new(b: Matrix<T>, [k, n]: [usize; 2]) -> Option<PackedRight<T>> {
        // Longer sums are added up in more levels than there are here.
        if n == 0 || !(1..=CHAIN * CHAIN_OF_SUMS).contains(&k) || width::<T>().is_none() || !b.holds(k, n) {
            return None;
        }
        let panels = Panels::new::<T>(n);
        let mut packed = vec![T::ZERO; panels.packed_len::<T>(k)];
        let write = |terms: Range<usize>, columns: Range<usize>, panel: &mut [T]| {
            let first = terms.start * b.strides[0] + columns.start * b.strides[1];
            pack(&b.data[first..], b.strides, columns.len(), panel);
        };
        panels.pack(k, &write, &mut packed);
        Some(PackedRight { panels, terms: (0..k as u32).collect(), packed })
    }

    /// `c[m, n] = a[m, k] b[k, n]`; both are contiguous.
    pub fn multiply(&self, a: &[T], c: &mut [T], parallel: bool) {
        let (k, n) = (self.terms.len(), self.panels.columns);
        let m = c.len() / n;
        if !parallel || flops([m, n, k]) < PARALLEL_FLOPS {
            let rows: Vec<Row> = (0..m).map(|i| Row { from: i * k, to: i * n }).collect();
            return panels::by_rows(a, &rows, &self.terms, &self.panels, &self.packed, c);
        }
        // A task has a panel. Its columns don't lie together: it computes them aside.
        let each = self.panels.each;
        let rows: Vec<Row> = (0..m).map(|i| Row { from: i * k, to: i * each }).collect();
        T::with_scratch(self.panels.len() * m * each, |out| {
            for_each_chunk(out, m * each, true, |panel, out| {
                let columns = self.panels.columns(panel).len();
                let b = &self.packed[self.panels.packed::<T>(panel, k, &(0..k))];
                let right = Right::panel(b, columns);
                product(a, &rows, Terms::new(&self.terms), right, columns, out, Onto::Nothing);
            });
            gather(out, m * each, c, [m, n], |block, i, columns| block[i * each..][..columns].iter());
        });
    }
}

/// A few rows times some columns of a matrix whose rows are contiguous.
fn by_rows<T: Float>(a: &[T], rows: &[Row], terms: Terms<'_>, b: Matrix<T>, columns: usize, c: &mut [T]) {
    let widest = width::<T>().unwrap_or(1);
    for first in (0..columns).step_by(widest) {
        let columns = widest.min(columns - first);
        let (data, c) = (&b.data[first..], &mut c[first..]);
        if columns == panel_width::<T>(columns) {
            product(a, rows, terms, Right::rows(data, b.strides[0]), columns, c, Onto::Nothing);
        } else {
            T::with_scratch(terms.len() * panel_width::<T>(columns), |panel| {
                pack(data, b.strides, columns, panel);
                product(a, rows, terms, Right::panel(panel, columns), columns, c, Onto::Nothing);
            });
        }
    }
}

/// Writes blocks of columns, of which `row` gives a row's part, as one matrix.
fn gather<'a, T: Float, I: Iterator<Item = &'a T>>(
    blocks: &'a [T],
    each: usize,
    c: &mut [T],
    [m, n]: [usize; 2],
    row: impl Fn(&'a [T], usize, usize) -> I,
) {
    let width = each / m;
    for (block, first) in blocks.chunks_exact(each).zip((0..n).step_by(width)) {
        let columns = width.min(n - first);
        for i in 0..m {
            for (c, &x) in c[i * n + first..][..columns].iter_mut().zip(row(block, i, columns)) {
                *c = x;
            }
        }
    }
}
