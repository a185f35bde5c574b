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
                    let input = |s: &StridedOperand| Stored { value: s.base, offset: 4 * s.offset as u64 };
                    let inputs = sides.iter().map(input).collect();
                    return Ok(HandKernel { launches: gemm::matmul(&g, target), inputs });
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

    /// A value as a strided view of a value that is stored (or will be), where its offset can be bound.
    fn strided(&self, v: usize) -> StridedOperand {
        self.find_strided(v)
            .filter(|s| (4 * s.offset as u64).is_multiple_of(ALIGNMENT))
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
