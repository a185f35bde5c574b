//! Elements repeated, turned, cut apart and masked by where they stand: methods that are made of views and joins.

use super::Tensor;
use crate::error::{Error, Result};
use crate::ops::random::iota;
use crate::ops::view;
use crate::shape::Shape;
use std::borrow::Borrow;

/// What [`Tensor::split`] cuts an axis into: a number of equal parts, or the length of each.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros([6, 2], Device::Cpu)?;
/// assert_eq!(x.split(3, 0)?.len(), 3); // three equal parts
/// assert_eq!(x.split([1, 5], 0)?[1].shape(), [5, 2]); // of these lengths
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Sections(Division);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Division {
    Equal(usize),
    Lengths(Vec<usize>),
}

impl From<usize> for Sections {
    fn from(parts: usize) -> Sections {
        Sections(Division::Equal(parts))
    }
}

impl<const N: usize> From<[usize; N]> for Sections {
    fn from(lengths: [usize; N]) -> Sections {
        Sections(Division::Lengths(lengths.to_vec()))
    }
}

impl From<&[usize]> for Sections {
    fn from(lengths: &[usize]) -> Sections {
        Sections(Division::Lengths(lengths.to_vec()))
    }
}

impl From<Vec<usize>> for Sections {
    fn from(lengths: Vec<usize>) -> Sections {
        Sections(Division::Lengths(lengths))
    }
}

/// Elements in other places of other shapes. Gradients are exact: sums over repetitions, zeros where nothing was taken.
impl Tensor {
    /// The elements moved on by `shift` places along an axis; those that leave at the end come in at the start. A negative
    /// shift moves them back. NumPy's `roll`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::arange(0, 5, Device::Cpu)?;
    /// assert_eq!(x.roll(2, 0)?.to_vec::<i32>()?, [3, 4, 0, 1, 2]);
    /// assert_eq!(x.roll(-1, 0)?.to_vec::<i32>()?, [1, 2, 3, 4, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis.
    pub fn roll(&self, shift: isize, axis: isize) -> Result<Tensor> {
        let n = self.shape()[self.shape().axis("roll", axis)?];
        // An axis has fewer than 2^32 places.
        let by = shift.rem_euclid(n.max(1) as isize) as usize;
        if by == 0 {
            return Ok(self.clone());
        }
        Tensor::concat(&[&self.slice(axis, n - by, by)?, &self.slice(axis, 0, n - by)?], axis)
    }

    /// Each element `count` times in a row along an axis, which becomes so many times as long: NumPy's `repeat`, PyTorch's
    /// `repeat_interleave`. (What PyTorch calls `repeat` is [`tile`](Self::tile).)
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1, 2], [3, 4]], Device::Cpu)?;
    /// assert_eq!(x.repeat(2, 1)?.to_vec::<i32>()?, [1, 1, 2, 2, 3, 3, 4, 4]);
    /// assert_eq!(x.repeat(2, 0)?.to_vec::<i32>()?, [1, 2, 1, 2, 3, 4, 3, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or the result would have 2^32 elements or more.
    #[doc(alias = "repeat_interleave")]
    pub fn repeat(&self, count: usize, axis: isize) -> Result<Tensor> {
        const OP: &str = "repeat";
        let a = self.shape().axis(OP, axis)?;
        let mut dims = self.shape().to_vec();
        // Three axes and the repetition's, whatever the rank: one more than the tensor's could be one too many.
        let (outer, inner) = (dims[..a].iter().product(), dims[a + 1..].iter().product());
        let repeated = Shape::new(&[outer, dims[a], count, inner]).map_err(|e| e.named(OP))?;
        let each = self.reshape([outer, dims[a], 1, inner])?;
        dims[a] *= count;
        Shape::new(&dims).map_err(|e| e.named(OP))?;
        view::broadcast_to(&each, repeated)?.reshape(dims)
    }

    /// The whole tensor `counts[d]` times along each axis d, as floor tiles lie: NumPy's `tile`, PyTorch's `repeat`. The counts
    /// are those of the last axes; further axes are repeated once, and further counts are those of new axes at the front.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1, 2]], Device::Cpu)?;
    /// assert_eq!(x.tile([2])?.to_vec::<i32>()?, [1, 2, 1, 2]);
    /// assert_eq!(x.tile([3, 1])?.shape(), [3, 2]);
    /// assert_eq!(x.tile([5, 1, 1])?.shape(), [5, 1, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The result would have more than [`MAX_RANK`](crate::MAX_RANK) axes, or 2^32 elements or more.
    pub fn tile(&self, counts: impl AsRef<[usize]>) -> Result<Tensor> {
        const OP: &str = "tile";
        let counts = counts.as_ref();
        let rank = self.rank().max(counts.len());
        let mut dims = vec![1; rank - self.rank()];
        dims.extend_from_slice(&self.shape());
        let skip = rank - counts.len();
        let times = |d: usize| if d < skip { 1 } else { counts[d - skip] };
        let tiled: Vec<usize> = (0..rank).map(|d| dims[d].saturating_mul(times(d))).collect();
        Shape::new(&tiled).map_err(|e| e.named(OP))?;
        let mut y = self.reshape(&dims)?;
        // The last axis first: what may have to be copied is smaller then.
        for d in (0..rank).rev().filter(|&d| times(d) != 1) {
            let (outer, inner) = (dims[..d].iter().product(), dims[d..].iter().product());
            let repeated = Shape::new(&[outer, times(d), inner]).map_err(|e| e.named(OP))?;
            dims[d] *= times(d);
            y = view::broadcast_to(&y.reshape([outer, 1, inner])?, repeated)?.reshape(&dims)?;
        }
        Ok(y)
    }

    /// The tensor cut apart along an axis: into so many equal parts (`3`), or into parts of these lengths (`[2, 3]`), which make
    /// up the whole axis. Takes no time and no memory. TensorFlow's `split`; PyTorch's with a list.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let thirds = Tensor::zeros([8, 12], Device::Cpu)?.split(3, -1)?;
    /// assert!(thirds.iter().all(|part| part.shape() == [8, 4]));
    /// let parts = Tensor::arange(0, 5, Device::Cpu)?.split([2, 3], 0)?;
    /// assert_eq!(parts[1].to_vec::<i32>()?, [2, 3, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, the number of parts does not divide its length, or the lengths don't add up to it.
    pub fn split(&self, sections: impl Into<Sections>, axis: isize) -> Result<Vec<Tensor>> {
        const OP: &str = "split";
        let n = self.shape()[self.shape().axis(OP, axis)?];
        let lengths = match sections.into().0 {
            Division::Equal(0) => {
                return Err(Error::argument(OP, "0 parts don't divide anything; ask for at least one"));
            }
            Division::Equal(parts) if n == 0 && parts > MOST_OF_NOTHING => {
                let message = format!("{parts} parts of no elements; at most {MOST_OF_NOTHING} are made");
                return Err(Error::argument(OP, message));
            }
            Division::Equal(parts) if n.is_multiple_of(parts) => vec![n / parts; parts],
            Division::Equal(parts) => {
                let divisors: Vec<String> = (1..=n.min(MOST_DIVISORS))
                    .filter(|d| n.is_multiple_of(*d))
                    .map(|d| d.to_string())
                    .collect();
                let message = format!(
                    "axis {axis} of {} has length {n}, which {parts} parts don't divide ({} do); give the lengths as a list, or \
                     use chunk for parts that differ",
                    self.shape(),
                    divisors.join(", ")
                );
                return Err(Error::argument(OP, message));
            }
            Division::Lengths(lengths) => lengths,
        };
        let total = lengths.iter().fold(0usize, |sum, &len| sum.saturating_add(len));
        if total != n {
            let message = format!(
                "the lengths {lengths:?} add up to {total}, but axis {axis} of {} has length {n}",
                self.shape()
            );
            return Err(Error::argument(OP, message));
        }
        self.cut(&lengths, axis)
    }

    /// As [`split`](Self::split), into as many equal parts as the array has that they become.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let qkv = Tensor::zeros([8, 12], Device::Cpu)?;
    /// let [q, k, v] = qkv.split_into(-1)?;
    /// assert!([q, k, v].iter().all(|part| part.shape() == [8, 4]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`split`](Self::split).
    pub fn split_into<const N: usize>(&self, axis: isize) -> Result<[Tensor; N]> {
        let parts = self.split(N, axis)?;
        parts.try_into().map_err(|_| Error::internal("a tensor was split into another number of parts"))
    }

    /// The tensor cut into at most `count` parts along an axis, all of one length but for the last, which may be shorter: PyTorch's
    /// `chunk`. There are fewer parts where so many of that length are not needed: 5 elements in 4 chunks are 2, 2 and 1. Takes
    /// no time and no memory. Of no elements there is one part, without elements.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let parts = Tensor::arange(0, 7, Device::Cpu)?.chunk(3, 0)?;
    /// assert_eq!(parts.iter().map(|p| p.numel()).collect::<Vec<_>>(), [3, 3, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis, or the count is 0.
    pub fn chunk(&self, count: usize, axis: isize) -> Result<Vec<Tensor>> {
        const OP: &str = "chunk";
        let n = self.shape()[self.shape().axis(OP, axis)?];
        if count == 0 {
            return Err(Error::argument(OP, "0 chunks asked for; ask for at least one"));
        }
        if n == 0 {
            return Ok(vec![self.clone()]);
        }
        let len = n.div_ceil(count);
        let lengths: Vec<usize> = (0..n.div_ceil(len)).map(|i| len.min(n - i * len)).collect();
        self.cut(&lengths, axis)
    }

    /// Pieces of these lengths, which make up the axis.
    fn cut(&self, lengths: &[usize], axis: isize) -> Result<Vec<Tensor>> {
        let mut start = 0;
        let piece = |&len: &usize| {
            let piece = self.slice(axis, start, len);
            start += len;
            piece
        };
        lengths.iter().map(piece).collect()
    }

    /// The lower triangle of the last two axes: elements `[.., i, j]` with `j <= i + k`, and 0 elsewhere, also for what is NaN
    /// there. `k` 0 keeps the diagonal, -1 what is below it, 1 one more diagonal above. The mask of causal attention is
    /// `ones.tril(0)`. NumPy's `tril`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], Device::Cpu)?;
    /// assert_eq!(x.tril(0)?.to_vec::<i32>()?, [1, 0, 0, 4, 5, 0]);
    /// assert_eq!(x.tril(1)?.to_vec::<i32>()?, [1, 2, 0, 4, 5, 6]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor has fewer than two dimensions.
    pub fn tril(&self, k: isize) -> Result<Tensor> {
        self.below("tril", k)?.select(self, 0)
    }

    /// The upper triangle of the last two axes: elements `[.., i, j]` with `j >= i + k`, and 0 elsewhere. NumPy's `triu`; see
    /// [`tril`](Self::tril).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], Device::Cpu)?;
    /// assert_eq!(x.triu(0)?.to_vec::<i32>()?, [1, 2, 3, 0, 5, 6]);
    /// assert_eq!(x.triu(1)?.to_vec::<i32>()?, [0, 2, 3, 0, 0, 6]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`tril`](Self::tril).
    pub fn triu(&self, k: isize) -> Result<Tensor> {
        self.below("triu", k.saturating_sub(1))?.select(0, self)
    }

    /// 1 where `j <= i + k` of the last two axes `[i, j]`.
    fn below(&self, op: &str, k: isize) -> Result<Tensor> {
        let [rows, columns] = self.last_two(op)?;
        // Within the matrix, whose sides add up to no more than fits.
        let k = k.clamp(-(rows as isize), columns as isize);
        let (i, j) = (iota(rows, self.device())?.unsqueeze(1)?, iota(columns, self.device())?);
        if k < 0 { (j + k.unsigned_abs())?.le(i) } else { j.le((i + k as usize)?) }
    }

    fn last_two(&self, op: &str) -> Result<[usize; 2]> {
        match &self.shape()[..] {
            &[.., rows, columns] => Ok([rows, columns]),
            _ => Err(Error::shape(op, format!("shape {} has no two last axes: no matrix", self.shape()))),
        }
    }

    /// The diagonal of two axes, as the last axis of the result: elements whose index along `axis2` is `offset` more than that
    /// along `axis1`. Empty where the offset is outside of the matrix. NumPy's `diagonal`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::arange(0, 6, Device::Cpu)?.reshape([2, 3])?;
    /// assert_eq!(x.diagonal(0, 0, 1)?.to_vec::<i32>()?, [0, 4]);
    /// assert_eq!(x.diagonal(1, 0, 1)?.to_vec::<i32>()?, [1, 5]);
    /// assert_eq!(Tensor::zeros([2, 5, 3], Device::Cpu)?.diagonal(0, 0, 2)?.shape(), [5, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks one of the axes, or they are one and the same.
    pub fn diagonal(&self, offset: isize, axis1: isize, axis2: isize) -> Result<Tensor> {
        const OP: &str = "diagonal";
        let (a, b) = (self.shape().axis(OP, axis1)?, self.shape().axis(OP, axis2)?);
        if a == b {
            let message = format!("axes {axis1} and {axis2} of {} are the same; give two", self.shape());
            return Err(Error::argument(OP, message));
        }
        let others = (0..self.rank()).filter(|&d| d != a && d != b);
        let order: Vec<isize> = others.chain([a, b]).map(|d| d as isize).collect();
        let (rows, columns) = (self.shape()[a], self.shape()[b]);
        let moved = self.permute(order)?;
        let (first, len) = match offset.unsigned_abs() {
            k if offset < 0 => (k.min(rows) * columns, rows.saturating_sub(k).min(columns)),
            k => (k, columns.saturating_sub(k).min(rows)),
        };
        // One row after the other: the next element of the diagonal is a row and a place further on.
        let flat = moved.flatten(-2)?;
        let first = if len == 0 { 0 } else { first };
        view::slice(&flat, -1, first, len, columns as isize + 1)
    }

    /// Of a vector the square matrix that has it on a diagonal, and 0 elsewhere; of a matrix that diagonal. The offset counts
    /// diagonals from the main one, 0, upwards. NumPy's `diag`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1, 2], Device::Cpu)?;
    /// assert_eq!(x.diag(0)?.to_vec::<i32>()?, [1, 0, 0, 2]);
    /// assert_eq!(x.diag(1)?.to_vec::<i32>()?, [0, 1, 0, 0, 0, 2, 0, 0, 0]);
    /// assert_eq!(x.diag(1)?.diag(1)?.to_vec::<i32>()?, [1, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is neither a vector nor a matrix ([`diagonal`](Self::diagonal) is for batches), or the matrix would have 2^32
    /// elements or more.
    pub fn diag(&self, offset: isize) -> Result<Tensor> {
        const OP: &str = "diag";
        match self.rank() {
            1 => {
                let (n, k) = (self.numel(), offset.unsigned_abs());
                let side = n.saturating_add(k);
                Shape::new(&[side, side]).map_err(|e| e.named(OP))?;
                // Each element and n zeros: cut into rows of n, each is a place further than the one before.
                let spread = self.unsqueeze(1)?.pad([(0, 0), (0, n)], 0.0)?.reshape([n * (n + 1)])?;
                let square = spread.slice(0, 0, n * n)?.reshape([n, n])?;
                square.pad(if offset < 0 { [(k, 0), (0, k)] } else { [(0, k), (k, 0)] }, 0.0)
            }
            2 => self.diagonal(offset, 0, 1),
            _ => {
                let message = format!(
                    "shape {} is neither a vector nor a matrix; diagonal takes any two axes",
                    self.shape()
                );
                Err(Error::shape(OP, message))
            }
        }
    }

    /// The sum of the diagonal of the last two axes: `[.., m, n]` to `[..]`; that of u8 is u32, as in [`sum`](Self::sum).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
    /// assert_eq!(x.trace()?.item::<f32>()?, 5.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor has fewer than two dimensions.
    pub fn trace(&self) -> Result<Tensor> {
        self.last_two("trace")?;
        self.diagonal(0, -2, -1)?.sum(-1, false)
    }

    /// The coordinates of a grid: of n vectors n tensors with n axes, element `[i, j, ..]` of which is element i of the first
    /// vector in the first tensor, element j of the second in the second, and so on (NumPy's `meshgrid` with `indexing="ij"`).
    /// A scalar counts as a vector of one element. Takes no memory.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, x) = (Tensor::arange(0, 2, Device::Cpu)?, Tensor::arange(0, 3, Device::Cpu)?);
    /// let grid = Tensor::meshgrid(&[&y, &x])?;
    /// assert_eq!(grid[0].to_vec::<i32>()?, [0, 0, 0, 1, 1, 1]);
    /// assert_eq!(grid[1].to_vec::<i32>()?, [0, 1, 2, 0, 1, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A tensor is no vector, there are more than [`MAX_RANK`](crate::MAX_RANK) of them, or the grid would have 2^32 elements or
    /// more.
    pub fn meshgrid<T: Borrow<Tensor>>(vectors: &[T]) -> Result<Vec<Tensor>> {
        const OP: &str = "meshgrid";
        let vectors: Vec<&Tensor> = vectors.iter().map(Borrow::borrow).collect();
        if let Some((i, t)) = vectors.iter().enumerate().find(|(_, t)| t.rank() > 1) {
            let message = format!("tensor {i} has shape {}; expected vectors", t.shape());
            return Err(Error::shape(OP, message));
        }
        let dims: Vec<usize> = vectors.iter().map(|t| t.numel()).collect();
        let grid = Shape::new(&dims).map_err(|e| e.named(OP))?;
        let along = |(d, t): (usize, &&Tensor)| {
            let mut dims = vec![1; vectors.len()];
            dims[d] = t.numel();
            view::broadcast_to(&t.reshape(dims)?, grid)
        };
        vectors.iter().enumerate().map(along).collect()
    }
}

/// Equal parts of an axis without elements: any number divides it.
const MOST_OF_NOTHING: usize = 1 << 16;

/// Divisors that an error tries: one that lists more helps nobody.
const MOST_DIVISORS: usize = 64;
