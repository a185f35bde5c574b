//! Norms, variances and standard deviations.

use super::Tensor;
use crate::axes::Axes;
use crate::error::Result;
use crate::ops::ReduceKind;
use crate::ops::moments::{moments, root};
use crate::ops::reduce::{mean, reduce};
use crate::ops::require_float;

/// Norms and spreads. Their gradient is 0 where they are 0: the derivative of a square root, which is infinite there, never
/// reaches the elements.
impl Tensor {
    /// The Euclidean (L2) norm over `axes`: the root of the sum of squares. Elements are divided by
    /// the largest magnitude first, so that squares neither overflow nor vanish. The gradient where all are 0 is 0.
    ///
    /// The L1 norm is `x.abs()?.sum(..)`, the largest magnitude `x.abs()?.max(..)`.
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
        let usable = (largest.gt(0.0)? * largest.lt(f64::INFINITY)?)?;
        let scale = usable.select(&largest, 1.0)?;
        let squares = reduce(ReduceKind::Sum, &(self / &scale)?.square()?, mask, true)?;
        (root(&squares)? * scale)?.reshape(self.shape().reduced(&mask, keepdims))
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
