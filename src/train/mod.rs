//! Training without a loop of one's own: fit, evaluate, predict.

mod fit;
mod history;
mod metric;
#[cfg(feature = "app")]
mod plot;
mod progress;
#[cfg(test)]
mod tests;
mod totals;
mod trainer;

pub use fit::{Event, Fit, Flow, Step};
pub use history::{Epoch, Evaluation, History};
pub use metric::{
    Accuracy, Auc, Average, BinaryAccuracy, Confusion, ConfusionMatrix, Curve, F1Score, Mean, Metric, Named,
    Precision, Recall, RootMeanSquaredError, TopKAccuracy, confusion_matrix,
};
pub use trainer::Trainer;
