//! Convolution and pooling of volumes, `[n, depth, height, width, c]`: those of images. A convolution's slices of a window become
//! channels of one image, so that all of it is one product; windows of pooling are taken of planes, then along the depth.

use super::resampling::sum_of;
use super::weighted::{check_groups, check_groups_transposed, weighted};
use super::{IntoOperand, Tensor};
use crate::error::{Error, Result};
use crate::ops::conv2d::{Conv2dOptions, Padding};
use crate::ops::conv2d_transpose::ConvTranspose2dOptions;
use crate::ops::pool2d::Pool2dOptions;
use crate::ops::require_float;
use crate::ops::resize::{Interpolation, upsample};
use crate::ops::view::nothing;
use crate::ops::windows::{Border, Windows, extent};
use crate::shape::Shape;

/// How a volume is surrounded by zeros.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::{Conv3dOptions, Padding3d};
/// # fn main() -> Result<()> {
/// let (x, w) = (Tensor::ones([1, 5, 6, 7, 1], Device::Cpu)?, Tensor::ones([3, 3, 3, 1, 1], Device::Cpu)?);
/// let size = |padding| Ok::<_, Error>(x.conv3d(&w, Conv3dOptions::new().padding(padding))?.shape());
/// assert_eq!(size(Padding3d::Valid)?, [1, 3, 4, 5, 1]);
/// assert_eq!(size(Padding3d::Same)?, [1, 5, 6, 7, 1]);
/// assert_eq!(size(Padding3d::Explicit([0, 0, 1, 1, 2, 2]))?, [1, 3, 6, 9, 1]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Padding3d {
    /// None: the window stays inside the volume.
    #[default]
    Valid,
    /// As much as makes the output's size the input's divided by the stride, rounded up; where it is odd, the larger half goes to
    /// the end, as in TensorFlow.
    Same,
    /// Slices in front and behind, rows on top and bottom, columns left and right.
    Explicit([usize; 6]),
}

impl Padding3d {
    fn border(self) -> Border<3> {
        match self {
            Padding3d::Valid => Border::Valid,
            Padding3d::Same => Border::Same,
            Padding3d::Explicit([front, back, top, bottom, left, right]) => {
                Border::Explicit([[front, back], [top, bottom], [left, right]])
            }
        }
    }

    /// That of the planes.
    fn of_planes(self) -> Padding {
        match self {
            Padding3d::Valid => Padding::Valid,
            Padding3d::Same => Padding::Same,
            Padding3d::Explicit([_, _, sides @ ..]) => Padding::Explicit(sides),
        }
    }
}

/// Stride, padding, dilation and groups of a convolution of volumes.
///
/// ```
/// use wgrad::{Conv3dOptions, Padding3d};
/// let options = Conv3dOptions::new().stride([1, 2, 2]).padding(Padding3d::Same);
/// assert_eq!((options.dilation, options.groups), ([1, 1, 1], 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Conv3dOptions {
    /// Slices, rows and columns from one window to the next.
    pub stride: [usize; 3],
    /// Zeros around the volume.
    pub padding: Padding3d,
    /// Slices, rows and columns from one tap to the next.
    pub dilation: [usize; 3],
    /// Input and output channels are split into this many independent groups.
    pub groups: usize,
}

impl Default for Conv3dOptions {
    fn default() -> Self {
        Conv3dOptions { stride: [1; 3], padding: Padding3d::Valid, dilation: [1; 3], groups: 1 }
    }
}

impl Conv3dOptions {
    /// A stride and a dilation of 1, no padding, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Slices, rows and columns from one window to the next.
    pub fn stride(self, stride: [usize; 3]) -> Self {
        Self { stride, ..self }
    }

    /// Zeros around the volume.
    pub fn padding(self, padding: Padding3d) -> Self {
        Self { padding, ..self }
    }

    /// Slices, rows and columns from one tap to the next.
    pub fn dilation(self, dilation: [usize; 3]) -> Self {
        Self { dilation, ..self }
    }

    /// Input and output channels are split into this many independent groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn windows(&self, kernel: [usize; 3]) -> Windows<3> {
        Windows { kernel, stride: self.stride, dilation: self.dilation, border: self.padding.border() }
    }
}

/// Stride, padding, dilation and groups of a transposed convolution of volumes; sizes as in the table of
/// [`ConvTranspose2dOptions`].
///
/// ```
/// use wgrad::{ConvTranspose3dOptions, Padding3d};
/// let options = ConvTranspose3dOptions::new().stride([2, 2, 2]).padding(Padding3d::Same);
/// assert_eq!(options.output_padding, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct ConvTranspose3dOptions {
    /// Slices, rows and columns of the output from one voxel's window to the next.
    pub stride: [usize; 3],
    /// What the convolution that this is the transpose of has around its volume: it is cut off from the output.
    pub padding: Padding3d,
    /// Slices, rows and columns at the end that the sizes leave open; smaller than the stride. With `None` the size is Keras's.
    pub output_padding: Option<[usize; 3]>,
    /// Slices, rows and columns from one tap to the next.
    pub dilation: [usize; 3],
    /// Input and output channels are split into this many independent groups.
    pub groups: usize,
}

impl Default for ConvTranspose3dOptions {
    fn default() -> Self {
        let padding = Padding3d::Valid;
        ConvTranspose3dOptions { stride: [1; 3], padding, output_padding: None, dilation: [1; 3], groups: 1 }
    }
}

impl ConvTranspose3dOptions {
    /// A stride and a dilation of 1, no padding, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Slices, rows and columns of the output from one voxel's window to the next.
    pub fn stride(self, stride: [usize; 3]) -> Self {
        Self { stride, ..self }
    }

    /// What is cut off from the output.
    pub fn padding(self, padding: Padding3d) -> Self {
        Self { padding, ..self }
    }

    /// Slices, rows and columns at the end; `None` for Keras's size.
    pub fn output_padding(self, output_padding: impl Into<Option<[usize; 3]>>) -> Self {
        Self { output_padding: output_padding.into(), ..self }
    }

    /// Slices, rows and columns from one tap to the next.
    pub fn dilation(self, dilation: [usize; 3]) -> Self {
        Self { dilation, ..self }
    }

    /// Input and output channels are split into this many independent groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn windows(&self, kernel: [usize; 3]) -> Windows<3> {
        Windows { kernel, stride: self.stride, dilation: self.dilation, border: self.padding.border() }
    }
}

/// Window, stride and padding of a pooling of volumes.
///
/// ```
/// use wgrad::Pool3dOptions;
/// let options = Pool3dOptions::new([1, 2, 2]);
/// assert_eq!(options.stride, [1, 2, 2]); // the window's size, where nothing else is said
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Pool3dOptions {
    /// Slices, rows and columns of the window.
    pub kernel: [usize; 3],
    /// Slices, rows and columns from one window to the next.
    pub stride: [usize; 3],
    /// Border around the volume.
    pub padding: Padding3d,
    /// Average pooling only: whether places of the border count in the average (as zeros).
    pub count_include_pad: bool,
    /// Whether a window that reaches beyond the border at the end counts, as far as it lies inside (PyTorch's `ceil_mode`).
    pub ceil_mode: bool,
}

impl Pool3dOptions {
    /// A window that moves by its own size, without padding.
    pub fn new(kernel: [usize; 3]) -> Self {
        let padding = Padding3d::Valid;
        Pool3dOptions { kernel, stride: kernel, padding, count_include_pad: false, ceil_mode: false }
    }

    /// Slices, rows and columns from one window to the next.
    pub fn stride(self, stride: [usize; 3]) -> Self {
        Self { stride, ..self }
    }

    /// Border around the volume.
    pub fn padding(self, padding: Padding3d) -> Self {
        Self { padding, ..self }
    }

    /// Average pooling only: whether places of the border count in the average (as zeros).
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }

    /// Whether a window that reaches beyond the border at the end counts, as far as it lies inside: sizes are rounded up, not down.
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        Self { ceil_mode, ..self }
    }

    fn windows(&self) -> Windows<3> {
        let Pool3dOptions { kernel, stride, padding, .. } = *self;
        Windows { kernel, stride, dilation: [1; 3], border: padding.border() }
    }

    /// Output sizes for a volume whose sizes may be open.
    pub(crate) fn resolve_open(&self, op: &str, size: [Option<usize>; 3]) -> Result<[Option<usize>; 3]> {
        self.windows().pooled_open(op, size, self.ceil_mode)
    }

    /// The window in a few words.
    pub(crate) fn extent(&self) -> String {
        extent(&self.kernel)
    }

    /// Pooling of planes, then of what comes of them along the depth. (So the first maximum in row-major order stays the first, and a
    /// mean of means is one over as many places.)
    fn over_images(
        self,
        op: &str,
        x: &Tensor,
        pool: impl Fn(&Tensor, Pool2dOptions) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let [n, d, h, w, c] = *x.dims() else {
            let message = format!("volume {}: expected [n, d, h, w, c]", x.shape());
            return Err(Error::shape(op, message));
        };
        require_float(op, "the volume", x)?;
        let ([depth, rows, columns], [od, oh, ow]) = self.windows().pooled(op, [d, h, w], self.ceil_mode)?;
        let shape = Shape::new(&[n, od, oh, ow, c]).map_err(|e| e.named(op))?;
        if x.numel() == 0 {
            return nothing(shape, &[x]);
        }
        let options = |kernel, stride, [before, after]: [[usize; 2]; 2]| {
            let sides = Padding::Explicit([before[0], before[1], after[0], after[1]]);
            let options = Pool2dOptions::new(kernel).stride(stride).padding(sides).ceil_mode(self.ceil_mode);
            options.count_include_pad(self.count_include_pad)
        };
        let ([kd, kh, kw], [sd, sh, sw]) = (self.kernel, self.stride);
        let planes = pool(&x.reshape([n * d, h, w, c])?, options([kh, kw], [sh, sw], [rows, columns]));
        let planes = planes.map_err(|e| e.named(op))?.reshape([n, d, oh * ow, c])?;
        let pooled = pool(&planes, options([kd, 1], [sd, 1], [depth, [0, 0]]));
        pooled.map_err(|e| e.named(op))?.reshape(shape)
    }
}

/// A weight `[kd, kh, kw, inner, last]` as one of images, `[kh, kw, kd * inner, last]`.
fn of_images(w: &Tensor, [kd, kh, kw, inner, last]: [usize; 5]) -> Result<Tensor> {
    w.permute([1, 2, 0, 3, 4])?.reshape([kh, kw, kd * inner, last])
}

/// What one slice of windows is multiplied by: `[kh, kw, inner, last]`.
fn tap_of(w: &Tensor, tap: usize) -> Result<Tensor> {
    w.slice(0, tap, 1)?.squeeze(0)
}

/// The slices of windows along the depth, of which `count` begin a stride apart: for each tap `[n, count, h * w, groups, c / groups]`.
fn taps(
    x: &Tensor,
    w: &Windows<3>,
    [before, after]: [usize; 2],
    count: usize,
    groups: usize,
) -> Result<Vec<Tensor>> {
    let [n, d, .., c] = *x.dims() else { return Err(Error::internal("taps of what is no volume")) };
    let pixels = x.numel() / (n * d * c);
    let x = x.reshape([n, d, pixels, groups, c / groups])?;
    let x = x.pad([(0, 0), (before, after), (0, 0), (0, 0), (0, 0)], 0.0)?;
    (0..w.kernel[0]).map(|tap| x.slice_step(1, tap * w.dilation[0], count, w.stride[0] as isize)).collect()
}

/// Slices `[n, d, rest]` a stride apart in `[n, count, rest]`, from `first` on, zeros elsewhere; what lies outside is left out.
fn placed(x: &Tensor, stride: usize, first: isize, count: usize) -> Result<Tensor> {
    let [n, d, rest] = *x.dims() else { return Err(Error::internal("places of what is no volume")) };
    let apart = if stride == 1 {
        x.clone()
    } else {
        x.unsqueeze(2)?.pad([(0, 0), (0, 0), (0, stride - 1), (0, 0)], 0.0)?.reshape([n, d * stride, rest])?
    };
    let length = ((d - 1) * stride + 1) as isize;
    let start = (-first).clamp(0, length);
    let end = (count as isize - first).clamp(start, length);
    let inside = apart.slice(1, start as usize, (end - start) as usize)?;
    let before = if start == end { 0 } else { first.max(0) as usize };
    inside.pad([(0, 0), (before, count - before - (end - start) as usize), (0, 0)], 0.0)
}

impl Tensor {
    /// 3-D convolution (cross-correlation, as networks have it): this volume is `[n, d, h, w, c]`, the weight `[kd, kh, kw, c /
    /// groups, out]`, the result `[n, d', h', w', out]`, sizes as of [`conv2d`](Self::conv2d). With as many groups as channels it is
    /// depthwise.
    ///
    /// It takes memory for kd copies of the volume: the slices that a window reads become channels of one image.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Conv3dOptions;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[[[[1.0f32]]], [[[2.0]]], [[[4.0]]]]], Device::Cpu)?; // [1, 3, 1, 1, 1]
    /// let difference = Tensor::new([[[[[-1.0f32]]]], [[[[1.0]]]]], Device::Cpu)?; // [2, 1, 1, 1, 1]
    /// assert_eq!(x.conv3d(&difference, Conv3dOptions::new())?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Volume or weight are not of rank 5, no floats, or of different types or devices; the weight is one of other channels;
    /// groups don't divide the channels; a stride or dilation is 0; the window is larger than the padded volume.
    pub fn conv3d(&self, weight: impl IntoOperand, options: Conv3dOptions) -> Result<Tensor> {
        const OP: &str = "conv3d";
        let w = &weight.into_operand(self)?;
        let (size, kernel) =
            weighted(OP, "volume", self, w, ["[n, d, h, w, c]", "[kd, kh, kw, c / groups, out]"])?;
        let ([n, d, h, width, c], [kd, kh, kw, per_group, out], groups) = (size, kernel, options.groups);
        check_groups(OP, "volume", self, w, groups)?;
        let windows = options.windows([kd, kh, kw]);
        let ([depth, rows, columns], [od, oh, ow]) = windows.resolve(OP, [d, h, width])?;
        let shape = Shape::new(&[n, od, oh, ow, out]).map_err(|e| e.named(OP))?;
        if self.numel() == 0 || out == 0 {
            return nothing(shape, &[self, w]);
        }
        let over_images = Conv2dOptions::new()
            .stride([options.stride[1], options.stride[2]])
            .padding(Padding::Explicit([rows[0], rows[1], columns[0], columns[1]]))
            .dilation([options.dilation[1], options.dilation[2]])
            .groups(groups);
        let slices = taps(self, &windows, depth, od, groups).map_err(|e| e.named(OP))?;
        if per_group == 1 && groups > 1 {
            // What is depthwise stays so: with the slices as channels, groups would have several.
            let tap = |t: usize| {
                let images = slices[t].reshape([n * od, h, width, c])?;
                images.conv2d(tap_of(w, t)?, over_images).map_err(|e| e.named(OP))
            };
            return sum_of((0..kd).map(tap))?.reshape(shape);
        }
        let images = Tensor::stack(&slices, 4).map_err(|e| e.named(OP))?;
        let images = images.reshape([n * od, h, width, kd * c])?;
        images.conv2d(of_images(w, kernel)?, over_images).map_err(|e| e.named(OP))?.reshape(shape)
    }

    /// Transposed 3-D convolution: this volume is `[n, d, h, w, c]`, the weight `[kd, kh, kw, out / groups, c]`. The gradient of
    /// [`conv3d`](Self::conv3d) with respect to its volume, for the same weight.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::ConvTranspose3dOptions;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[[[[1.0f32]]], [[[2.0]]]]], Device::Cpu)?; // [1, 2, 1, 1, 1]
    /// let weight = Tensor::new([[[[[1.0f32]]]], [[[[10.0]]]]], Device::Cpu)?; // [2, 1, 1, 1, 1]
    /// let y = x.conv3d_transpose(&weight, ConvTranspose3dOptions::new().stride([2, 1, 1]))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 10.0, 2.0, 20.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`conv3d`](Self::conv3d); or an output padding is not smaller than the stride, or the padding leaves nothing.
    pub fn conv3d_transpose(
        &self,
        weight: impl IntoOperand,
        options: ConvTranspose3dOptions,
    ) -> Result<Tensor> {
        const OP: &str = "conv3d_transpose";
        let w = &weight.into_operand(self)?;
        let (size, kernel) =
            weighted(OP, "volume", self, w, ["[n, d, h, w, c]", "[kd, kh, kw, out / groups, c]"])?;
        let ([n, d, h, width, c], [kd, kh, kw, per_group, _], groups) = (size, kernel, options.groups);
        check_groups_transposed(OP, "volume", self, w, groups)?;
        let windows = options.windows([kd, kh, kw]);
        let ([[front, _], ..], [od, oh, ow]) =
            windows.transposed(OP, [d, h, width], options.output_padding)?;
        let out = per_group.saturating_mul(groups);
        let shape = Shape::new(&[n, od, oh, ow, out]).map_err(|e| e.named(OP))?;
        if self.numel() == 0 || out == 0 {
            return nothing(shape, &[self, w]);
        }
        let ([stride, sh, sw], [dilation, dh, dw]) = (options.stride, options.dilation);
        let over_images = ConvTranspose2dOptions::new()
            .stride([sh, sw])
            .padding(options.padding.of_planes())
            .output_padding(options.output_padding.map(|[_, h, w]| [h, w]))
            .dilation([dh, dw])
            .groups(groups);
        let images = self.reshape([n * d, h, width, c])?;
        let spread = |w: &Tensor| images.conv2d_transpose(w, over_images).map_err(|e| e.named(OP));
        let place = |slices: &Tensor, t: usize| {
            let slices = slices.reshape([n, d, oh * ow * out])?;
            placed(&slices, stride, (t * dilation) as isize - front as isize, od)
        };
        if per_group == 1 && groups > 1 {
            return sum_of((0..kd).map(|t| place(&spread(&tap_of(w, t)?)?, t)))?.reshape(shape);
        }
        let slices = spread(&of_images(w, kernel)?)?.reshape([n, d, oh * ow, groups, kd, per_group])?;
        sum_of((0..kd).map(|t| place(&slices.slice(4, t, 1)?, t)))?.reshape(shape)
    }

    /// The largest element of each window of `[n, d, h, w, c]`, per channel: `[n, d', h', w', c]`, sizes as of
    /// [`conv3d`](Self::conv3d). Padding never wins. The first maximum of a window in row-major order takes the gradient. NaN where
    /// there is one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Pool3dOptions;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1.0f32, 5.0, 3.0, 2.0], Device::Cpu)?.reshape([1, 2, 2, 1, 1])?;
    /// assert_eq!(x.max_pool3d(Pool3dOptions::new([2, 2, 1]))?.to_vec::<f32>()?, [5.0]);
    /// assert_eq!(x.avg_pool3d(Pool3dOptions::new([2, 1, 1]))?.to_vec::<f32>()?, [2.0, 3.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is not of rank 5 or no float, a window or stride is 0, a window is larger than the padded volume, or a border is as
    /// wide as the window.
    pub fn max_pool3d(&self, options: Pool3dOptions) -> Result<Tensor> {
        options.over_images("max_pool3d", self, Tensor::max_pool2d)
    }

    /// The mean of each window of `[n, d, h, w, c]`, per channel: `[n, d', h', w', c]`, sizes as of [`conv3d`](Self::conv3d). Places
    /// of the border count in it only with [`count_include_pad`](Pool3dOptions::count_include_pad).
    ///
    /// # Errors
    ///
    /// As [`max_pool3d`](Self::max_pool3d).
    pub fn avg_pool3d(&self, options: Pool3dOptions) -> Result<Tensor> {
        options.over_images("avg_pool3d", self, Tensor::avg_pool2d)
    }

    /// A volume made larger by whole factors: `[n, d, h, w, c]` to `[n, d * factor[0], h * factor[1], w * factor[2], c]`. With
    /// [`Interpolation::Bilinear`] along each of the three axes, which is called trilinear.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Interpolation;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[[[[1.0f32]]], [[[3.0]]]]], Device::Cpu)?; // [1, 2, 1, 1, 1]
    /// assert_eq!(x.upsample3d([2, 1, 1], Interpolation::Nearest)?.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
    /// assert_eq!(x.upsample3d([2, 1, 1], Interpolation::Bilinear)?.to_vec::<f32>()?, [1.0, 1.5, 2.5, 3.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is not of rank 5, a factor is 0, or (bilinear) the volume is one of integers.
    pub fn upsample3d(&self, factor: [usize; 3], interpolation: Interpolation) -> Result<Tensor> {
        upsample("upsample3d", self, factor, interpolation)
    }
}
