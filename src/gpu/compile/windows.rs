//! Values larger than what a kernel can bind at once (128 MiB on some adapters): such a buffer is bound in windows, one after
//! the other, and the kernel's loads and stores choose among them. Done to the text of the finished kernel, whoever wrote it.

use super::Values;
use super::step::{Place, Step, Window, locate};
use crate::error::{Error, Result};
use crate::gpu::array::storage_bytes;
use crate::gpu::context::Gpu;
use crate::gpu::memory::ALIGNMENT;
use crate::gpu::source::BindingKind;
use crate::gpu::wgsl::{in_windows, without_comments};

/// Binding of the first further window.
const FIRST_BINDING: u32 = 48;

/// Bytes that a binding of a place covers.
pub(super) fn bytes(values: &Values<'_>, temps: &[u64], place: Place) -> u64 {
    let stored = match place {
        Place::Temp(t) => return temps[t].next_multiple_of(16).max(16),
        Place::Value(stored) => stored,
        // Whoever puts steps into a loop says how much is bound: see `loops.rs`.
        Place::Home(_) => return 0,
    };
    let owner = locate(values, stored);
    let left = storage_bytes(values.spec(owner.value)).saturating_sub(owner.offset).max(16);
    match stored.offset {
        0 => storage_bytes(values.spec(stored.value)).min(left),
        // a strided operand that begins inside of its value: up to the end
        _ => left,
    }
}

/// Bindings that these values need beyond one each.
pub(super) fn further(values: &Values<'_>, list: &[usize]) -> usize {
    let windows = |&v: &usize| storage_bytes(values.spec(v)).div_ceil(values.max_binding) as usize;
    list.iter().map(windows).map(|n| n.saturating_sub(1)).sum()
}

/// Binds what is too large in windows.
pub(super) fn split(gpu: &Gpu, values: &Values<'_>, temps: &[u64], step: &mut Step) -> Result<()> {
    let window = gpu.max_binding / ALIGNMENT * ALIGNMENT;
    let large = |&(binding, place): &(u32, Place)| {
        let bytes = bytes(values, temps, place);
        (bytes > window).then_some((binding, place, bytes))
    };
    let reads: Vec<_> = step.reads.iter().filter_map(large).collect();
    let writes: Vec<_> = step.writes.iter().filter_map(large).collect();
    if reads.is_empty() && writes.is_empty() {
        return Ok(());
    }
    let sizes: Vec<u64> = reads.iter().chain(&writes).map(|b| b.2).collect();
    let refuse = |why: &str| {
        let name = step.tasks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(" | ");
        let message = format!(
            "{name}: values of {sizes:?} bytes, but a kernel can bind {window} bytes at once, {} times ({why}); use a smaller \
             batch, or work on parts of the tensor",
            gpu.max_storage_buffers
        );
        Error::OutOfMemory { device: gpu.name.clone(), message }
    };
    // After everything else that changes the text, so that all loads and stores are there, those of an epilogue too; before
    // kernels are joined, which leaves out what has windows.
    let mut text = without_comments(&step.source.wgsl);
    let mut next = FIRST_BINDING;
    let mut windows = Vec::new();
    let mut added = [Vec::new(), Vec::new()];
    for (write, list) in [(0, &reads), (1, &writes)] {
        for &(binding, place, bytes) in list {
            let count = bytes.div_ceil(window);
            let bindings: Vec<u32> = std::iter::once(binding).chain(next..).take(count as usize).collect();
            next += count as u32 - 1;
            text = in_windows(&text, &bindings, window).ok_or_else(|| refuse("its kernel can't be cut"))?;
            for (w, &binding) in (0..).zip(&bindings) {
                let offset = w * window;
                windows.push(Window { binding, offset, bytes: window.min(bytes - offset) });
            }
            added[write].extend(bindings[1..].iter().map(|&b| (b, place)));
        }
    }
    let further = added[0].len() + added[1].len();
    let bound = step.reads.len() + step.writes.len() + step.records() as usize + further;
    if bound > gpu.max_storage_buffers {
        return Err(refuse(&format!("{bound} bindings would be needed")));
    }
    let [reads, writes] = added;
    step.source.bindings.extend(reads.iter().map(|r| (r.0, BindingKind::Read)));
    step.source.bindings.extend(writes.iter().map(|w| (w.0, BindingKind::ReadWrite)));
    step.reads.extend(reads);
    step.writes.extend(writes);
    step.source.wgsl = text.into();
    step.windows = windows;
    Ok(())
}
