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
//! | `Adadelta`, `Adamax`, `Ftrl`, `Lamb` | [`Adadelta`], [`Adamax`], [`Ftrl`], [`Lamb`] |
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
mod adadelta;
mod adagrad;
mod adam;
mod adamax;
pub mod clip;
mod config;
mod flat;
mod ftrl;
mod fused;
mod lamb;
mod lion;
mod nadam;
mod optimizer;
mod rmsprop;
pub mod schedule;
mod settings;
mod sgd;

pub(crate) use accumulate::Count;
pub use accumulate::GradientAccumulator;
pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use adamax::Adamax;
pub use clip::Clip;
pub use config::from_config;
pub use ftrl::Ftrl;
pub use fused::{Fused, Rule, Vectors};
pub use lamb::Lamb;
pub use lion::Lion;
pub use nadam::Nadam;
pub use optimizer::{Optimizer, State};
pub use rmsprop::RmsProp;
pub use schedule::{
    Constant, CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LinearWarmup, OneCycle,
    PiecewiseConstant, PolynomialDecay, Schedule, Sequence, StepDecay,
};
pub use settings::ParamGroup;
pub use sgd::Sgd;
