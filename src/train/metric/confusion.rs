//! Which class is taken for which.

use super::base::{Decision, Metric, all_of, counted, is_number, is_number_at, labels, one_hot_rows, ratio};
use super::retrieval::check_classes;
use crate::data::{Pass, Source};
use crate::error::{Error, Result};
use crate::nn::{Module, fed_to};
use crate::tensor::{Tensor, no_grad};
use std::fmt::{self, Write};

/// The confusion matrix as a metric: outputs `[batch, .., classes]`, logits or probabilities; targets integers
/// `[batch, ..]`, or one-hot rows. Its number is the share of rows that are right.
///
/// Rows whose target is none of the classes are left out. Where outputs are NaN there is no answer: the number is NaN, and
/// there is no matrix. Counts are exact up to 2^24 in each place.
/// [`confusion_matrix`](crate::train::confusion_matrix) gives the matrix of a model and a data set in one call.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Confusion, Metric};
/// # fn main() -> Result<()> {
/// let metric = Confusion::new(3);
/// let outputs = Tensor::new([[0.9f32, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0]], Device::Cpu)?;
/// let sum = metric.sum(&outputs, &Tensor::new([0u8, 1, 2], Device::Cpu)?)?.to_vec()?;
/// assert_eq!(metric.result(&sum, 3), 2.0 / 3.0);
/// assert_eq!(metric.matrix(&sum)?.counts, [[1, 0, 0], [0, 1, 0], [1, 0, 0]]);
/// # Ok(()) }
/// ```
///
/// Of a model with one output, a logit or a probability for yes, there are two classes, no and yes:
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::train::{Confusion, Metric};
/// # fn main() -> Result<()> {
/// let metric = Confusion::from_logits();
/// let outputs = Tensor::new([[2.0f32], [-1.0], [0.5]], Device::Cpu)?;
/// let sum = metric.sum(&outputs, &Tensor::new([[1.0f32], [0.0], [0.0]], Device::Cpu)?)?.to_vec()?;
/// assert_eq!(metric.matrix(&sum)?.counts, [[1, 1], [0, 1]]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Confusion {
    classes: usize,
    ignored: Option<i64>,
    /// Of one output, when it means yes.
    binary: Option<Decision>,
}

impl Confusion {
    /// For so many classes.
    pub fn new(classes: usize) -> Self {
        Confusion { classes, ignored: None, binary: None }
    }

    /// For no and yes by outputs `[batch, ..]` before the sigmoid; targets of the same shape, 0 and 1.
    pub fn from_logits() -> Self {
        Confusion { binary: Some(Decision::new(true)), ..Confusion::new(2) }
    }

    /// For no and yes by outputs `[batch, ..]` after a sigmoid; targets of the same shape, 0 and 1.
    pub fn from_probabilities() -> Self {
        Confusion { binary: Some(Decision::new(false)), ..Confusion::new(2) }
    }

    /// The probability above which an output means yes (for logits, too): 1/2, where nothing is said. Of several classes the largest
    /// output decides.
    pub fn threshold(mut self, probability: f64) -> Self {
        if let Some(decision) = &mut self.binary {
            decision.threshold = probability;
        }
        self
    }

    /// Leaves out the rows whose label is `class`.
    pub fn ignore_class(self, class: i64) -> Self {
        Confusion { ignored: Some(class), ..self }
    }

    /// The matrix, from the elements of the sum over all batches.
    ///
    /// # Errors
    ///
    /// There is not one sum for each pair of classes, or they are NaN, since outputs were.
    pub fn matrix(&self, sum: &[f32]) -> Result<ConfusionMatrix> {
        if self.classes == 0 || sum.len() != self.classes * self.classes {
            let message =
                format!("{} sums for {} classes; expected a square of them", sum.len(), self.classes);
            return Err(Error::argument("Confusion::matrix", message));
        }
        if sum.iter().any(|v| v.is_nan()) {
            let message =
                "outputs are NaN, which is no answer; look at the model's weights and at its inputs";
            return Err(Error::argument("Confusion::matrix", message));
        }
        ConfusionMatrix::new(
            sum.chunks(self.classes).map(|row| row.iter().map(|&v| v as u64).collect()).collect(),
        )
    }
}

impl Metric for Confusion {
    fn name(&self) -> &str {
        "confusion_accuracy"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.classes, self.classes]
    }

    /// Row: the target. Column: the answer.
    fn sum(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        const NAME: &str = "Confusion";
        if let Some(decision) = self.binary {
            // Targets of integers [batch] beside outputs [batch, 1] are of the same rows.
            let targets = match (outputs.dims(), targets.dims()) {
                ([n, 1], [m]) if n == m && !targets.dtype().is_float() => targets.unsqueeze(-1)?,
                _ => targets.clone(),
            };
            let (said, meant) = decision.apply(NAME, outputs, &targets)?;
            let mut meant = one_hot_rows(&meant, 2)?;
            if let Some(counted) = counted(NAME, self.ignored, &targets)? {
                meant = counted.flatten(0)?.unsqueeze(-1)?.select(meant, 0.0)?;
            }
            let counts = meant.transpose()?.matmul(one_hot_rows(&said, 2)?)?;
            return counts + all_of(&is_number(outputs)?)?.select(0.0, f64::NAN)?;
        }
        check_classes(NAME, self.classes, outputs)?;
        let labels = labels(NAME, outputs, targets)?;
        let mut meant = one_hot_rows(&labels, self.classes)?;
        if let Some(counted) = counted(NAME, self.ignored, &labels)? {
            meant = counted.flatten(0)?.unsqueeze(-1)?.select(meant, 0.0)?;
        }
        let chosen = outputs.argmax(-1, false)?;
        let numbers = all_of(&is_number_at(outputs, &chosen)?)?;
        let counts = meant.transpose()?.matmul(one_hot_rows(&chosen, self.classes)?)?;
        counts + numbers.select(0.0, f64::NAN)?
    }

    fn result(&self, sum: &[f32], _samples: usize) -> f64 {
        let right = sum.iter().step_by(self.classes + 1).map(|&v| f64::from(v)).sum();
        let rows: f64 = sum.iter().map(|&v| f64::from(v)).sum();
        if rows.is_nan() { f64::NAN } else { ratio(right, rows) }
    }

    fn ignoring(&self, class: i64) -> Option<Box<dyn Metric>> {
        self.ignored.is_none().then(|| Box::new(self.clone().ignore_class(class)) as Box<dyn Metric>)
    }
}

/// How often each class was taken for each.
///
/// Displays as a table, targets down and answers across.
///
/// ```
/// use wgrad::train::ConfusionMatrix;
/// # fn main() -> wgrad::Result<()> {
/// let matrix = ConfusionMatrix::new(vec![vec![95, 5], vec![2, 98]])?.with_classes(["cat", "dog"])?;
/// assert_eq!((matrix.count(0, 1), matrix.accuracy(), matrix.recall(1)), (5, 0.965, 0.98));
/// println!("{matrix}\n{}", matrix.report());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ConfusionMatrix {
    /// `counts[target][answer]`.
    pub counts: Vec<Vec<u64>>,
    /// The classes' names, in order.
    pub classes: Vec<String>,
}

impl ConfusionMatrix {
    /// The matrix of `counts[target][answer]`, a square. Classes are called by their numbers.
    ///
    /// # Errors
    ///
    /// The rows are not as long as they are many.
    pub fn new(counts: Vec<Vec<u64>>) -> Result<ConfusionMatrix> {
        if let Some(row) = counts.iter().find(|row| row.len() != counts.len()) {
            let message =
                format!("a row has {} counts, there are {} rows; expected a square", row.len(), counts.len());
            return Err(Error::argument("ConfusionMatrix::new", message));
        }
        let classes = (0..counts.len()).map(|c| c.to_string()).collect();
        Ok(ConfusionMatrix { counts, classes })
    }

    /// The same with names for the classes.
    ///
    /// # Errors
    ///
    /// There is not one name for each class.
    pub fn with_classes(self, names: impl IntoIterator<Item = impl Into<String>>) -> Result<ConfusionMatrix> {
        let classes: Vec<String> = names.into_iter().map(Into::into).collect();
        if classes.len() != self.counts.len() {
            let message = format!("{} names for {} classes", classes.len(), self.counts.len());
            return Err(Error::argument("ConfusionMatrix::with_classes", message));
        }
        Ok(ConfusionMatrix { classes, ..self })
    }

    /// How often `target` was taken for `answer`; 0 for what is no class.
    pub fn count(&self, target: usize, answer: usize) -> u64 {
        self.counts.get(target).and_then(|row| row.get(answer)).copied().unwrap_or(0)
    }

    /// All counts together.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// The share that is right, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.counts.len()).map(|c| self.count(c, c)).sum();
        ratio(right as f64, self.total() as f64)
    }

    /// How many targets are of a class.
    pub fn support(&self, class: usize) -> u64 {
        self.counts.get(class).map_or(0, |row| row.iter().sum())
    }

    /// How many answers are of a class.
    pub fn answers(&self, class: usize) -> u64 {
        (0..self.counts.len()).map(|target| self.count(target, class)).sum()
    }

    /// Of the answers of a class, the share that is right; 0 where there are none.
    pub fn precision(&self, class: usize) -> f64 {
        ratio(self.count(class, class) as f64, self.answers(class) as f64)
    }

    /// Of the targets of a class, the share that was found; 0 where there are none.
    pub fn recall(&self, class: usize) -> f64 {
        ratio(self.count(class, class) as f64, self.support(class) as f64)
    }

    /// The harmonic mean of precision and recall; 0 where a class has neither answers nor targets.
    pub fn f1(&self, class: usize) -> f64 {
        ratio(2.0 * self.count(class, class) as f64, (self.answers(class) + self.support(class)) as f64)
    }

    /// Intersection over union: of the answers and targets of a class, taken together, the share that is both; 0 where there are neither.
    /// The mean over the classes is what [`MeanIou`](crate::train::MeanIou) gives, where each occurs.
    pub fn iou(&self, class: usize) -> f64 {
        let both = self.count(class, class);
        ratio(both as f64, (self.answers(class) + self.support(class) - both) as f64)
    }

    /// A line for each class with precision, recall, F1 and how often it occurs, then accuracy and the means over the
    /// classes: what scikit-learn calls a classification report.
    pub fn report(&self) -> String {
        let width = self.classes.iter().map(|c| c.chars().count()).max().unwrap_or(0).max("accuracy".len());
        let mut out = format!("{:width$}  precision  recall      f1  support\n", "");
        // Writing to a string can't fail.
        let mut line = |name: &str, values: [f64; 3], support: u64| {
            let [precision, recall, f1] = values;
            let _ = writeln!(out, "{name:>width$}  {precision:9.4}  {recall:6.4}  {f1:6.4}  {support:7}");
        };
        let mut means = [0.0; 3];
        for (class, name) in self.classes.iter().enumerate() {
            let values = [self.precision(class), self.recall(class), self.f1(class)];
            line(name, values, self.support(class));
            for (mean, value) in means.iter_mut().zip(values) {
                *mean += value / self.classes.len() as f64;
            }
        }
        line("mean", means, self.total());
        let _ = writeln!(out, "{:>width$}  {:25.4}  {:7}", "accuracy", self.accuracy(), self.total());
        out
    }

    /// Comma-separated values: a header with the answers' classes, then a line for each target's class. A name that has
    /// commas, quotes or line breaks is quoted (RFC 4180).
    pub fn to_csv(&self) -> String {
        let quoted = |name: &String| match name.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.clone(),
        };
        let names: Vec<String> = self.classes.iter().map(quoted).collect();
        let mut out = format!("target,{}\n", names.join(","));
        for (name, row) in names.iter().zip(&self.counts) {
            let cells: Vec<String> = row.iter().map(u64::to_string).collect();
            out += &format!("{name},{}\n", cells.join(","));
        }
        out
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CORNER: &str = "target \\ answer";
        let first = self.classes.iter().map(|c| c.chars().count()).chain([CORNER.len()]).max().unwrap_or(0);
        let column = |answer: usize, name: &String| {
            let counts = self.counts.iter().filter_map(|row| row.get(answer)).map(|v| v.to_string().len());
            counts.chain([name.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.classes.iter().enumerate().map(|(c, name)| column(c, name)).collect();
        write!(f, "{CORNER:>first$}")?;
        for (name, &width) in self.classes.iter().zip(&widths) {
            write!(f, "  {name:>width$}")?;
        }
        for (name, row) in self.classes.iter().zip(&self.counts) {
            write!(f, "\n{name:>first$}")?;
            for (count, &width) in row.iter().zip(&widths) {
                write!(f, "  {count:>width$}")?;
            }
        }
        Ok(())
    }
}

/// How often a model takes each class for each, over a data set, in evaluation mode. The model has one input and one
/// output `[batch, .., classes]`; targets are integers `[batch, ..]`, or one-hot rows. The classes' names are those of the data set
/// ([`Dataset::with_classes`](crate::data::Dataset::with_classes)), where it has one for each.
///
/// A model with one output, `[batch, 1]`, says no or yes, to targets `[batch, 1]` or integers `[batch]`. If its outputs for the whole
/// data set are from 0 to 1 they are taken for probabilities, else for logits; [`Confusion::from_logits`] says it, as a metric.
///
/// # Errors
///
/// The data set is empty or doesn't fit the model, or the device fails.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (_, test) = data::synthetic::digits(10, 50, 1).into_datasets()?;
/// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// let matrix = wgrad::train::confusion_matrix(&model, &test, 32)?;
/// assert_eq!(matrix.total(), 50);
/// println!("{matrix}\n{}", matrix.report());
/// # Ok(()) }
/// ```
pub fn confusion_matrix(
    model: &(impl Module + ?Sized),
    set: &dyn Source,
    batch_size: usize,
) -> Result<ConfusionMatrix> {
    let mut total: Option<(Confusion, Tensor)> = None;
    each_output(model, set, batch_size, "confusion_matrix", &mut |_, outputs, y| {
        let (metric, sum) = match total.take() {
            Some((metric, before)) => {
                let sum = (before + metric.sum(outputs, y)?)?;
                (metric, sum)
            }
            None => {
                let metric = match is_yes_or_no(outputs) {
                    false => Confusion::new(outputs.dims().last().copied().unwrap_or(0)),
                    true if are_probabilities(model, set, batch_size)? => Confusion::from_probabilities(),
                    true => Confusion::from_logits(),
                };
                let sum = metric.sum(outputs, y)?;
                (metric, sum)
            }
        };
        sum.eval()?;
        total = Some((metric, sum));
        Ok(())
    })?;
    let Some((metric, sum)) = total else {
        return Err(Error::data(set.name(), "has no samples to count"));
    };
    let matrix = metric.matrix(&sum.to_vec()?)?;
    match set.classes() {
        names if names.len() == matrix.counts.len() => matrix.with_classes(names),
        _ => Ok(matrix),
    }
}

/// Calls `f` with the input, the output and the target of each batch, in evaluation mode.
fn each_output(
    model: &(impl Module + ?Sized),
    set: &dyn Source,
    batch_size: usize,
    op: &str,
    f: &mut dyn FnMut(&Tensor, &Tensor, &Tensor) -> Result<()>,
) -> Result<()> {
    for batch in set.pass(&Pass { batch_size, shuffle: None, device: model.device() })? {
        let batch = batch?;
        let ([x], [y]) = (&batch.inputs[..], &batch.targets[..]) else {
            let (inputs, targets) = (batch.inputs.len(), batch.targets.len());
            let message = format!("expects one input and one target, got {inputs} and {targets}");
            return Err(Error::argument(op, message));
        };
        no_grad(|| f(x, &model.infer(&fed_to(model, std::slice::from_ref(x))?[0])?, y))?;
    }
    Ok(())
}

/// Whether a model has one output for each sample, for yes.
pub(crate) fn is_yes_or_no(outputs: &Tensor) -> bool {
    matches!(outputs.dims(), [_] | [_, 1])
}

/// Whether all outputs of a model with one for yes are from 0 to 1, over a whole data set.
pub(crate) fn are_probabilities(
    model: &(impl Module + ?Sized),
    set: &dyn Source,
    batch_size: usize,
) -> Result<bool> {
    let mut within = true;
    each_output(model, set, batch_size, "confusion_matrix", &mut |_, outputs, _| {
        if within && outputs.numel() > 0 {
            let inside = outputs.ge(0.0)?.logical_and(&outputs.le(1.0)?)?;
            within = inside.min(.., false)?.item::<u8>()? != 0;
        }
        Ok(())
    })?;
    Ok(within)
}

#[cfg(test)]
mod tests;
