//! IDX, the file format of MNIST and its relatives: a four-byte magic number (two zeros, the element
//! type, the rank), one big-endian `u32` per dimension, then the elements in row-major order.
//! The format is described at the end of <http://yann.lecun.com/exdb/mnist/>.
//!
//! Only unsigned bytes are read; nothing in the MNIST family uses another element type. A file may be
//! gzipped (feature `gzip`), which is seen from its first bytes and not from its name, because browsers
//! unpack or rename what they download.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::io::budget::Budget;
use crate::{Error, Result};

const UNSIGNED_BYTE: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const MAX_RANK: usize = 8;
/// Far above every data set of the family (the largest, EMNIST by class, has 547 MB), and low enough
/// that a small gzip file that unpacks to terabytes is refused.
const MAX_DATA_BYTES: usize = 1 << 31;

/// An n-dimensional array of bytes from an IDX file.
///
/// ```
/// use wgrad::data::idx::IdxArray;
/// # fn main() -> wgrad::Result<()> {
/// let bytes = [0, 0, 8, 1, 0, 0, 0, 3, 10, 20, 30]; // unsigned bytes, rank 1, 3 of them
/// let array = IdxArray::parse("labels", &bytes)?;
/// assert_eq!((array.dims, array.data), (vec![3], vec![10, 20, 30]));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct IdxArray {
    /// Sizes, outermost first: `[60000, 28, 28]` for the training images of MNIST.
    pub dims: Vec<usize>,
    /// The elements in row-major order; as many as the product of `dims`.
    pub data: Vec<u8>,
}

// The derived form would print every byte.
impl std::fmt::Debug for IdxArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdxArray {{ dims: {:?}, data: {} bytes }}", self.dims, self.data.len())
    }
}

impl IdxArray {
    /// Reads an IDX file of unsigned bytes, gzipped or not.
    ///
    /// # Errors
    ///
    /// The file can't be opened or read, or it isn't exactly one whole IDX array: wrong magic number,
    /// another element type, more than 8 dimensions, fewer or more bytes than its header promises, a
    /// gzip stream that is truncated or damaged, or a gzipped file in a build without the feature `gzip`.
    pub fn read(path: impl AsRef<Path>) -> Result<IdxArray> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let size = file.metadata().map_or(0, |m| m.len());
        Parser::new(&path.display().to_string(), size).parse(BufReader::new(file))
    }

    /// Reads an array from the bytes of an IDX file, gzipped or not. `name` is used in errors only.
    ///
    /// # Errors
    ///
    /// As [`IdxArray::read`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<IdxArray> {
        Parser::new(name, bytes.len() as u64).parse(bytes)
    }

    /// The header that a file of this array starts with. With `data` it is the file's whole uncompressed
    /// content, since the parser accepts nothing else.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = vec![0, 0, UNSIGNED_BYTE, self.dims.len() as u8];
        header.extend(self.dims.iter().flat_map(|&d| (d as u32).to_be_bytes()));
        header
    }
}

struct Parser<'a> {
    name: &'a str,
    /// Bytes of the file.
    size: u64,
    gzipped: bool,
}

impl<'a> Parser<'a> {
    fn new(name: &'a str, size: u64) -> Self {
        Parser { name, size, gzipped: false }
    }

    fn parse(mut self, mut reader: impl Read) -> Result<IdxArray> {
        let start = self.read_up_to(&mut reader, 2)?;
        self.gzipped = start == GZIP_MAGIC;
        let reader = io::Cursor::new(start).chain(reader);
        if self.gzipped { self.parse_gzip(reader) } else { self.parse_content(reader) }
    }

    #[cfg(feature = "gzip")]
    fn parse_gzip(&self, reader: impl Read) -> Result<IdxArray> {
        // The multi-member decoder, because the plain one stops after the first member and would let
        // anything that follows it pass.
        self.parse_content(flate2::read::MultiGzDecoder::new(reader))
    }

    #[cfg(not(feature = "gzip"))]
    fn parse_gzip(&self, _reader: impl Read) -> Result<IdxArray> {
        Err(self.error(
            "is gzipped, and this build of wgrad can't unpack that; unpack it (gunzip), or build with the feature `gzip`",
        ))
    }

    fn parse_content(&self, mut reader: impl Read) -> Result<IdxArray> {
        let rank = self.read_rank(&mut reader)?;
        let header = self.read_up_to(&mut reader, 4 * rank)?;
        if header.len() < 4 * rank {
            return Err(self.error(format!(
                "ends inside its header: {} bytes expected for {rank} dimension(s), {} found; {}",
                4 + 4 * rank,
                4 + header.len(),
                self.advice()
            )));
        }
        let sizes = header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let dims: Vec<u32> = sizes.collect();
        let len = dims
            .iter()
            .try_fold(1_usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))
            .filter(|&n| n <= MAX_DATA_BYTES)
            .ok_or_else(|| {
                self.error(format!(
                    "promises dimensions {dims:?}, which is more than the {MAX_DATA_BYTES} bytes that are read; \
                     the header is damaged, or this isn't a file of the MNIST family"
                ))
            })?;
        let dims: Vec<usize> = dims.into_iter().map(|d| d as usize).collect();

        // What is not packed is all there, or it isn't read.
        let most = if self.gzipped { Budget::limit(self.size) } else { u64::MAX };
        let data = self.read_up_to(&mut reader, len.min(usize::try_from(most).unwrap_or(usize::MAX)))?;
        if data.len() < len && data.len() as u64 == most {
            let message = format!(
                "unpacks to more than {most} bytes, which {} bytes of gzip don't explain; {}",
                self.size,
                self.advice()
            );
            return Err(self.error(message));
        }
        if data.len() < len {
            return Err(self.error(format!(
                "is truncated: its header promises {dims:?}, {len} bytes of data, and {} were found; {}",
                data.len(),
                self.advice()
            )));
        }
        // This also brings a gzip decoder to its end, where it compares the checksum.
        const LOOK_AHEAD: usize = 1 << 16;
        let extra = self.read_up_to(&mut reader, LOOK_AHEAD)?.len();
        if extra > 0 {
            let more = if extra == LOOK_AHEAD { " or more" } else { "" };
            return Err(self.error(format!(
                "is too long: {extra}{more} bytes follow the {len} bytes of data that its header promises {dims:?}; \
                 the header is damaged, or something was appended to the file; {}",
                self.advice()
            )));
        }
        Ok(IdxArray { dims, data })
    }

    fn read_rank(&self, reader: &mut impl Read) -> Result<usize> {
        let magic = self.read_up_to(reader, 4)?;
        let &[zero0, zero1, kind, rank] = magic.as_slice() else {
            return Err(self.error(match magic.len() {
                0 => format!("is empty; expected an IDX header; {}", self.advice()),
                n => format!("has only {n} bytes; expected an IDX header of 8 or more; {}", self.advice()),
            }));
        };
        let found = u32::from_be_bytes([zero0, zero1, kind, rank]);
        let expected = "expected the magic number of an IDX file of unsigned bytes \
                        (0x00000803 for images, 0x00000801 for labels)";
        if (zero0, zero1) != (0, 0) {
            let hint = match [zero0, zero1, kind, rank] {
                [b'<', ..] => {
                    "it looks like a web page, so the download met an error page: download the file again"
                }
                [b'P', b'K', ..] => "it is a zip archive: unpack it and use the files inside",
                [b'B', b'Z', b'h', _] => "it is compressed with bzip2: unpack it",
                [0xfd, b'7', b'z', b'X'] => "it is compressed with xz: unpack it",
                [0x28, 0xb5, 0x2f, 0xfd] => "it is compressed with zstd: unpack it",
                [0x1f, 0x8b, ..] => "it was gzipped twice: unpack it once",
                [_, UNSIGNED_BYTE, 0, 0] => "its bytes are swapped: IDX is big-endian",
                _ => "this isn't an IDX file: is it the file that was meant?",
            };
            return Err(self.error(format!("starts with 0x{found:08x}; {expected}; {hint}")));
        }
        if kind != UNSIGNED_BYTE {
            let what = match kind {
                0x09 => "signed bytes",
                0x0b => "16-bit integers",
                0x0c => "32-bit integers",
                0x0d => "32-bit floats",
                0x0e => "64-bit floats",
                _ => "an element type that IDX doesn't define",
            };
            return Err(self.error(format!(
                "starts with 0x{found:08x}, which says {what} (0x{kind:02x}); {expected}; \
                 convert the elements to unsigned bytes, or pick the file that has them"
            )));
        }
        match usize::from(rank) {
            rank @ 1..=MAX_RANK => Ok(rank),
            rank => Err(self.error(format!(
                "starts with 0x{found:08x}, which says {rank} dimensions; expected 1 to {MAX_RANK}; \
                 the header is damaged, or this isn't an IDX file"
            ))),
        }
    }

    /// Reads `len` bytes, or all there are where that is fewer. Memory grows with what is really there,
    /// so that a header can't ask for more than the file holds.
    fn read_up_to(&self, reader: &mut impl Read, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len.min(1 << 16));
        reader.take(len as u64).read_to_end(&mut bytes).map_err(|e| self.read_error(e))?;
        Ok(bytes)
    }

    fn read_error(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof if self.gzipped => {
                self.error(format!("is a gzip stream that ends too early: it was cut off; {}", self.advice()))
            }
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if self.gzipped => {
                self.error(format!("is a damaged gzip stream ({error}); {}", self.advice()))
            }
            _ => Error::io(self.name, error),
        }
    }

    fn advice(&self) -> &'static str {
        if self.gzipped { "download it again" } else { "copy, unpack or download it again" }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::data(self.name, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn raw() -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend(1..=12);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Every error names the file, and `expected` are words that tell this failure from the others.
    fn assert_fails(bytes: &[u8], expected: &[&str]) {
        let message = IdxArray::parse("some-file", bytes).unwrap_err().to_string();
        for word in [&["some-file"], expected].concat() {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }

    fn assert_reads(bytes: &[u8]) {
        let array = IdxArray::parse("some-file", bytes).unwrap();
        assert_eq!(array.dims, [2, 2, 3]);
        assert_eq!(array.data, (1..=12).collect::<Vec<u8>>());
        assert_eq!([array.header(), array.data].concat(), raw());
    }

    #[test]
    fn reads_raw_content() {
        assert_reads(&raw());
    }

    #[cfg(feature = "gzip")]
    #[test]
    fn reads_gzipped_content_in_one_or_more_members() {
        assert_reads(&gzip(&raw()));
        let raw = raw();
        assert_reads(&[gzip(&raw[..9]), gzip(&raw[9..])].concat());
    }

    #[test]
    fn reads_a_file_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw-in-spite-of-its-name.gz");
        std::fs::write(&path, raw()).unwrap();
        assert_eq!(IdxArray::read(&path).unwrap().dims, [2, 2, 3]);

        let path = folder.path().join("gzipped-in-spite-of-its-name");
        std::fs::write(&path, gzip(&raw())).unwrap();
        let read = IdxArray::read(&path);
        if cfg!(feature = "gzip") {
            assert_eq!(read.unwrap().dims, [2, 2, 3]);
        } else {
            let message = read.unwrap_err().to_string();
            assert!(message.contains("gunzip") && message.contains("feature `gzip`"), "{message}");
        }
    }

    #[test]
    fn missing_file_and_folder_are_io_errors() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(IdxArray::read(&missing).unwrap_err().to_string().contains("missing"));
        assert!(IdxArray::read(folder.path()).is_err());
    }

    #[test]
    fn rejects_what_is_not_idx() {
        assert_fails(&[], &["empty"]);
        assert_fails(&[0], &["only 1 bytes"]);
        assert_fails(&[0, 0, 8], &["only 3 bytes"]);
        assert_fails(b"<html>404</html>", &["0x3c68746d", "0x00000803", "web page"]);
        assert_fails(b"PK\x03\x04....", &["zip archive"]);
        assert_fails(&[3, 8, 0, 0, 0, 0], &["swapped"]);
        assert_fails(b"label,pixel0", &["isn't an IDX file"]);
        assert_fails(&[0, 0, 0x0d, 1, 0, 0, 0, 0], &["32-bit floats", "0x0d"]);
        assert_fails(&[0, 0, 0x77, 1, 0, 0, 0, 0], &["doesn't define"]);
        assert_fails(&[0, 0, 8, 0], &["0 dimensions", "1 to 8"]);
        assert_fails(&[0, 0, 8, 255, 0, 0, 0, 0], &["255 dimensions"]);
    }

    #[test]
    fn rejects_every_truncation() {
        let raw = raw();
        for len in 0..raw.len() {
            assert!(IdxArray::parse("some-file", &raw[..len]).is_err(), "{len} bytes");
        }
        assert_fails(&raw[..11], &["ends inside its header", "16 bytes expected", "11 found"]);
        assert_fails(&raw[..20], &["truncated", "[2, 2, 3]", "12 bytes", "4 were found"]);
    }

    #[test]
    fn rejects_trailing_bytes() {
        let mut bytes = raw();
        bytes.extend([0; 5]);
        assert_fails(&bytes, &["too long", "5 bytes follow the 12"]);
        bytes.extend([0; 1 << 17]);
        assert_fails(&bytes, &["65536 or more"]);
    }

    #[test]
    fn rejects_dimensions_that_overflow_or_lie() {
        let mut bytes = vec![0, 0, 8, 3];
        bytes.extend([0xff; 12]);
        assert_fails(&bytes, &["4294967295", "damaged"]);
        // Within the limit, but the file is tiny: must fail without asking for the memory.
        assert_fails(&[0, 0, 8, 1, 0x7f, 0xff, 0xff, 0xff, 1], &["truncated", "1 were found"]);
    }

    #[test]
    fn an_array_without_elements_is_valid() {
        let array = IdxArray::parse("some-file", &[0, 0, 8, 1, 0, 0, 0, 0]).unwrap();
        assert_eq!((array.dims, array.data), (vec![0], vec![]));
    }

    #[cfg(feature = "gzip")]
    #[test]
    fn rejects_damaged_gzip() {
        let whole = gzip(&raw());
        for len in 2..whole.len() {
            assert!(IdxArray::parse("some-file", &whole[..len]).is_err(), "{len} bytes");
        }
        assert_fails(&whole[..whole.len() - 9], &["gzip", "cut off"]);
        let mut checksum = whole.clone();
        let at = checksum.len() - 8;
        checksum[at] ^= 1;
        assert_fails(&checksum, &["damaged gzip"]);
        assert_fails(&[whole.as_slice(), b"garbage"].concat(), &["gzip"]);
        assert_fails(&gzip(&raw()[..20]), &["truncated", "4 were found"]);
        assert_fails(&gzip(&whole), &["gzipped twice"]);
    }

    #[cfg(not(feature = "gzip"))]
    #[test]
    fn gzip_without_the_feature_says_so() {
        assert_fails(&gzip(&raw()), &["gzipped", "feature `gzip`"]);
    }
}
