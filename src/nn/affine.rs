//! What layers that normalise have in common: a learnt factor and a learnt constant of each feature.

use super::constraint::settled;
use super::{Build, Constraint, Initializer, Parameter, Parameters, Regularizer};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// Settings that all of these layers have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Affine {
    pub epsilon: f64,
    pub center: bool,
    pub scale: bool,
    pub beta_initializer: Initializer,
    pub gamma_initializer: Initializer,
    pub beta_regularizer: Option<Regularizer>,
    pub gamma_regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_constraint: Option<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma_constraint: Option<Constraint>,
    pub trainable: bool,
}

impl Default for Affine {
    /// Keras's.
    fn default() -> Affine {
        Affine {
            epsilon: 1e-3,
            center: true,
            scale: true,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
            beta_regularizer: None,
            gamma_regularizer: None,
            beta_constraint: None,
            gamma_constraint: None,
            trainable: true,
        }
    }
}

macro_rules! affine_methods {
    ($layer:ident) => {
        impl $layer {
            /// What is added to the variance, so that nothing is divided by zero: finite and above 0, or `build` fails. 0.001 where
            /// nothing else is said, as in Keras (PyTorch has 0.00001).
            pub fn epsilon(mut self, epsilon: f64) -> $layer {
                self.affine.epsilon = epsilon;
                self
            }

            /// Whether a learnt `beta` is added to each feature.
            pub fn center(mut self, center: bool) -> $layer {
                self.affine.center = center;
                self
            }

            /// Whether each feature is multiplied by a learnt `gamma`.
            pub fn scale(mut self, scale: bool) -> $layer {
                self.affine.scale = scale;
                self
            }

            /// How the first values of `beta` are drawn: zeros where nothing else is said.
            pub fn beta_initializer(mut self, initializer: Initializer) -> $layer {
                self.affine.beta_initializer = initializer;
                self
            }

            /// How the first values of `gamma` are drawn: ones where nothing else is said.
            pub fn gamma_initializer(mut self, initializer: Initializer) -> $layer {
                self.affine.gamma_initializer = initializer;
                self
            }

            /// A penalty on the size of `beta`, added to the loss.
            pub fn beta_regularizer(mut self, regularizer: Regularizer) -> $layer {
                self.affine.beta_regularizer = Some(regularizer);
                self
            }

            /// A penalty on the size of `gamma`, added to the loss.
            pub fn gamma_regularizer(mut self, regularizer: Regularizer) -> $layer {
                self.affine.gamma_regularizer = Some(regularizer);
                self
            }

            /// What `beta` is changed to after each update.
            pub fn beta_constraint(mut self, constraint: $crate::nn::Constraint) -> $layer {
                self.affine.beta_constraint = Some(constraint);
                self
            }

            /// What `gamma` is changed to after each update.
            pub fn gamma_constraint(mut self, constraint: $crate::nn::Constraint) -> $layer {
                self.affine.gamma_constraint = Some(constraint);
                self
            }

            /// Whether training changes `gamma` and `beta`.
            pub fn trainable(mut self, trainable: bool) -> $layer {
                self.affine.trainable = trainable;
                self
            }
        }
    };
}

pub(super) use affine_methods;

/// `gamma` and `beta` of a built layer.
pub(super) struct AffineModule {
    pub settings: Affine,
    pub gamma: Option<Variable>,
    pub beta: Option<Variable>,
}

impl Affine {
    pub fn build(&self, cx: &mut Build, shape: &[usize]) -> Result<AffineModule> {
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            let message = format!("expects a finite epsilon above 0, got {}", self.epsilon);
            return Err(Error::argument("build", message));
        }
        let fan = shape.iter().product();
        let mut weight = |wanted: bool, initializer: &Initializer, constraint| -> Result<Option<Variable>> {
            if !wanted {
                return Ok(None);
            }
            let variable = cx.weight(initializer, shape, [fan, fan])?;
            settled(variable, self.trainable, constraint).map(Some)
        };
        let gamma = weight(self.scale, &self.gamma_initializer, &self.gamma_constraint)?;
        let beta = weight(self.center, &self.beta_initializer, &self.beta_constraint)?;
        Ok(AffineModule { settings: self.clone(), gamma, beta })
    }
}

impl AffineModule {
    /// Whether nothing here is trained: there are weights and all are frozen, or it was built so.
    pub fn is_frozen(&self) -> bool {
        let mut weights = self.gamma.iter().chain(&self.beta).peekable();
        match weights.peek() {
            Some(_) => weights.all(|v| !v.is_trainable()),
            None => !self.settings.trainable,
        }
    }

    /// `(x - shift) / sqrt(variance + epsilon) * gamma + beta` from `centered = x - origin`, where `offset = shift - origin`.
    /// `place` puts gamma and beta where they belong in the shape of x.
    pub fn apply(
        &self,
        centered: &Tensor,
        offset: Option<&Tensor>,
        variance: &Tensor,
        place: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let inverse = (variance + self.settings.epsilon)?.sqrt()?.reciprocal()?;
        let factor = match &self.gamma {
            Some(gamma) => (inverse * place(&gamma.value())?)?,
            None => inverse,
        };
        let y = (centered * &factor)?;
        // Small tensors first: what x is scaled and shifted by has one number for each feature.
        let shift = match (&self.beta, offset) {
            (Some(beta), Some(offset)) => Some((place(&beta.value())? - (offset * factor)?)?),
            (Some(beta), None) => Some(place(&beta.value())?),
            (None, Some(offset)) => Some((offset * factor)?.neg()?),
            (None, None) => None,
        };
        match shift {
            Some(shift) => y + shift,
            None => Ok(y),
        }
    }

    pub fn visit(&self, parameters: &mut Parameters<'_>) {
        if let Some(gamma) = &self.gamma {
            parameters.add(Parameter::new("gamma", gamma).regularized(self.settings.gamma_regularizer));
        }
        if let Some(beta) = &self.beta {
            parameters.add(Parameter::new("beta", beta).regularized(self.settings.beta_regularizer));
        }
    }
}
