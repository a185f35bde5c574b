//! Quotients as whole numbers, and what divisions leave, by the conventions of Python and of C. (`/` of integers rounds towards 0, as
//! in Rust.)

use super::{IntoOperand, Tensor};
use crate::error::Result;
use crate::ops::pointwise::binary;
use crate::ops::table::Binary;

/// What divisions leave. Shapes broadcast; the other side may be a tensor, a variable or a number. Of floats, `fmod` is exact on
/// every device however large the quotient, and `remainder` is that, the divisor added where signs differ: rounded once, so that it may
/// be the divisor itself. By 0 they are NaN. Of integers, nothing fails: by 0 the quotient is the dividend, as of
/// `/`, and the remainder 0; the smallest i32 over -1 is itself, with remainder 0.
impl Tensor {
    /// What is left of a division that rounds down: `self - other * floor(self / other)`, of the divisor's sign, as Python's and
    /// NumPy's `%` and PyTorch's `remainder`. A remainder of 0 has the divisor's sign, too.
    ///
    /// The gradient of the dividend is 1, that of the divisor minus the quotient, rounded down. By 0 that is infinite, or NaN of 0, as in
    /// PyTorch.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-7, 7, -7, 7], Device::Cpu)?;
    /// let y = Tensor::new([3, 3, -3, -3], Device::Cpu)?;
    /// assert_eq!(x.remainder(&y)?.to_vec::<i32>()?, [2, 1, -1, -2]);
    /// assert_eq!(x.fmod(&y)?.to_vec::<i32>()?, [-1, 1, -1, 1]);
    /// assert_eq!(x.floor_divide(&y)?.to_vec::<i32>()?, [-3, 2, 2, -3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Shapes that don't broadcast, tensors of different types or devices, a number that the element type lacks.
    pub fn remainder(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::Remainder, self, &other.into_operand(self)?)
    }

    /// What is left of a division that rounds towards 0: of the dividend's sign, as `fmod` of C, NumPy and PyTorch, and as Rust's `%`,
    /// which is this function of tensors, too (`&x % 3`).
    ///
    /// The gradient of the dividend is 1, that of the divisor minus the quotient, rounded towards 0. By 0 that is infinite, or NaN of
    /// 0, as in PyTorch.
    ///
    /// # Errors
    ///
    /// As [`remainder`](Self::remainder).
    pub fn fmod(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::Rem, self, &other.into_operand(self)?)
    }

    /// The quotient, rounded down: Python's and NumPy's `//`. Of floats it is exact up to 2^21, and within 4 units of
    /// its last place beyond; by 0 it is infinite. There is no gradient.
    ///
    /// # Errors
    ///
    /// As [`remainder`](Self::remainder).
    pub fn floor_divide(&self, other: impl IntoOperand) -> Result<Tensor> {
        binary(Binary::FloorDivide, self, &other.into_operand(self)?)
    }
}
