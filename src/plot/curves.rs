//! Curves over values along an axis.

use super::Numbers;
use super::axes::LARGEST;
use super::color::SERIES;
use super::panel::{Curve, LEGEND_LINE, Name, PANEL, Panel, draw, legend};
use super::picture::{MARGIN, Picture};
use crate::error::{Error, Result};

const NAME: &str = "plot::Curves";
/// The smallest width and height (less has no room for the axes), and the largest.
const SMALLEST: f64 = 160.0;
const LARGEST_SIZE: f64 = 10_000.0;

/// Curves over values along an axis: `y` over `x`, for up to eight of them, with the names of both axes.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot::Curves;
/// # fn main() -> Result<()> {
/// let x = Tensor::linspace(-3.0, 3.0, 200, Device::Cpu)?;
/// let picture = Curves::new("x", "u")
///     .add("tanh", &x, &x.tanh()?)?
///     .add_dashed("sine", &x, &x.sin()?)?
///     .add("samples", &[-2.0, 0.0, 2.0], &[-0.9, 0.1, 0.8])?
///     .draw()?
///     .titled("Two curves and three points");
/// assert!(picture.to_svg().contains("samples"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Curves {
    along: String,
    up: String,
    list: Vec<Series>,
    size: [f64; 2],
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    dashed: bool,
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Curves {
    /// None yet, over an axis of this name; the other one's name stands above.
    pub fn new(along: impl Into<String>, up: impl Into<String>) -> Curves {
        Curves { along: along.into(), up: up.into(), list: Vec::new(), size: [1.5 * PANEL[0], PANEL[1]] }
    }

    /// As well a curve with this name, or without where that is empty: through the points `(x[0], y[0])`, `(x[1], y[1])` and so on, in
    /// their order. Where a number is not finite, there is a gap. Up to 60 points are dots as well.
    ///
    /// # Errors
    ///
    /// There are not as many numbers along x as along y, they can't be read, or it would be the ninth curve.
    pub fn add(self, name: &str, x: &(impl Numbers + ?Sized), y: &(impl Numbers + ?Sized)) -> Result<Curves> {
        self.with(name, x.numbers()?, y.numbers()?, false)
    }

    /// As [`add`](Self::add), a dashed line without dots.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_dashed(
        self,
        name: &str,
        x: &(impl Numbers + ?Sized),
        y: &(impl Numbers + ?Sized),
    ) -> Result<Curves> {
        self.with(name, x.numbers()?, y.numbers()?, true)
    }

    fn with(mut self, name: &str, x: Vec<f64>, y: Vec<f64>, dashed: bool) -> Result<Curves> {
        if x.len() != y.len() {
            let message = format!("{name:?} has {} numbers along x and {} along y", x.len(), y.len());
            return Err(Error::argument(NAME, message));
        }
        if self.list.len() == SERIES.len() {
            let message = format!("{name:?} is one curve more than {}; draw another picture", SERIES.len());
            return Err(Error::argument(NAME, message));
        }
        self.list.push(Series { name: name.into(), dashed, x, y });
        Ok(self)
    }

    /// The size of the picture without names and title, 720 by 354 where nothing is said; each from 160 to 10,000.
    pub fn size(self, width: usize, height: usize) -> Curves {
        Curves { size: [width, height].map(|v| (v as f64).clamp(SMALLEST, LARGEST_SIZE)), ..self }
    }

    /// The picture.
    ///
    /// # Errors
    ///
    /// No curve has a finite point.
    pub fn draw(&self) -> Result<Picture> {
        let drawn = |(&x, &y): (&f64, &f64)| {
            let x = Some(x).filter(|x| x.abs() < LARGEST)?;
            Some((x, Some(y).filter(|y| y.abs() < LARGEST)))
        };
        let points: Vec<Vec<(f64, Option<f64>)>> = self
            .list
            .iter()
            // A point without a place is a gap in the line, wherever that is.
            .map(|s| s.x.iter().zip(&s.y).map(|p| drawn(p).unwrap_or((0.0, None))).collect())
            .collect();
        let places = || points.iter().flatten().filter(|p| p.1.is_some()).map(|p| p.0);
        let (first, last) =
            places().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
        if first > last {
            let message = format!("there are {} curves without a point that can be drawn", self.list.len());
            return Err(Error::argument(NAME, message));
        }
        let whole = places().all(|x| x.fract() == 0.0) && last - first < 1e6;
        let curves = points.into_iter().zip(&self.list).zip(SERIES);
        let curves = curves.map(|((points, s), color)| Curve { color, dashed: s.dashed, points });
        let named = SERIES.into_iter().zip(&self.list).filter(|(_, s)| !s.name.is_empty());
        let names: Vec<Name<'_>> = named.map(|(color, s)| (color, s.name.as_str(), s.dashed)).collect();
        let panel = Panel {
            name: self.up.clone(),
            curves: curves.collect(),
            behind: Vec::new(),
            along: self.along.clone(),
            ends: (first, last),
            whole,
            size: self.size,
        };
        let mut picture = Picture::new(self.size[0] + MARGIN, 0.0);
        let above = if names.is_empty() { 0.0 } else { legend(&mut picture, &names) };
        let top = MARGIN - LEGEND_LINE / 2.0 + above;
        picture.height = (top + self.size[1] + MARGIN / 2.0).ceil();
        draw(&mut picture, [MARGIN / 2.0, top], &panel);
        Ok(picture)
    }
}
