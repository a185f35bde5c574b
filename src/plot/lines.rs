//! Curves of series of numbers.

use super::color::SERIES;
use super::panel::{Curve, Name, PANEL, Panel, draw, legend};
use super::picture::{MARGIN, Picture};
use crate::error::{Error, Result};

/// Up to eight series of numbers over their places, from 0 on, with their names: a forecast beside what came. A number that is not
/// finite leaves a gap, so that a series may begin late. Over other places than these, [`Curves`](super::Curves) draws.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot;
/// # fn main() -> Result<()> {
/// let truth: Vec<f32> = (0..100).map(|t| (t as f32 / 8.0).sin()).collect();
/// let forecast: Vec<f32> = (0..100).map(|t| if t < 60 { f32::NAN } else { (t as f32 / 8.1).sin() }).collect();
/// let picture = plot::lines(&[("truth", &truth), ("forecast", &forecast)])?.titled("A wave");
/// assert!(picture.to_svg().contains("forecast"));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// There are no series or more than eight, or all are empty.
pub fn lines(series: &[(&str, &[f32])]) -> Result<Picture> {
    const NAME: &str = "plot::lines";
    let longest = series.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    if series.len() > SERIES.len() || longest == 0 {
        let message = format!(
            "expects one to {} series with at least one number, got {} of at most {longest}; draw others in a picture of their own",
            SERIES.len(),
            series.len()
        );
        return Err(Error::argument(NAME, message));
    }
    let places: Vec<f64> = (0..longest).map(|place| place as f64).collect();
    let value = |&v: &f32| v.is_finite().then_some(f64::from(v));
    let curves = series.iter().zip(SERIES);
    let panel = Panel {
        name: String::new(),
        curves: curves
            .map(|((_, values), color)| Curve::new(color, &places, values.iter().map(value)))
            .collect(),
        behind: Vec::new(),
        along: "step".into(),
        ends: (0.0, (longest - 1) as f64),
        whole: true,
        size: [2.0 * PANEL[0], PANEL[1]],
    };
    let top = MARGIN - 2.0;
    let mut picture = Picture::new(panel.size[0] + MARGIN, top + PANEL[1] + MARGIN / 2.0);
    let names: Vec<Name<'_>> =
        SERIES.into_iter().zip(series).map(|(color, (name, _))| (color, *name, false)).collect();
    legend(&mut picture, &names);
    draw(&mut picture, [MARGIN / 2.0, top], &panel);
    Ok(picture)
}
