//! Operators: `&a + &b`, `a * 2.0`, `1.0 - a`, `a % 3`, `a & b`, on references, values and results. Each gives a `Result`, and takes one, so
//! that chains need few question marks: `(&a + &b)? * 2.0`.

use super::Tensor;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::constant;
use crate::ops::pointwise;
use crate::ops::table::Binary;
use crate::sealed;
use std::ops::{
    Add, AddAssign, BitAnd, BitOr, BitXor, Div, DivAssign, Mul, MulAssign, Neg, Not, Rem, Shl, Shr, Sub,
    SubAssign,
};

/// The other side of an operation: a tensor, a variable, the result of an operation, or a number, which takes the
/// tensor's element type.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (x, w) = (Tensor::ones([2], Device::Cpu)?, Variable::new(Tensor::ones([2], Device::Cpu)?));
/// let sum = (&x + &w)? + x.exp(); // a variable, a result
/// assert!(((sum? - 1.0)? / 2).is_ok()); // numbers
///
/// let mut total = Tensor::zeros([2], Device::Cpu); // a result, which sums may be added to
/// for _ in 0..3 {
///     total += &x;
/// }
/// assert_eq!(total?.to_vec::<f32>()?, [3.0, 3.0]);
/// let mut total = Tensor::zeros([2], Device::Cpu)?;
/// total = (total + &x)?; // a tensor is given the new value
/// # Ok(()) }
/// ```
pub trait IntoOperand: sealed::IntoOperand {
    /// The operand beside a tensor like `like`.
    ///
    /// # Errors
    ///
    /// That of a result, or a number that the element type of `like` lacks.
    fn into_operand(self, like: &Tensor) -> Result<Tensor>;
    /// Its element type; `None` for a number, which takes that of its neighbour.
    fn element_type(&self) -> Option<DType>;
}

impl sealed::IntoOperand for Tensor {}

impl IntoOperand for Tensor {
    fn into_operand(self, _like: &Tensor) -> Result<Tensor> {
        Ok(self)
    }
    fn element_type(&self) -> Option<DType> {
        Some(self.dtype())
    }
}

impl sealed::IntoOperand for &Tensor {}

impl IntoOperand for &Tensor {
    fn into_operand(self, _like: &Tensor) -> Result<Tensor> {
        Ok(self.clone())
    }
    fn element_type(&self) -> Option<DType> {
        Some(self.dtype())
    }
}

impl<O: IntoOperand> sealed::IntoOperand for Result<O> {}

impl<O: IntoOperand> IntoOperand for Result<O> {
    fn into_operand(self, like: &Tensor) -> Result<Tensor> {
        self?.into_operand(like)
    }
    fn element_type(&self) -> Option<DType> {
        self.as_ref().ok().and_then(O::element_type)
    }
}

/// A number beside a tensor; a fraction beside integers is an error rather than silently another number.
pub(crate) fn number(value: f64, like: &Tensor) -> Result<Tensor> {
    constant::check_number("scalar operand", value, like.dtype())?;
    constant::scalar(value, like.dtype(), like.device())
}

macro_rules! number_operand {
    ($($t:ty),*) => {$(
        impl sealed::IntoOperand for $t {}

        impl IntoOperand for $t {
            fn into_operand(self, like: &Tensor) -> Result<Tensor> { number(self as f64, like) }
            fn element_type(&self) -> Option<DType> { None }
        }
    )*};
}
number_operand!(f32, f64, i32, u32, u8, usize);

macro_rules! operator {
    ($numbers:tt: $($trait:ident $method:ident),*) => {$(
        impl<O: IntoOperand> $trait<O> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: O) -> Result<Tensor> {
                pointwise::binary(Binary::$trait, self, &rhs.into_operand(self)?)
            }
        }
        impl<O: IntoOperand> $trait<O> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: O) -> Result<Tensor> { (&self).$method(rhs) }
        }
        impl $trait<Tensor> for Result<Tensor> {
            type Output = Result<Tensor>;
            fn $method(self, rhs: Tensor) -> Result<Tensor> { (&self?).$method(rhs) }
        }
        impl $trait<&Tensor> for Result<Tensor> {
            type Output = Result<Tensor>;
            fn $method(self, rhs: &Tensor) -> Result<Tensor> { (&self?).$method(rhs) }
        }
        operator!(@number $trait $method $numbers);
    )*};
    (@number $trait:ident $method:ident ($($t:ty)*)) => {$(
        impl $trait<&Tensor> for $t {
            type Output = Result<Tensor>;
            fn $method(self, rhs: &Tensor) -> Result<Tensor> { number(self as f64, rhs)?.$method(rhs) }
        }
        impl $trait<Tensor> for $t {
            type Output = Result<Tensor>;
            fn $method(self, rhs: Tensor) -> Result<Tensor> { number(self as f64, &rhs)?.$method(rhs) }
        }
    )*};
}
operator!((f64 i32): Add add, Sub sub, Mul mul, Div div, Rem rem);
operator!((i32): BitAnd bitand, BitOr bitor, BitXor bitxor, Shl shl, Shr shr);

// `sum += &x` where `sum` is a result: it becomes the next result, and stays the first error, which is told where it is read. (A tensor
// itself can't be changed by what may fail: `x = (x + &y)?`.)
macro_rules! assigning {
    ($($trait:ident $method:ident $sign:tt),*) => {$(
        impl $trait<&Tensor> for Result<Tensor> {
            fn $method(&mut self, rhs: &Tensor) {
                if let Ok(x) = self {
                    let y = &*x $sign rhs;
                    *self = y;
                }
            }
        }
        impl $trait<Tensor> for Result<Tensor> {
            fn $method(&mut self, rhs: Tensor) {
                self.$method(&rhs);
            }
        }
    )*};
}
assigning!(AddAssign add_assign +, SubAssign sub_assign -, MulAssign mul_assign *, DivAssign div_assign /);

impl Neg for &Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}

impl Neg for Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(&self)
    }
}

impl Not for &Tensor {
    type Output = Result<Tensor>;
    fn not(self) -> Result<Tensor> {
        self.bitwise_not()
    }
}

impl Not for Tensor {
    type Output = Result<Tensor>;
    fn not(self) -> Result<Tensor> {
        self.bitwise_not()
    }
}
