//! Ends a training that has stopped getting better.

use super::monitor::{Mode, Monitor};
use super::state::{entry, number};
use crate::error::{Error, Result};
use crate::nn::Module;
use crate::optim::State;
use crate::tensor::Tensor;
use crate::train::{Callback, Epoch, Flow, Run};

/// Ends the run when a number has not got better for some epochs (`keras.callbacks.EarlyStopping`).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::EarlyStopping;
/// # fn main() -> Result<()> {
/// # let (train, test) = data::synthetic::digits(60, 20, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(0.5), SparseCategoricalCrossentropy::from_logits()).build()?;
/// let mut stopping = EarlyStopping::new("val_loss").patience(3).restore_best_weights();
/// let fit = Fit::epochs(100).validation(&test).with(&mut stopping).verbose(false);
/// let history = trainer.fit(&train, fit)?;
/// assert!(history.epochs.len() < 100);
/// assert_eq!(stopping.stopped_epoch(), Some(history.epochs.len()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct EarlyStopping {
    monitor: Monitor,
    patience: usize,
    baseline: Option<f64>,
    start_from_epoch: usize,
    restore: bool,
    wait: usize,
    best: Option<f64>,
    best_epoch: usize,
    /// In the order of the model's parameters. Values never change: to keep them costs memory, but no copy.
    best_weights: Option<Vec<Tensor>>,
    stopped_epoch: Option<usize>,
}

impl EarlyStopping {
    /// Watches a number by name, such as `val_loss` or `val_accuracy` ([`Epoch::value`]); patience 0.
    pub fn new(monitor: &str) -> EarlyStopping {
        EarlyStopping {
            monitor: Monitor::new("EarlyStopping", monitor),
            patience: 0,
            baseline: None,
            start_from_epoch: 0,
            restore: false,
            wait: 0,
            best: None,
            best_epoch: 0,
            best_weights: None,
            stopped_epoch: None,
        }
    }

    /// The run ends after so many epochs without a better value (with 0, after the first).
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
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

    /// Patience goes on to run out until the number is better than this.
    pub fn baseline(mut self, baseline: f64) -> Self {
        self.baseline = Some(baseline);
        self
    }

    /// The first so many epochs are not looked at.
    pub fn start_from_epoch(mut self, epochs: usize) -> Self {
        self.start_from_epoch = epochs;
        self
    }

    /// At the end of the run, whatever ended it, an error as well, sets the model to the weights of the best epoch. (Running
    /// averages and other buffers are among them; where the run [validates averages](crate::train::Fit::validate_averages) of weights, they
    /// are these.) Not where the run was interrupted: it is to go on where it was, and
    /// [`restore`](Self::restore) gives the best weights to who wants them.
    pub fn restore_best_weights(mut self) -> Self {
        self.restore = true;
        self
    }

    /// The epoch after which the run was ended by this; `None` if it was not.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.stopped_epoch
    }

    /// The best epoch's number and value.
    pub fn best(&self) -> Option<(usize, f64)> {
        self.best.map(|value| (self.best_epoch, value))
    }

    /// Sets a model to the weights of the best epoch, if [`restore_best_weights`](Self::restore_best_weights) had them kept and
    /// there was one. Whether it was.
    ///
    /// # Errors
    ///
    /// The model is another one, or the device fails.
    pub fn restore(&self, model: &dyn Module) -> Result<bool> {
        let Some(weights) = &self.best_weights else { return Ok(false) };
        let parameters = model.parameters();
        if parameters.len() != weights.len() {
            let message = format!(
                "the best weights are {} parameters, the model has {}; give the model that was trained",
                weights.len(),
                parameters.len()
            );
            return Err(Error::argument("EarlyStopping::restore", message));
        }
        for (parameter, weight) in parameters.iter().zip(weights) {
            parameter.variable.set(weight.to_device(parameter.variable.value().device())?)?;
        }
        Ok(true)
    }

    fn keep(&mut self, epoch: &Epoch, run: &Run<'_>) -> Result<()> {
        self.best_epoch = epoch.number;
        if self.restore {
            self.best_weights = Some(run.validated()?.into_iter().map(|(_, value)| value).collect());
        }
        Ok(())
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> &'static str {
        "early_stopping"
    }

    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.monitor.begin(run)?;
        (self.wait, self.best, self.best_epoch) = (0, None, 0);
        (self.best_weights, self.stopped_epoch) = (None, None);
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        let value = self.monitor.value(epoch)?;
        if epoch.number <= self.start_from_epoch {
            return Ok(Flow::Continue);
        }
        if self.restore && self.best_weights.is_none() {
            self.keep(epoch, run)?;
        }
        self.wait += 1;
        if self.monitor.improves(value, self.best) {
            self.best = Some(value);
            self.keep(epoch, run)?;
            if self.baseline.is_none() || self.monitor.improves(value, self.baseline) {
                self.wait = 0;
            }
            return Ok(Flow::Continue);
        }
        // Keras's rule: never after the first epoch.
        if self.wait >= self.patience && epoch.number > 1 {
            self.stopped_epoch = Some(epoch.number);
            return Ok(Flow::Stop);
        }
        Ok(Flow::Continue)
    }

    fn on_train_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        if run.interrupted() { Ok(()) } else { self.restore(run.model()).map(drop) }
    }

    fn export_state(&self) -> Result<State> {
        let mut state = vec![entry("wait", self.wait as f64)?, entry("best_epoch", self.best_epoch as f64)?];
        if let Some(best) = self.best {
            state.push(entry("best", best)?);
        }
        for (i, weight) in self.best_weights.iter().flatten().enumerate() {
            state.push((format!("weight/{i}"), weight.clone()));
        }
        Ok(state)
    }

    fn import_state(&mut self, state: &State) -> Result<()> {
        self.wait = number(state, "wait")?.unwrap_or(0.0) as usize;
        self.best_epoch = number(state, "best_epoch")?.unwrap_or(0.0) as usize;
        self.best = number(state, "best")?;
        let weight = |i: usize| {
            let name = format!("weight/{i}");
            state.iter().find(|(other, _)| *other == name).map(|(_, tensor)| tensor.clone())
        };
        let weights: Vec<Tensor> = (0..).map_while(weight).collect();
        self.best_weights = Some(weights).filter(|w| self.restore && !w.is_empty());
        Ok(())
    }
}
