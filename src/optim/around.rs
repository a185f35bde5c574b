//! What optimizers around another one have in common.

use super::optimizer::{Optimizer, state_entry};
use crate::autograd::Gradients;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::variable::Variable;
use std::collections::HashMap;

/// What an update gives: what has to be evaluated, and the variables that it has changed, with the values that they had.
type Updated = (Vec<Tensor>, Vec<(Variable, Tensor)>);

/// An update of the inner optimizer. Frozen variables, and such as are not its own, are not changed by it.
pub(super) fn update_inner(inner: &mut impl Optimizer, grads: &Gradients) -> Result<Updated> {
    let with_value = |(variable, _): (Variable, Tensor)| {
        let value = variable.value();
        (variable, value)
    };
    let mut before: Vec<(Variable, Tensor)> = grads.variables().into_iter().map(with_value).collect();
    let pending = inner.update(grads)?;
    before.retain(|(variable, value)| !variable.value().is_same(value));
    Ok((pending, before))
}

/// What is kept beside a variable, in the type that its value has now; `None` where that has another shape or device.
pub(super) fn kept_for(value: &Tensor, kept: &Tensor) -> Result<Option<Tensor>> {
    let fits = kept.shape() == value.shape() && kept.device() == value.device();
    fits.then(|| kept.cast(value.dtype())).transpose()
}

/// An entry of a state, as a value of the variable would be.
pub(super) fn entry_like(
    op: &str,
    state: &HashMap<&str, &Tensor>,
    name: &str,
    variable: &Variable,
) -> Result<Tensor> {
    let value = variable.value();
    state_entry(op, state, name, value.dims())?.detach()?.cast(value.dtype())?.to_device(value.device())
}

/// The methods of [`Optimizer`] that are the inner one's.
macro_rules! forward_to_inner {
    () => {
        fn steps(&self) -> u64 {
            self.inner.steps()
        }

        fn owns(&self, variable: &Variable) -> bool {
            self.inner.owns(variable)
        }

        fn prepare(&mut self, variables: &[Variable]) -> Result<()> {
            self.check()?;
            self.inner.prepare(variables)
        }

        fn learning_rate(&self) -> f64 {
            self.inner.learning_rate()
        }

        fn set_learning_rate(&mut self, learning_rate: f64) {
            self.inner.set_learning_rate(learning_rate);
        }

        fn override_learning_rate(&mut self, learning_rate: Option<f64>) -> Result<()> {
            self.inner.override_learning_rate(learning_rate)
        }
    };
}
pub(super) use forward_to_inner;
