//! What is known of an argument before it has a value.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};
use std::fmt;

/// Shape, element type and device of an argument (TensorFlow's `tf.TensorSpec`).
///
/// ```
/// use wgrad::TensorSpec;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let spec = TensorSpec::new([32, 10], DType::U8, Device::Cpu)?;
/// assert_eq!(TensorSpec::from(&Tensor::full([32, 10], 7u8, Device::Cpu)?), spec);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TensorSpec {
    /// Shape and element type.
    pub spec: Spec,
    /// The device that holds it.
    pub device: Device,
}

impl TensorSpec {
    /// A spec of these.
    ///
    /// # Errors
    ///
    /// The shape has more than [`MAX_RANK`](crate::MAX_RANK) dimensions or too many elements, or the device can't hold
    /// the type.
    pub fn new(shape: impl AsRef<[usize]>, dtype: DType, device: Device) -> Result<TensorSpec> {
        if dtype == DType::F64 && device != Device::Cpu {
            let message = "f64 exists on Device::Cpu only (WGSL has no 64-bit floats); use DType::F32";
            return Err(Error::dtype("TensorSpec", message));
        }
        Ok(TensorSpec { spec: Spec::new(Shape::new(shape.as_ref())?, dtype), device })
    }

    /// A spec of floats (f32) of this shape.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn f32(shape: impl AsRef<[usize]>, device: Device) -> Result<TensorSpec> {
        Self::new(shape, DType::F32, device)
    }
}

/// The spec of a tensor.
impl From<&Tensor> for TensorSpec {
    fn from(tensor: &Tensor) -> TensorSpec {
        TensorSpec { spec: tensor.0.spec, device: tensor.device() }
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.spec.dtype, self.spec.shape, self.device)
    }
}
