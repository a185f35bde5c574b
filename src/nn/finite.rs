//! Whether parameters are numbers.

use super::Parameter;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Tensor, no_grad};

/// The name of the first parameter that has an infinite element or one that is not a number. On the device: one evaluation
/// for all parameters, and a word of each is read.
pub(crate) fn first_not_finite(parameters: &[Parameter]) -> Result<Option<String>> {
    let floats: Vec<&Parameter> = parameters
        .iter()
        .filter(|p| p.variable.value().dtype().is_float() && p.variable.value().numel() > 0)
        .collect();
    let Some(first) = floats.first() else { return Ok(None) };
    let device = first.variable.value().device();
    let finite = no_grad(|| {
        let each = floats.iter().map(|p| {
            let value = p.variable.value();
            let finite = value.detach()?.isfinite()?.cast(DType::U32)?;
            finite.min(.., false)?.reshape([1])?.to_device(device)
        });
        let each = each.collect::<Result<Vec<Tensor>>>()?;
        Tensor::concat(&each, 0)?.to_vec::<u32>()
    })?;
    Ok(finite.iter().position(|&finite| finite == 0).map(|at| floats[at].name.clone()))
}
