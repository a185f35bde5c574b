//! The steps of a plan while it is made: kernels, and the places that they read and write.

use super::Values;
use super::values::Stored;
use crate::gpu::faults::FAULTS_BINDING;
use crate::gpu::kernels::Turns;
use crate::gpu::source::KernelSource;
use crate::gpu::step::Task;
use crate::tensor::IdHasher;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// What a kernel reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Value(Stored),
    Temp(usize),
    /// Inside of a loop: a number of [`Repeated::homes`].
    Home(usize),
}

/// Bytes from a place on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub place: Place,
    pub offset: u64,
}

/// Where the kernels of a loop find what they read and write. Places outside are those of the steps around the loop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// The same in every turn.
    Fixed(Spot),
    /// Row t is `stride` bytes after the one before.
    Row { first: Spot, stride: u64 },
    /// What the turn before has handed on, under this number of [`Repeated::carries`].
    Carried(usize),
    /// What the turn hands on.
    Next(usize),
}

/// What is handed on from turn to turn: there before the first one, then in two buffers that take turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed {
    pub before: Spot,
    pub between: [Spot; 2],
}

/// The steps of a loop, whose places are all [`Place::Home`].
pub(super) struct Repeated {
    pub turns: usize,
    pub reverse: bool,
    pub homes: Vec<Home>,
    pub carries: Vec<Handed>,
    pub steps: Vec<Step>,
}

impl Repeated {
    /// Where a turn finds a place: one outside, and the bytes from there on.
    pub fn spot(&self, turn: usize, home: usize) -> Spot {
        let row = if self.reverse { self.turns - 1 - turn } else { turn };
        match self.homes[home] {
            Home::Fixed(spot) => spot,
            Home::Row { first, stride } => Spot { offset: first.offset + row as u64 * stride, ..first },
            Home::Carried(c) if turn == 0 => self.carries[c].before,
            Home::Carried(c) => self.carries[c].between[(turn - 1) % 2],
            Home::Next(c) => self.carries[c].between[turn % 2],
        }
    }
}

/// A part of what is bound at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub binding: u32,
    /// Bytes from where the place begins.
    pub offset: u64,
    pub bytes: u64,
}

/// One dispatch.
pub(super) struct Step {
    pub source: KernelSource,
    /// What it computes; several where small kernels were joined.
    pub tasks: Vec<Task>,
    /// Contents of the uniform block at binding 0.
    pub uniform: Vec<u32>,
    /// The numbers that an epilogue reads, at [`WORDS_BINDING`](super::kernel::WORDS_BINDING).
    pub words: Vec<u32>,
    /// Argument words: graph position of the scalar, and which of its words; `None` for words that nothing reads.
    pub args: Vec<Option<(usize, usize)>>,
    pub reads: Vec<(u32, Place)>,
    pub writes: Vec<(u32, Place)>,
    pub workgroups: [u32; 3],
    pub turns: Turns,
    /// The bindings that cover a part of what is at their place.
    pub windows: Vec<Window>,
    /// A loop instead of a kernel; `uniform` and `source` are empty then.
    pub repeated: Option<Box<Repeated>>,
}

impl Step {
    /// Whether it may record a fault.
    pub fn records(&self) -> bool {
        let inside = |r: &Repeated| r.steps.iter().any(Step::records);
        self.source.bindings.iter().any(|b| b.0 == FAULTS_BINDING)
            || self.repeated.as_ref().is_some_and(|r| inside(r))
    }
}

/// All dispatches of a plan.
#[derive(Default)]
pub(super) struct Steps {
    pub steps: Vec<Step>,
    /// Bytes of the temporary buffers inside operations.
    pub temps: Vec<u64>,
    /// Kernels stand in for better ones that are not compiled.
    pub stand_ins: bool,
}

/// The buffer that a value is in: itself, the value that it is a part of, or the packed vector that it is placed in.
pub(super) fn locate(values: &Values<'_>, stored: Stored) -> Stored {
    let mut s = Stored { value: values.base(stored.value), offset: stored.offset };
    while let Some(next) = values.alias[s.value].or(values.place[s.value]) {
        s = Stored { value: values.base(next.value), offset: s.offset + next.offset };
    }
    s
}

/// What a buffer holds, before buffers are shared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Value(usize),
    Temp(usize),
    /// Whatever is there in a turn of a loop.
    Home(usize),
}

/// A table by owner.
pub(super) type OwnerMap<V> = HashMap<Owner, V, BuildHasherDefault<IdHasher>>;

/// What tells the memory of an owner from that of others: a kernel that reads one part of it and writes another binds both as what
/// is written.
pub(super) fn memory_of(values: &Values<'_>, owner: Owner) -> Owner {
    match owner {
        Owner::Value(v) if values.together.contains(&v) => Owner::Value(values.together[0]),
        _ => owner,
    }
}

/// The owner of the buffer that a place is in, and the bytes before the place.
pub(super) fn resolve(values: &Values<'_>, place: Place) -> (Owner, u64) {
    match place {
        Place::Temp(t) => (Owner::Temp(t), 0),
        Place::Home(h) => (Owner::Home(h), 0),
        Place::Value(stored) => {
            let s = locate(values, stored);
            (Owner::Value(s.value), s.offset)
        }
    }
}

/// Whether a step is a loop: every kernel has its numbers bound.
pub(super) fn is_loop(step: &Step) -> bool {
    step.source.bindings.is_empty()
}

/// A step for a loop whose turns are compiled later: see `loops.rs`.
pub(super) fn placeholder(task: Task, inputs: &[Stored], output: Place) -> Step {
    let (wgsl, constants, bindings) = ("".into(), Vec::new(), Vec::new());
    Step {
        source: KernelSource { label: "loop", wgsl, constants, bindings, checked: false },
        tasks: vec![task],
        uniform: Vec::new(),
        words: Vec::new(),
        args: Vec::new(),
        reads: inputs.iter().map(|&i| (0, Place::Value(i))).collect(),
        writes: vec![(0, output)],
        workgroups: [0; 3],
        turns: Turns::NONE,
        windows: Vec::new(),
        repeated: None,
    }
}
