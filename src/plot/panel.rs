//! A panel: curves over a common axis, and what they are called.

use super::axes::{Axis, BELOW_AXIS, LABEL_SIZE, LARGEST, axes, range, ticks, whole_ticks};
use super::color::{BLUE, Color, GREY, INK, ORANGE, WHITE, mix};
use super::picture::{Anchor, MARGIN, Picture, TEXT_SIZE};
use super::text;

pub(super) const PANEL: [f64; 2] = [480.0, 354.0];
/// Of a panel, above its axes and below the name of the lower one.
const ABOVE: f64 = 32.0;
const BELOW: f64 = 14.0;
/// From here on, dots would hide the line.
const MOST_DOTS: usize = 60;
/// Up to so many epochs all that is within them is shown.
const FEW_EPOCHS: usize = 3;
/// A line of names.
pub(super) const LEGEND_LINE: f64 = 22.0;
/// Of dashed lines: how long a dash is, and how far from the next.
const DASH: [f64; 2] = [7.0, 6.0];
/// Of a line that is longer, all to and fro, dashes are as many as of this length.
const LONGEST_DASHED: f64 = 100_000.0;

/// Points from left to right; a value is missing where there is a gap.
pub(super) struct Curve {
    pub color: Color,
    pub dashed: bool,
    pub points: Vec<(f64, Option<f64>)>,
}

impl Curve {
    /// Values at places of a drawn-through line.
    pub fn new(color: Color, places: &[f64], values: impl IntoIterator<Item = Option<f64>>) -> Curve {
        Curve { color, dashed: false, points: places.iter().copied().zip(values).collect() }
    }
}

pub(super) struct Panel {
    pub name: String,
    pub curves: Vec<Curve>,
    /// Points of a fainter line behind the curves.
    pub behind: Vec<[f64; 2]>,
    /// What its curves go along, below the lower axis.
    pub along: String,
    /// The first and the last place.
    pub ends: (f64, f64),
    /// Whether only whole numbers stand along the lower axis.
    pub whole: bool,
    pub size: [f64; 2],
}

impl Panel {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.curves.iter().flat_map(|c| c.points.iter().filter_map(|p| p.1))
    }

    fn finite(&self) -> impl Iterator<Item = f64> {
        self.values().filter(|v| v.abs() < LARGEST)
    }

    /// How many values there are that can't be drawn.
    fn lost(&self) -> usize {
        self.values().count() - self.finite().count()
    }
}

/// What a curve is called: beside a piece of it, whether it is dashed.
pub(super) type Name<'a> = (Color, &'a str, bool);

/// Names of curves in lines as wide as the picture; gives the height that they take.
pub(super) fn legend(picture: &mut Picture, names: &[Name<'_>]) -> f64 {
    let (first, right) = (MARGIN / 2.0 + 44.0, picture.width - MARGIN);
    let (mut x, mut y) = (first, MARGIN + 4.0);
    for &(color, label, dashed) in names {
        let width = 32.0 + text::width(label, TEXT_SIZE);
        if x + width > right && x > first {
            (x, y) = (first, y + LEGEND_LINE);
        }
        line(picture, vec![[x, y], [x + 24.0, y]], 2.5, color, dashed);
        picture.text(label, [x + 32.0, y], TEXT_SIZE, INK, Anchor::Start);
        x += width + 26.0;
    }
    y - MARGIN - 4.0 + LEGEND_LINE
}

pub(super) fn draw(picture: &mut Picture, corner: [f64; 2], panel: &Panel) {
    let all = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
    };
    let [width, height] = panel.size;
    let ends = panel.ends;
    // Of a long run its first steps would take all the room: what is beyond the epochs' values is left out.
    let few = panel.curves.iter().all(|curve| curve.points.len() <= FEW_EPOCHS);
    let behind = panel.behind.iter().map(|p| p[1]).filter(|v| v.abs() < LARGEST);
    let (low, high) = if few { all(&mut panel.finite().chain(behind)) } else { all(&mut panel.finite()) };
    let nothing = low > high;
    let (low, high) = if nothing { (0.0, 1.0) } else { range(low, high) };
    let bottom = corner[1] + height - BELOW - BELOW_AXIS - 1.0;
    let y = Axis::round([low, high], [bottom, corner[1] + ABOVE], 6);
    let left = (y.widest_label() + 16.0).max(44.0);

    let title = [corner[0] + left, corner[1] + 14.0];
    picture.text(text::shortened(&panel.name, 34), title, 15.0, INK, Anchor::Start);
    let lost = panel.lost();
    if lost > 0 {
        let values =
            if lost == 1 { "1 value is not finite".into() } else { format!("{lost} values are not finite") };
        let at = [corner[0] + width - MARGIN, corner[1] + 14.0];
        picture.text(values, at, LABEL_SIZE, ORANGE, Anchor::End);
    }
    if nothing {
        let at = [corner[0] + (left + width - MARGIN) / 2.0, corner[1] + height / 2.0];
        picture.text("nothing to draw", at, TEXT_SIZE, GREY, Anchor::Middle);
    }

    // A single place stands in the middle of its axis; else the first and the last get some room.
    let room = if ends.1 > ends.0 { (ends.1 - ends.0) * 0.03 } else { 0.5 };
    let (low, high) = (ends.0 - room, ends.1 + room);
    let (ticks, labels) = match panel.whole {
        true => {
            let ticks = whole_ticks(ends.0, ends.1);
            let labels = ticks.iter().map(|tick| format!("{tick:.0}")).collect();
            (ticks, labels)
        }
        false => ticks(low, high, ((width - left) / 60.0).clamp(2.0, 10.0) as usize),
    };
    let (from, to) = (corner[0] + left.floor(), corner[0] + width - MARGIN - 1.0);
    let x = Axis { low, high, from, to, ticks, labels };
    axes(picture, &panel.along, &x, &y);
    let inside = |p: &[f64; 2]| (y.low..=y.high).contains(&p[1]).then(|| [x.at(p[0]), y.at(p[1])]);
    let points: Vec<Option<[f64; 2]>> = panel.behind.iter().map(inside).collect();
    for run in points.split(Option::is_none).filter(|run| run.len() > 1) {
        picture.path(run.iter().flatten().copied().collect(), 1.5, mix(WHITE, BLUE, 0.45));
    }
    for curve in &panel.curves {
        draw_curve(picture, curve, &x, &y);
    }
}

/// A line through the values that follow each other, and dots where they are few.
fn draw_curve(picture: &mut Picture, curve: &Curve, x: &Axis, y: &Axis) {
    let points: Vec<Option<[f64; 2]>> = curve
        .points
        .iter()
        .map(|&(place, value)| value.filter(|v| v.abs() < LARGEST).map(|v| [x.at(place), y.at(v)]))
        .collect();
    for run in points.split(Option::is_none).filter(|run| run.len() > 1) {
        line(picture, run.iter().flatten().copied().collect(), 2.0, curve.color, curve.dashed);
    }
    // A point without neighbours would not be seen as a line.
    let alone = |k: usize| {
        let missing = |k: Option<usize>| k.and_then(|k| points.get(k).copied().flatten()).is_none();
        missing(k.checked_sub(1)) && missing(k.checked_add(1))
    };
    for (k, point) in points.iter().enumerate() {
        if let Some(at) = point.filter(|_| (points.len() <= MOST_DOTS && !curve.dashed) || alone(k)) {
            picture.dot(at, 3.0, curve.color);
        }
    }
}

fn line(picture: &mut Picture, points: Vec<[f64; 2]>, width: f64, color: Color, dashed: bool) {
    if !dashed {
        return picture.path(points, width, color);
    }
    for dash in dashes(&points) {
        picture.path(dash, width, color);
    }
}

/// The pieces of a line that are drawn where it is dashed.
fn dashes(points: &[[f64; 2]]) -> Vec<Vec<[f64; 2]>> {
    let length = |ends: &[[f64; 2]]| (ends[1][0] - ends[0][0]).hypot(ends[1][1] - ends[0][1]);
    let scale = (points.windows(2).map(length).sum::<f64>() / LONGEST_DASHED).max(1.0);
    let lengths = DASH.map(|length| length * scale);
    let mut out: Vec<Vec<[f64; 2]>> = vec![points.first().copied().into_iter().collect()];
    // How much is left of the present dash, or of the gap after it.
    let (mut drawn, mut left) = (true, lengths[0]);
    for ends in points.windows(2) {
        let ([ax, ay], [bx, by]) = (ends[0], ends[1]);
        let length = length(ends);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let share = done / length;
            let at = [ax + (bx - ax) * share, ay + (by - ay) * share];
            match drawn {
                true => out.last_mut().into_iter().for_each(|dash| dash.push(at)),
                false => out.push(vec![at]),
            }
            drawn = !drawn;
            left = lengths[usize::from(!drawn)];
        }
        left -= length - done;
        if drawn {
            out.last_mut().into_iter().for_each(|dash| dash.push([bx, by]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_on_around_corners() {
        let pieces = dashes(&[[0.0, 0.0], [10.0, 0.0], [10.0, 20.0]]);
        assert_eq!(
            pieces,
            [vec![[0.0, 0.0], [7.0, 0.0]], vec![[10.0, 3.0], [10.0, 10.0]], vec![[10.0, 16.0], [10.0, 20.0]]]
        );
        assert!(dashes(&[]).concat().is_empty());
        let far: Vec<[f64; 2]> = (0..10_000).map(|k| [k as f64, f64::from(k % 2) * 1e4]).collect();
        assert!((7000..8000).contains(&dashes(&far).len()), "{}", dashes(&far).len());
    }
}
