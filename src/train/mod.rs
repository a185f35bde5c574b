//! Training without a loop of one's own: fit, evaluate, predict.
//!
//! | Keras | here |
//! | --- | --- |
//! | `model.compile(optimizer, loss, metrics)` | [`Trainer::new`], [`TrainerBuilder::metric`] |
//! | `compile(loss={"a": .., "b": ..}, loss_weights=..)` | [`Trainer::multi`], [`TrainerBuilder::output`], [`TrainerBuilder::metric_for`] |
//! | `model.fit(x, y, epochs=5, batch_size=128, validation_data=..)` | [`Trainer::fit`] with [`Fit`] |
//! | `validation_split=0.2`, `validation_steps=` | [`Fit::validation_split`], [`Fit::validation_steps`] |
//! | `class_weight={3: 2.0}` | [`Fit::class_weights`] |
//! | `sample_weight=` | [`Dataset::with_weights`](crate::data::Dataset::with_weights), [`Batch::weights`](crate::data::Batch::weights) |
//! | `shuffle=`, `steps_per_epoch=`, `initial_epoch=` | [`Fit::shuffle`], [`Fit::steps_per_epoch`], [`Fit::initial_epoch`] |
//! | `gradient_accumulation_steps=` (of the optimizer) | [`Fit::accumulate`] |
//! | `model.evaluate`, `model.predict` | [`Trainer::evaluate`], [`Trainer::predict`], [`Trainer::predict_on`] |
//! | a `train_step` of one's own, two optimizers | [`Trainer::with_step`] |
//! | `add_loss` | [`Context::add_loss`](crate::nn::Context::add_loss) |
//! | `train_on_batch`, `test_on_batch` | [`Trainer::train_on_batch`], [`Trainer::test_on_batch`] |
//! | `model.losses` (regularisers) | added to the loss; [`Module::penalty`](crate::nn::Module::penalty) |
//! | `history.history["val_accuracy"]` | [`History::epochs`], [`Epoch::value`] |
//! | the loss within an epoch | [`History::steps`], [`Fit::record_every`] |
//! | `SwapEMAWeights(swap_on_epoch=True)` | [`Fit::validate_averages`] |
//! | `callbacks=[..]` | [`Fit::with`], [`Callback`] |
//! | `LambdaCallback` | [`Fit::callback`] |
//! | `EarlyStopping`, `ModelCheckpoint` | [`EarlyStopping`], [`ModelCheckpoint`] |
//! | `BackupAndRestore` | [`ModelCheckpoint`] and [`Trainer::resume`] |
//! | `LearningRateScheduler`, `ReduceLROnPlateau` | [`LearningRateScheduler`], [`ReduceLrOnPlateau`] |
//! | `CSVLogger`, `TerminateOnNaN` | [`CsvLogger`], [`TerminateOnNan`] |
//! | `TensorBoard`, `tf.summary.scalar` | [`TensorBoard`], [`SummaryWriter`] |
//! | fastai's and Lightning's `lr_find` | [`Trainer::find_learning_rate`], [`RateFinder`] |
//! | PyTorch's `update_bn` | [`Trainer::update_statistics`] |
//! | `ProgbarLogger`, `verbose=` | [`Fit::verbose`] |
//! | a `KeyboardInterrupt`, SIGTERM | `Fit::stop_on_ctrl_c` (feature `signals`), [`Fit::interrupt`] |
//!
//! A run with all of it:
//!
//! ```
//! # use wgrad::prelude::*;
//! use wgrad::train::{CsvLogger, EarlyStopping, ModelCheckpoint, ReduceLrOnPlateau};
//! # fn main() -> Result<()> {
//! # let folder = std::env::temp_dir().join(format!("wgrad-doc-train-{}", std::process::id()));
//! # let (digits, _) = data::synthetic::digits(200, 1, 1).into_datasets()?;
//! # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
//! let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits())
//!     .metric(Accuracy::new())
//!     .build()?;
//! let fit = Fit::epochs(20)
//!     .batch_size(20)
//!     .validation_split(0.2)
//!     .with(EarlyStopping::new("val_accuracy").patience(4).restore_best_weights())
//!     .with(ReduceLrOnPlateau::new("val_loss").patience(2).factor(0.3))
//!     .with(ModelCheckpoint::new(folder.join("run.safetensors").display().to_string()))
//!     .with(CsvLogger::new(folder.join("run.csv")))
//!     .verbose(false);
//! let history = trainer.fit(&digits, fit)?;
//! println!("{:?}", history.epochs[0].value("val_accuracy"));
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok(()) }
//! ```

mod accumulation;
mod bar;
mod builder;
mod callback;
mod callbacks;
mod checkpoint;
pub(crate) mod checkpoint_file;
mod curve;
mod events;
mod first_batch;
mod fit;
mod history;
mod metric;
mod optimizers;
mod outputs;
mod own_step;
mod progress;
mod ranks;
mod rate_finder;
mod run;
mod shards;
mod sharing;
#[cfg(feature = "signals")]
mod signals;
mod step_builder;
mod stream;
#[cfg(test)]
mod tests;
mod totals;
mod trainer;

pub use builder::TrainerBuilder;
pub use callback::{Callback, Compiled, Event, Flow, Run, Step};
pub use callbacks::{
    CsvLogger, EarlyStopping, LearningRateScheduler, Mode, ModelCheckpoint, ReduceLrOnPlateau, TensorBoard,
    TerminateOnNan,
};
pub use events::SummaryWriter;
pub use fit::Fit;
pub use history::{Epoch, Evaluation, History, StepLoss};
pub use metric::{
    Accuracy, Auc, Average, BinaryAccuracy, Bleu, BleuSmoothing, Confusion, ConfusionMatrix, Curve, F1Score,
    Mean, MeanIou, Metric, Named, PearsonCorrelation, Perplexity, Precision, R2Score, Recall,
    RootMeanSquaredError, TopKAccuracy, confusion_matrix, edit_distance,
};
#[cfg(feature = "plot")]
pub(crate) use metric::{are_probabilities, is_yes_or_no};
pub use own_step::OwnStep;
pub use rate_finder::{RateCurve, RateFinder};
pub use step_builder::StepBuilder;
pub use trainer::Trainer;
