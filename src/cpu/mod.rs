//! The CPU backend: computes a graph node by node, plainly. It never fuses, which makes it a cross-check for the GPU plans
//! that do.

mod array;
pub(crate) mod kernels;
mod memory;
pub(crate) mod pointwise;

pub use array::CpuElement;
pub(crate) use array::{Array, dispatch, dispatch_float};
pub(crate) use memory::stats;

use crate::error::{Error, Result};
use crate::eval::Graph;
use crate::profile::{Call, Recorder};
use crate::tensor::{Node, Spec, Tensor, Value};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// One computation at a time: what is pending when a graph is collected stays pending until it is computed. Inside,
/// what is noted while the device is being profiled.
static LOCK: Mutex<Option<Recorder>> = Mutex::new(None);

pub(crate) fn start_recording() -> Result<()> {
    let mut recorder = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if recorder.is_some() {
        return Err(Error::argument("Device::profile", "the CPU is being profiled already"));
    }
    *recorder = Some(Recorder::default());
    Ok(())
}

pub(crate) fn stop_recording() -> Recorder {
    LOCK.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
}

/// Computes the values of `roots` and of what they need.
pub(crate) fn run(roots: &[&Tensor]) -> Result<()> {
    let mut recorder = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = recorder.is_some().then(Instant::now);
    let graph = Graph::collect(roots);
    let start = Instant::now();
    if let (Some(recorder), Some(begin)) = (&mut *recorder, begin) {
        recorder.planning += start - begin;
    }
    let mut uses = vec![0u32; graph.entries.len()];
    for entry in &graph.entries {
        for &i in &entry.inputs {
            uses[i as usize] += 1;
        }
    }
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
        let mut inputs = Vec::with_capacity(entry.inputs.len());
        for &i in &entry.inputs {
            let i = i as usize;
            uses[i] -= 1;
            // The last user takes the value, so that its memory is free as early as can be.
            let value = if uses[i] == 0 { values[i].take() } else { values[i].clone() };
            inputs.extend(value);
        }
        let array = match &mut *recorder {
            None => node.op.cpu(&inputs, &node.spec)?,
            Some(recorder) => timed(recorder, node, &inputs)?,
        };
        drop(inputs);
        debug_assert_eq!(array.shape, node.spec.shape, "{}", node.op.name());
        debug_assert_eq!(array.dtype(), node.spec.dtype, "{}", node.op.name());
        if entry.keep {
            node.set_value(Value::Cpu(array.clone()));
        }
        values[position] = Some(array);
    }
    memory::count_run(graph.entries.iter().filter(|e| !e.ready).count(), start.elapsed());
    if let (Some(recorder), Some(begin)) = (&mut *recorder, begin) {
        recorder.evaluations += 1;
        recorder.inside += begin.elapsed();
    }
    Ok(())
}

/// Computes a node and notes how long it took.
fn timed(recorder: &mut Recorder, node: &Node, inputs: &[Array]) -> Result<Array> {
    let specs: Vec<Spec> = inputs.iter().map(spec_of).collect();
    let start = Instant::now();
    let array = node.op.cpu(inputs, &node.spec)?;
    let time = start.elapsed();
    // A view reads and writes nothing.
    let bytes: usize = specs.iter().chain([&node.spec]).map(Spec::bytes).sum();
    let copies = time.as_nanos() > 1000;
    recorder.add(Call {
        name: node.op.name(),
        shape: node.spec.shape,
        grid: [0; 3],
        time,
        flops: node.op.flops(&specs, &node.spec),
        bytes: if copies { bytes as u64 } else { 0 },
    });
    Ok(array)
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
