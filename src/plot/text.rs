//! Words: how wide they are, and how they become pixels.

use super::color::Color;
use super::font::FONT;
use super::glyph::Coverage;
use super::raster::Canvas;

/// From the middle of capitals and digits to the line they stand on, in parts of the size.
pub(super) const MIDDLE: f64 = 0.365;

/// What a letter's width is taken for, in parts of the size, should the font fail.
const USUAL_WIDTH: f64 = 0.6;

/// How wide a line of text is. Viewers of SVG have other fonts, most of them narrower.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let Some(font) = &*FONT else { return text.chars().count() as f64 * size * USUAL_WIDTH };
    let units: f64 = text.chars().map(|c| f64::from(font.advance(font.glyph(c)))).sum();
    units * size / f64::from(font.units)
}

/// The text, or its beginning and an ellipsis, in so many letters.
pub(super) fn shortened(text: &str, letters: usize) -> String {
    match text.chars().count() > letters {
        true => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_string(),
    }
}

/// Draws a line of text that begins at `start` on its base line, rightwards or upwards, in pixels.
pub(super) fn draw(canvas: &mut Canvas, text: &str, start: [f64; 2], size: f64, color: Color, upwards: bool) {
    let Some(font) = &*FONT else { return };
    let size = size as f32;
    let (left, base) = (start[0].round() as i64, start[1].round() as i64);
    let mut at = 0.0;
    for c in text.chars() {
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
