//! Stable sorts along an axis. What is sorted is an order, the places of the elements; values are read by it, and gradients go back by
//! the inverse order.

use super::index::select_permuted;
use super::{Grads, Lowering, Operation, Vjp};
use crate::cpu::{Array, dispatch, kernels};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// The places (i32) of the first `kept` elements of each sorted row of `[rows, len]`. NaN is larger than all else, both zeros are equal,
/// and equal elements keep their order.
#[derive(Debug, Hash)]
struct Argsort {
    rows: usize,
    len: usize,
    kept: usize,
    descending: bool,
}

/// A sort along an axis, of which so many are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sort {
    pub axis: usize,
    pub kept: usize,
    pub descending: bool,
}

impl Sort {
    /// All elements along an axis.
    pub fn whole(op: &str, x: &Tensor, axis: isize, descending: bool) -> Result<Sort> {
        let axis = x.shape().axis(op, axis)?;
        Ok(Sort { axis, kept: x.shape()[axis], descending })
    }

    /// The `k` largest along an axis, the largest first.
    pub fn largest(op: &str, x: &Tensor, axis: isize, k: usize) -> Result<Sort> {
        let axis = x.shape().axis(op, axis)?;
        let len = x.shape()[axis];
        if k > len {
            let message = format!("k = {k}, but axis {axis} of {} has {len} elements", x.shape());
            return Err(Error::argument(op, message));
        }
        Ok(Sort { axis, kept: k, descending: true })
    }

    /// The axis as the last, and what was the last in its place: where values are sorted, and back.
    fn moved(&self, x: &Tensor) -> Result<Tensor> {
        x.swap_axes(self.axis as isize, -1)
    }

    /// The places of the kept elements, i32, the axis being the last.
    fn order(&self, moved: &Tensor) -> Result<Tensor> {
        let mut shape = moved.shape().to_vec();
        let len = shape.pop().unwrap_or(1);
        let rows = shape.iter().product();
        shape.push(self.kept);
        let shape = Shape::new(&shape)?;
        if shape.numel() == 0 {
            return super::view::full(0.0, shape, DType::I32, moved.device());
        }
        if moved.dtype() == DType::U8 && moved.device() != Device::Cpu {
            // bytes are stored four to a word, which the kernel does not take apart
            return self.order(&moved.cast(DType::U32)?);
        }
        let op = Argsort { rows, len, kept: self.kept, descending: self.descending };
        Tensor::from_op(op, vec![moved.clone()], shape, DType::I32, moved.device())
    }

    /// The places of the kept elements along the axis, i32.
    pub fn indices(&self, x: &Tensor) -> Result<Tensor> {
        self.moved(&self.order(&self.moved(x)?)?)
    }

    /// The kept elements and their places along the axis, i32.
    pub fn values_and_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let moved = self.moved(x)?;
        let order = self.order(&moved)?;
        let indices = self.moved(&order)?;
        if order.numel() == 0 {
            return Ok((super::view::nothing(indices.shape(), &[x])?, indices));
        }
        let len = x.shape()[self.axis];
        let rows = moved.numel() / len;
        // places in the flat tensor
        let first = (Tensor::arange(0, rows as i64, x.device())?.cast(DType::U32)? * len as f64)?;
        let places = order.cast(DType::U32)?.reshape([rows, self.kept])? + first.unsqueeze(1)?;
        let (flat, places) = (moved.reshape([moved.numel()])?, places?.reshape([order.numel()])?);
        let values = match self.kept == len {
            true => select_permuted(&flat, &places)?,
            false => super::index::select_within(&flat, 0, &places)?,
        };
        Ok((self.moved(&values.reshape(order.shape())?)?, indices))
    }
}

impl Operation for Argsort {
    fn name(&self) -> &'static str {
        if self.kept < self.len { "topk" } else { "argsort" }
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let x = inputs[0].contiguous()?;
        dispatch!(x.dtype(), T => Array::build::<i32>(out.shape, |dst| {
            kernels::sort::argsort(self.len, self.kept, self.descending, x.slice::<T>()?, dst);
            Ok(())
        }))
    }
    fn gpu(&self, inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        let dtype = inputs.first().map_or(DType::F32, |x| x.dtype);
        let dims = [self.rows, self.len, self.kept];
        Lowering::Kernel(Box::new(move |t| gpu::sort::argsort(t, dims, dtype, self.descending)))
    }
}
