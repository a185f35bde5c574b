//! Modules that are never trained.

use super::{Context, Module, Parameters};
use crate::error::Result;
use crate::tensor::Tensor;

/// A module whose weights are never trained, such as the body of a model that somebody else has trained.
///
/// Gradients flow through it, to what its input was computed from, and not to its weights; these are shown as state, so that
/// [`set_trainable`](Module::set_trainable) of a model around it doesn't release them, and are saved and loaded with it. (To freeze
/// and release in turn, call [`set_trainable`](Module::set_trainable) on the module itself.)
///
/// ```
/// use wgrad::nn::{Build, Built, Context, Frozen};
/// use wgrad::prelude::*;
///
/// #[derive(Module)]
/// struct Tuned {
///     body: Frozen<Built>,
///     head: Built,
/// }
///
/// impl Tuned {
///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
///         self.head.forward(&self.body.forward(x, cx)?, cx)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let mut cx = Build::new(Device::Cpu, 1);
/// let body = Frozen::new(cx.layer(Dense::new(8), [4])?)?;
/// let head = cx.layer(Dense::new(2), body.get().output)?;
/// let model = Tuned { body, head };
/// model.set_trainable(true)?;
/// let trained: Vec<String> = model.parameters().into_iter().filter(|p| p.trainable()).map(|p| p.name).collect();
/// assert_eq!(trained, ["head.weight", "head.bias"]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Frozen<M> {
    module: M,
}

impl<M: Module> Frozen<M> {
    /// Freezes all weights of a module.
    ///
    /// # Errors
    ///
    /// As [`Module::set_trainable`].
    pub fn new(module: M) -> Result<Frozen<M>> {
        module.set_trainable(false)?;
        Ok(Frozen { module })
    }

    /// The module.
    pub fn get(&self) -> &M {
        &self.module
    }

    /// The module, its weights released.
    ///
    /// # Errors
    ///
    /// As [`Module::set_trainable`].
    pub fn release(self) -> Result<M> {
        self.module.set_trainable(true)?;
        Ok(self.module)
    }
}

impl<M: Module> Module for Frozen<M> {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.module.forward(x, cx)
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        self.module.forward_all(inputs, cx)
    }

    fn output_names(&self) -> Vec<String> {
        self.module.output_names()
    }

    fn takes_integers(&self) -> bool {
        self.module.takes_integers()
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.buffers(|parameters| self.module.visit(parameters));
    }

    /// Its weights stay frozen: nothing changes.
    fn set_trainable(&self, _trainable: bool) -> Result<()> {
        Ok(())
    }
}
