//! How to fit, and what to be told meanwhile.

use super::history::Epoch;
use crate::data::Source;
use crate::error::Result;
use crate::tensor::Tensor;
use std::time::Duration;

/// Whether training goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It ends after this epoch (after this step, where a step was told of).
    Stop,
}

/// A training step that has been queued.
#[derive(Debug)]
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

/// What a callback is told of.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was queued.
    Step(Step<'a>),
    /// An epoch is over, and validated.
    Epoch(&'a Epoch),
}

pub(super) type Callback<'a> = Box<dyn FnMut(Event<'_>) -> Result<Flow> + 'a>;

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
pub struct Fit<'a> {
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    pub(super) validation: Option<&'a dyn Source>,
    pub(super) seed: u64,
    pub(super) shuffle: bool,
    pub(super) verbose: bool,
    pub(super) callbacks: Vec<Callback<'a>>,
}

impl<'a> Fit<'a> {
    /// Trains on every sample this many times; batches of 32, shuffled, seed 0.
    pub fn epochs(epochs: usize) -> Fit<'a> {
        Fit {
            epochs,
            batch_size: 32,
            validation: None,
            seed: 0,
            shuffle: true,
            verbose: true,
            callbacks: Vec::new(),
        }
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

    /// Whether to show progress: a bar where standard output is a terminal (feature `app`), else a line per epoch.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Something to be called after each step and each epoch. Several are called in the order given.
    pub fn callback(mut self, callback: impl FnMut(Event<'_>) -> Result<Flow> + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }
}
