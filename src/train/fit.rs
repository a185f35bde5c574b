//! How to fit.

use super::callback::{Callback, Closure, EpochClosure, Event, Flow, Run};
use super::history::Epoch;
use crate::data::Source;
use crate::error::{Error, Result};
use std::sync::atomic::AtomicBool;

/// How [`Trainer::fit`](super::Trainer::fit) trains.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::{Event, Flow};
/// let mut best = f64::INFINITY;
/// let fit = Fit::epochs(20).batch_size(128).seed(1).callback(|event| {
///     if let Event::Epoch(epoch) = event {
///         if epoch.train.loss > best {
///             return Ok(Flow::Stop);
///         }
///         best = epoch.train.loss;
///     }
///     Ok(Flow::Continue)
/// });
/// ```
#[must_use]
pub struct Fit<'a> {
    pub(super) epochs: usize,
    pub(super) initial_epoch: Option<usize>,
    pub(super) batch_size: usize,
    pub(super) validation: Option<&'a dyn Source>,
    pub(super) validation_split: Option<f64>,
    pub(super) validation_steps: Option<usize>,
    pub(super) validate_averages: bool,
    pub(super) record_every: Option<usize>,
    pub(super) steps_per_epoch: Option<usize>,
    pub(super) accumulate: usize,
    pub(super) shards: Option<usize>,
    /// Whether other ranks have to agree before the run is interrupted.
    pub(super) shared: bool,
    pub(super) class_weights: Vec<super::outputs::Given>,
    pub(super) seed: u64,
    pub(super) shuffle: bool,
    pub(super) verbose: bool,
    pub(super) warnings: bool,
    pub(super) interrupts: Vec<&'a AtomicBool>,
    #[cfg(feature = "signals")]
    pub(super) signals: bool,
    #[cfg(feature = "signals")]
    pub(super) listening: Option<super::signals::Listening>,
    pub(super) callbacks: Vec<Box<dyn Callback + 'a>>,
}

impl<'a> Fit<'a> {
    /// Trains on every sample this many times; batches of 32, shuffled, seed 0.
    pub fn epochs(epochs: usize) -> Fit<'a> {
        Fit {
            epochs,
            initial_epoch: None,
            batch_size: 32,
            validation: None,
            validation_split: None,
            validation_steps: None,
            validate_averages: false,
            record_every: None,
            steps_per_epoch: None,
            accumulate: 1,
            shards: None,
            shared: false,
            class_weights: Vec::new(),
            seed: 0,
            shuffle: true,
            verbose: true,
            warnings: true,
            interrupts: Vec::new(),
            #[cfg(feature = "signals")]
            signals: false,
            #[cfg(feature = "signals")]
            listening: None,
            callbacks: Vec::new(),
        }
    }

    /// The number of epochs that were trained before: with `Fit::epochs(10).initial_epoch(4)` the epochs 5 to 10 are
    /// trained. After [`Trainer::resume`](super::Trainer::resume) this is known.
    pub fn initial_epoch(mut self, trained: usize) -> Self {
        self.initial_epoch = Some(trained);
        self
    }

    /// Samples in a step. The last batch of an epoch may be smaller.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Data to evaluate the model on after each epoch.
    pub fn validation(mut self, validation: &'a dyn Source) -> Self {
        self.validation = Some(validation);
        self
    }

    /// Trains on all but the last `fraction` of the samples, in the order in which they are before they are shuffled, and
    /// evaluates the model on these after each epoch. For sources that can be split, such as a
    /// [`Dataset`](crate::data::Dataset).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    /// let history = trainer.fit(&digits, Fit::epochs(1).validation_split(0.2).verbose(false))?;
    /// assert_eq!(history.epochs[0].train.samples, 80);
    /// assert_eq!(history.epochs[0].validation.as_ref().map(|v| v.samples), Some(20));
    /// # Ok(()) }
    /// ```
    pub fn validation_split(mut self, fraction: f64) -> Self {
        self.validation_split = Some(fraction);
        self
    }

    /// Validates on the first so many batches only.
    pub fn validation_steps(mut self, steps: usize) -> Self {
        self.validation_steps = Some(steps);
        self
    }

    /// Validates the averages of the weights, where the optimizer keeps them ([`ema`](crate::optim::Adam::ema), [`Swa`](crate::optim::Swa)), in place of the weights
    /// themselves: that is what the model will have at the end of the run. Training goes on with the weights. What
    /// [`EarlyStopping`](super::EarlyStopping) keeps and [`Run::save_weights`](super::Run::save_weights) writes is what was validated.
    /// Weights that have no average yet, as before the [start](crate::optim::Swa::start) of an [`Swa`](crate::optim::Swa), are validated
    /// themselves.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let (digits, test) = data::synthetic::digits(60, 20, 1).into_datasets()?;
    /// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// let adam = Adam::new(1e-2).ema(0.9);
    /// let mut trainer = Trainer::new(model, adam, SparseCategoricalCrossentropy::from_logits()).build()?;
    /// let fit = Fit::epochs(2).validation(&test).validate_averages(true).verbose(false);
    /// let history = trainer.fit(&digits, fit)?;
    /// assert_eq!(history.epochs[1].value("val_loss"), Some(trainer.evaluate(&test)?.loss));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `fit` fails where the optimizer keeps no averages.
    pub fn validate_averages(mut self, validate: bool) -> Self {
        self.validate_averages = validate;
        self
    }

    /// Records the mean loss of every so many steps, [`History::steps`](super::History::steps), beside that of each epoch; 0 records none.
    /// It is summed on the device and read when the epoch is over: nothing waits for it. Without this, about a hundred times in the run,
    /// and not of fewer than ten steps; a rest at the end of an epoch that is shorter than half of that joins the steps before it.
    pub fn record_every(mut self, steps: usize) -> Self {
        self.record_every = Some(steps);
        self
    }

    /// An epoch is so many steps, however many batches the data have: the next epoch goes on where one ended, and passes
    /// over the data follow each other. Without this, an epoch is a pass.
    pub fn steps_per_epoch(mut self, steps: usize) -> Self {
        self.steps_per_epoch = Some(steps);
        self
    }

    /// Updates the weights after every so many batches, by the gradient of the one batch that they make together, in the
    /// memory of one of them. A smaller batch counts for less, and so do rows that a loss ignores; layers that look at the
    /// batch, such as [`BatchNorm`](crate::nn::BatchNorm), see one batch at a time. What is left at the end of an epoch is an
    /// update, too.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = batches;
        self
    }

    /// Cuts each batch into so many shards, of which each rank of a [distributed](super::Trainer::distributed) run computes some. It is
    /// the number of shards that decides what is added to what: as long as it stays the same, runs on any number of ranks, also on a
    /// single process, leave the same bits. Without this, there are as many as ranks.
    ///
    /// A shard needs the memory of its samples, not of the batch. [Stateful](crate::nn::Lstm::stateful) layers can't be trained so: `fit`
    /// refuses them where there are several shards.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// let fit = Fit::epochs(5).batch_size(128).shards(4); // 32 samples each
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// What the loss of each sample of a class is multiplied by in training, for classes that are rarer or matter more than
    /// others: pairs of class and weight, 1 for classes that are not mentioned. Targets are labels or one-hot rows. If
    /// samples have weights, too, both count.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// let fit = Fit::epochs(5).class_weights([(3, 2.0), (8, 0.5)]);
    /// ```
    pub fn class_weights(mut self, weights: impl IntoIterator<Item = (usize, f64)>) -> Self {
        self.class_weights.push((None, weights.into_iter().collect()));
        self
    }

    /// As [`class_weights`](Self::class_weights), for one of several outputs.
    pub fn class_weights_of(mut self, output: &str, weights: impl IntoIterator<Item = (usize, f64)>) -> Self {
        self.class_weights.push((Some(output.into()), weights.into_iter().collect()));
        self
    }

    /// Seed of the order of samples and of random layers such as dropout.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether each epoch goes through the samples in an order of its own.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Whether to show progress: a bar where standard output is a terminal (feature `progress`), else a line per epoch. While a
    /// GPU's kernels are compiled, for seconds maybe, the bar says so.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Whether to look at the first batch for what most often goes wrong without an error, and say so once, in the log (as a warning
    /// of the target `wgrad`) and, with [`verbose`](Self::verbose), on standard output: images with their channels first, pixels from 0
    /// to 255 that no layer scales, inputs and targets of different numbers of samples, a loss of logits on probabilities or the reverse.
    /// Channels and the loss are looked at where the model is a built [`Model`](crate::nn::Model) (what a `forward` of one's own does with
    /// its layers nobody knows), images where it has one input.
    pub fn warnings(mut self, warnings: bool) -> Self {
        self.warnings = warnings;
        self
    }

    /// A closure to be called after each step and each epoch, and when kernels were compiled. It and all callbacks are called in the order given.
    pub fn callback(self, callback: impl FnMut(Event<'_>) -> Result<Flow> + Send + 'a) -> Self {
        self.with(Closure(callback))
    }

    /// A closure to be called after each epoch with the run, which has the model and the optimizer. As [`callback`](Self::callback), it
    /// may end the run.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::train::Flow;
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    /// let few = digits.take(3)?.scaled_features(Device::Cpu)?;
    /// let mut read = Vec::new();
    /// let fit = Fit::epochs(4).verbose(false).on_epoch(|epoch, run| {
    ///     read.push((epoch.number, run.model().infer(&few)?.argmax(-1, false)?.to_vec::<i32>()?));
    ///     Ok(Flow::Continue)
    /// });
    /// trainer.fit(&digits, fit)?;
    /// assert_eq!((read.len(), read[3].1.len()), (4, 3));
    /// # Ok(()) }
    /// ```
    pub fn on_epoch(self, callback: impl FnMut(&Epoch, &mut Run<'_>) -> Result<Flow> + Send + 'a) -> Self {
        self.with(EpochClosure(callback))
    }

    /// A callback, such as [`EarlyStopping`](super::EarlyStopping), or a type of your own. Give `&mut callback` to look at
    /// it afterwards.
    pub fn with(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Ends the run after the step in which somebody (another thread, a signal handler, a window's button) set the flag,
    /// which is then taken back. `fit` returns the whole epochs, and
    /// [`Trainer::interrupted`](super::Trainer::interrupted) is true; a checkpoint saved then is one in the middle of the
    /// epoch.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    /// # let folder = std::env::temp_dir().join(format!("wgrad-doc-interrupt-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).ok();
    /// # let path = folder.join("run.safetensors");
    /// static STOP: AtomicBool = AtomicBool::new(false);
    /// # STOP.store(true, Ordering::Relaxed);
    /// trainer.fit(&digits, Fit::epochs(10).interrupt(&STOP).verbose(false))?;
    /// if trainer.interrupted() {
    ///     trainer.save_checkpoint(&path)?;
    /// }
    /// # assert!(trainer.interrupted() && path.exists());
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(()) }
    /// ```
    pub fn interrupt(mut self, flag: &'a AtomicBool) -> Self {
        self.interrupts.push(flag);
        self
    }

    /// As [`interrupt`](Self::interrupt), by Ctrl-C, and where there are such signals, by SIGTERM, with which systems end
    /// programs. A second one before `fit` has returned ends the program (with 128 and the signal's number).
    ///
    /// Signals do what they did before `fit` was called once it has returned. While it runs, they are heard where they were
    /// ignored before, too, as SIGINT is in programs that a script starts in the background. Needs the feature `signals`.
    ///
    /// # Errors
    ///
    /// `fit` fails where the program has a handler of Ctrl-C of its own: let that set a flag for
    /// [`interrupt`](Self::interrupt).
    #[cfg(feature = "signals")]
    pub fn stop_on_ctrl_c(mut self) -> Self {
        self.signals = true;
        self
    }

    /// That the numbers make sense.
    pub(super) fn check(&self) -> Result<()> {
        if self.batch_size == 0 {
            return Err(Error::argument("Fit", "the batch size is 0; it must be at least 1"));
        }
        let counts = [
            ("accumulate", Some(self.accumulate)),
            ("shards", self.shards),
            ("steps_per_epoch", self.steps_per_epoch),
            ("validation_steps", self.validation_steps),
        ];
        for (name, count) in counts {
            if count == Some(0) {
                return Err(Error::argument("Fit", format!("{name} is 0; it must be at least 1")));
            }
        }
        if self.validation.is_some() && self.validation_split.is_some() {
            let message =
                "validation and validation_split are both given; one of them says what to validate on";
            return Err(Error::argument("Fit", message));
        }
        Ok(())
    }

    /// Whether somebody wants the run to end, and it is for this process alone to do so. Takes the wish back.
    pub(super) fn take_interrupt(&self) -> bool {
        !self.shared && self.take_wish()
    }

    /// Whether somebody wants the run to end. Takes the wish back.
    pub(super) fn take_wish(&self) -> bool {
        #[cfg(feature = "signals")]
        let mut wanted = self.listening.as_ref().is_some_and(|l| l.wanted());
        #[cfg(not(feature = "signals"))]
        let mut wanted = false;
        for flag in &self.interrupts {
            wanted |= flag.swap(false, std::sync::atomic::Ordering::SeqCst);
        }
        wanted
    }
}
