//! Curves of a training, as SVG.

use super::history::History;
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

const PANEL: (u32, u32) = (520, 380);
const TRAIN: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const VALIDATION: RGBColor = RGBColor(0xe0, 0x6c, 0x00);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);

/// One quantity over the epochs.
struct Curve {
    label: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

pub(super) fn plot(history: &History, path: &Path) -> Result<()> {
    let (columns, rows) = history.table();
    if rows.is_empty() {
        return Err(Error::argument("History::plot", "there are no epochs to draw; fit first"));
    }
    let curve = |column: &str, label, color| {
        let at = columns.iter().position(|c| c == column);
        let value = |row: &Vec<Option<f64>>| Some((row[0]?, row[at?]?)).filter(|p| p.1.is_finite());
        let points: Vec<(f64, f64)> = rows.iter().filter_map(value).collect();
        (!points.is_empty()).then_some(Curve { label, color, points })
    };
    let mut panels: Vec<(&str, Vec<Curve>)> = Vec::new();
    let quantities = columns.iter().filter(|c| !c.starts_with("val_"));
    for name in quantities.filter(|c| !matches!(c.as_str(), "epoch" | "learning_rate" | "seconds")) {
        let validation = curve(&format!("val_{name}"), "validation", VALIDATION);
        let curves: Vec<Curve> = curve(name, "training", TRAIN).into_iter().chain(validation).collect();
        panels.push((name.as_str(), curves));
    }
    let size = (PANEL.0 * panels.len() as u32, PANEL.1);
    let draw = || {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            root.fill(&WHITE).map_err(|e| e.to_string())?;
            for (area, (name, curves)) in root.split_evenly((1, panels.len())).iter().zip(&panels) {
                panel(area, name, curves, rows.len()).map_err(|e| e.to_string())?;
            }
            root.present().map_err(|e| e.to_string())?;
        }
        Ok(svg)
    };
    let svg = draw().map_err(|e: String| Error::argument("History::plot", e))?;
    std::fs::write(path, svg).map_err(|e| Error::io(path, e))
}

type DrawResult = std::result::Result<(), Box<dyn std::error::Error>>;

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    name: &str,
    curves: &[Curve],
    epochs: usize,
) -> DrawResult
where
{
    let values = || curves.iter().flat_map(|c| c.points.iter().map(|p| p.1));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return Ok(());
    }
    // A margin above and below; a flat curve gets one by its own size.
    let margin = if high > low { (high - low) * 0.08 } else { high.abs().max(1e-3) * 0.1 };
    // A single epoch stands in the middle of its axis.
    let x = if epochs == 1 { 0.5..1.5 } else { 1.0..epochs as f64 };
    let axis_font = ("sans-serif", 13).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .caption(name, ("sans-serif", 18).into_font().color(&INK))
        .margin(14)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d(x, low - margin..high + margin)?;
    let whole = |v: &f64| if v.fract().abs() < 1e-9 { format!("{v:.0}") } else { String::new() };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.12))
        .axis_style(INK.mix(0.6))
        .label_style(axis_font.clone())
        .x_labels(epochs.min(10))
        .x_label_formatter(&whole)
        .x_desc("epoch")
        .y_labels(6)
        .draw()?;
    for curve in curves {
        let (color, points) = (curve.color, &curve.points);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(curve.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points.iter().map(|&p| Circle::new(p, 3, color.filled())))?;
    }
    // Where the curves are not: a loss falls, a score rises.
    let falls = curves.first().is_some_and(|c| c.points.first().map(|p| p.1) >= c.points.last().map(|p| p.1));
    chart
        .configure_series_labels()
        .position(if falls { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::LowerRight })
        .background_style(WHITE.mix(0.85))
        .border_style(INK.mix(0.2))
        .label_font(axis_font)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::history::{History, testing::history};

    #[test]
    fn curves_are_drawn_for_any_number_of_epochs() {
        let folder = tempfile::tempdir().unwrap();
        for (epochs, validation) in [(1, false), (2, true), (5, true), (40, false)] {
            let path = folder.path().join("history.svg");
            history(epochs, validation).plot(&path).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("accuracy") && svg.contains("epoch"), "{svg}");
            assert_eq!(svg.contains("validation"), validation);
            // One dot per epoch, quantity and set.
            assert_eq!(svg.matches("<circle").count(), epochs * 2 * (1 + usize::from(validation)));
            if let Some(folder) = std::env::var_os("WGRAD_TEST_PLOTS") {
                std::fs::write(std::path::Path::new(&folder).join(format!("history{epochs}.svg")), svg)
                    .unwrap();
            }
        }
        assert!(History::default().plot(folder.path().join("x.svg")).is_err());
        let mut diverged = history(3, true);
        diverged.epochs[2].train.loss = f64::NAN;
        diverged.plot(folder.path().join("x.svg")).unwrap();
    }
}
