//! Transposed 2-D convolution: a convolution's gradient with respect to its image, as an operation of its own.

use super::conv2d::{ConvPass, Padding, build, of_open, reach};
use super::{require_float, same_device, same_dtype};
use crate::error::{Error, Result};
use crate::geometry::Conv2dGeometry;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Stride, padding, dilation and groups of a transposed convolution.
///
/// An axis of `n` pixels becomes, with `window = dilation * (kernel - 1) + 1`:
///
/// | padding | size | as in |
/// | --- | --- | --- |
/// | `Valid` | `(n - 1) * stride + max(window, stride)` | Keras |
/// | `Valid`, with output padding `p` | `(n - 1) * stride + window + p` | Keras, PyTorch |
/// | `Same` | `n * stride` | Keras |
/// | `Same`, with output padding `p` | `(n - 1) * stride + window % 2 + p` | Keras |
/// | `Explicit([top, bottom, ..])` | `(n - 1) * stride + window - top - bottom + p` | PyTorch |
///
/// ```
/// use wgrad::{ConvTranspose2dOptions, Padding};
/// let options = ConvTranspose2dOptions::new().stride([2, 2]).padding(Padding::Same);
/// assert_eq!(options.output_padding, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct ConvTranspose2dOptions {
    /// Rows and columns of the output from one pixel's window to the next.
    pub stride: [usize; 2],
    /// What the convolution that this is the transpose of has around its image: it is cut off from the output.
    pub padding: Padding,
    /// Rows and columns at the bottom and the right that the sizes leave open: with a stride, images of several sizes have
    /// a convolution of one size. Smaller than the stride. With `None` the size is Keras's.
    pub output_padding: Option<[usize; 2]>,
    /// Rows and columns from one tap to the next.
    pub dilation: [usize; 2],
    /// Input and output channels are split into this many independent groups.
    pub groups: usize,
}

impl Default for ConvTranspose2dOptions {
    fn default() -> Self {
        ConvTranspose2dOptions {
            stride: [1, 1],
            padding: Padding::Valid,
            output_padding: None,
            dilation: [1, 1],
            groups: 1,
        }
    }
}

impl ConvTranspose2dOptions {
    /// A stride and a dilation of 1, no padding, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows and columns of the output from one pixel's window to the next.
    pub fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    /// What is cut off from the output.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// Rows and columns at the bottom and the right; `None` for Keras's size.
    pub fn output_padding(self, output_padding: impl Into<Option<[usize; 2]>>) -> Self {
        Self { output_padding: output_padding.into(), ..self }
    }

    /// Rows and columns from one tap to the next.
    pub fn dilation(self, dilation: [usize; 2]) -> Self {
        Self { dilation, ..self }
    }

    /// Input and output channels are split into this many independent groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Padding of the convolution and output sizes for one image size: `[top, bottom, left, right]`, `[height, width]`.
    pub(crate) fn resolve(
        &self,
        op: &str,
        size: [usize; 2],
        kernel: [usize; 2],
    ) -> Result<([usize; 4], [usize; 2])> {
        let mut out = [0; 2];
        for d in 0..2 {
            let (axis, stride) = (["rows", "columns"][d], self.stride[d]);
            if size[d] == 0 {
                return Err(Error::shape(op, format!("the image has no {axis}")));
            }
            let window = reach(kernel[d], self.dilation[d]);
            let extra = self.output_padding.map(|p| p[d]);
            if extra.is_some_and(|p| p > 0 && p >= stride) {
                let message = format!(
                    "output padding {:?} must be smaller than the stride {:?}",
                    self.output_padding.unwrap_or_default(),
                    self.stride
                );
                return Err(Error::argument(op, message));
            }
            let spread = (size[d] - 1).saturating_mul(stride);
            let (full, cut) = match (self.padding, extra) {
                (Padding::Valid, Some(extra)) => (window.saturating_add(extra), 0),
                (Padding::Valid, None) => (window.max(stride), 0),
                (Padding::Same, Some(extra)) => (window % 2 + extra, 0),
                (Padding::Same, None) => (stride, 0),
                (Padding::Explicit(p), extra) => {
                    let cut = p[2 * d].saturating_add(p[2 * d + 1]);
                    (window.saturating_add(extra.unwrap_or(0)), cut)
                }
            };
            let full = spread.saturating_add(full);
            if full <= cut {
                let message = format!("of {full} {axis} the padding cuts off {cut}: nothing is left");
                return Err(Error::shape(op, message));
            }
            out[d] = full - cut;
        }
        let (padding, positions) = self.padding.resolve(op, out, kernel, self.stride, self.dilation)?;
        if positions != size {
            // An even window, Padding::Same and no output padding.
            let message = format!(
                "of an image of {size:?} it would be {out:?}, of which a convolution gives {positions:?}; with \
                 Padding::Same and an even window the output padding must be at least 1"
            );
            return Err(Error::argument(op, message));
        }
        Ok((padding, out))
    }

    /// As [`resolve`](Self::resolve), for images of any height or width: where one is open (`None`), so is the output's. What
    /// fits no image at all is an error.
    pub(crate) fn resolve_open(
        &self,
        op: &str,
        size: [Option<usize>; 2],
        kernel: [usize; 2],
    ) -> Result<[Option<usize>; 2]> {
        // So large that something is left of it.
        let fitting = |d: usize| match self.padding {
            Padding::Explicit(p) => {
                let cut = p[2 * d].saturating_add(p[2 * d + 1]);
                (cut / self.stride[d].max(1)).saturating_add(2)
            }
            _ => 2,
        };
        let sizes = [0, 1].map(|d| size[d].unwrap_or_else(|| fitting(d)));
        let (_, out) = self.resolve(op, sizes, kernel).map_err(|e| of_open(e, size))?;
        Ok([0, 1].map(|d| size[d].map(|_| out[d])))
    }
}

/// `x [n, h, w, cin]`, `w [kh, kw, cout / groups, cin]` -> `[n, oh, ow, cout]`.
pub(crate) fn conv2d_transpose(x: &Tensor, w: &Tensor, options: ConvTranspose2dOptions) -> Result<Tensor> {
    const OP: &str = "conv2d_transpose";
    same_device(OP, &[x, w])?;
    same_dtype(OP, x, w)?;
    require_float(OP, "the image", x)?;
    let (sx, sw) = (x.shape(), w.shape());
    if sx.rank() != 4 || sw.rank() != 4 {
        let message =
            format!("image {sx} and weight {sw}: expected [n, h, w, c] and [kh, kw, out / groups, c]");
        return Err(Error::shape(OP, message));
    }
    let groups = options.groups;
    let (n, size, channels) = (sx[0], [sx[1], sx[2]], sx[3]);
    let (kernel, per_group) = ([sw[0], sw[1]], sw[2]);
    if groups == 0 || !channels.is_multiple_of(groups) {
        let message = format!("{channels} input channels can't be split into {groups} groups");
        return Err(Error::argument(OP, message));
    }
    if sw[3] != channels {
        let message = format!(
            "weight {sw} takes {} channels (its last dimension), image {sx} has {channels}; the weight of a transposed \
             convolution is [kh, kw, out / groups, c]",
            sw[3]
        );
        return Err(Error::shape(OP, message));
    }
    let (padding, [h, width]) = options.resolve(OP, size, kernel)?;
    // The convolution whose gradient this is goes the other way: its image is our output.
    let g = Conv2dGeometry {
        n,
        h,
        w: width,
        cin: per_group * groups,
        kh: kernel[0],
        kw: kernel[1],
        cout: channels,
        stride: options.stride,
        padding,
        dilation: options.dilation,
        groups,
        oh: size[0],
        ow: size[1],
    };
    if n * channels * per_group == 0 {
        let shape = Shape::new(&[n, h, width, per_group * groups])?;
        return super::view::nothing(shape, &[x, w]);
    }
    build(ConvPass::InputGrad, g, x, w)
}
