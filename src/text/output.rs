//! What becomes of the numbers of words and categories.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How words and categories, once they are numbers, are given to a model: Keras's `output_mode`.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::text::{OutputMode, StringLookup};
/// # fn main() -> Result<()> {
/// let colours = StringLookup::new().output(OutputMode::OneHot).with_vocabulary(["red", "blue"])?;
/// let x = colours.lookup(["blue", "mauve"])?; // the first place is that of unknown words
/// assert_eq!((x.dims(), x.to_vec::<f32>()?), (&[2, 3][..], vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0]));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OutputMode {
    /// The numbers, u32: for an [`Embedding`](crate::nn::Embedding).
    Int,
    /// For each number a vector with a 1 at its place, f32: `[n]` and `[n, 1]` become `[n, depth]`, `[n, k]` becomes `[n, k, depth]`.
    OneHot,
    /// For each sample a vector with a 1 at the place of every number in it, f32: `[n, k]` becomes `[n, depth]`.
    MultiHot,
    /// For each sample a vector that says how often each number is in it, f32: `[n, k]` becomes `[n, depth]`.
    Count,
    /// [`Count`](Self::Count), each multiplied by `ln(1 + documents / (1 + documents that have the word))`.
    TfIdf,
}

impl OutputMode {
    /// In a few words, for summaries.
    pub(crate) fn name(self) -> &'static str {
        match self {
            OutputMode::Int => "int",
            OutputMode::OneHot => "one_hot",
            OutputMode::MultiHot => "multi_hot",
            OutputMode::Count => "count",
            OutputMode::TfIdf => "tf_idf",
        }
    }
}

/// The shape of what is made of numbers of a shape, whose first dimension counts samples. A number of its own, where a sample is one
/// or has one, gives its dimension away.
pub(crate) fn encoded_shape<T: Copy>(numbers: &[T], alone: bool, mode: OutputMode, depth: T) -> Vec<T> {
    let kept = match mode {
        OutputMode::Int => return numbers.to_vec(),
        // A layer built for samples of one number may be given samples without a dimension, or one of them.
        OutputMode::OneHot if alone && numbers.len() > 1 => numbers.len() - 1,
        OutputMode::OneHot => numbers.len(),
        _ => numbers.len().saturating_sub(1).max(1),
    };
    numbers[..kept.min(numbers.len())].iter().copied().chain([depth]).collect()
}

/// Numbers (u32, `[n, ..]`, below `depth`; those that are `depth` are dropped) as `mode` says. `alone`: whether the last dimension is
/// one number that gives its dimension away. `weights`, in the numbers' shape, count in place of 1.
pub(crate) fn encode(
    numbers: &Tensor,
    alone: bool,
    mode: OutputMode,
    depth: usize,
    weights: Option<&Tensor>,
) -> Result<Tensor> {
    let shape = encoded_shape(numbers.dims(), alone, mode, depth);
    match mode {
        OutputMode::Int => Ok(numbers.clone()),
        OutputMode::OneHot => numbers.reshape([numbers.numel()])?.one_hot(depth)?.reshape(shape),
        _ => {
            let rows: usize = shape[..shape.len() - 1].iter().product();
            let row = numbers.numel().checked_div(rows).unwrap_or(0);
            let ones = match weights {
                Some(weights) => weights.reshape([rows, row])?,
                None => Tensor::ones([rows, row], numbers.device())?,
            };
            // One more place takes what is dropped.
            let counts =
                Tensor::full_dtype([rows, depth.saturating_add(1)], 0.0, ones.dtype(), numbers.device())?;
            let counts = counts.scatter_add(1, &numbers.reshape([rows, row])?, &ones)?.slice(1, 0, depth)?;
            let counts = match mode {
                OutputMode::MultiHot => counts.gt(0.0)?.cast(counts.dtype())?,
                _ => counts,
            };
            counts.reshape(shape)
        }
    }
}

/// The rows of `[n, length]` numbers, or the one of `[length]`.
pub(super) fn read_rows(op: &str, numbers: &Tensor) -> Result<Vec<Vec<u32>>> {
    let (rows, length) = match (numbers.dtype().is_float(), numbers.dims()) {
        (false, &[length]) => (1, length),
        (false, &[rows, length]) => (rows, length),
        _ => {
            let (dtype, shape) = (numbers.dtype(), numbers.shape());
            let message = format!("expects integers [n, length] or [length], got {dtype} {shape}");
            return Err(Error::shape(op, message));
        }
    };
    let read = numbers.cast(DType::U32)?.to_vec::<u32>().map_err(|e| e.context(op))?;
    Ok((0..rows).map(|row| read[row * length..(row + 1) * length].to_vec()).collect())
}
