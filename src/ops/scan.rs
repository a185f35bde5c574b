//! Running sums along an axis. Forwards and backwards are each other's gradients.

use super::{Grads, Lowering, Operation, Vjp, require_float};
use crate::cpu::{Array, dispatch_float, kernels};
use crate::error::Result;
use crate::gpu::kernels as gpu;
use crate::tensor::{Spec, Tensor};

#[derive(Debug, Hash)]
struct Cumsum {
    outer: usize,
    axis: usize,
    inner: usize,
    /// From the end.
    reverse: bool,
}

/// `y[.., a, ..]` = the sum of `x[.., b, ..]` over all b up to a.
pub(crate) fn cumsum(x: &Tensor, axis: isize) -> Result<Tensor> {
    require_float("cumsum", "the input", x)?;
    let shape = x.shape();
    let a = shape.axis("cumsum", axis)?;
    if x.numel() == 0 || shape[a] == 1 {
        return Ok(x.clone());
    }
    let product = |dims: &[usize]| dims.iter().product();
    let op = Cumsum {
        outer: product(&shape[..a]),
        axis: shape[a],
        inner: product(&shape[a + 1..]),
        reverse: false,
    };
    build(op, x)
}

fn build(op: Cumsum, x: &Tensor) -> Result<Tensor> {
    Tensor::from_op(op, vec![x.clone()], x.shape(), x.dtype(), x.device())
}

impl Operation for Cumsum {
    fn name(&self) -> &'static str {
        if self.reverse { "cumsum_reverse" } else { "cumsum" }
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        // Each element is in all sums from its own place on.
        let &Cumsum { outer, axis, inner, reverse } = self;
        Ok(vec![Some(build(Cumsum { outer, axis, inner, reverse: !reverse }, cx.grad)?)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let x = inputs[0].contiguous()?;
        dispatch_float!("cumsum", out.dtype, T => Array::build::<T>(out.shape, |y| {
            kernels::scan::cumsum(self.axis, self.inner, self.reverse, x.slice::<T>()?, y);
            Ok(())
        }))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        let dims = [self.outer, self.axis, self.inner];
        Lowering::Kernel(Box::new(move |t| gpu::scan::cumsum(t, dims, self.reverse)))
    }
}
