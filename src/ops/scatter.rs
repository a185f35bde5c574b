//! Writing by index: sums of what is written to one place, or the last of it; and what several tensors of indices name.

use super::check_index::check_index;
use super::fault::FaultKind;
use super::index::{fits, index_add, linear, select_within};
use super::{Grads, Lowering, Operation, Vjp, same_device, same_dtype};
use crate::cpu::{Array, kernels};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// What becomes of several that are written to one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// The last in the order of memory stays.
    Last,
    /// They are added to what was there.
    Add,
}

/// For each number below `len` one more than the last place at which it stands among the indices, 0 where at none.
#[derive(Debug, Hash)]
struct IndexLast {
    len: usize,
}

/// `x` with the slices of `values` along an axis written to where `indices` say (one dimension, u32, sure to be places). Outside of the
/// axis both have the same sizes.
fn write(how: Write, x: &Tensor, axis: usize, indices: &Tensor, values: &Tensor) -> Result<Tensor> {
    let len = x.shape()[axis];
    if how == Write::Add {
        if x.dtype() == DType::U8 && x.device() != Device::Cpu {
            // bytes are stored four to a word, which the kernel does not take apart
            let (x, values) = (x.cast(DType::U32)?, values.cast(DType::U32)?);
            return write(how, &x, axis, indices, &values)?.cast(DType::U8);
        }
        return x + index_add(values, axis, indices, len)?;
    }
    let op = IndexLast { len };
    let last = Tensor::from_op(op, vec![indices.clone()], Shape::new(&[len])?, DType::U32, x.device())?;
    let mut along = vec![1; x.rank()];
    along[axis] = len;
    let written = last.gt(0)?.reshape(along)?;
    // Where nothing is written the first is read, and not taken.
    let taken = select_within(values, axis, &(last.maximum(1)? - 1)?)?;
    written.select(taken, x)
}

/// `values`, repeated to a shape.
fn repeated(op: &str, x: &Tensor, values: &Tensor, shape: Shape) -> Result<Tensor> {
    same_dtype(op, x, values)?;
    if !values.shape().broadcasts_to(&shape) {
        let message = format!("values {}: expected {shape}, or what broadcasts to it", values.shape());
        return Err(Error::shape(op, message));
    }
    values.broadcast_to(shape)
}

/// `x`, to which nothing was written: so the gradient of the values is 0, and not missing.
fn untouched(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    if values.is_tracked() { x + values.sum(.., false)? } else { Ok(x.clone()) }
}

/// `out[c with c[axis] replaced by indices[c]] = values[c]`; `indices` have x's rank and, outside of the axis, at most its sizes.
pub(crate) fn scatter(
    how: Write,
    x: &Tensor,
    axis: isize,
    indices: &Tensor,
    values: &Tensor,
) -> Result<Tensor> {
    let (op, kind) = match how {
        Write::Last => ("scatter", FaultKind::Scatter),
        Write::Add => ("scatter_add", FaultKind::ScatterAdd),
    };
    same_device(op, &[x, indices, values])?;
    let a = fits(op, x, axis, indices)?;
    let values = repeated(op, x, values, indices.shape())?;
    if values.numel() == 0 {
        return untouched(x, &values);
    }
    let places = linear(x.shape(), a, indices, kind)?;
    let (flat, values) = (x.reshape([x.numel()])?, values.reshape([values.numel()])?);
    write(how, &flat, 0, &places, &values)?.reshape(x.shape())
}

/// `out[.., indices[j], ..] += values[.., j, ..]` along an axis.
pub(crate) fn add_slices(x: &Tensor, axis: isize, indices: &Tensor, values: &Tensor) -> Result<Tensor> {
    const OP: &str = "index_add";
    same_device(OP, &[x, indices, values])?;
    let a = x.shape().axis(OP, axis)?;
    if indices.rank() != 1 || indices.dtype().is_float() {
        let message = format!(
            "indices are {} {}; expected one dimension of integers",
            indices.dtype(),
            indices.shape()
        );
        return Err(Error::argument(OP, message));
    }
    let mut dims = x.shape().to_vec();
    dims[a] = indices.numel();
    let values = repeated(OP, x, values, Shape::new(&dims)?)?;
    if values.numel() == 0 {
        return untouched(x, &values);
    }
    let len = x.shape()[a];
    if len == 0 {
        return Err(Error::argument(OP, format!("axis {a} of {} is empty: no index fits", x.shape())));
    }
    write(Write::Add, x, a, &check_index(indices, FaultKind::IndexAdd, a, len)?, &values)
}

/// What indices of the first axes name: the shape of that, and, unless it has no elements, `x` with these axes as one and the places of
/// that axis (u32, one dimension, sure to be places).
fn named(op: &str, kind: FaultKind, x: &Tensor, indices: &[&Tensor]) -> Result<(Shape, Option<[Tensor; 2]>)> {
    let sx = x.shape();
    if indices.is_empty() || indices.len() > sx.rank() {
        let message = format!(
            "{} tensors of indices for shape {sx}: expected one for each of its first axes, at least one",
            indices.len()
        );
        return Err(Error::argument(op, message));
    }
    let mut common = Shape::scalar();
    for (d, at) in indices.iter().enumerate() {
        same_device(op, &[x, at])?;
        if at.dtype().is_float() {
            let message = format!("indices of axis {d} are {}; expected integers", at.dtype());
            return Err(Error::argument(op, message));
        }
        common = common.broadcast(&at.shape()).ok_or_else(|| {
            let shapes: Vec<String> = indices.iter().map(|at| at.shape().to_string()).collect();
            let message = format!("indices {} don't broadcast to one shape", shapes.join(", "));
            Error::shape(op, message)
        })?;
    }
    let (first, rest) = sx.split_at(indices.len());
    let shape = Shape::new(&[&common[..], rest].concat())?;
    if shape.numel() == 0 {
        return Ok((shape, None));
    }
    if let Some(d) = first.iter().position(|&n| n == 0) {
        return Err(Error::argument(op, format!("axis {d} of {sx} is empty: no index fits")));
    }
    let strides = Shape::new(first)?.strides();
    let mut places: Option<Tensor> = None;
    for (d, at) in indices.iter().enumerate() {
        let part = (check_index(at, kind, d, first[d])? * strides[d] as f64)?;
        places = Some(match places {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    let places =
        places.unwrap_or_else(|| indices[0].clone()).broadcast_to(common)?.reshape([common.numel()])?;
    let lines = x.reshape([&[first.iter().product()], rest].concat())?;
    Ok((shape, Some([lines, places])))
}

/// NumPy's `x[i, j, ..]` with tensors of indices.
pub(crate) fn index(x: &Tensor, indices: &[&Tensor]) -> Result<Tensor> {
    match named("index", FaultKind::Index, x, indices)? {
        (shape, None) => super::view::nothing(shape, &[x]),
        (shape, Some([lines, places])) => select_within(&lines, 0, &places)?.reshape(shape),
    }
}

/// NumPy's `x[i, j, ..] = values`, or `+=`.
pub(crate) fn index_put(how: Write, x: &Tensor, indices: &[&Tensor], values: &Tensor) -> Result<Tensor> {
    const OP: &str = "index_put";
    same_device(OP, &[x, values])?;
    match named(OP, FaultKind::IndexPut, x, indices)? {
        (shape, None) => untouched(x, &repeated(OP, x, values, shape)?),
        (shape, Some([lines, places])) => {
            let mut dims = lines.shape().to_vec();
            dims[0] = places.numel();
            let values = repeated(OP, x, values, shape)?.reshape(dims)?;
            write(how, &lines, 0, &places, &values)?.reshape(x.shape())
        }
    }
}

impl Operation for IndexLast {
    fn name(&self) -> &'static str {
        "index_last"
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let indices = inputs[0].contiguous()?;
        Array::build::<u32>(out.shape, |dst| {
            kernels::index::index_last(indices.slice::<u32>()?, dst);
            Ok(())
        })
    }
    fn gpu(&self, inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        let count = inputs.first().map_or(0, |x| x.shape.numel());
        Lowering::Kernel(Box::new(move |t| gpu::index::index_last(t, self.len, count)))
    }
}
