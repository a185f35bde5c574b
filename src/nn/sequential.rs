//! A stack of layers, each fed by the one before.

use super::layer::{Build, Built, Layer};
use super::model::Model;
use super::network::Network;
use super::sample_shape::{IntoSampleShape, SampleShape};
use crate::config::Config;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use serde_json::{Value, json};

/// Describes a model as a stack of layers; [`build`](Self::build) makes it.
///
/// ```
/// # use wgrad::prelude::*;
/// let error = Sequential::new()
///     .add(Conv2d::new(64, [3, 3]))
///     .add(Flatten::new())
///     .add(MaxPool2d::new([2, 2]))
///     .build([28, 28, 1], Device::Cpu)
///     .err()
///     .map(|e| e.to_string());
/// assert_eq!(
///     error.as_deref(),
///     Some(
///         "Sequential::build: layer 3 (MaxPool2d 2x2): expects [height, width, channels], got [43264]; add Reshape \
///          before it"
///     )
/// );
/// ```
#[derive(Default)]
#[must_use]
pub struct Sequential {
    layers: Vec<(Option<String>, Box<dyn Layer>)>,
    seed: u64,
    dtype: Option<DType>,
}

impl Sequential {
    /// An empty stack.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// Puts a layer on top.
    // Builders of layers call this `add`, as Keras does; it has nothing to do with `+`.
    #[allow(clippy::should_implement_trait)]
    pub fn add(mut self, layer: impl Layer + 'static) -> Sequential {
        self.layers.push((None, Box::new(layer)));
        self
    }

    /// As [`add`](Self::add), under a name of your own, by which its weights are then found: `<name>.weight`.
    pub fn add_named(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Sequential {
        self.layers.push((Some(name.into()), Box::new(layer)));
        self
    }

    /// The seed of the initial weights (0 where none is given): the same seed gives the same bits on every device.
    pub fn seed(mut self, seed: u64) -> Sequential {
        self.seed = seed;
        self
    }

    /// The float type of the weights, and so of all that the model computes: f32 where nothing is said; f64 on the CPU, for what f32 is
    /// not exact enough for (Keras's `dtype="float64"`). Weights are near those that the seed gives in f32.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dense::new(2)).dtype(DType::F64).build([3], Device::Cpu)?;
    /// let x = Tensor::rand_dtype([5, 3], DType::F64, Device::Cpu, 1)?;
    /// assert_eq!(model.infer(&x)?.dtype(), DType::F64);
    /// # Ok(()) }
    /// ```
    pub fn dtype(mut self, dtype: DType) -> Sequential {
        self.dtype = Some(dtype);
        self
    }

    /// Makes the model for samples of a shape, which has no batch dimension: `[28, 28, 1]` for grey images. Dimensions that
    /// differ from batch to batch are open, `None` in a tuple: `(None, 64)` for sequences of 64 features, however long,
    /// `(None, None, 1)` for grey images of any size.
    ///
    /// # Errors
    ///
    /// A layer doesn't take what the one before gives (the error names it, what it expects, what it got and what to
    /// do), or the device can't be used, or does not have the [type](Self::dtype).
    pub fn build(self, input: impl IntoSampleShape, device: Device) -> Result<Model> {
        const OP: &str = "Sequential::build";
        let mut cx = Build::new(device, self.seed).with_dtype(self.dtype.unwrap_or(DType::F32));
        cx.check().map_err(|e| e.named(OP))?;
        let input = SampleShape::new(input)?;
        let network = self.network(input, &mut cx).map_err(|e| e.named(OP))?;
        Ok(Model::new(network, &cx))
    }

    pub(super) fn network(&self, input: SampleShape, cx: &mut Build) -> Result<Network> {
        let mut network = Network::default();
        let mut x = network.input(None, input)?;
        for (i, (name, layer)) in self.layers.iter().enumerate() {
            x = network.layer(name.as_deref(), layer, &[x], cx).map_err(|e| {
                // `Dense 64` says which layer it is; an activation says nothing about its place.
                let details = layer.details();
                let short = details.split(',').next().unwrap_or_default();
                let label = format!("{} {short}", layer.kind());
                e.within(&format!("layer {} ({})", i + 1, label.trim_end()))
            })?;
        }
        network.outputs.push(("output".into(), x));
        Ok(network)
    }

    /// The stack that [`Layer::config`] wrote down.
    pub(super) fn from_config(
        config: &Value,
        make: impl Fn(&str, &Value) -> Result<Box<dyn Layer>>,
    ) -> Result<Sequential> {
        let wrong = || Error::argument("Layers::make", "settings of a Sequential: expected a list of layers");
        let mut stack = Sequential::new();
        for entry in config.as_array().ok_or_else(wrong)? {
            let kind = entry["kind"].as_str().ok_or_else(wrong)?;
            let name = entry["name"].as_str().map(str::to_string);
            stack.layers.push((name, make(kind, &entry["config"])?));
        }
        Ok(stack)
    }
}

/// A stack inside a stack. Its own seed does not count: the outer model's does. A type of its own must be the outer model's.
impl Layer for Sequential {
    fn kind(&self) -> &'static str {
        "Sequential"
    }

    fn details(&self) -> String {
        format!("{} layers", self.layers.len())
    }

    fn config(&self) -> Result<Config> {
        let layers = self.layers.iter().map(|(name, layer)| {
            Ok(json!({ "name": name, "kind": layer.kind(), "config": layer.config()? }))
        });
        layers.collect::<Result<Value>>().map(Config)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        if let Some(own) = self.dtype.filter(|&own| own != cx.dtype()) {
            let message = format!(
                "the stack asks for {own} in a model that is built in {}; give the whole model one dtype",
                cx.dtype()
            );
            return Err(Error::dtype("Sequential", message));
        }
        let network = self.network(input, cx)?;
        let output = network.outputs.first().map_or(input, |&(_, node)| network.nodes[node].output);
        Ok(Built::new(network, output))
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::Reshape;
    use crate::prelude::*;

    fn error(model: Sequential, input: &[usize]) -> String {
        model.build(input, Device::Cpu).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn errors_name_layer_kind_expectation_finding_and_fix() {
        let conv = || Conv2d::new(64, [3, 3]).activation(Activation::Relu);
        let cases: [(Sequential, &[usize], &str); 10] = [
            (
                Sequential::new().add(conv()).add(Flatten::new()).add(MaxPool2d::new([2, 2])),
                &[8, 8, 1],
                "layer 3 (MaxPool2d 2x2): expects [height, width, channels], got [2304]; add Reshape before it",
            ),
            (
                Sequential::new().add(Dense::new(64)),
                &[],
                "layer 1 (Dense 64): expects [.., features], got []; add Reshape::new([1]) before it",
            ),
            (
                Sequential::new().add(conv()),
                &[28, 28],
                "layer 1 (Conv2d 64): expects [height, width, channels], got [28, 28]; add Reshape::new([28, 28, 1]) before it",
            ),
            (Sequential::new().add(MaxPool2d::new([2, 2])), &[4], "layer 1 (MaxPool2d 2x2): expects [height"),
            (
                Sequential::new().add(conv()).add(conv()),
                &[4, 4, 1],
                "layer 2 (Conv2d 64): the window covers 3 rows, the padded image has 2; use a smaller kernel or Padding::Same",
            ),
            (
                Sequential::new().add(Conv2d::new(6, [1, 1]).groups(4)),
                &[4, 4, 8],
                "layer 1 (Conv2d 6): expects channels and filters in multiples of 4 groups, got 8 and 6",
            ),
            (
                Sequential::new().add(Reshape::new([2, 2])),
                &[5],
                "layer 1 (Reshape): expects 4 elements for [2, 2], got [5] with 5",
            ),
            (
                Sequential::new().add(Dropout::new(1.0)),
                &[5],
                "layer 1 (Dropout 1): expects a rate of at least 0 and below 1, got 1",
            ),
            (
                Sequential::new().add(Sequential::new().add(Flatten::new()).add(MaxPool2d::new([2, 2]))),
                &[4, 4],
                "layer 1 (Sequential 2 layers): layer 2 (MaxPool2d 2x2): expects [height, width, channels], got [16]",
            ),
            (Sequential::new().add(Dense::new(2)), &[3, 0], "samples of shape [3, 0] have no elements"),
        ];
        for (model, input, expected) in cases {
            let message = error(model, input);
            assert!(message.starts_with("Sequential::build: "), "{message}");
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn initial_weights_follow_keras_and_the_seed() {
        let build = |seed| {
            let layers =
                Sequential::new().add(Conv2d::new(32, [3, 3])).add(Flatten::new()).add(Dense::new(10));
            layers.seed(seed).build([8, 8, 4], Device::Cpu).unwrap()
        };
        let values = |model: &crate::nn::Model, i: usize| {
            model.parameters()[i].variable.value().to_vec::<f32>().unwrap()
        };
        let model = build(1);
        let names: Vec<String> = model.parameters().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["conv2d.weight", "conv2d.bias", "dense.weight", "dense.bias"]);
        for (i, limit) in [(0, (6.0f32 / (36.0 + 288.0)).sqrt()), (2, (6.0f32 / (1152.0 + 10.0)).sqrt())] {
            let w = values(&model, i);
            let largest = w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert!(largest <= limit && largest > 0.97 * limit, "{largest} of {limit}");
            let mean = w.iter().sum::<f32>() / w.len() as f32;
            assert!(mean.abs() < 4.0 * limit / (3.0 * w.len() as f32).sqrt(), "{mean}");
        }
        assert!(values(&model, 1).iter().chain(&values(&model, 3)).all(|&b| b == 0.0));
        assert_eq!(values(&model, 0), values(&build(1), 0));
        assert_ne!(values(&model, 0), values(&build(2), 0));
        assert_ne!(values(&model, 0)[..10], values(&model, 2)[..10]);
    }
}
