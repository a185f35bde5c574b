//! Losses: how far outputs are from targets, as a mean over the batch.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Keras keeps probabilities this far from 0 and 1 before it takes their logarithm.
const PROBABILITY_EPSILON: f64 = 1e-7;

/// What training makes small.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new([[2.0f32, 0.0], [0.0, 2.0]], Device::Cpu)?;
/// let labels = Tensor::new([0u32, 1], Device::Cpu)?;
/// let loss = SparseCategoricalCrossentropy::from_logits().compute(&logits, &labels)?;
/// assert!((loss.item::<f32>()? - 0.126928).abs() < 1e-6);
/// # Ok(()) }
/// ```
pub trait Loss: Send + Sync {
    /// The loss of each sample of a batch, `[samples]`. The first dimension of both counts samples.
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor>;

    /// The mean loss of a batch, as a scalar.
    fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.per_sample(outputs, targets)?.mean(&[], false)
    }

    /// The sum of `weights * per_sample` divided by the number of samples, as Keras weights its losses: `weights`
    /// `[samples]`.
    fn weighted(&self, outputs: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let losses = self.per_sample(outputs, targets)?;
        same_shape("Loss::weighted", &losses, weights)?;
        (losses * weights)?.mean(&[], false)
    }
}

/// Where a classifier's last layer stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outputs {
    Logits,
    Probabilities,
}

/// Cross-entropy against integer labels: outputs `[batch, .., classes]`, labels `[batch, ..]`.
#[derive(Clone, Debug)]
pub struct SparseCategoricalCrossentropy {
    outputs: Outputs,
}

impl SparseCategoricalCrossentropy {
    /// For outputs before the softmax: exact for logits of any magnitude, and one fused kernel.
    pub fn from_logits() -> Self {
        SparseCategoricalCrossentropy { outputs: Outputs::Logits }
    }

    /// For outputs after a softmax.
    pub fn from_probabilities() -> Self {
        SparseCategoricalCrossentropy { outputs: Outputs::Probabilities }
    }
}

impl SparseCategoricalCrossentropy {
    fn check(&self, targets: &Tensor) -> Result<()> {
        if !targets.dtype().is_float() {
            return Ok(());
        }
        let message = format!(
            "targets are {} {}; integer labels are expected (for one-hot rows use CategoricalCrossentropy)",
            targets.dtype(),
            targets.shape()
        );
        Err(Error::dtype("SparseCategoricalCrossentropy", message))
    }
}

impl Loss for SparseCategoricalCrossentropy {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.check(targets)?;
        let rows = match self.outputs {
            Outputs::Logits => outputs.cross_entropy_rows(targets)?,
            Outputs::Probabilities => {
                let classes = outputs.dims().last().copied().unwrap_or(0);
                log_likelihood(outputs, &targets.one_hot(classes)?.cast(outputs.dtype())?)?
            }
        };
        sample_means(&rows)
    }

    fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.check(targets)?;
        match self.outputs {
            // one kernel
            Outputs::Logits => outputs.cross_entropy(targets),
            Outputs::Probabilities => self.per_sample(outputs, targets)?.mean(&[], false),
        }
    }
}

/// Cross-entropy against probabilities or one-hot rows: outputs and targets `[batch, .., classes]`.
#[derive(Clone, Debug)]
pub struct CategoricalCrossentropy {
    outputs: Outputs,
}

impl CategoricalCrossentropy {
    /// For outputs before the softmax: exact for logits of any magnitude, and one fused kernel.
    pub fn from_logits() -> Self {
        CategoricalCrossentropy { outputs: Outputs::Logits }
    }

    /// For outputs after a softmax.
    pub fn from_probabilities() -> Self {
        CategoricalCrossentropy { outputs: Outputs::Probabilities }
    }
}

impl CategoricalCrossentropy {
    fn check(&self, targets: &Tensor) -> Result<()> {
        if targets.dtype().is_float() {
            return Ok(());
        }
        let message = format!(
            "targets are {} {}; rows of probabilities are expected (for integer labels use SparseCategoricalCrossentropy)",
            targets.dtype(),
            targets.shape()
        );
        Err(Error::dtype("CategoricalCrossentropy", message))
    }
}

impl Loss for CategoricalCrossentropy {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.check(targets)?;
        sample_means(&match self.outputs {
            Outputs::Logits => outputs.cross_entropy_rows(targets)?,
            Outputs::Probabilities => log_likelihood(outputs, targets)?,
        })
    }

    fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.check(targets)?;
        match self.outputs {
            // one kernel
            Outputs::Logits => outputs.cross_entropy(targets),
            Outputs::Probabilities => self.per_sample(outputs, targets)?.mean(&[], false),
        }
    }
}

/// `-sum(targets * log(probabilities))` of each row.
fn log_likelihood(probabilities: &Tensor, targets: &Tensor) -> Result<Tensor> {
    same_shape("cross-entropy of probabilities", probabilities, targets)?;
    let p = probabilities.clamp(PROBABILITY_EPSILON, 1.0 - PROBABILITY_EPSILON)?;
    (targets * p.log()?)?.sum(&[-1], false)?.neg()
}

/// The mean over all axes but the first.
fn sample_means(losses: &Tensor) -> Result<Tensor> {
    let axes: Vec<isize> = (1..losses.rank() as isize).collect();
    // no axes would mean all of them
    if axes.is_empty() { Ok(losses.clone()) } else { losses.mean(&axes, false) }
}

/// The mean of `(outputs - targets)^2` over all elements; both have one shape.
#[derive(Clone, Debug, Default)]
pub struct MeanSquaredError {}

impl MeanSquaredError {
    /// The loss.
    pub fn new() -> Self {
        MeanSquaredError {}
    }
}

impl Loss for MeanSquaredError {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        // Broadcasting [batch, 1] against [batch] would give the loss of every pair.
        same_shape("MeanSquaredError", outputs, targets)?;
        sample_means(&(outputs - targets.cast(outputs.dtype())?)?.square()?)
    }
}

fn same_shape(op: &str, outputs: &Tensor, targets: &Tensor) -> Result<()> {
    if outputs.shape() == targets.shape() {
        return Ok(());
    }
    let message = format!(
        "outputs are {}, targets {}; both must have one shape: reshape the targets, or change the last layer",
        outputs.shape(),
        targets.shape()
    );
    Err(Error::shape(op, message))
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    fn close(a: f32, b: f64) {
        assert!((f64::from(a) - b).abs() < 1e-6, "{a} against {b}");
    }

    #[test]
    fn four_ways_to_one_cross_entropy() {
        let logits = Tensor::new([[0.5f32, -1.0, 2.0], [3.0, 0.0, 0.1]], Device::Cpu).unwrap();
        let labels = Tensor::new([2u32, 1], Device::Cpu).unwrap();
        let rows = labels.one_hot(3).unwrap();
        let p = logits.softmax(-1).unwrap();
        let lse = |r: [f64; 3]| r.iter().map(|v| v.exp()).sum::<f64>().ln();
        let expected = ((lse([0.5, -1.0, 2.0]) - 2.0) + lse([3.0, 0.0, 0.1])) / 2.0;
        let sparse = SparseCategoricalCrossentropy::from_logits().compute(&logits, &labels);
        close(sparse.unwrap().item().unwrap(), expected);
        let sparse = SparseCategoricalCrossentropy::from_probabilities().compute(&p, &labels);
        close(sparse.unwrap().item().unwrap(), expected);
        close(
            CategoricalCrossentropy::from_logits().compute(&logits, &rows).unwrap().item().unwrap(),
            expected,
        );
        let dense = CategoricalCrossentropy::from_probabilities().compute(&p, &rows);
        close(dense.unwrap().item().unwrap(), expected);
        // Mixed up labels are told apart by their type.
        let mixed =
            SparseCategoricalCrossentropy::from_logits().compute(&logits, &rows).unwrap_err().to_string();
        assert!(mixed.contains("use CategoricalCrossentropy"), "{mixed}");
        let mixed = CategoricalCrossentropy::from_logits().compute(&logits, &labels).unwrap_err().to_string();
        assert!(mixed.contains("use SparseCategoricalCrossentropy"), "{mixed}");
    }

    #[test]
    fn squared_error_does_not_broadcast() {
        let y = Tensor::new([[1.0f32], [2.0]], Device::Cpu).unwrap();
        let t = Tensor::new([[0.0f32], [4.0]], Device::Cpu).unwrap();
        close(MeanSquaredError::new().compute(&y, &t).unwrap().item().unwrap(), 2.5);
        let flat = t.reshape([2]).unwrap();
        let message = MeanSquaredError::new().compute(&y, &flat).unwrap_err().to_string();
        assert!(message.contains("outputs are [2, 1], targets [2]"), "{message}");
    }
}
