//! The GPU backend, over wgpu: a graph becomes a plan (fused kernels, memory), a plan is kept and replayed.
//!
//! - [`context`]: adapters, devices, errors of the driver, pipelines
//! - [`memory`]: pooled buffers
//! - [`compile`]: graph -> plan: what is computed where, which kernels, in which buffers
//! - [`plan`]: plan -> one command buffer, one pass, one submission
//! - [`profile`]: the same, kernel by kernel
//! - [`transfer`]: host -> device and back
//! - [`faults`]: what kernels record about the values they meet, in [`record`]s
//! - [`kernels`]: hand-written kernels

mod array;
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
mod record;
mod transfer;

pub(crate) use array::GpuArray;
use context::same_context;
pub(crate) use context::{
    ADAPTER_VARIABLE, Gpu, by_index, by_name, context, default_info, info, limit_bindings, list,
};
pub(crate) use profile::{start_recording, stop_recording, timing};
pub(crate) use transfer::{download, download_async, upload};

use crate::device::{Device, Stats};
use crate::error::Result;
use crate::tensor::{Dispatch, Pending, Tensor};
use std::sync::PoisonError;
use std::time::Instant;

/// Queues the computation of `roots` and of what they need.
pub(crate) fn run(device: Device, roots: &[&Tensor]) -> Result<()> {
    let gpu = context(device)?;
    gpu.check()?;
    let mut plans = gpu.plans.lock().unwrap_or_else(PoisonError::into_inner);
    let start = plans.recorder.is_some().then(Instant::now);
    let graph = Pending::collect(roots);
    let result = plan::run(&gpu, &mut plans, &graph, start);
    if let (Some(start), Some(recorder)) = (start, &mut plans.recorder) {
        recorder.evaluations += 1;
        recorder.inside += start.elapsed();
    }
    result
}

/// What `roots` need, as [`run`] would compute it now.
pub(crate) fn collect(device: Device, roots: &[&Tensor]) -> Result<Pending> {
    let gpu = context(device)?;
    let _alone = gpu.plans.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Pending::collect(roots))
}

/// The dispatches that computing a graph takes.
pub(crate) fn dissect(device: Device, graph: &Pending) -> Result<Vec<Dispatch>> {
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

/// Whether a value is still there: its device was not lost since.
pub(crate) fn is_there(device: Device, array: &GpuArray) -> bool {
    context(device).is_ok_and(|gpu| array.buffer.is_of(&gpu.pool))
}

/// Has a device fail as if its driver had reset it: for tests.
pub(crate) fn lose(device: Device) -> Result<()> {
    context(device)?.device.destroy();
    Ok(())
}
