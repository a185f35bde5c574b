//! Callbacks that change the learning rate.

use super::monitor::{Mode, Monitor};
use super::state::{entry, number};
use crate::error::{Error, Result};
use crate::optim::State;
use crate::train::{Callback, Epoch, Flow, Run};

/// Sets the learning rate at the beginning of each epoch (`keras.callbacks.LearningRateScheduler`). For a rate that changes
/// from step to step there are the optimizers' own schedules ([`Adam::schedule`](crate::optim::Adam::schedule)), which this
/// replaces.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::LearningRateScheduler;
/// # fn main() -> Result<()> {
/// # let (train, _) = data::synthetic::digits(60, 20, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// let halve = LearningRateScheduler::new(|epoch, rate| if epoch <= 2 { rate } else { rate / 2.0 });
/// let history = trainer.fit(&train, Fit::epochs(4).with(halve).verbose(false))?;
/// let rates: Vec<f64> = history.epochs.iter().map(|e| e.learning_rate).collect();
/// assert_eq!(rates, [1e-2, 1e-2, 5e-3, 2.5e-3]);
/// # Ok(()) }
/// ```
#[must_use]
pub struct LearningRateScheduler<F> {
    rate: F,
}

impl<F: FnMut(usize, f64) -> f64> LearningRateScheduler<F> {
    /// A function of the epoch's number (1 for the first) and the learning rate so far.
    pub fn new(rate: F) -> LearningRateScheduler<F> {
        LearningRateScheduler { rate }
    }
}

impl<F: FnMut(usize, f64) -> f64 + Send> Callback for LearningRateScheduler<F> {
    fn name(&self) -> &'static str {
        "learning_rate_scheduler"
    }

    fn on_epoch_begin(&mut self, epoch: usize, run: &mut Run<'_>) -> Result<()> {
        let rate = (self.rate)(epoch, run.optimizer().learning_rate());
        if !(rate.is_finite() && rate >= 0.0) {
            let message = format!("gave a learning rate of {rate} for epoch {epoch}; expected 0 or more");
            return Err(Error::argument("LearningRateScheduler", message));
        }
        run.optimizer().set_learning_rate(rate);
        Ok(())
    }
}

/// Lowers the learning rate when a number has not got better for some epochs (`keras.callbacks.ReduceLROnPlateau`, with its
/// defaults).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::ReduceLrOnPlateau;
/// let reduce = ReduceLrOnPlateau::new("val_loss").factor(0.5).patience(3).min_lr(1e-6);
/// let fit = Fit::epochs(20).with(reduce);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ReduceLrOnPlateau {
    monitor: Monitor,
    factor: f64,
    patience: usize,
    cooldown: usize,
    min_lr: f64,
    wait: usize,
    cooling: usize,
    best: Option<f64>,
}

impl ReduceLrOnPlateau {
    /// Watches a number by name, such as `val_loss` ([`Epoch::value`]): a tenth of the learning rate after 10 epochs that are
    /// not better by more than 1e-4.
    pub fn new(monitor: &str) -> ReduceLrOnPlateau {
        let monitor = Monitor { min_delta: 1e-4, ..Monitor::new("ReduceLrOnPlateau", monitor) };
        ReduceLrOnPlateau {
            monitor,
            factor: 0.1,
            patience: 10,
            cooldown: 0,
            min_lr: 0.0,
            wait: 0,
            cooling: 0,
            best: None,
        }
    }

    /// What the learning rate is multiplied by; below 1.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The learning rate is lowered after so many epochs without a better value.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }

    /// After it was lowered, so many epochs are not counted.
    pub fn cooldown(mut self, epochs: usize) -> Self {
        self.cooldown = epochs;
        self
    }

    /// It is not lowered below this.
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = min_lr;
        self
    }

    /// A value is better if it is so by more than this.
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.monitor.min_delta = min_delta;
        self
    }

    /// Whether the number should fall or rise; told by its name where nothing is said.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.monitor.mode = mode;
        self
    }
}

impl Callback for ReduceLrOnPlateau {
    fn name(&self) -> &'static str {
        "reduce_lr_on_plateau"
    }

    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        if !(self.factor > 0.0 && self.factor < 1.0) {
            let message = format!("the factor is {}; expected one between 0 and 1", self.factor);
            return Err(Error::argument("ReduceLrOnPlateau", message));
        }
        (self.wait, self.cooling, self.best) = (0, 0, None);
        self.monitor.begin(run)
    }

    fn on_epoch_end(&mut self, epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        let value = self.monitor.value(epoch)?;
        if self.cooling > 0 {
            self.cooling -= 1;
            self.wait = 0;
        }
        if self.monitor.improves(value, self.best) {
            self.best = Some(value);
            self.wait = 0;
        } else if self.cooling == 0 {
            self.wait += 1;
            let rate = run.optimizer().learning_rate();
            if self.wait >= self.patience && rate > self.min_lr {
                run.optimizer().set_learning_rate((rate * self.factor).max(self.min_lr));
                self.cooling = self.cooldown;
                self.wait = 0;
            }
        }
        Ok(Flow::Continue)
    }

    fn export_state(&self) -> Result<State> {
        let mut state = vec![entry("wait", self.wait as f64)?, entry("cooling", self.cooling as f64)?];
        if let Some(best) = self.best {
            state.push(entry("best", best)?);
        }
        Ok(state)
    }

    fn import_state(&mut self, state: &State) -> Result<()> {
        self.wait = number(state, "wait")?.unwrap_or(0.0) as usize;
        self.cooling = number(state, "cooling")?.unwrap_or(0.0) as usize;
        self.best = number(state, "best")?;
        Ok(())
    }
}
