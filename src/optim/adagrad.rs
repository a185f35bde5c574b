//! Adagrad.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::{check_setting, divided};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Adagrad (Duchi, Hazan and Singer, 2011) as Keras computes it: with `a` the sum of the gradient's squares so far,
    /// `p -= lr * g / sqrt(a + epsilon)`. PyTorch adds its epsilon after the root, and begins with 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::Adagrad;
    /// let adagrad = Adagrad::new(1e-2).initial_accumulator(0.0);
    /// # drop(adagrad);
    /// ```
    Adagrad(AdagradRule)
}

/// The formula of [`Adagrad`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AdagradRule {
    initial_accumulator: f64,
    epsilon: f64,
}

impl Default for AdagradRule {
    fn default() -> AdagradRule {
        AdagradRule { initial_accumulator: 0.1, epsilon: 1e-7 }
    }
}

impl Adagrad {
    /// With Keras's settings: the sum begins with 0.1, epsilon 1e-7.
    pub fn new(learning_rate: f64) -> Adagrad {
        Adagrad(Fused::with_rule(AdagradRule::default(), learning_rate))
    }

    /// What the sum of squares begins with (Keras's `initial_accumulator_value`). Choose it before the first step.
    pub fn initial_accumulator(mut self, value: f64) -> Adagrad {
        self.0.rule.initial_accumulator = value;
        self
    }

    /// What keeps the division from zero; under the root.
    pub fn epsilon(mut self, epsilon: f64) -> Adagrad {
        self.0.rule.epsilon = epsilon;
        self
    }
}

impl Rule for AdagradRule {
    fn name(&self) -> &'static str {
        "Adagrad"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("accumulator", self.initial_accumulator)]
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let accumulator = (&x.state[0] + x.grads.square()?)?;
        let step = divided(x.at_rate(x.grads, 1.0)?, (&accumulator + self.epsilon)?.sqrt()?, self.epsilon)?;
        Ok((step, vec![accumulator]))
    }

    fn check(&self) -> Result<()> {
        let positive = 0.0..f64::INFINITY;
        check_setting("Adagrad", "the initial accumulator", self.initial_accumulator, positive.clone())?;
        check_setting("Adagrad", "epsilon", self.epsilon, positive)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
