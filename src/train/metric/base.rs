//! What a metric is, and what metrics share.

use crate::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A number about outputs and targets that can be told from a sum over samples.
///
/// Sums stay on the device, as part of each step, and are read only when they are shown. They are f32: counts are exact
/// up to 2^24 (16.7 million) per element of the sum, beyond which each batch's count is rounded to the total's precision
/// of 24 bits; sums of other numbers have a relative error of about 1e-7 times the square root of the number of batches.
///
/// | `keras.metrics` | here |
/// | --- | --- |
/// | `SparseCategoricalAccuracy()`, `CategoricalAccuracy()`, `"accuracy"` | [`Accuracy`](super::Accuracy) |
/// | `BinaryAccuracy(threshold=0.5)` | [`BinaryAccuracy`](super::BinaryAccuracy) |
/// | `TopKCategoricalAccuracy(k=5)`, `SparseTopKCategoricalAccuracy(k=5)` | `TopKAccuracy::new(5)`: [`TopKAccuracy`](super::TopKAccuracy) |
/// | `Precision()`, `Recall()` | [`Precision`](super::Precision), [`Recall`](super::Recall) |
/// | `Precision(thresholds=0)`, for logits | [`Precision::from_logits()`](super::Precision::from_logits) |
/// | `Precision(class_id=3)` | `Precision::of_classes(10, Average::Class(3))` |
/// | `F1Score(average="macro")` | `F1Score::of_classes(10, Average::Macro)`: [`F1Score`](super::F1Score), [`Average`](super::Average) |
/// | `AUC(curve="ROC")` | [`Auc`](super::Auc) |
/// | `MeanSquaredError()`, `MeanAbsoluteError()` and other losses | the loss itself is a metric: [`MeanSquaredError`](crate::nn::MeanSquaredError) |
/// | `RootMeanSquaredError()` | [`RootMeanSquaredError`](super::RootMeanSquaredError) |
/// | `R2Score()`, `MeanIoU(num_classes=5)` | [`R2Score`](super::R2Score), `MeanIou::new(5)`: [`MeanIou`](super::MeanIou) |
/// | `keras_hub.metrics.Perplexity()`, `EditDistance()`, `Bleu()` | [`Perplexity`](super::Perplexity), [`edit_distance`](super::edit_distance), [`Bleu`](super::Bleu) |
/// | torchmetrics' `PearsonCorrCoef()` | [`PearsonCorrelation`](super::PearsonCorrelation) |
/// | `MeanMetricWrapper(f)`, a function as metric | `Mean::of("name", loss or closure)`: [`Mean`](super::Mean) |
/// | `tf.math.confusion_matrix` | [`confusion_matrix`](crate::train::confusion_matrix), and [`Confusion`](super::Confusion) as a metric |
/// | `name="top5"` | [`Metric::named`] |
///
/// A metric of one's own:
///
/// ```
/// use wgrad::prelude::*;
/// use wgrad::train::Metric;
///
/// /// The mean of output - target.
/// struct Bias;
///
/// impl Metric for Bias {
///     fn name(&self) -> &str {
///         "bias"
///     }
///     fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
///         (outputs - targets)?.sum(.., false)
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
    ///
    /// # Errors
    ///
    /// Outputs and targets have shapes or element types that the metric doesn't take.
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor>;

    /// The metric, from the elements of the sum over all batches and the number of samples.
    fn result(&self, sum: &[f32], samples: usize) -> f64;

    /// The same metric without the rows whose integer label is `class`; `None` where it has no such rows, or leaves out
    /// others already. A [`Trainer`](crate::train::Trainer) asks for it where the output's loss leaves such rows out
    /// ([`Loss::ignored_class`](crate::nn::Loss::ignored_class)).
    fn ignoring(&self, _class: i64) -> Option<Box<dyn Metric>> {
        None
    }

    /// The same metric under another name, where there are several of a kind.
    ///
    /// ```
    /// use wgrad::train::{Average, Metric, Recall};
    /// let metric = Recall::of_classes(10, Average::Class(3)).named("recall_of_threes");
    /// assert_eq!(metric.name(), "recall_of_threes");
    /// ```
    fn named(self, name: impl Into<String>) -> Named<Self>
    where
        Self: Sized,
    {
        Named { name: name.into(), metric: self }
    }
}

/// A metric under another name: [`Metric::named`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Named<M> {
    name: String,
    metric: M,
}

impl<M: Metric> Metric for Named<M> {
    fn name(&self) -> &str {
        &self.name
    }
    fn shape(&self) -> Vec<usize> {
        self.metric.shape()
    }
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.metric.sum(outputs, targets)
    }
    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        self.metric.result(sum, samples)
    }
    fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
        let metric = self.metric.ignoring(class)?;
        Some(Box::new(Named { name: self.name.clone(), metric }))
    }
}

// Clippy refuses a method that is forgotten, and would fall back to what the trait provides.
#[deny(clippy::missing_trait_methods)]
impl<M: Metric + ?Sized> Metric for Box<M> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn shape(&self) -> Vec<usize> {
        (**self).shape()
    }
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        (**self).sum(outputs, targets)
    }
    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        (**self).result(sum, samples)
    }
    fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
        (**self).ignoring(class)
    }
    fn named(self, name: impl Into<String>) -> Named<Self> {
        Named { name: name.into(), metric: self }
    }
}

/// A sum that is one number over the number of samples.
pub(super) fn mean(sum: &[f32], samples: usize) -> f64 {
    sum.iter().map(|&v| f64::from(v)).sum::<f64>() / samples as f64
}

/// 0 where nothing is divided by, as in Keras.
pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The sum over all elements, each sample counting once however many elements it has.
pub(super) fn sum_of_samples(values: &Tensor) -> Result<Tensor> {
    let sum = values.cast(DType::F32)?.sum(.., false)?;
    let samples = values.dims().first().copied().unwrap_or(1);
    let per_sample = values.numel() / samples.max(1);
    if per_sample > 1 { sum / per_sample as f64 } else { Ok(sum) }
}

/// A share of rows: what is right, and where rows with a label are left out how many are not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rows {
    pub ignored: Option<i64>,
}

impl Rows {
    pub fn shape(self) -> Vec<usize> {
        if self.ignored.is_some() { vec![2] } else { Vec::new() }
    }

    /// The sum of a row's worth, u8, in the shape of its labels.
    pub fn sum(self, op: &str, right: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match counted(op, self.ignored, labels)? {
            None => sum_of_samples(right),
            Some(counted) => {
                let (right, counted) = ((right * &counted)?.flatten(0)?, counted.flatten(0)?);
                Tensor::stack(&[&right, &counted], 0)?.cast(DType::F32)?.sum(-1, false)
            }
        }
    }

    pub fn result(self, sum: &[f32], samples: usize) -> f64 {
        match (self.ignored, sum) {
            (Some(_), &[right, rows]) => ratio(right.into(), rows.into()),
            _ => mean(sum, samples),
        }
    }

    pub fn ignoring(self, class: i64) -> Option<Rows> {
        self.ignored.is_none().then_some(Rows { ignored: Some(class) })
    }
}

/// The rows whose label is not the ignored one, u8; `None` where all count.
pub(super) fn counted(op: &str, ignored: Option<i64>, labels: &Tensor) -> Result<Option<Tensor>> {
    let Some(class) = ignored else { return Ok(None) };
    if i32::try_from(class).is_err() {
        let message =
            format!("ignore_class is {class}; labels are compared as i32: name a class of -2^31 to 2^31 - 1");
        return Err(Error::argument(op, message));
    }
    labels.ne(class as f64).map(Some)
}

/// The rows of outputs `[.., classes]` whose element at a place of `[..]` is a number, u8. Where a NaN is the largest, as it is
/// to argmax, it must not be an answer.
pub(super) fn is_number_at(outputs: &Tensor, places: &Tensor) -> Result<Tensor> {
    let last = outputs.dims().last().map_or(0, |&classes| classes.saturating_sub(1));
    let there = outputs.gather(-1, &places.clamp(0.0, last as f64)?.unsqueeze(-1)?)?;
    is_number(&there.squeeze(-1)?)
}

/// Whether all of some truths hold, a scalar u8.
pub(super) fn all_of(truths: &Tensor) -> Result<Tensor> {
    truths.eq(0u8)?.sum(.., false)?.eq(0u32)
}

/// Elements that are not NaN, u8.
pub(super) fn is_number(outputs: &Tensor) -> Result<Tensor> {
    // comparisons with NaN are false
    outputs.ge(f64::NEG_INFINITY)
}

/// The label of each row, i32 `[batch, ..]`, of integer labels or one-hot rows beside outputs `[batch, .., classes]`.
pub(super) fn labels(op: &str, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if outputs.rank() < 2 || outputs.dims().last().is_some_and(|&classes| classes < 2) {
        let message = format!(
            "outputs are {}; expected [batch, .., classes] with two classes or more (for yes-or-no outputs there are \
             BinaryAccuracy, Precision::from_logits and the like)",
            outputs.shape()
        );
        return Err(Error::shape(op, message));
    }
    let rows = &outputs.dims()[..outputs.rank() - 1];
    let one_hot = targets.dtype().is_float() || targets.shape() == outputs.shape();
    let labels = match one_hot {
        true if targets.rank() > 0 && targets.dtype().is_float() => targets.argmax(-1, false)?,
        true if targets.rank() > 0 => targets.cast(DType::F32)?.argmax(-1, false)?,
        true => targets.clone(),
        false => targets.cast(DType::I32)?,
    };
    if labels.dims() != rows || (one_hot && targets.shape() != outputs.shape()) {
        let message = format!(
            "outputs are {}, targets {}; expected one target per row",
            outputs.shape(),
            targets.shape()
        );
        return Err(Error::shape(op, message));
    }
    Ok(labels)
}

/// Rows of zeros with a one, f32 `[rows, classes]`: none for a label that is no class.
pub(super) fn one_hot_rows(labels: &Tensor, classes: usize) -> Result<Tensor> {
    labels.flatten(0)?.one_hot(classes)
}

/// When a yes-or-no output means yes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decision {
    pub logits: bool,
    /// The probability above which it does.
    pub threshold: f64,
}

impl Decision {
    pub fn new(logits: bool) -> Decision {
        Decision { logits, threshold: 0.5 }
    }

    /// Outputs that say yes, and targets that do (those above 1/2): u8, of the outputs' shape. NaN doesn't say yes.
    pub fn apply(&self, op: &str, outputs: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
        let p = self.threshold;
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::argument(op, format!("the threshold is {p}; expected a probability, 0 to 1")));
        }
        check_pair(op, outputs, targets)?;
        // the logarithm of the odds is where the sigmoid reaches p
        let threshold = if self.logits { (p / (1.0 - p)).ln() } else { p };
        Ok((outputs.gt(threshold)?, targets.cast(DType::F32)?.gt(0.5)?))
    }
}

/// Yes-or-no outputs and their targets: floats, and one shape.
pub(super) fn check_pair(op: &str, outputs: &Tensor, targets: &Tensor) -> Result<()> {
    crate::ops::require_float(op, "the output", outputs)?;
    if outputs.shape() == targets.shape() && outputs.rank() > 0 {
        return Ok(());
    }
    let message = format!(
        "outputs are {}, targets {}; both must have one shape, [batch, ..]: reshape the targets",
        outputs.shape(),
        targets.shape()
    );
    Err(Error::shape(op, message))
}
