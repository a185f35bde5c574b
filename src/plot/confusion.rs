//! The confusion matrix as a picture.

use super::color::{FAINT, GREY, INK, WHITE, readable_on, shade};
use super::picture::{Anchor, MARGIN, Picture, TEXT_SIZE};
use super::text;
use crate::error::{Error, Result};
use crate::nn::grouped;
use crate::train::ConfusionMatrix;

/// Letters of a class's name that are shown.
const MOST_LETTERS: usize = 24;
/// Up to so many classes there is room for zeros, recall and precision.
const FEW: usize = 30;
/// Of what explains.
const SMALL: f64 = 10.0;
const PRECISION: &str = "precision %";

/// What is left below and beside the cells for recall and precision.
struct Layout {
    /// Side of a cell.
    cell: f64,
    /// Of what stands in the cells.
    size: f64,
    /// Of the classes' names.
    name_size: f64,
    names: Vec<String>,
    /// Width of the longest name.
    longest: f64,
    /// Where the cells begin.
    corner: [f64; 2],
    /// Side of all cells together.
    side: f64,
    /// Whether recall and precision are shown.
    ratios: bool,
}

impl Layout {
    fn new(matrix: &ConfusionMatrix) -> Layout {
        let n = matrix.counts.len();
        let size = match n {
            0..=12 => 14.0,
            13..=FEW => 12.0,
            31..=50 => 10.0,
            _ => 8.5,
        };
        let digits = |count: &u64| text::width(&count.to_string(), size);
        let widest = matrix.counts.iter().flatten().map(digits).fold(0.0, f64::max);
        // 100.0 % has to find room below a column.
        let ratios = n <= FEW;
        let widest = if ratios { widest.max(text::width("100.0", size - 2.0)) } else { widest };
        let cell = (widest + 0.9 * size).max(if n <= 12 { 46.0 } else { 2.0 * size }).ceil();
        let name_size = f64::min(size, TEXT_SIZE);
        let names: Vec<String> = matrix.classes.iter().map(|c| text::shortened(c, MOST_LETTERS)).collect();
        let longest = names.iter().map(|name| text::width(name, name_size)).fold(0.0, f64::max).ceil();
        let beside = if ratios { longest.max(text::width(PRECISION, SMALL).ceil()) } else { longest };
        let corner = [MARGIN + 24.0 + beside + 10.0, MARGIN];
        Layout { cell, size, name_size, names, longest, corner, side: cell * n as f64, ratios }
    }

    /// The middle of a row or column, from where the cells begin.
    fn middle(&self, class: usize) -> f64 {
        (class as f64 + 0.5) * self.cell
    }
}

/// A confusion matrix: true classes down, predicted classes across, counts in the cells. What is right is blue and what is
/// wrong orange, the darker the larger its share of the true class (its row). Up to 30 classes, recall is beside each row
/// and precision below each column, in percent.
///
/// The classes' names are those of the matrix: see
/// [`ConfusionMatrix::with_classes`](crate::train::ConfusionMatrix::with_classes).
///
/// # Errors
///
/// The matrix has no classes, or isn't square.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot;
/// use wgrad::train::ConfusionMatrix;
/// # fn main() -> Result<()> {
/// let matrix = ConfusionMatrix::new(vec![vec![95, 5], vec![2, 98]])?.with_classes(["cat", "dog"])?;
/// let picture = plot::confusion_matrix(&matrix)?;
/// assert!(picture.to_svg().contains("predicted class"));
/// # Ok(()) }
/// ```
pub fn confusion_matrix(matrix: &ConfusionMatrix) -> Result<Picture> {
    const NAME: &str = "plot::confusion_matrix";
    let n = matrix.counts.len();
    if n == 0 {
        return Err(Error::argument(NAME, "there are no classes to draw"));
    }
    if matrix.classes.len() != n || matrix.counts.iter().any(|row| row.len() != n) {
        let message =
            format!("expected {n} names and a square of {n} rows, as ConfusionMatrix::new makes it");
        return Err(Error::argument(NAME, message));
    }
    let layout = Layout::new(matrix);
    let Layout { cell, size, name_size, longest, side, ratios, corner: [x0, y0], .. } = layout;
    let right = x0 + side + if ratios { 12.0 + cell } else { 0.0 };
    // Names that don't fit below a column are written upwards.
    let upwards = longest > cell - 6.0;
    let names_at = y0 + side + if ratios { 8.0 + 1.6 * size } else { 0.0 } + 10.0;
    let names_height = if upwards { longest } else { name_size };
    let scale_at = right + 24.0;
    let height = names_at + names_height + 26.0 + MARGIN;
    let mut picture = Picture::new(scale_at + 118.0 + MARGIN, height.max(y0 + 190.0 + MARGIN));

    for (target, row) in matrix.counts.iter().enumerate() {
        let support = matrix.support(target).max(1) as f64;
        for (answer, &count) in row.iter().enumerate() {
            let color = shade(count as f64 / support, target == answer);
            let at = [x0 + cell * answer as f64, y0 + cell * target as f64];
            if color != WHITE {
                picture.rectangle(at, [cell, cell], color);
            }
            if count > 0 || ratios {
                let words = if count == 0 { [0xb8, 0xbd, 0xc4] } else { readable_on(color) };
                let middle = [x0 + layout.middle(answer), y0 + layout.middle(target)];
                picture.text(count.to_string(), middle, size, words, Anchor::Middle);
            }
        }
    }
    // Lines between the cells lead the eye; the outermost are the frame.
    for k in 1..n {
        let at = cell * k as f64;
        picture.rectangle([x0 + at - 0.5, y0], [1.0, side], FAINT);
        picture.rectangle([x0, y0 + at - 0.5], [side, 1.0], FAINT);
    }
    picture.frame([x0, y0], [side, side], 1.0, GREY);

    for (class, name) in layout.names.iter().enumerate() {
        let middle = layout.middle(class);
        picture.text(name, [x0 - 8.0, y0 + middle], name_size, INK, Anchor::End);
        match upwards {
            true => picture.text_upwards(name, [x0 + middle, names_at], name_size, INK, Anchor::End),
            false => {
                let at = [x0 + middle, names_at + name_size / 2.0];
                picture.text(name, at, name_size, INK, Anchor::Middle);
            }
        }
    }
    picture.text_upwards("true class", [MARGIN + 6.0, y0 + side / 2.0], TEXT_SIZE, GREY, Anchor::Middle);
    let below = names_at + names_height + 20.0;
    picture.text("predicted class", [x0 + side / 2.0, below], TEXT_SIZE, GREY, Anchor::Middle);
    if ratios {
        add_ratios(&mut picture, matrix, &layout);
    }
    add_scale(&mut picture, [scale_at, y0]);
    let total = matrix.total();
    let title = format!("Confusion matrix of {}", samples(total));
    let wrong = total - (0..n).map(|class| matrix.count(class, class)).sum::<u64>();
    let more = format!("accuracy {:.2} %, {} wrong", 100.0 * matrix.accuracy(), grouped(wrong));
    Ok(picture.headed(&title, &more))
}

/// Recall beside each row, precision below each column; nothing where a class has no samples or no answers.
fn add_ratios(picture: &mut Picture, matrix: &ConfusionMatrix, layout: &Layout) {
    let Layout { cell, size, side, corner: [x0, y0], .. } = *layout;
    let percent =
        |part: f64, of: u64| if of == 0 { "–".to_string() } else { format!("{:.1}", 100.0 * part) };
    let (column, row) = (x0 + side + 12.0 + cell / 2.0, y0 + side + 8.0 + 0.8 * size);
    for class in 0..matrix.counts.len() {
        let recall = percent(matrix.recall(class), matrix.support(class));
        picture.text(recall, [column, y0 + layout.middle(class)], size - 2.0, GREY, Anchor::Middle);
        let precision = percent(matrix.precision(class), matrix.answers(class));
        picture.text(precision, [x0 + layout.middle(class), row], size - 2.0, GREY, Anchor::Middle);
    }
    picture.text("recall %", [column, y0 - 9.0], SMALL, GREY, Anchor::Middle);
    picture.text(PRECISION, [x0 - 8.0, row], SMALL, GREY, Anchor::End);
}

/// What the colours mean.
fn add_scale(picture: &mut Picture, [x, y]: [f64; 2]) {
    const HEIGHT: usize = 140;
    const WIDTH: f64 = 18.0;
    picture.text("share of the true class", [x, y], SMALL, GREY, Anchor::Start);
    let top = y + 32.0;
    for (k, (right, name)) in [(true, "right"), (false, "wrong")].into_iter().enumerate() {
        let left = x + (WIDTH + 16.0) * k as f64;
        picture.text(name, [left + WIDTH / 2.0, top - 11.0], SMALL, GREY, Anchor::Middle);
        for row in 0..HEIGHT {
            // The colour goes by the square root of the share: the scale is even in the root.
            let root = 1.0 - (row as f64 + 0.5) / HEIGHT as f64;
            let color = shade(root * root, right);
            picture.rectangle([left, top + row as f64], [WIDTH, 1.0], color);
        }
        picture.frame([left, top], [WIDTH, HEIGHT as f64], 1.0, GREY);
    }
    let labels = x + 2.0 * WIDTH + 16.0;
    for share in [0.0, 0.01, 0.1, 0.25, 0.5, 1.0] {
        let at = top + (1.0 - f64::sqrt(share)) * HEIGHT as f64;
        picture.rectangle([labels, at - 0.5], [4.0, 1.0], GREY);
        picture.text(format!("{:.0} %", 100.0 * share), [labels + 8.0, at], SMALL, GREY, Anchor::Start);
    }
}

/// `10,000 samples`
pub(super) fn samples(count: u64) -> String {
    if count == 1 { "1 sample".into() } else { format!("{} samples", grouped(count)) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(super::grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2000].map(super::samples), ["1 sample", "2,000 samples"]);
    }
}
