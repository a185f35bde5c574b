//! Curves of a training.

use super::color::{BLUE, INK, ORANGE};
use super::panel::{Curve, PANEL, Panel, draw, legend};
use super::picture::{MARGIN, Picture};
use crate::error::{Error, Result};
use crate::train::{Epoch, History};
use std::path::Path;

/// Panels beside each other.
const COLUMNS: usize = 3;

/// Loss and metrics over the epochs: a panel for each, with training and validation, and one for the learning rate where it
/// changed. Behind the loss is a fainter line, that of every few steps ([`History::steps`]); of more than three epochs, where it is within
/// what the epochs have. Values that are not finite (or beyond 10^300, which can't be drawn) leave a gap and are counted.
///
/// # Errors
///
/// There are no epochs.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (train, test) = data::synthetic::digits(100, 20, 1).into_datasets()?;
/// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// let loss = SparseCategoricalCrossentropy::from_logits();
/// let mut trainer = Trainer::new(model, Adam::new(1e-2), loss).metric(Accuracy::new()).build()?;
/// let history = trainer.fit(&train, Fit::epochs(3).validation(&test).verbose(false))?;
/// let picture = wgrad::plot::history(&history)?.titled("Digits");
/// assert!(picture.to_svg().contains("accuracy"));
/// # Ok(()) }
/// ```
pub fn history(history: &History) -> Result<Picture> {
    const NAME: &str = "plot::history";
    let epochs = &history.epochs;
    if epochs.is_empty() {
        return Err(Error::argument(NAME, "there are no epochs to draw; fit first"));
    }
    let panels = panels(history);
    let validation = epochs.iter().any(|e| e.validation.is_some());
    let columns = panels.len().min(if panels.len() == 4 { 2 } else { COLUMNS });
    let rows = panels.len().div_ceil(columns);
    let top = if validation { MARGIN + 22.0 } else { MARGIN - 6.0 };
    let mut picture =
        Picture::new(PANEL[0] * columns as f64 + MARGIN, top + PANEL[1] * rows as f64 + MARGIN / 2.0);
    if validation {
        legend(&mut picture, &[(BLUE, "training", false), (ORANGE, "validation", false)]);
    }
    for (k, panel) in panels.iter().enumerate() {
        let corner = [MARGIN / 2.0 + PANEL[0] * (k % columns) as f64, top + PANEL[1] * (k / columns) as f64];
        draw(&mut picture, corner, panel);
    }
    Ok(picture)
}

impl History {
    /// Draws loss and metrics over the epochs into a file, SVG or PNG by what its name ends in: see
    /// [`plot::history`](crate::plot::history) (feature `plot`).
    ///
    /// # Errors
    ///
    /// There are no epochs, the name ends otherwise, or the file can't be written.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<()> {
        history(self)?.save(path)
    }
}

fn panels(history: &History) -> Vec<Panel> {
    let epochs = &history.epochs;
    let mut names: Vec<&str> = vec!["loss"];
    for evaluation in epochs.iter().flat_map(|e| [Some(&e.train), e.validation.as_ref()]).flatten() {
        for (name, _) in &evaluation.metrics {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let numbers: Vec<f64> = epochs.iter().map(|e| e.number as f64).collect();
    let curve =
        |color, value: &dyn Fn(&Epoch) -> Option<f64>| Curve::new(color, &numbers, epochs.iter().map(value));
    // What is within the first epoch begins before its end.
    let within = if history.steps.is_empty() { 0.0 } else { 1.0 };
    let (first, last) = (numbers.first().copied().unwrap_or(0.0), numbers.last().copied().unwrap_or(0.0));
    let panel = |name: &str, curves: Vec<Curve>, behind: Vec<[f64; 2]>| Panel {
        name: name.to_string(),
        curves,
        behind,
        along: "epoch".into(),
        ends: (first - within, last),
        whole: true,
        size: PANEL,
    };
    let mut panels: Vec<Panel> = names
        .into_iter()
        .map(|name| {
            let curves = vec![
                curve(BLUE, &|e| e.train.value(name)),
                curve(ORANGE, &|e| e.validation.as_ref().and_then(|v| v.value(name))),
            ];
            let behind = match name {
                "loss" => history.steps.iter().map(|p| [p.epoch, p.loss]).collect(),
                _ => Vec::new(),
            };
            panel(name, curves, behind)
        })
        .collect();
    if epochs.windows(2).any(|e| e[0].learning_rate != e[1].learning_rate) {
        panels.push(panel("learning rate", vec![curve(INK, &|e| Some(e.learning_rate))], Vec::new()));
    }
    panels
}
