//! Layers that only look at the same numbers another way.

use super::{Build, Built, Context, Layer, Module, Parameters};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::shape::{INFER, Shape};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A sample of any shape as a vector. Takes no time and no memory.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Flatten::new()).build([28, 28, 1], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [784]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[must_use]
pub struct Flatten {}

impl Flatten {
    /// The layer.
    pub fn new() -> Flatten {
        Flatten {}
    }
}

impl Layer for Flatten {
    fn kind(&self) -> &'static str {
        "Flatten"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: Shape, _cx: &mut Build) -> Result<Built> {
        let output = Shape::new(&[input.numel()])?;
        Ok(Built::new(Reshaped { sample: output }, output))
    }
}

/// A sample under another shape with as many elements; [`INFER`] stands for one dimension to be worked out. Takes no time and
/// no memory.
///
/// ```
/// use wgrad::nn::Reshape;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Reshape::new([2, 3])).build([6], Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([5, 6], Device::Cpu)?)?.shape(), [5, 2, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a shape with another number of elements than the sample has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Reshape {
    sample: Vec<usize>,
}

impl Reshape {
    /// To this shape, without the batch dimension.
    pub fn new(sample: impl AsRef<[usize]>) -> Reshape {
        Reshape { sample: sample.as_ref().to_vec() }
    }
}

impl Layer for Reshape {
    fn kind(&self) -> &'static str {
        "Reshape"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: Shape, _cx: &mut Build) -> Result<Built> {
        let mut dims = self.sample.clone();
        if let Some(at) = dims.iter().position(|&d| d == INFER) {
            dims[at] = 1;
            let known = Shape::new(&dims).map_err(|_| {
                let message = "only one dimension can be worked out; give the sizes of the others";
                Error::shape("build", message)
            })?;
            dims[at] = input.numel() / known.numel().max(1);
        }
        let sample = Shape::new(&dims)?;
        if sample.numel() != input.numel() {
            let message = format!(
                "expects {} elements for {sample}, got {input} with {}; change the target shape",
                sample.numel(),
                input.numel()
            );
            return Err(Error::shape("build", message));
        }
        Ok(Built::new(Reshaped { sample }, sample))
    }
}

/// A sample's axes in another order: axis d of the output is axis `axes[d]` of the input. Takes no time and no memory.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Permute;
/// # fn main() -> Result<()> {
/// // channels first to channels last
/// let model = Sequential::new().add(Permute::new([1, 2, 0])).build([3, 32, 24], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [32, 24, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a list that doesn't name each axis of the sample once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Permute {
    axes: Vec<usize>,
}

impl Permute {
    /// The sample's axes in their new order, counted from 0 (Keras counts the batch too: its 1 is 0 here).
    pub fn new(axes: impl Into<Vec<usize>>) -> Permute {
        Permute { axes: axes.into() }
    }
}

impl Layer for Permute {
    fn kind(&self) -> &'static str {
        "Permute"
    }

    fn details(&self) -> String {
        format!("{:?}", self.axes)
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: Shape, _cx: &mut Build) -> Result<Built> {
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..input.rank()) {
            let message = format!(
                "expects each axis from 0 to {} once for {input}, got {:?}",
                input.rank() as isize - 1,
                self.axes
            );
            return Err(Error::argument("build", message));
        }
        let dims: Vec<usize> = self.axes.iter().map(|&a| input[a]).collect();
        let axes = std::iter::once(0).chain(self.axes.iter().map(|&a| a as isize + 1)).collect();
        Ok(Built::new(Permuted { axes }, Shape::new(&dims)?))
    }
}

struct Permuted {
    /// Of the batch.
    axes: Vec<isize>,
}

impl Module for Permuted {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x.permute(&self.axes)
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

struct Reshaped {
    sample: Shape,
}

impl Module for Reshaped {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let mut dims = vec![x.dims().first().copied().unwrap_or(1)];
        dims.extend_from_slice(&self.sample);
        x.reshape(dims)
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
