//! A value on the CPU: a strided view of a shared buffer.

use super::element::{Buffer, Element, dispatch};
use super::kernels::layout::Strided;
use super::kernels::lines::{aligned, aligned_mut};
use super::memory;
use super::strided::copy_strided;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{MAX_RANK, Shape, Spec};
use std::sync::Arc;

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
    /// A contiguous array of a pooled vector (of [`memory::take`]), whose elements begin where [`aligned`] says.
    pub fn from_pooled<T: Element>(v: Vec<T>, shape: Shape) -> Array {
        let offset = aligned(&v, shape.numel());
        Array { buffer: Arc::new(T::wrap(v)), shape, strides: row_major(&shape), offset }
    }

    /// A contiguous array of a vector that came from outside.
    pub fn from_vec<T: Element>(v: Vec<T>, shape: Shape) -> Array {
        memory::adopt(&v);
        Array { buffer: Arc::new(T::wrap(v)), shape, strides: row_major(&shape), offset: 0 }
    }

    pub fn from_slice<T: Element>(v: &[T]) -> Array {
        Self::from_vec(v.to_vec(), Shape::from_dims(&[v.len()]))
    }

    /// A new contiguous array that `fill` writes; it finds unspecified contents and must overwrite all of them.
    pub fn build<T: Element>(shape: Shape, fill: impl FnOnce(&mut [T]) -> Result<()>) -> Result<Array> {
        let n = shape.numel();
        let mut v = memory::take::<T>(n)?;
        let result = fill(aligned_mut(&mut v, n));
        let array = Self::from_pooled(v, shape);
        result.map(|()| array)
    }

    /// One element of no dimensions.
    pub fn scalar(value: f64, dtype: DType) -> Array {
        dispatch!(dtype, T => Self::from_vec(vec![T::from_f64(value)], Shape::scalar()))
    }

    /// No elements, of a spec that has none.
    pub fn empty(spec: &Spec) -> Array {
        dispatch!(spec.dtype, T => Array::from_vec(Vec::<T>::new(), spec.shape))
    }

    pub fn spec(&self) -> Spec {
        Spec::new(self.shape, self.dtype())
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
    pub fn raw<T: Element>(&self) -> Result<&[T]> {
        T::unwrap(&self.buffer)
            .ok_or_else(|| Error::dtype("cpu", format!("expected {}, got {}", T::DTYPE, self.dtype())))
    }

    /// The elements of a contiguous array in order.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        if !self.is_contiguous() {
            return Err(Error::internal("a contiguous array was expected"));
        }
        let n = self.shape.numel();
        if n == 0 {
            return Ok(&[]);
        }
        Ok(&self.raw::<T>()?[self.offset..self.offset + n])
    }

    /// Whether it can be overwritten: it is contiguous, and nothing else refers to its memory.
    pub fn is_sole(&self) -> bool {
        self.is_contiguous() && Arc::strong_count(&self.buffer) == 1
    }

    /// How many arrays refer to its memory.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.buffer)
    }

    /// The elements of a contiguous array to be overwritten; `None` where something else refers to them.
    pub fn sole_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        if !self.is_contiguous() {
            return None;
        }
        let (at, n) = (self.offset, self.shape.numel());
        T::unwrap_mut(Arc::get_mut(&mut self.buffer)?)?.get_mut(at..at + n)
    }

    /// The same values in row-major order; no copy where they are so already.
    pub fn contiguous(&self) -> Result<Array> {
        if self.is_contiguous() { Ok(self.clone()) } else { self.copied() }
    }

    fn copied(&self) -> Result<Array> {
        dispatch!(self.dtype(), T => Array::build::<T>(self.shape, |dst| self.copy_to(dst)))
    }

    /// Writes the elements in row-major order.
    pub fn copy_to<T: Element>(&self, out: &mut [T]) -> Result<()> {
        copy_strided(self.raw::<T>()?, &self.shape, &self.strides, self.offset, out);
        Ok(())
    }

    /// The elements as kernels take them that read any layout.
    pub fn view<T: Element>(&self) -> Result<Strided<'_, T>> {
        let strides = &self.strides[..self.shape.rank()];
        Strided::new(self.raw::<T>()?, self.offset, &self.shape, strides)
            .ok_or_else(|| Error::internal(format!("layout {:?} {strides:?} leaves the data", self.shape)))
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
