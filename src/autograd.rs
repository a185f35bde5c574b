//! Reverse-mode differentiation: a walk over the same nodes that values are computed from.
//!
//! [`Tensor::backward`] asks each operation, users before inputs, for its vector-Jacobian product, which is written with
//! tensor operations: gradients are lazy, fused and differentiable like everything else, and only those that are needed
//! are built.

use crate::error::{Error, Result};
use crate::ops::pieces::{Piece, assemble};
use crate::ops::view::Alias;
use crate::tensor::{IdMap, Root, Tensor, Vjp, WithRespectTo, next_id, no_grad, recording};
use crate::variable::{Variable, Watched};
use std::collections::hash_map::Entry;

/// The gradients of one backward pass, by variable or watched tensor. Each has the shape, element type and device of what it is
/// of, and is lazy like any tensor.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([1.0f32, 2.0], Device::Cpu)?);
/// let x = Tensor::new([3.0f32, 4.0], Device::Cpu)?.watch()?;
/// let grads = (&w * &x)?.sum(.., false)?.backward()?;
/// assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [3.0, 4.0]);
/// assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [1.0, 2.0]);
/// assert_eq!(grads.loss().item::<f32>()?, 11.0);
/// # Ok(()) }
/// ```
#[must_use = "gradients change nothing: give them to an optimizer, or read them"]
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
        let map = grads.iter().map(|(v, g)| (v.id(), g.clone())).collect();
        Gradients { map, variables: grads.into_iter().map(|(v, _)| v).collect(), loss }
    }

    /// The gradient with respect to `of`.
    ///
    /// # Errors
    ///
    /// The loss does not depend on it, was computed within [`no_grad`], or it is a tensor that was not [watched](Tensor::watch).
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
    ///
    /// # Errors
    ///
    /// The device can't be used.
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
        let with = |v: &Variable| self.map.get(&v.id()).map(|g| (v.clone(), g.clone()));
        self.variables.iter().filter_map(with).collect()
    }

    /// The loss that the gradients are of.
    pub fn loss(&self) -> &Tensor {
        &self.loss
    }

    /// The gradients of these variables alone, such as those of one of two networks: an optimizer then leaves all others as they are.
    /// Those that the loss does not depend on have none.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (a, b) = (Variable::new(Tensor::ones([1], Device::Cpu)?), Variable::new(Tensor::ones([1], Device::Cpu)?));
    /// let grads = (&a * &b)?.sum(.., false)?.backward()?.only([&a]);
    /// Sgd::new(0.5).step(&grads)?;
    /// assert_eq!((a.value().item::<f32>()?, b.value().item::<f32>()?), (0.5, 1.0));
    /// # Ok(()) }
    /// ```
    pub fn only(self, variables: impl IntoIterator<Item = impl Into<Variable>>) -> Gradients {
        let kept: IdMap<()> = variables.into_iter().map(|v| (v.into().id(), ())).collect();
        let Gradients { mut map, mut variables, loss } = self;
        map.retain(|id, _| kept.contains_key(id));
        variables.retain(|v| kept.contains_key(&v.id()));
        Gradients { map, variables, loss }
    }

    /// Replaces a gradient, as clipping does.
    ///
    /// # Errors
    ///
    /// The gradient has another shape than what it is of, or that is a tensor that was not watched.
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
    /// This tensor as one that gradients can be asked for (TensorFlow's `GradientTape.watch`). What is computed from the tensor
    /// that this gives has one, what is computed from the tensor itself has none.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1.0f32, -2.0], Device::Cpu)?.watch()?;
    /// let grads = x.square()?.sum(.., false)?.backward()?;
    /// assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [2.0, -4.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor ends a chain of so many operations that it is computed now, and that fails.
    pub fn watch(&self) -> Result<Tensor> {
        Tensor::rooted(&self.detach()?, Root { id: next_id(), slot: None })
    }

    /// Gradients of this scalar (of one element, whatever its rank) with respect to every variable and watched tensor that it was
    /// computed from. Nothing is computed yet; [`Variable`] has an example.
    ///
    /// # Errors
    ///
    /// The tensor has not exactly one element, or depends on nothing that has a gradient.
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

    /// The gradient of this scalar (of one element, whatever its rank) with respect to each of some tensors that it was computed from,
    /// such as the outputs of layers: PyTorch's `autograd.grad`. They need not be watched, but must have been computed from variables or
    /// watched tensors. Gradients can be differentiated again. Zeros for a tensor that this one was not computed from.
    ///
    /// Of one tensor it is one, of an array an array, of a slice a vector:
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Tensor::new([1.0f32], Device::Cpu)?.watch()?, Tensor::new([3.0f32], Device::Cpu)?.watch()?);
    /// let z = (x.square()? * &y)?;
    /// let [of_x, of_y] = z.gradients([&x, &y])?; // 2 x y and x^2
    /// assert_eq!((of_x.item::<f32>()?, of_y.item::<f32>()?), (6.0, 1.0));
    /// assert_eq!(of_x.gradients(&x)?.item::<f32>()?, 6.0); // 2 y
    /// assert_eq!(z.gradients(&[&x, &y])?.len(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor has not exactly one element, or one of the others has no gradient: it was computed from nothing that has one, or
    /// within [`no_grad`].
    pub fn gradients<P: WithRespectTo>(&self, of: P) -> Result<P::Gradients> {
        P::gradients(self.gradients_of(of.places())?)
    }

    fn gradients_of(&self, of: &[&Tensor]) -> Result<Vec<Tensor>> {
        const OP: &str = "Tensor::gradients";
        if self.numel() != 1 {
            let message =
                format!("the tensor has shape {}; reduce it to one element (sum, mean)", self.shape());
            return Err(Error::shape(OP, message));
        }
        if let Some((place, _)) = of.iter().enumerate().find(|(_, x)| !x.is_tracked()) {
            let message = format!(
                "tensor {place} depends on no variable that is trained and on no watched tensor (or was computed within no_grad);                  watch() what it is computed from"
            );
            return Err(Error::argument(OP, message));
        }
        let mut places: Vec<Tensor> = Vec::new();
        for &x in of {
            if places.iter().all(|other| other.0.id != x.0.id) {
                places.push(x.clone());
            }
        }
        let upstream = no_grad(|| self.ones_like())?;
        let found = match self.is_tracked() {
            // One of several may have been computed from another.
            true => walk_past(&[(self, &upstream)], &places, places.len() > 1)?.at_stops,
            false => vec![None; places.len()],
        };
        let of_place = |x: &&Tensor| match places.iter().position(|p| p.0.id == x.0.id).map(|i| &found[i]) {
            Some(Some(gradient)) => Ok(gradient.clone()),
            _ => x.detach()?.zeros_like(),
        };
        of.iter().map(of_place).collect()
    }

    /// Gradients of `sum(self * upstream)`: the vector-Jacobian product with `upstream`, which has this tensor's shape and type.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([1.0f32, 2.0], Device::Cpu)?.watch()?;
    /// let grads = x.square()?.backward_with(&Tensor::new([1.0f32, 10.0], Device::Cpu)?)?;
    /// assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [2.0, 40.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `upstream` has another shape or type, or the tensor depends on nothing that has a gradient.
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
        let Adjoints { map, mut variables, .. } = walk(&[(self, upstream)], &[])?;
        variables.sort_by_key(Variable::id);
        Ok(Gradients { map, variables, loss: self.clone() })
    }
}

/// What the walk from a tensor to what it was computed from has found: gradients of the tensor with respect to these places.
struct Adjoints {
    map: IdMap<Tensor>,
    variables: Vec<Variable>,
    /// Gradients of the places where it was told to stop.
    at_stops: Vec<Option<Tensor>>,
}

/// The gradients of `sum(y * upstream)`, over all pairs of `y` and `upstream`, with respect to each of `at`; `None` where there is
/// none. Those of variables and watched tensors on the way are left out.
pub(crate) fn vjp(of: &[(&Tensor, &Tensor)], at: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
    Ok(walk(of, at)?.at_stops)
}

/// The backward pass from tensors with their upstream gradients. It goes no further than `stops`, which are tracked but need not
/// be watched.
fn walk(from: &[(&Tensor, &Tensor)], stops: &[Tensor]) -> Result<Adjoints> {
    walk_past(from, stops, false)
}

/// As [`walk`]; or it goes on past the stops, to those that they were computed from.
fn walk_past(from: &[(&Tensor, &Tensor)], stops: &[Tensor], past: bool) -> Result<Adjoints> {
    let (order, position) = tracked_order(from.iter().map(|f| f.0), if past { &[] } else { stops });
    // by position in `order`
    let mut pending: Vec<Accumulated> = vec![Accumulated::default(); order.len()];
    let mut found =
        Adjoints { map: IdMap::default(), variables: Vec::new(), at_stops: vec![None; stops.len()] };
    let mut needs: Vec<bool> = Vec::new();
    for (tensor, upstream) in from {
        if let Some(&at) = position.get(&tensor.0.id) {
            pending[at].add((*upstream).clone())?;
        }
    }
    for (at, tensor) in order.iter().enumerate().rev() {
        let Some(grad) = std::mem::take(&mut pending[at]).finish()? else { continue };
        if let Some(stop) = stops.iter().position(|s| s.0.id == tensor.0.id) {
            found.at_stops[stop] = Some(grad.clone());
            if !past {
                continue;
            }
        }
        if let Some(root) = &tensor.0.root {
            if !found.map.contains_key(&root.id) {
                found.variables.extend(Variable::of(root));
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
                    pending[at].add(grad)?;
                }
            }
        }
    }
    Ok(found)
}

/// The gradients of a tensor's uses, added up as they come.
#[derive(Clone, Default)]
struct Accumulated {
    whole: Option<Tensor>,
    /// Those of uses that took a part of the tensor, all along one axis: [`assemble`] knows how to add many.
    pieces: Vec<Piece>,
    /// The first piece as it came: alone, it stays that.
    first: Option<Tensor>,
}

impl Accumulated {
    fn add(&mut self, grad: Tensor) -> Result<()> {
        match Piece::of(&grad) {
            Some(piece) if self.pieces.first().is_none_or(|first| first.axis == piece.axis) => {
                self.first.get_or_insert(grad);
                self.pieces.push(piece);
            }
            _ => self.whole = Some(sum(self.whole.take(), grad)?),
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Tensor>> {
        let pieces = match self.first {
            Some(first) if self.pieces.len() > 1 => assemble(self.pieces, &first.shape())?,
            Some(first) => first,
            None => return Ok(self.whole),
        };
        Ok(Some(sum(self.whole, pieces)?))
    }
}

/// The value of `f`, a scalar, at some tensors, and its gradient with respect to each of them: what a `GradientTape` that
/// watches them gives, or JAX's `value_and_grad`.
///
/// Variables in `f` are constants here. A gradient can be differentiated again: calls may be nested. With respect to tensors that
/// the value does not depend on it is zeros.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([1.0f32, 2.0, 3.0], Device::Cpu)?;
/// let (value, gradients) = wgrad::value_and_grad(|x| x[0].square()?.sum(.., false), &[&x])?;
/// assert_eq!(value.item::<f32>()?, 14.0);
/// assert_eq!(gradients[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Those of `f`, a value that has not exactly one element, and calls within [`no_grad`].
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
        Tensor::from_op(Alias, vec![x.clone()], x.shape(), x.dtype(), x.device())
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
        if value.is_tracked() { walk(&[(&value, &upstream)], &own)?.at_stops } else { vec![None; own.len()] };
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
/// let cubes = |x: &[Tensor]| (x[0].square()? * &x[0])?.sum(.., false);
/// assert_eq!(grad(cubes, &[&x])?[0].to_vec::<f32>()?, [3.0, 12.0]);
/// // the second derivative: the gradient of the gradient's sum
/// let second = grad(|x| grad(cubes, &[&x[0]])?[0].sum(.., false), &[&x])?;
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

/// The tracked nodes that tensors were computed from, no further than `stops`, inputs before users, and where each of them
/// stands; without recursion.
fn tracked_order<'t>(
    from: impl Iterator<Item = &'t Tensor>,
    stops: &[Tensor],
) -> (Vec<Tensor>, IdMap<usize>) {
    let mut seen: IdMap<usize> = IdMap::with_capacity_and_hasher(128, Default::default());
    let mut order = Vec::with_capacity(128);
    let mut stack: Vec<(Tensor, bool)> =
        from.filter(|t| t.is_tracked()).map(|t| (t.clone(), false)).collect();
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
