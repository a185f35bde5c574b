//! Element types.

use std::fmt;

/// The type of a tensor's elements. Operations don't mix types: [`Tensor::cast`](crate::Tensor::cast) converts.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let pixels = Tensor::new([0u8, 255], Device::Cpu)?;
/// assert_eq!((pixels.dtype(), DType::U8.size()), (DType::U8, 1));
/// assert_eq!((pixels.cast(DType::F32)? / 255.0)?.to_vec::<f32>()?, [0.0, 1.0]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float: what networks are trained in.
    F32,
    /// 64-bit float: on the CPU only (WGSL has none); for checking gradients.
    F64,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer: labels and indices.
    U32,
    /// Byte: image storage, and what comparisons give (0 or 1).
    U8,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::U8 => 1,
        }
    }

    /// Whether gradients exist for this type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// The name as written in Rust: `f32`, `u8`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::U8 => "u8",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
