//! Dropout.

use super::{Build, Built, Context, Layer, Module, Parameter, layer_config};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// While training, sets each element to zero with probability `rate` and divides the others by `1 - rate` (inverted
/// dropout, as in Keras); while predicting, does nothing.
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

    fn config(&self) -> Result<serde_json::Value> {
        layer_config(self)
    }

    fn build(&self, input: Shape, _cx: &mut Build) -> Result<Built> {
        if !(0.0..1.0).contains(&self.rate) {
            let message = format!("expects a rate of at least 0 and below 1, got {}", self.rate);
            return Err(Error::argument("build", message));
        }
        Ok(Built::new(self.clone(), input))
    }
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let seed = match cx.next_seed() {
            Some(seed) if self.rate > 0.0 => seed,
            _ => return Ok(x.clone()),
        };
        let kept = Tensor::rand(x.shape(), x.device(), seed)?.ge(self.rate)?;
        // The mask times a number rather than a choice of x or 0: one factor, which the gradient uses again.
        x * (kept.cast(x.dtype())? * (1.0 / (1.0 - self.rate)))?
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }
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
        let grads = y.sum(&[], false).unwrap().backward().unwrap();
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
}
