//! The loop that everybody writes.

use super::fit::{Event, Fit, Flow, Step};
use super::history::{Epoch, Evaluation, History};
use super::metric::Metric;
use super::progress::Progress;
use super::totals::Totals;
use crate::autograd::{Variable, no_grad};
use crate::data::{Batch, Pass, Source};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::eval::eval;
use crate::nn::{Context, Loss, Module, Parameter};
use crate::ops::random::iota;
use crate::optim::Optimizer;
use crate::seed;
use crate::tensor::Tensor;
use std::time::{Duration, Instant};

/// Batch size of [`Trainer::evaluate`] and [`Trainer::predict`] before there was a `fit`.
const DEFAULT_BATCH_SIZE: usize = 128;

/// Trains a model: fit, evaluate, predict, as in Keras.
///
/// A training step is one evaluation: forward, backward, update and metrics are one graph, on a GPU one submission. Nothing
/// is read back inside a step.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (train, test) = data::synthetic::digits(200, 50, 1).into_datasets()?;
/// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits())
///     .metric(Accuracy::new());
/// let history = trainer.fit(&train, Fit::epochs(3).batch_size(20).validation(&test).verbose(false))?;
/// assert!(history.epochs[2].train.loss < history.epochs[0].train.loss);
/// println!("{}", trainer.evaluate(&test)?); // accuracy 0.9000 (loss 0.4321)
/// # Ok(()) }
/// ```
pub struct Trainer<M: Module> {
    model: M,
    optimizer: Box<dyn Optimizer>,
    loss: Box<dyn Loss>,
    metrics: Vec<Box<dyn Metric>>,
    device: Device,
    batch_size: usize,
    /// Epochs and steps of all fits so far: a further fit goes on rather than repeats orders and dropout masks.
    epochs: u64,
    steps: u64,
}

impl<M: Module> Trainer<M> {
    /// Trains `model`, whose parameters say on which device, by `optimizer` towards a small `loss`.
    pub fn new(model: M, optimizer: impl Optimizer + 'static, loss: impl Loss + 'static) -> Trainer<M> {
        let device = model.device();
        Trainer {
            model,
            optimizer: Box::new(optimizer),
            loss: Box::new(loss),
            metrics: Vec::new(),
            device,
            batch_size: DEFAULT_BATCH_SIZE,
            epochs: 0,
            steps: 0,
        }
    }

    /// A metric to be computed beside the loss.
    pub fn metric(mut self, metric: impl Metric + 'static) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The optimizer, to change its learning rate or to save its state.
    pub fn optimizer(&mut self) -> &mut dyn Optimizer {
        &mut *self.optimizer
    }

    /// The model, without its trainer.
    pub fn into_model(self) -> M {
        self.model
    }

    /// Trains on a data set.
    ///
    /// # Errors
    ///
    /// The data set is empty or doesn't fit the model, the device fails, a callback fails, or the loss is not a number
    /// any more ([`Error::Diverged`], found at the end of the epoch).
    pub fn fit(&mut self, train: &dyn Source, mut fit: Fit<'_>) -> Result<History> {
        if train.samples() == Some(0) {
            return Err(Error::data(train.name(), "has no samples to train on"));
        }
        self.batch_size = fit.batch_size;
        let trainable: Vec<Variable> =
            self.model.parameters().into_iter().filter(Parameter::trainable).map(|p| p.variable).collect();
        self.optimizer.prepare(&trainable)?;
        let mut progress = Progress::new(fit.verbose, fit.epochs, train.unit());
        let mut history = History::default();
        for number in 1..=fit.epochs {
            let start = Instant::now();
            let (evaluation, mut flow) = self.train_epoch(train, &mut fit, number, &mut progress)?;
            let validation = match fit.validation {
                Some(set) => Some(self.evaluate(set)?),
                None => None,
            };
            let epoch = Epoch {
                number,
                train: evaluation,
                validation,
                learning_rate: self.optimizer.learning_rate(),
                seconds: start.elapsed().as_secs_f64(),
            };
            progress.end_epoch(&epoch);
            for callback in &mut fit.callbacks {
                if callback(Event::Epoch(&epoch))? == Flow::Stop {
                    flow = Flow::Stop;
                }
            }
            history.epochs.push(epoch);
            if flow == Flow::Stop {
                break;
            }
        }
        Ok(history)
    }

    fn train_epoch(
        &mut self,
        train: &dyn Source,
        fit: &mut Fit<'_>,
        epoch: usize,
        progress: &mut Progress,
    ) -> Result<(Evaluation, Flow)> {
        let start = Instant::now();
        let shuffle = fit.shuffle.then(|| seed::derive(fit.seed, 2 * self.epochs));
        let batches = train.pass(&Pass { batch_size: fit.batch_size, shuffle, device: self.device })?;
        self.epochs += 1;
        let steps = train.steps(fit.batch_size);
        let mut totals = Totals::new(&self.metrics, self.device)?;
        let mut flow = Flow::Continue;
        progress.begin_epoch(epoch, steps);
        let mut began = Instant::now();
        for (step, batch) in (1..).zip(batches) {
            let batch = batch?;
            let samples = batch.samples();
            let loss = self.train_step(batch, seed::derive(fit.seed, 2 * self.steps + 1), &mut totals)?;
            self.steps += 1;
            let elapsed = began.elapsed();
            for callback in &mut fit.callbacks {
                let told = Step { epoch, step, steps, samples, loss: &loss, elapsed };
                if callback(Event::Step(told))? == Flow::Stop {
                    flow = Flow::Stop;
                }
            }
            let so_far = match progress.wants_numbers() {
                true => Some(totals.read(&self.metrics, start.elapsed())?),
                false => None,
            };
            progress.step(step, so_far);
            if flow == Flow::Stop {
                break;
            }
            began = Instant::now();
        }
        let mut evaluation = totals.read(&self.metrics, Duration::ZERO)?;
        // Reading waits for the device: only now the epoch is over.
        evaluation.seconds = start.elapsed().as_secs_f64();
        if !evaluation.loss.is_finite() {
            return Err(Error::Diverged { epoch, loss: evaluation.loss });
        }
        Ok((evaluation, flow))
    }

    /// Queues one step; gives its loss.
    fn train_step(&mut self, batch: Batch, seed: u64, totals: &mut Totals) -> Result<Tensor> {
        let samples = batch.samples();
        let (x, y) = pair(batch)?;
        let cx = Context::train(seed);
        let outputs = self.model.forward(&x, &cx)?;
        let loss = self.loss.compute(&outputs, &y)?;
        let grads = loss.backward()?;
        let mut pending = self.optimizer.update(&grads)?;
        let loss = loss.detach()?;
        totals.add(&self.metrics, &loss, &outputs, &y, samples)?;
        pending.extend(cx.take_also_compute());
        pending.extend(totals.tensors().cloned());
        // What nobody holds need not be kept when it is computed: let go before, not after.
        drop((x, y, outputs, grads));
        let mut all: Vec<&Tensor> = pending.iter().collect();
        all.push(&loss);
        eval(&all)?;
        Ok(loss)
    }

    /// Loss and metrics over a data set, in evaluation mode. Batches are as large as in the last `fit`.
    ///
    /// # Errors
    ///
    /// The data set is empty or doesn't fit the model, or the device fails. A loss that is not a number is no error.
    pub fn evaluate(&self, set: &dyn Source) -> Result<Evaluation> {
        if set.samples() == Some(0) {
            return Err(Error::data(set.name(), "has no samples to evaluate"));
        }
        let start = Instant::now();
        let mut totals = Totals::new(&self.metrics, self.device)?;
        let pass = Pass { batch_size: self.batch_size, shuffle: None, device: self.device };
        for batch in set.pass(&pass)? {
            let (x, y) = pair(batch?)?;
            no_grad(|| {
                let cx = Context::eval();
                let outputs = self.model.forward(&x, &cx)?;
                let loss = self.loss.compute(&outputs, &y)?;
                totals.add(&self.metrics, &loss, &outputs, &y, x.dims()[0])
            })?;
            drop((x, y));
            eval(&totals.tensors().collect::<Vec<_>>())?;
        }
        let mut evaluation = totals.read(&self.metrics, Duration::ZERO)?;
        evaluation.seconds = start.elapsed().as_secs_f64();
        Ok(evaluation)
    }

    /// The model's outputs for `x` `[samples, ..]`, in evaluation mode and in batches as large as in the last `fit`.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.detach()?.to_device(self.device)?;
        let Some(&samples) = x.dims().first() else {
            return Err(Error::shape("Trainer::predict", "got a scalar; expected [samples, ..]"));
        };
        if samples <= self.batch_size {
            let outputs = self.model.infer(&x)?;
            outputs.eval()?;
            return Ok(outputs);
        }
        let mut parts = Vec::new();
        for start in (0..samples).step_by(self.batch_size) {
            // By index, not by slice: where a slice begins is part of a plan, an index is an input of it.
            let rows = (iota(self.batch_size.min(samples - start), self.device)? + start)?;
            let outputs = self.model.infer(&x.index_select(0, &rows)?)?;
            outputs.eval()?;
            parts.push(outputs);
        }
        let whole = Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0)?;
        whole.eval()?;
        Ok(whole)
    }
}

/// The input and the target of a model that has one of each.
fn pair(mut batch: Batch) -> Result<(Tensor, Tensor)> {
    match (batch.inputs.pop(), batch.targets.pop()) {
        (Some(x), Some(y)) if batch.inputs.is_empty() && batch.targets.is_empty() => Ok((x, y)),
        (x, y) => {
            let (inputs, targets) =
                (batch.inputs.len() + x.iter().len(), batch.targets.len() + y.iter().len());
            let message = format!("expects one input and one target, got {inputs} and {targets}");
            Err(Error::argument("Trainer", message))
        }
    }
}

impl<M: Module + std::fmt::Debug> std::fmt::Debug for Trainer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trainer({:?}, {} epochs, {} steps)", self.model, self.epochs, self.steps)
    }
}
