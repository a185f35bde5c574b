//! Activation functions, as part of a layer or as a layer of their own.

use super::constraint::settled;
use super::{
    Build, Built, Constraint, Context, Initializer, Layer, Module, Parameter, Parameters, Regularizer,
    SampleShape,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::variable::Variable;
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
    /// `x` above 0, else `e^x - 1` (Clevert et al., 2016).
    Elu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`, also called swish (Elfwing et al., 2018; Ramachandran et al., 2017).
    Silu,
    /// `x * Phi(x)` with the normal distribution function: the exact form (Hendrycks and Gimpel, 2016).
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// `log(1 + e^x)`
    Softplus,
    /// `min(max(x, 0), 6)` (Krizhevsky, 2010).
    Relu6,
    /// ELU times constants that keep the mean and variance of deep networks' layers (Klambauer et al., 2017); initialise weights by
    /// [`LecunNormal`](super::Initializer::LecunNormal).
    Selu,
    /// `min(max(x / 6 + 1/2, 0), 1)`
    HardSigmoid,
    /// `x * hard_sigmoid(x)`, also called hard swish (Howard et al., 2019).
    HardSilu,
    /// `x / (1 + |x|)`
    Softsign,
    /// `e^x`
    Exponential,
    /// `x * tanh(softplus(x))` (Misra, 2019).
    Mish,
    /// The logarithm of softmax over the last axis.
    LogSoftmax,
    /// Probabilities over the last axis. Losses take logits, which are exact where probabilities underflow: leave it
    /// out of a model that is trained.
    Softmax,
}

impl Activation {
    /// The function of each element (of each row of the last axis, for the two kinds of softmax): a tensor of the same shape.
    ///
    /// # Errors
    ///
    /// An integer tensor, where the function is one of floats; for softmax, a scalar.
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
            Activation::Relu6 => x.relu6(),
            Activation::Selu => x.selu(),
            Activation::HardSigmoid => x.hard_sigmoid(),
            Activation::HardSilu => x.hard_silu(),
            Activation::Softsign => x.softsign(),
            Activation::Exponential => x.exp(),
            Activation::Mish => x.mish(),
            Activation::LogSoftmax => x.log_softmax(-1),
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
            Activation::Relu6 => "relu6",
            Activation::Selu => "selu",
            Activation::HardSigmoid => "hard_sigmoid",
            Activation::HardSilu => "hard_silu",
            Activation::Softsign => "softsign",
            Activation::Exponential => "exponential",
            Activation::Mish => "mish",
            Activation::LogSoftmax => "log_softmax",
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
    fn config(&self) -> Result<Config> {
        Config::of(self)
    }
    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        Ok(Built::new(*self, input))
    }
}

impl Module for Activation {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        self.apply(x)
    }
    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

/// Probabilities along an axis, the last where nothing else is said. Losses take logits, which are exact where probabilities
/// underflow: leave it out of a model that is trained.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Softmax;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Softmax::new()).build([4], Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([1, 4], Device::Cpu)?)?.to_vec::<f32>()?, [0.25; 4]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Softmax {
    axis: isize,
}

impl Softmax {
    /// Along the last axis.
    pub fn new() -> Softmax {
        Softmax { axis: -1 }
    }

    /// Along this axis of a sample: 0 is the first after the batch, -1 the last.
    pub fn axis(mut self, axis: isize) -> Softmax {
        self.axis = axis;
        self
    }
}

impl Default for Softmax {
    fn default() -> Softmax {
        Softmax::new()
    }
}

impl Layer for Softmax {
    fn kind(&self) -> &'static str {
        "Softmax"
    }

    fn details(&self) -> String {
        if self.axis == -1 { String::new() } else { format!("axis {}", self.axis) }
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        let axis = input.axis("build", self.axis)? as isize + 1;
        Ok(Built::new(SoftmaxModule { axis }, input))
    }
}

struct SoftmaxModule {
    /// Of the batch.
    axis: isize,
}

impl Module for SoftmaxModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x.softmax(self.axis)
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

/// A leaky ReLU whose slope below 0 is learnt (He et al., 2015): `x` above 0, else `alpha * x`. Weight `alpha`, zeros, of a
/// sample's shape; axes that share one have length 1 in it, as open ones must.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::PRelu;
/// # fn main() -> Result<()> {
/// let layer = PRelu::new().shared_axes([0, 1]); // one for each channel
/// let model = Sequential::new().add(layer).build([8, 8, 3], Device::Cpu)?;
/// assert_eq!(model.parameter("prelu.alpha")?.variable.shape(), [1, 1, 3]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct PRelu {
    shared_axes: Vec<isize>,
    initializer: Initializer,
    regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    constraint: Option<Constraint>,
    trainable: bool,
}

impl PRelu {
    /// A slope for each element of a sample, at first 0 (PyTorch has 0.25).
    pub fn new() -> PRelu {
        PRelu {
            shared_axes: Vec::new(),
            initializer: Initializer::Zeros,
            regularizer: None,
            constraint: None,
            trainable: true,
        }
    }

    /// Axes of a sample (0 is the first after the batch) along which there is one slope.
    pub fn shared_axes(mut self, axes: impl Into<Vec<isize>>) -> PRelu {
        self.shared_axes = axes.into();
        self
    }

    /// How the first values of the slopes are drawn.
    pub fn alpha_initializer(mut self, initializer: Initializer) -> PRelu {
        self.initializer = initializer;
        self
    }

    /// A penalty on the size of the slopes, added to the loss.
    pub fn alpha_regularizer(mut self, regularizer: Regularizer) -> PRelu {
        self.regularizer = Some(regularizer);
        self
    }

    /// What the slopes are changed to after each update.
    pub fn alpha_constraint(mut self, constraint: Constraint) -> PRelu {
        self.constraint = Some(constraint);
        self
    }

    /// Whether training changes the slopes.
    pub fn trainable(mut self, trainable: bool) -> PRelu {
        self.trainable = trainable;
        self
    }
}

impl Default for PRelu {
    fn default() -> PRelu {
        PRelu::new()
    }
}

impl Layer for PRelu {
    fn kind(&self) -> &'static str {
        "PRelu"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let mut dims = input.to_vec();
        for &axis in &self.shared_axes {
            dims[input.axis("build", axis)?] = Some(1);
        }
        let known: Option<Vec<usize>> = dims.iter().copied().collect();
        let Some(dims) = known else {
            // All that have to be shared: those that are, and the open ones.
            let shared = |&d: &usize| dims[d].is_none() || (dims[d] == Some(1) && input[d] != Some(1));
            let shared: Vec<usize> = (0..dims.len()).filter(shared).collect();
            let message = format!(
                "expects sizes along all axes with slopes of their own, got {input}; share the open ones: \
                 .shared_axes({shared:?})"
            );
            return Err(Error::shape("build", message));
        };
        let fan = dims.iter().product();
        let alpha = cx.weight(&self.initializer, &dims, [fan, fan])?;
        let alpha = settled(alpha, self.trainable, &self.constraint)?;
        Ok(Built::new(PReluModule { alpha, regularizer: self.regularizer }, input))
    }
}

struct PReluModule {
    alpha: Variable,
    regularizer: Option<Regularizer>,
}

impl Module for PReluModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x.relu()? - (x.neg()?.relu()? * &self.alpha.value())?
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.add(Parameter::new("alpha", &self.alpha).regularized(self.regularizer));
    }
}
