//! Sums, means, extremes, norms, variances: methods that make one number of many.

use super::Tensor;
use crate::axes::Axes;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::ReduceKind;
use crate::ops::index::count;
use crate::ops::moments::{moments, root};
use crate::ops::reduce::{arg_extreme, mean, reduce};
use crate::ops::{recurrence, require_float, scan};

/// What magnitudes are divided by before they are raised to a power: 1 for what can't be divided by.
fn usable_scale(extreme: &Tensor) -> Result<Tensor> {
    (extreme.gt(0.0)? * extreme.lt(f64::INFINITY)?)?.select(extreme, 1.0)
}

impl Tensor {
    /// The sum over `axes`: `..` for all, an axis (-1 is the last), several, a range; see [`Axes`]. The sum of u8, which
    /// comparisons give, is u32, so that `x.gt(0.0)?.sum(..)` counts; other types keep theirs, and sums of i32 and u32 that
    /// don't fit wrap.
    ///
    /// Axes that are summed over are left out of the shape, or have length 1 in it (`keepdims`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
    /// assert_eq!(x.sum(.., false)?.item::<f32>()?, 10.0);
    /// assert_eq!(x.sum(0, false)?.to_vec::<f32>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum([1], true)?.shape(), [2, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// An axis that the tensor lacks, or one that is given twice.
    pub fn sum(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        reduce(ReduceKind::Sum, self, axes.into().mask("sum", self.shape())?, keepdims)
    }

    /// The mean over `axes`, as [`sum`](Self::sum) takes them: the sum divided by the number of elements, NaN where there are
    /// none.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 3.0], [5.0, 7.0]], Device::Cpu)?;
    /// assert_eq!(x.mean(.., false)?.item::<f32>()?, 4.0);
    /// assert_eq!(x.mean(-1, true)?.to_vec::<f32>()?, [2.0, 6.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum); or integers, whose mean is none: cast them to f32.
    pub fn mean(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        mean(self, axes.into().mask("mean", self.shape())?, keepdims)
    }

    /// The largest element over `axes`, as [`sum`](Self::sum) takes them; ties share the gradient. NaN where there is one.
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum); or there are no elements to choose from.
    pub fn max(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        reduce(ReduceKind::Max, self, axes.into().mask("max", self.shape())?, keepdims)
    }

    /// The smallest element over `axes`, as [`sum`](Self::sum) takes them; ties share the gradient. NaN where there is one.
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum); or there are no elements to choose from.
    pub fn min(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        reduce(ReduceKind::Min, self, axes.into().mask("min", self.shape())?, keepdims)
    }

    /// The product over `axes`, as [`sum`](Self::sum) takes them; that of u8 is u32. Gradients of any order are products of the
    /// other elements, never quotients: exact where elements are zero, infinite, or so large that the whole product overflows.
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum).
    pub fn prod(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        reduce(ReduceKind::Prod, self, axes.into().mask("prod", self.shape())?, keepdims)
    }

    /// Running sums along an axis, NumPy's `cumsum`: element a of the result is the sum of the elements up to a. On the CPU the
    /// sums of f32 are kept in f64; on a GPU blocks of sums keep long ones to six digits.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]], Device::Cpu)?;
    /// assert_eq!(x.cumsum(-1)?.to_vec::<f32>()?, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks.
    pub fn cumsum(&self, axis: isize) -> Result<Tensor> {
        scan::cumsum(self, axis)
    }

    /// Running products along an axis, NumPy's `cumprod`: element a of the result is the product of the elements up to a. On the CPU
    /// the products of f32 are kept in f64. Gradients, of any order, are right where elements are 0, too.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 0.0, 6.0]], Device::Cpu)?;
    /// assert_eq!(x.cumprod(-1)?.to_vec::<f32>()?, [1.0, 2.0, 6.0, 4.0, 0.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks.
    pub fn cumprod(&self, axis: isize) -> Result<Tensor> {
        recurrence::cumprod(self, axis)
    }

    /// Position of the largest element along an axis (i32), the first at a tie, and of the first NaN where there is one. The axis is
    /// left out of the shape, or has length 1 in it (`keepdims`). Without a gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let logits = Tensor::new([[0.1f32, 2.0, 0.3], [1.0, 0.0, 1.0]], Device::Cpu)?;
    /// assert_eq!(logits.argmax(-1, false)?.to_vec::<i32>()?, [1, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or it has no elements.
    pub fn argmax(&self, axis: isize, keepdims: bool) -> Result<Tensor> {
        arg_extreme(self, axis, keepdims, false)
    }

    /// Position of the smallest element along an axis (i32): see [`argmax`](Self::argmax).
    ///
    /// # Errors
    ///
    /// As [`argmax`](Self::argmax).
    pub fn argmin(&self, axis: isize, keepdims: bool) -> Result<Tensor> {
        arg_extreme(self, axis, keepdims, true)
    }

    /// Whether any element over `axes`, as [`sum`](Self::sum) takes them, is not 0: u8, 1 or 0. NaN is not 0; of no elements it is 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[0.0f32, 2.0], [0.0, 0.0]], Device::Cpu)?;
    /// assert_eq!(x.any(-1, false)?.to_vec::<u8>()?, [1, 0]);
    /// assert_eq!(x.gt(3.0)?.any(.., false)?.item::<u8>()?, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum).
    pub fn any(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        let mask = axes.into().mask("any", self.shape())?;
        reduce(ReduceKind::Sum, &self.ne(0)?, mask, keepdims)?.ne(0)
    }

    /// Whether all elements over `axes`, as [`sum`](Self::sum) takes them, are not 0: u8, 1 or 0. NaN is not 0; of no elements it
    /// is 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0], [0.0, 3.0]], Device::Cpu)?;
    /// assert_eq!(x.all(-1, false)?.to_vec::<u8>()?, [1, 0]);
    /// assert_eq!(x.isfinite()?.all(.., false)?.item::<u8>()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum).
    pub fn all(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        let mask = axes.into().mask("all", self.shape())?;
        reduce(ReduceKind::Sum, &self.eq(0)?, mask, keepdims)?.eq(0)
    }

    /// How many elements over `axes`, as [`sum`](Self::sum) takes them, are not 0: u32. NaN is not 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1, 0, 3], [0, 0, 6]], Device::Cpu)?;
    /// assert_eq!(x.count_nonzero(-1, false)?.to_vec::<u32>()?, [2, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum).
    pub fn count_nonzero(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        let mask = axes.into().mask("count_nonzero", self.shape())?;
        reduce(ReduceKind::Sum, &self.ne(0)?, mask, keepdims)
    }

    /// How often each of the numbers 0, 1, 2, .. occurs, u32: as many counts as the largest number needs, and at least
    /// `minlength`. NumPy's `bincount`. All elements count, whatever the shape.
    ///
    /// How long the result is depends on the values: they are computed, and the device is waited for.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let labels = Tensor::new([0u32, 2, 2, 1, 2], Device::Cpu)?;
    /// assert_eq!(labels.bincount(0)?.to_vec::<u32>()?, [1, 1, 3]);
    /// assert_eq!(labels.bincount(5)?.to_vec::<u32>()?, [1, 1, 3, 0, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Floats, a negative number, or 2^32 counts and more. As [`item`](Self::item).
    pub fn bincount(&self, minlength: usize) -> Result<Tensor> {
        const OP: &str = "bincount";
        if self.dtype().is_float() {
            let message = format!("the numbers are {}, integers are needed; cast them", self.dtype());
            return Err(Error::dtype(OP, message));
        }
        if self.numel() == 0 {
            let nothing = Tensor::full_dtype([minlength], 0.0, DType::U32, self.device());
            return nothing.map_err(|e| e.named(OP));
        }
        let flat = self.reshape([self.numel()])?;
        let (least, most) = (flat.min(.., false)?, flat.max(.., false)?.cast(DType::U32)?);
        crate::backend::eval(&[&least, &most])?;
        if self.dtype() == DType::I32 && least.item::<i32>()? < 0 {
            let message = format!("{} is among the numbers; none may be below 0", least.item::<i32>()?);
            return Err(Error::argument(OP, message));
        }
        let flat = flat.cast(DType::U32)?;
        let length = minlength.max(most.item::<u32>()? as usize + 1);
        count(&flat, length).map_err(|e| e.named(OP))
    }

    /// The logarithm of the sum of the exponentials over `axes`, as [`sum`](Self::sum) takes them, without overflow: the largest
    /// element is taken out first. Minus infinity where all are that or there are none, infinity where one is. The gradient is
    /// the softmax, and 0 where all are minus infinity.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1000.0f32, 1000.0], [f32::NEG_INFINITY, 3.0]], Device::Cpu)?;
    /// wgrad::testing::assert_close(x.logsumexp(-1, false)?, [1000.6931, 3.0], 1e-6, 0.0)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks.
    pub fn logsumexp(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        require_float("logsumexp", "the input", self)?;
        let mask = axes.into().mask("logsumexp", self.shape())?;
        if self.numel() == 0 {
            return reduce(ReduceKind::Sum, self, mask, keepdims)?.log();
        }
        // A constant, by which the result does not change.
        let largest = reduce(ReduceKind::Max, &self.detach()?, mask, true)?;
        let largest = largest.isfinite()?.select(&largest, 0.0)?;
        let sum = reduce(ReduceKind::Sum, &(self - &largest)?.exp()?, mask, true)?;
        // The sum is at least 1 but where all are minus infinity.
        let nothing = sum.eq(0.0)?;
        let log = nothing.select(f64::NEG_INFINITY, nothing.select(1.0, sum)?.log()?)?;
        (log + largest)?.reshape(self.shape().reduced(&mask, keepdims))
    }
}

/// Norms and spreads. Their gradient is 0 where they are 0: the derivative of a square root, which is infinite there, never
/// reaches the elements.
impl Tensor {
    /// The Euclidean (L2) norm over `axes`: the root of the sum of squares. Elements are divided by
    /// the largest magnitude first, so that squares neither overflow nor vanish. The gradient where all are 0 is 0.
    ///
    /// [`norm_p`](Self::norm_p) has the norms of other orders.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let big = 2f32.powi(100);
    /// let x = Tensor::new([[3.0 * big, 4.0 * big], [0.0, 0.0]], Device::Cpu)?.watch()?;
    /// let norm = x.norm(-1, false)?;
    /// assert_eq!(norm.to_vec::<f32>()?, [5.0 * big, 0.0]);
    /// let gradient = norm.sum(.., false)?.backward()?.get(&x)?;
    /// assert_eq!(gradient.to_vec::<f32>()?, [0.6, 0.8, 0.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks.
    pub fn norm(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        require_float("norm", "the input", self)?;
        let mask = axes.into().mask("norm", self.shape())?;
        if self.numel() == 0 {
            return reduce(ReduceKind::Sum, self, mask, keepdims);
        }
        // A constant: the norm doesn't depend on what its elements are scaled by.
        let largest = reduce(ReduceKind::Max, &self.detach()?.abs()?, mask, true)?;
        let scale = usable_scale(&largest)?;
        let squares = reduce(ReduceKind::Sum, &(self / &scale)?.square()?, mask, true)?;
        (root(&squares)? * scale)?.reshape(self.shape().reduced(&mask, keepdims))
    }

    /// The norm of order p over `axes`: the root of order p of the sum of the elements' magnitudes to the power of p; NumPy's
    /// `linalg.vector_norm`. Of order infinity it is the largest magnitude, of order minus infinity the smallest, and of order 0
    /// the number of elements that are not 0. Magnitudes are divided by the largest (of a negative order the smallest) first, so
    /// that powers don't overflow. Elements that are 0 have the gradient 0, of any order.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[3.0f32, -4.0], [0.0, 2.0]], Device::Cpu)?;
    /// assert_eq!(x.norm_p(1.0, -1, false)?.to_vec::<f32>()?, [7.0, 2.0]);
    /// assert_eq!(x.norm_p(f64::INFINITY, -1, false)?.to_vec::<f32>()?, [4.0, 2.0]);
    /// assert_eq!(x.norm_p(0.0, -1, false)?.to_vec::<f32>()?, [2.0, 1.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks, an order that is NaN. No elements to choose the largest or the
    /// smallest from, of an infinite or a negative order.
    pub fn norm_p(&self, p: f64, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        const OP: &str = "norm_p";
        require_float(OP, "the input", self)?;
        let mask = axes.into().mask(OP, self.shape())?;
        if p.is_nan() {
            return Err(Error::argument(OP, "the order is NaN; give a number, such as 1, or an infinity"));
        }
        let shape = self.shape().reduced(&mask, keepdims);
        let extreme = if p > 0.0 { ReduceKind::Max } else { ReduceKind::Min };
        if p == 2.0 {
            return self.norm(crate::axes::of_mask(&mask), keepdims);
        }
        if p == 0.0 {
            return reduce(ReduceKind::Sum, &self.ne(0.0)?.cast(self.dtype())?, mask, keepdims);
        }
        let size = self.abs()?;
        if p.is_infinite() || (p < 0.0 && self.numel() == 0) {
            return reduce(extreme, &size, mask, keepdims).map_err(|e| e.named(OP));
        }
        if p == 1.0 || self.numel() == 0 {
            return reduce(ReduceKind::Sum, &size, mask, keepdims);
        }
        // A constant, as of the Euclidean norm.
        let scale = usable_scale(&reduce(extreme, &size.detach()?, mask, true)?)?;
        let zero = size.eq(0.0)?;
        let power = zero.select(1.0, (size / &scale)?)?.pow(p)?;
        let power = zero.select(if p > 0.0 { 0.0 } else { f64::INFINITY }, power)?;
        let sum = reduce(ReduceKind::Sum, &power, mask, true)?;
        let nothing = sum.eq(0.0)?;
        // Of a negative order only infinities add up to nothing.
        let limit = if p > 0.0 { 0.0 } else { f64::INFINITY };
        let root = nothing.select(limit, nothing.select(1.0, sum)?.pow(1.0 / p)?)?;
        (root * scale)?.reshape(shape)
    }

    /// The variance over `axes`: the mean square of the differences from the mean, which are taken
    /// before they are squared. Biased, as in NumPy and Keras: divided by the number of elements n. NaN where there are none.
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks.
    pub fn var(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        self.spread("var", axes.into(), keepdims, false)
    }

    /// [`var`](Self::var) divided by n - 1 instead of n, as in PyTorch: NaN for one element.
    ///
    /// # Errors
    ///
    /// As [`var`](Self::var).
    pub fn var_unbiased(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        self.spread("var_unbiased", axes.into(), keepdims, true)
    }

    /// The standard deviation over `axes`: the root of [`var`](Self::var). Its gradient is 0 where
    /// all elements are alike.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 3.0], [5.0, 5.0]], Device::Cpu)?.watch()?;
    /// let std = x.std(-1, false)?;
    /// assert_eq!(std.to_vec::<f32>()?, [1.0, 0.0]);
    /// let gradient = std.sum(.., false)?.backward()?.get(&x)?;
    /// assert_eq!(gradient.to_vec::<f32>()?, [-0.5, 0.5, 0.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`var`](Self::var).
    pub fn std(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        root(&self.spread("std", axes.into(), keepdims, false)?)
    }

    /// The root of [`var_unbiased`](Self::var_unbiased); see [`std`](Self::std).
    ///
    /// # Errors
    ///
    /// As [`var`](Self::var).
    pub fn std_unbiased(&self, axes: impl Into<Axes>, keepdims: bool) -> Result<Tensor> {
        root(&self.spread("std_unbiased", axes.into(), keepdims, true)?)
    }

    fn spread(&self, op: &str, axes: Axes, keepdims: bool, unbiased: bool) -> Result<Tensor> {
        require_float(op, "the input", self)?;
        let mask = axes.mask(op, self.shape())?;
        if self.numel() == 0 {
            return mean(self, mask, keepdims);
        }
        let variance = moments(self, &mask)?.variance.reshape(self.shape().reduced(&mask, keepdims))?;
        if !unbiased {
            return Ok(variance);
        }
        let n = (self.numel() / variance.numel()) as f64;
        variance * (n / (n - 1.0))
    }
}
