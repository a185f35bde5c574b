//! Variables: slots whose tensors training changes.
//!
//! While a function is traced ([`trace`]), a variable that it reads becomes a leaf without a value, and what it sets a variable
//! to is noted, to be done at each call.
// Over 500 lines in one file: reading and setting a variable is what tracing notes, and each needs the other.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::view::Alias;
use crate::sealed;
use crate::tensor::{IntoOperand, Placeholder, Projection, Root, Slot, Tensor, next_id, no_grad};
use std::cell::{Cell, RefCell};
use std::ops::{Add, Div, Mul, Sub};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// A named slot for a tensor that training changes. Clones share the slot.
///
/// A tensor computed from the variable keeps the value that it read, whatever is set later.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::from_slice(&[1.0f32, 2.0], [2], Device::Cpu)?);
/// let loss = w.value().square()?.sum(.., false)?;
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

impl Variable {
    /// A variable that holds `initial`: gradients flow to it, and optimizers change it.
    pub fn new(initial: Tensor) -> Variable {
        let variable = Variable::holding(initial.clone(), true);
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
        Variable::holding(held, false)
    }

    fn holding(tensor: Tensor, trainable: bool) -> Variable {
        let (tensor, trainable) = (Mutex::new(tensor), AtomicBool::new(trainable));
        Variable { id: next_id(), slot: Arc::new(Slot { tensor, trainable, constraint: Mutex::default() }) }
    }

    /// Whether gradients flow to this variable, and optimizers change it. True at first.
    pub fn is_trainable(&self) -> bool {
        self.slot.trainable.load(Relaxed)
    }

    /// Freezes the variable or releases it again: what is computed from now on from a frozen variable treats it as a
    /// constant, so no gradient is computed for it and no optimizer changes it. It can still be [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// A function is being traced, or the value can't be computed.
    pub fn set_trainable(&self, trainable: bool) -> Result<()> {
        if trainable == self.is_trainable() {
            return Ok(());
        }
        forbid("Variable::set_trainable", "freeze or release variables before the call")?;
        let value = self.value().detach()?;
        let value = if trainable { Tensor::rooted(&value, self.root())? } else { value };
        self.slot.trainable.store(trainable, Relaxed);
        self.replace(value);
        Ok(())
    }

    /// The variable that a root is of, while somebody holds it; `None` for a watched tensor.
    pub(crate) fn of(root: &Root) -> Option<Variable> {
        let slot = root.slot.as_ref()?.upgrade()?;
        Some(Variable { id: root.id, slot })
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
        if let Some(substitute) = substituted(self) {
            return substitute;
        }
        if is_tracing() { read(self) } else { self.stored() }
    }

    /// What is in the slot, also while a function is being traced.
    pub(crate) fn stored(&self) -> Tensor {
        self.slot.tensor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another tensor (or the result of an operation) into the slot; shape, type and device must stay. Within a
    /// function that [`Graph::trace`](crate::Graph::trace) records, each call of the graph will do it.
    ///
    /// # Errors
    ///
    /// That of the operation that was to give the value, the value has another shape, type or device, or the body of a
    /// [`scan`](crate::graph::scan) sets the variable.
    pub fn set(&self, value: impl IntoResult) -> Result<()> {
        let value = value.into_result()?;
        if LOOPING.with(Cell::get) {
            let message = "the body of a scan is recorded once and can't set variables; hand the value on from turn to turn, \
                           and set the variable to the last one";
            return Err(Error::argument("Variable::set", message));
        }
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
        if !is_tracing() || !assign(self, &value, &new) {
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

    /// Adds a tensor of the same shape and type to the value in the slot.
    ///
    /// # Errors
    ///
    /// The sum has another shape than the value, or `delta` another type or device.
    pub fn add_assign(&self, delta: &Tensor) -> Result<()> {
        self.set(no_grad(|| self.value() + delta))
    }

    /// Has every optimizer change the value that it computes to what a function makes of it, in place of what was said before: to
    /// one that is not negative, or of norm 1. [`nn::Constraint`](crate::nn::Constraint) has Keras's. It is evaluated together with
    /// the update, and gives a tensor of the same shape, type and device; another is an error of the update.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let w = Variable::new(Tensor::new([1.0f32, 0.25], Device::Cpu)?);
    /// w.constrain(|w| w.clamp(0.0, 0.5));
    /// let mut sgd = Sgd::new(0.5);
    /// sgd.step(&w.value().sum(.., false)?.backward()?)?;
    /// assert_eq!(w.value().to_vec::<f32>()?, [0.5, 0.0]);
    /// # Ok(()) }
    /// ```
    pub fn constrain(&self, project: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static) {
        self.put_constraint(Some(Arc::new(project)));
    }

    /// Lets the variable have any value again.
    pub fn release_constraint(&self) {
        self.put_constraint(None);
    }

    /// Whether updates are [constrained](Self::constrain).
    pub fn is_constrained(&self) -> bool {
        self.constraint().is_some()
    }

    fn put_constraint(&self, constraint: Option<Projection>) {
        *self.slot.constraint.lock().unwrap_or_else(PoisonError::into_inner) = constraint;
    }

    /// What an update may set the variable to, in place of a value.
    pub(crate) fn constrained(&self, op: &str, value: Tensor) -> Result<Tensor> {
        let Some(project) = self.constraint() else { return Ok(value) };
        let allowed = project(&value)?;
        if allowed.0.spec != value.0.spec || allowed.device() != value.device() {
            let message = format!(
                "the constraint of a variable {} {} on {} gave {} {} on {}; expected the same shape, type and device",
                value.dtype(),
                value.shape(),
                value.device(),
                allowed.dtype(),
                allowed.shape(),
                allowed.device()
            );
            return Err(Error::shape(op, message));
        }
        Ok(allowed)
    }

    fn constraint(&self) -> Option<Projection> {
        self.slot.constraint.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::ones([2], Device::Cpu)?);
/// w.set(w.value() * 3.0)?; // a result: no question mark is needed inside
/// assert_eq!(w.value().to_vec::<f32>()?, [3.0, 3.0]);
/// # Ok(()) }
/// ```
pub trait IntoResult: sealed::IntoResult {
    /// The tensor.
    ///
    /// # Errors
    ///
    /// That of computing it.
    fn into_result(self) -> Result<Tensor>;
}

impl sealed::IntoResult for Tensor {}

impl IntoResult for Tensor {
    fn into_result(self) -> Result<Tensor> {
        Ok(self)
    }
}

impl sealed::IntoResult for &Tensor {}

impl IntoResult for &Tensor {
    fn into_result(self) -> Result<Tensor> {
        Ok(self.clone())
    }
}

impl sealed::IntoResult for Result<Tensor> {}

impl IntoResult for Result<Tensor> {
    fn into_result(self) -> Result<Tensor> {
        self
    }
}

/// What a gradient can be asked for: a [`Variable`], or a tensor made by [`Tensor::watch`]. [`Gradients`](crate::Gradients) has an
/// example.
pub trait Watched: sealed::Watched {
    /// The identity that gradients are filed under; `None` where nothing is watched.
    fn gradient_id(&self) -> Option<u64>;
    /// The value, whose shape the gradient has.
    fn watched_value(&self) -> Tensor;
}

impl sealed::Watched for Variable {}

impl Watched for Variable {
    fn gradient_id(&self) -> Option<u64> {
        Some(self.id)
    }
    fn watched_value(&self) -> Tensor {
        self.value()
    }
}

impl sealed::Watched for Tensor {}

impl Watched for Tensor {
    fn gradient_id(&self) -> Option<u64> {
        self.0.root.as_ref().map(|r| r.id)
    }
    fn watched_value(&self) -> Tensor {
        self.clone()
    }
}

impl sealed::IntoOperand for &Variable {}

impl IntoOperand for &Variable {
    fn into_operand(self, _like: &Tensor) -> Result<Tensor> {
        Ok(self.value())
    }
    fn element_type(&self) -> Option<DType> {
        Some(self.value().dtype())
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident),*) => {$(
        impl<O: IntoOperand> $trait<O> for &Variable {
            type Output = Result<Tensor>;
            fn $method(self, rhs: O) -> Result<Tensor> { self.value().$method(rhs) }
        }
    )*};
}
operator!(Add add, Sub sub, Mul mul, Div div);

impl Tensor {
    /// A node that carries a gradient root: backward stops here and reports the gradient under `root`.
    pub(crate) fn rooted(inner: &Tensor, root: Root) -> Result<Tensor> {
        let op = Arc::new(Alias);
        Self::build(op, vec![inner.clone()], inner.0.spec, inner.0.device, true, Some(root))
    }

    /// The same values, constant to gradients (TensorFlow's `stop_gradient`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new([3.0f32], Device::Cpu)?.watch()?;
    /// let y = (&x * x.detach()?)?.sum(.., false)?;
    /// assert_eq!(y.backward()?.get(&x)?.to_vec::<f32>()?, [3.0]); // not 6
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor ends a chain of so many operations that it is computed now, and that fails.
    pub fn detach(&self) -> Result<Tensor> {
        if !self.is_tracked() {
            return Ok(self.clone());
        }
        no_grad(|| Tensor::from_op(Alias, vec![self.clone()], self.shape(), self.dtype(), self.device()))
    }
}

thread_local! {
    /// Whether this thread is tracing a function: all that costs code outside of it a look at a flag.
    static TRACING: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is recording the body of a loop.
    static LOOPING: Cell<bool> = const { Cell::new(false) };
    /// What variables have in place of their values, the innermost last.
    static SUBSTITUTES: RefCell<Vec<(u64, Tensor)>> = const { RefCell::new(Vec::new()) };
    /// What the functions being traced read and set, the innermost last.
    static USES: RefCell<Vec<Uses>> = const { RefCell::new(Vec::new()) };
}

/// What one of them reads and sets.
#[derive(Default)]
struct Uses {
    variables: Vec<Used>,
}

/// A variable that a traced function reads or sets.
pub(crate) struct Used {
    pub variable: Variable,
    /// Stands for its value at the beginning of a call.
    pub leaf: Tensor,
    /// What reading it gives now.
    current: Tensor,
    /// What it was set to last, without a root.
    pub assigned: Option<Tensor>,
}

/// Whether this thread is tracing a function.
fn is_tracing() -> bool {
    TRACING.with(Cell::get)
}

/// An error where a function is being traced, or the body of a loop recorded.
pub(crate) fn forbid(op: &str, instead: &str) -> Result<()> {
    if !is_tracing() && !LOOPING.with(Cell::get) {
        return Ok(());
    }
    let message = format!(
        "is not possible in a function that is being recorded (by Graph::trace, or as the body of a scan); {instead}"
    );
    Err(Error::argument(op, message))
}

/// Runs `f`, in which reading a variable gives another tensor: one that is computed of the variable's value, say.
pub(crate) fn substitute<R>(variable: &Variable, value: Tensor, f: impl FnOnce() -> R) -> R {
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            let last = SUBSTITUTES.with(|s| s.borrow_mut().pop());
            drop(last);
        }
    }
    SUBSTITUTES.with(|s| s.borrow_mut().push((variable.id(), value)));
    let _last = Last;
    f()
}

fn substituted(variable: &Variable) -> Option<Tensor> {
    SUBSTITUTES.with(|s| {
        s.borrow().iter().rev().find(|(id, _)| *id == variable.id()).map(|(_, value)| value.clone())
    })
}

fn with_uses<R>(f: impl FnOnce(&mut Uses) -> R) -> Option<R> {
    USES.with(|r| r.borrow_mut().last_mut().map(f))
}

impl Uses {
    fn of(&mut self, variable: &Variable) -> &mut Used {
        let known = self.variables.iter().position(|u| u.variable.id() == variable.id());
        let at = known.unwrap_or_else(|| {
            let stored = variable.stored();
            let trainable = variable.is_trainable();
            let root = trainable.then(|| variable.root());
            let leaf =
                Tensor::symbolic(Placeholder::Variable, stored.0.spec, stored.device(), trainable, root);
            let used = Used { variable: variable.clone(), current: leaf.clone(), leaf, assigned: None };
            self.variables.push(used);
            self.variables.len() - 1
        });
        &mut self.variables[at]
    }
}

/// The value of a variable within the function that is being traced.
fn read(variable: &Variable) -> Tensor {
    let stored = variable.stored();
    // A variable made of what is not known yet lives within the function.
    if stored.is_symbolic() {
        return stored;
    }
    with_uses(|r| r.of(variable).current.clone()).unwrap_or(stored)
}

/// Sets a variable within the function that is being traced: `value`, and the same with the variable's root. `false` for
/// a variable that lives within the function.
fn assign(variable: &Variable, value: &Tensor, rooted: &Tensor) -> bool {
    if variable.stored().is_symbolic() {
        return false;
    }
    let noted = with_uses(|r| {
        let used = r.of(variable);
        used.current = rooted.clone();
        used.assigned = Some(value.clone());
    });
    noted.is_some()
}

/// Runs `f`, a function that is being traced, and tells which variables it has read or set, the first used first.
pub(crate) fn trace<R>(f: impl FnOnce() -> R) -> (R, Vec<Used>) {
    let guard = Guard::begin();
    let result = f();
    let used = with_uses(|r| std::mem::take(&mut r.variables)).unwrap_or_default();
    drop(guard);
    (result, used)
}

/// Runs `f`, the body of a loop: no variable can be set in it.
pub(crate) fn inside_loop<R>(f: impl FnOnce() -> R) -> R {
    struct Outer(bool);
    impl Drop for Outer {
        fn drop(&mut self) {
            LOOPING.with(|l| l.set(self.0));
        }
    }
    let _outer = Outer(LOOPING.with(|l| l.replace(true)));
    f()
}

/// Takes what is noted of a function away when it ends, whether it returns or panics.
struct Guard {
    outer: bool,
}

impl Guard {
    fn begin() -> Guard {
        USES.with(|r| r.borrow_mut().push(Uses::default()));
        Guard { outer: TRACING.with(|t| t.replace(true)) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TRACING.with(|t| t.set(self.outer));
        let uses = USES.with(|r| r.borrow_mut().pop());
        drop(uses);
    }
}
