//! Curves of a training.

use super::color::{BLUE, Color, FAINT, GREY, INK, ORANGE, WHITE, mix};
use super::picture::{Anchor, MARGIN, Picture, TEXT_SIZE};
use super::text;
use crate::error::{Error, Result};
use crate::train::{Epoch, History};
use std::path::Path;

pub(super) const PANEL: [f64; 2] = [480.0, 354.0];
/// Of a panel, above its axes and below the name of the lower one.
const ABOVE: f64 = 32.0;
const BELOW: f64 = 14.0;
/// Between the lower axis and the lower edge of its name.
const EPOCHS: f64 = 44.0;
/// The marks along the axes, and how far from an axis its words begin.
const TICK: f64 = 5.0;
const LABELS: f64 = 10.0;
/// Panels beside each other.
const COLUMNS: usize = 3;
/// Of the words along the axes.
const LABEL_SIZE: f64 = 12.0;
/// From here on, dots would hide the line.
const MOST_DOTS: usize = 60;
/// Up to here all that is within epochs is shown.
const FEW_EPOCHS: usize = 3;
/// Beyond this a range can't be computed with.
const LARGEST: f64 = 1e300;

/// A value per epoch of one quantity.
pub(super) struct Curve {
    pub color: Color,
    pub values: Vec<Option<f64>>,
}

pub(super) struct Panel {
    pub name: String,
    pub curves: Vec<Curve>,
    /// Points of a fainter line behind the curves.
    pub behind: Vec<[f64; 2]>,
    /// What its curves go along, below the lower axis.
    pub along: &'static str,
    pub width: f64,
}

impl Panel {
    fn finite(&self) -> impl Iterator<Item = f64> {
        let values = self.curves.iter().flat_map(|c| c.values.iter().flatten().copied());
        values.filter(|v| v.abs() < LARGEST)
    }

    /// How many values there are that can't be drawn.
    fn lost(&self) -> usize {
        self.curves.iter().flat_map(|c| c.values.iter().flatten()).count() - self.finite().count()
    }
}

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
    let (Some(first), Some(last)) = (epochs.first(), epochs.last()) else {
        return Err(Error::argument(NAME, "there are no epochs to draw; fit first"));
    };
    let panels = panels(history);
    let validation = epochs.iter().any(|e| e.validation.is_some());
    let columns = panels.len().min(if panels.len() == 4 { 2 } else { COLUMNS });
    let rows = panels.len().div_ceil(columns);
    let top = if validation { MARGIN + 22.0 } else { MARGIN - 6.0 };
    let mut picture =
        Picture::new(PANEL[0] * columns as f64 + MARGIN, top + PANEL[1] * rows as f64 + MARGIN / 2.0);
    if validation {
        legend(&mut picture, &[(BLUE, "training"), (ORANGE, "validation")]);
    }
    let numbers: Vec<f64> = epochs.iter().map(|e| e.number as f64).collect();
    // What is within the first epoch begins before its end.
    let within = panels.iter().any(|panel| !panel.behind.is_empty());
    let ends = (first.number as f64 - if within { 1.0 } else { 0.0 }, last.number as f64);
    for (k, panel) in panels.iter().enumerate() {
        let corner = [MARGIN / 2.0 + PANEL[0] * (k % columns) as f64, top + PANEL[1] * (k / columns) as f64];
        draw(&mut picture, corner, panel, &numbers, ends);
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
    let curve = |color, value: &dyn Fn(&Epoch) -> Option<f64>| Curve {
        color,
        values: epochs.iter().map(value).collect(),
    };
    let mut panels: Vec<Panel> = names
        .into_iter()
        .map(|name| Panel {
            name: name.to_string(),
            curves: vec![
                curve(BLUE, &|e| e.train.value(name)),
                curve(ORANGE, &|e| e.validation.as_ref().and_then(|v| v.value(name))),
            ],
            behind: match name {
                "loss" => history.steps.iter().map(|p| [p.epoch, p.loss]).collect(),
                _ => Vec::new(),
            },
            along: "epoch",
            width: PANEL[0],
        })
        .collect();
    if epochs.windows(2).any(|e| e[0].learning_rate != e[1].learning_rate) {
        let rate = curve(INK, &|e| Some(e.learning_rate));
        let name = "learning rate".into();
        panels.push(Panel { name, curves: vec![rate], behind: Vec::new(), along: "epoch", width: PANEL[0] });
    }
    panels
}

pub(super) fn legend(picture: &mut Picture, curves: &[(Color, &str)]) {
    let (mut x, y) = (MARGIN / 2.0 + 44.0, MARGIN + 4.0);
    for &(color, label) in curves {
        picture.path(vec![[x, y], [x + 24.0, y]], 2.5, color);
        picture.text(label, [x + 32.0, y], TEXT_SIZE, INK, Anchor::Start);
        x += 32.0 + text::width(label, TEXT_SIZE) + 26.0;
    }
}

pub(super) fn draw(
    picture: &mut Picture,
    corner: [f64; 2],
    panel: &Panel,
    numbers: &[f64],
    ends: (f64, f64),
) {
    let all = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
    };
    // Of a long run its first steps would take all the room: what is beyond the epochs' values is left out.
    let few = panel.curves.iter().all(|curve| curve.values.len() <= FEW_EPOCHS);
    let behind = panel.behind.iter().map(|p| p[1]).filter(|v| v.abs() < LARGEST);
    let (low, high) = if few { all(&mut panel.finite().chain(behind)) } else { all(&mut panel.finite()) };
    let nothing = low > high;
    let (low, high) = if nothing { (0.0, 1.0) } else { range(low, high) };
    let (values, labels) = ticks(low, high, 6);
    let widest = labels.iter().map(|l| text::width(l, LABEL_SIZE)).fold(0.0, f64::max);
    let left = (widest + 16.0).max(44.0);

    let title = [corner[0] + left, corner[1] + 14.0];
    picture.text(text::shortened(&panel.name, 34), title, 15.0, INK, Anchor::Start);
    let lost = panel.lost();
    if lost > 0 {
        let values =
            if lost == 1 { "1 value is not finite".into() } else { format!("{lost} values are not finite") };
        let at = [corner[0] + panel.width - MARGIN, corner[1] + 14.0];
        picture.text(values, at, LABEL_SIZE, ORANGE, Anchor::End);
    }
    if nothing {
        let at = [corner[0] + (left + panel.width - MARGIN) / 2.0, corner[1] + PANEL[1] / 2.0];
        picture.text("nothing to draw", at, TEXT_SIZE, GREY, Anchor::Middle);
    }

    let bottom = corner[1] + PANEL[1] - BELOW - EPOCHS - 1.0;
    let y = Axis { low, high, from: bottom, to: corner[1] + ABOVE, ticks: values, labels };
    // A single epoch stands in the middle of its axis; else the first and the last get some room.
    let room = if ends.1 > ends.0 { (ends.1 - ends.0) * 0.03 } else { 0.5 };
    let ticks = epoch_ticks(ends.0, ends.1);
    let x = Axis {
        low: ends.0 - room,
        high: ends.1 + room,
        from: corner[0] + left.floor(),
        to: corner[0] + panel.width - MARGIN - 1.0,
        labels: ticks.iter().map(|epoch| format!("{epoch:.0}")).collect(),
        ticks,
    };
    axes(picture, panel.along, &x, &y);
    let inside = |p: &[f64; 2]| (y.low..=y.high).contains(&p[1]).then(|| [x.at(p[0]), y.at(p[1])]);
    let points: Vec<Option<[f64; 2]>> = panel.behind.iter().map(inside).collect();
    for run in points.split(Option::is_none).filter(|run| run.len() > 1) {
        picture.path(run.iter().flatten().copied().collect(), 1.5, mix(WHITE, BLUE, 0.45));
    }
    for curve in &panel.curves {
        draw_curve(picture, curve, numbers, &x, &y);
    }
}

/// An axis with its ticks, and where it is in the picture.
struct Axis {
    low: f64,
    high: f64,
    /// Where `low` is.
    from: f64,
    /// Where `high` is.
    to: f64,
    ticks: Vec<f64>,
    labels: Vec<String>,
}

impl Axis {
    /// Where a value is.
    fn at(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value - self.low) / (self.high - self.low)
    }

    /// The same on a whole pixel: lines along the axes are sharp. (Curves would get steps.)
    fn place(&self, value: f64) -> f64 {
        self.from + (self.at(value) - self.from).round()
    }

    /// The ticks within the axis, with what they are called.
    fn marks(&self) -> impl Iterator<Item = (f64, &str)> {
        let (first, last) = (self.from.min(self.to), self.from.max(self.to));
        let marks =
            self.ticks.iter().zip(&self.labels).map(|(&tick, label)| (self.place(tick), label.as_str()));
        marks.filter(move |(at, _)| (first..=last).contains(at))
    }
}

/// Horizontal lines, the axes left of and below them, and their words.
fn axes(picture: &mut Picture, along: &str, x: &Axis, y: &Axis) {
    let line = mix(WHITE, GREY, 0.7);
    let (left, below) = (x.from - 1.0, y.from + 1.0);
    let name = [x.from + ((x.to + 1.0 - x.from) / 2.0).floor(), below + EPOCHS - LABEL_SIZE / 2.0];
    picture.text(along, name, LABEL_SIZE, GREY, Anchor::Middle);
    for &tick in &y.ticks {
        let at = y.place(tick);
        picture.path(vec![[x.from, at], [x.to, at]], 1.0, FAINT);
    }
    picture.path(vec![[left, y.to], [left, y.from]], 1.0, line);
    for (at, label) in y.marks() {
        picture.text(label, [x.from - LABELS, at], LABEL_SIZE, GREY, Anchor::End);
        picture.path(vec![[left - TICK, at], [left, at]], 1.0, line);
    }
    picture.path(vec![[x.from, below], [x.to, below]], 1.0, line);
    for (at, label) in x.marks() {
        picture.text(label, [at, below + LABELS + LABEL_SIZE / 2.0], LABEL_SIZE, GREY, Anchor::Middle);
        picture.path(vec![[at, below], [at, below + TICK]], 1.0, line);
    }
}

/// A line through the values that follow each other, and dots where they are few.
fn draw_curve(picture: &mut Picture, curve: &Curve, numbers: &[f64], x: &Axis, y: &Axis) {
    let points: Vec<Option<[f64; 2]>> = numbers
        .iter()
        .zip(&curve.values)
        .map(|(&epoch, value)| value.filter(|v| v.abs() < LARGEST).map(|v| [x.at(epoch), y.at(v)]))
        .collect();
    for run in points.split(Option::is_none).filter(|run| run.len() > 1) {
        picture.path(run.iter().flatten().copied().collect(), 2.0, curve.color);
    }
    // A point without neighbours would not be seen as a line.
    let alone = |k: usize| {
        let missing = |k: Option<usize>| k.and_then(|k| points.get(k).copied().flatten()).is_none();
        missing(k.checked_sub(1)) && missing(k.checked_add(1))
    };
    for (k, point) in points.iter().enumerate() {
        if let Some(at) = point.filter(|_| points.len() <= MOST_DOTS || alone(k)) {
            picture.dot(at, 3.0, curve.color);
        }
    }
}

/// What the axis shows: a little more than the values take, and not below 0 where none are.
fn range(low: f64, high: f64) -> (f64, f64) {
    let margin = if high > low {
        (high - low) * 0.06
    } else if high == 0.0 {
        1.0
    } else {
        high.abs() * 0.1
    };
    let bottom = low - margin;
    (if low >= 0.0 { bottom.max(0.0) } else { bottom }, high + margin)
}

/// Whole epochs, ten at most.
fn epoch_ticks(first: f64, last: f64) -> Vec<f64> {
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .cycle()
        .zip((0..).flat_map(|k| [k; 3]))
        .map(|(digit, power): (f64, i32)| digit * 10f64.powi(power))
        .find(|step| (last - first) / step < 10.0)
        .unwrap_or(last - first);
    let start = (first / step).ceil();
    (0..10).map(|k| (start + f64::from(k)) * step).filter(|&t| t <= last).collect()
}

/// Round numbers between two others, and how they are written.
fn ticks(low: f64, high: f64, most: usize) -> (Vec<f64>, Vec<String>) {
    let rough = (high - low) / most as f64;
    let power = rough.log10().floor();
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|digit| digit * 10f64.powf(power))
        .into_iter()
        .find(|&step| step >= rough)
        .unwrap_or(rough);
    // A bound that is a tick but for rounding is one.
    let (start, end) = ((low / step - 1e-6).ceil(), (high / step + 1e-6).floor());
    let count = (end - start).clamp(0.0, 2.0 * most as f64) as usize;
    let ticks: Vec<f64> = (0..=count).map(|k| (start + k as f64) * step).collect();
    let largest = low.abs().max(high.abs());
    // As many decimals as tell the ticks apart.
    let decimals = (0..=5).find(|&d| {
        let shifted = step * 10f64.powi(d);
        (shifted - shifted.round()).abs() < 1e-6 * shifted
    });
    let labels = ticks
        .iter()
        .map(|&tick| match decimals {
            // 0.0 rather than -0.0
            Some(d) if largest < 1e6 => format!("{:.*}", d as usize, tick + 0.0),
            _ if tick.abs() < step / 2.0 => "0".to_string(),
            _ => {
                // A step of 2.5 takes one digit more than its power of ten.
                let half = f64::from((step / 10f64.powf(power)).fract() > 0.1);
                let digits = (largest.log10().floor() - power + half).clamp(0.0, 5.0) as usize;
                format!("{tick:.digits$e}")
            }
        })
        .collect();
    (ticks, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let labels = |low, high| ticks(low, high, 6).1;
        assert_eq!(labels(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(0.97, 0.993), ["0.970", "0.975", "0.980", "0.985", "0.990"]);
        assert_eq!(labels(-3.0, 11.0), ["-2.5", "0.0", "2.5", "5.0", "7.5", "10.0"]);
        assert_eq!(labels(0.0, 1.3e-7), ["0", "2.50e-8", "5.00e-8", "7.50e-8", "1.00e-7", "1.25e-7"]);
        assert_eq!(labels(0.0, 4e30).len(), 5);
        for (low, high) in [(1.0, 1.0 + 1e-15), (-1e299, 1e299), (1e-300, 3e-300)] {
            let (ticks, labels) = ticks(low, high, 6);
            assert!(ticks.len() == labels.len() && ticks.len() <= 13, "{low} {high} {ticks:?}");
        }
    }

    #[test]
    fn epochs_are_whole() {
        assert_eq!(epoch_ticks(1.0, 1.0), [1.0]);
        assert_eq!(epoch_ticks(1.0, 5.0), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(epoch_ticks(3.0, 23.0), [5.0, 10.0, 15.0, 20.0]);
        assert_eq!(epoch_ticks(1.0, 12.0), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(epoch_ticks(1.0, 1000.0).len(), 10);
    }
}
