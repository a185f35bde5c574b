//! Layers that change an image's size without weights: borders and interpolation.

use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::resize::Interpolation;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

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

impl Layer for ZeroPad2d {
    fn kind(&self) -> &'static str {
        "ZeroPad2d"
    }

    fn details(&self) -> String {
        format!("{:?}", self.sides)
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let [h, w, c] = cx.image(input)?;
        let [top, bottom, left, right] = self.sides;
        let padded = |n: Option<usize>, before: usize, after: usize| {
            n.map(|n| n.saturating_add(before).saturating_add(after))
        };
        let output = SampleShape::new([padded(h, top, bottom), padded(w, left, right), c])?;
        Ok(Built::new(self.clone(), output))
    }
}

impl Module for ZeroPad2d {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let [top, bottom, left, right] = self.sides;
        x.pad([(0, 0), (top, bottom), (left, right), (0, 0)], 0.0)
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
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

impl Layer for Cropping2d {
    fn kind(&self) -> &'static str {
        "Cropping2d"
    }

    fn details(&self) -> String {
        format!("{:?}", self.sides)
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let [h, w, c] = cx.image(input)?;
        let rows = h.map(|h| self.rest("build", h, 0)).transpose()?;
        let columns = w.map(|w| self.rest("build", w, 1)).transpose()?;
        Ok(Built::new(self.clone(), SampleShape::new([rows, columns, c])?))
    }
}

impl Cropping2d {
    /// How many of so many rows (`axis` 0) or columns are left.
    fn rest(&self, op: &str, n: usize, axis: usize) -> Result<usize> {
        let (before, after) = (self.sides[2 * axis], self.sides[2 * axis + 1]);
        match before.checked_add(after).and_then(|cut| n.checked_sub(cut)) {
            Some(rest @ 1..) => Ok(rest),
            _ => {
                let message = format!(
                    "of {n} {} nothing is left without {:?}; crop less",
                    ["rows", "columns"][axis],
                    self.sides
                );
                Err(Error::shape(op, message))
            }
        }
    }
}

impl Module for Cropping2d {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let [_, h, w, _] = *x.dims() else {
            let message = format!("expects [n, height, width, channels], got {}", x.shape());
            return Err(Error::shape("Cropping2d", message));
        };
        let (rows, columns) = (self.rest("Cropping2d", h, 0)?, self.rest("Cropping2d", w, 1)?);
        x.slice(1, self.sides[0], rows)?.slice(2, self.sides[2], columns)
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
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

impl Layer for UpSample2d {
    fn kind(&self) -> &'static str {
        "UpSample2d"
    }

    fn details(&self) -> String {
        let [rows, columns] = self.factor;
        let how = if self.interpolation == Interpolation::Bilinear { ", bilinear" } else { "" };
        format!("{rows}x{columns}{how}")
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let [h, w, c] = cx.image(input)?;
        if self.factor.contains(&0) {
            let message = format!("expects factors of at least 1, got {:?}", self.factor);
            return Err(Error::argument("build", message));
        }
        let enlarged = |n: Option<usize>, factor: usize| n.map(|n| n.saturating_mul(factor));
        let output = SampleShape::new([enlarged(h, self.factor[0]), enlarged(w, self.factor[1]), c])?;
        Ok(Built::new(self.clone(), output))
    }
}

impl Module for UpSample2d {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x.upsample2d(self.factor, self.interpolation)
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
