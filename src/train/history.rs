//! What came of a training.

use crate::error::Result;
use crate::files::write_whole;
use std::fmt::{self, Write};
use std::path::Path;

/// Loss and metrics over a data set: what [`Trainer::evaluate`](super::Trainer::evaluate) gives.
///
/// Displays as `accuracy 0.9891 (loss 0.0345)`.
///
/// ```
/// use wgrad::train::Evaluation;
/// let evaluation = Evaluation::new(0.0345, vec![("accuracy".into(), 0.9891)]);
/// assert_eq!(evaluation.to_string(), "accuracy 0.9891 (loss 0.0345)");
/// assert_eq!((evaluation.metric("accuracy"), evaluation.value("loss")), (Some(0.9891), Some(0.0345)));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The mean loss over all samples (over all rows that count, where a loss ignores some), with the penalties of regularised
    /// parameters.
    pub loss: f64,
    /// Name and value of each metric. Of a model with several outputs: first the loss of each, `<output>_loss`, then the
    /// metrics of each, `<output>_<metric>`.
    pub metrics: Vec<(String, f64)>,
    /// Number of samples.
    pub samples: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Evaluation {
    /// A loss with metrics by name; of no samples, in no time, until these fields are set.
    pub fn new(loss: f64, metrics: Vec<(String, f64)>) -> Evaluation {
        Evaluation { loss, metrics, samples: 0, seconds: 0.0 }
    }

    /// A metric by name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(n, _)| n == name).map(|&(_, value)| value)
    }

    /// `loss`, or a metric by name.
    pub fn value(&self, name: &str) -> Option<f64> {
        if name == "loss" { Some(self.loss) } else { self.metric(name) }
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.metrics.is_empty() {
            return write!(f, "loss {:.4}", self.loss);
        }
        let metrics: Vec<String> =
            self.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        write!(f, "{} (loss {:.4})", metrics.join(", "), self.loss)
    }
}

/// One epoch: one pass over the training set. [`History`] has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// 1 for the first of a run.
    pub number: usize,
    /// Means over the epoch's samples, each as it was when its batch was trained on.
    pub train: Evaluation,
    /// The validation set after the epoch, where one was given.
    pub validation: Option<Evaluation>,
    /// The learning rate at the end of the epoch.
    pub learning_rate: f64,
    /// Seconds for training and validation together.
    pub seconds: f64,
}

impl Epoch {
    /// An epoch of a training loop of your own, for [`History`]: without validation, learning rate and time, until these
    /// fields are set.
    pub fn new(number: usize, train: Evaluation) -> Epoch {
        Epoch { number, train, validation: None, learning_rate: 0.0, seconds: 0.0 }
    }

    /// A number by the name that Keras has for it: `loss`, a metric, `learning_rate`, or `val_` and what is to be known of
    /// the validation.
    ///
    /// ```
    /// use wgrad::train::History;
    /// # use wgrad::prelude::*;
    /// # fn f(history: History) {
    /// let accuracies: Vec<Option<f64>> = history.epochs.iter().map(|e| e.value("val_accuracy")).collect();
    /// # }
    /// ```
    pub fn value(&self, name: &str) -> Option<f64> {
        match (self.train.value(name), name.strip_prefix("val_")) {
            (Some(value), _) => Some(value),
            (None, Some(name)) => self.validation.as_ref()?.value(name),
            (None, None) => (name == "learning_rate").then_some(self.learning_rate),
        }
    }
}

/// The epochs of a run: what [`Trainer::fit`](super::Trainer::fit) gives.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// # let (train, test) = data::synthetic::digits(60, 20, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// let history = trainer.fit(&train, Fit::epochs(2).validation(&test).verbose(false))?;
/// for epoch in &history.epochs {
///     println!("{} {:.4} {:?}", epoch.number, epoch.train.loss, epoch.value("val_loss"));
/// }
/// assert!(history.to_csv().starts_with("epoch,loss,val_loss"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// In order.
    pub epochs: Vec<Epoch>,
    /// The loss within epochs, every few steps ([`Fit::record_every`](super::Fit::record_every)) and at the end of each.
    pub steps: Vec<StepLoss>,
}

/// The loss of some steps that follow each other: a point of [`History::steps`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepLoss {
    /// The last of these steps; the run's first is 1.
    pub step: u64,
    /// The same in epochs: 0.5 is the middle of the first, 1 its end.
    pub epoch: f64,
    /// The mean loss over the samples of the steps since the point before.
    pub loss: f64,
}

/// The history of a training loop of your own, to be saved or drawn.
///
/// ```
/// use wgrad::train::{Epoch, Evaluation, History};
/// let history: History = (1..=3).map(|n| Epoch::new(n, Evaluation::new(1.0 / n as f64, Vec::new()))).collect();
/// assert_eq!(history.epochs[1].value("loss"), Some(0.5));
/// ```
impl FromIterator<Epoch> for History {
    fn from_iter<I: IntoIterator<Item = Epoch>>(epochs: I) -> History {
        History { epochs: epochs.into_iter().collect(), steps: Vec::new() }
    }
}

impl History {
    /// Column names and, for each epoch, the values; a value that an epoch lacks is `None`.
    pub(super) fn table(&self) -> (Vec<String>, Vec<Vec<Option<f64>>>) {
        let Some(first) = self.epochs.first() else { return Default::default() };
        let metrics: Vec<&String> = first.train.metrics.iter().map(|(name, _)| name).collect();
        let mut columns = vec!["epoch".to_string(), "loss".into()];
        columns.extend(metrics.iter().map(|m| m.to_string()));
        columns.push("val_loss".into());
        columns.extend(metrics.iter().map(|m| format!("val_{m}")));
        columns.extend(["learning_rate".into(), "seconds".into()]);
        let row = |e: &Epoch| {
            let mut row = vec![Some(e.number as f64), Some(e.train.loss)];
            row.extend(metrics.iter().map(|m| e.train.metric(m)));
            row.push(e.validation.as_ref().map(|v| v.loss));
            row.extend(metrics.iter().map(|m| e.validation.as_ref().and_then(|v| v.metric(m))));
            row.extend([Some(e.learning_rate), Some(e.seconds)]);
            row
        };
        (columns, self.epochs.iter().map(row).collect())
    }

    /// Comma-separated values with a header line, under Keras's names: `epoch,loss,accuracy,val_loss,val_accuracy,...`.
    pub fn to_csv(&self) -> String {
        let (columns, rows) = self.table();
        let mut out = columns.join(",") + "\n";
        for row in rows {
            let cells: Vec<String> =
                row.iter().map(|v| v.map(|v| v.to_string()).unwrap_or_default()).collect();
            // Writing to a string can't fail.
            let _ = writeln!(out, "{}", cells.join(","));
        }
        out
    }

    /// A JSON array with an object per epoch, under the same names as [`to_csv`](Self::to_csv).
    pub fn to_json(&self) -> String {
        let (columns, rows) = self.table();
        let epochs: Vec<serde_json::Value> = rows
            .into_iter()
            .map(|row| {
                let cells = columns.iter().cloned().zip(row);
                cells
                    .filter_map(|(name, v)| v.map(|v| (name, v.into())))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            })
            .collect();
        serde_json::Value::from(epochs).to_string()
    }

    /// [`steps`](Self::steps) as comma-separated values with the header `step,epoch,loss`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let (train, _) = data::synthetic::digits(60, 20, 1).into_datasets()?;
    /// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    /// let history = trainer.fit(&train, Fit::epochs(1).batch_size(6).record_every(4).verbose(false))?;
    /// let places: Vec<(u64, f64)> = history.steps.iter().map(|p| (p.step, p.epoch)).collect();
    /// assert_eq!(places, [(4, 0.4), (8, 0.8), (10, 1.0)]);
    /// assert!(history.steps_to_csv().starts_with("step,epoch,loss\n4,0.4,"));
    /// # Ok(()) }
    /// ```
    pub fn steps_to_csv(&self) -> String {
        let mut out = "step,epoch,loss\n".to_string();
        for StepLoss { step, epoch, loss } in &self.steps {
            // Writing to a string can't fail.
            let _ = writeln!(out, "{step},{epoch},{loss}");
        }
        out
    }

    /// [`steps`](Self::steps) as a JSON array of objects with `step`, `epoch` and `loss` (`null` where that is not finite).
    pub fn steps_to_json(&self) -> String {
        let point = |p: &StepLoss| serde_json::json!({"step": p.step, "epoch": p.epoch, "loss": p.loss});
        serde_json::Value::from(self.steps.iter().map(point).collect::<Vec<_>>()).to_string()
    }

    /// Writes [`steps_to_csv`](Self::steps_to_csv) into a file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn save_steps_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), self.steps_to_csv().as_bytes())
    }

    /// Writes [`steps_to_json`](Self::steps_to_json) into a file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn save_steps_json(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), self.steps_to_json().as_bytes())
    }

    /// Writes [`to_csv`](Self::to_csv) into a file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn save_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), self.to_csv().as_bytes())
    }

    /// Writes [`to_json`](Self::to_json) into a file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn save_json(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), self.to_json().as_bytes())
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub fn history(epochs: usize, validation: bool) -> History {
        let evaluation = |loss: f64, accuracy: f64| Evaluation {
            loss,
            metrics: vec![("accuracy".into(), accuracy)],
            samples: 4,
            seconds: 0.5,
        };
        let epoch = |number: usize| {
            let x = number as f64;
            Epoch {
                number,
                train: evaluation(0.5 / x, 1.0 - 0.125 / x),
                validation: validation.then(|| evaluation(0.25 / x + 0.01 * x, 1.0 - 0.0625 / x)),
                learning_rate: 0.001,
                seconds: 1.5,
            }
        };
        (1..=epochs).map(epoch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::history;
    use super::*;

    #[test]
    fn tables_have_keras_names() {
        let csv = history(2, true).to_csv();
        assert_eq!(
            csv.lines().next(),
            Some("epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds")
        );
        assert_eq!(csv.lines().nth(1), Some("1,0.5,0.875,0.26,0.9375,0.001,1.5"));
        assert_eq!(history(1, false).to_csv().lines().nth(1), Some("1,0.5,0.875,,,0.001,1.5"));
        let json: serde_json::Value = serde_json::from_str(&history(2, false).to_json()).unwrap();
        assert_eq!(json[1]["accuracy"], 0.9375);
        assert!(json[1].get("val_loss").is_none());
        assert_eq!(History::default().to_csv(), "\n");
    }

    #[test]
    fn an_evaluation_reads_well() {
        let mut evaluation = history(1, false).epochs[0].train.clone();
        assert_eq!(evaluation.to_string(), "accuracy 0.8750 (loss 0.5000)");
        evaluation.metrics.clear();
        assert_eq!(evaluation.to_string(), "loss 0.5000");
    }
}
