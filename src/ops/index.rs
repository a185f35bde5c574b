//! Picking by index: whole slices along an axis (an embedding, a shuffled batch), and the deterministic scatter-add that is
//! its gradient.

use super::check_index::check_index;
use super::fault::FaultKind;
use super::{Grads, Lowering, Operation, Vjp, same_device};
use crate::cpu::{Array, dispatch, dispatch_float, kernels};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// `out[.., i, ..] = x[.., indices[i], ..]` along an axis.
#[derive(Debug, Hash)]
struct IndexSelect {
    axis: usize,
}

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
    let mut out = x.shape().to_vec();
    out[axis] = indices.numel();
    let shape = Shape::new(&out)?;
    let inputs = vec![x.clone(), indices.clone()];
    Tensor::from_op(IndexSelect { axis }, inputs, shape, x.dtype(), x.device())
}

/// The adjoint of [`index_select`]: a tensor of `len` places along `axis`.
fn index_add(dy: &Tensor, axis: usize, indices: &Tensor, len: usize) -> Result<Tensor> {
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

impl Operation for IndexAdd {
    fn name(&self) -> &'static str {
        "index_add"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![Some(select_within(cx.grad, self.at, &cx.inputs[1])?), None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let (dy, indices) = (inputs[0].contiguous()?, inputs[1].contiguous()?);
        dispatch_float!("index_add", out.dtype, T => Array::build::<T>(out.shape, |dst| {
            let (dy, indices) = (dy.slice::<T>()?, indices.slice::<u32>()?);
            kernels::index::index_select_grad(self.axis, self.inner, dy, indices, dst)
                .map_err(|e| out_of_range("index_add", e))
        }))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Kernel(Box::new(|t| {
            gpu::index::index_add(t, self.outer, self.axis, self.inner, self.count)
        }))
    }
}

/// `out[c] = x[c with c[axis] replaced by indices[c]]`; `indices` has x's rank and, outside the axis, at most its sizes.
pub(crate) fn gather(x: &Tensor, axis: isize, indices: &Tensor) -> Result<Tensor> {
    const OP: &str = "gather";
    same_device(OP, &[x, indices])?;
    let a = x.shape().axis(OP, axis)?;
    let (sx, si) = (x.shape(), indices.shape());
    let fits = si.rank() == sx.rank() && (0..sx.rank()).all(|d| d == a || si[d] <= sx[d]);
    if !fits || indices.dtype().is_float() {
        let message = format!(
            "x {sx} along axis {a} with {} indices {si}: expected integers of the same rank, no larger outside the axis",
            indices.dtype()
        );
        return Err(Error::shape(OP, message));
    }
    if si.numel() == 0 {
        return super::view::full(0.0, si, x.dtype(), x.device());
    }
    // The linear index into x, so that forward and gradient are those of index_select on the flat tensor.
    let strides = sx.strides();
    let mut linear = (check_index(indices, FaultKind::Gather, a, sx[a])? * strides[a] as f64)?;
    for d in (0..sx.rank()).filter(|&d| d != a && si[d] > 1) {
        let mut along = vec![1; sx.rank()];
        along[d] = si[d];
        let place = Tensor::arange(0, si[d] as i64, x.device())?.cast(DType::U32)?.reshape(along)?;
        linear = (linear + (place * strides[d] as f64)?)?;
    }
    let flat = select_within(&x.reshape([x.numel()])?, 0, &linear.reshape([si.numel()])?)?;
    flat.reshape(si)
}
