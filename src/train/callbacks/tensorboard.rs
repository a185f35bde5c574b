//! Curves for TensorBoard.

use crate::error::Result;
use crate::optim::State;
use crate::tensor::Tensor;
use crate::train::{Callback, Epoch, Evaluation, Flow, Run, Step, SummaryWriter};
use std::path::{Path, PathBuf};

/// Writes event files that TensorBoard shows (`keras.callbacks.TensorBoard`): `<folder>/train` and `<folder>/validation` with
/// `epoch_loss`, `epoch_<metric>` and `epoch_learning_rate`, by epoch, and `step_loss`, [the loss within epochs](crate::train::History::steps),
/// by step.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::TensorBoard;
/// # fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("wgrad-doc-board-{}", std::process::id()));
/// # let (train, test) = data::synthetic::digits(60, 20, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// let board = TensorBoard::new(&folder);
/// trainer.fit(&train, Fit::epochs(2).validation(&test).with(board).verbose(false))?;
/// // $ tensorboard --logdir <folder>
/// # assert!(folder.join("train").exists() && folder.join("validation").exists());
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct TensorBoard {
    folder: PathBuf,
    every: Option<usize>,
    train: Option<SummaryWriter>,
    validation: Option<SummaryWriter>,
    /// Steps of the run.
    steps: u64,
    /// Losses within epochs that are written already.
    written: usize,
    /// A step's loss, to be read after the next step was queued.
    pending: Option<(u64, Tensor)>,
}

impl TensorBoard {
    /// Writes below this folder.
    pub fn new(folder: impl AsRef<Path>) -> TensorBoard {
        TensorBoard {
            folder: folder.as_ref().into(),
            every: None,
            train: None,
            validation: None,
            steps: 0,
            written: 0,
            pending: None,
        }
    }

    /// Writes as well `batch_loss`, the loss of every n-th step (Keras's `update_freq`). It is read after the next step was
    /// queued; for that the host waits.
    pub fn every(mut self, steps: usize) -> Self {
        self.every = Some(steps.max(1));
        self
    }

    fn writer<'a>(
        writer: &'a mut Option<SummaryWriter>,
        folder: &Path,
        part: &str,
    ) -> Result<&'a mut SummaryWriter> {
        let made = match writer.take() {
            Some(made) => made,
            None => SummaryWriter::create(folder.join(part))?,
        };
        Ok(writer.insert(made))
    }

    fn write_pending(&mut self) -> Result<()> {
        let Some((step, loss)) = self.pending.take() else { return Ok(()) };
        let writer = Self::writer(&mut self.train, &self.folder, "train")?;
        writer.scalar("batch_loss", step, loss.item::<f64>()?)
    }
}

fn write(writer: &mut SummaryWriter, number: usize, evaluation: &Evaluation) -> Result<()> {
    writer.scalar("epoch_loss", number as u64, evaluation.loss)?;
    for (name, value) in &evaluation.metrics {
        writer.scalar(&format!("epoch_{name}"), number as u64, *value)?;
    }
    Ok(())
}

impl Callback for TensorBoard {
    fn name(&self) -> &'static str {
        "tensorboard"
    }

    fn on_every_rank(&self) -> bool {
        false
    }

    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.written = run.history().steps.len();
        (self.train, self.validation, self.steps, self.pending) = (None, None, 0, None);
        // Where nothing can be written, that is told before an epoch is spent.
        Self::writer(&mut self.train, &self.folder, "train").map(drop)
    }

    fn on_step(&mut self, step: &Step<'_>, _run: &mut Run<'_>) -> Result<Flow> {
        self.write_pending()?;
        self.steps += 1;
        if self.every.is_some_and(|every| self.steps.is_multiple_of(every as u64)) {
            self.pending = Some((self.steps, step.loss.clone()));
        }
        Ok(Flow::Continue)
    }

    fn on_epoch_end(&mut self, epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        self.write_pending()?;
        let writer = Self::writer(&mut self.train, &self.folder, "train")?;
        let points = &run.history().steps;
        for point in &points[self.written.min(points.len())..] {
            writer.scalar("step_loss", point.step, point.loss)?;
        }
        self.written = points.len();
        write(writer, epoch.number, &epoch.train)?;
        writer.scalar("epoch_learning_rate", epoch.number as u64, epoch.learning_rate)?;
        writer.flush()?;
        if let Some(evaluation) = &epoch.validation {
            let writer = Self::writer(&mut self.validation, &self.folder, "validation")?;
            write(writer, epoch.number, evaluation)?;
            writer.flush()?;
        }
        Ok(Flow::Continue)
    }

    fn on_train_end(&mut self, _run: &mut Run<'_>) -> Result<()> {
        self.write_pending()?;
        (self.train, self.validation) = (None, None);
        Ok(())
    }

    fn export_state(&self) -> Result<State> {
        Ok(vec![super::state::entry("steps", self.steps as f64)?])
    }

    fn import_state(&mut self, state: &State) -> Result<()> {
        self.steps = super::state::number(state, "steps")?.unwrap_or(0.0) as u64;
        Ok(())
    }
}
