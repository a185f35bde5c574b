//! Where a training is, in one file.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::io::safetensors::{metadata_of, parse, tensors_of};
use crate::io::{Metadata, budget, save_tensors_with};
use crate::nn::Parameter;
use crate::nn::weights_file::match_parameters;
use crate::optim::State;
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

    /// Writes the file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// A tensor can't be computed, two have one name, or the file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut tensors = self.parameters.clone();
        for (prefix, state) in [(OPTIMIZER, &self.optimizer), (TRAINING, &self.training)] {
            tensors.extend(state.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())));
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

    /// Sets parameters by name. Nothing is changed unless everything agrees.
    ///
    /// # Errors
    ///
    /// Names, shapes or types of the checkpoint and the parameters differ: the error lists every difference.
    pub fn set_parameters(&self, parameters: &[Parameter]) -> Result<()> {
        for (parameter, tensor) in match_parameters(&self.name, self.parameters.clone(), parameters)? {
            parameter.variable.set(tensor)?;
        }
        Ok(())
    }

    /// That [`set_parameters`](Self::set_parameters) would succeed.
    pub(crate) fn check_parameters(&self, parameters: &[Parameter]) -> Result<()> {
        match_parameters(&self.name, self.parameters.clone(), parameters).map(drop)
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Error {
        Error::data(&self.name, message)
    }
}
