//! Softmax cross-entropy, fused: the loss of each row from its logits, exact for logits of any magnitude
//! (log-sum-exp with the maximum taken out), and its gradient in one kernel each.

use super::check_index::check_index;
use super::fault::FaultKind;
use super::masked::unmasked;
use super::{Grads, Lowering, Operation, Vjp, require_float, same_device, same_dtype};
use crate::cpu::{Array, dispatch_float, kernels};
use crate::error::{Error, Result};
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CrossEntropyKind {
    /// inputs: logits, labels (u32)
    Sparse,
    /// inputs: logits, labels (u32), gradient of each row's loss
    SparseGrad,
    /// inputs: logits, probabilities
    Dense,
    /// inputs: logits, probabilities, gradient of each row's loss
    DenseGrad,
}

#[derive(Debug, Hash)]
struct CrossEntropy {
    kind: CrossEntropyKind,
    rows: usize,
    cols: usize,
}

/// The loss of each row: `logits [.., classes]`, labels either integers `[..]` or probabilities `[.., classes]`.
pub(crate) fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    const OP: &str = "cross_entropy";
    require_float(OP, "logits", logits)?;
    same_device(OP, &[logits, labels])?;
    let (sx, sl) = (logits.shape(), labels.shape());
    let cols = sx.last().copied().unwrap_or(0);
    if cols == 0 {
        return Err(Error::shape(OP, format!("logits {sx}: expected [.., classes] with at least one class")));
    }
    let rows_shape = Shape::from_dims(&sx[..sx.rank() - 1]);
    let rows = rows_shape.numel();
    let dense = labels.dtype().is_float();
    let expected = if dense { sx } else { rows_shape };
    if sl != expected {
        // One label for each sample, as of an image, but logits for each of its places.
        let places = sx.rank() > 2 && sl[..] == sx[..1];
        let fix = if places { "; for one label a sample, flatten or pool before the last layer" } else { "" };
        let message = format!(
            "logits {sx} with {} labels {sl}: expected integer labels {rows_shape} or probabilities {sx}{fix}",
            labels.dtype()
        );
        return Err(Error::shape(OP, message));
    }
    if rows == 0 {
        return super::view::nothing(rows_shape, &[logits]);
    }
    let (kind, labels) = match dense {
        true => {
            same_dtype(OP, logits, labels)?;
            (CrossEntropyKind::Dense, labels.clone())
        }
        false => (CrossEntropyKind::Sparse, check_index(labels, FaultKind::Label, sx.rank() - 1, cols)?),
    };
    let node = CrossEntropy { kind, rows, cols };
    Tensor::from_op(node, vec![logits.clone(), labels], rows_shape, logits.dtype(), logits.device())
}

impl CrossEntropy {
    fn gradient(
        &self,
        kind: CrossEntropyKind,
        logits: &Tensor,
        labels: &Tensor,
        g: &Tensor,
    ) -> Result<Tensor> {
        let node = CrossEntropy { kind, rows: self.rows, cols: self.cols };
        let inputs = vec![logits.clone(), labels.clone(), g.clone()];
        Tensor::from_op(node, inputs, logits.shape(), logits.dtype(), logits.device())
    }
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        match self.kind {
            CrossEntropyKind::Sparse => "cross_entropy",
            CrossEntropyKind::SparseGrad => "cross_entropy_grad",
            CrossEntropyKind::Dense => "cross_entropy_dense",
            CrossEntropyKind::DenseGrad => "cross_entropy_dense_grad",
        }
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        if let (CrossEntropyKind::Sparse | CrossEntropyKind::Dense, Some((mask, inner))) =
            (self.kind, unmasked(cx.grad))
        {
            // Rows that don't count have the gradient 0, whatever their logits are.
            let mask = mask.of_rows(&cx.inputs[0].shape())?;
            let grads = self.vjp(&Vjp { grad: &inner, ..*cx })?;
            return grads.into_iter().map(|d| d.map(|d| mask.apply(&d)).transpose()).collect();
        }
        let (x, labels, up) = (&cx.inputs[0], &cx.inputs[1], cx.grad);
        let mut grads: Grads = vec![None; cx.inputs.len()];
        match self.kind {
            CrossEntropyKind::Sparse => {
                grads[0] = Some(self.gradient(CrossEntropyKind::SparseGrad, x, labels, up)?);
            }
            CrossEntropyKind::Dense => {
                if cx.needs[0] {
                    grads[0] = Some(self.gradient(CrossEntropyKind::DenseGrad, x, labels, up)?);
                }
                if cx.needs[1] {
                    grads[1] = Some((up.unsqueeze(-1)? * x.log_softmax(-1)?.neg()?)?);
                }
            }
            // y = g * (s * softmax(x) - p), s the row's sum of labels (1 for integer labels)
            CrossEntropyKind::SparseGrad | CrossEntropyKind::DenseGrad => {
                let dense = self.kind == CrossEntropyKind::DenseGrad;
                let g = cx.inputs[2].unsqueeze(-1)?;
                let q = x.softmax(-1)?;
                let total = if dense { labels.sum(-1, true)? } else { g.ones_like()? };
                if cx.needs[0] {
                    let v = ((up * &g)? * &total)?;
                    let mean = (&v * &q)?.sum(-1, true)?;
                    grads[0] = Some((&q * (v - mean)?)?);
                }
                if cx.needs[1] && dense {
                    let inner = (up * &q)?.sum(-1, true)?;
                    grads[1] = Some((&g * (inner - up)?)?);
                }
                if cx.needs[2] {
                    let p =
                        if dense { labels.clone() } else { labels.one_hot(self.cols)?.cast(x.dtype())? };
                    let slope = ((&total * &q)? - p)?;
                    grads[2] = Some((up * slope)?.sum(-1, false)?);
                }
            }
        }
        Ok(grads)
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        use kernels::softmax as k;
        let x = inputs.iter().map(Array::contiguous).collect::<Result<Vec<_>>>()?;
        dispatch_float!("cross_entropy", out.dtype, T => Array::build::<T>(out.shape, |dst| {
            let logits = x[0].slice::<T>()?;
            let result = match self.kind {
                CrossEntropyKind::Sparse => k::sparse_cross_entropy(self.cols, logits, x[1].slice::<u32>()?, dst),
                CrossEntropyKind::SparseGrad => {
                    k::sparse_cross_entropy_grad(self.cols, logits, x[1].slice::<u32>()?, x[2].slice::<T>()?, dst)
                }
                CrossEntropyKind::Dense => {
                    k::dense_cross_entropy(self.cols, logits, x[1].slice::<T>()?, dst);
                    Ok(())
                }
                CrossEntropyKind::DenseGrad => {
                    k::dense_cross_entropy_grad(self.cols, logits, x[1].slice::<T>()?, x[2].slice::<T>()?, dst);
                    Ok(())
                }
            };
            result.map_err(|e| {
                let message = format!("label {} in row {} is not one of {} classes", e.value, e.position, e.size);
                Error::argument("cross_entropy", message)
            })
        }))
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        use gpu::softmax as k;
        let (rows, cols) = (self.rows, self.cols);
        Lowering::Kernel(Box::new(move |t| match self.kind {
            CrossEntropyKind::Sparse => k::cross_entropy_sparse(t, rows, cols),
            CrossEntropyKind::SparseGrad => k::cross_entropy_sparse_grad(t, rows, cols, 1),
            CrossEntropyKind::Dense => k::cross_entropy_dense(t, rows, cols),
            CrossEntropyKind::DenseGrad => k::cross_entropy_dense_grad(t, rows, cols, 1),
        }))
    }
}
