//! Recording a function once, and running the recording.
//!
//! While a function is traced, its arguments are leaves without a value, and so is every variable that it reads; what it sets
//! a variable to is noted and done at each call ([`crate::variable`]). [`Trace::of`] writes down what the results depend on as
//! a list, inputs before users; [`Trace::replay`] makes the same nodes anew over other leaves.

use super::spec::TensorSpec;
use crate::backend::eval;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{
    Entry, IdMap, Loop, Looped, Operation, Pending, Placeholder, Root, Spec, Tensor, inputs_first, next_id,
    recording,
};
use crate::variable::{self, Variable};
use std::sync::Arc;

/// Where a node of a trace comes from.
#[derive(Clone)]
pub(super) enum Source {
    /// The argument of this number.
    Input(usize),
    /// The value of the variable of this number.
    Variable(usize),
    /// A tensor that the function holds: the same in each call.
    Held(Tensor),
    Op {
        op: Arc<dyn Operation>,
        inputs: Vec<u32>,
        tracked: bool,
        root: Option<Root>,
    },
}

pub(super) struct TraceNode {
    pub source: Source,
    pub spec: Spec,
    pub device: Device,
}

impl TraceNode {
    /// About how many bytes it holds. A loop holds a turn twice: as it was recorded, and as the backends have it.
    fn bytes(&self) -> usize {
        fn operations(l: &Loop) -> usize {
            l.graph.entries.iter().map(|e| 1 + Looped::of(&*e.tensor.0.op).map_or(0, operations)).sum()
        }
        let turn = match &self.source {
            Source::Op { op, .. } => Looped::of(&**op).map_or(0, operations),
            _ => 0,
        };
        (1 + 2 * turn) * (size_of::<TraceNode>() + OPERATION_BYTES)
    }
}

/// What a function does to arguments of one signature.
pub(super) struct Trace {
    pub signature: Vec<TensorSpec>,
    /// For each argument, whether gradients flow to it.
    tracked: Vec<bool>,
    /// Whether it was traced outside of `no_grad`.
    recording: bool,
    pub nodes: Vec<TraceNode>,
    pub outputs: Vec<u32>,
    /// Variables that are read, whether they were trainable, and the type that they had.
    variables: Vec<(Variable, bool, DType)>,
    /// Variables that are set: numbers of variables, and the nodes of their new values.
    assigned: Vec<(usize, u32)>,
    /// About how many bytes it holds: its nodes, and the values that the function made itself. Those that it captured would
    /// be there without it.
    pub bytes: usize,
}

/// What an operation takes, about: its fields, the list of its inputs, what the allocator adds.
const OPERATION_BYTES: usize = 128;

fn foreign() -> Error {
    let message = "the function uses a tensor that belongs to another function that is being traced, or was; hand it over \
                   as an argument";
    Error::argument("Graph::trace", message)
}

impl Trace {
    /// Traces a function. `tracked`: to which arguments gradients flow.
    pub fn of(
        signature: &[TensorSpec],
        tracked: Vec<bool>,
        f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<Trace> {
        let recording = recording();
        let first = next_id();
        let leaves: Vec<Tensor> = signature
            .iter()
            .zip(&tracked)
            .map(|(s, &tracked)| Tensor::symbolic(Placeholder::Input, s.spec, s.device, tracked, None))
            .collect();
        let (results, used) = variable::trace(|| f(&leaves));
        let results = results?;
        let assigned: Vec<(usize, Tensor)> =
            used.iter().enumerate().filter_map(|(k, u)| Some((k, u.assigned.clone()?))).collect();
        let mut places: IdMap<Source> = IdMap::default();
        for (i, leaf) in leaves.iter().enumerate() {
            places.insert(leaf.0.id, Source::Input(i));
        }
        for (k, u) in used.iter().enumerate() {
            places.insert(u.leaf.0.id, Source::Variable(k));
        }
        let roots: Vec<&Tensor> = results.iter().chain(assigned.iter().map(|a| &a.1)).collect();
        let (nodes, positions) = list(&roots, first, &places)?;
        let held: Vec<&Tensor> = nodes
            .iter()
            .filter_map(|n| match &n.source {
                Source::Held(t) => Some(t),
                _ => None,
            })
            .collect();
        // They are the same in every call: computed once, now.
        eval(&held)?;
        let own = held.iter().filter(|t| t.0.id >= first);
        let bytes =
            nodes.iter().map(TraceNode::bytes).sum::<usize>() + own.map(|t| t.0.spec.bytes()).sum::<usize>();
        let at = |t: &Tensor| positions.get(&t.0.id).copied().unwrap_or_default();
        Ok(Trace {
            signature: signature.to_vec(),
            tracked,
            recording,
            outputs: results.iter().map(at).collect(),
            assigned: assigned.iter().map(|(k, t)| (*k, at(t))).collect(),
            variables: used
                .iter()
                .map(|u| (u.variable.clone(), u.variable.is_trainable(), u.leaf.dtype()))
                .collect(),
            nodes,
            bytes,
        })
    }

    /// Whether it is what the function would do to these arguments.
    pub fn fits(&self, signature: &[TensorSpec], tracked: &[bool]) -> bool {
        self.signature == signature
            && self.tracked == tracked
            && self.recording == recording()
            && self
                .variables
                .iter()
                .all(|(v, trainable, dtype)| v.is_trainable() == *trainable && v.stored().dtype() == *dtype)
    }

    /// Whether it is of the same arguments: then it is out of date where it doesn't fit.
    pub fn is_of(&self, other: &Trace) -> bool {
        (&self.signature, &self.tracked, self.recording)
            == (&other.signature, &other.tracked, other.recording)
    }

    /// Makes the nodes over these arguments and the variables' present values, sets the variables that the function
    /// sets, and gives the results. `seed` makes other random numbers.
    pub fn replay(&self, inputs: &[&Tensor], seed: Option<u64>) -> Result<Vec<Tensor>> {
        // All are read before any is set.
        let variables: Vec<Tensor> = self.variables.iter().map(|(v, ..)| v.value()).collect();
        let built = self.build(|i| inputs[i].clone(), |k| variables[k].clone(), seed)?;
        for &(k, node) in &self.assigned {
            self.variables[k].0.set(&built[node as usize])?;
        }
        Ok(self.outputs.iter().map(|&o| built[o as usize].clone()).collect())
    }

    fn build(
        &self,
        input: impl Fn(usize) -> Tensor,
        variable: impl Fn(usize) -> Tensor,
        seed: Option<u64>,
    ) -> Result<Vec<Tensor>> {
        let mut built: Vec<Tensor> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let tensor = match &node.source {
                Source::Input(i) => input(*i),
                Source::Variable(k) => variable(*k),
                Source::Held(t) => t.clone(),
                Source::Op { op, inputs, tracked, root } => {
                    let op = seed.and_then(|s| op.reseeded(s)).unwrap_or_else(|| op.clone());
                    let inputs = inputs.iter().map(|&i| built[i as usize].clone()).collect();
                    // A watched tensor is another one in each call.
                    let root = root.as_ref().map(|r| match r.slot {
                        None => Root { id: next_id(), slot: None },
                        Some(_) => r.clone(),
                    });
                    Tensor::build(op, inputs, node.spec, node.device, *tracked, root)?
                }
            };
            built.push(tensor);
        }
        Ok(built)
    }

    /// What a backend would be given to compute on each device, and the nodes' numbers there.
    pub fn graphs(&self) -> Result<Vec<(Device, Pending, Vec<usize>)>> {
        let leaf = |op, spec: &TensorSpec| Tensor::symbolic(op, spec.spec, spec.device, false, None);
        let variable = |k: usize| TensorSpec::from(&self.variables[k].0.stored());
        let built = self.build(
            |i| leaf(Placeholder::Input, &self.signature[i]),
            |k| leaf(Placeholder::Variable, &variable(k)),
            None,
        )?;
        let kept: Vec<u32> = self.outputs.iter().copied().chain(self.assigned.iter().map(|a| a.1)).collect();
        let mut devices: Vec<Device> = Vec::new();
        for node in &self.nodes {
            if !devices.contains(&node.device) {
                devices.push(node.device);
            }
        }
        let graph = |device: Device| {
            let mut local: Vec<Option<u32>> = vec![None; self.nodes.len()];
            let mut numbers = Vec::new();
            let mut entries = Vec::new();
            for (i, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.device == device) {
                let inputs = match &node.source {
                    Source::Op { inputs, .. } => &inputs[..],
                    _ => &[],
                };
                let ready = !matches!(node.source, Source::Op { .. });
                local[i] = Some(numbers.len() as u32);
                numbers.push(i);
                entries.push(Entry {
                    tensor: built[i].clone(),
                    inputs: inputs.iter().filter_map(|&x| local[x as usize]).collect(),
                    ready,
                    keep: !ready && kept.contains(&(i as u32)),
                    in_place: false,
                });
            }
            (device, Pending { entries }, numbers)
        };
        Ok(devices.into_iter().map(graph).collect())
    }

    /// The variables that are set, as numbers of nodes.
    pub fn assignments(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.assigned.iter().copied()
    }
}

/// What the roots depend on, in the order in which [`Pending::collect`] would give it, and where each node stands.
fn list(roots: &[&Tensor], first: u64, places: &IdMap<Source>) -> Result<(Vec<TraceNode>, IdMap<u32>)> {
    let mut nodes: Vec<TraceNode> = Vec::new();
    let mut positions: IdMap<u32> = IdMap::default();
    inputs_first(roots.iter().copied(), |tensor, expanded| {
        let node = &tensor.0;
        if positions.contains_key(&node.id) {
            return Ok(true);
        }
        let source = match places.get(&node.id) {
            Some(leaf) => leaf.clone(),
            None if node.has_value() => Source::Held(tensor.clone()),
            None if node.id < first || node.with_inputs(<[_]>::is_empty) && tensor.is_symbolic() => {
                if tensor.is_symbolic() {
                    return Err(foreign());
                }
                Source::Held(tensor.clone())
            }
            None if expanded => {
                let inputs = node.with_inputs(|list| {
                    list.iter().filter_map(|t| positions.get(&t.0.id).copied()).collect()
                });
                Source::Op { op: node.op.clone(), inputs, tracked: node.tracked, root: node.root.clone() }
            }
            None => return Ok(false),
        };
        positions.insert(node.id, nodes.len() as u32);
        nodes.push(TraceNode { source, spec: node.spec, device: node.device });
        Ok(true)
    })?;
    Ok((nodes, positions))
}
