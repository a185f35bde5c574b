//! Pixels as PNG (RFC 2083): the signature, and three chunks.

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use std::io::{self, Write};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Red, green and blue, row after row.
pub(super) fn encode(rgb: &[u8], width: u32, height: u32) -> io::Result<Vec<u8>> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    let stride = 3 * width as usize;
    let mut filtered = Vec::with_capacity(stride + 1);
    let mut above: Option<&[u8]> = None;
    for row in rgb.chunks(stride.max(1)) {
        // Pictures repeat themselves from row to row: what is the same above becomes zeros (filter 2).
        filtered.clear();
        match above {
            Some(above) => {
                filtered.push(2);
                filtered.extend(row.iter().zip(above).map(|(&v, &a)| v.wrapping_sub(a)));
            }
            None => {
                filtered.push(0);
                filtered.extend_from_slice(row);
            }
        }
        rows.write_all(&filtered)?;
        above = Some(row);
    }
    let mut png = SIGNATURE.to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    // 8 bits, red, green and blue; the only compression and kind of filters that there are; not interlaced
    header.extend([8, 2, 0, 0, 0]);
    chunk(&mut png, *b"IHDR", &header)?;
    chunk(&mut png, *b"IDAT", &rows.finish()?)?;
    chunk(&mut png, *b"IEND", &[])?;
    Ok(png)
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) -> io::Result<()> {
    let len = u32::try_from(data.len()).map_err(|_| io::Error::other("a chunk is too large"))?;
    png.extend(len.to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let mut sum = Crc::new();
    sum.update(&png[start..]);
    png.extend(sum.sum().to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let pixel = |k: usize| ((k * k) % 251) as u8;
        for (width, height) in [(1, 1), (5, 1), (1, 7), (33, 20)] {
            let rgb: Vec<u8> = (0..3 * width * height).map(pixel).collect();
            let png = encode(&rgb, width as u32, height as u32).unwrap();
            let read = image::load_from_memory(&png).unwrap().into_rgb8();
            assert_eq!((read.width() as usize, read.height() as usize), (width, height));
            assert_eq!(read.into_raw(), rgb);
        }
    }
}
