//! Layers that change an image's size without weights: borders and interpolation; and what those of sequences and volumes share with
//! them.

use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::resize::Interpolation;
use crate::ops::windows::extent;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What a layer is to a model that changes sizes, each axis by itself: samples are `$whole`s, batches of them `$batch`.
macro_rules! sizes {
    (
        $whole:ident, $batch:literal:
        $($layer:ident: |$this:ident| $details:expr, |$axis:ident, $n:ident| $size:expr, |$x:ident| $forward:expr;)*
    ) => {$(
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
                let [sizes @ .., c] = cx.$whole(input)?;
                let (mut output, $this) = (sizes.to_vec(), self);
                for ($axis, size) in output.iter_mut().enumerate() {
                    let $n: Option<usize> = *size;
                    *size = $size?;
                }
                output.push(c);
                Ok(Built::new($this.clone(), SampleShape::new(output)?))
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
                if x.rank() != $batch.split(',').count() {
                    let message = format!("expects {}, got {}", $batch, x.shape());
                    return Err(Error::shape(stringify!($layer), message));
                }
                let ($this, $x) = (self, x);
                $forward
            }

            fn visit(&self, _parameters: &mut Parameters<'_>) {}
        }
    )*};
}
pub(super) use sizes;

/// The size of an axis with zeros at its ends, of which `sides` has two for each axis.
pub(super) fn padded(sides: &[usize], axis: usize, n: Option<usize>) -> Result<Option<usize>> {
    Ok(n.map(|n| n.saturating_add(sides[2 * axis]).saturating_add(sides[2 * axis + 1])))
}

/// A batch with zeros at the ends of each axis of its samples but the last.
pub(super) fn pad(x: &Tensor, sides: &[usize]) -> Result<Tensor> {
    let mut pads = vec![(0, 0)];
    pads.extend(sides.chunks(2).map(|ends| (ends[0], ends[1])));
    pads.push((0, 0));
    x.pad(pads, 0.0)
}

/// How many of `n` `units` are left along an axis when its two of `sides` are cut off.
pub(super) fn cropped(op: &str, units: &str, sides: &[usize], axis: usize, n: usize) -> Result<usize> {
    let (before, after) = (sides[2 * axis], sides[2 * axis + 1]);
    match before.checked_add(after).and_then(|cut| n.checked_sub(cut)) {
        Some(rest @ 1..) => Ok(rest),
        _ => {
            let message = format!("of {n} {units} nothing is left without {sides:?}; crop less");
            Err(Error::shape(op, message))
        }
    }
}

/// A batch without what `sides` has for each axis of its samples but the last, which are counted in `units`.
pub(super) fn crop(op: &str, units: &[&str], sides: &[usize], x: &Tensor) -> Result<Tensor> {
    units.iter().enumerate().try_fold(x.clone(), |x, (d, units)| {
        let rest = cropped(op, units, sides, d, x.dims()[d + 1])?;
        x.slice(d as isize + 1, sides[2 * d], rest)
    })
}

/// The size of an axis that is made larger by its factor.
pub(super) fn enlarged(factors: &[usize], axis: usize, n: Option<usize>) -> Result<Option<usize>> {
    if factors[axis] > 0 {
        return Ok(n.map(|n| n.saturating_mul(factors[axis])));
    }
    Err(Error::argument("build", format!("expects factors of at least 1, got {factors:?}")))
}

/// Zeros around an image: `[height, width, channels]` to `[height + top + bottom, width + left + right, channels]`.
///
/// ```
/// use wgrad::nn::ZeroPad2d;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(ZeroPad2d::new([0, 1, 0, 1])).build([7, 7, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [8, 8, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct ZeroPad2d {
    sides: [usize; 4],
}

impl ZeroPad2d {
    /// Rows on top and at the bottom, columns left and right.
    pub fn new(sides: [usize; 4]) -> ZeroPad2d {
        ZeroPad2d { sides }
    }
}

/// An image without some rows and columns at its sides. Takes no time and no memory.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Cropping2d;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Cropping2d::new([2, 2, 4, 0])).build([28, 28, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [24, 24, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no image, and sides that leave nothing of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Cropping2d {
    sides: [usize; 4],
}

impl Cropping2d {
    /// Without rows on top and at the bottom, columns left and right.
    pub fn new(sides: [usize; 4]) -> Cropping2d {
        Cropping2d { sides }
    }
}

/// An image made larger by whole factors: `[height, width, channels]` to `[height * rows, width * columns, channels]`.
///
/// ```
/// use wgrad::nn::UpSample2d;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(UpSample2d::new([1, 2])).build([1, 2, 1], Device::Cpu)?;
/// let x = Tensor::new([[[[1.0f32], [3.0]]]], Device::Cpu)?;
/// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
///
/// let smooth = UpSample2d::new([1, 2]).interpolation(wgrad::Interpolation::Bilinear);
/// let model = Sequential::new().add(smooth).build([1, 2, 1], Device::Cpu)?;
/// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [1.0, 1.5, 2.5, 3.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no image, and a factor of 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct UpSample2d {
    factor: [usize; 2],
    interpolation: Interpolation,
}

impl UpSample2d {
    /// Each pixel repeated over so many rows and columns.
    pub fn new(factor: [usize; 2]) -> UpSample2d {
        UpSample2d { factor, interpolation: Interpolation::Nearest }
    }

    /// What stands between the pixels.
    pub fn interpolation(mut self, interpolation: Interpolation) -> UpSample2d {
        self.interpolation = interpolation;
        self
    }
}

/// What an image is counted in.
const UNITS: [&str; 2] = ["rows", "columns"];

sizes! {
    image, "[n, height, width, channels]":
    ZeroPad2d: |layer| format!("{:?}", layer.sides),
        |axis, n| padded(&layer.sides, axis, n),
        |x| pad(x, &layer.sides);
    Cropping2d: |layer| format!("{:?}", layer.sides),
        |axis, n| n.map(|n| cropped("build", UNITS[axis], &layer.sides, axis, n)).transpose(),
        |x| crop("Cropping2d", &UNITS, &layer.sides, x);
    UpSample2d: |layer| {
            let how = if layer.interpolation == Interpolation::Bilinear { ", bilinear" } else { "" };
            format!("{}{how}", extent(&layer.factor))
        },
        |axis, n| enlarged(&layer.factor, axis, n),
        |x| x.upsample2d(layer.factor, layer.interpolation);
}
