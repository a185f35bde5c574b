//! Ftrl.

use super::fused::{Fused, Rule, Vectors, optimizer};
use super::optimizer::check_setting;
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

optimizer! {
    /// Ftrl-Proximal ("follow the regularized leader"; McMahan et al., 2013), for sparse linear models, as Keras computes it.
    ///
    /// With `n` the sum of the gradient's squares and `n'` what it was before, `s = n^-power`, and `l` the sum of
    /// `g + 2 * shrinkage * p - (s - s') / lr * p`: `p = (clamp(l, -l1, l1) - l) / (s / lr + 2 * l2 + beta / lr)`. Where `|l|` is
    /// at most `l1`, `p` is 0 exactly. Where the learning rate is 0, or the sum is 0 and nothing else, `p` stays what it is.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::Ftrl;
    /// let ftrl = Ftrl::new(0.1).l1(0.01).l2(0.001);
    /// # drop(ftrl);
    /// ```
    Ftrl(FtrlRule)
}

/// The formula of [`Ftrl`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FtrlRule {
    power: f64,
    initial_accumulator: f64,
    l1: f64,
    l2: f64,
    l2_shrinkage: f64,
    beta: f64,
}

impl Default for FtrlRule {
    fn default() -> FtrlRule {
        FtrlRule { power: -0.5, initial_accumulator: 0.1, l1: 0.0, l2: 0.0, l2_shrinkage: 0.0, beta: 0.0 }
    }
}

impl Ftrl {
    /// With Keras's settings: power -0.5, the sum begins with 0.1, all regularisation 0.
    pub fn new(learning_rate: f64) -> Ftrl {
        Ftrl(Fused::with_rule(FtrlRule::default(), learning_rate))
    }

    /// The power of the sum of squares by which learning rates fall, at most 0; with 0 they don't (Keras's `learning_rate_power`).
    pub fn power(mut self, power: f64) -> Ftrl {
        self.0.rule.power = power;
        self
    }

    /// What the sum of squares begins with (Keras's `initial_accumulator_value`). Choose it before the first step.
    pub fn initial_accumulator(mut self, value: f64) -> Ftrl {
        self.0.rule.initial_accumulator = value;
        self
    }

    /// The strength of the L1 penalty, which makes small values 0.
    pub fn l1(mut self, strength: f64) -> Ftrl {
        self.0.rule.l1 = strength;
        self
    }

    /// The strength of the L2 penalty: of what is minimised in closed form, not of the gradient.
    pub fn l2(mut self, strength: f64) -> Ftrl {
        self.0.rule.l2 = strength;
        self
    }

    /// The strength of an L2 penalty that the gradient gets (Keras's `l2_shrinkage_regularization_strength`).
    pub fn l2_shrinkage(mut self, strength: f64) -> Ftrl {
        self.0.rule.l2_shrinkage = strength;
        self
    }

    /// What keeps learning rates finite where the sum begins with 0: the `beta` of the paper.
    pub fn beta(mut self, beta: f64) -> Ftrl {
        self.0.rule.beta = beta;
        self
    }
}

impl Rule for FtrlRule {
    fn name(&self) -> &'static str {
        "Ftrl"
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("accumulator", self.initial_accumulator), ("linear", 0.0)]
    }

    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (g, p, sum, linear) = (x.grads, x.values, &x.state[0], &x.state[1]);
        let rate = x.at_rate(&p.ones_like()?, 1.0)?;
        let moves = rate.gt(0.0)?;
        let root = |sum: &Tensor| if self.power == -0.5 { sum.sqrt() } else { sum.pow(-self.power) };
        let next = (sum + g.square()?)?;
        let (before, after) = (root(sum)?, root(&next)?);
        let sigma = moves.select(((&after - before)? / &rate)?, 0.0)?;
        let gradient =
            if self.l2_shrinkage == 0.0 { g.clone() } else { (g + (p * (2.0 * self.l2_shrinkage))?)? };
        let linear = (linear + (gradient - (sigma * p)?)?)?;
        // Multiplied by the rate above and below, so that nothing is divided by it.
        let least = (linear.clamp(-self.l1, self.l1)? - &linear)?;
        let quadratic = ((after + self.beta)? + (&rate * (2.0 * self.l2))?)?;
        let moves = moves.logical_and(quadratic.gt(0.0)?)?;
        let new = ((least * &rate)? / quadratic)?;
        Ok((moves.select((p - new)?, 0.0)?, vec![next, linear]))
    }

    fn check(&self) -> Result<()> {
        let positive = 0.0..f64::INFINITY;
        check_setting("Ftrl", "minus the power", -self.power, positive.clone())?;
        check_setting("Ftrl", "the initial accumulator", self.initial_accumulator, positive.clone())?;
        check_setting("Ftrl", "l1", self.l1, positive.clone())?;
        check_setting("Ftrl", "l2", self.l2, positive.clone())?;
        check_setting("Ftrl", "the L2 shrinkage", self.l2_shrinkage, positive.clone())?;
        check_setting("Ftrl", "beta", self.beta, positive)
    }

    fn config(&self) -> Config {
        Config::of(self).unwrap_or_default()
    }
}
