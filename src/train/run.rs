//! The loop that everybody writes.

use super::callback::{Callback, Callbacks, Flow, Run, Step};
use super::fit::Fit;
use super::history::{Epoch, Evaluation, History};
use super::outputs::ClassWeights;
use super::progress::Progress;
use super::totals::{Totals, names};
use super::trainer::{Partial, Trainer};
use crate::autograd::Variable;
use crate::data::{Batch, BatchIter, Pass, Source};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Module, Parameter};
use crate::optim::{GradientAccumulator, State};
use crate::seed;
use crate::tensor::Tensor;
use std::time::Instant;

/// Batches, pass after pass.
struct Stream<'a> {
    source: &'a dyn Source,
    batch_size: usize,
    shuffle: Option<u64>,
    device: Device,
    batches: Option<BatchIter<'a>>,
}

impl Stream<'_> {
    /// The next batch of a pass, of which so many were taken before; `None` at its end.
    fn next(&mut self, pass: u64, taken: usize) -> Result<Option<Batch>> {
        if self.batches.is_none() {
            let shuffle = self.shuffle.map(|seed| seed::derive(seed, 2 * pass));
            let mut batches =
                self.source.pass(&Pass { batch_size: self.batch_size, shuffle, device: self.device })?;
            for k in 0..taken {
                match batches.next() {
                    Some(batch) => drop(batch?),
                    None => {
                        let message = format!(
                            "ends after {k} batches, but the run was interrupted after {taken}; resume it with the same data"
                        );
                        return Err(Error::data(self.source.name(), message));
                    }
                }
            }
            self.batches = Some(batches);
        }
        self.batches.as_mut().and_then(Iterator::next).transpose()
    }

    fn end_pass(&mut self) {
        self.batches = None;
    }
}

/// What came of an epoch.
enum EpochEnd {
    Whole(Evaluation, Flow),
    /// Somebody wants the run to end; the epoch stays under way.
    Interrupted,
}

impl<M: Module> Trainer<M> {
    /// Trains on a data set, and gives the whole epochs of the run.
    ///
    /// After [`resume`](Self::resume) this goes on with the run from which the checkpoint comes: `Fit::epochs(10)` then
    /// means the epochs up to the tenth, those before the checkpoint included, and the history begins with them.
    ///
    /// # Errors
    ///
    /// The data set is empty or doesn't fit the model, the device fails, a callback fails, or the loss is not a number
    /// any more ([`Error::Diverged`], found at the end of the epoch).
    pub fn fit(&mut self, train: &dyn Source, mut fit: Fit<'_>) -> Result<History> {
        self.ready()?;
        fit.check()?;
        #[cfg(feature = "app")]
        if fit.ctrl_c {
            fit.interrupts.push(super::fit::ctrl_c_flag()?);
        }
        let parts = fit.validation_split.map(|f| train.split_for_validation(f)).transpose()?;
        let (train, validation): (&dyn Source, Option<&dyn Source>) = match &parts {
            Some((train, validation)) => (&**train, Some(&**validation)),
            None => (train, fit.validation),
        };
        if train.samples() == Some(0) {
            return Err(Error::data(train.name(), "has no samples to train on"));
        }
        let resumed = self.begin(&fit)?;
        let mut weights = ClassWeights::new(&fit.class_weights, &self.outputs)?;
        let trainable: Vec<Variable> =
            self.model.parameters().into_iter().filter(Parameter::trainable).map(|p| p.variable).collect();
        self.optimizer.prepare(&trainable)?;

        let mut shown = names(&self.outputs);
        if validation.is_some() {
            shown.extend(names(&self.outputs).iter().map(|name| format!("val_{name}")));
        }
        shown.push("learning_rate".into());
        let list = std::mem::take(&mut fit.callbacks);
        let mut callbacks = Callbacks { list, epochs: fit.epochs, names: shown };
        self.tell(&mut callbacks, &mut |c, run| c.on_train_begin(run).map(|()| Flow::Continue))?;
        if resumed {
            callbacks.import(&self.at.callbacks)?;
        }
        let mut stream = Stream {
            source: train,
            batch_size: fit.batch_size,
            shuffle: fit.shuffle.then_some(fit.seed),
            device: self.device,
            batches: None,
        };
        let mut progress = Progress::new(fit.verbose, fit.epochs, train.unit());
        while self.at.epoch < fit.epochs {
            let start = Instant::now();
            let number = self.at.epoch + 1;
            self.tell(&mut callbacks, &mut |c, run| c.on_epoch_begin(number, run).map(|()| Flow::Continue))?;
            let end =
                self.train_epoch(&mut stream, &fit, number, &mut weights, &mut callbacks, &mut progress)?;
            let EpochEnd::Whole(evaluation, mut flow) = end else {
                self.at.interrupted = true;
                progress.abandon();
                break;
            };
            let loss = evaluation.loss;
            let diverged = !loss.is_finite();
            if diverged {
                let told = self.tell(&mut callbacks, &mut |c, run| c.on_diverged(number, loss, run))?;
                if told == Flow::Continue {
                    return Err(Error::Diverged { epoch: number, loss });
                }
                flow = Flow::Stop;
            }
            let validation = match validation {
                Some(set) if !diverged => Some(self.evaluate_steps(set, fit.validation_steps)?),
                _ => None,
            };
            let epoch = Epoch {
                number,
                train: evaluation,
                validation,
                learning_rate: self.optimizer.learning_rate(),
                seconds: start.elapsed().as_secs_f64(),
            };
            progress.end_epoch(&epoch);
            self.at.history.epochs.push(epoch.clone());
            self.at.epoch = number;
            if !diverged
                && self.tell(&mut callbacks, &mut |c, run| c.on_epoch_end(&epoch, run))? == Flow::Stop
            {
                flow = Flow::Stop;
            }
            if flow == Flow::Stop {
                break;
            }
            if self.at.epoch < fit.epochs && fit.take_interrupt() {
                self.at.interrupted = true;
                break;
            }
        }
        self.at.callbacks = callbacks.export()?;
        if !self.at.interrupted {
            self.optimizer.finalize()?;
        }
        self.tell(&mut callbacks, &mut |c, run| c.on_train_end(run).map(|()| Flow::Continue))?;
        Ok(self.at.history.clone())
    }

    /// Begins a run, or goes on with one that was resumed. Whether it does the latter.
    fn begin(&mut self, fit: &Fit<'_>) -> Result<bool> {
        const OP: &str = "Trainer::fit";
        let resumed = std::mem::take(&mut self.at.resumed);
        let under_way = self.at.partial.is_some() || self.at.taken > 0;
        if resumed && under_way {
            let saved = (self.batch_size, self.seed, self.shuffle);
            if saved != (fit.batch_size, fit.seed, fit.shuffle) {
                let message = format!(
                    "the run was interrupted within a pass over the data with batch_size({}), seed({}) and shuffle({}); got \
                     batch_size({}), seed({}) and shuffle({}): resume it with what it was begun with",
                    saved.0, saved.1, saved.2, fit.batch_size, fit.seed, fit.shuffle
                );
                return Err(Error::argument(OP, message));
            }
        }
        if !resumed {
            if under_way {
                // Left for good: the next pass is another one.
                self.at.passes += 1;
                self.at.taken = 0;
            }
            self.at.partial = None;
            self.at.epoch = 0;
            self.at.history = History::default();
            self.at.callbacks = State::new();
            self.at.accumulated = State::new();
        }
        if let Some(epoch) = fit.initial_epoch {
            self.at.epoch = epoch;
        }
        self.accumulator = (fit.accumulate > 1).then(|| GradientAccumulator::new(fit.accumulate));
        let accumulated = std::mem::take(&mut self.at.accumulated);
        if !accumulated.is_empty() {
            let Some(accumulator) = &mut self.accumulator else {
                let message = "the run was interrupted while it accumulated gradients; resume it with the same accumulate(n)";
                return Err(Error::argument(OP, message));
            };
            accumulator.import_state(&named_variables(&self.model), &accumulated)?;
        }
        (self.batch_size, self.seed, self.shuffle) = (fit.batch_size, fit.seed, fit.shuffle);
        self.at.interrupted = false;
        Ok(resumed)
    }

    /// Calls all callbacks, and saves the checkpoints that they ask for.
    fn tell(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        what: &mut dyn FnMut(&mut dyn Callback, &mut Run<'_>) -> Result<Flow>,
    ) -> Result<Flow> {
        let mut flow = Flow::Continue;
        let mut run = Run {
            model: &self.model,
            optimizer: &mut *self.optimizer,
            history: &self.at.history,
            epochs: callbacks.epochs,
            names: &callbacks.names,
            interrupted: self.at.interrupted,
            checkpoints: Vec::new(),
        };
        for callback in &mut callbacks.list {
            if what(&mut **callback, &mut run)? == Flow::Stop {
                flow = Flow::Stop;
            }
        }
        let paths = run.checkpoints;
        if !paths.is_empty() {
            self.at.callbacks = callbacks.export()?;
            for path in paths {
                crate::files::make_folders(&path)?;
                self.save_checkpoint(path)?;
            }
        }
        Ok(flow)
    }

    fn train_epoch(
        &mut self,
        stream: &mut Stream<'_>,
        fit: &Fit<'_>,
        epoch: usize,
        weights: &mut ClassWeights,
        callbacks: &mut Callbacks<'_>,
        progress: &mut Progress,
    ) -> Result<EpochEnd> {
        let start = Instant::now();
        let steps = fit.steps_per_epoch.or_else(|| stream.source.steps(fit.batch_size));
        if self.at.partial.is_none() {
            self.at.partial = Some(Partial { step: 0, totals: Totals::new(&self.outputs, self.device)? });
        }
        let mut flow = Flow::Continue;
        progress.begin_epoch(epoch, steps);
        let mut began = Instant::now();
        while let Some(mut partial) = self.at.partial.take() {
            if fit.steps_per_epoch == Some(partial.step) {
                self.at.partial = Some(partial);
                break;
            }
            let Some(batch) = stream.next(self.at.passes, self.at.taken)? else {
                let nothing = partial.totals.samples() == 0 && self.at.taken == 0;
                if nothing {
                    return Err(Error::data(stream.source.name(), "has no samples to train on"));
                }
                self.at.partial = Some(partial);
                self.at.passes += 1;
                self.at.taken = 0;
                stream.end_pass();
                match fit.steps_per_epoch {
                    Some(_) => continue,
                    None => break,
                }
            };
            let samples = batch.samples();
            let loss = self.train_step(batch, weights, &mut partial.totals)?;
            partial.step += 1;
            let step = partial.step;
            self.at.taken += 1;
            self.at.partial = Some(partial);
            let told = Step { epoch, step, steps, samples, loss: &loss, elapsed: began.elapsed() };
            flow = self.tell(callbacks, &mut |c, run| c.on_step(&told, run))?;
            let so_far = match (&self.at.partial, progress.wants_numbers()) {
                (Some(p), true) => Some(p.totals.read(&self.outputs, start.elapsed().as_secs_f64())?),
                _ => None,
            };
            progress.step(step, so_far);
            if flow == Flow::Stop {
                break;
            }
            if fit.take_interrupt() {
                // Everything that was queued is computed, so that what is saved now is whole.
                self.device.synchronize()?;
                return Ok(EpochEnd::Interrupted);
            }
            began = Instant::now();
        }
        if flow == Flow::Stop && self.at.taken > 0 {
            self.at.passes += 1;
            self.at.taken = 0;
        }
        if let Some(accumulator) = &mut self.accumulator
            && let Some(mean) = accumulator.take()?
        {
            let updated = self.optimizer.update(&mean)?;
            crate::eval::eval(&updated.iter().collect::<Vec<&Tensor>>())?;
        }
        let Some(partial) = self.at.partial.take() else {
            return Err(Error::argument("Trainer::fit", "the epoch has no sums"));
        };
        let mut evaluation = partial.totals.read(&self.outputs, 0.0)?;
        // Reading waits for the device: only now the epoch is over.
        evaluation.seconds = start.elapsed().as_secs_f64();
        Ok(EpochEnd::Whole(evaluation, flow))
    }
}

/// What optimizers know by name.
pub(super) fn named_variables(model: &impl Module) -> Vec<(String, Variable)> {
    model.parameters().into_iter().filter(|p| !p.buffer).map(|p| (p.name, p.variable)).collect()
}
