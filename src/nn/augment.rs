//! Random changes of images, computed on the device as part of the step that uses them.

use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::random::iota;
use crate::ops::resize::Interpolation;
use crate::seed;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What lies beyond an image's edge.
///
/// ```
/// use wgrad::data::{Augment, Fill};
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let image = Tensor::ones([1, 5, 5, 1], Device::Cpu)?;
/// let shift = Augment::new().shift(0.4, 0.4);
/// let [black, edge] = [Fill::Constant(0.0), Fill::Nearest].map(|fill| shift.clone().fill(fill).apply(&image, 1));
/// assert!(black?.min(.., false)?.item::<f32>()? < 1.0);
/// assert_eq!(edge?.to_vec::<f32>()?, [1.0; 25]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fill {
    /// One value everywhere.
    Constant(f64),
    /// The nearest pixel of the edge.
    Nearest,
}

/// Changes each image of a batch `[n, h, w, c]` at random: Keras's preprocessing layers in one.
///
/// Every image is changed in its own way, and every step anew. The changes are tensor operations: on a GPU they are two or
/// three kernels of the step's plan. In this order: crop, turn, zoom, shift and flip (one transformation, one look-up),
/// contrast, brightness, normalisation.
///
/// There are three ways to use it:
/// - [`Source::augmented`](crate::data::Source::augmented): `train.augmented(augment)` augments what one trains on, and leaves the validation data alone.
///   Draws derive from the seed of the pass, which `fit` gives each epoch anew, or where there is none, with
///   `Fit::shuffle(false)`, from the number of the pass.
/// - As a layer, which changes images while training only; cropping (at the centre) and normalisation happen always.
/// - [`apply`](Self::apply), in a loop of one's own.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Augment;
/// # fn main() -> Result<()> {
/// let augment = Augment::new().flip_horizontal().shift(0.1, 0.1).rotate(15.0).zoom(0.1).normalise(&[0.5], &[0.25]);
/// let images = Tensor::rand([8, 28, 28, 1], Device::Cpu, 1)?;
/// let (a, b) = (augment.apply(&images, 7)?, augment.apply(&images, 8)?);
/// assert_eq!(a.shape(), images.shape());
/// assert_ne!(a.to_vec::<f32>()?, b.to_vec::<f32>()?);
///
/// let model = Sequential::new().add(augment).add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// assert_eq!(model.infer(&images)?.shape(), [8, 10]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Augment {
    shift: [f64; 2],
    rotate: f64,
    zoom: f64,
    flip_horizontal: bool,
    flip_vertical: bool,
    crop: Option<[usize; 2]>,
    contrast: f64,
    brightness: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
    fill: Fill,
    interpolation: Interpolation,
    seed: u64,
}

impl Default for Augment {
    fn default() -> Augment {
        Augment::new()
    }
}

/// Random numbers of one image, by their place; a multiple of 4, as Philox makes them.
const DRAWS: usize = 12;
const ANGLE: usize = 0;
const ZOOM: usize = 1;
const SHIFT: [usize; 2] = [2, 3];
const FLIP: [usize; 2] = [4, 5];
const CROP: [usize; 2] = [6, 7];
const CONTRAST: usize = 8;
const BRIGHTNESS: usize = 9;

impl Augment {
    /// No change at all.
    pub fn new() -> Augment {
        Augment {
            shift: [0.0; 2],
            rotate: 0.0,
            zoom: 0.0,
            flip_horizontal: false,
            flip_vertical: false,
            crop: None,
            contrast: 0.0,
            brightness: 0.0,
            mean: Vec::new(),
            std: Vec::new(),
            fill: Fill::Constant(0.0),
            interpolation: Interpolation::Bilinear,
            seed: 0,
        }
    }

    /// Shifts by up to these fractions of width and height, either way.
    pub fn shift(mut self, horizontal: f64, vertical: f64) -> Augment {
        self.shift = [vertical, horizontal];
        self
    }

    /// Turns about the centre by up to so many degrees, either way.
    pub fn rotate(mut self, degrees: f64) -> Augment {
        self.rotate = degrees;
        self
    }

    /// Makes larger or smaller, by a factor between `1 - zoom` and `1 + zoom` of what is seen of the image.
    pub fn zoom(mut self, zoom: f64) -> Augment {
        self.zoom = zoom;
        self
    }

    /// Exchanges left and right, in half of the images.
    pub fn flip_horizontal(mut self) -> Augment {
        self.flip_horizontal = true;
        self
    }

    /// Exchanges top and bottom, in half of the images.
    pub fn flip_vertical(mut self) -> Augment {
        self.flip_vertical = true;
        self
    }

    /// Cuts out a piece of this height and width, anywhere in the image (at its centre, while predicting).
    pub fn crop(mut self, size: [usize; 2]) -> Augment {
        self.crop = Some(size);
        self
    }

    /// Moves each value away from its image's and channel's mean or towards it, by a factor between `1 - contrast` and
    /// `1 + contrast`.
    pub fn contrast(mut self, contrast: f64) -> Augment {
        self.contrast = contrast;
        self
    }

    /// Adds a number between `-brightness` and `brightness` to a whole image. Results are not clipped.
    pub fn brightness(mut self, brightness: f64) -> Augment {
        self.brightness = brightness;
        self
    }

    /// Subtracts a mean and divides by a standard deviation: one for each channel, or one for all.
    pub fn normalise(mut self, mean: &[f64], std: &[f64]) -> Augment {
        (self.mean, self.std) = (mean.to_vec(), std.to_vec());
        self
    }

    /// What lies beyond the edge: zeros, where nothing else is said.
    pub fn fill(mut self, fill: Fill) -> Augment {
        self.fill = fill;
        self
    }

    /// What lies between pixels: bilinear, where nothing else is said.
    pub fn interpolation(mut self, interpolation: Interpolation) -> Augment {
        self.interpolation = interpolation;
        self
    }

    /// Seed of the draws, beside that of the pass or the step.
    pub fn seed(mut self, seed: u64) -> Augment {
        self.seed = seed;
        self
    }

    /// The images `[n, h, w, c]` (f32; bytes and other integers become f32), each changed in its own way. The same seed
    /// makes the same changes.
    ///
    /// # Errors
    ///
    /// A setting is out of its range, the tensor has another rank, a crop is larger than the image, or there are neither
    /// one nor `c` means and deviations.
    pub fn apply(&self, images: &Tensor, seed: u64) -> Result<Tensor> {
        self.run(images, Some(seed), DType::F32)
    }

    /// As [`apply`](Self::apply) with nothing random: crops at the centre and normalises.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn apply_fixed(&self, images: &Tensor) -> Result<Tensor> {
        self.run(images, None, DType::F32)
    }

    /// Integers become floats of a type.
    fn run(&self, images: &Tensor, seed: Option<u64>, dtype: DType) -> Result<Tensor> {
        let [n, h, w, c] = *images.dims() else {
            let message = format!("images are {}; expected [n, height, width, channels]", images.shape());
            return Err(Error::shape("Augment", message));
        };
        let size = self.check([h, w, c])?;
        let mut x = if images.dtype().is_float() { images.clone() } else { images.cast(dtype)? };
        if x.numel() == 0 {
            return Tensor::full_dtype([n, size[0], size[1], c], 0.0, x.dtype(), x.device());
        }
        let draws = match seed {
            Some(s) => Some(Tensor::rand([n, DRAWS], x.device(), seed::derive(self.seed, s))?),
            None => None,
        };
        x = match &draws {
            Some(draws) if self.moves() || size != [h, w] => self.transform(&x, draws, size)?,
            _ if size == [h, w] => x,
            _ => {
                let start = [(h - size[0]) / 2, (w - size[1]) / 2];
                x.slice(1, start[0], size[0])?.slice(2, start[1], size[1])?
            }
        };
        if let Some(draws) = &draws {
            let dtype = x.dtype();
            let of_image = |k: usize| draws.slice(1, k, 1)?.reshape([n, 1, 1, 1])?.cast(dtype);
            if self.contrast > 0.0 {
                let factor = (symmetric(&of_image(CONTRAST)?, self.contrast)? + 1.0)?;
                let mean = x.mean([1, 2], true)?;
                x = (((&x - &mean)? * factor)? + mean)?;
            }
            if self.brightness > 0.0 {
                x = (&x + symmetric(&of_image(BRIGHTNESS)?, self.brightness)?)?;
            }
        }
        if !self.mean.is_empty() {
            x = ((x.clone() - channels(&self.mean, &x)?)? / channels(&self.std, &x)?)?;
        }
        Ok(x)
    }

    /// Whether values come out in another scale.
    pub(crate) fn normalises(&self) -> bool {
        !self.mean.is_empty()
    }

    /// Whether images are turned, zoomed, shifted or flipped.
    fn moves(&self) -> bool {
        self.between_pixels() || self.flip_horizontal || self.flip_vertical
    }

    /// Whether pixels come to lie between pixels.
    fn between_pixels(&self) -> bool {
        self.rotate > 0.0 || self.zoom > 0.0 || self.shift != [0.0; 2]
    }

    /// Height and width of what comes out.
    fn check(&self, [h, w, c]: [usize; 3]) -> Result<[usize; 2]> {
        let wrong = |message: String| Err(Error::argument("Augment", message));
        let amounts = [
            ("shift", self.shift[0].max(self.shift[1]), f64::MAX),
            ("shift", self.shift[0].min(self.shift[1]), f64::MAX),
            ("rotate", self.rotate, f64::MAX),
            ("zoom", self.zoom, 1.0),
            ("contrast", self.contrast, f64::MAX),
            ("brightness", self.brightness, f64::MAX),
        ];
        for (name, amount, limit) in amounts {
            if !(amount >= 0.0 && amount < limit) {
                let end = if limit == 1.0 { " and below 1" } else { "" };
                return wrong(format!("{name} is {amount}; expected a number of at least 0{end}"));
            }
        }
        let fits = |list: &[f64]| list.len() == 1 || list.len() == c;
        if self.mean.len() != self.std.len() || !(self.mean.is_empty() || fits(&self.mean)) {
            return wrong(format!(
                "normalise has {} means and {} deviations; images have {c} channels: expected one of each, or {c}",
                self.mean.len(),
                self.std.len()
            ));
        }
        if let Some(bad) = self.std.iter().find(|s| !(s.is_finite() && **s != 0.0)) {
            return wrong(format!("normalise has a deviation of {bad}; expected a number other than 0"));
        }
        match self.crop {
            Some([ch, cw]) if ch > h || cw > w || ch == 0 || cw == 0 => {
                Err(Error::shape("Augment", format!("can't crop [{ch}, {cw}] from images of [{h}, {w}]")))
            }
            Some(size) => Ok(size),
            None => Ok([h, w]),
        }
    }

    /// For each pixel of the result the place in the image that it shows, and what is there.
    fn transform(&self, x: &Tensor, draws: &Tensor, [oh, ow]: [usize; 2]) -> Result<Tensor> {
        let (n, h, w) = (x.dims()[0], x.dims()[1], x.dims()[2]);
        let device = x.device();
        let k = self.coefficients(draws, [h, w], [oh, ow])?;
        let of_image = |at: usize| k.slice(1, at, 1)?.reshape([n, 1, 1]);
        // Places are counted from the centres of image and result.
        let centred = |len: usize| iota(len, device)?.cast(DType::F32)? - (len as f64 - 1.0) / 2.0;
        let (oy, ox) = (centred(oh)?.unsqueeze(1)?, centred(ow)?);
        let place = |row: usize| -> Result<Tensor> {
            (of_image(row)? * &oy)? + (of_image(row + 1)? * &ox)? + of_image(row + 2)?
        };
        let (sy, sx) = (place(0)?, place(3)?);
        let rows = Picker { x, size: [h, w], fill: self.fill };
        if !self.between_pixels() || self.interpolation == Interpolation::Nearest {
            return rows.pick(&(sy + 0.5)?.floor()?, &(sx + 0.5)?.floor()?);
        }
        let (y0, x0) = (sy.floor()?, sx.floor()?);
        let weight = |t: Tensor| t.unsqueeze(-1)?.cast(x.dtype());
        let (fy, fx) = (weight((sy - &y0)?)?, weight((sx - &x0)?)?);
        let (y1, x1) = ((&y0 + 1.0)?, (&x0 + 1.0)?);
        let across = |y: &Tensor| -> Result<Tensor> {
            let (left, right) = (rows.pick(y, &x0)?, rows.pick(y, &x1)?);
            (left * (1.0 - &fx)?)? + (right * &fx)?
        };
        (across(&y0)? * (1.0 - &fy)?)? + (across(&y1)? * &fy)?
    }

    /// Per image a, b, c, d, e, f: what the result shows at (oy, ox) from its centre is in the image at
    /// (a oy + b ox + c, d oy + e ox + f) from its corner. `[n, 6]`.
    fn coefficients(&self, draws: &Tensor, image: [usize; 2], out: [usize; 2]) -> Result<Tensor> {
        let draw = |k: usize| draws.slice(1, k, 1);
        let one = || draws.slice(1, 0, 1)?.ones_like();
        let scale = if self.zoom > 0.0 { (symmetric(&draw(ZOOM)?, self.zoom)? + 1.0)? } else { one()? };
        let (cos, sin) = match self.rotate > 0.0 {
            true => {
                let angle = symmetric(&draw(ANGLE)?, self.rotate.to_radians())?;
                ((angle.cos()? * &scale)?, (angle.sin()? * &scale)?)
            }
            false => (scale, one()?.zeros_like()?),
        };
        let sign = |flips: bool, k: usize| match flips {
            true => draw(k)?.lt(0.5)?.select(-1.0f32, one()?),
            false => one(),
        };
        let (flip_y, flip_x) = (sign(self.flip_vertical, FLIP[0])?, sign(self.flip_horizontal, FLIP[1])?);
        let offset = |axis: usize| -> Result<Tensor> {
            let (whole, part) = (image[axis] as f64, out[axis] as f64);
            // The first row of a crop is one of 0 to whole - part; a draw that rounds up to 1 is none of them.
            let first = (draw(CROP[axis])? * (whole - part + 1.0))?.floor()?.clamp(0.0, whole - part)?;
            (first + (symmetric(&draw(SHIFT[axis])?, self.shift[axis])? * whole)?)? + (part - 1.0) / 2.0
        };
        let columns = [
            (&cos * &flip_y)?,
            (&sin * &flip_x)?.neg()?,
            offset(0)?,
            (&sin * &flip_y)?,
            (&cos * &flip_x)?,
            offset(1)?,
        ];
        let columns = Tensor::concat(&columns, 1)?;
        // A sum of one: a reduction has its result in memory, so that random numbers, sines and cosines are computed once
        // per image rather than once per pixel.
        columns.unsqueeze(-1)?.sum(-1, false)
    }
}

/// A draw from [0, 1) to one from [-by, by).
fn symmetric(draw: &Tensor, by: f64) -> Result<Tensor> {
    (draw - 0.5)? * (2.0 * by)
}

/// One number for all channels, or one for each: `[1]` or `[c]`, made of scalars, which a plan is given anew each time.
fn channels(values: &[f64], like: &Tensor) -> Result<Tensor> {
    let values = values
        .iter()
        .map(|&v| Tensor::full_dtype([1], v, like.dtype(), like.device()))
        .collect::<Result<Vec<_>>>()?;
    match values.as_slice() {
        [one] => Ok(one.clone()),
        _ => Tensor::concat(&values, 0),
    }
}

/// Reads pixels at given places.
struct Picker<'a> {
    x: &'a Tensor,
    size: [usize; 2],
    fill: Fill,
}

impl Picker<'_> {
    /// The pixels at rows `y` and columns `x` (whole numbers, `[n, oh, ow]`) of each image: `[n, oh, ow, c]`.
    fn pick(&self, y: &Tensor, x: &Tensor) -> Result<Tensor> {
        let [h, w] = self.size;
        let (n, c) = (self.x.dims()[0], self.x.dims()[3]);
        let within = |t: &Tensor, len: usize| t.clamp(0.0, len as f64 - 1.0)?.cast(DType::U32);
        let first = (iota(n, self.x.device())?.reshape([n, 1, 1])? * (h * w))?;
        let index = ((within(y, h)? * w)? + within(x, w)? + first)?;
        let shape = index.shape();
        let flat = self.x.reshape([n * h * w, c])?;
        let found = flat.index_select(0, &index.reshape([shape.numel()])?)?;
        let found = found.reshape([shape[0], shape[1], shape[2], c])?;
        let Fill::Constant(value) = self.fill else { return Ok(found) };
        let inside = |t: &Tensor, len: usize| t.ge(0.0)? * t.le(len as f64 - 1.0)?;
        let inside = (inside(y, h)? * inside(x, w)?)?.unsqueeze(-1)?;
        inside.select(found, Tensor::full_dtype([1], value, self.x.dtype(), self.x.device())?)
    }
}

impl Layer for Augment {
    fn kind(&self) -> &'static str {
        "Augment"
    }

    fn details(&self) -> String {
        let mut words = Vec::new();
        if self.shift != [0.0; 2] {
            words.push(format!("shift {} {}", self.shift[1], self.shift[0]));
        }
        for (name, amount) in [("rotate", self.rotate), ("zoom", self.zoom)] {
            if amount != 0.0 {
                words.push(format!("{name} {amount}"));
            }
        }
        let flips = [("flip horizontal", self.flip_horizontal), ("flip vertical", self.flip_vertical)];
        words.extend(flips.iter().filter(|(_, on)| *on).map(|(name, _)| name.to_string()));
        words.extend(self.crop.map(|size| format!("crop {size:?}")));
        for (name, amount) in [("contrast", self.contrast), ("brightness", self.brightness)] {
            if amount != 0.0 {
                words.push(format!("{name} {amount}"));
            }
        }
        if !self.mean.is_empty() {
            words.push("normalise".into());
        }
        words.join(", ")
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let [h, w, c] = cx.image(input)?;
        // What is open is checked with each batch.
        let [rows, columns] = self.crop.unwrap_or([1, 1]);
        let size = [h.unwrap_or(rows), w.unwrap_or(columns), c.unwrap_or(self.mean.len().max(1))];
        let [oh, ow] = self.check(size)?;
        let open =
            |given: Option<usize>, size: usize| (given.is_some() || self.crop.is_some()).then_some(size);
        Ok(Built::new(self.clone(), SampleShape::new([open(h, oh), open(w, ow), c])?))
    }
}

/// Active in training; a pass that predicts crops at the centre and normalises.
impl Module for Augment {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.run(x, cx.next_seed(), cx.dtype())
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

#[cfg(test)]
mod tests;
