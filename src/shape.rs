//! Shapes: dimensions, strides, NumPy broadcasting, axes; and specs, which are a shape and an element type.

use crate::dtype::DType;
use crate::error::{Error, Result};
use std::fmt;
use std::ops::Deref;

/// The most dimensions a tensor can have: 8.
pub const MAX_RANK: usize = 8;

/// Stands for the one dimension that [`Tensor::reshape`](crate::Tensor::reshape) works out by itself (NumPy's -1).
pub const INFER: usize = usize::MAX;

/// The dimensions of a tensor, outermost first; at most [`MAX_RANK`]. Dereferences to a slice, and is equal to arrays and slices
/// of the same numbers.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::Shape;
/// # fn main() -> Result<()> {
/// let shape = Tensor::zeros([2, 3, 4], Device::Cpu)?.shape();
/// assert_eq!(shape, [2, 3, 4]);
/// assert_eq!((shape.rank(), shape.numel(), shape[2]), (3, 24, 4));
/// assert_eq!(Shape::new(&[3, 1])?.broadcast(&Shape::new(&[4])?), Some(Shape::new(&[3, 4])?));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape of the given dimensions.
    ///
    /// # Errors
    ///
    /// More than [`MAX_RANK`] dimensions, or 2^32 elements or more (dimensions of 0 count as 1).
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            let message = format!("{} dimensions given, at most {MAX_RANK} are supported", dims.len());
            return Err(Error::shape("shape", message));
        }
        // A zero makes the tensor empty but not its strides small.
        let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
        if elements.is_none_or(|n| n > u32::MAX as usize) {
            let message =
                format!("the dimensions of {dims:?} multiply to more than 2^32 - 1; split the tensor");
            return Err(Error::shape("shape", message));
        }
        Ok(Self::from_dims(dims))
    }

    /// As [`new`](Self::new) for dimensions that are already known to be fine.
    pub(crate) fn from_dims(dims: &[usize]) -> Self {
        let mut s = Shape { dims: [0; MAX_RANK], rank: dims.len() as u8 };
        s.dims[..dims.len()].copy_from_slice(dims);
        s
    }

    /// The shape of a scalar: no dimensions, one element.
    pub const fn scalar() -> Self {
        Shape { dims: [0; MAX_RANK], rank: 0 }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements (1 for a scalar).
    pub fn numel(&self) -> usize {
        self.iter().product()
    }

    /// Element strides of a contiguous row-major tensor of this shape.
    pub fn strides(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for d in (0..self.rank()).rev() {
            strides[d] = step;
            step *= self[d];
        }
        strides
    }

    /// Whether it broadcasts to that shape itself.
    pub(crate) fn broadcasts_to(&self, to: &Shape) -> bool {
        self.broadcast(to) == Some(*to)
    }

    /// The shape that both broadcast to by NumPy's rule, if there is one.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let mut out = Shape { dims: [0; MAX_RANK], rank: rank as u8 };
        for i in 0..rank {
            let a = if i < self.rank() { self[self.rank() - 1 - i] } else { 1 };
            let b = if i < other.rank() { other[other.rank() - 1 - i] } else { 1 };
            out.dims[rank - 1 - i] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(out)
    }

    /// Turns an axis that may count from the end (-1 is the last) into an index.
    pub(crate) fn axis(&self, op: &str, axis: isize) -> Result<usize> {
        axis_of(op, axis, self.rank(), self)
    }

    /// This shape without the masked axes, or with 1 in their place.
    pub(crate) fn reduced(&self, mask: &[bool; MAX_RANK], keepdims: bool) -> Shape {
        let mut dims = Vec::with_capacity(self.rank());
        for (d, &n) in self.iter().enumerate() {
            match (mask[d], keepdims) {
                (false, _) => dims.push(n),
                (true, true) => dims.push(1),
                (true, false) => {}
            }
        }
        Shape::from_dims(&dims)
    }
}

/// As [`Shape::axis`], of a shape that may have no sizes yet.
pub(crate) fn axis_of(op: &str, axis: isize, rank: usize, shape: &dyn fmt::Display) -> Result<usize> {
    let rank = rank as isize;
    let a = if axis < 0 { axis + rank } else { axis };
    if a < 0 || a >= rank {
        let message =
            format!("axis {axis} is outside a tensor of shape {shape} (axes {} to {})", -rank, rank - 1);
        return Err(Error::argument(op, message));
    }
    Ok(a as usize)
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl AsRef<[usize]> for Shape {
    fn as_ref(&self) -> &[usize] {
        self
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl PartialEq<[usize]> for Shape {
    fn eq(&self, other: &[usize]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        **self == other[..]
    }
}

/// Shape and element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Spec {
    /// Dimensions, outermost first.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl Spec {
    /// A spec of these two.
    pub fn new(shape: Shape, dtype: DType) -> Self {
        Spec { shape, dtype }
    }

    /// Bytes of a contiguous value.
    pub fn bytes(&self) -> usize {
        self.shape.numel() * self.dtype.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let s = |d: &[usize]| Shape::from_dims(d);
        assert_eq!(s(&[3, 1]).broadcast(&s(&[4])), Some(s(&[3, 4])));
        assert_eq!(s(&[]).broadcast(&s(&[2, 0])), Some(s(&[2, 0])));
        assert_eq!(s(&[1]).broadcast(&s(&[0])), Some(s(&[0])));
        assert_eq!(s(&[3]).broadcast(&s(&[4])), None);
    }

    #[test]
    fn too_many_elements_or_axes_are_errors() {
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[1; 9]).is_err());
        assert!(Shape::from_dims(&[2, 3]).axis("sum", 2).is_err());
        assert_eq!(Shape::from_dims(&[2, 3]).axis("sum", -2).ok(), Some(0));
    }
}
