//! Matrix products: 2-D, batched, with broadcast batch dimensions, either side transposed without a copy.

use super::{Grads, Lowering, Operation, Vjp, require_float, same_device, same_dtype};
use crate::cpu::{Array, dispatch_float, kernels};
use crate::error::{Error, Result};
use crate::geometry::MatmulGeometry;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::{Spec, Tensor};

#[derive(Debug)]
pub(crate) struct Matmul;

/// `[.., m, k] x [.., k, n] -> [.., m, n]`; a vector on either side is a row or a column, as in NumPy.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_device("matmul", &[a, b])?;
    same_dtype("matmul", a, b)?;
    require_float("matmul", "the input", a)?;
    if a.rank() == 0 || b.rank() == 0 {
        let message = format!(
            "lhs {}, rhs {}: both need at least one dimension; use * for scalars",
            a.shape(),
            b.shape()
        );
        return Err(Error::shape("matmul", message));
    }
    if a.rank() == 1 {
        let y = matmul(&a.unsqueeze(0)?, b)?;
        return y.squeeze(if b.rank() == 1 { -1 } else { -2 });
    }
    if b.rank() == 1 {
        return matmul(a, &b.unsqueeze(1)?)?.squeeze(-1);
    }
    let (sa, sb) = (a.shape(), b.shape());
    let (ra, rb) = (sa.rank(), sb.rank());
    let (m, k, kb, n) = (sa[ra - 2], sa[ra - 1], sb[rb - 2], sb[rb - 1]);
    if k != kb {
        let hint = match (sb[rb - 1] == k, sa[ra - 2] == kb) {
            (true, _) => "; did you mean rhs.transpose()?",
            (_, true) => "; did you mean lhs.transpose()?",
            _ => "",
        };
        let message = format!("inner dimensions differ: lhs {sa}, rhs {sb} ({k} vs {kb}){hint}");
        return Err(Error::shape("matmul", message));
    }
    let (ba, bb) = (Shape::from_dims(&sa[..ra - 2]), Shape::from_dims(&sb[..rb - 2]));
    let batch = ba.broadcast(&bb).ok_or_else(|| {
        let message = format!("batch dimensions don't broadcast: lhs {sa}, rhs {sb} ({ba} vs {bb})");
        Error::shape("matmul", message)
    })?;
    let mut dims = batch.to_vec();
    dims.extend([m, n]);
    let shape = Shape::new(&dims)?;
    if shape.numel() == 0 || k == 0 {
        // An empty sum is zero; tracked all the same, so that gradients exist and are empty or zero.
        return crate::ops::constant::nothing(shape, &[a, b]);
    }
    let contiguous = |s: &Shape| s.strides().map(|s| s as isize);
    let (oa, ob) =
        (Operand { shape: &sa, strides: contiguous(&sa) }, Operand { shape: &sb, strides: contiguous(&sb) });
    if geometry(oa, ob, &shape).is_err() {
        // More than three batch dimensions that broadcast crosswise: repeat them.
        let repeat = |t: &Tensor| {
            let mut dims = batch.to_vec();
            dims.extend_from_slice(&t.shape()[t.rank() - 2..]);
            t.broadcast_to(dims)
        };
        return Tensor::from_op(Matmul, vec![repeat(a)?, repeat(b)?], shape, a.dtype(), a.device());
    }
    Tensor::from_op(Matmul, vec![a.clone(), b.clone()], shape, a.dtype(), a.device())
}

/// The layout of one operand: shape and element strides.
pub(crate) struct Operand<'a> {
    pub shape: &'a Shape,
    pub strides: [isize; MAX_RANK],
}

/// The geometry of a product of two strided operands, or which of them has to be made contiguous first.
pub(crate) fn geometry(a: Operand<'_>, b: Operand<'_>, out: &Shape) -> Result<MatmulGeometry, [bool; 2]> {
    let rank = out.rank();
    let (m, n) = (out[rank - 2], out[rank - 1]);
    let k = a.shape[a.shape.rank() - 1];
    let last_two = |o: &Operand<'_>| {
        let r = o.shape.rank();
        [o.strides[r - 2], o.strides[r - 1]]
    };
    let (sa, sb) = (last_two(&a), last_two(&b));
    // An axis of one element may have any stride: give it the one that suits.
    let tidy = |s: [isize; 2], rows: usize, cols: usize| match (rows, cols) {
        (_, 1) if s[0] == 1 || rows == 1 => [1, rows as isize],
        (_, 1) => [s[0], 1],
        (1, _) if s[1] == 1 => [cols as isize, 1],
        (1, _) => [1, s[1]],
        _ => s,
    };
    let (sa, sb) = (tidy(sa, m, k), tidy(sb, k, n));
    let plain = |s: [isize; 2], rows: usize, cols: usize| {
        (s[1] == 1 && s[0] >= cols as isize) || (s[0] == 1 && s[1] >= rows as isize)
    };
    let mut bad = [!plain(sa, m, k), !plain(sb, k, n)];
    // Batch dimensions, merged where both operands walk them as one, to at most three.
    let mut merged: Vec<(usize, isize, isize)> = Vec::new();
    for d in 0..rank - 2 {
        let stride = |o: &Operand<'_>| {
            let skip = rank - o.shape.rank();
            if d < skip || o.shape[d - skip] == 1 { 0 } else { o.strides[d - skip] }
        };
        let (size, ba, bb) = (out[d], stride(&a), stride(&b));
        if size == 1 {
            continue;
        }
        match merged.last_mut() {
            Some(last) if last.1 == ba * size as isize && last.2 == bb * size as isize => {
                *last = (last.0 * size, ba, bb);
            }
            _ => merged.push((size, ba, bb)),
        }
        bad[0] |= ba < 0;
        bad[1] |= bb < 0;
    }
    if merged.len() > 3 {
        bad = [true, true];
    }
    if bad != [false, false] {
        return Err(bad);
    }
    let mut g = MatmulGeometry {
        batch: [1; 3],
        a_batch: [0; 3],
        b_batch: [0; 3],
        m,
        n,
        k,
        a_strides: sa.map(|s| s as usize),
        b_strides: sb.map(|s| s as usize),
    };
    let skip = 3 - merged.len();
    for (i, (size, ba, bb)) in merged.into_iter().enumerate() {
        (g.batch[i + skip], g.a_batch[i + skip], g.b_batch[i + skip]) = (size, ba as usize, bb as usize);
    }
    Ok(g)
}

impl Operation for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn flops(&self, inputs: &[Spec], out: &Spec) -> u64 {
        let k = inputs.first().and_then(|a| a.shape.last().copied()).unwrap_or(0);
        (2 * out.shape.numel() * k) as u64
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let (a, b, g) = (&cx.inputs[0], &cx.inputs[1], cx.grad);
        let mut grads: Grads = vec![None, None];
        if cx.needs[0] {
            grads[0] = Some(super::pointwise::sum_to(&matmul(g, &b.transpose()?)?, a.shape())?);
        }
        if cx.needs[1] {
            // A right-hand matrix shared by the whole batch: one product over batch and rows, not a sum of products.
            let grad = if b.rank() == 2 && a.rank() > 2 {
                let rows = a.numel() / b.shape()[0];
                let a = a.reshape([rows, b.shape()[0]])?;
                matmul(&a.transpose()?, &g.reshape([rows, b.shape()[1]])?)?
            } else {
                super::pointwise::sum_to(&matmul(&a.transpose()?, g)?, b.shape())?
            };
            grads[1] = Some(grad);
        }
        Ok(grads)
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let (mut a, mut b) = (inputs[0].clone(), inputs[1].clone());
        let g = loop {
            let (oa, ob) = (
                Operand { shape: &a.shape, strides: a.strides },
                Operand { shape: &b.shape, strides: b.strides },
            );
            match geometry(oa, ob, &out.shape) {
                Ok(g) => break g,
                Err([copy_a, copy_b]) => {
                    if (!copy_a || a.is_contiguous()) && (!copy_b || b.is_contiguous()) {
                        return Err(Error::Gpu(format!("matmul: no kernel for {} x {}", a.shape, b.shape)));
                    }
                    if copy_a {
                        a = a.contiguous()?;
                    }
                    if copy_b {
                        b = b.contiguous()?;
                    }
                }
            }
        };
        dispatch_float!("matmul", out.dtype, T => Array::build::<T>(out.shape, |dst| {
            kernels::gemm::matmul(&g, &a.raw::<T>()?[a.offset..], &b.raw::<T>()?[b.offset..], dst);
            Ok(())
        }))
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Matmul
    }
}
