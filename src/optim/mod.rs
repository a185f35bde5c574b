//! Optimizers: from gradients to new values of the variables.
//!
//! ```
//! # use wgrad::prelude::*;
//! # fn main() -> Result<()> {
//! let w = Variable::new(Tensor::new([3.0f32, -2.0], Device::Cpu)?);
//! let mut sgd = Sgd::new(0.1);
//! for _ in 0..50 {
//!     let loss = w.value().square()?.sum(&[], false)?;
//!     sgd.step(&loss.backward()?)?;
//! }
//! assert!(w.value().abs()?.max(&[], false)?.item::<f32>()? < 1e-4);
//! # Ok(()) }
//! ```

mod adam;
mod flat;
mod sgd;

pub use adam::Adam;
pub use sgd::Sgd;

use crate::autograd::{Gradients, Variable};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// An optimizer's state by name, as [`Optimizer::export_state`] gives it.
pub type State = Vec<(String, Tensor)>;

/// Changes variables by their gradients.
pub trait Optimizer: Send {
    /// Sets every variable that has a gradient to its next value, without computing anything yet. Gives the tensors that
    /// have to be evaluated together, before the next update: new values and the optimizer's state.
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>>;

    /// [`update`](Self::update), and the evaluation of it all together with the loss: on a GPU one submission, which is
    /// not waited for.
    fn step(&mut self, grads: &Gradients) -> Result<()> {
        let updated = self.update(grads)?;
        let mut all: Vec<&Tensor> = updated.iter().collect();
        all.push(grads.loss());
        crate::eval::eval(&all)
    }

    /// Makes the state for these variables now, so that the first step is already like all later ones. Optional.
    fn prepare(&mut self, variables: &[Variable]) -> Result<()>;

    /// The learning rate.
    fn learning_rate(&self) -> f64;

    /// Changes the learning rate, as schedules do: free on every device.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// The state that belongs to these named variables, to be saved along with them.
    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State>;

    /// Takes over a state that [`export_state`](Self::export_state) gave for variables of the same names and shapes.
    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()>;
}

/// A setting that must be a number in a range.
fn check_setting(op: &str, name: &str, value: f64, range: std::ops::Range<f64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{name} is {value}; it must be at least {} and below {}", range.start, range.end);
    Err(Error::argument(op, message))
}

/// Looks a state tensor up by name and checks its shape.
fn state_entry(op: &str, state: &HashMap<&str, &Tensor>, name: &str, shape: &[usize]) -> Result<Tensor> {
    let Some(tensor) = state.get(name) else {
        return Err(Error::argument(
            op,
            format!("the state has no {name}; it is of another model or optimizer"),
        ));
    };
    if tensor.dims() != shape {
        let message =
            format!("{name} has shape {}, expected {shape:?}; it is of another model", tensor.shape());
        return Err(Error::shape(op, message));
    }
    Ok((*tensor).clone())
}

/// A problem for the tests: a quadratic that changes from step to step, over two variables of three elements and one.
#[cfg(test)]
mod testing {
    use super::Optimizer;
    use crate::prelude::*;

    pub fn x0() -> Vec<f64> {
        vec![1.0, -2.0, 0.5, 3.0]
    }

    fn target(step: i32) -> f64 {
        0.25 * f64::from(step % 5)
    }

    /// Of `sum(scale * (x - target)^2)` with scales 1, 2, 3 and 4.
    pub fn gradient(x: &[f64], step: i32) -> Vec<f64> {
        x.iter().enumerate().map(|(i, x)| 2.0 * (i as f64 + 1.0) * (x - target(step))).collect()
    }

    pub fn variables() -> [Variable; 2] {
        let x: Vec<f32> = x0().iter().map(|&v| v as f32).collect();
        [&x[..3], &x[3..]].map(|x| Variable::new(Tensor::from_slice(x, [x.len()], Device::Cpu).unwrap()))
    }

    pub fn loss(variables: &[Variable; 2], step: i32) -> Result<Tensor> {
        let scale = Tensor::new([1.0f32, 2.0, 3.0], Device::Cpu)?;
        let [a, b] = variables.each_ref().map(|v| (v.value() - target(step))?.square());
        (scale * a?)?.sum(&[], false)? + (b? * 4.0)?.sum(&[], false)?
    }

    pub fn values(variables: &[Variable; 2]) -> Vec<f32> {
        variables.iter().flat_map(|v| v.value().to_vec::<f32>().unwrap()).collect()
    }

    pub fn train(optimizer: &mut dyn Optimizer) -> Vec<f32> {
        let variables = variables();
        for step in 0..25 {
            optimizer.step(&loss(&variables, step).unwrap().backward().unwrap()).unwrap();
        }
        values(&variables)
    }

    pub fn assert_close(values: &[f32], expected: &[f64]) {
        for (v, e) in values.iter().zip(expected) {
            assert!((f64::from(*v) - e).abs() < 1e-5 * e.abs().max(1.0), "{values:?} against {expected:?}");
        }
    }
}
