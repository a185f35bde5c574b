//! Layers that make numbers fit for a model: columns are given a common scale, cut into bins, or told apart as categories.

mod category;
mod discretization;
mod features;
mod integer_lookup;
mod normalization;
mod rescaling;

pub use category::CategoryEncoding;
pub use discretization::Discretization;
pub use features::FeatureBatches;
pub use integer_lookup::IntegerLookup;
pub use normalization::Normalization;
pub use rescaling::Rescaling;
