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
//! An optimizer changes all variables that have a gradient. Where that is too many, [`over`](Adam::over) says which are its own. In a GAN
//! the generator's loss depends on the discriminator's weights, too, and must leave them alone:
//!
//! ```
//! # use wgrad::prelude::*;
//! use wgrad::nn::{BinaryCrossentropy, Context};
//! # fn main() -> Result<()> {
//! # let device = Device::Cpu;
//! let generator = Sequential::new().add(Dense::new(2)).build([8], device)?;
//! let discriminator = Sequential::new().add(Dense::new(1)).build([2], device)?;
//! let mut of_generator = Adam::new(1e-3).over(&generator);
//! let mut of_discriminator = Adam::new(1e-3).over(&discriminator);
//! let loss = BinaryCrossentropy::from_logits();
//! # let real = Tensor::randn([16, 2], device, 1)?;
//! for step in 0..2 {
//!     let cx = Context::train(step);
//!     let fake = generator.forward(&Tensor::randn([16, 8], device, step)?, &cx)?;
//!     let (yes, no) = (Tensor::ones([16, 1], device)?, Tensor::zeros([16, 1], device)?);
//!     let score = |x: &Tensor| discriminator.forward(x, &cx);
//!
//!     let told = (loss.compute(&score(&real)?, &yes)? + loss.compute(&score(&fake.detach()?)?, &no)?)?;
//!     of_discriminator.step(&told.backward()?)?;
//!
//!     let fooled = loss.compute(&score(&fake)?, &yes)?; // by the discriminator as it is now
//!     of_generator.step(&fooled.backward()?)?;
//! }
//! # Ok(()) }
//! ```
//!
//! For a single step there is [`Gradients::only`](crate::Gradients::only).
//!
//! | TensorFlow, Keras | here |
//! | --- | --- |
//! | `SGD`, `Adam`, `AdamW`, `RMSprop` | [`Sgd`], [`Adam`], [`AdamW`], [`RmsProp`] |
//! | `Adagrad`, `Nadam`, `Lion` | [`Adagrad`], [`Nadam`], [`Lion`] |
//! | `Adadelta`, `Adamax`, `Ftrl`, `Lamb` | [`Adadelta`], [`Adamax`], [`Ftrl`], [`Lamb`] |
//! | a subclass of `Optimizer` | a [`Rule`], or an [`Optimizer`] |
//! | `optimizer.apply(grads, variables)` | [`Optimizer::step`] |
//! | `optimizer.apply_gradients(zip(grads, generator.trainable_variables))` | [`over`](Adam::over), [`Gradients::only`](crate::Gradients::only) |
//! | `weight_decay=` | [`weight_decay`](Adam::weight_decay) |
//! | PyTorch's `weight_decay=` but in `AdamW` | [`coupled_weight_decay`](Adam::coupled_weight_decay) |
//! | `exclude_from_weight_decay` | [`exclude_from_weight_decay`](Adam::exclude_from_weight_decay) |
//! | `MultiOptimizer`, PyTorch's `param_groups` | [`group`](Adam::group) |
//! | `clipvalue=`, `clipnorm=`, `global_clipnorm=` | [`clip_value`](Adam::clip_value), [`clip_norm`](Adam::clip_norm), [`global_clip_norm`](Adam::global_clip_norm) |
//! | `tf.clip_by_norm`, `tf.clip_by_global_norm` | [`clip::by_norm`], [`clip::by_global_norm`] |
//! | `use_ema=`, `ema_momentum=` | [`ema`](Adam::ema), [`Optimizer::swap_averages`] |
//! | TensorFlow Addons' `Lookahead`, `SWA` | [`Lookahead`], [`Swa`] |
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
mod around;
pub mod clip;
mod config;
mod factor;
mod flat;
mod ftrl;
mod fused;
mod lamb;
mod lion;
mod lookahead;
mod nadam;
mod optimizer;
mod rmsprop;
pub mod schedule;
mod settings;
mod sgd;
mod swa;

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
pub use lookahead::Lookahead;
pub use nadam::Nadam;
pub use optimizer::{Optimizer, State};
pub(crate) use optimizer::{import_all, part_of, under};
pub use rmsprop::RmsProp;
pub use schedule::{
    Constant, CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LinearWarmup, OneCycle,
    PiecewiseConstant, PolynomialDecay, Schedule, Sequence, StepDecay,
};
pub use settings::ParamGroup;
pub use sgd::Sgd;
pub use swa::Swa;
