//! The life of a tensor: an immutable node of a lazy graph.
//!
//! Invariants:
//! - A node's operation, shape, element type and device never change; its value, once there, never changes either.
//!   The exception is what nobody reads again: the value that an [`Entry::in_place`](super::Entry) replaces may be overwritten or
//!   forgotten.
//! - Else a node without a value has all its inputs. A node with a value drops them, unless gradients may still flow through it.
//! - Dropping or walking a graph never recurses: chains may be hundreds of thousands of nodes long.

use crate::cpu::{Array, kernels::Finish};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::GpuArray;
use crate::ops::key::Identity;
use crate::ops::{Lowering, Pointwise};
use crate::shape::{Shape, Spec};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A computed value, on the device it was computed on.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Cpu(Array),
    Gpu(GpuArray),
}

impl Value {
    /// Whether it can be overwritten: it is contiguous (on a GPU all are), and nothing else refers to its memory.
    pub fn is_sole(&self) -> bool {
        match self {
            Value::Cpu(array) => array.is_sole(),
            Value::Gpu(array) => Arc::strong_count(&array.buffer) == 1,
        }
    }
}

/// An n-dimensional array on a device; a cheap handle (`Clone` copies a pointer) to an immutable, lazily computed value.
///
/// Operations check shapes at once and compute nothing; values are computed when they are asked for
/// ([`to_vec`](Tensor::to_vec), [`item`](Tensor::item), [`eval`](Tensor::eval)) or when an optimizer steps.
///
/// Operators and methods give a `Result`, and take one, so that chains need few question marks.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?;
/// let y = (&x * 2.0)? + 1.0; // a result: nothing is computed yet
/// let z = y?.matmul(&x)?;
/// assert_eq!((z.shape().to_vec(), z.to_vec::<f32>()?), (vec![2, 2], vec![18.0, 26.0, 34.0, 50.0]));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// An operation checks what it is given where it is called: shapes ([`Error::Shape`](crate::Error::Shape)), element types
/// ([`Error::DType`](crate::Error::DType)), devices ([`Error::DeviceMismatch`](crate::Error::DeviceMismatch)) and arguments
/// ([`Error::Argument`](crate::Error::Argument)). What only the values tell, such as an index outside its axis, is an error of the
/// call that computes on the CPU, and on a GPU of the next one that waits for the device.
#[derive(Clone)]
#[must_use = "operations change nothing: their result does nothing unless it is used"]
pub struct Tensor(pub(crate) Arc<Node>);

pub(crate) struct Node {
    pub id: u64,
    pub op: Arc<dyn Operation>,
    pub spec: Spec,
    pub device: Device,
    /// Whether gradients may flow through this node.
    pub tracked: bool,
    /// What gradients are taken with respect to, where this node is such a place: backward stops here.
    pub root: Option<Root>,
    /// Length of the longest chain of values not computed yet that ends here, when it was made; [`SYMBOLIC`] for what
    /// depends on an input of a function that is being traced.
    pub depth: u32,
    /// Where the node is in the graph that was collected last with it: see [`Pending::collect`](super::pending::Pending).
    pub mark: AtomicU64,
    pub(super) state: Mutex<NodeState>,
}

/// What a gradient is filed under: a variable, or a watched tensor (which has no slot).
#[derive(Clone)]
pub(crate) struct Root {
    pub id: u64,
    pub slot: Option<Weak<Slot>>,
}

/// What clones of a variable share.
pub(crate) struct Slot {
    /// Rooted while the variable is trainable.
    pub tensor: Mutex<Tensor>,
    pub trainable: AtomicBool,
    /// What each update changes the value to, where that is wanted.
    pub constraint: Mutex<Option<Projection>>,
}

/// From a value to one that a variable may have.
pub(crate) type Projection = Arc<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// What an operation's gradient rule is given.
pub(crate) struct Vjp<'a> {
    pub inputs: &'a [Tensor],
    pub output: &'a Tensor,
    /// The gradient of the loss with respect to the output: same shape and type as the output.
    pub grad: &'a Tensor,
    /// Which inputs' gradients are wanted; the rule may leave out the others.
    pub needs: &'a [bool],
}

/// Gradients with respect to the inputs, in order; `None` where there is none or none was wanted.
pub(crate) type Grads = Vec<Option<Tensor>>;

/// An operation: what a node computes from its inputs. Two of equal [`Identity`], input and output specs compute the same
/// function.
pub(crate) trait Operation: Identity + Send + Sync + std::fmt::Debug + 'static {
    /// Name as users know it.
    fn name(&self) -> &'static str;

    /// The operation with another stream of random numbers, where it begins one: see [`Graph::call_seeded`].
    ///
    /// [`Graph::call_seeded`]: crate::graph::Graph::call_seeded
    fn reseeded(&self, _seed: u64) -> Option<Arc<dyn Operation>> {
        None
    }

    /// Floating-point operations that it takes, for profiles: 0 for all that memory bounds rather than arithmetic.
    fn flops(&self, _inputs: &[Spec], _out: &Spec) -> u64 {
        0
    }

    /// The vector-Jacobian product, written with tensor operations.
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads>;

    /// Whether its GPU kernel comes from outside the crate: then every access and loop of it is checked, in release builds too.
    fn foreign(&self) -> bool {
        false
    }

    /// Whether the value is zero wherever the first input is not positive, by what the operation is given.
    fn vanishes_with_input(&self) -> bool {
        false
    }

    /// The axis and the index along it from which on its only input stands among zeros, where it is no more than that: a part of
    /// the gradient of what was cut along the axis.
    fn place_among_zeros(&self, _input: &Shape, _out: &Shape) -> Option<(usize, usize)> {
        None
    }

    /// Which input it is where a condition holds, being 0 elsewhere: a gradient of one side of a `where`.
    fn masked(&self) -> Option<usize> {
        None
    }

    /// Computes the value on the CPU.
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array>;

    /// Whether it changes a part of its first input and keeps the rest: then it may be computed in that input's memory, where
    /// nobody else will read it ([`Entry::in_place`](super::pending::Entry)).
    fn overwrites(&self) -> bool {
        false
    }

    /// As [`cpu`](Self::cpu), in the memory of the first input where nothing else refers to it.
    fn cpu_owned(&self, inputs: Vec<Array>, out: &Spec) -> Result<Array> {
        self.cpu(&inputs, out)
    }

    /// The number that a scalar from the host is.
    fn number(&self) -> Option<f64> {
        None
    }

    /// The function of a pointwise operation.
    fn pointwise(&self) -> Option<Pointwise> {
        None
    }

    /// The CPU kernel that leaves its output in pieces, if there is one.
    fn pieces(&self) -> Option<&dyn Pieces> {
        None
    }

    /// How the GPU computes it.
    fn gpu(&self, inputs: &[Spec], out: &Spec) -> Lowering<'_>;
}

/// An operation whose CPU kernel hands over each piece of its output while it is in a core's cache.
pub(crate) trait Pieces {
    /// As [`Operation::cpu`] for f32, calling `finish` on each piece.
    fn cpu_pieces(&self, inputs: &[Array], out: &Spec, finish: Finish<f32>) -> Result<Array>;
}

pub(super) struct NodeState {
    pub inputs: Vec<Tensor>,
    pub value: Option<Value>,
}

/// The depth of nodes that can't be computed, because they stand for what a traced function will be called with.
pub(super) const SYMBOLIC: u32 = u32::MAX;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A number that no other node or variable has.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Relaxed)
}

impl Node {
    fn state(&self) -> MutexGuard<'_, NodeState> {
        // A panic elsewhere can't leave the state half-written: every update is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn inputs(&self) -> Vec<Tensor> {
        self.state().inputs.clone()
    }

    /// Runs `f` on the inputs without copying the handles.
    pub fn with_inputs<R>(&self, f: impl FnOnce(&[Tensor]) -> R) -> R {
        f(&self.state().inputs)
    }

    pub fn value(&self) -> Option<Value> {
        self.state().value.clone()
    }

    /// Runs `f` on the value without copying the handle.
    pub fn with_value<R>(&self, f: impl FnOnce(Option<&Value>) -> R) -> R {
        f(self.state().value.as_ref())
    }

    /// Runs `f` on the inputs where there is no value yet; else gives `None`.
    pub fn if_pending<R>(&self, f: impl FnOnce(&[Tensor]) -> R) -> Option<R> {
        let state = self.state();
        state.value.is_none().then(|| f(&state.inputs))
    }

    /// Lets go of the value. Nobody may need it any more: for a node that only one other refers to, which is about to have its
    /// own value.
    pub fn forget_value(&self) {
        self.state().value = None;
    }

    pub fn has_value(&self) -> bool {
        self.state().value.is_some()
    }

    /// Stores the computed value and lets go of what it was computed from, unless gradients need it.
    pub fn set_value(&self, value: Value) {
        let mut state = self.state();
        if state.value.is_none() {
            state.value = Some(value);
        }
        if !self.tracked || self.root.is_some() {
            let inputs = std::mem::take(&mut state.inputs);
            drop(state);
            drop(inputs);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut stack = std::mem::take(&mut state.inputs);
        // Unlink the chain that only this node keeps alive, node by node, instead of recursing.
        while let Some(tensor) = stack.pop() {
            if let Some(mut node) = Arc::into_inner(tensor.0) {
                let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                stack.append(&mut state.inputs);
            }
        }
    }
}

impl Tensor {
    /// Whether both are one node, and not two of equal values.
    pub(crate) fn is_same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A pending node that no gradient flows through. The caller has checked shapes, types and devices.
    pub(crate) fn untracked(op: impl Operation, inputs: Vec<Tensor>, spec: Spec, device: Device) -> Tensor {
        let state = Mutex::new(NodeState { inputs, value: None });
        let (id, mark) = (next_id(), AtomicU64::new(0));
        let op = Arc::new(op);
        Tensor(Arc::new(Node { id, op, spec, device, tracked: false, root: None, depth: 1, mark, state }))
    }

    /// Whether the value depends on an input of a function that is being traced, and so is not to be had.
    pub(crate) fn is_symbolic(&self) -> bool {
        self.0.depth == SYMBOLIC
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> Shape {
        self.0.spec.shape
    }

    /// The dimensions as a slice.
    pub fn dims(&self) -> &[usize] {
        &self.0.spec.shape
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.spec.shape.rank()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.0.spec.shape.numel()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.spec.dtype
    }

    /// The device that holds it.
    pub fn device(&self) -> Device {
        self.0.device
    }

    /// Whether gradients may flow through this tensor.
    pub fn is_tracked(&self) -> bool {
        self.0.tracked
    }
}

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
