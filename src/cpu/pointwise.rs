//! Loops over elements: rows in which every input either advances by one or stays.

use super::array::{Array, CpuElement};
use super::kernels::for_each_chunk;
use crate::error::Result;
use crate::shape::{MAX_RANK, Shape};

/// Work under this many elements stays on the calling thread.
const PARALLEL: usize = 1 << 15;

/// A loop nest: outer dimensions and one inner row.
struct Nest<const N: usize> {
    dims: Vec<usize>,
    strides: [Vec<isize>; N],
    inner: usize,
    inner_strides: [isize; N],
}

impl<const N: usize> Nest<N> {
    /// Merges neighbouring dimensions wherever every input walks them as one.
    fn new(shape: &Shape, strides: &[[isize; MAX_RANK]; N]) -> Self {
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
    fn each<O: Send>(&self, dst: &mut [O], f: impl Fn([isize; N], &mut [O]) + Sync) {
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
pub(crate) fn copy_strided<T: CpuElement>(
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

/// An input whose rows advance by 0 or 1 under the broadcast shape, copied if it does not.
fn rowwise(array: &Array, shape: &Shape) -> Result<(Array, [isize; MAX_RANK])> {
    let strides = array.broadcast_strides(shape);
    let nest = Nest::new(shape, &[strides]);
    if matches!(nest.inner_strides[0], 0 | 1) {
        return Ok((array.clone(), strides));
    }
    let copy = array.contiguous()?;
    let strides = copy.broadcast_strides(shape);
    Ok((copy, strides))
}

/// A piece of an input: a row, or one element that repeats.
fn piece<T>(data: &[T], at: isize, step: isize, len: usize) -> &[T] {
    let at = at as usize;
    &data[at..at + if step == 0 { 1 } else { len }]
}

/// `f(input piece, output piece)` over all elements.
pub(crate) fn map1<A: CpuElement, O: CpuElement>(
    a: &Array,
    shape: &Shape,
    f: impl Fn(&[A], &mut [O]) + Sync,
) -> Result<Array> {
    let a = a.contiguous()?;
    let src = a.slice::<A>()?;
    Array::build::<O>(*shape, |dst| {
        for_each_chunk(dst, PARALLEL, true, |c, piece| f(&src[c * PARALLEL..][..piece.len()], piece));
        Ok(())
    })
}

/// `f(a piece, a step, b piece, b step, output piece)` over all elements of the broadcast shape; steps are 0 or 1.
pub(crate) fn map2<A: CpuElement, B: CpuElement, O: CpuElement>(
    a: &Array,
    b: &Array,
    shape: &Shape,
    f: impl Fn(&[A], usize, &[B], usize, &mut [O]) + Sync,
) -> Result<Array> {
    let ((a, sa), (b, sb)) = (rowwise(a, shape)?, rowwise(b, shape)?);
    let (da, db) = (a.raw::<A>()?, b.raw::<B>()?);
    let nest = Nest::new(shape, &[sa, sb]);
    let [ia, ib] = nest.inner_strides;
    Array::build::<O>(*shape, |dst| {
        nest.each(dst, |[oa, ob], row| {
            let pa = piece(da, a.offset as isize + oa, ia, row.len());
            let pb = piece(db, b.offset as isize + ob, ib, row.len());
            f(pa, ia as usize, pb, ib as usize, row);
        });
        Ok(())
    })
}

/// As [`map2`] for three inputs; `f` is called per element.
pub(crate) fn map3<A: CpuElement, B: CpuElement, C: CpuElement, O: CpuElement>(
    inputs: [&Array; 3],
    shape: &Shape,
    f: impl Fn(A, B, C) -> O + Sync,
) -> Result<Array> {
    let (a, sa) = rowwise(inputs[0], shape)?;
    let (b, sb) = rowwise(inputs[1], shape)?;
    let (c, sc) = rowwise(inputs[2], shape)?;
    let (da, db, dc) = (a.raw::<A>()?, b.raw::<B>()?, c.raw::<C>()?);
    let nest = Nest::new(shape, &[sa, sb, sc]);
    let [ia, ib, ic] = nest.inner_strides.map(|s| s as usize);
    Array::build::<O>(*shape, |dst| {
        nest.each(dst, |[oa, ob, oc], row| {
            let pa = piece(da, a.offset as isize + oa, ia as isize, row.len());
            let pb = piece(db, b.offset as isize + ob, ib as isize, row.len());
            let pc = piece(dc, c.offset as isize + oc, ic as isize, row.len());
            // The common cases as plain zips, which vectorise: a mask chooses between two tensors, or a tensor and a number.
            match (ia, ib, ic) {
                (1, 1, 1) => {
                    for (d, ((&a, &b), &c)) in row.iter_mut().zip(pa.iter().zip(pb).zip(pc)) {
                        *d = f(a, b, c);
                    }
                }
                (1, 1, 0) => {
                    let c = pc[0];
                    for (d, (&a, &b)) in row.iter_mut().zip(pa.iter().zip(pb)) {
                        *d = f(a, b, c);
                    }
                }
                _ => {
                    for (i, d) in row.iter_mut().enumerate() {
                        *d = f(pa[i * ia], pb[i * ib], pc[i * ic]);
                    }
                }
            }
        });
        Ok(())
    })
}
