//! A letter as pixels: how much of each is covered.
//!
//! Every edge of the outline adds, to the pixels of the rows that it crosses, the signed area between it and their right
//! ends; summed from left to right, that is the share of each pixel that lies inside. (Raph Levien, font-rs.)

use super::font::{Edge, Font, Point};

/// Where a glyph covers pixels, and how much of each.
pub(super) struct Coverage {
    /// Of its first pixel, from where the letter stands: rightwards and downwards.
    pub corner: [i64; 2],
    width: usize,
    /// Changes of what is covered, row after row, each with two more than it has pixels.
    changes: Vec<f32>,
}

impl Coverage {
    /// Of a glyph that begins at `x`, in pixels, with so many pixels to the font's size; `None` if it covers nothing.
    pub fn of(font: &Font, glyph: u16, x: f32, size: f32) -> Option<Coverage> {
        let scale = size / font.units;
        let edges = font.edges(glyph);
        let placed = |p: Point| [x + p[0] * scale, -p[1] * scale];
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        let mut include = |p: Point| {
            for (k, value) in placed(p).into_iter().enumerate() {
                (low[k], high[k]) = (low[k].min(value), high[k].max(value));
            }
        };
        for edge in &edges {
            // A curve stays within the triangle of its three points.
            match *edge {
                Edge::Line(a, b) => [a, b].into_iter().for_each(&mut include),
                Edge::Curve(a, b, c) => [a, b, c].into_iter().for_each(&mut include),
            }
        }
        let (low, high) = (low.map(f32::floor), high.map(f32::ceil));
        if !(low[0] < high[0] && low[1] < high[1]) {
            return None;
        }
        let [width, height] = [0, 1].map(|k| (high[k] - low[k]) as usize);
        let changes = vec![0.0; (width + 2) * height];
        let mut coverage = Coverage { corner: low.map(|v| v as i64), width, changes };
        let inside = |p: Point| {
            let [x, y] = placed(p);
            [x - low[0], y - low[1]]
        };
        for edge in edges {
            match edge {
                Edge::Line(a, b) => coverage.line(inside(a), inside(b)),
                Edge::Curve(a, b, c) => coverage.curve(inside(a), inside(b), inside(c)),
            }
        }
        Some(coverage)
    }

    /// Calls with the place of every pixel that is covered, and its share.
    pub fn for_each(&self, mut each: impl FnMut(i64, i64, f32)) {
        for (y, row) in self.changes.chunks(self.width + 2).enumerate() {
            let mut sum = 0.0;
            for (x, change) in row[..self.width].iter().enumerate() {
                sum += change;
                each(self.corner[0] + x as i64, self.corner[1] + y as i64, f32::abs(sum).min(1.0));
            }
        }
    }

    /// As lines that stray from it by less than can be seen.
    fn curve(&mut self, a: Point, b: Point, c: Point) {
        let bend = (a[0] - 2.0 * b[0] + c[0]).powi(2) + (a[1] - 2.0 * b[1] + c[1]).powi(2);
        let pieces = 1 + (3.0 * bend).sqrt().sqrt() as usize;
        let mut from = a;
        for k in 1..=pieces {
            let t = k as f32 / pieces as f32;
            let mix = |p: Point, q: Point| [0, 1].map(|k| p[k] + t * (q[k] - p[k]));
            let to = if k == pieces { c } else { mix(mix(a, b), mix(b, c)) };
            self.line(from, to);
            from = to;
        }
    }

    fn line(&mut self, a: Point, b: Point) {
        if a[1] == b[1] {
            return;
        }
        let (sign, [x0, y0], [x1, y1]) = if a[1] < b[1] { (1.0, a, b) } else { (-1.0, b, a) };
        let slope = (x1 - x0) / (y1 - y0);
        let stride = self.width + 2;
        let right = self.width as f32;
        let mut x = x0;
        for (y, row) in self.changes.chunks_mut(stride).enumerate().skip(y0.max(0.0) as usize) {
            let (top, bottom) = ((y as f32).max(y0), (y as f32 + 1.0).min(y1));
            if top >= bottom {
                break;
            }
            let height = bottom - top;
            let next = x + slope * height;
            // Rounding may leave the box by a hair.
            let (from, to) = (x.min(next).clamp(0.0, right), x.max(next).clamp(0.0, right));
            spread(row, from, to, sign * height);
            x = next;
        }
    }
}

/// Adds to a row an edge that crosses `height` of it between `from` and `to`.
fn spread(row: &mut [f32], from: f32, to: f32, height: f32) {
    let first = from.floor();
    let at = first as usize;
    // The last pixel that it touches, and the next.
    let end = to.ceil();
    if end <= first + 1.0 {
        let beside = (from + to) / 2.0 - first;
        row[at] += height * (1.0 - beside);
        row[at + 1] += height * beside;
        return;
    }
    // What lies right of it in pixel after pixel: a triangle, trapezoids, all but a triangle.
    let per_pixel = height / (to - from);
    let mut covered = 0.0;
    for pixel in at..end as usize {
        let (left, right) = (from.max(pixel as f32), to.min(pixel as f32 + 1.0));
        let crossed = per_pixel * (right - left);
        let before = per_pixel * (left - from);
        let area = before + crossed * (pixel as f32 + 1.0 - (left + right) / 2.0);
        row[pixel] += area - covered;
        covered = area;
    }
    row[end as usize] += height - covered;
}

#[cfg(test)]
mod tests {
    use super::super::font::FONT;
    use super::*;

    fn shares(coverage: &Coverage) -> Vec<f32> {
        let mut shares = Vec::new();
        coverage.for_each(|_, _, share| shares.push(share));
        shares
    }

    /// A box of so many pixels with the polygon of these corners.
    fn polygon(width: usize, height: usize, corners: &[Point]) -> Vec<f32> {
        let changes = vec![0.0; (width + 2) * height];
        let mut coverage = Coverage { corner: [0; 2], width, changes };
        for (k, &corner) in corners.iter().enumerate() {
            coverage.line(corner, corners[(k + 1) % corners.len()]);
        }
        shares(&coverage)
    }

    #[test]
    fn shares_are_areas() {
        let square = polygon(3, 2, &[[0.5, 0.25], [2.5, 0.25], [2.5, 2.0], [0.5, 2.0]]);
        assert_eq!(square, [0.375, 0.75, 0.375, 0.5, 1.0, 0.5]);
        // The other way round it is the same.
        let triangle = [[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]];
        let share = polygon(4, 2, &triangle);
        let expected = [1.0, 1.0, 0.75, 0.25, 0.75, 0.25, 0.0, 0.0];
        assert!(share.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{share:?}");
        let back: Vec<Point> = triangle.into_iter().rev().collect();
        assert!(polygon(4, 2, &back).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    /// The covered area does not depend on where a letter stands, nor on how large it is but for the square.
    #[test]
    fn a_letter_keeps_its_area() {
        let font = FONT.as_ref().unwrap();
        for c in "Mgé8@".chars() {
            let area = |x: f32, size: f32| {
                let coverage = Coverage::of(font, font.glyph(c), x, size).unwrap();
                shares(&coverage).iter().sum::<f32>() / (size * size)
            };
            let large = area(0.0, 400.0);
            for (x, size) in [(0.0, 26.0), (0.3, 26.0), (7.77, 26.0), (0.5, 34.0)] {
                assert!((area(x, size) / large - 1.0).abs() < 0.02, "{c}: {} {large}", area(x, size));
            }
        }
        assert!(Coverage::of(font, font.glyph(' '), 0.0, 26.0).is_none());
    }
}
