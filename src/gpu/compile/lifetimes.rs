//! Which buffers share memory: those that are not needed at the same time.

use super::step::{Owner, OwnerMap};
use super::values::Values;
use crate::gpu::array::storage_bytes;

/// A buffer before buffers are shared: its size, and when it is needed.
pub(super) struct Lifetime {
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
    /// Held after the plan has run.
    pub kept: bool,
}

/// Bytes of the buffer that an owner has for itself.
pub(super) fn bytes(values: &Values<'_>, temps: &[u64], owner: Owner) -> u64 {
    match owner {
        Owner::Value(v) => storage_bytes(values.spec(v)),
        Owner::Temp(t) => temps[t].next_multiple_of(16).max(16),
        Owner::Home(_) => 0,
    }
}

/// The lifetimes of all owners.
#[derive(Default)]
pub(super) struct Lifetimes {
    pub list: Vec<Lifetime>,
    pub of: OwnerMap<usize>,
}

impl Lifetimes {
    /// The lifetime of an owner, which is needed at this step; steps come in their order.
    pub fn need(&mut self, owner: Owner, step: usize, bytes: u64) -> &mut Lifetime {
        let list = &mut self.list;
        let at = *self.of.entry(owner).or_insert_with(|| {
            list.push(Lifetime { bytes, first: step, last: step, kept: false });
            list.len() - 1
        });
        let lifetime = &mut self.list[at];
        lifetime.last = lifetime.last.max(step);
        lifetime
    }
}

/// Lets values whose lifetimes don't overlap share buffers. Gives the buffers' sizes, and the buffer of each lifetime.
pub(super) fn share(lifetimes: &[Lifetime]) -> (Vec<u64>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&s| lifetimes[s].first);
    let mut buffers: Vec<u64> = Vec::new();
    // step after which a buffer is free again; never for what is kept
    let mut busy_until: Vec<Option<usize>> = Vec::new();
    let mut buffer_of = vec![0; lifetimes.len()];
    for s in order {
        let lifetime = &lifetimes[s];
        let free = |b: &usize| busy_until[*b].is_some_and(|end| end < lifetime.first);
        // the smallest that is large enough, unless it would waste more than half of it
        let fit = (0..buffers.len())
            .filter(free)
            .filter(|&b| buffers[b] >= lifetime.bytes && buffers[b] / 2 <= lifetime.bytes)
            .min_by_key(|&b| buffers[b]);
        let b = match fit.filter(|_| !lifetime.kept) {
            Some(b) => b,
            None => {
                buffers.push(lifetime.bytes);
                busy_until.push(None);
                buffers.len() - 1
            }
        };
        busy_until[b] = if lifetime.kept { None } else { Some(lifetime.last) };
        buffer_of[s] = b;
    }
    (buffers, buffer_of)
}
