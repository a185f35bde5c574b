//! A built model.

use super::network::Network;
use super::{Context, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};

/// A model that [`Sequential::build`](super::Sequential::build) or [`Functional::build`](super::Functional::build) made:
/// shapes are known, weights have their initial values.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// assert_eq!(model.parameter_count(), 7850);
/// println!("{}", model.summary());
/// # Ok(()) }
/// ```
#[must_use]
pub struct Model {
    pub(super) network: Network,
    device: Device,
    classes: Vec<String>,
}

impl Model {
    pub(super) fn new(network: Network, device: Device) -> Model {
        Model { network, device, classes: Vec::new() }
    }

    /// Shape of one sample of the (first) input, without the batch dimension.
    pub fn input_shape(&self) -> SampleShape {
        self.network.inputs.first().map_or(SampleShape::default(), |&i| self.network.nodes[i].output)
    }

    /// Shape of the (first) output for one sample, without the batch dimension.
    pub fn output_shape(&self) -> SampleShape {
        self.network.outputs.first().map_or(SampleShape::default(), |&(_, i)| self.network.nodes[i].output)
    }

    /// Names of the inputs, and their shapes for one sample.
    pub fn inputs(&self) -> Vec<(String, SampleShape)> {
        self.network
            .inputs
            .iter()
            .map(|&i| (self.network.nodes[i].name.clone(), self.network.nodes[i].output))
            .collect()
    }

    /// Names of the outputs, and their shapes for one sample.
    pub fn outputs(&self) -> Vec<(String, SampleShape)> {
        self.network.outputs.iter().map(|(name, i)| (name.clone(), self.network.nodes[*i].output)).collect()
    }

    /// The names of the layers in the order in which they were added.
    pub fn layer_names(&self) -> Vec<&str> {
        self.network.nodes.iter().map(|n| n.name.as_str()).collect()
    }

    /// What the classes of the (first) output are called, in order; empty where nobody said.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The same model with names for the classes of its (first) output; they are saved with it.
    pub fn with_classes<S: Into<String>>(mut self, classes: impl IntoIterator<Item = S>) -> Model {
        self.classes = classes.into_iter().map(Into::into).collect();
        self
    }

    /// Freezes a layer's weights, or releases them: Keras's `layer.trainable`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new()
    ///     .add_named("features", Dense::new(8))
    ///     .add_named("head", Dense::new(2))
    ///     .build([4], Device::Cpu)?;
    /// model.set_layer_trainable("features", false)?;
    /// let trained: Vec<String> =
    ///     model.parameters().into_iter().filter(|p| p.trainable()).map(|p| p.name).collect();
    /// assert_eq!(trained, ["head.weight", "head.bias"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// No layer has the name.
    pub fn set_layer_trainable(&self, layer: &str, trainable: bool) -> Result<()> {
        if self.network.nodes.iter().all(|n| n.name != layer) {
            let message = format!("no layer is named {layer}; there are {}", self.layer_names().join(", "));
            return Err(Error::argument("Model::set_layer_trainable", message));
        }
        let prefix = format!("{layer}.");
        let parameters = self.parameters().into_iter().filter(|p| !p.buffer && p.name.starts_with(&prefix));
        parameters.into_iter().try_for_each(|p| p.variable.set_trainable(trainable))
    }

    /// The outputs for several inputs in evaluation mode, without recording for gradients.
    ///
    /// # Errors
    ///
    /// Another number of inputs than the model has, or one of another shape than was declared.
    pub fn infer_all(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        no_grad(|| self.forward_all(inputs, &Context::eval()))
    }

    /// The architecture as JSON, without weights: Keras's `to_json`.
    ///
    /// # Errors
    ///
    /// A layer of one's own has no [`config`](super::Layer::config).
    pub fn config(&self) -> Result<Config> {
        self.network.config().map(Config)
    }
}

/// That a batch has the shape that an input was declared with.
fn check_input(x: &Tensor, name: Option<&str>, sample: SampleShape) -> Result<()> {
    if x.dims().split_first().is_some_and(|(_, sizes)| sample.admits(sizes)) {
        return Ok(());
    }
    let mut expected = vec!["batch".to_string()];
    expected.extend(sample.iter().map(|d| d.map_or("None".into(), |n| n.to_string())));
    let varies = |sizes: &[usize]| {
        sizes.len() == sample.rank() && sizes.last().copied() == sample.last().copied().flatten()
    };
    let fix = match x.dims() {
        dims if sample.admits(dims) => "; for one sample, add the dimension with unsqueeze(0)",
        [_, sizes @ ..] if varies(sizes) => "; build the model with None for a dimension that varies",
        _ => "",
    };
    let of = name.map(|n| format!("input {n}: ")).unwrap_or_default();
    let message = format!("{of}expects [{}], got {}{fix}", expected.join(", "), x.shape());
    Err(Error::shape("Model::forward", message))
}

impl Module for Model {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        check_input(x, None, self.input_shape())?;
        self.network.forward(x, cx)
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        for (x, &node) in inputs.iter().zip(&self.network.inputs) {
            let node = &self.network.nodes[node];
            let name = (self.network.inputs.len() > 1).then_some(node.name.as_str());
            check_input(x, name, node.output)?;
        }
        self.network.forward_all(inputs, cx)
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn output_names(&self) -> Vec<String> {
        self.network.output_names()
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.network.visit(parameters);
    }

    fn device(&self) -> Device {
        self.device
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shapes = |list: Vec<(String, SampleShape)>| {
            list.iter().map(|(_, shape)| shape.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (inputs, outputs, count) =
            (shapes(self.inputs()), shapes(self.outputs()), self.parameter_count());
        write!(f, "Model({inputs} to {outputs}, {count} parameters on {})", self.device)
    }
}
