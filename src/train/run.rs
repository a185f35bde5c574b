//! The loop that everybody writes.

use super::accumulation::Accumulation;
use super::callback::{Callback, Callbacks, Flow, Run, Step, label};
use super::checkpoint_file::named_variables;
use super::curve::{Curve, interval};
use super::first_batch;
use super::fit::Fit;
use super::history::{Epoch, Evaluation, History, StepLoss};
use super::outputs::ClassWeights;
use super::progress::Progress;
use super::stream::{Next, Stream};
use super::totals::{Totals, names};
use super::trainer::{Partial, Trainer};
use crate::data::Source;
use crate::distributed::agree;
use crate::error::{Error, Result, ResultExt};
use crate::nn::{Module, Parameter};
use crate::optim::{Optimizer, State};
use crate::tensor::Tensor;
use crate::variable::Variable;
use std::path::PathBuf;
use std::time::Instant;

/// What an epoch was, unless somebody wants the run to end: then it stays under way.
type EpochEnd = Option<(Evaluation, Flow)>;

impl<M: Module> Trainer<M> {
    /// Trains on a data set, and gives the whole epochs of the run. Floats of the data, weights of samples and targets too, become the
    /// [model's type](Module::dtype), here as in evaluations and predictions.
    ///
    /// After [`resume`](Self::resume) this goes on with the run from which the checkpoint comes: `Fit::epochs(10)` then
    /// means the epochs up to the tenth, those before the checkpoint included, and the history begins with them.
    ///
    /// # Errors
    ///
    /// The data set is empty, gives nothing in a pass, or doesn't fit the model; the device fails, a callback fails, or the
    /// loss or a parameter is not finite any more ([`Error::Diverged`], found at the end of the epoch; it names the first such
    /// parameter). Callbacks are told that the run is over before the error is returned, so that
    /// [`EarlyStopping`](super::EarlyStopping) restores the best weights; the epochs before it are in
    /// [`history`](Self::history).
    ///
    /// In a [distributed](Self::distributed) run, an error of one rank is one of all: it names the rank. The group is of no use then.
    pub fn fit(&mut self, train: &dyn Source, fit: Fit<'_>) -> Result<History> {
        let Some(world) = self.world.clone() else { return self.fit_here(train, fit) };
        let ended = self.fit_here(train, fit);
        let history = self.told(ended)?;
        // Nobody goes on before all have come so far.
        agree(&*world, Ok(String::new()))?;
        Ok(history)
    }

    /// The part of this rank.
    fn fit_here(&mut self, train: &dyn Source, mut fit: Fit<'_>) -> Result<History> {
        fit.check()?;
        let sharing = self.share(&mut fit)?;
        #[cfg(feature = "signals")]
        if fit.signals {
            fit.listening = Some(super::signals::Listening::begin()?);
        }
        let parts = fit.validation_split.map(|f| train.split_for_validation(f)).transpose()?;
        let (train, validation): (&dyn Source, Option<&dyn Source>) = match &parts {
            Some((train, validation)) => (&**train, Some(&**validation)),
            None => (train, fit.validation),
        };
        let empty = |set: &dyn Source| set.samples() == Some(0) || set.steps(fit.batch_size) == Some(0);
        if empty(train) {
            return Err(Error::data(train.name(), "has no samples to train on"));
        }
        if let Some(set) = validation {
            if empty(set) {
                return Err(Error::data(set.name(), "has no samples to validate on"));
            }
            if set.endless() && fit.validation_steps.is_none() {
                let message =
                    "never ends; say how many of its batches to validate on with Fit::validation_steps";
                return Err(Error::data(set.name(), message));
            }
        }
        let mut progress = Progress::new(fit.verbose && self.writes_files(), fit.epochs, train.unit());
        let resumed = self.begin(&fit)?;
        if self.own.is_some() && !fit.class_weights.is_empty() {
            let message = "class weights are for losses of outputs; a training step of one's own weighs its losses itself";
            return Err(Error::argument("Fit::class_weights", message));
        }
        let weights = ClassWeights::new(&fit.class_weights, &self.outputs)?;
        let trainable: Vec<Variable> =
            self.model.parameters().into_iter().filter(Parameter::trainable).map(|p| p.variable).collect();
        self.optimizer.prepare(&trainable)?;
        if let Some(sharing) = &sharing {
            self.compare_ranks(sharing, train, validation, &fit)?;
        }

        let mut shown = names(&self.outputs);
        if validation.is_some() {
            shown.extend(names(&self.outputs).iter().map(|name| format!("val_{name}")));
        }
        shown.push("learning_rate".into());
        let (list, averages) = (std::mem::take(&mut fit.callbacks), fit.validate_averages);
        let mut callbacks = Callbacks { list, begun: 0, epochs: fit.epochs, names: shown, averages };
        let mut ended = match self.begin_callbacks(&mut callbacks, resumed) {
            Ok(()) => self.epochs(train, validation, &fit, weights, &mut callbacks, &mut progress),
            Err(error) => Err(error),
        };
        progress.abandon();
        match callbacks.export() {
            Ok(state) => self.at.callbacks = state,
            Err(error) => ended = ended.and(Err(error)),
        }
        if ended.is_ok() && !self.at.interrupted {
            ended = self.optimizer.finalize();
        }
        if ended.is_ok() {
            ended = self.tell_compiled(&mut callbacks, &progress).map(|_| ());
        }
        // Whatever ended the run: who keeps the best weights, or has a file open, has to know.
        let told = self.tell_end(&mut callbacks, ended.as_ref().err());
        ended.and(told)?;
        Ok(self.at.history.clone())
    }

    fn begin_callbacks(&mut self, callbacks: &mut Callbacks<'_>, resumed: bool) -> Result<()> {
        let mut begun = 0;
        let told = self.tell(callbacks, &mut |c, run| {
            c.on_train_begin(run)?;
            begun += 1;
            Ok(Flow::Continue)
        });
        callbacks.begun = begun;
        told?;
        if resumed { callbacks.import(&self.at.callbacks) } else { Ok(()) }
    }

    /// Epoch after epoch, until the last or whatever ends the run before.
    fn epochs(
        &mut self,
        train: &dyn Source,
        validation: Option<&dyn Source>,
        fit: &Fit<'_>,
        mut weights: ClassWeights,
        callbacks: &mut Callbacks<'_>,
        progress: &mut Progress,
    ) -> Result<()> {
        let mut stream = Stream::new(train, fit, self.device);
        while self.at.epoch < fit.epochs {
            let start = Instant::now();
            let number = self.at.epoch + 1;
            self.tell(callbacks, &mut |c, run| c.on_epoch_begin(number, run).map(|()| Flow::Continue))?;
            let end = self.train_epoch(&mut stream, fit, number, &mut weights, callbacks, progress)?;
            let Some((evaluation, mut flow)) = end else {
                self.at.interrupted = true;
                return Ok(());
            };
            let loss = evaluation.loss;
            let parameter = self.model.first_not_finite()?;
            let diverged = !loss.is_finite() || parameter.is_some();
            if diverged {
                self.at.partial = None;
                let told = self.tell(callbacks, &mut |c, run| c.on_diverged(number, loss, run))?;
                if told == Flow::Continue {
                    return Err(Error::Diverged { epoch: number, loss, parameter });
                }
                flow = Flow::Stop;
            }
            let validation = match validation {
                Some(set) if !diverged => {
                    let measured = self.validate(set, fit)?;
                    if measured.is_none() {
                        self.at.interrupted = true;
                        return Ok(());
                    }
                    measured
                }
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
            (self.at.epoch, self.at.partial) = (number, None);
            if !diverged && self.tell(callbacks, &mut |c, run| c.on_epoch_end(&epoch, run))? == Flow::Stop {
                flow = Flow::Stop;
            }
            if self.tell_compiled(callbacks, progress)? == Flow::Stop {
                flow = Flow::Stop;
            }
            let interrupted = match fit.shared {
                true => self.agree_on_wishes(&mut flow, fit)?,
                false => flow == Flow::Continue && self.at.epoch < fit.epochs && fit.take_interrupt(),
            };
            if flow == Flow::Stop {
                break;
            }
            if self.at.epoch < fit.epochs && interrupted {
                self.at.interrupted = true;
                break;
            }
        }
        Ok(())
    }

    /// The validation after an epoch, of averaged weights where that is wanted.
    fn validate(&mut self, set: &dyn Source, fit: &Fit<'_>) -> Result<Option<Evaluation>> {
        if fit.validate_averages && !self.optimizer.swap_averages()? {
            let message = "the optimizer keeps no averages of weights; ask for them with Adam::new(1e-3).ema(0.99) or Swa::new(..)";
            return Err(Error::argument("Fit::validate_averages", message));
        }
        let measured = self.evaluate_until(set, fit.validation_steps, &|| fit.take_interrupt());
        if fit.validate_averages {
            self.optimizer.swap_averages()?;
        }
        measured
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
        self.accumulator = (fit.accumulate > 1).then(|| Accumulation::new(fit.accumulate));
        let accumulated = std::mem::take(&mut self.at.accumulated);
        if !accumulated.is_empty() {
            let Some(accumulator) = &mut self.accumulator else {
                let message = "the run was interrupted while it accumulated gradients; resume it with the same accumulate(n)";
                return Err(Error::argument(OP, message));
            };
            let parts = self.outputs.len().max(self.own.as_ref().map_or(0, |own| own.names.len()));
            accumulator.import_state(&named_variables(&self.model.parameters()), &accumulated, parts)?;
        }
        (self.batch_size, self.seed, self.shuffle) = (fit.batch_size, fit.seed, fit.shuffle);
        self.at.interrupted = false;
        Ok(resumed)
    }

    fn run<'a>(&'a mut self, callbacks: &'a Callbacks<'_>, error: Option<&'a Error>) -> Run<'a> {
        let writes_files = self.writes_files();
        Run {
            model: &self.model,
            optimizer: self.optimizer.whole(),
            history: &self.at.history,
            epochs: callbacks.epochs,
            names: &callbacks.names,
            interrupted: self.at.interrupted,
            writes_files,
            averages: callbacks.averages,
            error,
            checkpoints: Vec::new(),
        }
    }

    /// Calls all callbacks, and saves the checkpoints that they ask for.
    fn tell(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        what: &mut dyn FnMut(&mut dyn Callback, &mut Run<'_>) -> Result<Flow>,
    ) -> Result<Flow> {
        let mut flow = Flow::Continue;
        let mut list = std::mem::take(&mut callbacks.list);
        let mut run = self.run(callbacks, None);
        let mut told = Ok(());
        for (i, callback) in list.iter_mut().enumerate() {
            match what(&mut **callback, &mut run).with_context(|| label(i, &**callback)) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop) => flow = Flow::Stop,
                Err(error) => {
                    told = Err(error);
                    break;
                }
            }
        }
        let paths = run.checkpoints;
        callbacks.list = list;
        told?;
        self.save_checkpoints(callbacks, paths)?;
        Ok(flow)
    }

    /// Tells all callbacks what was compiled since they were told last.
    fn tell_compiled(&mut self, callbacks: &mut Callbacks<'_>, progress: &Progress) -> Result<Flow> {
        match progress.take_compiled() {
            Some(compiled) => self.tell(callbacks, &mut |c, run| c.on_compiled(&compiled, run)),
            None => Ok(Flow::Continue),
        }
    }

    /// Tells all callbacks that the run is over: those after one that fails, too. The first error.
    fn tell_end(&mut self, callbacks: &mut Callbacks<'_>, error: Option<&Error>) -> Result<()> {
        let mut list = std::mem::take(&mut callbacks.list);
        let begun = callbacks.begun;
        let mut run = self.run(callbacks, error);
        let mut told = Ok(());
        // What the model has now is what it ends with: the averages, or what a callback has restored.
        run.averages = false;
        for (i, callback) in list.iter_mut().take(begun).enumerate() {
            told = told.and(callback.on_train_end(&mut run).with_context(|| label(i, &**callback)));
        }
        let paths = run.checkpoints;
        callbacks.list = list;
        told.and(self.save_checkpoints(callbacks, paths))
    }

    fn save_checkpoints(&mut self, callbacks: &Callbacks<'_>, paths: Vec<PathBuf>) -> Result<()> {
        if !paths.is_empty() {
            self.at.callbacks = callbacks.export()?;
        }
        for path in paths.into_iter().filter(|_| self.writes_files()) {
            crate::files::make_folders(&path)?;
            self.save_checkpoint(path)?;
        }
        Ok(())
    }

    /// The epoch that is under way, and what came of it; it stays under way until it was validated.
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
        let every = interval(fit.record_every, fit.epochs, steps);
        if self.at.partial.is_none() {
            let totals = Totals::new(&self.outputs, self.device)?;
            self.at.partial = Some(Partial { step: 0, trained: false, totals, curve: Curve::default() });
        }
        let mut flow = Flow::Continue;
        progress.begin_epoch(epoch, steps);
        let mut began = Instant::now();
        while let Some(mut partial) = self.at.partial.take() {
            if partial.trained || fit.steps_per_epoch == Some(partial.step) {
                self.at.partial = Some(partial);
                break;
            }
            let next = stream.next(self.at.passes, self.at.taken, fit);
            let batch = match next {
                Ok(Next::Batch(batch)) => batch,
                other => {
                    self.at.partial = Some(partial);
                    if let Next::Interrupted = other? {
                        return Ok(None);
                    }
                    self.at.passes += 1;
                    self.at.taken = 0;
                    match fit.steps_per_epoch {
                        Some(_) => continue,
                        None => break,
                    }
                }
            };
            if std::mem::take(&mut stream.unseen) {
                let found = first_batch::look(&self.model, &self.outputs, stream.source, &batch)?;
                found.iter().for_each(|warning| progress.warn(warning));
            }
            let samples = batch.samples();
            let loss = self.train_step(batch, weights, &mut partial.totals)?;
            partial.step += 1;
            let step = partial.step;
            if every > 0 && step.is_multiple_of(every) {
                partial.curve.note(step, &partial.totals)?;
            }
            self.at.taken += 1;
            self.at.partial = Some(partial);
            let told = Step { epoch, step, steps, samples, loss: &loss, elapsed: began.elapsed() };
            flow = self.tell(callbacks, &mut |c, run| c.on_step(&told, run))?;
            if self.tell_compiled(callbacks, progress)? == Flow::Stop {
                flow = Flow::Stop;
            }
            let so_far = match (&self.at.partial, progress.wants_numbers()) {
                (Some(p), true) => Some(p.totals.read(&self.outputs, start.elapsed().as_secs_f64())?),
                _ => None,
            };
            progress.step(step, so_far);
            let interrupted = match fit.shared {
                true => self.hear_wishes(&mut flow, fit),
                false => flow == Flow::Continue && fit.take_interrupt(),
            };
            if flow == Flow::Stop {
                break;
            }
            if interrupted {
                // Everything that was queued is computed, so that what is saved now is whole.
                self.device.synchronize()?;
                return Ok(None);
            }
            began = Instant::now();
        }
        if flow == Flow::Stop && self.at.taken > 0 {
            self.at.passes += 1;
            self.at.taken = 0;
        }
        if let Some(accumulator) = &mut self.accumulator {
            let mut updated = Vec::new();
            if self.own.is_some() {
                for (place, mean) in accumulator.take_parts()? {
                    if let Some(optimizer) = self.optimizer.get(place) {
                        updated.extend(optimizer.update(&mean)?);
                    }
                }
            } else if let Some(mean) = accumulator.take()? {
                updated = self.optimizer.update(&mean)?;
            }
            crate::backend::eval(&updated.iter().collect::<Vec<&Tensor>>())?;
        }
        let Some(partial) = &mut self.at.partial else {
            return Err(Error::internal("an epoch ends that has no sums"));
        };
        // Of an epoch that was interrupted after this, the points are in the history already.
        let known = std::mem::replace(&mut partial.trained, true);
        let (mut evaluation, sums) = partial.totals.read_sums(&self.outputs, 0.0)?;
        if every > 0 && !known {
            let end = [partial.step, partial.totals.samples()];
            let mut curve = std::mem::take(&mut partial.curve);
            if fit.record_every.is_none() {
                curve.join_rest(end[0], every);
            }
            let mean = |sums: &[f64], samples: usize| partial.totals.mean_loss(&self.outputs, sums, samples);
            let before = self.at.history.steps.last().map_or(0, |last| last.step);
            for (step, loss) in curve.finish(end, &sums, mean)? {
                let place = (epoch - 1) as f64 + step as f64 / end[0] as f64;
                self.at.history.steps.push(StepLoss {
                    step: before.saturating_add(step as u64),
                    epoch: place,
                    loss,
                });
            }
        }
        // Reading waits for the device: only now the epoch is over.
        evaluation.seconds = start.elapsed().as_secs_f64();
        Ok(Some((evaluation, flow)))
    }
}
