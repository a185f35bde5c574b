//! What is told of a training while it runs, and may change it.

use super::history::{Epoch, History};
use crate::error::{Error, Result, ResultExt};
use crate::files::make_folders;
use crate::io::save_tensors;
use crate::nn::{Module, Parameter};
use crate::optim::{Optimizer, State, part_of, under};
use crate::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of callbacks that give themselves none.
const UNNAMED: &str = "callback";

/// Whether training goes on: what a [`Callback`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// It does.
    Continue,
    /// It ends after this epoch (after this step, where a step was told of).
    Stop,
}

/// A training step that has been queued: what [`Callback::on_step`] and [`Event::Step`] tell of.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Step<'a> {
    /// Number of the epoch; 1 for the first.
    pub epoch: usize,
    /// Number of the step in its epoch; 1 for the first.
    pub step: usize,
    /// Steps in each epoch; `None` where that is not known before the end of the first.
    pub steps: Option<usize>,
    /// Samples in the batch.
    pub samples: usize,
    /// The batch's loss. Reading it waits for the device; keeping it to read it later does not.
    pub loss: &'a Tensor,
    /// What the step took on the host: building the graph, queueing it, waiting where the device is behind.
    pub elapsed: Duration,
}

/// Kernels that a GPU's driver had to compile, or to read from the cache of an earlier run: what [`Callback::on_compiled`] and
/// [`Event::Compiled`] tell of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compiled {
    /// How many they are. What other threads compile is not counted.
    pub kernels: usize,
    /// How long the run waited for them.
    pub elapsed: Duration,
}

/// What a closure is told of: [`Fit::callback`](super::Fit::callback). [`Fit`](super::Fit) has an example.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was queued.
    Step(Step<'a>),
    /// An epoch is over, and validated.
    Epoch(&'a Epoch),
    /// Kernels had to be compiled: for the step or the epoch that was told of just before, mostly the first.
    Compiled(Compiled),
}

/// Something that is told of the progress of a training, and may change or end it: [`Fit::with`](super::Fit::with).
/// An error that it gives ends the run and says which callback it is of; one of your own is made by [`Error::other`].
///
/// ```
/// use wgrad::prelude::*;
/// use wgrad::train::{Callback, Epoch, Flow, Run};
///
/// /// Halves the learning rate after each epoch.
/// struct Halve;
///
/// impl Callback for Halve {
///     fn on_epoch_end(&mut self, _epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
///         let rate = run.optimizer().learning_rate();
///         run.optimizer().set_learning_rate(rate / 2.0);
///         Ok(Flow::Continue)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// let history = trainer.fit(&digits, Fit::epochs(3).with(Halve).verbose(false))?;
/// assert_eq!(history.epochs[2].learning_rate, 0.0025);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Whatever a method returns as an error ends the run, and [`fit`](super::Trainer::fit) returns it with the callback's name before
/// it. The others are still told that the run is over.
pub trait Callback: Send {
    /// What its state is saved under, and errors name it by.
    fn name(&self) -> &'static str {
        UNNAMED
    }

    /// The run begins, or is resumed.
    fn on_train_begin(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// An epoch begins; 1 is the first.
    fn on_epoch_begin(&mut self, _epoch: usize, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// A step was queued. What is read here waits for the device.
    fn on_step(&mut self, _step: &Step<'_>, _run: &mut Run<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// An epoch is over, and validated.
    fn on_epoch_end(&mut self, _epoch: &Epoch, _run: &mut Run<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// Kernels had to be compiled, mostly for the first step and the first validation. While it is under way, the progress bar shows
    /// it. Comes after [`on_step`](Self::on_step) and [`on_epoch_end`](Self::on_epoch_end), and not at all on the CPU.
    fn on_compiled(&mut self, _compiled: &Compiled, _run: &mut Run<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// The mean loss of an epoch, or a parameter at its end, is infinite or not a number. The run then ends with
    /// [`Error::Diverged`](crate::Error::Diverged), unless a callback gives [`Flow::Stop`] here: then it ends without an error.
    fn on_diverged(&mut self, _epoch: usize, _loss: f64, _run: &mut Run<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// The run is over, was [interrupted](Run::interrupted), or ends in an [error](Run::error), which `fit` then returns. All
    /// callbacks whose [`on_train_begin`](Self::on_train_begin) went well are told.
    fn on_train_end(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether it is told on all ranks of a [distributed](super::Trainer::distributed) run. If not, as of callbacks that write files or
    /// show something, on rank 0 alone. Those that change something, a learning rate say, have to do the same on all.
    fn on_every_rank(&self) -> bool {
        true
    }

    /// What has to be saved for a resumed run to go on as this one would.
    fn export_state(&self) -> Result<State> {
        Ok(State::new())
    }

    /// Takes over what [`export_state`](Self::export_state) gave; after [`on_train_begin`](Self::on_train_begin).
    fn import_state(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}

/// `Callback` by what is pointed to: each method is handed on. Clippy refuses one that is forgotten.
macro_rules! forward_callback {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<C: Callback + ?Sized> Callback for $pointer {
            fn name(&self) -> &'static str {
                (**self).name()
            }
            fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result<()> {
                (**self).on_train_begin(run)
            }
            fn on_epoch_begin(&mut self, epoch: usize, run: &mut Run<'_>) -> Result<()> {
                (**self).on_epoch_begin(epoch, run)
            }
            fn on_step(&mut self, step: &Step<'_>, run: &mut Run<'_>) -> Result<Flow> {
                (**self).on_step(step, run)
            }
            fn on_epoch_end(&mut self, epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
                (**self).on_epoch_end(epoch, run)
            }
            fn on_compiled(&mut self, compiled: &Compiled, run: &mut Run<'_>) -> Result<Flow> {
                (**self).on_compiled(compiled, run)
            }
            fn on_diverged(&mut self, epoch: usize, loss: f64, run: &mut Run<'_>) -> Result<Flow> {
                (**self).on_diverged(epoch, loss, run)
            }
            fn on_train_end(&mut self, run: &mut Run<'_>) -> Result<()> {
                (**self).on_train_end(run)
            }
            fn on_every_rank(&self) -> bool {
                (**self).on_every_rank()
            }
            fn export_state(&self) -> Result<State> {
                (**self).export_state()
            }
            fn import_state(&mut self, state: &State) -> Result<()> {
                (**self).import_state(state)
            }
        }
    )*};
}
forward_callback!(Box<C>, &mut C);

/// A closure as a callback.
pub(super) struct Closure<F>(pub F);

impl<F: FnMut(Event<'_>) -> Result<Flow> + Send> Callback for Closure<F> {
    fn on_step(&mut self, step: &Step<'_>, _run: &mut Run<'_>) -> Result<Flow> {
        (self.0)(Event::Step(*step))
    }
    fn on_epoch_end(&mut self, epoch: &Epoch, _run: &mut Run<'_>) -> Result<Flow> {
        (self.0)(Event::Epoch(epoch))
    }
    fn on_compiled(&mut self, compiled: &Compiled, _run: &mut Run<'_>) -> Result<Flow> {
        (self.0)(Event::Compiled(*compiled))
    }
}

/// A closure that is told of epochs, with the run.
pub(super) struct EpochClosure<F>(pub F);

impl<F: FnMut(&Epoch, &mut Run<'_>) -> Result<Flow> + Send> Callback for EpochClosure<F> {
    fn on_epoch_end(&mut self, epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        (self.0)(epoch, run)
    }
}

/// The run that a [`Callback`] is told of; there is an example.
pub struct Run<'a> {
    pub(super) model: &'a dyn Module,
    pub(super) optimizer: &'a mut dyn Optimizer,
    pub(super) history: &'a History,
    pub(super) epochs: usize,
    pub(super) names: &'a [String],
    pub(super) interrupted: bool,
    pub(super) writes_files: bool,
    /// Whether averages of weights are what is validated, and thus what is worth being kept.
    pub(super) averages: bool,
    pub(super) error: Option<&'a Error>,
    pub(super) checkpoints: Vec<PathBuf>,
}

impl Run<'_> {
    /// The model.
    pub fn model(&self) -> &dyn Module {
        self.model
    }

    /// The optimizer, to read or set its learning rate, say.
    pub fn optimizer(&mut self) -> &mut dyn Optimizer {
        self.optimizer
    }

    /// The whole epochs so far, with those before the run was resumed.
    pub fn history(&self) -> &History {
        self.history
    }

    /// The number of the last epoch, if nothing ends the run earlier.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    /// The names that [`Epoch::value`] will know.
    pub fn names(&self) -> &[String] {
        self.names
    }

    /// Whether the run ends because somebody [interrupted](super::Fit::interrupt) it.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether this process is the one that writes files: rank 0, where several [share](super::Trainer::distributed) the run.
    pub fn writes_files(&self) -> bool {
        self.writes_files
    }

    /// What the run ends in, where it ends in an error: a loss that is not a number, data or a device that fail, the error of
    /// a callback.
    pub fn error(&self) -> Option<&Error> {
        self.error
    }

    /// Has a checkpoint saved, from which the run can be [resumed](super::Trainer::resume), when all callbacks have been
    /// told of what this one was told of: it holds their state, too. Folders of the path are made. Of several ranks only rank 0 writes.
    pub fn save_checkpoint(&mut self, path: impl Into<PathBuf>) {
        self.checkpoints.push(path.into());
    }

    /// Writes the weights as [`Module::save`] does: while the run goes on and validates
    /// [averages](super::Fit::validate_averages) of them, these. Folders of the path are made. Of several ranks only rank 0 writes.
    ///
    /// # Errors
    ///
    /// A weight can't be computed, or the file or its folders can't be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        if !self.writes_files {
            return Ok(());
        }
        make_folders(path.as_ref())?;
        save_tensors(path, &self.validated()?)
    }

    /// The model's parameters by name, with the values that are validated: averages, where the run asks for these and there are any.
    pub(super) fn validated(&self) -> Result<Vec<(String, Tensor)>> {
        let value = |p: Parameter| {
            let average = if self.averages { self.optimizer.average(&p.variable)? } else { None };
            Ok((p.name, average.unwrap_or_else(|| p.variable.value())))
        };
        self.model.parameters().into_iter().map(value).collect()
    }
}

/// A callback as errors name it: by its place, counted from 1, and its name where it has one of its own.
pub(super) fn label(place: usize, callback: &dyn Callback) -> String {
    match callback.name() {
        UNNAMED => format!("callback {}", place + 1),
        name => format!("callback {} ({name})", place + 1),
    }
}

/// The callbacks of a run.
pub(super) struct Callbacks<'a> {
    pub list: Vec<Box<dyn Callback + 'a>>,
    /// How many of them have begun.
    pub begun: usize,
    pub epochs: usize,
    pub names: Vec<String>,
    /// Whether averages of weights are validated.
    pub averages: bool,
}

impl Callbacks<'_> {
    /// Each callback with what its state's names begin with.
    fn prefixes(&self) -> Vec<String> {
        let names: Vec<&str> = self.list.iter().map(|c| c.name()).collect();
        let before = |i: usize| names[..i].iter().filter(|n| **n == names[i]).count();
        (0..names.len()).map(|i| format!("{}.{}/", names[i], before(i))).collect()
    }

    /// The state of all.
    pub fn export(&self) -> Result<State> {
        let mut all = State::new();
        for (i, (prefix, callback)) in self.prefixes().into_iter().zip(&self.list).enumerate() {
            let state = callback.export_state().with_context(|| label(i, &**callback))?;
            all.extend(under(&prefix, state));
        }
        Ok(all)
    }

    /// Gives each callback its part of what [`export`](Self::export) gave, if it has one.
    pub fn import(&mut self, all: &State) -> Result<()> {
        for (i, (prefix, callback)) in self.prefixes().into_iter().zip(&mut self.list).enumerate() {
            let state = part_of(all, &prefix);
            if !state.is_empty() {
                callback.import_state(&state).with_context(|| label(i, &**callback))?;
            }
        }
        Ok(())
    }
}
