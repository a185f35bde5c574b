//! Convolution and pooling along one axis, `[n, length, c]`: those of two, over images of one row, which are views. What can be wrong
//! is told in terms of sequences.
// Over 500 lines in one file: the options of each operation, what can be wrong with them, and the operation are read together; half of
// it is their documentation.

use super::weighted::{check_groups, check_groups_transposed, weighted};
use super::{IntoOperand, Tensor};
use crate::error::{Error, Result};
use crate::ops::conv2d::{Conv2dOptions, Padding};
use crate::ops::conv2d_transpose::ConvTranspose2dOptions;
use crate::ops::pool2d::Pool2dOptions;
use crate::ops::require_float;
use crate::ops::view::nothing;
use crate::ops::windows::{MOST, reach, rounded_up, same_border};
use crate::shape::Shape;

/// How a sequence is surrounded by zeros.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::{Conv1dOptions, Padding1d};
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[[1.0f32], [2.0], [4.0]]], Device::Cpu)?; // [1, 3, 1]
/// let sum = Tensor::new([[[1.0f32]], [[1.0]]], Device::Cpu)?; // [2, 1, 1]
/// let y = |padding| x.conv1d(&sum, Conv1dOptions::new().padding(padding))?.to_vec::<f32>();
/// assert_eq!(y(Padding1d::Valid)?, [3.0, 6.0]);
/// assert_eq!(y(Padding1d::Same)?, [3.0, 6.0, 4.0]);
/// assert_eq!(y(Padding1d::Causal)?, [1.0, 3.0, 6.0]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Padding1d {
    /// None: the window stays inside the sequence.
    #[default]
    Valid,
    /// As much as makes the output's length the input's divided by the stride, rounded up; where it is odd, the larger half goes to
    /// the end, as in TensorFlow.
    Same,
    /// As much before the sequence as makes every output one of its own step and those before it.
    Causal,
    /// Steps before and after.
    Explicit([usize; 2]),
}

/// Stride, padding, dilation and groups of a convolution of sequences.
///
/// ```
/// use wgrad::{Conv1dOptions, Padding1d};
/// let options = Conv1dOptions::new().dilation(4).padding(Padding1d::Causal);
/// assert_eq!((options.stride, options.groups), (1, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Conv1dOptions {
    /// Steps from one window to the next.
    pub stride: usize,
    /// Zeros around the sequence.
    pub padding: Padding1d,
    /// Steps from one tap to the next.
    pub dilation: usize,
    /// Input and output channels are split into this many independent groups.
    pub groups: usize,
}

impl Default for Conv1dOptions {
    fn default() -> Self {
        Conv1dOptions { stride: 1, padding: Padding1d::Valid, dilation: 1, groups: 1 }
    }
}

impl Conv1dOptions {
    /// A stride and a dilation of 1, no padding, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Steps from one window to the next.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Zeros around the sequence.
    pub fn padding(self, padding: Padding1d) -> Self {
        Self { padding, ..self }
    }

    /// Steps from one tap to the next.
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// Input and output channels are split into this many independent groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The length of the output, and the padding.
    pub(crate) fn resolve(self, op: &str, length: usize, kernel: usize) -> Result<([usize; 2], usize)> {
        Window { kernel, stride: self.stride, dilation: self.dilation, padding: self.padding }
            .resolve(op, length)
    }

    /// The length of the output for one that may be open.
    pub(crate) fn resolve_open(
        self,
        op: &str,
        length: Option<usize>,
        kernel: usize,
    ) -> Result<Option<usize>> {
        Window { kernel, stride: self.stride, dilation: self.dilation, padding: self.padding }
            .resolve_open(op, length)
    }
}

/// Stride, padding, dilation and groups of a transposed convolution of sequences; lengths as in the table of
/// [`ConvTranspose2dOptions`].
///
/// ```
/// use wgrad::{ConvTranspose1dOptions, Padding1d};
/// let options = ConvTranspose1dOptions::new().stride(2).padding(Padding1d::Same);
/// assert_eq!(options.output_padding, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct ConvTranspose1dOptions {
    /// Steps of the output from one step's window to the next.
    pub stride: usize,
    /// What the convolution that this is the transpose of has around its sequence: it is cut off from the output. Not `Causal`.
    pub padding: Padding1d,
    /// Steps at the end that the lengths leave open; smaller than the stride. With `None` the length is Keras's.
    pub output_padding: Option<usize>,
    /// Steps from one tap to the next.
    pub dilation: usize,
    /// Input and output channels are split into this many independent groups.
    pub groups: usize,
}

impl Default for ConvTranspose1dOptions {
    fn default() -> Self {
        let padding = Padding1d::Valid;
        ConvTranspose1dOptions { stride: 1, padding, output_padding: None, dilation: 1, groups: 1 }
    }
}

impl ConvTranspose1dOptions {
    /// A stride and a dilation of 1, no padding, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Steps of the output from one step's window to the next.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// What is cut off from the output.
    pub fn padding(self, padding: Padding1d) -> Self {
        Self { padding, ..self }
    }

    /// Steps at the end; `None` for Keras's length.
    pub fn output_padding(self, output_padding: impl Into<Option<usize>>) -> Self {
        Self { output_padding: output_padding.into(), ..self }
    }

    /// Steps from one tap to the next.
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// Input and output channels are split into this many independent groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The options of images of one row, once what can be wrong with them has been told.
    fn over_images(self, op: &str, length: Option<usize>, kernel: usize) -> Result<ConvTranspose2dOptions> {
        let ConvTranspose1dOptions { stride, padding, output_padding, dilation, groups } = self;
        at_least_one(op, kernel, stride, dilation)?;
        if length == Some(0) {
            return Err(Error::shape(op, "the sequence has no steps; expected at least one"));
        }
        if let Some(extra) = output_padding.filter(|&p| p > 0 && p >= stride) {
            let message = format!("output padding {extra} must be smaller than the stride {stride}");
            return Err(Error::argument(op, message));
        }
        let window = reach(kernel, dilation);
        let padding = match padding {
            Padding1d::Valid => Padding::Valid,
            Padding1d::Same => Padding::Same,
            Padding1d::Explicit([before, after]) => {
                let full = length.map_or(usize::MAX, |n| (n - 1).saturating_mul(stride));
                let full = full.saturating_add(window).saturating_add(output_padding.unwrap_or(0));
                let cut = before.saturating_add(after);
                if full <= cut {
                    let message = format!(
                        "of {full} steps the padding cuts off {cut}: nothing is left; use a smaller one"
                    );
                    return Err(Error::shape(op, message));
                }
                Padding::Explicit([0, 0, before, after])
            }
            Padding1d::Causal => {
                let message =
                    "a transposed convolution has no causal padding; use Padding1d::Same or Explicit";
                return Err(Error::argument(op, message));
            }
        };
        if padding == Padding::Same && output_padding == Some(0) && window.is_multiple_of(2) {
            let message = format!(
                "with Padding1d::Same and an even window (here {window}) the output padding must be at least 1, got 0"
            );
            return Err(Error::argument(op, message));
        }
        let mut options = ConvTranspose2dOptions::new().stride([1, stride]).padding(padding);
        options = options.output_padding(output_padding.map(|extra| [0, extra]));
        Ok(options.dilation([1, dilation]).groups(groups))
    }

    /// The length of the output for one that may be open.
    pub(crate) fn resolve_open(
        self,
        op: &str,
        length: Option<usize>,
        kernel: usize,
    ) -> Result<Option<usize>> {
        let options = self.over_images(op, length, kernel)?;
        let windows = options.windows([1, kernel]);
        let [_, out] = windows.transposed_open(op, [Some(1), length], options.output_padding)?;
        Ok(out)
    }
}

/// Window, stride and padding of a pooling of sequences.
///
/// ```
/// use wgrad::Pool1dOptions;
/// let options = Pool1dOptions::new(2);
/// assert_eq!(options.stride, 2); // the window's length, where nothing else is said
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Pool1dOptions {
    /// Steps of the window.
    pub kernel: usize,
    /// Steps from one window to the next.
    pub stride: usize,
    /// Border around the sequence.
    pub padding: Padding1d,
    /// Average pooling only: whether places of the border count in the average (as zeros).
    pub count_include_pad: bool,
    /// Whether a window that reaches beyond the border at the end counts, as far as it lies inside (PyTorch's `ceil_mode`).
    // Model files of before have none.
    #[serde(default)]
    pub ceil_mode: bool,
}

impl Pool1dOptions {
    /// A window that moves by its own length, without padding.
    pub fn new(kernel: usize) -> Self {
        let padding = Padding1d::Valid;
        Pool1dOptions { kernel, stride: kernel, padding, count_include_pad: false, ceil_mode: false }
    }

    /// Steps from one window to the next.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Border around the sequence.
    pub fn padding(self, padding: Padding1d) -> Self {
        Self { padding, ..self }
    }

    /// Average pooling only: whether places of the border count in the average (as zeros).
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }

    /// Whether a window that reaches beyond the border at the end counts, as far as it lies inside: the length is rounded up, not
    /// down.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Pool1dOptions;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[[1.0f32], [5.0], [3.0]]], Device::Cpu)?; // [1, 3, 1]
    /// let pairs = Pool1dOptions::new(2).ceil_mode(true);
    /// assert_eq!(x.max_pool1d(pairs)?.to_vec::<f32>()?, [5.0, 3.0]);
    /// # Ok(()) }
    /// ```
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        Self { ceil_mode, ..self }
    }

    /// Steps before and after the sequence, and how many windows there are.
    fn resolve(self, op: &str, length: usize) -> Result<([usize; 2], usize)> {
        self.check_border(op)?;
        let Pool1dOptions { kernel, stride, padding, .. } = self;
        let (border, count) = Window { kernel, stride, dilation: 1, padding }.resolve(op, length)?;
        if !self.ceil_mode || count == 0 {
            return Ok((border, count));
        }
        Ok((border, rounded_up(op, length, border, kernel, stride)?))
    }

    /// The length of the output for one that may be open.
    pub(crate) fn resolve_open(self, op: &str, [length]: [Option<usize>; 1]) -> Result<[Option<usize>; 1]> {
        let (_, out) = self.resolve(op, length.unwrap_or(self.kernel))?;
        Ok([length.map(|_| out)])
    }

    /// The window in a few words.
    pub(crate) fn extent(&self) -> String {
        self.kernel.to_string()
    }

    /// Refuses a border as wide as the window: a window would be all border.
    fn check_border(self, op: &str) -> Result<()> {
        match self.padding {
            Padding1d::Explicit(padding) if padding.iter().any(|&p| p >= self.kernel) => {
                let message = format!(
                    "padding {padding:?} is not smaller than the window {}: a window would be all border",
                    self.kernel
                );
                Err(Error::argument(op, message))
            }
            _ => Ok(()),
        }
    }

    /// A pooling of images of one row, once what can be wrong with it has been told.
    fn over_images(
        self,
        op: &str,
        x: &Tensor,
        pool: impl FnOnce(&Tensor, Pool2dOptions) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let [n, length, c] = *x.dims() else {
            let message = format!("sequence {}: expected [n, length, c]", x.shape());
            return Err(Error::shape(op, message));
        };
        require_float(op, "the sequence", x)?;
        let ([before, after], count) = self.resolve(op, length)?;
        if count == 0 {
            return nothing(Shape::new(&[n, 0, c])?, &[x]);
        }
        let options = Pool2dOptions::new([1, self.kernel]).stride([1, self.stride]);
        let options = options.count_include_pad(self.count_include_pad).ceil_mode(self.ceil_mode);
        let options = options.padding(Padding::Explicit([0, 0, before, after]));
        pool(&row(x)?, options).map_err(|e| e.named(op))?.squeeze(1)
    }
}

/// Where windows of a convolution or pooling lie.
struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: Padding1d,
}

impl Window {
    /// Steps before and after the sequence, and how many windows there are.
    fn resolve(&self, op: &str, length: usize) -> Result<([usize; 2], usize)> {
        let &Window { kernel, stride, dilation, padding } = self;
        at_least_one(op, kernel, stride, dilation)?;
        let reach = reach(kernel, dilation);
        let [before, after] = match padding {
            Padding1d::Valid => [0, 0],
            Padding1d::Same => same_border(length, reach, stride),
            Padding1d::Causal => [reach - 1, 0],
            Padding1d::Explicit(padding) => padding,
        };
        // No windows where there are no steps.
        if length == 0 && matches!(padding, Padding1d::Same | Padding1d::Causal) {
            return Ok(([0, 0], 0));
        }
        let padded = length.saturating_add(before).saturating_add(after);
        if padded.max(stride) > MOST {
            let message = format!(
                "stride {stride} or padding [{before}, {after}] is out of all proportion: at most {MOST}"
            );
            return Err(Error::argument(op, message));
        }
        if padded < reach {
            let message = format!(
                "the window covers {reach} steps, the padded sequence has {padded}; use a smaller kernel or Padding1d::Same"
            );
            return Err(Error::shape(op, message));
        }
        Ok(([before, after], (padded - reach) / stride + 1))
    }

    /// As [`resolve`](Self::resolve), for sequences of any length: where it is open (`None`), so is the output's. What fits no
    /// sequence at all is an error.
    fn resolve_open(&self, op: &str, length: Option<usize>) -> Result<Option<usize>> {
        let (_, out) = self.resolve(op, length.unwrap_or_else(|| reach(self.kernel, self.dilation)))?;
        Ok(length.map(|_| out))
    }
}

fn at_least_one(op: &str, kernel: usize, stride: usize, dilation: usize) -> Result<()> {
    if kernel > 0 && stride > 0 && dilation > 0 {
        return Ok(());
    }
    let message = format!("kernel {kernel}, stride {stride} and dilation {dilation} must all be at least 1");
    Err(Error::argument(op, message))
}

/// An image of one row.
fn row(x: &Tensor) -> Result<Tensor> {
    x.unsqueeze(1)
}

impl Tensor {
    /// 1-D convolution (cross-correlation, as networks have it): this sequence is `[n, length, c]`, the weight `[k, c / groups,
    /// out]`, the result `[n, length', out]`. With padding p in all and `window = dilation * (k - 1) + 1`, `length' = (length + p -
    /// window) / stride + 1`, rounded down; [`Padding1d`](crate::Padding1d) says how wide p is.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Conv1dOptions;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[[1.0f32], [2.0], [4.0]]], Device::Cpu)?; // [1, 3, 1]
    /// let difference = Tensor::new([[[-1.0f32]], [[1.0]]], Device::Cpu)?; // [2, 1, 1]
    /// assert_eq!(x.conv1d(&difference, Conv1dOptions::new())?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Sequence or weight are not of rank 3, no floats, or of different types or devices; the weight is one of other channels;
    /// groups don't divide the channels; a stride or dilation is 0; the window is longer than the padded sequence.
    pub fn conv1d(&self, weight: impl IntoOperand, options: Conv1dOptions) -> Result<Tensor> {
        const OP: &str = "conv1d";
        let w = &weight.into_operand(self)?;
        let ([n, length, _], [k, _, out]) =
            weighted(OP, "sequence", self, w, ["[n, length, c]", "[k, c / groups, out]"])?;
        let groups = options.groups;
        check_groups(OP, "sequence", self, w, groups)?;
        let ([before, after], count) = options.resolve(OP, length, k)?;
        if count == 0 {
            return nothing(Shape::new(&[n, 0, out])?, &[self, w]);
        }
        let over_images = Conv2dOptions::new()
            .stride([1, options.stride])
            .padding(Padding::Explicit([0, 0, before, after]))
            .dilation([1, options.dilation])
            .groups(groups);
        row(self)?.conv2d(w.unsqueeze(0)?, over_images).map_err(|e| e.named(OP))?.squeeze(1)
    }

    /// Transposed 1-D convolution: this sequence is `[n, length, c]`, the weight `[k, out / groups, c]`. The gradient of
    /// [`conv1d`](Self::conv1d) with respect to its sequence, for the same weight.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::ConvTranspose1dOptions;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[[1.0f32], [2.0]]], Device::Cpu)?; // [1, 2, 1]
    /// let weight = Tensor::new([[[1.0f32]], [[10.0]]], Device::Cpu)?; // [2, 1, 1]
    /// let y = x.conv1d_transpose(&weight, ConvTranspose1dOptions::new().stride(2))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 10.0, 2.0, 20.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`conv1d`](Self::conv1d); or an output padding is not smaller than the stride, or the padding is causal or leaves nothing.
    pub fn conv1d_transpose(
        &self,
        weight: impl IntoOperand,
        options: ConvTranspose1dOptions,
    ) -> Result<Tensor> {
        const OP: &str = "conv1d_transpose";
        let w = &weight.into_operand(self)?;
        let ([_, length, _], [k, ..]) =
            weighted(OP, "sequence", self, w, ["[n, length, c]", "[k, out / groups, c]"])?;
        let groups = options.groups;
        check_groups_transposed(OP, "sequence", self, w, groups)?;
        let over_images = options.over_images(OP, Some(length), k)?;
        row(self)?.conv2d_transpose(w.unsqueeze(0)?, over_images).map_err(|e| e.named(OP))?.squeeze(1)
    }

    /// The largest element of each window of `[n, length, c]`, per channel: `[n, length', c]`, lengths as of
    /// [`conv1d`](Self::conv1d). Padding never wins. The first maximum of a window takes the gradient. NaN where there is one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Pool1dOptions;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[[1.0f32], [5.0], [3.0], [2.0]]], Device::Cpu)?; // [1, 4, 1]
    /// assert_eq!(x.max_pool1d(Pool1dOptions::new(2))?.to_vec::<f32>()?, [5.0, 3.0]);
    /// assert_eq!(x.avg_pool1d(Pool1dOptions::new(2))?.to_vec::<f32>()?, [3.0, 2.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is not of rank 3 or no float, a window or stride is 0, a window is longer than the padded sequence, or a border is as
    /// wide as the window.
    pub fn max_pool1d(&self, options: Pool1dOptions) -> Result<Tensor> {
        options.over_images("max_pool1d", self, Tensor::max_pool2d)
    }

    /// The mean of each window of `[n, length, c]`, per channel: `[n, length', c]`, lengths as of [`conv1d`](Self::conv1d). Places
    /// of the border count in it only with [`count_include_pad`](Pool1dOptions::count_include_pad).
    ///
    /// # Errors
    ///
    /// As [`max_pool1d`](Self::max_pool1d).
    pub fn avg_pool1d(&self, options: Pool1dOptions) -> Result<Tensor> {
        options.over_images("avg_pool1d", self, Tensor::avg_pool2d)
    }
}
