//! Adam and AdamW.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::{check_setting, divided};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Adam (Kingma and Ba, 2015) as Keras computes it: with `m` and `v` the running means of the gradient and of its square,
    /// `p -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)`.
    ///
    /// PyTorch adds its epsilon after the correction of `v`: its effect is there `sqrt(1 - beta2^t)` times as large.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// let adam = Adam::new(1e-3).betas(0.9, 0.98).epsilon(1e-8);
    /// assert_eq!(adam.learning_rate(), 1e-3);
    /// ```
    Adam(AdamRule)
}

optimizer! {
    /// [`Adam`] with decoupled weight decay (Loshchilov and Hutter, 2019): `p -= lr * weight_decay * p` beside Adam's step. The
    /// decay is 0.004 unless [`weight_decay`](AdamW::weight_decay) says otherwise, as in Keras; biases and scales of
    /// normalisations are better [excluded](AdamW::exclude_from_weight_decay).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::AdamW;
    /// let adamw = AdamW::new(1e-3).weight_decay(0.01);
    /// # drop(adamw);
    /// ```
    AdamW(AdamWRule)
}

/// The formula of [`Adam`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AdamRule {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    amsgrad: bool,
}

/// The formula of [`AdamW`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AdamWRule(AdamRule);

impl Default for AdamRule {
    fn default() -> AdamRule {
        AdamRule { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, amsgrad: false }
    }
}

macro_rules! settings {
    ($optimizer:ident, $rule:ident, $adam:ident => $place:expr) => {
        impl $optimizer {
            /// With Keras's settings: betas 0.9 and 0.999, epsilon 1e-7.
            pub fn new(learning_rate: f64) -> $optimizer {
                $optimizer(Fused::with_rule($rule::default(), learning_rate))
            }

            /// How much of the running means of the gradient and of its square is kept at each step.
            pub fn betas(mut self, beta1: f64, beta2: f64) -> $optimizer {
                let $adam = &mut self.0.rule;
                ($place.beta1, $place.beta2) = (beta1, beta2);
                self
            }

            /// What keeps the division from zero.
            pub fn epsilon(mut self, epsilon: f64) -> $optimizer {
                let $adam = &mut self.0.rule;
                $place.epsilon = epsilon;
                self
            }

            /// Whether to divide by the largest `v` so far (Reddi, Kale and Kumar, 2018), not bias-corrected by itself, as
            /// in Keras. Choose it before the first step.
            pub fn amsgrad(mut self, amsgrad: bool) -> $optimizer {
                let $adam = &mut self.0.rule;
                $place.amsgrad = amsgrad;
                self
            }
        }
    };
}

settings!(Adam, AdamRule, adam => adam);
settings!(AdamW, AdamWRule, adam => adam.0);

impl AdamRule {
    fn check_of(&self, op: &str) -> Result<()> {
        check_setting(op, "beta1", self.beta1, 0.0..1.0)?;
        check_setting(op, "beta2", self.beta2, 0.0..1.0)?;
        check_setting(op, "epsilon", self.epsilon, 0.0..f64::INFINITY)
    }
}

impl Rule for AdamRule {
    fn name(&self) -> &'static str {
        "Adam"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        let mut slots = vec![("m", 0.0), ("v", 0.0)];
        if self.amsgrad {
            slots.push(("v_max", 0.0));
        }
        slots
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, m, v) = (x.grads, &x.state[0], &x.state[1]);
        // On the host, in f64: these are numbers of the step, not of the parameters.
        let t = x.step as f64;
        let correction = (1.0 - self.beta2.powf(t)).sqrt() / (1.0 - self.beta1.powf(t));
        let m = (m + ((g - m)? * (1.0 - self.beta1))?)?;
        let v = (v + ((g.square()? - v)? * (1.0 - self.beta2))?)?;
        let v_max = match x.state.get(2) {
            Some(v_max) => Some(v_max.maximum(&v)?),
            None => None,
        };
        let root = v_max.as_ref().unwrap_or(&v).sqrt()?;
        let step = divided(x.at_rate(&m, correction)?, (root + self.epsilon)?, self.epsilon)?;
        Ok((step, [Some(m), Some(v), v_max].into_iter().flatten().collect()))
    }

    fn check(&self) -> Result<()> {
        self.check_of("Adam")
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}

impl Rule for AdamWRule {
    fn name(&self) -> &'static str {
        "AdamW"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        self.0.slots()
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        self.0.update(x)
    }

    fn check(&self) -> Result<()> {
        self.0.check_of("AdamW")
    }

    fn config(&self) -> Config {
        self.0.config()
    }

    fn default_weight_decay(&self) -> f64 {
        0.004
    }
}
