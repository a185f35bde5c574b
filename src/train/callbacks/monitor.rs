//! Which number is watched, and when it is better than before.

use crate::error::{Error, Result};
use crate::train::{Epoch, Run};

/// Whether a number should fall or rise.
///
/// ```
/// use wgrad::train::{EarlyStopping, Mode};
/// let stopping = EarlyStopping::new("val_matthews").mode(Mode::Max); // a metric of one's own
/// # drop(stopping);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Told by its name: losses and errors fall; accuracies, precision, recall, F1 and AUC rise.
    #[default]
    Auto,
    /// It should fall.
    Min,
    /// It should rise.
    Max,
}

#[derive(Clone, Debug)]
pub(super) struct Monitor {
    pub op: &'static str,
    pub name: String,
    pub mode: Mode,
    pub min_delta: f64,
}

impl Monitor {
    pub fn new(op: &'static str, name: &str) -> Monitor {
        Monitor { op, name: name.into(), mode: Mode::Auto, min_delta: 0.0 }
    }

    /// That the run will have the number, before an epoch is spent on it; and which way is up.
    pub fn begin(&mut self, run: &Run<'_>) -> Result<()> {
        if !run.names().contains(&self.name) {
            let message = format!(
                "watches {}, which this run doesn't have{}; it has {}",
                self.name,
                if self.name.starts_with("val_") { " (is there a validation set?)" } else { "" },
                run.names().join(", ")
            );
            return Err(Error::argument(self.op, message));
        }
        if self.mode == Mode::Auto {
            let is = |parts: &[&str]| parts.iter().any(|part| self.name.contains(part));
            self.mode = if is(&["accuracy", "precision", "recall", "f1", "auc"]) {
                Mode::Max
            } else if is(&["loss", "error"]) {
                Mode::Min
            } else {
                let message = format!(
                    "can't tell whether {} should fall or rise; say so with mode(Mode::Min) or mode(Mode::Max)",
                    self.name
                );
                return Err(Error::argument(self.op, message));
            };
        }
        if !(self.min_delta >= 0.0 && self.min_delta.is_finite()) {
            let message = format!("min_delta is {}; expected 0 or more", self.min_delta);
            return Err(Error::argument(self.op, message));
        }
        Ok(())
    }

    pub fn value(&self, epoch: &Epoch) -> Result<f64> {
        epoch
            .value(&self.name)
            .ok_or_else(|| Error::argument(self.op, format!("epoch {} has no {}", epoch.number, self.name)))
    }

    /// Whether a value is better than another by more than `min_delta`. What is not a number is never better.
    pub fn improves(&self, value: f64, than: Option<f64>) -> bool {
        match (than, self.mode) {
            (None, _) => !value.is_nan(),
            (Some(than), Mode::Max) => value - self.min_delta > than,
            (Some(than), _) => value + self.min_delta < than,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_by_more_than_min_delta() {
        let monitor = |mode, min_delta| Monitor { mode, min_delta, ..Monitor::new("Test", "x") };
        let (fall, rise) = (monitor(Mode::Min, 0.1), monitor(Mode::Max, 0.1));
        assert!(fall.improves(0.8, Some(1.0)) && !fall.improves(0.95, Some(1.0)));
        assert!(rise.improves(1.2, Some(1.0)) && !rise.improves(1.05, Some(1.0)));
        for m in [fall, rise] {
            assert!(m.improves(1.0, None) && !m.improves(f64::NAN, None) && !m.improves(f64::NAN, Some(1.0)));
        }
    }
}
