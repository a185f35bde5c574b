//! Parameters by name in a file: saved, loaded, compared with what a model expects.

use super::Parameter;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::io::{load_tensors, save_tensors};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::Path;

/// Writes parameters by name; see [`save_tensors`](crate::io::save_tensors).
///
/// # Errors
///
/// As [`save_tensors`](crate::io::save_tensors).
pub fn save_parameters(path: impl AsRef<Path>, parameters: &[Parameter]) -> Result<()> {
    let named: Vec<_> = parameters.iter().map(|p| (p.name.clone(), p.variable.value())).collect();
    save_tensors(path, &named)
}

/// Sets parameters by name from a file. Nothing is changed unless everything agrees. Parameters keep their type: floats of the file are
/// converted, f32 to f64 exactly, f64 to the nearest f32.
///
/// # Errors
///
/// As [`load_tensors`](crate::io::load_tensors); or names or shapes of file and parameters differ, or one has integers where the other
/// has floats: the error lists every difference.
pub fn load_parameters(path: impl AsRef<Path>, parameters: &[Parameter]) -> Result<()> {
    let path = path.as_ref();
    let tensors = load_tensors(path, Device::Cpu)?;
    match_parameters(&path.display().to_string(), tensors, parameters, Types::OfParameters)?
        .into_iter()
        .try_for_each(|(p, tensor)| p.variable.set(tensor))
}

/// Sets parameters by name from the tensors of a file, which says of what type they are. Nothing is changed unless everything agrees.
pub(crate) fn restore_parameters(
    file: &str,
    tensors: Vec<(String, Tensor)>,
    parameters: &[Parameter],
) -> Result<()> {
    match_parameters(file, tensors, parameters, Types::OfFile)?
        .into_iter()
        .try_for_each(|(p, tensor)| p.variable.exchange(&tensor))
}

/// Where file and parameters have floats of different types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Types {
    /// They are converted to what the parameters are.
    OfParameters,
    /// They are what the file has.
    OfFile,
    /// They must be the same.
    Same,
}

/// Each parameter with its tensor of a file, on its device; or one error that lists every difference.
pub(crate) fn match_parameters<'a>(
    file: &str,
    tensors: Vec<(String, Tensor)>,
    parameters: &'a [Parameter],
    types: Types,
) -> Result<Vec<(&'a Parameter, Tensor)>> {
    let mut tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for parameter in parameters {
        let name = &parameter.name;
        let value = parameter.variable.value();
        let Some(tensor) = tensors.remove(name) else {
            problems.push(format!("{name} {} is not in the file", value.shape()));
            continue;
        };
        if tensor.shape() != value.shape() {
            problems.push(format!(
                "{name} is {} in the file, {} in the model",
                tensor.shape(),
                value.shape()
            ));
        } else if tensor.dtype() != value.dtype()
            && (types == Types::Same || !(tensor.dtype().is_float() && value.dtype().is_float()))
        {
            problems.push(format!(
                "{name} is {} in the file, {} in the model",
                tensor.dtype(),
                value.dtype()
            ));
        } else if types == Types::OfFile {
            if tensor.dtype() == DType::F64 && value.device() != Device::Cpu {
                let message = format!(
                    "holds a model in f64, which {} does not have; load it on Device::Cpu, call to_dtype(DType::F32) and save it",
                    value.device()
                );
                return Err(Error::data(file, message));
            }
            found.push((parameter, tensor.to_device(value.device())?));
        } else {
            found.push((parameter, tensor.cast(value.dtype())?.to_device(value.device())?));
        }
    }
    problems.extend(
        tensors.iter().map(|(name, t)| format!("the file's {name} {} is not in the model", t.shape())),
    );
    if !problems.is_empty() {
        let message = format!(
            "does not fit the model; {} difference{}:\n  {}",
            problems.len(),
            if problems.len() == 1 { "" } else { "s" },
            problems.join("\n  ")
        );
        return Err(Error::data(file, message));
    }
    Ok(found)
}
