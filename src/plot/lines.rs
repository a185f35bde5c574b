//! Curves of series of numbers.

use super::color::{BLUE, Color, GREY, INK, ORANGE};
use super::history::{Curve, PANEL, Panel, draw, legend};
use super::picture::{MARGIN, Picture};
use crate::error::{Error, Result};

const COLORS: [Color; 4] = [INK, BLUE, ORANGE, GREY];

/// Up to four series of numbers over their places, from 0 on, with their names: a forecast beside what came. A number that is not
/// finite leaves a gap, so that a series may begin late.
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
/// There are no series or more than four, or all are empty.
pub fn lines(series: &[(&str, &[f32])]) -> Result<Picture> {
    const NAME: &str = "plot::lines";
    let longest = series.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    if series.len() > COLORS.len() || longest == 0 {
        let message = format!(
            "expects one to {} series with at least one number, got {} of at most {longest}; draw others in a picture of their own",
            COLORS.len(),
            series.len()
        );
        return Err(Error::argument(NAME, message));
    }
    let value = |&v: &f32| v.is_finite().then_some(f64::from(v));
    let curves = series.iter().zip(COLORS).map(|((_, values), color)| {
        let gap = std::iter::repeat_n(None, longest - values.len());
        Curve { color, values: values.iter().map(value).chain(gap).collect() }
    });
    let panel = Panel {
        name: String::new(),
        curves: curves.collect(),
        behind: Vec::new(),
        along: "step",
        width: 2.0 * PANEL[0],
    };
    let top = MARGIN - 2.0;
    let mut picture = Picture::new(panel.width + MARGIN, top + PANEL[1] + MARGIN / 2.0);
    let names: Vec<(Color, &str)> = COLORS.into_iter().zip(series.iter().map(|(name, _)| *name)).collect();
    legend(&mut picture, &names);
    let places: Vec<f64> = (0..longest).map(|place| place as f64).collect();
    draw(&mut picture, [MARGIN / 2.0, top], &panel, &places, (0.0, (longest - 1) as f64));
    Ok(picture)
}
