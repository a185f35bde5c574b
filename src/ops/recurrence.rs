//! Linear recurrences along an axis: running products are one, and their gradients are too, which is why they need no quotients and
//! are right where a factor is 0.

use super::{Grads, Lowering, Operation, Vjp, require_float};
use crate::cpu::{Array, dispatch_float, kernels};
use crate::error::Result;
use crate::gpu::kernels as gpu;
use crate::tensor::{Spec, Tensor};

/// `h[0] = b[0]` and `h[t] = a[t] h[t - 1] + b[t]` along the axis, or from its other end; the first of a counts for nothing.
#[derive(Debug, Hash)]
struct Recurrence {
    outer: usize,
    axis: usize,
    inner: usize,
    /// From the end.
    reverse: bool,
}

/// `y[.., a, ..]` = the product of `x[.., b, ..]` over all b up to a.
pub(crate) fn cumprod(x: &Tensor, axis: isize) -> Result<Tensor> {
    require_float("cumprod", "the input", x)?;
    let shape = x.shape();
    let a = shape.axis("cumprod", axis)?;
    if x.numel() == 0 || shape[a] == 1 {
        return Ok(x.clone());
    }
    let product = |dims: &[usize]| dims.iter().product();
    let (outer, inner) = (product(&shape[..a]), product(&shape[a + 1..]));
    let op = Recurrence { outer, axis: shape[a], inner, reverse: false };
    let rows = x.reshape([outer, shape[a], inner])?;
    let start = rows.slice(1, 0, 1)?.pad([(0, 0), (0, shape[a] - 1), (0, 0)], 0.0)?;
    op.build(&rows, &start)?.reshape(shape)
}

impl Recurrence {
    fn build(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Tensor::from_op(self, vec![a.clone(), b.clone()], a.shape(), a.dtype(), a.device())
    }
}

impl Operation for Recurrence {
    fn name(&self) -> &'static str {
        if self.reverse { "recurrence_reverse" } else { "recurrence" }
    }
    /// With respect to b it is the recurrence the other way, whose factors are those of the places after it; with respect to a, that
    /// times h of the place before.
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let &Recurrence { outer, axis, inner, reverse } = self;
        let first = |x: &Tensor| x.slice(1, 0, axis - 1);
        let last = |x: &Tensor| x.slice(1, 1, axis - 1);
        let [before, after] = [[(0, 0), (1, 0), (0, 0)], [(0, 0), (0, 1), (0, 0)]];
        let a = &cx.inputs[0];
        let factors = if reverse { first(a)?.pad(before, 0.0)? } else { last(a)?.pad(after, 0.0)? };
        let back = Recurrence { outer, axis, inner, reverse: !reverse }.build(&factors, cx.grad)?;
        let mut of_a = None;
        if cx.needs[0] {
            of_a = Some(match reverse {
                false => (last(&back)? * first(cx.output)?)?.pad(before, 0.0)?,
                true => (first(&back)? * last(cx.output)?)?.pad(after, 0.0)?,
            });
        }
        Ok(vec![of_a, Some(back)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let (a, b) = (inputs[0].contiguous()?, inputs[1].contiguous()?);
        dispatch_float!("cumprod", out.dtype, T => Array::build::<T>(out.shape, |h| {
            kernels::scan::recurrence(self.axis, self.inner, self.reverse, a.slice::<T>()?, b.slice::<T>()?, h);
            Ok(())
        }))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        let dims = [self.outer, self.axis, self.inner];
        Lowering::Kernel(Box::new(move |t| gpu::scan::recurrence(t, dims, self.reverse)))
    }
}
