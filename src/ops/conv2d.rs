//! 2-D convolution (cross-correlation): images NHWC, weights HWIO, as in TensorFlow and Keras.
//!
//! The three operations here, forward and the two gradients, are each other's gradients, so gradients of gradients
//! need nothing more.

use super::windows::{Border, Windows};
use super::{Grads, Lowering, Operation, Pieces, Vjp, require_float, same_device, same_dtype};
use crate::cpu::{Array, Element, dispatch_float, kernels};
use crate::error::{Error, Result};
use crate::geometry::Conv2dGeometry;
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// How an image is surrounded by zeros.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let layer = || Conv2d::new(1, [3, 3]).stride([2, 2]);
/// let size = |layer: Conv2d| Ok::<_, Error>(Sequential::new().add(layer).build([28, 28, 1], Device::Cpu)?.output_shape());
/// assert_eq!(size(layer())?, [13, 13, 1]);
/// assert_eq!(size(layer().padding(Padding::Same))?, [14, 14, 1]);
/// assert_eq!(size(layer().padding(Padding::Explicit([1, 1, 1, 1])))?, [14, 14, 1]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Padding {
    /// None: the window stays inside the image.
    #[default]
    Valid,
    /// As much as makes the output's size the input's divided by the stride, rounded up; where it is odd, the
    /// larger half goes to the bottom and the right, as in TensorFlow.
    Same,
    /// Rows on top and bottom, columns left and right.
    Explicit([usize; 4]),
}

impl Padding {
    /// As many rows and columns on each side: PyTorch's `padding=1` is `symmetric(1)`, whatever the stride.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// assert_eq!(Padding::symmetric(1), Padding::Explicit([1, 1, 1, 1]));
    /// ```
    pub const fn symmetric(pixels: usize) -> Padding {
        Padding::Explicit([pixels; 4])
    }

    pub(crate) fn border(self) -> Border<2> {
        match self {
            Padding::Valid => Border::Valid,
            Padding::Same => Border::Same,
            Padding::Explicit([top, bottom, left, right]) => Border::Explicit([[top, bottom], [left, right]]),
        }
    }
}

/// Top, bottom, left and right.
pub(super) fn sides([[top, bottom], [left, right]]: [[usize; 2]; 2]) -> [usize; 4] {
    [top, bottom, left, right]
}

/// Stride, padding, dilation and groups of a convolution.
///
/// ```
/// use wgrad::{Conv2dOptions, Padding};
/// let options = Conv2dOptions::new().stride([2, 2]).padding(Padding::Same);
/// assert_eq!(options.groups, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Conv2dOptions {
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Zeros around the image.
    pub padding: Padding,
    /// Rows and columns from one tap to the next.
    pub dilation: [usize; 2],
    /// Input and output channels are split into this many independent groups.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 }
    }
}

impl Conv2dOptions {
    /// A stride and a dilation of 1, no padding, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows and columns from one window to the next.
    pub fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    /// Zeros around the image.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ConvPass {
    Forward,
    /// inputs: gradient of the output, weight
    InputGrad,
    /// inputs: image, gradient of the output
    WeightGrad,
}

#[derive(Debug, Hash)]
struct Conv2d {
    pass: ConvPass,
    g: Conv2dGeometry,
}

/// `x [n, h, w, cin]`, `w [kh, kw, cin / groups, cout]` -> `[n, oh, ow, cout]`.
pub(crate) fn conv2d(x: &Tensor, w: &Tensor, options: Conv2dOptions) -> Result<Tensor> {
    const OP: &str = "conv2d";
    same_device(OP, &[x, w])?;
    same_dtype(OP, x, w)?;
    require_float(OP, "the image", x)?;
    let (sx, sw) = (x.shape(), w.shape());
    if sx.rank() != 4 || sw.rank() != 4 {
        let message =
            format!("image {sx} and weight {sw}: expected [n, h, w, c] and [kh, kw, c / groups, out]");
        return Err(Error::shape(OP, message));
    }
    let (n, h, width, cin) = (sx[0], sx[1], sx[2], sx[3]);
    let (kh, kw, wc, cout) = (sw[0], sw[1], sw[2], sw[3]);
    let Conv2dOptions { stride, dilation, groups, .. } = options;
    if groups == 0 || !cin.is_multiple_of(groups) || !cout.is_multiple_of(groups) {
        let message = format!("{cin} input and {cout} output channels can't be split into {groups} groups");
        return Err(Error::argument(OP, message));
    }
    if wc != cin / groups {
        let hint = match sx[1] == wc && cin != wc {
            true => " (the image looks like NCHW; permute it with [0, 2, 3, 1])",
            false => "",
        };
        let message = format!(
            "weight {sw} takes {wc} channels per group, image {sx} has {cin} in {groups} group(s), {} each{hint}",
            cin / groups
        );
        return Err(Error::shape(OP, message));
    }
    let (padding, [oh, ow]) = options.windows([kh, kw]).resolve(OP, [h, width])?;
    let padding = sides(padding);
    let g = Conv2dGeometry { n, h, w: width, cin, kh, kw, cout, stride, padding, dilation, groups, oh, ow };
    if n * cin * cout == 0 {
        let shape = Shape::new(&[n, oh, ow, cout])?;
        return super::view::nothing(shape, &[x, w]);
    }
    build(ConvPass::Forward, g, x, w)
}

pub(super) fn build(pass: ConvPass, g: Conv2dGeometry, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let dims = match pass {
        ConvPass::Forward => [g.n, g.oh, g.ow, g.cout],
        ConvPass::InputGrad => [g.n, g.h, g.w, g.cin],
        ConvPass::WeightGrad => [g.kh, g.kw, g.cin / g.groups, g.cout],
    };
    let op = Conv2d { pass, g };
    Tensor::from_op(op, vec![a.clone(), b.clone()], Shape::new(&dims)?, a.dtype(), a.device())
}

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        match self.pass {
            ConvPass::Forward => "conv2d",
            ConvPass::InputGrad => "conv2d_input_grad",
            ConvPass::WeightGrad => "conv2d_weight_grad",
        }
    }

    fn flops(&self, _inputs: &[Spec], _out: &Spec) -> u64 {
        let g = &self.g;
        // The same for all three passes: every pixel of the output meets every weight once.
        (2 * g.n * g.oh * g.ow * g.cout * g.kh * g.kw * (g.cin / g.groups)) as u64
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let (a, b, g) = (&cx.inputs[0], &cx.inputs[1], cx.grad);
        // (pass, first input, second input) of the gradient with respect to each input
        let rules = match self.pass {
            ConvPass::Forward => [(ConvPass::InputGrad, g, b), (ConvPass::WeightGrad, a, g)],
            ConvPass::InputGrad => [(ConvPass::Forward, g, b), (ConvPass::WeightGrad, g, a)],
            ConvPass::WeightGrad => [(ConvPass::InputGrad, b, g), (ConvPass::Forward, a, g)],
        };
        let grads = rules.into_iter().zip(cx.needs).map(|((pass, first, second), &needed)| {
            if needed { build(pass, self.g.clone(), first, second).map(Some) } else { Ok(None) }
        });
        grads.collect()
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        dispatch_float!(self.name(), out.dtype, T => self.compute::<T>(inputs, out, &|_, _| {}))
    }

    fn pieces(&self) -> Option<&dyn Pieces> {
        if self.pass == ConvPass::WeightGrad { None } else { Some(self) }
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Kernel(Box::new(|t| match self.pass {
            ConvPass::Forward => gpu::conv2d::conv2d_forward(&self.g, t),
            ConvPass::InputGrad => gpu::conv2d::conv2d_input_grad(&self.g, t),
            ConvPass::WeightGrad => gpu::conv2d::conv2d_weight_grad(&self.g, t),
        }))
    }
}

impl Pieces for Conv2d {
    fn cpu_pieces(&self, inputs: &[Array], out: &Spec, finish: kernels::Finish<f32>) -> Result<Array> {
        self.compute(inputs, out, finish)
    }
}

impl Conv2d {
    /// `finish` is for the output and the input's gradient.
    fn compute<T: Element + kernels::float::Float>(
        &self,
        inputs: &[Array],
        out: &Spec,
        finish: kernels::Finish<T>,
    ) -> Result<Array> {
        use kernels::conv2d as k;
        let (a, b) = (inputs[0].contiguous()?, inputs[1].contiguous()?);
        Array::build::<T>(out.shape, |dst| {
            let (a, b) = (a.slice::<T>()?, b.slice::<T>()?);
            match self.pass {
                ConvPass::Forward => k::conv2d_forward(&self.g, a, b, dst, finish),
                ConvPass::InputGrad => k::conv2d_input_grad(&self.g, a, b, dst, finish),
                ConvPass::WeightGrad => k::conv2d_weight_grad(&self.g, a, b, dst),
            }
            Ok(())
        })
    }
}
