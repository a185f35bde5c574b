//! Data sets.

mod batches;
mod dataset;
mod digest;
mod digits;
#[cfg(feature = "app")]
mod download;
pub mod idx;
pub mod mnist;
mod mnist_cache;
mod source;
pub mod synthetic;

pub use batches::Batches;
pub use dataset::Dataset;
pub(crate) use mnist_cache::pipeline_folder;
pub use source::{Batch, BatchIter, Pass, Source};
