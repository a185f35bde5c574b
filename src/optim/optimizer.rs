//! What every optimizer is, and what their settings and states share.

use crate::autograd::Gradients;
use crate::backend::eval;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::variable::Variable;
use std::collections::HashMap;

/// An optimizer's state by name, as [`Optimizer::export_state`] gives it.
pub type State = Vec<(String, Tensor)>;

/// The entries of a state behind a prefix, to stand in a larger one.
pub(crate) fn under(prefix: &str, state: State) -> impl Iterator<Item = (String, Tensor)> {
    state.into_iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor))
}

/// The entries that [`under`] has put behind a prefix, as they were.
pub(crate) fn part_of(state: &State, prefix: &str) -> State {
    let part = |(name, tensor): &(String, Tensor)| {
        name.strip_prefix(prefix).map(|name| (name.to_string(), tensor.clone()))
    };
    state.iter().filter_map(part).collect()
}

/// Gives each optimizer its state. They all take them, or nothing is changed.
pub(crate) fn import_all(
    mut parts: Vec<(&mut dyn Optimizer, State)>,
    variables: &[(String, Variable)],
) -> Result<()> {
    let held: Vec<State> =
        parts.iter().map(|(optimizer, _)| optimizer.export_state(variables)).collect::<Result<_>>()?;
    for place in 0..parts.len() {
        let (optimizer, state) = &mut parts[place];
        if let Err(error) = optimizer.import_state(variables, state) {
            for ((optimizer, _), held) in parts.iter_mut().zip(&held).take(place) {
                optimizer.import_state(variables, held)?;
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Changes variables by their gradients.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([1.0f32, -2.0], Device::Cpu)?);
/// let mut optimizers: Vec<Box<dyn Optimizer>> = vec![Box::new(Sgd::new(0.1)), Box::new(Adam::new(0.1))];
/// for optimizer in &mut optimizers {
///     let loss = w.value().square()?.sum(.., false)?;
///     optimizer.step(&loss.backward()?)?;
/// }
/// assert!(w.value().square()?.sum(.., false)?.item::<f32>()? < 5.0);
/// # Ok(()) }
/// ```
pub trait Optimizer: Send {
    /// Sets every variable that has a gradient to its next value, without computing anything yet. Gives the tensors that
    /// have to be evaluated together, before the next update: new values and the optimizer's state.
    ///
    /// # Errors
    ///
    /// A setting is impossible (a learning rate that is negative or not finite, say), one that decides what the state consists
    /// of was changed after the first update, the variables hold their averages, or a function is being traced. Nothing is
    /// changed then.
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>>;

    /// [`update`](Self::update), and the evaluation of it all together with the loss: on a GPU one submission, which is
    /// not waited for.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update); or the device fails.
    fn step(&mut self, grads: &Gradients) -> Result<()> {
        let updated = self.update(grads)?;
        let mut all: Vec<&Tensor> = updated.iter().collect();
        all.push(grads.loss());
        eval(&all)
    }

    /// Its name, such as `AdamW`.
    fn name(&self) -> &str;

    /// Its settings as a JSON object, with its `name`: what [`from_config`](super::from_config) makes another one of. State is
    /// not part of it.
    fn config(&self) -> Config {
        Config(serde_json::json!({"name": self.name()}))
    }

    /// Number of updates so far.
    fn steps(&self) -> u64;

    /// Whether it changes this variable where it has a gradient: all, unless it is [`over`](super::Adam::over) others.
    fn owns(&self, _variable: &Variable) -> bool {
        true
    }

    /// Makes the state for these variables now, so that the first step is already like all later ones. Optional.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    fn prepare(&mut self, variables: &[Variable]) -> Result<()>;

    /// The learning rate of the next update.
    fn learning_rate(&self) -> f64;

    /// Changes the learning rate: free on every device. A schedule, where there is one, ends with it.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// Has updates use another learning rate than the settings or the schedule give, until they are told `None`: the schedule goes on
    /// beneath it. [`Trainer::find_learning_rate`](crate::train::Trainer::find_learning_rate) tries rates so.
    ///
    /// # Errors
    ///
    /// The optimizer can't do this, as is said of any that doesn't implement it.
    fn override_learning_rate(&mut self, _learning_rate: Option<f64>) -> Result<()> {
        let message = "the optimizer has no override_learning_rate; implement it";
        Err(Error::argument(self.name(), message))
    }

    /// The average of a variable's values, where averages are kept; see [`ema`](super::Adam::ema).
    ///
    /// # Errors
    ///
    /// The value can't be taken out of the state.
    fn average(&self, _variable: &Variable) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Exchanges the variables' values and their averages, where averages are kept: once before an evaluation, and once
    /// after it. Whether the variables hold their averages now; those that have none yet keep their values. In between nothing can
    /// be updated or saved.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let w = Variable::new(Tensor::new([1.0f32], Device::Cpu)?);
    /// let mut sgd = Sgd::new(0.5).ema(0.5);
    /// for _ in 0..2 {
    ///     sgd.step(&w.value().sum(.., false)?.backward()?)?;
    /// }
    /// assert!(sgd.swap_averages()?);
    /// assert_eq!(w.value().item::<f32>()?, 0.25); // of 0.5 and 0
    /// assert!(!sgd.swap_averages()?);
    /// assert_eq!(w.value().item::<f32>()?, 0.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The variables can't be set. They are all exchanged, or none is.
    fn swap_averages(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// To be called at the end of a training: sets the variables to their averages, where averages are kept.
    ///
    /// # Errors
    ///
    /// The variables can't be set.
    fn finalize(&mut self) -> Result<()> {
        Ok(())
    }

    /// The state that belongs to these named variables, to be saved along with them. A training that is resumed from it
    /// goes on bit by bit as it would have.
    ///
    /// # Errors
    ///
    /// The state can't be taken apart, or the variables hold their averages ([`swap_averages`](Self::swap_averages)): what is saved
    /// along with it would not be what is trained.
    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State>;

    /// Takes over a state that [`export_state`](Self::export_state) gave for variables of the same names and shapes, and
    /// with it the number of updates, and the learning rate if it was [set](Self::set_learning_rate).
    ///
    /// # Errors
    ///
    /// The state is of another optimizer or model. Nothing is changed then.
    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()>;
}

/// `Optimizer` by what a type holds: each method is handed on. Clippy refuses one that is forgotten, and would fall back to what
/// the trait provides.
macro_rules! forward_optimizer {
    ([$($generics:tt)*] $optimizer:ty, $this:ident => $inner:expr) => {
        #[deny(clippy::missing_trait_methods)]
        impl<$($generics)*> $crate::optim::Optimizer for $optimizer {
            fn update(&mut self, grads: &$crate::Gradients) -> $crate::Result<Vec<$crate::Tensor>> {
                let $this = self;
                $inner.update(grads)
            }
            fn step(&mut self, grads: &$crate::Gradients) -> $crate::Result<()> {
                let $this = self;
                $inner.step(grads)
            }
            fn name(&self) -> &str {
                let $this = self;
                $inner.name()
            }
            fn config(&self) -> $crate::Config {
                let $this = self;
                $inner.config()
            }
            fn steps(&self) -> u64 {
                let $this = self;
                $inner.steps()
            }
            fn owns(&self, variable: &$crate::Variable) -> bool {
                let $this = self;
                $inner.owns(variable)
            }
            fn prepare(&mut self, variables: &[$crate::Variable]) -> $crate::Result<()> {
                let $this = self;
                $inner.prepare(variables)
            }
            fn learning_rate(&self) -> f64 {
                let $this = self;
                $inner.learning_rate()
            }
            fn set_learning_rate(&mut self, learning_rate: f64) {
                let $this = self;
                $inner.set_learning_rate(learning_rate);
            }
            fn override_learning_rate(&mut self, learning_rate: Option<f64>) -> $crate::Result<()> {
                let $this = self;
                $inner.override_learning_rate(learning_rate)
            }
            fn average(&self, variable: &$crate::Variable) -> $crate::Result<Option<$crate::Tensor>> {
                let $this = self;
                $inner.average(variable)
            }
            fn swap_averages(&mut self) -> $crate::Result<bool> {
                let $this = self;
                $inner.swap_averages()
            }
            fn finalize(&mut self) -> $crate::Result<()> {
                let $this = self;
                $inner.finalize()
            }
            fn export_state(
                &self,
                variables: &[(String, $crate::Variable)],
            ) -> $crate::Result<$crate::optim::State> {
                let $this = self;
                $inner.export_state(variables)
            }
            fn import_state(
                &mut self,
                variables: &[(String, $crate::Variable)],
                state: &$crate::optim::State,
            ) -> $crate::Result<()> {
                let $this = self;
                $inner.import_state(variables, state)
            }
        }
    };
}
pub(super) use forward_optimizer;

forward_optimizer!([O: Optimizer + ?Sized] Box<O>, this => (**this));
forward_optimizer!([O: Optimizer + ?Sized] &mut O, this => (**this));

/// A setting that must be a number in a range.
pub(super) fn check_setting(op: &str, name: &str, value: f64, range: std::ops::Range<f64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{name} is {value}; it must be at least {} and below {}", range.start, range.end);
    Err(Error::argument(op, message))
}

/// `step / root`, and 0 where the root is 0, as without an epsilon it is where no gradient ever was: such a parameter stays
/// what it is.
pub(super) fn divided(step: Tensor, root: Tensor, epsilon: f64) -> Result<Tensor> {
    let quotient = (step / &root)?;
    // as good as 0 in f32
    if epsilon >= f64::from(f32::MIN_POSITIVE) {
        return Ok(quotient);
    }
    root.eq(0.0)?.select(0.0, quotient)
}

/// Looks a state tensor up by name and checks its shape.
pub(super) fn state_entry(
    op: &str,
    state: &HashMap<&str, &Tensor>,
    name: &str,
    shape: &[usize],
) -> Result<Tensor> {
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
