//! Making nodes.

use super::node::{Node, NodeState, Operation, Root, SYMBOLIC, Tensor, next_id, recording};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::shape::{Shape, Spec};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// A pending chain longer than this is computed when it is extended, so that a loop that never looks at its result
/// can't grow for ever. Far above the depth of a training step of a deep network.
const MAX_PENDING_DEPTH: u32 = 2000;

impl Tensor {
    /// A node for `op` over `inputs`. The caller has checked shapes, types and devices.
    pub(crate) fn from_op(
        op: impl Operation,
        inputs: Vec<Tensor>,
        shape: Shape,
        dtype: DType,
        device: Device,
    ) -> Result<Tensor> {
        let tracked = dtype.is_float() && inputs.iter().any(|t| t.0.tracked) && recording();
        Self::build(Arc::new(op), inputs, Spec { shape, dtype }, device, tracked, None)
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
        let state = Mutex::new(NodeState { inputs, value: None });
        let node =
            Node { id: next_id(), op, spec, device, tracked, root, depth, mark: AtomicU64::new(0), state };
        let tensor = Tensor(Arc::new(node));
        if depth > MAX_PENDING_DEPTH && depth != SYMBOLIC {
            crate::backend::eval(&[&tensor])?;
        }
        Ok(tensor)
    }

    /// A leaf that has no value and never will: it stands for one in a function that is being traced.
    pub(crate) fn symbolic(
        op: impl Operation,
        spec: Spec,
        device: Device,
        tracked: bool,
        root: Option<Root>,
    ) -> Tensor {
        let state = Mutex::new(NodeState { inputs: Vec::new(), value: None });
        let (id, mark) = (next_id(), AtomicU64::new(0));
        let node = Node { id, op: Arc::new(op), spec, device, tracked, root, depth: SYMBOLIC, mark, state };
        Tensor(Arc::new(node))
    }
}
