//! Many small images on one sheet.

use super::color::{Color, GREY, INK, MAGENTA};
use super::picture::{Anchor, MARGIN, Picture, Pixels, TEXT_SIZE};
use super::text;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// So large small images become, about.
const WANTED_EDGE: f64 = 76.0;
/// Larger ones are made smaller.
const LARGEST_EDGE: f64 = 320.0;
/// More on a sheet nobody looks at.
const MOST_IMAGES: usize = 4096;
const GAP: f64 = 10.0;
/// Of the words below an image.
const CAPTION_SIZE: f64 = 11.0;
const LINE: f64 = 15.0;

/// An image with lines of words below.
pub(super) struct Tile {
    pub pixels: Pixels,
    pub caption: Vec<(String, Color)>,
}

/// How wide and high an image of so many pixels is drawn: pixels become squares of a whole size.
fn drawn_size(width: usize, height: usize) -> [f64; 2] {
    let (w, h) = (width.max(1) as f64, height.max(1) as f64);
    let longer = w.max(h);
    let factor =
        if longer > LARGEST_EDGE { LARGEST_EDGE / longer } else { (WANTED_EDGE / longer).round().max(1.0) };
    [(w * factor).round().max(1.0), (h * factor).round().max(1.0)]
}

/// The values of a batch of images, before they are colours.
pub(super) struct Values {
    pub count: usize,
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<f32>,
    whole: bool,
}

impl Values {
    /// Of `[n, h, w, c]`, with one or three channels.
    pub fn read(op: &str, images: &Tensor) -> Result<Values> {
        let &[count, height, width, channels @ (1 | 3)] = images.dims() else {
            let message = format!(
                "the images are {}; expected [n, height, width, channels] with 1 channel or 3",
                images.shape()
            );
            return Err(Error::shape(op, message));
        };
        if count == 0 || height == 0 || width == 0 {
            return Err(Error::argument(
                op,
                format!("the images are {}: there is nothing to draw", images.shape()),
            ));
        }
        if count > MOST_IMAGES {
            let message = format!(
                "{count} images are too many for a sheet (at most {MOST_IMAGES}); draw a part, images.slice(0, 0, 100)?"
            );
            return Err(Error::argument(op, message));
        }
        let whole = !images.dtype().is_float();
        let values = images.detach()?.cast(DType::F32)?.to_vec::<f32>()?;
        Ok(Values { count, height, width, channels, values, whole })
    }

    fn size(&self) -> [f64; 2] {
        drawn_size(self.width, self.height)
    }

    /// Each image, its values between `low` and `high` from black to white.
    pub fn pixels(&self, (low, high): (f32, f32)) -> Vec<Pixels> {
        let level = |v: f32| ((v - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8;
        let color = |pixel: &[f32]| match *pixel {
            [v] if v.is_finite() => [level(v); 3],
            [r, g, b] if pixel.iter().all(|v| v.is_finite()) => [r, g, b].map(level),
            _ => MAGENTA,
        };
        self.values
            .chunks(self.height * self.width * self.channels)
            .map(|image| Pixels {
                width: self.width,
                height: self.height,
                rgb: image.chunks(self.channels).flat_map(color).collect(),
            })
            .collect()
    }
}

/// What is black and what is white, for all of them together: 0 and 1 (of integers 0 and 255) where the values are within,
/// else the smallest and the largest.
pub(super) fn levels(batches: &[&Values]) -> (f32, f32) {
    let finite = batches.iter().flat_map(|b| &b.values).copied().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let white = if batches.iter().any(|b| b.whole) { 255.0 } else { 1.0 };
    // What rounding puts a little beyond is no reason to change the levels.
    let slack = 0.01 * white;
    match low < -slack || high > white + slack {
        true if high > low => (low, high),
        true => (low - 1.0, low + 1.0),
        false => (0.0, white),
    }
}

/// A grid of images; all are of one size.
pub(super) fn grid(tiles: Vec<Tile>, columns: usize) -> Picture {
    let size = tiles.first().map_or([0.0; 2], |t| drawn_size(t.pixels.width, t.pixels.height));
    grid_with(tiles, columns, GAP, size)
}

/// As [`grid`], with this between the images, each of which is drawn so wide and high.
fn grid_with(tiles: Vec<Tile>, columns: usize, gap: f64, [w, h]: [f64; 2]) -> Picture {
    let lines = tiles.iter().map(|t| t.caption.len()).max().unwrap_or(0);
    let words = tiles.iter().flat_map(|t| &t.caption).map(|(line, _)| text::width(line, CAPTION_SIZE));
    let cell = [
        words.fold(w, f64::max).ceil() + gap,
        h + gap + if lines > 0 { 2.0 + LINE * lines as f64 } else { 0.0 },
    ];
    let columns = columns.clamp(1, tiles.len().max(1));
    let rows = tiles.len().div_ceil(columns);
    let mut picture = Picture::new(
        2.0 * MARGIN - gap + cell[0] * columns as f64,
        2.0 * MARGIN - gap + cell[1] * rows as f64,
    );
    for (k, tile) in tiles.into_iter().enumerate() {
        let (column, row) = ((k % columns) as f64, (k / columns) as f64);
        let middle = MARGIN + cell[0] * column + (cell[0] - gap) / 2.0;
        let corner = [(middle - w / 2.0).floor(), MARGIN + cell[1] * row];
        picture.image(corner, [w, h], tile.pixels);
        for (line, (words, color)) in tile.caption.into_iter().enumerate() {
            let y = corner[1] + h + 3.0 + LINE * (line as f64 + 0.5);
            picture.text(words, [middle, y], CAPTION_SIZE, color, Anchor::Middle);
        }
    }
    picture
}

/// A sheet a bit wider than high.
fn usual_columns(count: usize) -> usize {
    (count as f64 * 1.6).sqrt().ceil() as usize
}

/// A sheet of images `[n, height, width, channels]`, grey (1 channel) or red, green and blue (3).
///
/// Floats are black at 0 and white at 1, bytes at 0 and 255. If any value is clearly outside of that, as after a
/// normalisation, the smallest is black and the largest white. Pixels that are not finite are magenta.
///
/// # Errors
///
/// The tensor has another shape, there are no images or more than 4096, or the device fails.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Augment;
/// use wgrad::plot;
/// # fn main() -> Result<()> {
/// let (digits, _) = data::synthetic::digits(12, 1, 1).into_datasets()?;
/// let turned = Augment::new().rotate(30.0).apply(digits.features(), 1)?;
/// let picture = plot::images(&turned)?.titled("Turned digits");
/// assert_eq!(picture.to_svg().matches("<image").count(), 12);
/// # Ok(()) }
/// ```
pub fn images(images: &Tensor) -> Result<Picture> {
    Ok(Sheet::read("plot::images", images)?.draw())
}

/// As [`images`], with words below each.
///
/// # Errors
///
/// As [`images`], or there are not as many captions as images.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot;
/// # fn main() -> Result<()> {
/// let (digits, _) = data::synthetic::digits(12, 1, 1).into_datasets()?;
/// let labels = digits.labels().to_vec::<u8>()?;
/// let picture = plot::captioned_images(digits.features(), labels.iter().map(u8::to_string))?;
/// assert_eq!(picture.to_svg().matches("<text").count(), 12);
/// # Ok(()) }
/// ```
pub fn captioned_images(
    images: &Tensor,
    captions: impl IntoIterator<Item = impl Into<String>>,
) -> Result<Picture> {
    Ok(Sheet::read("plot::captioned_images", images)?.captions(captions)?.draw())
}

/// A sheet of images whose columns, gaps and size are chosen; [`images`] and [`captioned_images`] choose by themselves.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot::Sheet;
/// # fn main() -> Result<()> {
/// let (digits, _) = data::synthetic::digits(40, 1, 1).into_datasets()?;
/// let picture = Sheet::new(digits.features())?.columns(8).gap(0).zoom(2).draw();
/// assert_eq!((picture.width(), picture.height()), (8 * 56 + 40, 5 * 56 + 40)); // with a margin of 20
/// # Ok(()) }
/// ```
#[must_use]
pub struct Sheet {
    name: &'static str,
    values: Values,
    captions: Vec<String>,
    columns: usize,
    gap: f64,
    size: [f64; 2],
}

impl Sheet {
    /// Images as [`images`] takes and colours them.
    ///
    /// # Errors
    ///
    /// As [`images`].
    pub fn new(images: &Tensor) -> Result<Sheet> {
        Self::read("plot::Sheet", images)
    }

    fn read(name: &'static str, images: &Tensor) -> Result<Sheet> {
        let values = Values::read(name, images)?;
        let (columns, size) = (usual_columns(values.count), values.size());
        Ok(Sheet { name, values, captions: Vec::new(), columns, gap: GAP, size })
    }

    /// Words below each image.
    ///
    /// # Errors
    ///
    /// There are not as many as images.
    pub fn captions(self, captions: impl IntoIterator<Item = impl Into<String>>) -> Result<Sheet> {
        let captions: Vec<String> = captions.into_iter().map(Into::into).collect();
        if captions.len() != self.values.count {
            let message = format!("{} captions for {} images", captions.len(), self.values.count);
            return Err(Error::argument(self.name, message));
        }
        Ok(Sheet { captions, ..self })
    }

    /// How many images stand side by side: one at least, and no more than there are.
    pub fn columns(self, columns: usize) -> Sheet {
        Sheet { columns, ..self }
    }

    /// How far apart the images are: 10 where nothing is said; with 0 and without captions they touch each other.
    pub fn gap(self, gap: usize) -> Sheet {
        Sheet { gap: gap as f64, ..self }
    }

    /// Draws each pixel of an image as a square of so many (one at least), each of which is two by two in a PNG.
    pub fn zoom(self, zoom: usize) -> Sheet {
        let size = [self.values.width, self.values.height].map(|n| n as f64 * zoom.max(1) as f64);
        Sheet { size, ..self }
    }

    /// The picture.
    pub fn draw(self) -> Picture {
        let mut captions = self.captions.into_iter();
        let tiles = self.values.pixels(levels(&[&self.values])).into_iter().map(|pixels| Tile {
            pixels,
            caption: captions.next().map(|words| (words, INK)).into_iter().collect(),
        });
        grid_with(tiles.collect(), self.columns, self.gap, self.size)
    }
}

impl std::fmt::Debug for Sheet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sheet({} images, {} columns)", self.values.count, self.columns)
    }
}

/// Rows of images `[n, height, width, channels]` with names to their left: the first images of all rows stand above each
/// other, then the second, and so on. For an autoencoder's input and output, say, or an image and its augmentations. More
/// than 12 continue below.
///
/// All rows share what is black and what is white: see [`images`].
///
/// # Errors
///
/// There is no row, a tensor has another shape, the rows differ in the number of images or in their size, or the device
/// fails.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Augment;
/// use wgrad::plot;
/// # fn main() -> Result<()> {
/// let (digits, _) = data::synthetic::digits(8, 1, 1).into_datasets()?;
/// let images = (digits.features().cast(DType::F32)? / 255.0)?;
/// let shifted = Augment::new().shift(0.2, 0.2).apply(&images, 1)?;
/// plot::image_rows(&[("original", &images), ("shifted", &shifted)])?;
/// # Ok(()) }
/// ```
pub fn image_rows(rows: &[(&str, &Tensor)]) -> Result<Picture> {
    const NAME: &str = "plot::image_rows";
    const COLUMNS: usize = 12;
    const BLOCK_GAP: f64 = 14.0;
    const ROW_GAP: f64 = 4.0;
    let values = rows.iter().map(|(_, images)| Values::read(NAME, images)).collect::<Result<Vec<_>>>()?;
    let Some(first) = values.first() else {
        return Err(Error::argument(NAME, "there are no rows to draw"));
    };
    let like_first = |v: &Values| (v.count, v.height, v.width) == (first.count, first.height, first.width);
    if let Some(at) = values.iter().position(|v| !like_first(v)) {
        let message = format!(
            "row {:?} is {}, row {:?} is {}; expected as many images of one size",
            rows[0].0,
            rows[0].1.shape(),
            rows[at].0,
            rows[at].1.shape()
        );
        return Err(Error::shape(NAME, message));
    }
    let levels = levels(&values.iter().collect::<Vec<_>>());
    let [w, h] = first.size();
    let columns = first.count.min(COLUMNS);
    let blocks = first.count.div_ceil(columns);
    let names = rows.iter().map(|(name, _)| text::width(name, TEXT_SIZE)).fold(0.0, f64::max).ceil();
    let left = MARGIN + names + 12.0;
    let block = (h + ROW_GAP) * rows.len() as f64 - ROW_GAP + BLOCK_GAP;
    let mut picture = Picture::new(
        left + (w + GAP) * columns as f64 - GAP + MARGIN,
        2.0 * MARGIN + block * blocks as f64 - BLOCK_GAP,
    );
    for (row, ((name, _), values)) in rows.iter().zip(&values).enumerate() {
        let top = |block_number: usize| MARGIN + block * block_number as f64 + (h + ROW_GAP) * row as f64;
        for number in 0..blocks {
            let at = [left - 12.0, top(number) + h / 2.0];
            picture.text(*name, at, TEXT_SIZE, GREY, Anchor::End);
        }
        for (k, pixels) in values.pixels(levels).into_iter().enumerate() {
            let corner = [left + (w + GAP) * (k % columns) as f64, top(k / columns)];
            picture.image(corner, [w, h], pixels);
        }
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    fn values(list: &[f32]) -> Values {
        let tensor = Tensor::from_slice(list, [1, 1, list.len(), 1], Device::Cpu).unwrap();
        Values::read("test", &tensor).unwrap()
    }

    #[test]
    fn levels_stay_unless_values_are_outside() {
        assert_eq!(levels(&[&values(&[0.2, 0.4])]), (0.0, 1.0));
        assert_eq!(levels(&[&values(&[-0.005, 1.005])]), (0.0, 1.0));
        assert_eq!(levels(&[&values(&[-1.5, 0.5]), &values(&[2.0])]), (-1.5, 2.0));
        assert_eq!(levels(&[&values(&[7.0, 7.0])]), (6.0, 8.0));
        assert_eq!(levels(&[&values(&[f32::NAN])]), (0.0, 1.0));
        let rgb = values(&[0.0, 0.5, 1.0, f32::NAN]).pixels((0.0, 1.0));
        assert_eq!(rgb[0].rgb, [0, 0, 0, 128, 128, 128, 255, 255, 255, 255, 0, 255]);
    }

    #[test]
    fn small_images_grow_by_whole_factors() {
        assert_eq!(drawn_size(28, 28), [84.0, 84.0]);
        assert_eq!(drawn_size(3, 3), [75.0, 75.0]);
        assert_eq!(drawn_size(100, 60), [100.0, 60.0]);
        assert_eq!(drawn_size(640, 320), [320.0, 160.0]);
        assert_eq!(drawn_size(10_000, 1), [320.0, 1.0]);
    }
}
