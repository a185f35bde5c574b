//! Where a training is, in one file.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::io::safetensors::{metadata_of, parse, tensors_of};
use crate::io::{Metadata, budget, save_tensors_with};
use crate::nn::weights_file::{Types, match_parameters};
use crate::nn::{Module, Parameter};
use crate::optim::{Optimizer, State, import_all, part_of, under};
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde_json::json;
use std::path::Path;

const FACTS: &str = "wgrad.checkpoint";
const VERSION: &str = "wgrad.version";
const OPTIMIZER: &str = "wgrad/optimizer/";
const TRAINING: &str = "wgrad/training/";

/// What [`Trainer::save_checkpoint`](crate::train::Trainer::save_checkpoint) writes and
/// [`Trainer::resume`](crate::train::Trainer::resume) reads: a safetensors file with the weights under their own names, the
/// optimizer's and the training's state beside them, and counters in the metadata.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::io::Checkpoint;
/// # fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("wgrad-doc-checkpoint-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).ok();
/// # let path = folder.join("run.safetensors");
/// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// # trainer.fit(&digits, Fit::epochs(2).verbose(false))?;
/// trainer.save_checkpoint(&path)?;
/// let checkpoint = Checkpoint::load(&path)?;
/// assert_eq!((checkpoint.facts.get("epoch"), checkpoint.facts.get("step")), (Some(2), Some(8)));
/// // The weights alone, to predict with:
/// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// checkpoint.set_parameters(&model.parameters())?;
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it comes from, for errors.
    name: String,
    /// Weights and buffers by name.
    pub parameters: State,
    /// What [`Optimizer::export_state`](crate::optim::Optimizer::export_state) gave.
    pub optimizer: State,
    /// Everything else that is numbers: history, sums of the epoch under way, the callbacks' state.
    pub training: State,
    /// Counters and settings, such as `epoch`, `step` (both of the whole run), `seed` and the optimizer's `config`.
    pub facts: Config,
}

impl Checkpoint {
    /// A checkpoint to be saved.
    pub fn new(parameters: State, optimizer: State, training: State, facts: Config) -> Checkpoint {
        Checkpoint { name: "checkpoint".into(), parameters, optimizer, training, facts }
    }

    /// Where a loop of one's own is: a number that says it (of the epoch or the step that comes next), the parameters of a model, and the
    /// states of its optimizers. [`restore`](Self::restore) puts them back.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::io::Checkpoint;
    /// use wgrad::nn::Context;
    /// # fn main() -> Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("wgrad-doc-own-checkpoint-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).ok();
    /// # let path = folder.join("run.safetensors");
    /// # let (x, y) = (Tensor::ones([4, 2], Device::Cpu)?, Tensor::ones([4, 1], Device::Cpu)?);
    /// # for _program in 0..2 {
    /// let model = Sequential::new().add(Dense::new(1)).build([2], Device::Cpu)?;
    /// let mut adam = Adam::new(1e-3);
    /// let mut begin = 0;
    /// if path.exists() {
    ///     begin = Checkpoint::load(&path)?.restore(&model, &mut [&mut adam])?;
    /// }
    /// for epoch in begin..10 {
    ///     // what is random in an epoch is drawn from its number: a resumed run then draws the same
    ///     let loss = (model.forward(&x, &Context::train(epoch))? - &y)?.square()?.mean(.., false)?;
    ///     adam.step(&loss.backward()?)?;
    ///     Checkpoint::of(epoch + 1, &model, &[&adam])?.save(&path)?;
    /// }
    /// # assert_eq!(adam.steps(), 10);
    /// # }
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The state of an optimizer can't be computed.
    pub fn of(at: u64, model: &dyn Module, optimizers: &[&dyn Optimizer]) -> Result<Checkpoint> {
        let parameters = model.parameters();
        let named = named_variables(&parameters);
        let mut states = State::new();
        for (place, optimizer) in optimizers.iter().enumerate() {
            let state = optimizer.export_state(&named)?;
            states.extend(under(&format!("{place}/"), state));
        }
        let parameters = parameters.into_iter().map(|p| (p.name, p.variable.value())).collect();
        let facts = json!({"at": at, "optimizers": names_of(optimizers.iter().map(|o| o.name()))});
        Ok(Checkpoint::new(parameters, states, State::new(), Config(facts)))
    }

    /// Sets a model's parameters and its optimizers' states to those of a checkpoint that [`of`](Self::of) made of such, and gives the
    /// number that it was made with. Nothing is changed unless everything agrees.
    ///
    /// # Errors
    ///
    /// The checkpoint is of something else: of a [`Trainer`](crate::train::Trainer), another model or other optimizers.
    pub fn restore(&self, model: &dyn Module, optimizers: &mut [&mut dyn Optimizer]) -> Result<u64> {
        let facts = &self.facts.0;
        let (Some(at), Some(was)) = (facts["at"].as_u64(), facts["optimizers"].as_str()) else {
            return Err(self.wrong("is of a Trainer; go on with it by Trainer::resume"));
        };
        let is = names_of(optimizers.iter().map(|o| o.name()));
        if was != is {
            return Err(self.wrong(format!(
                "was saved with the optimizers {was}; got {is}: give the same in this order"
            )));
        }
        let parameters = model.parameters();
        let matched = self.matched(&parameters)?;
        let part = |place: usize| part_of(&self.optimizer, &format!("{place}/"));
        let parts = optimizers.iter_mut().enumerate().map(|(i, o)| (&mut **o as &mut dyn Optimizer, part(i)));
        import_all(parts.collect(), &named_variables(&parameters)).map_err(|e| self.wrong(e.to_string()))?;
        matched.into_iter().try_for_each(|(parameter, tensor)| parameter.variable.set(tensor))?;
        Ok(at)
    }

    /// Writes the file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// A tensor can't be computed, two have one name, or the file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut tensors = self.parameters.clone();
        for (prefix, state) in [(OPTIMIZER, &self.optimizer), (TRAINING, &self.training)] {
            tensors.extend(under(prefix, state.clone()));
        }
        let mut metadata = Metadata::new();
        metadata.insert(VERSION.into(), env!("CARGO_PKG_VERSION").into());
        metadata.insert(FACTS.into(), self.facts.to_string());
        save_tensors_with(path, &tensors, &metadata)
    }

    /// Reads a file; its tensors are on the CPU.
    ///
    /// # Errors
    ///
    /// The file can't be read, is damaged, or is no checkpoint.
    pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint> {
        // Read once: what is saved under the name meanwhile is another state.
        let (content, budget) = budget::read_file(path.as_ref())?;
        let name = budget.name().to_string();
        let metadata = metadata_of(&content).map_err(|e| Error::data(&name, e))?;
        let Some(facts) = metadata.get(FACTS) else {
            let message = "is no checkpoint, which Trainer::save_checkpoint writes; weights alone are read by Module::load";
            return Err(Error::data(name, message));
        };
        let facts = parse(facts, "metadata", &budget)?;
        let mut checkpoint = Checkpoint { name, ..Checkpoint::new(vec![], vec![], vec![], Config(facts)) };
        for (name, tensor) in tensors_of(&content, &budget)? {
            if let Some(name) = name.strip_prefix(OPTIMIZER) {
                checkpoint.optimizer.push((name.into(), tensor));
            } else if let Some(name) = name.strip_prefix(TRAINING) {
                checkpoint.training.push((name.into(), tensor));
            } else {
                checkpoint.parameters.push((name, tensor));
            }
        }
        Ok(checkpoint)
    }

    /// Sets parameters by name. Nothing is changed unless everything agrees. Parameters keep their type: floats of the other one are
    /// converted, as by [`Module::load`](crate::nn::Module::load).
    ///
    /// # Errors
    ///
    /// Names or shapes of the checkpoint and the parameters differ, or one has integers where the other has floats: the error lists every
    /// difference.
    pub fn set_parameters(&self, parameters: &[Parameter]) -> Result<()> {
        match_parameters(&self.name, self.parameters.clone(), parameters, Types::OfParameters)?
            .into_iter()
            .try_for_each(|(parameter, tensor)| parameter.variable.set(tensor))
    }

    /// What a run goes on with, on the parameters' devices and of their types: all of it that can fail.
    pub(crate) fn matched<'a>(&self, parameters: &'a [Parameter]) -> Result<Vec<(&'a Parameter, Tensor)>> {
        match_parameters(&self.name, self.parameters.clone(), parameters, Types::Same)
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Error {
        Error::data(&self.name, message)
    }
}

fn names_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// What optimizers know by name.
pub(super) fn named_variables(parameters: &[Parameter]) -> Vec<(String, Variable)> {
    parameters.iter().filter(|p| !p.buffer).map(|p| (p.name.clone(), p.variable.clone())).collect()
}
