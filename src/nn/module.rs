//! What a model is made of: modules with named parameters.

use super::past::Past;
use super::{KvCache, Parameter, weights_file};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::seed;
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use std::cell::{Cell, RefCell};
use std::path::Path;

/// What a forward pass is for, handed from the model down to each layer.
///
/// It is a value rather than a state of the model: the same model can be trained and evaluated at once, and nobody
/// forgets to switch back.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Context;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dropout::new(0.5)).build([8], Device::Cpu)?;
/// let x = Tensor::ones([1, 8], Device::Cpu)?;
/// let y = |cx: Context| model.forward(&x, &cx)?.to_vec::<f32>();
/// assert_eq!(y(Context::train(1))?, y(Context::train(1))?); // the same seed drops the same
/// assert_eq!(y(Context::eval())?, [1.0; 8]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Context {
    seed: Option<u64>,
    drawn: Cell<u64>,
    side_effects: RefCell<Vec<Tensor>>,
    losses: RefCell<Vec<Tensor>>,
    past: Option<RefCell<Past>>,
    /// Whether what runs now does not follow from the tokens of the generation's step: another input of the model.
    beside: Cell<bool>,
}

impl Context {
    fn new(seed: Option<u64>, past: Option<Past>) -> Context {
        Context {
            seed,
            drawn: Cell::new(0),
            side_effects: RefCell::default(),
            losses: RefCell::default(),
            past: past.map(RefCell::new),
            beside: Cell::new(false),
        }
    }

    /// A pass of training. Layers that draw random numbers derive them from `seed`: give each step its own.
    pub fn train(seed: u64) -> Context {
        Context::new(Some(seed), None)
    }

    /// A pass that only predicts: no dropout, nothing random.
    pub fn eval() -> Context {
        Context::new(None, None)
    }

    /// A pass over tokens that come after others.
    pub(super) fn generating(past: Past) -> Context {
        Context::new(None, Some(past))
    }

    /// The others, and the tokens of this pass.
    pub(super) fn into_past(self) -> Option<Past> {
        self.past.map(RefCell::into_inner)
    }

    /// Runs what has all of its input at once, even in a step of a generation: a part of a model that does not follow from the tokens.
    pub(super) fn beside<T>(&self, beside: bool, run: impl FnOnce() -> T) -> T {
        let before = self.beside.replace(self.beside.get() || beside);
        let y = run();
        self.beside.set(before);
        y
    }

    fn past(&self) -> Option<&RefCell<Past>> {
        self.past.as_ref().filter(|_| !self.beside.get())
    }

    /// Whether the tokens of this pass continue those of earlier ones: a step of a [`Generation`](super::Generation). Not in layers of
    /// a model that its first input does not reach.
    pub fn is_generating(&self) -> bool {
        self.past().is_some()
    }

    /// The place of this pass's first token in its sequence: 0, but in a step of a [`Generation`](super::Generation) the number of
    /// tokens before.
    pub fn position(&self) -> usize {
        self.past().map_or(0, |past| past.borrow().len())
    }

    /// In a step of a [`Generation`](super::Generation), for a layer that attends to the tokens before: the keys and values of all of
    /// them, with those of this pass appended, `[.., tokens, size]` each. `None` in other passes.
    ///
    /// # Errors
    ///
    /// As [`KvCache::append`]; more layers than in earlier steps.
    pub fn extend_cache(&self, keys: &Tensor, values: &Tensor) -> Result<Option<KvCache>> {
        self.past().map(|past| past.borrow_mut().extend(keys, values)).transpose()
    }

    /// Whether this pass is for training.
    pub fn is_training(&self) -> bool {
        self.seed.is_some()
    }

    /// The seed of the next layer that needs random numbers; `None` where the pass only predicts.
    pub fn next_seed(&self) -> Option<u64> {
        let stream = self.drawn.get();
        self.drawn.set(stream + 1);
        self.seed.map(|s| seed::derive(s, stream))
    }

    /// Has a tensor computed along with the step, as running averages need that a layer updates while it trains.
    pub fn also_compute(&self, tensor: Tensor) {
        self.side_effects.borrow_mut().push(tensor);
    }

    /// Adds a scalar to the loss of this pass, such as a penalty on what a layer gives (Keras's `add_loss`). A
    /// [`Trainer`](crate::train::Trainer) adds it to the loss, in evaluations, too; loops of one's own do by
    /// [`take_losses`](Self::take_losses).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::{Context, Regularizer};
    /// # fn main() -> Result<()> {
    /// let layer = Dense::new(3).activity_regularizer(Regularizer::l2(0.1));
    /// let model = Sequential::new().add(layer).build([2], Device::Cpu)?;
    /// let cx = Context::train(1);
    /// let y = model.forward(&Tensor::ones([4, 2], Device::Cpu)?, &cx)?;
    /// let mut loss = y.mean(.., false)?;
    /// for penalty in cx.take_losses() {
    ///     loss = (loss + penalty)?;
    /// }
    /// # loss.backward()?;
    /// # Ok(()) }
    /// ```
    pub fn add_loss(&self, loss: Tensor) {
        self.losses.borrow_mut().push(loss);
    }

    /// What the layers added to the loss with [`add_loss`](Self::add_loss).
    pub fn take_losses(&self) -> Vec<Tensor> {
        self.losses.take()
    }

    /// What the layers asked for with [`also_compute`](Self::also_compute), for whoever evaluates the step.
    pub fn take_also_compute(&self) -> Vec<Tensor> {
        self.side_effects.take()
    }
}

/// Takes the parameters of a module, one after the other: what [`Module::visit`] shows them to. See [`Module`] for an example.
pub struct Parameters<'a> {
    /// What names begin with: the modules that this one is in.
    path: String,
    each: &'a mut dyn FnMut(Parameter),
}

impl<'a> Parameters<'a> {
    /// Has the closure called with each parameter, under its whole name.
    pub fn new(each: &'a mut dyn FnMut(Parameter)) -> Parameters<'a> {
        Parameters { path: String::new(), each }
    }

    /// A weight; see [`Parameter::new`].
    pub fn weight(&mut self, name: &str, variable: &Variable) {
        self.add(Parameter::new(name, variable));
    }

    /// State that is never trained; see [`Parameter::buffer`].
    pub fn buffer(&mut self, name: &str, variable: &Variable) {
        self.add(Parameter::buffer(name, variable));
    }

    /// A parameter, such as one with a penalty on its size. Its name is the one within this module.
    pub fn add(&mut self, mut parameter: Parameter) {
        parameter.name.insert_str(0, &self.path);
        (self.each)(parameter);
    }

    /// All parameters of a module inside this one: their names begin with its name and a dot.
    pub fn module(&mut self, name: &str, module: &dyn Module) {
        let path = format!("{}{name}.", self.path);
        module.visit(&mut Parameters { path, each: &mut *self.each });
    }
}

impl std::fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parameters({:?})", self.path)
    }
}

/// Something with parameters that maps a batch to a batch.
///
/// ```
/// use wgrad::nn::{Context, Module, Parameters};
/// use wgrad::prelude::*;
///
/// /// y = x * scale
/// struct Scale {
///     scale: Variable,
/// }
///
/// impl Module for Scale {
///     fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
///         x * &self.scale
///     }
///     fn visit(&self, parameters: &mut Parameters<'_>) {
///         parameters.weight("scale", &self.scale);
///     }
/// }
///
/// /// y = x * scale * scale', of two modules.
/// struct Twice(Scale, Scale);
///
/// impl Module for Twice {
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         self.1.forward(&self.0.forward(x, cx)?, cx)
///     }
///     fn visit(&self, parameters: &mut Parameters<'_>) {
///         parameters.module("first", &self.0);
///         parameters.module("second", &self.1);
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let scale = || Ok::<_, Error>(Scale { scale: Variable::new(Tensor::full([1], 3.0f32, Device::Cpu)?) });
/// let module = Twice(scale()?, scale()?);
/// let y = module.infer(&Tensor::ones([2], Device::Cpu)?)?;
/// assert_eq!(y.to_vec::<f32>()?, [9.0, 9.0]);
/// assert_eq!(module.parameters()[1].name, "second.scale");
/// # Ok(()) }
/// ```
pub trait Module: Send + Sync {
    /// The output for a batch, whose first dimension counts samples. Lazy, as every operation is.
    ///
    /// # Errors
    ///
    /// The module doesn't take a batch of this shape, type or device.
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor>;

    /// Shows each parameter, in an order and under names that depend on the architecture only.
    fn visit(&self, parameters: &mut Parameters<'_>);

    /// All parameters, as [`visit`](Self::visit) shows them.
    fn parameters(&self) -> Vec<Parameter> {
        let mut list = Vec::new();
        self.visit(&mut Parameters::new(&mut |parameter| list.push(parameter)));
        list
    }

    /// The outputs for a batch of a model with several inputs or outputs; for all others one input and one output,
    /// [`forward`](Self::forward)'s.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); or there are more or fewer inputs than the module has.
    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        match inputs {
            [x] => Ok(vec![self.forward(x, cx)?]),
            _ => {
                let message = format!("the model has one input, got {}", inputs.len());
                Err(Error::argument("Module::forward_all", message))
            }
        }
    }

    /// The names of the outputs in the order of [`forward_all`](Self::forward_all).
    fn output_names(&self) -> Vec<String> {
        vec!["output".into()]
    }

    /// Whether integers reach this module as they are: words and categories that it looks up. A [`Model`](super::Model) gives
    /// bytes to any other layer as f32, and a [`Trainer`](crate::train::Trainer) to any other module.
    fn takes_integers(&self) -> bool {
        false
    }

    /// The sum of all parameters' penalties, as a scalar; `None` where no parameter has one. Frozen parameters count:
    /// their penalty is a constant.
    ///
    /// # Errors
    ///
    /// A parameter's value can't be read.
    fn penalty(&self) -> Result<Option<Tensor>> {
        let mut sum: Option<Tensor> = None;
        for parameter in self.parameters() {
            if let Some(regularizer) = parameter.regularizer {
                let penalty = regularizer.penalty(&parameter.variable.value())?;
                sum = Some(match sum {
                    Some(sum) => (sum + penalty)?,
                    None => penalty,
                });
            }
        }
        Ok(sum)
    }

    /// Freezes all weights, or releases them: see [`Variable::set_trainable`]. Buffers stay as they are.
    ///
    /// # Errors
    ///
    /// A function is being traced, or a parameter's value can't be computed.
    fn set_trainable(&self, trainable: bool) -> Result<()> {
        self.parameters().iter().filter(|p| !p.buffer).try_for_each(|p| p.variable.set_trainable(trainable))
    }

    /// A parameter by its name.
    ///
    /// # Errors
    ///
    /// No parameter has the name; the error lists those there are.
    fn parameter(&self, name: &str) -> Result<Parameter> {
        let parameters = self.parameters();
        match parameters.iter().find(|p| p.name == name) {
            Some(parameter) => Ok(parameter.clone()),
            None => {
                let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
                let message = format!("no parameter is named {name}; there are {}", names.join(", "));
                Err(Error::argument("Module::parameter", message))
            }
        }
    }

    /// The output for a batch in evaluation mode, without recording for gradients.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dense::new(3)).build([2], Device::Cpu)?;
    /// let y = model.infer(&Tensor::ones([5, 2], Device::Cpu)?)?;
    /// assert!(y.shape() == [5, 3] && !y.is_tracked());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    fn infer(&self, x: &Tensor) -> Result<Tensor> {
        no_grad(|| self.forward(x, &Context::eval()))
    }

    /// Where the parameters live; the CPU where there are none.
    fn device(&self) -> Device {
        self.parameters().first().map_or(Device::Cpu, |p| p.variable.value().device())
    }

    /// Number of elements in all parameters.
    fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|p| p.variable.shape().numel()).sum()
    }

    /// The name of the first parameter that has an element that is infinite or not a number; `None` where all are finite.
    /// [`Trainer::fit`](crate::train::Trainer::fit) asks at the end of each epoch. It waits for the device, once.
    ///
    /// # Errors
    ///
    /// The device fails.
    fn first_not_finite(&self) -> Result<Option<String>> {
        super::finite::first_not_finite(&self.parameters())
    }

    /// Writes all parameters into a safetensors file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// A parameter can't be computed, two have one name, or the file can't be written.
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        weights_file::save_parameters(path, &self.parameters())
    }

    /// Sets all parameters from a safetensors file. Nothing is changed unless names, shapes and types all agree.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("wgrad-doc-load-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).ok();
    /// # let path = folder.join("weights.safetensors");
    /// let model = |seed| Sequential::new().add(Dense::new(2)).seed(seed).build([3], Device::Cpu);
    /// let (first, second) = (model(1)?, model(2)?);
    /// first.save(&path)?;
    /// second.load(&path)?;
    /// let x = Tensor::ones([1, 3], Device::Cpu)?;
    /// assert_eq!(first.infer(&x)?.to_vec::<f32>()?, second.infer(&x)?.to_vec::<f32>()?);
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`load_tensors`](crate::io::load_tensors); or names, shapes or types of file and module differ: the error lists every
    /// difference.
    fn load(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        weights_file::load_parameters(path, &self.parameters())
    }
}

/// An input as a module takes it: bytes are numbers to all that don't look them up.
pub(crate) fn taken_by(module: &(impl Module + ?Sized), x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::U8 && !module.takes_integers() { x.cast(DType::F32) } else { Ok(x.clone()) }
}
