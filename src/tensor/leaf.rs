//! Leaves: values given from outside, and what stands for a value that is not known yet.

use super::node::{Grads, Node, NodeState, Operation, Tensor, Value, Vjp, next_id};
use crate::cpu::Array;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::Lowering;
use crate::shape::Spec;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// A tensor that has its value from the beginning.
#[derive(Debug, Hash)]
pub(crate) struct Constant;

impl Operation for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(Vec::new())
    }
    fn cpu(&self, _inputs: &[Array], _out: &Spec) -> Result<Array> {
        Err(Error::internal("a constant without a value"))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Unsupported("a constant without a value".into())
    }
}

impl Tensor {
    /// A tensor that already has its value.
    pub(crate) fn from_value(value: Value, spec: Spec, device: Device) -> Tensor {
        let state = Mutex::new(NodeState { inputs: Vec::new(), value: Some(value) });
        let op = Arc::new(Constant);
        let mark = AtomicU64::new(0);
        let node =
            Node { id: next_id(), op, spec, device, tracked: false, root: None, depth: 0, mark, state };
        Tensor(Arc::new(node))
    }
}

/// What stands for a value in a function that is being traced: that of an argument, or of a variable that it reads.
#[derive(Debug, Hash)]
pub(crate) enum Placeholder {
    Input,
    Variable,
}

impl Operation for Placeholder {
    fn name(&self) -> &'static str {
        match self {
            Placeholder::Input => "input",
            Placeholder::Variable => "variable",
        }
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(Vec::new())
    }
    fn cpu(&self, _inputs: &[Array], _out: &Spec) -> Result<Array> {
        Err(not_known())
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Unsupported("this value is known only when the graph is called".into())
    }
}

/// What reading a value gives in a function that is being traced.
pub(crate) fn not_known() -> Error {
    let message = "this value is known only when the function is called: it depends on an argument of a function that is being \
                   recorded (by Graph::trace, or as the body of a scan), or on a variable that it reads. Return it, and read it \
                   after Graph::call or scan";
    Error::argument("Graph::trace", message)
}
