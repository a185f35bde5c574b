//! A model with what trains and measures it.

use super::accumulation::Accumulation;
use super::curve::Curve;
use super::history::{Evaluation, History};
use super::optimizers::Optimizers;
use super::outputs::{ClassWeights, Output, compute};
use super::own_step::{Own, Updates};
use super::totals::Totals;
use crate::backend::eval;
use crate::data::{Batch, Pass, Source, with_samples};
use crate::device::Device;
use crate::distributed::Collective;
use crate::error::{Error, Result};
use crate::nn::{Context, Module, fed_to};
use crate::ops::index::select_within;
use crate::ops::random::iota;
use crate::optim::{Optimizer, State};
use crate::seed;
use crate::tensor::{Tensor, no_grad};
use std::sync::Arc;
use std::time::Instant;

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
///     .metric(Accuracy::new())
///     .build()?;
/// let history = trainer.fit(&train, Fit::epochs(3).batch_size(20).validation(&test).verbose(false))?;
/// assert!(history.epochs[2].train.loss < history.epochs[0].train.loss);
/// println!("{}", trainer.evaluate(&test)?); // accuracy 0.9000 (loss 0.4321)
/// # Ok(()) }
/// ```
///
/// The loss is the weighted sum of the outputs' losses and the penalties of all regularised parameters, as Keras shows it; of a
/// [step of one's own](Trainer::with_step), what the step minimises.
pub struct Trainer<M: Module> {
    pub(super) model: M,
    pub(super) optimizer: Optimizers,
    /// As many as the model has; of a step of one's own, what it measures and reports.
    pub(super) outputs: Vec<Output>,
    /// A step of one's own.
    pub(super) own: Option<Own<M>>,
    pub(super) device: Device,
    pub(super) batch_size: usize,
    /// Of the last fit.
    pub(super) seed: u64,
    pub(super) shuffle: bool,
    pub(super) accumulator: Option<Accumulation>,
    /// Who shares the steps.
    pub(super) world: Option<Arc<dyn Collective>>,
    /// Shards of a batch, of the last fit.
    pub(super) shards: Option<usize>,
    pub(super) wishes: Wishes,
    pub(super) at: Position,
}

/// What is to be agreed on with other ranks: wishes of this one, and what all have heard of.
#[derive(Default)]
pub(super) struct Wishes {
    pub interrupt: bool,
    pub stop: bool,
    pub agreed_interrupt: bool,
    pub agreed_stop: bool,
    /// Whether the next batch is the first of a run.
    pub first_batch: bool,
}

/// Where the training is.
#[derive(Default)]
pub(super) struct Position {
    /// Passes over the data and steps of all fits so far: a further fit goes on rather than repeats orders and dropout
    /// masks.
    pub passes: u64,
    pub steps: u64,
    /// Batches that were taken of the current pass.
    pub taken: usize,
    /// Number of the last whole epoch of the run.
    pub epoch: usize,
    /// The epoch that is under way.
    pub partial: Option<Partial>,
    /// The whole epochs of the run.
    pub history: History,
    /// Whether the next fit goes on with the run.
    pub resumed: bool,
    pub interrupted: bool,
    /// The state of the callbacks, when they were last asked.
    pub callbacks: State,
    /// Of a resumed run: gradients that were not yet used for an update.
    pub accumulated: State,
}

/// An epoch that is under way.
pub(super) struct Partial {
    /// Steps so far.
    pub step: usize,
    /// Whether all steps are done, and only the validation is missing.
    pub trained: bool,
    pub totals: Totals,
    /// What the sums were after every few steps.
    pub curve: Curve,
}

impl<M: Module> Trainer<M> {
    pub(super) fn of(model: M, optimizer: Optimizers) -> Trainer<M> {
        let device = model.device();
        let outputs = model.output_names().into_iter().map(Output::new).collect();
        Trainer {
            model,
            optimizer,
            outputs,
            own: None,
            device,
            batch_size: DEFAULT_BATCH_SIZE,
            seed: 0,
            shuffle: true,
            accumulator: None,
            world: None,
            shards: None,
            wishes: Wishes::default(),
            at: Position::default(),
        }
    }

    /// Changes what an output's loss is multiplied by: to train one head, then another, say.
    ///
    /// # Errors
    ///
    /// No output with a loss has the name, or the weight is not finite.
    pub fn set_loss_weight(&mut self, output: &str, weight: f64) -> Result<()> {
        const OP: &str = "Trainer::set_loss_weight";
        if !weight.is_finite() {
            return Err(Error::argument(OP, format!("the weight is {weight}; expected a finite number")));
        }
        match self.outputs.iter_mut().find(|o| o.name == output && o.loss.is_some()) {
            Some(found) => {
                found.weight = weight;
                Ok(())
            }
            None => Err(Error::argument(OP, format!("no output with a loss is named {output}"))),
        }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The optimizer, to change its learning rate or to save its state.
    pub fn optimizer(&mut self) -> &mut dyn Optimizer {
        self.optimizer.whole()
    }

    /// The model, without its trainer.
    pub fn into_model(self) -> M {
        self.model
    }

    /// The whole epochs of the last run, also where it ended in an error or was interrupted.
    pub fn history(&self) -> &History {
        &self.at.history
    }

    /// Whether the last fit ended because it was [interrupted](super::Fit::interrupt).
    pub fn interrupted(&self) -> bool {
        self.at.interrupted
    }

    /// Queues one step; gives its loss.
    pub(super) fn train_step(
        &mut self,
        batch: Batch,
        weights: &mut ClassWeights,
        totals: &mut Totals,
    ) -> Result<Tensor> {
        if let Some(sharing) = self.sharing()? {
            return self.sharded_step(&sharing, batch, weights, totals);
        }
        let samples = batch.samples();
        let cx = Context::train(seed::derive(self.seed, 2 * self.at.steps + 1));
        let (computed, mut pending) = match &self.own {
            Some(own) => {
                let (optimizers, accumulation) = (&mut self.optimizer, self.accumulator.as_mut());
                let updates = Updates { optimizers, accumulation, shared: None };
                own.compute(&self.model, &self.outputs, Some(updates), &batch, &cx)?
            }
            None => {
                let mut computed = compute(&self.model, &self.outputs, &batch, &cx, weights)?;
                let pending = match &mut self.accumulator {
                    None => self.optimizer.update(&computed.loss.backward()?)?,
                    Some(accumulator) => match accumulator.add(&computed, samples)? {
                        Some(mean) => self.optimizer.update(&mean)?,
                        None => accumulator.pending(),
                    },
                };
                computed.detach()?;
                (computed, pending)
            }
        };
        totals.add(&self.outputs, &computed, samples)?;
        pending.extend(cx.take_also_compute());
        pending.extend(totals.tensors().cloned());
        let loss = computed.loss.clone();
        // What nobody holds need not be kept when it is computed: let go before, not after.
        drop((batch, computed));
        let mut all: Vec<&Tensor> = pending.iter().collect();
        all.push(&loss);
        eval(&all)?;
        self.at.steps += 1;
        Ok(loss)
    }

    /// One training step on a batch, which is moved to the model's device. Gives the loss and the metrics of the batch,
    /// and therefore waits for the device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dense::new(1)).build([1], Device::Cpu)?;
    /// let mut trainer = Trainer::new(model, Sgd::new(0.1), MeanSquaredError::new()).build()?;
    /// let (x, y) = (Tensor::new([[1.0f32], [2.0]], Device::Cpu)?, Tensor::new([[2.0f32], [4.0]], Device::Cpu)?);
    /// let batch = data::Batch::new(x, y);
    /// let first = trainer.train_on_batch(&batch)?.loss;
    /// for _ in 0..50 {
    ///     trainer.train_on_batch(&batch)?;
    /// }
    /// assert!(trainer.test_on_batch(&batch)?.loss < 0.1 * first);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The batch doesn't fit the model, or the device fails. A loss that is not a number is no error.
    pub fn train_on_batch(&mut self, batch: &Batch) -> Result<Evaluation> {
        let start = Instant::now();
        let mut totals = Totals::new(&self.outputs, self.device)?;
        // Each of these steps is an update, whatever a fit that was interrupted has accumulated.
        let batch = self.told(batch.to_device(self.device))?;
        let accumulator = self.accumulator.take();
        let step = self.train_step(batch, &mut ClassWeights::default(), &mut totals);
        self.accumulator = accumulator;
        drop(self.told(step)?);
        totals.read(&self.outputs, start.elapsed().as_secs_f64())
    }

    /// Loss and metrics of a batch, in evaluation mode.
    ///
    /// # Errors
    ///
    /// The batch doesn't fit the model, or the device fails.
    pub fn test_on_batch(&self, batch: &Batch) -> Result<Evaluation> {
        let start = Instant::now();
        let mut totals = Totals::new(&self.outputs, self.device)?;
        let step = batch.to_device(self.device).and_then(|batch| self.test_step(batch, &mut totals));
        self.told(step)?;
        totals.read(&self.outputs, start.elapsed().as_secs_f64())
    }

    fn test_step(&self, batch: Batch, totals: &mut Totals) -> Result<()> {
        if let Some(sharing) = self.sharing()? {
            return self.sharded_test(&sharing, &batch, totals);
        }
        self.measure(&batch, totals)?;
        drop(batch);
        eval(&totals.tensors().collect::<Vec<_>>())
    }

    /// Adds a batch in evaluation mode, lazily.
    pub(super) fn measure(&self, batch: &Batch, totals: &mut Totals) -> Result<()> {
        let cx = Context::eval();
        match &self.own {
            // Gradients may be a part of what it computes.
            Some(own) => {
                let (computed, _) = own.compute(&self.model, &self.outputs, None, batch, &cx)?;
                totals.add(&self.outputs, &computed, batch.samples())
            }
            None => no_grad(|| {
                let mut weights = ClassWeights::default();
                let computed = compute(&self.model, &self.outputs, batch, &cx, &mut weights)?;
                totals.add(&self.outputs, &computed, batch.samples())
            }),
        }
    }

    /// Loss and metrics over a data set, in evaluation mode. Batches are as large as in the last `fit`.
    ///
    /// # Errors
    ///
    /// The data set is empty or doesn't fit the model, or the device fails. A loss that is not a number is no error.
    pub fn evaluate(&self, set: &dyn Source) -> Result<Evaluation> {
        let measured = self.evaluate_until(set, None, &|| false);
        match self.told(measured)? {
            Some(evaluation) => Ok(evaluation),
            None => Err(Error::argument("Trainer::evaluate", "was interrupted")),
        }
    }

    /// [`evaluate`](Self::evaluate) on the first batches; `None` if somebody wants it to end.
    pub(super) fn evaluate_until(
        &self,
        set: &dyn Source,
        steps: Option<usize>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Evaluation>> {
        if steps.is_none() {
            self.check_end(set)?;
        }
        let start = Instant::now();
        let mut totals = Totals::new(&self.outputs, self.device)?;
        let batches = with_samples(set.name(), set.pass(&self.pass())?);
        for batch in batches.take(steps.unwrap_or(usize::MAX)) {
            self.test_step(batch?, &mut totals)?;
            if stop() {
                return Ok(None);
            }
        }
        if totals.samples() == 0 {
            return Err(Error::data(set.name(), "has no samples to evaluate"));
        }
        let mut evaluation = totals.read(&self.outputs, 0.0)?;
        // Reading waits for the device: only now it is over.
        evaluation.seconds = start.elapsed().as_secs_f64();
        Ok(Some(evaluation))
    }

    /// That a pass over data comes to its end.
    pub(super) fn check_end(&self, set: &dyn Source) -> Result<()> {
        if set.endless() {
            return Err(Error::data(set.name(), "never ends; take a number of samples or batches of it"));
        }
        Ok(())
    }

    /// A pass in order.
    pub(super) fn pass(&self) -> Pass {
        Pass { batch_size: self.batch_size, shuffle: None, device: self.device }
    }

    /// The model's output for `x` `[samples, ..]`, in evaluation mode and in batches as large as in the last `fit`.
    ///
    /// # Errors
    ///
    /// `x` doesn't fit the model, the model has several inputs or outputs, or the device fails.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        self.one_output(self.predict_all(std::slice::from_ref(x))?)
    }

    fn one_output(&self, mut outputs: Vec<Tensor>) -> Result<Tensor> {
        match (outputs.pop(), outputs.is_empty()) {
            (Some(output), true) => Ok(output),
            _ => {
                let names = self.model.output_names().join(", ");
                let message = format!("the model has the outputs {names}; use predict_all");
                Err(Error::argument("Trainer::predict", message))
            }
        }
    }

    /// All outputs for all inputs, `[samples, ..]` each, in evaluation mode and in batches as large as in the last `fit`.
    ///
    /// # Errors
    ///
    /// The inputs don't fit the model or differ in their number of samples, or the device fails.
    pub fn predict_all(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        const OP: &str = "Trainer::predict";
        let inputs: Vec<Tensor> =
            inputs.iter().map(|x| x.detach()?.to_device(self.device)).collect::<Result<_>>()?;
        let shapes = || inputs.iter().map(|x| x.shape().to_string()).collect::<Vec<_>>().join(", ");
        let Some(&samples) = inputs.first().and_then(|x| x.dims().first()) else {
            return Err(Error::shape(OP, format!("got [{}]; expected [samples, ..]", shapes())));
        };
        if inputs.iter().any(|x| x.dims().first() != Some(&samples)) {
            return Err(Error::shape(OP, format!("got {}; expected as many samples of each", shapes())));
        }
        if samples <= self.batch_size {
            return self.predict_batch(&inputs);
        }
        let mut parts = Vec::new();
        for start in (0..samples).step_by(self.batch_size) {
            // By index, not by slice: where a slice begins is part of a plan, an index is an input of it.
            let rows = (iota(self.batch_size.min(samples - start), self.device)? + start)?;
            let batch = inputs.iter().map(|x| select_within(x, 0, &rows)).collect::<Result<Vec<_>>>()?;
            parts.push(self.predict_batch(&batch)?);
        }
        join(parts)
    }

    /// All outputs for the inputs of a data set, in its order, in evaluation mode and in batches as large as in the last
    /// `fit`. Targets are not looked at.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// # let trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    /// let outputs = trainer.predict_on(&digits)?;
    /// assert_eq!(outputs[0].shape(), [100, 10]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The data set is empty or doesn't fit the model, or the device fails.
    pub fn predict_on(&self, set: &dyn Source) -> Result<Vec<Tensor>> {
        self.check_end(set)?;
        let mut parts = Vec::new();
        for batch in set.pass(&self.pass())? {
            parts.push(self.predict_batch(&batch?.inputs)?);
        }
        if parts.is_empty() {
            return Err(Error::data(set.name(), "has no samples to predict"));
        }
        join(parts)
    }

    fn predict_batch(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let outputs = no_grad(|| self.model.forward_all(&fed_to(&self.model, inputs)?, &Context::eval()))?;
        eval(&outputs.iter().collect::<Vec<_>>())?;
        Ok(outputs)
    }
}

/// The outputs of several batches as those of one.
fn join(parts: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    let count = parts.first().map_or(0, Vec::len);
    let mut whole = Vec::new();
    for k in 0..count {
        let column: Vec<&Tensor> = parts.iter().filter_map(|p| p.get(k)).collect();
        if let [first, rest @ ..] = &*column
            && let Some(other) = rest.iter().find(|x| x.dims().get(1..) != first.dims().get(1..))
        {
            let message = format!(
                "batches gave outputs {} and {}, which are no one tensor; predict samples of each length by themselves",
                first.shape(),
                other.shape()
            );
            return Err(Error::shape("Trainer::predict", message));
        }
        whole.push(if column.len() == 1 { column[0].clone() } else { Tensor::concat(&column, 0)? });
    }
    eval(&whole.iter().collect::<Vec<_>>())?;
    Ok(whole)
}

impl<M: Module + std::fmt::Debug> std::fmt::Debug for Trainer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trainer({:?}, {} passes, {} steps)", self.model, self.at.passes, self.at.steps)
    }
}
