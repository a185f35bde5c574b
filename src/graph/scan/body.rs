//! What a loop computes in each turn: a list of operations over leaves.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::{Lowering, View};
use crate::shape::{Shape, Spec};
use crate::tensor::{IdMap, Looped, Operation, Placeholder, Tensor, inputs_first};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Body {
    /// What the leaves are; positions begin with them.
    pub leaves: Vec<Spec>,
    /// Inputs before users.
    nodes: Vec<Node>,
    /// Positions of the results.
    pub results: Vec<u32>,
    pub device: Device,
}

#[derive(Clone, Debug)]
struct Node<I = u32> {
    op: Arc<dyn Operation>,
    inputs: Vec<I>,
    spec: Spec,
    /// Whether gradients flow through it if they flow to one of its inputs.
    tracked: bool,
}

/// A position before it is known how many leaves there are.
#[derive(Clone, Copy)]
enum At {
    Leaf(usize),
    Node(usize),
}

impl Body {
    /// Writes down what results are made of: from tensors that are leaves (by their ids), and from what does not depend on these.
    /// Of the latter, all nodes before `first` and whatever they were computed into become further leaves: their tensors are given
    /// back. They are the same in every turn, and computed once.
    pub fn of(
        results: &[Tensor],
        leaves: Vec<Spec>,
        places: &IdMap<usize>,
        first: u64,
        device: Device,
    ) -> Result<(Body, Vec<Tensor>)> {
        let mut waiting: Vec<Node<At>> = Vec::new();
        let mut captured: Vec<Tensor> = Vec::new();
        let mut numbers: HashMap<(u64, DType), usize> = HashMap::new();
        let mut found: IdMap<At> = IdMap::default();
        inputs_first(results.iter(), |tensor, expanded| {
            let node = &tensor.0;
            if found.contains_key(&node.id) {
                return Ok(true);
            }
            let at = if let Some(&leaf) = places.get(&node.id) {
                At::Leaf(leaf)
            } else if expanded {
                let inputs = node
                    .with_inputs(|list| list.iter().filter_map(|t| found.get(&t.0.id).copied()).collect());
                let (op, spec, tracked) = (node.op.clone(), node.spec, node.tracked);
                waiting.push(Node { op, inputs, spec, tracked });
                At::Node(waiting.len() - 1)
            } else if node.id < first || is_variable(tensor) || !tensor.is_symbolic() && !spreads(tensor) {
                if tensor.device() != device {
                    return Err(Error::argument(
                        "scan",
                        format!(
                            "the body uses a tensor on {}, the loop runs on {device}; move it there first (to_device)",
                            tensor.device()
                        ),
                    ));
                }
                let mut capture = || {
                    captured.push(tensor.clone());
                    leaves.len() + captured.len() - 1
                };
                // Equal numbers are one leaf.
                match node.op.number().filter(|_| !node.has_value()) {
                    Some(x) => {
                        At::Leaf(*numbers.entry((x.to_bits(), node.spec.dtype)).or_insert_with(capture))
                    }
                    None => At::Leaf(capture()),
                }
            } else if node.with_inputs(<[_]>::is_empty) {
                let message = "the body uses a tensor of another function that is being recorded, or was; hand it on from turn to \
                               turn, or return it";
                return Err(Error::argument("scan", message));
            } else {
                return Ok(false);
            };
            found.insert(node.id, at);
            Ok(true)
        })?;
        let count = leaves.len() + captured.len();
        let position = |at: At| match at {
            At::Leaf(leaf) => leaf as u32,
            At::Node(node) => (count + node) as u32,
        };
        let placed = |Node { op, inputs, spec, tracked }: Node<At>| {
            let inputs = inputs.into_iter().map(position).collect();
            Node { op, inputs, spec, tracked }
        };
        let nodes = waiting.into_iter().map(placed).collect();
        let results = results.iter().filter_map(|t| found.get(&t.0.id).copied().map(position)).collect();
        let mut leaves = leaves;
        leaves.extend(captured.iter().map(|t| t.0.spec));
        Ok((Body { leaves, nodes, results, device }, captured))
    }

    pub fn spec(&self, position: u32) -> Spec {
        let position = position as usize;
        match position.checked_sub(self.leaves.len()) {
            None => self.leaves[position],
            Some(node) => self.nodes[node].spec,
        }
    }

    /// The same with other results.
    pub fn with_results(&self, results: Vec<u32>) -> Body {
        let Body { leaves, nodes, device, .. } = self;
        Body { leaves: leaves.clone(), nodes: nodes.clone(), results, device: *device }
    }

    /// The same, its loops storing nothing for gradients.
    pub fn storing_nothing(&self) -> Result<Body> {
        let mut body = self.with_results(self.results.clone());
        for at in 0..body.nodes.len() {
            let position = (self.leaves.len() + at) as u32;
            let Some((op, len)) = Looped::storing_nothing(&*body.nodes[at].op)? else { continue };
            // Unless a gradient that the body itself takes reads it.
            let users = body.nodes.iter().filter(|n| n.inputs.contains(&position));
            if users.into_iter().all(|user| self.is_among_first(user, len))
                && !body.results.contains(&position)
            {
                body.nodes[at].op = Arc::new(op);
                body.nodes[at].spec.shape = Shape::new(&[len])?;
            }
        }
        Ok(body)
    }

    /// Whether a node takes some of the first elements of its input, a vector.
    fn is_among_first(&self, node: &Node, len: usize) -> bool {
        let inputs: Vec<Spec> = node.inputs.iter().map(|&i| self.spec(i)).collect();
        match (node.op.gpu(&inputs, &node.spec), &node.spec.shape[..]) {
            (Lowering::View(View::Slice { start: [start], step: [1] }), &[n]) => start + n <= len,
            _ => false,
        }
    }

    /// The specs of the results.
    pub fn results(&self) -> impl Iterator<Item = Spec> + '_ {
        self.results.iter().map(|&r| self.spec(r))
    }

    /// Makes its nodes over other leaves. Gives all, leaves first.
    pub fn build(&self, leaves: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let mut built = leaves;
        for node in &self.nodes {
            let inputs: Vec<Tensor> = node.inputs.iter().map(|&i| built[i as usize].clone()).collect();
            let tracked = node.tracked && inputs.iter().any(Tensor::is_tracked);
            built.push(Tensor::build(node.op.clone(), inputs, node.spec, self.device, tracked, None)?);
        }
        Ok(built)
    }
}

/// Whether it is what a variable will hold when the function that is being traced is called: made when it is first read.
fn is_variable(tensor: &Tensor) -> bool {
    matches!(tensor.0.op.as_any().downcast_ref(), Some(Placeholder::Variable))
}

/// Whether it only repeats what it is made of: then that is kept, and repeated where it is used.
fn spreads(tensor: &Tensor) -> bool {
    let smaller = tensor.0.with_inputs(|list| match list {
        [x] => x.numel() < tensor.numel(),
        _ => false,
    });
    smaller && !tensor.0.has_value() && is_view(tensor)
}

/// Whether an operation shows its input's elements under other coordinates.
fn is_view(tensor: &Tensor) -> bool {
    view(tensor, |_| true)
}

/// Whether a kernel of its own computes an operation, rather than whoever uses its result.
pub(super) fn has_kernel(tensor: &Tensor) -> bool {
    let kernel = |l: &Lowering<'_>| {
        matches!(l, Lowering::Kernel(_) | Lowering::Matmul | Lowering::Loop | Lowering::Reduce { .. })
    };
    lowered(tensor, |l| kernel(l))
}

/// What can be said of how the GPU computes an operation; of a leaf, nothing.
fn lowered(tensor: &Tensor, which: impl Fn(&Lowering<'_>) -> bool) -> bool {
    let node = &tensor.0;
    let specs: Vec<Spec> = node.with_inputs(|list| list.iter().map(|t| t.0.spec).collect());
    !specs.is_empty() && which(&node.op.gpu(&specs, &node.spec))
}

pub(super) fn view(tensor: &Tensor, which: impl Fn(&View<'_>) -> bool) -> bool {
    lowered(tensor, |l| matches!(l, Lowering::View(v) if which(v)))
}

/// The value whose elements, in the same order, this one shows.
pub(super) fn base(tensor: &Tensor) -> Tensor {
    let mut base = tensor.clone();
    while view(&base, |v| matches!(v, View::Reshape)) {
        let Some(input) = base.0.with_inputs(|list| list.first().cloned()) else { break };
        base = input;
    }
    base
}

#[cfg(test)]
mod tests {
    use crate::graph::{ScanOptions, scan};
    use crate::prelude::*;
    use crate::tensor::{Looped, inputs_first};

    /// Elements of the outputs of all loops inside of the one that a tensor comes from.
    fn inside(x: &Tensor) -> Result<Vec<usize>> {
        let mut found = Vec::new();
        inputs_first(std::iter::once(x), |tensor, expanded| {
            if let (Some(looped), true) = (Looped::of(&*tensor.0.op), expanded) {
                let entries = looped.graph.entries.iter().map(|e| &e.tensor);
                found.extend(entries.filter(|t| Looped::of(&*t.0.op).is_some()).map(|t| t.numel()));
            }
            Ok(expanded)
        })?;
        Ok(found)
    }

    #[test]
    fn loops_inside_stored_for_gradients_that_nobody_could_ask_for() -> Result<()> {
        for device in [Device::Cpu, Device::Gpu] {
            let w = Tensor::rand([64, 64], device, 1)?;
            let start = Tensor::zeros([1, 64], device)?;
            let x = Tensor::rand([3, 4, 1, 64], device, 2)?;
            let twice = |x: &Tensor, w: &Tensor, own: bool| {
                scan(&[&start], &[x], ScanOptions::new(), |h, x| {
                    let x = if own { x[0].watch()? } else { x[0].clone() };
                    let inner = scan(&[&h[0]], &[&x], ScanOptions::new(), |h, x| {
                        Ok((vec![(h[0].matmul(w)? + &x[0])?.tanh()?], vec![]))
                    })?;
                    let last = inner.carry[0].clone();
                    let kept =
                        if own { vec![last.square()?.sum(.., false)?.backward()?.get(&x)?] } else { vec![] };
                    Ok((vec![last], kept))
                })
            };
            let plain = twice(&x, &w, false)?.carry.remove(0);
            assert_eq!(inside(&plain)?, [64], "on {device}");
            let tracked = twice(&x, &w.watch()?, false)?.carry.remove(0);
            assert!(inside(&tracked)?.iter().all(|&n| n > 64), "on {device}");
            assert_eq!(plain.to_vec::<f32>()?, tracked.to_vec::<f32>()?);
            // A body that takes a gradient itself asks for it.
            let own = twice(&x, &w, true)?;
            assert_eq!(own.carry[0].to_vec::<f32>()?, plain.to_vec::<f32>()?);
            assert_eq!(own.rows[0].shape(), [3, 4, 1, 64]);
            let row = x.slice(0, 0, 1)?.reshape([4, 1, 64])?.watch()?;
            let by_itself = scan(&[&start], &[&row], ScanOptions::new(), |h, x| {
                Ok((vec![(h[0].matmul(&w)? + &x[0])?.tanh()?], vec![]))
            })?;
            let want = by_itself.carry[0].square()?.sum(.., false)?.backward()?.get(&row)?.to_vec::<f32>()?;
            let got = own.rows[0].slice(0, 0, 1)?.to_vec::<f32>()?;
            assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 1e-6), "on {device}");
        }
        Ok(())
    }
}
