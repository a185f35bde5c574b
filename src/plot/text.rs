//! Words: how wide they are.

use super::font::FONT;

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
