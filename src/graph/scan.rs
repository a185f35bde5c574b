//! [`scan`]: a function that is recorded once and computed for many rows, one after the other, handing a state on.

mod body;
mod gradient;
mod needs;
mod operation;

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::join::{PACK_ALIGNMENT, pack};
use crate::ops::view::full;
use crate::shape::{Shape, Spec};
use crate::tensor::{IdMap, Placeholder, Tensor, next_id, recording};
use crate::variable::inside_loop;
use body::Body;
use gradient::{Backward, Rule};
pub use needs::ScanMemory;
use operation::{Problem, Region, with_turns};
use std::sync::Arc;

/// How [`scan`] goes through its rows.
///
/// ```
/// use wgrad::graph::{ScanMemory, ScanOptions};
/// let backwards = ScanOptions::new().reverse(true).memory(ScanMemory::Recompute);
/// assert_eq!(backwards.length, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ScanOptions {
    /// Number of turns; needed only where there are no rows to count.
    pub length: Option<usize>,
    /// Whether the last row comes first. Results keep their places: the row of a result is that of what it was made of.
    pub reverse: bool,
    /// What is kept for the gradient.
    pub memory: ScanMemory,
}

impl ScanOptions {
    /// As many turns as there are rows, the first one first; what gradients are made of is stored.
    pub fn new() -> ScanOptions {
        ScanOptions::default()
    }

    /// Sets the number of turns.
    pub fn length(self, length: usize) -> ScanOptions {
        ScanOptions { length: Some(length), ..self }
    }

    /// Sets whether the last row comes first.
    pub fn reverse(self, reverse: bool) -> ScanOptions {
        ScanOptions { reverse, ..self }
    }

    /// Sets what is kept for the gradient.
    pub fn memory(self, memory: ScanMemory) -> ScanOptions {
        ScanOptions { memory, ..self }
    }
}

/// What [`scan`] gives.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// What the last turn handed on.
    pub carry: Vec<Tensor>,
    /// What was kept of every turn, `[length, ..]` each.
    pub rows: Vec<Tensor>,
}

/// Computes a body for each row of some tensors in turn, handing a state on from each to the next (JAX's `lax.scan`, TensorFlow's
/// `tf.scan` and `while_loop`, what recurrent networks are made of).
///
/// `body(carry, rows)` is given the state and the rows of this turn, and returns the next state and what is to be kept. It runs
/// once: what it does with tensors is recorded, as in [`Graph::trace`](crate::Graph::trace), and repeated on the device, in one
/// submission. So the cost of planning does not depend on the length, and another length compiles nothing.
///
/// - `carry`: the state before the first turn, any number of tensors of f32, i32 or u32 (or f64, on the CPU). The body must return
///   as many of the same shapes and types.
/// - `rows`: tensors `[length, ..]` of which turn t is given row t, `[..]`, by value.
/// - Whatever else the body uses (variables, tensors from outside) is the same in every turn. Random numbers that the body makes
///   are, too: hand those of all turns over as rows.
///
/// Gradients flow to the first state, to the rows, and to what the body uses from outside, and can be differentiated again.
/// [`ScanOptions::memory`] chooses what is kept for them.
///
/// ```
/// use wgrad::graph::{ScanOptions, scan};
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// // h' = tanh(x_t W + h U), for five steps of a batch of two
/// let device = Device::Cpu;
/// let w = Variable::new(Tensor::randn([3, 4], device, 1)?);
/// let u = Variable::new(Tensor::randn([4, 4], device, 2)?);
/// let x = Tensor::randn([5, 2, 3], device, 3)?;
/// let start = Tensor::zeros([2, 4], device)?;
/// let out = scan(&[&start], &[&x], ScanOptions::new(), |h, x| {
///     let next = (x[0].matmul(&w)? + h[0].matmul(&u)?)?.tanh()?;
///     Ok((vec![next.clone()], vec![next]))
/// })?;
/// assert_eq!(out.rows[0].shape(), [5, 2, 4]);
/// assert_eq!(out.carry[0].to_vec::<f32>()?, out.rows[0].slice(0, 4, 1)?.to_vec::<f32>()?);
/// let grads = out.rows[0].square()?.mean(.., false)?.backward()?;
/// assert_eq!(grads.get(&u)?.shape(), [4, 4]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// No rows and no length; rows of different lengths, or not of the length given; tensors on different devices; a body that returns
/// another state than it was given; a state or result of bytes; a variable that the body sets (hand its value on instead); values
/// that the body reads; and the body's own errors. Floats of two types have no gradient.
///
/// # Cost
///
/// Per turn the kernels of the body, and on a GPU some 2 KB of the host's memory for each of them. Where a state and a result of one turn are the same tensor, it is stored twice. Results of
/// several element types are computed by a loop for each type, as far as they are used.
pub fn scan(
    carry: &[&Tensor],
    rows: &[&Tensor],
    options: ScanOptions,
    body: impl FnOnce(&[Tensor], &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>)>,
) -> Result<Scanned> {
    let ScanOptions { length, reverse, memory } = options;
    let all: Vec<&Tensor> = carry.iter().chain(rows).copied().collect();
    let Some(first_tensor) = all.first() else {
        let message = "neither a state nor rows are given, and so no device; hand on at least one tensor";
        return Err(Error::argument("scan", message));
    };
    crate::ops::same_device("scan", &all)?;
    let device = first_tensor.device();
    let turns = count_turns(rows, length)?;
    for (i, t) in carry.iter().enumerate() {
        no_bytes(t.dtype(), &format!("carry[{i}]"))?;
    }
    let row_spec = |t: &Tensor| Spec { shape: Shape::from_dims(&t.shape()[1..]), dtype: t.dtype() };
    let specs: Vec<Spec> = carry.iter().map(|t| t.0.spec).chain(rows.iter().map(|t| row_spec(t))).collect();
    let first = next_id();
    // Gradients may come to a state from whatever the body uses.
    let tracked = carry.iter().map(|_| true).chain(rows.iter().map(|t| t.is_tracked()));
    let leaf = |(spec, tracked): (&Spec, bool)| {
        let tracked = tracked && spec.dtype.is_float() && recording();
        Tensor::symbolic(Placeholder::Input, *spec, device, tracked, None)
    };
    let leaves: Vec<Tensor> = specs.iter().zip(tracked).map(leaf).collect();
    let (carried, given) = leaves.split_at(carry.len());
    let (next, kept) = inside_loop(|| body(carried, given))?;
    check_results(&next, &kept, carry, device)?;
    let results: Vec<Tensor> = next.into_iter().chain(kept).collect();
    let places: IdMap<usize> = leaves.iter().enumerate().map(|(at, t)| (t.0.id, at)).collect();
    let (body, captured) = Body::of(&results, specs, &places, first, device)?;
    if turns == 0 {
        let empty = |s: Spec| full(0.0, Shape::new(&with_turns(0, &s.shape))?, s.dtype, device);
        let rows = body.results().skip(carry.len()).map(empty).collect::<Result<_>>()?;
        return Ok(Scanned { carry: carry.iter().map(|&t| t.clone()).collect(), rows });
    }
    // The inputs of the loop: first states packed by type, then rows, then what is the same in every turn.
    let mut problem = Problem {
        body: Arc::new(body),
        carries: carry.len(),
        rows: Vec::new(),
        whole: Vec::new(),
        turns,
        reverse,
    };
    let mut inputs: Vec<Tensor> = Vec::new();
    for (_, members) in problem.groups() {
        let members: Vec<Tensor> = members.iter().map(|&i| carry[i].clone()).collect();
        inputs.push(pack(&members)?);
    }
    for &t in rows {
        let (input, stride) = aligned_rows(t, turns, device)?;
        problem.rows.push(Region { input: inputs.len(), offset: 0, stride });
        inputs.push(input);
    }
    for t in captured {
        problem.whole.push(inputs.len());
        inputs.push(t);
    }
    let tracked = recording() && inputs.iter().any(Tensor::is_tracked);
    let backward = if tracked { Backward::of(&problem, &inputs, memory)?.map(Arc::new) } else { None };
    if !tracked {
        problem = problem.storing_nothing()?;
    }
    let results: Vec<Spec> = problem.body.results().collect();
    let mut out: Vec<Option<Tensor>> = vec![None; results.len()];
    for dtype in problem.dtypes() {
        let backward = backward.clone().filter(|b| b.dtype() == dtype);
        let stored = backward.as_ref().map_or(&[][..], |b| b.stored(dtype)).to_vec();
        let layout = problem.layout(dtype, &stored)?;
        let rule = Rule { problem: problem.clone(), dtype, memory, backward };
        let output = problem.node(inputs.clone(), dtype, &stored, Box::new(rule))?;
        let output = output.slice(0, 0, layout.visible)?;
        // Together, so that the gradient sees where only these are used.
        let last = output.slice(0, 0, layout.head)?;
        for (i, spec) in results.iter().enumerate().filter(|(_, s)| s.dtype == dtype) {
            let n = spec.shape.numel();
            out[i] = match i.checked_sub(carry.len()) {
                None => layout.carries[i].map(|at| last.slice(0, at, n)?.reshape(spec.shape)).transpose()?,
                Some(y) => {
                    let dims = with_turns(turns, &spec.shape);
                    layout.ys[y].map(|s| s.rows(&output, turns, n)?.reshape(dims)).transpose()?
                }
            };
        }
    }
    let mut out: Vec<Tensor> = out.into_iter().flatten().collect();
    if out.len() != results.len() {
        return Err(Error::internal("a result of a loop has no place"));
    }
    let rows = out.split_off(carry.len());
    Ok(Scanned { carry: out, rows })
}

/// How many turns there are, by the rows and what was asked for.
fn count_turns(rows: &[&Tensor], length: Option<usize>) -> Result<usize> {
    let mut turns = length;
    for (i, t) in rows.iter().enumerate() {
        let Some(&n) = t.shape().first() else {
            let message =
                format!("rows[{i}] is a scalar; its first axis must be that of the turns, [length, ..]");
            return Err(Error::shape("scan", message));
        };
        match turns {
            Some(turns) if turns != n => {
                let others = match (i, length) {
                    (_, Some(_)) => "the length given is".to_string(),
                    _ => "rows[0] has".to_string(),
                };
                let message = format!(
                    "rows[{i}] is {}: {n} rows, but {others} {turns}; all must have the same length",
                    t.shape()
                );
                return Err(Error::shape("scan", message));
            }
            _ => turns = Some(n),
        }
    }
    turns.ok_or_else(|| {
        Error::argument("scan", "there are no rows to count the turns by; give ScanOptions::length")
    })
}

fn no_bytes(dtype: DType, what: &str) -> Result<()> {
    if dtype == DType::U8 {
        let message = format!("{what} is u8, which can't be handed on or kept; cast it to u32 or f32");
        return Err(Error::dtype("scan", message));
    }
    Ok(())
}

/// What the body returned: as many states as it was given, of the same kinds.
fn check_results(next: &[Tensor], kept: &[Tensor], carry: &[&Tensor], device: Device) -> Result<()> {
    if next.len() != carry.len() {
        let message = format!(
            "the body returned {} tensors to hand on, it was given {}; return the next value of each",
            next.len(),
            carry.len()
        );
        return Err(Error::argument("scan", message));
    }
    for (i, (next, carry)) in next.iter().zip(carry).enumerate() {
        if next.0.spec != carry.0.spec {
            let message = format!(
                "carry[{i}] is {} {}, the body returned {} {} in its place; shape and type must stay",
                carry.dtype(),
                carry.shape(),
                next.dtype(),
                next.shape()
            );
            return Err(Error::shape("scan", message));
        }
    }
    for (i, y) in kept.iter().enumerate() {
        no_bytes(y.dtype(), &format!("result {i} of the body"))?;
    }
    match next.iter().chain(kept).find(|t| t.device() != device) {
        Some(t) => {
            let message = format!("the body returned a tensor on {}, the loop runs on {device}", t.device());
            Err(Error::argument("scan", message))
        }
        None => Ok(()),
    }
}

/// The tensor as rows, each at a place where a kernel can be bound to it, and the elements from one to the next.
fn aligned_rows(t: &Tensor, turns: usize, device: Device) -> Result<(Tensor, usize)> {
    let n = t.numel() / turns;
    if device == Device::Cpu {
        return Ok((t.clone(), n));
    }
    let stride = n.next_multiple_of(PACK_ALIGNMENT * DType::F32.size() / t.dtype().size());
    if stride == n {
        return Ok((t.clone(), n));
    }
    Ok((t.reshape([turns, n])?.pad([(0, 0), (0, stride - n)], 0.0)?, stride))
}
