//! NumPy's files: `.npy`, one array, by the format's own description (NumPy Enhancement Proposal 1, versions 1.0 to 3.0).

use super::budget::{self, Budget};
use super::bytes::Elements;
use super::elements::Stored;
use crate::cpu::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::files::write_whole_with;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;
use std::io::{self, Write};
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
/// What precedes the data ends at a multiple of this.
const ALIGN: usize = 64;
/// NumPy leaves room in the header for the longest first dimension, so that arrays can grow in place.
const GROWTH_DIGITS: usize = 21;
/// No header of an array of numbers is longer; NumPy itself refuses headers over 10,000 characters.
const LONGEST_HEADER: usize = 10_000;

impl Tensor {
    /// Writes a `.npy` file, byte for byte the one that `np.save` writes for the same array. It appears whole or not at all.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("wgrad-doc-npy-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).ok();
    /// # let path = folder.join("x.npy");
    /// Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?.save_npy(&path)?;
    /// let x = Tensor::load_npy(&path, Device::Cpu)?;
    /// assert_eq!((x.shape().to_vec(), x.to_vec::<f32>()?), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor can't be computed, or the file can't be written.
    pub fn save_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        let array = Encoded::of(self)?;
        write_whole_with(path.as_ref(), |file| array.write(file))
    }

    /// The array of a `.npy` file that `np.save` wrote, on a device.
    ///
    /// Either byte order and either memory order (C's and Fortran's). f32, f64, i32, u32 and u8 keep their type; what fits
    /// one of them exactly becomes it: f16 f32; i8, i16 and u16 i32; bool u8; i64 and u64 i32, or u32 where all values fit
    /// that.
    ///
    /// # Errors
    ///
    /// The file can't be read, is no `.npy` file or is damaged, has more than [`MAX_RANK`] dimensions, or holds something
    /// else: 64-bit integers that don't fit, complex numbers, text, records, pickled objects.
    pub fn load_npy(path: impl AsRef<Path>, device: Device) -> Result<Tensor> {
        let path = path.as_ref();
        let (content, budget) = budget::read_file(path)?;
        let array = decode(&content, &budget).map_err(|e| Error::data(budget.name(), e))?;
        Tensor::place(array, Device::Cpu)?.to_device(device)
    }
}

/// The file of a tensor, to be written.
pub(super) struct Encoded {
    header: Vec<u8>,
    elements: Elements,
}

impl Encoded {
    pub fn of(tensor: &Tensor) -> Result<Encoded> {
        Ok(Encoded { header: header(tensor), elements: Elements::of(tensor)? })
    }

    /// Number of bytes.
    #[cfg(feature = "import")]
    pub fn len(&self) -> usize {
        self.header.len() + self.elements.len()
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.header)?;
        self.elements.write(out)
    }
}

/// What precedes the elements.
fn header(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::U8 => "|u1",
    };
    let dims = tensor.dims();
    let shape = match dims {
        [] => "()".to_string(),
        [n] => format!("({n},)"),
        _ => format!("({})", dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    if let Some(first) = dims.first() {
        let room = GROWTH_DIGITS.saturating_sub(first.to_string().len());
        header.extend(std::iter::repeat_n(' ', room));
    }
    // Magic, version, length of the header, the header and its line feed.
    let taken = MAGIC.len() + 2 + 2 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', ALIGN - taken % ALIGN));
    header.push('\n');
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0]);
    // At most MAX_RANK numbers: far below the 65,535 of version 1.0.
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out
}

/// What a header says.
struct Header {
    stored: Stored,
    big_endian: bool,
    fortran: bool,
    shape: Shape,
}

/// The array of a file's content, or what is wrong with it.
pub(super) fn decode(content: &[u8], budget: &Budget) -> Result<Array, String> {
    let (header, data) = split(content)?;
    let header = parse(header)?;
    let dims = header.shape;
    let expected = header.stored.bytes(&dims);
    if expected != Some(data.len()) {
        let expected = expected.map_or("more than any file".to_string(), |n| n.to_string());
        let what = if dims.is_empty() { "one number".to_string() } else { format!("{dims}") };
        return Err(format!(
            "is damaged or cut off: the header says {what} of {:?}, {expected} bytes, and {} follow",
            header.stored,
            data.len()
        ));
    }
    let array = header.stored.decode(data, header.big_endian, dims, budget)?;
    if !header.fortran || dims.rank() < 2 {
        return Ok(array);
    }
    budget.try_charge_elements(dims.numel(), array.dtype().size())?;
    let mut strides = [0; MAX_RANK];
    let mut step = 1;
    for d in 0..dims.rank() {
        strides[d] = step;
        step *= dims[d] as isize;
    }
    if dims.numel() == 0 {
        return Ok(array);
    }
    array.with_layout(dims, strides, 0).contiguous().map_err(|e| e.to_string())
}

/// The header's text and the data.
fn split(content: &[u8]) -> Result<(&str, &[u8]), String> {
    let no_npy = || "is no .npy file: it doesn't begin with \\x93NUMPY".to_string();
    let cut = || "is cut off within its header".to_string();
    let rest = content.strip_prefix(MAGIC).ok_or_else(no_npy)?;
    let (&[major, minor], rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match major {
        1 => {
            let (&length, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(length)), rest)
        }
        2 | 3 => {
            let (&length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (u32::from_le_bytes(length) as usize, rest)
        }
        _ => {
            return Err(format!("has version {major}.{minor} of the format; 1.0, 2.0 and 3.0 are supported"));
        }
    };
    if length > LONGEST_HEADER {
        return Err(format!("has a header of {length} bytes; at most {LONGEST_HEADER} are read"));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "has a header that is no text".to_string())?;
    Ok((header, data))
}

/// A walk over a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("has a damaged header: expected {token:?}")) }
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let quote = if self.take("'") { '\'' } else { self.expect("\"").map(|()| '"')? };
        let (text, rest) = self.0.split_once(quote).ok_or("has a damaged header: a text doesn't end")?;
        self.0 = rest;
        Ok(text)
    }

    fn flag(&mut self) -> Result<bool, String> {
        if self.take("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn dims(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut dims = Vec::new();
        while !self.take(")") {
            self.0 = self.0.trim_start();
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.0.split_at(digits);
            dims.push(
                number.parse().map_err(|_| "has a damaged header: a dimension is no number of a size")?,
            );
            self.0 = rest;
            // Python 2 wrote long integers so.
            self.take("L");
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(dims)
    }
}

fn parse(text: &str) -> Result<Header, String> {
    let mut literal = Literal(text);
    let (mut descr, mut fortran, mut dims) = (None, None, None);
    literal.expect("{")?;
    while !literal.take("}") {
        let key = literal.text()?;
        literal.expect(":")?;
        match key {
            "descr" => {
                if literal.take("[") {
                    return Err("holds records (a structured dtype); save each field by itself".into());
                }
                descr = Some(literal.text()?);
            }
            "fortran_order" => fortran = Some(literal.flag()?),
            "shape" => dims = Some(literal.dims()?),
            other => return Err(format!("has a damaged header: unknown key {other:?}")),
        }
        if !literal.take(",") {
            literal.expect("}")?;
            break;
        }
    }
    let (Some(descr), Some(fortran), Some(dims)) = (descr, fortran, dims) else {
        return Err("has a damaged header: descr, fortran_order and shape are needed".into());
    };
    if !literal.0.trim().is_empty() {
        return Err("has a damaged header: text follows the closing brace".into());
    }
    let (order, kind) = match descr.as_bytes() {
        [order @ (b'<' | b'>' | b'|' | b'='), ..] => (*order, &descr[1..]),
        _ => (b'=', descr),
    };
    let stored = match kind {
        "f2" => Stored::F16,
        "f4" => Stored::F32,
        "f8" => Stored::F64,
        "i1" => Stored::I8,
        "i2" => Stored::I16,
        "i4" => Stored::I32,
        "i8" => Stored::I64,
        "u1" => Stored::U8,
        "u2" => Stored::U16,
        "u4" => Stored::U32,
        "u8" => Stored::U64,
        "b1" => Stored::Bool,
        "O" => {
            return Err(
                "holds pickled Python objects; save numbers, as in np.save(path, np.asarray(x, dtype=float))"
                    .into(),
            );
        }
        _ => {
            return Err(format!(
                "holds elements of type {descr:?}; floats of 2, 4 and 8 bytes, integers of 1 to 8 and bool are supported"
            ));
        }
    };
    let shape = Shape::new(&dims).map_err(|e| e.to_string())?;
    Ok(Header { stored, big_endian: order == b'>', fortran, shape })
}
