//! A picture as SVG.

use super::color::Color;
use super::picture::{Anchor, GROUND, Picture, Primitive, Text};
use super::{png, text};
use std::fmt::Write;

/// The first is the one that widths are measured with, the second is as wide.
const FONTS: &str = "DejaVu Sans,Verdana,sans-serif";

pub(super) fn write(picture: &Picture) -> String {
    let [w, h] = [picture.width, picture.height].map(number);
    // Writing to a string can't fail.
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
         font-family=\"{FONTS}\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"{}\"/>\n",
        hex(GROUND)
    );
    for item in &picture.items {
        let _ = match item {
            Primitive::Rectangle { corner, size, color } => writeln!(
                out,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" shape-rendering=\"crispEdges\"/>",
                number(corner[0]),
                number(corner[1]),
                number(size[0]),
                number(size[1]),
                hex(*color)
            ),
            Primitive::Path { points, width, color } => {
                let list: Vec<String> =
                    points.iter().map(|p| format!("{},{}", number(p[0]), number(p[1]))).collect();
                // Lines along an axis fill whole pixels; others are smooth.
                let straight = points.windows(2).all(|p| p[0][0] == p[1][0] || p[0][1] == p[1][1]);
                let rendering =
                    if straight { "shape-rendering=\"crispEdges\"" } else { "stroke-linejoin=\"round\"" };
                writeln!(
                    out,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" {rendering}/>",
                    list.join(" "),
                    hex(*color),
                    number(*width)
                )
            }
            Primitive::Dot { center, radius, color } => writeln!(
                out,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>",
                number(center[0]),
                number(center[1]),
                number(*radius),
                hex(*color)
            ),
            Primitive::Text(text) => writeln!(out, "{}", words(text)),
            Primitive::Image { corner, size, pixels } => writeln!(
                out,
                "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
                 style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{}\"/>",
                number(corner[0]),
                number(corner[1]),
                number(size[0]),
                number(size[1]),
                // A small image of a few numbers each: it can't be too large.
                base64(
                    &png::encode(&pixels.rgb, pixels.width as u32, pixels.height as u32).unwrap_or_default()
                )
            ),
        };
    }
    out + "</svg>\n"
}

fn words(text: &Text) -> String {
    let anchor = match text.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let ([x, y], below) = (text.at, text::MIDDLE * text.size);
    let (x, y, turn) = match text.upwards {
        true => (x + below, y, format!(" transform=\"rotate(-90 {} {})\"", number(x + below), number(y))),
        false => (x, y + below, String::new()),
    };
    format!(
        "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{anchor}\"{turn}>{}</text>",
        number(x),
        number(y),
        number(text.size),
        hex(text.color),
        escaped(&text.text)
    )
}

/// At most two decimals.
fn number(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    // 0.0 rather than -0.0
    (rounded + 0.0).to_string()
}

fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text as XML has it; characters that XML can't have become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, k| bits << 8 | u32::from(chunk.get(k).copied().unwrap_or(0)));
        for k in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * k) & 63) as usize];
            out.push(if k <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_standard() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (n, expected) in vectors.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..n]), *expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn text_is_escaped_and_numbers_are_short() {
        assert_eq!(escaped("a<b & \"c\">\u{7}d"), "a&lt;b &amp; \"c\"&gt; d");
        assert_eq!([1.0, 0.125, -0.001, 1234.5].map(number), ["1", "0.13", "0", "1234.5"]);
    }
}
