//! How far outputs go along with targets: explained variance, correlation, overlap of classes, edits between sequences.

use super::base::{Metric, ratio};
use super::confusion::Confusion;
use crate::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Outputs and targets of one shape, in f32 and as `[samples, outputs of one]`.
fn columns(op: &str, outputs: &Tensor, targets: &Tensor, count: usize) -> Result<[Tensor; 2]> {
    if outputs.rank() == 0 || outputs.shape() != targets.shape() {
        let message = format!(
            "outputs are {}, targets {}; both must have one shape, [batch, ..]",
            outputs.shape(),
            targets.shape()
        );
        return Err(Error::shape(op, message));
    }
    let samples = outputs.dims()[0];
    let each: usize = outputs.dims()[1..].iter().product();
    if each != count {
        let message = format!(
            "a sample has {each} outputs, the metric is for {count}: give it {each} with outputs(..)"
        );
        return Err(Error::shape(op, message));
    }
    let flat = |x: &Tensor| x.cast(DType::F32)?.reshape([samples, count]);
    Ok([flat(outputs)?, flat(targets)?])
}

/// The sums over all samples of each part `[samples, outputs]`: `[parts, outputs]`.
fn sums_of_outputs(parts: &[Tensor]) -> Result<Tensor> {
    let sums = parts.iter().map(|p| p.sum(0, false)).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&sums, 0)
}

/// The means over all outputs of what is computed of each one's sums, which stand one behind the other.
fn mean_of_outputs(sum: &[f32], sums: usize, of_one: impl Fn(&[f64]) -> f64) -> f64 {
    let count = sum.len() / sums;
    let each = |k: usize| -> Vec<f64> { (0..sums).map(|i| f64::from(sum[i * count + k])).collect() };
    (0..count).map(|k| of_one(&each(k))).sum::<f64>() / count as f64
}

/// Of a sum of squares: less than this is left of it by rounding, where nothing varies.
const LEAST: f64 = 1e-6;

macro_rules! of_outputs {
    ($($name:ident)*) => {$(
        impl $name {
            /// For samples that are one number each.
            pub fn new() -> Self {
                $name { outputs: 1 }
            }

            /// For samples of so many numbers: each has a result of its own, of which the mean is taken.
            pub fn outputs(self, outputs: usize) -> Self {
                $name { outputs }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::new()
            }
        }
    )*};
}
of_outputs!(R2Score PearsonCorrelation);

/// The coefficient of determination: the share of the targets' variance that the outputs explain,
/// `1 - sum((t - y)^2) / sum((t - mean(t))^2)` over all samples (`keras.metrics.R2Score`, scikit-learn's `r2_score`). 1 is perfect, 0 as
/// good as the mean, less is worse than that. Of targets that are all the same it is 0, as in Keras, and 1 where the outputs are
/// these.
///
/// Sums are f32: of targets whose mean is a hundred times their spread three digits are left, and of those with a thousandth of
/// their mean as spread it is not known whether they are all the same: they count as if.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Metric, R2Score};
/// # fn main() -> Result<()> {
/// let metric = R2Score::new();
/// let (y, t) = (Tensor::new([2.5f32, 0.0, 2.0, 8.0], Device::Cpu)?, Tensor::new([3.0f32, -0.5, 2.0, 7.0], Device::Cpu)?);
/// let r2 = metric.result(&metric.sum(&y, &t)?.to_vec()?, 4);
/// assert!((r2 - 0.948608).abs() < 1e-5);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct R2Score {
    outputs: usize,
}

impl Metric for R2Score {
    fn name(&self) -> &str {
        "r2_score"
    }

    fn shape(&self) -> Vec<usize> {
        vec![3, self.outputs]
    }

    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let [y, t] = columns("R2Score", outputs, targets, self.outputs)?;
        sums_of_outputs(&[t.clone(), t.square()?, (&t - y)?.square()?])
    }

    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        mean_of_outputs(sum, 3, |s| {
            let total = s[1] - s[0] * s[0] / samples as f64;
            if total.is_nan() || s[2].is_nan() {
                return f64::NAN;
            }
            match (s[2] == 0.0, total > LEAST * s[1]) {
                (true, _) => 1.0,
                (false, true) => 1.0 - s[2] / total,
                (false, false) => 0.0,
            }
        })
    }
}

/// Pearson's correlation of outputs and targets over all samples, from -1 to 1 (`scipy.stats.pearsonr`, torchmetrics'
/// `PearsonCorrCoef`; Keras's goes along the last axis of each sample). 0 where either is all the same.
///
/// Sums are f32: of numbers whose mean is a hundred times their spread three digits are left, and those with a thousandth of their
/// mean as spread count as all the same.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Metric, PearsonCorrelation};
/// # fn main() -> Result<()> {
/// let metric = PearsonCorrelation::new();
/// let (y, t) = (Tensor::new([1.0f32, 2.0, 3.0], Device::Cpu)?, Tensor::new([10.0f32, 20.0, 30.0], Device::Cpu)?);
/// assert!((metric.result(&metric.sum(&y, &t)?.to_vec()?, 3) - 1.0).abs() < 1e-6);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PearsonCorrelation {
    outputs: usize,
}

impl Metric for PearsonCorrelation {
    fn name(&self) -> &str {
        "pearson_correlation"
    }

    fn shape(&self) -> Vec<usize> {
        vec![5, self.outputs]
    }

    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let [y, t] = columns("PearsonCorrelation", outputs, targets, self.outputs)?;
        sums_of_outputs(&[y.clone(), t.clone(), y.square()?, t.square()?, (y * t)?])
    }

    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        let n = samples as f64;
        mean_of_outputs(sum, 5, |s| {
            let (yy, tt, yt) = (s[2] - s[0] * s[0] / n, s[3] - s[1] * s[1] / n, s[4] - s[0] * s[1] / n);
            if yt.is_nan() {
                return f64::NAN;
            }
            let varies = yy > LEAST * s[2] && tt > LEAST * s[3];
            if varies { (yt / (yy * tt).sqrt()).clamp(-1.0, 1.0) } else { 0.0 }
        })
    }
}

/// The mean over classes of intersection over union: `right / (meant + answered - right)` of each class that is meant or answered
/// at all (`keras.metrics.MeanIoU`), the measure of segmentations. Outputs are `[batch, .., classes]`, targets integers `[batch, ..]` or
/// one-hot rows.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{MeanIou, Metric};
/// # fn main() -> Result<()> {
/// let metric = MeanIou::new(2);
/// let answers = Tensor::new([[0u32, 1, 0, 1]], Device::Cpu)?.one_hot(2)?;
/// let sum = metric.sum(&answers, &Tensor::new([[0u32, 0, 1, 1]], Device::Cpu)?)?.to_vec()?;
/// assert!((metric.result(&sum, 1) - 1.0 / 3.0).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MeanIou {
    confusion: Confusion,
    classes: usize,
}

impl MeanIou {
    /// For so many classes.
    pub fn new(classes: usize) -> Self {
        MeanIou { confusion: Confusion::new(classes), classes }
    }

    /// Leaves out what is labelled `class`, such as 255 for void.
    pub fn ignore_class(self, class: i64) -> Self {
        MeanIou { confusion: self.confusion.ignore_class(class), ..self }
    }
}

impl Metric for MeanIou {
    fn name(&self) -> &str {
        "mean_iou"
    }

    fn shape(&self) -> Vec<usize> {
        self.confusion.shape()
    }

    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.confusion.sum(outputs, targets)
    }

    fn result(&self, sum: &[f32], _samples: usize) -> f64 {
        let n = self.classes;
        if sum.iter().any(|v| v.is_nan()) {
            return f64::NAN;
        }
        let at = |target: usize, answer: usize| f64::from(sum[target * n + answer]);
        let each = (0..n).map(|k| {
            let meant: f64 = (0..n).map(|j| at(k, j)).sum();
            let answered: f64 = (0..n).map(|j| at(j, k)).sum();
            (at(k, k), meant + answered - at(k, k))
        });
        let known: Vec<f64> =
            each.filter(|(_, all)| *all > 0.0).map(|(right, all)| ratio(right, all)).collect();
        ratio(known.iter().sum(), known.len() as f64)
    }

    fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
        self.confusion.ignoring(class)?;
        Some(Box::new(self.clone().ignore_class(class)))
    }
}

/// How many insertions, deletions and replacements make one sequence of the other (Levenshtein's distance): of characters, of words,
/// of what [`Ctc::decode`](crate::nn::Ctc::decode) has read. Divided by the length of what is right it is the error rate of
/// characters or words.
///
/// ```
/// use wgrad::train::edit_distance;
/// assert_eq!(edit_distance(b"kitten", b"sitting"), 3);
/// assert_eq!(edit_distance(&["a", "cat"], &["the", "cat", "sat"]), 2);
/// ```
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
