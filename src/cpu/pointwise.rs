//! Functions of the elements of one to three arrays.

use super::array::Array;
use super::element::Element;
use super::kernels::for_each_chunk;
use super::strided::{Nest, PARALLEL, piece};
use crate::error::Result;
use crate::shape::{MAX_RANK, Shape};

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

/// `f(input piece, output piece)` over all elements.
pub(crate) fn map1<A: Element, O: Element>(
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
pub(crate) fn map2<A: Element, B: Element, O: Element>(
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
pub(crate) fn map3<A: Element, B: Element, C: Element, O: Element>(
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
