//! Pictures beside each other.

use super::picture::Picture;
use crate::error::{Error, Result};

/// Pictures as one, so many side by side (one at least), then the next below: each column is as wide as its widest picture, each row as
/// high as its highest. Pictures come as results, as they are drawn; of finished ones, `[a, b].map(Ok)`.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot::{self, Curves};
/// # fn main() -> Result<()> {
/// let x = Tensor::linspace(-1.0, 1.0, 100, Device::Cpu)?;
/// let power = |n: i32| Ok(Curves::new("x", "").size(240, 240).add("", &x, &x.pow(n)?)?.draw()?.titled(&format!("x^{n}")));
/// let picture = plot::panels((1..5).map(power), 4)?.titled("Powers");
/// assert!(picture.width() > 4 * 240);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// One of the pictures is an error, or there are none.
pub fn panels(pictures: impl IntoIterator<Item = Result<Picture>>, columns: usize) -> Result<Picture> {
    let pictures = pictures.into_iter().collect::<Result<Vec<_>>>()?;
    if pictures.is_empty() {
        return Err(Error::argument("plot::panels", "there are no pictures to put side by side"));
    }
    let columns = columns.clamp(1, pictures.len());
    let mut widths = vec![0.0f64; columns];
    let mut heights = vec![0.0f64; pictures.len().div_ceil(columns)];
    for (k, picture) in pictures.iter().enumerate() {
        let (column, row) = (&mut widths[k % columns], &mut heights[k / columns]);
        (*column, *row) = (column.max(picture.width), row.max(picture.height));
    }
    let before = |list: &[f64], k: usize| list[..k].iter().sum::<f64>();
    let mut sheet = Picture::new(widths.iter().sum(), heights.iter().sum());
    for (k, picture) in pictures.into_iter().enumerate() {
        let by = [before(&widths, k % columns), before(&heights, k / columns)];
        sheet.items.extend(picture.items.into_iter().map(|mut item| {
            item.move_by(by);
            item
        }));
    }
    Ok(sheet)
}
