//! Layers of sequences without weights: pooling, borders, repetition.

use super::pool::{global_pooling, pooling};
use super::resize::{crop, cropped, pad, padded, sizes};
use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::{Padding1d, Pool1dOptions, Tensor};
use serde::{Deserialize, Serialize};

pooling! {
    /// The largest element of each window, per channel: `[length, channels]` to `[length', channels]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::MaxPool1d;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(MaxPool1d::new(2)).build([11, 3], Device::Cpu)?;
    /// assert_eq!(model.output_shape(), [5, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no sequence, a window or a stride of 0, a window longer than the padded
    /// sequence, and a border as wide as the window.
    MaxPool1d, max_pool1d, Pool1dOptions, usize, Padding1d, sequence, "Steps", "sequence"
}

pooling! {
    /// The mean of each window, per channel: `[length, channels]` to `[length', channels]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::AvgPool1d;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(AvgPool1d::new(2)).build((None, 1), Device::Cpu)?;
    /// let x = Tensor::new([[[1.0f32], [3.0], [5.0], [6.0]]], Device::Cpu)?;
    /// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [2.0, 5.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`MaxPool1d`].
    AvgPool1d, avg_pool1d, Pool1dOptions, usize, Padding1d, sequence, "Steps", "sequence"
}

impl AvgPool1d {
    /// Whether places of the border count in the average, as zeros.
    pub fn count_include_pad(mut self, count: bool) -> Self {
        self.options.count_include_pad = count;
        self
    }
}

global_pooling! {
    /// The mean of each channel over all steps: `[length, channels]` to `[channels]`.
    ///
    /// ```
    /// use wgrad::nn::GlobalAvgPool1d;
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(GlobalAvgPool1d::new()).build((None, 64), Device::Cpu)?;
    /// assert_eq!(model.output_shape(), [64]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no sequence.
    GlobalAvgPool1d, sequence, [1], mean
}

global_pooling! {
    /// The largest element of each channel over all steps: `[length, channels]` to `[channels]`. Ties share the gradient.
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no sequence.
    GlobalMaxPool1d, sequence, [1], max
}

/// Zeros around a sequence: `[length, channels]` to `[before + length + after, channels]`.
///
/// ```
/// use wgrad::nn::ZeroPad1d;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(ZeroPad1d::new([0, 2])).build([7, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [9, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct ZeroPad1d {
    ends: [usize; 2],
}

impl ZeroPad1d {
    /// Steps before and after.
    pub fn new(ends: [usize; 2]) -> ZeroPad1d {
        ZeroPad1d { ends }
    }
}

/// A sequence without some steps at its ends. Takes no time and no memory.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Cropping1d;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Cropping1d::new([2, 1])).build([10, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [7, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no sequence, and ends that leave nothing of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Cropping1d {
    ends: [usize; 2],
}

impl Cropping1d {
    /// Steps at the beginning and at the end.
    pub fn new(ends: [usize; 2]) -> Cropping1d {
        Cropping1d { ends }
    }
}

/// Every step repeated: `[length, channels]` to `[length * factor, channels]`.
///
/// ```
/// use wgrad::nn::UpSample1d;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(UpSample1d::new(2)).build((None, 1), Device::Cpu)?;
/// let x = Tensor::new([[[1.0f32], [3.0]]], Device::Cpu)?;
/// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no sequence, and a factor of 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct UpSample1d {
    factor: usize,
}

impl UpSample1d {
    /// Each step so many times.
    pub fn new(factor: usize) -> UpSample1d {
        UpSample1d { factor }
    }
}

/// What a sequence is counted in.
const UNITS: [&str; 1] = ["steps"];

sizes! {
    sequence, "[n, length, channels]":
    ZeroPad1d: |layer| format!("{:?}", layer.ends),
        |axis, n| padded(&layer.ends, axis, n),
        |x| pad(x, &layer.ends);
    Cropping1d: |layer| format!("{:?}", layer.ends),
        |axis, n| n.map(|n| cropped("build", UNITS[axis], &layer.ends, axis, n)).transpose(),
        |x| crop("Cropping1d", &UNITS, &layer.ends, x);
    UpSample1d: |layer| format!("{:?}", layer.factor),
        |_axis, n| match layer.factor {
            0 => Err(Error::argument("build", "expects a factor of at least 1, got 0")),
            factor => Ok(n.map(|n| n.saturating_mul(factor))),
        },
        |x| x.repeat(layer.factor, 1);
}
