//! The GPU backend, over wgpu: a graph becomes a plan (fused kernels, memory), a plan is kept and replayed.
//!
//! - [`context`]: adapters, devices, errors of the driver, pipelines
//! - [`memory`]: pooled buffers
//! - [`compile`]: graph -> plan: what is computed where, which kernels, in which buffers
//! - [`plan`]: plan -> one command buffer, one pass, one submission
//! - [`profile`]: the same, kernel by kernel
//! - [`transfer`]: host -> device and back
//! - [`faults`]: what kernels record about the values they meet
//! - [`kernels`]: hand-written kernels

mod compile;
mod context;
mod faults;
pub mod kernels;
mod memory;
#[cfg(debug_assertions)]
mod mutant;
mod pipeline;
mod pipeline_cache;
mod plan;
mod profile;
mod transfer;

use context::same_context;
pub(crate) use context::{
    ADAPTER_VARIABLE, Gpu, by_index, by_name, context, default_info, info, limit_bindings, list,
};
pub(crate) use faults::Lineage;
pub(crate) use memory::GpuBuffer;
pub(crate) use profile::{start_recording, stop_recording, timing};
pub(crate) use transfer::{download, download_async, upload};

use crate::device::{Device, Stats};
use crate::dtype::DType;
use crate::error::Result;
use crate::eval::{Dispatch, Graph};
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor, Value};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// A value on a GPU: contiguous elements in a (shared) buffer, from an offset that can be bound.
#[derive(Clone, Debug)]
pub(crate) struct GpuArray {
    pub buffer: Arc<GpuBuffer>,
    /// Bytes into the buffer; a multiple of [`ALIGNMENT`].
    pub offset: u64,
    pub shape: Shape,
    pub dtype: DType,
    /// An upper bound of the elements (u32), where the host knows one.
    pub largest: Option<u32>,
    /// What kernels may have recorded about what it was computed from.
    pub lineage: Lineage,
}

/// Every value begins at a multiple of this many bytes: WebGPU's default alignment of bindings.
pub(crate) const ALIGNMENT: u64 = 256;

/// Bytes of a value's buffer: whole words, and never none.
pub(crate) fn storage_bytes(spec: &Spec) -> u64 {
    (spec.bytes() as u64).next_multiple_of(16).max(16)
}

/// Queues the computation of `roots` and of what they need.
pub(crate) fn run(device: Device, roots: &[&Tensor]) -> Result<()> {
    let gpu = context(device)?;
    gpu.check()?;
    let mut plans = gpu.plans.lock().unwrap_or_else(PoisonError::into_inner);
    let start = plans.recorder.is_some().then(Instant::now);
    let graph = Graph::collect(roots);
    let result = plan::run(&gpu, &mut plans, &graph, start);
    if let (Some(start), Some(recorder)) = (start, &mut plans.recorder) {
        recorder.evaluations += 1;
        recorder.inside += start.elapsed();
    }
    result
}

/// What `roots` need, as [`run`] would compute it now.
pub(crate) fn collect(device: Device, roots: &[&Tensor]) -> Result<Graph> {
    let gpu = context(device)?;
    let _alone = gpu.plans.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Graph::collect(roots))
}

/// The dispatches that computing a graph takes.
pub(crate) fn dissect(device: Device, graph: &Graph) -> Result<Vec<Dispatch>> {
    compile::dissect(&*context(device)?, graph)
}

/// Counters of a GPU.
pub(crate) fn stats(device: Device) -> Result<Stats> {
    let gpu = context(device)?;
    let mut stats = gpu.counters.stats();
    gpu.pool.fill_stats(&mut stats);
    Ok(stats)
}

/// Waits until all queued work is done.
pub(crate) fn synchronize(device: Device) -> Result<()> {
    let gpu = same_context(device)?;
    transfer::synchronize(&gpu)
}

/// Gives the memory that nothing uses back to the driver.
pub(crate) fn trim(device: Device) -> Result<()> {
    let gpu = context(device)?;
    let mut plans = gpu.plans.lock().unwrap_or_else(PoisonError::into_inner);
    plans.trim(&gpu);
    drop(plans);
    // Memory is free when the work that used it is done.
    gpu.wait(None)?;
    gpu.check()
}

/// Whether a tensor's value, if it has one, is still there: its device was not lost since.
pub(crate) fn is_there(tensor: &Tensor) -> bool {
    tensor.0.with_value(|value| match value {
        Some(Value::Gpu(array)) => context(tensor.device()).is_ok_and(|gpu| array.buffer.is_of(&gpu.pool)),
        _ => true,
    })
}

/// Has a device fail as if its driver had reset it: for tests.
pub(crate) fn lose(device: Device) -> Result<()> {
    context(device)?.device.destroy();
    Ok(())
}
