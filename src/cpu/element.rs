//! Element types on the CPU, and memory of one of them.

use super::memory;
use crate::dtype::Element;

/// Host memory of one element type, pooled. Never changed once an [`Array`] points to it.
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

/// An element type that tensors can hold: `f32`, `f64`, `i32`, `u32`, `u8`.
pub trait CpuElement: Element {
    #[doc(hidden)]
    fn wrap(v: Vec<Self>) -> Buffer;
    #[doc(hidden)]
    fn unwrap(b: &Buffer) -> Option<&[Self]>;
    /// As Rust's `as`: floats saturate, integers wrap.
    fn convert<B: CpuElement>(self) -> B;
    /// The low bits of an integer (the nearest float).
    fn from_i64(v: i64) -> Self;
}

macro_rules! cpu_element {
    ($($t:ty => $v:ident),*) => {$(
        impl CpuElement for $t {
            fn wrap(v: Vec<Self>) -> Buffer { Buffer::$v(v) }
            #[doc(hidden)]
    fn unwrap(b: &Buffer) -> Option<&[Self]> {
                match b { Buffer::$v(v) => Some(v), _ => None }
            }
            fn convert<B: CpuElement>(self) -> B {
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
cpu_element!(f32 => F32, f64 => F64, i32 => I32, u32 => U32, u8 => U8);

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
