//! Numbers in a callback's state.

use crate::device::Device;
use crate::error::Result;
use crate::optim::State;
use crate::tensor::Tensor;

/// A number as an entry of a state; f64, so that no bit is lost.
pub(super) fn entry(name: &str, value: f64) -> Result<(String, Tensor)> {
    Ok((name.into(), Tensor::new([value], Device::Cpu)?))
}

/// The number that [`entry`] made; `None` where there is none.
pub(super) fn number(state: &State, name: &str) -> Result<Option<f64>> {
    match state.iter().find(|(other, _)| other == name) {
        Some((_, tensor)) => tensor.item::<f64>().map(Some),
        None => Ok(None),
    }
}
