//! What is drawn, before it is known into which kind of file.

use super::color::{Color, GREY, INK, WHITE};
use super::text;
use std::fmt;

/// Between what is drawn and the picture's edge.
pub(super) const MARGIN: f64 = 20.0;
pub(super) const TITLE_SIZE: f64 = 17.0;
/// Of most words.
pub(super) const TEXT_SIZE: f64 = 13.0;

/// Which point of a text is given.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of words.
pub(super) struct Text {
    pub text: String,
    /// Along the text as `anchor` says, across it the middle of its capitals.
    pub at: [f64; 2],
    pub size: f64,
    pub color: Color,
    pub anchor: Anchor,
    /// Written from below upwards instead of from left to right.
    pub upwards: bool,
}

/// An image of a data set.
#[derive(Clone)]
pub(super) struct Pixels {
    pub width: usize,
    pub height: usize,
    /// Red, green and blue, row after row.
    pub rgb: Vec<u8>,
}

pub(super) enum Primitive {
    Rectangle { corner: [f64; 2], size: [f64; 2], color: Color },
    Path { points: Vec<[f64; 2]>, width: f64, color: Color },
    Dot { center: [f64; 2], radius: f64, color: Color },
    Text(Text),
    Image { corner: [f64; 2], size: [f64; 2], pixels: Pixels },
}

impl Primitive {
    pub(super) fn move_by(&mut self, by: [f64; 2]) {
        let at = match self {
            Primitive::Rectangle { corner, .. } | Primitive::Image { corner, .. } => corner,
            Primitive::Dot { center, .. } => center,
            Primitive::Text(text) => &mut text.at,
            Primitive::Path { points, .. } => {
                return points.iter_mut().for_each(|p| *p = [p[0] + by[0], p[1] + by[1]]);
            }
        };
        *at = [at[0] + by[0], at[1] + by[1]];
    }
}

/// Something drawn, to be saved as SVG or PNG: what the functions of [`plot`](crate::plot) give.
///
/// Words in a PNG are drawn with a font that comes along and has Latin, Greek and Cyrillic letters; in an SVG they have the
/// viewer's font, and therefore any letters.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot;
/// # fn main() -> Result<()> {
/// let noise = Tensor::rand([12, 8, 8, 3], Device::Cpu, 1)?;
/// let picture = plot::images(&noise)?.titled("Noise");
/// assert!(picture.to_svg().starts_with("<svg"));
/// assert!(picture.to_png()?.starts_with(b"\x89PNG"));
/// # Ok(()) }
/// ```
#[must_use]
pub struct Picture {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) items: Vec<Primitive>,
}

impl Picture {
    /// An empty one, in units of which a screen of 96 dots per inch shows one as one pixel.
    pub(super) fn new(width: f64, height: f64) -> Picture {
        Picture { width: width.ceil(), height: height.ceil(), items: Vec::new() }
    }

    pub(super) fn rectangle(&mut self, corner: [f64; 2], size: [f64; 2], color: Color) {
        self.items.push(Primitive::Rectangle { corner, size, color });
    }

    /// The outline of a rectangle, within it.
    pub(super) fn frame(&mut self, [x, y]: [f64; 2], [w, h]: [f64; 2], thickness: f64, color: Color) {
        let t = thickness;
        for (corner, size) in
            [([x, y], [w, t]), ([x, y + h - t], [w, t]), ([x, y], [t, h]), ([x + w - t, y], [t, h])]
        {
            self.rectangle(corner, size, color);
        }
    }

    pub(super) fn path(&mut self, points: Vec<[f64; 2]>, width: f64, color: Color) {
        self.items.push(Primitive::Path { points, width, color });
    }

    pub(super) fn dot(&mut self, center: [f64; 2], radius: f64, color: Color) {
        self.items.push(Primitive::Dot { center, radius, color });
    }

    pub(super) fn image(&mut self, corner: [f64; 2], size: [f64; 2], pixels: Pixels) {
        self.items.push(Primitive::Image { corner, size, pixels });
    }

    pub(super) fn text(
        &mut self,
        text: impl Into<String>,
        at: [f64; 2],
        size: f64,
        color: Color,
        anchor: Anchor,
    ) {
        self.items.push(Primitive::Text(Text { text: text.into(), at, size, color, anchor, upwards: false }));
    }

    pub(super) fn text_upwards(
        &mut self,
        text: impl Into<String>,
        at: [f64; 2],
        size: f64,
        color: Color,
        anchor: Anchor,
    ) {
        self.items.push(Primitive::Text(Text { text: text.into(), at, size, color, anchor, upwards: true }));
    }

    /// The same with a line of its own above, and the picture as wide as that needs.
    fn with_line(mut self, text: &str, size: f64, color: Color, above: f64, below: f64) -> Picture {
        let height = (above + size + below).ceil();
        self.items.iter_mut().for_each(|item| item.move_by([0.0, height]));
        self.height += height;
        self.width = self.width.max((text::width(text, size) + 2.0 * MARGIN).ceil());
        self.text(text, [MARGIN, above + size / 2.0], size, color, Anchor::Start);
        self
    }

    /// The same with a title and a line of smaller words above.
    pub(super) fn headed(self, title: &str, more: &str) -> Picture {
        let gap = -6.0;
        self.with_line(more, TEXT_SIZE, GREY, 0.0, gap).with_line(title, TITLE_SIZE, INK, MARGIN - 2.0, 9.0)
    }

    /// The same with a title above.
    pub fn titled(self, title: &str) -> Picture {
        self.with_line(title, TITLE_SIZE, INK, MARGIN - 2.0, -4.0)
    }

    /// Width in pixels of a screen of 96 dots per inch; a PNG has twice as many.
    pub fn width(&self) -> u32 {
        self.width as u32
    }

    /// Height in pixels of a screen of 96 dots per inch; a PNG has twice as many.
    pub fn height(&self) -> u32 {
        self.height as u32
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

/// The ground on which all is drawn.
pub(super) const GROUND: Color = WHITE;
