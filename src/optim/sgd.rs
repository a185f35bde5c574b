//! Stochastic gradient descent.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::check_setting;
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Stochastic gradient descent, with momentum and Nesterov's look-ahead as Keras defines them (there `SGD`, with a learning
    /// rate of 0.01): `v = momentum * v - lr * g`, then `p += v`, or with Nesterov `p += momentum * v - lr * g`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// let sgd = Sgd::new(0.01).momentum(0.9).nesterov(true).coupled_weight_decay(5e-4);
    /// # drop(sgd);
    /// ```
    Sgd(SgdRule)
}

/// The formula of [`Sgd`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SgdRule {
    momentum: f64,
    nesterov: bool,
}

impl Sgd {
    /// Plain gradient descent: `p -= learning_rate * g`.
    pub fn new(learning_rate: f64) -> Sgd {
        Sgd(Fused::with_rule(SgdRule::default(), learning_rate))
    }

    /// The share of the last step that is added to the next. Choose it before the first step.
    pub fn momentum(mut self, momentum: f64) -> Sgd {
        self.0.rule.momentum = momentum;
        self
    }

    /// Whether the gradient is applied where the momentum will lead.
    pub fn nesterov(mut self, nesterov: bool) -> Sgd {
        self.0.rule.nesterov = nesterov;
        self
    }
}

impl Rule for SgdRule {
    fn name(&self) -> &'static str {
        "Sgd"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        if self.momentum == 0.0 { Vec::new() } else { vec![("velocity", 0.0)] }
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let step = x.at_rate(x.grads, 1.0)?;
        let Some(velocity) = x.state.first() else { return Ok((step, Vec::new())) };
        let velocity = ((velocity * self.momentum)? - &step)?;
        let step = if self.nesterov { (step - (&velocity * self.momentum)?)? } else { velocity.neg()? };
        Ok((step, vec![velocity]))
    }

    fn check(&self) -> Result<()> {
        check_setting("Sgd", "momentum", self.momentum, 0.0..1.0)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
