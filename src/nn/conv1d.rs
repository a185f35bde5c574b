//! Convolution layers of sequences.

use super::conv::{
    Finish, Stage, check_filters, depthwise, plain_weight, positive, transposed_weight, window_methods,
};
use super::weights::{WeightSettings, weight_methods};
use super::{Activation, Build, Built, Initializer, Layer, Regularizer, SampleShape};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::{Conv1dOptions, ConvTranspose1dOptions, Padding1d};
use serde::{Deserialize, Serialize};

/// 1-D convolution: `[length, channels]` to `[length', filters]`. Weight `[kernel, channels / groups, filters]`, Glorot uniform; bias
/// zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::Padding1d;
/// use wgrad::nn::Conv1d;
/// # fn main() -> Result<()> {
/// // Each output depends on its own step and those before it, however long the sequence is.
/// let layer = Conv1d::new(16, 5).dilation(2).padding(Padding1d::Causal).activation(Activation::Relu);
/// let model = Sequential::new().add(layer).build((None, 3), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([2, 100, 3], Device::Cpu)?)?.shape(), [2, 100, 16]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no sequence, 0 filters, groups that don't divide channels and filters, a
/// stride or dilation of 0, and a window that is longer than the padded sequence.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Conv1d {
    filters: usize,
    kernel: usize,
    options: Conv1dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl Conv1d {
    /// A layer of `filters` windows of `kernel` steps; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: usize) -> Conv1d {
        Conv1d {
            filters,
            kernel,
            options: Conv1dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> Conv1d {
        self.options.groups = groups;
        self
    }
}

window_methods!(Conv1d, usize, Padding1d, "Steps", "sequence");
weight_methods!(Conv1d);

impl Layer for Conv1d {
    fn kind(&self) -> &'static str {
        "Conv1d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, self.kernel, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([length, _], c) = (cx.sequence(input)?, cx.features(input)?);
        let (kernel, options) = (self.kernel, self.options);
        check_filters(c, self.filters, options.groups)?;
        let out = options.resolve_open("conv1d", length, kernel)?;
        let weight = plain_weight(cx, &self.weights, &[kernel], c, self.filters, options.groups)?;
        let stages = vec![Stage { name: "weight", weight, options }];
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv1d(w, o), stages, &[out], cx)
    }
}

/// Depthwise 1-D convolution: each channel has windows of its own, `[length, channels]` to `[length', channels * multiplier]`. Weight
/// `[kernel, 1, channels * multiplier]`, in which a channel's filters stand side by side (Keras's `[kernel, channels, multiplier]` has
/// the same elements in the same order); bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::DepthwiseConv1d;
/// # fn main() -> Result<()> {
/// let layer = DepthwiseConv1d::new(3).depth_multiplier(2);
/// let model = Sequential::new().add(layer).build([20, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [18, 6]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no sequence, a multiplier of 0, a stride or dilation of 0, and a window that is
/// longer than the padded sequence.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct DepthwiseConv1d {
    kernel: usize,
    multiplier: usize,
    options: Conv1dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl DepthwiseConv1d {
    /// One window of `kernel` steps for each channel; stride 1, no padding, with bias, without activation.
    pub fn new(kernel: usize) -> DepthwiseConv1d {
        DepthwiseConv1d {
            kernel,
            multiplier: 1,
            options: Conv1dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// So many windows for each channel.
    pub fn depth_multiplier(mut self, multiplier: usize) -> DepthwiseConv1d {
        self.multiplier = multiplier;
        self
    }
}

window_methods!(DepthwiseConv1d, usize, Padding1d, "Steps", "sequence");
weight_methods!(DepthwiseConv1d);

impl Layer for DepthwiseConv1d {
    fn kind(&self) -> &'static str {
        "DepthwiseConv1d"
    }

    fn details(&self) -> String {
        let times = if self.multiplier == 1 { String::new() } else { format!(", times {}", self.multiplier) };
        format!("{}{times}{}", self.kernel, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([length, _], c) = (cx.sequence(input)?, cx.features(input)?);
        let out = self.options.resolve_open("depthwise conv1d", length, self.kernel)?;
        let (channels, options) = ([c, self.multiplier], self.options.groups(c));
        let stage = depthwise("weight", cx, &self.weights, &[self.kernel], channels, options)?;
        let filters = c.saturating_mul(self.multiplier);
        let finish = Finish { weights: &self.weights, activation: self.activation, filters };
        finish.built(|x, w, o| x.conv1d(w, o), vec![stage], &[out], cx)
    }
}

/// A depthwise convolution and then one of single steps, which mixes the channels: `[length, channels]` to `[length', filters]` with
/// far fewer weights than [`Conv1d`]. Weights `depthwise_weight` `[kernel, 1, channels * multiplier]` and `pointwise_weight` `[1,
/// channels * multiplier, filters]`, both under the kernel's settings.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::SeparableConv1d;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(SeparableConv1d::new(64, 9)).build([100, 32], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [92, 64]);
/// assert_eq!(model.parameter_count(), 9 * 32 + 32 * 64 + 64); // Conv1d has 18,496
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`DepthwiseConv1d`]; or 0 filters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct SeparableConv1d {
    filters: usize,
    kernel: usize,
    multiplier: usize,
    options: Conv1dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl SeparableConv1d {
    /// Windows of `kernel` steps, mixed into `filters` features; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: usize) -> SeparableConv1d {
        SeparableConv1d {
            filters,
            kernel,
            multiplier: 1,
            options: Conv1dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// So many windows for each channel.
    pub fn depth_multiplier(mut self, multiplier: usize) -> SeparableConv1d {
        self.multiplier = multiplier;
        self
    }
}

window_methods!(SeparableConv1d, usize, Padding1d, "Steps", "sequence");
weight_methods!(SeparableConv1d);

impl Layer for SeparableConv1d {
    fn kind(&self) -> &'static str {
        "SeparableConv1d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, self.kernel, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([length, _], c) = (cx.sequence(input)?, cx.features(input)?);
        positive("filter", self.filters)?;
        let out = self.options.resolve_open("separable conv1d", length, self.kernel)?;
        let (channels, options) = ([c, self.multiplier], self.options.groups(c));
        let first = depthwise("depthwise_weight", cx, &self.weights, &[self.kernel], channels, options)?;
        let mixed = c.saturating_mul(self.multiplier);
        let weight = self.weights.kernel(cx, &[1, mixed, self.filters], [mixed, self.filters])?;
        // Of windows of one step none needs a border; without one, sequences of no steps would be refused.
        let options = Conv1dOptions::default().padding(Padding1d::Same);
        let second = Stage { name: "pointwise_weight", weight, options };
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv1d(w, o), vec![first, second], &[out], cx)
    }
}

/// Transposed 1-D convolution, Keras's `Conv1DTranspose`: the gradient of a convolution with respect to its sequence, which spreads
/// each step over a window. `[length, channels]` to `[length', filters]`; lengths and settings are those of
/// [`ConvTranspose1dOptions`]. Weight `[kernel, filters / groups, channels]`, Glorot uniform; bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::Padding1d;
/// use wgrad::nn::ConvTranspose1d;
/// # fn main() -> Result<()> {
/// let layer = ConvTranspose1d::new(8, 4).stride(2).padding(Padding1d::Same);
/// let model = Sequential::new().add(layer).build([7, 16], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [14, 8]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no sequence, 0 filters, groups that don't divide channels and filters, a stride or
/// dilation of 0, an output padding that is not smaller than the stride, and a padding that is causal or leaves nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct ConvTranspose1d {
    filters: usize,
    kernel: usize,
    options: ConvTranspose1dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl ConvTranspose1d {
    /// A layer of `filters` windows of `kernel` steps; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: usize) -> ConvTranspose1d {
        ConvTranspose1d {
            filters,
            kernel,
            options: ConvTranspose1dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// Steps that are added at the end; see [`ConvTranspose1dOptions::output_padding`].
    pub fn output_padding(mut self, output_padding: usize) -> ConvTranspose1d {
        self.options.output_padding = Some(output_padding);
        self
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> ConvTranspose1d {
        self.options.groups = groups;
        self
    }
}

window_methods!(ConvTranspose1d, usize, Padding1d, "Steps", "sequence");
weight_methods!(ConvTranspose1d);

impl Layer for ConvTranspose1d {
    fn kind(&self) -> &'static str {
        "ConvTranspose1d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, self.kernel, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([length, _], c) = (cx.sequence(input)?, cx.features(input)?);
        let (kernel, options) = (self.kernel, self.options);
        check_filters(c, self.filters, options.groups)?;
        let out = options.resolve_open("conv1d_transpose", length, kernel)?;
        let weight = transposed_weight(cx, &self.weights, &[kernel], c, self.filters, options.groups)?;
        let stages = vec![Stage { name: "weight", weight, options }];
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv1d_transpose(w, o), stages, &[out], cx)
    }
}
