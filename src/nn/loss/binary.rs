//! Cross-entropy of yes-or-no questions.

use super::base::{EPSILON, Loss, Outputs, check_smoothing, elements, sample_means, weighted_by};
use crate::error::Result;
use crate::tensor::Tensor;

/// Cross-entropy of independent yes-or-no outputs: outputs and targets of one shape, `[batch]`, `[batch, 1]` or
/// `[batch, .., labels]`; targets are 0, 1 or between, of any element type.
///
/// `-(t * log(p) + (1 - t) * log(1 - p))`, the mean over all elements. From logits x, where `p = sigmoid(x)`, it is
/// computed as `|x| * (x < 0 ? t : 1 - t) + log(1 + exp(-|x|))`, which neither overflows nor cancels, and is 0 for an infinite
/// logit that is right; probabilities are kept within 1e-7 of 0 and 1, as Keras 3 does (`keras.losses.BinaryCrossentropy`).
///
/// ```
/// use wgrad::nn::BinaryCrossentropy;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new([-18.6f32, 0.51, 2.94, -12.8], Device::Cpu)?;
/// let targets = Tensor::new([0u8, 1, 0, 0], Device::Cpu)?;
/// let loss = BinaryCrossentropy::from_logits().compute(&logits, &targets)?;
/// assert!((loss.item::<f32>()? - 0.865458).abs() < 1e-5);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats, targets of another shape, and a smoothing outside 0 to 1.
#[derive(Clone, Debug)]
#[must_use]
pub struct BinaryCrossentropy {
    outputs: Outputs,
    smoothing: f64,
}

impl BinaryCrossentropy {
    /// For outputs before the sigmoid: exact for logits of any magnitude.
    pub fn from_logits() -> Self {
        BinaryCrossentropy { outputs: Outputs::Logits, smoothing: 0.0 }
    }

    /// For outputs after a sigmoid.
    pub fn from_probabilities() -> Self {
        BinaryCrossentropy { outputs: Outputs::Probabilities, smoothing: 0.0 }
    }

    /// Moves the targets towards one half: `targets * (1 - smoothing) + smoothing / 2`, with a smoothing from 0 to 1.
    pub fn label_smoothing(self, smoothing: f64) -> Self {
        BinaryCrossentropy { smoothing, ..self }
    }
}

impl Loss for BinaryCrossentropy {
    fn outputs(&self) -> Option<Outputs> {
        Some(self.outputs)
    }

    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        const NAME: &str = "BinaryCrossentropy";
        check_smoothing(NAME, self.smoothing)?;
        let (x, mut t) = elements(NAME, outputs, targets)?;
        if self.smoothing > 0.0 {
            t = ((t * (1.0 - self.smoothing))? + 0.5 * self.smoothing)?;
        }
        sample_means(&cross_entropy(self.outputs, &x, &t)?)
    }
}

/// The cross-entropy of each element.
pub(super) fn cross_entropy(outputs: Outputs, x: &Tensor, t: &Tensor) -> Result<Tensor> {
    match outputs {
        Outputs::Logits => {
            // One mask for weight and magnitude: |x| alone has the gradient 0 at 0, where it is 1/2 - t here.
            let positive = x.ge(0.0)?;
            let magnitude = positive.select(x, x.neg()?)?;
            let weight = positive.select((1.0 - t)?, t)?;
            weighted_by(&weight, &magnitude)? + magnitude.neg()?.softplus()?
        }
        Outputs::Probabilities => {
            let yes = x.clamp(EPSILON, 1.0 - EPSILON)?.log()?;
            // 1 - p is clamped rather than p: 1 - (1 - 1e-7) has lost digits in f32
            let no = (1.0 - x)?.clamp(EPSILON, 1.0 - EPSILON)?.log()?;
            ((t * yes)? + ((1.0 - t)? * no)?)?.neg()
        }
    }
}
