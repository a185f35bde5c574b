//! The font that comes along, as a fresh machine has none: as much of the TrueType format as its file uses. (OpenType
//! specification, tables `cmap` (format 4), `glyf`, `head`, `hhea`, `hmtx` and `loca`.)

use std::sync::LazyLock;

/// Latin, Greek and Cyrillic letters of DejaVu Sans; see `font/LICENSE`.
const FILE: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");

/// `None` were the file damaged, which a test rules out.
pub(super) static FONT: LazyLock<Option<Font>> = LazyLock::new(|| Font::new(FILE));

/// Parts of parts of a letter are not parts for ever.
const DEEPEST: usize = 4;

/// A place in a letter, in units of the font, y upwards.
pub(super) type Point = [f32; 2];

/// A piece of a letter's edge.
pub(super) enum Edge {
    Line(Point, Point),
    /// From the first to the last, towards the second: a quadratic Bezier curve.
    Curve(Point, Point, Point),
}

pub(super) struct Font {
    cmap: Bytes,
    glyf: Bytes,
    hmtx: Bytes,
    loca: Bytes,
    /// Whether `loca` has offsets of four bytes.
    long: bool,
    /// How many letters have a width of their own; all after them have that of the last.
    widths: usize,
    /// Units of the font in its size.
    pub units: f32,
}

/// A piece of the file, from which big-endian numbers are read.
#[derive(Clone, Copy)]
struct Bytes(&'static [u8]);

impl Bytes {
    fn from(self, at: usize) -> Option<Bytes> {
        Some(Bytes(self.0.get(at..)?))
    }

    fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8(at)?, self.u8(at + 1)?]))
    }

    fn i16(self, at: usize) -> Option<i16> {
        self.u16(at).map(|v| v as i16)
    }

    fn usize16(self, at: usize) -> Option<usize> {
        self.u16(at).map(usize::from)
    }

    fn u32(self, at: usize) -> Option<usize> {
        Some(self.usize16(at)? << 16 | self.usize16(at + 2)?)
    }

    /// Of 2.14 bits, with a sign.
    fn fraction(self, at: usize) -> Option<f32> {
        Some(f32::from(self.i16(at)?) / 16384.0)
    }
}

impl Font {
    fn new(file: &'static [u8]) -> Option<Font> {
        let file = Bytes(file);
        let table = |name: &[u8]| {
            let entries = (0..file.usize16(4)?).map(|k| 12 + 16 * k);
            let entry = entries.clone().find(|&at| file.0.get(at..at + 4) == Some(name))?;
            let (at, len) = (file.u32(entry + 8)?, file.u32(entry + 12)?);
            Some(Bytes(file.0.get(at..at.checked_add(len)?)?))
        };
        let (head, cmap) = (table(b"head")?, table(b"cmap")?);
        // Windows's table of Unicode's first 65,536 characters
        let unicode = (0..cmap.usize16(2)?)
            .map(|k| 4 + 8 * k)
            .find(|&at| (cmap.u16(at), cmap.u16(at + 2)) == (Some(3), Some(1)))?;
        let cmap = cmap.from(cmap.u32(unicode + 4)?)?;
        let font = Font {
            cmap,
            glyf: table(b"glyf")?,
            hmtx: table(b"hmtx")?,
            loca: table(b"loca")?,
            long: head.u16(50)? == 1,
            widths: table(b"hhea")?.usize16(34)?,
            units: f32::from(head.u16(18)?),
        };
        (cmap.u16(0) == Some(4) && font.units > 0.0 && font.widths > 0).then_some(font)
    }

    /// The number of a character's glyph; that of the sign for a missing one is 0.
    pub fn glyph(&self, c: char) -> u16 {
        u16::try_from(u32::from(c)).ok().and_then(|c| self.find(c)).unwrap_or(0)
    }

    /// Segments of characters: the last of each, the first, what to add, and where a list of glyphs is, if there is one.
    fn find(&self, c: u16) -> Option<u16> {
        let table = self.cmap;
        let segments = table.usize16(6)? / 2;
        let (ends, starts) = (14, 16 + 2 * segments);
        let (deltas, offsets) = (starts + 2 * segments, starts + 4 * segments);
        let segment = (0..segments).find(|k| table.u16(ends + 2 * k).is_some_and(|end| end >= c))?;
        let start = table.u16(starts + 2 * segment).filter(|&start| start <= c)?;
        let delta = table.u16(deltas + 2 * segment)?;
        let place = offsets + 2 * segment;
        match table.usize16(place)? {
            0 => Some(c.wrapping_add(delta)),
            // counted from where it stands
            offset => match table.u16(place + offset + 2 * usize::from(c - start))? {
                0 => None,
                glyph => Some(glyph.wrapping_add(delta)),
            },
        }
    }

    /// How far the next letter is from a glyph, in units of the font.
    pub fn advance(&self, glyph: u16) -> f32 {
        let at = usize::from(glyph).min(self.widths - 1);
        self.hmtx.u16(4 * at).map_or(0.0, f32::from)
    }

    /// The edges of a glyph; none of a space.
    pub fn edges(&self, glyph: u16) -> Vec<Edge> {
        let mut edges = Vec::new();
        // A damaged one stays unfinished.
        let _ = self.add_edges(glyph, [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], DEEPEST, &mut edges);
        edges
    }

    /// Adds a glyph's edges: `[x, y, 1]` times `place`.
    fn add_edges(&self, glyph: u16, place: [Point; 3], deeper: usize, edges: &mut Vec<Edge>) -> Option<()> {
        let offset =
            |k: usize| if self.long { self.loca.u32(4 * k) } else { Some(2 * self.loca.usize16(2 * k)?) };
        let (start, end) = (offset(glyph.into())?, offset(usize::from(glyph) + 1)?);
        if start >= end {
            return Some(());
        }
        let data = Bytes(self.glyf.0.get(start..end)?);
        match usize::try_from(data.i16(0)?) {
            Ok(contours) => simple(data, contours, place, edges),
            Err(_) => self.composite(data, place, deeper.checked_sub(1)?, edges),
        }
    }

    /// A glyph of other glyphs: a letter and its accent.
    fn composite(&self, data: Bytes, place: [Point; 3], deeper: usize, edges: &mut Vec<Edge>) -> Option<()> {
        const WORDS: u16 = 1;
        const OFFSETS: u16 = 2;
        const SCALE: u16 = 8;
        const MORE: u16 = 0x20;
        const TWO_SCALES: u16 = 0x40;
        const MATRIX: u16 = 0x80;
        let mut at = 10;
        loop {
            let (flags, glyph) = (data.u16(at)?, data.u16(at + 2)?);
            at += 4;
            let (dx, dy) = match flags & WORDS {
                0 => (f32::from(data.u8(at)? as i8), f32::from(data.u8(at + 1)? as i8)),
                _ => (f32::from(data.i16(at)?), f32::from(data.i16(at + 2)?)),
            };
            at += if flags & WORDS == 0 { 2 } else { 4 };
            // Else they would be numbers of points that are to coincide.
            let [dx, dy] = if flags & OFFSETS == 0 { [0.0; 2] } else { [dx, dy] };
            let number = |k: usize| data.fraction(at + 2 * k);
            let (x, y, taken) = match flags {
                f if f & SCALE != 0 => ([number(0)?, 0.0], [0.0, number(0)?], 2),
                f if f & TWO_SCALES != 0 => ([number(0)?, 0.0], [0.0, number(1)?], 4),
                f if f & MATRIX != 0 => ([number(0)?, number(1)?], [number(2)?, number(3)?], 8),
                _ => ([1.0, 0.0], [0.0, 1.0], 0),
            };
            at += taken;
            let turned = |[a, b]: Point| [0, 1].map(|k| a * place[0][k] + b * place[1][k]);
            self.add_edges(glyph, [turned(x), turned(y), placed([dx, dy], place)], deeper, edges)?;
            if flags & MORE == 0 {
                return Some(());
            }
        }
    }
}

fn placed([x, y]: Point, place: [Point; 3]) -> Point {
    [0, 1].map(|k| x * place[0][k] + y * place[1][k] + place[2][k])
}

/// A glyph of its own contours.
fn simple(data: Bytes, contours: usize, place: [Point; 3], edges: &mut Vec<Edge>) -> Option<()> {
    const ON_CURVE: u8 = 1;
    const SHORT: [u8; 2] = [2, 4];
    const REPEAT: u8 = 8;
    // Of a short one that it is positive, of a long one that it is 0.
    const SAME: [u8; 2] = [16, 32];
    let Some(last) = contours.checked_sub(1) else { return Some(()) };
    let count = data.usize16(10 + 2 * last)? + 1;
    let instructions = 10 + 2 * contours;
    let mut at = instructions + 2 + data.usize16(instructions)?;
    let mut flags = Vec::with_capacity(count);
    while flags.len() < count {
        let flag = data.u8(at)?;
        at += 1;
        flags.push(flag);
        if flag & REPEAT != 0 {
            let again = usize::from(data.u8(at)?).min(count - flags.len());
            at += 1;
            flags.extend(std::iter::repeat_n(flag, again));
        }
    }
    let mut points = vec![[0.0; 2]; count];
    for axis in [0, 1] {
        let mut value = 0i32;
        for (point, flag) in points.iter_mut().zip(&flags) {
            match (flag & SHORT[axis] != 0, flag & SAME[axis] != 0) {
                (true, positive) => {
                    let change = i32::from(data.u8(at)?);
                    value += if positive { change } else { -change };
                    at += 1;
                }
                (false, true) => {}
                (false, false) => {
                    value += i32::from(data.i16(at)?);
                    at += 2;
                }
            }
            point[axis] = value as f32;
        }
    }
    let mut first = 0;
    for contour in 0..contours {
        let end = data.usize16(10 + 2 * contour)? + 1;
        let points = points.get(first..end)?.iter().map(|&p| placed(p, place));
        let on = flags.get(first..end)?.iter().map(|flag| flag & ON_CURVE != 0);
        close(&points.zip(on).collect::<Vec<_>>(), edges);
        first = end;
    }
    Some(())
}

/// The edges of a contour. Between two points beside the curve, one in their middle is on it.
fn close(points: &[(Point, bool)], edges: &mut Vec<Edge>) {
    let middle = |a: Point, b: Point| [0, 1].map(|k| (a[k] + b[k]) / 2.0);
    let (Some(&first), Some(&last)) = (points.first(), points.last()) else { return };
    let start = match (first, last) {
        ((point, true), _) | (_, (point, true)) => point,
        ((a, _), (b, _)) => middle(a, b),
    };
    let (mut at, mut towards) = (start, None);
    for &(point, on) in points.iter().chain([&(start, true)]) {
        match (towards, on) {
            (None, true) if at != point => edges.push(Edge::Line(at, point)),
            (Some(control), true) => edges.push(Edge::Curve(at, control, point)),
            (Some(control), false) => {
                let between = middle(control, point);
                edges.push(Edge::Curve(at, control, between));
                at = between;
            }
            (None, _) => {}
        }
        (at, towards) = if on { (point, None) } else { (at, Some(point)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn font() -> &'static Font {
        FONT.as_ref().expect("the font can be read")
    }

    #[test]
    fn every_glyph_can_be_read() {
        let font = font();
        assert_eq!(font.units, 2048.0);
        let glyphs = (font.loca.0.len() / if font.long { 4 } else { 2 } - 1) as u16;
        assert_eq!(glyphs, 634);
        let whole = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]];
        for glyph in 0..glyphs {
            assert!(font.add_edges(glyph, whole, DEEPEST, &mut Vec::new()).is_some(), "glyph {glyph}");
            // Contours are closed: every edge begins where another ends.
            let ends = |edge: &Edge| match *edge {
                Edge::Line(a, b) | Edge::Curve(a, _, b) => (a.map(f32::to_bits), b.map(f32::to_bits)),
            };
            let (mut starts, mut stops): (Vec<_>, Vec<_>) = font.edges(glyph).iter().map(ends).unzip();
            starts.sort_unstable();
            stops.sort_unstable();
            assert!(starts == stops, "glyph {glyph}");
        }
    }

    #[test]
    fn characters_have_their_glyphs() {
        let font = font();
        let known = ('!'..='~').chain("ÄßéĞŁΑωЖяё–—…€™←↓−≈≠≤≥".chars());
        let glyphs: Vec<u16> = known.map(|c| font.glyph(c)).collect();
        assert!(glyphs.iter().all(|&glyph| glyph != 0 && !font.edges(glyph).is_empty()), "{glyphs:?}");
        assert!(font.glyph(' ') != 0 && font.edges(font.glyph(' ')).is_empty());
        // neither a character beyond its tables nor one between them
        assert_eq!(['漢', '🙂', '\u{2500}', '\u{ffff}'].map(|c| font.glyph(c)), [0; 4]);
        // DejaVu Sans's widths
        assert_eq!(['0', 'M', 'i', ' '].map(|c| font.advance(font.glyph(c))), [1303.0, 1767.0, 569.0, 651.0]);
        // An accented letter is the letter and something above.
        let highest = |c| {
            font.edges(font.glyph(c)).iter().fold(0.0f32, |top, edge| match edge {
                Edge::Line(a, b) | Edge::Curve(a, _, b) => top.max(a[1]).max(b[1]),
            })
        };
        assert!(highest('É') > highest('E') + 200.0, "{} {}", highest('É'), highest('E'));
    }
}
