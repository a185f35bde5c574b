//! Sorting along an axis, and what follows from an order: the largest, medians, quantiles, what is there only once.

use super::{Tensor, no_grad};
use crate::axes::Axes;
use crate::cpu::dispatch;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::require_float;
use crate::ops::search::searchsorted;
use crate::ops::sort::Sort;

/// What [`Tensor::unique`] finds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unique {
    /// The different elements, sorted: `[n]`.
    pub values: Tensor,
    /// For each element of the tensor, in its shape, where it stands among the values: i32.
    pub inverse: Tensor,
    /// How often each value is there: u32, `[n]`.
    pub counts: Tensor,
}

/// Sorting. Sorts are stable: equal elements keep their order, on every device. NaN is larger than all else, so that it is last in
/// ascending order and first in descending order; -0 and 0 are equal. All element types can be sorted.
impl Tensor {
    /// The elements along an axis in ascending or descending order. Gradients go back to where the elements were.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[3.0f32, 1.0, 2.0], [4.0, 6.0, 5.0]], Device::Cpu)?;
    /// assert_eq!(x.sort(-1, false)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    /// assert_eq!(x.sort(0, true)?.to_vec::<f32>()?, [4.0, 6.0, 5.0, 3.0, 1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis.
    pub fn sort(&self, axis: isize, descending: bool) -> Result<Tensor> {
        Ok(Sort::whole("sort", self, axis, descending)?.values_and_indices(self)?.0)
    }

    /// [`sort`](Self::sort) and [`argsort`](Self::argsort) by one sort: values, and their places (i32); PyTorch's `sort`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([30, 10, 20], Device::Cpu)?;
    /// let (values, places) = x.sort_with_indices(0, true)?;
    /// assert_eq!(values.to_vec::<i32>()?, [30, 20, 10]);
    /// assert_eq!(places.to_vec::<i32>()?, [0, 2, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis.
    pub fn sort_with_indices(&self, axis: isize, descending: bool) -> Result<(Tensor, Tensor)> {
        Sort::whole("sort_with_indices", self, axis, descending)?.values_and_indices(self)
    }

    /// The places (i32) of the elements along an axis in ascending or descending order. Without a gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([2.0f32, f32::NAN, 1.0, 2.0], Device::Cpu)?;
    /// assert_eq!(x.argsort(0, false)?.to_vec::<i32>()?, [2, 0, 3, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis.
    pub fn argsort(&self, axis: isize, descending: bool) -> Result<Tensor> {
        Sort::whole("argsort", self, axis, descending)?.indices(self)
    }

    /// The `k` largest elements along an axis, the largest first, and their places (i32); of equal ones those that come first. The
    /// axis then has length k.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let scores = Tensor::new([[0.1f32, 0.7, 0.2], [0.5, 0.2, 0.3]], Device::Cpu)?;
    /// let (best, classes) = scores.topk(2, -1)?;
    /// assert_eq!(best.to_vec::<f32>()?, [0.7, 0.2, 0.5, 0.3]);
    /// assert_eq!(classes.to_vec::<i32>()?, [1, 2, 0, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or the axis has fewer than k elements.
    pub fn topk(&self, k: usize, axis: isize) -> Result<(Tensor, Tensor)> {
        Sort::largest("topk", self, axis, k)?.values_and_indices(self)
    }

    /// For each value its place (u32) among the elements of this tensor, which are sorted in ascending order: how many are below the
    /// value or, with `right`, not above it (so that equal ones stand before it). NumPy's and PyTorch's `searchsorted`. One row `[n]`
    /// takes values of any shape; rows `[.., n]` take values `[.., m]`, each row its own. NaN is larger than all else, as sorts have it:
    /// its place is behind all numbers, and behind the row's NaN with `right`. If a row is not sorted, the places are any. Without a
    /// gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let sorted = Tensor::new([1.0f32, 3.0, 3.0, 5.0], Device::Cpu)?;
    /// let values = Tensor::new([3.0f32, 0.0, 9.0], Device::Cpu)?;
    /// assert_eq!(sorted.searchsorted(&values, false)?.to_vec::<u32>()?, [1, 0, 4]);
    /// assert_eq!(sorted.searchsorted(&values, true)?.to_vec::<u32>()?, [3, 0, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensors differ in type or device; this one is a scalar; rows and values differ in a dimension before the last.
    pub fn searchsorted(&self, values: &Tensor, right: bool) -> Result<Tensor> {
        searchsorted("searchsorted", self, values, right)
    }

    /// The bucket (u32) of each element between sorted boundaries `[n]`, from 0 to n: [`searchsorted`](Self::searchsorted) the other
    /// way round. An element that is equal to a boundary is in the bucket below it, with `right` in the one above (PyTorch's
    /// `bucketize`; NumPy's `digitize` and Keras's `Discretization` are with `right`). NaN is in the last.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let ages = Tensor::new([[3, 18], [40, 70]], Device::Cpu)?;
    /// let boundaries = Tensor::new([18, 65], Device::Cpu)?;
    /// assert_eq!(ages.bucketize(&boundaries, false)?.to_vec::<u32>()?, [0, 0, 1, 2]);
    /// assert_eq!(ages.bucketize(&boundaries, true)?.to_vec::<u32>()?, [0, 1, 1, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensors differ in type or device, or the boundaries are not of rank 1.
    pub fn bucketize(&self, boundaries: &Tensor, right: bool) -> Result<Tensor> {
        if boundaries.rank() != 1 {
            let message = format!("boundaries {}: expected [n], sorted", boundaries.shape());
            return Err(Error::shape("bucketize", message));
        }
        searchsorted("bucketize", boundaries, self, right)
    }

    /// The median over `axes`, as [`sum`](Self::sum) takes them: the middle of the sorted elements, of an even number the mean of
    /// the two in the middle (NumPy's; PyTorch's is the lower of the two). NaN where there is one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[5.0f32, 1.0, 3.0], [0.0, 9.0, 8.0]], Device::Cpu)?;
    /// assert_eq!(x.median(-1, false)?.to_vec::<f32>()?, [3.0, 8.0]);
    /// assert_eq!(x.median(.., false)?.item::<f32>()?, 4.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks; no elements to choose from.
    pub fn median(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        self.quantile_of("median", 0.5, axes.into(), keepdims)
    }

    /// The quantile `q` over `axes`, as [`sum`](Self::sum) takes them: the sorted elements at place `q * (n - 1)`, between two places
    /// linearly interpolated, as NumPy and PyTorch do by default. NaN where there is one. Gradients go to the two neighbours.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([0.0f32, 10.0, 20.0, 30.0, 40.0], Device::Cpu)?;
    /// assert_eq!(x.quantile(0.25, .., false)?.item::<f32>()?, 10.0);
    /// assert_eq!(x.quantile(0.625, .., false)?.item::<f32>()?, 25.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`median`](Self::median); or q is outside of 0 to 1.
    pub fn quantile(&self, q: f64, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&q) {
            return Err(Error::argument("quantile", format!("q = {q} is not from 0 to 1")));
        }
        self.quantile_of("quantile", q, axes.into(), keepdims)
    }

    fn quantile_of(&self, op: &str, q: f64, axes: Axes, keepdims: bool) -> Result<Tensor> {
        require_float(op, "the input", self)?;
        let mask = axes.mask(op, self.shape())?;
        let (kept, taken): (Vec<usize>, Vec<usize>) = (0..self.rank()).partition(|&d| !mask[d]);
        let n: usize = taken.iter().map(|&d| self.shape()[d]).product();
        if n == 0 {
            return Err(Error::argument(op, format!("no elements to choose from in shape {}", self.shape())));
        }
        let order: Vec<isize> = kept.iter().chain(&taken).map(|&d| d as isize).collect();
        let sorted = self.permute(order)?.reshape([self.numel() / n, n])?.sort(-1, false)?;
        let place = q * (n - 1) as f64;
        let low = (place.floor() as usize).min(n - 1);
        let part = place - low as f64;
        let mut value = sorted.slice(1, low, 1)?;
        if part > 0.0 {
            let next = sorted.slice(1, low + 1, 1)?;
            let between = ((&value * (1.0 - part))? + (&next * part)?)?;
            // Rounding must not lead beyond a neighbour: what lies between equal ones is that. Gradients go by the parts.
            let beyond = no_grad(|| {
                let within = between.maximum(&value)?.minimum(&next)?;
                between.ne(&within)?.select((within - &between)?, 0.0)
            })?;
            value = (between + beyond)?;
        }
        // The last, if any is.
        let last = sorted.slice(1, n - 1, 1)?;
        last.isnan()?.select(&last, value)?.reshape(self.shape().reduced(&mask, keepdims))
    }

    /// The different elements, sorted, where each element is among them, and how often each is there. All elements count, whatever
    /// the shape; NaN, of any bits, is one value, and so are -0 and 0 (the one that comes first is among the values). Without a
    /// gradient.
    ///
    /// How many there are depends on the values: they are computed and read, sorted on the host, and the device is waited for.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let words = Tensor::new([7, 3, 7, 7, 5], Device::Cpu)?.unique()?;
    /// assert_eq!(words.values.to_vec::<i32>()?, [3, 5, 7]);
    /// assert_eq!(words.inverse.to_vec::<i32>()?, [2, 0, 2, 2, 1]);
    /// assert_eq!(words.counts.to_vec::<u32>()?, [1, 1, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`eval`](Self::eval): within a function that is being traced there are no values to read.
    pub fn unique(&self) -> Result<Unique> {
        dispatch!(self.dtype(), T => {
            let elements = self.to_vec::<T>().map_err(|e| e.context("unique"))?;
            let host = Tensor::from_slice(&elements, [elements.len()], Device::Cpu)?;
            let order = host.argsort(0, false)?.to_vec::<i32>()?;
            let (mut values, mut counts) = (Vec::<T>::new(), Vec::<u32>::new());
            let mut inverse = vec![0i32; elements.len()];
            for at in order {
                let v = elements[at as usize];
                // NaN alone differs from itself.
                #[allow(clippy::eq_op, reason = "of floats and integers alike")]
                let same = values.last().is_some_and(|&last| last == v || (last != last && v != v));
                match counts.last_mut().filter(|_| same) {
                    Some(count) => *count += 1,
                    None => {
                        values.push(v);
                        counts.push(1);
                    }
                }
                inverse[at as usize] = values.len() as i32 - 1;
            }
            let (device, n) = (self.device(), values.len());
            Ok(Unique {
                values: Tensor::from_vec(values, [n], device)?,
                inverse: Tensor::from_vec(inverse, self.shape(), device)?,
                counts: Tensor::from_vec(counts, [n], device)?,
            })
        })
    }

    /// The places of all elements that are not 0, in row-major order: i32, `[n, dimensions]`, a row for each. NaN is not 0.
    ///
    /// How many there are depends on the values: they are computed and read, and the device is waited for.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[0.0f32, 5.0], [7.0, 0.0]], Device::Cpu)?;
    /// let places = x.nonzero()?;
    /// assert_eq!((places.dims(), places.to_vec::<i32>()?), (&[2, 2][..], vec![0, 1, 1, 0]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`unique`](Self::unique).
    pub fn nonzero(&self) -> Result<Tensor> {
        let found = self.ne(0)?.to_vec::<u8>().map_err(|e| e.context("nonzero"))?;
        let (rank, strides) = (self.rank(), self.shape().strides());
        let mut places = Vec::new();
        let mut count = 0;
        for (at, _) in found.iter().enumerate().filter(|(_, found)| **found != 0) {
            places.extend((0..rank).map(|d| (at / strides[d] % self.shape()[d]) as i32));
            count += 1;
        }
        Tensor::from_vec(places, [count, rank], self.device())
    }

    /// The elements where a mask (u8, as comparisons give) is not 0, in row-major order: one dimension; NumPy's `x[mask]`. Mask and
    /// tensor broadcast. Gradients go back to where the elements were.
    ///
    /// How many there are depends on the mask: it is computed and read, and the device is waited for.
    /// [`masked_fill`](Self::masked_fill) and [`select`](Self::select) keep the shape and wait for nothing.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, -2.0], [-3.0, 4.0]], Device::Cpu)?;
    /// assert_eq!(x.masked_select(&x.gt(0.0)?)?.to_vec::<f32>()?, [1.0, 4.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The mask is not u8, lives on another device, or the shapes don't broadcast. As [`unique`](Self::unique).
    pub fn masked_select(&self, mask: &Tensor) -> Result<Tensor> {
        const OP: &str = "masked_select";
        crate::ops::same_device(OP, &[self, mask])?;
        if mask.dtype() != DType::U8 {
            let message =
                format!("the mask is {}, not u8; make it by a comparison such as x.gt(0.0)?", mask.dtype());
            return Err(Error::dtype(OP, message));
        }
        let shape = self.shape().broadcast(&mask.shape()).ok_or_else(|| {
            let message = format!("{} and a mask of {} don't broadcast", self.shape(), mask.shape());
            Error::shape(OP, message)
        })?;
        let taken = mask.broadcast_to(shape)?.to_vec::<u8>().map_err(|e| e.context(OP))?;
        let places: Vec<u32> = (0..).zip(taken).filter(|(_, taken)| *taken != 0).map(|(at, _)| at).collect();
        let places = Tensor::from_slice(&places, [places.len()], self.device())?;
        self.broadcast_to(shape)?.reshape([shape.numel()])?.index_select(0, &places)
    }
}
