//! Layers of volumes without weights: pooling, borders, magnification.

use super::pool::{global_pooling, pooling};
use super::resize::{crop, cropped, enlarged, pad, padded, sizes};
use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::resize::Interpolation;
use crate::ops::windows::extent;
use crate::tensor::{Padding3d, Pool3dOptions, Tensor};
use serde::{Deserialize, Serialize};

pooling! {
    /// The largest element of each window, per channel: `[depth, height, width, channels]` to `[depth', height', width', channels]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::MaxPool3d;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(MaxPool3d::new([1, 2, 2])).build([5, 11, 11, 3], Device::Cpu)?;
    /// assert_eq!(model.output_shape(), [5, 5, 5, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no volume, a window or a stride of 0, a window larger than the padded volume,
    /// and a border as wide as the window.
    MaxPool3d, max_pool3d, Pool3dOptions, [usize; 3], Padding3d, volume, "Slices, rows and columns", "volume"
}

pooling! {
    /// The mean of each window, per channel: `[depth, height, width, channels]` to `[depth', height', width', channels]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::AvgPool3d;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(AvgPool3d::new([2, 2, 2])).build((None, 4, 4, 1), Device::Cpu)?;
    /// assert_eq!(model.infer(&Tensor::ones([1, 6, 4, 4, 1], Device::Cpu)?)?.shape(), [1, 3, 2, 2, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`MaxPool3d`].
    AvgPool3d, avg_pool3d, Pool3dOptions, [usize; 3], Padding3d, volume, "Slices, rows and columns", "volume"
}

impl AvgPool3d {
    /// Whether places of the border count in the average, as zeros.
    pub fn count_include_pad(mut self, count: bool) -> Self {
        self.options.count_include_pad = count;
        self
    }
}

global_pooling! {
    /// The mean of each channel: `[depth, height, width, channels]` to `[channels]`.
    ///
    /// ```
    /// use wgrad::nn::GlobalAvgPool3d;
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(GlobalAvgPool3d::new()).build((None, 7, 7, 64), Device::Cpu)?;
    /// assert_eq!(model.output_shape(), [64]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no volume.
    GlobalAvgPool3d, volume, [1, 2, 3], mean
}

global_pooling! {
    /// The largest element of each channel: `[depth, height, width, channels]` to `[channels]`. Ties share the gradient.
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no volume.
    GlobalMaxPool3d, volume, [1, 2, 3], max
}

/// Zeros around a volume: `[depth, height, width, channels]` to a larger one.
///
/// ```
/// use wgrad::nn::ZeroPad3d;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(ZeroPad3d::new([0, 1, 2, 2, 0, 1])).build([4, 7, 7, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [5, 11, 8, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct ZeroPad3d {
    sides: [usize; 6],
}

impl ZeroPad3d {
    /// Slices in front and behind, rows on top and at the bottom, columns left and right.
    pub fn new(sides: [usize; 6]) -> ZeroPad3d {
        ZeroPad3d { sides }
    }
}

/// A volume without some slices, rows and columns at its sides. Takes no time and no memory.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Cropping3d;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Cropping3d::new([1, 0, 2, 2, 4, 0])).build([8, 28, 28, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [7, 24, 24, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no volume, and sides that leave nothing of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Cropping3d {
    sides: [usize; 6],
}

impl Cropping3d {
    /// Without slices in front and behind, rows on top and at the bottom, columns left and right.
    pub fn new(sides: [usize; 6]) -> Cropping3d {
        Cropping3d { sides }
    }
}

/// A volume made larger by whole factors: `[depth, height, width, channels]` to `[depth * factor[0], height * factor[1], width *
/// factor[2], channels]`.
///
/// ```
/// use wgrad::nn::UpSample3d;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(UpSample3d::new([1, 2, 2])).build((None, 7, 7, 3), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([1, 4, 7, 7, 3], Device::Cpu)?)?.shape(), [1, 4, 14, 14, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no volume, and a factor of 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct UpSample3d {
    factor: [usize; 3],
    interpolation: Interpolation,
}

impl UpSample3d {
    /// Each voxel repeated over so many slices, rows and columns.
    pub fn new(factor: [usize; 3]) -> UpSample3d {
        UpSample3d { factor, interpolation: Interpolation::Nearest }
    }

    /// What stands between the voxels; bilinear is trilinear here.
    pub fn interpolation(mut self, interpolation: Interpolation) -> UpSample3d {
        self.interpolation = interpolation;
        self
    }
}

/// What a volume is counted in.
const UNITS: [&str; 3] = ["slices", "rows", "columns"];

sizes! {
    volume, "[n, depth, height, width, channels]":
    ZeroPad3d: |layer| format!("{:?}", layer.sides),
        |axis, n| padded(&layer.sides, axis, n),
        |x| pad(x, &layer.sides);
    Cropping3d: |layer| format!("{:?}", layer.sides),
        |axis, n| n.map(|n| cropped("build", UNITS[axis], &layer.sides, axis, n)).transpose(),
        |x| crop("Cropping3d", &UNITS, &layer.sides, x);
    UpSample3d: |layer| {
            let how = if layer.interpolation == Interpolation::Bilinear { ", trilinear" } else { "" };
            format!("{}{how}", extent(&layer.factor))
        },
        |axis, n| enlarged(&layer.factor, axis, n),
        |x| x.upsample3d(layer.factor, layer.interpolation);
}
