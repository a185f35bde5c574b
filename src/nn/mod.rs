//! Layers, models and losses.
//!
//! A [`Layer`] is a description: sizes that follow from the input are left out. [`Sequential::build`] works them out,
//! checks that the shapes fit, and gives a [`Model`], which is a [`Module`]: something with named parameters that maps a
//! batch to a batch.
//!
//! ```
//! # use wgrad::prelude::*;
//! # fn main() -> Result<()> {
//! let model = Sequential::new()
//!     .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
//!     .add(Flatten::new())
//!     .add(Dropout::new(0.5))
//!     .add(Dense::new(10))
//!     .seed(7)
//!     .build([28, 28, 1], Device::Cpu)?;
//! let images = Tensor::zeros([2, 28, 28, 1], Device::Cpu)?;
//! assert_eq!(model.infer(&images)?.shape(), [2, 10]);
//! # Ok(()) }
//! ```

mod activation;
mod conv;
mod dense;
mod dropout;
mod functional;
mod layer;
mod loss;
mod merge;
mod model;
mod module;
mod network;
mod pool;
mod registry;
mod regularizer;
mod reshape;
mod sequential;
mod summary;

pub use activation::Activation;
pub use conv::Conv2d;
pub use dense::Dense;
pub use dropout::Dropout;
pub use functional::{Functional, Symbol};
pub use layer::{Build, Built, Layer, layer_config};
pub use loss::{
    BinaryCrossentropy, CategoricalCrossentropy, CategoricalHinge, CosineSimilarity, Hinge, Huber,
    KLDivergence, LogCosh, Loss, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError, Poisson, SparseCategoricalCrossentropy, SquaredHinge,
};
pub use merge::Merge;
pub use model::Model;
pub use module::{Context, Module, Parameter};
pub use pool::{AvgPool2d, MaxPool2d};
pub use registry::Layers;
pub use regularizer::Regularizer;
pub use reshape::{Flatten, Reshape};
pub use sequential::Sequential;
