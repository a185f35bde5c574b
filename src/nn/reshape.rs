//! Layers that only look at the same numbers another way.

use super::{Build, Built, Context, Layer, Module, Parameter, layer_config};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A sample of any shape as a vector. Takes no time and no memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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

    fn config(&self) -> Result<serde_json::Value> {
        layer_config(self)
    }

    fn build(&self, input: Shape, _cx: &mut Build) -> Result<Built> {
        let output = Shape::new(&[input.numel()])?;
        Ok(Built::new(Reshaped { sample: output }, output))
    }
}

/// A sample under another shape with as many elements. Takes no time and no memory.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Reshape::new([2, 3])).build([6], Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([5, 6], Device::Cpu)?)?.shape(), [5, 2, 3]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
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

    fn config(&self) -> Result<serde_json::Value> {
        layer_config(self)
    }

    fn build(&self, input: Shape, _cx: &mut Build) -> Result<Built> {
        let sample = Shape::new(&self.sample)?;
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

struct Reshaped {
    sample: Shape,
}

impl Module for Reshaped {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let mut dims = vec![x.dims().first().copied().unwrap_or(1)];
        dims.extend_from_slice(&self.sample);
        x.reshape(dims)
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }
}
