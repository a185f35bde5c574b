//! Means of losses, and what follows from them.

use super::base::{Metric, mean};
use crate::DType;
use crate::error::Result;
use crate::nn::{self, Loss};
use crate::tensor::Tensor;

/// The mean loss times the number of samples. Where the loss leaves rows out, times the number of those that are left, and
/// that number.
fn sum_of_loss(loss: &(impl Loss + ?Sized), outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let mean = loss.compute(outputs, targets)?.cast(DType::F32)?;
    match loss.ignored_class() {
        Some(class) => {
            let rows = targets.ne(class as f64)?.cast(DType::F32)?.sum(.., false)?;
            Tensor::stack(&[&(mean * &rows)?, &rows], 0)
        }
        None => mean * outputs.dims().first().copied().unwrap_or(1) as f64,
    }
}

fn shape_of_loss(loss: &(impl Loss + ?Sized)) -> Vec<usize> {
    if loss.ignored_class().is_some() { vec![2] } else { Vec::new() }
}

fn mean_of_loss(loss: &(impl Loss + ?Sized), sum: &[f32], samples: usize) -> f64 {
    match (loss.ignored_class(), sum) {
        // where no row is left it is 0, as the loss
        (Some(_), &[sum, rows]) => f64::from(sum) / f64::from(rows).max(1.0),
        _ => mean(sum, samples),
    }
}

/// The mean of a loss, or of a closure, over all samples.
///
/// Losses of this crate are metrics by themselves, under Keras's names: `trainer.metric(MeanSquaredError::new())`
/// reports `mean_squared_error`.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Mean, Metric};
/// # fn main() -> Result<()> {
/// let bias = Mean::of("bias", |outputs: &Tensor, targets: &Tensor| outputs - targets);
/// let (y, t) = (Tensor::new([1.0f32, 2.0], Device::Cpu)?, Tensor::new([0.5f32, 2.0], Device::Cpu)?);
/// assert_eq!(bias.result(&bias.sum(&y, &t)?.to_vec()?, 2), 0.25);
/// # Ok(()) }
/// ```
#[must_use]
pub struct Mean {
    name: String,
    loss: Box<dyn Loss>,
}

impl Mean {
    /// The mean of `loss`: any [`Loss`], so also a closure of outputs and targets.
    pub fn of(name: impl Into<String>, loss: impl Loss + 'static) -> Mean {
        Mean { name: name.into(), loss: Box::new(loss) }
    }
}

impl std::fmt::Debug for Mean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mean({})", self.name)
    }
}

impl Metric for Mean {
    fn name(&self) -> &str {
        &self.name
    }
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        sum_of_loss(&*self.loss, outputs, targets)
    }
    fn shape(&self) -> Vec<usize> {
        shape_of_loss(&*self.loss)
    }
    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        mean_of_loss(&*self.loss, sum, samples)
    }
}

macro_rules! loss_metrics {
    ($($loss:ident $name:literal;)*) => {$(
        /// The mean of the loss over all samples.
        impl Metric for nn::$loss {
            fn name(&self) -> &str {
                $name
            }
            fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
                sum_of_loss(self, outputs, targets)
            }
            fn shape(&self) -> Vec<usize> {
                shape_of_loss(self)
            }
            fn result(&self, sum: &[f32], samples: usize) -> f64 {
                mean_of_loss(self, sum, samples)
            }
        }
    )*};
}

loss_metrics! {
    SparseCategoricalCrossentropy "sparse_categorical_crossentropy";
    CategoricalCrossentropy "categorical_crossentropy";
    BinaryCrossentropy "binary_crossentropy";
    MeanSquaredError "mean_squared_error";
    MeanAbsoluteError "mean_absolute_error";
    MeanAbsolutePercentageError "mean_absolute_percentage_error";
    MeanSquaredLogarithmicError "mean_squared_logarithmic_error";
    Huber "huber";
    LogCosh "log_cosh";
    Poisson "poisson";
    Hinge "hinge";
    SquaredHinge "squared_hinge";
    CategoricalHinge "categorical_hinge";
    KLDivergence "kl_divergence";
    CosineSimilarity "cosine_similarity";
    BinaryFocalCrossentropy "binary_focal_crossentropy";
    CategoricalFocalCrossentropy "categorical_focal_crossentropy";
    Dice "dice";
    Tversky "tversky";
    Ctc "ctc";
}

/// `exp` of the mean cross-entropy of all rows: among how many classes a model hesitates, where it has to say the next word or
/// character. Outputs are logits `[batch, .., classes]`, targets integers `[batch, ..]` (`keras_hub.metrics.Perplexity`).
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Metric, Perplexity};
/// # fn main() -> Result<()> {
/// let logits = Tensor::zeros([2, 3, 50], Device::Cpu)?;
/// let words = Tensor::new([[1u32, 49, 0], [7, 0, 0]], Device::Cpu)?;
/// let metric = Perplexity::new().ignore_class(0);
/// let perplexity = metric.result(&metric.sum(&logits, &words)?.to_vec()?, 2);
/// assert!((perplexity - 50.0).abs() < 1e-4);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Perplexity {
    loss: nn::SparseCategoricalCrossentropy,
}

impl Perplexity {
    /// The metric, over all rows.
    pub fn new() -> Self {
        Perplexity { loss: nn::SparseCategoricalCrossentropy::from_logits() }
    }

    /// Without the rows whose label is `class`, such as padding.
    pub fn ignore_class(self, class: i64) -> Self {
        Perplexity { loss: self.loss.ignore_class(class) }
    }
}

impl Default for Perplexity {
    fn default() -> Self {
        Perplexity::new()
    }
}

impl Metric for Perplexity {
    fn name(&self) -> &str {
        "perplexity"
    }
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        sum_of_loss(&self.loss, outputs, targets)
    }
    fn shape(&self) -> Vec<usize> {
        shape_of_loss(&self.loss)
    }
    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        mean_of_loss(&self.loss, sum, samples).exp()
    }
    fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
        self.loss
            .ignored_class()
            .is_none()
            .then(|| Box::new(self.clone().ignore_class(class)) as Box<dyn Metric>)
    }
}

/// The root of the mean of `(outputs - targets)^2` over all elements of all samples
/// (`keras.metrics.RootMeanSquaredError`).
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Metric, RootMeanSquaredError};
/// # fn main() -> Result<()> {
/// let metric = RootMeanSquaredError::new();
/// let (y, t) = (Tensor::new([3.0f32, 4.0], Device::Cpu)?, Tensor::new([0.0f32, 0.0], Device::Cpu)?);
/// assert_eq!(metric.result(&metric.sum(&y, &t)?.to_vec()?, 2), 12.5f64.sqrt());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RootMeanSquaredError {}

impl RootMeanSquaredError {
    /// The metric.
    pub fn new() -> Self {
        RootMeanSquaredError {}
    }
}

impl Metric for RootMeanSquaredError {
    fn name(&self) -> &str {
        "root_mean_squared_error"
    }
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        sum_of_loss(&nn::MeanSquaredError::new(), outputs, targets)
    }
    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        mean(sum, samples).sqrt()
    }
}
