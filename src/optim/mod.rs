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
//! Formulas and defaults are Keras's. All optimizers are formulas, [`Rule`]s, around which a [`Fused`] has what they share: all
//! variables are updated by one kernel, and nothing is read back. Settings that all have, such as
//! [`weight_decay`](Adam::weight_decay), are methods of each:
//!
//! ```
//! # use wgrad::prelude::*;
//! # fn main() -> Result<()> {
//! # let model = Sequential::new().add(Dense::new(2)).add(Dense::new(1)).build([3], Device::Cpu)?;
//! let first = model.parameters().into_iter().filter(|p| p.name.starts_with("dense."));
//! let sgd = Sgd::new(0.1).weight_decay(1e-3).group(first, |g| g.lr_scale(0.1).weight_decay(0.0));
//! # drop(sgd);
//! # Ok(()) }
//! ```
//!
//! | TensorFlow, Keras | here |
//! | --- | --- |
//! | `SGD`, `Adam`, `AdamW`, `RMSprop` | [`Sgd`], [`Adam`], [`AdamW`], [`RmsProp`] |
//! | `Adagrad`, `Nadam`, `Lion` | [`Adagrad`], [`Nadam`], [`Lion`] |
//! | a subclass of `Optimizer` | a [`Rule`], or an [`Optimizer`] |
//! | `optimizer.apply(grads, variables)` | [`Optimizer::step`] |
//! | `weight_decay=` | [`weight_decay`](Adam::weight_decay) |
//! | PyTorch's `weight_decay=` but in `AdamW` | [`coupled_weight_decay`](Adam::coupled_weight_decay) |
//! | `exclude_from_weight_decay` | [`exclude_from_weight_decay`](Adam::exclude_from_weight_decay) |
//! | `MultiOptimizer`, PyTorch's `param_groups` | [`group`](Adam::group) |
//! | `clipvalue=`, `clipnorm=`, `global_clipnorm=` | [`clip_value`](Adam::clip_value), [`clip_norm`](Adam::clip_norm), [`global_clip_norm`](Adam::global_clip_norm) |
//! | `tf.clip_by_norm`, `tf.clip_by_global_norm` | [`clip::by_norm`], [`clip::by_global_norm`] |
//! | `use_ema=`, `ema_momentum=` | [`ema`](Adam::ema), [`Optimizer::swap_averages`] |
//! | `ema_overwrite_frequency=` | [`ema_overwrite_every`](Adam::ema_overwrite_every) |
//! | `finalize_variable_values` | [`Optimizer::finalize`] |
//! | `gradient_accumulation_steps=` | [`GradientAccumulator`] |
//! | `learning_rate=` a schedule | [`schedule`](Adam::schedule), [`schedule`] |
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
mod settings;
mod sgd;

pub(crate) use accumulate::Count;
pub use accumulate::GradientAccumulator;
pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use clip::Clip;
pub use fused::{Fused, Rule, Vectors};
pub use lion::Lion;
pub use nadam::Nadam;
pub use rmsprop::RmsProp;
pub use schedule::{
    Constant, CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LinearWarmup, OneCycle,
    PiecewiseConstant, PolynomialDecay, Schedule, Sequence, StepDecay,
};
pub use settings::ParamGroup;
pub use sgd::Sgd;

use crate::autograd::Gradients;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::variable::Variable;
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
    fn config(&self) -> Config {
        Config(serde_json::json!({"name": self.name()}))
    }

    /// Number of updates so far.
    fn steps(&self) -> u64;

    /// Makes the state for these variables now, so that the first step is already like all later ones. Optional.
    fn prepare(&mut self, variables: &[Variable]) -> Result<()>;

    /// The learning rate of the next update.
    fn learning_rate(&self) -> f64;

    /// Changes the learning rate: free on every device. A schedule, where there is one, ends with it.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// The average of a variable's values, where averages are kept; see [`ema`](Adam::ema).
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
use forward_optimizer;

forward_optimizer!([O: Optimizer + ?Sized] Box<O>, this => (**this));
forward_optimizer!([O: Optimizer + ?Sized] &mut O, this => (**this));

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
pub fn from_config(config: &Config) -> Result<Box<dyn Optimizer>> {
    match config.0["name"].as_str().unwrap_or_default() {
        "Sgd" => fused::from_config::<sgd::SgdRule>(config),
        "Adam" => fused::from_config::<adam::AdamRule>(config),
        "AdamW" => fused::from_config::<adam::AdamWRule>(config),
        "RmsProp" => fused::from_config::<rmsprop::RmsPropRule>(config),
        "Adagrad" => fused::from_config::<adagrad::AdagradRule>(config),
        "Nadam" => fused::from_config::<nadam::NadamRule>(config),
        "Lion" => fused::from_config::<lion::LionRule>(config),
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
