//! Transposed 2-D convolution: a convolution's gradient with respect to its image, as an operation of its own.

use super::conv2d::{ConvPass, Padding, build, sides};
use super::windows::Windows;
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

    pub(crate) fn windows(&self, kernel: [usize; 2]) -> Windows<2> {
        Windows { kernel, stride: self.stride, dilation: self.dilation, border: self.padding.border() }
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
    let (padding, [h, width]) = options.windows(kernel).transposed(OP, size, options.output_padding)?;
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
        padding: sides(padding),
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
