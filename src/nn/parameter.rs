//! What a model learns: variables with names.

use super::Regularizer;
use crate::variable::Variable;

/// A variable of a module, under a name that is unique in the model, such as `conv2d_1.weight`.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?;
/// for parameter in model.parameters() {
///     println!("{} {:?} {}", parameter.name, parameter.variable.shape(), parameter.trainable());
/// }
/// assert_eq!(model.parameters()[1].name, "dense.bias");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Parameter {
    /// Dot-separated path from the model to the variable.
    pub name: String,
    /// The variable itself, not a copy.
    pub variable: Variable,
    /// Whether it is state that is never trained, such as a running average. Saved and loaded with the weights.
    pub buffer: bool,
    /// The penalty on its size that is added to the loss.
    pub regularizer: Option<Regularizer>,
}

impl Parameter {
    /// A weight: training changes it, as long as its variable is trainable.
    pub fn new(name: impl Into<String>, variable: &Variable) -> Parameter {
        Parameter { name: name.into(), variable: variable.clone(), buffer: false, regularizer: None }
    }

    /// State that is never trained; make its variable with [`Variable::not_trainable`].
    pub fn buffer(name: impl Into<String>, variable: &Variable) -> Parameter {
        Parameter { buffer: true, ..Parameter::new(name, variable) }
    }

    /// The same with a penalty on its size.
    pub fn regularized(self, regularizer: Option<Regularizer>) -> Parameter {
        Parameter { regularizer, ..self }
    }

    /// Whether training changes it.
    pub fn trainable(&self) -> bool {
        !self.buffer && self.variable.is_trainable()
    }
}

/// Its variable: lists of parameters go wherever lists of variables do, such as groups of an optimizer.
impl From<Parameter> for Variable {
    fn from(parameter: Parameter) -> Variable {
        parameter.variable
    }
}

impl From<&Parameter> for Variable {
    fn from(parameter: &Parameter) -> Variable {
        parameter.variable.clone()
    }
}
