//! The life of a tensor: an immutable node of a lazy graph.
//!
//! Invariants:
//! - A node's operation, shape, element type and device never change; its value, once there, never changes either.
//! - A node without a value has all its inputs. A node with a value drops them, unless gradients may still flow through it.
//! - Dropping or walking a graph never recurses: chains may be hundreds of thousands of nodes long.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::Operation;
use crate::shape::Shape;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Shape and element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Dimensions, outermost first.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl Spec {
    /// A spec of these two.
    pub fn new(shape: Shape, dtype: DType) -> Self {
        Spec { shape, dtype }
    }

    /// Bytes of a contiguous value.
    pub fn bytes(&self) -> usize {
        self.shape.numel() * self.dtype.size()
    }
}

/// A computed value, on the device it was computed on.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Cpu(crate::cpu::Array),
    Gpu(crate::gpu::GpuArray),
}

/// An n-dimensional array on a device; a cheap handle (`Clone` copies a pointer) to an immutable, lazily computed value.
///
/// Operations check shapes at once and compute nothing; values are computed when they are asked for
/// ([`to_vec`](Tensor::to_vec), [`item`](Tensor::item), [`eval`](Tensor::eval)) or when an optimizer steps.
#[derive(Clone)]
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
    /// Where the node is in the graph that was collected last with it: see [`Graph::collect`](crate::eval::Graph).
    pub mark: AtomicU64,
    state: Mutex<State>,
}

/// What a gradient is filed under: a variable, or a watched tensor (which has no slot).
#[derive(Clone)]
pub(crate) struct Root {
    pub id: u64,
    pub slot: Option<Weak<crate::autograd::Slot>>,
}

struct State {
    inputs: Vec<Tensor>,
    value: Option<Value>,
}

/// A pending chain longer than this is computed when it is extended, so that a loop that never looks at its result
/// can't grow for ever. Far above the depth of a training step of a deep network.
const MAX_PENDING_DEPTH: u32 = 2000;

/// The depth of nodes that can't be computed, because they stand for what a traced function will be called with.
const SYMBOLIC: u32 = u32::MAX;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A number that no other node or variable has.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Relaxed)
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
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
    /// A node for `op` over `inputs`. The caller has checked shapes, types and devices.
    pub(crate) fn from_op(
        op: impl Operation,
        inputs: Vec<Tensor>,
        shape: Shape,
        dtype: DType,
        device: Device,
    ) -> Result<Tensor> {
        let tracked = dtype.is_float() && inputs.iter().any(|t| t.0.tracked) && crate::autograd::recording();
        Self::build(Arc::new(op), inputs, Spec { shape, dtype }, device, tracked, None)
    }

    /// A node that carries a gradient root: backward stops here and reports the gradient under `root`.
    pub(crate) fn rooted(inner: &Tensor, root: Root) -> Result<Tensor> {
        let op = Arc::new(crate::ops::view::Alias);
        Self::build(op, vec![inner.clone()], inner.0.spec, inner.0.device, true, Some(root))
    }

    /// A leaf that has no value and never will: it stands for one in a function that is being traced.
    pub(crate) fn symbolic(
        op: impl Operation,
        spec: Spec,
        device: Device,
        tracked: bool,
        root: Option<Root>,
    ) -> Tensor {
        let state = Mutex::new(State { inputs: Vec::new(), value: None });
        let (id, mark) = (next_id(), AtomicU64::new(0));
        let node = Node { id, op: Arc::new(op), spec, device, tracked, root, depth: SYMBOLIC, mark, state };
        Tensor(Arc::new(node))
    }

    /// Whether the value depends on an input of a function that is being traced, and so is not to be had.
    pub(crate) fn is_symbolic(&self) -> bool {
        self.0.depth == SYMBOLIC
    }

    /// A node of an operation that another node has as well.
    pub(crate) fn build(
        op: Arc<dyn Operation>,
        inputs: Vec<Tensor>,
        spec: Spec,
        device: Device,
        tracked: bool,
        root: Option<Root>,
    ) -> Result<Tensor> {
        let pending = |t: &Tensor| if t.0.depth == 0 || t.0.has_value() { 0 } else { t.0.depth };
        let depth = inputs.iter().map(pending).max().unwrap_or(0).saturating_add(1);
        let state = Mutex::new(State { inputs, value: None });
        let node =
            Node { id: next_id(), op, spec, device, tracked, root, depth, mark: AtomicU64::new(0), state };
        let tensor = Tensor(Arc::new(node));
        if depth > MAX_PENDING_DEPTH && depth != SYMBOLIC {
            crate::eval::eval(&[&tensor])?;
        }
        Ok(tensor)
    }

    /// A tensor that already has its value.
    pub(crate) fn from_value(value: Value, spec: Spec, device: Device) -> Tensor {
        let state = Mutex::new(State { inputs: Vec::new(), value: Some(value) });
        let op = Arc::new(crate::ops::constant::Constant);
        let mark = AtomicU64::new(0);
        let node =
            Node { id: next_id(), op, spec, device, tracked: false, root: None, depth: 0, mark, state };
        Tensor(Arc::new(node))
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
