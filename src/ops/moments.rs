//! Mean and variance without cancellation: what normalisations and standard deviations are computed from.

use crate::axes::of_mask;
use crate::error::Result;
use crate::shape::MAX_RANK;
use crate::tensor::{Tensor, no_grad};

/// Mean and variance of a tensor over some axes, kept as axes of length 1.
pub(crate) struct Moments {
    pub mean: Tensor,
    /// The biased variance: divided by the number of elements.
    pub variance: Tensor,
    /// The mean, rounded, as a constant.
    pub origin: Tensor,
    /// `x - origin`.
    pub centered: Tensor,
    /// `mean - origin`: what rounding the mean has lost. Its gradient is the mean's.
    pub offset: Tensor,
}

/// In two passes over x, and two in the backward pass. There is at least one element.
///
/// The mean is that of the differences from the first element, added to this: where all elements are alike their differences
/// are 0, exactly, and so is the variance, however large they are. (The sum of 41 numbers 1,000,003 is rounded, and the
/// difference of its 41st part from them, divided by a deviation of 0, would be anything.) Where the first element is far from
/// all others, by d, the mean is off by 6e-8 d at most, of which the deviation is at least `d / sqrt(n)`.
///
/// The variance is `E[(x - o)^2] - (E[x] - o)^2`, which is right for any constant o, and so are its gradients of any order.
/// With the rounded mean for o nothing cancels, and the second term's gradient needs no further pass over x, as that of
/// `E[(x - E[x])^2]` would.
pub(crate) fn moments(x: &Tensor, mask: &[bool; MAX_RANK]) -> Result<Moments> {
    let axes = of_mask(mask);
    let first = no_grad(|| {
        let mut first = x.detach()?;
        for &axis in &axes {
            first = first.slice(axis, 0, 1)?;
        }
        Ok::<_, crate::Error>(first)
    })?;
    let from_first = (x - &first)?.mean(&axes, true)?;
    let origin = no_grad(|| &first + from_first.detach()?)?;
    let offset = ((&first - &origin)? + from_first)?;
    let centered = (x - &origin)?;
    let variance = (centered.square()?.mean(&axes, true)? - offset.square()?)?;
    Ok(Moments { mean: (&origin + &offset)?, variance, origin, centered, offset })
}

/// The square root of what is not negative, with the gradient 0 rather than infinity where it is 0.
pub(crate) fn root(x: &Tensor) -> Result<Tensor> {
    let nothing = x.le(0.0)?;
    nothing.select(0.0, nothing.select(1.0, x)?.sqrt()?)
}
