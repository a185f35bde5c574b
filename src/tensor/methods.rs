//! The operations that compute something, as methods.

use super::{IntoOperand, Tensor};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::conv2d::Conv2dOptions;
use crate::ops::conv2d_transpose::{ConvTranspose2dOptions, conv2d_transpose};
use crate::ops::pool2d::Pool2dOptions;
use crate::ops::resize::{Interpolation, upsample};
use crate::ops::table::{Binary, Compare, Unary};
use crate::ops::{conv2d, cross_entropy, matmul, pointwise, pool2d, softmax};

macro_rules! unary_methods {
    ($errors:literal: $($(#[$doc:meta])* $name:ident $variant:ident;)*) => {
        /// Functions of each element. NaN gives NaN, and an infinity the limit. Their gradients are exact; ReLU's is 0 at 0 and
        /// at NaN. `docs/accuracy.md` has the error of each on each device.
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            #[doc = $errors]
            pub fn $name(&self) -> Result<Tensor> { pointwise::unary(Unary::$variant, self) }
        )*}
    };
}

unary_methods! {
    "None: integers stay integers, and wrap.":
    /// `-x`
    neg Neg;
    /// `|x|`
    abs Abs;
    /// `x * x`
    square Square;
    /// -1, 0 or 1.
    sign Sign;
    /// `max(x, 0)`
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-1.0f32, 0.0, 2.0], Device::Cpu)?.watch()?;
    /// let y = x.relu()?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 2.0]);
    /// assert_eq!(y.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?, [0.0, 0.0, 1.0]);
    /// # Ok(()) }
    /// ```
    relu Relu;
}

unary_methods! {
    "Integers: cast them to f32.":
    /// `e^x`
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([0.0f32, f32::NEG_INFINITY], Device::Cpu)?;
    /// assert_eq!(x.exp()?.to_vec::<f32>()?, [1.0, 0.0]);
    /// # Ok(()) }
    /// ```
    exp Exp;
    /// The natural logarithm; minus infinity at 0, NaN below.
    log Log;
    /// The square root; NaN below 0.
    sqrt Sqrt;
    /// `1 / x`
    reciprocal Reciprocal;
    /// The sine of an angle in radians.
    sin Sin;
    /// The cosine of an angle in radians.
    cos Cos;
    /// The tangent of an angle in radians.
    tan Tan;
    /// The arc sine, in radians, within -pi/2 and pi/2; NaN beyond -1 and 1, where the slope is infinite.
    asin Asin;
    /// The arc cosine, in radians, from 0 to pi; NaN beyond -1 and 1, where the slope is infinite.
    acos Acos;
    /// The arc tangent, in radians, within -pi/2 and pi/2. [`atan2`](Tensor::atan2) knows the quadrant, too.
    atan Atan;
    /// The inverse of [`sinh`](Tensor::sinh).
    asinh Asinh;
    /// The inverse of [`cosh`](Tensor::cosh), from 0 on; NaN below 1.
    acosh Acosh;
    /// The inverse of [`tanh`](Tensor::tanh); infinite at -1 and 1, NaN beyond.
    atanh Atanh;
    /// The largest whole number not above x. The gradient is 0, as that of the other ways to round.
    floor Floor;
    /// The smallest whole number not below x.
    ceil Ceil;
    /// x without the digits behind the point.
    trunc Trunc;
    /// The nearest whole number; halfway between two the even one, as in NumPy and PyTorch. (Rust's `f32::round` goes away from 0
    /// there.)
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-1.5f32, 0.5, 1.5, 2.5], Device::Cpu)?;
    /// assert_eq!(x.round()?.to_vec::<f32>()?, [-2.0, 0.0, 2.0, 2.0]);
    /// assert_eq!(x.trunc()?.to_vec::<f32>()?, [-1.0, 0.0, 1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    round Round;
    /// `x` above 0, else `e^x - 1` (Clevert et al., 2016).
    elu Elu;
    /// `1 / (1 + e^-x)`
    sigmoid Sigmoid;
    /// The hyperbolic tangent.
    tanh Tanh;
    /// `x * sigmoid(x)`, also called swish (Elfwing et al., 2018; Ramachandran et al., 2017).
    silu Silu;
    /// `x * Phi(x)` with the normal distribution function: the exact form (Hendrycks and Gimpel, 2016).
    gelu Gelu;
    /// The tanh approximation of [`gelu`](Tensor::gelu): `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
    gelu_tanh GeluTanh;
    /// `log(1 + e^x)`, without overflow.
    softplus Softplus;
    /// The error function.
    erf Erf;
    /// `e^x - 1`, exact for small x.
    expm1 Expm1;
    /// `log(1 + x)`, exact for small x.
    log1p Log1p;
    /// `x / (1 + |x|)`
    softsign Softsign;
    /// `x * tanh(softplus(x))` (Misra, 2019).
    mish Mish;
    /// `log(cosh(x))`, without overflow, and exact for small x.
    log_cosh LogCosh;
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident $variant:ident;)*) => {
        /// Functions of two elements. Shapes broadcast by NumPy's rule; the other side may be a tensor, a variable or a number.
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// Shapes that don't broadcast, tensors of different types or devices, an element type that the function is not one of, a
            /// number that the element type lacks.
            pub fn $name(&self, other: impl IntoOperand) -> Result<Tensor> {
                pointwise::binary(Binary::$variant, self, &other.into_operand(self)?)
            }
        )*}
    };
}

binary_methods! {
    /// The larger of both; at a tie each side takes half of the gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([[1.0f32, 5.0]], Device::Cpu)?;
    /// assert_eq!(x.maximum(2.0)?.to_vec::<f32>()?, [2.0, 5.0]);
    /// assert_eq!(x.maximum(&Tensor::zeros([3, 1], Device::Cpu)?)?.shape(), [3, 2]); // shapes broadcast
    /// # Ok(()) }
    /// ```
    maximum Maximum;
    /// The smaller of both; at a tie each side takes half of the gradient.
    minimum Minimum;
    /// The angle of the point whose coordinates are the other side (x) and this one (y), in radians from -pi to pi: the arc tangent
    /// of `self / other` in the right quadrant. The signs of zeros count, as in C99: `0.atan2(-0.0)` is pi. Floats only. The gradient
    /// at the origin is 0.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, x) = (Tensor::new([1.0f32, 1.0, 0.0], Device::Cpu)?, Tensor::new([1.0f32, -1.0, -1.0], Device::Cpu)?);
    /// wgrad::testing::assert_close(y.atan2(&x)?, [0.7853982, 2.3561945, 3.1415927], 1e-6, 0.0)?;
    /// # Ok(()) }
    /// ```
    atan2 Atan2;
}

macro_rules! compare_methods {
    ($($(#[$doc:meta])* $name:ident $variant:ident;)*) => {
        /// Comparisons: u8, 1 where true and 0 where not.
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// Shapes that don't broadcast, tensors of different types or devices, a number that the element type lacks.
            pub fn $name(&self, other: impl IntoOperand) -> Result<Tensor> {
                pointwise::compare(Compare::$variant, self, &other.into_operand(self)?)
            }
        )*}
    };
}

compare_methods! {
    /// `self == other`
    eq Eq;
    /// `self != other`
    ne Ne;
    /// `self < other`
    lt Lt;
    /// `self <= other`
    le Le;
    /// `self > other`
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1.0f32, 2.0, 3.0], Device::Cpu)?;
    /// let large = x.gt(1.5)?;
    /// assert_eq!(large.to_vec::<u8>()?, [0, 1, 1]);
    /// assert_eq!(large.sum(.., false)?.item::<u32>()?, 2);
    /// # Ok(()) }
    /// ```
    gt Gt;
    /// `self >= other`
    ge Ge;
}

impl Tensor {
    /// `self ^ other`, as C99 has it: `0 ^ -1` is infinite, `(-8) ^ (1/3)` NaN, and `1 ^ NaN` and `NaN ^ 0` are 1. Shapes
    /// broadcast as in other functions of two elements. A power that is an f32 number comes out as that number.
    ///
    /// The gradient by an exponent is 0 where the base is 0 and the exponent is not negative.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1.0f32, 2.0, 3.0], Device::Cpu)?;
    /// assert_eq!(x.pow(3.0)?.to_vec::<f32>()?, [1.0, 8.0, 27.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Shapes that don't broadcast, tensors of different types or devices, a number that the element type lacks. A negative exponent
    /// of i32 numbers, whose power is no whole number: of a tensor of exponents on a GPU, where only the device knows it, of the
    /// next call that waits for the device.
    pub fn pow(&self, other: impl IntoOperand) -> Result<Tensor> {
        pointwise::power(self, &other.into_operand(self)?)
    }

    /// Each element moved into `low..=high`; NaN stays NaN. An infinite limit is none. The gradient is 0 outside of
    /// the limits, and passes at them.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-3.0f32, 0.5, 3.0], Device::Cpu)?;
    /// assert_eq!(x.clamp(0.0, 1.0)?.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The range is empty, or the element type lacks a limit.
    pub fn clamp(&self, low: f64, high: f64) -> Result<Tensor> {
        pointwise::clamp(self, low, high)
    }

    /// Where this (a u8 condition, as comparisons give) is not 0, `yes`, else `no`: NumPy's `where`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-1.0f32, 2.0], Device::Cpu)?;
    /// assert_eq!(x.gt(0.0)?.select(&x, x.zeros_like()?)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The condition is not u8, shapes don't broadcast, or the sides differ in element type or device.
    pub fn select(&self, yes: impl IntoOperand, no: impl IntoOperand) -> Result<Tensor> {
        // A number on one side takes the type of the tensor on the other.
        let dtype = yes.element_type().or(no.element_type()).unwrap_or(DType::F32);
        let like = Tensor::full_dtype([1], 0.0, dtype, self.device())?;
        pointwise::select(self, &yes.into_operand(&like)?, &no.into_operand(&like)?)
    }

    /// The same values in another element type. Floats become integers by truncation, saturating, and NaN becomes 0; integers
    /// wrap.
    ///
    /// The gradient of a float that becomes a float is cast back; from integers there is none.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-1.7f32, 2.9, 300.0, f32::NAN], Device::Cpu)?;
    /// assert_eq!(x.cast(DType::U8)?.to_vec::<u8>()?, [0, 2, 255, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// f64 on a GPU.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        pointwise::cast(self, dtype)
    }

    /// The matrix product `[.., m, k] x [.., k, n]`, which is `[.., m, n]`; batch dimensions broadcast. A vector on the left is
    /// a row, one on the right a column, and their axis is left out of the result, as in NumPy.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let a = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
    /// let v = Tensor::new([1.0f32, 10.0], Device::Cpu)?;
    /// assert_eq!(a.matmul(&v)?.to_vec::<f32>()?, [21.0, 43.0]);
    /// assert_eq!(Tensor::zeros([7, 5, 2], Device::Cpu)?.matmul(&a)?.shape(), [7, 5, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Inner dimensions that differ, batch dimensions that don't broadcast, a scalar, integers, tensors of different types or
    /// devices.
    pub fn matmul(&self, other: impl IntoOperand) -> Result<Tensor> {
        matmul::matmul(self, &other.into_operand(self)?)
    }

    /// 2-D convolution (cross-correlation, as networks have it): this image is `[n, h, w, c]`, the weight `[kh, kw, c / groups,
    /// out]`, the result `[n, h', w', out]`. With padding p in all and `window = dilation * (kernel - 1) + 1`,
    /// `h' = (h + p - window) / stride + 1`, rounded down; [`Padding`](crate::Padding) says how wide p is.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Conv2dOptions;
    /// # fn main() -> Result<()> {
    /// let image = Tensor::new([[[[1.0f32], [2.0], [4.0]]]], Device::Cpu)?; // [1, 1, 3, 1]
    /// let difference = Tensor::new([[[[-1.0f32]], [[1.0]]]], Device::Cpu)?; // [1, 2, 1, 1]
    /// assert_eq!(image.conv2d(&difference, Conv2dOptions::new())?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Image or weight are not of rank 4, no floats, or of different types or devices; the weight is one of other channels;
    /// groups don't divide the channels; a stride or dilation is 0; the window is larger than the padded image.
    pub fn conv2d(&self, weight: impl IntoOperand, options: Conv2dOptions) -> Result<Tensor> {
        conv2d::conv2d(self, &weight.into_operand(self)?, options)
    }

    /// Transposed 2-D convolution: this image is `[n, h, w, c]`, the weight `[kh, kw, out / groups, c]`. The gradient of
    /// [`conv2d`](Self::conv2d) with respect to its image, for the same weight.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::ConvTranspose2dOptions;
    /// # fn main() -> Result<()> {
    /// let image = Tensor::new([[[[1.0f32], [2.0]]]], Device::Cpu)?; // [1, 1, 2, 1]
    /// let weight = Tensor::new([[[[1.0f32]], [[10.0]]]], Device::Cpu)?; // [1, 2, 1, 1]
    /// let options = ConvTranspose2dOptions::new().stride([1, 2]);
    /// let y = image.conv2d_transpose(&weight, options)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 10.0, 2.0, 20.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`conv2d`](Self::conv2d); or an output padding is not smaller than the stride, or the padding leaves nothing.
    pub fn conv2d_transpose(
        &self,
        weight: impl IntoOperand,
        options: ConvTranspose2dOptions,
    ) -> Result<Tensor> {
        conv2d_transpose(self, &weight.into_operand(self)?, options)
    }

    /// `[n, h, w, c]` with each axis of the image made longer by a whole factor: `[n, h * factor[0], w * factor[1], c]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Interpolation;
    /// # fn main() -> Result<()> {
    /// let image = Tensor::new([[[[1.0f32], [3.0]]]], Device::Cpu)?; // [1, 1, 2, 1]
    /// assert_eq!(image.upsample2d([1, 2], Interpolation::Nearest)?.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is not of rank 4, a factor is 0, or (bilinear) the image is one of integers.
    pub fn upsample2d(&self, factor: [usize; 2], interpolation: Interpolation) -> Result<Tensor> {
        upsample("upsample2d", self, factor, interpolation)
    }

    /// The largest element of each window of `[n, h, w, c]`, per channel: `[n, h', w', c]`, sizes as of [`conv2d`](Self::conv2d).
    /// Padding never wins. The first maximum of a window in row-major order takes the gradient. NaN where there is one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Pool2dOptions;
    /// # fn main() -> Result<()> {
    /// let image = Tensor::new([[[[1.0f32], [5.0]], [[3.0], [2.0]]]], Device::Cpu)?; // [1, 2, 2, 1]
    /// assert_eq!(image.max_pool2d(Pool2dOptions::new([2, 2]))?.to_vec::<f32>()?, [5.0]);
    /// assert_eq!(image.avg_pool2d(Pool2dOptions::new([2, 2]))?.to_vec::<f32>()?, [2.75]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor is not of rank 4 or no float, a window or stride is 0, a window is larger than the padded image, or a border
    /// is as wide as the window.
    pub fn max_pool2d(&self, options: Pool2dOptions) -> Result<Tensor> {
        pool2d::max_pool2d(self, options)
    }

    /// The mean of each window of `[n, h, w, c]`, per channel: `[n, h', w', c]`, sizes as of [`conv2d`](Self::conv2d). Places of
    /// the border count in it only with [`count_include_pad`](Pool2dOptions::count_include_pad).
    ///
    /// # Errors
    ///
    /// As [`max_pool2d`](Self::max_pool2d).
    pub fn avg_pool2d(&self, options: Pool2dOptions) -> Result<Tensor> {
        pool2d::avg_pool2d(self, options)
    }

    /// `exp(x) / sum(exp(x))` along an axis, without overflow.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let logits = Tensor::new([[1000.0f32, 1000.0]], Device::Cpu)?;
    /// assert_eq!(logits.softmax(-1)?.to_vec::<f32>()?, [0.5, 0.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32. An axis that the tensor lacks.
    pub fn softmax(&self, axis: isize) -> Result<Tensor> {
        softmax::softmax(self, axis, false)
    }

    /// The logarithm of [`softmax`](Self::softmax), exact where that underflows.
    ///
    /// # Errors
    ///
    /// As [`softmax`](Self::softmax).
    pub fn log_softmax(&self, axis: isize) -> Result<Tensor> {
        softmax::softmax(self, axis, true)
    }

    /// The mean softmax cross-entropy of these logits `[.., classes]` against integer labels `[..]`, or probabilities
    /// `[.., classes]` (floats of the logits' type): `-log(softmax(logits)[label])`, or `-sum(p * log(softmax(logits)))`. Exact
    /// for logits of any magnitude. Gradients flow to logits and probabilities.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let logits = Tensor::new([[2.0f32, 0.0], [0.0, 2.0]], Device::Cpu)?;
    /// let loss = logits.cross_entropy(&Tensor::new([0u32, 1], Device::Cpu)?)?;
    /// assert!((loss.item::<f32>()? - 0.126928).abs() < 1e-6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Logits that are no floats or have no classes, labels of another shape, type or device. A label that is none of the
    /// classes: on the CPU of the call that computes, on a GPU of the next one that waits for the device.
    pub fn cross_entropy(&self, labels: &Tensor) -> Result<Tensor> {
        cross_entropy::cross_entropy(self, labels)?.mean(.., false)
    }

    /// As [`cross_entropy`](Self::cross_entropy), one loss for each row: `[..]`.
    ///
    /// # Errors
    ///
    /// As [`cross_entropy`](Self::cross_entropy).
    pub fn cross_entropy_rows(&self, labels: &Tensor) -> Result<Tensor> {
        cross_entropy::cross_entropy(self, labels)
    }
}
