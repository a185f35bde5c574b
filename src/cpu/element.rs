//! Element types on the CPU, and memory of one of them.

use super::memory;
use crate::dtype::DType;
use crate::sealed;
use std::fmt;

/// Host memory of one element type, pooled. Changed by nobody but the only [`Array`](super::Array) that points to it.
#[derive(Debug)]
pub enum Buffer {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self {
            Buffer::F32(v) => memory::give(std::mem::take(v)),
            Buffer::F64(v) => memory::give(std::mem::take(v)),
            Buffer::I32(v) => memory::give(std::mem::take(v)),
            Buffer::U32(v) => memory::give(std::mem::take(v)),
            Buffer::U8(v) => memory::give(std::mem::take(v)),
        }
    }
}

/// A Rust type that is a tensor's element: `f32`, `f64`, `i32`, `u32`, `u8`.
///
/// ```
/// use wgrad::{DType, Element};
/// assert_eq!((u8::DTYPE, u8::from_f64(300.0), 7u8.to_f64()), (DType::U8, 255, 7.0));
/// ```
pub trait Element:
    sealed::Element + bytemuck::Pod + Default + PartialOrd + Send + Sync + fmt::Debug + fmt::Display + 'static
{
    /// Its [`DType`].
    const DTYPE: DType;
    /// The nearest value of this type (saturating for integers, as Rust's `as`).
    fn from_f64(v: f64) -> Self;
    /// The value as f64 (exact for every type).
    fn to_f64(self) -> f64;
    #[doc(hidden)]
    fn wrap(v: Vec<Self>) -> Buffer;
    #[doc(hidden)]
    fn unwrap(b: &Buffer) -> Option<&[Self]>;
    #[doc(hidden)]
    fn unwrap_mut(b: &mut Buffer) -> Option<&mut [Self]>;
    /// As Rust's `as`: floats saturate, integers wrap.
    #[doc(hidden)]
    fn convert<B: Element>(self) -> B;
    /// The low bits of an integer (the nearest float).
    #[doc(hidden)]
    fn from_i64(v: i64) -> Self;
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => {$(
        impl sealed::Element for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            fn from_f64(v: f64) -> Self { v as $t }
            fn to_f64(self) -> f64 { self as f64 }
            fn wrap(v: Vec<Self>) -> Buffer { Buffer::$d(v) }
            fn unwrap(b: &Buffer) -> Option<&[Self]> {
                match b { Buffer::$d(v) => Some(v), _ => None }
            }
            fn unwrap_mut(b: &mut Buffer) -> Option<&mut [Self]> {
                match b { Buffer::$d(v) => Some(v), _ => None }
            }
            fn convert<B: Element>(self) -> B {
                if Self::DTYPE.is_float() || B::DTYPE.is_float() {
                    B::from_f64(self.to_f64())
                } else {
                    B::from_i64(self as i64)
                }
            }
            fn from_i64(v: i64) -> Self { v as $t }
        }
    )*};
}
element!(f32 => F32, f64 => F64, i32 => I32, u32 => U32, u8 => U8);

/// Runs an expression with `$T` bound to the Rust type of a [`DType`].
macro_rules! dispatch {
    ($dtype:expr, $T:ident => $e:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $e
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $e
            }
            $crate::dtype::DType::I32 => {
                type $T = i32;
                $e
            }
            $crate::dtype::DType::U32 => {
                type $T = u32;
                $e
            }
            $crate::dtype::DType::U8 => {
                type $T = u8;
                $e
            }
        }
    };
}
pub(crate) use dispatch;

/// As [`dispatch`] for the float types; other types are an error of the operation named.
macro_rules! dispatch_float {
    ($op:expr, $dtype:expr, $T:ident => $e:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $e
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $e
            }
            other => Err($crate::error::Error::dtype($op, format!("needs a float type, got {other}"))),
        }
    };
}
pub(crate) use dispatch_float;
