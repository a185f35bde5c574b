//! Adadelta.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::{check_setting, divided};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Adadelta (Zeiler, 2012): steps as long as the last ones were, `p -= lr * u` with `u = sqrt(d + epsilon) / sqrt(a + epsilon) * g`,
    /// where `a` and `d` are running means of the squares of `g` and of `u`: `a = rho * a + (1 - rho) * g^2` before, and
    /// `d = rho * d + (1 - rho) * u^2` after that.
    ///
    /// Its author's learning rate is 1, which is PyTorch's default; Keras's is 0.001.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::Adadelta;
    /// let adadelta = Adadelta::new(1.0).rho(0.9);
    /// # drop(adadelta);
    /// ```
    Adadelta(AdadeltaRule)
}

/// The formula of [`Adadelta`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AdadeltaRule {
    rho: f64,
    epsilon: f64,
}

impl Default for AdadeltaRule {
    fn default() -> AdadeltaRule {
        AdadeltaRule { rho: 0.95, epsilon: 1e-7 }
    }
}

impl Adadelta {
    /// With Keras's settings: rho 0.95, epsilon 1e-7.
    pub fn new(learning_rate: f64) -> Adadelta {
        Adadelta(Fused::with_rule(AdadeltaRule::default(), learning_rate))
    }

    /// How much of the running means is kept at each step.
    pub fn rho(mut self, rho: f64) -> Adadelta {
        self.0.rule.rho = rho;
        self
    }

    /// What is added to both means under the roots. It is what first steps are made of: with 0 nothing would ever move.
    pub fn epsilon(mut self, epsilon: f64) -> Adadelta {
        self.0.rule.epsilon = epsilon;
        self
    }
}

impl Rule for AdadeltaRule {
    fn name(&self) -> &'static str {
        "Adadelta"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("squares", 0.0), ("steps", 0.0)]
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, squares, steps) = (x.grads, &x.state[0], &x.state[1]);
        let mean = |mean: &Tensor, of: &Tensor| (mean * self.rho)? + (of.square()? * (1.0 - self.rho))?;
        let squares = mean(squares, g)?;
        let root = (&squares + self.epsilon)?.sqrt()?;
        let step = divided(((steps + self.epsilon)?.sqrt()? * g)?, root, self.epsilon)?;
        let steps = mean(steps, &step)?;
        Ok((x.at_rate(&step, 1.0)?, vec![squares, steps]))
    }

    fn check(&self) -> Result<()> {
        check_setting("Adadelta", "rho", self.rho, 0.0..1.0)?;
        check_setting("Adadelta", "epsilon", self.epsilon, 0.0..f64::INFINITY)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
