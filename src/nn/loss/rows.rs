//! Losses that compare row by row: outputs and targets `[batch, .., features]`.

use super::base::{EPSILON, Loss, plain_losses, sample_means, vectors, weighted_by};
use crate::error::Result;
use crate::tensor::Tensor;

plain_losses! {
    /// `sum(targets * log(targets / outputs))` of each row, both kept within 1e-7 to 1: how many nats the outputs'
    /// distribution wastes on the targets' (`keras.losses.KLDivergence`). Outputs and targets are probabilities,
    /// `[batch, .., classes]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let p = Tensor::new([[0.5f32, 0.5]], Device::Cpu)?;
    /// let q = Tensor::new([[1.0f32, 0.0]], Device::Cpu)?;
    /// let loss = wgrad::nn::KLDivergence::new().compute(&p, &q)?;
    /// assert!((loss.item::<f32>()? - 2f32.ln()).abs() < 1e-5);
    /// # Ok(()) }
    /// ```
    KLDivergence vectors |y, t| {
        let (y, t) = (y.clamp(EPSILON, 1.0)?, t.clamp(EPSILON, 1.0)?);
        (&t * (&t / y)?.log()?)?.sum(-1, false)
    };

    /// Minus the cosine of the angle between outputs and targets, -1 (one direction) to 1 (opposite); 0 where either
    /// is the zero vector (`keras.losses.CosineSimilarity`). Both are `[batch, .., features]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let y = Tensor::new([[3.0f32, 0.0], [0.0, 2.0]], Device::Cpu)?;
    /// let t = Tensor::new([[1.0f32, 0.0], [1.0, 0.0]], Device::Cpu)?;
    /// assert_eq!(wgrad::nn::CosineSimilarity::new().per_sample(&y, &t)?.to_vec::<f32>()?, [-1.0, 0.0]);
    /// # Ok(()) }
    /// ```
    CosineSimilarity vectors |y, t| {
        let unit = |v: Tensor| &v / v.norm(-1, true)?.maximum(EPSILON)?;
        (unit(y)? * unit(t)?)?.sum(-1, false)?.neg()
    };

    /// `max(0, 1 + the largest output of a wrong class - the output of the right one)` of each row; targets are one-hot
    /// rows, `[batch, .., classes]` (`keras.losses.CategoricalHinge`).
    ///
    /// The largest is taken of `(1 - targets) * outputs`, where the right class stands with 0, as in Keras.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let y = Tensor::new([[0.5f32, 2.0, 1.0]], Device::Cpu)?;
    /// let t = Tensor::new([[0u8, 0, 1]], Device::Cpu)?;
    /// assert_eq!(wgrad::nn::CategoricalHinge::new().compute(&y, &t)?.item::<f32>()?, 2.0);
    /// # Ok(()) }
    /// ```
    CategoricalHinge vectors |y, t| {
        let right = weighted_by(&t, &y)?.sum(-1, false)?;
        let wrong = weighted_by(&(1.0 - t)?, &y)?.max(-1, false)?;
        ((wrong - right)? + 1.0)?.relu()
    };
}
