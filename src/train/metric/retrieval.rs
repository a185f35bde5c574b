//! Precision, recall and F1: how many of those found are right, how many of the right ones are found, and both in one.

use super::base::{Decision, Metric, counted, is_number_at, labels, one_hot_rows, ratio};
use crate::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// How the numbers of several classes become one; scikit-learn's and Keras's names.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Average, Metric, Recall};
/// # fn main() -> Result<()> {
/// let outputs = Tensor::new([[0.9f32, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], Device::Cpu)?;
/// let labels = Tensor::new([0u8, 1, 1, 0], Device::Cpu)?;
/// let recall = |average| {
///     let metric = Recall::of_classes(2, average);
///     Ok::<_, Error>(metric.result(&metric.sum(&outputs, &labels)?.to_vec()?, 4))
/// };
/// assert_eq!((recall(Average::Class(1))?, recall(Average::Macro)?), (0.5, 0.75));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Average {
    /// The mean over all classes. One that never occurs counts as 0.
    Macro,
    /// From the counts of all classes together. Where each row has one label and one answer, this is the accuracy.
    Micro,
    /// The mean over all classes, each weighted by how often it occurs.
    Weighted,
    /// One class, by its number, against all others.
    Class(usize),
}

/// What is asked of a metric of this file.
#[derive(Clone, Debug)]
enum Question {
    Binary(Decision),
    Classes { classes: usize, average: Average, ignored: Option<i64> },
}

/// What all of them are computed from, for one class or several together.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Outputs that say yes, and should.
    hits: f64,
    /// Outputs that say yes.
    said: f64,
    /// Targets that are yes.
    meant: f64,
}

impl Question {
    fn classes(&self) -> usize {
        match self {
            Question::Binary(_) => 1,
            Question::Classes { classes, .. } => *classes,
        }
    }

    /// Hits, outputs and targets of each class: `[3, classes]`.
    fn sum(&self, op: &str, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (said, meant) = match *self {
            Question::Binary(decision) => {
                let (said, meant) = decision.apply(op, outputs, targets)?;
                let row = |t: Tensor| t.cast(DType::F32)?.reshape([1, t.numel()]);
                (row(said)?, row(meant)?)
            }
            Question::Classes { classes, average, ignored } => {
                check_classes(op, classes, outputs)?;
                if let Average::Class(class) = average
                    && class >= classes
                {
                    let message = format!("class {class} was asked for; there are {classes}, counted from 0");
                    return Err(Error::argument(op, message));
                }
                let labels = labels(op, outputs, targets)?;
                let chosen = outputs.argmax(-1, false)?;
                let (mut said, mut meant) =
                    (one_hot_rows(&chosen, classes)?, one_hot_rows(&labels, classes)?);
                // A NaN is no answer, and neither are those to rows that are left out.
                said = of_rows(&is_number_at(outputs, &chosen)?, said)?;
                if let Some(counted) = counted(op, ignored, &labels)? {
                    (said, meant) = (of_rows(&counted, said)?, of_rows(&counted, meant)?);
                }
                (said.transpose()?, meant.transpose()?)
            }
        };
        // one reduction for all three
        Tensor::stack(&[&(&said * &meant)?, &said, &meant], 0)?.sum(-1, false)
    }

    /// The number of each class.
    fn per_class(&self, sum: &[f32], f: fn(Counts) -> f64) -> Vec<f64> {
        self.counts(sum).into_iter().map(f).collect()
    }

    fn counts(&self, sum: &[f32]) -> Vec<Counts> {
        let classes = self.classes();
        let at = |i: usize| sum.get(i).map_or(0.0, |&v| f64::from(v));
        let one = |c: usize| Counts { hits: at(c), said: at(classes + c), meant: at(2 * classes + c) };
        (0..classes).map(one).collect()
    }

    fn result(&self, sum: &[f32], f: fn(Counts) -> f64) -> f64 {
        let counts = self.counts(sum);
        match *self {
            Question::Binary(_) => counts.first().map_or(0.0, |&c| f(c)),
            Question::Classes { average: Average::Class(class), .. } => {
                counts.get(class).map_or(0.0, |&c| f(c))
            }
            Question::Classes { average: Average::Micro, .. } => {
                f(counts.iter().fold(Counts::default(), |a, c| Counts {
                    hits: a.hits + c.hits,
                    said: a.said + c.said,
                    meant: a.meant + c.meant,
                }))
            }
            Question::Classes { average: Average::Macro, .. } => {
                ratio(counts.iter().map(|&c| f(c)).sum(), counts.len() as f64)
            }
            Question::Classes { average: Average::Weighted, .. } => {
                let weighted = counts.iter().map(|&c| c.meant * f(c)).sum();
                ratio(weighted, counts.iter().map(|c| c.meant).sum())
            }
        }
    }
}

/// The rows of `[rows, classes]` that a u8 says yes for; zeros in place of the others.
fn of_rows(counted: &Tensor, rows: Tensor) -> Result<Tensor> {
    counted.flatten(0)?.unsqueeze(-1)?.select(rows, 0.0)
}

/// The outputs' last axis is as long as the metric was told.
pub(super) fn check_classes(op: &str, classes: usize, outputs: &Tensor) -> Result<()> {
    match outputs.dims().last() {
        Some(&given) if given != classes => {
            let message = format!(
                "outputs are {}; expected [batch, .., {classes}], the classes it was made for",
                outputs.shape()
            );
            Err(Error::shape(op, message))
        }
        _ => Ok(()),
    }
}

macro_rules! retrieval_metrics {
    ($($(#[$doc:meta])* $name:ident $label:literal |$c:ident| $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use]
        pub struct $name {
            question: Question,
        }

        impl $name {
            /// Of yes-or-no outputs before the sigmoid: outputs and targets of one shape, `[batch, ..]`; all elements
            /// count alike.
            pub fn from_logits() -> Self {
                $name { question: Question::Binary(Decision::new(true)) }
            }

            /// Of yes-or-no outputs after a sigmoid: outputs and targets of one shape, `[batch, ..]`; all elements count
            /// alike.
            pub fn from_probabilities() -> Self {
                $name { question: Question::Binary(Decision::new(false)) }
            }

            /// Of a choice among classes: outputs `[batch, .., classes]`, logits or probabilities, whose largest is the
            /// answer (the first at a tie); targets integers `[batch, ..]`, or one-hot rows. A target that is none of
            /// the classes makes its row's answer wrong. Outputs that are NaN are no answer.
            pub fn of_classes(classes: usize, average: Average) -> Self {
                $name { question: Question::Classes { classes, average, ignored: None } }
            }

            /// Leaves out the rows whose label is `class`, of a choice among classes.
            pub fn ignore_class(mut self, class: i64) -> Self {
                if let Question::Classes { ignored, .. } = &mut self.question {
                    *ignored = Some(class);
                }
                self
            }

            /// The probability above which a yes-or-no output means yes (for logits, too); 1/2 if nothing else is said.
            /// A choice among classes has none.
            pub fn threshold(mut self, probability: f64) -> Self {
                if let Question::Binary(decision) = &mut self.question {
                    decision.threshold = probability;
                }
                self
            }

            /// The number of each class, from the sum that [`Metric::result`] takes: Keras's `average=None`.
            pub fn per_class(&self, sum: &[f32]) -> Vec<f64> {
                self.question.per_class(sum, |$c| $e)
            }
        }

        impl Metric for $name {
            fn name(&self) -> &str {
                $label
            }
            fn shape(&self) -> Vec<usize> {
                vec![3, self.question.classes()]
            }
            fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
                self.question.sum(stringify!($name), outputs, targets)
            }
            fn result(&self, sum: &[f32], _samples: usize) -> f64 {
                self.question.result(sum, |$c| $e)
            }
            fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
                match self.question {
                    Question::Classes { ignored: None, .. } => {
                        Some(Box::new(self.clone().ignore_class(class)))
                    }
                    _ => None,
                }
            }
        }
    )*};
}

retrieval_metrics! {
    /// Of the answers yes, the share that is right: `true positives / (true positives + false positives)`, 0 where there
    /// is no such answer (`keras.metrics.Precision`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::train::{Metric, Precision};
    /// # fn main() -> Result<()> {
    /// let metric = Precision::from_probabilities();
    /// let outputs = Tensor::new([0.9f32, 0.2, 0.8, 0.7], Device::Cpu)?;
    /// let sum = metric.sum(&outputs, &Tensor::new([0u8, 1, 1, 1], Device::Cpu)?)?;
    /// assert_eq!(metric.result(&sum.to_vec()?, 4), 2.0 / 3.0);
    /// # Ok(()) }
    /// ```
    Precision "precision" |c| ratio(c.hits, c.said);

    /// Of the targets yes, the share that was found: `true positives / (true positives + false negatives)`, 0 where there
    /// is no such target (`keras.metrics.Recall`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::train::{Average, Metric, Recall};
    /// # fn main() -> Result<()> {
    /// let metric = Recall::of_classes(2, Average::Class(1));
    /// let outputs = Tensor::new([[0.9f32, 0.1], [0.2, 0.8], [0.7, 0.3]], Device::Cpu)?;
    /// let sum = metric.sum(&outputs, &Tensor::new([0u8, 1, 1], Device::Cpu)?)?;
    /// assert_eq!(metric.result(&sum.to_vec()?, 3), 0.5);
    /// assert_eq!(metric.per_class(&sum.to_vec()?), [1.0, 0.5]);
    /// # Ok(()) }
    /// ```
    Recall "recall" |c| ratio(c.hits, c.meant);

    /// The harmonic mean of precision and recall, `2 * hits / (answers yes + targets yes)`, 0 where there are neither
    /// (`keras.metrics.F1Score`, which adds 1e-7 to its denominators, and takes all of a tie as answers).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::train::{Average, F1Score, Metric};
    /// # fn main() -> Result<()> {
    /// let metric = F1Score::of_classes(2, Average::Macro);
    /// let outputs = Tensor::new([[0.9f32, 0.1], [0.2, 0.8], [0.7, 0.3]], Device::Cpu)?;
    /// let sum = metric.sum(&outputs, &Tensor::new([0u8, 1, 1], Device::Cpu)?)?;
    /// assert_eq!(metric.result(&sum.to_vec()?, 3), 2.0 / 3.0);
    /// # Ok(()) }
    /// ```
    F1Score "f1_score" |c| ratio(2.0 * c.hits, c.said + c.meant);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;
    use crate::train::{Average, F1Score, Precision, Recall};

    #[test]
    fn nothing_over_nothing_is_nothing() {
        let outputs = Tensor::new([[0.9f32, 0.1, 0.0]], Device::Cpu).unwrap();
        let labels = Tensor::new([0u32], Device::Cpu).unwrap();
        let f1 = F1Score::of_classes(3, Average::Macro);
        let sum = f1.sum(&outputs, &labels).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(f1.per_class(&sum), [1.0, 0.0, 0.0]);
        assert_eq!(f1.result(&sum, 1), 1.0 / 3.0);
        assert_eq!(F1Score::of_classes(3, Average::Weighted).result(&sum, 1), 1.0);
        assert_eq!(F1Score::of_classes(3, Average::Micro).result(&sum, 1), 1.0);
        assert_eq!(Precision::from_logits().result(&[0.0; 3], 0), 0.0);
        let outside = labels.eq(9u32).unwrap().select(&labels, 7u32).unwrap();
        let sum = f1.sum(&outputs, &outside).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(sum, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_does_not_fit() {
        let outputs = Tensor::zeros([2, 3], Device::Cpu).unwrap();
        let labels = Tensor::new([0u32, 1], Device::Cpu).unwrap();
        let e = Recall::of_classes(4, Average::Macro).sum(&outputs, &labels).unwrap_err().to_string();
        assert!(e.contains("outputs are [2, 3]; expected [batch, .., 4]"), "{e}");
        let e = Recall::of_classes(3, Average::Class(3)).sum(&outputs, &labels).unwrap_err().to_string();
        assert!(e.contains("class 3 was asked for; there are 3"), "{e}");
        let e = Recall::from_logits().sum(&outputs, &labels).unwrap_err().to_string();
        assert!(e.contains("outputs are [2, 3], targets [2]"), "{e}");
    }
}
