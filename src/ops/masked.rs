//! Gradients on the side of a `where` that was not taken: zeros that no derivative can turn into NaN.
//!
//! `x.gt(0.0)?.select(x.log()?, 0.0)` doesn't use the logarithm where x is 0, so its gradient there is 0. Handed on as the
//! number 0, it would meet the logarithm's derivative, and 0 times infinity is NaN: the "double where" problem of TensorFlow,
//! JAX and PyTorch. Here the gradient of a taken side is a choice that remembers what it is ([`Masked`]), and the rules of
//! pointwise operations, of sums and of views make it their last step rather than their first: they differentiate what was
//! chosen from, then choose. It costs nothing, for the earlier choice is then used by nobody and is never computed.

use super::{Grads, Lowering, Operation, Pointwise, Vjp};
use crate::cpu::Array;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// `where` with zeros on one side; the other is input 1 or 2.
#[derive(Debug, Hash)]
struct Masked {
    value: usize,
}

/// Where a gradient is 0 because nothing depends on that side of a `where`.
pub(crate) struct Mask {
    condition: Tensor,
    /// The place of the value among the inputs: 1 for the side of conditions that hold.
    value: usize,
}

impl Mask {
    /// Of the first side, taken where the condition is not 0, or of the second.
    pub fn new(condition: &Tensor, first: bool) -> Mask {
        Mask { condition: condition.clone(), value: if first { 1 } else { 2 } }
    }

    /// The mask of an operation that gives one element for each row of `shape[.., n]`, as one of the rows' elements.
    pub fn of_rows(self, shape: &Shape) -> Result<Mask> {
        let rows = Shape::new(&shape[..shape.rank().saturating_sub(1)])?;
        let condition = self.condition.broadcast_to(rows)?.unsqueeze(-1)?;
        Ok(Mask { condition, ..self })
    }

    /// The gradient with 0 where the side was not taken; the condition broadcasts to its shape.
    pub fn apply(&self, gradient: &Tensor) -> Result<Tensor> {
        let zero = gradient.zeros_like()?;
        let mut inputs = vec![self.condition.clone(), zero.clone(), zero];
        inputs[self.value] = gradient.clone();
        let op = Masked { value: self.value };
        Tensor::from_op(op, inputs, gradient.shape(), gradient.dtype(), gradient.device())
    }
}

/// The mask of a gradient that is one side's, and the gradient before it was masked.
pub(crate) fn unmasked(gradient: &Tensor) -> Option<(Mask, Tensor)> {
    let value = gradient.0.op.masked()?;
    gradient.0.with_inputs(|inputs| match inputs {
        [condition, _, _] => Some((Mask { condition: condition.clone(), value }, inputs[value].clone())),
        // computed already, and let go of
        _ => None,
    })
}

/// A view of a gradient, through the masks around it.
pub(crate) fn through(gradient: &Tensor, view: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let Some((mask, inner)) = unmasked(gradient) else { return view(gradient) };
    let condition = view(&mask.condition.broadcast_to(gradient.shape())?)?;
    Mask { condition, value: mask.value }.apply(&through(&inner, view)?)
}

impl Operation for Masked {
    fn name(&self) -> &'static str {
        Pointwise::Where.name()
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        Pointwise::Where.vjp(cx)
    }
    fn masked(&self) -> Option<usize> {
        Some(self.value)
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        Pointwise::Where.cpu(inputs, out)
    }
    fn pointwise(&self) -> Option<Pointwise> {
        Some(Pointwise::Where)
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Pointwise(Pointwise::Where)
    }
}
