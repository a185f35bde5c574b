//! What operations ask of their operands.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Checks that the tensors of one operation are on one device.
pub(crate) fn same_device(op: &str, tensors: &[&Tensor]) -> Result<()> {
    for t in &tensors[1..] {
        if t.device() != tensors[0].device() {
            return Err(Error::DeviceMismatch {
                op: op.into(),
                left: tensors[0].device().to_string(),
                right: t.device().to_string(),
            });
        }
    }
    Ok(())
}

/// Checks that a tensor is f32 or f64.
pub(crate) fn require_float(op: &str, what: &str, t: &Tensor) -> Result<()> {
    if t.dtype().is_float() {
        return Ok(());
    }
    let message = format!("{what} is {}, a float type is needed; use .cast(DType::F32)", t.dtype());
    Err(Error::dtype(op, message))
}

/// Checks that two tensors have the same element type.
pub(crate) fn same_dtype(op: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype() == b.dtype() {
        return Ok(());
    }
    let message = format!("element types differ: {} and {}; cast one of them", a.dtype(), b.dtype());
    Err(Error::dtype(op, message))
}
