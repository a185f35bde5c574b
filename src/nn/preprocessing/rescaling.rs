//! Numbers times a factor, plus another.

use super::features::as_float;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// `x * scale + offset`: Keras's `Rescaling`, for pixels of 0 to 255 above all. Integers become floats of the model's type. A
/// [`Dataset`](crate::data::Dataset) of bytes has [`scaled`](crate::data::Dataset::scaled), which keeps the model out of it; as a layer it
/// is saved with the model.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Rescaling;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Rescaling::new(1.0 / 127.5).offset(-1.0)).build([2], Device::Cpu)?;
/// let pixels = Tensor::new([[0u8, 255]], Device::Cpu)?;
/// assert_eq!(model.infer(&pixels)?.to_vec::<f32>()?, [-1.0, 1.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses numbers that are not finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Rescaling {
    scale: f64,
    offset: f64,
}

impl Rescaling {
    /// Times this.
    pub fn new(scale: f64) -> Rescaling {
        Rescaling { scale, offset: 0.0 }
    }

    /// Plus this.
    pub fn offset(mut self, offset: f64) -> Rescaling {
        self.offset = offset;
        self
    }
}

impl Layer for Rescaling {
    fn kind(&self) -> &'static str {
        "Rescaling"
    }

    fn details(&self) -> String {
        match self.offset {
            0.0 => self.scale.to_string(),
            offset => format!("{} + {offset}", self.scale),
        }
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        if !(self.scale.is_finite() && self.offset.is_finite()) {
            let message = format!(
                "expects finite numbers, got a scale of {} and an offset of {}",
                self.scale, self.offset
            );
            return Err(Error::argument("build", message));
        }
        Ok(Built::new(self.clone(), input))
    }
}

impl Module for Rescaling {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let y = (as_float(x, cx)? * self.scale)?;
        if self.offset == 0.0 { Ok(y) } else { y + self.offset }
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
