//! Convolution layers of volumes.

use super::conv::{Finish, Stage, check_filters, plain_weight, transposed_weight, window_methods};
use super::weights::{WeightSettings, weight_methods};
use super::{Activation, Build, Built, Initializer, Layer, Regularizer, SampleShape};
use crate::config::Config;
use crate::error::Result;
use crate::ops::windows::extent;
use crate::tensor::{Conv3dOptions, ConvTranspose3dOptions, Padding3d};
use serde::{Deserialize, Serialize};

/// 3-D convolution: `[depth, height, width, channels]` to `[depth', height', width', filters]`. Weight `[kd, kh, kw, channels /
/// groups, filters]`, Glorot uniform; bias zero. With as many groups as channels it is depthwise.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::Padding3d;
/// use wgrad::nn::Conv3d;
/// # fn main() -> Result<()> {
/// let layer = Conv3d::new(8, [3, 3, 3]).padding(Padding3d::Same).stride([1, 2, 2]).activation(Activation::Relu);
/// let model = Sequential::new().add(layer).build((None, 16, 16, 1), Device::Cpu)?; // films of any length
/// assert_eq!(model.infer(&Tensor::zeros([2, 5, 16, 16, 1], Device::Cpu)?)?.shape(), [2, 5, 8, 8, 8]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no volume, 0 filters, groups that don't divide channels and filters, a
/// stride or dilation of 0, and a window that is larger than the padded volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Conv3d {
    filters: usize,
    kernel: [usize; 3],
    options: Conv3dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl Conv3d {
    /// A layer of `filters` windows of `kernel` slices, rows and columns; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: [usize; 3]) -> Conv3d {
        Conv3d {
            filters,
            kernel,
            options: Conv3dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> Conv3d {
        self.options.groups = groups;
        self
    }
}

window_methods!(Conv3d, [usize; 3], Padding3d, "Slices, rows and columns", "volume");
weight_methods!(Conv3d);

impl Layer for Conv3d {
    fn kind(&self) -> &'static str {
        "Conv3d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, extent(&self.kernel), self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([d, h, w, _], c) = (cx.volume(input)?, cx.features(input)?);
        let o = self.options;
        check_filters(c, self.filters, o.groups)?;
        let out = o.windows(self.kernel).resolve_open("conv3d", [d, h, w])?;
        let weight = plain_weight(cx, &self.weights, &self.kernel, c, self.filters, o.groups)?;
        let stages = vec![Stage { name: "weight", weight, options: o }];
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv3d(w, o), stages, &out, cx)
    }
}

/// Transposed 3-D convolution, Keras's `Conv3DTranspose`: the gradient of a convolution with respect to its volume, which spreads
/// each voxel over a window. `[depth, height, width, channels]` to `[depth', height', width', filters]`; sizes and settings are those of
/// [`ConvTranspose3dOptions`]. Weight `[kd, kh, kw, filters / groups, channels]`, Glorot uniform; bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::Padding3d;
/// use wgrad::nn::ConvTranspose3d;
/// # fn main() -> Result<()> {
/// let layer = ConvTranspose3d::new(8, [3, 3, 3]).stride([2, 2, 2]).padding(Padding3d::Same);
/// let model = Sequential::new().add(layer).build([4, 7, 7, 16], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [8, 14, 14, 8]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no volume, 0 filters, groups that don't divide channels and filters, a
/// stride or dilation of 0, an output padding that is not smaller than the stride, and a padding that leaves nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct ConvTranspose3d {
    filters: usize,
    kernel: [usize; 3],
    options: ConvTranspose3dOptions,
    activation: Activation,
    weights: WeightSettings,
}

impl ConvTranspose3d {
    /// A layer of `filters` windows of `kernel` slices, rows and columns; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: [usize; 3]) -> ConvTranspose3d {
        ConvTranspose3d {
            filters,
            kernel,
            options: ConvTranspose3dOptions::default(),
            activation: Activation::Linear,
            weights: WeightSettings::default(),
        }
    }

    /// Slices, rows and columns that are added at the end; see [`ConvTranspose3dOptions::output_padding`].
    pub fn output_padding(mut self, output_padding: [usize; 3]) -> ConvTranspose3d {
        self.options.output_padding = Some(output_padding);
        self
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> ConvTranspose3d {
        self.options.groups = groups;
        self
    }
}

window_methods!(ConvTranspose3d, [usize; 3], Padding3d, "Slices, rows and columns", "volume");
weight_methods!(ConvTranspose3d);

impl Layer for ConvTranspose3d {
    fn kind(&self) -> &'static str {
        "ConvTranspose3d"
    }

    fn details(&self) -> String {
        format!("{}, {}{}", self.filters, extent(&self.kernel), self.activation.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let ([d, h, w, _], c) = (cx.volume(input)?, cx.features(input)?);
        let o = self.options;
        check_filters(c, self.filters, o.groups)?;
        let windows = o.windows(self.kernel);
        let out = windows.transposed_open("conv3d_transpose", [d, h, w], o.output_padding)?;
        let weight = transposed_weight(cx, &self.weights, &self.kernel, c, self.filters, o.groups)?;
        let stages = vec![Stage { name: "weight", weight, options: o }];
        let finish = Finish { weights: &self.weights, activation: self.activation, filters: self.filters };
        finish.built(|x, w, o| x.conv3d_transpose(w, o), stages, &out, cx)
    }
}
