//! Penalties on the size of weights, and of what layers give.

use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::Result;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A penalty `l1 * sum(|w|) + l2 * sum(w^2)` on a weight, as Keras's `L1`, `L2` and `L1L2` compute it (no half before the
/// square). Losses of a [`Trainer`](crate::train::Trainer) have it added; see [`Module::penalty`](super::Module::penalty).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Regularizer;
/// # fn main() -> Result<()> {
/// let w = Tensor::new([1.0f32, -2.0], Device::Cpu)?;
/// assert_eq!(Regularizer::l1(0.5).penalty(&w)?.item::<f32>()?, 1.5);
/// assert_eq!(Regularizer::l2(0.5).penalty(&w)?.item::<f32>()?, 2.5);
/// assert_eq!(Regularizer::l1_l2(0.5, 0.5).penalty(&w)?.item::<f32>()?, 4.0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Regularizer {
    l1: f64,
    l2: f64,
}

impl Regularizer {
    /// `l1 * sum(|w|)`: many weights become zero.
    pub fn l1(l1: f64) -> Regularizer {
        Regularizer { l1, l2: 0.0 }
    }

    /// `l2 * sum(w^2)`: no weight becomes large.
    pub fn l2(l2: f64) -> Regularizer {
        Regularizer { l1: 0.0, l2 }
    }

    /// Both.
    pub fn l1_l2(l1: f64, l2: f64) -> Regularizer {
        Regularizer { l1, l2 }
    }

    /// The penalty for `w`, a tensor of any shape, as a scalar.
    ///
    /// # Errors
    ///
    /// A tensor whose elements can't be multiplied by the factors: integers.
    pub fn penalty(&self, w: &Tensor) -> Result<Tensor> {
        let l1 = || w.abs()?.sum(.., false)? * self.l1;
        let l2 = || w.square()?.sum(.., false)? * self.l2;
        match (self.l1 != 0.0, self.l2 != 0.0) {
            (true, false) => l1(),
            (true, true) => l1()? + l2()?,
            _ => l2(),
        }
    }

    /// The penalty on a layer's output `[samples, ..]`, as a scalar: that of all its elements, divided by the number of samples.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let y = Tensor::new([[1.0f32, -2.0], [3.0, 0.0]], Device::Cpu)?;
    /// assert_eq!(wgrad::nn::Regularizer::l1(0.5).activity(&y)?.item::<f32>()?, 1.5);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`penalty`](Self::penalty).
    pub fn activity(&self, y: &Tensor) -> Result<Tensor> {
        let samples = y.dims().first().copied().unwrap_or(1).max(1);
        self.penalty(y)? / samples as f64
    }
}

/// Gives its input, and adds a penalty on its size to the loss, divided by the number of samples (Keras's layer of this name): what
/// layers without an `activity_regularizer` of their own are followed by.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{ActivityRegularization, Context, Regularizer};
/// # fn main() -> Result<()> {
/// let layer = ActivityRegularization::new(Regularizer::l1(0.1));
/// let model = Sequential::new().add(layer).build([3], Device::Cpu)?;
/// let cx = Context::train(1);
/// model.forward(&Tensor::ones([2, 3], Device::Cpu)?, &cx)?;
/// assert!((cx.take_losses()[0].item::<f32>()? - 0.3).abs() < 1e-6); // 6 elements, 2 samples
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct ActivityRegularization {
    regularizer: Regularizer,
}

impl ActivityRegularization {
    /// This penalty on what passes.
    pub fn new(regularizer: Regularizer) -> ActivityRegularization {
        ActivityRegularization { regularizer }
    }
}

impl Layer for ActivityRegularization {
    fn kind(&self) -> &'static str {
        "ActivityRegularization"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        Ok(Built::new(*self, input))
    }
}

impl Module for ActivityRegularization {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        cx.add_loss(self.regularizer.activity(x)?);
        Ok(x.clone())
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
