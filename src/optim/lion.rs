//! Lion.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::check_setting;
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023): steps of equal length,
    /// `p -= lr * sign(beta1 * m + (1 - beta1) * g)`, then `m = beta2 * m + (1 - beta2) * g`.
    ///
    /// Its authors recommend a learning rate 3 to 10 times smaller than Adam's, and a weight decay as much larger.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::Lion;
    /// let lion = Lion::new(1e-4).weight_decay(0.1);
    /// # drop(lion);
    /// ```
    Lion(LionRule)
}

/// The formula of [`Lion`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LionRule {
    beta1: f64,
    beta2: f64,
}

impl Default for LionRule {
    fn default() -> LionRule {
        LionRule { beta1: 0.9, beta2: 0.99 }
    }
}

impl Lion {
    /// With Keras's settings: betas 0.9 and 0.99.
    pub fn new(learning_rate: f64) -> Lion {
        Lion(Fused::with_rule(LionRule::default(), learning_rate))
    }

    /// The share of the mean in the step's direction, and how much of the mean is kept at each step.
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Lion {
        (self.0.rule.beta1, self.0.rule.beta2) = (beta1, beta2);
        self
    }
}

impl Rule for LionRule {
    fn name(&self) -> &'static str {
        "Lion"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("m", 0.0)]
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, m) = (x.grads, &x.state[0]);
        let direction = ((m * self.beta1)? + (g * (1.0 - self.beta1))?)?.sign()?;
        let m = ((m * self.beta2)? + (g * (1.0 - self.beta2))?)?;
        Ok((x.at_rate(&direction, 1.0)?, vec![m]))
    }

    fn check(&self) -> Result<()> {
        check_setting("Lion", "beta1", self.beta1, 0.0..1.0)?;
        check_setting("Lion", "beta2", self.beta2, 0.0..1.0)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
