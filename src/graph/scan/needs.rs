//! What the gradient of a loop takes of the forward loop, and what of it can be left until the loop is over.

use super::body::{base, has_kernel, view};
use super::operation::Problem;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::table::Binary;
use crate::ops::{Lowering, Pointwise, ReduceKind, View};
use crate::shape::{Shape, Spec};
use crate::tensor::{IdMap, Tensor};
use std::collections::HashSet;

/// What a loop keeps of its turns for its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ScanMemory {
    /// What was handed on, and results of kernels that gradients are made of: products, convolutions, sums. Pointwise work on them is
    /// done again, which costs less than to store what comes of it.
    #[default]
    Store,
    /// What every turn was given; its values are computed once more. The least memory.
    Recompute,
}

/// What the forward loop stores.
pub(super) struct Stores {
    pub memory: ScanMemory,
    /// Positions by the ids of nodes.
    pub forward: IdMap<u32>,
    /// Nodes that are computed along with a kernel's result.
    pub tops: HashSet<u64>,
}

impl Stores {
    /// Whether a value of the forward body that is needed is stored, and not computed once more.
    fn stored(&self, tensor: &Tensor) -> bool {
        // Bytes can't be.
        let worth = || self.tops.contains(&tensor.0.id) || has_kernel(tensor);
        self.memory == ScanMemory::Store && tensor.dtype() != DType::U8 && worth()
    }
}

/// The last of the pointwise operations on each kernel's result that have no other user: what the kernel writes, the others being
/// done before it does.
pub(super) fn tops(problem: &Problem, built: &[Tensor]) -> HashSet<u64> {
    let mut users: IdMap<Vec<usize>> = IdMap::default();
    for (at, tensor) in built.iter().enumerate().skip(problem.body.leaves.len()) {
        tensor.0.with_inputs(|list| list.iter().for_each(|x| users.entry(x.0.id).or_default().push(at)));
    }
    // what is handed on or kept has a user more
    for &r in &problem.body.results {
        users.entry(built[r as usize].0.id).or_default().push(usize::MAX);
    }
    let only_user = |t: &Tensor| match users.get(&t.0.id).map(Vec::as_slice) {
        Some(&[at]) => built.get(at).filter(|u| u.0.op.pointwise().is_some() && u.shape() == t.shape()),
        _ => None,
    };
    let kernels = built[problem.body.leaves.len()..].iter().filter(|t| has_kernel(t));
    let top = |kernel: &Tensor| {
        let mut top = kernel;
        while let Some(user) = only_user(top) {
            top = user;
        }
        top.0.id
    };
    kernels.map(top).collect()
}

/// Terms of a sum that are looked at one by one; a sum of more, or of sums that are added up again and again, is one term.
const MAX_TERMS: usize = 64;

/// The terms of a sum, as far as it was made after `first`.
pub(super) fn terms(sum: &Tensor, first: u64) -> Vec<Tensor> {
    let (mut terms, mut stack) = (Vec::new(), vec![sum.clone()]);
    while let Some(t) = stack.pop() {
        let adds = t.0.op.pointwise() == Some(Pointwise::Binary(Binary::Add));
        let inputs = if adds && t.0.id >= first { t.0.inputs() } else { Vec::new() };
        if !inputs.is_empty() && inputs.iter().all(|x| x.shape() == t.shape()) {
            stack.extend(inputs.into_iter().rev());
        } else {
            terms.push(t);
        }
        if terms.len() + stack.len() > MAX_TERMS {
            return vec![sum.clone()];
        }
    }
    terms
}

/// A sum over all turns that one kernel computes when the loop is over.
#[derive(Debug)]
pub(super) enum Outside {
    /// Of products of matrices: one product over the rows of all turns, `[rows, m]` transposed and `[rows, n]`.
    Product(Rows, Rows),
    /// Of sums over these axes.
    Sum(Rows, Vec<isize>),
}

/// Where the values of all turns are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows {
    /// Rows that the loop was given.
    Given(usize),
    /// What the forward loop has stored at this position of its body.
    Stored(u32),
    /// What the backward loop keeps, seen under this shape.
    Kept(usize, Shape),
}

/// Finds which sums can be left to the end.
pub(super) struct Outsides<'s> {
    /// What the backward loop keeps: gradients of rows, and what has to be kept for sums.
    pub kept: Vec<Tensor>,
    /// What they read of the forward loop.
    pub read: Vec<Tensor>,
    pub stores: &'s Stores,
    pub problem: &'s Problem,
}

impl Outsides<'_> {
    /// How a term can be computed of all turns at once. What it takes is kept of every turn; where that is to be spared, nothing is.
    pub fn find(&mut self, term: &Tensor) -> Result<Option<Outside>> {
        if self.stores.memory == ScanMemory::Recompute {
            return Ok(None);
        }
        let whole = base(term);
        let inputs = whole.0.inputs();
        let specs: Vec<Spec> = inputs.iter().map(|t| t.0.spec).collect();
        Ok(match (whole.0.op.gpu(&specs, &whole.0.spec), &inputs[..]) {
            (Lowering::Matmul, [a, b]) if a.rank() == 2 && b.rank() == 2 => {
                let a = a.transpose()?;
                Some(Outside::Product(self.rows(&a), self.rows(b)))
            }
            (Lowering::Reduce { kind: ReduceKind::Sum, axes }, [x]) => {
                let axes = (0..x.rank()).filter(|&d| axes[d]).map(|d| d as isize + 1).collect();
                Some(Outside::Sum(self.rows(x), axes))
            }
            _ => None,
        })
    }

    /// Where the values of a tensor are found.
    fn rows(&mut self, tensor: &Tensor) -> Rows {
        // Turned twice, a matrix is what it was.
        let tensor = &untransposed(tensor);
        let Problem { carries, rows, .. } = self.problem;
        if let Some(&at) = self.stores.forward.get(&tensor.0.id) {
            let position = at as usize;
            let given = position.checked_sub(*carries).filter(|r| *r < rows.len());
            if given.is_some() || position < *carries || self.stores.stored(tensor) {
                self.read.push(tensor.clone());
                return given.map_or(Rows::Stored(at), Rows::Given);
            }
        }
        let id = base(tensor).0.id;
        let known = self.kept.iter().position(|t| base(t).0.id == id);
        let at = known.unwrap_or_else(|| {
            self.kept.push(tensor.clone());
            self.kept.len() - 1
        });
        Rows::Kept(at, tensor.shape())
    }
}

/// A matrix whose transpose is transposed, or the tensor as it is.
fn untransposed(tensor: &Tensor) -> Tensor {
    let turned = |t: &Tensor| view(t, |v| matches!(v, View::Permute([1, 0])));
    if turned(tensor)
        && let Some(inner) = tensor.0.with_inputs(|list| list.first().cloned())
        && turned(&inner)
        && let Some(matrix) = inner.0.with_inputs(|list| list.first().cloned())
    {
        return matrix;
    }
    tensor.clone()
}

/// What gradients are made of besides gradients.
pub(super) struct Needed {
    pub stored: Vec<u32>,
    pub rows: Vec<usize>,
    pub whole: Vec<usize>,
}

impl Needed {
    /// Of `made`, down to nodes of the forward body.
    pub fn of(made: &[Tensor], stores: &Stores, problem: &Problem, first: u64) -> Needed {
        let leaves = problem.body.leaves.len();
        let (mut stored, mut rows, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen: HashSet<u64> = HashSet::new();
        let mut stack: Vec<Tensor> = made.to_vec();
        while let Some(tensor) = stack.pop() {
            if tensor.0.id < first || !seen.insert(tensor.0.id) {
                continue;
            }
            if let Some(&at) = stores.forward.get(&tensor.0.id) {
                let position = at as usize;
                if position < problem.carries {
                    stored.push(at);
                    continue;
                }
                if position < leaves {
                    match (position - problem.carries).checked_sub(problem.rows.len()) {
                        None => rows.push(position - problem.carries),
                        Some(w) => whole.push(w),
                    }
                    continue;
                }
                if stores.stored(&tensor) {
                    stored.push(at);
                    continue;
                }
            }
            tensor.0.with_inputs(|list| stack.extend(list.iter().cloned()));
        }
        stored.sort_unstable();
        rows.sort_unstable();
        whole.sort_unstable();
        Needed { stored, rows, whole }
    }
}
