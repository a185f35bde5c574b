//! Layers of volumes without weights: pooling, borders, magnification.

use super::pool::{global_pooling, pooling};
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

    /// What is cut off along an axis, and how many of so many are left.
    fn rest(&self, op: &str, axis: usize, n: usize) -> Result<usize> {
        let (before, after) = (self.sides[2 * axis], self.sides[2 * axis + 1]);
        match before.checked_add(after).and_then(|cut| n.checked_sub(cut)) {
            Some(rest @ 1..) => Ok(rest),
            _ => {
                let message = format!(
                    "of {n} {} nothing is left without {:?}; crop less",
                    ["slices", "rows", "columns"][axis],
                    self.sides
                );
                Err(Error::shape(op, message))
            }
        }
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

/// What a layer is to a model that changes sizes, each axis by itself.
macro_rules! sizes {
    ($($layer:ident: |$this:ident| $details:expr, |$d:ident, $n:ident| $size:expr, |$x:ident| $forward:expr;)*) => {$(
        impl Layer for $layer {
            fn kind(&self) -> &'static str {
                stringify!($layer)
            }

            fn details(&self) -> String {
                let $this = self;
                $details
            }

            fn config(&self) -> Result<Config> {
                Config::of(self)
            }

            fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
                let mut output = cx.volume(input)?;
                let $this = self;
                for ($d, size) in output.iter_mut().take(3).enumerate() {
                    *size = size.map(|$n| $size).transpose()?;
                }
                Ok(Built::new($this.clone(), SampleShape::new(output)?))
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
                if x.rank() != 5 {
                    let message = format!("expects [n, depth, height, width, channels], got {}", x.shape());
                    return Err(Error::shape(stringify!($layer), message));
                }
                let ($this, $x) = (self, x);
                $forward
            }

            fn visit(&self, _parameters: &mut Parameters<'_>) {}
        }
    )*};
}

sizes! {
    ZeroPad3d: |layer| format!("{:?}", layer.sides),
        |d, n| Ok::<_, Error>(n.saturating_add(layer.sides[2 * d]).saturating_add(layer.sides[2 * d + 1])),
        |x| {
            let [front, back, top, bottom, left, right] = layer.sides;
            x.pad([(0, 0), (front, back), (top, bottom), (left, right), (0, 0)], 0.0)
        };
    Cropping3d: |layer| format!("{:?}", layer.sides),
        |d, n| layer.rest("build", d, n),
        |x| (0..3).try_fold(x.clone(), |x, d| {
            let axis = d + 1;
            x.slice(axis as isize, layer.sides[2 * d], layer.rest("Cropping3d", d, x.dims()[axis])?)
        });
    UpSample3d: |layer| {
            let how = if layer.interpolation == Interpolation::Bilinear { ", trilinear" } else { "" };
            format!("{}{how}", extent(&layer.factor))
        },
        |d, n| match layer.factor[d] {
            0 => Err(Error::argument("build", format!("expects factors of at least 1, got {:?}", layer.factor))),
            factor => Ok(n.saturating_mul(factor)),
        },
        |x| x.upsample3d(layer.factor, layer.interpolation);
}
