//! Callbacks that are ready to use.

mod checkpoint;
mod csv;
mod early_stopping;
mod monitor;
mod nan;
mod rate;
mod state;
mod tensorboard;

pub use checkpoint::ModelCheckpoint;
pub use csv::CsvLogger;
pub use early_stopping::EarlyStopping;
pub use monitor::Mode;
pub use nan::TerminateOnNan;
pub use rate::{LearningRateScheduler, ReduceLrOnPlateau};
pub use tensorboard::TensorBoard;
