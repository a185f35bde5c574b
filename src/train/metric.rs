//! Metrics: what people look at, beside the loss.

use crate::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A number about outputs and targets that can be told from a sum over samples.
///
/// Sums stay on the device, as part of each step, and are read only when they are shown.
///
/// ```
/// use wgrad::prelude::*;
/// use wgrad::train::Metric;
///
/// /// The mean of |output - target|.
/// struct MeanAbsoluteError;
///
/// impl Metric for MeanAbsoluteError {
///     fn name(&self) -> &str {
///         "mae"
///     }
///     fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
///         (outputs - targets)?.abs()?.sum(&[], false)
///     }
///     fn result(&self, sum: &[f32], samples: usize) -> f64 {
///         f64::from(sum[0]) / samples as f64
///     }
/// }
/// ```
pub trait Metric: Send + Sync {
    /// A short name in lower case.
    fn name(&self) -> &str;

    /// Shape of [`sum`](Self::sum): a scalar, where nothing else is said.
    fn shape(&self) -> Vec<usize> {
        Vec::new()
    }

    /// The sum over the samples of a batch (the first dimension of both), f32. Lazy; gradients are not recorded.
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor>;

    /// The metric, from the elements of the sum over all batches and the number of samples.
    fn result(&self, sum: &[f32], samples: usize) -> f64;
}

/// The share of samples whose largest output is at the target: outputs `[batch, .., classes]`; targets integers
/// `[batch, ..]`, or one-hot rows.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::Metric;
/// # fn main() -> Result<()> {
/// let outputs = Tensor::new([[0.1f32, 0.9], [0.8, 0.2], [0.3, 0.7]], Device::Cpu)?;
/// let right = Accuracy::new().sum(&outputs, &Tensor::new([1u32, 0, 0], Device::Cpu)?)?;
/// assert_eq!(right.item::<f32>()?, 2.0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Accuracy {}

impl Accuracy {
    /// The metric.
    pub fn new() -> Accuracy {
        Accuracy {}
    }
}

impl Metric for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        if outputs.rank() < 2 || outputs.dims().last().is_some_and(|&classes| classes < 2) {
            let message = format!(
                "outputs are {}; expected [batch, .., classes] with two classes or more",
                outputs.shape()
            );
            return Err(Error::shape("Accuracy", message));
        }
        let chosen = outputs.argmax(-1, false)?;
        let targets =
            if targets.dtype().is_float() { targets.argmax(-1, false)? } else { targets.cast(DType::I32)? };
        if chosen.shape() != targets.shape() {
            let message = format!(
                "outputs are {}, targets {}; expected one target per row",
                outputs.shape(),
                targets.shape()
            );
            return Err(Error::shape("Accuracy", message));
        }
        let right = chosen.eq(&targets)?.cast(DType::F32)?.sum(&[], false)?;
        // A sample that has several rows counts once.
        let rows = chosen.numel() / chosen.dims()[0].max(1);
        if rows > 1 { right * (1.0 / rows as f64) } else { Ok(right) }
    }

    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        sum.iter().map(|&v| f64::from(v)).sum::<f64>() / samples as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn labels_one_hot_rows_and_sequences_agree() {
        let outputs =
            Tensor::new([[0.1f32, 0.9, 0.0], [0.8, 0.2, 0.0], [0.3, 0.7, 0.9], [0.5, 0.5, 0.0]], Device::Cpu);
        let (outputs, labels) = (outputs.unwrap(), Tensor::new([1u32, 0, 0, 0], Device::Cpu).unwrap());
        let sum = |o: &Tensor, t: &Tensor| Accuracy::new().sum(o, t).unwrap().item::<f32>().unwrap();
        assert_eq!(sum(&outputs, &labels), 3.0); // the first of a tie counts as chosen
        assert_eq!(sum(&outputs, &labels.one_hot(3).unwrap()), 3.0);
        assert_eq!(sum(&outputs, &labels.cast(DType::U8).unwrap()), 3.0);
        let pairs = outputs.reshape([2, 2, 3]).unwrap();
        assert_eq!(sum(&pairs, &labels.reshape([2, 2]).unwrap()), 1.5);
        assert_eq!(Accuracy::new().result(&[3.0], 4), 0.75);
        let wrong = Accuracy::new().sum(&outputs, &labels.reshape([4, 1]).unwrap()).unwrap_err().to_string();
        assert_eq!(wrong, "Accuracy: outputs are [4, 3], targets [4, 1]; expected one target per row");
    }
}
