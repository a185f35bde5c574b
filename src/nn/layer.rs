//! Descriptions of layers, and what they are built with.

use super::element_type::{self, explained};
use super::module::{Parameters, taken_by};
use super::{Context, Initializer, IntoSampleShape, Module, SampleShape};
use crate::config::Config;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result, ResultExt};
use crate::seed;
use crate::shape::Shape;
use crate::tensor::{Tensor, check_float};
use crate::variable::Variable;
use serde_json::Value;

/// A layer with its weights: a module, and the shape of what it gives for one sample. [`Layer::build`] makes it, where there is an
/// example, and for models of one's own [`Build::layer`].
///
/// As a module it does what the layer does in a [`Model`](super::Model): bytes are numbers to it unless it looks them up, and errors
/// name it.
#[non_exhaustive]
pub struct Built {
    /// The module.
    pub module: Box<dyn Module>,
    /// Shape of its output without the batch dimension.
    pub output: SampleShape,
    /// What [`Build::layer`] has made it of.
    pub(super) made: Option<Made>,
    /// The layer with its settings, as in `Dense 64, relu`; empty where [`Build::layer`] has not made it.
    what: String,
    /// The type that it was built in.
    dtype: DType,
}

impl Built {
    /// A module whose output for one sample has this shape.
    pub fn new(module: impl Module + 'static, output: impl Into<SampleShape>) -> Built {
        Built {
            module: Box::new(module),
            output: output.into(),
            what: String::new(),
            made: None,
            dtype: DType::F32,
        }
    }

    /// What the module gives for these inputs; of an error it is told in which layer.
    fn run<T>(&self, inputs: &[Tensor], cx: &Context, run: impl FnOnce(&[Tensor]) -> Result<T>) -> Result<T> {
        let own = || {
            let given = inputs.iter().map(Tensor::dtype).find(|dtype| dtype.is_float());
            given.unwrap_or_else(|| element_type::among(&self.module.parameters()).unwrap_or(self.dtype))
        };
        let result = cx.in_type(own, || {
            let taken = inputs.iter().map(|x| taken_by(&*self.module, x, cx.dtype()));
            run(&taken.collect::<Result<Vec<_>>>()?)
        });
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let result = explained(result, &inputs, || self.module.parameters());
        if self.what.is_empty() { result } else { result.with_context(|| format!("layer {}", self.what)) }
    }
}

impl Module for Built {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.run(std::slice::from_ref(x), cx, |x| self.module.forward(&x[0], cx))
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        self.run(inputs, cx, |inputs| self.module.forward_all(inputs, cx))
    }

    fn output_names(&self) -> Vec<String> {
        self.module.output_names()
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.describe(&self.what, Some(self.output));
        if self.made.is_some() {
            parameters.leaves(|| self.leaves());
        }
        self.module.visit(parameters);
    }
}

impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.what.is_empty() { "a layer" } else { &self.what };
        write!(f, "Built({what} to {})", self.output)
    }
}

/// A layer, before it was built.
pub(super) struct Made {
    pub kind: &'static str,
    /// The settings, or why there are none.
    pub config: Result<Value, String>,
    /// The shape of the (first) input for one sample.
    pub input: SampleShape,
}

/// The description of a layer: what [`Sequential::add`](super::Sequential::add) takes. Implement it to add a layer of your own.
///
/// ```
/// use wgrad::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
/// use wgrad::prelude::*;
///
/// /// Multiplies each feature by a number that is learnt.
/// struct Scale;
/// struct ScaleModule(Variable);
///
/// impl Layer for Scale {
///     fn kind(&self) -> &'static str {
///         "Scale"
///     }
///     fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
///         let features = cx.features(input)?;
///         Ok(Built::new(ScaleModule(cx.full([features], 1.0)?), input))
///     }
/// }
///
/// impl Module for ScaleModule {
///     fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
///         x * &self.0
///     }
///     fn visit(&self, parameters: &mut Parameters<'_>) {
///         parameters.weight("scale", &self.0);
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(4)).add(Scale).build([3], Device::Cpu)?;
/// assert_eq!(model.parameters()[2].name, "scale.scale");
/// # Ok(()) }
/// ```
pub trait Layer: Send + Sync {
    /// The kind of layer, as in `Dense`. In lower case it begins the names of its parameters.
    fn kind(&self) -> &'static str;

    /// Its settings in a few words, as in `64, relu`; for [`Model::summary`](super::Model::summary) and errors.
    fn details(&self) -> String {
        String::new()
    }

    /// Its settings, from which [`Layers`](super::Layers) makes it anew when a whole model is loaded from a file. For a
    /// type that is `Serialize`: `Config::of(self)`.
    ///
    /// # Errors
    ///
    /// The layer can't be written down, as is said of any layer that doesn't implement this.
    fn config(&self) -> Result<Config> {
        let message = format!("a layer of kind {} has no config(); implement Layer::config", self.kind());
        Err(Error::argument("Layer::config", message))
    }

    /// Makes the module for samples of a shape (which has no batch dimension, and in which dimensions may be open).
    ///
    /// # Errors
    ///
    /// The layer doesn't take such samples, or a setting is impossible. Errors need not name the layer:
    /// [`Sequential::build`](super::Sequential::build) does.
    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built>;

    /// Makes the module for several inputs, which [`Functional::layer_all`](super::Functional::layer_all) gives it; it is then
    /// called by [`Module::forward_all`], and has one output. Most layers take one.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); or the layer takes more or fewer inputs.
    fn build_all(&self, inputs: &[SampleShape], cx: &mut Build) -> Result<Built> {
        match *inputs {
            [input] => self.build(input, cx),
            _ => Err(Error::argument("build", format!("the layer takes one input, got {}", inputs.len()))),
        }
    }
}

/// A boxed layer is a layer. Clippy refuses a method that is forgotten.
#[deny(clippy::missing_trait_methods)]
impl<L: Layer + ?Sized> Layer for Box<L> {
    fn kind(&self) -> &'static str {
        (**self).kind()
    }
    fn details(&self) -> String {
        (**self).details()
    }
    fn config(&self) -> Result<Config> {
        (**self).config()
    }
    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        (**self).build(input, cx)
    }
    fn build_all(&self, inputs: &[SampleShape], cx: &mut Build) -> Result<Built> {
        (**self).build_all(inputs, cx)
    }
}

/// The layer that the settings of a layer around it have under `kind` and `config`.
pub(super) fn wrapped(
    outer: &str,
    config: &Value,
    make: impl Fn(&str, &Value) -> Result<Box<dyn Layer>>,
) -> Result<Box<dyn Layer>> {
    let Some(kind) = config["kind"].as_str() else {
        let message = format!("settings of a {outer}: expected the kind of a layer");
        return Err(Error::argument("Layers::make", message));
    };
    make(kind, &config["config"])
}

/// What a layer is built with: a device, and initialisers that draw from the model's seed. See [`Layer`] for an example.
///
/// Initial values are computed on the CPU and then moved, so that they have the same bits on every device.
#[derive(Debug)]
pub struct Build {
    device: Device,
    dtype: DType,
    seed: u64,
    drawn: u64,
    /// Whether the weights are about to be set, so that their first values are never read.
    unset: bool,
}

impl Build {
    /// For modules that are no part of a model: their parameters are on this device, and drawn from this seed.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::{Build, Layer};
    /// # fn main() -> Result<()> {
    /// let mut cx = Build::new(Device::Cpu, 7);
    /// let first = Dense::new(8).build(wgrad::nn::SampleShape::new([4])?, &mut cx)?;
    /// let second = Dense::new(2).build(first.output, &mut cx)?;
    /// let x = first.module.infer(&Tensor::ones([3, 4], Device::Cpu)?)?;
    /// assert_eq!(second.module.infer(&x)?.shape(), [3, 2]);
    /// # Ok(()) }
    /// ```
    pub fn new(device: Device, seed: u64) -> Build {
        Build { device, dtype: DType::F32, seed, drawn: 0, unset: false }
    }

    /// The same, with parameters of another float type: f64 on the CPU, near those that the seed gives in f32. What was built
    /// before stays as it is.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::Build;
    /// # fn main() -> Result<()> {
    /// let mut cx = Build::new(Device::Cpu, 7).with_dtype(DType::F64);
    /// let dense = cx.layer(Dense::new(2), [3])?;
    /// let y = dense.infer(&Tensor::rand_dtype([5, 3], DType::F64, Device::Cpu, 1)?)?;
    /// assert_eq!(y.dtype(), DType::F64);
    /// # Ok(()) }
    /// ```
    pub fn with_dtype(self, dtype: DType) -> Build {
        Build { dtype, ..self }
    }

    /// For a model whose weights are read from a file: they are zeros that take no memory. What the file says about sizes
    /// costs nothing before it is known that the file has so many numbers.
    pub(crate) fn unset(device: Device) -> Build {
        Build { unset: true, ..Build::new(device, 0) }
    }

    /// That the device can be used, and has the type.
    pub(super) fn check(&self) -> Result<()> {
        self.device.check()?;
        check_float("Build", self.dtype, self.device)
    }

    /// A layer with its weights, for samples of a shape without the batch dimension, as [`Sequential::build`](super::Sequential::build)
    /// takes it: for models of one's own. A whole [`Sequential`](super::Sequential) is a layer, too.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::{Build, Context};
    /// # fn main() -> Result<()> {
    /// let mut cx = Build::new(Device::Cpu, 7);
    /// let conv = cx.layer(Conv2d::new(8, [3, 3]).activation(Activation::Relu), [28, 28, 1])?;
    /// let head = cx.layer(Sequential::new().add(Flatten::new()).add(Dense::new(10)), conv.output)?;
    /// let images = Tensor::zeros([2, 28, 28, 1], Device::Cpu)?;
    /// let y = head.forward(&conv.forward(&images, &Context::eval())?, &Context::eval())?;
    /// assert_eq!(y.shape(), [2, 10]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The layer doesn't take such samples, a setting is impossible, or the device can't be used.
    pub fn layer(&mut self, layer: impl Layer, input: impl IntoSampleShape) -> Result<Built> {
        let input = SampleShape::new(input)?;
        self.built(&layer, input, |layer, cx| layer.build(input, cx))
    }

    /// As [`layer`](Self::layer), for a layer of several inputs, such as attention to another sequence. It is called by
    /// [`Module::forward_all`].
    ///
    /// # Errors
    ///
    /// As [`layer`](Self::layer); or the layer doesn't take so many inputs.
    pub fn layer_all(&mut self, layer: impl Layer, inputs: &[SampleShape]) -> Result<Built> {
        let first = inputs.first().copied().unwrap_or_default();
        self.built(&layer, first, |layer, cx| layer.build_all(inputs, cx))
    }

    fn built<L: Layer>(
        &mut self,
        layer: &L,
        input: SampleShape,
        build: impl FnOnce(&L, &mut Build) -> Result<Built>,
    ) -> Result<Built> {
        self.check()?;
        let (kind, details) = (layer.kind(), layer.details());
        let mut built = build(layer, self).map_err(|e| e.named("Build::layer").within(kind))?;
        built.made =
            Some(Made { kind, config: layer.config().map(|c| c.0).map_err(|e| e.to_string()), input });
        built.what = format!("{kind} {details}").trim_end().to_string();
        built.dtype = self.dtype;
        Ok(built)
    }

    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The element type of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// A seed that no other parameter of the model has.
    pub fn next_seed(&mut self) -> u64 {
        self.drawn += 1;
        seed::derive(self.seed, self.drawn)
    }

    /// A weight with first values that an initialiser draws from the model's seed. `fans` are its fan in and fan out:
    /// the number of values that one output reads, and the number of outputs that one input reaches.
    ///
    /// # Errors
    ///
    /// As [`Initializer::values`]; or the device can't be used, or does not have the type.
    pub fn weight(
        &mut self,
        initializer: &Initializer,
        shape: impl AsRef<[usize]>,
        fans: [usize; 2],
    ) -> Result<Variable> {
        self.changed_weight(initializer, shape, fans, Ok)
    }

    /// As [`weight`](Self::weight), with what a function makes of the first values, on the CPU.
    pub(super) fn changed_weight(
        &mut self,
        initializer: &Initializer,
        shape: impl AsRef<[usize]>,
        fans: [usize; 2],
        change: impl FnOnce(Tensor) -> Result<Tensor>,
    ) -> Result<Variable> {
        // Constants take no seed: whether a layer has a bias does not change what those above it draw.
        let constant =
            matches!(initializer, Initializer::Zeros | Initializer::Ones | Initializer::Constant(_));
        let seed = if constant { 0 } else { self.next_seed() };
        self.check()?;
        if self.unset {
            initializer.check()?;
            return self.zeros(shape);
        }
        let values = change(initializer.values_dtype(shape, fans, seed, self.dtype)?)?;
        values.eval()?;
        Ok(Variable::new(values.to_device(self.device)?))
    }

    /// Zeros that take no memory.
    fn zeros(&self, shape: impl AsRef<[usize]>) -> Result<Variable> {
        Ok(Variable::new(Tensor::full_dtype(shape, 0.0, self.dtype, self.device)?))
    }

    /// A weight with one value everywhere.
    ///
    /// # Errors
    ///
    /// The shape has too many dimensions or elements, or the device can't be used, or does not have the type.
    pub fn full(&mut self, shape: impl AsRef<[usize]>, value: impl Into<f64>) -> Result<Variable> {
        self.check()?;
        if self.unset {
            return self.zeros(shape);
        }
        let shape = Shape::new(shape.as_ref())?;
        Ok(Variable::new(Tensor::filled_dtype(shape, value.into(), self.dtype, self.device)?))
    }

    /// The number of features of a sample: its last dimension, `[.., features]`, which sizes of weights depend on.
    ///
    /// # Errors
    ///
    /// The sample has no dimension, or its last one is open; the error says what to do.
    pub fn features(&self, input: SampleShape) -> Result<usize> {
        match *input {
            [.., Some(features)] => Ok(features),
            [] => {
                let message = "expects [.., features], got []; add Reshape::new([1]) before it";
                Err(Error::shape("build", message))
            }
            [.., None] => {
                let message = format!(
                    "expects [.., features] with a known number of features, got {input}; give that dimension a size \
                     in the input's shape, or pool over what is open rather than flatten it"
                );
                Err(Error::shape("build", message))
            }
        }
    }

    /// Steps and features of a sample that is a sequence; `None` where they are open.
    ///
    /// # Errors
    ///
    /// The sample has another rank; the error says what to put before the layer.
    pub fn sequence(&self, input: SampleShape) -> Result<[Option<usize>; 2]> {
        let fix = match *input {
            [time, features] => return Ok([time, features]),
            [None] => "give the input a second dimension of 1".to_string(),
            [Some(n)] => format!("add Reshape::new([{n}, 1]) before it"),
            _ => "add Reshape before it".to_string(),
        };
        Err(Error::shape("build", format!("expects [time, features], got {input}; {fix}")))
    }

    /// Height, width and channels of a sample that is an image; `None` where they are open.
    ///
    /// # Errors
    ///
    /// The sample has another rank; the error says what to put before the layer.
    pub fn image(&self, input: SampleShape) -> Result<[Option<usize>; 3]> {
        let fix = match *input {
            [h, w, c] => return Ok([h, w, c]),
            [None, None] => "give the input a third dimension of 1".to_string(),
            [h, w] => {
                let size = |d: Option<usize>| d.map_or("INFER".into(), |n| n.to_string());
                format!("add Reshape::new([{}, {}, 1]) before it", size(h), size(w))
            }
            _ => "add Reshape before it".to_string(),
        };
        Err(Error::shape("build", format!("expects [height, width, channels], got {input}; {fix}")))
    }

    /// Depth, height, width and channels of a sample that is a volume; `None` where they are open.
    ///
    /// # Errors
    ///
    /// The sample has another rank; the error says what to put before the layer.
    pub fn volume(&self, input: SampleShape) -> Result<[Option<usize>; 4]> {
        if let [d, h, w, c] = *input {
            return Ok([d, h, w, c]);
        }
        let fix = if input.rank() == 3 { "Reshape with a channel of 1" } else { "Reshape" };
        let message = format!("expects [depth, height, width, channels], got {input}; add {fix} before it");
        Err(Error::shape("build", message))
    }
}
