//! The text of a whole kernel: an operand file with loops in place of its plain kernel.

use super::Turns;
use super::registers::Registers;
use super::tiled::{TILED_CHAIN, Tiled};
use crate::gpu::wgsl::declarations;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The loops around an operand file: everything that their text depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Loop {
    Registers(Registers),
    Tiled(Tiled),
}

impl Loop {
    /// Rows and columns of C per workgroup.
    pub fn tile(&self) -> [usize; 2] {
        match self {
            Loop::Registers(kernel) => [kernel.rows, kernel.tile_n()],
            Loop::Tiled(kernel) => [kernel.block.bm, kernel.block.bn],
        }
    }

    /// k per step of a walk.
    pub fn step(&self) -> usize {
        match self {
            Loop::Registers(kernel) => kernel.step(),
            Loop::Tiled(kernel) => kernel.block.bk,
        }
    }

    /// k that the first level of accumulators takes.
    pub fn block(&self) -> usize {
        match self {
            Loop::Registers(kernel) => kernel.block(),
            Loop::Tiled(_) => TILED_CHAIN,
        }
    }

    /// The turns of an invocation that goes through so many segments of so many k.
    pub fn turns(&self, [segments, k]: [usize; 2]) -> Turns {
        match self {
            Loop::Registers(kernel) => kernel.turns([segments, k]),
            Loop::Tiled(kernel) => kernel.turns(k),
        }
    }
}

type Texts = HashMap<(usize, Loop), &'static str>;

/// The texts that were written.
static WRITTEN: Mutex<Option<Texts>> = Mutex::new(None);

/// Whether all other forms are offered, those too that nobody had a use for.
#[cfg(test)]
pub(in crate::gpu) static ALL_FORMS: std::sync::atomic::AtomicBool =
    std::sync::atomic::AtomicBool::new(false);

/// The text of these loops if some problem had them for its best: other texts no device has compiled.
pub(super) fn written(operands: &'static str, kind: &Loop) -> Option<&'static str> {
    #[cfg(test)]
    if ALL_FORMS.load(std::sync::atomic::Ordering::Relaxed) {
        return Some(complete(operands, kind.clone()));
    }
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written.as_ref()?.get(&(operands.as_ptr() as usize, kind.clone())).copied()
}

/// The operand file with its plain kernel replaced by these loops. Written once: a plan has hundreds of products of few kinds.
pub(super) fn complete(operands: &'static str, kind: Loop) -> &'static str {
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let texts = written.get_or_insert_default();
    // Operand files are constants: an address is a file.
    let key = (operands.as_ptr() as usize, kind);
    if let Some(text) = texts.get(&key) {
        return text;
    }
    let kernel = match &key.1 {
        Loop::Registers(kernel) => kernel.source(),
        Loop::Tiled(kernel) => kernel.source(),
    };
    // For as long as the process runs, as the map: there are few, and each is handed out again and again.
    let text = format!("{}{kernel}", declarations(operands)).leak();
    texts.insert(key, text);
    text
}
