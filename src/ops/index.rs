//! Picking by index: whole slices along an axis (an embedding, a shuffled batch), and the deterministic scatter-add that is
//! its gradient.

use super::check_index::check_index;
use super::fault::FaultKind;
use super::{Grads, Lowering, Operation, Vjp, same_device};
use crate::cpu::{Array, dispatch, kernels};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// `out[.., i, ..] = x[.., indices[i], ..]` along an axis.
#[derive(Debug, Hash)]
struct IndexSelect {
    axis: usize,
    /// Each place is named once.
    permutes: bool,
}

/// `out[order[i]] = i`, where each place stands in the order once.
#[derive(Debug, Hash)]
struct InverseOrder;

/// Adds slices into the places that indices name; the others are zero.
#[derive(Debug, Hash)]
struct IndexAdd {
    outer: usize,
    axis: usize,
    inner: usize,
    count: usize,
    at: usize,
}

fn dims(shape: &Shape, axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

/// Slices of `x` along an axis, in the order of `indices` (one dimension, integers within the axis).
pub(crate) fn index_select(x: &Tensor, axis: isize, indices: &Tensor) -> Result<Tensor> {
    select_for(FaultKind::IndexSelect, x, axis, indices)
}

/// As [`index_select`], for `kind`, which an index outside the axis is an error of.
pub(crate) fn select_for(kind: FaultKind, x: &Tensor, axis: isize, indices: &Tensor) -> Result<Tensor> {
    const OP: &str = "index_select";
    same_device(OP, &[x, indices])?;
    let axis = x.shape().axis(OP, axis)?;
    if indices.rank() != 1 || indices.dtype().is_float() {
        let message = format!(
            "indices are {} {}; expected one dimension of integers",
            indices.dtype(),
            indices.shape()
        );
        return Err(Error::argument(OP, message));
    }
    let len = x.shape()[axis];
    if len == 0 && indices.numel() > 0 {
        return Err(Error::argument(OP, format!("axis {axis} of {} is empty: no index fits", x.shape())));
    }
    select_within(x, axis, &check_index(indices, kind, axis, len)?)
}

/// Slices of `x` along an axis by indices (one dimension, u32) that are sure to be places of it.
pub(crate) fn select_within(x: &Tensor, axis: usize, indices: &Tensor) -> Result<Tensor> {
    select(x, IndexSelect { axis, permutes: false }, indices)
}

/// The elements of a vector in an order (one dimension, u32) that has each place once: gradients are not sums.
pub(super) fn select_permuted(x: &Tensor, order: &Tensor) -> Result<Tensor> {
    select(x, IndexSelect { axis: 0, permutes: true }, order)
}

/// Where each place stands in an order (u32, one dimension) that has each once.
fn inverse(order: &Tensor) -> Result<Tensor> {
    Tensor::from_op(InverseOrder, vec![order.clone()], order.shape(), DType::U32, order.device())
}

fn select(x: &Tensor, op: IndexSelect, indices: &Tensor) -> Result<Tensor> {
    let axis = op.axis;
    let mut out = x.shape().to_vec();
    out[axis] = indices.numel();
    let shape = Shape::new(&out)?;
    let inputs = vec![x.clone(), indices.clone()];
    Tensor::from_op(op, inputs, shape, x.dtype(), x.device())
}

/// The adjoint of [`index_select`], of integers as well: a tensor of `len` places along `axis`. Indices are u32 and sure to be places.
pub(super) fn index_add(dy: &Tensor, axis: usize, indices: &Tensor, len: usize) -> Result<Tensor> {
    let mut out = dy.shape().to_vec();
    out[axis] = len;
    let (outer, count, inner) = dims(&dy.shape(), axis);
    let shape = Shape::new(&out)?;
    if dy.numel() == 0 || shape.numel() == 0 {
        return super::view::nothing(shape, &[dy]);
    }
    let op = IndexAdd { outer, axis: len, inner, count, at: axis };
    Tensor::from_op(op, vec![dy.clone(), indices.clone()], shape, dy.dtype(), dy.device())
}

/// Elements whose sum of ones is exact in f32: more are counted in pieces.
const EXACT_COUNT: usize = 1 << 24;

/// How often each number below `len` occurs, u32; of a vector of u32 that are sure to be below it.
pub(crate) fn count(numbers: &Tensor, len: usize) -> Result<Tensor> {
    let mut total = super::view::full(0.0, Shape::new(&[len])?, DType::U32, numbers.device())?;
    for start in (0..numbers.numel()).step_by(EXACT_COUNT) {
        let piece = numbers.slice(0, start, EXACT_COUNT.min(numbers.numel() - start))?;
        let ones = super::view::full(1.0, piece.shape(), DType::F32, numbers.device())?;
        total = (total + index_add(&ones, 0, &piece, len)?.cast(DType::U32)?)?;
    }
    Ok(total)
}

fn out_of_range(op: &str, e: kernels::OutOfRange) -> Error {
    Error::argument(
        op,
        format!("index {} at position {} is outside an axis of length {}", e.value, e.position, e.size),
    )
}

impl Operation for IndexSelect {
    fn name(&self) -> &'static str {
        "index_select"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        if self.permutes {
            let back = inverse(&cx.inputs[1])?;
            return Ok(vec![Some(select_permuted(cx.grad, &back)?), None]);
        }
        let len = cx.inputs[0].shape()[self.axis];
        Ok(vec![Some(index_add(cx.grad, self.axis, &cx.inputs[1], len)?), None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let (x, indices) = (inputs[0].contiguous()?, inputs[1].contiguous()?);
        let (_, axis, inner) = dims(&x.shape, self.axis);
        dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
            kernels::index::index_select(axis, inner, x.slice::<T>()?, indices.slice::<u32>()?, dst)
                .map_err(|e| out_of_range("index_select", e))
        }))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Gather { axis: self.axis }
    }
}

impl Operation for InverseOrder {
    fn name(&self) -> &'static str {
        "inverse_order"
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let order = inputs[0].contiguous()?;
        Array::build::<u32>(out.shape, |dst| {
            kernels::sort::inverse(order.slice::<u32>()?, dst);
            Ok(())
        })
    }
    fn gpu(&self, _inputs: &[Spec], out: &Spec) -> Lowering<'_> {
        let len = out.shape.numel();
        Lowering::Kernel(Box::new(move |t| gpu::sort::inverse(t, len)))
    }
}

impl Operation for IndexAdd {
    fn name(&self) -> &'static str {
        "index_add"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![Some(select_within(cx.grad, self.at, &cx.inputs[1])?), None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let (dy, indices) = (inputs[0].contiguous()?, inputs[1].contiguous()?);
        dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
            let (dy, indices) = (dy.slice::<T>()?, indices.slice::<u32>()?);
            kernels::index::index_select_grad(self.axis, self.inner, dy, indices, dst)
                .map_err(|e| out_of_range("index_add", e))
        }))
    }
    fn gpu(&self, _inputs: &[Spec], out: &Spec) -> Lowering<'_> {
        let dtype = out.dtype;
        let dims = [self.outer, self.axis, self.inner];
        Lowering::Kernel(Box::new(move |t| gpu::index::index_add(t, dims, self.count, dtype)))
    }
}

/// `out[c] = x[c with c[axis] replaced by indices[c]]`; `indices` has x's rank and, outside the axis, at most its sizes.
pub(crate) fn gather(x: &Tensor, axis: isize, indices: &Tensor) -> Result<Tensor> {
    const OP: &str = "gather";
    same_device(OP, &[x, indices])?;
    let a = fits(OP, x, axis, indices)?;
    gather_for(FaultKind::Gather, x, a, indices)
}

/// As [`gather`], `x` and `indices` broadcasting outside of the axis.
pub(crate) fn take_along_axis(x: &Tensor, axis: isize, indices: &Tensor) -> Result<Tensor> {
    const OP: &str = "take_along_axis";
    same_device(OP, &[x, indices])?;
    let a = x.shape().axis(OP, axis)?;
    let (mut from, mut at) = (x.shape().to_vec(), indices.shape().to_vec());
    if at.len() == from.len() {
        for d in (0..from.len()).filter(|&d| d != a) {
            let both = if from[d] == 1 { at[d] } else { from[d] };
            at[d] = if at[d] == 1 { both } else { at[d] };
            from[d] = both;
        }
    }
    let alike = at.len() == from.len() && (0..at.len()).all(|d| d == a || at[d] == from[d]);
    if !alike || indices.dtype().is_float() {
        let message = format!(
            "x {} along axis {a} with {} indices {}: expected integers of the same rank, whose sizes outside the axis are equal or 1",
            x.shape(),
            indices.dtype(),
            indices.shape()
        );
        return Err(Error::shape(OP, message));
    }
    let (x, indices) = (x.broadcast_to(from)?, indices.broadcast_to(at)?);
    fits(OP, &x, a as isize, &indices)?;
    gather_for(FaultKind::TakeAlongAxis, &x, a, &indices)
}

/// The axis, along which `indices` must name elements of `x` one by one.
pub(super) fn fits(op: &str, x: &Tensor, axis: isize, indices: &Tensor) -> Result<usize> {
    let a = x.shape().axis(op, axis)?;
    let (sx, si) = (x.shape(), indices.shape());
    let fits = si.rank() == sx.rank() && (0..sx.rank()).all(|d| d == a || si[d] <= sx[d]);
    if !fits || indices.dtype().is_float() {
        let message = format!(
            "x {sx} along axis {a} with {} indices {si}: expected integers of the same rank, no larger outside the axis",
            indices.dtype()
        );
        return Err(Error::shape(op, message));
    }
    if sx[a] == 0 && si.numel() > 0 {
        return Err(Error::argument(op, format!("axis {a} of {sx} is empty: no index fits")));
    }
    Ok(a)
}

fn gather_for(kind: FaultKind, x: &Tensor, a: usize, indices: &Tensor) -> Result<Tensor> {
    let (sx, si) = (x.shape(), indices.shape());
    if si.numel() == 0 {
        return super::view::full(0.0, si, x.dtype(), x.device());
    }
    // So that forward and gradient are those of index_select on the flat tensor.
    let linear = linear(sx, a, indices, kind)?;
    select_within(&x.reshape([x.numel()])?, 0, &linear)?.reshape(si)
}

/// Where the elements that `indices` name along an axis lie in a contiguous tensor of a shape: one dimension, u32, sure to be places.
/// The form of `indices` has been checked, and there are some.
pub(super) fn linear(shape: Shape, axis: usize, indices: &Tensor, kind: FaultKind) -> Result<Tensor> {
    let (si, strides) = (indices.shape(), shape.strides());
    let mut linear = (check_index(indices, kind, axis, shape[axis])? * strides[axis] as f64)?;
    for d in (0..shape.rank()).filter(|&d| d != axis && si[d] > 1) {
        let mut along = vec![1; shape.rank()];
        along[d] = si[d];
        let place = Tensor::arange(0, si[d] as i64, indices.device())?.cast(DType::U32)?.reshape(along)?;
        linear = (linear + (place * strides[d] as f64)?)?;
    }
    linear.reshape([si.numel()])
}
