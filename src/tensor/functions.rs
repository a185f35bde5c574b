//! Functions of each element that are made of others. `docs/accuracy.md` has the error of each.

use super::{Tensor, no_grad};
use crate::error::Result;
use crate::ops::constant::scalar;
use crate::ops::map::Map;
use crate::ops::require_float;
use std::f64::consts::{E, LN_2, LN_10};

/// Beyond it `sinh` and `cosh` are half of an exponential, to the last digit of f64.
const FAR: f64 = 20.0;

/// How far the quotient of two logarithms in f32 may be from the exact one.
const ROUNDING: f64 = 1e-6;

/// Functions of each element: see [`exp`](Tensor::exp) and its neighbours.
impl Tensor {
    /// `x` above 0, else `slope * x` (Maas et al., 2013).
    ///
    /// # Errors
    ///
    /// Integers, where the type lacks the slope.
    pub fn leaky_relu(&self, slope: f64) -> Result<Tensor> {
        self.gt(0.0)?.select(self, (self * slope)?)
    }

    /// `min(max(x, 0), 6)` (Krizhevsky, 2010); its gradient at 0 and 6 is 0. Integers stay integers.
    pub fn relu6(&self) -> Result<Tensor> {
        self.ge(6.0)?.select(6.0, self.relu()?)
    }

    /// `scale * x` above 0, else `scale * alpha * (e^x - 1)`, with the constants that keep mean and variance of a deep
    /// network's layers (Klambauer et al., 2017).
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32.
    pub fn selu(&self) -> Result<Tensor> {
        const ALPHA: f64 = 1.673_263_242_354_377_2;
        const SCALE: f64 = 1.050_700_987_355_480_5;
        self.gt(0.0)?.select((self * SCALE)?, (self.elu()? * (SCALE * ALPHA))?)
    }

    /// `min(max(x / 6 + 1/2, 0), 1)`: straight lines instead of the sigmoid. For floats: of integers, the division is one of
    /// integers.
    pub fn hard_sigmoid(&self) -> Result<Tensor> {
        (self + 3.0)?.relu6()? / 6.0
    }

    /// `x * hard_sigmoid(x)`, also called hard swish (Howard et al., 2019); 0 at -infinity.
    ///
    /// # Errors
    ///
    /// As [`clamp`](Self::clamp) with -100: unsigned integers.
    pub fn hard_silu(&self) -> Result<Tensor> {
        let x = self.clamp(-100.0, f64::INFINITY)?;
        &x * x.hard_sigmoid()?
    }

    /// `1 / sqrt(x)`; infinity at 0, NaN below.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([0.25f32, 4.0, f32::INFINITY], Device::Cpu)?;
    /// assert_eq!(x.rsqrt()?.to_vec::<f32>()?, [2.0, 0.5, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32.
    pub fn rsqrt(&self) -> Result<Tensor> {
        require_float("rsqrt", "the input", self)?;
        self.sqrt()?.reciprocal()
    }

    /// `2^x`, exact for whole numbers.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([-1.0f32, 0.0, 10.0], Device::Cpu)?;
    /// assert_eq!(x.exp2()?.to_vec::<f32>()?, [0.5, 1.0, 1024.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32.
    pub fn exp2(&self) -> Result<Tensor> {
        require_float("exp2", "the input", self)?;
        scalar(2.0, self.dtype(), self.device())?.pow(self)
    }

    /// The logarithm to base 2, exact for powers of 2; minus infinity at 0, NaN below.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([0.5f32, 1.0, 8.0], Device::Cpu)?;
    /// assert_eq!(x.log2()?.to_vec::<f32>()?, [-1.0, 0.0, 3.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32.
    pub fn log2(&self) -> Result<Tensor> {
        require_float("log2", "the input", self)?;
        self.log_to(2.0, LN_2)
    }

    /// The logarithm to base 10, exact for powers of 10 that are f32 numbers; minus infinity at 0, NaN below.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1.0f32, 1000.0, 1e10], Device::Cpu)?;
    /// assert_eq!(x.log10()?.to_vec::<f32>()?, [0.0, 3.0, 10.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32.
    pub fn log10(&self) -> Result<Tensor> {
        require_float("log10", "the input", self)?;
        self.log_to(10.0, LN_10)
    }

    /// The quotient of two logarithms is rounded: where the base to the power of the nearest whole number is x, it is moved there,
    /// so that `x.log2()?.floor()` is right for powers.
    fn log_to(&self, base: f64, ln_base: f64) -> Result<Tensor> {
        let y = (self.log()? / ln_base)?;
        let rounding = no_grad(|| {
            let (x, y) = (self.detach()?, y.detach()?);
            let whole = (&y + 0.5)?.floor()?;
            let exact = scalar(base, x.dtype(), x.device())?.pow(&whole)?.eq(&x)?;
            // Not of denormal numbers, of which many are one power, rounded; nor of infinities, whose difference is NaN.
            let near = (&whole - &y)?.abs()?.le((whole.abs()? * ROUNDING)?)?;
            let exact = (exact * near)?;
            exact.select((whole - y)?, 0.0)
        })?;
        y + rounding
    }

    /// The hyperbolic sine.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([0.0f32, 1.0, -1.0], Device::Cpu)?;
    /// wgrad::testing::assert_close(x.sinh()?, [0.0, 1.1752012, -1.1752012], 1e-6, 0.0)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32.
    pub fn sinh(&self) -> Result<Tensor> {
        require_float("sinh", "the input", self)?;
        // Both terms have the sign of x: nothing cancels.
        let near = ((self.expm1()? - self.neg()?.expm1()?)? * 0.5)?;
        self.abs()?.lt(FAR)?.select(near, (self.half_of_exp()? * self.sign()?)?)
    }

    /// The hyperbolic cosine.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([0.0f32, 1.0, -1.0], Device::Cpu)?;
    /// wgrad::testing::assert_close(x.cosh()?, [1.0, 1.5430806, 1.5430806], 1e-6, 0.0)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Integers: cast them to f32.
    pub fn cosh(&self) -> Result<Tensor> {
        require_float("cosh", "the input", self)?;
        let near = ((self.exp()? + self.neg()?.exp()?)? * 0.5)?;
        self.abs()?.lt(FAR)?.select(near, self.half_of_exp()?)
    }

    /// `e^|x| / 2`, finite where that is although `e^|x|` is not. The difference is exact beyond [`FAR`].
    fn half_of_exp(&self) -> Result<Tensor> {
        (self.abs()? - 1.0)?.exp()? * (E / 2.0)
    }

    /// One's own function of each element, f32; [`Map`] has an example.
    ///
    /// # Errors
    ///
    /// As [`Map::apply`].
    pub fn map(&self, map: &Map<1>) -> Result<Tensor> {
        map.apply([self])
    }

    /// One's own function of the elements of two tensors, f32, whose shapes broadcast; [`Map`] has an example.
    ///
    /// # Errors
    ///
    /// As [`Map::apply`].
    pub fn map2(&self, other: &Tensor, map: &Map<2>) -> Result<Tensor> {
        map.apply([self, other])
    }
}
