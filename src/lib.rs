#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod autograd;
mod axes;
mod backend;
mod config;
mod cpu;
pub mod data;
mod device;
mod dtype;
mod error;
mod files;
mod geometry;
mod gpu;
pub mod graph;
pub mod io;
pub mod nn;
mod ops;
pub mod optim;
#[cfg(feature = "plot")]
pub mod plot;
mod profile;
mod sealed;
mod seed;
mod self_check;
mod shape;
mod tensor;
pub mod testing;
pub mod train;
mod variable;

pub use autograd::{Gradients, grad, value_and_grad};
pub use axes::Axes;
pub use backend::eval;
pub use config::Config;
pub use cpu::Element;
pub use device::{AdapterId, Device, DeviceInfo, DeviceKind, Stats};
pub use error::{Error, Result, ResultExt};
pub use dtype::DType;
pub use graph::{Diagram, Graph, TensorSpec};
pub use ops::conv2d::{Conv2dOptions, Padding};
pub use ops::conv2d_transpose::ConvTranspose2dOptions;
pub use ops::custom::{CustomKernel, CustomOp, apply as apply_custom};
pub use ops::pool2d::Pool2dOptions;
pub use ops::resize::Interpolation;
pub use profile::{KernelProfile, Profile, Timing};
pub use self_check::{CheckedOperation, SelfCheck};
pub use shape::{INFER, MAX_RANK, Shape};
pub use tensor::{FillValue, IntoOperand, NestedArray, Spec, Tensor, no_grad};
pub use variable::{IntoResult, Variable, Watched};

/// What most programs use.
pub mod prelude {
    pub use crate::nn::{
        Activation, AvgPool2d, BatchNorm, BinaryCrossentropy, CategoricalCrossentropy, Conv2d,
        ConvTranspose2d, Dense, Dropout, Embedding, Flatten, Functional, GlobalAvgPool2d, GlobalMaxPool2d,
        Huber, Initializer, LayerNorm, Loss, MaxPool2d, MeanAbsoluteError, MeanSquaredError, Merge, Model,
        Module, Regularizer, Reshape, Sequential, Softmax, SparseCategoricalCrossentropy, UpSample2d,
        ZeroPad2d,
    };
    pub use crate::optim::{Adam, AdamW, Optimizer, RmsProp, Schedule, Sgd};
    pub use crate::train::{
        Accuracy, Average, BinaryAccuracy, Evaluation, F1Score, Fit, History, Precision, Recall,
        TopKAccuracy, Trainer,
    };
    pub use crate::{
        Conv2dOptions, DType, Device, Error, Gradients, Graph, INFER, Padding, Pool2dOptions, Result, Shape,
        Tensor, TensorSpec, Variable, data, grad, no_grad, value_and_grad,
    };
}

/// Has the code of the guides run.
#[cfg(all(doctest, feature = "app"))]
#[doc = include_str!("../docs/tensorflow.md")]
struct Guide;

/// Has the test of the recipe compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/ci.md")]
struct Recipe;
