//! Learning rates as functions of the number of updates.
//!
//! | Keras, PyTorch | here |
//! | --- | --- |
//! | `PiecewiseConstantDecay` | [`PiecewiseConstant`] |
//! | `StepLR` | [`StepDecay`] |
//! | `ExponentialDecay` | [`ExponentialDecay`] |
//! | `PolynomialDecay` | [`PolynomialDecay`] |
//! | `InverseTimeDecay` | [`InverseTimeDecay`] |
//! | `CosineDecay` (with `warmup_target`) | [`CosineDecay`] (with [`Schedule::after_warmup`]) |
//! | `CosineDecayRestarts` | [`CosineDecayRestarts`] |
//! | `LinearLR` | [`LinearWarmup`] |
//! | `OneCycleLR` | [`OneCycle`] |
//! | `SequentialLR` | [`Sequence`] |
//! | a subclass of `LearningRateSchedule` | a closure, or a type of your own with [`Schedule`] |
//!
//! ```
//! # use wgrad::prelude::*;
//! use wgrad::optim::{CosineDecay, Schedule};
//! let schedule = CosineDecay::new(1e-3, 900).after_warmup(100);
//! let rates = [0, 50, 100, 550, 1000, 2000].map(|step| schedule.learning_rate(step));
//! assert_eq!(rates, [0.0, 5e-4, 1e-3, 5e-4, 0.0, 0.0]);
//! let adam = Adam::new(1e-3).schedule(schedule);
//! let halved = Sgd::new(0.1).schedule(|step: u64| 0.1 * 0.5f64.powi((step / 1000) as i32));
//! # drop((adam, halved));
//! ```
// Over 500 lines in one file: a list of formulas, each a type with its settings and a line of arithmetic.

use crate::config::Config;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::f64::consts::PI;

/// A learning rate for each update: a function of nothing but the number of updates before it, so that a resumed training
/// goes on with the same rates. Closures are schedules, too; the [module](self) has examples.
pub trait Schedule: Send + Sync {
    /// The learning rate of the update that `step` others came before.
    fn learning_rate(&self, step: u64) -> f64;

    /// The settings as a JSON object, whose `kind` says what they are of; `None` for a schedule that can't be written down.
    fn config(&self) -> Option<Config> {
        None
    }

    /// A linear warm-up from 0 to this schedule's first rate, and then this schedule from its beginning.
    fn after_warmup(self, steps: u64) -> Sequence
    where
        Self: Sized + 'static,
    {
        Sequence::new(LinearWarmup::new(0.0, self.learning_rate(0), steps)).then(steps, self)
    }
}

impl<F: Fn(u64) -> f64 + Send + Sync> Schedule for F {
    fn learning_rate(&self, step: u64) -> f64 {
        self(step)
    }
}

macro_rules! schedules {
    ($($kind:ident)*) => {
        $(impl Schedule for $kind {
            fn learning_rate(&self, step: u64) -> f64 {
                self.rate(step)
            }
            fn config(&self) -> Option<Config> {
                Config::of(self).ok()?.with("kind", stringify!($kind)).ok()
            }
        })*

        /// A schedule with the settings that [`Schedule::config`] gave.
        ///
        /// # Errors
        ///
        /// The kind is unknown, or its settings are others.
        pub fn from_config(config: &Config) -> Result<Box<dyn Schedule>> {
            of_value(&config.0)
        }

        pub(super) fn of_value(config: &Value) -> Result<Box<dyn Schedule>> {
            const OP: &str = "schedule::from_config";
            let kind = config["kind"].as_str().unwrap_or_default();
            let read = |e: serde_json::Error| Error::argument(OP, format!("{e}, in {config}"));
            match kind {
                $(stringify!($kind) => {
                    Ok(Box::new(<$kind>::deserialize(config).map_err(read)?))
                })*
                "Sequence" => Ok(Box::new(Sequence::from_config(config)?)),
                _ => {
                    let known = [$(stringify!($kind)),*].join(", ");
                    let message = format!(
                        "{config} is no schedule of wgrad's, which are {known} and Sequence; give the optimizer yours by \
                         `schedule`"
                    );
                    Err(Error::argument(OP, message))
                }
            }
        }
    };
}

schedules! {
    Constant PiecewiseConstant StepDecay ExponentialDecay PolynomialDecay InverseTimeDecay CosineDecay CosineDecayRestarts
    LinearWarmup OneCycle
}

/// The same rate at all times; [`Sequence`] has an example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    rate: f64,
}

impl Constant {
    /// This rate.
    pub fn new(rate: f64) -> Constant {
        Constant { rate }
    }

    fn rate(&self, _step: u64) -> f64 {
        self.rate
    }
}

/// Constant between steps that are given (Keras's `PiecewiseConstantDecay`).
///
/// ```
/// use wgrad::optim::{PiecewiseConstant, Schedule};
/// let schedule = PiecewiseConstant::new(0.1).after(100, 0.01).after(200, 0.001);
/// assert_eq!([0, 100, 101, 201].map(|s| schedule.learning_rate(s)), [0.1, 0.1, 0.01, 0.001]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct PiecewiseConstant {
    first: f64,
    pieces: Vec<(u64, f64)>,
}

impl PiecewiseConstant {
    /// Begins with this rate.
    pub fn new(rate: f64) -> PiecewiseConstant {
        PiecewiseConstant { first: rate, pieces: Vec::new() }
    }

    /// Another rate for steps after `boundary`; at the boundary itself the old one still holds, as in Keras.
    pub fn after(mut self, boundary: u64, rate: f64) -> PiecewiseConstant {
        self.pieces.push((boundary, rate));
        self.pieces.sort_by_key(|p| p.0);
        self
    }

    fn rate(&self, step: u64) -> f64 {
        self.pieces.iter().rev().find(|p| step > p.0).map_or(self.first, |p| p.1)
    }
}

/// `initial * factor^floor(step / every)` (PyTorch's `StepLR`).
///
/// ```
/// use wgrad::optim::{Schedule, StepDecay};
/// let schedule = StepDecay::new(0.8, 10, 0.5);
/// assert_eq!([0, 9, 10, 20].map(|s| schedule.learning_rate(s)), [0.8, 0.8, 0.4, 0.2]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepDecay {
    initial: f64,
    every: u64,
    factor: f64,
}

impl StepDecay {
    /// Begins with `initial`, and multiplies it by `factor` after every so many steps.
    pub fn new(initial: f64, every: u64, factor: f64) -> StepDecay {
        StepDecay { initial, every, factor }
    }

    fn rate(&self, step: u64) -> f64 {
        match step.checked_div(self.every) {
            Some(n) => self.initial * self.factor.powf(n as f64),
            None => f64::NAN,
        }
    }
}

/// `initial * rate^(step / steps)`, in steps where `staircase` is set (Keras's `ExponentialDecay`).
///
/// ```
/// use wgrad::optim::{ExponentialDecay, Schedule};
/// let schedule = ExponentialDecay::new(0.8, 10, 0.25);
/// assert_eq!([0, 5, 10].map(|s| schedule.learning_rate(s)), [0.8, 0.4, 0.2]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct ExponentialDecay {
    initial: f64,
    steps: u64,
    rate: f64,
    staircase: bool,
}

impl ExponentialDecay {
    /// Begins with `initial`, and has it multiplied by `rate` within `steps`.
    pub fn new(initial: f64, steps: u64, rate: f64) -> ExponentialDecay {
        ExponentialDecay { initial, steps, rate, staircase: false }
    }

    /// Whether the rate stays constant for `steps` and then falls at once.
    pub fn staircase(mut self, staircase: bool) -> ExponentialDecay {
        self.staircase = staircase;
        self
    }

    fn rate(&self, step: u64) -> f64 {
        self.initial * self.rate.powf(part(step, self.steps, self.staircase))
    }
}

/// `initial / (1 + rate * step / steps)`, in steps where `staircase` is set (Keras's `InverseTimeDecay`).
///
/// ```
/// use wgrad::optim::{InverseTimeDecay, Schedule};
/// let schedule = InverseTimeDecay::new(0.6, 10, 0.5);
/// assert_eq!([0, 20].map(|s| schedule.learning_rate(s)), [0.6, 0.3]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct InverseTimeDecay {
    initial: f64,
    steps: u64,
    rate: f64,
    staircase: bool,
}

impl InverseTimeDecay {
    /// Begins with `initial`; after `steps` it is divided by `1 + rate`.
    pub fn new(initial: f64, steps: u64, rate: f64) -> InverseTimeDecay {
        InverseTimeDecay { initial, steps, rate, staircase: false }
    }

    /// Whether the rate stays constant for `steps` and then falls at once.
    pub fn staircase(mut self, staircase: bool) -> InverseTimeDecay {
        self.staircase = staircase;
        self
    }

    fn rate(&self, step: u64) -> f64 {
        self.initial / (1.0 + self.rate * part(step, self.steps, self.staircase))
    }
}

fn part(step: u64, steps: u64, staircase: bool) -> f64 {
    let p = step as f64 / steps as f64;
    if staircase { p.floor() } else { p }
}

/// `(initial - end) * (1 - step / steps)^power + end` (Keras's `PolynomialDecay`).
///
/// ```
/// use wgrad::optim::{PolynomialDecay, Schedule};
/// let schedule = PolynomialDecay::new(1.0, 10).end(0.0).power(2.0);
/// assert_eq!([0, 5, 10, 99].map(|s| schedule.learning_rate(s)), [1.0, 0.25, 0.0, 0.0]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct PolynomialDecay {
    initial: f64,
    steps: u64,
    end: f64,
    power: f64,
    cycle: bool,
}

impl PolynomialDecay {
    /// From `initial` to 1e-4 within `steps`, linearly: Keras's defaults.
    pub fn new(initial: f64, steps: u64) -> PolynomialDecay {
        PolynomialDecay { initial, steps, end: 1e-4, power: 1.0, cycle: false }
    }

    /// The rate in the end.
    pub fn end(mut self, rate: f64) -> PolynomialDecay {
        self.end = rate;
        self
    }

    /// The exponent; 1 is a straight line.
    pub fn power(mut self, power: f64) -> PolynomialDecay {
        self.power = power;
        self
    }

    /// Whether it begins anew instead of staying at the end, over the first multiple of `steps` that is not yet reached.
    pub fn cycle(mut self, cycle: bool) -> PolynomialDecay {
        self.cycle = cycle;
        self
    }

    fn rate(&self, step: u64) -> f64 {
        let (step, steps) = (step as f64, self.steps as f64);
        let (step, steps) = match self.cycle {
            true if step > 0.0 => (step, steps * (step / steps).ceil()),
            true => (step, steps),
            false => (step.min(steps), steps),
        };
        (self.initial - self.end) * (1.0 - step / steps).powf(self.power) + self.end
    }
}

/// Half a cosine, from `initial` down to `initial * alpha`: `initial * ((1 - alpha) * (1 + cos(pi * step / steps)) / 2 +
/// alpha)` (Loshchilov and Hutter, "SGDR", 2017; Keras's `CosineDecay`).
///
/// ```
/// use wgrad::optim::{CosineDecay, Schedule};
/// let schedule = CosineDecay::new(1.0, 10).alpha(0.5);
/// assert_eq!([0, 5, 10, 99].map(|s| schedule.learning_rate(s)), [1.0, 0.75, 0.5, 0.5]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct CosineDecay {
    initial: f64,
    steps: u64,
    alpha: f64,
}

impl CosineDecay {
    /// From `initial` to 0 within `steps`. Begin with a warm-up by [`after_warmup`](Schedule::after_warmup).
    pub fn new(initial: f64, steps: u64) -> CosineDecay {
        CosineDecay { initial, steps, alpha: 0.0 }
    }

    /// What is left in the end, as a share of the initial rate.
    pub fn alpha(mut self, alpha: f64) -> CosineDecay {
        self.alpha = alpha;
        self
    }

    fn rate(&self, step: u64) -> f64 {
        let p = step.min(self.steps) as f64 / self.steps as f64;
        self.initial * ((1.0 - self.alpha) * cosine(p) + self.alpha)
    }
}

/// From 1 to 0 as `p` goes from 0 to 1; exactly so in the middle and at the ends.
fn cosine(p: f64) -> f64 {
    0.5 * (1.0 + (PI * p).cos())
}

/// Half cosines that begin anew, each `t_mul` times as long and `m_mul` times as high as the one before (Loshchilov and
/// Hutter, "SGDR", 2017; Keras's `CosineDecayRestarts`).
///
/// ```
/// use wgrad::optim::{CosineDecayRestarts, Schedule};
/// let schedule = CosineDecayRestarts::new(1.0, 10).m_mul(0.5);
/// assert_eq!([0, 5, 10, 20, 30].map(|s| schedule.learning_rate(s)), [1.0, 0.5, 0.5, 0.25, 0.25]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct CosineDecayRestarts {
    initial: f64,
    first_steps: u64,
    t_mul: f64,
    m_mul: f64,
    alpha: f64,
}

impl CosineDecayRestarts {
    /// From `initial` to 0 within `first_steps`; then over twice as many, from the same height: Keras's defaults.
    pub fn new(initial: f64, first_steps: u64) -> CosineDecayRestarts {
        CosineDecayRestarts { initial, first_steps, t_mul: 2.0, m_mul: 1.0, alpha: 0.0 }
    }

    /// How much longer each period is than the one before; at least 1.
    pub fn t_mul(mut self, t_mul: f64) -> CosineDecayRestarts {
        self.t_mul = t_mul;
        self
    }

    /// How much higher each period begins than the one before.
    pub fn m_mul(mut self, m_mul: f64) -> CosineDecayRestarts {
        self.m_mul = m_mul;
        self
    }

    /// What is left at the end of each period, as a share of the initial rate.
    pub fn alpha(mut self, alpha: f64) -> CosineDecayRestarts {
        self.alpha = alpha;
        self
    }

    fn rate(&self, step: u64) -> f64 {
        let done = step as f64 / self.first_steps as f64;
        let t = self.t_mul;
        let (restarts, p) = if t == 1.0 {
            (done.floor(), done - done.floor())
        } else if t > 1.0 {
            // Where the n-th period begins; the logarithm may be off by a rounding, and with it the period by one.
            let begin = |n: f64| (t.powf(n) - 1.0) / (t - 1.0);
            let mut n = ((1.0 + done * (t - 1.0)).ln() / t.ln()).floor();
            if begin(n) > done {
                n -= 1.0;
            } else if begin(n + 1.0) <= done {
                n += 1.0;
            }
            (n, (done - begin(n)) / t.powf(n))
        } else {
            return f64::NAN;
        };
        self.initial * ((1.0 - self.alpha) * self.m_mul.powf(restarts) * cosine(p) + self.alpha)
    }
}

/// `from + (to - from) * step / steps`, and `to` ever after (PyTorch's `LinearLR`). See also
/// [`after_warmup`](Schedule::after_warmup).
///
/// ```
/// use wgrad::optim::{LinearWarmup, Schedule};
/// let schedule = LinearWarmup::new(0.0, 1.0, 10);
/// assert_eq!([0, 5, 10, 99].map(|s| schedule.learning_rate(s)), [0.0, 0.5, 1.0, 1.0]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearWarmup {
    from: f64,
    to: f64,
    steps: u64,
}

impl LinearWarmup {
    /// From one rate to another within `steps`.
    pub fn new(from: f64, to: f64, steps: u64) -> LinearWarmup {
        LinearWarmup { from, to, steps }
    }

    fn rate(&self, step: u64) -> f64 {
        if step >= self.steps {
            return self.to;
        }
        self.from + (self.to - self.from) * (step as f64 / self.steps as f64)
    }
}

/// Up to a high rate and down again, further than where it began (Smith and Topin, "Super-Convergence", 2018; PyTorch's
/// `OneCycleLR`, of the learning rate only). After its last step the rate stays.
///
/// ```
/// use wgrad::optim::{OneCycle, Schedule};
/// let rates = [0, 29, 99].map(|step| OneCycle::new(1.0, 100).learning_rate(step));
/// assert!((rates[0] - 0.04).abs() < 1e-12 && (rates[1] - 1.0).abs() < 1e-12 && rates[2] < 1e-5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct OneCycle {
    max: f64,
    steps: u64,
    pct_start: f64,
    div_factor: f64,
    final_div_factor: f64,
    linear: bool,
    three_phase: bool,
}

impl OneCycle {
    /// From `max / 25` to `max` in the first 30% of the steps, then down to `max / 25 / 10^4`, by cosines: PyTorch's
    /// defaults.
    pub fn new(max: f64, steps: u64) -> OneCycle {
        OneCycle {
            max,
            steps,
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            linear: false,
            three_phase: false,
        }
    }

    /// The share of the steps in which the rate rises.
    pub fn pct_start(mut self, share: f64) -> OneCycle {
        self.pct_start = share;
        self
    }

    /// How much lower than the maximum it begins.
    pub fn div_factor(mut self, factor: f64) -> OneCycle {
        self.div_factor = factor;
        self
    }

    /// How much lower than its beginning it ends.
    pub fn final_div_factor(mut self, factor: f64) -> OneCycle {
        self.final_div_factor = factor;
        self
    }

    /// Straight lines instead of cosines.
    pub fn linear(mut self, linear: bool) -> OneCycle {
        self.linear = linear;
        self
    }

    /// Whether it goes down in two phases, the first as long as the rise and back to where it began.
    pub fn three_phase(mut self, three_phase: bool) -> OneCycle {
        self.three_phase = three_phase;
        self
    }

    fn rate(&self, step: u64) -> f64 {
        let first = self.max / self.div_factor;
        let last = first / self.final_div_factor;
        let total = self.steps as f64;
        let step = (step as f64).min(total - 1.0);
        let rise = self.pct_start * total;
        // (where the phase ends, the rates at its beginning and end)
        let phases: &[(f64, f64, f64)] = match self.three_phase {
            true => &[
                (rise - 1.0, first, self.max),
                (2.0 * rise - 2.0, self.max, first),
                (total - 1.0, first, last),
            ],
            false => &[(rise - 1.0, first, self.max), (total - 1.0, self.max, last)],
        };
        let mut begin = 0.0;
        for &(end, from, to) in phases {
            if step <= end {
                let p = if end > begin { (step - begin) / (end - begin) } else { 1.0 };
                return if self.linear { from + (to - from) * p } else { to + (from - to) * cosine(p) };
            }
            begin = end;
        }
        last
    }
}

/// Schedules one after the other, each from its own beginning (PyTorch's `SequentialLR`).
///
/// ```
/// use wgrad::optim::{Constant, ExponentialDecay, LinearWarmup, Schedule, Sequence};
/// let schedule = Sequence::new(LinearWarmup::new(0.0, 0.1, 10))
///     .then(10, Constant::new(0.1))
///     .then(90, ExponentialDecay::new(0.1, 100, 0.5));
/// assert_eq!([5, 10, 99, 100, 200].map(|s| schedule.learning_rate(s)), [0.05, 0.1, 0.1, 0.1, 0.05]);
/// ```
#[must_use]
pub struct Sequence {
    first: Box<dyn Schedule>,
    /// How long the schedule before lasts, and the next.
    rest: Vec<(u64, Box<dyn Schedule>)>,
}

impl Sequence {
    /// Begins with this schedule.
    pub fn new(first: impl Schedule + 'static) -> Sequence {
        Sequence { first: Box::new(first), rest: Vec::new() }
    }

    /// After `steps` steps of the schedule before, this one.
    pub fn then(mut self, steps: u64, next: impl Schedule + 'static) -> Sequence {
        self.rest.push((steps, Box::new(next)));
        self
    }

    fn from_config(config: &Value) -> Result<Sequence> {
        let wrong = || {
            let message =
                format!("a Sequence has `first` and a list `rest` of `steps` and `schedule`; got {config}");
            Error::argument("schedule::from_config", message)
        };
        let mut rest = Vec::new();
        for part in config["rest"].as_array().ok_or_else(wrong)? {
            rest.push((part["steps"].as_u64().ok_or_else(wrong)?, of_value(&part["schedule"])?));
        }
        Ok(Sequence { first: of_value(&config["first"])?, rest })
    }
}

impl Schedule for Sequence {
    fn learning_rate(&self, step: u64) -> f64 {
        let (mut step, mut now) = (step, &self.first);
        for (steps, next) in &self.rest {
            let Some(left) = step.checked_sub(*steps) else { break };
            (step, now) = (left, next);
        }
        now.learning_rate(step)
    }

    fn config(&self) -> Option<Config> {
        let part =
            |(steps, s): &(u64, Box<dyn Schedule>)| Some(json!({"steps": steps, "schedule": s.config()?.0}));
        let rest = self.rest.iter().map(part).collect::<Option<Vec<_>>>()?;
        Some(Config(json!({"kind": "Sequence", "first": self.first.config()?.0, "rest": rest})))
    }
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.config() {
            Some(config) => write!(f, "{config}"),
            None => write!(f, "Sequence of {} schedules", 1 + self.rest.len()),
        }
    }
}
