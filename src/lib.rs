#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod autograd;
mod axes;
mod backend;
mod compiling;
mod config;
mod cpu;
pub mod data;
mod device;
pub mod distributed;
mod dtype;
mod environment;
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
pub mod text;
mod threads;
pub mod train;
mod variable;

pub use autograd::{Gradients, grad, value_and_grad};
pub use axes::Axes;
pub use backend::eval;
pub use config::Config;
pub use cpu::Element;
pub use device::{AdapterId, Device, DeviceInfo, DeviceKind, Stats};
pub use dtype::DType;
pub use error::{Error, Result, ResultExt};
pub use graph::{Diagram, Graph, TensorSpec};
pub use ops::conv2d::{Conv2dOptions, Padding};
pub use ops::conv2d_transpose::ConvTranspose2dOptions;
pub use ops::custom::{CustomKernel, CustomOp, apply as apply_custom};
pub use ops::map::Map;
pub use ops::pool2d::Pool2dOptions;
pub use ops::resize::Interpolation;
pub use profile::{KernelProfile, Profile, Timing};
pub use self_check::{CheckedOperation, SelfCheck};
pub use shape::{INFER, MAX_RANK, Shape};
pub use tensor::{
    Conv1dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose3dOptions, FillValue, GridOptions,
    GridPadding, IntoOperand, NestedArray, PadMode, Padding1d, Padding3d, Pool1dOptions, Pool3dOptions,
    Resampling, Sections, Spec, Tensor, Unique, WithRespectTo, no_grad,
};
pub use variable::{IntoResult, Variable, Watched};

/// What most programs use: tensors, the layers of a first network, and what trains it. All else is imported by name, from
/// [`nn`], [`optim`], [`train`], [`data`] and the crate itself.
pub mod prelude {
    pub use crate::nn::{
        Activation, Conv2d, Dense, Dropout, Flatten, Loss, MaxPool2d, MeanSquaredError, Model, Module,
        Sequential, SparseCategoricalCrossentropy,
    };
    pub use crate::optim::{Adam, Optimizer, Sgd};
    pub use crate::train::{Accuracy, Fit, Trainer};
    pub use crate::{DType, Device, Error, Padding, Result, Tensor, Variable, data, no_grad};
}

/// Has the code of the guides run.
#[cfg(all(doctest, feature = "app"))]
#[doc = include_str!("../docs/tensorflow.md")]
struct Guide;

/// The same of that for users of PyTorch.
#[cfg(all(doctest, feature = "app"))]
#[doc = include_str!("../docs/from-pytorch.md")]
struct GuideFromPytorch;

/// Has the test of the recipe compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/ci.md")]
struct Recipe;
