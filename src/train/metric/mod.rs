//! Metrics: what people look at, beside the loss.

mod accuracy;
mod agreement;
mod auc;
mod base;
mod bleu;
mod confusion;
mod mean;
mod retrieval;

pub use accuracy::{Accuracy, BinaryAccuracy, TopKAccuracy};
pub use agreement::{MeanIou, PearsonCorrelation, R2Score, edit_distance};
pub use auc::{Auc, Curve};
pub use base::{Metric, Named};
pub use bleu::{Bleu, BleuSmoothing};
pub use confusion::{Confusion, ConfusionMatrix, confusion_matrix};
#[cfg(feature = "plot")]
pub(crate) use confusion::{are_probabilities, is_yes_or_no};
pub use mean::{Mean, Perplexity, RootMeanSquaredError};
pub use retrieval::{Average, F1Score, Precision, Recall};
