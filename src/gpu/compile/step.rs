//! The steps of a plan while it is made: kernels, and the places that they read and write.

use super::Values;
use super::values::Stored;
use crate::gpu::faults::FAULTS_BINDING;
use crate::gpu::kernels::Turns;
use crate::gpu::pipeline::KernelSource;
use crate::gpu::step::Task;

/// What a kernel reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Value(Stored),
    Temp(usize),
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
}

impl Step {
    /// Whether it may record a fault.
    pub fn records(&self) -> bool {
        self.source.bindings.iter().any(|b| b.0 == FAULTS_BINDING)
    }
}

/// All dispatches of a plan.
#[derive(Default)]
pub(super) struct Steps {
    pub steps: Vec<Step>,
    /// Bytes of the temporary buffers inside operations.
    pub temps: Vec<u64>,
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
}

/// The owner of the buffer that a place is in, and the bytes before the place.
pub(super) fn resolve(values: &Values<'_>, place: Place) -> (Owner, u64) {
    match place {
        Place::Temp(t) => (Owner::Temp(t), 0),
        Place::Value(stored) => {
            let s = locate(values, stored);
            (Owner::Value(s.value), s.offset)
        }
    }
}
