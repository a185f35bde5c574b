//! Images made larger by whole factors. Made of views and pointwise operations, so that it is part of whatever kernel
//! reads it, and differentiable to any order.

use super::random::iota;
use super::require_float;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// What stands between the pixels of an image that is made larger, turned or moved. [`Tensor::upsample2d`] and
/// [`UpSample2d`](crate::nn::UpSample2d) have examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interpolation {
    /// The nearest pixel.
    #[default]
    // The aliases: model files of before augmentation shared this type.
    #[serde(alias = "Nearest")]
    Nearest,
    /// A weighted mean of the two nearest rows and columns, that is of four pixels. Where an image is made larger, pixels are
    /// squares whose centres keep their places ("half-pixel centres", PyTorch's `align_corners=False`), and the border's are
    /// repeated outwards, as Keras and PyTorch have it.
    #[serde(alias = "Bilinear")]
    Bilinear,
}

/// `[n, h, w, c]` to `[n, h * factor[0], w * factor[1], c]`; with three factors, `[n, d, h, w, c]` in the same way.
pub(crate) fn upsample<const N: usize>(
    op: &str,
    x: &Tensor,
    factor: [usize; N],
    interpolation: Interpolation,
) -> Result<Tensor> {
    if x.rank() != N + 2 {
        let expected =
            if N == 2 { "image {}: expected [n, h, w, c]" } else { "volume {}: expected [n, d, h, w, c]" };
        return Err(Error::shape(op, expected.replace("{}", &x.shape().to_string())));
    }
    if factor.contains(&0) {
        return Err(Error::argument(op, format!("factors {factor:?} must be at least 1")));
    }
    if interpolation == Interpolation::Bilinear {
        require_float(op, if N == 2 { "the image" } else { "the volume" }, x)?;
    }
    let each = (1..).zip(factor);
    each.into_iter().try_fold(x.clone(), |x, (axis, factor)| stretch(&x, axis, factor, interpolation))
}

/// One axis made `factor` times as long.
fn stretch(x: &Tensor, axis: usize, factor: usize, interpolation: Interpolation) -> Result<Tensor> {
    let shape = x.shape();
    if factor == 1 {
        return Ok(x.clone());
    }
    let mut dims = shape.to_vec();
    dims[axis] = dims[axis].saturating_mul(factor);
    let mut apart = shape.to_vec();
    apart.insert(axis + 1, factor);
    let a = axis as isize;
    let raised = |t: &Tensor| t.unsqueeze(a + 1);
    let n = shape[axis];
    if interpolation == Interpolation::Nearest || n == 0 {
        return raised(x)?.broadcast_to(apart)?.reshape(dims);
    }
    // The centre of copy p of a pixel lies t = (p + 0.5) / factor - 0.5 beside the pixel's own: so much of the next
    // pixel's value, or of the one before where t is negative, and the rest of its own.
    let place = iota(factor, x.device())?.cast(x.dtype())?;
    let t = (((place + 0.5)? / factor as f64)? - 0.5)?;
    let mut across = vec![1; apart.len()];
    across[axis + 1] = factor;
    let t = t.reshape(across)?;
    let before = Tensor::concat(&[&x.slice(a, 0, 1)?, &x.slice(a, 0, n - 1)?], a)?;
    let after = Tensor::concat(&[&x.slice(a, 1, n - 1)?, &x.slice(a, n - 1, 1)?], a)?;
    let own = (raised(x)? * (1.0 - t.abs()?)?)?;
    let neighbours = ((raised(&before)? * t.neg()?.relu()?)? + (raised(&after)? * t.relu()?)?)?;
    (own + neighbours)?.reshape(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_files_of_before_are_read() {
        for (old, new) in [("\"Nearest\"", Interpolation::Nearest), ("\"Bilinear\"", Interpolation::Bilinear)]
        {
            assert_eq!(serde_json::from_str::<Interpolation>(old).unwrap(), new);
        }
    }
}
