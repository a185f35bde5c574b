//! Operations that compute one graph again and again: what the backends know of them.
//!
//! A loop has turns. Each computes the same graph over other leaves: rows of the operation's inputs, one after the other, and
//! what the turn before it handed on. Its number is no part of the graph, so what is made for one turn serves all.

use super::node::{Grads, Operation, Tensor, Vjp};
use super::pending::Pending;
use crate::cpu::Array;
use crate::error::{Error, Result};
use crate::ops::Lowering;
use crate::ops::key::{Identity, Key};
use crate::shape::Spec;
use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::hash::Hash;

/// A graph, what its leaves are in each turn, and where its results go.
#[derive(Debug)]
pub(crate) struct Loop {
    /// Leaves first, in the order of `leaves`; then what is computed from them, inputs before users.
    pub graph: Pending,
    pub leaves: Vec<Leaf>,
    pub carries: Vec<Carry>,
    /// What is kept of every turn.
    pub rows: Vec<Rows>,
    /// How often the graph is computed, at least once.
    pub turns: usize,
    /// Whether the last row is taken first.
    pub reverse: bool,
}

/// A leaf of the graph: contiguous elements of an input of the operation, or what is handed on. Offsets and strides count elements.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Leaf {
    /// The whole input, the same in every turn.
    Whole { input: usize },
    /// Row t of an input, which begins at `offset + t * stride`.
    Row { input: usize, offset: usize, stride: usize },
    /// What the turn before handed on under this number of `carries`.
    Carried(usize),
}

/// What one turn hands on to the next.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Carry {
    /// The input that the first turn is given.
    pub input: usize,
    /// The position in the graph of what is handed on.
    pub next: usize,
    /// Whether the operation's output begins with the last one.
    pub kept: bool,
}

/// A result of every turn: row t is in the operation's output from `offset + t * (its length)` on.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Rows {
    /// The position in the graph.
    pub result: usize,
    pub offset: usize,
}

impl Loop {
    /// The row that a turn takes.
    pub fn row(&self, turn: usize) -> usize {
        if self.reverse { self.turns - 1 - turn } else { turn }
    }
}

/// The gradient rule of a loop.
pub(crate) trait Gradient: Debug + Send + Sync {
    /// As [`Operation::vjp`].
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads>;

    /// The loop without what it stores for this, and how many elements its output has then: the first ones. `None` where it stores
    /// nothing.
    fn storing_nothing(&self) -> Result<Option<(Looped, usize)>>;
}

/// The operation that a loop is.
#[derive(Debug)]
pub(crate) struct Looped {
    pub looped: Loop,
    gradient: Box<dyn Gradient>,
    /// All of the loop.
    key: Key,
}

impl Looped {
    pub fn new(looped: Loop, gradient: Box<dyn Gradient>) -> Looped {
        let mut key = Key::default();
        let Loop { graph, leaves, carries, rows, turns, reverse } = &looped;
        (leaves, carries, rows, turns, reverse).hash(&mut key);
        for entry in &graph.entries {
            let node = &entry.tensor.0;
            node.spec.hash(&mut key);
            entry.inputs[..].hash(&mut key);
            if !entry.ready {
                node.op.identify(&mut key);
            }
        }
        Looped { looped, gradient, key }
    }

    /// As [`Gradient::storing_nothing`], where an operation is a loop.
    pub fn storing_nothing(op: &dyn Operation) -> Result<Option<(Looped, usize)>> {
        let looped: Option<&Looped> = op.as_any().downcast_ref();
        looped.map_or(Ok(None), |l| l.gradient.storing_nothing())
    }

    /// The loop, where an operation is one.
    pub fn of(op: &dyn Operation) -> Option<&Loop> {
        op.as_any().downcast_ref::<Looped>().map(|l| &l.looped)
    }
}

impl Identity for Looped {
    fn identify(&self, key: &mut Key) {
        key.push_type(TypeId::of::<Looped>());
        key.extend(&self.key);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Operation for Looped {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn flops(&self, _inputs: &[Spec], _out: &Spec) -> u64 {
        let Loop { graph, turns, .. } = &self.looped;
        let spec = |t: &Tensor| t.0.spec;
        let flops = graph.entries.iter().filter(|e| !e.ready).map(|e| {
            let inputs: Vec<Spec> =
                e.inputs.iter().map(|&i| spec(&graph.entries[i as usize].tensor)).collect();
            e.tensor.0.op.flops(&inputs, &spec(&e.tensor))
        });
        flops.sum::<u64>() * *turns as u64
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        self.gradient.vjp(cx)
    }

    fn cpu(&self, _inputs: &[Array], _out: &Spec) -> Result<Array> {
        // The backend takes a loop apart: see `cpu/run.rs`.
        Err(Error::internal("a loop is not one kernel"))
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Loop
    }
}
