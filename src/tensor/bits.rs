//! Bits of integers.

use super::{IntoOperand, Tensor};
use crate::error::Result;
use crate::ops::pointwise::{binary, unary};
use crate::ops::table::{Binary, Unary};

/// Functions of the bits of integers (i32, u32, u8; i32 in two's complement). Shapes broadcast; the other side may be a tensor, a
/// variable or a number. The operators `&`, `|`, `^`, `!`, `<<` and `>>` are these. Conditions, which are 0 or 1, can be joined by
/// `&`, `|` and `^`; their opposite is [`logical_not`](Tensor::logical_not), not `!`, which makes 254 of 1. There are no gradients.
impl Tensor {
    /// Bits that both have.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([0b1100u32, 0b1010], Device::Cpu)?;
    /// assert_eq!(x.bitwise_and(0b0110)?.to_vec::<u32>()?, [0b0100, 0b0010]);
    /// assert_eq!(((&x | 1)? ^ &x)?.to_vec::<u32>()?, [1, 1]);
    /// let inside = (x.gt(10)? & x.lt(13)?)?; // conditions
    /// assert_eq!(inside.to_vec::<u8>()?, [1, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Floats; shapes that don't broadcast, tensors of different types or devices, a number that the element type lacks.
    pub fn bitwise_and(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::BitAnd, self, &other.into_operand(self)?)
    }

    /// Bits that one or both have.
    ///
    /// # Errors
    ///
    /// As [`bitwise_and`](Self::bitwise_and).
    pub fn bitwise_or(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::BitOr, self, &other.into_operand(self)?)
    }

    /// Bits that just one of both has.
    ///
    /// # Errors
    ///
    /// As [`bitwise_and`](Self::bitwise_and).
    pub fn bitwise_xor(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::BitXor, self, &other.into_operand(self)?)
    }

    /// Bits that it has not: `-x - 1` of i32, 255 - x of u8.
    ///
    /// # Errors
    ///
    /// Floats.
    pub fn bitwise_not(&self) -> Result<Tensor> {
        unary(Unary::BitNot, self)
    }

    /// All bits so many places up, zeros behind them: `self * 2^other`, without what does not fit. By the type's width (32, of u8 8) or
    /// more, and by a negative count, 0, as in NumPy and PyTorch.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-5, 5], Device::Cpu)?;
    /// assert_eq!(x.shl(1)?.to_vec::<i32>()?, [-10, 10]);
    /// assert_eq!((&x >> 1)?.to_vec::<i32>()?, [-3, 2]);
    /// assert_eq!((&x >> 40)?.to_vec::<i32>()?, [-1, 0]);
    /// assert_eq!((1 << Tensor::new([0, 3, 32], Device::Cpu)?)?.to_vec::<i32>()?, [1, 8, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`bitwise_and`](Self::bitwise_and).
    pub fn shl(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::Shl, self, &other.into_operand(self)?)
    }

    /// All bits so many places down, the sign's behind them: `self / 2^other`, rounded down. By the type's width or more, and by a
    /// negative count, all bits are the sign's: 0, and -1 of negative numbers.
    ///
    /// # Errors
    ///
    /// As [`bitwise_and`](Self::bitwise_and).
    pub fn shr(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::Shr, self, &other.into_operand(self)?)
    }
}
