//! Operands of matrix products: strided views of stored values, read in place where that can be.

use super::{HandKernel, Stored, Values};
use crate::error::{Error, Result};
use crate::geometry::{MatmulOperand, matmul_geometry};
use crate::gpu::kernels::{KernelTarget, gemm};
use crate::gpu::memory::ALIGNMENT;
use crate::ops::{Lowering, View};
use crate::shape::{MAX_RANK, Shape};

impl Values<'_> {
    /// A matrix product reads strided views in place where it can.
    pub(super) fn matmul(&self, v: usize, target: &KernelTarget) -> Result<HandKernel> {
        let out = &self.spec(v).shape;
        let (a, b) = (self.input(v, 0), self.input(v, 1));
        let mut sides = [self.strided(a), self.strided(b)];
        let (sa, sb) = (self.spec(a).shape, self.spec(b).shape);
        // The first try may find that one side or both can't be read in place; stored whole, they can.
        for _ in 0..2 {
            let operand = |s: &StridedOperand, shape| MatmulOperand { shape, strides: s.strides };
            match matmul_geometry(operand(&sides[0], &sa), operand(&sides[1], &sb), out) {
                Ok(g) => {
                    let inputs = sides.iter().map(StridedOperand::bound).collect();
                    let first = [0, 1].map(|side| sides[side].first());
                    return Ok(HandKernel { launches: gemm::matmul(&g, first, target), inputs });
                }
                Err(bad) => {
                    for (side, (v, bad)) in sides.iter_mut().zip([a, b].into_iter().zip(bad)) {
                        if bad {
                            *side = self.whole(v);
                        }
                    }
                }
            }
        }
        Err(Error::internal(format!("matmul: no kernel for {sa} x {sb}")))
    }

    /// The whole value in row-major order.
    fn whole(&self, v: usize) -> StridedOperand {
        let strides = self.spec(v).shape.strides().map(|s| s as isize);
        StridedOperand { base: self.base(v), strides, offset: 0 }
    }

    /// A value as a strided view of a value that is stored (or will be).
    ///
    /// Where a view's first element alone would keep its rows from being read four elements at a time, the whole is the better one:
    /// it is copied once, and read often.
    fn strided(&self, v: usize) -> StridedOperand {
        let shape = &self.spec(v).shape;
        self.find_strided(v)
            .filter(|s| s.offset.is_multiple_of(4) || !s.in_fours(shape))
            .unwrap_or_else(|| self.whole(v))
    }

    fn find_strided(&self, v: usize) -> Option<StridedOperand> {
        if self.is_ready(v) || self.stored[v] {
            return Some(self.whole(v));
        }
        let Lowering::View(view) = &self.lower[v] else { return Some(self.whole(v)) };
        let input = self.input(v, 0);
        let (from, to) = (self.spec(input).shape, self.spec(v).shape);
        let mut s = self.find_strided(input)?;
        let old = s.strides;
        match view {
            View::Reshape => s.strides = restride(&from, &old, &to)?,
            View::Permute(perm) => {
                for (d, &p) in perm.iter().enumerate() {
                    s.strides[d] = old[p];
                }
            }
            View::Broadcast => {
                let skip = to.rank() - from.rank();
                s.strides = [0; MAX_RANK];
                for d in 0..from.rank() {
                    s.strides[d + skip] = if from[d] == 1 { 0 } else { old[d] };
                }
            }
            View::Slice { start, step } => {
                let mut offset = s.offset as isize;
                for d in 0..from.rank() {
                    offset += start[d] as isize * old[d];
                    s.strides[d] = old[d] * step[d];
                }
                s.offset = usize::try_from(offset).ok()?;
            }
        }
        Some(s)
    }
}

/// A strided view of a stored value.
struct StridedOperand {
    base: usize,
    strides: [isize; MAX_RANK],
    offset: usize,
}

impl StridedOperand {
    /// Elements between the places at which a binding may begin.
    const BOUND: usize = (ALIGNMENT / 4) as usize;

    /// What is bound: from the last place before its first element on.
    fn bound(&self) -> Stored {
        Stored { value: self.base, offset: 4 * (self.offset - self.first()) as u64 }
    }

    /// Its first element within what is bound.
    fn first(&self) -> usize {
        self.offset % Self::BOUND
    }

    /// Whether all rows would be whole quads, if the first were.
    fn in_fours(&self, shape: &Shape) -> bool {
        shape.iter().zip(self.strides).all(|(&n, stride)| n == 1 || stride == 1 || stride % 4 == 0)
    }
}

/// Strides of a reshaped strided view, if it is one without a copy: dimensions are matched in groups of equal size, each of
/// which must be walked as one.
fn restride(from: &Shape, strides: &[isize; MAX_RANK], to: &Shape) -> Option<[isize; MAX_RANK]> {
    let mut out = [0; MAX_RANK];
    let old: Vec<(usize, isize)> =
        from.iter().zip(strides).filter(|(n, _)| **n != 1).map(|(&n, &s)| (n, s)).collect();
    let (mut i, mut d) = (0, 0);
    while d < to.rank() {
        if to[d] == 1 {
            d += 1;
            continue;
        }
        let (mut have, mut want) = (old.get(i)?.0, to[d]);
        let (first_old, first_new) = (i, d);
        while have != want {
            if have < want {
                i += 1;
                have *= old.get(i)?.0;
            } else {
                d += 1;
                want *= *to.get(d)?;
            }
        }
        for k in first_old..i {
            if old[k].1 != old[k + 1].1 * old[k + 1].0 as isize {
                return None;
            }
        }
        let mut step = old[i].1;
        for k in (first_new..=d).rev() {
            out[k] = step;
            step *= to[k] as isize;
        }
        i += 1;
        d += 1;
    }
    Some(out)
}
