//! Elements as files hold them, turned into the types that tensors have.

use super::budget::Budget;
use crate::cpu::Array;
use crate::shape::Shape;

/// An element type that a file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Four bits of exponent, three of fraction, no infinities: PyTorch's `float8_e4m3fn`.
    F8E4M3,
    /// Five bits of exponent, two of fraction: the upper half of a half precision float.
    F8E5M2,
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Stored {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Stored::I8 | Stored::U8 | Stored::Bool | Stored::F8E4M3 | Stored::F8E5M2 => 1,
            Stored::F16 | Stored::BF16 | Stored::I16 | Stored::U16 => 2,
            Stored::F32 | Stored::I32 | Stored::U32 => 4,
            Stored::F64 | Stored::I64 | Stored::U64 => 8,
        }
    }

    /// The bytes that so many elements take; `None` where no file could hold them.
    pub fn bytes(self, dims: &[usize]) -> Option<usize> {
        dims.iter().try_fold(self.size(), |n, &d| n.checked_mul(d))
    }

    /// Bytes of one element in memory.
    fn size_decoded(self) -> usize {
        match self {
            Stored::U8 | Stored::Bool => 1,
            Stored::F64 => 8,
            _ => 4,
        }
    }

    /// The elements in the type that holds all of them exactly: small floats become f32, small integers i32 (u8 stays, so do
    /// flags as 0 and 1), 64-bit integers i32 or u32 if all of them fit. Their memory is charged to the budget.
    ///
    /// # Errors
    ///
    /// The bytes are not as many as the shape needs, an integer doesn't fit, or the budget is spent.
    pub fn decode(
        self,
        bytes: &[u8],
        big_endian: bool,
        shape: Shape,
        budget: &Budget,
    ) -> Result<Array, String> {
        if self.bytes(&shape) != Some(bytes.len()) {
            return Err(format!("has {} bytes for {shape} of {self:?}", bytes.len()));
        }
        budget.try_charge_elements(shape.numel(), self.size_decoded())?;
        macro_rules! array {
            ($f:expr) => {
                Array::from_vec(each(bytes, big_endian, |w| Ok($f(w)))?, shape)
            };
        }
        Ok(match self {
            Stored::F8E4M3 => array!(|[b]: [u8; 1]| f8e4m3_to_f32(b)),
            Stored::F8E5M2 => array!(|[b]: [u8; 1]| half_to_f32(u16::from(b) << 8)),
            Stored::F16 => array!(|w| half_to_f32(u16::from_le_bytes(w))),
            Stored::BF16 => array!(|w| f32::from_bits(u32::from(u16::from_le_bytes(w)) << 16)),
            Stored::F32 => array!(f32::from_le_bytes),
            Stored::F64 => array!(f64::from_le_bytes),
            Stored::I8 => array!(|w| i32::from(i8::from_le_bytes(w))),
            Stored::I16 => array!(|w| i32::from(i16::from_le_bytes(w))),
            Stored::I32 => array!(i32::from_le_bytes),
            Stored::U8 => array!(|[b]: [u8; 1]| b),
            Stored::U16 => array!(|w| i32::from(u16::from_le_bytes(w))),
            Stored::U32 => array!(u32::from_le_bytes),
            Stored::Bool => array!(|[b]: [u8; 1]| u8::from(b != 0)),
            Stored::I64 => narrow(bytes, big_endian, i64::from_le_bytes, shape)?,
            Stored::U64 => narrow(bytes, big_endian, u64::from_le_bytes, shape)?,
        })
    }
}

/// Every element, turned into another; the first that can't be is the error.
fn each<const N: usize, T>(
    bytes: &[u8],
    big_endian: bool,
    f: impl Fn([u8; N]) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let words = bytes.as_chunks::<N>().0;
    let mut out = Vec::new();
    let no_memory = |e| format!("has {} elements, for which there is no memory: {e}", words.len());
    out.try_reserve_exact(words.len()).map_err(no_memory)?;
    for &word in words {
        let mut word = word;
        if big_endian {
            word.reverse();
        }
        out.push(f(word)?);
    }
    Ok(out)
}

/// 64-bit integers as i32, else as u32.
fn narrow<T: Copy + Into<i128> + TryInto<i32> + TryInto<u32>>(
    bytes: &[u8],
    big_endian: bool,
    from: impl Fn([u8; 8]) -> T,
    shape: Shape,
) -> Result<Array, String> {
    let mixed = || "holds 64-bit integers that fit neither i32 nor u32".to_string();
    if let Ok(values) = each(bytes, big_endian, |w| from(w).try_into().map_err(|_| mixed())) {
        return Ok(Array::from_vec::<i32>(values, shape));
    }
    let value = |w| {
        let value = from(w);
        value.try_into().map_err(|_| {
            let wide: i128 = value.into();
            if wide < i128::from(i32::MIN) || wide > i128::from(u32::MAX) {
                format!("{}: {wide}", mixed())
            } else {
                mixed()
            }
        })
    };
    Ok(Array::from_vec::<u32>(each(bytes, big_endian, value)?, shape))
}

/// A float of eight bits, four of them exponent; every value is one of f32. The largest exponent is an ordinary one, except
/// with all bits of the fraction set, which is NaN.
fn f8e4m3_to_f32(bits: u8) -> f32 {
    let (exponent, fraction) = ((bits >> 3) & 0xf, bits & 7);
    let magnitude = match (exponent, fraction) {
        (15, 7) => f32::NAN,
        // subnormal: fraction * 2^-9
        (0, _) => f32::from(fraction) / 512.0,
        _ => f32::from_bits((u32::from(exponent) + 120) << 23 | u32::from(fraction) << 20),
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// IEEE half precision; every value is one of f32.
fn half_to_f32(bits: u16) -> f32 {
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    let magnitude = match exponent {
        // subnormal: fraction * 2^-24
        0 => fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(((exponent + 112) << 23) | (fraction << 13)),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn half_precision_is_exact() {
        let cases: [(u16, f32); 8] = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x7c00, f32::INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half_to_f32(bits), value, "{bits:#x}");
        }
        assert!(half_to_f32(0x7e01).is_nan());
        assert!(half_to_f32(0x8000).is_sign_negative());
    }

    #[test]
    fn floats_of_eight_bits_are_exact() {
        // From "FP8 Formats for Deep Learning" (arXiv 2209.05433), table 1: largest, smallest normal, smallest.
        let cases: [(u8, f32); 7] = [
            (0x00, 0.0),
            (0x38, 1.0),
            (0xc0, -2.0),
            (0x7e, 448.0),
            (0x08, 0.015_625),
            (0x01, 0.001_953_125),
            (0x07, 0.013_671_875),
        ];
        for (bits, value) in cases {
            assert_eq!(f8e4m3_to_f32(bits), value, "{bits:#x}");
        }
        assert!(f8e4m3_to_f32(0x7f).is_nan() && f8e4m3_to_f32(0xff).is_nan());
        let budget = Budget::of("x", 6);
        let bytes = [0x7b, 0x04, 0x01, 0x7c, 0x3c, 0xc0];
        let wide = Stored::F8E5M2.decode(&bytes, false, Shape::from_dims(&[6]), &budget).unwrap();
        let expected = [57344.0, 6.103_515_6e-5, 1.525_878_9e-5, f32::INFINITY, 1.0, -2.0];
        assert_eq!(wide.slice::<f32>().unwrap(), expected);
    }

    #[test]
    fn wide_integers_become_what_holds_them() {
        let decode = |values: &[i64]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
            let shape = Shape::from_dims(&[values.len()]);
            Stored::I64.decode(&bytes, true, shape, &Budget::of("x", bytes.len())).map(|a| a.dtype())
        };
        assert_eq!(decode(&[-1, 7]), Ok(DType::I32));
        assert_eq!(decode(&[4_000_000_000, 7]), Ok(DType::U32));
        assert!(decode(&[4_000_000_000, -1]).unwrap_err().contains("neither i32 nor u32"));
        assert!(decode(&[1 << 40]).unwrap_err().contains("1099511627776"));
    }
}
