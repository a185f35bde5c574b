//! A field: a number for each place of a plane.

use super::axes::{Axis, BELOW_AXIS, LARGEST};
use super::color::GREY;
use super::color_map::ColorMap;
use super::numbers::elements;
use super::picture::{Anchor, MARGIN, Picture, Pixels, TEXT_SIZE};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

const NAME: &str = "plot::Field";
/// So long the longer side becomes, about; small fields by a whole factor.
const EDGE: f64 = 480.0;
/// The shorter side at least.
const SHORTEST: f64 = 40.0;
/// The scale: how wide, and how far from the field.
const SCALE: [f64; 2] = [14.0, 18.0];
/// Colours of the scale.
const STEPS: usize = 256;

/// A field as a picture: the numbers of a matrix as colours, with axes and a scale beside it (Matplotlib's `imshow` with a
/// `colorbar`).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot::{ColorMap, Field};
/// # fn main() -> Result<()> {
/// let t = Tensor::linspace(0.0, 1.0, 60, Device::Cpu)?;
/// let x = Tensor::linspace(1.0, -1.0, 40, Device::Cpu)?.unsqueeze(1)?;
/// let wave = ((&x * 3.0)? - (&t * 6.0)?)?.sin()?; // [40, 60]: x goes down, t to the right
/// let picture = Field::new(&wave)?
///     .across("t", 0.0, 1.0)
///     .down("x", 1.0, -1.0)
///     .range(-1.0, 1.0)
///     .colors(ColorMap::Diverging)
///     .draw()?
///     .titled("A wave");
/// assert!(picture.to_svg().contains("<image"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Field {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
    colors: Option<ColorMap>,
    range: Option<(f64, f64)>,
    across: Extent,
    down: Extent,
}

/// What an axis is called, and its first and last value.
#[derive(Debug, Clone)]
struct Extent {
    name: String,
    first: f64,
    last: f64,
}

impl Field {
    /// The numbers of a matrix `[rows, columns]`, of any type and device.
    ///
    /// # Errors
    ///
    /// It is no matrix, has no elements, or can't be computed.
    pub fn new(values: &Tensor) -> Result<Field> {
        let &[rows @ 1..=usize::MAX, columns @ 1..=usize::MAX] = values.dims() else {
            let message =
                format!("the field is {}; expected [rows, columns], one of each at least", values.shape());
            return Err(Error::shape(NAME, message));
        };
        let values = elements(values)?;
        let counted = |n: usize| Extent { name: String::new(), first: 0.0, last: (n - 1) as f64 };
        let (across, down) = (counted(columns), counted(rows));
        Ok(Field { rows, columns, values, colors: None, range: None, across, down })
    }

    /// What the axis to the right is called, and where the first and the last column stand. Columns are numbered where nothing is said.
    pub fn across(self, name: impl Into<String>, first: f64, last: f64) -> Field {
        Field { across: Extent { name: name.into(), first, last }, ..self }
    }

    /// What the axis down is called, and where the first row, the upper one, and the last stand: a larger number first where it
    /// grows upwards.
    pub fn down(self, name: impl Into<String>, first: f64, last: f64) -> Field {
        Field { down: Extent { name: name.into(), first, last }, ..self }
    }

    /// Which numbers have the colours at the ends of the scale; numbers beyond have them, too. Where nothing is said, the smallest and
    /// the largest that there are; of [`ColorMap::Diverging`], as far below 0 as above.
    pub fn range(self, low: f64, high: f64) -> Field {
        Field { range: Some((low, high)), ..self }
    }

    /// The colours. Where nothing is said, [`ColorMap::Diverging`] of numbers on both sides of 0, else [`ColorMap::Viridis`].
    pub fn colors(self, colors: ColorMap) -> Field {
        Field { colors: Some(colors), ..self }
    }

    /// The picture. What is not finite (or beyond 10^300) is magenta.
    ///
    /// # Errors
    ///
    /// The range or an axis has no extent, or not a finite one.
    pub fn draw(&self) -> Result<Picture> {
        let (colors, low, high) = self.scale()?;
        for (extent, n) in [(&self.across, self.columns), (&self.down, self.rows)] {
            let finite = [extent.first, extent.last].iter().all(|v| v.abs() < LARGEST);
            if !finite || (n > 1 && extent.first == extent.last) {
                let Extent { name, first, last } = extent;
                let message =
                    format!("the axis {name:?} goes from {first} to {last}; expected two finite numbers");
                return Err(Error::argument(NAME, message));
            }
        }
        let (w, h) = (self.columns as f64, self.rows as f64);
        let factor = EDGE / w.max(h);
        let factor = if factor > 1.0 { factor.round() } else { factor };
        let [w, h] = [w, h].map(|n| (n * factor).round().max(SHORTEST));
        // The first and the last value stand in the middle of their pixels.
        let half = |length: f64, n: usize| length / n as f64 / 2.0;
        let top = MARGIN + 14.0;
        let y_ends = [top + half(h, self.rows), top + h - half(h, self.rows)];
        let most = |length: f64| (length / 60.0).clamp(2.0, 8.0) as usize;
        let y = Axis::round([self.down.first, self.down.last], y_ends, most(h));
        let left = (MARGIN + y.widest_label() + 16.0).ceil();
        let x_ends = [left + half(w, self.columns), left + w - half(w, self.columns)];
        let x = Axis::round([self.across.first, self.across.last], x_ends, most(w));
        let scale = Axis::round([low, high], [top + h, top], most(h));
        let right = left + w + SCALE[1];
        let width = right + SCALE[0] + 16.0 + scale.widest_label() + MARGIN;
        let below = if self.across.name.is_empty() { BELOW_AXIS - 14.0 } else { BELOW_AXIS };
        let mut picture = Picture::new(width, top + h + below + MARGIN / 2.0);

        let share = |v: f64| if v.abs() < LARGEST { (v - low) / (high - low) } else { f64::NAN };
        let rgb = self.values.iter().flat_map(|&v| colors.at(share(v))).collect();
        picture.image([left, top], [w, h], Pixels { width: self.columns, height: self.rows, rgb });
        let steps = (0..STEPS).rev().flat_map(|k| colors.at((k as f64 + 0.5) / STEPS as f64)).collect();
        picture.image([right, top], [SCALE[0], h], Pixels { width: 1, height: STEPS, rgb: steps });
        x.marks_below(&mut picture, &self.across.name, top + h + 1.0);
        y.marks_left(&mut picture, left - 1.0);
        scale.marks_right(&mut picture, right + SCALE[0] + 1.0);
        let name_at = [left, top - 12.0];
        picture.text(self.down.name.as_str(), name_at, TEXT_SIZE, GREY, Anchor::Start);
        Ok(picture)
    }

    /// Colours, and which numbers have the first and the last.
    fn scale(&self) -> Result<(ColorMap, f64, f64)> {
        let finite = self.values.iter().copied().filter(|v| v.abs() < LARGEST);
        let (least, most) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let colors = self.colors.unwrap_or(match least < 0.0 && most > 0.0 {
            true => ColorMap::Diverging,
            false => ColorMap::Viridis,
        });
        let (low, high) = match self.range {
            Some((low, high)) if low < high && low.abs() < LARGEST && high.abs() < LARGEST => (low, high),
            Some((low, high)) => {
                let message =
                    format!("the range is from {low} to {high}; expected a smaller number and a larger one");
                return Err(Error::argument(NAME, message));
            }
            None if least > most => (0.0, 1.0),
            None if colors == ColorMap::Diverging => {
                let far = least.abs().max(most.abs());
                (-far, far)
            }
            None => (least, most),
        };
        // All numbers are one: it stands in the middle.
        let around = if low == high { low.abs().max(1.0) } else { 0.0 };
        Ok((colors, low - around, high + around))
    }
}
