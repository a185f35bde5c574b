//! What a model is made of: modules with named parameters.
// Over 500 lines in one file: the trait, and who is shown its parameters; each is made for the other.

use super::context::Context;
use super::element_type::{self, floats_as};
use super::kept::Kept;
use super::leaf::TellLeaves;
use super::table::{self, Shown};
use super::{Parameter, SampleShape, weights_file};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;

/// Takes the parameters of a module, one after the other: what [`Module::visit`] shows them to. See [`Module`] for an example.
pub struct Parameters<'a> {
    /// What names begin with: the modules that this one is in.
    pub(super) path: String,
    /// Whether all that is shown is state that is never trained.
    buffers: bool,
    each: &'a mut dyn FnMut(Parameter),
    /// Whether what layers keep from batch to batch is forgotten.
    forgets: bool,
    /// Who wants to know whether layers keep something.
    keeps: Option<&'a Cell<bool>>,
    /// Who wants to know of modules, too.
    modules: Option<&'a mut dyn FnMut(Shown)>,
    /// Who wants to know of the layers of models and of built layers.
    pub(super) leaves: Option<&'a mut TellLeaves<'a>>,
}

impl<'a> Parameters<'a> {
    /// Has the closure called with each parameter, under its whole name.
    pub fn new(each: &'a mut dyn FnMut(Parameter)) -> Parameters<'a> {
        Parameters {
            path: String::new(),
            buffers: false,
            each,
            forgets: false,
            keeps: None,
            modules: None,
            leaves: None,
        }
    }

    /// Has another closure called with each module, before its parameters.
    pub(super) fn with_modules(
        each: &'a mut dyn FnMut(Parameter),
        modules: &'a mut dyn FnMut(Shown),
    ) -> Parameters<'a> {
        Parameters { modules: Some(modules), ..Parameters::new(each) }
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
        parameter.buffer |= self.buffers;
        (self.each)(parameter);
    }

    /// All parameters of a module inside this one: their names begin with its name and a dot.
    pub fn module(&mut self, name: &str, module: &dyn Module) {
        self.within(name, |parameters| module.visit(parameters));
    }

    /// All that a closure shows: names begin with this one and a dot.
    ///
    /// ```
    /// use wgrad::nn::Parameters;
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let w = Variable::new(Tensor::zeros([2], Device::Cpu)?);
    /// let mut names = Vec::new();
    /// let mut each = |parameter: wgrad::nn::Parameter| names.push(parameter.name);
    /// Parameters::new(&mut each).within("blocks", |blocks| blocks.within("0", |block| block.weight("scale", &w)));
    /// assert_eq!(names, ["blocks.0.scale"]);
    /// # Ok(()) }
    /// ```
    pub fn within(&mut self, name: &str, show: impl FnOnce(&mut Parameters<'_>)) {
        let mut path = self.path.clone();
        path.push_str(name);
        path.push('.');
        let mut inner = self.reborrowed(path, self.buffers);
        inner.tell(String::new(), None, false);
        show(&mut inner);
    }

    /// All that a closure shows, as state that is never trained.
    pub fn buffers(&mut self, show: impl FnOnce(&mut Parameters<'_>)) {
        show(&mut self.reborrowed(self.path.clone(), true));
    }

    /// What a layer keeps from batch to batch; told by those alone that do.
    pub(super) fn kept(&mut self, state: &Kept) {
        if self.forgets {
            state.put(None);
        }
        if let Some(keeps) = self.keeps {
            keeps.set(true);
        }
    }

    /// What the module that is visited is, in a few words, and the shape of its output for one sample where that is known: for
    /// [`Module::summary`].
    pub fn describe(&mut self, what: &str, output: Option<SampleShape>) {
        if self.modules.is_some() {
            self.tell(what.to_string(), output, false);
        }
    }

    /// As [`describe`](Self::describe), of a layer, and whether the model's one output is its; without work where nobody wants to know.
    pub(super) fn describe_layer(&mut self, kind: &str, details: &str, output: SampleShape, ends: bool) {
        if self.modules.is_some() {
            self.tell(format!("{kind} {details}").trim_end().to_string(), Some(output), ends);
        }
    }

    fn tell(&mut self, what: String, output: Option<SampleShape>, ends: bool) {
        if let Some(modules) = &mut self.modules {
            modules(Shown { path: self.path.clone(), what, output, ends });
        }
    }

    fn reborrowed(&mut self, path: String, buffers: bool) -> Parameters<'_> {
        let modules = self.modules.as_deref_mut().map(|modules| modules as &mut dyn FnMut(Shown));
        let leaves = self.leaves.as_deref_mut().map(|leaves| leaves as &mut TellLeaves<'_>);
        let (forgets, keeps) = (self.forgets, self.keeps);
        Parameters { path, buffers, each: &mut *self.each, forgets, keeps, modules, leaves }
    }
}

impl std::fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parameters({:?})", self.path)
    }
}

/// Something with parameters that maps a batch to a batch: a layer that was built, a model, a struct of your own.
///
/// `#[derive(Module)]` writes it for a struct, whose parameters are then named by field; `forward` is a function of the struct.
/// Layers are made by [`Build::layer`](super::Build::layer); what else a field may be says [`Field`](super::Field), and what
/// can be said of it the [macro](macro@super::Module).
///
/// ```
/// use wgrad::nn::{Build, Built, Context};
/// use wgrad::prelude::*;
///
/// #[derive(Module)]
/// struct Net {
///     hidden: Vec<Built>,
///     dropout: Built,
///     head: Built,
///     scale: Variable,
/// }
///
/// impl Net {
///     fn new(device: Device) -> Result<Net> {
///         let mut cx = Build::new(device, 42); // the seed of the weights
///         let first = cx.layer(Dense::new(64).activation(Activation::Relu), [784])?;
///         let second = cx.layer(Dense::new(64).activation(Activation::Relu), first.output)?;
///         let dropout = cx.layer(Dropout::new(0.5), second.output)?;
///         let head = cx.layer(Dense::new(10), dropout.output)?;
///         Ok(Net { hidden: vec![first, second], dropout, head, scale: cx.full([1], 1.0)? })
///     }
///
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         let mut x = x.flatten(1)?;
///         for layer in &self.hidden {
///             x = layer.forward(&x, cx)?;
///         }
///         self.head.forward(&self.dropout.forward(&x, cx)?, cx)? * &self.scale
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let net = Net::new(Device::Cpu)?;
/// assert_eq!(net.infer(&Tensor::zeros([2, 28, 28], Device::Cpu)?)?.shape(), [2, 10]);
/// assert_eq!(net.parameter("hidden.1.weight")?.variable.shape(), [64, 64]);
/// net.hidden[0].set_trainable(false)?; // frozen
/// println!("{}", net.summary());
/// # Ok(()) }
/// ```
///
/// By hand it is two functions:
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
    /// bytes to any other layer as floats of its type, and a [`Trainer`](crate::train::Trainer) to any other module.
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

    /// The float type of the parameters, in which the module computes: that of the first of them; f32 where none is a float.
    fn dtype(&self) -> DType {
        element_type::among(&self.parameters()).unwrap_or(DType::F32)
    }

    /// Gives all float parameters, buffers too, another float type in place, and so the module: f64 for what f32 is not exact enough for
    /// (PyTorch's `model.double()`), on the CPU. To f64 every value stays; to f32 it is rounded, and what is too large becomes infinite.
    /// Integers stay as they are.
    ///
    /// Whatever holds the variables sees it: clones, modules that share them, optimizers (their state takes the new type with the next
    /// update), a [`Graph`](crate::Graph), which is traced anew. Inputs have to be of the new type; a
    /// [`Trainer`](crate::train::Trainer) casts them itself. Stateful layers begin anew.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?;
    /// model.to_dtype(DType::F64)?;
    /// assert_eq!(model.dtype(), DType::F64);
    /// let y = model.infer(&Tensor::ones([1, 3], Device::Cpu)?.cast(DType::F64)?)?;
    /// assert_eq!(y.dtype(), DType::F64);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The type is no float, a parameter is on a GPU, which has no f64, or can't be computed; a function is being traced. Nothing is
    /// changed then.
    fn to_dtype(&self, dtype: DType) -> Result<()> {
        element_type::convert(&self.parameters(), dtype, Device::Cpu)
    }

    /// Freezes all weights, or releases them: see [`Variable::set_trainable`]. Buffers stay as they are.
    ///
    /// # Errors
    ///
    /// A function is being traced, or a parameter's value can't be computed.
    fn set_trainable(&self, trainable: bool) -> Result<()> {
        self.parameters().iter().filter(|p| !p.buffer).try_for_each(|p| p.variable.set_trainable(trainable))
    }

    /// Has stateful layers begin with a state of zeros again, whatever the last batch left
    /// ([`Lstm::stateful`](super::Lstm::stateful)): before other sequences.
    fn reset_states(&self) {
        let mut nothing = |_| {};
        self.visit(&mut Parameters { forgets: true, ..Parameters::new(&mut nothing) });
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

    /// The modules and parameters with shapes and numbers of parameters, as a table of text.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::{Build, Built, Context};
    ///
    /// #[derive(Module)]
    /// struct Line {
    ///     dense: Built,
    ///     scale: Variable,
    /// }
    /// # impl Line {
    /// #     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
    /// #         self.dense.forward(x, cx)? * &self.scale
    /// #     }
    /// # }
    /// # fn main() -> Result<()> {
    /// let mut cx = Build::new(Device::Cpu, 0);
    /// let line = Line { dense: cx.layer(Dense::new(1), [3])?, scale: cx.full([1], 1.0)? };
    /// assert_eq!(
    ///     line.summary(),
    ///     "\
    /// Line on cpu
    /// ───────────────────────────────────
    ///  name   module   shape  parameters
    /// ───────────────────────────────────
    ///  dense  Dense 1  [1]             4
    ///  scale           [1]             1
    /// ───────────────────────────────────
    /// 5 parameters (20 B)"
    /// );
    /// # Ok(()) }
    /// ```
    fn summary(&self) -> String {
        let lines = RefCell::new(Vec::new());
        let mut each = |parameter| lines.borrow_mut().push(table::Line::Parameter(parameter));
        let mut modules = |module| lines.borrow_mut().push(table::Line::Module(module));
        let mut parameters = Parameters::with_modules(&mut each, &mut modules);
        parameters.describe("", None);
        self.visit(&mut parameters);
        table::of_lines(lines.into_inner(), self.device())
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

    /// Number of elements in all parameters that are trained: not frozen, and no state.
    fn trainable_parameter_count(&self) -> usize {
        let trained = self.parameters().into_iter().filter(Parameter::trainable);
        trained.map(|p| p.variable.shape().numel()).sum()
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

    /// Sets all parameters from a safetensors file. Nothing is changed unless names and shapes all agree. The module keeps its type: floats
    /// of the file are converted, f32 to f64 exactly, f64 to the nearest f32.
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
    /// As [`load_tensors`](crate::io::load_tensors); or names or shapes of file and module differ, or one has integers where the other
    /// has floats: the error lists every difference.
    fn load(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        weights_file::load_parameters(path, &self.parameters())
    }
}

/// An input as a module takes it: bytes are numbers, of this type, to all that don't look them up.
pub(super) fn taken_by(module: &(impl Module + ?Sized), x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == DType::U8 && !module.takes_integers() { x.cast(dtype) } else { Ok(x.clone()) }
}

/// Inputs of a data set as a model takes them: bytes are numbers to a model that doesn't look them up, and all floats are of its type.
pub(crate) fn fed_to(module: &(impl Module + ?Sized), inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let dtype = module.dtype();
    inputs.iter().map(|x| floats_as(&taken_by(module, x, dtype)?, dtype)).collect()
}

/// The layers of a module, in the order in which it shows them (`Dense 10, softmax`), without names of structs.
pub(crate) fn layers_shown(module: &(impl Module + ?Sized)) -> Vec<Shown> {
    let mut layers = Vec::new();
    let is_layer = |shown: &Shown| shown.output.is_some() && !shown.what.is_empty();
    let mut told = |shown: Shown| layers.extend(Some(shown).filter(is_layer));
    module.visit(&mut Parameters::with_modules(&mut |_| {}, &mut told));
    layers
}

/// Whether layers of a module keep states from batch to batch.
pub(crate) fn is_stateful(module: &(impl Module + ?Sized)) -> bool {
    let keeps = Cell::new(false);
    module.visit(&mut Parameters { keeps: Some(&keeps), ..Parameters::new(&mut |_| {}) });
    keeps.get()
}

/// `Module` by what is pointed to: each method is handed on. Clippy refuses one that is forgotten.
macro_rules! forward_module {
    ($($pointer:ident),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<M: Module + ?Sized> Module for $pointer<M> {
            fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
                (**self).forward(x, cx)
            }
            fn visit(&self, parameters: &mut Parameters<'_>) {
                (**self).visit(parameters);
            }
            fn parameters(&self) -> Vec<Parameter> {
                (**self).parameters()
            }
            fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
                (**self).forward_all(inputs, cx)
            }
            fn output_names(&self) -> Vec<String> {
                (**self).output_names()
            }
            fn takes_integers(&self) -> bool {
                (**self).takes_integers()
            }
            fn penalty(&self) -> Result<Option<Tensor>> {
                (**self).penalty()
            }
            fn dtype(&self) -> DType {
                (**self).dtype()
            }
            fn to_dtype(&self, dtype: DType) -> Result<()> {
                (**self).to_dtype(dtype)
            }
            fn set_trainable(&self, trainable: bool) -> Result<()> {
                (**self).set_trainable(trainable)
            }
            fn reset_states(&self) {
                (**self).reset_states();
            }
            fn parameter(&self, name: &str) -> Result<Parameter> {
                (**self).parameter(name)
            }
            fn summary(&self) -> String {
                (**self).summary()
            }
            fn infer(&self, x: &Tensor) -> Result<Tensor> {
                (**self).infer(x)
            }
            fn device(&self) -> Device {
                (**self).device()
            }
            fn parameter_count(&self) -> usize {
                (**self).parameter_count()
            }
            fn trainable_parameter_count(&self) -> usize {
                (**self).trainable_parameter_count()
            }
            fn first_not_finite(&self) -> Result<Option<String>> {
                (**self).first_not_finite()
            }
            // Those of what is pointed to take a type of known size.
            fn save(&self, path: impl AsRef<Path>) -> Result<()> {
                weights_file::save_parameters(path, &self.parameters())
            }
            fn load(&self, path: impl AsRef<Path>) -> Result<()> {
                weights_file::load_parameters(path, &self.parameters())
            }
        }
    )*};
}
forward_module!(Box, Arc);
