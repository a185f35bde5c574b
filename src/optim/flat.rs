//! Parameters and optimizer state as flat vectors: one fused kernel updates all parameters, however many there are.
//!
//! Gradients are packed into one vector (on a GPU they are computed right into it), the state is kept packed the same
//! way, and the new parameters are computed as one vector, of which each variable's value is a view. Variables that
//! somebody else has set in between are noticed by the identity of their tensors, and packed again.

use super::{State, state_entry};
use crate::autograd::{Gradients, Variable, no_grad};
use crate::cpu::dispatch;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::eval::{IdMap, eval};
use crate::ops::join::{pack, pack_layout};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::collections::HashMap;

/// Variables of one device and element type, packed.
struct Group {
    device: Device,
    dtype: DType,
    variables: Vec<Variable>,
    offsets: Vec<usize>,
    shapes: Vec<Shape>,
    /// The packed values, and the nodes that the variables held when they were packed.
    values: Tensor,
    set: Vec<u64>,
    /// The packed state vectors, such as Adam's two moments.
    state: Vec<Tensor>,
}

/// One group's step, as vectors of equal length.
pub(super) struct Vectors<'a> {
    pub values: &'a Tensor,
    pub grads: &'a Tensor,
    pub state: &'a [Tensor],
}

/// All variables that an optimizer has met, with `slots` state vectors for each.
pub(super) struct Flat {
    slots: usize,
    groups: Vec<Group>,
    /// State of variables that are in no group now, because their last gradients were missing, or that was imported.
    parked: IdMap<Vec<Tensor>>,
}

impl Flat {
    pub fn new(slots: usize) -> Flat {
        Flat { slots, groups: Vec::new(), parked: IdMap::default() }
    }

    /// Computes all variables' next values by `formula`, which gives new values and new state. Sets the variables and
    /// gives what has to be evaluated.
    pub fn update(
        &mut self,
        grads: &Gradients,
        formula: impl Fn(Vectors<'_>) -> Result<(Tensor, Vec<Tensor>)>,
    ) -> Result<Vec<Tensor>> {
        no_grad(|| {
            let (variables, grads): (Vec<_>, Vec<_>) = grads.variables().into_iter().unzip();
            self.arrange(&variables)?;
            let by_id: IdMap<&Tensor> = variables.iter().map(Variable::id).zip(&grads).collect();
            let mut pending = Vec::new();
            for group in &mut self.groups {
                let parts: Vec<Tensor> =
                    group.variables.iter().filter_map(|v| by_id.get(&v.id()).map(|&g| g.clone())).collect();
                let grads = pack(&parts)?;
                if !group.is_current() {
                    group.values = pack(&group.variables.iter().map(Variable::value).collect::<Vec<_>>())?;
                }
                let vectors = Vectors { values: &group.values, grads: &grads, state: &group.state };
                let (values, state) = formula(vectors)?;
                group.replace(values, state)?;
                pending.push(group.values.clone());
                pending.extend(group.state.iter().cloned());
                pending.extend(group.variables.iter().map(Variable::value));
            }
            Ok(pending)
        })
    }

    /// Packs these variables, so that the first step finds everything as later steps do.
    pub fn prepare(&mut self, variables: &[Variable]) -> Result<()> {
        no_grad(|| {
            let mut variables = variables.to_vec();
            variables.sort_by_key(Variable::id); // as Gradients::variables gives them
            self.arrange(&variables)
        })
    }

    /// Makes the groups hold exactly these variables; nothing to do in all steps but the first and where the set
    /// changes.
    fn arrange(&mut self, variables: &[Variable]) -> Result<()> {
        let known = self.groups.iter().map(|g| g.variables.len()).sum::<usize>() == variables.len() && {
            let present: IdMap<()> = variables.iter().map(|v| (v.id(), ())).collect();
            self.groups.iter().flat_map(|g| &g.variables).all(|v| present.contains_key(&v.id()))
        };
        if known {
            return Ok(());
        }
        for group in std::mem::take(&mut self.groups) {
            group.park(&mut self.parked)?;
        }
        let mut kinds: Vec<(Device, DType)> = Vec::new();
        for value in variables.iter().map(Variable::value) {
            if !kinds.contains(&(value.device(), value.dtype())) {
                kinds.push((value.device(), value.dtype()));
            }
        }
        for (device, dtype) in kinds {
            let of_kind = |v: &&Variable| v.value().device() == device && v.value().dtype() == dtype;
            let members: Vec<Variable> = variables.iter().filter(of_kind).cloned().collect();
            let group = Group::new(device, dtype, members, self.slots, &mut self.parked)?;
            self.groups.push(group);
        }
        Ok(())
    }

    /// A variable's state, one tensor of its shape per slot; `None` where it has none yet.
    fn state_of(&self, variable: &Variable) -> Result<Option<Vec<Tensor>>> {
        if let Some(state) = self.parked.get(&variable.id()) {
            return Ok(Some(state.clone()));
        }
        for group in &self.groups {
            if let Some(i) = group.variables.iter().position(|v| v.id() == variable.id()) {
                return no_grad(|| {
                    group.state.iter().map(|s| group.part(s, i)).collect::<Result<_>>().map(Some)
                });
            }
        }
        Ok(None)
    }

    /// The state under names `<slot>/<variable>`; zeros for a variable that has none yet.
    pub fn export(&self, slots: &[&str], variables: &[(String, Variable)]) -> Result<State> {
        let mut out = State::new();
        for (name, variable) in variables {
            let state = self.state_of(variable)?;
            for (i, slot) in slots.iter().enumerate() {
                let tensor = match &state {
                    Some(state) => state[i].clone(),
                    None => no_grad(|| variable.value().zeros_like())?,
                };
                out.push((format!("{slot}/{name}"), tensor));
            }
        }
        Ok(out)
    }

    /// Takes over what [`export`](Self::export) gave, all of it or nothing.
    pub fn import(
        &mut self,
        op: &str,
        slots: &[&str],
        variables: &[(String, Variable)],
        state: &State,
    ) -> Result<()> {
        let by_name: HashMap<&str, &Tensor> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let mut imported = IdMap::default();
        for (name, variable) in variables {
            let value = variable.value();
            let tensors = slots.iter().map(|slot| {
                let tensor = state_entry(op, &by_name, &format!("{slot}/{name}"), value.dims())?;
                tensor.detach()?.cast(value.dtype())?.to_device(value.device())
            });
            imported.insert(variable.id(), tensors.collect::<Result<Vec<_>>>()?);
        }
        // Parked state takes its place when the groups are made anew, at the next update.
        for group in std::mem::take(&mut self.groups) {
            group.park(&mut self.parked)?;
        }
        self.parked.extend(imported);
        Ok(())
    }
}

impl Group {
    fn new(
        device: Device,
        dtype: DType,
        variables: Vec<Variable>,
        slots: usize,
        parked: &mut IdMap<Vec<Tensor>>,
    ) -> Result<Group> {
        let shapes: Vec<Shape> = variables.iter().map(Variable::shape).collect();
        let (offsets, len) = pack_layout(shapes.iter().map(Shape::numel));
        let old: Vec<Option<Vec<Tensor>>> = variables.iter().map(|v| parked.remove(&v.id())).collect();
        // Real zeros rather than a repeated scalar: every later step then finds the same kind of thing.
        let zeros = |shape: &[usize]| dispatch!(dtype, T => Tensor::from_vec(vec![T::default(); shape.iter().product()], shape, device));
        let mut state = Vec::new();
        for slot in 0..slots {
            state.push(if old.iter().all(Option::is_none) {
                zeros(&[len])?
            } else {
                let parts = old.iter().zip(&shapes).map(|(old, shape)| match old {
                    Some(state) => Ok(state[slot].clone()),
                    None => zeros(shape),
                });
                pack(&parts.collect::<Result<Vec<_>>>()?)?
            });
        }
        let values = pack(&variables.iter().map(Variable::value).collect::<Vec<_>>())?;
        let mut group = Group {
            device,
            dtype,
            variables,
            offsets,
            shapes,
            values: values.clone(),
            set: Vec::new(),
            state: Vec::new(),
        };
        group.replace(values, state)?;
        let current: Vec<Tensor> = group.variables.iter().map(Variable::value).collect();
        let mut all = vec![&group.values];
        all.extend(&group.state);
        all.extend(&current);
        eval(&all)?;
        Ok(group)
    }

    /// Whether the variables still hold what this group set them to.
    fn is_current(&self) -> bool {
        self.variables.iter().zip(&self.set).all(|(v, &id)| v.value().0.id == id)
    }

    /// One variable's part of a packed vector.
    fn part(&self, packed: &Tensor, i: usize) -> Result<Tensor> {
        packed.slice(0, self.offsets[i], self.shapes[i].numel())?.reshape(self.shapes[i])
    }

    /// Takes new vectors over and sets the variables to views of the new values.
    fn replace(&mut self, values: Tensor, state: Vec<Tensor>) -> Result<()> {
        self.values = values;
        self.state = state;
        self.set.clear();
        for (i, variable) in self.variables.iter().enumerate() {
            variable.set(self.part(&self.values, i)?)?;
            self.set.push(variable.value().0.id);
        }
        Ok(())
    }

    /// Cuts the state up again.
    fn park(self, parked: &mut IdMap<Vec<Tensor>>) -> Result<()> {
        for (i, variable) in self.variables.iter().enumerate() {
            let state = self.state.iter().map(|s| self.part(s, i)).collect::<Result<Vec<_>>>()?;
            parked.insert(variable.id(), state);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Flat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<String> = self
            .groups
            .iter()
            .map(|g| format!("{} {} on {}", g.variables.len(), g.dtype, g.device))
            .collect();
        write!(f, "Flat({} slots; variables: {})", self.slots, kinds.join(", "))
    }
}
