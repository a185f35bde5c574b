//! The fully connected layer.

use super::{Activation, Build, Built, Context, Layer, Module, Parameter, layer_config};
use crate::autograd::Variable;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// `activation(x * weight + bias)`: `[features]` to `[units]`. Weight `[features, units]`, Glorot uniform; bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(64).activation(Activation::Tanh)).build([784], Device::Cpu)?;
/// assert_eq!(model.parameters()[0].name, "dense.weight");
/// assert_eq!(model.parameters()[0].variable.shape(), [784, 64]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dense {
    units: usize,
    activation: Activation,
    bias: bool,
}

impl Dense {
    /// A layer with this many outputs, with bias, without activation.
    pub fn new(units: usize) -> Dense {
        Dense { units, activation: Activation::Linear, bias: true }
    }

    /// The function applied to the output.
    pub fn activation(mut self, activation: Activation) -> Dense {
        self.activation = activation;
        self
    }

    /// Whether a vector of learnt constants is added.
    pub fn bias(mut self, bias: bool) -> Dense {
        self.bias = bias;
        self
    }
}

impl Layer for Dense {
    fn kind(&self) -> &'static str {
        "Dense"
    }

    fn details(&self) -> String {
        format!("{}{}", self.units, self.activation.suffix())
    }

    fn config(&self) -> Result<serde_json::Value> {
        layer_config(self)
    }

    fn build(&self, input: Shape, cx: &mut Build) -> Result<Built> {
        let features = cx.features(input)?;
        if self.units == 0 {
            return Err(Error::argument("build", "expects at least one unit, got 0"));
        }
        let weight = cx.glorot_uniform([features, self.units], features, self.units)?;
        let bias = if self.bias { Some(cx.full([self.units], 0.0)?) } else { None };
        Ok(Built::new(DenseModule { weight, bias, activation: self.activation }, Shape::new(&[self.units])?))
    }
}

struct DenseModule {
    weight: Variable,
    bias: Option<Variable>,
    activation: Activation,
}

impl Module for DenseModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        let y = match &self.bias {
            Some(bias) => (y + bias)?,
            None => y,
        };
        self.activation.apply(&y)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut list = vec![Parameter::new("weight", &self.weight)];
        list.extend(self.bias.iter().map(|b| Parameter::new("bias", b)));
        list
    }
}
