//! A table that grows with the training.

use crate::error::{Error, Result};
use crate::files::{make_folders, write_whole};
use crate::train::{Callback, Epoch, Flow, Run};
use std::path::{Path, PathBuf};

/// Writes a row of [`History::to_csv`](crate::train::History::to_csv) after each epoch (`keras.callbacks.CSVLogger`). The file
/// is whole at any time, and goes on where it was when the run is resumed.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::CsvLogger;
/// # fn main() -> Result<()> {
/// # let path = std::env::temp_dir().join(format!("wgrad-doc-{}.csv", std::process::id()));
/// # let (train, _) = data::synthetic::digits(60, 20, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// trainer.fit(&train, Fit::epochs(2).with(CsvLogger::new(&path)).verbose(false))?;
/// # let text = std::fs::read_to_string(&path).unwrap_or_default();
/// # std::fs::remove_file(&path).ok();
/// assert_eq!(text.lines().count(), 3); // names, and two epochs
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CsvLogger {
    path: PathBuf,
    append: bool,
    /// What the file held before the run.
    before: String,
}

impl CsvLogger {
    /// Writes this file; its folders are made.
    pub fn new(path: impl AsRef<Path>) -> CsvLogger {
        CsvLogger { path: path.as_ref().into(), append: false, before: String::new() }
    }

    /// Keeps the rows of earlier runs that the file has.
    pub fn append(mut self) -> Self {
        self.append = true;
        self
    }
}

impl Callback for CsvLogger {
    fn name(&self) -> &'static str {
        "csv_logger"
    }

    fn on_every_rank(&self) -> bool {
        false
    }

    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        make_folders(&self.path)?;
        self.before.clear();
        // A resumed run's history has the epochs that the file has.
        if self.append && run.history().epochs.is_empty() && self.path.exists() {
            self.before = std::fs::read_to_string(&self.path).map_err(|e| Error::io(&self.path, e))?;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, _epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        let table = run.history().to_csv();
        let (names, rows) = table.split_once('\n').unwrap_or((&table, ""));
        let mut text = self.before.clone();
        if text.lines().next() == Some(names) {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text += rows;
        } else {
            text += &table;
        }
        write_whole(&self.path, text.as_bytes())?;
        Ok(Flow::Continue)
    }
}
