//! A picture as bytes and as a file.

use super::picture::Picture;
use super::{raster, svg};
use crate::error::{Error, Result};
use crate::files::write_whole;
use std::path::Path;

impl Picture {
    /// The picture as SVG.
    pub fn to_svg(&self) -> String {
        svg::write(self)
    }

    /// The picture as PNG, with two pixels for each unit of [`width`](Self::width) and [`height`](Self::height).
    ///
    /// # Errors
    ///
    /// The picture is too large for it (more than 2^28 pixels).
    pub fn to_png(&self) -> Result<Vec<u8>> {
        raster::to_png(self)
    }

    /// Writes the picture into a file: SVG where the name ends in `.svg`, PNG where it ends in `.png`. The file appears
    /// whole or not at all.
    ///
    /// # Errors
    ///
    /// The name ends otherwise, the file can't be written, or the picture is too large for a PNG.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let content = match Format::of(path, "Picture::save")? {
            Format::Svg => self.to_svg().into_bytes(),
            Format::Png => self.to_png()?,
        };
        write_whole(path, &content)
    }
}

enum Format {
    Svg,
    Png,
}

impl Format {
    fn of(path: &Path, op: &str) -> Result<Format> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("svg") => Ok(Format::Svg),
            Some("png") => Ok(Format::Png),
            _ => {
                let message = format!("{}: expected a name that ends in .svg or .png", path.display());
                Err(Error::argument(op, message))
            }
        }
    }
}
