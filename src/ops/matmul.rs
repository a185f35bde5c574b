//! Matrix products: 2-D, batched, with broadcast batch dimensions, either side transposed without a copy.

use super::view::{nothing, sum_to};
use super::{Grads, Lowering, Operation, Vjp, require_float, same_device, same_dtype};
use crate::cpu::{Array, dispatch_float, kernels};
use crate::error::{Error, Result};
use crate::geometry::{MatmulOperand, matmul_geometry};
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

#[derive(Debug, Hash)]
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
        return nothing(shape, &[a, b]);
    }
    let contiguous = |s: &Shape| s.strides().map(|s| s as isize);
    let (oa, ob) = (
        MatmulOperand { shape: &sa, strides: contiguous(&sa) },
        MatmulOperand { shape: &sb, strides: contiguous(&sb) },
    );
    if matmul_geometry(oa, ob, &shape).is_err() {
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
            grads[0] = Some(sum_to(&matmul(g, &b.transpose()?)?, a.shape())?);
        }
        if cx.needs[1] {
            // A right-hand matrix shared by the whole batch: one product over batch and rows, not a sum of products.
            let grad = if b.rank() == 2 && a.rank() > 2 {
                let rows = a.numel() / b.shape()[0];
                let a = a.reshape([rows, b.shape()[0]])?;
                matmul(&a.transpose()?, &g.reshape([rows, b.shape()[1]])?)?
            } else {
                sum_to(&matmul(&a.transpose()?, g)?, b.shape())?
            };
            grads[1] = Some(grad);
        }
        Ok(grads)
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let (mut a, mut b) = (inputs[0].clone(), inputs[1].clone());
        let g = loop {
            let (oa, ob) = (
                MatmulOperand { shape: &a.shape, strides: a.strides },
                MatmulOperand { shape: &b.shape, strides: b.strides },
            );
            match matmul_geometry(oa, ob, &out.shape) {
                Ok(g) => break g,
                Err([copy_a, copy_b]) => {
                    if (!copy_a || a.is_contiguous()) && (!copy_b || b.is_contiguous()) {
                        return Err(Error::internal(format!(
                            "matmul: no kernel for {} x {}",
                            a.shape, b.shape
                        )));
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
