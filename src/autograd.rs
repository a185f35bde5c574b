//! Reverse-mode differentiation: a walk over the same nodes that values are computed from.
//!
//! [`Tensor::backward`] asks each operation, users before inputs, for its vector-Jacobian product, which is written with
//! tensor operations: gradients are lazy, fused and differentiable like everything else, and only those that are needed
//! are built.

use crate::error::{Error, Result};
use crate::eval::IdMap;
use crate::ops::Vjp;
use crate::tensor::{Root, Tensor, next_id};
use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

thread_local! {
    static PAUSED: Cell<u32> = const { Cell::new(0) };
}

/// Whether operations of this thread are recorded for gradients.
pub(crate) fn recording() -> bool {
    PAUSED.with(|p| p.get() == 0)
}

/// Runs `f` without recording: what it computes is constant to [`Tensor::backward`].
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::ones([2], Device::Cpu)?);
/// let frozen = wgrad::no_grad(|| w.value() * 3.0)?;
/// assert!(!frozen.is_tracked());
/// # Ok(()) }
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    struct Resume;
    impl Drop for Resume {
        fn drop(&mut self) {
            PAUSED.with(|p| p.set(p.get() - 1));
        }
    }
    PAUSED.with(|p| p.set(p.get() + 1));
    let _resume = Resume;
    f()
}

/// A named slot for a tensor that training changes. Clones share the slot.
///
/// A tensor computed from the variable keeps the value that it read, whatever is set later.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::from_slice(&[1.0f32, 2.0], [2], Device::Cpu)?);
/// let loss = w.value().square()?.sum(&[], false)?;
/// let grads = loss.backward()?;
/// assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [2.0, 4.0]);
/// w.set(w.value() - (grads.get(&w)? * 0.5)?)?;
/// assert_eq!(w.value().to_vec::<f32>()?, [0.0, 0.0]);
/// assert_eq!(loss.item::<f32>()?, 5.0); // computed from the values it read
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Variable {
    id: u64,
    slot: Arc<Slot>,
}

/// What clones of a variable share.
pub(crate) struct Slot {
    /// Rooted while the variable is trainable.
    tensor: Mutex<Tensor>,
    trainable: AtomicBool,
}

impl Variable {
    /// A variable that holds `initial`.
    pub fn new(initial: Tensor) -> Variable {
        let slot = Slot { tensor: Mutex::new(initial.clone()), trainable: AtomicBool::new(true) };
        let variable = Variable { id: next_id(), slot: Arc::new(slot) };
        // Only computing a pending chain can fail here; the initial tensor then fails again when it is read.
        if let Ok(rooted) = initial.detach().and_then(|t| Tensor::rooted(&t, variable.root())) {
            variable.replace(rooted);
        }
        variable
    }

    /// A variable that gradients don't reach, such as a running mean.
    pub fn not_trainable(initial: Tensor) -> Variable {
        // As in `new`: only a chain that can't be computed fails, and fails again when it is read.
        let held = initial.detach().unwrap_or(initial);
        let slot = Slot { tensor: Mutex::new(held), trainable: AtomicBool::new(false) };
        Variable { id: next_id(), slot: Arc::new(slot) }
    }

    /// Whether gradients flow to this variable, and optimizers change it. True at first.
    pub fn is_trainable(&self) -> bool {
        self.slot.trainable.load(Relaxed)
    }

    /// Freezes the variable or releases it again: what is computed from now on from a frozen variable treats it as a
    /// constant, so no gradient is computed for it and no optimizer changes it. It can still be [`set`](Self::set).
    pub fn set_trainable(&self, trainable: bool) -> Result<()> {
        if trainable == self.is_trainable() {
            return Ok(());
        }
        crate::graph::forbid("Variable::set_trainable", "freeze or release variables before the call")?;
        let value = self.value().detach()?;
        let value = if trainable { Tensor::rooted(&value, self.root())? } else { value };
        self.slot.trainable.store(trainable, Relaxed);
        self.replace(value);
        Ok(())
    }

    pub(crate) fn root(&self) -> Root {
        Root { id: self.id, slot: Some(Arc::downgrade(&self.slot)) }
    }

    fn replace(&self, tensor: Tensor) {
        let old =
            std::mem::replace(&mut *self.slot.tensor.lock().unwrap_or_else(PoisonError::into_inner), tensor);
        // outside the lock: dropping may free a long graph
        drop(old);
    }

    /// What tells this variable from others; clones share it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The current tensor; gradients flow to this variable from all that is computed from it. Within a function that
    /// [`Graph::trace`](crate::Graph::trace) records: the tensor that the variable will hold when the graph is called.
    pub fn value(&self) -> Tensor {
        if crate::graph::is_tracing() { crate::graph::read(self) } else { self.stored() }
    }

    /// What is in the slot, also while a function is being traced.
    pub(crate) fn stored(&self) -> Tensor {
        self.slot.tensor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another tensor (or the result of an operation) into the slot; shape, type and device must stay. Within a
    /// function that [`Graph::trace`](crate::Graph::trace) records, each call of the graph will do it.
    pub fn set(&self, value: impl IntoResult) -> Result<()> {
        let value = value.into_result()?;
        let old = self.value();
        if value.0.spec != old.0.spec || value.device() != old.device() {
            let message = format!(
                "the variable holds {} {} on {}, the new value is {} {} on {}; make a new Variable instead",
                old.dtype(),
                old.shape(),
                old.device(),
                value.dtype(),
                value.shape(),
                value.device()
            );
            return Err(Error::shape("Variable::set", message));
        }
        let value = value.detach()?;
        let new = if self.is_trainable() { Tensor::rooted(&value, self.root())? } else { value.clone() };
        if !crate::graph::is_tracing() || !crate::graph::assign(self, &value, &new) {
            self.replace(new);
        }
        Ok(())
    }

    /// Puts a tensor of any type on any device into the slot, as a move to another device needs.
    pub(crate) fn exchange(&self, value: &Tensor) -> Result<()> {
        let value = value.detach()?;
        let rooted = if self.is_trainable() { Tensor::rooted(&value, self.root())? } else { value };
        self.replace(rooted);
        Ok(())
    }

    /// Adds to the value in the slot.
    pub fn add_assign(&self, delta: &Tensor) -> Result<()> {
        self.set(no_grad(|| self.value() + delta))
    }

    /// Dimensions of the value.
    pub fn shape(&self) -> crate::Shape {
        self.value().shape()
    }
}

/// Clones share the slot, so that a list of variables can be made of references, too.
impl From<&Variable> for Variable {
    fn from(variable: &Variable) -> Variable {
        variable.clone()
    }
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let v = self.value();
        write!(f, "Variable({} {} on {})", v.dtype(), v.shape(), v.device())
    }
}

/// A tensor, or the result of computing one: what [`Variable::set`] takes.
pub trait IntoResult {
    /// The tensor or the error.
    fn into_result(self) -> Result<Tensor>;
}

impl IntoResult for Tensor {
    fn into_result(self) -> Result<Tensor> {
        Ok(self)
    }
}

impl IntoResult for &Tensor {
    fn into_result(self) -> Result<Tensor> {
        Ok(self.clone())
    }
}

impl IntoResult for Result<Tensor> {
    fn into_result(self) -> Result<Tensor> {
        self
    }
}

/// What a gradient can be asked for: a [`Variable`], or a tensor made by [`Tensor::watch`].
pub trait Watched {
    /// The identity that gradients are filed under; `None` where nothing is watched.
    fn gradient_id(&self) -> Option<u64>;
    /// The value, whose shape the gradient has.
    fn watched_value(&self) -> Tensor;
}

impl Watched for Variable {
    fn gradient_id(&self) -> Option<u64> {
        Some(self.id)
    }
    fn watched_value(&self) -> Tensor {
        self.value()
    }
}

impl Watched for Tensor {
    fn gradient_id(&self) -> Option<u64> {
        self.0.root.as_ref().map(|r| r.id)
    }
    fn watched_value(&self) -> Tensor {
        self.clone()
    }
}

/// The gradients of one backward pass, by variable or watched tensor.
pub struct Gradients {
    map: IdMap<Tensor>,
    /// The variables among what the loss depends on.
    variables: Vec<Variable>,
    /// The loss they come from: computed along with them, so that reading it later costs nothing.
    loss: Tensor,
}

impl Gradients {
    /// Gradients that were computed otherwise, such as the mean of several: of these variables, oldest first.
    pub(crate) fn of_variables(grads: Vec<(Variable, Tensor)>, loss: Tensor) -> Gradients {
        let map = grads.iter().map(|(v, g)| (v.id, g.clone())).collect();
        Gradients { map, variables: grads.into_iter().map(|(v, _)| v).collect(), loss }
    }

    /// The gradient with respect to `of`. An error where the loss does not depend on it.
    pub fn get(&self, of: &impl Watched) -> Result<Tensor> {
        let Some(id) = of.gradient_id() else {
            let message =
                "the tensor is not watched; make it with tensor.watch()? before computing the loss from it";
            return Err(Error::argument("Gradients::get", message));
        };
        self.map.get(&id).cloned().ok_or_else(|| {
            let message =
                "the loss does not depend on this variable (or was computed within no_grad, or detached)";
            Error::argument("Gradients::get", message)
        })
    }

    /// The gradient with respect to `of`, zeros where the loss does not depend on it.
    pub fn get_or_zeros(&self, of: &impl Watched) -> Result<Tensor> {
        match of.gradient_id().and_then(|id| self.map.get(&id)) {
            Some(g) => Ok(g.clone()),
            None => of.watched_value().detach()?.zeros_like(),
        }
    }

    /// Whether the loss depends on `of`.
    pub fn contains(&self, of: &impl Watched) -> bool {
        of.gradient_id().is_some_and(|id| self.map.contains_key(&id))
    }

    /// The variables that the loss depends on, oldest first, each with its gradient.
    pub fn variables(&self) -> Vec<(Variable, Tensor)> {
        let with = |v: &Variable| self.map.get(&v.id).map(|g| (v.clone(), g.clone()));
        self.variables.iter().filter_map(with).collect()
    }

    /// The loss that the gradients are of.
    pub fn loss(&self) -> &Tensor {
        &self.loss
    }

    /// Replaces a gradient, as clipping does.
    pub fn insert(&mut self, of: &impl Watched, gradient: Tensor) -> Result<()> {
        let Some(id) = of.gradient_id() else {
            return Err(Error::argument("Gradients::insert", "the tensor is not watched"));
        };
        if gradient.shape() != of.watched_value().shape() {
            let message = format!(
                "the gradient is {}, the variable {}; they must have one shape",
                gradient.shape(),
                of.watched_value().shape()
            );
            return Err(Error::shape("Gradients::insert", message));
        }
        self.map.insert(id, gradient);
        Ok(())
    }

    /// Number of variables and watched tensors that the loss depends on.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether the loss depends on nothing that is watched.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl std::fmt::Debug for Gradients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gradients({} variables, {} in all)", self.variables.len(), self.map.len())
    }
}

impl Tensor {
    /// This tensor as one that gradients can be asked for (TensorFlow's `GradientTape.watch`).
    pub fn watch(&self) -> Result<Tensor> {
        Tensor::rooted(&self.detach()?, Root { id: next_id(), slot: None })
    }

    /// The same values, constant to gradients.
    pub fn detach(&self) -> Result<Tensor> {
        if !self.is_tracked() {
            return Ok(self.clone());
        }
        no_grad(|| {
            let alias = crate::ops::view::Alias;
            Tensor::from_op(alias, vec![self.clone()], self.shape(), self.dtype(), self.device())
        })
    }

    /// Gradients of this scalar with respect to every variable and watched tensor that it was computed from.
    pub fn backward(&self) -> Result<Gradients> {
        if self.numel() != 1 {
            let message = format!(
                "the loss has shape {}; reduce it to one element (mean, sum) or give an upstream gradient to backward_with",
                self.shape()
            );
            return Err(Error::shape("backward", message));
        }
        self.backward_with(&no_grad(|| self.ones_like())?)
    }

    /// Gradients of `sum(self * upstream)`: the vector-Jacobian product with `upstream`.
    pub fn backward_with(&self, upstream: &Tensor) -> Result<Gradients> {
        if !self.is_tracked() {
            let message = "the tensor does not depend on any variable or watched tensor";
            return Err(Error::argument("backward", message));
        }
        if upstream.0.spec != self.0.spec {
            let message =
                format!("the upstream gradient is {}, the tensor {}", upstream.shape(), self.shape());
            return Err(Error::shape("backward", message));
        }
        let Walk { map, mut variables, .. } = walk(self, upstream, &[])?;
        variables.sort_by_key(|v| v.id);
        Ok(Gradients { map, variables, loss: self.clone() })
    }
}

/// What a walk from a tensor to what it was computed from has found.
struct Walk {
    map: IdMap<Tensor>,
    variables: Vec<Variable>,
    /// Gradients of the places where it was told to stop.
    at_stops: Vec<Option<Tensor>>,
}

/// The backward pass. It goes no further than `stops`, which are tracked but need not be watched.
fn walk(from: &Tensor, upstream: &Tensor, stops: &[Tensor]) -> Result<Walk> {
    let (order, position) = tracked_order(from, stops);
    // by position in `order`
    let mut pending: Vec<Option<Tensor>> = vec![None; order.len()];
    let mut found = Walk { map: IdMap::default(), variables: Vec::new(), at_stops: vec![None; stops.len()] };
    let mut needs: Vec<bool> = Vec::new();
    if let Some(last) = pending.last_mut() {
        *last = Some(upstream.clone());
    }
    for (at, tensor) in order.iter().enumerate().rev() {
        let Some(grad) = pending[at].take() else { continue };
        if let Some(stop) = stops.iter().position(|s| s.0.id == tensor.0.id) {
            found.at_stops[stop] = Some(grad);
            continue;
        }
        if let Some(root) = &tensor.0.root {
            if let Some(slot) = root.slot.as_ref().and_then(std::sync::Weak::upgrade)
                && !found.map.contains_key(&root.id)
            {
                found.variables.push(Variable { id: root.id, slot });
            }
            let sum = sum(found.map.remove(&root.id), grad)?;
            found.map.insert(root.id, sum);
            continue;
        }
        let inputs = tensor.0.inputs();
        needs.clear();
        needs.extend(inputs.iter().map(|t| t.0.tracked));
        let cx = Vjp { inputs: &inputs, output: tensor, grad: &grad, needs: &needs };
        let grads = tensor.0.op.vjp(&cx)?;
        for ((input, &needed), grad) in inputs.iter().zip(&needs).zip(grads) {
            if let (true, Some(grad)) = (needed, grad) {
                debug_assert_eq!(grad.shape(), input.shape(), "gradient of {}", tensor.0.op.name());
                if let Some(&at) = position.get(&input.0.id) {
                    pending[at] = Some(sum(pending[at].take(), grad)?);
                }
            }
        }
    }
    Ok(found)
}

/// The value of `f`, a scalar, at some tensors, and its gradient with respect to each of them: what a `GradientTape` that
/// watches them gives, or JAX's `value_and_grad`.
///
/// Variables in `f` are constants here. A gradient can be differentiated again: calls may be nested.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([1.0f32, 2.0, 3.0], Device::Cpu)?;
/// let (value, gradients) = wgrad::value_and_grad(|x| x[0].square()?.sum(&[], false), &[&x])?;
/// assert_eq!(value.item::<f32>()?, 14.0);
/// assert_eq!(gradients[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Those of `f`, a value that has more than one element, and calls within [`no_grad`]. Tensors that the value does not depend on have a gradient of
/// zeros.
pub fn value_and_grad(
    f: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    at: &[&Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    if !recording() {
        return Err(Error::argument(
            "value_and_grad",
            "nothing has a gradient within no_grad; call it outside",
        ));
    }
    // Nodes of their own, through which gradients of the result still flow to what the tensors were computed from.
    let own = |&x: &&Tensor| {
        if !x.is_tracked() {
            return x.watch();
        }
        let alias = crate::ops::view::Alias;
        Tensor::from_op(alias, vec![x.clone()], x.shape(), x.dtype(), x.device())
    };
    let own: Vec<Tensor> = at.iter().map(own).collect::<Result<_>>()?;
    let value = f(&own)?;
    if value.numel() != 1 {
        let message =
            format!("the function must give one element, got shape {}; reduce it (sum, mean)", value.shape());
        return Err(Error::shape("value_and_grad", message));
    }
    let upstream = no_grad(|| value.ones_like())?;
    let walk =
        if value.is_tracked() { walk(&value, &upstream, &own)?.at_stops } else { vec![None; own.len()] };
    let gradient = |(gradient, x): (Option<Tensor>, &&Tensor)| match gradient {
        Some(gradient) => Ok(gradient),
        None => x.detach()?.zeros_like(),
    };
    let gradients = walk.into_iter().zip(at).map(gradient).collect::<Result<_>>()?;
    Ok((value, gradients))
}

/// The gradient of `f`, a scalar, with respect to each of some tensors.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// use wgrad::grad;
/// let x = Tensor::new([1.0f32, -2.0], Device::Cpu)?;
/// let cubes = |x: &[Tensor]| (x[0].square()? * &x[0])?.sum(&[], false);
/// assert_eq!(grad(cubes, &[&x])?[0].to_vec::<f32>()?, [3.0, 12.0]);
/// // the second derivative: the gradient of the gradient's sum
/// let second = grad(|x| grad(cubes, &[&x[0]])?[0].sum(&[], false), &[&x])?;
/// assert_eq!(second[0].to_vec::<f32>()?, [6.0, -12.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`value_and_grad`].
pub fn grad(f: impl FnOnce(&[Tensor]) -> Result<Tensor>, at: &[&Tensor]) -> Result<Vec<Tensor>> {
    Ok(value_and_grad(f, at)?.1)
}

fn sum(so_far: Option<Tensor>, grad: Tensor) -> Result<Tensor> {
    match so_far {
        Some(old) => old + grad,
        None => Ok(grad),
    }
}

/// The tracked nodes that `tensor` was computed from, no further than `stops`, inputs before users, and where each of them
/// stands; without recursion.
fn tracked_order(tensor: &Tensor, stops: &[Tensor]) -> (Vec<Tensor>, IdMap<usize>) {
    let mut seen: IdMap<usize> = IdMap::with_capacity_and_hasher(128, Default::default());
    let mut order = Vec::with_capacity(128);
    let mut stack = vec![(tensor.clone(), false)];
    while let Some((tensor, expanded)) = stack.pop() {
        if expanded {
            seen.insert(tensor.0.id, order.len());
            order.push(tensor);
            continue;
        }
        match seen.entry(tensor.0.id) {
            Entry::Occupied(_) => continue,
            // until its inputs are in order
            Entry::Vacant(place) => place.insert(usize::MAX),
        };
        stack.push((tensor.clone(), true));
        if tensor.0.root.is_none() && stops.iter().all(|s| s.0.id != tensor.0.id) {
            tensor.0.with_inputs(|inputs| {
                let tracked = inputs.iter().filter(|t| t.0.tracked && !seen.contains_key(&t.0.id));
                stack.extend(tracked.map(|t| (t.clone(), false)));
            });
        }
    }
    (order, seen)
}
