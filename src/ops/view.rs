//! Views: the same elements under other coordinates. On the GPU they are index arithmetic in the consumer, on the CPU
//! other strides over the same buffer; only a reshape of a strided view copies.

use super::constant::scalar;
use super::masked::through;
use super::{Grads, Lowering, Operation, View, Vjp};
use crate::cpu::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{INFER, MAX_RANK, Shape};
use crate::tensor::{Spec, Tensor};

/// The tensor itself: what a variable's value or a detached tensor is.
#[derive(Debug, Hash)]
pub(crate) struct Alias;

impl Operation for Alias {
    fn name(&self) -> &'static str {
        "alias"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![Some(cx.grad.clone())])
    }
    fn cpu(&self, inputs: &[Array], _out: &Spec) -> Result<Array> {
        Ok(inputs[0].clone())
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::View(View::Reshape)
    }
}

#[derive(Debug, Hash)]
struct Reshape;

/// The same elements in row-major order under another shape; one dimension may be [`INFER`].
pub(crate) fn reshape(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let mut dims = dims.to_vec();
    if let Some(at) = dims.iter().position(|&d| d == INFER) {
        let others = dims.iter().enumerate().filter(|&(i, _)| i != at);
        let known = others.fold(1usize, |n, (_, &d)| n.saturating_mul(d));
        if dims.iter().filter(|&&d| d == INFER).count() > 1 {
            return Err(Error::shape("reshape", "only one dimension can be inferred"));
        }
        if known == 0 || !x.numel().is_multiple_of(known) {
            let message = format!("{} has {} elements, not a multiple of {known}", x.shape(), x.numel());
            return Err(Error::shape("reshape", message));
        }
        dims[at] = x.numel() / known;
    }
    let shape = Shape::new(&dims)?;
    if shape.numel() != x.numel() {
        let message = format!(
            "{} has {} elements, {shape} needs {}; use wgrad::INFER for the dimension to be worked out",
            x.shape(),
            x.numel(),
            shape.numel()
        );
        return Err(Error::shape("reshape", message));
    }
    if shape == x.shape() {
        return Ok(x.clone());
    }
    Tensor::from_op(Reshape, vec![x.clone()], shape, x.dtype(), x.device())
}

impl Operation for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let shape = cx.inputs[0].shape();
        Ok(vec![Some(through(cx.grad, &|g| reshape(g, &shape))?)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let x = inputs[0].contiguous()?;
        Ok(x.with_layout(out.shape, out.shape.strides().map(|s| s as isize), x.offset))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::View(View::Reshape)
    }
}

#[derive(Debug, Hash)]
struct Permute {
    perm: Vec<usize>,
}

/// Axis d of the result is axis `axes[d]` of `x`.
pub(crate) fn permute(x: &Tensor, axes: &[isize]) -> Result<Tensor> {
    if axes.len() != x.rank() {
        let message = format!("{} axes given for a tensor of shape {}", axes.len(), x.shape());
        return Err(Error::argument("permute", message));
    }
    let perm = axes.iter().map(|&a| x.shape().axis("permute", a)).collect::<Result<Vec<_>>>()?;
    if (0..x.rank()).any(|d| !perm.contains(&d)) {
        return Err(Error::argument("permute", format!("{axes:?} does not name every axis once")));
    }
    if perm.iter().enumerate().all(|(i, &p)| i == p) {
        return Ok(x.clone());
    }
    let dims: Vec<usize> = perm.iter().map(|&p| x.shape()[p]).collect();
    Tensor::from_op(Permute { perm }, vec![x.clone()], Shape::from_dims(&dims), x.dtype(), x.device())
}

impl Operation for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let mut inverse = vec![0isize; self.perm.len()];
        for (i, &p) in self.perm.iter().enumerate() {
            inverse[p] = i as isize;
        }
        Ok(vec![Some(through(cx.grad, &|g| permute(g, &inverse))?)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let mut strides = [0; MAX_RANK];
        for (d, &p) in self.perm.iter().enumerate() {
            strides[d] = inputs[0].strides[p];
        }
        Ok(inputs[0].with_layout(out.shape, strides, inputs[0].offset))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::View(View::Permute(&self.perm))
    }
}

#[derive(Debug, Hash)]
struct Broadcast;

/// Repeats axes of length 1 (and new leading ones) as NumPy's `broadcast_to`.
pub(crate) fn broadcast_to(x: &Tensor, shape: Shape) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    if !x.shape().broadcasts_to(&shape) {
        let message =
            format!("{} can't be repeated to {shape}: each dimension must be equal or 1", x.shape());
        return Err(Error::shape("broadcast_to", message));
    }
    Tensor::from_op(Broadcast, vec![x.clone()], shape, x.dtype(), x.device())
}

impl Operation for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![Some(sum_to(cx.grad, cx.inputs[0].shape())?)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let strides = inputs[0].broadcast_strides(&out.shape);
        Ok(inputs[0].with_layout(out.shape, strides, inputs[0].offset))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::View(View::Broadcast)
    }
}

/// Sums `grad` over the axes along which an input of `shape` was repeated.
pub(crate) fn sum_to(grad: &Tensor, shape: Shape) -> Result<Tensor> {
    if grad.shape() == shape {
        return Ok(grad.clone());
    }
    let skip = grad.rank() - shape.rank();
    let axes: Vec<isize> = (0..grad.rank())
        .filter(|&d| d < skip || (shape[d - skip] == 1 && grad.shape()[d] != 1))
        .map(|d| d as isize)
        .collect();
    grad.sum(axes, false)?.reshape(shape)
}

/// A tensor whose elements are all `value`.
pub(crate) fn full(value: f64, shape: Shape, dtype: DType, device: Device) -> Result<Tensor> {
    broadcast_to(&scalar(value, dtype, device)?, shape)
}

/// What an operation over float tensors gives where there is nothing to sum: zeros, or nothing at all. Tracked where an
/// input is, so that gradients exist: zeros, too.
pub(crate) fn nothing(shape: Shape, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut zeros = full(0.0, shape, inputs[0].dtype(), inputs[0].device())?;
    for input in inputs.iter().filter(|t| t.is_tracked()) {
        zeros = (zeros + (input.sum(.., false)? * 0.0)?)?;
    }
    Ok(zeros)
}

/// Output index i along axis d reads input index `start[d] + i * step[d]`; steps may be negative.
#[derive(Debug, Hash)]
struct Slice {
    start: Vec<usize>,
    step: Vec<isize>,
}

/// Elements `start, start + step, ...` (`len` of them) along one axis; the others whole.
pub(crate) fn slice(x: &Tensor, axis: isize, start: usize, len: usize, step: isize) -> Result<Tensor> {
    let a = x.shape().axis("slice", axis)?;
    let n = x.shape()[a];
    let last = start as i128 + (len as i128 - 1) * step as i128;
    if step == 0 || (len > 0 && (start >= n || last < 0 || last >= n as i128)) || start > n {
        let message = format!("{len} elements from {start} by {step} leave axis {axis} of length {n}");
        return Err(Error::argument("slice", message));
    }
    // A step that is never taken: whatever was given could overflow a stride.
    let step = if len < 2 { 1 } else { step };
    if start == 0 && len == n && step == 1 {
        return Ok(x.clone());
    }
    let mut dims = x.shape().to_vec();
    dims[a] = len;
    let mut starts = vec![0; x.rank()];
    let mut steps = vec![1; x.rank()];
    (starts[a], steps[a]) = (if len == 0 { 0 } else { start }, step);
    let op = Slice { start: starts, step: steps };
    Tensor::from_op(op, vec![x.clone()], Shape::from_dims(&dims), x.dtype(), x.device())
}

impl Operation for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        // The adjoint of reading every step-th element: spread them out again, zeros between and around.
        let mut g = cx.grad.clone();
        let input = cx.inputs[0].shape();
        for axis in 0..input.rank() {
            let (start, step, len) = (self.start[axis], self.step[axis], g.shape()[axis]);
            if start == 0 && step == 1 && len == input[axis] {
                continue;
            }
            let a = axis as isize;
            let (mut first, mut stride) = (start, step as usize);
            if step < 0 && len > 0 {
                g = slice(&g, a, len - 1, len, -1)?;
                stride = step.unsigned_abs();
                first = start - (len - 1) * stride;
            }
            if stride > 1 && len > 1 {
                // four axes whatever the rank: one more than the tensor's could be one too many
                let inner: usize = g.shape()[axis + 1..].iter().product();
                let mut dims = g.shape().to_vec();
                let parts = reshape(&g, &[g.numel() / (len * inner).max(1), len, 1, inner])?;
                let mut gap = parts.shape().to_vec();
                gap[2] = stride - 1;
                let zeros = full(0.0, Shape::new(&gap)?, g.dtype(), g.device())?;
                let spread = super::join::concat(&[&parts, &zeros], 2)?;
                dims[axis] = len * stride;
                g = slice(&reshape(&spread, &dims)?, a, 0, (len - 1) * stride + 1, 1)?;
            }
            let mut pads = vec![(0, 0); input.rank()];
            pads[axis] = (first, input[axis] - first - g.shape()[axis]);
            g = super::join::pad(&g, &pads, 0.0)?;
        }
        Ok(vec![Some(g)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let x = &inputs[0];
        let mut strides = x.strides;
        let mut offset = x.offset as isize;
        for d in 0..out.shape.rank() {
            offset += self.start[d] as isize * x.strides[d];
            strides[d] *= self.step[d];
        }
        Ok(x.with_layout(out.shape, strides, offset as usize))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::View(View::Slice { start: &self.start, step: &self.step })
    }
}

/// Moves a tensor that has its value to another device; the gradient moves back.
#[derive(Debug, Hash)]
pub(crate) struct ToDevice;

impl Operation for ToDevice {
    fn name(&self) -> &'static str {
        "to_device"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![Some(cx.grad.to_device(cx.inputs[0].device())?)])
    }
    fn cpu(&self, _inputs: &[Array], _out: &Spec) -> Result<Array> {
        Err(Error::internal("to_device: the copy was not made"))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Unsupported("to_device: the copy was not made".into())
    }
}
