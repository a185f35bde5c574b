//! Stochastic gradient descent.

use super::flat::Flat;
use super::{Optimizer, State, check_setting};
use crate::autograd::{Gradients, Variable};
use crate::error::Result;
use crate::tensor::Tensor;

/// Stochastic gradient descent, with momentum and Nesterov's look-ahead as Keras defines them:
/// `v = momentum * v - lr * g`, then `p += v`, or with Nesterov `p += momentum * v - lr * g`.
#[derive(Debug)]
pub struct Sgd {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    flat: Flat,
}

impl Sgd {
    /// Plain gradient descent: `p -= learning_rate * g`.
    pub fn new(learning_rate: f64) -> Sgd {
        Sgd { learning_rate, momentum: 0.0, nesterov: false, weight_decay: 0.0, flat: Flat::new(0) }
    }

    /// The share of the last step that is added to the next. Choose it before the first step.
    pub fn momentum(mut self, momentum: f64) -> Sgd {
        self.momentum = momentum;
        self.flat = Flat::new(usize::from(momentum != 0.0));
        self
    }

    /// Whether the gradient is applied where the momentum will lead.
    pub fn nesterov(mut self, nesterov: bool) -> Sgd {
        self.nesterov = nesterov;
        self
    }

    /// Adds this times the parameter to its gradient (an L2 penalty of half of it).
    pub fn weight_decay(mut self, weight_decay: f64) -> Sgd {
        self.weight_decay = weight_decay;
        self
    }

    fn slots(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["sgd.velocity"] }
    }
}

impl Optimizer for Sgd {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        check_setting("Sgd", "the learning rate", self.learning_rate, 0.0..f64::INFINITY)?;
        check_setting("Sgd", "momentum", self.momentum, 0.0..1.0)?;
        check_setting("Sgd", "weight decay", self.weight_decay, 0.0..f64::INFINITY)?;
        let (lr, momentum, decay) = (self.learning_rate, self.momentum, self.weight_decay);
        let nesterov = self.nesterov;
        self.flat.update(grads, |v| {
            let (p, g) = (v.values, v.grads);
            let g = if decay > 0.0 { (g + (p * decay)?)? } else { g.clone() };
            let step = (g * lr)?;
            let Some(velocity) = v.state.first() else {
                return Ok(((p - step)?, Vec::new()));
            };
            let velocity = ((velocity * momentum)? - &step)?;
            let p = if nesterov { ((p + (&velocity * momentum)?)? - step)? } else { (p + &velocity)? };
            Ok((p, vec![velocity]))
        })
    }

    fn prepare(&mut self, variables: &[Variable]) -> Result<()> {
        self.flat.prepare(variables)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        self.flat.export(self.slots(), variables)
    }

    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        let slots = self.slots();
        self.flat.import("Sgd::import_state", slots, variables, state)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, train, x0};
    use crate::prelude::*;

    /// The formulas in f64, on the same quadratic.
    fn reference(lr: f64, momentum: f64, nesterov: bool, decay: f64) -> Vec<f64> {
        let (mut x, mut v) = (x0(), [0.0; 4]);
        for step in 0..25 {
            let g = super::super::testing::gradient(&x, step);
            for i in 0..4 {
                let g = g[i] + decay * x[i];
                v[i] = momentum * v[i] - lr * g;
                x[i] += if nesterov { momentum * v[i] - lr * g } else { v[i] };
            }
        }
        x
    }

    #[test]
    fn follows_the_formulas_over_25_steps() {
        assert_close(&train(&mut Sgd::new(0.05)), &reference(0.05, 0.0, false, 0.0));
        assert_close(&train(&mut Sgd::new(0.02).momentum(0.9)), &reference(0.02, 0.9, false, 0.0));
        let mut nesterov = Sgd::new(0.02).momentum(0.9).nesterov(true).weight_decay(0.1);
        assert_close(&train(&mut nesterov), &reference(0.02, 0.9, true, 0.1));
    }

    #[test]
    fn impossible_settings_are_errors() {
        for mut sgd in [
            Sgd::new(-0.1),
            Sgd::new(f64::NAN),
            Sgd::new(0.1).momentum(1.0),
            Sgd::new(0.1).weight_decay(-1.0),
        ] {
            let w = Variable::new(Tensor::ones([1], Device::Cpu).unwrap());
            let grads = w.value().sum(&[], false).unwrap().backward().unwrap();
            assert!(sgd.step(&grads).unwrap_err().to_string().starts_with("Sgd: "));
        }
    }
}
