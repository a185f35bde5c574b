//! Lamb.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::{check_setting, divided};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Lamb (You et al., "Large Batch Optimization for Deep Learning", 2019): Adam's step `u`, made as long as each variable is:
    /// `p -= lr * |p| / |u| * u` with L2 norms of whole variables, and 1 for the quotient where a norm is 0. As Keras computes it, `u`
    /// is without weight decay, which is decoupled, and `|p|` is the norm after that.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::Lamb;
    /// let lamb = Lamb::new(1e-2).betas(0.9, 0.99).weight_decay(0.01);
    /// # drop(lamb);
    /// ```
    Lamb(LambRule)
}

/// The formula of [`Lamb`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LambRule {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl Default for LambRule {
    fn default() -> LambRule {
        LambRule { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }
    }
}

impl Lamb {
    /// With Keras's settings: betas 0.9 and 0.999, epsilon 1e-7.
    pub fn new(learning_rate: f64) -> Lamb {
        Lamb(Fused::with_rule(LambRule::default(), learning_rate))
    }

    /// How much of the running mean of the gradient, and of its square, is kept at each step.
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Lamb {
        (self.0.rule.beta1, self.0.rule.beta2) = (beta1, beta2);
        self
    }

    /// What keeps the division from zero.
    pub fn epsilon(mut self, epsilon: f64) -> Lamb {
        self.0.rule.epsilon = epsilon;
        self
    }
}

impl Rule for LambRule {
    fn name(&self) -> &'static str {
        "Lamb"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("m", 0.0), ("v", 0.0)]
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, m, v) = (x.grads, &x.state[0], &x.state[1]);
        let m = (m + ((g - m)? * (1.0 - self.beta1))?)?;
        let v = (v + ((g.square()? - v)? * (1.0 - self.beta2))?)?;
        let correction = |beta: f64| 1.0 / (1.0 - beta.powf(x.step as f64));
        let root = ((&v * correction(self.beta2))?.sqrt()? + self.epsilon)?;
        let step = divided((&m * correction(self.beta1))?, root, self.epsilon)?;
        let (of_values, of_step) = (x.norms(x.values)?, x.norms(&step)?);
        let some = of_values.gt(0.0)?.logical_and(of_step.gt(0.0)?)?;
        let ratio = some.select((of_values / of_step)?, 1.0)?;
        Ok((x.at_rate(&(step * ratio)?, 1.0)?, vec![m, v]))
    }

    fn check(&self) -> Result<()> {
        check_setting("Lamb", "beta1", self.beta1, 0.0..1.0)?;
        check_setting("Lamb", "beta2", self.beta2, 0.0..1.0)?;
        check_setting("Lamb", "epsilon", self.epsilon, 0.0..f64::INFINITY)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
