//! What layers with a kernel and a bias have in common.

use super::constraint::settled;
use super::{Activation, Build, Constraint, Context, Initializer, Parameter, Parameters, Regularizer};
use crate::error::Result;
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// Settings of a kernel and a bias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WeightSettings {
    pub bias: bool,
    pub kernel_initializer: Initializer,
    pub bias_initializer: Initializer,
    pub kernel_regularizer: Option<Regularizer>,
    pub bias_regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_constraint: Option<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias_constraint: Option<Constraint>,
    pub trainable: bool,
}

impl Default for WeightSettings {
    /// Keras's.
    fn default() -> WeightSettings {
        WeightSettings {
            bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
            trainable: true,
        }
    }
}

/// The builder methods of [`WeightSettings`], for a layer with such a field `weights` and an `activation`.
macro_rules! weight_methods {
    ($layer:ident) => {
        crate::nn::weights::kernel_methods!($layer);

        impl $layer {
            /// The function applied to the output.
            pub fn activation(mut self, activation: Activation) -> $layer {
                self.activation = activation;
                self
            }

            /// A penalty on the size of the output, divided by the number of samples and added to the loss.
            pub fn activity_regularizer(mut self, regularizer: Regularizer) -> $layer {
                self.weights.activity_regularizer = Some(regularizer);
                self
            }
        }
    };
}
pub(super) use weight_methods;

/// Those of a layer without an `activation`.
macro_rules! kernel_methods {
    ($layer:ident) => {
        impl $layer {
            /// Whether a learnt constant is added to each output feature.
            pub fn bias(mut self, bias: bool) -> $layer {
                self.weights.bias = bias;
                self
            }

            /// How the first values of the weight are drawn: Glorot uniform where nothing else is said.
            pub fn kernel_initializer(mut self, initializer: Initializer) -> $layer {
                self.weights.kernel_initializer = initializer;
                self
            }

            /// How the first values of the bias are drawn: zeros where nothing else is said.
            pub fn bias_initializer(mut self, initializer: Initializer) -> $layer {
                self.weights.bias_initializer = initializer;
                self
            }

            /// A penalty on the size of the weight, added to the loss.
            pub fn kernel_regularizer(mut self, regularizer: Regularizer) -> $layer {
                self.weights.kernel_regularizer = Some(regularizer);
                self
            }

            /// A penalty on the size of the bias, added to the loss.
            pub fn bias_regularizer(mut self, regularizer: Regularizer) -> $layer {
                self.weights.bias_regularizer = Some(regularizer);
                self
            }

            /// What the weight is changed to after each update.
            pub fn kernel_constraint(mut self, constraint: $crate::nn::Constraint) -> $layer {
                self.weights.kernel_constraint = Some(constraint);
                self
            }

            /// What the bias is changed to after each update.
            pub fn bias_constraint(mut self, constraint: $crate::nn::Constraint) -> $layer {
                self.weights.bias_constraint = Some(constraint);
                self
            }

            /// Whether training changes the weights. They can be released later, by
            /// [`Module::set_trainable`](crate::nn::Module::set_trainable) or
            /// [`Variable::set_trainable`](crate::Variable::set_trainable).
            pub fn trainable(mut self, trainable: bool) -> $layer {
                self.weights.trainable = trainable;
                self
            }
        }
    };
}
pub(super) use kernel_methods;

impl WeightSettings {
    /// A kernel under these settings.
    pub fn kernel(&self, cx: &mut Build, shape: &[usize], fans: [usize; 2]) -> Result<Variable> {
        settled(cx.weight(&self.kernel_initializer, shape, fans)?, self.trainable, &self.kernel_constraint)
    }

    /// The bias under these settings, where there is one.
    pub fn bias(&self, cx: &mut Build, features: usize) -> Result<Option<Variable>> {
        if !self.bias {
            return Ok(None);
        }
        let bias = cx.weight(&self.bias_initializer, [features], [features, features])?;
        settled(bias, self.trainable, &self.bias_constraint).map(Some)
    }

    /// Kernels by name, and the bias, as parameters.
    pub fn visit<'a>(
        &self,
        kernels: impl IntoIterator<Item = (&'a str, &'a Variable)>,
        bias: &Option<Variable>,
        parameters: &mut Parameters<'_>,
    ) {
        for (name, kernel) in kernels {
            parameters.add(Parameter::new(name, kernel).regularized(self.kernel_regularizer));
        }
        if let Some(bias) = bias {
            parameters.add(Parameter::new("bias", bias).regularized(self.bias_regularizer));
        }
    }

    /// Bias and activation on top of a kernel's output.
    pub fn finish(
        &self,
        y: Tensor,
        bias: &Option<Variable>,
        activation: Activation,
        cx: &Context,
    ) -> Result<Tensor> {
        let y = match bias {
            Some(bias) => (y + bias)?,
            None => y,
        };
        let y = activation.apply(&y)?;
        self.penalize(&y, cx)?;
        Ok(y)
    }

    /// Adds the penalty on an output to the loss of the pass.
    pub fn penalize(&self, y: &Tensor, cx: &Context) -> Result<()> {
        if let Some(regularizer) = self.activity_regularizer {
            cx.add_loss(regularizer.activity(y)?);
        }
        Ok(())
    }
}
