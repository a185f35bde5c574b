//! Slow weights behind fast ones.

use super::around::{entry_like, forward_to_inner, kept_for, update_inner};
use super::optimizer::{Optimizer, State, check_setting, state_entry};
use crate::autograd::Gradients;
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

const SLOW: &str = "lookahead.slow";
const COUNT: &str = "lookahead.count";

/// Lookahead (Zhang et al., 2019) around any optimizer, as TensorFlow Addons has it: after every `period` updates the slow weights go a
/// part of the way to the variables, `slow += slow_step * (value - slow)`, and the variables go back to them. The slow weights begin with
/// the values before the first update.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::optim::Lookahead;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([8.0f32], Device::Cpu)?);
/// let mut optimizer = Lookahead::new(Sgd::new(1.0)).period(2).slow_step(0.5);
/// for expected in [7.0, 7.0, 6.0, 6.0] {
///     optimizer.step(&w.value().sum(.., false)?.backward()?)?; // 8, 7, 6: back to 7
///     assert_eq!(w.value().item::<f32>()?, expected);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As the optimizer's; a period of 0, or a slow step that is negative, above 1 or not a number.
#[derive(Debug)]
#[must_use]
pub struct Lookahead<O> {
    inner: O,
    period: u64,
    slow_step: f64,
    slow: BTreeMap<u64, (Variable, Tensor)>,
}

impl<O: Optimizer> Lookahead<O> {
    /// Around an optimizer, with TensorFlow Addons' settings: a period of 6, a slow step of 0.5.
    pub fn new(optimizer: O) -> Lookahead<O> {
        Lookahead { inner: optimizer, period: 6, slow_step: 0.5, slow: BTreeMap::new() }
    }

    /// After how many updates the slow weights move.
    pub fn period(mut self, updates: u64) -> Lookahead<O> {
        self.period = updates;
        self
    }

    /// Which part of the way they go.
    pub fn slow_step(mut self, share: f64) -> Lookahead<O> {
        self.slow_step = share;
        self
    }

    fn check(&self) -> Result<()> {
        if self.period == 0 {
            return Err(Error::argument("Lookahead", "the period is 0 updates; give at least 1"));
        }
        if self.slow_step == 1.0 {
            return Ok(());
        }
        check_setting("Lookahead", "the slow step", self.slow_step, 0.0..1.0)
    }

    fn move_slowly(&mut self, pending: &mut Vec<Tensor>) -> Result<()> {
        for (variable, slow) in self.slow.values_mut() {
            let value = variable.value();
            // A frozen variable stays what it is.
            let kept = if variable.is_trainable() { kept_for(&value, slow)? } else { None };
            let Some(kept) = kept else { continue };
            let moved = (&kept + ((value - &kept)? * self.slow_step)?)?;
            *slow = variable.constrained("Lookahead", moved)?;
            variable.set(&*slow)?;
            pending.extend([slow.clone(), variable.value()]);
        }
        Ok(())
    }
}

impl<O: Optimizer> Optimizer for Lookahead<O> {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        self.check()?;
        no_grad(|| {
            let (mut pending, before) = update_inner(&mut self.inner, grads)?;
            for (variable, value) in before {
                let slow =
                    self.slow.get(&variable.id()).map(|(_, slow)| kept_for(&value, slow)).transpose()?;
                if slow.flatten().is_none() {
                    self.slow.insert(variable.id(), (variable, value.detach()?));
                }
            }
            if self.inner.steps().is_multiple_of(self.period) {
                self.move_slowly(&mut pending)?;
            }
            Ok(pending)
        })
    }

    fn name(&self) -> &str {
        "Lookahead"
    }

    fn config(&self) -> Config {
        let (period, slow_step) = (self.period, self.slow_step);
        Config(
            json!({"name": "Lookahead", "optimizer": self.inner.config().0, "period": period, "slow_step": slow_step}),
        )
    }

    forward_to_inner!();

    fn average(&self, variable: &Variable) -> Result<Option<Tensor>> {
        self.inner.average(variable)
    }

    fn swap_averages(&mut self) -> Result<bool> {
        self.inner.swap_averages()
    }

    fn finalize(&mut self) -> Result<()> {
        self.inner.finalize()
    }

    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        let mut state = self.inner.export_state(variables)?;
        let slow = variables.iter().filter_map(|(name, v)| Some((name, self.slow.get(&v.id())?)));
        let slow: State = slow.map(|(name, (_, slow))| (format!("{SLOW}/{name}"), slow.clone())).collect();
        state.push((COUNT.into(), Tensor::new([slow.len() as u32], Device::Cpu)?));
        state.extend(slow);
        Ok(state)
    }

    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        const OP: &str = "Lookahead::import_state";
        let by_name: HashMap<&str, &Tensor> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let count = state_entry(OP, &by_name, COUNT, &[1])?.item::<u32>()?;
        let mut slow = BTreeMap::new();
        for (name, variable) in variables {
            let entry = format!("{SLOW}/{name}");
            if by_name.contains_key(entry.as_str()) {
                let entry = entry_like(OP, &by_name, &entry, variable)?;
                slow.insert(variable.id(), (variable.clone(), entry));
            }
        }
        if slow.len() != count as usize {
            let message = format!(
                "the state has slow weights of {count} variables, {} of them are here; it is of another model",
                slow.len()
            );
            return Err(Error::argument(OP, message));
        }
        self.inner.import_state(variables, state)?;
        self.slow = slow;
        Ok(())
    }
}
