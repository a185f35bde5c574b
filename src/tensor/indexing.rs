//! Reading and writing by index. `manipulation.rs` has `gather` and `index_select`.

use super::{IntoOperand, Tensor};
use crate::error::Result;
use crate::ops::index;
use crate::ops::scatter::{self, Write};

/// Reading and writing by index. Indices are i32, u32 or u8, and count from 0: none is negative. One that is outside its axis is an
/// error: on the CPU of the call that computes, on a GPU of the next one that waits for the device.
impl Tensor {
    /// `out[c] = self[c with c[axis] replaced by indices[c]]`, NumPy's `take_along_axis`: as [`gather`](Self::gather), and outside the
    /// axis this tensor and the indices broadcast.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[10.0f32, 20.0, 30.0], [40.0, 50.0, 60.0]], Device::Cpu)?;
    /// let at = Tensor::new([[2, 0]], Device::Cpu)?; // the same of both rows
    /// assert_eq!(x.take_along_axis(1, &at)?.to_vec::<f32>()?, [30.0, 10.0, 60.0, 40.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis; `indices` are no integers, have another number of dimensions, sizes outside the axis that don't
    /// broadcast, or live on another device; an index outside the axis.
    pub fn take_along_axis(&self, axis: isize, indices: &Tensor) -> Result<Tensor> {
        index::take_along_axis(self, axis, indices)
    }

    /// This tensor with `out[c with c[axis] replaced by indices[c]] = values[c]` for all places c of `indices`, as PyTorch's
    /// `scatter`: indices have as many dimensions as this tensor and are no larger outside the axis; `values` have their shape, or
    /// broadcast to it. Where several are written to one place, the last in the order of memory stays, on every device.
    ///
    /// Gradients flow to what is left of this tensor, and to the values that stay.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros([2, 3], Device::Cpu)?;
    /// let at = Tensor::new([[2, 0], [1, 1]], Device::Cpu)?;
    /// let values = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
    /// assert_eq!(x.scatter(1, &at, &values)?.to_vec::<f32>()?, [2.0, 0.0, 1.0, 0.0, 4.0, 0.0]);
    /// assert_eq!(x.scatter(1, &at, 7.0)?.to_vec::<f32>()?, [7.0, 0.0, 7.0, 0.0, 7.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis; `indices` have another form, `values` another element type or a shape that doesn't broadcast to
    /// theirs; they live on different devices; an index outside the axis.
    pub fn scatter(&self, axis: isize, indices: &Tensor, values: impl IntoOperand) -> Result<Tensor> {
        scatter::scatter(Write::Last, self, axis, indices, &values.into_operand(self)?)
    }

    /// As [`scatter`](Self::scatter), but the values are added to what is there, in a fixed order: PyTorch's `scatter_add`. Integers
    /// wrap.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones([4], Device::Cpu)?;
    /// let at = Tensor::new([3, 0, 3], Device::Cpu)?;
    /// let values = Tensor::new([1.0f32, 2.0, 4.0], Device::Cpu)?;
    /// assert_eq!(x.scatter_add(0, &at, &values)?.to_vec::<f32>()?, [3.0, 1.0, 1.0, 6.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`scatter`](Self::scatter).
    pub fn scatter_add(&self, axis: isize, indices: &Tensor, values: impl IntoOperand) -> Result<Tensor> {
        scatter::scatter(Write::Add, self, axis, indices, &values.into_operand(self)?)
    }

    /// This tensor with whole slices added along an axis: slice j of `values` to slice `indices[j]`, those of one index in a fixed
    /// order; PyTorch's `index_add`. `indices` have one dimension, `values` this tensor's shape with as many places along the axis
    /// as there are indices, or they broadcast to it. Integers wrap.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros([3, 2], Device::Cpu)?;
    /// let rows = Tensor::new([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]], Device::Cpu)?;
    /// let sums = x.index_add(0, &Tensor::new([2, 0, 2], Device::Cpu)?, &rows)?;
    /// assert_eq!(sums.to_vec::<f32>()?, [3.0, 4.0, 0.0, 0.0, 6.0, 8.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis; `indices` are no integers of one dimension; `values` have another element type or a shape that
    /// doesn't broadcast; they live on different devices; an index outside the axis.
    pub fn index_add(&self, axis: isize, indices: &Tensor, values: impl IntoOperand) -> Result<Tensor> {
        scatter::add_slices(self, axis, indices, &values.into_operand(self)?)
    }

    /// Elements, or slices, by an index for each of the first axes: NumPy's `x[i, j]` where i and j are arrays, TensorFlow's
    /// `gather_nd`. The tensors of indices broadcast to one shape, which the axes without an index follow. Gradients of what is taken
    /// several times add up, in a fixed order.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]], Device::Cpu)?;
    /// let (i, j) = (Tensor::new([0, 1, 1], Device::Cpu)?, Tensor::new([2, 0, 2], Device::Cpu)?);
    /// assert_eq!(x.index(&[&i, &j])?.to_vec::<f32>()?, [3.0, 4.0, 6.0]);
    /// assert_eq!(x.index(&[&i])?.shape(), [3, 3]); // rows
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// No indices or more than axes; indices that are no integers, don't broadcast, or live on another device; an index outside its
    /// axis.
    pub fn index(&self, indices: &[&Tensor]) -> Result<Tensor> {
        scatter::index(self, indices)
    }

    /// This tensor with other elements, or slices, where an index for each of the first axes says: NumPy's `x[i, j] = values`, and
    /// with `accumulate` `x[i, j] += values` (every one of several that are written to one place counts, as in PyTorch's `index_put`
    /// and NumPy's `add.at`). Without it the last in the order of memory stays, on every device. `values` broadcast to the shape that
    /// [`index`](Self::index) gives. Gradients flow to what is left of this tensor, and to the values that stay or are added.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros([2, 3], Device::Cpu)?;
    /// let (i, j) = (Tensor::new([0, 1, 0], Device::Cpu)?, Tensor::new([2, 0, 2], Device::Cpu)?);
    /// let values = Tensor::new([1.0f32, 2.0, 4.0], Device::Cpu)?;
    /// assert_eq!(x.index_put(&[&i, &j], &values, false)?.to_vec::<f32>()?, [0.0, 0.0, 4.0, 2.0, 0.0, 0.0]);
    /// assert_eq!(x.index_put(&[&i, &j], &values, true)?.to_vec::<f32>()?, [0.0, 0.0, 5.0, 2.0, 0.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`index`](Self::index); values of another element type or device, or of a shape that doesn't broadcast.
    pub fn index_put(
        &self,
        indices: &[&Tensor],
        values: impl IntoOperand,
        accumulate: bool,
    ) -> Result<Tensor> {
        let how = if accumulate { Write::Add } else { Write::Last };
        scatter::index_put(how, self, indices, &values.into_operand(self)?)
    }
}
