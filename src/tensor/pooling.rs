//! Pooling to a size, and images read between their pixels.

use super::Tensor;
use crate::error::{Error, Result};
use crate::ops::pool2d::{Pool2dOptions, check_adaptive};
use crate::ops::require_float;
use crate::shape::Shape;

/// What becomes of a window.
#[derive(Clone, Copy, PartialEq)]
enum Pool {
    Mean,
    Max,
}

/// Pooling to a size. Along an axis of n elements, window i of m is PyTorch's: from `i * n / m`, rounded down, up to `(i + 1) * n / m`,
/// rounded up. All elements are in a window; windows overlap where m does not divide n.
impl Tensor {
    /// The means of `size[0]` times `size[1]` windows of each channel: `[n, h, w, c]` to `[n, size[0], size[1], c]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let row = Tensor::new([[[[1.0f32], [2.0], [3.0]]]], Device::Cpu)?; // [1, 1, 3, 1]
    /// assert_eq!(row.adaptive_avg_pool2d([1, 2])?.to_vec::<f32>()?, [1.5, 2.5]);
    /// assert_eq!(row.adaptive_avg_pool2d([1, 1])?.to_vec::<f32>()?, [2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is not of rank 4, no float or has no rows or columns; a size is 0, or more than 2^20 and more than the image has.
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Result<Tensor> {
        adaptive("adaptive_avg_pool2d", self, size, Pool::Mean)
    }

    /// The largest elements of `size[0]` times `size[1]` windows of each channel: `[n, h, w, c]` to `[n, size[0], size[1], c]`. The
    /// first maximum of a window in row-major order takes the gradient. NaN where there is one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let row = Tensor::new([[[[1.0f32], [2.0], [3.0]]]], Device::Cpu)?; // [1, 1, 3, 1]
    /// assert_eq!(row.adaptive_max_pool2d([1, 2])?.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`adaptive_avg_pool2d`](Self::adaptive_avg_pool2d).
    pub fn adaptive_max_pool2d(&self, size: [usize; 2]) -> Result<Tensor> {
        adaptive("adaptive_max_pool2d", self, size, Pool::Max)
    }
}

fn adaptive(op: &str, x: &Tensor, size: [usize; 2], how: Pool) -> Result<Tensor> {
    require_float(op, "the image", x)?;
    let shape = x.shape();
    if shape.rank() != 4 {
        return Err(Error::shape(op, format!("image {shape}: expected [n, h, w, c]")));
    }
    let image = [shape[1], shape[2]];
    check_adaptive(op, image, size)?;
    Shape::new(&[shape[0], size[0], size[1], shape[3]]).map_err(|e| e.named(op))?;
    if (0..2).all(|d| image[d].is_multiple_of(size[d])) {
        // Windows side by side.
        let options = Pool2dOptions::new([image[0] / size[0], image[1] / size[1]]);
        return match how {
            Pool::Mean => x.avg_pool2d(options),
            Pool::Max => x.max_pool2d(options),
        };
    }
    // Along rows first, so that the first of equal maxima is the first in row-major order.
    along(&along(x, 2, size[1], how)?, 1, size[0], how)
}

/// Pools one axis to a length.
fn along(x: &Tensor, axis: usize, size: usize, how: Pool) -> Result<Tensor> {
    let n = x.shape()[axis];
    if n == size {
        return Ok(x.clone());
    }
    let windows: Vec<(usize, usize)> =
        (0..size).map(|i| (i * n / size, ((i + 1) * n).div_ceil(size))).collect();
    let longest = windows.iter().map(|(start, end)| end - start).max().unwrap_or(1);
    // All windows have the length of the longest: the others repeat their last.
    let places: Vec<u32> = windows
        .iter()
        .flat_map(|&(start, end)| (0..longest).map(move |i| (start + i).min(end - 1) as u32))
        .collect();
    let places = Tensor::from_slice(&places, [places.len()], x.device())?;
    let mut shape = x.shape().to_vec();
    shape.splice(axis..=axis, [size, longest]);
    let taken = x.index_select(axis as isize, &places)?.reshape(shape)?;
    let window = axis as isize + 1;
    if how == Pool::Max {
        // What is repeated is not the first.
        let at = taken.argmax(window, true)?;
        return taken.gather(window, &at)?.squeeze(window);
    }
    let lengths: Vec<u32> = windows.iter().map(|(start, end)| (end - start) as u32).collect();
    let lengths = Tensor::from_slice(&lengths, [size, 1], x.device())?;
    let steps = Tensor::arange(0, longest as i64, x.device())?.cast(lengths.dtype())?;
    let mut beside = vec![1; x.rank() + 1];
    beside[axis] = size;
    let divisor = lengths.cast(x.dtype())?.reshape(&beside)?;
    beside[axis + 1] = longest;
    let inside = steps.lt(&lengths)?.reshape(&beside)?;
    inside.select(taken, 0.0)?.sum(window, true)?.squeeze(window)? / divisor.squeeze(window)?
}
