//! Convolution layers.

use super::weights::{WeightSettings, weight_methods};
use super::{
    Activation, Build, Built, Context, Initializer, Layer, Module, Parameters, Regularizer, SampleShape,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::conv2d::{Conv2dOptions, Padding};
use crate::ops::conv2d_transpose::ConvTranspose2dOptions;
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// The builder methods that say where a window goes, for a layer with `options`.
macro_rules! window_methods {
    ($layer:ident) => {
        impl $layer {
            /// Rows and columns from one window to the next.
            pub fn stride(mut self, stride: [usize; 2]) -> $layer {
                self.options.stride = stride;
                self
            }

            /// Rows and columns from one tap to the next.
            pub fn dilation(mut self, dilation: [usize; 2]) -> $layer {
                self.options.dilation = dilation;
                self
            }
        }
    };
}

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

    /// Zeros around the image.
    pub fn padding(mut self, padding: Padding) -> Conv2d {
        self.options.padding = padding;
        self
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> Conv2d {
        self.options.groups = groups;
        self
    }
}

window_methods!(Conv2d);
weight_methods!(Conv2d);

impl Layer for Conv2d {
    fn kind(&self) -> &'static str {
        "Conv2d"
    }

    fn details(&self) -> String {
        let [kh, kw] = self.kernel;
        format!("{}, {kh}x{kw}{}", self.filters, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        let ([kh, kw], o) = (self.kernel, self.options);
        positive("filter", self.filters)?;
        check_groups(c, self.filters, o.groups)?;
        let [oh, ow] = o.padding.resolve_open("conv2d", [h, w], self.kernel, o.stride, o.dilation)?;
        let taps = kh.saturating_mul(kw);
        // As Keras counts: what one output reads, and what one input reaches.
        let fans = [taps.saturating_mul(c) / o.groups, taps.saturating_mul(self.filters)];
        let weight = self.weights.kernel(cx, &[kh, kw, c / o.groups, self.filters], fans)?;
        let bias = self.weights.bias(cx, self.filters)?;
        let settings = Finish { weights: self.weights.clone(), activation: self.activation };
        let module =
            Convolution { stages: vec![Stage { name: "weight", weight, options: o }], bias, settings };
        Ok(Built::new(module, SampleShape::new((oh, ow, self.filters))?))
    }
}

/// At least one of something.
pub(super) fn positive(what: &str, n: usize) -> Result<()> {
    if n > 0 {
        return Ok(());
    }
    Err(Error::argument("build", format!("expects at least one {what}, got 0")))
}

pub(super) fn check_groups(channels: usize, filters: usize, groups: usize) -> Result<()> {
    if groups > 0 && channels.is_multiple_of(groups) && filters.is_multiple_of(groups) {
        return Ok(());
    }
    let message = format!(
        "expects channels and filters in multiples of {groups} groups, got {channels} and {filters}; change groups or filters"
    );
    Err(Error::argument("build", message))
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

    /// Zeros around the image.
    pub fn padding(mut self, padding: Padding) -> DepthwiseConv2d {
        self.options.padding = padding;
        self
    }
}

window_methods!(DepthwiseConv2d);
weight_methods!(DepthwiseConv2d);

/// The depthwise weight for `c` channels, as a stage of a module.
fn depthwise(
    name: &'static str,
    cx: &mut Build,
    weights: &WeightSettings,
    [kh, kw]: [usize; 2],
    [c, multiplier]: [usize; 2],
    options: Conv2dOptions,
) -> Result<Stage> {
    positive("window for each channel", multiplier)?;
    // Keras counts the fans of [kh, kw, channels, multiplier] as of any other kernel.
    let taps = kh.saturating_mul(kw);
    let fans = [taps.saturating_mul(c), taps.saturating_mul(multiplier)];
    let weight = weights.kernel(cx, &[kh, kw, 1, c.saturating_mul(multiplier)], fans)?;
    Ok(Stage { name, weight, options: Conv2dOptions { groups: c, ..options } })
}

impl Layer for DepthwiseConv2d {
    fn kind(&self) -> &'static str {
        "DepthwiseConv2d"
    }

    fn details(&self) -> String {
        let [kh, kw] = self.kernel;
        let times = if self.multiplier == 1 { String::new() } else { format!(", times {}", self.multiplier) };
        format!("{kh}x{kw}{times}{}", self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        let o = self.options;
        let [oh, ow] =
            o.padding.resolve_open("depthwise conv2d", [h, w], self.kernel, o.stride, o.dilation)?;
        let stage = depthwise("weight", cx, &self.weights, self.kernel, [c, self.multiplier], o)?;
        let filters = c.saturating_mul(self.multiplier);
        let bias = self.weights.bias(cx, filters)?;
        let settings = Finish { weights: self.weights.clone(), activation: self.activation };
        let module = Convolution { stages: vec![stage], bias, settings };
        Ok(Built::new(module, SampleShape::new((oh, ow, filters))?))
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

    /// Zeros around the image.
    pub fn padding(mut self, padding: Padding) -> SeparableConv2d {
        self.options.padding = padding;
        self
    }
}

window_methods!(SeparableConv2d);
weight_methods!(SeparableConv2d);

impl Layer for SeparableConv2d {
    fn kind(&self) -> &'static str {
        "SeparableConv2d"
    }

    fn details(&self) -> String {
        let [kh, kw] = self.kernel;
        format!("{}, {kh}x{kw}{}", self.filters, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        positive("filter", self.filters)?;
        let o = self.options;
        let [oh, ow] =
            o.padding.resolve_open("separable conv2d", [h, w], self.kernel, o.stride, o.dilation)?;
        let first = depthwise("depthwise_weight", cx, &self.weights, self.kernel, [c, self.multiplier], o)?;
        let mixed = c.saturating_mul(self.multiplier);
        let weight = self.weights.kernel(cx, &[1, 1, mixed, self.filters], [mixed, self.filters])?;
        let second = Stage { name: "pointwise_weight", weight, options: Conv2dOptions::default() };
        let bias = self.weights.bias(cx, self.filters)?;
        let settings = Finish { weights: self.weights.clone(), activation: self.activation };
        let module = Convolution { stages: vec![first, second], bias, settings };
        Ok(Built::new(module, SampleShape::new((oh, ow, self.filters))?))
    }
}

/// One convolution of a module.
struct Stage {
    name: &'static str,
    weight: Variable,
    options: Conv2dOptions,
}

/// What comes after the convolutions.
struct Finish {
    weights: WeightSettings,
    activation: Activation,
}

struct Convolution {
    stages: Vec<Stage>,
    bias: Option<Variable>,
    settings: Finish,
}

impl Module for Convolution {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let convolve = |x: Tensor, stage: &Stage| x.conv2d(&stage.weight, stage.options);
        let y = self.stages.iter().try_fold(x.clone(), convolve)?;
        self.settings.weights.finish(y, &self.bias, self.settings.activation, cx)
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        let kernels = self.stages.iter().map(|s| (s.name, &s.weight));
        self.settings.weights.visit(kernels, &self.bias, parameters);
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

    /// What the convolution that this is the transpose of would have had around its image: rows and columns are cut off.
    pub fn padding(mut self, padding: Padding) -> ConvTranspose2d {
        self.options.padding = padding;
        self
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

window_methods!(ConvTranspose2d);
weight_methods!(ConvTranspose2d);

impl Layer for ConvTranspose2d {
    fn kind(&self) -> &'static str {
        "ConvTranspose2d"
    }

    fn details(&self) -> String {
        let [kh, kw] = self.kernel;
        format!("{}, {kh}x{kw}{}", self.filters, self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([h, w, _], c) = (cx.image(input)?, cx.features(input)?);
        let ([kh, kw], o) = (self.kernel, self.options);
        positive("filter", self.filters)?;
        check_groups(c, self.filters, o.groups)?;
        let [oh, ow] = o.resolve_open("conv2d_transpose", [h, w], self.kernel)?;
        // Keras's fans are those of the weight's shape as it stands: for He's and LeCun's initialisers "in" counts the
        // filters.
        let per_group = self.filters / o.groups;
        let taps = kh.saturating_mul(kw);
        let fans = [taps.saturating_mul(per_group), taps.saturating_mul(c)];
        let weight = self.weights.kernel(cx, &[kh, kw, per_group, c], fans)?;
        let bias = self.weights.bias(cx, self.filters)?;
        let settings = Finish { weights: self.weights.clone(), activation: self.activation };
        let module = Transposed { weight, bias, options: o, settings };
        Ok(Built::new(module, SampleShape::new((oh, ow, self.filters))?))
    }
}

struct Transposed {
    weight: Variable,
    bias: Option<Variable>,
    options: ConvTranspose2dOptions,
    settings: Finish,
}

impl Module for Transposed {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let y = x.conv2d_transpose(&self.weight, self.options)?;
        self.settings.weights.finish(y, &self.bias, self.settings.activation, cx)
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.settings.weights.visit([("weight", &self.weight)], &self.bias, parameters);
    }
}
