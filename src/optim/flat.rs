//! Parameters and optimizer state as flat arrays: one fused kernel updates all parameters, however many there are.
//!
//! Gradients are packed into one array (on a GPU they are computed right into it), the state is kept packed the same way,
//! and the new parameters are computed as one array, of which each variable's value is a view. Variables that somebody else
//! has set in between are noticed by the identity of their tensors, and packed again.
//!
//! The arrays are `[rows, 64]`, and each variable begins with a row of its own. What differs from variable to variable, such
//! as the learning rates of groups, is thus one number per row: a 64th of a parameter's memory and no kernel of its own.
// Over 500 lines in one file: all of it knows the one layout of rows, and nothing else does.

use super::clip::Clip;
use super::factor::{Factor, Factors};
use super::optimizer::{State, state_entry};
use crate::autograd::Gradients;
use crate::backend::eval;
use crate::cpu::{Element, dispatch};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::join::{PACK_ALIGNMENT, pack, pack_layout};
use crate::ops::random::iota;
use crate::shape::Shape;
use crate::tensor::{IdMap, Tensor, no_grad};
use crate::variable::Variable;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Of an update meanwhile.
pub(super) const AVERAGED: &str =
    "the variables hold their averages; exchange them back with swap_averages before training on";

pub(super) const EXCHANGED: &str =
    "the variables hold their averages; exchange them back with swap_averages first";

/// What an array of the state holds before the first update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Initial {
    Constant(f64),
    /// The variable's value.
    Value,
}

/// One array of the state: its name in files, and what it begins with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    pub name: String,
    pub initial: Initial,
}

/// One arena's update, as arrays of equal shape.
pub(super) struct Arrays<'a> {
    pub values: &'a Tensor,
    pub grads: &'a Tensor,
    pub state: &'a [Tensor],
    pub factors: [Factor; 3],
    /// The L2 norm of each variable's part of an array: one for each row, `[rows, 1]`.
    pub norms: &'a dyn Fn(&Tensor) -> Result<Tensor>,
}

/// New values and new state of an arena.
pub(super) type Formula<'a> = dyn FnMut(Arrays<'_>) -> Result<(Tensor, Vec<Tensor>)> + 'a;

/// How an update is done, apart from the formula.
pub(super) struct Request<'a> {
    pub op: &'a str,
    pub slots: &'a [Slot],
    pub clip: Option<Clip>,
    pub factors: &'a dyn Fn(&Variable) -> Factors,
    /// Whether a variable is one that is updated.
    pub owns: &'a dyn Fn(&Variable) -> bool,
}

/// Variables of one device and element type, packed.
struct Arena {
    device: Device,
    dtype: DType,
    variables: Vec<Variable>,
    offsets: Vec<usize>,
    shapes: Vec<Shape>,
    rows: usize,
    /// The packed values, and the nodes that the variables held when they were packed.
    values: Tensor,
    set: Vec<u64>,
    /// The packed state, such as Adam's two moments.
    state: Vec<Tensor>,
    /// The last factors that were asked for, and those that differ as `[columns, rows]`.
    table: Option<(Vec<Factors>, Option<Tensor>)>,
    /// How many elements of each row are a variable's, `[rows, 1]`, and the number of each row's variable, `[rows]`. Made
    /// when clipping first needs them.
    rows_of: OnceLock<(Tensor, Tensor)>,
}

/// A variable that is in no arena now, with its state.
struct Parked {
    variable: Variable,
    state: Vec<Tensor>,
}

/// All variables that an optimizer has met, with their state.
#[derive(Default)]
pub(super) struct Flat {
    /// What the state consists of, fixed by the first update.
    slots: Option<Vec<Slot>>,
    arenas: Vec<Arena>,
    /// State of variables whose last gradients were missing, as those of frozen ones are, or that was imported.
    parked: IdMap<Parked>,
    /// What parked variables held before they were exchanged for a slot; `None` where nothing is exchanged.
    exchanged: Option<Vec<(Variable, Tensor)>>,
}

impl Flat {
    /// Computes all variables' next values by `formula`, which gives new values and new state. Sets the variables and gives
    /// what has to be evaluated.
    pub fn update(
        &mut self,
        grads: &Gradients,
        request: &Request<'_>,
        formula: &mut Formula<'_>,
    ) -> Result<Vec<Tensor>> {
        if self.exchanged.is_some() {
            return Err(Error::argument(request.op, AVERAGED));
        }
        no_grad(|| {
            // Frozen variables have no gradients, unless they were frozen after the backward pass.
            let own = |v: &Variable| v.is_trainable() && (request.owns)(v);
            let (variables, grads): (Vec<_>, Vec<_>) =
                grads.variables().into_iter().filter(|(v, _)| own(v)).unzip();
            if let Some((v, g)) = variables.iter().zip(&grads).find(|(v, g)| v.value().dtype() != g.dtype()) {
                let (held, given) = (v.value().dtype(), g.dtype());
                let message = format!(
                    "a gradient is {given}, its variable is {held} by now; call backward after to_dtype, not before"
                );
                return Err(Error::dtype(request.op, message));
            }
            self.arrange(request.op, request.slots, &variables)?;
            let by_id: IdMap<&Tensor> = variables.iter().map(Variable::id).zip(&grads).collect();
            let mut packed = Vec::new();
            for arena in &self.arenas {
                let parts: Vec<Tensor> =
                    arena.variables.iter().filter_map(|v| by_id.get(&v.id()).map(|&g| g.clone())).collect();
                packed.push(arena.pack(&parts)?);
            }
            if let Some(clip) = request.clip {
                packed = clipped(&self.arenas, packed, clip)?;
            }
            let mut results = Vec::new();
            for (arena, grads) in self.arenas.iter_mut().zip(&packed) {
                arena.refresh()?;
                let factors = arena.factors(request.factors)?;
                let (values, state) = (&arena.values, &arena.state);
                let norms = &|x: &Tensor| arena.for_each_row(&arena.squares(x)?.sqrt()?);
                let (values, state) = formula(Arrays { values, grads, state, factors, norms })?;
                results.push((arena.constrained(request.op, values)?, state));
            }
            let mut pending = Vec::new();
            for (arena, (values, state)) in self.arenas.iter_mut().zip(results) {
                arena.replace(values, state)?;
                pending.push(arena.values.clone());
                pending.extend(arena.state.iter().cloned());
                pending.extend(arena.variables.iter().map(Variable::value));
            }
            Ok(pending)
        })
    }

    /// Packs these variables, so that the first step finds everything as later steps do.
    pub fn prepare(&mut self, op: &str, slots: &[Slot], variables: &[Variable]) -> Result<()> {
        no_grad(|| {
            let mut variables: Vec<Variable> =
                variables.iter().filter(|v| v.is_trainable()).cloned().collect();
            variables.sort_by_key(Variable::id); // as Gradients::variables gives them
            variables.dedup_by_key(|v| v.id());
            self.arrange(op, slots, &variables)
        })
    }

    /// Makes the arenas hold exactly these variables, in the type that each has; nothing to do in all steps but the first and where
    /// either changes.
    fn arrange(&mut self, op: &str, slots: &[Slot], variables: &[Variable]) -> Result<()> {
        match &self.slots {
            Some(known) if known != slots => {
                let message = "settings that change what the state consists of (momentum, centered, amsgrad, ema) can't be \
                               changed after the first step; make a new optimizer";
                return Err(Error::argument(op, message));
            }
            Some(_) => {}
            None => self.slots = Some(slots.to_vec()),
        }
        let known = self.arenas.iter().map(|g| g.variables.len()).sum::<usize>() == variables.len() && {
            let present: IdMap<()> = variables.iter().map(|v| (v.id(), ())).collect();
            let fits =
                |a: &Arena, v: &Variable| present.contains_key(&v.id()) && v.value().dtype() == a.dtype;
            self.arenas.iter().all(|a| a.variables.iter().all(|v| fits(a, v)))
        };
        if known {
            return Ok(());
        }
        for arena in std::mem::take(&mut self.arenas) {
            arena.park(&mut self.parked)?;
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
            let arena = Arena::new(device, dtype, members, slots, &mut self.parked)?;
            self.arenas.push(arena);
        }
        Ok(())
    }

    /// A variable's state, one tensor of its shape per slot; `None` where it has none yet.
    pub fn state_of(&self, variable: &Variable) -> Result<Option<Vec<Tensor>>> {
        if let Some(parked) = self.parked.get(&variable.id()) {
            return Ok(Some(parked.state.clone()));
        }
        for arena in &self.arenas {
            if let Some(i) = arena.variables.iter().position(|v| v.id() == variable.id()) {
                return no_grad(|| {
                    arena.state.iter().map(|s| arena.part(s, i)).collect::<Result<_>>().map(Some)
                });
            }
        }
        Ok(None)
    }

    /// That the variables hold what is trained: saved or set beside a state, averages would take its place.
    fn check_own(&self, op: &str) -> Result<()> {
        match &self.exchanged {
            None => Ok(()),
            Some(_) => Err(Error::argument(op, EXCHANGED)),
        }
    }

    /// The state under names `<slot>/<variable>`; what it begins with for a variable that has none yet.
    pub fn export(&self, op: &str, slots: &[Slot], variables: &[(String, Variable)]) -> Result<State> {
        self.check_own(op)?;
        let mut out = State::new();
        for (name, variable) in variables {
            let state = self.state_of(variable)?;
            for (i, slot) in slots.iter().enumerate() {
                let tensor = match state.as_ref().and_then(|s| s.get(i)) {
                    Some(tensor) => tensor.clone(),
                    None => no_grad(|| match slot.initial {
                        Initial::Constant(c) => (variable.value().zeros_like()? + c)?.detach(),
                        Initial::Value => variable.value().detach(),
                    })?,
                };
                out.push((format!("{}/{name}", slot.name), tensor));
            }
        }
        Ok(out)
    }

    /// Takes over what [`export`](Self::export) gave, all of it or nothing.
    pub fn import(
        &mut self,
        op: &str,
        slots: &[Slot],
        variables: &[(String, Variable)],
        state: &State,
    ) -> Result<()> {
        self.check_own(op)?;
        let by_name: HashMap<&str, &Tensor> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let mut imported = IdMap::default();
        for (name, variable) in variables {
            let value = variable.value();
            let tensors = slots.iter().map(|slot| {
                let tensor = state_entry(op, &by_name, &format!("{}/{name}", slot.name), value.dims())?;
                tensor.detach()?.cast(value.dtype())?.to_device(value.device())
            });
            let state = tensors.collect::<Result<Vec<_>>>()?;
            imported.insert(variable.id(), Parked { variable: variable.clone(), state });
        }
        self.slots = Some(slots.to_vec());
        // Parked state takes its place when the arenas are made anew, at the next update.
        for arena in std::mem::take(&mut self.arenas) {
            arena.park(&mut self.parked)?;
        }
        self.parked.extend(imported);
        Ok(())
    }

    /// Sets every variable to what it has in a slot, or back to what it held before. Whether it is exchanged now.
    pub fn exchange(&mut self, slot: usize) -> Result<bool> {
        no_grad(|| match self.exchanged.take() {
            None => {
                if let Some(slots) = self.slots.clone() {
                    let variables: Vec<Variable> =
                        self.arenas.iter().flat_map(|a| &a.variables).cloned().collect();
                    self.arrange("swap_averages", &slots, &variables)?;
                }
                let mut before = Vec::new();
                for parked in self.parked.values() {
                    if let Some(tensor) = parked.state.get(slot) {
                        before.push((parked.variable.clone(), parked.variable.value().detach()?));
                        put(&parked.variable, tensor)?;
                    }
                }
                for arena in &mut self.arenas {
                    arena.refresh()?;
                    arena.show(slot)?;
                }
                self.exchanged = Some(before);
                Ok(true)
            }
            Some(before) => {
                for (variable, value) in before {
                    put(&variable, &value)?;
                }
                for arena in &mut self.arenas {
                    arena.replace(arena.values.clone(), arena.state.clone())?;
                }
                Ok(false)
            }
        })
    }

    /// Sets every variable to what it has in a slot, for good.
    pub fn finish(&mut self, slot: usize) -> Result<()> {
        if self.exchanged.take().is_some() {
            return Ok(()); // they hold it already
        }
        self.exchange(slot)?;
        self.exchanged = None;
        Ok(())
    }
}

/// The gradients, clipped; see [`Clip`].
fn clipped(arenas: &[Arena], grads: Vec<Tensor>, clip: Clip) -> Result<Vec<Tensor>> {
    match clip {
        Clip::Value(limit) => grads.iter().map(|g| g.clamp(-limit, limit)).collect(),
        Clip::Norm(limit) => {
            let one = |(arena, g): (&Arena, &Tensor)| {
                let scale = super::clip::scale(&arena.squares(g)?.sqrt()?, limit)?;
                g * arena.for_each_row(&scale)?
            };
            arenas.iter().zip(&grads).map(one).collect()
        }
        Clip::GlobalNorm(limit) => {
            let mut squares = Vec::new();
            for (arena, g) in arenas.iter().zip(&grads) {
                squares.push(arena.without_gaps(g)?.square()?.sum(.., false)?);
            }
            let one = |g: &Tensor| {
                let mut sum: Option<Tensor> = None;
                for s in &squares {
                    let s = s.to_device(g.device())?.cast(g.dtype())?;
                    sum = Some(match sum {
                        Some(sum) => (sum + s)?,
                        None => s,
                    });
                }
                match sum {
                    Some(sum) => g * super::clip::global_scale(&sum.sqrt()?, limit)?,
                    None => Ok(g.clone()),
                }
            };
            grads.iter().map(one).collect()
        }
    }
}

/// Elements (rows times variables) up to which a GPU finds the norms of all variables in one kernel.
const ONE_KERNEL_NORMS: usize = 1 << 24;

impl Arena {
    fn new(
        device: Device,
        dtype: DType,
        variables: Vec<Variable>,
        slots: &[Slot],
        parked: &mut IdMap<Parked>,
    ) -> Result<Arena> {
        let shapes: Vec<Shape> = variables.iter().map(Variable::shape).collect();
        let (offsets, len) = pack_layout(shapes.iter().map(Shape::numel));
        // In the type that the variable has now.
        let of = |p: &Parked| p.state.iter().map(|t| t.cast(dtype)).collect::<Result<Vec<_>>>();
        let mut old: Vec<Option<Vec<Tensor>>> =
            variables.iter().map(|v| parked.get(&v.id()).map(of).transpose()).collect::<Result<_>>()?;
        // Real numbers rather than a repeated scalar: every later step then finds the same kind of thing.
        let constant = |c: f64, shape: &[usize]| Tensor::filled_dtype(Shape::new(shape)?, c, dtype, device);
        let values = pack_rows(&variables.iter().map(Variable::value).collect::<Vec<_>>())?;
        let mut state = Vec::new();
        for (i, slot) in slots.iter().enumerate() {
            let new = old.iter().all(Option::is_none);
            state.push(match slot.initial {
                Initial::Constant(c) if new => constant(c, &[len / PACK_ALIGNMENT, PACK_ALIGNMENT])?,
                initial => {
                    let mut parts = Vec::new();
                    for ((old, variable), shape) in old.iter_mut().zip(&variables).zip(&shapes) {
                        parts.push(match (old.as_mut().and_then(|o| o.get(i)), initial) {
                            (Some(tensor), _) => tensor.clone(),
                            (None, Initial::Constant(c)) => constant(c, shape)?,
                            (None, Initial::Value) => variable.value(),
                        });
                    }
                    pack_rows(&parts)?
                }
            });
        }
        let mut arena = Arena {
            device,
            dtype,
            variables,
            offsets,
            shapes,
            rows: len / PACK_ALIGNMENT,
            values: values.clone(),
            set: Vec::new(),
            state: Vec::new(),
            table: None,
            rows_of: OnceLock::new(),
        };
        arena.replace(values, state)?;
        let current: Vec<Tensor> = arena.variables.iter().map(Variable::value).collect();
        let mut all = vec![&arena.values];
        all.extend(&arena.state);
        all.extend(&current);
        eval(&all)?;
        for variable in &arena.variables {
            parked.remove(&variable.id());
        }
        Ok(arena)
    }

    fn pack(&self, parts: &[Tensor]) -> Result<Tensor> {
        pack_rows(parts)
    }

    /// Packs the variables again where somebody else has set them.
    fn refresh(&mut self) -> Result<()> {
        if !self.variables.iter().zip(&self.set).all(|(v, &id)| v.value().0.id == id) {
            self.values = self.pack(&self.variables.iter().map(Variable::value).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// One variable's part of a packed array.
    fn part(&self, packed: &Tensor, i: usize) -> Result<Tensor> {
        self.part_of_vector(&packed.reshape([self.rows * PACK_ALIGNMENT])?, i)
    }

    fn part_of_vector(&self, vector: &Tensor, i: usize) -> Result<Tensor> {
        vector.slice(0, self.offsets[i], self.shapes[i].numel())?.reshape(self.shapes[i])
    }

    /// Takes new arrays over and sets the variables to views of the new values.
    fn replace(&mut self, values: Tensor, state: Vec<Tensor>) -> Result<()> {
        self.values = values;
        self.state = state;
        self.set.clear();
        let vector = self.values.reshape([self.rows * PACK_ALIGNMENT])?;
        for (i, variable) in self.variables.iter().enumerate() {
            put(variable, &self.part_of_vector(&vector, i)?)?;
            self.set.push(variable.value().0.id);
        }
        Ok(())
    }

    /// Sets the variables to views of a slot.
    fn show(&self, slot: usize) -> Result<()> {
        let Some(packed) = self.state.get(slot) else { return Ok(()) };
        self.variables.iter().enumerate().try_for_each(|(i, v)| put(v, &self.part(packed, i)?))
    }

    /// New values, with what becomes of those of variables that are constrained.
    fn constrained(&self, op: &str, values: Tensor) -> Result<Tensor> {
        if !self.variables.iter().any(Variable::is_constrained) {
            return Ok(values);
        }
        let part = |(i, variable): (usize, &Variable)| variable.constrained(op, self.part(&values, i)?);
        let parts = self.variables.iter().enumerate().map(part).collect::<Result<Vec<_>>>()?;
        self.pack(&parts)
    }

    /// Cuts the state up again.
    fn park(self, parked: &mut IdMap<Parked>) -> Result<()> {
        for (i, variable) in self.variables.iter().enumerate() {
            let state = self.state.iter().map(|s| self.part(s, i)).collect::<Result<Vec<_>>>()?;
            parked.insert(variable.id(), Parked { variable: variable.clone(), state });
        }
        Ok(())
    }

    /// Which row belongs to which variable: the number of its elements in each row, `[rows, 1]`, and its own number.
    fn rows_of(&self) -> Result<&(Tensor, Tensor)> {
        if let Some(made) = self.rows_of.get() {
            return Ok(made);
        }
        let (mut valid, mut variable_of_row) = (Vec::new(), Vec::new());
        for (i, shape) in self.shapes.iter().enumerate() {
            let mut left = shape.numel();
            while left > 0 {
                valid.push(left.min(PACK_ALIGNMENT) as u32);
                variable_of_row.push(i as u32);
                left = left.saturating_sub(PACK_ALIGNMENT);
            }
        }
        let valid = Tensor::from_vec(valid, [self.rows, 1], self.device)?;
        let variable_of_row = Tensor::from_vec(variable_of_row, [self.rows], self.device)?;
        Ok(self.rows_of.get_or_init(|| (valid, variable_of_row)))
    }

    /// Numbers of the variables, `[variables]`, for each row: `[rows, 1]`.
    fn for_each_row(&self, numbers: &Tensor) -> Result<Tensor> {
        let (_, variable_of_row) = self.rows_of()?;
        numbers.index_select(0, variable_of_row)?.unsqueeze(1)
    }

    /// A packed array with zeros between the variables, where anything may stand.
    fn without_gaps(&self, packed: &Tensor) -> Result<Tensor> {
        if self.shapes.iter().all(|s| s.numel().is_multiple_of(PACK_ALIGNMENT)) {
            return Ok(packed.clone());
        }
        let (valid, _) = self.rows_of()?;
        iota(PACK_ALIGNMENT, packed.device())?.lt(valid)?.select(packed, 0.0)
    }

    /// The sum of squares of each variable's part, `[variables]`.
    fn squares(&self, packed: &Tensor) -> Result<Tensor> {
        let count = self.variables.len();
        if self.device == Device::Cpu || self.rows.saturating_mul(count) > ONE_KERNEL_NORMS {
            let of = |i| self.part(packed, i)?.square()?.sum(.., false);
            let each = (0..count).map(of).collect::<Result<Vec<_>>>()?;
            return Tensor::stack(&each, 0);
        }
        // Rows first; then, in one kernel for all variables, each adds up its own.
        let rows = self.without_gaps(packed)?.square()?.sum(1, false)?;
        let (_, variable_of_row) = self.rows_of()?;
        let own = iota(count, packed.device())?.unsqueeze(1)?.eq(variable_of_row)?;
        own.select(&rows, 0.0)?.sum(1, false)
    }

    /// The variables' factors: numbers where all have the same, else one per row.
    fn factors(&mut self, of: &dyn Fn(&Variable) -> Factors) -> Result<[Factor; 3]> {
        let each: Vec<Factors> = self.variables.iter().map(of).collect();
        let first = each.first().copied().unwrap_or_default();
        let differs: [bool; 3] = std::array::from_fn(|k| each.iter().any(|f| f[k] != first[k]));
        let columns = differs.iter().filter(|d| **d).count();
        if self.table.as_ref().is_none_or(|(known, _)| *known != each) {
            let mut numbers = Vec::with_capacity(columns * self.rows);
            for k in (0..3).filter(|&k| differs[k]) {
                for (f, shape) in each.iter().zip(&self.shapes) {
                    numbers.extend(std::iter::repeat_n(f[k], shape.numel().div_ceil(PACK_ALIGNMENT)));
                }
            }
            let table = match columns {
                0 => None,
                _ => Some(dispatch!(self.dtype, T => Tensor::from_vec(
                    numbers.iter().map(|&n| T::from_f64(n)).collect(), [columns, self.rows], self.device))?),
            };
            self.table = Some((each, table));
        }
        let table = self.table.as_ref().and_then(|(_, table)| table.as_ref());
        let mut factors = first.map(Factor::Same);
        let differing = factors.iter_mut().zip(differs).filter(|(_, differs)| *differs);
        for (column, (factor, _)) in differing.enumerate() {
            if let Some(table) = table {
                *factor = Factor::Rows(table.slice(0, column, 1)?.reshape([self.rows, 1])?);
            }
        }
        Ok(factors)
    }
}

/// Sets a variable to a value, in the type that it has now.
pub(super) fn put(variable: &Variable, value: &Tensor) -> Result<()> {
    variable.set(value.cast(variable.value().dtype())?)
}

/// Tensors as rows of one array, each beginning with a row of its own.
fn pack_rows(parts: &[Tensor]) -> Result<Tensor> {
    let packed = pack(parts)?;
    packed.reshape([packed.numel() / PACK_ALIGNMENT, PACK_ALIGNMENT])
}

impl std::fmt::Debug for Flat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<String> = self
            .arenas
            .iter()
            .map(|a| format!("{} {} on {}", a.variables.len(), a.dtype, a.device))
            .collect();
        f.write_str(if kinds.is_empty() { "no variables" } else { "variables: " })?;
        f.write_str(&kinds.join(", "))
    }
}
