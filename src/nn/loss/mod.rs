//! Losses: how far outputs are from targets, as a mean over the batch.

mod base;
mod batch;
mod binary;
mod categorical;
mod ctc;
mod focal;
mod pairs;
mod regression;
mod rows;

pub use base::{Loss, Outputs};
pub use batch::{InfoNce, NtXent, TripletHard, TripletSemiHard};
pub use binary::BinaryCrossentropy;
pub use categorical::{CategoricalCrossentropy, SparseCategoricalCrossentropy};
pub use ctc::Ctc;
pub use focal::{BinaryFocalCrossentropy, CategoricalFocalCrossentropy, Dice, Tversky};
pub use pairs::{Contrastive, CosineEmbedding, TripletMargin};
pub use regression::{
    Hinge, Huber, LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError, Poisson, SquaredHinge,
};
pub use rows::{CategoricalHinge, CosineSimilarity, KLDivergence};
