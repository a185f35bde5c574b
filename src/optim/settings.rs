//! What all optimizers can be told, whatever their formula.

use super::clip::Clip;
use super::optimizer::check_setting;
use super::schedule::Schedule;
use crate::error::Result;
use crate::tensor::IdMap;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// What all optimizers share.
pub(super) struct Shared {
    pub settings: Settings,
    pub schedule: Option<Box<dyn Schedule>>,
    pub groups: IdMap<ParamGroup>,
    /// The variables that it changes, where these are not all that have gradients.
    pub over: Option<IdMap<()>>,
}

impl Shared {
    /// Whether it changes this variable.
    pub fn owns(&self, variable: &Variable) -> bool {
        self.over.as_ref().is_none_or(|own| own.contains_key(&variable.id()))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub learning_rate: f64,
    #[serde(default)]
    pub weight_decay: Option<f64>,
    #[serde(default)]
    pub coupled_weight_decay: f64,
    #[serde(default)]
    pub clip: Option<Clip>,
    #[serde(default)]
    pub ema: Option<Ema>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ema {
    pub momentum: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwrite_every: Option<u32>,
}

/// What is different for some variables than for all others; see [`Fused::group`](super::Fused::group).
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (slow, fast) = (Variable::new(Tensor::zeros([1], Device::Cpu)?), Variable::new(Tensor::zeros([1], Device::Cpu)?));
/// let mut sgd = Sgd::new(1.0).group([&fast], |g| g.lr_scale(10.0));
/// sgd.step(&(&slow + &fast)?.sum(.., false)?.backward()?)?;
/// assert_eq!((slow.value().item::<f32>()?, fast.value().item::<f32>()?), (-1.0, -10.0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct ParamGroup {
    pub(super) lr_scale: f64,
    pub(super) weight_decay: Option<f64>,
    pub(super) coupled_weight_decay: Option<f64>,
}

impl ParamGroup {
    pub(super) const DEFAULT: ParamGroup =
        ParamGroup { lr_scale: 1.0, weight_decay: None, coupled_weight_decay: None };

    /// What the learning rate is multiplied by.
    pub fn lr_scale(mut self, factor: f64) -> ParamGroup {
        self.lr_scale = factor;
        self
    }

    /// The decoupled weight decay.
    pub fn weight_decay(mut self, weight_decay: f64) -> ParamGroup {
        self.weight_decay = Some(weight_decay);
        self
    }

    /// The coupled weight decay.
    pub fn coupled_weight_decay(mut self, weight_decay: f64) -> ParamGroup {
        self.coupled_weight_decay = Some(weight_decay);
        self
    }

    pub(super) fn check(self, op: &str) -> Result<()> {
        let range = 0.0..f64::INFINITY;
        check_setting(op, "a group's lr_scale", self.lr_scale, range.clone())?;
        check_setting(op, "a group's weight decay", self.weight_decay.unwrap_or(0.0), range.clone())?;
        check_setting(op, "a group's coupled weight decay", self.coupled_weight_decay.unwrap_or(0.0), range)
    }
}

/// The methods that set what all optimizers share, for a type that holds a [`Shared`]: each optimizer has them on its own page
/// of the documentation.
macro_rules! shared_settings {
    ([$($generics:tt)*] $optimizer:ty, $($shared:tt).+) => {
        impl<$($generics)*> $optimizer {
            /// The learning rate as a function of the number of updates so far, 0 for the first, in place of a fixed one. Free
            /// on every device: the rate is an argument of the plan.
            pub fn schedule(mut self, schedule: impl $crate::optim::Schedule + 'static) -> Self {
                self.$($shared).+.schedule = Some(Box::new(schedule));
                self
            }

            /// Decoupled weight decay: each update takes away `learning_rate * weight_decay` of a parameter, whatever the
            /// gradient does (Loshchilov and Hutter, 2019; Keras's `weight_decay`, PyTorch's in `AdamW` only).
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.$($shared).+.settings.weight_decay = Some(weight_decay);
                self
            }

            /// Coupled weight decay: adds this times the parameter to its gradient, an L2 penalty of half of it (PyTorch's
            /// `weight_decay`).
            pub fn coupled_weight_decay(mut self, weight_decay: f64) -> Self {
                self.$($shared).+.settings.coupled_weight_decay = weight_decay;
                self
            }

            /// Changes the weights of this module and no others, whatever else a loss depends on: where several networks are trained
            /// against each other, each has an optimizer of its own. Called again, the weights of that module, too.
            pub fn over(self, module: &(impl $crate::nn::Module + ?Sized)) -> Self {
                self.over_variables(module.parameters().into_iter().filter(|p| !p.buffer))
            }

            /// As [`over`](Self::over), of variables: `.over_variables([&w, &b])`.
            pub fn over_variables(
                mut self,
                variables: impl IntoIterator<Item = impl Into<$crate::Variable>>,
            ) -> Self {
                let own = self.$($shared).+.over.get_or_insert_with(Default::default);
                own.extend(variables.into_iter().map(|variable| (variable.into().id(), ())));
                self
            }

            /// Settings of their own for some variables: `.group(&head, |g| g.lr_scale(10.0))`. A variable that is given again
            /// keeps what it was given before and is not given now. All variables are still updated by one kernel.
            pub fn group(
                mut self,
                variables: impl IntoIterator<Item = impl Into<$crate::Variable>>,
                settings: impl Fn($crate::optim::ParamGroup) -> $crate::optim::ParamGroup,
            ) -> Self {
                for variable in variables {
                    let groups = &mut self.$($shared).+.groups;
                    let group = groups.entry(variable.into().id()).or_insert($crate::optim::ParamGroup::DEFAULT);
                    *group = settings(*group);
                }
                self
            }

            /// No weight decay, of neither kind, for these variables, such as biases and scales of normalisations (Keras's
            /// `exclude_from_weight_decay`).
            pub fn exclude_from_weight_decay(
                self,
                variables: impl IntoIterator<Item = impl Into<$crate::Variable>>,
            ) -> Self {
                self.group(variables, |g| g.weight_decay(0.0).coupled_weight_decay(0.0))
            }

            /// Clips gradients; see [`Clip`](crate::optim::Clip). One kind at a time, as in Keras: a later call replaces an
            /// earlier one.
            pub fn clip(mut self, clip: $crate::optim::Clip) -> Self {
                self.$($shared).+.settings.clip = Some(clip);
                self
            }

            /// Clips each element of the gradients to `-limit..=limit` (Keras's `clipvalue`).
            pub fn clip_value(self, limit: f64) -> Self {
                self.clip($crate::optim::Clip::Value(limit))
            }

            /// Scales each variable's gradient down to this L2 norm (Keras's `clipnorm`).
            pub fn clip_norm(self, limit: f64) -> Self {
                self.clip($crate::optim::Clip::Norm(limit))
            }

            /// Scales all gradients down by one factor so that they have this L2 norm together (Keras's `global_clipnorm`).
            pub fn global_clip_norm(self, limit: f64) -> Self {
                self.clip($crate::optim::Clip::GlobalNorm(limit))
            }

            /// Keeps exponential moving averages of the weights, of which each update keeps the share `momentum` (Keras's
            /// `use_ema` and `ema_momentum`, there 0.99). They begin with the weights after the first update.
            ///
            /// [`swap_averages`](crate::optim::Optimizer::swap_averages) puts them into the variables for an evaluation and
            /// takes them out again; [`finalize`](crate::optim::Optimizer::finalize) puts them there for good.
            pub fn ema(mut self, momentum: f64) -> Self {
                let overwrite_every = self.$($shared).+.settings.ema.and_then(|e| e.overwrite_every);
                let ema = $crate::optim::settings::Ema { momentum, overwrite_every };
                self.$($shared).+.settings.ema = Some(ema);
                self
            }

            /// Sets the variables to their averages after every so many updates (Keras's `ema_overwrite_frequency`). Averages
            /// are kept with momentum 0.99 unless [`ema`](Self::ema) says otherwise.
            pub fn ema_overwrite_every(mut self, updates: u32) -> Self {
                let momentum = self.$($shared).+.settings.ema.map_or(0.99, |e| e.momentum);
                let ema = $crate::optim::settings::Ema { momentum, overwrite_every: Some(updates) };
                self.$($shared).+.settings.ema = Some(ema);
                self
            }
        }
    };
}
pub(super) use shared_settings;
