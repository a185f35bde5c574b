//! Images read between their pixels: at another size, and wherever a grid says.

use super::Tensor;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::index::select_within;
use crate::ops::view::nothing;
use crate::ops::windows::MOST;
use crate::ops::{require_float, same_device, same_dtype};
use crate::shape::Shape;

/// What an image is between its pixels, for [`Tensor::resize2d`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resampling {
    /// The pixel whose square a place lies in (Keras's `nearest`, PyTorch's `nearest-exact`).
    Nearest,
    /// A weighted mean of the two nearest rows and columns.
    #[default]
    Bilinear,
    /// Keys' cubic convolution over four rows and columns with a = -3/4, pixels beyond the border being those at it: PyTorch's and
    /// OpenCV's `bicubic`.
    Bicubic,
    /// The same with a = -1/2, pixels beyond the border left out: `bicubic` of TensorFlow and of Keras on it, and Pillow's for images
    /// made larger.
    CatmullRom,
}

impl Resampling {
    /// The weights of pixels from `-1` to `2` beside the one before a place, which is `t` behind it.
    fn weights(self, t: f64) -> [f64; 4] {
        let cubic = |a: f64| {
            [1.0 + t, t, 1.0 - t, 2.0 - t].map(|d: f64| match d {
                d if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
                d => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
            })
        };
        match self {
            Resampling::Nearest => [0.0, f64::from(u8::from(t < 0.5)), f64::from(u8::from(t >= 0.5)), 0.0],
            Resampling::Bilinear => [0.0, 1.0 - t, t, 0.0],
            Resampling::Bicubic => cubic(-0.75),
            Resampling::CatmullRom => cubic(-0.5),
        }
    }
}

/// How far beyond an image's border [`Tensor::grid_sample`] reads; PyTorch's `padding_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GridPadding {
    /// There are zeros.
    #[default]
    Zeros,
    /// There is the nearest pixel of the border.
    Border,
    /// The image is mirrored there, at its border or, with corners aligned, at the centres of its outermost pixels.
    Reflection,
}

/// How [`Tensor::grid_sample`] reads.
///
/// ```
/// use wgrad::{GridOptions, GridPadding};
/// let options = GridOptions::new().padding(GridPadding::Border).align_corners(true);
/// assert!(!options.nearest);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct GridOptions {
    /// Whether the nearest pixel is read, not a weighted mean of four.
    pub nearest: bool,
    /// What is beyond the border.
    pub padding: GridPadding,
    /// Whether -1 and 1 are the centres of the outermost pixels, not the image's border.
    pub align_corners: bool,
}

impl GridOptions {
    /// Bilinear, with zeros beyond the border, which is at -1 and 1: PyTorch's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the nearest pixel is read, not a weighted mean of four.
    pub fn nearest(self, nearest: bool) -> Self {
        Self { nearest, ..self }
    }

    /// What is beyond the border.
    pub fn padding(self, padding: GridPadding) -> Self {
        Self { padding, ..self }
    }

    /// Whether -1 and 1 are the centres of the outermost pixels, not the image's border.
    pub fn align_corners(self, align_corners: bool) -> Self {
        Self { align_corners, ..self }
    }

    /// Pixels that are read along an axis of `size` for coordinates, and their weights: NaN where a coordinate is.
    fn taps(self, at: &Tensor, size: usize) -> Result<Vec<Tap>> {
        let n = size as f64;
        let last = n - 1.0;
        let place = match self.align_corners {
            true => (((at + 1.0)? * 0.5)? * last)?,
            false => ((((at + 1.0)? * n)? - 1.0)? * 0.5)?,
        };
        let place = match self.padding {
            // What is further away than two pixels is as far as that.
            GridPadding::Zeros => within(&place, -2.0, n + 1.0)?,
            GridPadding::Border => within(&place, 0.0, last)?,
            // What is infinitely far away is somewhere.
            GridPadding::Reflection => within(&self.reflected(&within(&place, -FAR, FAR)?, n)?, 0.0, last)?,
        };
        let nan = place.isnan()?;
        let taps = if self.nearest {
            // (The weight is 1, or NaN.)
            vec![(place.round()?.detach()?, ((&place * 0.0)? + 1.0)?)]
        } else {
            let before = place.floor()?.detach()?;
            let t = (&place - &before)?;
            vec![(before.clone(), (1.0 - &t)?), ((before + 1.0)?, t)]
        };
        let tap = |(at, weight): (Tensor, Tensor)| {
            let beyond = at.lt(0.0)?.logical_or(&at.gt(last)?)?;
            let at = nan.select(0.0, at)?.clamp(0.0, last)?;
            Ok(Tap { at: at.cast(DType::U32)?, weight, beyond })
        };
        taps.into_iter().map(tap).collect()
    }

    /// Places mirrored until they are within the image.
    fn reflected(self, place: &Tensor, n: f64) -> Result<Tensor> {
        let (low, span) = if self.align_corners { (0.0, n - 1.0) } else { (-0.5, n) };
        if span == 0.0 {
            // One pixel, whatever the place; NaN stays.
            return place * 0.0;
        }
        let from = (place - low)?.abs()?;
        let turns = (&from / span)?.floor()?.detach()?;
        let extra = (&from - (&turns * span)?)?;
        let odd = (&turns - ((&turns * 0.5)?.floor()? * 2.0)?)?.gt(0.0)?;
        odd.select((span - &extra)?, &extra)? + low
    }
}

/// Where a grid's places are from here on doesn't matter, in pixels.
const FAR: f64 = 1e9;

/// A pixel that is read along one axis for each place of a grid.
struct Tap {
    at: Tensor,
    weight: Tensor,
    /// Whether it is outside the image: then it is 0, whatever is at the border.
    beyond: Tensor,
}

/// Elements no lower and no higher; a gradient goes to those between the bounds.
fn within(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    let outside = x.le(low)?.logical_or(&x.ge(high)?)?;
    outside.select(x.detach()?.clamp(low, high)?, x)
}

/// Along an axis, for each of `m` places the pixels that are read and their weights, tap by tap.
fn taps_of(how: Resampling, n: usize, m: usize, align_corners: bool) -> [Vec<(u32, f64)>; 4] {
    let place = |i: usize| match align_corners {
        true if m == 1 => 0.0,
        true => i as f64 * (n - 1) as f64 / (m - 1) as f64,
        false => (i as f64 + 0.5) * n as f64 / m as f64 - 0.5,
    };
    let mut taps: [Vec<(u32, f64)>; 4] = std::array::from_fn(|_| Vec::with_capacity(m));
    for i in 0..m {
        // Of the border's pixels, half is beyond their centres: only a cubic kernel reads further.
        let place = match how {
            Resampling::Nearest | Resampling::Bilinear => place(i).clamp(0.0, (n - 1) as f64),
            _ => place(i),
        };
        let before = place.floor();
        let mut weights = how.weights(place - before);
        let at: [f64; 4] = std::array::from_fn(|tap| before + tap as f64 - 1.0);
        if how == Resampling::CatmullRom {
            for (weight, _) in weights.iter_mut().zip(at).filter(|(_, at)| *at < 0.0 || *at > (n - 1) as f64)
            {
                *weight = 0.0;
            }
            let sum: f64 = weights.iter().sum();
            weights = weights.map(|w| w / sum);
        }
        for ((taps, at), weight) in taps.iter_mut().zip(at).zip(weights) {
            taps.push((at.clamp(0.0, (n - 1) as f64) as u32, weight));
        }
    }
    taps
}

/// One axis of an image read at `m` places.
fn resampled(x: &Tensor, axis: usize, m: usize, how: Resampling, align_corners: bool) -> Result<Tensor> {
    let n = x.shape()[axis];
    if n == m {
        return Ok(x.clone());
    }
    let mut beside = vec![1; x.rank()];
    beside[axis] = m;
    let read = |places: Vec<u32>| x.index_select(axis as isize, &Tensor::from_vec(places, [m], x.device())?);
    let taps = taps_of(how, n, m, align_corners);
    if how == Resampling::Nearest {
        let [_, before, after, _] = taps;
        let nearest = before.iter().zip(&after).map(|(b, a)| if b.1 == 1.0 { b.0 } else { a.0 });
        return read(nearest.collect());
    }
    let weighted = |tap: Vec<(u32, f64)>| {
        let (places, weights): (Vec<u32>, Vec<f64>) = tap.into_iter().unzip();
        read(places)? * Tensor::rounded(&weights, &beside, x.dtype(), x.device())?
    };
    let taps = taps.into_iter().filter(|tap| tap.iter().any(|&(_, weight)| weight != 0.0));
    sum_of(taps.map(weighted))
}

/// In their order, of what is read in a window: there is at least one.
pub(super) fn sum_of(terms: impl IntoIterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let sum = terms.into_iter().reduce(|sum, term| sum? + term?);
    sum.unwrap_or_else(|| Err(Error::internal("a sum of nothing")))
}

/// A vector of the type and on the device of a tensor.
impl Tensor {
    /// An image of another size: `[n, h, w, c]` to `[n, size[0], size[1], c]`, read between its pixels. Pixels are squares whose centres
    /// keep their places ("half-pixel centres"); with `align_corners` the centres of the outermost pixels are those of the outermost
    /// pixels of the result, as with PyTorch's `align_corners=True`. Nothing is smoothed where an image is made smaller, as in PyTorch
    /// and TensorFlow by default.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Resampling;
    /// # fn main() -> Result<()> {
    /// let row = Tensor::new([[[[0.0f32], [2.0], [4.0]]]], Device::Cpu)?; // [1, 1, 3, 1]
    /// assert_eq!(row.resize2d([1, 5], Resampling::Bilinear, true)?.to_vec::<f32>()?, [0.0, 1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(row.resize2d([1, 6], Resampling::Nearest, false)?.to_vec::<f32>()?, [0.0, 0.0, 2.0, 2.0, 4.0, 4.0]);
    /// assert_eq!(row.resize2d([2, 6], Resampling::Bicubic, false)?.shape(), [1, 2, 6, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is not of rank 4, no float or has no rows or columns; a size is 0 or out of all proportion; `align_corners` with
    /// [`Resampling::Nearest`].
    pub fn resize2d(&self, size: [usize; 2], resampling: Resampling, align_corners: bool) -> Result<Tensor> {
        const OP: &str = "resize2d";
        require_float(OP, "the image", self)?;
        let [n, h, w, c] = *self.dims() else {
            return Err(Error::shape(OP, format!("image {}: expected [n, h, w, c]", self.shape())));
        };
        if h == 0 || w == 0 {
            return Err(Error::shape(OP, format!("image {} has no pixels to read", self.shape())));
        }
        if size.iter().any(|&m| m == 0 || m > MOST) {
            return Err(Error::argument(
                OP,
                format!("size {size:?}: expected from 1 to {MOST} rows and columns"),
            ));
        }
        if align_corners && resampling == Resampling::Nearest {
            let message = "align_corners says nothing to Resampling::Nearest; leave it false";
            return Err(Error::argument(OP, message));
        }
        let shape = Shape::new(&[n, size[0], size[1], c]).map_err(|e| e.named(OP))?;
        if self.numel() == 0 {
            return nothing(shape, &[self]);
        }
        let rows = resampled(self, 1, size[0], resampling, align_corners).map_err(|e| e.named(OP))?;
        resampled(&rows, 2, size[1], resampling, align_corners).map_err(|e| e.named(OP))
    }

    /// An image `[n, h, w, c]` read wherever a grid `[n, h', w', 2]` says: `[n, h', w', c]`. The grid holds columns and rows (x, then y)
    /// from -1 at the image's left and upper border to 1 at the right and lower, as PyTorch's `grid_sample`. Gradients go to image and
    /// grid, to any order; where a coordinate is at or beyond the border of a [`GridPadding::Border`] it has none, and between pixels
    /// of [`GridOptions::nearest`] neither. A coordinate that is NaN gives NaN.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::{GridOptions, GridPadding};
    /// # fn main() -> Result<()> {
    /// let row = Tensor::new([[[[1.0f32], [3.0]]]], Device::Cpu)?; // [1, 1, 2, 1]
    /// let grid = Tensor::new([[[[0.0f32, 0.0], [-0.5, 0.0], [-1.0, 0.0], [2.0, 0.0]]]], Device::Cpu)?; // [1, 1, 4, 2]
    /// let options = GridOptions::new();
    /// assert_eq!(row.grid_sample(&grid, options)?.to_vec::<f32>()?, [2.0, 1.0, 0.5, 0.0]);
    /// let border = options.padding(GridPadding::Border);
    /// assert_eq!(row.grid_sample(&grid, border)?.to_vec::<f32>()?, [2.0, 1.0, 1.0, 3.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The image is not of rank 4 or has no rows or columns, the grid is not `[n, h', w', 2]`, or they are no floats, or of different
    /// types or devices.
    pub fn grid_sample(&self, grid: &Tensor, options: GridOptions) -> Result<Tensor> {
        const OP: &str = "grid_sample";
        same_device(OP, &[self, grid])?;
        same_dtype(OP, self, grid)?;
        require_float(OP, "the image", self)?;
        let (&[n, h, w, c], &[batch, rows, columns, 2]) = (self.dims(), grid.dims()) else {
            let message = format!(
                "image {} and grid {}: expected [n, h, w, c] and [n, h', w', 2]",
                self.shape(),
                grid.shape()
            );
            return Err(Error::shape(OP, message));
        };
        if batch != n || h == 0 || w == 0 {
            let message = format!(
                "image {} and grid {}: expected as many grids as images, of at least one pixel",
                self.shape(),
                grid.shape()
            );
            return Err(Error::shape(OP, message));
        }
        let shape = Shape::new(&[n, rows, columns, c]).map_err(|e| e.named(OP))?;
        if shape.numel() == 0 {
            return nothing(shape, &[self, grid]);
        }
        let coordinate = |i: usize| grid.slice(-1, i, 1)?.squeeze(-1);
        let (across, down) = (options.taps(&coordinate(0)?, w)?, options.taps(&coordinate(1)?, h)?);
        let pixels = self.reshape([n * h * w, c])?;
        let first = Tensor::arange(0, n as i64, self.device())?.cast(DType::U32)?.reshape([n, 1, 1])?;
        let first = (first * h as f64)?;
        let tap = |(row, column): (&Tap, &Tap)| {
            let at = (((&first + &row.at)? * w as f64)? + &column.at)?;
            let read = select_within(&pixels, 0, &at.reshape([n * rows * columns])?)?.reshape(shape)?;
            let weighted = (read * (&row.weight * &column.weight)?.unsqueeze(-1)?)?;
            // Not by a weight of 0, which an infinite pixel at the border would turn into NaN.
            row.beyond.logical_or(&column.beyond)?.unsqueeze(-1)?.select(0.0, weighted)
        };
        sum_of(down.iter().flat_map(|row| across.iter().map(move |column| (row, column))).map(tap))
    }
}
