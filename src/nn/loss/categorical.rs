//! Cross-entropy of a choice among classes.

use super::base::{EPSILON, Loss, Outputs, check_smoothing, check_weights, sample_means, weighted_by};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Cross-entropy against integer labels: outputs `[batch, .., classes]`, labels `[batch, ..]`.
///
/// `-log(softmax(outputs)[label])`, for logits one fused kernel that is exact at any magnitude. Probabilities are kept
/// within 1e-7 of 0 and 1 and divided by their row's sum, as Keras 3 does (`keras.losses.SparseCategoricalCrossentropy`).
///
/// A label that is none of the classes is an error: on the CPU of the call that computes the loss, on a GPU of the next one
/// that waits for the device.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let probabilities = Tensor::new([[0.05f32, 0.95, 0.0], [0.1, 0.8, 0.1]], Device::Cpu)?;
/// let labels = Tensor::new([1u8, 2], Device::Cpu)?;
/// let loss = SparseCategoricalCrossentropy::from_probabilities();
/// assert!((loss.compute(&probabilities, &labels)?.item::<f32>()? - 1.1769).abs() < 1e-4);
/// // without the samples of class 2
/// let loss = loss.ignore_class(2);
/// assert!((loss.compute(&probabilities, &labels)?.item::<f32>()? - 0.0513).abs() < 1e-4);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats or have no axis of classes, labels that are no integers or have another shape than the outputs
/// without that axis, an ignored class that no label of its type can be, and a smoothing outside 0 to 1.
#[derive(Clone, Debug)]
#[must_use]
pub struct SparseCategoricalCrossentropy {
    outputs: Outputs,
    ignore: Option<i64>,
    smoothing: f64,
}

impl SparseCategoricalCrossentropy {
    const NAME: &str = "SparseCategoricalCrossentropy";

    fn new(outputs: Outputs) -> Self {
        SparseCategoricalCrossentropy { outputs, ignore: None, smoothing: 0.0 }
    }

    /// For outputs before the softmax: exact for logits of any magnitude, and one fused kernel.
    pub fn from_logits() -> Self {
        Self::new(Outputs::Logits)
    }

    /// For outputs after a softmax.
    pub fn from_probabilities() -> Self {
        Self::new(Outputs::Probabilities)
    }

    /// Leaves out the rows whose label is `class`, which need not be one of the classes (255 and -1 are usual): their
    /// loss is 0, and the mean goes over the other rows. Where no row is left the loss is 0.
    pub fn ignore_class(self, class: i64) -> Self {
        SparseCategoricalCrossentropy { ignore: Some(class), ..self }
    }

    /// Expects `1 - smoothing + smoothing / classes` of the label's class and `smoothing / classes` of each other:
    /// PyTorch's `CrossEntropyLoss(label_smoothing=..)`, and what Keras's `CategoricalCrossentropy` does to one-hot rows.
    pub fn label_smoothing(self, smoothing: f64) -> Self {
        SparseCategoricalCrossentropy { smoothing, ..self }
    }

    fn check(&self, targets: &Tensor) -> Result<()> {
        check_smoothing(Self::NAME, self.smoothing)?;
        if targets.dtype().is_float() {
            let message = format!(
                "targets are {} {}; integer labels are expected (for one-hot rows use CategoricalCrossentropy)",
                targets.dtype(),
                targets.shape()
            );
            return Err(Error::dtype(Self::NAME, message));
        }
        Ok(())
    }

    /// The rows that count: u8, 1 where the label is not the ignored one.
    fn counted(&self, class: i64, targets: &Tensor) -> Result<Tensor> {
        let (low, high) = match targets.dtype() {
            DType::U8 => (0, u8::MAX.into()),
            DType::U32 => (0, u32::MAX.into()),
            _ => (i32::MIN.into(), i32::MAX.into()),
        };
        if !(low..=high).contains(&class) {
            let message = format!(
                "ignore_class is {class}, which no label of type {} can be; cast the labels, or name another class",
                targets.dtype()
            );
            return Err(Error::argument(Self::NAME, message));
        }
        targets.ne(class as f64)
    }

    /// The loss of each row, 0 for those ignored, and which rows count where some are.
    fn rows(&self, outputs: &Tensor, targets: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        self.check(targets)?;
        let counted = self.ignore.map(|class| self.counted(class, targets)).transpose()?;
        let labels = match &counted {
            // A class that surely exists: the row's loss is not looked at.
            Some(counted) => counted.select(targets, targets.zeros_like()?)?,
            None => targets.clone(),
        };
        let logits = match self.outputs {
            Outputs::Logits => outputs.clone(),
            Outputs::Probabilities => outputs.clamp(EPSILON, 1.0 - EPSILON)?.log()?,
        };
        let mut rows = logits.cross_entropy_rows(&labels)?;
        if self.smoothing > 0.0 {
            // The share of the label by the fused kernel, which also sees wrong ones, and that of all classes together.
            let all = (logits.log_softmax(-1)?.mean(-1, false)? * -self.smoothing)?;
            // without the label, rather than with 0 times what may be infinite
            rows = match self.smoothing < 1.0 {
                true => ((rows * (1.0 - self.smoothing))? + all)?,
                false => all,
            };
        }
        if let Some(counted) = &counted {
            rows = counted.select(&rows, rows.zeros_like()?)?;
        }
        Ok((rows, counted))
    }
}

/// The sum of the rows' losses over the number of rows that count; 0 where none does.
fn mean_of_counted(rows: &Tensor, counted: &Tensor) -> Result<Tensor> {
    rows.sum(.., false)? / counted.cast(rows.dtype())?.sum(.., false)?.maximum(1.0)?
}

impl Loss for SparseCategoricalCrossentropy {
    fn outputs(&self) -> Option<Outputs> {
        Some(self.outputs)
    }

    fn ignored_class(&self) -> Option<i64> {
        self.ignore
    }

    /// The mean over the rows of each sample; ignored ones are part of it, with 0.
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        sample_means(&self.rows(outputs, targets)?.0)
    }

    fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (rows, counted) = self.rows(outputs, targets)?;
        match counted {
            Some(counted) => mean_of_counted(&rows, &counted),
            None => rows.mean(.., false),
        }
    }

    fn weighted(&self, outputs: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let (rows, counted) = self.rows(outputs, targets)?;
        let losses = sample_means(&rows)?;
        check_weights(&losses, weights)?;
        match counted {
            Some(counted) => {
                let mut dims = vec![1; rows.rank()];
                if let Some(first) = dims.first_mut() {
                    *first = weights.numel();
                }
                mean_of_counted(&weighted_by(&weights.reshape(dims)?, &rows)?, &counted)
            }
            None => weighted_by(weights, &losses)?.mean(.., false),
        }
    }

    /// The rows that are not ignored, where a class is.
    fn count(&self, _outputs: &Tensor, targets: &Tensor) -> Result<Option<Tensor>> {
        self.check(targets)?;
        let Some(class) = self.ignore else { return Ok(None) };
        self.counted(class, targets)?.cast(DType::F32)?.sum(.., false).map(Some)
    }
}

/// Cross-entropy against probabilities or one-hot rows: outputs and targets `[batch, .., classes]`.
///
/// `-sum(targets * log(softmax(outputs)))` of each row, for logits one fused kernel that is exact at any magnitude.
/// Outputs that are probabilities are divided by their row's sum and kept within 1e-7 of 0 and 1, as Keras 3 does
/// (`keras.losses.CategoricalCrossentropy`).
///
/// ```
/// use wgrad::nn::CategoricalCrossentropy;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let probabilities = Tensor::new([[0.05f32, 0.95, 0.0], [0.1, 0.8, 0.1]], Device::Cpu)?;
/// let one_hot = Tensor::new([[0.0f32, 1.0, 0.0], [0.0, 0.0, 1.0]], Device::Cpu)?;
/// let loss = CategoricalCrossentropy::from_probabilities().compute(&probabilities, &one_hot)?;
/// assert!((loss.item::<f32>()? - 1.1769).abs() < 1e-4);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats, targets of another shape, and a smoothing outside 0 to 1.
#[derive(Clone, Debug)]
#[must_use]
pub struct CategoricalCrossentropy {
    outputs: Outputs,
    smoothing: f64,
}

impl CategoricalCrossentropy {
    const NAME: &str = "CategoricalCrossentropy";

    /// For outputs before the softmax: exact for logits of any magnitude, and one fused kernel.
    pub fn from_logits() -> Self {
        CategoricalCrossentropy { outputs: Outputs::Logits, smoothing: 0.0 }
    }

    /// For outputs after a softmax.
    pub fn from_probabilities() -> Self {
        CategoricalCrossentropy { outputs: Outputs::Probabilities, smoothing: 0.0 }
    }

    /// Moves the targets towards equal shares: `targets * (1 - smoothing) + smoothing / classes`.
    pub fn label_smoothing(self, smoothing: f64) -> Self {
        CategoricalCrossentropy { smoothing, ..self }
    }

    /// The targets as rows of the outputs' type, smoothed.
    fn targets(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        check_smoothing(Self::NAME, self.smoothing)?;
        if outputs.shape() != targets.shape() {
            let message = format!(
                "outputs are {}, targets {} {}; rows of probabilities are expected (for integer labels use \
                 SparseCategoricalCrossentropy)",
                outputs.shape(),
                targets.dtype(),
                targets.shape()
            );
            return Err(Error::shape(Self::NAME, message));
        }
        let targets = targets.cast(outputs.dtype())?;
        match outputs.dims().last() {
            Some(&classes) if self.smoothing > 0.0 => {
                (targets * (1.0 - self.smoothing))? + self.smoothing / classes as f64
            }
            _ => Ok(targets),
        }
    }

    fn rows(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        crate::ops::require_float(Self::NAME, "the output", outputs)?;
        let targets = self.targets(outputs, targets)?;
        match self.outputs {
            Outputs::Logits => outputs.cross_entropy_rows(&targets),
            Outputs::Probabilities => {
                let p = (outputs / outputs.sum(-1, true)?)?.clamp(EPSILON, 1.0 - EPSILON)?;
                (targets * p.log()?)?.sum(-1, false)?.neg()
            }
        }
    }
}

impl Loss for CategoricalCrossentropy {
    fn outputs(&self) -> Option<Outputs> {
        Some(self.outputs)
    }

    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        sample_means(&self.rows(outputs, targets)?)
    }

    fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.rows(outputs, targets)?.mean(.., false)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::CategoricalCrossentropy;
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
        let dense = CategoricalCrossentropy::from_logits().compute(&logits, &rows);
        close(dense.unwrap().item().unwrap(), expected);
        let bytes = CategoricalCrossentropy::from_logits().compute(&logits, &rows.cast(DType::U8).unwrap());
        close(bytes.unwrap().item().unwrap(), expected);
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
    fn ignored_rows_leave_the_mean() {
        let logits =
            Tensor::new([[0.5f32, -1.0, 2.0], [3.0, 0.0, 0.1], [9.0, 1.0, 1.0]], Device::Cpu).unwrap();
        let loss = SparseCategoricalCrossentropy::from_logits();
        let two =
            loss.compute(&logits.slice(0, 0, 2).unwrap(), &Tensor::new([2i32, 1], Device::Cpu).unwrap());
        let two: f32 = two.unwrap().item().unwrap();
        let ignoring = loss.clone().ignore_class(-1);
        let labels = Tensor::new([2i32, 1, -1], Device::Cpu).unwrap();
        close(ignoring.compute(&logits, &labels).unwrap().item().unwrap(), two.into());
        let rows = ignoring.per_sample(&logits, &labels).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(rows[2], 0.0);
        let weights = Tensor::new([1.0f32, 0.0, 5.0], Device::Cpu).unwrap();
        let weighted = ignoring.weighted(&logits, &labels, &weights).unwrap().item::<f32>().unwrap();
        close(weighted, f64::from(rows[0]) / 2.0);
        // nothing left
        let none = Tensor::new([-1i32, -1, -1], Device::Cpu).unwrap();
        assert_eq!(ignoring.compute(&logits, &none).unwrap().item::<f32>().unwrap(), 0.0);
        let e = ignoring.compute(&logits, &labels.cast(DType::U8).unwrap()).unwrap_err().to_string();
        assert!(e.contains("ignore_class is -1, which no label of type u8 can be"), "{e}");
    }

    #[test]
    fn what_can_not_be() {
        let logits = Tensor::zeros([2, 3], Device::Cpu).unwrap();
        let labels = Tensor::new([2u32, 3], Device::Cpu).unwrap();
        let sparse = SparseCategoricalCrossentropy::from_logits();
        let message = |e: Result<Tensor>| e.and_then(|t| t.to_vec::<f32>()).unwrap_err().to_string();
        for loss in [
            sparse.clone(),
            sparse.clone().label_smoothing(0.1),
            SparseCategoricalCrossentropy::from_probabilities(),
        ] {
            let e = message(loss.compute(&logits, &labels));
            assert!(e.contains("label 3 in row 1 is not one of 3 classes"), "{e}");
        }
        let e = message(sparse.clone().label_smoothing(1.5).compute(&logits, &labels));
        assert!(e.contains("label_smoothing is 1.5; expected 0 to 1"), "{e}");
        let column = labels.reshape([2, 1]).unwrap();
        assert!(message(sparse.compute(&logits, &column)).contains("expected integer labels [2]"));
        let e = message(sparse.weighted(&logits, &labels, &column.cast(DType::F32).unwrap()));
        assert!(e.contains("weights are [2, 1], losses [2]"), "{e}");
    }
}
