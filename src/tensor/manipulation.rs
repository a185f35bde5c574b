//! The same elements in other places, as methods: other shapes, axes in another order, pieces, joins, look-ups.

use super::Tensor;
use crate::error::{Error, Result};
use crate::ops::{index, join, view};
use crate::shape::Shape;

impl Tensor {
    /// The same elements in row-major order under another shape; [`INFER`](crate::INFER) stands for one dimension to
    /// be worked out.
    pub fn reshape(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        view::reshape(self, shape.as_ref())
    }

    /// Dimensions `start..` as one.
    pub fn flatten(&self, start: isize) -> Result<Tensor> {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        let a = self.shape().axis("flatten", start)?;
        let mut dims = self.shape()[..a].to_vec();
        dims.push(self.shape()[a..].iter().product());
        self.reshape(dims)
    }

    /// Axis d of the result is axis `axes[d]` of this tensor.
    pub fn permute(&self, axes: impl AsRef<[isize]>) -> Result<Tensor> {
        view::permute(self, axes.as_ref())
    }

    /// The last two axes exchanged.
    pub fn transpose(&self) -> Result<Tensor> {
        if self.rank() < 2 {
            let message = format!("shape {} has no two last axes", self.shape());
            return Err(Error::shape("transpose", message));
        }
        self.swap_axes(-2, -1)
    }

    /// Two axes exchanged.
    pub fn swap_axes(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (self.shape().axis("swap_axes", a)?, self.shape().axis("swap_axes", b)?);
        let mut axes: Vec<isize> = (0..self.rank() as isize).collect();
        axes.swap(a, b);
        view::permute(self, &axes)
    }

    /// Axes of length 1 (and new leading ones) repeated to `shape`.
    pub fn broadcast_to(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        view::broadcast_to(self, Shape::new(shape.as_ref())?)
    }

    /// `len` elements from `start` along an axis.
    pub fn slice(&self, axis: isize, start: usize, len: usize) -> Result<Tensor> {
        view::slice(self, axis, start, len, 1)
    }

    /// `len` elements `start, start + step, ...` along an axis; a negative step runs backwards.
    pub fn slice_step(&self, axis: isize, start: usize, len: usize, step: isize) -> Result<Tensor> {
        view::slice(self, axis, start, len, step)
    }

    /// The elements along an axis in reverse order.
    pub fn flip(&self, axis: isize) -> Result<Tensor> {
        let n = self.shape()[self.shape().axis("flip", axis)?];
        if n < 2 { Ok(self.clone()) } else { view::slice(self, axis, n - 1, n, -1) }
    }

    /// Tensors one after the other along an existing axis.
    pub fn concat(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
        join::concat(tensors, axis)
    }

    /// Tensors of one shape along a new axis.
    pub fn stack(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
        let raised = tensors.iter().map(|t| t.unsqueeze(axis)).collect::<Result<Vec<_>>>()?;
        join::concat(&raised.iter().collect::<Vec<_>>(), axis)
    }

    /// The tensor without an axis of length 1.
    pub fn squeeze(&self, axis: isize) -> Result<Tensor> {
        let a = self.shape().axis("squeeze", axis)?;
        if self.shape()[a] != 1 {
            let message = format!("axis {axis} of {} has length {}, not 1", self.shape(), self.shape()[a]);
            return Err(Error::shape("squeeze", message));
        }
        let mut dims = self.shape().to_vec();
        dims.remove(a);
        self.reshape(dims)
    }

    /// The tensor with a new axis of length 1 at `axis`.
    pub fn unsqueeze(&self, axis: isize) -> Result<Tensor> {
        let rank = self.rank() as isize;
        let a = if axis < 0 { axis + rank + 1 } else { axis };
        if a < 0 || a > rank {
            let message = format!("axis {axis} is outside {}..={rank} for shape {}", -rank - 1, self.shape());
            return Err(Error::argument("unsqueeze", message));
        }
        let mut dims = self.shape().to_vec();
        dims.insert(a as usize, 1);
        self.reshape(dims)
    }

    /// The tensor surrounded by a constant: `(before, after)` elements for each axis.
    pub fn pad(&self, pads: impl AsRef<[(usize, usize)]>, value: f64) -> Result<Tensor> {
        join::pad(self, pads.as_ref(), value)
    }

    /// `out[c] = self[c with c[axis] replaced by indices[c]]`, as PyTorch's `gather`.
    pub fn gather(&self, axis: isize, indices: &Tensor) -> Result<Tensor> {
        index::gather(self, axis, indices)
    }

    /// Whole slices along an axis in the order of `indices` (one dimension): an embedding look-up, a shuffled batch.
    /// An index outside the axis is an error on the CPU and reads zeros on a GPU.
    pub fn index_select(&self, axis: isize, indices: &Tensor) -> Result<Tensor> {
        index::index_select(self, axis, indices)
    }
}
