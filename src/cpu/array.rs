//! A value on the CPU: a strided view of a shared buffer.

use super::memory;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::shape::{MAX_RANK, Shape};
use ndarray::{ArrayViewD, IxDyn, ShapeBuilder};
use std::sync::Arc;

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

/// A value on the CPU: a strided view of a shared buffer.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    buffer: Arc<Buffer>,
    pub shape: Shape,
    /// Element strides; only the first `rank` count.
    pub strides: [isize; MAX_RANK],
    pub offset: usize,
}

fn row_major(shape: &Shape) -> [isize; MAX_RANK] {
    shape.strides().map(|s| s as isize)
}

impl Array {
    /// A contiguous array of a pooled vector (of [`memory::take`]) that may be longer than the shape needs.
    pub fn from_pooled<T: CpuElement>(v: Vec<T>, shape: Shape) -> Array {
        Array { buffer: Arc::new(T::wrap(v)), shape, strides: row_major(&shape), offset: 0 }
    }

    /// A contiguous array of a vector that came from outside.
    pub fn from_vec<T: CpuElement>(v: Vec<T>, shape: Shape) -> Array {
        memory::adopt(&v);
        Self::from_pooled(v, shape)
    }

    pub fn from_slice<T: CpuElement>(v: &[T]) -> Array {
        Self::from_vec(v.to_vec(), Shape::from_dims(&[v.len()]))
    }

    /// A new contiguous array that `fill` writes; it finds unspecified contents and must overwrite all of them.
    pub fn build<T: CpuElement>(shape: Shape, fill: impl FnOnce(&mut [T]) -> Result<()>) -> Result<Array> {
        let mut v = memory::take::<T>(shape.numel())?;
        let result = fill(&mut v[..shape.numel()]);
        let array = Self::from_pooled(v, shape);
        result.map(|()| array)
    }

    /// One element of no dimensions.
    pub fn scalar(value: f64, dtype: DType) -> Array {
        dispatch!(dtype, T => Self::from_vec(vec![T::from_f64(value)], Shape::scalar()))
    }

    pub fn dtype(&self) -> DType {
        match &*self.buffer {
            Buffer::F32(_) => DType::F32,
            Buffer::F64(_) => DType::F64,
            Buffer::I32(_) => DType::I32,
            Buffer::U32(_) => DType::U32,
            Buffer::U8(_) => DType::U8,
        }
    }

    /// The same buffer under another layout.
    pub fn with_layout(&self, shape: Shape, strides: [isize; MAX_RANK], offset: usize) -> Array {
        Array { buffer: self.buffer.clone(), shape, strides, offset }
    }

    /// Whether the elements stand in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1;
        for d in (0..self.shape.rank()).rev() {
            if self.shape[d] != 1 && self.strides[d] != step {
                return false;
            }
            step *= self.shape[d] as isize;
        }
        true
    }

    /// All elements of the buffer, whatever the layout; an error where the type is another.
    pub fn raw<T: CpuElement>(&self) -> Result<&[T]> {
        T::unwrap(&self.buffer)
            .ok_or_else(|| Error::dtype("cpu", format!("expected {}, got {}", T::DTYPE, self.dtype())))
    }

    /// The elements of a contiguous array in order.
    pub fn slice<T: CpuElement>(&self) -> Result<&[T]> {
        if !self.is_contiguous() {
            return Err(Error::Gpu("cpu: a contiguous array was expected".into()));
        }
        let n = self.shape.numel();
        if n == 0 {
            return Ok(&[]);
        }
        Ok(&self.raw::<T>()?[self.offset..self.offset + n])
    }

    /// The same values in row-major order; no copy where they are so already.
    pub fn contiguous(&self) -> Result<Array> {
        if self.is_contiguous() { Ok(self.clone()) } else { self.copied() }
    }

    fn copied(&self) -> Result<Array> {
        dispatch!(self.dtype(), T => Array::build::<T>(self.shape, |dst| self.copy_to(dst)))
    }

    /// Writes the elements in row-major order.
    pub fn copy_to<T: CpuElement>(&self, out: &mut [T]) -> Result<()> {
        super::pointwise::copy_strided(self.raw::<T>()?, &self.shape, &self.strides, self.offset, out);
        Ok(())
    }

    /// The elements as an ndarray view. Strides that run backwards are not representable: callers pass forward views.
    pub fn view<T: CpuElement>(&self) -> Result<ArrayViewD<'_, T>> {
        let data = &self.raw::<T>()?[self.offset.min(self.raw::<T>()?.len())..];
        // ndarray bounds strides by the data even where a zero dimension means that none is taken
        let scale = usize::from(self.shape.numel() > 0);
        let strides: Vec<usize> =
            self.strides[..self.shape.rank()].iter().map(|&s| s as usize * scale).collect();
        ArrayViewD::from_shape(IxDyn(&self.shape).strides(IxDyn(&strides)), data)
            .map_err(|e| Error::Gpu(format!("cpu: layout {:?} {strides:?}: {e}", self.shape)))
    }

    /// Strides of this array broadcast to `shape` (0 along the axes that repeat).
    pub fn broadcast_strides(&self, shape: &Shape) -> [isize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let skip = shape.rank() - self.shape.rank();
        for d in 0..self.shape.rank() {
            strides[d + skip] = if self.shape[d] == 1 { 0 } else { self.strides[d] };
        }
        strides
    }
}
