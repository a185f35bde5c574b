//! The filters of a first convolution.

use super::color::{GREY, MAGENTA, diverging};
use super::picture::{Picture, Pixels};
use super::sheet::{Tile, grid};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// More nobody looks at.
const MOST: usize = 4096;

/// The filters of a convolution that reads images: its weight `[kernel height, kernel width, channels, filters]`, with one
/// channel or three.
///
/// Each filter is drawn by itself, its largest weight (in size) as the strongest colour. Of one channel, negative weights are
/// blue, positive ones orange and zero is white; three channels are red, green and blue, and zero is grey. Weights that are
/// not finite are magenta.
///
/// # Errors
///
/// The tensor has another shape, there are no filters or more than 4096, or the device fails.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot;
/// # fn main() -> Result<()> {
/// let model = Sequential::new()
///     .add_named("first", Conv2d::new(16, [5, 5]))
///     .build([28, 28, 1], Device::Cpu)?;
/// let picture = plot::filters(&model.parameter("first.weight")?.variable.value())?;
/// assert_eq!(picture.to_svg().matches("<image").count(), 16);
/// # Ok(()) }
/// ```
pub fn filters(weight: &Tensor) -> Result<Picture> {
    const NAME: &str = "plot::filters";
    let &[height, width, channels @ (1 | 3), count] = weight.dims() else {
        let message = format!(
            "the weight is {}; expected [kernel height, kernel width, channels, filters] with 1 channel or 3, as a first \
             layer has (one channel of a later layer: weight.slice(2, channel, 1)?)",
            weight.shape()
        );
        return Err(Error::shape(NAME, message));
    };
    if height * width == 0 || !(1..=MOST).contains(&count) {
        let message = format!("the weight is {}; expected 1 to {MOST} filters", weight.shape());
        return Err(Error::argument(NAME, message));
    }
    // filter after filter: [filters, height, width, channels]
    let values = weight.detach()?.cast(DType::F32)?.permute([3, 0, 1, 2])?.to_vec::<f32>()?;
    let tiles = values.chunks(height * width * channels).enumerate().map(|(number, filter)| {
        let largest = filter.iter().copied().filter(|v| v.is_finite()).fold(0.0, |m: f32, v| m.max(v.abs()));
        // All zero: nothing to divide by.
        let largest = if largest > 0.0 { largest } else { 1.0 };
        let color = |pixel: &[f32]| match *pixel {
            [v] if v.is_finite() => diverging(f64::from(v / largest)),
            [r, g, b] if pixel.iter().all(|v| v.is_finite()) => {
                [r, g, b].map(|v| (127.5 + 127.5 * v / largest).round() as u8)
            }
            _ => MAGENTA,
        };
        let rgb = filter.chunks(channels).flat_map(color).collect();
        Tile { pixels: Pixels { width, height, rgb }, caption: vec![(number.to_string(), GREY)] }
    });
    let columns = if count > 48 { 16 } else { 8 };
    let sheet = grid(tiles.collect(), columns);
    let title = format!("{count} filters of {height}x{width}");
    Ok(sheet.headed(
        &title,
        match channels {
            1 => "blue is negative, white 0, orange positive; each filter by its largest weight",
            _ => "grey is 0; each filter by its largest weight",
        },
    ))
}
