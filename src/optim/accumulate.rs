//! Gradients of several batches as one.

use super::{Optimizer, State, state_entry};
use crate::autograd::{Gradients, Variable, no_grad};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::collections::BTreeMap;

const COUNT: &str = "accumulator.count";
const LOSS: &str = "accumulator.loss";

/// Adds up the gradients of several batches and gives their mean (Keras's `gradient_accumulation_steps`): what a batch as
/// large as all of them would give, in the memory of one.
///
/// Each batch counts the same, whatever its size. On a GPU the addition is part of the kernels that compute the gradients.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::optim::GradientAccumulator;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([1.0f32], Device::Cpu)?);
/// let mut sgd = Sgd::new(0.1);
/// let mut accumulator = GradientAccumulator::new(2);
/// for (x, updated) in [(1.0, false), (3.0, true)] {
///     let grads = (w.value() * x)?.sum(&[], false)?.backward()?;
///     assert_eq!(accumulator.step(&grads, &mut sgd)?, updated);
/// }
/// assert_eq!(w.value().item::<f32>()?, 0.8); // 1 - 0.1 * (1 + 3) / 2
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct GradientAccumulator {
    batches: usize,
    count: usize,
    sums: BTreeMap<u64, Sum>,
    loss: Option<Tensor>,
}

#[derive(Debug)]
struct Sum {
    variable: Variable,
    sum: Tensor,
}

impl GradientAccumulator {
    /// Gives the mean after this many batches.
    pub fn new(batches: usize) -> GradientAccumulator {
        GradientAccumulator { batches, count: 0, sums: BTreeMap::new(), loss: None }
    }

    /// Adds the gradients of one batch; lazily, as all operations. Gives the mean if this is the last batch: its
    /// [`loss`](Gradients::loss) is the mean of the losses. If it gives `None`, evaluate [`pending`](Self::pending) before
    /// the next batch.
    ///
    /// A variable that the loss of some batch does not depend on has a gradient of zero there.
    ///
    /// # Errors
    ///
    /// The accumulator was made for no batches, or a loss has another shape than the one before.
    pub fn add(&mut self, grads: &Gradients) -> Result<Option<Gradients>> {
        if self.batches == 0 {
            return Err(Error::argument("GradientAccumulator", "needs at least one batch, got 0"));
        }
        crate::graph::forbid(
            "GradientAccumulator::add",
            "return the loss and the gradients, and add after the call",
        )?;
        no_grad(|| {
            let loss = match &self.loss {
                Some(sum) => (sum + grads.loss())?,
                None => grads.loss().detach()?,
            };
            let mut sums = Vec::new();
            for (variable, grad) in grads.variables() {
                let sum = match self.sums.get(&variable.id()) {
                    Some(known) => (&known.sum + grad)?,
                    None => grad.detach()?,
                };
                sums.push((variable.id(), Sum { variable, sum }));
            }
            self.sums.extend(sums);
            self.loss = Some(loss);
            Ok(())
        })?;
        self.count += 1;
        if self.count < self.batches { Ok(None) } else { self.take() }
    }

    /// The mean over the batches so far, which begins a new sum; `None` where there were none. For the end of an epoch, say.
    pub fn take(&mut self) -> Result<Option<Gradients>> {
        let Some(loss) = self.loss.take() else { return Ok(None) };
        let count = std::mem::take(&mut self.count) as f64;
        let sums = std::mem::take(&mut self.sums);
        no_grad(|| {
            let mut means = Vec::new();
            for (_, Sum { variable, sum }) in sums {
                means.push((variable, (sum / count)?));
            }
            Ok(Some(Gradients::of_variables(means, (loss / count)?)))
        })
    }

    /// The sums so far: what has to be evaluated after each batch, so that its activations can be forgotten.
    pub fn pending(&self) -> Vec<Tensor> {
        self.sums.values().map(|s| s.sum.clone()).chain(self.loss.clone()).collect()
    }

    /// Adds the gradients of one batch, has the optimizer step if it is the last, and evaluates it all together with the
    /// loss: on a GPU one submission. Whether the optimizer stepped.
    pub fn step(&mut self, grads: &Gradients, optimizer: &mut dyn Optimizer) -> Result<bool> {
        let mean = self.add(grads)?;
        let mut all = match &mean {
            Some(mean) => {
                let mut updated = optimizer.update(mean)?;
                updated.push(mean.loss().clone());
                updated
            }
            None => self.pending(),
        };
        all.push(grads.loss().clone());
        crate::eval::eval(&all.iter().collect::<Vec<_>>())?;
        Ok(mean.is_some())
    }

    /// Number of batches that the current sum has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The current sums of these named variables, to be saved along with them.
    pub fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        let mut state = vec![(COUNT.to_string(), Tensor::new([self.count as u32], Device::Cpu)?)];
        if let Some(loss) = &self.loss {
            state.push((LOSS.into(), loss.clone()));
            for (name, variable) in variables {
                if let Some(known) = self.sums.get(&variable.id()) {
                    state.push((format!("accumulator/{name}"), known.sum.clone()));
                }
            }
        }
        Ok(state)
    }

    /// Takes over what [`export_state`](Self::export_state) gave for variables of the same names and shapes.
    ///
    /// # Errors
    ///
    /// The state is of something else. The accumulator is then as it was.
    pub fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        const OP: &str = "GradientAccumulator::import_state";
        let by_name = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let count = state_entry(OP, &by_name, COUNT, &[1])?.item::<u32>()? as usize;
        if count >= self.batches.max(1) {
            let message =
                format!("the state is of {count} batches, this one gives its mean after {}", self.batches);
            return Err(Error::argument(OP, message));
        }
        let (mut sums, mut loss) = (BTreeMap::new(), None);
        if count > 0 {
            let Some(&sum) = by_name.get(LOSS) else {
                return Err(Error::argument(OP, format!("the state has no {LOSS}; it is not whole")));
            };
            let mut device = sum.device();
            for (name, variable) in variables {
                let (name, value) = (format!("accumulator/{name}"), variable.value());
                device = value.device();
                if by_name.contains_key(name.as_str()) {
                    let sum = state_entry(OP, &by_name, &name, value.dims())?.detach()?;
                    let sum = sum.cast(value.dtype())?.to_device(value.device())?;
                    sums.insert(variable.id(), Sum { variable: variable.clone(), sum });
                }
            }
            loss = Some(sum.detach()?.to_device(device)?);
        }
        (self.count, self.sums, self.loss) = (count, sums, loss);
        Ok(())
    }
}
