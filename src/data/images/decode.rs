//! Image files to pixels, within a budget of memory.

use crate::error::{Error, Result};
use crate::io::budget::{self, Budget, FLOOR};
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// What the images that are decoded at one time take, all threads together; one that takes more is decoded alone.
const AT_ONCE: u64 = 4 * FLOOR;

/// An image while it is in memory.
pub(super) struct Opened {
    image: DynamicImage,
    budget: Budget,
    _share: Share,
}

impl Opened {
    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        [self.image.height() as usize, self.image.width() as usize]
    }

    /// The same image with another height and width.
    pub fn resized(mut self, [h, w]: [usize; 2]) -> Result<Opened> {
        // Rows are interpolated first, in f32: an image of a million columns and one row becomes one of many rows.
        let between = 16 * u64::from(self.image.width()).saturating_mul(h as u64);
        let after = 16 * (h as u64).saturating_mul(w as u64);
        self.budget.charge(usize::try_from(between).unwrap_or(usize::MAX))?;
        // It is the caller who says how large this is: no more than whether it can be had is asked.
        crate::cpu::memory::reserve::<u8>(
            usize::try_from(between.saturating_add(after)).unwrap_or(usize::MAX),
        )
        .map_err(|e| e.of_file(self.budget.name()))?;
        self.image = self.image.resize_exact(w as u32, h as u32, FilterType::Triangle);
        Ok(self)
    }

    /// Red, green and blue of each pixel, or its luminance. (Transparency is ignored.)
    pub fn bytes(self, grey: bool) -> Vec<u8> {
        if grey { self.image.into_luma8().into_raw() } else { self.image.into_rgb8().into_raw() }
    }
}

/// The image of a file, by what is in it (a JPEG that is called .png is still a picture), turned as its EXIF data says; of
/// several images the first.
///
/// # Errors
///
/// The file can't be read, is no image or is damaged, or would take more memory than its size explains.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let (content, budget) = budget::read_file(path)?;
    match decode(&content, &budget) {
        Ok((image, share)) => Ok(Opened { image, budget, _share: share }),
        Err(message) => Err(Error::data(budget.name(), message)),
    }
}

fn decode(content: &[u8], budget: &Budget) -> Result<(DynamicImage, Share), String> {
    let failed = |e: &dyn std::fmt::Display| {
        format!(
            "can't be decoded as PNG, JPEG, BMP or GIF: {e}; remove the file, or leave such files out with skip_bad"
        )
    };
    let format = image::guess_format(content).map_err(|e| failed(&e))?;
    let mut reader = ImageReader::with_format(Cursor::new(content), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(Budget::limit(content.len() as u64));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| failed(&e))?;
    // The pixels, once more in another order or with other channels.
    let mut bytes = decoder.total_bytes().saturating_mul(2);
    if format == ImageFormat::Jpeg {
        let scan = Scan::find(content).ok_or_else(|| failed(&"its headers are damaged"))?;
        if !scan.ends {
            // The decoder fills up with grey.
            return Err(failed(&"the file is cut off"));
        }
        let (w, h) = decoder.dimensions();
        let blocks = u64::from(w).next_multiple_of(32) * u64::from(h).next_multiple_of(32);
        // Coefficients of 16 bits of up to four components.
        bytes = bytes.saturating_add(if scan.progressive { 8 * blocks } else { 0 });
        bytes = bytes.saturating_add(content.len() as u64);
    }
    budget.try_charge(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    let share = Share::take(bytes);
    // Without EXIF data, or where they are damaged, an image stands as it is.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| failed(&e))?;
    image.apply_orientation(orientation);
    Ok((image, share))
}

/// What is to be known of a JPEG before it is decoded.
struct Scan {
    /// Whether all coefficients are in memory before the first pixel is.
    progressive: bool,
    /// Whether the last scan has an end.
    ends: bool,
}

impl Scan {
    /// Goes from marker to marker up to the first scan (ITU-T T.81, annex B).
    fn find(content: &[u8]) -> Option<Scan> {
        let (mut at, mut progressive) = (2, false);
        loop {
            // Bytes that belong to nothing are passed over, as decoders do.
            at += content.get(at..)?.windows(2).position(|w| w[0] == 0xff && !matches!(w[1], 0 | 0xff))?;
            let &[_, marker, high, low] = content.get(at..at + 4)? else { return None };
            match marker {
                0xda => break,
                // Frames: 0xc4, 0xc8 and 0xcc are tables and an extension.
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => progressive = marker & 3 == 2,
                0x01 | 0xd0..=0xd8 => {
                    at += 2;
                    continue;
                }
                _ => {}
            }
            at += 2 + usize::from(u16::from_be_bytes([high, low]));
        }
        // Within a scan, 0xff is followed by zero: the end of the image is nothing else. A preview's comes before.
        let ends = content[at..].windows(2).any(|pair| pair == [0xff, 0xd9]);
        Some(Scan { progressive, ends })
    }
}

/// A share of [`AT_ONCE`]; whoever finds too little left waits.
struct Share(u64);

static TAKEN: Mutex<u64> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Share {
    fn take(bytes: u64) -> Share {
        let bytes = bytes.min(AT_ONCE);
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken + bytes > AT_ONCE {
            taken = GIVEN_BACK.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += bytes;
        Share(bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        GIVEN_BACK.notify_all();
    }
}
