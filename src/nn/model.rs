//! A built stack of layers.

use super::{Context, Module, Parameter};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A layer of a built stack.
pub(super) struct Entry {
    /// Unique in its stack: `conv2d`, `conv2d_1`, ...
    pub name: String,
    pub kind: &'static str,
    pub details: String,
    pub module: Box<dyn Module>,
    pub output: Shape,
}

/// Layers with their shapes.
pub(super) struct Stack {
    pub entries: Vec<Entry>,
    pub output: Shape,
}

impl Module for Stack {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.entries.iter().try_fold(x.clone(), |x, entry| entry.module.forward(&x, cx))
    }

    fn parameters(&self) -> Vec<Parameter> {
        let named = |entry: &Entry| {
            let prefix = entry.name.clone();
            entry.module.parameters().into_iter().map(move |mut p| {
                p.name = format!("{prefix}.{}", p.name);
                p
            })
        };
        self.entries.iter().flat_map(named).collect()
    }
}

/// A model that [`Sequential::build`](super::Sequential::build) made: shapes are known, weights have their initial values.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// assert_eq!(model.parameter_count(), 7850);
/// println!("{}", model.summary());
/// # Ok(()) }
/// ```
pub struct Model {
    pub(super) stack: Stack,
    input: Shape,
    device: Device,
}

impl Model {
    pub(super) fn new(stack: Stack, input: Shape, device: Device) -> Model {
        Model { stack, input, device }
    }

    /// Shape of one sample, without the batch dimension.
    pub fn input_shape(&self) -> Shape {
        self.input
    }

    /// Shape of the output for one sample, without the batch dimension.
    pub fn output_shape(&self) -> Shape {
        self.stack.output
    }
}

impl Module for Model {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        if x.rank() == 0 || x.dims()[1..] != *self.input {
            let mut expected = vec!["batch".to_string()];
            expected.extend(self.input.iter().map(usize::to_string));
            let one = if x.shape() == self.input {
                "; for one sample, add the dimension with unsqueeze(0)"
            } else {
                ""
            };
            let message = format!("expects [{}], got {}{one}", expected.join(", "), x.shape());
            return Err(Error::shape("Model::forward", message));
        }
        self.stack.forward(x, cx)
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.stack.parameters()
    }

    fn device(&self) -> Device {
        self.device
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Model { input, device, .. } = self;
        let (output, count) = (self.output_shape(), self.parameter_count());
        write!(f, "Model({input} to {output}, {count} parameters on {device})")
    }
}
