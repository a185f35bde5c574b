//! Borders made of the tensor's own elements.

use super::Tensor;
use crate::error::{Error, Result};
use crate::shape::Shape;

/// What [`Tensor::pad_mode`] puts around a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PadMode {
    /// What is behind the border, mirrored at the outermost element, which is not repeated: `c b | a b c | b a`.
    Reflect,
    /// The outermost element: `a a | a b c | c c`.
    Replicate,
    /// What is at the other end: `b c | a b c | a b`.
    Circular,
}

impl Tensor {
    /// The tensor surrounded by elements of its own: `(before, after)` elements for each axis. [`pad`](Self::pad) is for a constant.
    /// Gradients of elements that stand in the border too add up.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::PadMode;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1, 2, 3], Device::Cpu)?;
    /// assert_eq!(x.pad_mode([(2, 1)], PadMode::Reflect)?.to_vec::<i32>()?, [3, 2, 1, 2, 3, 2]);
    /// assert_eq!(x.pad_mode([(2, 1)], PadMode::Replicate)?.to_vec::<i32>()?, [1, 1, 1, 2, 3, 3]);
    /// assert_eq!(x.pad_mode([(2, 1)], PadMode::Circular)?.to_vec::<i32>()?, [2, 3, 1, 2, 3, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There is not one pair for each axis, or an axis is too short: for `Reflect` it has to be longer than its borders, for `Circular`
    /// as long, for `Replicate` it needs an element.
    pub fn pad_mode(&self, pads: impl AsRef<[(usize, usize)]>, mode: PadMode) -> Result<Tensor> {
        const OP: &str = "pad_mode";
        let pads = pads.as_ref();
        let shape = self.shape();
        if pads.len() != shape.rank() {
            let message = format!("{} pairs given for shape {shape}; expected one per axis", pads.len());
            return Err(Error::argument(OP, message));
        }
        let mut dims = shape.to_vec();
        for (axis, (&(before, after), n)) in pads.iter().zip(&mut dims).enumerate() {
            let wide = before.max(after);
            let (short, most) = match mode {
                PadMode::Reflect => (wide > 0 && wide >= *n, n.saturating_sub(1)),
                PadMode::Replicate => (wide > 0 && *n == 0, 0),
                PadMode::Circular => (wide > *n, *n),
            };
            if short {
                let message = format!(
                    "axis {axis} of {shape} has length {n}: a border of {wide} can't be made of it, at most one of {most}"
                );
                return Err(Error::argument(OP, message));
            }
            *n = n.saturating_add(before).saturating_add(after);
        }
        Shape::new(&dims).map_err(|e| e.named(OP))?;
        let mut y = self.clone();
        for (axis, &(before, after)) in pads.iter().enumerate().filter(|(_, pair)| **pair != (0, 0)) {
            y = y.bordered(axis as isize, before, after, mode)?;
        }
        Ok(y)
    }

    /// One axis, which is long enough.
    fn bordered(&self, axis: isize, before: usize, after: usize, mode: PadMode) -> Result<Tensor> {
        let n = self.shape()[axis as usize];
        let of = |start: usize, len: usize| self.slice(axis, start, len);
        let repeated = |at: usize, count: usize| of(at, 1)?.repeat(count, axis);
        let mut parts = Vec::with_capacity(3);
        if before > 0 {
            parts.push(match mode {
                PadMode::Reflect => of(1, before)?.flip(axis)?,
                PadMode::Replicate => repeated(0, before)?,
                PadMode::Circular => of(n - before, before)?,
            });
        }
        parts.push(self.clone());
        if after > 0 {
            parts.push(match mode {
                PadMode::Reflect => of(n - 1 - after, after)?.flip(axis)?,
                PadMode::Replicate => repeated(n - 1, after)?,
                PadMode::Circular => of(0, after)?,
            });
        }
        Tensor::concat(&parts, axis)
    }
}
