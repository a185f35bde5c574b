//! Losses that compare element by element.

use super::base::{EPSILON, Loss, elements, plain_losses, sample_means};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

plain_losses! {
    /// The mean of `(outputs - targets)^2` over all elements; both have one shape (`keras.losses.MeanSquaredError`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, t) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::new([0.0f32, 4.0], Device::Cpu)?);
    /// assert_eq!(MeanSquaredError::new().compute(&y, &t)?.item::<f32>()?, 2.5);
    /// # Ok(()) }
    /// ```
    MeanSquaredError elements |y, t| (y - t)?.square();

    /// The mean of `|outputs - targets|` over all elements; both have one shape (`keras.losses.MeanAbsoluteError`). Its
    /// gradient is 0 where both are equal.
    ///
    /// ```
    /// use wgrad::nn::MeanAbsoluteError;
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, t) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::new([0.0f32, 4.0], Device::Cpu)?);
    /// assert_eq!(MeanAbsoluteError::new().compute(&y, &t)?.item::<f32>()?, 1.5);
    /// # Ok(()) }
    /// ```
    MeanAbsoluteError elements |y, t| (y - t)?.abs();

    /// The mean of `100 * |targets - outputs| / max(|targets|, 1e-7)`, in per cent
    /// (`keras.losses.MeanAbsolutePercentageError`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, t) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::new([2.0f32, 4.0], Device::Cpu)?);
    /// let loss = wgrad::nn::MeanAbsolutePercentageError::new();
    /// assert_eq!(loss.compute(&y, &t)?.item::<f32>()?, 50.0);
    /// # Ok(()) }
    /// ```
    MeanAbsolutePercentageError elements |y, t| ((&t - y)? / t.abs()?.maximum(EPSILON)?)?.abs()? * 100.0;

    /// The mean of `(log(1 + outputs) - log(1 + targets))^2`, both raised to 1e-7 where they are smaller
    /// (`keras.losses.MeanSquaredLogarithmicError`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, t) = (Tensor::new([1.0f32, 3.0], Device::Cpu)?, Tensor::new([3.0f32, 1.0], Device::Cpu)?);
    /// let loss = wgrad::nn::MeanSquaredLogarithmicError::new();
    /// assert!((loss.compute(&y, &t)?.item::<f32>()? - 2f32.ln().powi(2)).abs() < 1e-6);
    /// # Ok(()) }
    /// ```
    MeanSquaredLogarithmicError elements |y, t| {
        let log = |v: Tensor| v.maximum(EPSILON)?.log1p();
        (log(y)? - log(t)?)?.square()
    };

    /// The mean of `log(cosh(outputs - targets))`: like half the square of small errors and the magnitude of large
    /// ones, without overflow (`keras.losses.LogCosh`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, t) = (Tensor::new([500.0f32], Device::Cpu)?, Tensor::new([0.0f32], Device::Cpu)?);
    /// let loss = wgrad::nn::LogCosh::new().compute(&y, &t)?;
    /// assert!((loss.item::<f32>()? - (500.0 - 2f32.ln())).abs() < 1e-3);
    /// # Ok(()) }
    /// ```
    LogCosh elements |y, t| (y - t)?.log_cosh();

    /// The mean of `outputs - targets * log(outputs + 1e-7)`: counts against their expected value, up to a constant
    /// (`keras.losses.Poisson`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (rates, counts) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::new([3u32, 0], Device::Cpu)?);
    /// let loss = wgrad::nn::Poisson::new().compute(&rates, &counts)?;
    /// assert!((loss.item::<f32>()? - 1.5).abs() < 1e-5);
    /// # Ok(()) }
    /// ```
    Poisson elements |y, t| {
        let loss = (&y - (&t * (&y + EPSILON)?.log()?)?)?;
        // the rate grows faster than its logarithm
        y.eq(f64::INFINITY)?.select((&y - t)?, loss)
    };

    /// The mean of `max(1 - targets * outputs, 0)`; targets are -1 and 1, or 0 and 1 (`keras.losses.Hinge`). A 0 counts
    /// as -1, each by itself; Keras looks at the whole batch first, which differs only where -1, 0 and 1 are mixed.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, t) = (Tensor::new([0.5f32, 2.0], Device::Cpu)?, Tensor::new([0u8, 1], Device::Cpu)?);
    /// assert_eq!(wgrad::nn::Hinge::new().compute(&y, &t)?.item::<f32>()?, 0.75);
    /// # Ok(()) }
    /// ```
    Hinge elements |y, t| margin(y, t);

    /// The mean of `max(1 - targets * outputs, 0)^2`; targets as in [`Hinge`] (`keras.losses.SquaredHinge`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (y, t) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::new([-1.0f32, 1.0], Device::Cpu)?);
    /// assert_eq!(wgrad::nn::SquaredHinge::new().compute(&y, &t)?.item::<f32>()?, 2.0);
    /// # Ok(()) }
    /// ```
    SquaredHinge elements |y, t| margin(y, t)?.square();
}

/// `max(1 - t * y, 0)` with -1 for targets of 0.
fn margin(y: Tensor, t: Tensor) -> Result<Tensor> {
    let sign = t.eq(0.0)?.select(-1.0, t)?;
    (1.0 - (sign * y)?)?.relu()
}

/// The mean of `x^2 / 2` where `|x| <= delta`, and `delta * |x| - delta^2 / 2` beyond, with `x = outputs - targets`: a
/// squared error whose gradient does not grow with outliers (Huber, 1964; `keras.losses.Huber`, PyTorch's `HuberLoss`).
///
/// ```
/// use wgrad::nn::Huber;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (y, t) = (Tensor::new([0.5f32, 5.0], Device::Cpu)?, Tensor::new([0.0f32, 0.0], Device::Cpu)?);
/// assert_eq!(Huber::new(1.0).per_sample(&y, &t)?.to_vec::<f32>()?, [0.125, 4.5]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Huber {
    delta: f64,
}

impl Huber {
    /// Quadratic up to errors of `delta`, a positive number; using another is an error.
    pub fn new(delta: f64) -> Self {
        Huber { delta }
    }
}

/// Keras's default, 1.
impl Default for Huber {
    fn default() -> Self {
        Huber::new(1.0)
    }
}

impl Loss for Huber {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        if !(self.delta > 0.0 && self.delta.is_finite()) {
            return Err(Error::argument(
                "Huber",
                format!("delta is {}; expected a positive number", self.delta),
            ));
        }
        let (y, t) = elements("Huber", outputs, targets)?;
        let x = (y - t)?;
        // c = x inside and ±delta outside: c * (x - c / 2) is either branch, and nothing overflows that is not used
        let c = x.clamp(-self.delta, self.delta)?;
        sample_means(&(&c * (x - (&c * 0.5)?)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::{BinaryCrossentropy, Huber, Loss};
    use crate::prelude::*;

    #[test]
    fn nothing_broadcasts() {
        let y = Tensor::new([[1.0f32], [2.0]], Device::Cpu).unwrap();
        let t = Tensor::new([[0.0f32], [4.0]], Device::Cpu).unwrap();
        assert_eq!(MeanSquaredError::new().compute(&y, &t).unwrap().item::<f32>().unwrap(), 2.5);
        let flat = t.reshape([2]).unwrap();
        let losses: [Box<dyn Loss>; 3] = [
            Box::new(MeanSquaredError::new()),
            Box::new(Huber::default()),
            Box::new(BinaryCrossentropy::from_logits()),
        ];
        for loss in losses {
            let message = loss.compute(&y, &flat).unwrap_err().to_string();
            assert!(message.contains("outputs are [2, 1], targets [2]"), "{message}");
        }
        let e = Huber::new(0.0).compute(&y, &t).unwrap_err().to_string();
        assert_eq!(e, "Huber: delta is 0; expected a positive number");
    }

    #[test]
    fn closures_are_losses() {
        let y = Tensor::new([[1.0f32, 3.0], [2.0, 0.0]], Device::Cpu).unwrap();
        let t = y.zeros_like().unwrap();
        let each = |y: &Tensor, t: &Tensor| y - t;
        assert_eq!(each.per_sample(&y, &t).unwrap().to_vec::<f32>().unwrap(), [2.0, 1.0]);
        assert_eq!(each.compute(&y, &t).unwrap().item::<f32>().unwrap(), 1.5);
        let weights = Tensor::new([0.0f32, 1.0], Device::Cpu).unwrap();
        assert_eq!(each.weighted(&y, &t, &weights).unwrap().item::<f32>().unwrap(), 0.5);
        let whole = |y: &Tensor, _: &Tensor| y.sum(.., false);
        assert_eq!(whole.compute(&y, &t).unwrap().item::<f32>().unwrap(), 6.0);
        let e = whole.weighted(&y, &t, &weights).unwrap_err().to_string();
        assert!(e.contains("expected one loss for each sample"), "{e}");
    }
}
