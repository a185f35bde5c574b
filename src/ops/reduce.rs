//! Reductions over any axes: sum, max, min, prod (mean is a sum and a division), and the positions of extremes.

use super::{Grads, Key, Lowering, Operation, Vjp};
use crate::cpu::{Array, dispatch, kernels};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels as gpu;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::{Spec, Tensor};

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReduceKind {
    Sum,
    Prod,
    Max,
    Min,
}

impl ReduceKind {
    fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "sum",
            ReduceKind::Prod => "prod",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
        }
    }
}

#[derive(Debug)]
struct Reduce {
    kind: ReduceKind,
    axes: [bool; MAX_RANK],
}

/// Reduces the given axes (all where none is given).
pub(crate) fn reduce(kind: ReduceKind, x: &Tensor, axes: &[isize], keepdims: bool) -> Result<Tensor> {
    let mask = x.shape().axes(kind.name(), axes)?;
    let shape = x.shape().reduced(&mask, false);
    let kept = x.shape().reduced(&mask, keepdims);
    if x.numel() == 0 && shape.numel() > 0 && matches!(kind, ReduceKind::Max | ReduceKind::Min) {
        let message = format!("no elements to choose from in {} over axes {axes:?}", x.shape());
        return Err(Error::argument(kind.name(), message));
    }
    if x.shape() == shape || (x.numel() == shape.numel() && x.numel() > 0) {
        return x.reshape(kept);
    }
    if x.dtype() == DType::U8 && x.device() != crate::Device::Cpu {
        // GPUs store bytes by the word, which the threads of a reduction can't share; the low byte wraps alike
        return reduce(kind, &x.cast(DType::U32)?, axes, keepdims)?.cast(DType::U8);
    }
    let y = Tensor::from_op(Reduce { kind, axes: mask }, vec![x.clone()], shape, x.dtype(), x.device())?;
    y.reshape(kept)
}

impl Operation for Reduce {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn key(&self, key: &mut Key) {
        key.push(self.kind as u64);
        key.push(self.axes.iter().enumerate().map(|(d, &m)| (m as u64) << d).sum::<u64>());
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let x = &cx.inputs[0];
        let kept = x.shape().reduced(&self.axes, true);
        let g = cx.grad.reshape(kept)?;
        let dx = match self.kind {
            ReduceKind::Sum => g.broadcast_to(x.shape())?,
            // shared evenly among ties, as in PyTorch's amax and TensorFlow's reduce_max
            ReduceKind::Max | ReduceKind::Min => {
                let hit = x.eq(cx.output.reshape(kept)?)?.cast(x.dtype())?;
                let axes: Vec<isize> = (0..x.rank()).filter(|&d| self.axes[d]).map(|d| d as isize).collect();
                let count = hit.sum(&axes, true)?;
                (hit * (g / count)?)?
            }
            ReduceKind::Prod => {
                let axes: Vec<isize> = (0..x.rank()).filter(|&d| self.axes[d]).map(|d| d as isize).collect();
                (g * product_of_others(x, &axes)?)?
            }
        };
        Ok(vec![Some(dx)])
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let mut x = inputs[0].clone();
        if x.strides[..x.shape.rank()].iter().any(|&s| s < 0) {
            x = x.contiguous()?;
        }
        let axes: Vec<usize> = (0..x.shape.rank()).filter(|&d| self.axes[d]).collect();
        dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
            let view = x.view::<T>()?;
            match self.kind {
                ReduceKind::Sum => kernels::reduce::sum(view, &axes, dst),
                ReduceKind::Prod => kernels::reduce::prod(view, &axes, dst),
                ReduceKind::Max => kernels::reduce::max(view, &axes, dst),
                ReduceKind::Min => kernels::reduce::min(view, &axes, dst),
            }
            Ok(())
        }))
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Reduce { kind: self.kind, axes: self.axes }
    }
}

/// For each element the product of all others along the axes: the gradient of a product. Exact where elements are zero, and
/// so is its own gradient. (The third derivative lacks the terms that are not zero where exactly two elements are.)
fn product_of_others(x: &Tensor, axes: &[isize]) -> Result<Tensor> {
    let (zero, nothing) = (x.eq(0.0)?, x.zeros_like()?);
    let zeros = zero.cast(x.dtype())?.sum(axes, true)?;
    let safe = zero.select(x.ones_like()?, x)?;
    let others = (safe.prod(axes, true)? / safe)?;
    // What is missing are the factors that are zero. Their values make everything 0 where there are too many of them, but
    // gradients flow through them: they are written as sums of themselves, not as the number 0.
    let at_zeros = zero.select(x, &nothing)?;
    let sum = at_zeros.sum(axes, true)?;
    let with_one = zero.select(x.ones_like()?, &sum)?;
    let with_two = zero.select((&sum - &at_zeros)?, &nothing)?;
    let more = zeros.eq(1.0)?.select(with_one, zeros.eq(2.0)?.select(with_two, &nothing)?)?;
    others * zeros.eq(0.0)?.select(x.ones_like()?, more)?
}

/// Position of the largest or smallest element along one axis, as i32; the first at a tie.
#[derive(Debug)]
struct ArgExtreme {
    outer: usize,
    axis: usize,
    inner: usize,
    min: bool,
}

pub(crate) fn arg_extreme(x: &Tensor, axis: isize, keepdims: bool, min: bool) -> Result<Tensor> {
    let op = if min { "argmin" } else { "argmax" };
    let a = x.shape().axis(op, axis)?;
    if x.shape()[a] == 0 {
        return Err(Error::argument(op, format!("axis {axis} of {} has no elements", x.shape())));
    }
    if x.device() != crate::Device::Cpu && x.dtype() == DType::U8 {
        // bytes are stored four to a word, which the kernel does not take apart
        return arg_extreme(&x.cast(DType::U32)?, axis, keepdims, min);
    }
    let mut mask = [false; MAX_RANK];
    mask[a] = true;
    let product = |dims: &[usize]| dims.iter().product();
    let node = ArgExtreme {
        outer: product(&x.shape()[..a]),
        axis: x.shape()[a],
        inner: product(&x.shape()[a + 1..]),
        min,
    };
    let shape = x.shape().reduced(&mask, false);
    let y = Tensor::from_op(node, vec![x.clone()], shape, DType::I32, x.device())?;
    y.reshape(x.shape().reduced(&mask, keepdims))
}

impl Operation for ArgExtreme {
    fn name(&self) -> &'static str {
        if self.min { "argmin" } else { "argmax" }
    }
    fn key(&self, key: &mut Key) {
        key.push_all(&[self.outer, self.axis, self.inner]);
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let x = inputs[0].contiguous()?;
        let axis = Shape::from_dims(&[self.outer, self.axis, self.inner]);
        let x = x.with_layout(axis, axis.strides().map(|s| s as isize), x.offset);
        dispatch!(x.dtype(), T => Array::build::<i32>(out.shape, |dst| {
            let view = x.view::<T>()?;
            if self.min { kernels::reduce::argmin(view, 1, dst) } else { kernels::reduce::argmax(view, 1, dst) }
            Ok(())
        }))
    }
    fn gpu(&self, inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        let dtype = inputs.first().map_or(DType::F32, |x| x.dtype);
        let dims = [self.outer, self.axis, self.inner];
        Lowering::Kernel(Box::new(move |t| gpu::index::argmax(t, dims, dtype, self.min)))
    }
}
