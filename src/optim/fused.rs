//! What all optimizers share around their formulas.

use super::factor::{Factor, Factors};
use super::flat::{Arrays, Flat, Initial, Request, Slot};
use super::optimizer::{Optimizer, State, check_setting, state_entry};
use super::schedule::Schedule;
use super::settings::{ParamGroup, Settings, Shared, shared_settings};
use crate::autograd::Gradients;
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{IdMap, Tensor};
use crate::variable::Variable;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// The formula of an optimizer, for [`Fused`] to apply to all variables at once.
///
/// ```
/// use wgrad::optim::{Fused, Rule, Vectors};
/// use wgrad::prelude::*;
///
/// /// Steps of equal length, whatever the gradient's size (Bernstein et al., 2018).
/// struct SignSgd;
///
/// impl Rule for SignSgd {
///     fn name(&self) -> &'static str {
///         "SignSgd"
///     }
///     fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)> {
///         Ok((x.at_rate(&x.grads.sign()?, 1.0)?, Vec::new()))
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([1.0f32, -2.0], Device::Cpu)?);
/// let mut optimizer = Fused::with_rule(SignSgd, 0.5).weight_decay(0.1);
/// optimizer.step(&w.value().square()?.sum(.., false)?.backward()?)?;
/// assert_eq!(w.value().to_vec::<f32>()?, [0.45, -1.4]);
/// # Ok(()) }
/// ```
pub trait Rule: Send {
    /// The optimizer's name. State is saved under it, in lower case.
    fn name(&self) -> &'static str;

    /// The state of each variable: arrays of its shape, by name and with the number that they begin with.
    fn slots(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// What to subtract from the values, and the new state in the order of [`slots`](Self::slots). Called for each update
    /// once per device and element type.
    ///
    /// # Errors
    ///
    /// Those of the tensor operations.
    fn update(&mut self, x: &Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)>;

    /// That the settings make sense; called before anything is changed.
    ///
    /// # Errors
    ///
    /// A setting is impossible.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The settings as a JSON object.
    fn config(&self) -> Config {
        Config(json!({}))
    }

    /// The decoupled weight decay where none is set.
    fn default_weight_decay(&self) -> f64 {
        0.0
    }
}

/// Values, gradients and state of many variables as arrays of equal shape, for one update. [`Rule`] has an example.
pub struct Vectors<'a> {
    /// Number of the update; 1 for the first.
    pub step: u64,
    /// The variables' values, less the decoupled weight decay.
    pub values: &'a Tensor,
    /// Their gradients, clipped and with the coupled weight decay, where that is wanted.
    pub grads: &'a Tensor,
    /// Their state, in the order of [`Rule::slots`].
    pub state: &'a [Tensor],
    learning_rate: f64,
    scale: &'a Factor,
    norms: &'a dyn Fn(&Tensor) -> Result<Tensor>,
}

impl Vectors<'_> {
    /// `x * learning_rate * by`, where groups of variables may have learning rates of their own.
    ///
    /// # Errors
    ///
    /// `x` has another shape than the values.
    pub fn at_rate(&self, x: &Tensor, by: f64) -> Result<Tensor> {
        self.scale.times(x, self.learning_rate * by)
    }

    /// The L2 norm of each variable's part of `x`, beside every row of it (`[rows, 1]`, to be broadcast), as layer-wise
    /// rules need it.
    ///
    /// # Errors
    ///
    /// `x` has another shape than the values.
    pub fn norms(&self, x: &Tensor) -> Result<Tensor> {
        if x.dims() != self.values.dims() {
            let message = format!("the array is {:?}, the values are {:?}", x.dims(), self.values.dims());
            return Err(Error::argument("Vectors::norms", message));
        }
        (self.norms)(x)
    }
}

/// An optimizer that updates all variables by one fused kernel: a [`Rule`] with a learning rate or a
/// [`Schedule`], weight decay, clipping, groups of variables and averages of the weights.
///
/// One update, in this order, with `s` and `d` a variable's own factor of the learning rate and weight decay:
///
/// 1. gradients are clipped ([`clip_value`](Self::clip_value), [`clip_norm`](Self::clip_norm),
///    [`global_clip_norm`](Self::global_clip_norm));
/// 2. `g += coupled_weight_decay * p`, as PyTorch's `weight_decay`;
/// 3. `p = p - s * lr * d * p`: decoupled weight decay, as Keras's `weight_decay`;
/// 4. the rule gives the step `u` at the learning rate `s * lr`, and `p = p - u`;
/// 5. `average = momentum * average + (1 - momentum) * p`, where averages are wanted ([`ema`](Self::ema)).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::optim::{CosineDecay, Schedule};
/// # fn main() -> Result<()> {
/// # let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?;
/// let biases = model.parameters().into_iter().filter(|p| p.name.ends_with("bias"));
/// let adam = Adam::new(1e-3)
///     .schedule(CosineDecay::new(1e-3, 900).after_warmup(100))
///     .weight_decay(1e-2)
///     .exclude_from_weight_decay(biases)
///     .global_clip_norm(1.0)
///     .ema(0.999);
/// # drop(adam);
/// # Ok(()) }
/// ```
#[must_use]
pub struct Fused<R> {
    pub(super) rule: R,
    pub(super) shared: Shared,
    /// Whether the learning rate was set in the middle of the training.
    rate_set: bool,
    /// The learning rate in place of what settings and schedule give.
    rate_override: Option<f64>,
    /// Updates so far.
    steps: u32,
    flat: Flat,
}

shared_settings!([R: Rule] Fused<R>, shared);

impl<R: Rule> Fused<R> {
    /// An optimizer of a rule of one's own.
    pub fn with_rule(rule: R, learning_rate: f64) -> Fused<R> {
        let settings =
            Settings { learning_rate, weight_decay: None, coupled_weight_decay: 0.0, clip: None, ema: None };
        Fused::of(rule, settings)
    }

    fn of(rule: R, settings: Settings) -> Fused<R> {
        let shared = Shared { settings, schedule: None, groups: IdMap::default(), over: None };
        Fused { rule, shared, rate_set: false, rate_override: None, steps: 0, flat: Flat::default() }
    }

    fn weight_decay_of_all(&self) -> f64 {
        self.shared.settings.weight_decay.unwrap_or(self.rule.default_weight_decay())
    }

    fn check(&self) -> Result<()> {
        let op = self.rule.name();
        let positive = 0.0..f64::INFINITY;
        check_setting(op, "weight decay", self.weight_decay_of_all(), positive.clone())?;
        check_setting(
            op,
            "coupled weight decay",
            self.shared.settings.coupled_weight_decay,
            positive.clone(),
        )?;
        if let Some(clip) = self.shared.settings.clip {
            clip.check(op)?;
        }
        if let Some(ema) = self.shared.settings.ema {
            check_setting(op, "the momentum of the averages", ema.momentum, 0.0..1.0)?;
            if ema.overwrite_every == Some(0) {
                let message =
                    "variables can't be overwritten by their averages every 0 updates; give at least 1";
                return Err(Error::argument(op, message));
            }
        }
        self.shared.groups.values().try_for_each(|g| g.check(op))?;
        self.rule.check()?;
        let rate = self.learning_rate();
        match &self.shared.schedule {
            Some(schedule) if self.rate_override.is_none() && !positive.contains(&rate) => {
                let settings = schedule.config().map_or_else(String::new, |c| format!(" ({c})"));
                let message = format!(
                    "the schedule{settings} gives a learning rate of {rate} after {} updates; it must be finite and not negative",
                    self.steps
                );
                Err(Error::argument(op, message))
            }
            _ => check_setting(op, "the learning rate", rate, positive),
        }
    }

    /// What one of its parts is called in a saved state.
    fn name_of(&self, what: &str) -> String {
        format!("{}.{what}", self.rule.name().to_lowercase())
    }

    fn slots(&self) -> Vec<Slot> {
        let slot = |(name, c)| Slot { name: self.name_of(name), initial: Initial::Constant(c) };
        let mut slots: Vec<Slot> = self.rule.slots().into_iter().map(slot).collect();
        if self.shared.settings.ema.is_some() {
            slots.push(Slot { name: self.name_of("ema"), initial: Initial::Value });
        }
        slots
    }

    /// Those of some named variables that it changes.
    fn own(&self, variables: &[(String, Variable)]) -> Vec<(String, Variable)> {
        variables.iter().filter(|(_, v)| self.shared.owns(v)).cloned().collect()
    }

    /// The slot of the averages.
    fn ema_slot(&self) -> Option<usize> {
        self.shared.settings.ema.map(|_| self.rule.slots().len())
    }
}

impl<R: Rule> Optimizer for Fused<R> {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        crate::variable::forbid(
            "Optimizer::update",
            "return the loss and the gradients, and step after the call",
        )?;
        self.check()?;
        if let Some(own) =
            self.shared.over.as_ref().filter(|_| grads.variables().iter().all(|(v, _)| !self.shared.owns(v)))
        {
            let message = format!(
                "the loss depends on none of the {} variables that this optimizer is over; is the gradient of another loss meant?",
                own.len()
            );
            return Err(Error::argument(self.rule.name(), message));
        }
        let (slots, learning_rate, own) = (self.slots(), self.learning_rate(), self.rule.slots().len());
        let (decay, coupled, ema) =
            (self.weight_decay_of_all(), self.shared.settings.coupled_weight_decay, self.shared.settings.ema);
        let (rule, shared, updates) = (&mut self.rule, &self.shared, self.steps);
        let groups = &shared.groups;
        let factors = |variable: &Variable| -> Factors {
            let group = groups.get(&variable.id()).copied().unwrap_or(ParamGroup::DEFAULT);
            let decay = group.weight_decay.unwrap_or(decay);
            [group.lr_scale, group.lr_scale * decay, group.coupled_weight_decay.unwrap_or(coupled)]
        };
        let owns = |variable: &Variable| shared.owns(variable);
        let request = Request {
            op: rule.name(),
            slots: &slots,
            clip: shared.settings.clip,
            factors: &factors,
            owns: &owns,
        };
        let pending = self.flat.update(grads, &request, &mut |x: Arrays<'_>| {
            let [scale, decay, coupled] = &x.factors;
            let p = x.values;
            let grads = if coupled.is_zero() { x.grads.clone() } else { (x.grads + coupled.times(p, 1.0))? };
            let (state, average) = x.state.split_at(own.min(x.state.len()));
            let step = u64::from(updates) + 1;
            let kept = if decay.is_zero() { p.clone() } else { (p - decay.times(p, learning_rate))? };
            let vectors =
                Vectors { step, values: &kept, grads: &grads, state, learning_rate, scale, norms: x.norms };
            let (step, mut state) = rule.update(&vectors)?;
            if state.len() != own {
                let message = format!("the rule gives {} arrays of state, it has {own} slots", state.len());
                return Err(Error::argument(rule.name(), message));
            }
            let mut p = (kept - step)?;
            if let (Some(ema), [average]) = (ema, average) {
                // The first average is the first value (so does Keras).
                let momentum = if updates == 0 { 0.0 } else { ema.momentum };
                let average = ((average * momentum)? + (&p * (1.0 - momentum))?)?;
                if ema.overwrite_every.is_some_and(|every| (updates + 1).is_multiple_of(every)) {
                    p = average.clone();
                }
                state.push(average);
            }
            Ok((p, state))
        })?;
        self.steps = self.steps.saturating_add(1);
        Ok(pending)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn config(&self) -> Config {
        let mut config = serde_json::Map::new();
        config.insert("name".into(), self.rule.name().into());
        let settings = serde_json::to_value(&self.shared.settings).unwrap_or_default();
        for part in [settings, self.rule.config().0] {
            if let Value::Object(part) = part {
                config.extend(part);
            }
        }
        config.insert("weight_decay".into(), self.weight_decay_of_all().into());
        let schedule = |s: &dyn Schedule| s.config().map_or_else(|| "custom".into(), |c| c.0);
        config.insert("schedule".into(), self.shared.schedule.as_deref().map_or(Value::Null, schedule));
        let mut kinds: Vec<(ParamGroup, usize)> = Vec::new();
        let mut groups: Vec<(&u64, &ParamGroup)> = self.shared.groups.iter().collect();
        groups.sort_by_key(|g| g.0);
        for (_, group) in groups {
            match kinds.iter_mut().find(|k| k.0 == *group) {
                Some(kind) => kind.1 += 1,
                None => kinds.push((*group, 1)),
            }
        }
        let groups = kinds.iter().map(|(g, variables)| {
            json!({"variables": variables, "lr_scale": g.lr_scale, "weight_decay": g.weight_decay,
                "coupled_weight_decay": g.coupled_weight_decay})
        });
        config.insert("groups".into(), groups.collect());
        Config(Value::Object(config))
    }

    fn steps(&self) -> u64 {
        u64::from(self.steps)
    }

    fn owns(&self, variable: &Variable) -> bool {
        self.shared.owns(variable)
    }

    fn prepare(&mut self, variables: &[Variable]) -> Result<()> {
        self.check()?;
        let slots = self.slots();
        let own: Vec<Variable> = variables.iter().filter(|v| self.shared.owns(v)).cloned().collect();
        self.flat.prepare(self.rule.name(), &slots, &own)
    }

    fn learning_rate(&self) -> f64 {
        if let Some(rate) = self.rate_override {
            return rate;
        }
        match &self.shared.schedule {
            Some(schedule) => schedule.learning_rate(u64::from(self.steps)),
            None => self.shared.settings.learning_rate,
        }
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.shared.schedule = None;
        self.shared.settings.learning_rate = learning_rate;
        self.rate_set = true;
    }

    fn override_learning_rate(&mut self, learning_rate: Option<f64>) -> Result<()> {
        self.rate_override = learning_rate;
        Ok(())
    }

    fn average(&self, variable: &Variable) -> Result<Option<Tensor>> {
        let Some(slot) = self.ema_slot() else { return Ok(None) };
        Ok(self.flat.state_of(variable)?.and_then(|state| state.get(slot).cloned()))
    }

    fn swap_averages(&mut self) -> Result<bool> {
        match self.ema_slot() {
            Some(slot) => self.flat.exchange(slot),
            None => Ok(false),
        }
    }

    fn finalize(&mut self) -> Result<()> {
        match self.ema_slot() {
            Some(slot) => self.flat.finish(slot),
            None => Ok(()),
        }
    }

    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        let op = format!("{}::export_state", self.rule.name());
        let mut state = self.flat.export(&op, &self.slots(), &self.own(variables))?;
        state.push((self.name_of("step"), Tensor::new([self.steps], Device::Cpu)?));
        if self.rate_set {
            let rate = Tensor::new([self.shared.settings.learning_rate], Device::Cpu)?;
            state.push((self.name_of("learning_rate"), rate));
        }
        Ok(state)
    }

    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        let op = format!("{}::import_state", self.rule.name());
        let by_name: HashMap<&str, &Tensor> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let steps = state_entry(&op, &by_name, &self.name_of("step"), &[1])?.item::<u32>()?;
        let name = self.name_of("learning_rate");
        let rate = match by_name.contains_key(name.as_str()) {
            true => Some(state_entry(&op, &by_name, &name, &[1])?.cast(crate::DType::F64)?.item::<f64>()?),
            false => None,
        };
        let slots = self.slots();
        self.flat.import(&op, &slots, &self.own(variables), state)?;
        self.steps = steps;
        if let Some(rate) = rate {
            self.set_learning_rate(rate);
        }
        Ok(())
    }
}

impl<R: Rule> std::fmt::Debug for Fused<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} after {} updates; {:?}", self.config(), self.steps, self.flat)
    }
}

/// An optimizer of a rule with the settings that [`Optimizer::config`] gave.
pub(super) fn from_config<R>(config: &Config) -> Result<Box<dyn Optimizer>>
where
    R: Rule + DeserializeOwned + 'static,
{
    const OP: &str = "optim::from_config";
    let rule: R = config.read().map_err(|e| e.named(OP))?;
    let settings: Settings = config.read().map_err(|e| e.named(OP))?;
    let mut made = Fused::of(rule, settings);
    if config.0.get("groups").and_then(Value::as_array).is_some_and(|g| !g.is_empty()) {
        let message = format!(
            "the {} had groups of variables, which belong to its model; make the optimizer in the program, and give it the \
             groups there",
            made.name()
        );
        return Err(Error::argument(OP, message));
    }
    if let Some(schedule) = config.0.get("schedule").filter(|s| !s.is_null()) {
        made.shared.schedule = Some(super::schedule::of_value(schedule)?);
    }
    let known = made.config();
    let keys = |v: &Config| -> BTreeSet<String> {
        v.0.as_object().into_iter().flat_map(|o| o.keys().cloned()).collect()
    };
    if let Some(unknown) = keys(config).difference(&keys(&known)).next() {
        let known: Vec<String> = keys(&known).into_iter().collect();
        let message = format!("{} has no setting {unknown}; it has {}", made.name(), known.join(", "));
        return Err(Error::argument(OP, message));
    }
    made.check()?;
    Ok(Box::new(made))
}

/// An optimizer as a type of its own, around the [`Fused`] of its rule.
macro_rules! optimizer {
    ($(#[$meta:meta])* $name:ident($rule:ident)) => {
        $(#[$meta])*
        #[must_use]
        pub struct $name(super::fused::Fused<$rule>);

        super::settings::shared_settings!([] $name, 0.shared);
        super::optimizer::forward_optimizer!([] $name, this => this.0);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(super) use optimizer;
