//! Shapes of samples, in which dimensions may be open.

use crate::error::Result;
use crate::sealed;
use crate::shape::{MAX_RANK, Shape, axis_of};
use std::fmt;
use std::ops::Deref;

/// The shape of one sample, without the batch dimension. A dimension is a size, or open: `None`, as in Keras. An open one may
/// be another in each batch. At most [`MAX_RANK`] dimensions; dereferences to a slice.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Embedding;
/// # fn main() -> Result<()> {
/// // Words by number, in sentences of any length.
/// let model = Sequential::new().add(Embedding::new(1000, 16)).add(Dense::new(4)).build((None,), Device::Cpu)?;
/// assert_eq!(model.output_shape(), [None, Some(4)]);
/// for length in [7, 12] {
///     let words = Tensor::zeros([2, length], Device::Cpu)?.cast(DType::U32)?;
///     assert_eq!(model.infer(&words)?.shape(), [2, length, 4]);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SampleShape {
    dims: [Option<usize>; MAX_RANK],
    rank: u8,
}

impl SampleShape {
    /// A shape of these dimensions.
    ///
    /// # Errors
    ///
    /// There are more than [`MAX_RANK`], or more elements than fit an index, whatever the open dimensions are.
    pub fn new(dims: impl IntoSampleShape) -> Result<SampleShape> {
        dims.into_sample_shape()
    }

    fn of(given: &[Option<usize>]) -> Result<SampleShape> {
        // Checks the rank as well as the sizes.
        Shape::new(&given.iter().map(|d| d.unwrap_or(1)).collect::<Vec<_>>())?;
        let mut dims = [None; MAX_RANK];
        dims[..given.len()].copy_from_slice(given);
        Ok(SampleShape { dims, rank: given.len() as u8 })
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The shape, where no dimension is open.
    pub fn known(&self) -> Option<Shape> {
        let dims: Option<Vec<usize>> = self.iter().copied().collect();
        Some(Shape::from_dims(&dims?))
    }

    /// Whether a sample may have these sizes: one for each dimension, and the given ones where none is open.
    pub fn admits(&self, sizes: &[usize]) -> bool {
        self.rank() == sizes.len() && self.iter().zip(sizes).all(|(d, n)| d.is_none_or(|d| d == *n))
    }

    /// Whether all samples of the other shape are of this one.
    pub(super) fn covers(&self, other: &SampleShape) -> bool {
        self.rank() == other.rank() && self.iter().zip(&**other).all(|(a, b)| a.is_none() || a == b)
    }

    /// The product of the sizes that are known.
    pub(super) fn known_numel(&self) -> usize {
        self.iter().flatten().product()
    }

    /// Turns an axis that may count from the end (-1 is the last) into an index.
    pub(super) fn axis(&self, op: &str, axis: isize) -> Result<usize> {
        axis_of(op, axis, self.rank(), self)
    }
}

impl Deref for SampleShape {
    type Target = [Option<usize>];
    fn deref(&self) -> &[Option<usize>] {
        &self.dims[..self.rank as usize]
    }
}

impl From<Shape> for SampleShape {
    fn from(shape: Shape) -> SampleShape {
        let mut dims = [None; MAX_RANK];
        dims.iter_mut().zip(&*shape).for_each(|(d, &n)| *d = Some(n));
        SampleShape { dims, rank: shape.rank() as u8 }
    }
}

/// As Keras and Python write it: `[None, 64]`.
impl fmt::Display for SampleShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims = self.iter().map(|d| d.map_or("None".into(), |n| n.to_string()));
        write!(f, "[{}]", dims.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for SampleShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq<Shape> for SampleShape {
    fn eq(&self, other: &Shape) -> bool {
        *self == SampleShape::from(*other)
    }
}

impl<const N: usize> PartialEq<[usize; N]> for SampleShape {
    fn eq(&self, other: &[usize; N]) -> bool {
        self.iter().copied().eq(other.iter().map(|&n| Some(n)))
    }
}

impl<const N: usize> PartialEq<[Option<usize>; N]> for SampleShape {
    fn eq(&self, other: &[Option<usize>; N]) -> bool {
        **self == other[..]
    }
}

/// What says the shape of a sample: sizes, as in `[28, 28, 1]`, a tuple in which `None` is an open dimension, as in `(None, 64)`,
/// or a list of `Option<usize>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no shape of a sample",
    note = "write sizes as `[28, 28, 1]`, and open dimensions as `None` in a tuple: `(None, 64)`, `(None,)`"
)]
pub trait IntoSampleShape: sealed::IntoSampleShape {
    /// The shape.
    ///
    /// # Errors
    ///
    /// Those of [`SampleShape::new`].
    fn into_sample_shape(self) -> Result<SampleShape>;
}

/// Sizes, and lists with open dimensions among them.
macro_rules! lists {
    ($([$($generics:tt)*] $of:ty: $list:ident => $dims:expr;)*) => {$(
        impl<$($generics)*> sealed::IntoSampleShape for $of {}

        impl<$($generics)*> IntoSampleShape for $of {
            fn into_sample_shape(self) -> Result<SampleShape> {
                let $list = self;
                $dims
            }
        }
    )*};
}

lists! {
    [S: IntoSampleShape + Clone] &S: shape => shape.clone().into_sample_shape();
    [] SampleShape: shape => Ok(shape);
    [] Shape: shape => Ok(shape.into());
    [] &[usize]: dims => Shape::new(dims).map(SampleShape::from);
    [] Vec<usize>: dims => Shape::new(&dims).map(SampleShape::from);
    [const N: usize] [usize; N]: dims => Shape::new(&dims).map(SampleShape::from);
    [] &[Option<usize>]: dims => SampleShape::of(dims);
    [] Vec<Option<usize>>: dims => SampleShape::of(&dims);
}

/// Tuples and arrays with open dimensions, of each length. Not arrays of any length: of `[]` nobody could say whether it is one
/// of sizes.
macro_rules! mixed {
    ($($n:literal: $($d:ident)+;)*) => {$(
        impl<$($d: Into<Option<usize>>),+> sealed::IntoSampleShape for ($($d,)+) {}

        impl<$($d: Into<Option<usize>>),+> IntoSampleShape for ($($d,)+) {
            #[allow(non_snake_case)]
            fn into_sample_shape(self) -> Result<SampleShape> {
                let ($($d,)+) = self;
                SampleShape::of(&[$($d.into()),+])
            }
        }

        impl sealed::IntoSampleShape for [Option<usize>; $n] {}

        impl IntoSampleShape for [Option<usize>; $n] {
            fn into_sample_shape(self) -> Result<SampleShape> {
                SampleShape::of(&self)
            }
        }
    )*};
}

mixed! {
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
    7: A B C D E F G;
    8: A B C D E F G H;
}

#[cfg(test)]
mod tests {
    use super::*;

    // Borrowed forms are among what is tested.
    #[allow(clippy::needless_borrows_for_generic_args)]
    #[test]
    fn whatever_says_a_shape_says_the_same() {
        let text = |shape: Result<SampleShape>| shape.unwrap().to_string();
        let open = SampleShape::new((None, 64)).unwrap();
        for same in [
            SampleShape::new([None, Some(64)]),
            SampleShape::new((None, Some(64))),
            SampleShape::new(&[None, Some(64)][..]),
            SampleShape::new(vec![None, Some(64)]),
            SampleShape::new(&vec![None, Some(64)]),
            SampleShape::new(&[None, Some(64)]),
            SampleShape::new(&(None, 64)),
            SampleShape::new(&*open),
            SampleShape::new(open),
            SampleShape::new(&open),
        ] {
            assert_eq!(text(same), "[None, 64]");
        }
        let shape = Shape::new(&[28, 28, 1]).unwrap();
        for same in [
            SampleShape::new([28, 28, 1]),
            SampleShape::new((28, 28, 1)),
            SampleShape::new(&[28, 28, 1]),
            SampleShape::new(&[28usize, 28, 1][..]),
            SampleShape::new(&&[28usize, 28, 1][..]),
            SampleShape::new(vec![28usize, 28, 1]),
            SampleShape::new(&vec![28usize, 28, 1]),
            SampleShape::new(shape),
            SampleShape::new(&shape),
        ] {
            assert_eq!(same.as_ref().unwrap().known(), Some(shape));
            assert_eq!(text(same), shape.to_string());
        }
        assert_eq!(text(SampleShape::new([])), "[]");
        assert_eq!(text(SampleShape::new(&[])), "[]");
        assert_eq!(text(SampleShape::new((None,))), "[None]");
        let longest = SampleShape::new((1, None, 3, None, 5, None, 7, None));
        assert_eq!(text(longest), "[1, None, 3, None, 5, None, 7, None]");
        assert_eq!(format!("{open:?}"), "[None, 64]");
    }

    #[test]
    fn sizes_are_checked_whatever_is_open() {
        let message = |shape: Result<SampleShape>| shape.unwrap_err().to_string();
        assert!(message(SampleShape::new([1; 9])).contains("9 dimensions given, at most 8"));
        assert!(message(SampleShape::new(vec![None; 9])).contains("9 dimensions given, at most 8"));
        assert!(message(SampleShape::new((None, usize::MAX, 2))).contains("more than 2^32 - 1"));
        assert!(SampleShape::new((None, u32::MAX as usize)).is_ok());
    }

    #[test]
    fn open_dimensions_admit_any_size() {
        let shape = SampleShape::new((None, 64)).unwrap();
        assert!([0, 1, 70_000].iter().all(|&n| shape.admits(&[n, 64])));
        assert!(!shape.admits(&[64]) && !shape.admits(&[3, 63]) && !shape.admits(&[3, 64, 1]));
        let (known, longer) = (SampleShape::new([5, 64]).unwrap(), SampleShape::new((None, 64, 1)).unwrap());
        assert!(shape.covers(&known) && shape.covers(&shape) && !known.covers(&shape));
        assert!(!shape.covers(&longer) && !shape.covers(&SampleShape::new((None, None)).unwrap()));
        assert!(shape == [None, Some(64)] && known == [5, 64] && known == known.known().unwrap());
        assert!(shape != [5, 64] && known != [5] && shape.known().is_none());
        assert_eq!((shape.axis("softmax", -1).ok(), shape.known_numel()), (Some(1), 64));
        let message = shape.axis("softmax", 2).unwrap_err().to_string();
        assert_eq!(message, "softmax: axis 2 is outside a tensor of shape [None, 64] (axes -2 to 1)");
    }
}
