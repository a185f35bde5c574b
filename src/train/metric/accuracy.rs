//! Shares of right answers.

use super::base::{Decision, Metric, Rows, is_number, is_number_at, labels, mean, sum_of_samples};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The share of samples whose largest output is at the target: outputs `[batch, .., classes]`, logits or probabilities;
/// targets integers `[batch, ..]`, or one-hot rows. At a tie the first of the largest is the answer. A row whose largest
/// output is NaN, as it is where there is one, is wrong.
///
/// Rows that the loss of the output leaves out ([`ignore_class`](crate::nn::SparseCategoricalCrossentropy::ignore_class)) are
/// left out by a trainer here, too.
///
/// `keras.metrics.SparseCategoricalAccuracy` and `CategoricalAccuracy`.
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
#[must_use]
pub struct Accuracy {
    rows: Rows,
}

impl Accuracy {
    /// The metric.
    pub fn new() -> Accuracy {
        Accuracy::default()
    }

    /// Leaves out the rows whose label is `class`. Where none is left it is 0.
    pub fn ignore_class(self, class: i64) -> Accuracy {
        Accuracy { rows: Rows { ignored: Some(class) } }
    }
}

impl Metric for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        const NAME: &str = "Accuracy";
        let labels = labels(NAME, outputs, targets)?;
        let right = (outputs.argmax(-1, false)?.eq(&labels)? * is_number_at(outputs, &labels)?)?;
        self.rows.sum(NAME, &right, &labels)
    }

    fn shape(&self) -> Vec<usize> {
        self.rows.shape()
    }

    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        self.rows.result(sum, samples)
    }

    fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
        Some(Box::new(Accuracy { rows: self.rows.ignoring(class)? }))
    }
}

/// The share of yes-or-no outputs that are right: outputs and targets of one shape, `[batch]`, `[batch, 1]` or
/// `[batch, .., labels]`. An output means yes where its probability is above the threshold, 1/2 if nothing else is said;
/// a target where it is above 1/2. An output that is NaN is wrong.
///
/// `keras.metrics.BinaryAccuracy`.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{BinaryAccuracy, Metric};
/// # fn main() -> Result<()> {
/// let logits = Tensor::new([[-1.0f32], [2.0], [0.5]], Device::Cpu)?;
/// let right = BinaryAccuracy::from_logits().sum(&logits, &Tensor::new([[0u8], [1], [0]], Device::Cpu)?)?;
/// assert_eq!(right.item::<f32>()?, 2.0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BinaryAccuracy {
    decision: Decision,
}

impl BinaryAccuracy {
    /// For outputs before the sigmoid.
    pub fn from_logits() -> Self {
        BinaryAccuracy { decision: Decision::new(true) }
    }

    /// For outputs after a sigmoid.
    pub fn from_probabilities() -> Self {
        BinaryAccuracy { decision: Decision::new(false) }
    }

    /// The probability above which an output means yes (for logits, too).
    pub fn threshold(mut self, probability: f64) -> Self {
        self.decision.threshold = probability;
        self
    }
}

impl Metric for BinaryAccuracy {
    fn name(&self) -> &str {
        "binary_accuracy"
    }

    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (said, meant) = self.decision.apply("BinaryAccuracy", outputs, targets)?;
        sum_of_samples(&(said.eq(meant)? * is_number(outputs)?)?)
    }

    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        mean(sum, samples)
    }
}

/// The share of samples whose target is among the k largest outputs; shapes as for [`Accuracy`].
///
/// `keras.metrics.TopKCategoricalAccuracy` and `SparseTopKCategoricalAccuracy`, with the ties of TensorFlow's
/// `in_top_k`: the target is among the k if fewer than k classes have a larger output, so that all classes of a tie at
/// the border are in. An output that is not a number counts as larger; a label that is no class is never in.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Metric, TopKAccuracy};
/// # fn main() -> Result<()> {
/// let outputs = Tensor::new([[0.1f32, 0.9, 0.8], [0.05, 0.95, 0.0]], Device::Cpu)?;
/// let top2 = TopKAccuracy::new(2);
/// assert_eq!(top2.sum(&outputs, &Tensor::new([2u32, 2], Device::Cpu)?)?.item::<f32>()?, 1.0);
/// assert_eq!(top2.name(), "top_2_accuracy");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TopKAccuracy {
    k: usize,
    name: String,
    rows: Rows,
}

impl TopKAccuracy {
    /// Among the `k` largest; at least 1.
    pub fn new(k: usize) -> Self {
        TopKAccuracy { k, name: format!("top_{k}_accuracy"), rows: Rows::default() }
    }

    /// Leaves out the rows whose label is `class`. Where none is left it is 0.
    pub fn ignore_class(self, class: i64) -> TopKAccuracy {
        TopKAccuracy { rows: Rows { ignored: Some(class) }, ..self }
    }
}

impl Metric for TopKAccuracy {
    fn name(&self) -> &str {
        &self.name
    }

    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        const NAME: &str = "TopKAccuracy";
        if self.k == 0 {
            return Err(Error::argument(NAME, "k is 0; expected at least 1"));
        }
        let labels = labels(NAME, outputs, targets)?;
        let classes = outputs.dims().last().copied().unwrap_or(1);
        // The output at the label; below all others where the label is no class.
        let at_label = labels.one_hot(classes)?.gt(0.5)?;
        let at_label = at_label.select(outputs, f64::NEG_INFINITY)?.max(-1, true)?;
        let not_larger = outputs.le(at_label)?.cast(crate::DType::F32)?.sum(-1, false)?;
        let right = not_larger.gt((classes - self.k.min(classes)) as f64)?;
        self.rows.sum(NAME, &right, &labels)
    }

    fn shape(&self) -> Vec<usize> {
        self.rows.shape()
    }

    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        self.rows.result(sum, samples)
    }

    fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
        Some(Box::new(TopKAccuracy { rows: self.rows.ignoring(class)?, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;
    use crate::train::{BinaryAccuracy, TopKAccuracy};

    #[test]
    fn labels_one_hot_rows_and_sequences_agree() {
        let outputs =
            Tensor::new([[0.1f32, 0.9, 0.0], [0.8, 0.2, 0.0], [0.3, 0.7, 0.9], [0.5, 0.5, 0.0]], Device::Cpu);
        let (outputs, labels) = (outputs.unwrap(), Tensor::new([1u32, 0, 0, 0], Device::Cpu).unwrap());
        let sum = |o: &Tensor, t: &Tensor| Accuracy::new().sum(o, t).unwrap().item::<f32>().unwrap();
        assert_eq!(sum(&outputs, &labels), 3.0); // the first of a tie counts as chosen
        assert_eq!(sum(&outputs, &labels.one_hot(3).unwrap()), 3.0);
        assert_eq!(sum(&outputs, &labels.one_hot(3).unwrap().cast(DType::U8).unwrap()), 3.0);
        assert_eq!(sum(&outputs, &labels.cast(DType::U8).unwrap()), 3.0);
        let pairs = outputs.reshape([2, 2, 3]).unwrap();
        assert_eq!(sum(&pairs, &labels.reshape([2, 2]).unwrap()), 1.5);
        assert_eq!(Accuracy::new().result(&[3.0], 4), 0.75);
        let wrong = Accuracy::new().sum(&outputs, &labels.reshape([4, 1]).unwrap()).unwrap_err().to_string();
        assert_eq!(wrong, "Accuracy: outputs are [4, 3], targets [4, 1]; expected one target per row");
        let two = labels.one_hot(2).unwrap();
        assert!(Accuracy::new().sum(&outputs, &two).unwrap_err().to_string().contains("targets [4, 2]"));
        let scalar = Tensor::new(1.0f32, Device::Cpu).unwrap();
        assert!(Accuracy::new().sum(&outputs, &scalar).unwrap_err().to_string().contains("targets []"));
    }

    #[test]
    fn thresholds_are_probabilities() {
        let logits = Tensor::new([-0.1f32, 0.0, 0.1, 3.0], Device::Cpu).unwrap();
        let targets = Tensor::new([0i32, 0, 1, 1], Device::Cpu).unwrap();
        let sum = |m: BinaryAccuracy, o: &Tensor| m.sum(o, &targets).unwrap().item::<f32>().unwrap();
        assert_eq!(sum(BinaryAccuracy::from_logits(), &logits), 4.0);
        assert_eq!(sum(BinaryAccuracy::from_logits().threshold(0.9), &logits), 3.0);
        assert_eq!(sum(BinaryAccuracy::from_logits().threshold(1.0), &logits), 2.0);
        assert_eq!(sum(BinaryAccuracy::from_logits().threshold(0.0), &logits), 2.0);
        assert_eq!(sum(BinaryAccuracy::from_probabilities(), &logits.sigmoid().unwrap()), 4.0);
        let column = logits.reshape([4, 1]).unwrap();
        let e = BinaryAccuracy::from_logits().sum(&column, &targets).unwrap_err().to_string();
        assert!(e.contains("outputs are [4, 1], targets [4]"), "{e}");
        let e = BinaryAccuracy::from_logits().threshold(2.0).sum(&logits, &targets).unwrap_err().to_string();
        assert!(e.contains("the threshold is 2"), "{e}");
    }

    #[test]
    fn strange_top_k() {
        let nan = f32::NAN;
        let outputs =
            Tensor::new([[3.0f32, 2.0, 1.0], [1.0, 1.0, 1.0], [nan, 1.0, 0.0]], Device::Cpu).unwrap();
        let sum = |k: usize, labels: [i32; 3]| {
            let labels = Tensor::new(labels, Device::Cpu).unwrap();
            TopKAccuracy::new(k).sum(&outputs, &labels).unwrap().item::<f32>().unwrap()
        };
        assert_eq!(sum(1, [0, 2, 1]), 2.0); // a tie of all, and a NaN before the target
        assert_eq!(sum(2, [2, 2, 1]), 2.0);
        assert_eq!(sum(2, [3, -1, 0]), 0.0);
        assert_eq!(sum(9, [3, 0, 2]), 2.0); // more than there are: whatever is a class
        let labels = Tensor::new([0i32, 0, 0], Device::Cpu).unwrap();
        assert!(TopKAccuracy::new(0).sum(&outputs, &labels).is_err());
    }
}
