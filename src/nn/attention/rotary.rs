//! Rotary positions: queries and keys are turned by angles that grow with their place.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::require_float;
use crate::tensor::Tensor;
use std::sync::OnceLock;

const OP: &str = "rotary";

/// Numbers of a float type, computed in f64.
pub(super) fn constants(values: Vec<f64>, dtype: DType, device: Device) -> Result<Tensor> {
    Tensor::rounded(&values, &[values.len()], dtype, device)
}

/// The places `first`, `first + 1`, ..., `[n]`. A number, not a size: another one is the same plan.
pub(super) fn places(first: usize, n: usize, device: Device) -> Result<Tensor> {
    let places = Tensor::arange(0, n as i64, device)?;
    if first == 0 { Ok(places) } else { places + first as f64 }
}

/// By how much each pair of features turns from one place to the next.
pub(super) struct Rotary {
    features: usize,
    base: f64,
    /// `[features / 2]`, when they are used: what a file says about sizes costs nothing before.
    speeds: OnceLock<Tensor>,
}

impl Rotary {
    pub fn new(features: usize, base: f64) -> Result<Rotary> {
        if features == 0 || !features.is_multiple_of(2) {
            let message =
                format!("pairs of features are turned: expects an even number of them, got {features}");
            return Err(Error::shape(OP, message));
        }
        if !(base >= 1.0 && base.is_finite()) {
            return Err(Error::argument(OP, format!("expects a finite base of at least 1, got {base}")));
        }
        Ok(Rotary { features, base, speeds: OnceLock::new() })
    }

    fn speeds(&self, dtype: DType, device: Device) -> Result<Tensor> {
        if let Some(speeds) = self.speeds.get().filter(|s| s.dtype() == dtype && s.device() == device) {
            return Ok(speeds.clone());
        }
        let speed = |i: usize| self.base.powf(-2.0 * i as f64 / self.features as f64);
        let speeds = constants((0..self.features / 2).map(speed).collect(), dtype, device)?;
        let _ = self.speeds.set(speeds.clone());
        Ok(speeds)
    }

    /// `x` is `[.., places, features]`.
    pub fn turn(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        let n = x.dims()[x.rank() - 2];
        let (half, speeds) = (self.features / 2, self.speeds(x.dtype(), x.device())?);
        let angles = (places(first, n, x.device())?.cast(x.dtype())?.unsqueeze(-1)? * speeds)?;
        let (cos, sin) = (angles.cos()?, angles.sin()?);
        let (a, b) = (x.slice(-1, 0, half)?, x.slice(-1, half, half)?);
        let turned = [((&a * &cos)? - (&b * &sin)?)?, ((b * cos)? + (a * sin)?)?];
        Tensor::concat(&[&turned[0], &turned[1]], -1)
    }
}

/// Rotary positions (Su et al., 2021) of queries or keys `[.., places, d]`, of which the first is at place `first`: features i and
/// `i + d / 2` are turned by the angle `place * base^(-2i / d)`, as in Llama and KerasHub's `RotaryEmbedding` (10,000 is the usual base).
/// A product of a query with a key then depends on how far they are apart, not on where they are.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::rotary;
/// # fn main() -> Result<()> {
/// let q = Tensor::new([[1.0f32, 0.0], [1.0, 0.0]], Device::Cpu)?;
/// let turned = rotary(&q, 0, 1e4)?; // by 0 and by 1 radian
/// wgrad::testing::assert_close(turned, [1.0, 0.0, 1f32.cos(), 1f32.sin()], 1e-6, 1e-6)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Fewer than two dimensions, an odd number of features, integers, a base below 1 or not finite.
pub fn rotary(x: &Tensor, first: usize, base: f64) -> Result<Tensor> {
    require_float(OP, "the input", x)?;
    let &[.., _, features] = x.dims() else {
        return Err(Error::shape(OP, format!("expects [.., places, features], got {}", x.shape())));
    };
    Rotary::new(features, base)?.turn(x, first)
}
