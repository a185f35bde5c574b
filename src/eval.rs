//! From a lazy graph to values: collects what has to be computed and hands it to the backend.

use crate::device::Device;
use crate::error::Result;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Node ids are already distinct numbers: one multiplication spreads them over the table.
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
    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

pub(crate) type IdMap<V> = HashMap<u64, V, BuildHasherDefault<IdHasher>>;

/// One node of a graph to be computed.
pub(crate) struct Entry {
    pub tensor: Tensor,
    /// Positions of the inputs in the graph; empty for a node that has its value already.
    pub inputs: Vec<u32>,
    /// Whether the value is computed already (and only read here).
    pub ready: bool,
    /// Whether somebody outside this graph holds the node: then its value has to be kept.
    pub keep: bool,
}

/// The nodes that a computation needs, inputs before users.
pub(crate) struct Graph {
    pub entries: Vec<Entry>,
}

impl Graph {
    /// Collects what `roots` need, in topological order, without recursion. The caller holds the device's lock:
    /// values appear only under it, so what is pending here stays pending.
    pub fn collect(roots: &[&Tensor]) -> Graph {
        let mut position: IdMap<u32> = IdMap::default();
        let mut entries: Vec<Entry> = Vec::new();
        // (tensor, whether its inputs were already pushed)
        let mut stack: Vec<(Tensor, bool)> = roots.iter().rev().map(|&t| (t.clone(), false)).collect();
        while let Some((tensor, expanded)) = stack.pop() {
            let id = tensor.0.id;
            if position.contains_key(&id) {
                continue;
            }
            let ready = tensor.0.has_value();
            if !expanded && !ready {
                stack.push((tensor.clone(), true));
                tensor.0.with_inputs(|inputs| {
                    for input in inputs.iter().rev() {
                        if !position.contains_key(&input.0.id) {
                            stack.push((input.clone(), false));
                        }
                    }
                });
                continue;
            }
            let inputs = match ready {
                true => Vec::new(),
                false => tensor
                    .0
                    .with_inputs(|list| list.iter().filter_map(|t| position.get(&t.0.id).copied()).collect()),
            };
            position.insert(id, entries.len() as u32);
            entries.push(Entry { tensor, inputs, ready, keep: false });
        }
        let mut uses = vec![1usize; entries.len()]; // the handle in `entries` itself
        for entry in &entries {
            for &input in &entry.inputs {
                uses[input as usize] += 1;
            }
        }
        for (entry, uses) in entries.iter_mut().zip(uses) {
            entry.keep = !entry.ready && Arc::strong_count(&entry.tensor.0) > uses;
        }
        for root in roots {
            if let Some(&p) = position.get(&root.0.id) {
                let entry = &mut entries[p as usize];
                entry.keep = !entry.ready;
            }
        }
        Graph { entries }
    }
}

/// Computes the values of `tensors` (and of every pending tensor among what they need that somebody still holds).
///
/// On a GPU this queues the work and returns at once; only reading a value waits. Tensors of one device that are
/// given together are computed together, in one plan.
pub(crate) fn eval(tensors: &[&Tensor]) -> Result<()> {
    let mut devices: Vec<Device> = Vec::new();
    for t in tensors {
        if !t.0.has_value() && !devices.contains(&t.0.device) {
            devices.push(t.0.device);
        }
    }
    for device in devices {
        let roots: Vec<&Tensor> =
            tensors.iter().copied().filter(|t| t.0.device == device && !t.0.has_value()).collect();
        match device {
            Device::Cpu => crate::cpu::run(&roots)?,
            gpu => crate::gpu::run(gpu, &roots)?,
        }
    }
    Ok(())
}
