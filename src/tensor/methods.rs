//! The operations that compute something, as methods.

use super::{IntoOperand, Tensor};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::conv2d::Conv2dOptions;
use crate::ops::conv2d_transpose::{ConvTranspose2dOptions, conv2d_transpose};
use crate::ops::pool2d::Pool2dOptions;
use crate::ops::resize::{Interpolation, upsample2d};
use crate::ops::table::{Binary, Compare, Unary};
use crate::ops::{conv2d, cross_entropy, matmul, pointwise, pool2d, softmax};

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident $variant:ident;)*) => {
        /// Functions of each element. NaN gives NaN, and an infinity the limit. Their gradients are exact; ReLU's is 0 at 0 and
        /// at NaN. `docs/accuracy.md` has the error of each on each device.
        impl Tensor {$(
            $(#[$doc])*
            pub fn $name(&self) -> Result<Tensor> { pointwise::unary(Unary::$variant, self) }
        )*}
    };
}

unary_methods! {
    /// `-x`
    neg Neg;
    /// `|x|`
    abs Abs;
    /// `e^x`
    exp Exp;
    /// The natural logarithm.
    log Log;
    /// The square root.
    sqrt Sqrt;
    /// `x * x`
    square Square;
    /// `1 / x`
    reciprocal Reciprocal;
    /// The sine.
    sin Sin;
    /// The cosine.
    cos Cos;
    /// -1, 0 or 1.
    sign Sign;
    /// The largest whole number not above x.
    floor Floor;
    /// `max(x, 0)`
    relu Relu;
    /// `x` above 0, else `e^x - 1`.
    elu Elu;
    /// `1 / (1 + e^-x)`
    sigmoid Sigmoid;
    /// The hyperbolic tangent.
    tanh Tanh;
    /// `x * sigmoid(x)`, also called swish.
    silu Silu;
    /// `x * Phi(x)` with the normal distribution function (the exact form).
    gelu Gelu;
    /// The tanh approximation of [`gelu`](Tensor::gelu).
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
            pub fn $name(&self, other: impl IntoOperand) -> Result<Tensor> {
                pointwise::binary(Binary::$variant, self, &other.into_operand(self)?)
            }
        )*}
    };
}

binary_methods! {
    /// The larger of both; at a tie each side takes half of the gradient.
    maximum Maximum;
    /// The smaller of both; at a tie each side takes half of the gradient.
    minimum Minimum;
}

macro_rules! compare_methods {
    ($($(#[$doc:meta])* $name:ident $variant:ident;)*) => {
        /// Comparisons: u8, 1 where true and 0 where not.
        impl Tensor {$(
            $(#[$doc])*
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
    gt Gt;
    /// `self >= other`
    ge Ge;
}

impl Tensor {
    /// `self ^ other`, as C99 has it: `0 ^ -1` is infinite, `(-8) ^ (1/3)` NaN, and `1 ^ NaN` and `NaN ^ 0` are 1. Shapes
    /// broadcast as in other functions of two elements. A power that is an f32 number comes out as that number.
    ///
    /// A negative exponent of i32 numbers is an error, on a GPU that of the call that waits for the result: the power is no whole
    /// number.
    ///
    /// The gradient by an exponent is 0 where the base is 0 and the exponent is not negative.
    pub fn pow(&self, other: impl IntoOperand) -> Result<Tensor> {
        pointwise::power(self, &other.into_operand(self)?)
    }

    /// `x` above 0, else `slope * x`.
    pub fn leaky_relu(&self, slope: f64) -> Result<Tensor> {
        self.gt(0.0)?.select(self, (self * slope)?)
    }

    /// `min(max(x, 0), 6)`; its gradient at 0 and 6 is 0.
    pub fn relu6(&self) -> Result<Tensor> {
        self.ge(6.0)?.select(6.0, self.relu()?)
    }

    /// `scale * x` above 0, else `scale * alpha * (e^x - 1)`, with the constants that keep mean and variance of a deep
    /// network's layers (Klambauer et al., 2017).
    pub fn selu(&self) -> Result<Tensor> {
        const ALPHA: f64 = 1.673_263_242_354_377_2;
        const SCALE: f64 = 1.050_700_987_355_480_5;
        self.gt(0.0)?.select((self * SCALE)?, (self.elu()? * (SCALE * ALPHA))?)
    }

    /// `min(max(x / 6 + 1/2, 0), 1)`: straight lines instead of the sigmoid.
    pub fn hard_sigmoid(&self) -> Result<Tensor> {
        (self + 3.0)?.relu6()? / 6.0
    }

    /// `x * hard_sigmoid(x)`, also called hard swish; 0 at -infinity.
    pub fn hard_silu(&self) -> Result<Tensor> {
        let x = self.clamp(-100.0, f64::INFINITY)?;
        &x * x.hard_sigmoid()?
    }

    /// Each element moved into `low..=high`.
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
    pub fn select(&self, yes: impl IntoOperand, no: impl IntoOperand) -> Result<Tensor> {
        // A number on one side takes the type of the tensor on the other.
        let dtype = yes.element_type().or(no.element_type()).unwrap_or(DType::F32);
        let like = Tensor::full_dtype([1], 0.0, dtype, self.device())?;
        pointwise::select(self, &yes.into_operand(&like)?, &no.into_operand(&like)?)
    }

    /// The same values in another element type. Floats become integers by truncation, saturating, and NaN becomes 0; integers
    /// wrap.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        pointwise::cast(self, dtype)
    }

    /// The matrix product `[.., m, k] x [.., k, n]`; batch dimensions broadcast, vectors are rows or columns.
    pub fn matmul(&self, other: impl IntoOperand) -> Result<Tensor> {
        matmul::matmul(self, &other.into_operand(self)?)
    }

    /// 2-D convolution: this image is `[n, h, w, c]`, the weight `[kh, kw, c / groups, out]`.
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
    pub fn conv2d_transpose(
        &self,
        weight: impl IntoOperand,
        options: ConvTranspose2dOptions,
    ) -> Result<Tensor> {
        conv2d_transpose(self, &weight.into_operand(self)?, options)
    }

    /// `[n, h, w, c]` with each axis of the image made longer by a whole factor.
    pub fn upsample2d(&self, factor: [usize; 2], interpolation: Interpolation) -> Result<Tensor> {
        upsample2d(self, factor, interpolation)
    }

    /// The largest element of each window of `[n, h, w, c]`, per channel.
    pub fn max_pool2d(&self, options: Pool2dOptions) -> Result<Tensor> {
        pool2d::max_pool2d(self, options)
    }

    /// The mean of each window of `[n, h, w, c]`, per channel.
    pub fn avg_pool2d(&self, options: Pool2dOptions) -> Result<Tensor> {
        pool2d::avg_pool2d(self, options)
    }

    /// `exp(x) / sum(exp(x))` along an axis, without overflow.
    pub fn softmax(&self, axis: isize) -> Result<Tensor> {
        softmax::softmax(self, axis, false)
    }

    /// The logarithm of [`softmax`](Self::softmax), exact where that underflows.
    pub fn log_softmax(&self, axis: isize) -> Result<Tensor> {
        softmax::softmax(self, axis, true)
    }

    /// The mean softmax cross-entropy of these logits `[.., classes]` against integer labels `[..]`, or probabilities
    /// `[.., classes]`. Exact for logits of any magnitude.
    pub fn cross_entropy(&self, labels: &Tensor) -> Result<Tensor> {
        cross_entropy::cross_entropy(self, labels)?.mean(.., false)
    }

    /// As [`cross_entropy`](Self::cross_entropy), one loss per row.
    pub fn cross_entropy_rows(&self, labels: &Tensor) -> Result<Tensor> {
        cross_entropy::cross_entropy(self, labels)
    }
}
