//! Ends a training that went astray.

use crate::error::Result;
use crate::tensor::Tensor;
use crate::train::{Callback, Flow, Run, Step};

/// Ends the run, without an error, when a loss is infinite or not a number (`keras.callbacks.TerminateOnNaN`), or a parameter
/// at the end of an epoch. Without it, `fit` gives [`Error::Diverged`](crate::Error::Diverged) at the end of the epoch.
///
/// A step's loss is read after the next step was queued, so that the device is never idle; but the host waits for it.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::TerminateOnNan;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[f32::MAX], [f32::MAX]], Device::Cpu)?;
/// let set = data::Dataset::from_tensors("too large", &x, &x)?;
/// let model = Sequential::new().add(Dense::new(1)).build([1], Device::Cpu)?;
/// let mut trainer = Trainer::new(model, Sgd::new(0.1), MeanSquaredError::new()).build()?;
/// let history = trainer.fit(&set, Fit::epochs(50).with(TerminateOnNan::new()).verbose(false))?;
/// assert!(history.epochs.len() == 1 && !history.epochs[0].train.loss.is_finite());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TerminateOnNan {
    every: usize,
    last: Option<Tensor>,
}

impl Default for TerminateOnNan {
    fn default() -> TerminateOnNan {
        TerminateOnNan::new()
    }
}

impl TerminateOnNan {
    /// Looks at every step.
    pub fn new() -> TerminateOnNan {
        TerminateOnNan { every: 1, last: None }
    }

    /// Looks at every n-th step, and at the end of each epoch.
    pub fn every(mut self, steps: usize) -> Self {
        self.every = steps.max(1);
        self
    }
}

impl Callback for TerminateOnNan {
    fn name(&self) -> &'static str {
        "terminate_on_nan"
    }

    fn on_train_begin(&mut self, _run: &mut Run<'_>) -> Result<()> {
        self.last = None;
        Ok(())
    }

    fn on_step(&mut self, step: &Step<'_>, _run: &mut Run<'_>) -> Result<Flow> {
        if let Some(loss) = self.last.take()
            && !loss.item::<f64>()?.is_finite()
        {
            return Ok(Flow::Stop);
        }
        if step.step.is_multiple_of(self.every) {
            self.last = Some(step.loss.clone());
        }
        Ok(Flow::Continue)
    }

    fn on_diverged(&mut self, _epoch: usize, _loss: f64, _run: &mut Run<'_>) -> Result<Flow> {
        Ok(Flow::Stop)
    }
}
