//! The area under a curve of decisions.

use super::base::{Metric, all_of, check_pair, is_number, ratio};
use crate::DType;
use crate::error::{Error, Result};
use crate::ops::random::iota;
use crate::tensor::Tensor;

/// Which curve: see [`Auc::curve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Curve {
    /// Receiver operating characteristic: recall over the share of false alarms. The area is the probability that a
    /// positive sample's output is above a negative one's.
    Roc,
    /// Precision over recall: for few positives among many.
    PrecisionRecall,
}

/// The area under the curve of a yes-or-no output: outputs and targets of one shape, `[batch, ..]`; all elements count
/// alike, targets above 1/2 are yes.
///
/// `keras.metrics.AUC` with its defaults: outputs are counted in 200 buckets between thresholds that are evenly spaced
/// over 0 to 1, and the curve through the thresholds' points is interpolated (linearly for ROC, by the formula of Davis
/// and Goadrich, 2006, for precision and recall). The area is an approximation: outputs within a bucket are not told
/// apart. 0 where all targets are alike, NaN where an output is.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Auc, Metric};
/// # fn main() -> Result<()> {
/// let metric = Auc::from_probabilities();
/// let outputs = Tensor::new([0.0f32, 0.5, 0.3, 0.9], Device::Cpu)?;
/// let sum = metric.sum(&outputs, &Tensor::new([0u8, 0, 1, 1], Device::Cpu)?)?;
/// assert!((metric.result(&sum.to_vec()?, 4) - 0.75).abs() < 1e-6);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Auc {
    logits: bool,
    thresholds: usize,
    curve: Curve,
}

impl Auc {
    /// For outputs before the sigmoid.
    pub fn from_logits() -> Self {
        Auc { logits: true, thresholds: 200, curve: Curve::Roc }
    }

    /// For outputs after a sigmoid; those outside 0 to 1 count as 0 or 1.
    pub fn from_probabilities() -> Self {
        Auc { logits: false, ..Auc::from_logits() }
    }

    /// Another number of thresholds, 2 or more.
    pub fn thresholds(mut self, thresholds: usize) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Another curve.
    pub fn curve(mut self, curve: Curve) -> Self {
        self.curve = curve;
        self
    }
}

impl Metric for Auc {
    fn name(&self) -> &str {
        match self.curve {
            Curve::Roc => "auc",
            Curve::PrecisionRecall => "auc_pr",
        }
    }

    fn shape(&self) -> Vec<usize> {
        vec![2, self.thresholds]
    }

    /// Positives and negatives in each bucket.
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        if self.thresholds < 2 {
            let message = format!("{} thresholds; expected 2 or more", self.thresholds);
            return Err(Error::argument("Auc", message));
        }
        check_pair("Auc", outputs, targets)?;
        let p = if self.logits { outputs.sigmoid()? } else { outputs.clamp(0.0, 1.0)? };
        // ceil(p * (n - 1)) - 1, which puts an output that equals a threshold below it, as "above" is a yes
        let bucket = ((p.flatten(0)? * (1.0 - self.thresholds as f64))?.floor()?.neg()? - 1.0)?.relu()?;
        let places = iota(self.thresholds, outputs.device())?.cast(bucket.dtype())?.unsqueeze(1)?;
        let there = places.eq(bucket.unsqueeze(0)?)?;
        let yes = targets.cast(DType::F32)?.gt(0.5)?.flatten(0)?;
        let no = yes.eq(0u8)?;
        let both = [(&there * yes)?, (&there * no)?];
        let counts = Tensor::stack(&[&both[0], &both[1]], 0)?.cast(DType::F32)?.sum(-1, false)?;
        // What is in no order has no curve.
        counts + all_of(&is_number(outputs)?)?.select(0.0, f64::NAN)?
    }

    fn result(&self, sum: &[f32], _samples: usize) -> f64 {
        // what is above each threshold: sums from the last bucket on
        let above = |row: usize| -> Vec<f64> {
            let mut total = 0.0;
            let buckets = sum.iter().skip(row * self.thresholds).take(self.thresholds);
            let mut sums: Vec<f64> = buckets
                .rev()
                .map(|&v| {
                    total += f64::from(v);
                    total
                })
                .collect();
            sums.reverse();
            sums
        };
        let (tp, fp) = (above(0), above(1));
        let (Some(&positives), Some(&negatives)) = (tp.first(), fp.first()) else { return 0.0 };
        if positives.is_nan() || negatives.is_nan() {
            return f64::NAN;
        }
        let steps = tp.windows(2).zip(fp.windows(2));
        match self.curve {
            Curve::Roc => steps
                .map(|(tp, fp)| {
                    let x = ratio(fp[0], negatives) - ratio(fp[1], negatives);
                    x * (ratio(tp[0], positives) + ratio(tp[1], positives)) / 2.0
                })
                .sum(),
            // The integral of precision, with hits and answers linear between two thresholds.
            Curve::PrecisionRecall => steps
                .map(|(tp, fp)| {
                    let (more, less) = (tp[0] + fp[0], tp[1] + fp[1]);
                    let hits = tp[0] - tp[1];
                    let slope = ratio(hits, more - less);
                    let intercept = tp[1] - slope * less;
                    let growth = if more > 0.0 && less > 0.0 { (more / less).ln() } else { 0.0 };
                    ratio(slope * (hits + intercept * growth), positives)
                })
                .sum(),
        }
    }
}
