//! Max and average pooling over NHWC. The first maximum of a window, in row-major order, wins a tie and takes the
//! gradient; padding never wins.

use super::conv2d::{Padding, sides};
use super::table::Unary;
use super::windows::{Windows, extent};
use super::{Grads, Lowering, Operation, Pieces, Pointwise, Vjp, require_float};
use crate::cpu::{Array, Element, dispatch_float, kernels};
use crate::error::{Error, Result};
use crate::geometry::Pool2dGeometry;
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// Window, stride and padding of a pooling.
///
/// ```
/// use wgrad::Pool2dOptions;
/// let options = Pool2dOptions::new([2, 2]);
/// assert_eq!(options.stride, [2, 2]); // the window's size, where nothing else is said
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Pool2dOptions {
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Border around the image.
    pub padding: Padding,
    /// Average pooling only: whether places of the border count in the average (as zeros).
    pub count_include_pad: bool,
    /// Whether a window that reaches beyond the border at the end counts, as far as it lies inside (PyTorch's `ceil_mode`).
    // Model files of before have none.
    #[serde(default)]
    pub ceil_mode: bool,
}

impl Pool2dOptions {
    /// A window that moves by its own size, without padding.
    pub fn new(kernel: [usize; 2]) -> Self {
        Pool2dOptions {
            kernel,
            stride: kernel,
            padding: Padding::Valid,
            count_include_pad: false,
            ceil_mode: false,
        }
    }

    fn windows(&self) -> Windows<2> {
        let Pool2dOptions { kernel, stride, padding, .. } = *self;
        Windows { kernel, stride, dilation: [1, 1], border: padding.border() }
    }

    /// Output sizes for an image whose sizes may be open.
    pub(crate) fn resolve_open(&self, op: &str, size: [Option<usize>; 2]) -> Result<[Option<usize>; 2]> {
        self.windows().pooled_open(op, size, self.ceil_mode)
    }

    /// The window in a few words.
    pub(crate) fn extent(&self) -> String {
        extent(&self.kernel)
    }

    /// Rows and columns from one window to the next.
    pub fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    /// Border around the image.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// Average pooling only: whether places of the border count in the average (as zeros).
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }

    /// Whether a window that reaches beyond the border at the end counts, as far as it lies inside: sizes are rounded up, not down.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Pool2dOptions;
    /// # fn main() -> Result<()> {
    /// let row = Tensor::new([[[[1.0f32], [2.0], [3.0]]]], Device::Cpu)?; // [1, 1, 3, 1]
    /// let pairs = Pool2dOptions::new([1, 2]);
    /// assert_eq!(row.max_pool2d(pairs)?.to_vec::<f32>()?, [2.0]);
    /// assert_eq!(row.max_pool2d(pairs.ceil_mode(true))?.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok(()) }
    /// ```
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        Self { ceil_mode, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PoolKind {
    Max,
    /// inputs: image, gradient of the output
    MaxGrad,
    /// inputs: image, values; picks the value at each window's maximum (the adjoint of `MaxGrad`)
    MaxGather,
    Avg,
    AvgGrad,
}

#[derive(Debug, Hash)]
struct Pool2d {
    kind: PoolKind,
    g: Pool2dGeometry,
    /// Of a `MaxGrad`: the gradient of the output is zero wherever the output is not positive, so the result is zero
    /// wherever the image is not.
    masked: bool,
}

fn pool(kind: PoolKind, op: &str, x: &Tensor, options: Pool2dOptions) -> Result<Tensor> {
    require_float(op, "the image", x)?;
    let shape = x.shape();
    if shape.rank() != 4 {
        return Err(Error::shape(op, format!("image {shape}: expected [n, h, w, c]")));
    }
    let Pool2dOptions { kernel, stride, count_include_pad, .. } = options;
    let (n, h, w, c) = (shape[0], shape[1], shape[2], shape[3]);
    let (padding, [oh, ow]) = options.windows().pooled(op, [h, w], options.ceil_mode)?;
    let padding = sides(padding);
    let g = Pool2dGeometry { n, h, w, c, kernel, stride, padding, count_include_pad, oh, ow };
    if n * c == 0 {
        return super::view::nothing(Shape::new(&[n, oh, ow, c])?, &[x]);
    }
    build(kind, g, &[x], false)
}

pub(crate) fn max_pool2d(x: &Tensor, options: Pool2dOptions) -> Result<Tensor> {
    pool(PoolKind::Max, "max_pool2d", x, options)
}

pub(crate) fn avg_pool2d(x: &Tensor, options: Pool2dOptions) -> Result<Tensor> {
    pool(PoolKind::Avg, "avg_pool2d", x, options)
}

/// Rows and columns that pooling to a size gives at most, where the image has fewer.
const MOST_ADAPTIVE: usize = 1 << 20;

/// Refuses what no image of `[height, width]` can be pooled to.
pub(crate) fn check_adaptive(op: &str, image: [usize; 2], size: [usize; 2]) -> Result<()> {
    if size.contains(&0) || (0..2).any(|d| size[d] > MOST_ADAPTIVE.max(image[d])) {
        let message =
            format!("size {size:?}: expected at least 1 and at most {MOST_ADAPTIVE} rows and columns");
        return Err(Error::argument(op, message));
    }
    if image.contains(&0) {
        return Err(Error::shape(op, format!("an image of {image:?} has nothing to take windows of")));
    }
    Ok(())
}

fn build(kind: PoolKind, g: Pool2dGeometry, inputs: &[&Tensor], masked: bool) -> Result<Tensor> {
    let dims = match kind {
        PoolKind::Max | PoolKind::MaxGather | PoolKind::Avg => [g.n, g.oh, g.ow, g.c],
        PoolKind::MaxGrad | PoolKind::AvgGrad => [g.n, g.h, g.w, g.c],
    };
    let x = inputs[0];
    let list = inputs.iter().map(|&t| t.clone()).collect();
    Tensor::from_op(Pool2d { kind, g, masked }, list, Shape::new(&dims)?, x.dtype(), x.device())
}

impl Operation for Pool2d {
    fn name(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "max_pool2d",
            PoolKind::MaxGrad => "max_pool2d_grad",
            PoolKind::MaxGather => "max_pool2d_gather",
            PoolKind::Avg => "avg_pool2d",
            PoolKind::AvgGrad => "avg_pool2d_grad",
        }
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let g = self.g.clone();
        let x = &cx.inputs[0];
        Ok(match self.kind {
            // A gradient goes to a place that has the output's value, so where the image is a ReLU's output, the ReLU's
            // mask can be taken from the output of the pooling: the same gradient, masked before it is spread.
            PoolKind::Max if matches!(x.0.op.pointwise(), Some(Pointwise::Unary(Unary::Relu))) => {
                let masked = cx.output.gt(0.0)?.select(cx.grad, &cx.grad.zeros_like()?)?;
                vec![Some(build(PoolKind::MaxGrad, g, &[x, &masked], true)?)]
            }
            PoolKind::Max => vec![Some(build(PoolKind::MaxGrad, g, &[x, cx.grad], false)?)],
            // which element is the maximum does not change under a small step: no gradient flows to the image
            PoolKind::MaxGrad => vec![None, Some(build(PoolKind::MaxGather, g, &[x, cx.grad], false)?)],
            PoolKind::MaxGather => vec![None, Some(build(PoolKind::MaxGrad, g, &[x, cx.grad], false)?)],
            PoolKind::Avg => vec![Some(build(PoolKind::AvgGrad, g, &[cx.grad], false)?)],
            PoolKind::AvgGrad => vec![Some(build(PoolKind::Avg, g, &[cx.grad], false)?)],
        })
    }

    fn vanishes_with_input(&self) -> bool {
        self.masked
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        dispatch_float!(self.name(), out.dtype, T => self.compute::<T>(inputs, out, &|_, _| {}))
    }

    fn pieces(&self) -> Option<&dyn Pieces> {
        if self.kind == PoolKind::MaxGrad { Some(self) } else { None }
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        use gpu::pool2d as k;
        Lowering::Kernel(Box::new(|t| match self.kind {
            PoolKind::Max => k::max_pool2d_forward(t, &self.g),
            PoolKind::MaxGrad => k::max_pool2d_grad(t, &self.g),
            PoolKind::MaxGather => k::max_pool2d_gather(t, &self.g),
            PoolKind::Avg => k::avg_pool2d_forward(t, &self.g),
            PoolKind::AvgGrad => k::avg_pool2d_grad(t, &self.g),
        }))
    }
}

impl Pieces for Pool2d {
    fn cpu_pieces(&self, inputs: &[Array], out: &Spec, finish: kernels::Finish<f32>) -> Result<Array> {
        self.compute(inputs, out, finish)
    }
}

impl Pool2d {
    /// `finish` goes to the gradient of max-pooling alone.
    fn compute<T: Element + kernels::float::Float>(
        &self,
        inputs: &[Array],
        out: &Spec,
        finish: kernels::Finish<T>,
    ) -> Result<Array> {
        use kernels::pool2d as k;
        let x = inputs[0].contiguous()?;
        let second = inputs.get(1).map(Array::contiguous).transpose()?;
        Array::build::<T>(out.shape, |dst| {
            let x = x.slice::<T>()?;
            let second = second.as_ref().map(|s| s.slice::<T>()).transpose()?.unwrap_or(&[]);
            match self.kind {
                PoolKind::Max => k::max_pool2d_forward(&self.g, x, dst),
                PoolKind::MaxGrad => k::max_pool2d_input_grad(&self.g, x, second, dst, finish),
                PoolKind::MaxGather => k::max_pool2d_gather(&self.g, x, second, dst),
                PoolKind::Avg => k::avg_pool2d_forward(&self.g, x, dst),
                PoolKind::AvgGrad => k::avg_pool2d_input_grad(&self.g, x, dst),
            }
            Ok(())
        })
    }
}
