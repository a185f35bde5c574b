//! The same elements in other places, as methods: other shapes, axes in another order, pieces, joins, look-ups.

use super::Tensor;
use crate::error::{Error, Result};
use crate::ops::{index, join, update, view};
use crate::shape::Shape;
use std::borrow::Borrow;

impl Tensor {
    /// The same elements in row-major order under another shape; [`INFER`](crate::INFER) stands for one dimension to
    /// be worked out.
    ///
    /// Takes no time and no memory where the elements stand in this order already.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::INFER;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::arange(0, 6, Device::Cpu)?;
    /// assert_eq!(x.reshape([2, 3])?.shape(), [2, 3]);
    /// assert_eq!(x.reshape([3, INFER])?.shape(), [3, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The shape has another number of elements, or no dimension could be inferred: [`INFER`](crate::INFER) stands twice, or the
    /// others don't divide the number of elements.
    pub fn reshape(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        view::reshape(self, shape.as_ref())
    }

    /// The dimensions from `start` on (which may count from the end) as one: `[2, 3, 4]` from 1 on is `[2, 12]`. A scalar becomes
    /// `[1]`.
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis.
    pub fn flatten(&self, start: isize) -> Result<Tensor> {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        let a = self.shape().axis("flatten", start)?;
        let mut dims = self.shape()[..a].to_vec();
        dims.push(self.shape()[a..].iter().product());
        self.reshape(dims)
    }

    /// Axis d of the result is axis `axes[d]` of this tensor: PyTorch's `permute`, NumPy's `transpose`. Takes no time and no
    /// memory.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let nchw = Tensor::zeros([8, 3, 32, 24], Device::Cpu)?;
    /// assert_eq!(nchw.permute([0, 2, 3, 1])?.shape(), [8, 32, 24, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The list does not name every axis once.
    pub fn permute(&self, axes: impl AsRef<[isize]>) -> Result<Tensor> {
        view::permute(self, axes.as_ref())
    }

    /// The last two axes exchanged: `[.., m, n]` to `[.., n, m]`. Takes no time and no memory.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
    /// assert_eq!(x.transpose()?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor has fewer than two dimensions.
    pub fn transpose(&self) -> Result<Tensor> {
        if self.rank() < 2 {
            let message = format!("shape {} has no two last axes", self.shape());
            return Err(Error::shape("transpose", message));
        }
        self.swap_axes(-2, -1)
    }

    /// Two axes exchanged.
    ///
    /// # Errors
    ///
    /// The tensor lacks one of them.
    pub fn swap_axes(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (self.shape().axis("swap_axes", a)?, self.shape().axis("swap_axes", b)?);
        let mut axes: Vec<isize> = (0..self.rank() as isize).collect();
        axes.swap(a, b);
        view::permute(self, &axes)
    }

    /// Axes of length 1 (and new leading ones) repeated to `shape`, by NumPy's rule. Takes no memory.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let row = Tensor::new([[1.0f32, 2.0]], Device::Cpu)?;
    /// assert_eq!(row.broadcast_to([2, 2])?.to_vec::<f32>()?, [1.0, 2.0, 1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A dimension is neither 1 nor that of `shape`, or there are more of them than in `shape`.
    pub fn broadcast_to(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        view::broadcast_to(self, Shape::new(shape.as_ref())?)
    }

    /// `len` elements from `start` along an axis. Takes no time and no memory.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::arange(0, 10, Device::Cpu)?;
    /// assert_eq!(x.slice(0, 2, 3)?.to_vec::<i32>()?, [2, 3, 4]); // x[2:5] in NumPy
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or the elements lie outside of it.
    pub fn slice(&self, axis: isize, start: usize, len: usize) -> Result<Tensor> {
        view::slice(self, axis, start, len, 1)
    }

    /// `len` elements `start, start + step, ...` along an axis; a negative step runs backwards. Takes no time and no memory.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::arange(0, 10, Device::Cpu)?;
    /// assert_eq!(x.slice_step(0, 9, 4, -3)?.to_vec::<i32>()?, [9, 6, 3, 0]); // x[9::-3] in NumPy
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`slice`](Self::slice); or the step is 0.
    pub fn slice_step(&self, axis: isize, start: usize, len: usize, step: isize) -> Result<Tensor> {
        view::slice(self, axis, start, len, step)
    }

    /// This tensor with `part` in place of the elements `start..` along an axis, as many as `part` has there; outside the axis
    /// both have the same sizes. (JAX's `dynamic_update_slice_in_dim`, PyTorch's `slice_scatter`.)
    ///
    /// `start` may change from step to step: it is an argument of the plan, and none is compiled or planned anew. Where nothing
    /// else refers to this tensor when the result is computed, it is computed in this tensor's memory: what is written is then
    /// all that is moved. (A GPU copies u8 all the same, the CPU the first of several updates in a row that are computed together,
    /// and so does whatever gradients flow through.) [`nn::Cache`] is made of this.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut x = Tensor::new([[1, 1], [2, 2], [3, 3]], Device::Cpu)?;
    /// x = x.update_slice(0, 1, &Tensor::new([[7, 8]], Device::Cpu)?)?;
    /// assert_eq!(x.to_vec::<i32>()?, [1, 1, 7, 8, 3, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Another device, element type or number of dimensions, other sizes outside the axis, or a part that does not fit in.
    ///
    /// [`nn::Cache`]: crate::nn::Cache
    pub fn update_slice(&self, axis: isize, start: usize, part: &Tensor) -> Result<Tensor> {
        update::update_slice(self, axis, start, part)
    }

    /// The elements along an axis in reverse order.
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis.
    pub fn flip(&self, axis: isize) -> Result<Tensor> {
        let n = self.shape()[self.shape().axis("flip", axis)?];
        if n < 2 { Ok(self.clone()) } else { view::slice(self, axis, n - 1, n, -1) }
    }

    /// Tensors one after the other along an existing axis: NumPy's `concatenate`. Takes tensors as well as references to them.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (a, b) = (Tensor::zeros([2, 3], Device::Cpu)?, Tensor::ones([2, 1], Device::Cpu)?);
    /// assert_eq!(Tensor::concat(&[&a, &b], -1)?.shape(), [2, 4]);
    /// let list = vec![a, b];
    /// assert_eq!(Tensor::concat(&list, -1)?.shape(), [2, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There are no tensors, they lack the axis, differ in another one, in element type or in device.
    pub fn concat<T: Borrow<Tensor>>(tensors: &[T], axis: isize) -> Result<Tensor> {
        join::concat(&tensors.iter().map(Borrow::borrow).collect::<Vec<_>>(), axis)
    }

    /// Tensors of one shape along a new axis, which stands at `axis` of the result.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::new([3.0f32, 4.0], Device::Cpu)?);
    /// assert_eq!(Tensor::stack(&[&x, &y], 0)?.shape(), [2, 2]);
    /// assert_eq!(Tensor::stack(&[&x, &y], -1)?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`concat`](Self::concat); or the result would have no such axis.
    pub fn stack<T: Borrow<Tensor>>(tensors: &[T], axis: isize) -> Result<Tensor> {
        let raised = tensors.iter().map(|t| t.borrow().unsqueeze(axis)).collect::<Result<Vec<_>>>()?;
        join::concat(&raised.iter().collect::<Vec<_>>(), axis)
    }

    /// The tensor without an axis of length 1.
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or it has another length.
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

    /// The tensor with a new axis of length 1 at `axis` of the result: 0 is the first, -1 the last.
    ///
    /// # Errors
    ///
    /// The result would have no such axis, or more than [`MAX_RANK`](crate::MAX_RANK) of them.
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
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0]], Device::Cpu)?;
    /// assert_eq!(x.pad([(0, 0), (1, 2)], 9.0)?.to_vec::<f32>()?, [9.0, 1.0, 2.0, 9.0, 9.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There is not one pair for each axis, or the element type lacks the value.
    pub fn pad(&self, pads: impl AsRef<[(usize, usize)]>, value: f64) -> Result<Tensor> {
        join::pad(self, pads.as_ref(), value)
    }

    /// `out[c] = self[c with c[axis] replaced by indices[c]]`, as PyTorch's `gather`: the result has the shape of `indices`,
    /// which are integers, as many dimensions as this tensor, and no larger outside the axis. Gradients of elements that are
    /// taken several times add up, in a fixed order.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]], Device::Cpu)?;
    /// let best = x.argmax(1, true)?; // [2, 1]
    /// assert_eq!(x.gather(1, &best)?.to_vec::<f32>()?, [3.0, 6.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or `indices` have another form or live on another device. An index outside the axis: on the
    /// CPU of the call that computes, on a GPU of the next one that waits for the device.
    pub fn gather(&self, axis: isize, indices: &Tensor) -> Result<Tensor> {
        index::gather(self, axis, indices)
    }

    /// Whole slices along an axis in the order of `indices` (integers, one dimension): an embedding look-up, a shuffled batch.
    /// The axis becomes as long as there are indices. Gradients of slices that are taken several times add up, in a fixed order.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let words = Tensor::new([[0.0f32, 0.5], [1.0, 1.5], [2.0, 2.5]], Device::Cpu)?;
    /// let picked = words.index_select(0, &Tensor::new([2u32, 0, 2], Device::Cpu)?)?;
    /// assert_eq!(picked.to_vec::<f32>()?, [2.0, 2.5, 0.0, 0.5, 2.0, 2.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or `indices` have another form or live on another device. An index outside the axis: on the
    /// CPU of the call that computes, on a GPU of the next one that waits for the device.
    pub fn index_select(&self, axis: isize, indices: &Tensor) -> Result<Tensor> {
        index::index_select(self, axis, indices)
    }
}
