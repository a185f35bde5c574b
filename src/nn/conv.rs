//! Convolution layers.

use super::weights::{WeightSettings, weight_methods};
use super::{
    Activation, Build, Built, Context, Initializer, Layer, Module, Parameters, Regularizer, SampleShape,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::conv2d::{Conv2dOptions, Padding};
use crate::ops::conv2d_transpose::ConvTranspose2dOptions;
use crate::ops::windows::extent;
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// The builder methods that say where a window goes, for a layer with `options`: what is counted, and in what.
macro_rules! window_methods {
    ($layer:ident, $size:ty, $padding:ty, $units:literal, $whole:literal) => {
        impl $layer {
            #[doc = concat!($units, " from one window to the next.")]
            pub fn stride(mut self, stride: $size) -> $layer {
                self.options.stride = stride;
                self
            }

            #[doc = concat!($units, " from one tap to the next.")]
            pub fn dilation(mut self, dilation: $size) -> $layer {
                self.options.dilation = dilation;
                self
            }

            #[doc = concat!("Zeros around the ", $whole, "; of a transposed convolution, what is cut off from the output.")]
            pub fn padding(mut self, padding: $padding) -> $layer {
                self.options.padding = padding;
                self
            }
        }
    };
}
pub(super) use window_methods;

/// 2-D convolution: `[height, width, channels]` to `[height', width', filters]`. Weight `[kh, kw, channels / groups,
/// filters]`, Glorot uniform; bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let layer = Conv2d::new(16, [3, 3]).padding(Padding::Same).stride([2, 2]).activation(Activation::Relu);
/// let model = Sequential::new().add(layer).build([28, 28, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [14, 14, 16]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no image, 0 filters, groups that don't divide channels and filters, a
/// stride or dilation of 0, and a window that is larger than the padded image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Conv2d {
    filters: usize,
    kernel: [usize; 2],
    options: Conv2dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl Conv2d {
    /// A layer of `filters` windows of `kernel` rows and columns; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: [usize; 2]) -> Conv2d {
        Conv2d {
            filters,
            kernel,
            options: Conv2dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> Conv2d {
        self.options.groups = groups;
        self
    }
}

window_methods!(Conv2d, [usize; 2], Padding, "Rows and columns", "image");
weight_methods!(Conv2d);

impl Layer for Conv2d {
    fn kind(&self) -> &'static str {
        "Conv2d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, extent(&self.kernel), self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        let o = self.options;
        check_filters(c, self.filters, o.groups)?;
        let [oh, ow] = o.windows(self.kernel).resolve_open("conv2d", [h, w])?;
        let weight = plain_weight(cx, &self.weights, &self.kernel, c, self.filters, o.groups)?;
        let stages = vec![Stage { name: "weight", weight, options: o }];
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv2d(w, o), stages, &[oh, ow], cx)
    }
}

/// At least one of something.
pub(super) fn positive(what: &str, n: usize) -> Result<()> {
    if n > 0 {
        return Ok(());
    }
    Err(Error::argument("build", format!("expects at least one {what}, got 0")))
}

/// Some filters, and groups that divide them and the channels.
pub(super) fn check_filters(channels: usize, filters: usize, groups: usize) -> Result<()> {
    positive("filter", filters)?;
    if groups > 0 && channels.is_multiple_of(groups) && filters.is_multiple_of(groups) {
        return Ok(());
    }
    let message = format!(
        "expects channels and filters in multiples of {groups} groups, got {channels} and {filters}; change groups or filters"
    );
    Err(Error::argument("build", message))
}

/// The places of a window.
fn taps(kernel: &[usize]) -> usize {
    kernel.iter().fold(1, |taps, &k| taps.saturating_mul(k))
}

/// The weight `[kernel.., c / groups, filters]` of a convolution, for what [`check_filters`] lets pass.
pub(super) fn plain_weight(
    cx: &mut Build,
    weights: &WeightSettings,
    kernel: &[usize],
    c: usize,
    filters: usize,
    groups: usize,
) -> Result<Variable> {
    let taps = taps(kernel);
    // As Keras counts: what one output reads, and what one input reaches.
    let fans = [taps.saturating_mul(c) / groups, taps.saturating_mul(filters)];
    weights.kernel(cx, &[kernel, &[c / groups, filters]].concat(), fans)
}

/// The weight `[kernel.., filters / groups, c]` of a transposed convolution, for what [`check_filters`] lets pass.
pub(super) fn transposed_weight(
    cx: &mut Build,
    weights: &WeightSettings,
    kernel: &[usize],
    c: usize,
    filters: usize,
    groups: usize,
) -> Result<Variable> {
    let (taps, per_group) = (taps(kernel), filters / groups);
    // Keras's fans are those of the weight's shape as it stands: for He's and LeCun's initialisers "in" counts the filters.
    let fans = [taps.saturating_mul(per_group), taps.saturating_mul(c)];
    weights.kernel(cx, &[kernel, &[per_group, c]].concat(), fans)
}

/// The depthwise weight `[kernel.., 1, c * multiplier]`, as a stage of a module whose options have `c` groups.
pub(super) fn depthwise<O>(
    name: &'static str,
    cx: &mut Build,
    weights: &WeightSettings,
    kernel: &[usize],
    [c, multiplier]: [usize; 2],
    options: O,
) -> Result<Stage<O>> {
    positive("window for each channel", multiplier)?;
    let taps = taps(kernel);
    // Keras counts the fans of [kernel.., channels, multiplier] as of any other kernel; PyTorch, the one channel that an output reads.
    let read = if matches!(weights.kernel_initializer, Initializer::TorchDefault) { 1 } else { c };
    let fans = [taps.saturating_mul(read), taps.saturating_mul(multiplier)];
    let weight = weights.kernel(cx, &[kernel, &[1, c.saturating_mul(multiplier)]].concat(), fans)?;
    Ok(Stage { name, weight, options })
}

/// Depthwise 2-D convolution: each channel has windows of its own, `[height, width, channels]` to `[height', width',
/// channels * multiplier]`. Weight `[kh, kw, 1, channels * multiplier]`, in which a channel's filters stand side by side
/// (Keras's `[kh, kw, channels, multiplier]` has the same elements in the same order); bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::DepthwiseConv2d;
/// # fn main() -> Result<()> {
/// let layer = DepthwiseConv2d::new([3, 3]).depth_multiplier(2).padding(Padding::Same);
/// let model = Sequential::new().add(layer).build([28, 28, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [28, 28, 6]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no image, a multiplier of 0, a stride or dilation of 0, and a window that
/// is larger than the padded image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct DepthwiseConv2d {
    kernel: [usize; 2],
    multiplier: usize,
    options: Conv2dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl DepthwiseConv2d {
    /// One window of `kernel` rows and columns for each channel; stride 1, no padding, with bias, without activation.
    pub fn new(kernel: [usize; 2]) -> DepthwiseConv2d {
        DepthwiseConv2d {
            kernel,
            multiplier: 1,
            options: Conv2dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// So many windows for each channel.
    pub fn depth_multiplier(mut self, multiplier: usize) -> DepthwiseConv2d {
        self.multiplier = multiplier;
        self
    }
}

window_methods!(DepthwiseConv2d, [usize; 2], Padding, "Rows and columns", "image");
weight_methods!(DepthwiseConv2d);

impl Layer for DepthwiseConv2d {
    fn kind(&self) -> &'static str {
        "DepthwiseConv2d"
    }

    fn details(&self) -> String {
        let times = if self.multiplier == 1 { String::new() } else { format!(", times {}", self.multiplier) };
        format!("{}{times}{}", extent(&self.kernel), self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        let o = self.options;
        let [oh, ow] = o.windows(self.kernel).resolve_open("depthwise conv2d", [h, w])?;
        let stage = depthwise("weight", cx, &self.weights, &self.kernel, [c, self.multiplier], o.groups(c))?;
        let filters = c.saturating_mul(self.multiplier);
        let finish = Finish { weights: &self.weights, activation: self.activation, filters };
        finish.built(|x, w, o| x.conv2d(w, o), vec![stage], &[oh, ow], cx)
    }
}

/// A depthwise convolution and then one of single points, which mixes the channels: `[height, width, channels]` to
/// `[height', width', filters]` with far fewer weights than [`Conv2d`]. Weights `depthwise_weight` `[kh, kw, 1, channels *
/// multiplier]` and `pointwise_weight` `[1, 1, channels * multiplier, filters]`, both under the kernel's settings.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::SeparableConv2d;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(SeparableConv2d::new(64, [3, 3])).build([28, 28, 32], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [26, 26, 64]);
/// assert_eq!(model.parameter_count(), 3 * 3 * 32 + 32 * 64 + 64); // Conv2d has 18,496
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`DepthwiseConv2d`]; or 0 filters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct SeparableConv2d {
    filters: usize,
    kernel: [usize; 2],
    multiplier: usize,
    options: Conv2dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl SeparableConv2d {
    /// Windows of `kernel` rows and columns, mixed into `filters` features; stride 1, no padding, with bias, without
    /// activation.
    pub fn new(filters: usize, kernel: [usize; 2]) -> SeparableConv2d {
        SeparableConv2d {
            filters,
            kernel,
            multiplier: 1,
            options: Conv2dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// So many windows for each channel.
    pub fn depth_multiplier(mut self, multiplier: usize) -> SeparableConv2d {
        self.multiplier = multiplier;
        self
    }
}

window_methods!(SeparableConv2d, [usize; 2], Padding, "Rows and columns", "image");
weight_methods!(SeparableConv2d);

impl Layer for SeparableConv2d {
    fn kind(&self) -> &'static str {
        "SeparableConv2d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, extent(&self.kernel), self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        positive("filter", self.filters)?;
        let o = self.options;
        let [oh, ow] = o.windows(self.kernel).resolve_open("separable conv2d", [h, w])?;
        let first = depthwise(
            "depthwise_weight",
            cx,
            &self.weights,
            &self.kernel,
            [c, self.multiplier],
            o.groups(c),
        )?;
        let mixed = c.saturating_mul(self.multiplier);
        let weight = self.weights.kernel(cx, &[1, 1, mixed, self.filters], [mixed, self.filters])?;
        let second = Stage { name: "pointwise_weight", weight, options: Conv2dOptions::default() };
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv2d(w, o), vec![first, second], &[oh, ow], cx)
    }
}

/// One convolution of a module.
pub(super) struct Stage<O> {
    pub name: &'static str,
    pub weight: Variable,
    pub options: O,
}

/// What comes after the convolutions.
pub(super) struct Finish<'a> {
    pub weights: &'a WeightSettings,
    pub activation: Activation,
    pub filters: usize,
}

impl Finish<'_> {
    /// The module of some stages of a kind of convolution, whose output has these sizes.
    pub fn built<O: Copy + Send + Sync + 'static>(
        self,
        convolve: fn(&Tensor, &Variable, O) -> Result<Tensor>,
        stages: Vec<Stage<O>>,
        sizes: &[Option<usize>],
        cx: &mut Build,
    ) -> Result<Built> {
        let bias = self.weights.bias(cx, self.filters)?;
        let weights = self.weights.clone();
        let module = Convolution { convolve, stages, bias, weights, activation: self.activation };
        Ok(Built::new(module, SampleShape::new([sizes, &[Some(self.filters)]].concat())?))
    }
}

/// Convolutions of one kind, one after the other.
struct Convolution<O> {
    convolve: fn(&Tensor, &Variable, O) -> Result<Tensor>,
    stages: Vec<Stage<O>>,
    bias: Option<Variable>,
    weights: WeightSettings,
    activation: Activation,
}

impl<O: Copy + Send + Sync> Module for Convolution<O> {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let convolve = |x: Tensor, stage: &Stage<O>| (self.convolve)(&x, &stage.weight, stage.options);
        let y = self.stages.iter().try_fold(x.clone(), convolve)?;
        self.weights.finish(y, &self.bias, self.activation, cx)
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        let kernels = self.stages.iter().map(|s| (s.name, &s.weight));
        self.weights.visit(kernels, &self.bias, parameters);
    }
}

/// Transposed 2-D convolution, Keras's `Conv2DTranspose`: the gradient of a convolution with respect to its image, which
/// spreads each pixel over a window. `[height, width, channels]` to `[height', width', filters]`; sizes and settings are
/// those of [`ConvTranspose2dOptions`]. Weight `[kh, kw, filters / groups, channels]`, Glorot uniform; bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::ConvTranspose2d;
/// # fn main() -> Result<()> {
/// let layer = ConvTranspose2d::new(8, [3, 3]).stride([2, 2]).padding(Padding::Same);
/// let model = Sequential::new().add(layer).build([7, 7, 16], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [14, 14, 8]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no image, 0 filters, groups that don't divide channels and filters, a
/// stride or dilation of 0, an output padding that is not smaller than the stride, and a padding that leaves nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct ConvTranspose2d {
    filters: usize,
    kernel: [usize; 2],
    options: ConvTranspose2dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl ConvTranspose2d {
    /// A layer of `filters` windows of `kernel` rows and columns; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: [usize; 2]) -> ConvTranspose2d {
        ConvTranspose2d {
            filters,
            kernel,
            options: ConvTranspose2dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// Rows and columns that are added at the bottom and the right; see [`ConvTranspose2dOptions::output_padding`].
    pub fn output_padding(mut self, output_padding: [usize; 2]) -> ConvTranspose2d {
        self.options.output_padding = Some(output_padding);
        self
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> ConvTranspose2d {
        self.options.groups = groups;
        self
    }
}

window_methods!(ConvTranspose2d, [usize; 2], Padding, "Rows and columns", "image");
weight_methods!(ConvTranspose2d);

impl Layer for ConvTranspose2d {
    fn kind(&self) -> &'static str {
        "ConvTranspose2d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, extent(&self.kernel), self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        let o = self.options;
        check_filters(c, self.filters, o.groups)?;
        let windows = o.windows(self.kernel);
        let [oh, ow] = windows.transposed_open("conv2d_transpose", [h, w], o.output_padding)?;
        let weight = transposed_weight(cx, &self.weights, &self.kernel, c, self.filters, o.groups)?;
        let stages = vec![Stage { name: "weight", weight, options: o }];
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv2d_transpose(w, o), stages, &[oh, ow], cx)
    }
}
