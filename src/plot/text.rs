//! The font, which comes along: a fresh machine has none.

use super::color::Color;
use super::raster::Canvas;
use crate::error::{Error, Result};
use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, point};

/// Latin, Greek and Cyrillic letters of DejaVu Sans; see `font/LICENSE`.
const FONT: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");

/// From the middle of capitals and digits to the line they stand on, in parts of the size.
pub(super) const MIDDLE: f64 = 0.365;

/// What a letter's width is taken for, in parts of the size, should the font fail.
const USUAL_WIDTH: f64 = 0.6;

fn font() -> Result<FontRef<'static>> {
    FontRef::try_from_slice(FONT)
        .map_err(|e| Error::argument("Picture", format!("the font can't be read: {e}")))
}

/// How wide a line of text is. Viewers of SVG have other fonts, most of them narrower.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let Ok(font) = font() else { return text.chars().count() as f64 * size * USUAL_WIDTH };
    let em = f64::from(font.units_per_em().unwrap_or(2048.0));
    text.chars().map(|c| f64::from(font.h_advance_unscaled(font.glyph_id(c)))).sum::<f64>() * size / em
}

/// The text, or its beginning and an ellipsis, in so many letters.
pub(super) fn shortened(text: &str, letters: usize) -> String {
    match text.chars().count() > letters {
        true => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_string(),
    }
}

/// Draws a line of text that begins at `start` on its base line, rightwards or upwards, in pixels.
pub(super) fn draw(
    canvas: &mut Canvas,
    text: &str,
    start: [f64; 2],
    size: f64,
    color: Color,
    upwards: bool,
) -> Result<()> {
    let font = font()?;
    let em = font.units_per_em().unwrap_or(2048.0);
    // The crate counts a font's height from its lowest to its highest letter.
    let scale = PxScale::from(size as f32 * font.height_unscaled() / em);
    let (left, base) = (start[0].round() as i64, start[1].round() as i64);
    let mut at = 0.0;
    for c in text.chars() {
        let id: GlyphId = font.glyph_id(c);
        let glyph: Glyph = id.with_scale_and_position(scale, point(at, 0.0));
        at += font.h_advance_unscaled(id) * size as f32 / em;
        let Some(outline) = font.outline_glyph(glyph) else { continue };
        let bounds = outline.px_bounds();
        let (right, down) = (bounds.min.x as i64, bounds.min.y as i64);
        outline.draw(|x, y, coverage| {
            let (along, below) = (right + i64::from(x), down + i64::from(y));
            let (x, y) = match upwards {
                true => (left + below, base - 1 - along),
                false => (left + along, base + below),
            };
            canvas.blend(x, y, color, f64::from(coverage));
        });
    }
    Ok(())
}
