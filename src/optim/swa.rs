//! Means of the weights along a training.

use super::around::{entry_like, forward_to_inner, kept_for, update_inner};
use super::flat::put;
use super::optimizer::{Optimizer, State, state_entry};
use crate::autograd::Gradients;
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

const AVERAGE: &str = "swa.average";
const COUNT: &str = "swa.count";

/// Stochastic weight averaging (Izmailov et al., 2018) around any optimizer: the mean of the weights, all taken alike, that it comes by
/// after the first [`start`](Self::start) updates, [`every`](Self::every) so many. (An [`ema`](super::Adam::ema) forgets the early ones.)
///
/// The variables go on as they would. [`swap_averages`](Optimizer::swap_averages) puts the means into them for an evaluation,
/// [`finalize`](Optimizer::finalize) for good, which a [`Trainer`](crate::train::Trainer) does at the end of a fit. The moving averages of
/// [`BatchNorm`](crate::nn::BatchNorm) are of other weights then:
/// [`Trainer::update_statistics`](crate::train::Trainer::update_statistics) makes them anew.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::optim::Swa;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([8.0f32], Device::Cpu)?);
/// let mut optimizer = Swa::new(Sgd::new(1.0)).start(2).every(2);
/// for _ in 0..6 {
///     optimizer.step(&w.value().sum(.., false)?.backward()?)?; // 7, 6, 5, 4, 3, 2
/// }
/// optimizer.finalize()?;
/// assert_eq!(w.value().item::<f32>()?, 3.0); // the mean of 4 and 2
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As the optimizer's; a number of updates of 0 between weights that count.
#[derive(Debug)]
#[must_use]
pub struct Swa<O> {
    inner: O,
    start: u64,
    every: u64,
    means: BTreeMap<u64, Mean>,
    /// What the variables held before they were exchanged for their means.
    exchanged: Option<Vec<(Variable, Tensor)>>,
}

#[derive(Clone, Debug)]
struct Mean {
    variable: Variable,
    mean: Tensor,
    count: u32,
}

impl<O: Optimizer> Swa<O> {
    /// Around an optimizer; the weights after every update count.
    pub fn new(optimizer: O) -> Swa<O> {
        Swa { inner: optimizer, start: 0, every: 1, means: BTreeMap::new(), exchanged: None }
    }

    /// How many updates are made before weights count: three quarters of a training, say.
    pub fn start(mut self, updates: u64) -> Swa<O> {
        self.start = updates;
        self
    }

    /// From then on the weights after every so many updates count: those of an epoch, say.
    pub fn every(mut self, updates: u64) -> Swa<O> {
        self.every = updates;
        self
    }

    fn check(&self) -> Result<()> {
        if self.every == 0 {
            let message = "weights can't count after every 0 updates; give at least 1";
            return Err(Error::argument("Swa", message));
        }
        Ok(())
    }

    /// That the variables hold what is trained, not the means.
    fn check_own(&self, op: &str) -> Result<()> {
        match &self.exchanged {
            None => Ok(()),
            Some(_) => Err(Error::argument(op, super::flat::EXCHANGED)),
        }
    }

    fn take(&mut self, variables: impl Iterator<Item = Variable>, pending: &mut Vec<Tensor>) -> Result<()> {
        for variable in variables {
            let value = variable.value().detach()?;
            let known = self.means.get(&variable.id());
            let kept = known.map(|known| kept_for(&value, &known.mean)).transpose()?.flatten();
            let (mean, count) = match (kept, known) {
                (Some(mean), Some(known)) => {
                    let count = known.count.saturating_add(1);
                    ((&mean + ((value - &mean)? * f64::from(count).recip())?)?, count)
                }
                // A node of its own, which lives on when the variable's value goes.
                _ => (value, 1),
            };
            pending.push(mean.clone());
            self.means.insert(variable.id(), Mean { variable, mean, count });
        }
        Ok(())
    }
}

impl<O: Optimizer> Optimizer for Swa<O> {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        self.check()?;
        if self.exchanged.is_some() {
            return Err(Error::argument("Swa", super::flat::AVERAGED));
        }
        no_grad(|| {
            let (mut pending, changed) = update_inner(&mut self.inner, grads)?;
            let steps = self.inner.steps();
            if steps > self.start && (steps - self.start).is_multiple_of(self.every) {
                self.take(changed.into_iter().map(|(v, _)| v), &mut pending)?;
            }
            Ok(pending)
        })
    }

    fn name(&self) -> &str {
        "Swa"
    }

    fn config(&self) -> Config {
        let (start, every) = (self.start, self.every);
        Config(json!({"name": "Swa", "optimizer": self.inner.config().0, "start": start, "every": every}))
    }

    forward_to_inner!();

    fn average(&self, variable: &Variable) -> Result<Option<Tensor>> {
        Ok(self.means.get(&variable.id()).map(|known| known.mean.clone()))
    }

    fn swap_averages(&mut self) -> Result<bool> {
        match self.exchanged.take() {
            // Also where there are none yet, as in an `ema` before the first update.
            None => {
                let mut before = Vec::new();
                for known in self.means.values() {
                    before.push((known.variable.clone(), known.variable.value().detach()?));
                    put(&known.variable, &known.mean)?;
                }
                self.exchanged = Some(before);
                Ok(true)
            }
            Some(before) => {
                before.iter().try_for_each(|(variable, value)| put(variable, value))?;
                Ok(false)
            }
        }
    }

    fn finalize(&mut self) -> Result<()> {
        if self.exchanged.take().is_some() {
            return Ok(()); // they hold them already
        }
        self.means.values().try_for_each(|known| put(&known.variable, &known.mean))
    }

    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        self.check_own("Swa::export_state")?;
        let mut state = self.inner.export_state(variables)?;
        for (name, variable) in variables {
            let known = self.means.get(&variable.id());
            let count = known.map_or(0, |known| known.count);
            state.push((format!("{COUNT}/{name}"), Tensor::new([count], Device::Cpu)?));
            if let Some(known) = known {
                state.push((format!("{AVERAGE}/{name}"), known.mean.clone()));
            }
        }
        Ok(state)
    }

    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        const OP: &str = "Swa::import_state";
        self.check_own(OP)?;
        let by_name: HashMap<&str, &Tensor> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let mut means = BTreeMap::new();
        for (name, variable) in variables {
            let count = state_entry(OP, &by_name, &format!("{COUNT}/{name}"), &[1])?.item::<u32>()?;
            if count > 0 {
                let mean = entry_like(OP, &by_name, &format!("{AVERAGE}/{name}"), variable)?;
                means.insert(variable.id(), Mean { variable: variable.clone(), mean, count });
            }
        }
        self.inner.import_state(variables, state)?;
        self.means = means;
        Ok(())
    }
}
