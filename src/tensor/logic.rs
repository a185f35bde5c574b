//! What holds of elements: NaN, infinities, and conditions joined. Conditions are u8, 1 where they hold and 0 where not, and
//! have no gradient.

use super::{IntoOperand, Tensor};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::same_device;

impl Tensor {
    /// 1 but where an element is NaN. A clamp and a cast tell NaN by its bits on every device; comparisons may be compiled as if
    /// there were none.
    fn is_number(&self) -> Result<Tensor> {
        match self.dtype().is_float() {
            true => self.clamp(1.0, 1.0)?.cast(DType::U8),
            false => Tensor::full_dtype(self.shape(), 1.0, DType::U8, self.device()),
        }
    }

    /// 1 where an element is NaN, else 0 (u8). Of integers none is.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1.0f32, f32::NAN, f32::INFINITY], Device::Cpu)?;
    /// assert_eq!(x.isnan()?.to_vec::<u8>()?, [0, 1, 0]);
    /// assert_eq!(x.isinf()?.to_vec::<u8>()?, [0, 0, 1]);
    /// assert_eq!(x.isfinite()?.to_vec::<u8>()?, [1, 0, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// None.
    pub fn isnan(&self) -> Result<Tensor> {
        self.is_number()?.logical_not()
    }

    /// 1 where an element is infinite, of either sign, else 0 (u8). Of integers none is.
    ///
    /// # Errors
    ///
    /// None.
    pub fn isinf(&self) -> Result<Tensor> {
        match self.dtype().is_float() {
            true => self.is_number()? * self.abs()?.eq(f64::INFINITY)?,
            false => Tensor::full_dtype(self.shape(), 0.0, DType::U8, self.device()),
        }
    }

    /// 1 where an element is neither NaN nor infinite, else 0 (u8). Integers are finite.
    ///
    /// # Errors
    ///
    /// None.
    pub fn isfinite(&self) -> Result<Tensor> {
        match self.dtype().is_float() {
            true => self.is_number()? * self.abs()?.lt(f64::INFINITY)?,
            false => self.is_number(),
        }
    }

    /// 1 where both are not 0, else 0 (u8). Shapes broadcast; element types may differ, and NaN is not 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-1.0f32, 0.5, 2.0], Device::Cpu)?;
    /// let inside = x.gt(0.0)?.logical_and(x.lt(1.0)?)?;
    /// assert_eq!(inside.to_vec::<u8>()?, [0, 1, 0]);
    /// assert_eq!(inside.logical_not()?.to_vec::<u8>()?, [1, 0, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Shapes that don't broadcast, tensors of different devices.
    pub fn logical_and(&self, other: impl IntoOperand) -> Result<Tensor> {
        let (a, b) = self.conditions("logical_and", other)?;
        a.minimum(b).map_err(|e| e.named("logical_and"))
    }

    /// 1 where one or both are not 0, else 0 (u8): see [`logical_and`](Self::logical_and).
    ///
    /// # Errors
    ///
    /// As [`logical_and`](Self::logical_and).
    pub fn logical_or(&self, other: impl IntoOperand) -> Result<Tensor> {
        let (a, b) = self.conditions("logical_or", other)?;
        a.maximum(b).map_err(|e| e.named("logical_or"))
    }

    /// 1 where just one of both is not 0, else 0 (u8): see [`logical_and`](Self::logical_and).
    ///
    /// # Errors
    ///
    /// As [`logical_and`](Self::logical_and).
    pub fn logical_xor(&self, other: impl IntoOperand) -> Result<Tensor> {
        let (a, b) = self.conditions("logical_xor", other)?;
        a.ne(b).map_err(|e| e.named("logical_xor"))
    }

    /// 1 where an element is 0, else 0 (u8).
    ///
    /// # Errors
    ///
    /// None.
    pub fn logical_not(&self) -> Result<Tensor> {
        self.eq(0)
    }

    fn conditions(&self, op: &str, other: impl IntoOperand) -> Result<(Tensor, Tensor)> {
        let other = other.into_operand(self)?;
        same_device(op, &[self, &other])?;
        Ok((self.ne(0)?, other.ne(0)?))
    }

    /// This tensor with `value` where the mask (u8, as comparisons give) is not 0: PyTorch's `masked_fill`. The mask broadcasts to
    /// this tensor's shape. The gradient of what is filled is 0, whatever stood there.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let scores = Tensor::zeros([2, 2], Device::Cpu)?;
    /// let later = scores.ones_like()?.triu(1)?.gt(0.0)?;
    /// let masked = scores.masked_fill(&later, f64::NEG_INFINITY)?;
    /// assert_eq!(masked.softmax(-1)?.to_vec::<f32>()?, [1.0, 0.0, 0.5, 0.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The mask is not u8, or it or the value don't broadcast to this tensor's shape; a value of another type or device, or one that
    /// the element type lacks.
    pub fn masked_fill(&self, mask: &Tensor, value: impl IntoOperand) -> Result<Tensor> {
        const OP: &str = "masked_fill";
        let value = value.into_operand(self)?;
        for (what, t) in [("mask", mask), ("value", &value)] {
            if !t.shape().broadcasts_to(&self.shape()) {
                let message = format!(
                    "the {what} has shape {}, which does not broadcast to {}",
                    t.shape(),
                    self.shape()
                );
                return Err(Error::shape(OP, message));
            }
        }
        mask.select(value, self).map_err(|e| e.named(OP))
    }

    /// This tensor with 0 where it is NaN, and the largest numbers of its type for infinities: NumPy's `nan_to_num`. Integers stay
    /// as they are. The gradient of what is replaced is 0. (For other numbers there is [`masked_fill`](Self::masked_fill).)
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([f32::NAN, f32::NEG_INFINITY, 2.0], Device::Cpu)?;
    /// assert_eq!(x.nan_to_num()?.to_vec::<f32>()?, [0.0, f32::MIN, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// None.
    pub fn nan_to_num(&self) -> Result<Tensor> {
        let most = match self.dtype() {
            DType::F32 => f64::from(f32::MAX),
            DType::F64 => f64::MAX,
            _ => return Ok(self.clone()),
        };
        self.is_number()?.select(self.clamp(-most, most)?, 0.0)
    }
}
