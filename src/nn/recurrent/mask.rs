//! Which steps of a batch of sequences count.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A mask of sequences by their lengths (TensorFlow's `sequence_mask`): `[batch, time]` u8 of integers `[batch]`, 1 where a step is
/// within its sequence.
///
/// ```
/// use wgrad::nn::sequence_mask;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let lengths = Tensor::new([2u32, 0, 3], Device::Cpu)?;
/// let mask = sequence_mask(&lengths, 3)?;
/// assert_eq!(mask.to_vec::<u8>()?, [1, 1, 0, 0, 0, 0, 1, 1, 1]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Lengths that are no integers or no vector.
pub fn sequence_mask(lengths: &Tensor, time: usize) -> Result<Tensor> {
    if lengths.dtype().is_float() || lengths.rank() != 1 {
        let message = format!(
            "expects integers [batch], got {} {}; cast them to u32, one for each sequence",
            lengths.dtype(),
            lengths.shape()
        );
        return Err(Error::argument("sequence_mask", message));
    }
    let lengths = if lengths.dtype() == DType::U8 { lengths.cast(DType::U32)? } else { lengths.clone() };
    let steps = Tensor::arange(0, time as i64, lengths.device())?.cast(lengths.dtype())?;
    steps.reshape([1, time])?.lt(lengths.unsqueeze(1)?)
}

/// A mask as rows of the loop, `[time, batch, 1]` of the type of `x`, above 0 where a step counts; `x` is `[batch, time, ..]`.
pub(super) fn rows(mask: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (Some(&n), Some(&time)) = (x.dims().first(), x.dims().get(1)) else {
        return Err(Error::internal("a mask of no sequences"));
    };
    if mask.shape() != [n, time] {
        let message = format!(
            "expects a mask [batch, time] = [{n}, {time}] for {}, got {}; nn::sequence_mask makes one of lengths",
            x.shape(),
            mask.shape()
        );
        return Err(Error::shape("Recurrent::run", message));
    }
    mask.ne(0.0)?.cast(x.dtype())?.transpose()?.unsqueeze(2)
}
