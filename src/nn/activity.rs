//! A penalty on what passes.

use super::{Build, Built, Context, Layer, Module, Parameters, Regularizer, SampleShape};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Gives its input, and adds a penalty on its size to the loss, divided by the number of samples (Keras's layer of this name): what
/// layers without an `activity_regularizer` of their own are followed by.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{ActivityRegularization, Context, Regularizer};
/// # fn main() -> Result<()> {
/// let layer = ActivityRegularization::new(Regularizer::l1(0.1));
/// let model = Sequential::new().add(layer).build([3], Device::Cpu)?;
/// let cx = Context::train(1);
/// model.forward(&Tensor::ones([2, 3], Device::Cpu)?, &cx)?;
/// assert!((cx.take_losses()[0].item::<f32>()? - 0.3).abs() < 1e-6); // 6 elements, 2 samples
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct ActivityRegularization {
    regularizer: Regularizer,
}

impl ActivityRegularization {
    /// This penalty on what passes.
    pub fn new(regularizer: Regularizer) -> ActivityRegularization {
        ActivityRegularization { regularizer }
    }
}

impl Layer for ActivityRegularization {
    fn kind(&self) -> &'static str {
        "ActivityRegularization"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        Ok(Built::new(*self, input))
    }
}

impl Module for ActivityRegularization {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        cx.add_loss(self.regularizer.activity(x)?);
        Ok(x.clone())
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
