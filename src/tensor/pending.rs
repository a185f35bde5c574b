//! What has to be computed: the nodes without a value that others need, in order.

use super::node::{Tensor, Value};
use crate::error::Result;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Node ids, and places in a graph, are already distinct numbers: one multiplication spreads them over the table.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(b as u64);
        }
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

pub(crate) type IdMap<V> = HashMap<u64, V, BuildHasherDefault<IdHasher>>;

/// Positions of a node's inputs: few, mostly, and then without an allocation of their own.
#[derive(Clone, Default)]
pub(crate) struct Inputs {
    len: u8,
    few: [u32; 3],
    many: Vec<u32>,
}

impl Inputs {
    fn push(&mut self, input: u32) {
        if self.many.is_empty() && (self.len as usize) < self.few.len() {
            self.few[self.len as usize] = input;
            self.len += 1;
            return;
        }
        if self.many.is_empty() {
            self.many.extend_from_slice(&self.few);
        }
        self.many.push(input);
    }
}

impl FromIterator<u32> for Inputs {
    fn from_iter<I: IntoIterator<Item = u32>>(positions: I) -> Inputs {
        let mut inputs = Inputs::default();
        positions.into_iter().for_each(|p| inputs.push(p));
        inputs
    }
}

impl Deref for Inputs {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        if self.many.is_empty() { &self.few[..self.len as usize] } else { &self.many }
    }
}

impl<'a> IntoIterator for &'a Inputs {
    type Item = &'a u32;
    type IntoIter = std::slice::Iter<'a, u32>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One node of a graph to be computed.
pub(crate) struct Entry {
    pub tensor: Tensor,
    /// Positions of the inputs in the graph; empty for a node that has its value already.
    pub inputs: Inputs,
    /// Whether the value is computed already (and only read here).
    pub ready: bool,
    /// Whether somebody outside this graph holds the node: then its value has to be kept.
    pub keep: bool,
    /// Whether it may be computed in the memory of its first input, which nobody will read again: not in this graph, nor after.
    pub in_place: bool,
}

/// The nodes that a computation needs, inputs before users.
pub(crate) struct Pending {
    pub entries: Vec<Entry>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|e| e.tensor.0.op.name())).finish()
    }
}

/// Numbers the graphs, for the marks on their nodes: a mark is a graph's number and a position in it.
static GRAPHS: AtomicU64 = AtomicU64::new(1);
/// Bits of a mark that are the position; the others last for 68 thousand million graphs.
const POSITION_BITS: u32 = 28;

/// Marks of one graph. They spare a table of positions: a node is looked at by one graph at a time, since whoever
/// collects holds the lock of the nodes' device.
struct Marks(u64);

impl Marks {
    fn new() -> Marks {
        Marks(GRAPHS.fetch_add(1, Relaxed) << POSITION_BITS)
    }

    fn get(&self, tensor: &Tensor) -> Option<u32> {
        let mark = tensor.0.mark.load(Relaxed);
        (mark & (u64::MAX << POSITION_BITS) == self.0).then_some((mark & ((1 << POSITION_BITS) - 1)) as u32)
    }

    fn set(&self, tensor: &Tensor, position: usize) {
        tensor.0.mark.store(self.0 | position as u64, Relaxed);
    }
}

impl Pending {
    /// Collects what `roots` need, in topological order, without recursion. The caller holds the device's lock:
    /// values appear only under it, so what is pending here stays pending.
    pub fn collect(roots: &[&Tensor]) -> Pending {
        let marks = Marks::new();
        let mut entries: Vec<Entry> = Vec::with_capacity(256);
        let mut uses: Vec<u32> = Vec::with_capacity(256);
        let mut overwriting: Vec<usize> = Vec::new();
        // (tensor, whether its inputs were already pushed)
        let mut stack: Vec<(Tensor, bool)> = roots.iter().rev().map(|&t| (t.clone(), false)).collect();
        while let Some((tensor, expanded)) = stack.pop() {
            if marks.get(&tensor).is_some() {
                continue;
            }
            let mut inputs = Inputs::default();
            let mut ready = false;
            if expanded {
                tensor.0.with_inputs(|list| {
                    for position in list.iter().filter_map(|t| marks.get(t)) {
                        uses[position as usize] += 1;
                        inputs.push(position);
                    }
                });
            } else {
                let pending = tensor.0.if_pending(|list| {
                    stack.push((tensor.clone(), true));
                    let new = list.iter().rev().filter(|t| marks.get(t).is_none());
                    stack.extend(new.map(|t| (t.clone(), false)));
                });
                if pending.is_some() {
                    continue;
                }
                ready = true;
            }
            marks.set(&tensor, entries.len());
            if !ready && tensor.0.op.overwrites() {
                overwriting.push(entries.len());
            }
            entries.push(Entry { tensor, inputs, ready, keep: false, in_place: false });
            uses.push(1); // the handle in `entries` itself
        }
        for (entry, uses) in entries.iter_mut().zip(uses) {
            entry.keep = !entry.ready && Arc::strong_count(&entry.tensor.0) > uses as usize;
        }
        for root in roots {
            if let Some(entry) = marks.get(root).and_then(|p| entries.get_mut(p as usize)) {
                entry.keep = !entry.ready;
            }
        }
        find_in_place(&mut entries, overwriting);
        Pending { entries }
    }
}

/// Walks over what roots are made of, inputs before users, without recursion. `visit` is told whether a tensor's inputs were visited
/// before; it gives whether it is done with the tensor, and is given it again after its inputs if it is not.
pub(crate) fn inputs_first<'t>(
    roots: impl DoubleEndedIterator<Item = &'t Tensor>,
    mut visit: impl FnMut(&Tensor, bool) -> Result<bool>,
) -> Result<()> {
    let mut stack: Vec<(Tensor, bool)> = roots.rev().map(|t| (t.clone(), false)).collect();
    while let Some((tensor, expanded)) = stack.pop() {
        if !visit(&tensor, expanded)? && !expanded {
            stack.push((tensor.clone(), true));
            tensor.0.with_inputs(|list| stack.extend(list.iter().rev().map(|t| (t.clone(), false))));
        }
    }
    Ok(())
}

/// Finds which of the `overwriting` nodes may be computed in the memory of their first input.
///
/// Nobody reads the input again if three things hold. Its only handle outside of the list of entries is this node's, so no other
/// node reads it, in this graph or later. Nothing else refers to its memory, so it is not a part of what somebody holds. And this
/// node lets go of it when it has its value, which it will have (it is kept), or its only user has under the same conditions: so
/// nothing is ever computed from the input anew.
fn find_in_place(entries: &mut [Entry], overwriting: Vec<usize>) {
    let mut overwritten = vec![false; if overwriting.is_empty() { 0 } else { entries.len() }];
    // users before inputs
    for at in overwriting.into_iter().rev() {
        let Entry { tensor, inputs, keep, .. } = &entries[at];
        let forgets = !tensor.0.tracked || tensor.0.root.is_some();
        let Some(&first) = inputs.first() else { continue };
        let first = first as usize;
        let base = &entries[first];
        let handles = 2; // that of its entry, and this node's
        let sole = Arc::strong_count(&base.tensor.0) == handles
            && (!base.ready || base.tensor.0.with_value(|value| value.is_some_and(Value::is_sole)));
        if sole && forgets && (*keep || overwritten[at]) {
            entries[at].in_place = true;
            overwritten[first] = true;
        }
    }
}

/// One kernel of a graph, or one operation on the CPU.
pub(crate) struct Dispatch {
    /// What it computes, and ` | ` between small kernels that share a dispatch.
    pub name: String,
    /// Workgroups per dimension; zeros on the CPU.
    pub grid: [u32; 3],
    /// Positions of the nodes whose values or parts of expressions it computes; none for the first pass of two.
    pub nodes: Vec<u32>,
}
