//! A built model.

use super::network::{Network, Work};
use super::{Build, Context, Module, Parameters, SampleShape, element_type};
use crate::config::Config;
use crate::device::Device;
use crate::dtype::DType;
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
    /// Of a network whose layers were built so.
    pub(super) fn new(network: Network, cx: &Build) -> Model {
        network.stated.set(cx.dtype());
        Model::of(network, cx.device())
    }

    fn of(network: Network, device: Device) -> Model {
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

    pub(super) fn node(&self, op: &str, layer: &str) -> Result<usize> {
        self.network.nodes.iter().position(|n| n.name == layer).ok_or_else(|| {
            let message = format!("no layer is named {layer}; there are {}", self.layer_names().join(", "));
            Error::argument(op, message)
        })
    }

    /// A layer by its name, as [`summary`](Self::summary) shows it: to look at its weights, to freeze it, to call it alone.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dense::new(8)).add(Dense::new(2)).build([4], Device::Cpu)?;
    /// let layer = model.layer("dense_1")?;
    /// assert_eq!(layer.parameter("weight")?.variable.shape(), [8, 2]);
    /// layer.set_trainable(false)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// No layer has the name (the error lists those there are), or it is an input or a merge, which have no module.
    pub fn layer(&self, name: &str) -> Result<&dyn Module> {
        const OP: &str = "Model::layer";
        let mut node = self.node(OP, name)?;
        if let Work::Again(of) = self.network.nodes[node].work {
            node = of;
        }
        match &self.network.nodes[node].work {
            Work::Layer { module, .. } => Ok(&**module),
            _ => Err(Error::argument(OP, format!("{name} is an input or a merge: it has no layer"))),
        }
    }

    /// The model that gives the outputs of these layers, in this order, with the same weights: Keras's `Model(inputs, [layer.output,
    /// ..])`. Layers after them are no part of it, and all of them come of one evaluation.
    ///
    /// Features of a trained model:
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new()
    ///     .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
    ///     .add(Flatten::new())
    ///     .add(Dense::new(10))
    ///     .build([8, 8, 1], Device::Cpu)?;
    /// let images = Tensor::rand([2, 8, 8, 1], Device::Cpu, 1)?;
    /// let features = model.outputs_of(&["flatten"])?.infer(&images)?;
    /// assert_eq!(features.shape(), [2, 288]);
    /// # Ok(()) }
    /// ```
    ///
    /// What a class's score owes to each place of a layer's output (Grad-CAM; Selvaraju et al., 2017):
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::Context;
    /// # fn main() -> Result<()> {
    /// # let model = Sequential::new()
    /// #     .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
    /// #     .add(Flatten::new())
    /// #     .add(Dense::new(10))
    /// #     .build([8, 8, 1], Device::Cpu)?;
    /// # let images = Tensor::rand([2, 8, 8, 1], Device::Cpu, 1)?;
    /// let [maps, scores] = &model.forward_layers(["conv2d", "dense"], &images, &Context::eval())?;
    /// let score = scores.slice(1, 3, 1)?.sum(.., false)?; // of class 3
    /// let slopes = score.gradients(maps)?;
    /// let heat = (slopes.mean([1, 2], true)? * maps)?.sum(-1, false)?.relu()?;
    /// assert_eq!(heat.shape(), [2, 6, 6]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// No layer has one of the names (the error lists those there are), one is given twice, or there are none.
    pub fn outputs_of(&self, layers: &[&str]) -> Result<Model> {
        const OP: &str = "Model::outputs_of";
        if layers.is_empty() {
            let message = format!("got no names of layers; there are {}", self.layer_names().join(", "));
            return Err(Error::argument(OP, message));
        }
        let mut outputs: Vec<(String, usize)> = Vec::new();
        for &layer in layers {
            if outputs.iter().any(|(other, _)| other == layer) {
                return Err(Error::argument(OP, format!("{layer} is given twice")));
            }
            outputs.push((layer.to_string(), self.node(OP, layer)?));
        }
        Ok(Model::of(self.network.up_to(outputs), self.device))
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
        self.node("Model::set_layer_trainable", layer)?;
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

    /// The architecture as JSON, without weights, and their type where it is not f32: Keras's `to_json`.
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

    fn dtype(&self) -> DType {
        self.network.dtype()
    }

    fn to_dtype(&self, dtype: DType) -> Result<()> {
        element_type::convert(&self.parameters(), dtype, self.device)?;
        self.network.stated.set(dtype);
        Ok(())
    }

    fn output_names(&self) -> Vec<String> {
        self.network.output_names()
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.leaves(|| self.leaves());
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
