//! Lets plotters draw into a picture.

use super::color::{Color, WHITE, mix};
use super::picture::{Anchor, Picture};
use super::text;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};
use std::convert::Infallible;

pub(super) struct Recorder<'a>(pub &'a mut Picture);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// Pictures know no transparency: what is seen on the white ground.
fn opaque(color: BackendColor) -> Color {
    let (r, g, b) = color.rgb;
    mix(WHITE, [r, g, b], color.alpha)
}

fn place((x, y): BackendCoord) -> [f64; 2] {
    [f64::from(x), f64::from(y)]
}

impl DrawingBackend for Recorder<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.0.width(), self.0.height())
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        if color.alpha > 0.0 {
            self.0.rectangle(place(point), [1.0, 1.0], opaque(color));
        }
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            let points: Vec<[f64; 2]> = path.into_iter().map(place).collect();
            self.0.path(points, f64::from(style.stroke_width()), opaque(style.color()));
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        corner: BackendCoord,
        opposite: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let (color, corner, opposite) = (style.color(), place(corner), place(opposite));
        let size = [opposite[0] - corner[0], opposite[1] - corner[1]];
        match fill {
            _ if color.alpha == 0.0 => {}
            true => self.0.rectangle(corner, size, opaque(color)),
            false => self.0.frame(corner, size, f64::from(style.stroke_width()), opaque(color)),
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        _fill: bool,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            self.0.dot(place(center), f64::from(radius), opaque(style.color()));
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        let anchor = match style.anchor().h_pos {
            HPos::Left => Anchor::Start,
            HPos::Center => Anchor::Middle,
            HPos::Right => Anchor::End,
        };
        let down = match style.anchor().v_pos {
            VPos::Top => 0.5 * style.size(),
            VPos::Center => 0.0,
            VPos::Bottom => -0.5 * style.size(),
        };
        let ([x, y], color) = (place(at), opaque(style.color()));
        match style.transform() {
            FontTransform::None => self.0.text(text, [x, y + down], style.size(), color, anchor),
            _ => self.0.text_upwards(text, [x + down, y], style.size(), color, anchor),
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok((text::width(text, style.size()).ceil() as u32, style.size().ceil() as u32))
    }
}
