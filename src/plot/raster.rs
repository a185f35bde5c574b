//! A picture as pixels. Edges are smooth: a pixel is coloured by how much of it is covered.

use super::color::Color;
use super::font::FONT;
use super::glyph::Coverage;
use super::picture::{Anchor, GROUND, Picture, Pixels, Primitive};
use super::{png, text};
use crate::error::{Error, Result};

/// Pixels per unit: small words would be hard to read with one.
const SCALE: f64 = 2.0;
/// 2^28: 800 MB of them.
const MOST_PIXELS: f64 = 268_435_456.0;

struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

pub(super) fn to_png(picture: &Picture) -> Result<Vec<u8>> {
    let (width, height) = (picture.width * SCALE, picture.height * SCALE);
    if width * height > MOST_PIXELS {
        let message = format!(
            "{width}x{height} pixels are too many for a PNG (at most 2^28); save it as SVG, or draw fewer things"
        );
        return Err(Error::argument("Picture::to_png", message));
    }
    let mut canvas = Canvas::new(width as usize, height as usize)?;
    for item in &picture.items {
        canvas.draw(item);
    }
    png::encode(&canvas.rgb, canvas.width as u32, canvas.height as u32)
        .map_err(|e| Error::argument("Picture::to_png", e.to_string()))
}

impl Canvas {
    fn new(width: usize, height: usize) -> Result<Canvas> {
        let mut rgb = crate::cpu::memory::reserve(3 * width * height)?;
        rgb.extend(std::iter::repeat_n(GROUND, width * height).flatten());
        Ok(Canvas { width, height, rgb })
    }

    /// Covers a share of a pixel; nothing, where there is no such pixel.
    fn blend(&mut self, x: i64, y: i64, color: Color, share: f64) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height || share <= 0.0 {
            return;
        }
        let start = (y * self.width + x) * 3;
        for (below, above) in self.rgb[start..start + 3].iter_mut().zip(color) {
            let (a, b) = (f64::from(*below), f64::from(above));
            *below = (a + (b - a) * share.min(1.0)).round() as u8;
        }
    }

    fn draw(&mut self, item: &Primitive) {
        match item {
            Primitive::Rectangle { corner, size, color } => self.rectangle(*corner, *size, *color),
            Primitive::Path { points, width, color } => {
                let points: Vec<[f64; 2]> = points.iter().map(|p| p.map(|v| v * SCALE)).collect();
                self.path(&points, width * SCALE / 2.0, *color);
            }
            Primitive::Dot { center, radius, color } => {
                let center = center.map(|v| v * SCALE);
                self.path(&[center, center], radius * SCALE, *color);
            }
            Primitive::Text(words) => {
                let size = words.size * SCALE;
                let [mut x, mut y] = words.at.map(|v| v * SCALE);
                let back = text::width(&words.text, size)
                    * match words.anchor {
                        Anchor::Start => 0.0,
                        Anchor::Middle => 0.5,
                        Anchor::End => 1.0,
                    };
                match words.upwards {
                    true => (x, y) = (x + text::MIDDLE * size, y + back),
                    false => (x, y) = (x - back, y + text::MIDDLE * size),
                }
                write(self, &words.text, [x, y], size, words.color, words.upwards);
            }
            Primitive::Image { corner, size, pixels } => self.image(*corner, *size, pixels),
        }
    }

    fn rectangle(&mut self, corner: [f64; 2], size: [f64; 2], color: Color) {
        let [x0, y0] = corner.map(|v| v * SCALE);
        let [x1, y1] = [x0 + size[0] * SCALE, y0 + size[1] * SCALE];
        let covered = |at: i64, from: f64, to: f64| to.min(at as f64 + 1.0) - from.max(at as f64);
        for y in pixels(y0, y1, self.height) {
            for x in pixels(x0, x1, self.width) {
                self.blend(x, y, color, covered(x, x0, x1) * covered(y, y0, y1));
            }
        }
    }

    /// Lines with round ends, `reach` to either side.
    fn path(&mut self, points: &[[f64; 2]], reach: f64, color: Color) {
        for ends in points.windows(2) {
            let ([ax, ay], [bx, by]) = (ends[0], ends[1]);
            let (dx, dy) = (bx - ax, by - ay);
            let square = dx * dx + dy * dy;
            let far = reach + 1.0;
            for y in pixels(ay.min(by) - far, ay.max(by) + far, self.height) {
                for x in pixels(ax.min(bx) - far, ax.max(bx) + far, self.width) {
                    let (px, py) = (x as f64 + 0.5 - ax, y as f64 + 0.5 - ay);
                    let along =
                        if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
                    let distance = (px - along * dx).hypot(py - along * dy);
                    self.blend(x, y, color, (reach + 0.5 - distance).clamp(0.0, 1.0));
                }
            }
        }
    }

    /// Pixels become squares.
    fn image(&mut self, corner: [f64; 2], size: [f64; 2], source: &Pixels) {
        let [x0, y0] = corner.map(|v| (v * SCALE).round());
        let [w, h] = size.map(|v| (v * SCALE).round());
        let place = |at: i64, from: f64, len: f64, n: usize| {
            (((at as f64 + 0.5 - from) / len * n as f64) as usize).min(n.saturating_sub(1))
        };
        for y in pixels(y0, y0 + h, self.height) {
            let row = place(y, y0, h, source.height) * source.width;
            for x in pixels(x0, x0 + w, self.width) {
                let start = (row + place(x, x0, w, source.width)) * 3;
                if let Some(&[r, g, b]) = source.rgb.get(start..start + 3) {
                    self.blend(x, y, [r, g, b], 1.0);
                }
            }
        }
    }
}

/// Draws a line of text that begins at `start` on its base line, rightwards or upwards, in pixels.
fn write(canvas: &mut Canvas, words: &str, start: [f64; 2], size: f64, color: Color, upwards: bool) {
    let Some(font) = &*FONT else { return };
    let size = size as f32;
    let (left, base) = (start[0].round() as i64, start[1].round() as i64);
    let mut at = 0.0;
    for c in words.chars() {
        let glyph = font.glyph(c);
        if let Some(coverage) = Coverage::of(font, glyph, at, size) {
            coverage.for_each(|along, below, share| {
                let (x, y) = match upwards {
                    true => (left + below, base - 1 - along),
                    false => (left + along, base + below),
                };
                canvas.blend(x, y, color, f64::from(share));
            });
        }
        at += font.advance(glyph) * size / font.units;
    }
}

/// The pixels between two places that there are.
fn pixels(from: f64, to: f64, count: usize) -> std::ops::Range<i64> {
    let clamp = |v: f64| v.clamp(0.0, count as f64) as i64;
    clamp(from.floor())..clamp(to.ceil())
}
