//! The float type of a model: which it is, and changing it.

use super::Parameter;
use crate::backend::eval;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, check_float, no_grad};
use crate::variable::{Variable, forbid};
use std::sync::{Arc, Mutex, PoisonError};

/// The float type that a model was built with, or was given later, which is all that says it where no parameter has one. Clones have it in
/// common.
#[derive(Clone, Default)]
pub(super) struct Stated(Arc<Mutex<Option<DType>>>);

impl Stated {
    pub fn set(&self, dtype: DType) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(dtype);
    }

    pub fn get(&self) -> Option<DType> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That of the first parameter that has one.
pub(super) fn among(parameters: &[Parameter]) -> Option<DType> {
    parameters.iter().map(|p| p.variable.stored().dtype()).find(|dtype| dtype.is_float())
}

/// Gives all float parameters another float type: all of them, or none.
pub(super) fn convert(parameters: &[Parameter], dtype: DType, device: Device) -> Result<()> {
    const OP: &str = "Module::to_dtype";
    forbid(OP, "change the type before the call")?;
    check_float(OP, dtype, device)?;
    for parameter in parameters {
        check_float(OP, dtype, parameter.variable.stored().device())?;
    }
    let other = |variable: &Variable| {
        let held = variable.stored().dtype();
        held.is_float() && held != dtype
    };
    let changed: Vec<&Variable> = parameters.iter().map(|p| &p.variable).filter(|v| other(v)).collect();
    let values: Vec<Tensor> =
        no_grad(|| changed.iter().map(|v| v.stored().detach()?.cast(dtype)).collect::<Result<_>>())?;
    // Whatever can fail fails here.
    eval(&values.iter().collect::<Vec<_>>())?;
    changed.into_iter().zip(&values).try_for_each(|(variable, value)| variable.exchange(value))
}

/// Floats in this type, where it is one; integers as they are.
pub(crate) fn floats_as(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let differs = x.dtype() != dtype && x.dtype().is_float() && dtype.is_float();
    if differs { x.cast(dtype) } else { Ok(x.clone()) }
}

/// What the explained errors say that they are of.
const FORWARD: &str = "forward";

/// An error of types that comes of floats of another type than a layer's weights have, with what to do.
pub(super) fn explained<T>(
    result: Result<T>,
    inputs: &[&Tensor],
    parameters: impl FnOnce() -> Vec<Parameter>,
) -> Result<T> {
    let Err(error) = result else { return result };
    // One of a layer within this one is explained already.
    if !matches!(error.root(), Error::DType { op, .. } if op != FORWARD) {
        return Err(error);
    }
    let Some(own) = among(&parameters()) else { return Err(error) };
    let other = inputs.iter().map(|x| x.dtype()).find(|d| d.is_float() && *d != own);
    let Some(given) = other else { return Err(error) };
    let name = |d: DType| if d == DType::F64 { "DType::F64" } else { "DType::F32" };
    let message = format!(
        "the input is {given}, the weights are {own}; cast the input with .cast({})?, or give the model the input's type with \
         .to_dtype({})?",
        name(own),
        name(given)
    );
    Err(Error::dtype(FORWARD, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_stay_floats() -> Result<()> {
        let x = Tensor::new([0.5f32], Device::Cpu)?;
        assert_eq!(floats_as(&x, DType::F64)?.item::<f64>()?, 0.5);
        // Weights of samples beside an output of integers.
        assert_eq!(floats_as(&x, DType::I32)?.item::<f32>()?, 0.5);
        assert_eq!(floats_as(&Tensor::new([3u8], Device::Cpu)?, DType::F64)?.item::<u8>()?, 3);
        Ok(())
    }
}
