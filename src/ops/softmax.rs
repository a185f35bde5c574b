//! Softmax and its logarithm over the last axis (other axes are moved there and back).

use super::{Grads, Lowering, Operation, Vjp, require_float};
use crate::cpu::{Array, dispatch_float, kernels};
use crate::error::Result;
use crate::gpu::kernels as gpu;
use crate::tensor::{Spec, Tensor};

#[derive(Debug, Hash)]
struct Softmax {
    log: bool,
    rows: usize,
    cols: usize,
}

/// `exp(x - max) / sum(exp(x - max))` along an axis, or its logarithm.
pub(crate) fn softmax(x: &Tensor, axis: isize, log: bool) -> Result<Tensor> {
    let op = if log { "log_softmax" } else { "softmax" };
    require_float(op, "the input", x)?;
    let a = x.shape().axis(op, axis)?;
    let last = x.rank() - 1;
    if a != last {
        let moved = x.swap_axes(a as isize, last as isize)?;
        return softmax(&moved, -1, log)?.swap_axes(a as isize, last as isize);
    }
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let cols = x.shape()[last];
    let node = Softmax { log, rows: x.numel() / cols, cols };
    Tensor::from_op(node, vec![x.clone()], x.shape(), x.dtype(), x.device())
}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let (y, g) = (cx.output, cx.grad);
        let dx = if self.log {
            (g - (y.exp()? * g.sum(-1, true)?)?)?
        } else {
            let weighted = (g * y)?;
            (&weighted - (y * weighted.sum(-1, true)?)?)?
        };
        Ok(vec![Some(dx)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let x = inputs[0].contiguous()?;
        dispatch_float!(self.name(), out.dtype, T => Array::build::<T>(out.shape, |dst| {
            match self.log {
                true => kernels::softmax::log_softmax(self.cols, x.slice::<T>()?, dst),
                false => kernels::softmax::softmax(self.cols, x.slice::<T>()?, dst),
            }
            Ok(())
        }))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Kernel(Box::new(|t| match self.log {
            true => gpu::softmax::log_softmax(t, self.rows, self.cols),
            false => gpu::softmax::softmax(t, self.rows, self.cols),
        }))
    }
}
