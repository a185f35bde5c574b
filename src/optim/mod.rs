//! Optimizers: from gradients to new values of the variables.
//!
//! ```
//! # use wgrad::prelude::*;
//! # fn main() -> Result<()> {
//! let w = Variable::new(Tensor::new([3.0f32, -2.0], Device::Cpu)?);
//! let mut sgd = Sgd::new(0.1);
//! for _ in 0..50 {
//!     let loss = w.value().square()?.sum(.., false)?;
//!     sgd.step(&loss.backward()?)?;
//! }
//! assert!(w.value().abs()?.max(.., false)?.item::<f32>()? < 1e-4);
//! # Ok(()) }
//! ```
//!
//! Formulas and defaults are Keras's. All optimizers are a [`Rule`] in a [`Fused`], which has what they share: all variables
//! are updated by one kernel, and nothing is read back.
//!
//! | TensorFlow, Keras | here |
//! | --- | --- |
//! | `SGD`, `Adam`, `AdamW`, `RMSprop` | [`Sgd`], [`Adam`], [`AdamW`], [`RmsProp`] |
//! | `Adagrad`, `Nadam`, `Lion` | [`Adagrad`], [`Nadam`], [`Lion`] |
//! | a subclass of `Optimizer` | a [`Rule`], or an [`Optimizer`] |
//! | `optimizer.apply(grads, variables)` | [`Optimizer::step`] |
//! | `weight_decay=` | [`Fused::weight_decay`] |
//! | PyTorch's `weight_decay=` but in `AdamW` | [`Fused::coupled_weight_decay`] |
//! | `exclude_from_weight_decay` | [`Fused::exclude_from_weight_decay`] |
//! | `MultiOptimizer`, PyTorch's `param_groups` | [`Fused::group`] |
//! | `clipvalue=`, `clipnorm=`, `global_clipnorm=` | [`Fused::clip_value`], [`Fused::clip_norm`], [`Fused::global_clip_norm`] |
//! | `tf.clip_by_norm`, `tf.clip_by_global_norm` | [`clip::by_norm`], [`clip::by_global_norm`] |
//! | `use_ema=`, `ema_momentum=` | [`Fused::ema`], [`Optimizer::swap_averages`] |
//! | `ema_overwrite_frequency=` | [`Fused::ema_overwrite_every`] |
//! | `finalize_variable_values` | [`Optimizer::finalize`] |
//! | `gradient_accumulation_steps=` | [`GradientAccumulator`] |
//! | `learning_rate=` a schedule | [`Fused::schedule`], [`schedule`] |
//! | `get_config`, `optimizers.get` | [`Optimizer::config`], [`from_config`] |
//! | `save_own_variables` | [`Optimizer::export_state`] |
//!
//! Variables that are not [trainable](crate::Variable::set_trainable) are never changed. Their state is kept for when they
//! are released again.

mod accumulate;
mod adagrad;
mod adam;
pub mod clip;
mod flat;
mod fused;
mod lion;
mod nadam;
mod rmsprop;
pub mod schedule;
mod sgd;

pub(crate) use accumulate::Count;
pub use accumulate::GradientAccumulator;
pub use adagrad::{Adagrad, AdagradRule};
pub use adam::{Adam, AdamRule, AdamW, AdamWRule};
pub use clip::Clip;
pub use fused::{Fused, ParamGroup, Rule, Vectors};
pub use lion::{Lion, LionRule};
pub use nadam::{Nadam, NadamRule};
pub use rmsprop::{RmsProp, RmsPropRule};
pub use schedule::{
    Constant, CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LinearWarmup, OneCycle,
    PiecewiseConstant, PolynomialDecay, Schedule, Sequence, StepDecay,
};
pub use sgd::{Sgd, SgdRule};

use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde_json::Value;
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
        crate::backend::eval(&all)
    }

    /// Its name, such as `AdamW`.
    fn name(&self) -> &str;

    /// Its settings as a JSON object, with its `name`: what [`from_config`] makes another one of. State is not part of it.
    fn config(&self) -> Value {
        serde_json::json!({"name": self.name()})
    }

    /// Number of updates so far.
    fn steps(&self) -> u64;

    /// Makes the state for these variables now, so that the first step is already like all later ones. Optional.
    fn prepare(&mut self, variables: &[Variable]) -> Result<()>;

    /// The learning rate of the next update.
    fn learning_rate(&self) -> f64;

    /// Changes the learning rate: free on every device. A schedule, where there is one, ends with it.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// The average of a variable's values, where averages are kept; see [`Fused::ema`].
    fn average(&self, _variable: &Variable) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Exchanges the variables' values and their averages, where averages are kept: once before an evaluation, and once
    /// after it. Whether the variables hold their averages now. In between nothing can be updated.
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
    fn swap_averages(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// To be called at the end of a training: sets the variables to their averages, where averages are kept.
    fn finalize(&mut self) -> Result<()> {
        Ok(())
    }

    /// The state that belongs to these named variables, to be saved along with them. A training that is resumed from it
    /// goes on bit by bit as it would have.
    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State>;

    /// Takes over a state that [`export_state`](Self::export_state) gave for variables of the same names and shapes, and
    /// with it the number of updates, and the learning rate if it was [set](Self::set_learning_rate).
    ///
    /// # Errors
    ///
    /// The state is of another optimizer or model. Nothing is changed then.
    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()>;
}

impl Optimizer for Box<dyn Optimizer> {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        (**self).update(grads)
    }
    fn step(&mut self, grads: &Gradients) -> Result<()> {
        (**self).step(grads)
    }
    fn name(&self) -> &str {
        (**self).name()
    }
    fn config(&self) -> Value {
        (**self).config()
    }
    fn steps(&self) -> u64 {
        (**self).steps()
    }
    fn prepare(&mut self, variables: &[Variable]) -> Result<()> {
        (**self).prepare(variables)
    }
    fn learning_rate(&self) -> f64 {
        (**self).learning_rate()
    }
    fn set_learning_rate(&mut self, learning_rate: f64) {
        (**self).set_learning_rate(learning_rate);
    }
    fn average(&self, variable: &Variable) -> Result<Option<Tensor>> {
        (**self).average(variable)
    }
    fn swap_averages(&mut self) -> Result<bool> {
        (**self).swap_averages()
    }
    fn finalize(&mut self) -> Result<()> {
        (**self).finalize()
    }
    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        (**self).export_state(variables)
    }
    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        (**self).import_state(variables, state)
    }
}

/// An optimizer with the settings that [`Optimizer::config`] gave, or with some of them: `name` and `learning_rate` are
/// needed, all others have defaults.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let config = Adam::new(1e-3).betas(0.8, 0.9).clip_norm(1.0).config();
/// let again = wgrad::optim::from_config(&config)?;
/// assert_eq!(again.config(), config);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// There is no optimizer of this name, or no such setting; or the settings are of a schedule of one's own, or of groups of
/// variables, neither of which can be made of JSON.
pub fn from_config(config: &Value) -> Result<Box<dyn Optimizer>> {
    match config["name"].as_str().unwrap_or_default() {
        "Sgd" => fused::from_config::<SgdRule>(config),
        "Adam" => fused::from_config::<AdamRule>(config),
        "AdamW" => fused::from_config::<AdamWRule>(config),
        "RmsProp" => fused::from_config::<RmsPropRule>(config),
        "Adagrad" => fused::from_config::<AdagradRule>(config),
        "Nadam" => fused::from_config::<NadamRule>(config),
        "Lion" => fused::from_config::<LionRule>(config),
        _ => {
            let message = format!(
                "{config} names no optimizer of wgrad's; its `name` may be Sgd, Adam, AdamW, RmsProp, Adagrad, Nadam or Lion"
            );
            Err(Error::argument("optim::from_config", message))
        }
    }
}

/// A setting that must be a number in a range.
fn check_setting(op: &str, name: &str, value: f64, range: std::ops::Range<f64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{name} is {value}; it must be at least {} and below {}", range.start, range.end);
    Err(Error::argument(op, message))
}

/// `step / root`, and 0 where the root is 0, as without an epsilon it is where no gradient ever was: such a parameter stays
/// what it is.
fn divided(step: Tensor, root: Tensor, epsilon: f64) -> Result<Tensor> {
    let quotient = (step / &root)?;
    // as good as 0 in f32
    if epsilon >= f64::from(f32::MIN_POSITIVE) {
        return Ok(quotient);
    }
    root.eq(0.0)?.select(0.0, quotient)
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
