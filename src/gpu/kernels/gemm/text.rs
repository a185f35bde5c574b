//! The text of a whole kernel: an operand file with loops in place of its plain kernel.

use super::registers::Registers;
use super::tiled::Tiled;
use crate::gpu::wgsl::declarations;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The loops around an operand file: everything that their text depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Loop {
    Registers(Registers),
    Tiled(Tiled),
}

/// The operand file with its plain kernel replaced by these loops. Written once: a plan has hundreds of products of few kinds.
pub(super) fn complete(operands: &'static str, kind: Loop) -> &'static str {
    static WRITTEN: Mutex<Option<HashMap<(usize, Loop), &'static str>>> = Mutex::new(None);
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
