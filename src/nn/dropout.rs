//! Layers that disturb what passes through them while a model trains.

use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::random::{self, Draw};
use crate::shape::Shape;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// While training, sets each element to zero with probability `rate` and divides the others by `1 - rate` (inverted
/// dropout, as in Keras; Srivastava et al., 2014); while predicting, does nothing. What is dropped is 0 whatever it was,
/// infinite or NaN, and so is its gradient.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::nn::Context;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dropout::new(0.5)).build([4], Device::Cpu)?;
/// let x = Tensor::ones([1, 4], Device::Cpu)?;
/// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [1.0; 4]);
/// for y in model.forward(&x, &Context::train(1))?.to_vec::<f32>()? {
///     assert!(y == 0.0 || y == 2.0);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a rate below 0 or from 1 on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Dropout {
    rate: f64,
}

impl Dropout {
    /// Drops each element with probability `rate`, at least 0 and below 1.
    pub fn new(rate: f64) -> Dropout {
        Dropout { rate }
    }
}

impl Layer for Dropout {
    fn kind(&self) -> &'static str {
        "Dropout"
    }

    fn details(&self) -> String {
        self.rate.to_string()
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        check_rate("build", "rate", self.rate)?;
        Ok(Built::new(self.clone(), input))
    }
}

/// A share that is dropped leaves something.
pub(super) fn check_rate(op: &str, what: &str, rate: f64) -> Result<()> {
    if (0.0..1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::argument(op, format!("expects a {what} of at least 0 and below 1, got {rate}")))
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        match cx.next_seed() {
            Some(seed) if self.rate > 0.0 => random::drop_out(x, x.shape(), self.rate, seed),
            _ => Ok(x.clone()),
        }
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

/// [`Dropout`] of whole channels of an image `[height, width, channels]` (Tompson et al., 2015): neighbouring pixels are so
/// much alike that dropping single ones has little effect.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::nn::{Context, SpatialDropout2d};
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(SpatialDropout2d::new(0.5)).build([2, 2, 1], Device::Cpu)?;
/// let y = model.forward(&Tensor::ones([1, 2, 2, 1], Device::Cpu)?, &Context::train(1))?.to_vec::<f32>()?;
/// assert!(y == [0.0; 4] || y == [2.0; 4]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample that is no image, and a rate below 0 or from 1 on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct SpatialDropout2d {
    rate: f64,
}

impl SpatialDropout2d {
    /// Drops each channel of a sample with probability `rate`, at least 0 and below 1.
    pub fn new(rate: f64) -> SpatialDropout2d {
        SpatialDropout2d { rate }
    }
}

impl Layer for SpatialDropout2d {
    fn kind(&self) -> &'static str {
        "SpatialDropout2d"
    }

    fn details(&self) -> String {
        self.rate.to_string()
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        cx.image(input)?;
        check_rate("build", "rate", self.rate)?;
        Ok(Built::new(self.clone(), input))
    }
}

impl Module for SpatialDropout2d {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        match (cx.next_seed(), x.dims()) {
            (Some(seed), [n, _, _, c]) if self.rate > 0.0 => {
                random::drop_out(x, Shape::new(&[*n, 1, 1, *c])?, self.rate, seed)
            }
            _ => Ok(x.clone()),
        }
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

/// What SELU tends to for large negative inputs: minus its scale times its alpha.
const SELU_LIMIT: f64 = -1.758_099_340_847_376_6;

/// [`Dropout`] for networks of SELU (Klambauer et al., 2017), whose values have mean 0 and variance 1: while training, each element is
/// with probability `rate` set to -1.758, SELU's limit on the left, and all are then scaled and shifted so that mean and variance stay
/// (`keras.layers.AlphaDropout`). While predicting, does nothing.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::nn::{AlphaDropout, Context};
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(AlphaDropout::new(0.5)).build([4], Device::Cpu)?;
/// let x = Tensor::zeros([1, 4], Device::Cpu)?;
/// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [0.0; 4]);
/// for y in model.forward(&x, &Context::train(1))?.to_vec::<f32>()? {
///     assert!((y + 0.7792).abs() < 1e-4 || (y - 0.7792).abs() < 1e-4);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a rate below 0 or from 1 on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct AlphaDropout {
    rate: f64,
}

impl AlphaDropout {
    /// Drops each element with probability `rate`, at least 0 and below 1.
    pub fn new(rate: f64) -> AlphaDropout {
        AlphaDropout { rate }
    }
}

impl Layer for AlphaDropout {
    fn kind(&self) -> &'static str {
        "AlphaDropout"
    }

    fn details(&self) -> String {
        self.rate.to_string()
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        check_rate("build", "rate", self.rate)?;
        Ok(Built::new(self.clone(), input))
    }
}

impl Module for AlphaDropout {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        match cx.next_seed() {
            Some(seed) if self.rate > 0.0 => {
                let kept = 1.0 - self.rate;
                let scale = (kept * (1.0 + self.rate * SELU_LIMIT * SELU_LIMIT)).sqrt().recip();
                let shift = -scale * SELU_LIMIT * self.rate;
                let dropped = scale * SELU_LIMIT + shift;
                let y = ((x * scale)? + shift)?;
                random::kept(x.shape(), x.device(), self.rate, seed)?.select(y, dropped)
            }
            _ => Ok(x.clone()),
        }
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

/// While training, adds normal noise of a standard deviation to each element; while predicting, does nothing.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::nn::{Context, GaussianNoise};
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(GaussianNoise::new(0.1)).build([4], Device::Cpu)?;
/// let x = Tensor::ones([1, 4], Device::Cpu)?;
/// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [1.0; 4]);
/// assert_ne!(model.forward(&x, &Context::train(1))?.to_vec::<f32>()?, [1.0; 4]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a standard deviation that is negative or not finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct GaussianNoise {
    std: f64,
}

impl GaussianNoise {
    /// Noise of this standard deviation.
    pub fn new(std: f64) -> GaussianNoise {
        GaussianNoise { std }
    }
}

impl Layer for GaussianNoise {
    fn kind(&self) -> &'static str {
        "GaussianNoise"
    }

    fn details(&self) -> String {
        self.std.to_string()
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        if !(self.std >= 0.0 && self.std.is_finite()) {
            let message = format!("expects a finite standard deviation of at least 0, got {}", self.std);
            return Err(Error::argument("build", message));
        }
        Ok(Built::new(self.clone(), input))
    }
}

impl Module for GaussianNoise {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        match cx.next_seed() {
            Some(seed) if self.std > 0.0 => {
                let noise = random::float(Draw::Noise, x.shape(), x.device(), seed)?.cast(x.dtype())?;
                x + (noise * self.std)?
            }
            _ => Ok(x.clone()),
        }
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

#[cfg(test)]
mod tests {
    use crate::nn::Context;
    use crate::prelude::*;

    #[test]
    fn drops_the_given_share_and_keeps_the_mean() {
        let layer = super::Dropout::new(0.3);
        let x = Variable::new(Tensor::ones([1000, 100], Device::Cpu).unwrap());
        let run = |seed| layer.forward(&x.value(), &Context::train(seed)).unwrap();
        let y = run(11);
        let values = y.to_vec::<f32>().unwrap();
        let dropped = values.iter().filter(|&&v| v == 0.0).count() as f64 / values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        // Four standard deviations of 100,000 draws.
        assert!((dropped - 0.3).abs() < 4.0 * (0.21f64 / 1e5).sqrt(), "{dropped}");
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!(values.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
        // The gradient passes where the value passed, by the same factor.
        let grads = y.sum(.., false).unwrap().backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec::<f32>().unwrap(), values);
        assert_eq!(run(11).to_vec::<f32>().unwrap(), values);
        assert_ne!(run(12).to_vec::<f32>().unwrap(), values);
    }

    #[test]
    fn two_layers_of_one_pass_drop_differently_and_steps_do_too() {
        let layer = super::Dropout::new(0.5);
        let x = Tensor::ones([64], Device::Cpu).unwrap();
        let cx = Context::train(5);
        let first = layer.forward(&x, &cx).unwrap().to_vec::<f32>().unwrap();
        let second = layer.forward(&x, &cx).unwrap().to_vec::<f32>().unwrap();
        assert_ne!(first, second);
        let x = x.cast(DType::F64).unwrap();
        assert_eq!(layer.forward(&x, &Context::train(5)).unwrap().dtype(), DType::F64);
    }

    #[test]
    fn whole_channels_are_dropped() {
        let model = Sequential::new().add(super::SpatialDropout2d::new(0.25));
        let model = model.build([3, 2, 500], Device::Cpu).unwrap();
        let x = Tensor::ones([4, 3, 2, 500], Device::Cpu).unwrap();
        let y = model.forward(&x, &Context::train(3)).unwrap();
        let (low, high) = (y.min([1, 2], false).unwrap(), y.max([1, 2], false).unwrap());
        let channels = low.to_vec::<f32>().unwrap();
        assert_eq!(channels, high.to_vec::<f32>().unwrap());
        let dropped = channels.iter().filter(|&&v| v == 0.0).count() as f64 / 2000.0;
        assert!((dropped - 0.25).abs() < 4.0 * (0.1875f64 / 2000.0).sqrt(), "{dropped}");
        assert!(channels.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(model.infer(&x).unwrap().to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
    }

    #[test]
    fn alpha_dropout_keeps_mean_and_variance() {
        for rate in [0.1, 0.5] {
            let layer = super::AlphaDropout::new(rate);
            let x = Variable::new(Tensor::randn([1000, 200], Device::Cpu, 5).unwrap());
            let y = layer.forward(&x.value(), &Context::train(3)).unwrap();
            let grads = y.sum(.., false).unwrap().backward().unwrap().get(&x).unwrap();
            let [x, y, grads] = [&x.value(), &y, &grads].map(|t| t.to_vec::<f32>().unwrap());
            let n = y.len() as f64;
            let mean = y.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let variance = y.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{rate}: {mean} {variance}");
            // Keras's a, b and what is dropped.
            let limit = -1.7580993408473766f64;
            let a = ((1.0 - rate) * (1.0 + rate * limit * limit)).powf(-0.5);
            let b = -a * limit * rate;
            let mut dropped = 0;
            for ((x, y), grad) in x.iter().zip(&y).zip(&grads) {
                if *grad == 0.0 {
                    dropped += 1;
                    assert!((f64::from(*y) - (a * limit + b)).abs() < 1e-6);
                } else {
                    assert!((f64::from(*y) - (a * f64::from(*x) + b)).abs() < 1e-6);
                    assert!((f64::from(*grad) - a).abs() < 1e-6);
                }
            }
            let off = (f64::from(dropped) / n - rate).abs();
            assert!(off < 4.0 * (rate * (1.0 - rate) / n).sqrt(), "{rate}: {off}");
        }
    }

    #[test]
    fn noise_has_its_deviation() {
        let layer = super::GaussianNoise::new(0.5);
        let x = Tensor::zeros([100, 100], Device::Cpu).unwrap();
        let y = layer.forward(&x, &Context::train(3)).unwrap().to_vec::<f32>().unwrap();
        let mean = y.iter().sum::<f32>() / 1e4;
        let std = (y.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 1e4).sqrt();
        assert!(mean.abs() < 0.02 && (std - 0.5).abs() < 0.015, "{mean} {std}");
    }
}
