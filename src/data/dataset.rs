//! Features and labels in memory.

use super::batches::{Batches, OnDevice, Reader};
use super::sample::{IntoSample, label_type};
use super::{Batch, BatchIter, Pass, Source};
#[cfg(feature = "ndarray")]
use crate::cpu::Element;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::seed::permutation;
use crate::tensor::Tensor;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Samples with their labels, on the host; copies on devices are made when they are first needed, and kept.
///
/// Inputs keep their element type: integers are words or categories as well as numbers. [`scaled`](Self::scaled) says that
/// they are numbers, as those of all image data sets here are: then they are decoded to f32 as part of reading a batch, and
/// bytes stay bytes in memory, on the device too: a quarter of the memory and of the traffic. Bytes without a scale reach an
/// [`Embedding`](crate::nn::Embedding) as they are, and any other layer of a model as f32. Integer targets become u32, or i32
/// where some are negative, for losses that ignore a class such as -1. A `Dataset` is a cheap handle; clones share everything.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::data::Dataset;
/// # fn main() -> Result<()> {
/// let images = Tensor::zeros([10, 4, 4, 1], Device::Cpu)?.cast(DType::U8)?;
/// let labels = Tensor::arange(0, 10, Device::Cpu)?;
/// let set = Dataset::from_tensors("example", &images, &labels)?.scaled(1.0 / 255.0);
/// for batch in set.batches(4, Device::Cpu)?.shuffled(1)? {
///     let (x, y) = batch?;
///     assert_eq!((x.dtype(), y.dtype()), (DType::F32, DType::U32));
///     assert_eq!(x.dims()[0], y.dims()[0]); // 4, 4, then the last 2
/// }
/// # Ok(()) }
/// ```
///
/// Several inputs, several targets and weights, for models with several inputs or outputs:
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::data::{Dataset, Pass, Source};
/// # fn main() -> Result<()> {
/// let digits = Tensor::arange(0, 10, Device::Cpu)?;
/// let images = Tensor::zeros([10, 8], Device::Cpu)?;
/// let odd = (&digits - ((digits.cast(DType::F32)? * 0.5)?.floor()? * 2.0)?.cast(DType::I32)?)?;
/// let set = Dataset::from_tensors("digits", &images, &digits)?
///     .also_target(&odd)?
///     .with_weights(&Tensor::ones([10], Device::Cpu)?)?;
/// let (train, validation) = set.validation_split(0.2)?;
/// assert_eq!((train.len(), validation.len()), (8, 2));
/// let pass = Pass::new(8, Device::Cpu);
/// for batch in train.pass(&pass)? {
///     let batch = batch?;
///     assert_eq!((batch.inputs.len(), batch.targets.len()), (1, 2));
///     assert_eq!(batch.targets[1].to_vec::<u32>()?, [0, 1, 0, 1, 0, 1, 0, 1]);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Dataset {
    pub(super) name: String,
    pub(super) samples: usize,
    /// At least one, `[samples, ..]` each, on the CPU, with what it is multiplied by when it is read, if it is.
    pub(super) inputs: Vec<(Tensor, Option<f64>)>,
    /// `[samples, ..]` each, on the CPU; none of unlabeled data.
    pub(super) targets: Vec<Tensor>,
    /// What stands for the labels of unlabeled data: `[0]`.
    none: Tensor,
    /// `[samples]`, f32, on the CPU.
    pub(super) weights: Option<Tensor>,
    classes: Arc<[String]>,
    copies: Arc<Mutex<Vec<OnDevice>>>,
}

impl Dataset {
    /// Features `[samples, ..]` and labels `[samples, ..]`, from any device.
    ///
    /// # Errors
    ///
    /// The two differ in their first dimension, or have none.
    pub fn from_tensors(name: impl Into<String>, features: &Tensor, labels: &Tensor) -> Result<Dataset> {
        Self::from_tensor_slices(name, &[features], &[labels])
    }

    /// Inputs and targets, at least one of each, that are all `[samples, ..]`: sample i is slice i of each. The targets
    /// are in the order of the model's outputs.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::data::Dataset;
    /// # fn main() -> Result<()> {
    /// let (image, age) = (Tensor::zeros([5, 8, 8, 1], Device::Cpu)?, Tensor::ones([5, 1], Device::Cpu)?);
    /// let (kind, weight) = (Tensor::arange(0, 5, Device::Cpu)?, Tensor::ones([5, 1], Device::Cpu)?);
    /// let set = Dataset::from_tensor_slices("animals", &[&image, &age], &[&kind, &weight])?;
    /// assert_eq!((set.inputs().len(), set.targets().len(), set.len()), (2, 2, 5));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no input or no target, or they differ in their first dimension, or have none.
    pub fn from_tensor_slices(
        name: impl Into<String>,
        inputs: &[&Tensor],
        targets: &[&Tensor],
    ) -> Result<Dataset> {
        let name = name.into();
        if targets.is_empty() {
            let message =
                "expected at least one target, got none; of data without labels make Dataset::unlabeled";
            return Err(Error::data(name, message));
        }
        Self::of(name, inputs, targets)
    }

    fn of(name: String, inputs: &[&Tensor], targets: &[&Tensor]) -> Result<Dataset> {
        let samples = inputs.first().and_then(|t| t.dims().first().copied());
        let same = inputs.iter().chain(targets).all(|t| t.dims().first().copied() == samples);
        let (Some(samples), true) = (samples, same) else {
            let shapes = |list: &[&Tensor]| list.iter().map(|t| t.shape().to_string()).collect::<Vec<_>>();
            let message = format!(
                "features {} and labels {}: expected one row of each per sample, [samples, ..] both",
                shapes(inputs).join(", "),
                shapes(targets).join(", ")
            );
            return Err(Error::data(name, message));
        };
        let inputs = inputs.iter().map(|t| Ok((host(t)?, None))).collect::<Result<_>>()?;
        let targets = targets.iter().map(|t| host(t)).collect::<Result<_>>()?;
        let (classes, copies) = (Arc::from([]), Arc::default());
        let none = Tensor::zeros([0], Device::Cpu)?;
        Ok(Dataset { name, samples, inputs, targets, none, weights: None, classes, copies })
    }

    /// Features `[samples, ..]` without labels: to [predict](crate::train::Trainer::predict_on), or to adapt a layer to. What
    /// trains or evaluates on it is told that targets are missing; [`with_targets`](Self::with_targets) adds them.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::data::Dataset;
    /// # fn main() -> Result<()> {
    /// let new = Dataset::unlabeled("new", &Tensor::zeros([5, 3], Device::Cpu)?)?;
    /// let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?;
    /// let trainer = Trainer::new(model, Adam::new(1e-3), MeanSquaredError::new()).build()?;
    /// assert_eq!(trainer.predict_on(&new)?[0].shape(), [5, 2]);
    /// assert!(trainer.evaluate(&new).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor has no dimensions, or can't be computed.
    pub fn unlabeled(name: impl Into<String>, features: &Tensor) -> Result<Dataset> {
        Self::of(name.into(), &[features], &[])
    }

    /// Features `[samples, ..]` and labels `[samples, ..]` of ndarrays (feature `ndarray`).
    ///
    /// # Errors
    ///
    /// As [`from_tensors`](Self::from_tensors).
    #[cfg(feature = "ndarray")]
    pub fn from_arrays<F: Element, L: Element>(
        name: impl Into<String>,
        features: &ndarray::ArrayRef<F, impl ndarray::Dimension>,
        labels: &ndarray::ArrayRef<L, impl ndarray::Dimension>,
    ) -> Result<Dataset> {
        let features = Tensor::from_ndarray(features, Device::Cpu)?;
        Self::from_tensors(name, &features, &Tensor::from_ndarray(labels, Device::Cpu)?)
    }

    /// The samples that an iterator gives: [`Sample`](super::Sample)s, or pairs of input and target.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::data::Dataset;
    /// # fn main() -> Result<()> {
    /// let set = Dataset::from_samples("squares", (0..10).map(|i| ([i as f32], [(i * i) as f32])))?;
    /// assert_eq!((set.len(), set.sample_shape()), (10, &[1][..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There are none, or they differ in shape or element type.
    pub fn from_samples<T: IntoSample>(
        name: impl Into<String>,
        samples: impl IntoIterator<Item = T>,
    ) -> Result<Dataset> {
        let (name, samples): (String, Vec<T>) = (name.into(), samples.into_iter().collect());
        match samples.is_empty() {
            true => Err(Error::data(name, "has no samples to make a data set of")),
            false => Self::from_batch(name, super::sample::collate(samples)?),
        }
    }

    /// The samples of a batch, which may have no targets.
    ///
    /// # Errors
    ///
    /// As [`from_tensor_slices`](Self::from_tensor_slices) otherwise; or there is not one weight for each sample.
    pub fn from_batch(name: impl Into<String>, batch: Batch) -> Result<Dataset> {
        let (inputs, targets): (Vec<_>, Vec<_>) =
            (batch.inputs.iter().collect(), batch.targets.iter().collect());
        let set = Self::of(name.into(), &inputs, &targets)?;
        match &batch.weights {
            Some(weights) => set.with_weights(weights),
            None => Ok(set),
        }
    }

    /// The same data set with these parts; copies on devices begin anew.
    fn changed(&self, change: impl FnOnce(&mut Dataset)) -> Dataset {
        let mut set = Dataset { copies: Arc::default(), ..self.clone() };
        change(&mut set);
        set
    }

    fn check_rows(&self, what: &str, tensor: &Tensor) -> Result<Tensor> {
        if tensor.dims().first() == Some(&self.samples) {
            return host(tensor);
        }
        let message =
            format!("{what} {}: expected one row per sample, [{}, ..]", tensor.shape(), self.samples);
        Err(Error::data(&self.name, message))
    }

    /// As well a further input `[samples, ..]`, which is not [`scaled`](Self::scaled) by what was said before.
    ///
    /// # Errors
    ///
    /// The input has another number of rows, or can't be computed.
    pub fn also_input(&self, input: &Tensor) -> Result<Dataset> {
        let input = self.check_rows("the input", input)?;
        Ok(self.changed(|set| set.inputs.push((input, None))))
    }

    /// As well a further target `[samples, ..]`, for the model's next output.
    ///
    /// # Errors
    ///
    /// The target has another number of rows, or can't be computed.
    pub fn also_target(&self, target: &Tensor) -> Result<Dataset> {
        let target = self.check_rows("the target", target)?;
        Ok(self.changed(|set| set.targets.push(target)))
    }

    /// These targets, `[samples, ..]` each and at least one, instead of those there are.
    ///
    /// # Errors
    ///
    /// There is no target, or one has another number of rows or can't be computed.
    pub fn with_targets(&self, targets: &[&Tensor]) -> Result<Dataset> {
        if targets.is_empty() {
            return Err(Error::data(&self.name, "with_targets: expected at least one target, got none"));
        }
        let targets = targets.iter().map(|t| self.check_rows("the target", t)).collect::<Result<_>>()?;
        Ok(self.changed(|set| set.targets = targets))
    }

    /// What each sample's loss is multiplied by, `[samples]`.
    ///
    /// # Errors
    ///
    /// There is not one weight for each sample, or they can't be computed.
    pub fn with_weights(&self, weights: &Tensor) -> Result<Dataset> {
        if weights.dims() != [self.samples] {
            let message = format!("weights {}: expected one per sample, [{}]", weights.shape(), self.samples);
            return Err(Error::data(&self.name, message));
        }
        let weights = host(&weights.cast(DType::F32)?)?;
        Ok(self.changed(|set| set.weights = Some(weights)))
    }

    /// The names of the classes that the labels count.
    pub fn with_classes(mut self, classes: &[impl AsRef<str>]) -> Dataset {
        self.classes = classes.iter().map(|c| c.as_ref().to_string()).collect();
        self
    }

    /// The names of the classes; empty where they are not known.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The same samples, their features (those of all inputs so far) multiplied by this as they are read: `1.0 / 255.0`
    /// for grey levels. Integers become f32 by it, with 1 as well.
    pub fn scaled(self, scale: f64) -> Dataset {
        self.changed(|set| set.inputs.iter_mut().for_each(|(_, s)| *s = Some(scale)))
    }

    /// The same data set under another name.
    pub fn named(mut self, name: impl Into<String>) -> Dataset {
        self.name = name.into();
        self
    }

    /// What this is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one sample's features (of the first input).
    pub fn sample_shape(&self) -> &[usize] {
        &self.features().dims()[1..]
    }

    /// All features (of the first input) as they are stored, unscaled, on the CPU: `[samples, ..]`. As a model sees them gives
    /// [`scaled_features`](Self::scaled_features).
    pub fn features(&self) -> &Tensor {
        &self.inputs[0].0
    }

    /// All labels (the first target) as they are stored, on the CPU: `[samples, ..]`; of [unlabeled](Self::unlabeled) data an empty
    /// tensor, `[0]`.
    pub fn labels(&self) -> &Tensor {
        self.targets.first().unwrap_or(&self.none)
    }

    /// All inputs as they are stored, unscaled, on the CPU: `[samples, ..]` each.
    pub fn inputs(&self) -> Vec<&Tensor> {
        self.inputs.iter().map(|(t, _)| t).collect()
    }

    /// All targets as they are stored, on the CPU: `[samples, ..]` each.
    pub fn targets(&self) -> Vec<&Tensor> {
        self.targets.iter().collect()
    }

    /// What the samples' losses are multiplied by, `[samples]`, where there is such.
    pub fn weights(&self) -> Option<&Tensor> {
        self.weights.as_ref()
    }

    /// The same samples in a random order that depends on the seed only. (`fit` shuffles in each epoch anyway: this is for
    /// sorted samples before they are split.)
    ///
    /// # Errors
    ///
    /// There is no memory for the copy.
    pub fn shuffled(&self, seed: u64) -> Result<Dataset> {
        let order = Tensor::from_vec(permutation(self.samples as u32, seed), [self.samples], Device::Cpu)?;
        self.each(self.samples, |t| t.index_select(0, &order))
    }

    /// These samples, then those of another data set.
    ///
    /// # Errors
    ///
    /// The two differ in the number of inputs or targets, their shapes, types or scales, or one has weights and the other none.
    pub fn concat(&self, other: &Dataset) -> Result<Dataset> {
        let scales = |set: &Dataset| set.inputs.iter().map(|(_, s)| *s).collect::<Vec<_>>();
        let counts = |set: &Dataset| (set.inputs.len(), set.targets.len(), set.weights.is_some());
        if scales(self) != scales(other) || counts(self) != counts(other) {
            let message = format!("{self:?} and {other:?} differ in inputs, targets, weights or scale");
            return Err(Error::data(&self.name, message));
        }
        let mut set = self.changed(|set| set.samples += other.samples);
        let join = |a: &mut Tensor, b: &Tensor| -> Result<()> {
            *a = Tensor::concat(&[a, b], 0)?;
            a.eval()
        };
        for ((a, _), (b, _)) in set.inputs.iter_mut().zip(&other.inputs) {
            join(a, b)?;
        }
        for (a, b) in
            set.targets.iter_mut().zip(&other.targets).chain(set.weights.iter_mut().zip(&other.weights))
        {
            join(a, b)?;
        }
        Ok(set)
    }

    /// `f` of every tensor; it gives `samples` rows.
    fn each(&self, samples: usize, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Dataset> {
        let mut set = self.changed(|set| set.samples = samples);
        let inputs = set.inputs.iter_mut().map(|(t, _)| t);
        for tensor in inputs.chain(&mut set.targets).chain(&mut set.weights) {
            *tensor = f(tensor)?;
            tensor.eval()?;
        }
        Ok(set)
    }

    /// The samples in batches of one input and one target, on a device, in order; see [`Batches::shuffled`]. The last
    /// batch may be smaller. For several inputs or targets there is [`Source::pass`].
    ///
    /// # Errors
    ///
    /// The batch size is 0, or the device has no room for the data set.
    pub fn batches(&self, batch_size: usize, device: Device) -> Result<Batches> {
        Ok(Batches::new(self.reader(batch_size, device, None)?))
    }

    fn reader(&self, batch_size: usize, device: Device, shuffle: Option<u64>) -> Result<Reader> {
        if batch_size == 0 {
            return Err(Error::argument("Dataset::batches", "the batch size is 0; it must be at least 1"));
        }
        Reader::new(self.on_device(device)?, batch_size, shuffle)
    }

    fn on_device(&self, device: Device) -> Result<OnDevice> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        // A device that was lost took its copies along.
        copies.retain(OnDevice::is_there);
        if let Some(copy) = copies.iter().find(|copy| copy.device == device) {
            return Ok(copy.clone());
        }
        let mut targets = Vec::new();
        for target in &self.targets {
            let target = label_type(target)?;
            target.eval()?;
            targets.push(target.to_device(device)?);
        }
        let moved = |(t, scale): &(Tensor, Option<f64>)| Ok((t.to_device(device)?, *scale));
        let copy = OnDevice {
            device,
            samples: self.samples,
            inputs: self.inputs.iter().map(moved).collect::<Result<_>>()?,
            targets,
            weights: self.weights.as_ref().map(|w| w.to_device(device)).transpose()?,
        };
        copies.push(copy.clone());
        Ok(copy)
    }
}

fn host(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.detach()?.to_device(Device::Cpu)?;
    tensor.eval()?;
    Ok(tensor)
}

impl Source for Dataset {
    fn name(&self) -> &str {
        Dataset::name(self)
    }

    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        Ok(Box::new(self.reader(pass.batch_size, pass.device, pass.shuffle)?))
    }

    fn samples(&self) -> Option<usize> {
        Some(self.len())
    }

    fn classes(&self) -> &[String] {
        Dataset::classes(self)
    }

    /// The first.
    fn peek(&self) -> Option<Result<Batch>> {
        const ROWS: usize = 64;
        self.reader(ROWS, Device::Cpu, None).map_or_else(|e| Some(Err(e)), |mut reader| reader.next())
    }

    fn unit(&self) -> &'static str {
        if self.sample_shape().len() >= 2 { "images" } else { "samples" }
    }

    fn split_for_validation(&self, fraction: f64) -> Result<(Box<dyn Source>, Box<dyn Source>)> {
        let (train, validation) = self.validation_split(fraction)?;
        Ok((Box::new(train), Box::new(validation)))
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({}: {} samples", self.name, self.len())?;
        for tensor in self.inputs() {
            write!(f, ", features {} {:?}", tensor.dtype(), &tensor.dims()[1..])?;
        }
        for tensor in &self.targets {
            write!(f, ", labels {} {:?}", tensor.dtype(), &tensor.dims()[1..])?;
        }
        f.write_str(if self.weights.is_some() { ", weighted)" } else { ")" })
    }
}

mod map;
mod parts;
mod select;
#[cfg(test)]
mod tests;
