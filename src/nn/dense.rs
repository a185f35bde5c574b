//! The fully connected layer.

use super::weights::{WeightSettings, weight_methods};
use super::{
    Activation, Build, Built, Context, Initializer, Layer, Module, Parameters, Regularizer, SampleShape,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// `activation(x * weight + bias)`: `[features]` to `[units]`, and any `[.., features]` to `[.., units]`, along its last axis.
/// Weight `[features, units]`, Glorot uniform; bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(64).activation(Activation::Tanh)).build([784], Device::Cpu)?;
/// assert_eq!(model.parameters()[0].name, "dense.weight");
/// assert_eq!(model.parameters()[0].variable.shape(), [784, 64]);
///
/// // The same weights at every step of a sequence, however long.
/// let model = Sequential::new().add(Dense::new(4)).build((None, 8), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([2, 50, 8], Device::Cpu)?)?.shape(), [2, 50, 4]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample without dimensions or with an open last one, and 0 units.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Dense {
    units: usize,
    activation: Activation,
    weights: WeightSettings,
}

impl Dense {
    /// A layer with this many outputs, with bias, without activation.
    pub fn new(units: usize) -> Dense {
        Dense { units, activation: Activation::Linear, weights: WeightSettings::default() }
    }
}

weight_methods!(Dense);

impl Dense {
    /// A layer inside of another one, with its settings.
    pub(super) fn with(units: usize, activation: Activation, weights: &WeightSettings) -> Dense {
        Dense { units, activation, weights: weights.clone() }
    }
}

impl Layer for Dense {
    fn kind(&self) -> &'static str {
        "Dense"
    }

    fn details(&self) -> String {
        format!("{}{}", self.units, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let features = cx.features(input)?;
        if self.units == 0 {
            return Err(Error::argument("build", "expects at least one unit, got 0"));
        }
        let weight = self.weights.kernel(cx, &[features, self.units], [features, self.units])?;
        let bias = self.weights.bias(cx, self.units)?;
        let module = DenseModule { weight, bias, settings: self.clone() };
        let mut output = input.to_vec();
        if let Some(last) = output.last_mut() {
            *last = Some(self.units);
        }
        Ok(Built::new(module, SampleShape::new(output)?))
    }
}

struct DenseModule {
    weight: Variable,
    bias: Option<Variable>,
    settings: Dense,
}

impl Module for DenseModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        self.settings.weights.finish(y, &self.bias, self.settings.activation, cx)
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.settings.weights.visit([("weight", &self.weight)], &self.bias, parameters);
    }
}
