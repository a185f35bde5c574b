//! Samples on the host, and batches made of them.

use super::Batch;
use crate::cpu::{dispatch, memory};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::sealed;
use crate::tensor::{NestedArray, Tensor};

/// One sample on the host: what goes into the model and what its outputs are compared with, without a batch dimension.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Sample;
/// # fn main() -> Result<()> {
/// let sample = Sample::new([1.0f32, 2.0], 7u32)?.map_input(|x| x * 10.0)?;
/// assert_eq!(sample.input()?.to_vec::<f32>()?, [10.0, 20.0]);
/// assert_eq!(sample.target()?.item::<u32>()?, 7);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Sample {
    /// What goes into the model: one tensor, unless it has several inputs.
    pub inputs: Vec<Tensor>,
    /// What its outputs are compared with: one tensor, unless it has several outputs.
    pub targets: Vec<Tensor>,
    /// What the sample's loss is multiplied by. In a batch, all samples have a weight or none has.
    pub weight: Option<f32>,
}

impl Sample {
    /// One input, one target, no weight.
    ///
    /// # Errors
    ///
    /// Nested vectors differ in length, or a tensor can't be moved to the host.
    pub fn new(input: impl HostValue, target: impl HostValue) -> Result<Sample> {
        Ok(Sample { inputs: vec![input.into_tensor()?], targets: vec![target.into_tensor()?], weight: None })
    }

    /// One input, no target: what a model is to predict.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn unlabeled(input: impl HostValue) -> Result<Sample> {
        Ok(Sample { inputs: vec![input.into_tensor()?], targets: Vec::new(), weight: None })
    }

    /// As well a further input.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn also_input(mut self, input: impl HostValue) -> Result<Sample> {
        self.inputs.push(input.into_tensor()?);
        Ok(self)
    }

    /// As well a further target.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn also_target(mut self, target: impl HostValue) -> Result<Sample> {
        self.targets.push(target.into_tensor()?);
        Ok(self)
    }

    /// The same sample, whose loss is multiplied by this.
    pub fn weighted(self, weight: f32) -> Sample {
        Sample { weight: Some(weight), ..self }
    }

    /// The first input.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn input(&self) -> Result<&Tensor> {
        self.inputs.first().ok_or_else(|| Error::argument("Sample::input", "the sample has no inputs"))
    }

    /// The first target.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn target(&self) -> Result<&Tensor> {
        self.targets.first().ok_or_else(|| Error::argument("Sample::target", "the sample has no targets"))
    }

    /// The sample with another first input.
    ///
    /// # Errors
    ///
    /// There is no input, or `f` fails.
    pub fn map_input(mut self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Sample> {
        let input = f(self.input()?)?;
        self.inputs[0] = input;
        Ok(self)
    }

    /// The sample with another first target.
    ///
    /// # Errors
    ///
    /// There is no target, or `f` fails.
    pub fn map_target(mut self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Sample> {
        let target = f(self.target()?)?;
        self.targets[0] = target;
        Ok(self)
    }
}

/// What an input or a target of one sample can be given as: a number, an array or (nested) vectors, a tensor, or (feature
/// `ndarray`) an ndarray. [`Sample`] has an example.
pub trait HostValue: sealed::HostValue {
    /// The value as a tensor on the CPU.
    ///
    /// # Errors
    ///
    /// Nested vectors differ in length, or a tensor can't be computed and moved.
    fn into_tensor(self) -> Result<Tensor>;
}

impl sealed::HostValue for Tensor {}

impl HostValue for Tensor {
    fn into_tensor(self) -> Result<Tensor> {
        (&self).into_tensor()
    }
}

impl sealed::HostValue for &Tensor {}

impl HostValue for &Tensor {
    fn into_tensor(self) -> Result<Tensor> {
        self.detach()?.to_device(Device::Cpu)
    }
}

impl<A: NestedArray> sealed::HostValue for A {}

impl<A: NestedArray> HostValue for A {
    fn into_tensor(self) -> Result<Tensor> {
        Tensor::new(self, Device::Cpu)
    }
}

#[cfg(feature = "ndarray")]
impl<T: crate::cpu::Element, D: ndarray::Dimension> sealed::HostValue for ndarray::Array<T, D> {}

#[cfg(feature = "ndarray")]
impl<T: crate::cpu::Element, D: ndarray::Dimension> HostValue for ndarray::Array<T, D> {
    fn into_tensor(self) -> Result<Tensor> {
        Tensor::from_ndarray(&self, Device::Cpu)
    }
}

/// What batches can be made of: a [`Sample`], a pair of input and target, or a triple of input, target and weight.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::IntoSample;
/// # fn main() -> Result<()> {
/// let sample = ([1.0f32, 2.0], 7u32, 0.5).into_sample()?;
/// assert_eq!((sample.input()?.shape().to_vec(), sample.weight), (vec![2], Some(0.5)));
/// # Ok(()) }
/// ```
pub trait IntoSample: sealed::IntoSample {
    /// The sample.
    ///
    /// # Errors
    ///
    /// As [`Sample::new`].
    fn into_sample(self) -> Result<Sample>;
}

impl sealed::IntoSample for Sample {}

impl IntoSample for Sample {
    fn into_sample(self) -> Result<Sample> {
        Ok(self)
    }
}

impl<X: HostValue, Y: HostValue> sealed::IntoSample for (X, Y) {}

impl<X: HostValue, Y: HostValue> IntoSample for (X, Y) {
    fn into_sample(self) -> Result<Sample> {
        Sample::new(self.0, self.1)
    }
}

impl<X: HostValue, Y: HostValue> sealed::IntoSample for (X, Y, f32) {}

impl<X: HostValue, Y: HostValue> IntoSample for (X, Y, f32) {
    fn into_sample(self) -> Result<Sample> {
        Ok(Sample::new(self.0, self.1)?.weighted(self.2))
    }
}

/// Samples as one batch on the CPU. Integer targets become u32, as losses want them, or i32 where some are negative.
pub(super) fn collate<T: IntoSample>(items: Vec<T>) -> Result<Batch> {
    let samples = items.into_iter().map(T::into_sample).collect::<Result<Vec<_>>>()?;
    let Some(first) = samples.first() else {
        return Err(Error::argument("batch", "got no samples; a batch needs at least one"));
    };
    for (i, sample) in samples.iter().enumerate() {
        let counts = |s: &Sample| {
            let weight = if s.weight.is_some() { "a weight" } else { "no weight" };
            format!("{} inputs, {} targets and {weight}", s.inputs.len(), s.targets.len())
        };
        let (here, expected) = (counts(sample), counts(first));
        if here != expected {
            let message = format!(
                "sample {i} of the batch has {here}, the first has {expected}; make them alike with map"
            );
            return Err(Error::shape("batch", message));
        }
    }
    let column = |what: &str, k: usize, part: fn(&Sample) -> &[Tensor]| {
        stack(&format!("{what} {k}"), samples.iter().filter_map(|s| part(s).get(k)).collect())
    };
    let inputs = (0..first.inputs.len()).map(|k| column("input", k, |s| &s.inputs)).collect::<Result<_>>()?;
    let mut targets: Vec<Tensor> =
        (0..first.targets.len()).map(|k| column("target", k, |s| &s.targets)).collect::<Result<_>>()?;
    for target in &mut targets {
        *target = label_type(target)?;
    }
    crate::eval(&targets.iter().collect::<Vec<_>>())?;
    let weights: Option<Vec<f32>> = samples.iter().map(|s| s.weight).collect();
    let weights = weights.map(|w| Tensor::from_vec(w, [samples.len()], Device::Cpu)).transpose()?;
    Ok(Batch { inputs, targets, weights })
}

/// Integer labels are small: as u32 they need no conversion in every step. Negative ones are for losses that ignore them, and
/// keep their sign; so do all i32 on a GPU, which it would take a wait to look at.
pub(super) fn label_type(target: &Tensor) -> Result<Tensor> {
    match target.dtype() {
        DType::F32 | DType::F64 => Ok(target.clone()),
        DType::I32 if target.device() != Device::Cpu => Ok(target.clone()),
        DType::I32 if target.to_vec::<i32>()?.iter().any(|&label| label < 0) => Ok(target.clone()),
        _ => target.cast(DType::U32),
    }
}

/// Tensors of one shape and type under a new first dimension.
fn stack(what: &str, tensors: Vec<&Tensor>) -> Result<Tensor> {
    let Some(first) = tensors.first() else { return Err(Error::argument("batch", "got no samples")) };
    let (shape, dtype) = (first.shape(), first.dtype());
    if let Some((i, t)) = tensors.iter().enumerate().find(|(_, t)| (t.shape(), t.dtype()) != (shape, dtype)) {
        let message = format!(
            "{what} of sample {i} of the batch is {} {}, that of the first is {dtype} {shape}; make them equal with map \
             (resize, pad, crop or cast) before batch",
            t.dtype(),
            t.shape()
        );
        return Err(Error::shape("batch", message));
    }
    crate::eval(&tensors)?;
    let mut dims = vec![tensors.len()];
    dims.extend_from_slice(&shape);
    dispatch!(dtype, T => {
        let mut data = memory::reserve(tensors.len().saturating_mul(shape.numel()))?;
        for tensor in &tensors {
            data.extend_from_slice(tensor.to_host()?.contiguous()?.slice::<T>()?);
        }
        Tensor::from_vec(data, dims, Device::Cpu)
    })
}

/// The tensors in a value, where it is of a known type: what lazy operations put into it is computed on the thread that
/// calls this.
pub(super) fn settle(value: &dyn std::any::Any) -> Result<()> {
    if let Some(tensor) = value.downcast_ref::<Tensor>() {
        crate::eval(&[tensor])
    } else if let Some(sample) = value.downcast_ref::<Sample>() {
        crate::eval(&sample.inputs.iter().chain(&sample.targets).collect::<Vec<_>>())
    } else if let Some((x, y)) = value.downcast_ref::<(Tensor, Tensor)>() {
        crate::eval(&[x, y])
    } else if let Some(batch) = value.downcast_ref::<Batch>() {
        crate::eval(&batch.inputs.iter().chain(&batch.targets).chain(&batch.weights).collect::<Vec<_>>())
    } else {
        Ok(())
    }
}
