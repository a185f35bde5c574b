//! The loss over learning rates.

use super::color::{BLUE, GREY};
use super::panel::{Curve, PANEL, Panel, draw, legend};
use super::picture::{MARGIN, Picture};
use crate::error::{Error, Result};
use crate::train::RateCurve;
use std::path::Path;

/// The losses that [`find_learning_rate`](crate::train::Trainer::find_learning_rate) has measured, and their mean, over the logarithm of
/// the learning rate.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::RateFinder;
/// # fn main() -> Result<()> {
/// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// let curve = trainer.find_learning_rate(&digits, &RateFinder::new().steps(20))?;
/// let picture = wgrad::plot::learning_rates(&curve)?.titled("Which learning rate?");
/// assert!(picture.to_svg().contains("learning rate"));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// There are no rates.
pub fn learning_rates(curve: &RateCurve) -> Result<Picture> {
    let places: Vec<f64> = curve.rates.iter().map(|rate| rate.log10()).collect();
    let (Some(&first), Some(&last)) = (places.first(), places.last()) else {
        return Err(Error::argument("plot::learning_rates", "there are no learning rates to draw"));
    };
    let of = |color, values: &[f64]| {
        Curve::new(color, &places, values.iter().map(|&v| v.is_finite().then_some(v)))
    };
    let panel = Panel {
        name: "loss".into(),
        curves: vec![of(GREY, &curve.losses), of(BLUE, &curve.means)],
        behind: Vec::new(),
        along: "learning rate, power of 10".into(),
        ends: (first, last),
        whole: true,
        size: [1.5 * PANEL[0], PANEL[1]],
    };
    let top = MARGIN + 22.0;
    let mut picture = Picture::new(panel.size[0] + MARGIN, top + PANEL[1] + MARGIN / 2.0);
    legend(&mut picture, &[(GREY, "of a step", false), (BLUE, "mean", false)]);
    draw(&mut picture, [MARGIN / 2.0, top], &panel);
    Ok(picture)
}

impl RateCurve {
    /// Draws the losses into a file, SVG or PNG by what its name ends in: see [`plot::learning_rates`](crate::plot::learning_rates)
    /// (feature `plot`).
    ///
    /// # Errors
    ///
    /// There are no rates, the name ends otherwise, or the file can't be written.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        learning_rates(self)?.save(path)
    }
}
