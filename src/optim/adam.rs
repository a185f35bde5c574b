//! Adam.

use super::flat::Flat;
use super::{Optimizer, State, check_setting, state_entry};
use crate::autograd::{Gradients, Variable};
use crate::device::Device;
use crate::error::Result;
use crate::tensor::Tensor;

const SLOTS: [&str; 2] = ["adam.m", "adam.v"];
const STEP: &str = "adam.step";

/// Adam (Kingma and Ba, 2015) as Keras computes it: with `m` and `v` the running means of the gradient and of its square,
/// `p -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)`.
///
/// ```
/// # use wgrad::prelude::*;
/// let adam = Adam::new(1e-3).betas(0.9, 0.98).epsilon(1e-8);
/// assert_eq!(adam.learning_rate(), 1e-3);
/// ```
#[derive(Debug)]
pub struct Adam {
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    /// Updates so far.
    steps: u32,
    flat: Flat,
}

impl Adam {
    /// Adam with Keras's settings: betas 0.9 and 0.999, epsilon 1e-7.
    pub fn new(learning_rate: f64) -> Adam {
        Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-7, steps: 0, flat: Flat::new(2) }
    }

    /// How much of the running means of the gradient and of its square is kept at each step.
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Adam {
        (self.beta1, self.beta2) = (beta1, beta2);
        self
    }

    /// What keeps the division from zero.
    pub fn epsilon(mut self, epsilon: f64) -> Adam {
        self.epsilon = epsilon;
        self
    }
}

impl Optimizer for Adam {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        check_setting("Adam", "the learning rate", self.learning_rate, 0.0..f64::INFINITY)?;
        check_setting("Adam", "beta1", self.beta1, 0.0..1.0)?;
        check_setting("Adam", "beta2", self.beta2, 0.0..1.0)?;
        check_setting("Adam", "epsilon", self.epsilon, 0.0..f64::INFINITY)?;
        let t = f64::from(self.steps + 1);
        // On the host, in f64: these are numbers of the step, not of the parameters.
        let alpha = self.learning_rate * (1.0 - self.beta2.powf(t)).sqrt() / (1.0 - self.beta1.powf(t));
        let (beta1, beta2, epsilon) = (self.beta1, self.beta2, self.epsilon);
        let pending = self.flat.update(grads, |x| {
            let (p, g, m, v) = (x.values, x.grads, &x.state[0], &x.state[1]);
            let m = (m + ((g - m)? * (1.0 - beta1))?)?;
            let v = (v + ((g.square()? - v)? * (1.0 - beta2))?)?;
            let p = (p - ((&m * alpha)? / (v.sqrt()? + epsilon)?)?)?;
            Ok((p, vec![m, v]))
        })?;
        self.steps += 1;
        Ok(pending)
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
        let mut state = self.flat.export(&SLOTS, variables)?;
        state.push((STEP.into(), Tensor::new([self.steps], Device::Cpu)?));
        Ok(state)
    }

    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        const OP: &str = "Adam::import_state";
        let by_name = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let steps = state_entry(OP, &by_name, STEP, &[1])?.item::<u32>()?;
        self.flat.import(OP, &SLOTS, variables, state)?;
        self.steps = steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, gradient, loss, train, x0};
    use crate::prelude::*;

    fn reference(lr: impl Fn(i32) -> f64, beta1: f64, beta2: f64, epsilon: f64) -> Vec<f64> {
        let (mut x, mut m, mut v) = (x0(), [0.0; 4], [0.0; 4]);
        for step in 0..25 {
            let g = gradient(&x, step);
            let t = step + 1;
            let alpha = lr(step) * (1.0 - beta2.powi(t)).sqrt() / (1.0 - beta1.powi(t));
            for i in 0..4 {
                m[i] += (g[i] - m[i]) * (1.0 - beta1);
                v[i] += (g[i] * g[i] - v[i]) * (1.0 - beta2);
                x[i] -= alpha * m[i] / (v[i].sqrt() + epsilon);
            }
        }
        x
    }

    #[test]
    fn follows_keras_over_25_steps() {
        assert_close(&train(&mut Adam::new(0.1)), &reference(|_| 0.1, 0.9, 0.999, 1e-7));
        let mut other = Adam::new(0.05).betas(0.8, 0.99).epsilon(1e-3);
        assert_close(&train(&mut other), &reference(|_| 0.05, 0.8, 0.99, 1e-3));
    }

    #[test]
    fn a_schedule_changes_the_rate_between_steps() {
        let rate = |step: i32| 0.1 / f64::from(1 + step);
        let variables = super::super::testing::variables();
        let mut adam = Adam::new(1.0);
        for step in 0..25 {
            adam.set_learning_rate(rate(step));
            adam.step(&loss(&variables, step).unwrap().backward().unwrap()).unwrap();
        }
        assert_close(&super::super::testing::values(&variables), &reference(rate, 0.9, 0.999, 1e-7));
    }

    #[test]
    fn state_survives_an_export() {
        let named = |v: &[Variable; 2]| [("a".to_string(), v[0].clone()), ("b".to_string(), v[1].clone())];
        let (one, two) = (super::super::testing::variables(), super::super::testing::variables());
        let mut adam = Adam::new(0.1);
        for step in 0..10 {
            adam.step(&loss(&one, step).unwrap().backward().unwrap()).unwrap();
        }
        let state = adam.export_state(&named(&one)).unwrap();
        let names: Vec<&str> = state.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["adam.m/a", "adam.v/a", "adam.m/b", "adam.v/b", "adam.step"]);
        for (to, from) in two.iter().zip(&one) {
            to.set(from.value()).unwrap();
        }
        let mut restored = Adam::new(0.1);
        restored.import_state(&named(&two), &state).unwrap();
        for step in 10..25 {
            restored.step(&loss(&two, step).unwrap().backward().unwrap()).unwrap();
        }
        assert_close(&super::super::testing::values(&two), &reference(|_| 0.1, 0.9, 0.999, 1e-7));

        let other = [("c".to_string(), two[0].clone())];
        let message = restored.import_state(&other, &state).unwrap_err().to_string();
        assert_eq!(
            message,
            "Adam::import_state: the state has no adam.m/c; it is of another model or optimizer"
        );
        let swapped = [("a".to_string(), two[1].clone())];
        let message = restored.import_state(&swapped, &state).unwrap_err().to_string();
        assert!(message.contains("adam.m/a has shape [3], expected [1]"), "{message}");
    }

    /// Each variable has its own history, whatever others come and go.
    #[test]
    fn a_changing_set_of_variables_keeps_every_state() {
        let [a, b] = super::super::testing::variables();
        let (mut together, mut apart) = (Adam::new(0.1), Adam::new(0.1));
        // a alone, by an optimizer of its own, in the steps in which it has gradients
        let twin = Variable::new(a.value().detach().unwrap());
        let only = |v: &Variable| (v.value() * 2.0)?.square()?.sum(&[], false)?.backward();
        for step in 0..12 {
            let both = || {
                ((a.value() * 2.0)?.square()?.sum(&[], false)? + b.value().square()?.sum(&[], false)?)?
                    .backward()
            };
            let grads = if step % 3 == 0 { both() } else { only(&a) };
            let before = b.value().to_vec::<f32>().unwrap();
            together.step(&grads.unwrap()).unwrap();
            assert_eq!(before == b.value().to_vec::<f32>().unwrap(), step % 3 != 0, "b in step {step}");
            apart.step(&only(&twin).unwrap()).unwrap();
            assert_eq!(
                a.value().to_vec::<f32>().unwrap(),
                twin.value().to_vec::<f32>().unwrap(),
                "a in step {step}"
            );
        }
    }

    #[test]
    fn a_variable_set_from_outside_is_updated_from_its_new_value() {
        let [a, _] = super::super::testing::variables();
        let mut adam = Adam::new(0.1);
        let step =
            |adam: &mut Adam| adam.step(&a.value().sum(&[], false).unwrap().backward().unwrap()).unwrap();
        step(&mut adam);
        a.set(Tensor::full([3], 100.0f32, Device::Cpu)).unwrap();
        step(&mut adam);
        for v in a.value().to_vec::<f32>().unwrap() {
            assert!((v - 99.9).abs() < 1e-4, "{v}");
        }
    }

    #[test]
    fn f64_and_f32_variables_are_updated_together() {
        let a = Variable::new(Tensor::new([1.0f32, 2.0], Device::Cpu).unwrap());
        let b = Variable::new(Tensor::new([[3.0f64]], Device::Cpu).unwrap());
        let mut adam = Adam::new(0.5);
        for _ in 0..3 {
            let loss = (a.value().cast(DType::F64).unwrap().square().unwrap().sum(&[], false).unwrap()
                + b.value().square().unwrap().sum(&[], false).unwrap())
            .unwrap();
            adam.step(&loss.backward().unwrap()).unwrap();
        }
        assert!(a.value().to_vec::<f32>().unwrap()[0] < 0.1);
        assert!(b.value().item::<f64>().unwrap() < 1.6);
    }
}
