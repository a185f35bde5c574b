//! Elements as files hold them, turned into the types that tensors have.

use crate::cpu::Array;
use crate::shape::Shape;

/// An element type that a file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
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
            Stored::I8 | Stored::U8 | Stored::Bool => 1,
            Stored::F16 | Stored::BF16 | Stored::I16 | Stored::U16 => 2,
            Stored::F32 | Stored::I32 | Stored::U32 => 4,
            Stored::F64 | Stored::I64 | Stored::U64 => 8,
        }
    }

    /// The bytes that so many elements take; `None` where no file could hold them.
    pub fn bytes(self, dims: &[usize]) -> Option<usize> {
        dims.iter().try_fold(self.size(), |n, &d| n.checked_mul(d))
    }

    /// The elements in the type that holds all of them exactly: half precision becomes f32, small integers become i32 (u8
    /// stays, so do flags as 0 and 1), 64-bit integers i32 or u32 if all of them fit.
    ///
    /// # Errors
    ///
    /// The bytes are not as many as the shape needs, or an integer doesn't fit.
    pub fn decode(self, bytes: &[u8], big_endian: bool, shape: Shape) -> Result<Array, String> {
        if self.bytes(&shape) != Some(bytes.len()) {
            return Err(format!("has {} bytes for {shape} of {self:?}", bytes.len()));
        }
        fn each<const N: usize, T>(bytes: &[u8], big_endian: bool, f: impl Fn([u8; N]) -> T) -> Vec<T> {
            let one = |&word: &[u8; N]| {
                let mut word = word;
                if big_endian {
                    word.reverse();
                }
                f(word)
            };
            bytes.as_chunks::<N>().0.iter().map(one).collect()
        }
        macro_rules! array {
            ($f:expr) => {
                Array::from_vec(each(bytes, big_endian, $f), shape)
            };
        }
        Ok(match self {
            Stored::F16 => array!(|w| half_to_f32(u16::from_le_bytes(w))),
            Stored::BF16 => array!(|w| f32::from_bits(u32::from(u16::from_le_bytes(w)) << 16)),
            Stored::F32 => array!(f32::from_le_bytes),
            Stored::F64 => array!(f64::from_le_bytes),
            Stored::I8 => array!(|w| i32::from(i8::from_le_bytes(w))),
            Stored::I16 => array!(|w| i32::from(i16::from_le_bytes(w))),
            Stored::I32 => array!(i32::from_le_bytes),
            Stored::U8 => Array::from_vec(bytes.to_vec(), shape),
            Stored::U16 => array!(|w| i32::from(u16::from_le_bytes(w))),
            Stored::U32 => array!(u32::from_le_bytes),
            Stored::Bool => array!(|[b]: [u8; 1]| u8::from(b != 0)),
            Stored::I64 => narrow(&each(bytes, big_endian, |w| i128::from(i64::from_le_bytes(w))), shape)?,
            Stored::U64 => narrow(&each(bytes, big_endian, |w| i128::from(u64::from_le_bytes(w))), shape)?,
        })
    }
}

/// 64-bit integers as i32, else as u32.
fn narrow(values: &[i128], shape: Shape) -> Result<Array, String> {
    if let Ok(values) = values.iter().map(|&v| i32::try_from(v)).collect::<Result<Vec<_>, _>>() {
        return Ok(Array::from_vec(values, shape));
    }
    if let Ok(values) = values.iter().map(|&v| u32::try_from(v)).collect::<Result<Vec<_>, _>>() {
        return Ok(Array::from_vec(values, shape));
    }
    let mixed = "holds 64-bit integers that fit neither i32 nor u32";
    let far = values.iter().find(|&&v| v < i128::from(i32::MIN) || v > i128::from(u32::MAX));
    Err(far.map_or(mixed.to_string(), |v| format!("{mixed}: {v}")))
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
    fn wide_integers_become_what_holds_them() {
        let decode = |values: &[i64]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
            Stored::I64.decode(&bytes, true, Shape::from_dims(&[values.len()])).map(|a| a.dtype())
        };
        assert_eq!(decode(&[-1, 7]), Ok(DType::I32));
        assert_eq!(decode(&[4_000_000_000, 7]), Ok(DType::U32));
        assert!(decode(&[4_000_000_000, -1]).unwrap_err().contains("neither i32 nor u32"));
        assert!(decode(&[1 << 40]).unwrap_err().contains("1099511627776"));
    }
}
