//! What training reads from: anything that gives batches, pass after pass.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::FeatureBatches;
use crate::nn::augment::Augment;
use crate::sealed;
use crate::seed;
use crate::tensor::{Tensor, no_grad};

/// The data of one training step. Each tensor's first dimension counts samples.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Batch;
/// # fn main() -> Result<()> {
/// let (x, y) = (Tensor::zeros([4, 8], Device::Cpu)?, Tensor::zeros([4, 1], Device::Cpu)?);
/// let batch = Batch::new(x, y).weighted(Tensor::new([1.0f32, 1.0, 1.0, 0.5], Device::Cpu)?);
/// assert_eq!(batch.samples(), 4);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Batch {
    /// What goes into the model: one tensor, unless it has several inputs.
    pub inputs: Vec<Tensor>,
    /// What its outputs are compared with: one tensor, unless it has several outputs.
    pub targets: Vec<Tensor>,
    /// What each sample's loss is multiplied by, `[samples]`, f32; 1 where there is none.
    pub weights: Option<Tensor>,
}

impl Batch {
    /// One input, one target, no weights.
    pub fn new(input: Tensor, target: Tensor) -> Batch {
        Batch { inputs: vec![input], targets: vec![target], weights: None }
    }

    /// One input, no target: what a model is to predict.
    pub fn unlabeled(input: Tensor) -> Batch {
        Batch { inputs: vec![input], targets: Vec::new(), weights: None }
    }

    /// As well a further input.
    pub fn also_input(mut self, input: Tensor) -> Batch {
        self.inputs.push(input);
        self
    }

    /// As well a further target.
    pub fn also_target(mut self, target: Tensor) -> Batch {
        self.targets.push(target);
        self
    }

    /// The same batch, each of whose samples' losses is multiplied by its weight: `[samples]`, f32.
    pub fn weighted(self, weights: Tensor) -> Batch {
        Batch { weights: Some(weights), ..self }
    }

    /// The same batch on a device.
    ///
    /// # Errors
    ///
    /// As [`Tensor::to_device`].
    pub fn to_device(&self, device: Device) -> Result<Batch> {
        let moved = |list: &[Tensor]| list.iter().map(|t| t.to_device(device)).collect::<Result<Vec<_>>>();
        Ok(Batch {
            inputs: moved(&self.inputs)?,
            targets: moved(&self.targets)?,
            weights: self.weights.as_ref().map(|w| w.to_device(device)).transpose()?,
        })
    }

    /// The input and the target of a batch that has one of each.
    pub(super) fn into_pair(mut self, op: &str) -> Result<(Tensor, Tensor)> {
        let (inputs, targets) = (self.inputs.len(), self.targets.len());
        match (self.inputs.pop(), self.targets.pop()) {
            (Some(x), Some(y)) if (inputs, targets) == (1, 1) => Ok((x, y)),
            _ => {
                let message = format!(
                    "gives pairs, but the data has {inputs} inputs and {targets} targets; use Source::pass, which gives a Batch"
                );
                Err(Error::argument(op, message))
            }
        }
    }

    /// What has not as many rows as the first input.
    pub(crate) fn of_other_rows(&self) -> Option<(&'static str, &Tensor)> {
        let samples = self.samples();
        let inputs = self.inputs.iter().map(|t| ("an input", t));
        let targets = self.targets.iter().map(|t| ("a target", t));
        let weights = self.weights.iter().map(|t| ("weights", t));
        inputs.chain(targets).chain(weights).find(|(_, t)| t.dims().first() != Some(&samples))
    }

    /// The number of samples: the first dimension of the first input.
    pub fn samples(&self) -> usize {
        self.inputs.first().and_then(|x| x.dims().first().copied()).unwrap_or(0)
    }
}

/// How to go once through the data. [`Source`] and [`Dataset`](super::Dataset) have examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Pass {
    /// Samples in a batch; the last may have fewer. A source that makes its own batches does not look at it.
    pub batch_size: usize,
    /// The seed of a random order; `None` for the order as it is.
    pub shuffle: Option<u64>,
    /// Where the batches are wanted.
    pub device: Device,
}

impl Pass {
    /// In the order as it is.
    pub fn new(batch_size: usize, device: Device) -> Pass {
        Pass { batch_size, shuffle: None, device }
    }

    /// In the random order of a seed.
    pub fn shuffle(self, seed: u64) -> Pass {
        Pass { shuffle: Some(seed), ..self }
    }
}

/// Batches of one pass.
pub type BatchIter<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// Batches of a source, of which one without samples is an error that says which.
pub(crate) fn with_samples<'a>(name: &'a str, batches: BatchIter<'a>) -> BatchIter<'a> {
    Box::new((1..).zip(batches).map(move |(number, batch)| {
        let batch = batch?;
        match batch.samples() {
            0 => Err(Error::data(name, format!("gave a batch without samples, number {number} of its pass"))),
            _ => Ok(batch),
        }
    }))
}

/// Something to train on or to evaluate with: a [`Dataset`](super::Dataset), a [`Pipeline`](super::Pipeline) of samples or
/// batches, or a type of your own.
///
/// ```
/// use wgrad::data::{Batch, BatchIter, Pass, Source};
/// use wgrad::prelude::*;
///
/// /// y = 2 x, for ever new x.
/// struct Line;
///
/// impl Source for Line {
///     fn name(&self) -> &str {
///         "a line"
///     }
///     fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
///         let (n, device, seed) = (pass.batch_size, pass.device, pass.shuffle.unwrap_or(0));
///         Ok(Box::new((0..10).map(move |i| {
///             let x = Tensor::rand([n, 1], device, seed + i)?;
///             let y = (&x * 2.0)?;
///             Ok(Batch::new(x, y))
///         })))
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(1)).build([1], Device::Cpu)?;
/// let mut trainer = Trainer::new(model, Sgd::new(0.5), MeanSquaredError::new()).build()?;
/// let history = trainer.fit(&Line, Fit::epochs(15).verbose(false))?;
/// assert!(history.epochs[14].train.loss < 1e-3);
/// # Ok(()) }
/// ```
pub trait Source: Send {
    /// What this is, for people.
    fn name(&self) -> &str;

    /// Goes once through the data.
    ///
    /// # Errors
    ///
    /// The pass can't begin: a batch size of 0, data that can't be opened, a device that can't be used. What goes wrong later
    /// comes in the place of a batch.
    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>>;

    /// Goes through the data for the `number`-th time, counted from 0: what a training calls. For sources that draw something
    /// anew in each pass, in whatever order it goes; for all others it is [`pass`](Self::pass).
    ///
    /// # Errors
    ///
    /// As [`pass`](Self::pass).
    fn nth_pass(&self, _number: u64, pass: &Pass) -> Result<BatchIter<'_>> {
        self.pass(pass)
    }

    /// The number of samples in a pass, where it is known.
    fn samples(&self) -> Option<usize> {
        None
    }

    /// Some samples on the host, to look at, where they are to be had without any work that a pass would do again or otherwise; `None`
    /// elsewhere.
    fn peek(&self) -> Option<Result<Batch>> {
        None
    }

    /// The number of batches in a pass, where it is known.
    fn steps(&self, batch_size: usize) -> Option<usize> {
        self.samples().map(|n| n.div_ceil(batch_size.max(1)))
    }

    /// Whether a pass is known never to end.
    fn endless(&self) -> bool {
        false
    }

    /// What a sample is called where progress is shown.
    fn unit(&self) -> &'static str {
        "samples"
    }

    /// The names of the classes that the labels count, which pictures and reports then have; empty where they are not known.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// What to train on, and the last `fraction` of the samples, unchanged by any augmentation, to validate with: what
    /// [`Fit::validation_split`](crate::train::Fit::validation_split) asks for.
    ///
    /// # Errors
    ///
    /// The source can't be split, as is said of any source that doesn't implement this, or one side would be empty.
    fn split_for_validation(&self, _fraction: f64) -> Result<(Box<dyn Source>, Box<dyn Source>)> {
        let message = "can't be split; make a Dataset of it (Pipeline::to_dataset) and split that with \
                       Dataset::validation_split, or give Fit::validation another source";
        Err(Error::data(self.name(), message))
    }

    /// The same data, whose images are changed at random each time they are read: see [`Augment`].
    fn augmented(self, augment: Augment) -> Augmented<Self>
    where
        Self: Sized,
    {
        Augmented::new(self, augment)
    }
}

/// `Source` by what is pointed to: each method is handed on. Clippy refuses one that is forgotten, and would fall back to what the
/// trait provides.
macro_rules! forward_source {
    ([$($generics:tt)*] $pointer:ty) => {
        #[deny(clippy::missing_trait_methods)]
        impl<$($generics)*> Source for $pointer {
            fn name(&self) -> &str {
                (**self).name()
            }
            fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
                (**self).pass(pass)
            }
            fn nth_pass(&self, number: u64, pass: &Pass) -> Result<BatchIter<'_>> {
                (**self).nth_pass(number, pass)
            }
            fn samples(&self) -> Option<usize> {
                (**self).samples()
            }
            fn peek(&self) -> Option<Result<Batch>> {
                (**self).peek()
            }
            fn steps(&self, batch_size: usize) -> Option<usize> {
                (**self).steps(batch_size)
            }
            fn endless(&self) -> bool {
                (**self).endless()
            }
            fn unit(&self) -> &'static str {
                (**self).unit()
            }
            fn classes(&self) -> &[String] {
                (**self).classes()
            }
            fn split_for_validation(&self, fraction: f64) -> Result<(Box<dyn Source>, Box<dyn Source>)> {
                (**self).split_for_validation(fraction)
            }
            fn augmented(self, augment: Augment) -> Augmented<Self> {
                Augmented::new(self, augment)
            }
        }
    };
}
forward_source!([S: Source + ?Sized] Box<S>);
forward_source!([S: Source + Sync + ?Sized] &S);

impl<S: Source + ?Sized> sealed::FeatureBatches for S {}

/// The first input of each batch, of a pass in the order as it is.
impl<S: Source + ?Sized> FeatureBatches for S {
    fn each_batch(&self, visit: &mut dyn FnMut(&Tensor) -> Result<()>) -> Result<()> {
        /// Samples looked at at once.
        const ROWS: usize = 1024;
        if self.endless() {
            return Err(Error::data(self.name(), "never ends; take(n) elements of it to adapt to"));
        }
        for batch in self.pass(&Pass::new(ROWS, Device::Cpu))? {
            match batch?.inputs.first() {
                Some(features) => visit(features)?,
                None => return Err(Error::data(self.name(), "a batch has no inputs to adapt to")),
            }
        }
        Ok(())
    }
}

/// Data whose images are changed at random as they are read: what [`Source::augmented`] gives. The [module](super) has an example.
#[derive(Clone, Debug)]
pub struct Augmented<S> {
    source: S,
    augment: Augment,
}

impl<S: Source> Augmented<S> {
    fn new(source: S, augment: Augment) -> Augmented<S> {
        Augmented { source, augment }
    }

    /// The data as they are.
    pub fn source(&self) -> &S {
        &self.source
    }
}

/// The first input of each batch is changed, on the device where the batch is wanted.
impl<S: Source> Source for Augmented<S> {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        self.nth_pass(0, pass)
    }

    fn nth_pass(&self, number: u64, pass: &Pass) -> Result<BatchIter<'_>> {
        // An order of its own gives a pass changes of its own, and the same changes where it is the same.
        let seed = pass.shuffle.unwrap_or(number);
        let batches = (0u64..).zip(self.source.nth_pass(number, pass)?);
        Ok(Box::new(batches.map(move |(number, batch)| {
            let mut batch = batch?;
            let Some(images) = batch.inputs.first_mut() else {
                return Err(Error::argument("Augment", "the batch has no inputs"));
            };
            *images = no_grad(|| self.augment.apply(images, seed::derive(seed, number)))?;
            Ok(batch)
        })))
    }

    fn samples(&self) -> Option<usize> {
        self.source.samples()
    }

    /// As they are, unchanged; nothing where the scale of what is trained on is another.
    fn peek(&self) -> Option<Result<Batch>> {
        if self.augment.normalises() { None } else { self.source.peek() }
    }

    fn steps(&self, batch_size: usize) -> Option<usize> {
        self.source.steps(batch_size)
    }

    fn endless(&self) -> bool {
        self.source.endless()
    }

    fn unit(&self) -> &'static str {
        self.source.unit()
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn split_for_validation(&self, fraction: f64) -> Result<(Box<dyn Source>, Box<dyn Source>)> {
        let (train, validation) = self.source.split_for_validation(fraction)?;
        Ok((Box::new(Augmented::new(train, self.augment.clone())), validation))
    }
}
