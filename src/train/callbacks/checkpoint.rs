//! Saves a run while it runs.

use super::monitor::{Mode, Monitor};
use super::state::{entry, number};
use crate::error::{Error, Result};
use crate::optim::State;
use crate::train::{Callback, Epoch, Flow, Run};

/// Saves a checkpoint, or the weights alone, after each epoch, after every few, or when a number is better than ever
/// (`keras.callbacks.ModelCheckpoint`; with one path, also `BackupAndRestore`).
///
/// In the path, `{epoch}`, `{loss}`, `{val_accuracy}` and so on stand for the epoch's numbers ([`Epoch::value`]); `{epoch:03}`
/// has three digits, `{val_loss:.2}` two after the point (4 where nothing is said). Folders are made.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::ModelCheckpoint;
/// # fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("wgrad-doc-saves-{}", std::process::id()));
/// # let (train, test) = data::synthetic::digits(60, 20, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// let dir = folder.display();
/// let every_second = ModelCheckpoint::new(format!("{dir}/epoch-{{epoch:02}}.safetensors")).every(2);
/// let best = ModelCheckpoint::new(format!("{dir}/best.safetensors")).best("val_loss").weights_only();
/// let fit = Fit::epochs(4).validation(&test).with(every_second).with(best).verbose(false);
/// trainer.fit(&train, fit)?;
/// assert!(folder.join("epoch-02.safetensors").exists() && folder.join("epoch-04.safetensors").exists());
/// trainer.model().load(folder.join("best.safetensors"))?;
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ModelCheckpoint {
    path: String,
    every: usize,
    weights_only: bool,
    monitor: Option<Monitor>,
    mode: Mode,
    best: Option<f64>,
}

impl ModelCheckpoint {
    /// Saves a checkpoint, from which the run can be [resumed](crate::train::Trainer::resume), after each epoch.
    pub fn new(path: impl Into<String>) -> ModelCheckpoint {
        ModelCheckpoint {
            path: path.into(),
            every: 1,
            weights_only: false,
            monitor: None,
            mode: Mode::Auto,
            best: None,
        }
    }

    /// Saves only when this number is better than in all epochs before (Keras's `monitor` and `save_best_only`).
    pub fn best(mut self, monitor: &str) -> Self {
        self.monitor = Some(Monitor::new("ModelCheckpoint", monitor));
        self
    }

    /// Whether the number should fall or rise; told by its name where nothing is said.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Looks at every n-th epoch only.
    pub fn every(mut self, epochs: usize) -> Self {
        self.every = epochs;
        self
    }

    /// Saves the weights as [`Module::save`](crate::nn::Module::save) does, and nothing to resume a run from.
    pub fn weights_only(mut self) -> Self {
        self.weights_only = true;
        self
    }
}

impl Callback for ModelCheckpoint {
    fn name(&self) -> &'static str {
        "model_checkpoint"
    }

    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.best = None;
        if self.every == 0 {
            return Err(Error::argument("ModelCheckpoint", "every(0) never saves; give at least 1"));
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.mode = self.mode;
            monitor.begin(run)?;
        }
        // A mistake in the pattern is told before an epoch is spent.
        let known = |name: &str| (name == "epoch" || run.names().iter().any(|n| n == name)).then_some(0.0);
        fill(&self.path, &known).map(drop)
    }

    fn on_epoch_end(&mut self, epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        if !epoch.number.is_multiple_of(self.every) {
            return Ok(Flow::Continue);
        }
        if let Some(monitor) = &self.monitor {
            let value = monitor.value(epoch)?;
            if !monitor.improves(value, self.best) {
                return Ok(Flow::Continue);
            }
            self.best = Some(value);
        }
        let value = |name: &str| if name == "epoch" { Some(epoch.number as f64) } else { epoch.value(name) };
        let path = fill(&self.path, &value)?;
        if self.weights_only {
            run.save_weights(path)?;
        } else {
            run.save_checkpoint(path);
        }
        Ok(Flow::Continue)
    }

    fn export_state(&self) -> Result<State> {
        self.best.iter().map(|&best| entry("best", best)).collect()
    }

    fn import_state(&mut self, state: &State) -> Result<()> {
        self.best = number(state, "best")?;
        Ok(())
    }
}

/// The path with the numbers in their places.
fn fill(pattern: &str, value: &dyn Fn(&str) -> Option<f64>) -> Result<String> {
    let wrong = |part: &str, what: String| {
        Error::argument("ModelCheckpoint", format!("{{{part}}} in the path {pattern}: {what}"))
    };
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((part, after)) = after.split_once('}') else {
            return Err(wrong(after, "the brace is never closed".into()));
        };
        let (name, format) = part.split_once(':').unwrap_or((part, ""));
        let Some(number) = value(name) else {
            return Err(wrong(part, format!("the epoch has no {name}")));
        };
        let digits = |text: &str| text.parse::<usize>().ok().filter(|&n| n <= 20);
        out += before;
        out += &match (name, format, format.strip_prefix('.').map(digits), digits(format)) {
            ("epoch", "", _, _) => format!("{number}"),
            ("epoch", _, _, Some(width)) => format!("{number:0width$}"),
            (_, "", _, _) if name != "epoch" => format!("{number:.4}"),
            (_, _, Some(Some(digits)), _) if name != "epoch" => format!("{number:.digits$}"),
            _ => return Err(wrong(part, "expected {epoch}, {epoch:03}, {name} or {name:.2}".into())),
        };
        rest = after;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_in_paths() {
        let value = |name: &str| match name {
            "epoch" => Some(7.0),
            "val_loss" => Some(0.123456),
            _ => None,
        };
        assert_eq!(fill("a/b.safetensors", &value).unwrap(), "a/b.safetensors");
        assert_eq!(
            fill("{epoch}-{epoch:03}-{val_loss}-{val_loss:.2}.x", &value).unwrap(),
            "7-007-0.1235-0.12.x"
        );
        for (pattern, expected) in [
            ("{epoch", "never closed"),
            ("{accuracy}", "the epoch has no accuracy"),
            ("{epoch:.2}", "expected {epoch}"),
            ("{val_loss:abc}", "{name:.2}"),
        ] {
            let message = fill(pattern, &value).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
