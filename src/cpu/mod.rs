//! The CPU backend: computes a graph node by node. Pointwise nodes go through the cache together ([`fuse`]), which changes
//! no bit, so that it stays a cross-check for the plans of the GPU.

mod array;
mod fuse;
pub(crate) mod kernels;
mod memory;
pub(crate) mod pointwise;
pub(crate) mod simd;

pub use array::CpuElement;
pub(crate) use array::{Array, dispatch, dispatch_float};
pub(crate) use memory::stats;

use crate::error::Result;
use crate::eval::{Entry, Graph};
use crate::tensor::{Spec, Tensor, Value};
use fuse::Role;
use std::sync::{Mutex, PoisonError};

/// One computation at a time: what is pending when a graph is collected stays pending until it is computed.
static LOCK: Mutex<()> = Mutex::new(());

/// Computes the values of `roots` and of what they need.
pub(crate) fn run(roots: &[&Tensor]) -> Result<()> {
    let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let graph = Graph::collect(roots);
    let start = std::time::Instant::now();
    let mut uses = vec![0u32; graph.entries.len()];
    for entry in &graph.entries {
        for &i in &entry.inputs {
            uses[i as usize] += 1;
        }
    }
    let (roles, groups) = fuse::groups(&graph, &uses);
    let total_uses = uses.clone();
    let mut values: Vec<Option<Array>> = vec![None; graph.entries.len()];
    for (position, entry) in graph.entries.iter().enumerate() {
        let node = &entry.tensor.0;
        if entry.ready {
            values[position] = match node.value() {
                Some(Value::Cpu(array)) => Some(array),
                _ => None,
            };
            continue;
        }
        // The last user takes the value, so that its memory is free as early as can be.
        let mut take = |i: usize| {
            uses[i] -= 1;
            if uses[i] == 0 { values[i].take() } else { values[i].clone() }
        };
        let computed = match roles[position] {
            Role::Deferred => continue,
            Role::Alone => {
                let inputs: Vec<Array> = entry.inputs.iter().filter_map(|&i| take(i as usize)).collect();
                vec![(position, node.op.cpu(&inputs, &node.spec)?)]
            }
            Role::Last(group) => groups[group].run(&graph, &total_uses, &mut take)?,
        };
        for (position, array) in computed {
            let Entry { tensor, keep, .. } = &graph.entries[position];
            let node = &tensor.0;
            debug_assert_eq!(array.shape, node.spec.shape, "{}", node.op.name());
            debug_assert_eq!(array.dtype(), node.spec.dtype, "{}", node.op.name());
            if *keep {
                node.set_value(Value::Cpu(array.clone()));
            }
            values[position] = Some(array);
        }
    }
    memory::count_run(graph.entries.iter().filter(|e| !e.ready).count(), start.elapsed());
    Ok(())
}

/// The value of a tensor on the CPU, computed if need be.
pub(crate) fn value(tensor: &Tensor) -> Result<Array> {
    crate::eval::eval(&[tensor])?;
    match tensor.0.value() {
        Some(Value::Cpu(array)) => Ok(array),
        _ => Err(crate::Error::Gpu("a CPU tensor has no CPU value".into())),
    }
}

/// The spec of an array.
pub(crate) fn spec_of(array: &Array) -> Spec {
    Spec::new(array.shape, array.dtype())
}
