//! RMSprop.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::{check_setting, divided};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// RMSprop (Tieleman and Hinton, 2012) as Keras computes it: with `v` the running mean of the gradient's square,
    /// `p -= lr * g / sqrt(v + epsilon)`.
    ///
    /// Centered, the mean is that of the deviation: `v - a^2 + epsilon` under the root, with `a` the running mean of the
    /// gradient. With momentum, `b = momentum * b + lr * g / sqrt(..)` and `p -= b`. PyTorch adds its epsilon after the root.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::RmsProp;
    /// let rmsprop = RmsProp::new(1e-3).rho(0.95).momentum(0.5).centered(true);
    /// # drop(rmsprop);
    /// ```
    RmsProp(RmsPropRule)
}

/// The formula of [`RmsProp`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RmsPropRule {
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
}

impl Default for RmsPropRule {
    fn default() -> RmsPropRule {
        RmsPropRule { rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }
}

impl RmsProp {
    /// With Keras's settings: rho 0.9, no momentum, epsilon 1e-7, not centered.
    pub fn new(learning_rate: f64) -> RmsProp {
        RmsProp(Fused::with_rule(RmsPropRule::default(), learning_rate))
    }

    /// How much of the running means is kept at each step.
    pub fn rho(mut self, rho: f64) -> RmsProp {
        self.0.rule.rho = rho;
        self
    }

    /// The share of the last step that is added to the next. Choose it before the first step.
    pub fn momentum(mut self, momentum: f64) -> RmsProp {
        self.0.rule.momentum = momentum;
        self
    }

    /// What keeps the division from zero; under the root.
    pub fn epsilon(mut self, epsilon: f64) -> RmsProp {
        self.0.rule.epsilon = epsilon;
        self
    }

    /// Whether to divide by the gradient's deviation from its mean rather than by its size. Choose it before the first step.
    pub fn centered(mut self, centered: bool) -> RmsProp {
        self.0.rule.centered = centered;
        self
    }
}

impl Rule for RmsPropRule {
    fn name(&self) -> &'static str {
        "RmsProp"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        let slots = [(true, "v"), (self.centered, "mean"), (self.momentum != 0.0, "velocity")];
        slots.into_iter().filter(|s| s.0).map(|s| (s.1, 0.0)).collect()
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, rho) = (x.grads, self.rho);
        let running = |mean: &Tensor, x: &Tensor| (mean * rho)? + (x * (1.0 - rho))?;
        let v = running(&x.state[0], &g.square()?)?;
        let mut state = vec![v.clone()];
        let mut spread = v;
        if self.centered {
            let mean = running(&x.state[1], g)?;
            // rounding must not make it negative
            spread = (spread - mean.square()?)?.maximum(0.0)?;
            state.push(mean);
        }
        let mut step = divided(x.at_rate(g, 1.0)?, (spread + self.epsilon)?.sqrt()?, self.epsilon)?;
        if let Some(velocity) = x.state.get(state.len()) {
            step = ((velocity * self.momentum)? + step)?;
            state.push(step.clone());
        }
        Ok((step, state))
    }

    fn check(&self) -> Result<()> {
        check_setting("RmsProp", "rho", self.rho, 0.0..1.0)?;
        check_setting("RmsProp", "momentum", self.momentum, 0.0..1.0)?;
        check_setting("RmsProp", "epsilon", self.epsilon, 0.0..f64::INFINITY)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
