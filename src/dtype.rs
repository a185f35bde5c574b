//! Element types.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// The type of a tensor's elements. Operations don't mix types: [`Tensor::cast`](crate::Tensor::cast) converts.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let pixels = Tensor::new([0u8, 255], Device::Cpu)?;
/// assert_eq!((pixels.dtype(), DType::U8.size()), (DType::U8, 1));
/// assert_eq!((pixels.cast(DType::F32)? / 255.0)?.to_vec::<f32>()?, [0.0, 1.0]);
/// assert_eq!("float64".parse::<DType>()?, DType::F64); // as NumPy, PyTorch and Keras name it
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float: what networks are trained in.
    F32,
    /// 64-bit float: on the CPU only (WGSL has none); for what f32 is not exact enough for.
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

/// The types, and what else NumPy, PyTorch and Keras call them.
const NAMES: [(DType, &[&str]); 5] = [
    (DType::F32, &["float32", "single"]),
    (DType::F64, &["float64", "double"]),
    (DType::I32, &["int32"]),
    (DType::U32, &["uint32"]),
    (DType::U8, &["uint8"]),
];

/// The name as [`name`](DType::name) gives it, or the one that the type has elsewhere: `f64`, `float64`, `double`; `u8`, `uint8`.
impl FromStr for DType {
    type Err = Error;

    fn from_str(text: &str) -> Result<DType> {
        let called = |(dtype, others): &&(DType, &[&str])| dtype.name() == text || others.contains(&text);
        if let Some((dtype, _)) = NAMES.iter().find(called) {
            return Ok(*dtype);
        }
        let known: Vec<String> =
            NAMES.iter().map(|(d, others)| format!("{d} ({})", others.join(", "))).collect();
        Err(Error::argument(
            "DType",
            format!("no element type is called {text:?}; there are {}", known.join(", ")),
        ))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (dtype, others) in NAMES {
            assert_eq!(dtype.to_string().parse::<DType>().unwrap(), dtype);
            assert!(others.iter().all(|name| name.parse::<DType>().unwrap() == dtype));
        }
        for wrong in ["", "F64", "f16", "float 64", " f32", "bfloat16"] {
            let error = wrong.parse::<DType>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{wrong:?}")) && error.contains("f64 (float64, double)"),
                "{error}"
            );
        }
    }
}
