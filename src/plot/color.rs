//! Colours, told apart by those who don't see red and green too.

/// Red, green, blue.
pub(super) type Color = [u8; 3];

pub(super) const WHITE: Color = [0xff; 3];
pub(super) const INK: Color = [0x26, 0x2b, 0x33];
/// Words of less weight.
pub(super) const GREY: Color = [0x6b, 0x72, 0x7c];
/// Lines in the background.
pub(super) const FAINT: Color = [0xe4, 0xe7, 0xeb];
pub(super) const BLUE: Color = [0x1f, 0x6f, 0xb4];
pub(super) const ORANGE: Color = [0xd9, 0x5f, 0x02];
/// What series of numbers are drawn in, one after the other.
pub(super) const SERIES: [Color; 8] =
    [INK, BLUE, ORANGE, GREY, [0x1b, 0x9e, 0x77], [0x87, 0x3e, 0x9c], [0xc2, 0x9a, 0x0b], [0xd6, 0x4f, 0x8c]];
/// What is no number.
pub(super) const MAGENTA: Color = [0xff, 0x00, 0xff];

/// From light to dark: what is right.
const BLUES: [Color; 4] = [[0xf7, 0xfb, 0xff], [0xb3, 0xd3, 0xea], [0x3f, 0x8f, 0xc8], [0x08, 0x40, 0x81]];
/// From light to dark: what is wrong.
const ORANGES: [Color; 4] = [[0xff, 0xff, 0xff], [0xfe, 0xd3, 0xa1], [0xf4, 0x86, 0x28], [0x9c, 0x33, 0x03]];
/// From negative over zero to positive.
pub(super) const DIVERGING: [Color; 5] =
    [[0x08, 0x40, 0x81], [0x5b, 0xa3, 0xd4], [0xf7, 0xf7, 0xf7], [0xef, 0x8a, 0x4b], [0x9c, 0x2a, 0x03]];

/// `share` of the way from `a` to `b`.
pub(super) fn mix(a: Color, b: Color, share: f64) -> Color {
    let part = |k: usize| (f64::from(a[k]) + (f64::from(b[k]) - f64::from(a[k])) * share).round() as u8;
    [part(0), part(1), part(2)]
}

/// The colour at a place between 0 and 1 of a scale.
pub(super) fn along(scale: &[Color], at: f64) -> Color {
    let steps = scale.len().saturating_sub(1);
    let at = at.clamp(0.0, 1.0) * steps as f64;
    let below = (at as usize).min(steps.saturating_sub(1));
    match (scale.get(below), scale.get(below + 1)) {
        (Some(&a), Some(&b)) => mix(a, b, at - below as f64),
        _ => scale.first().copied().unwrap_or(WHITE),
    }
}

/// The colour of a share, 0 to 1. By its square root: else the few mistakes of a good model would all be white.
pub(super) fn shade(share: f64, right: bool) -> Color {
    along(if right { &BLUES } else { &ORANGES }, share.max(0.0).sqrt())
}

/// The colour of a value between -1 and 1.
pub(super) fn diverging(value: f64) -> Color {
    along(&DIVERGING, 0.5 + 0.5 * value)
}

/// What can be read on a ground: dark on light, or light on dark.
pub(super) fn readable_on(ground: Color) -> Color {
    // how bright it looks, by the weights of ITU-R BT.601
    let [r, g, b] = ground.map(f64::from);
    if 0.299 * r + 0.587 * g + 0.114 * b > 140.0 { INK } else { WHITE }
}
