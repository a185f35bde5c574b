//! What can be wrong with a batch and the weight it is convolved with, along one axis or three: the same but for the names. Images
//! have words of their own (`ops::conv2d`).

use super::Tensor;
use crate::error::{Error, Result};
use crate::ops::{require_float, same_device, same_dtype};

/// Sizes of a batch of wholes (sequences, volumes) and of a weight, both of rank R; `expected` are the shapes that an error names.
pub(super) fn weighted<const R: usize>(
    op: &str,
    whole: &str,
    x: &Tensor,
    w: &Tensor,
    expected: [&str; 2],
) -> Result<([usize; R], [usize; R])> {
    same_device(op, &[x, w])?;
    same_dtype(op, x, w)?;
    require_float(op, &format!("the {whole}"), x)?;
    if let (Ok(x), Ok(w)) = (x.dims().try_into(), w.dims().try_into()) {
        return Ok((x, w));
    }
    let [of_x, of_w] = expected;
    let message = format!("{whole} {} and weight {}: expected {of_x} and {of_w}", x.shape(), w.shape());
    Err(Error::shape(op, message))
}

/// Channels in equal groups of those of a weight `[.., c / groups, out]`, and outputs in as many.
pub(super) fn check_groups(op: &str, whole: &str, x: &Tensor, w: &Tensor, groups: usize) -> Result<()> {
    let (&[.., c], &[.., per_group, out]) = (x.dims(), w.dims()) else {
        return Err(Error::internal("groups of what was not checked"));
    };
    if groups > 0
        && per_group.checked_mul(groups) == Some(c)
        && c.is_multiple_of(groups)
        && out.is_multiple_of(groups)
    {
        return Ok(());
    }
    let message = format!(
        "{whole} {} and weight {}, {groups} groups: expected {c} channels in equal groups of the weight's {per_group}, and outputs \
         in as many",
        x.shape(),
        w.shape()
    );
    Err(Error::shape(op, message))
}

/// Channels in equal groups, as many as a transposed convolution's weight `[.., out / groups, c]` takes.
pub(super) fn check_groups_transposed(
    op: &str,
    whole: &str,
    x: &Tensor,
    w: &Tensor,
    groups: usize,
) -> Result<()> {
    let (&[.., c], &[.., taken]) = (x.dims(), w.dims()) else {
        return Err(Error::internal("groups of what was not checked"));
    };
    if taken == c && groups > 0 && c.is_multiple_of(groups) {
        return Ok(());
    }
    let message = format!(
        "{whole} {} and weight {}, {groups} groups: expected the weight's last dimension to be the {c} channels, and these in \
         equal groups",
        x.shape(),
        w.shape()
    );
    Err(Error::shape(op, message))
}
