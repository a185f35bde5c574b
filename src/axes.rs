//! Which axes of a tensor an operation goes over.

use crate::error::{Error, Result};
use crate::shape::{MAX_RANK, Shape};
use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

/// Axes of a tensor: one, a list, a range, or all of them (`..`). Reductions take whatever becomes `Axes`. Negative axes count
/// from the end: -1 is the last.
///
/// An empty list is no axis, as NumPy's `axis=()`, never all.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones([2, 3, 4], Device::Cpu)?;
/// assert_eq!(x.sum(.., false)?.item::<f32>()?, 24.0); // all
/// assert_eq!(x.sum(-1, false)?.shape(), [2, 3]);      // one
/// assert_eq!(x.sum([0, 2], true)?.shape(), [1, 3, 1]); // several
/// assert_eq!(x.sum(1.., false)?.shape(), [2]);        // all but the first
/// assert_eq!(x.sum(-2.., false)?.shape(), [2]);       // the last two
/// assert_eq!(x.sum([], false)?.shape(), [2, 3, 4]);   // none
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Operations give `Error::Argument` for an axis that the tensor lacks, one that is given twice, or a range that ends before it
/// begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Axes(Selection);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Selection {
    List(Vec<isize>),
    /// Without an end: to the last.
    Range(isize, Option<isize>),
}

impl Axes {
    /// Which axes of a tensor of this shape these are.
    pub(crate) fn mask(&self, op: &str, shape: Shape) -> Result<[bool; MAX_RANK]> {
        let mut mask = [false; MAX_RANK];
        match &self.0 {
            Selection::List(axes) => {
                for &axis in axes {
                    let a = shape.axis(op, axis)?;
                    if mask[a] {
                        return Err(Error::argument(op, format!("axis {axis} is given twice in {axes:?}")));
                    }
                    mask[a] = true;
                }
            }
            &Selection::Range(start, end) => {
                let rank = shape.rank() as isize;
                let from_start = |axis: isize| if axis < 0 { axis.saturating_add(rank) } else { axis };
                let (first, last) = (from_start(start), end.map_or(rank, from_start));
                if first < 0 || last > rank || first > last {
                    let end = end.map_or(String::new(), |end| end.to_string());
                    let message = format!(
                        "axes {start}..{end} are no range within a tensor of shape {shape} (axes {} to {})",
                        -rank,
                        rank - 1
                    );
                    return Err(Error::argument(op, message));
                }
                mask[first as usize..last as usize].fill(true);
            }
        }
        Ok(mask)
    }
}

/// The axes of a mask.
pub(crate) fn of_mask(mask: &[bool; MAX_RANK]) -> Vec<isize> {
    (0..MAX_RANK).filter(|&d| mask[d]).map(|d| d as isize).collect()
}

impl From<RangeFull> for Axes {
    fn from(_: RangeFull) -> Axes {
        Axes(Selection::Range(0, None))
    }
}

impl From<Range<isize>> for Axes {
    fn from(range: Range<isize>) -> Axes {
        Axes(Selection::Range(range.start, Some(range.end)))
    }
}

impl From<RangeFrom<isize>> for Axes {
    fn from(range: RangeFrom<isize>) -> Axes {
        Axes(Selection::Range(range.start, None))
    }
}

impl From<RangeTo<isize>> for Axes {
    fn from(range: RangeTo<isize>) -> Axes {
        Axes(Selection::Range(0, Some(range.end)))
    }
}

impl From<isize> for Axes {
    fn from(axis: isize) -> Axes {
        Axes(Selection::List(vec![axis]))
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Axes {
        Axes(Selection::List(axes.to_vec()))
    }
}

impl<const N: usize> From<&[isize; N]> for Axes {
    fn from(axes: &[isize; N]) -> Axes {
        Axes(Selection::List(axes.to_vec()))
    }
}

impl From<&[isize]> for Axes {
    fn from(axes: &[isize]) -> Axes {
        Axes(Selection::List(axes.to_vec()))
    }
}

impl From<Vec<isize>> for Axes {
    fn from(axes: Vec<isize>) -> Axes {
        Axes(Selection::List(axes))
    }
}

impl From<&Vec<isize>> for Axes {
    fn from(axes: &Vec<isize>) -> Axes {
        Axes(Selection::List(axes.clone()))
    }
}

impl From<&Axes> for Axes {
    fn from(axes: &Axes) -> Axes {
        axes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(axes: impl Into<Axes>, rank: usize) -> Result<Vec<isize>> {
        Ok(of_mask(&axes.into().mask("sum", Shape::from_dims(&vec![2; rank]))?))
    }

    #[test]
    fn axes_are_one_several_a_range_or_all() -> Result<()> {
        assert_eq!(mask(.., 3)?, [0, 1, 2]);
        assert_eq!(mask(.., 0)?, [0; 0]);
        assert_eq!(mask(-1, 3)?, [2]);
        assert_eq!(mask([2, 0], 3)?, [0, 2]);
        let (list, slice) = (vec![-3], &[-2, 0][..]);
        assert_eq!((mask(&list, 3)?, mask(slice, 3)?), (vec![0], vec![0, 1]));
        assert_eq!(mask(vec![1], 3)?, [1]);
        assert_eq!(mask([], 3)?, [0; 0]);
        assert_eq!(mask(1.., 3)?, [1, 2]);
        assert_eq!(mask(1.., 1)?, [0; 0]);
        assert_eq!(mask(-2.., 3)?, [1, 2]);
        assert_eq!(mask(..-1, 3)?, [0, 1]);
        assert_eq!(mask(1..2, 3)?, [1]);
        Ok(())
    }

    #[test]
    fn axes_that_a_tensor_lacks_are_errors() {
        let says = |axes: Axes, part: &str| {
            let message = mask(axes, 2).map(drop).unwrap_err().to_string();
            assert!(message.starts_with("sum: ") && message.contains(part), "{message}");
        };
        says(2.into(), "axis 2 is outside");
        says([1, -1].into(), "axis -1 is given twice in [1, -1]");
        says((0..3).into(), "axes 0..3 are no range within a tensor of shape [2, 2] (axes -2 to 1)");
        says((-3..).into(), "axes -3.. are no range");
        says(Axes::from(Range { start: 2, end: 1 }), "axes 2..1 are no range");
        says((isize::MIN..).into(), "are no range");
    }
}
