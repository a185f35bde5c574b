//! Saving a run, and going on with it.

use super::checkpoint_file::{Checkpoint, named_variables};
use super::curve::Curve;
use super::history::{Epoch, Evaluation, History, StepLoss};
use super::totals::Totals;
use super::trainer::{Partial, Position, Trainer};
use crate::config::Config;
use crate::device::Device;
use crate::error::Result;
use crate::nn::Module;
use crate::optim::{Optimizer, State, part_of, under};
use crate::tensor::Tensor;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

const PARTIAL: &str = "epoch/";
const ACCUMULATED: &str = "gradients/";
const CURVE: &str = "curve/";
const CALLBACKS: &str = "callbacks/";
const HISTORY: &str = "history/";
/// Of the history: losses by step.
const STEPS: &str = "steps";
/// Above what any run counts to, and far below where counting on overflows.
const MOST: u64 = 1 << 48;

impl<M: Module> Trainer<M> {
    /// Saves where the training is: weights and buffers, the optimizer's state, epoch and step, what random numbers and
    /// orders are derived from, history, and the state of the callbacks. The file appears whole or not at all.
    ///
    /// A run that is [resumed](Self::resume) from it goes on bit by bit as this one would, also in the middle of an epoch; except that
    /// [stateful](crate::nn::Lstm::stateful) layers, whose states are not saved, begin with zeros.
    /// While `fit` runs, callbacks save it: [`ModelCheckpoint`](super::ModelCheckpoint), or
    /// [`Run::save_checkpoint`](super::Run::save_checkpoint).
    ///
    /// Of several ranks that share the run, only rank 0 writes it.
    ///
    /// # Errors
    ///
    /// The device fails, the file can't be written, or the weights are exchanged for their averages
    /// ([`swap_averages`](Optimizer::swap_averages)).
    pub fn save_checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        if !self.writes_files() {
            return Ok(());
        }
        let parameters = self.model.parameters().into_iter().map(|p| (p.name, p.variable.value())).collect();
        let named = named_variables(&self.model.parameters());
        let optimizer = self.optimizer.export_state(&named)?;
        let at = &self.at;
        let mut facts = json!({
            "epoch": at.epoch,
            "step": at.steps,
            "passes": at.passes,
            "batches_of_pass": at.taken,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "optimizer": self.optimizer.config(),
        });
        let mut training = State::new();
        let mut put = |prefix: &str, state: State| {
            training.extend(under(prefix, state));
        };
        let (table, names) = pack_history(&at.history)?;
        put(HISTORY, table);
        facts["history"] = names;
        put(CALLBACKS, at.callbacks.clone());
        if let Some(partial) = &at.partial {
            facts["steps_of_epoch"] = json!(partial.step);
            facts["epoch_trained"] = json!(partial.trained);
            facts["samples_of_epoch"] = json!(partial.totals.samples());
            put(PARTIAL, partial.totals.export(&self.outputs));
            put(CURVE, partial.curve.export()?);
        }
        if let Some(accumulator) = self.accumulator.as_ref().filter(|a| a.count() > 0) {
            put(ACCUMULATED, accumulator.export_state(&named)?);
        }
        Checkpoint::new(parameters, optimizer, training, Config(facts)).save(path)
    }

    /// Goes on from a checkpoint: the next [`fit`](Self::fit), on the same data and with the same batch size and seed,
    /// does what the run that saved it would have done next. Only states of [stateful](crate::nn::Lstm::stateful) layers are in no
    /// checkpoint: those go on from what they hold, zeros in a new model ([`reset_states`](Module::reset_states)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::train::ModelCheckpoint;
    /// # fn main() -> Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("wgrad-doc-resume-{}", std::process::id()));
    /// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// let path = folder.join("run.safetensors");
    /// # let mut epochs = 0;
    /// # for _program in 0..2 {
    /// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    /// if path.exists() {
    ///     trainer.resume(&path)?; // the program was started before, and was killed
    /// }
    /// let save = ModelCheckpoint::new(path.display().to_string());
    /// # epochs += 2;
    /// let history = trainer.fit(&digits, Fit::epochs(epochs).with(save).verbose(false))?;
    /// # assert_eq!(history.epochs.len(), epochs);
    /// # }
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The file can't be read, is no checkpoint, or is of another model or optimizer. Nothing is changed then.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let checkpoint = Checkpoint::load(path)?;
        self.resume_from(&checkpoint).map_err(|e| e.of_file(&path.display().to_string()))
    }

    fn resume_from(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let facts = &checkpoint.facts.0;
        let number = |name: &str| {
            facts[name].as_u64().ok_or_else(|| checkpoint.wrong(format!("its metadata has no number {name}")))
        };
        let count = |name: &str| match number(name)? {
            n if n <= MOST => Ok(n),
            n => Err(checkpoint.wrong(format!("its metadata is damaged: {name} is {n}"))),
        };
        let (was, is) = (facts["optimizer"]["name"].as_str().unwrap_or("?"), self.optimizer.name());
        if was != is {
            let message = format!("was saved with the optimizer {was}, the trainer has {is}; use the same");
            return Err(checkpoint.wrong(message));
        }
        let part = |prefix: &str| part_of(&checkpoint.training, prefix);
        let Some(history) = unpack_history(&part(HISTORY), &facts["history"])? else {
            return Err(checkpoint.wrong("its history is damaged"));
        };
        let mut partial = None;
        if facts["steps_of_epoch"].is_u64() {
            let samples = count("samples_of_epoch")? as usize;
            let Some(totals) = Totals::import(&self.outputs, self.device, &part(PARTIAL), samples)? else {
                let message =
                    "was saved in the middle of an epoch with other outputs or metrics; use the same";
                return Err(checkpoint.wrong(message));
            };
            let step = count("steps_of_epoch")? as usize;
            let trained = facts["epoch_trained"].as_bool().unwrap_or(false);
            let Some(curve) =
                Curve::import(&part(CURVE), self.device, [step, samples], totals.loss_sums().count())?
            else {
                return Err(checkpoint.wrong("its losses by step are damaged"));
            };
            partial = Some(Partial { step, trained, totals, curve });
        }
        let at = Position {
            passes: count("passes")?,
            steps: count("step")?,
            taken: count("batches_of_pass")? as usize,
            epoch: count("epoch")? as usize,
            partial,
            history,
            resumed: true,
            interrupted: false,
            callbacks: part(CALLBACKS),
            accumulated: part(ACCUMULATED),
        };
        let (seed, batch_size) = (number("seed")?, count("batch_size")? as usize);
        // All that can fail, before anything is changed.
        let parameters = self.model.parameters();
        let matched = checkpoint.matched(&parameters)?;
        self.optimizer.import_state(&named_variables(&parameters), &checkpoint.optimizer)?;
        matched.into_iter().try_for_each(|(parameter, tensor)| parameter.variable.set(tensor))?;
        self.at = at;
        (self.seed, self.batch_size) = (seed, batch_size.max(1));
        self.shuffle = facts["shuffle"].as_bool().unwrap_or(true);
        self.accumulator = None;
        Ok(())
    }
}

/// The epochs as rows of f64, which keep every bit (JSON has no NaN), and the names of their metrics.
fn pack_history(history: &History) -> Result<(State, Value)> {
    let (mut rows, mut names) = (State::new(), Vec::new());
    for (i, epoch) in history.epochs.iter().enumerate() {
        let mut row = vec![epoch.number as f64, epoch.learning_rate, epoch.seconds];
        let mut of_epoch = Vec::new();
        for evaluation in [Some(&epoch.train), epoch.validation.as_ref()] {
            let Some(e) = evaluation else {
                of_epoch.push(Value::Null);
                continue;
            };
            row.extend([e.loss, e.samples as f64, e.seconds]);
            row.extend(e.metrics.iter().map(|(_, value)| value));
            of_epoch.push(e.metrics.iter().map(|(name, _)| Value::from(name.as_str())).collect());
        }
        names.push(Value::from(of_epoch));
        rows.push((i.to_string(), Tensor::from_vec(row.clone(), [row.len()], Device::Cpu)?));
    }
    if !history.steps.is_empty() {
        let points: Vec<f64> = history.steps.iter().flat_map(|p| [p.step as f64, p.epoch, p.loss]).collect();
        rows.push((STEPS.into(), Tensor::from_vec(points, [history.steps.len(), 3], Device::Cpu)?));
    }
    Ok((rows, names.into()))
}

/// What [`pack_history`] packed; `None` where it is not whole.
fn unpack_history(rows: &State, names: &Value) -> Result<Option<History>> {
    let mut history = History::default();
    let Some(names) = names.as_array() else { return Ok(None) };
    let rows: HashMap<&str, &Tensor> = rows.iter().map(|(name, row)| (name.as_str(), row)).collect();
    for (i, of_epoch) in names.iter().enumerate() {
        let Some(row) = rows.get(i.to_string().as_str()) else { return Ok(None) };
        let row: Vec<f64> = row.to_vec()?;
        let Some(epoch) = unpack_epoch(&mut row.into_iter(), of_epoch) else { return Ok(None) };
        history.epochs.push(epoch);
    }
    if let Some(points) = rows.get(STEPS) {
        let points: Vec<f64> = points.to_vec()?;
        let point =
            |p: &[f64]| Some(StepLoss { step: *p.first()? as u64, epoch: *p.get(1)?, loss: *p.get(2)? });
        history.steps = points.chunks(3).filter_map(point).collect();
        if history.steps.iter().any(|point| point.step > MOST) {
            return Ok(None);
        }
    }
    Ok(Some(history))
}

fn unpack_epoch(row: &mut impl Iterator<Item = f64>, names: &Value) -> Option<Epoch> {
    let (number, learning_rate, seconds) = (row.next()? as usize, row.next()?, row.next()?);
    let mut evaluation = |names: &Value| {
        let (loss, samples, seconds) = (row.next()?, row.next()? as usize, row.next()?);
        let metric = |name: &Value| Some((name.as_str()?.to_string(), row.next()?));
        let metrics = names.as_array()?.iter().map(metric).collect::<Option<_>>()?;
        Some(Evaluation { loss, metrics, samples, seconds })
    };
    let train = evaluation(&names[0])?;
    let validation = if names[1].is_null() { None } else { Some(evaluation(&names[1])?) };
    Some(Epoch { number, train, validation, learning_rate, seconds })
}
