//! Activation functions, as part of a layer or as a layer of their own.

use super::{Build, Built, Context, Layer, Module, Parameter, layer_config};
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A function between layers.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([-1.0f32, 2.0], Device::Cpu)?;
/// assert_eq!(Activation::Relu.apply(&x)?.to_vec::<f32>()?, [0.0, 2.0]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `x` above 0, else this slope times `x` (Keras's default slope is 0.3, PyTorch's 0.01).
    LeakyRelu(f64),
    /// `x` above 0, else `e^x - 1`.
    Elu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `x * Phi(x)` with the normal distribution function (the exact form).
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// `log(1 + e^x)`
    Softplus,
    /// Probabilities over the last axis. Losses take logits, which are exact where probabilities underflow: leave it
    /// out of a model that is trained.
    Softmax,
}

impl Activation {
    /// The function of each element (of each row of the last axis, for softmax).
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Linear => Ok(x.clone()),
            Activation::Relu => x.relu(),
            Activation::LeakyRelu(slope) => x.leaky_relu(slope),
            Activation::Elu => x.elu(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
            Activation::Silu => x.silu(),
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => x.gelu_tanh(),
            Activation::Softplus => x.softplus(),
            Activation::Softmax => x.softmax(-1),
        }
    }

    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Linear => "linear",
            Activation::Relu => "relu",
            Activation::LeakyRelu(_) => "leaky_relu",
            Activation::Elu => "elu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Softplus => "softplus",
            Activation::Softmax => "softmax",
        }
    }

    /// `, relu` after a layer's own details; nothing for the linear one.
    pub(super) fn suffix(self) -> String {
        if self == Activation::Linear { String::new() } else { format!(", {}", self.name()) }
    }
}

impl Layer for Activation {
    fn kind(&self) -> &'static str {
        "Activation"
    }
    fn details(&self) -> String {
        self.name().into()
    }
    fn config(&self) -> Result<serde_json::Value> {
        layer_config(self)
    }
    fn build(&self, input: Shape, _cx: &mut Build) -> Result<Built> {
        Ok(Built::new(*self, input))
    }
}

impl Module for Activation {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        self.apply(x)
    }
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }
}
