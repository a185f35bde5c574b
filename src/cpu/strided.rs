//! Loops over elements row by row, whatever the strides.

use super::element::Element;
use super::kernels::for_each_chunk;
use crate::shape::{MAX_RANK, Shape};

/// Work under this many elements stays on the calling thread.
pub(super) const PARALLEL: usize = 1 << 15;

/// A loop nest: outer dimensions and one inner row.
pub(super) struct Nest<const N: usize> {
    dims: Vec<usize>,
    strides: [Vec<isize>; N],
    inner: usize,
    pub inner_strides: [isize; N],
}

impl<const N: usize> Nest<N> {
    /// Merges neighbouring dimensions wherever every input walks them as one.
    pub fn new(shape: &Shape, strides: &[[isize; MAX_RANK]; N]) -> Self {
        let mut dims: Vec<usize> = Vec::new();
        let mut merged: [Vec<isize>; N] = std::array::from_fn(|_| Vec::new());
        for d in 0..shape.rank() {
            if shape[d] == 1 {
                continue;
            }
            let joins = !dims.is_empty()
                && (0..N).all(|i| merged[i].last() == Some(&(strides[i][d] * shape[d] as isize)));
            if let (true, Some(last)) = (joins, dims.last_mut()) {
                *last *= shape[d];
                for i in 0..N {
                    if let Some(s) = merged[i].last_mut() {
                        *s = strides[i][d];
                    }
                }
            } else {
                dims.push(shape[d]);
                for i in 0..N {
                    merged[i].push(strides[i][d]);
                }
            }
        }
        let inner = dims.pop().unwrap_or(1);
        let inner_strides = std::array::from_fn(|i| merged[i].pop().unwrap_or(0));
        Nest { dims, strides: merged, inner, inner_strides }
    }

    /// Where each input's row begins.
    fn offsets(&self, mut row: usize) -> [isize; N] {
        let mut at = [0; N];
        for d in (0..self.dims.len()).rev() {
            let index = (row % self.dims[d]) as isize;
            row /= self.dims[d];
            for i in 0..N {
                at[i] += index * self.strides[i][d];
            }
        }
        at
    }

    /// Calls `f(offsets of the inputs, piece of dst)` for every row, pieces of long rows and groups of rows in parallel.
    pub fn each<O: Send>(&self, dst: &mut [O], f: impl Fn([isize; N], &mut [O]) + Sync) {
        if dst.is_empty() {
            return;
        }
        let inner = self.inner.max(1);
        if self.dims.is_empty() {
            if inner < PARALLEL {
                return f([0; N], dst);
            }
            for_each_chunk(dst, PARALLEL, true, |c, piece| {
                let at = std::array::from_fn(|i| (c * PARALLEL) as isize * self.inner_strides[i]);
                f(at, piece);
            });
            return;
        }
        let rows_per_task = (PARALLEL / inner).max(1);
        let parallel = dst.len() >= PARALLEL;
        for_each_chunk(dst, rows_per_task * inner, parallel, |t, rows| {
            for (r, row) in rows.chunks_mut(inner).enumerate() {
                f(self.offsets(t * rows_per_task + r), row);
            }
        });
    }
}

/// Copies a strided view (strides may be zero or negative) into row-major order.
pub(crate) fn copy_strided<T: Element>(
    src: &[T],
    shape: &Shape,
    strides: &[isize; MAX_RANK],
    offset: usize,
    dst: &mut [T],
) {
    let nest = Nest::new(shape, &[*strides]);
    let step = nest.inner_strides[0];
    nest.each(dst, |[at], row| {
        let mut i = offset as isize + at;
        if step == 1 {
            row.copy_from_slice(&src[i as usize..i as usize + row.len()]);
        } else {
            for d in row {
                *d = src[i as usize];
                i += step;
            }
        }
    });
}

/// A piece of an input: a row, or one element that repeats.
pub(super) fn piece<T>(data: &[T], at: isize, step: isize, len: usize) -> &[T] {
    let at = at as usize;
    &data[at..at + if step == 0 { 1 } else { len }]
}
