//! Gradients of several batches as one.

use super::optimizer::{Optimizer, State, state_entry};
use crate::autograd::Gradients;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use std::collections::BTreeMap;

const COUNT: &str = "accumulator.count";
const LOSS: &str = "accumulator.loss";
const TOTAL: &str = "accumulator.total";
const ROWS: &str = "accumulator.rows";

/// Adds up the gradients of several batches and gives their mean (Keras's `gradient_accumulation_steps`): what a batch as
/// large as all of them would give, in the memory of one.
///
/// With [`add`](Self::add) and [`step`](Self::step) each batch counts the same. Where batches differ in size, say how much
/// each counts, with [`add_weighted`](Self::add_weighted) or [`step_weighted`](Self::step_weighted): then the mean is that of
/// the one batch. On a GPU the addition is part of the kernels that compute the gradients.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::optim::GradientAccumulator;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([1.0f32], Device::Cpu)?);
/// let mut sgd = Sgd::new(0.1);
/// let mut accumulator = GradientAccumulator::new(2);
/// for (x, updated) in [(1.0, false), (3.0, true)] {
///     let grads = (w.value() * x)?.sum(.., false)?.backward()?;
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
    total: Total,
}

/// What the sums are divided by: the part that the host knows, and the part that is counted on the device.
#[derive(Debug, Default)]
struct Total {
    known: f64,
    rows: Option<Tensor>,
}

/// How much a batch counts.
pub(crate) enum Count {
    Known(f64),
    /// A scalar on the device: rows that are counted there.
    Rows(Tensor),
}

#[derive(Debug)]
struct Sum {
    variable: Variable,
    sum: Tensor,
}

impl GradientAccumulator {
    /// Gives the mean after this many batches.
    pub fn new(batches: usize) -> GradientAccumulator {
        GradientAccumulator { batches, count: 0, sums: BTreeMap::new(), loss: None, total: Total::default() }
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
        self.add_sum(grads, Count::Known(1.0))
    }

    /// As [`add`](Self::add), for a batch whose mean counts `weight` times: its number of samples, so that a smaller batch
    /// counts for less.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::optim::GradientAccumulator;
    /// # fn main() -> Result<()> {
    /// let w = Variable::new(Tensor::new([1.0f32], Device::Cpu)?);
    /// let mut accumulator = GradientAccumulator::new(2);
    /// let mut mean = None;
    /// for batch in [vec![1.0f32, 2.0, 3.0], vec![10.0]] {
    ///     let samples = batch.len();
    ///     let x = Tensor::from_vec(batch, [samples], Device::Cpu)?;
    ///     let grads = (w.value() * x)?.mean(.., false)?.backward()?;
    ///     mean = accumulator.add_weighted(&grads, samples as f64)?;
    /// }
    /// assert_eq!(mean.map(|grads| grads.get(&w)?.item::<f32>()).transpose()?, Some(4.0)); // (1 + 2 + 3 + 10) / 4
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add); or the weight is negative or not finite.
    pub fn add_weighted(&mut self, grads: &Gradients, weight: f64) -> Result<Option<Gradients>> {
        if !(weight.is_finite() && weight >= 0.0) {
            let message =
                format!("the weight of a batch is {weight}; expected its number of samples, 0 or more");
            return Err(Error::argument("GradientAccumulator", message));
        }
        if weight == 1.0 {
            return self.add(grads);
        }
        let sums = no_grad(|| {
            let sums = grads.variables().into_iter().map(|(variable, grad)| Ok((variable, (grad * weight)?)));
            Ok(Gradients::of_variables(sums.collect::<Result<_>>()?, (grads.loss() * weight)?))
        })?;
        self.add_sum(&sums, Count::Known(weight))
    }

    /// Adds the gradients of a sum over so many.
    pub(crate) fn add_sum(&mut self, grads: &Gradients, count: Count) -> Result<Option<Gradients>> {
        if self.batches == 0 {
            return Err(Error::argument("GradientAccumulator", "needs at least one batch, got 0"));
        }
        crate::variable::forbid(
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
            if let Count::Rows(rows) = &count {
                self.total.rows = Some(match &self.total.rows {
                    Some(sum) => (sum + rows)?,
                    None => rows.detach()?,
                });
            }
            self.sums.extend(sums);
            self.loss = Some(loss);
            Ok(())
        })?;
        if let Count::Known(known) = count {
            self.total.known += known;
        }
        self.count += 1;
        if self.count < self.batches { Ok(None) } else { self.take() }
    }

    /// The mean over the batches so far, which begins a new sum; `None` where there were none. For the end of an epoch, say.
    ///
    /// # Errors
    ///
    /// Those of the division; the sums are then lost.
    pub fn take(&mut self) -> Result<Option<Gradients>> {
        let Some(loss) = self.loss.take() else { return Ok(None) };
        self.count = 0;
        let (sums, total) = (std::mem::take(&mut self.sums), std::mem::take(&mut self.total));
        // Where nothing counts, the sums are 0, and so is the mean.
        let known = if total.known > 0.0 { total.known } else { 1.0 };
        no_grad(|| {
            let rows = total.rows.map(|rows| rows.maximum(1.0)).transpose()?;
            let mean = |sum: Tensor| match &rows {
                Some(rows) => &sum / rows.cast(sum.dtype())?,
                None => sum / known,
            };
            let mut means = Vec::new();
            for (_, Sum { variable, sum }) in sums {
                means.push((variable, mean(sum)?));
            }
            Ok(Some(Gradients::of_variables(means, mean(loss)?)))
        })
    }

    /// The sums so far: what has to be evaluated after each batch, so that its activations can be forgotten.
    pub fn pending(&self) -> Vec<Tensor> {
        let sums = self.sums.values().map(|s| s.sum.clone());
        sums.chain(self.loss.clone()).chain(self.total.rows.clone()).collect()
    }

    /// Adds the gradients of one batch, has the optimizer step if it is the last, and evaluates it all together with the
    /// loss: on a GPU one submission. Whether the optimizer stepped.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add) and [`Optimizer::step`].
    pub fn step(&mut self, grads: &Gradients, optimizer: &mut dyn Optimizer) -> Result<bool> {
        self.step_weighted(grads, 1.0, optimizer)
    }

    /// As [`step`](Self::step), for a batch that counts `weight` times: see [`add_weighted`](Self::add_weighted).
    ///
    /// # Errors
    ///
    /// As [`add_weighted`](Self::add_weighted) and [`Optimizer::step`].
    pub fn step_weighted(
        &mut self,
        grads: &Gradients,
        weight: f64,
        optimizer: &mut dyn Optimizer,
    ) -> Result<bool> {
        let mean = self.add_weighted(grads, weight)?;
        let mut all = match &mean {
            Some(mean) => {
                let mut updated = optimizer.update(mean)?;
                updated.push(mean.loss().clone());
                updated
            }
            None => self.pending(),
        };
        all.push(grads.loss().clone());
        crate::backend::eval(&all.iter().collect::<Vec<_>>())?;
        Ok(mean.is_some())
    }

    /// Number of batches that the current sum has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The current sums of these named variables, to be saved along with them.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        let mut state = vec![(COUNT.to_string(), Tensor::new([self.count as u32], Device::Cpu)?)];
        if let Some(loss) = &self.loss {
            state.push((LOSS.into(), loss.clone()));
            state.push((TOTAL.into(), Tensor::new([self.total.known], Device::Cpu)?));
            state.extend(self.total.rows.iter().map(|rows| (ROWS.to_string(), rows.clone())));
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
        let (mut sums, mut loss, mut total) = (BTreeMap::new(), None, Total::default());
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
            // States of before batches had weights have no total: each batch counted once.
            let known = by_name.get(TOTAL).map(|total| total.item::<f64>()).transpose()?;
            let rows = by_name.get(ROWS).map(|rows| rows.detach()?.to_device(device)).transpose()?;
            total = Total { known: known.unwrap_or(count as f64), rows };
        }
        (self.count, self.sums, self.loss, self.total) = (count, sums, loss, total);
        Ok(())
    }
}
