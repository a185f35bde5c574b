//! Adamax.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::{check_setting, divided};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Adamax (Kingma and Ba, 2014), Adam with the maximum norm: with `m` the running mean of the gradient and
    /// `u = max(beta2 * u, |g|)`, `p -= lr / (1 - beta1^t) * m / (u + epsilon)`, as Keras computes it. PyTorch adds its epsilon to `|g|`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::Adamax;
    /// let adamax = Adamax::new(2e-3).betas(0.9, 0.99);
    /// # drop(adamax);
    /// ```
    Adamax(AdamaxRule)
}

/// The formula of [`Adamax`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AdamaxRule {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl Default for AdamaxRule {
    fn default() -> AdamaxRule {
        AdamaxRule { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }
    }
}

impl Adamax {
    /// With Keras's settings: betas 0.9 and 0.999, epsilon 1e-7.
    pub fn new(learning_rate: f64) -> Adamax {
        Adamax(Fused::with_rule(AdamaxRule::default(), learning_rate))
    }

    /// How much of the running mean of the gradient, and of the largest gradient, is kept at each step.
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Adamax {
        (self.0.rule.beta1, self.0.rule.beta2) = (beta1, beta2);
        self
    }

    /// What keeps the division from zero.
    pub fn epsilon(mut self, epsilon: f64) -> Adamax {
        self.0.rule.epsilon = epsilon;
        self
    }
}

impl Rule for AdamaxRule {
    fn name(&self) -> &'static str {
        "Adamax"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("m", 0.0), ("u", 0.0)]
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, m, u) = (x.grads, &x.state[0], &x.state[1]);
        let m = (m + ((g - m)? * (1.0 - self.beta1))?)?;
        let u = (u * self.beta2)?.maximum(g.abs()?)?;
        let correction = 1.0 / (1.0 - self.beta1.powf(x.step as f64));
        let step = divided(x.at_rate(&m, correction)?, (&u + self.epsilon)?, self.epsilon)?;
        Ok((step, vec![m, u]))
    }

    fn check(&self) -> Result<()> {
        check_setting("Adamax", "beta1", self.beta1, 0.0..1.0)?;
        check_setting("Adamax", "beta2", self.beta2, 0.0..1.0)?;
        check_setting("Adamax", "epsilon", self.epsilon, 0.0..f64::INFINITY)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
