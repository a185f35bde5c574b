//! Reductions over any axes: sum, max, min, prod (mean is a sum and a division), and the positions of extremes.

use super::masked::through;
use super::view::full;
use super::{Grads, Lowering, Operation, ReduceKind, Vjp};
use crate::axes::of_mask;
use crate::cpu::{Array, dispatch, kernels};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels as gpu;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::{Spec, Tensor};

#[derive(Debug, Hash)]
struct Reduce {
    kind: ReduceKind,
    axes: [bool; MAX_RANK],
}

/// Reduces the axes of the mask.
pub(crate) fn reduce(kind: ReduceKind, x: &Tensor, mask: [bool; MAX_RANK], keepdims: bool) -> Result<Tensor> {
    let shape = x.shape().reduced(&mask, false);
    let kept = x.shape().reduced(&mask, keepdims);
    if x.numel() == 0 && shape.numel() > 0 && matches!(kind, ReduceKind::Max | ReduceKind::Min) {
        let message = format!("no elements to choose from in {} over axes {:?}", x.shape(), of_mask(&mask));
        return Err(Error::argument(kind.name(), message));
    }
    let combines = matches!(kind, ReduceKind::Sum | ReduceKind::Prod);
    if x.dtype() == DType::U8 && combines {
        // 256 ones don't fit a byte: as NumPy, which sums small integers in its default integer
        return reduce(kind, &x.cast(DType::U32)?, mask, keepdims);
    }
    // Over a batch of one there is nothing to add up; a GPU does it all the same, with the kernels of other batches.
    let batch = mask[0] && kind == ReduceKind::Sum && x.device() != crate::Device::Cpu;
    if x.shape() == shape || (x.numel() == shape.numel() && x.numel() > 0 && !batch) {
        return x.reshape(kept);
    }
    if x.dtype() == DType::U8 && x.device() != crate::Device::Cpu {
        // GPUs store bytes by the word, which the threads of a reduction can't share
        return reduce(kind, &x.cast(DType::U32)?, mask, keepdims)?.cast(DType::U8);
    }
    let y = Tensor::from_op(Reduce { kind, axes: mask }, vec![x.clone()], shape, x.dtype(), x.device())?;
    y.reshape(kept)
}

/// The mean over the axes of the mask.
pub(crate) fn mean(x: &Tensor, mask: [bool; MAX_RANK], keepdims: bool) -> Result<Tensor> {
    super::require_float("mean", "the input", x)?;
    let count: usize = x.shape().iter().zip(mask).filter(|(_, m)| *m).map(|(&n, _)| n).product();
    reduce(ReduceKind::Sum, x, mask, keepdims)? / count as f64
}

impl Operation for Reduce {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let x = &cx.inputs[0];
        let kept = x.shape().reduced(&self.axes, true);
        let g = cx.grad.reshape(kept)?;
        let dx = match self.kind {
            ReduceKind::Sum => through(cx.grad, &|g| g.reshape(kept)?.broadcast_to(x.shape()))?,
            // shared evenly among ties, as in PyTorch's amax and TensorFlow's reduce_max
            ReduceKind::Max | ReduceKind::Min => {
                let hit = x.eq(cx.output.reshape(kept)?)?.cast(x.dtype())?;
                let count = hit.sum(of_mask(&self.axes), true)?;
                (hit * (g / count)?)?
            }
            ReduceKind::Prod => (g * product_of_others(x, &self.axes)?)?,
        };
        Ok(vec![Some(dx)])
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let mut x = inputs[0].clone();
        // Rows that run backwards are copied once: reductions along them would fetch element by element.
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

/// For each element the product of all others along the axes: the gradient of a product. By a tree rather than a quotient, so
/// that it is right where elements are zero or infinite and where the whole product overflows, and its own gradients of any
/// order are.
///
/// Upwards, each level has the products of the pairs of the level below. Downwards, what a node lacks is what its parent
/// lacks times its sibling.
fn product_of_others(x: &Tensor, mask: &[bool; MAX_RANK]) -> Result<Tensor> {
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let (kept, reduced): (Vec<usize>, Vec<usize>) = (0..x.rank()).partition(|&d| !mask[d]);
    let order: Vec<isize> = kept.iter().chain(&reduced).map(|&d| d as isize).collect();
    let moved = x.permute(&order)?;
    let n: usize = reduced.iter().map(|&d| x.shape()[d]).product();
    let outer = x.numel() / n;
    let mut levels = vec![moved.reshape([outer, n])?];
    while let Some(level) = levels.last_mut().filter(|level| level.dims()[1] > 1) {
        if level.dims()[1] % 2 == 1 {
            *level = level.pad([(0, 0), (0, 1)], 1.0)?;
        }
        let pairs = level.reshape([outer, level.dims()[1] / 2, 2])?;
        let product = (pairs.slice(2, 0, 1)? * pairs.slice(2, 1, 1)?)?.squeeze(-1)?;
        levels.push(product);
    }
    // the root lacks nothing
    let mut lacks = full(1.0, Shape::new(&[outer, 1])?, x.dtype(), x.device())?;
    for level in levels.iter().rev().skip(1) {
        let n = level.dims()[1];
        // a parent may have been given a one beside it to make a pair
        let parents = lacks.slice(1, 0, n / 2)?.unsqueeze(-1)?;
        let siblings = level.reshape([outer, n / 2, 2])?.flip(-1)?;
        lacks = (parents * siblings)?.reshape([outer, n])?;
    }
    let mut back = vec![0isize; order.len()];
    for (at, &d) in order.iter().enumerate() {
        back[d as usize] = at as isize;
    }
    lacks.slice(1, 0, n)?.reshape(moved.shape())?.permute(back)
}

/// Position of the largest or smallest element along one axis, as i32; the first at a tie.
#[derive(Debug, Hash)]
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
