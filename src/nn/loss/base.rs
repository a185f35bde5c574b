//! What a loss is, and what losses share.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Keras keeps probabilities this far from 0 and 1 before it takes their logarithm (`keras.config.epsilon()`).
pub(super) const EPSILON: f64 = 1e-7;

/// What training makes small.
///
/// Formulas and defaults are those of Keras 3 (`keras.losses`); each type's page has its formula. Means go over all
/// elements of a sample and then over the batch, as Keras's `reduction="sum_over_batch_size"` has it.
///
/// | `keras.losses` | here |
/// | --- | --- |
/// | `SparseCategoricalCrossentropy(from_logits=True)` | [`SparseCategoricalCrossentropy::from_logits()`](super::SparseCategoricalCrossentropy::from_logits) |
/// | `SparseCategoricalCrossentropy()` | [`SparseCategoricalCrossentropy::from_probabilities()`](super::SparseCategoricalCrossentropy::from_probabilities) |
/// | `SparseCategoricalCrossentropy(ignore_class=255)` | `.ignore_class(255)` on either |
/// | `CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)` | `CategoricalCrossentropy::from_logits().label_smoothing(0.1)` |
/// | `BinaryCrossentropy(from_logits=True)` | [`BinaryCrossentropy::from_logits()`](super::BinaryCrossentropy::from_logits) |
/// | `MeanSquaredError()`, `MeanAbsoluteError()` | [`MeanSquaredError`](super::MeanSquaredError), [`MeanAbsoluteError`](super::MeanAbsoluteError) |
/// | `Huber(delta=1.0)` | `Huber::new(1.0)`: [`Huber`](super::Huber) |
/// | `LogCosh()`, `Poisson()` | [`LogCosh`](super::LogCosh), [`Poisson`](super::Poisson) |
/// | `MeanSquaredLogarithmicError()`, `MeanAbsolutePercentageError()` | [`MeanSquaredLogarithmicError`](super::MeanSquaredLogarithmicError), [`MeanAbsolutePercentageError`](super::MeanAbsolutePercentageError) |
/// | `KLDivergence()`, `CosineSimilarity()` | [`KLDivergence`](super::KLDivergence), [`CosineSimilarity`](super::CosineSimilarity) |
/// | `Hinge()`, `SquaredHinge()`, `CategoricalHinge()` | [`Hinge`](super::Hinge), [`SquaredHinge`](super::SquaredHinge), [`CategoricalHinge`](super::CategoricalHinge) |
/// | `BinaryFocalCrossentropy()`, `CategoricalFocalCrossentropy()` | [`BinaryFocalCrossentropy`](super::BinaryFocalCrossentropy), [`CategoricalFocalCrossentropy`](super::CategoricalFocalCrossentropy) |
/// | `Dice(axis=(1, 2, 3))`, `Tversky(axis=(1, 2, 3))` | [`Dice`](super::Dice), [`Tversky`](super::Tversky) |
/// | `CTC()` | [`Ctc`](super::Ctc) |
/// | TensorFlow Addons' `ContrastiveLoss`, `TripletHardLoss`, `TripletSemiHardLoss` | [`Contrastive`](super::Contrastive), [`TripletHard`](super::TripletHard), [`TripletSemiHard`](super::TripletSemiHard) |
/// | PyTorch's `TripletMarginLoss`, `CosineEmbeddingLoss` | [`TripletMargin`](super::TripletMargin), [`CosineEmbedding`](super::CosineEmbedding) |
/// | InfoNCE (CLIP), NT-Xent (SimCLR) | [`InfoNce`](super::InfoNce), [`NtXent`](super::NtXent) |
/// | a function `f(y_true, y_pred)` | a closure `\|outputs: &Tensor, targets: &Tensor\|`, see below |
/// | `sample_weight` | [`Loss::weighted`] |
///
/// Outputs come first and targets second, PyTorch's order. Outputs and targets must have one shape (integer labels lack
/// the classes' axis): a target `[batch]` beside outputs `[batch, 1]` is an error rather than broadcast.
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
///
/// A closure is a loss, too. It gives the loss of each sample (more axes are averaged), or a scalar, the loss of the
/// batch; the latter can't be weighted by sample.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let quartic = |outputs: &Tensor, targets: &Tensor| (outputs - targets)?.square()?.square();
/// let y = Tensor::new([[1.0f32, 2.0]], Device::Cpu)?;
/// assert_eq!(quartic.compute(&y, &y.zeros_like()?)?.item::<f32>()?, 8.5);
/// # Ok(()) }
/// ```
pub trait Loss: Send + Sync {
    /// The loss of each sample of a batch, `[samples]`. The first dimension of both counts samples.
    ///
    /// # Errors
    ///
    /// Outputs and targets have shapes or element types that the loss doesn't take, or live on different devices; a setting of the
    /// loss is out of its range.
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor>;

    /// The mean loss of a batch, as a scalar.
    ///
    /// # Errors
    ///
    /// As [`per_sample`](Self::per_sample).
    fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.per_sample(outputs, targets)?.mean(.., false)
    }

    /// The integer label whose rows are left out, where there is one: metrics of a trainer leave them out, too.
    fn ignored_class(&self) -> Option<i64> {
        None
    }

    /// Whether the loss takes logits or probabilities, where it takes one of these: a trainer warns of a model that gives the other.
    fn outputs(&self) -> Option<Outputs> {
        None
    }

    /// The sum of `weights * per_sample` divided by the number of samples, as Keras weights its losses: `weights`
    /// `[samples]`. A sample whose weight is 0 counts for nothing, even where its loss is infinite; not where it is NaN.
    ///
    /// # Errors
    ///
    /// As [`per_sample`](Self::per_sample); or there is not one weight for each sample.
    fn weighted(&self, outputs: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let losses = self.per_sample(outputs, targets)?;
        check_weights(&losses, weights)?;
        weighted_by(weights, &losses)?.mean(.., false)
    }

    /// Over how many rows [`compute`](Self::compute) and [`weighted`](Self::weighted) take the mean, as a scalar f32, where
    /// the targets say so: those that are not ignored. `None` where all samples count, and count the same.
    ///
    /// By this, means of batches become the mean of all of them: in an epoch, in an evaluation, and where gradients are
    /// [accumulated](crate::train::Fit::accumulate).
    ///
    /// # Errors
    ///
    /// As [`per_sample`](Self::per_sample).
    fn count(&self, _outputs: &Tensor, _targets: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

impl<F> Loss for F
where
    F: Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync,
{
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let losses = self(outputs, targets)?;
        if losses.rank() == 0 || losses.dims().first() != outputs.dims().first() {
            let message = format!(
                "the closure gave {} for outputs {}; expected one loss for each sample (the first dimension)",
                losses.shape(),
                outputs.shape()
            );
            return Err(Error::shape("Loss of a closure", message));
        }
        sample_means(&losses)
    }

    fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let losses = self(outputs, targets)?;
        if losses.rank() == 0 { Ok(losses) } else { losses.mean(.., false) }
    }
}

/// Where a classifier's last layer stops: what a [`Loss`] takes.
///
/// ```
/// use wgrad::nn::{Loss, Outputs, SparseCategoricalCrossentropy};
/// assert_eq!(SparseCategoricalCrossentropy::from_logits().outputs(), Some(Outputs::Logits));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outputs {
    /// Before softmax or sigmoid: any number.
    Logits,
    /// After it.
    Probabilities,
}

/// The mean over all axes but the first.
pub(super) fn sample_means(losses: &Tensor) -> Result<Tensor> {
    if losses.rank() < 2 { Ok(losses.clone()) } else { losses.mean(1.., false) }
}

pub(super) fn check_weights(losses: &Tensor, weights: &Tensor) -> Result<()> {
    if losses.shape() == weights.shape() {
        return Ok(());
    }
    let message = format!(
        "weights are {}, losses {}; expected one weight for each sample",
        weights.shape(),
        losses.shape()
    );
    Err(Error::shape("Loss::weighted", message))
}

/// Labels and probabilities can be smoothed by a share from 0 (not at all) to 1 (nothing else is left).
pub(super) fn check_smoothing(op: &str, smoothing: f64) -> Result<()> {
    if (0.0..=1.0).contains(&smoothing) {
        return Ok(());
    }
    Err(Error::argument(op, format!("label_smoothing is {smoothing}; expected 0 to 1")))
}

/// `weight * x`, and 0 where the weight is 0 and x infinite: what has no weight counts for nothing, however large it is. NaN
/// stays NaN.
pub(super) fn weighted_by(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    let product = (weight * x)?;
    let of_infinity = weight.eq(0.0)?.select(product.zeros_like()?, &product)?;
    x.abs()?.eq(f64::INFINITY)?.select(of_infinity, product)
}

/// Outputs and targets of one shape, in the outputs' element type.
pub(super) fn elements(op: &str, outputs: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    crate::ops::require_float(op, "the output", outputs)?;
    // Broadcasting [batch, 1] against [batch] would give the loss of every pair.
    if outputs.shape() != targets.shape() {
        let fix = match outputs.rank() > targets.rank().max(2) {
            true => ", or flatten or pool before it",
            false => "",
        };
        let message = format!(
            "outputs are {}, targets {}; both must have one shape: reshape the targets, or change the last layer{fix}",
            outputs.shape(),
            targets.shape()
        );
        return Err(Error::shape(op, message));
    }
    Ok((outputs.clone(), targets.cast(outputs.dtype())?))
}

/// As [`elements`], for losses of whole rows: `[batch, .., features]`.
pub(super) fn vectors(op: &str, outputs: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    if outputs.rank() < 2 {
        let message = format!("outputs are {}; expected [batch, .., features]", outputs.shape());
        return Err(Error::shape(op, message));
    }
    elements(op, outputs, targets)
}

/// Losses without settings: the expression gives what is averaged over a sample.
macro_rules! plain_losses {
    ($($(#[$doc:meta])* $name:ident $check:ident |$y:ident, $t:ident| $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        #[must_use]
        pub struct $name {}

        impl $name {
            /// The loss.
            pub fn new() -> Self {
                $name {}
            }
        }

        impl Loss for $name {
            fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
                let ($y, $t) = $check(stringify!($name), outputs, targets)?;
                sample_means(&$e?)
            }
        }
    )*};
}
pub(super) use plain_losses;
