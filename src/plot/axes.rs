//! Axes with their marks, and round numbers along them.

use super::color::{FAINT, GREY, WHITE, mix};
use super::picture::{Anchor, Picture};
use super::text;

/// Of the words along the axes.
pub(super) const LABEL_SIZE: f64 = 12.0;
/// Between the lower axis and the lower edge of its name.
pub(super) const BELOW_AXIS: f64 = 44.0;
/// The marks along the axes, and how far from an axis its words begin.
const TICK: f64 = 5.0;
const LABELS: f64 = 10.0;
/// Beyond this a range can't be computed with.
pub(super) const LARGEST: f64 = 1e300;

/// An axis with its ticks, and where it is in the picture.
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    /// Where `low` is.
    pub from: f64,
    /// Where `high` is.
    pub to: f64,
    pub ticks: Vec<f64>,
    pub labels: Vec<String>,
}

impl Axis {
    /// One with round numbers along it; `low` may be the larger. Of a single number, that in its middle.
    pub fn round([low, high]: [f64; 2], [from, to]: [f64; 2], most: usize) -> Axis {
        let (ticks, labels) = match low == high {
            true => (vec![low], vec![low.to_string()]),
            false => ticks(low.min(high), low.max(high), most),
        };
        Axis { low, high, from, to, ticks, labels }
    }

    /// Where a value is.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.low == self.high { 0.5 } else { (value - self.low) / (self.high - self.low) };
        self.from + (self.to - self.from) * share
    }

    /// The same on a whole pixel: lines along the axes are sharp. (Curves would get steps.)
    pub fn place(&self, value: f64) -> f64 {
        self.from + (self.at(value) - self.from).round()
    }

    /// The ticks within the axis, with what they are called.
    fn marks(&self) -> impl Iterator<Item = (f64, &str)> {
        let (first, last) = (self.from.min(self.to), self.from.max(self.to));
        let marks =
            self.ticks.iter().zip(&self.labels).map(|(&tick, label)| (self.place(tick), label.as_str()));
        marks.filter(move |(at, _)| (first..=last).contains(at))
    }

    /// How much room the widest label takes.
    pub fn widest_label(&self) -> f64 {
        self.labels.iter().map(|l| text::width(l, LABEL_SIZE)).fold(0.0, f64::max)
    }

    /// Its name and its marks, below a line at this height.
    pub fn marks_below(&self, picture: &mut Picture, name: &str, line: f64) {
        let (first, last) = (self.from.min(self.to), self.from.max(self.to));
        let middle = [first + ((last + 1.0 - first) / 2.0).floor(), line + BELOW_AXIS - LABEL_SIZE / 2.0];
        picture.text(name, middle, LABEL_SIZE, GREY, Anchor::Middle);
        for (at, label) in self.marks() {
            picture.text(label, [at, line + LABELS + LABEL_SIZE / 2.0], LABEL_SIZE, GREY, Anchor::Middle);
            picture.path(vec![[at, line], [at, line + TICK]], 1.0, mix(WHITE, GREY, 0.7));
        }
    }

    /// Its marks, to the left of a line at this place.
    pub fn marks_left(&self, picture: &mut Picture, line: f64) {
        for (at, label) in self.marks() {
            picture.text(label, [line - LABELS + 1.0, at], LABEL_SIZE, GREY, Anchor::End);
            picture.path(vec![[line - TICK, at], [line, at]], 1.0, mix(WHITE, GREY, 0.7));
        }
    }

    /// Its marks, to the right of a line at this place.
    pub fn marks_right(&self, picture: &mut Picture, line: f64) {
        for (at, label) in self.marks() {
            picture.text(label, [line + LABELS - 1.0, at], LABEL_SIZE, GREY, Anchor::Start);
            picture.path(vec![[line, at], [line + TICK, at]], 1.0, mix(WHITE, GREY, 0.7));
        }
    }
}

/// Horizontal lines, the axes left of and below them, and their words.
pub(super) fn axes(picture: &mut Picture, along: &str, x: &Axis, y: &Axis) {
    let line = mix(WHITE, GREY, 0.7);
    let (left, below) = (x.from - 1.0, y.from + 1.0);
    for &tick in &y.ticks {
        let at = y.place(tick);
        picture.path(vec![[x.from, at], [x.to, at]], 1.0, FAINT);
    }
    picture.path(vec![[left, y.to], [left, y.from]], 1.0, line);
    y.marks_left(picture, left);
    picture.path(vec![[x.from, below], [x.to, below]], 1.0, line);
    x.marks_below(picture, along, below);
}

/// What the axis shows: a little more than the values take, and not below 0 where none are.
pub(super) fn range(low: f64, high: f64) -> (f64, f64) {
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

/// Whole numbers between two others, ten at most.
pub(super) fn whole_ticks(first: f64, last: f64) -> Vec<f64> {
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
pub(super) fn ticks(low: f64, high: f64, most: usize) -> (Vec<f64>, Vec<String>) {
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
    fn whole_ticks_are() {
        assert_eq!(whole_ticks(1.0, 1.0), [1.0]);
        assert_eq!(whole_ticks(1.0, 5.0), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(whole_ticks(3.0, 23.0), [5.0, 10.0, 15.0, 20.0]);
        assert_eq!(whole_ticks(1.0, 12.0), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(whole_ticks(1.0, 1000.0).len(), 10);
    }
}
