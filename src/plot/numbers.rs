//! What is drawn as numbers.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::sealed;
use crate::tensor::Tensor;

/// Numbers in a row, as [`Curves`](super::Curves) takes them: a tensor `[n]`, or of n elements in one column or row, of any type and
/// device; slices, vectors and arrays of f32 and f64.
pub trait Numbers: sealed::Numbers {
    #[doc(hidden)]
    fn numbers(&self) -> Result<Vec<f64>>;
}

impl sealed::Numbers for Tensor {}
impl Numbers for Tensor {
    fn numbers(&self) -> Result<Vec<f64>> {
        if self.dims().iter().filter(|&&n| n != 1).count() > 1 {
            let message = format!("the numbers are {}; expected them in a row, [n]", self.shape());
            return Err(Error::shape("plot", message));
        }
        elements(self)
    }
}

/// All elements of a tensor, wherever it is and whatever they are.
pub(super) fn elements(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.detach()?.to_device(Device::Cpu)?.cast(DType::F64)?.to_vec()
}

macro_rules! numbers {
    ($($element:ty),*) => {$(
        impl sealed::Numbers for [$element] {}
        impl Numbers for [$element] {
            fn numbers(&self) -> Result<Vec<f64>> {
                Ok(self.iter().map(|&v| f64::from(v)).collect())
            }
        }
        impl sealed::Numbers for Vec<$element> {}
        impl Numbers for Vec<$element> {
            fn numbers(&self) -> Result<Vec<f64>> {
                self.as_slice().numbers()
            }
        }
        impl<const N: usize> sealed::Numbers for [$element; N] {}
        impl<const N: usize> Numbers for [$element; N] {
            fn numbers(&self) -> Result<Vec<f64>> {
                self.as_slice().numbers()
            }
        }
    )*};
}
numbers!(f32, f64);
