//! Nadam.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::{check_setting, divided};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Nadam (Dozat, 2016), Adam with Nesterov's momentum, as Keras computes it.
    ///
    /// With `m` and `v` the running means of the gradient and of its square, `u_t = beta1 * (1 - 0.96^t / 2)` and `U_t` the
    /// product of all `u` so far: `p -= lr * m' / (sqrt(v / (1 - beta2^t)) + epsilon)`, where
    /// `m' = u_{t+1} * m / (1 - U_{t+1}) + (1 - u_t) * g / (1 - U_t)`. PyTorch has `0.96^(0.004 t)` unless told otherwise.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::Nadam;
    /// let nadam = Nadam::new(1e-3).betas(0.9, 0.99);
    /// # drop(nadam);
    /// ```
    Nadam(NadamRule)
}

/// The formula of [`Nadam`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NadamRule {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    /// A step and the product of all `u` up to it, from which the next one's follows.
    #[serde(skip)]
    product: (u64, f64),
}

impl Default for NadamRule {
    fn default() -> NadamRule {
        NadamRule { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, product: (0, 1.0) }
    }
}

impl Nadam {
    /// With Keras's settings: betas 0.9 and 0.999, epsilon 1e-7.
    pub fn new(learning_rate: f64) -> Nadam {
        Nadam(Fused::with_rule(NadamRule::default(), learning_rate))
    }

    /// How much of the running means of the gradient and of its square is kept at each step. Choose them before the first
    /// step.
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Nadam {
        (self.0.rule.beta1, self.0.rule.beta2) = (beta1, beta2);
        self.0.rule.product = (0, 1.0);
        self
    }

    /// What keeps the division from zero.
    pub fn epsilon(mut self, epsilon: f64) -> Nadam {
        self.0.rule.epsilon = epsilon;
        self
    }
}

impl NadamRule {
    fn u(&self, step: u64) -> f64 {
        self.beta1 * (1.0 - 0.5 * 0.96f64.powf(step as f64))
    }

    /// The product of `u` up to a step: mostly the step's after the last one. After a resumption it is computed anew, by the
    /// same multiplications, until nothing is left of it.
    fn product(&mut self, step: u64) -> f64 {
        if step < self.product.0 {
            self.product = (0, 1.0);
        }
        while self.product.0 < step && self.product.1 > 0.0 {
            let next = self.product.0 + 1;
            self.product = (next, self.product.1 * self.u(next));
        }
        self.product.1
    }
}

impl Rule for NadamRule {
    fn name(&self) -> &'static str {
        "Nadam"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("m", 0.0), ("v", 0.0)]
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, m, v) = (x.grads, &x.state[0], &x.state[1]);
        let product = self.product(x.step);
        let (now, next) = (self.u(x.step), self.u(x.step + 1));
        let of_mean = next / (1.0 - product * next);
        let of_gradient = (1.0 - now) / (1.0 - product);
        let of_square = 1.0 / (1.0 - self.beta2.powf(x.step as f64));
        let m = (m + ((g - m)? * (1.0 - self.beta1))?)?;
        let v = (v + ((g.square()? - v)? * (1.0 - self.beta2))?)?;
        let ahead = ((&m * of_mean)? + (g * of_gradient)?)?;
        let root = ((&v * of_square)?.sqrt()? + self.epsilon)?;
        let step = divided(x.at_rate(&ahead, 1.0)?, root, self.epsilon)?;
        Ok((step, vec![m, v]))
    }

    fn check(&self) -> Result<()> {
        check_setting("Nadam", "beta1", self.beta1, 0.0..1.0)?;
        check_setting("Nadam", "beta2", self.beta2, 0.0..1.0)?;
        check_setting("Nadam", "epsilon", self.epsilon, 0.0..f64::INFINITY)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
