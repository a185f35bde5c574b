//! Layers of sequences without weights: pooling, borders, repetition.

use super::pool::{global_pooling, pooling};
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

    /// How many of so many steps are left.
    fn rest(&self, op: &str, n: usize) -> Result<usize> {
        let [before, after] = self.ends;
        match before.checked_add(after).and_then(|cut| n.checked_sub(cut)) {
            Some(rest @ 1..) => Ok(rest),
            _ => {
                let message = format!("of {n} steps nothing is left without {:?}; crop less", self.ends);
                Err(Error::shape(op, message))
            }
        }
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

/// What a layer is to a model that changes the length alone.
macro_rules! lengths {
    ($($layer:ident, $field:ident: |$this:ident, $n:ident| $length:expr, |$module:ident, $x:ident| $forward:expr;)*) => {$(
        impl Layer for $layer {
            fn kind(&self) -> &'static str {
                stringify!($layer)
            }

            fn details(&self) -> String {
                format!("{:?}", self.$field)
            }

            fn config(&self) -> Result<Config> {
                Config::of(self)
            }

            fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
                let [length, c] = cx.sequence(input)?;
                let ($this, $n) = (self, length);
                let length: Result<Option<usize>> = $length;
                Ok(Built::new($this.clone(), SampleShape::new([length?, c])?))
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
                if x.rank() != 3 {
                    let message = format!("expects [n, length, channels], got {}", x.shape());
                    return Err(Error::shape(stringify!($layer), message));
                }
                let ($module, $x) = (self, x);
                $forward
            }

            fn visit(&self, _parameters: &mut Parameters<'_>) {}
        }
    )*};
}

lengths! {
    ZeroPad1d, ends:
        |layer, n| Ok(n.map(|n| n.saturating_add(layer.ends[0]).saturating_add(layer.ends[1]))),
        |layer, x| x.pad([(0, 0), (layer.ends[0], layer.ends[1]), (0, 0)], 0.0);
    Cropping1d, ends:
        |layer, n| n.map(|n| layer.rest("build", n)).transpose(),
        |layer, x| x.slice(1, layer.ends[0], layer.rest("Cropping1d", x.dims()[1])?);
    UpSample1d, factor:
        |layer, n| match layer.factor {
            0 => Err(Error::argument("build", "expects a factor of at least 1, got 0")),
            factor => Ok(n.map(|n| n.saturating_mul(factor))),
        },
        |layer, x| x.repeat(layer.factor, 1);
}
