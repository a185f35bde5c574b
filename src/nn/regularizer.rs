//! Penalties on the size of weights, and of what layers give.

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
