//! The optimizers of a trainer: one, or several by name.

use crate::autograd::Gradients;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::optim::{Optimizer, State, import_all, part_of, under};
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde_json::json;

/// At least one. As an optimizer, one is what it is; several are asked and told together, and their states have their names before
/// them.
pub(super) struct Optimizers {
    list: Vec<(String, Box<dyn Optimizer>)>,
    name: String,
}

impl Optimizers {
    pub fn one(optimizer: Box<dyn Optimizer>) -> Optimizers {
        Optimizers::of(vec![(String::new(), optimizer)])
    }

    pub fn of(list: Vec<(String, Box<dyn Optimizer>)>) -> Optimizers {
        let name = match &list[..] {
            [(_, one)] => one.name().to_string(),
            several => {
                several.iter().map(|(n, o)| format!("{n} {}", o.name())).collect::<Vec<_>>().join(", ")
            }
        };
        Optimizers { list, name }
    }

    /// All together, or the one.
    pub fn whole(&mut self) -> &mut dyn Optimizer {
        match self.list.len() {
            1 => &mut *self.list[0].1,
            _ => self,
        }
    }

    pub fn get(&mut self, place: usize) -> Option<&mut dyn Optimizer> {
        self.list.get_mut(place).map(|(_, optimizer)| &mut **optimizer as &mut dyn Optimizer)
    }

    /// That no variable is changed by two of them, named as in a model.
    pub fn check(&self, variables: &[(String, Variable)]) -> Result<()> {
        for (name, variable) in variables {
            let owners: Vec<&str> =
                self.list.iter().filter(|(_, o)| o.owns(variable)).map(|(n, _)| n.as_str()).collect();
            if let [first, second, ..] = owners[..] {
                let message = format!(
                    "{name} is changed by the optimizers {first} and {second}; say which variables each is over: \
                     Adam::new(1e-3).over(&model.part)"
                );
                return Err(Error::argument("Trainer::build", message));
            }
        }
        Ok(())
    }

    fn state_of(&self, place: usize, variables: &[(String, Variable)]) -> Result<State> {
        let (name, optimizer) = &self.list[place];
        let state = optimizer.export_state(variables)?;
        Ok(match self.list.len() {
            1 => state,
            _ => under(&format!("{name}/"), state).collect(),
        })
    }
}

impl Optimizer for Optimizers {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        let mut pending = Vec::new();
        for (_, optimizer) in &mut self.list {
            pending.extend(optimizer.update(grads)?);
        }
        Ok(pending)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> Config {
        match &self.list[..] {
            [(_, one)] => one.config(),
            several => {
                let all: serde_json::Map<_, _> =
                    several.iter().map(|(n, o)| (n.clone(), o.config().0)).collect();
                Config(json!({"name": self.name, "optimizers": all}))
            }
        }
    }

    fn steps(&self) -> u64 {
        self.list.first().map_or(0, |(_, o)| o.steps())
    }

    fn owns(&self, variable: &Variable) -> bool {
        self.list.iter().any(|(_, o)| o.owns(variable))
    }

    fn prepare(&mut self, variables: &[Variable]) -> Result<()> {
        self.list.iter_mut().try_for_each(|(_, o)| o.prepare(variables))
    }

    /// The first one's.
    fn learning_rate(&self) -> f64 {
        self.list.first().map_or(0.0, |(_, o)| o.learning_rate())
    }

    fn override_learning_rate(&mut self, learning_rate: Option<f64>) -> Result<()> {
        match &mut self.list[..] {
            [(_, one)] => one.override_learning_rate(learning_rate),
            several => match learning_rate {
                None => several.iter_mut().try_for_each(|(_, o)| o.override_learning_rate(None)),
                Some(_) => {
                    let message =
                        "there are several optimizers, whose learning rates can't be one; use one optimizer";
                    Err(Error::argument("Trainer", message))
                }
            },
        }
    }

    /// The first one's; those of the others change by the same factor.
    fn set_learning_rate(&mut self, learning_rate: f64) {
        let before = self.learning_rate();
        for (i, (_, optimizer)) in self.list.iter_mut().enumerate() {
            let rate = match i {
                0 => learning_rate,
                _ if before > 0.0 => optimizer.learning_rate() * (learning_rate / before),
                _ => learning_rate,
            };
            optimizer.set_learning_rate(rate);
        }
    }

    fn average(&self, variable: &Variable) -> Result<Option<Tensor>> {
        for (_, optimizer) in self.list.iter().filter(|(_, o)| o.owns(variable)) {
            if let Some(average) = optimizer.average(variable)? {
                return Ok(Some(average));
            }
        }
        Ok(None)
    }

    fn swap_averages(&mut self) -> Result<bool> {
        let mut swapped = false;
        for (_, optimizer) in &mut self.list {
            swapped |= optimizer.swap_averages()?;
        }
        Ok(swapped)
    }

    fn finalize(&mut self) -> Result<()> {
        self.list.iter_mut().try_for_each(|(_, o)| o.finalize())
    }

    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        let mut all = State::new();
        for place in 0..self.list.len() {
            all.extend(self.state_of(place, variables)?);
        }
        Ok(all)
    }

    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        let several = self.list.len() > 1;
        let part = |name: &str| if several { part_of(state, &format!("{name}/")) } else { state.clone() };
        let parts =
            self.list.iter_mut().map(|(name, o)| (&mut **o as &mut dyn Optimizer, part(name))).collect();
        import_all(parts, variables)
    }
}
