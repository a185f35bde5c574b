//! What computes on a GPU: the opened device with its pipelines and plans, and everything that is asked of it.

use super::adapters::{adapters, default_index, index_of};
use super::array::GpuArray;
use super::cache::{self, PlanCache};
use super::compile;
use super::context::{self, Gpu};
use super::kernels::KernelTarget;
use super::pipeline::Pipelines;
use super::profile;
use super::transfer;
use super::trial;
use crate::cpu::Array;
use crate::device::{Device, Stats};
use crate::error::{Error, Result};
use crate::profile::{Timing, Timings};
use crate::tensor::{Dispatch, Pending, Tensor};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// An opened GPU, and what was compiled for it.
pub(crate) struct Engine {
    pub gpu: Arc<Gpu>,
    pub pipelines: Arc<Pipelines>,
    /// Also the lock that makes evaluations of one device follow each other.
    plans: Mutex<PlanCache>,
}

impl Engine {
    fn open(adapter: &wgpu::Adapter) -> Result<Engine> {
        let gpu = context::open(adapter)?;
        let cached = gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let pipelines = Pipelines::new(&gpu.device, &adapter.get_info(), cached)?;
        Ok(Engine { gpu: Arc::new(gpu), pipelines: Arc::new(pipelines), plans: Mutex::default() })
    }

    /// The plans; while they are held, nothing else is evaluated on the device.
    pub fn plans(&self) -> MutexGuard<'_, PlanCache> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a device anew, with bindings of at most so many bytes. What is on it is lost.
pub(crate) fn limit_bindings(device: Device, bytes: u64) -> Result<()> {
    let index = number(device)?;
    context::limit_bindings(bytes);
    OPEN.write().unwrap_or_else(PoisonError::into_inner).retain(|(i, _)| *i != index);
    Ok(())
}

/// From now on a submission of this device may take so long, as far as that can be told before.
pub(crate) fn limit_submissions(device: Device, patience: Duration) -> Result<()> {
    engine(device)?.gpu.pace.set_patience(patience);
    Ok(())
}

/// The GPUs that are open, by the numbers of their adapters.
static OPEN: RwLock<Vec<(usize, Arc<Engine>)>> = RwLock::new(Vec::new());

fn number(device: Device) -> Result<usize> {
    static DEFAULT: OnceLock<usize> = OnceLock::new();
    match (device, DEFAULT.get()) {
        (Device::Gpu, Some(&index)) => Ok(index),
        (Device::Gpu, None) => Ok(*DEFAULT.get_or_init({
            let index = default_index()?;
            move || index
        })),
        _ => index_of(device),
    }
}

fn find_open(open: &[(usize, Arc<Engine>)], index: usize) -> Option<Arc<Engine>> {
    open.iter().find(|(i, _)| *i == index).map(|(_, engine)| engine.clone())
}

/// The opened GPU behind a device; opened at first use, and anew where it was lost.
pub(crate) fn engine(device: Device) -> Result<Arc<Engine>> {
    let index = number(device)?;
    let found = find_open(&OPEN.read().unwrap_or_else(PoisonError::into_inner), index);
    if let Some(engine) = found.filter(|engine| !engine.gpu.is_lost()) {
        return Ok(engine);
    }
    let adapter =
        adapters().get(index).ok_or_else(|| Error::internal(format!("there is no adapter {index}")))?;
    trial::pass(adapter)?;
    let mut open = OPEN.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(engine) = find_open(&open, index).filter(|engine| !engine.gpu.is_lost()) {
        return Ok(engine); // another thread was quicker
    }
    let engine = Arc::new(Engine::open(adapter)?);
    open.retain(|(i, _)| *i != index);
    open.push((index, engine.clone()));
    Ok(engine)
}

/// As [`engine`], for calls about work that was queued before: where the device was lost this is their error, once.
fn same_engine(device: Device) -> Result<Arc<Engine>> {
    let index = number(device)?;
    let found = find_open(&OPEN.read().unwrap_or_else(PoisonError::into_inner), index);
    match found {
        Some(engine) if !engine.gpu.is_lost() || !engine.gpu.told_of_loss() => Ok(engine),
        _ => self::engine(device),
    }
}

/// Queues the computation of `roots` and of what they need.
pub(crate) fn run(device: Device, roots: &[&Tensor]) -> Result<()> {
    let engine = engine(device)?;
    engine.gpu.check()?;
    let mut plans = engine.plans();
    let start = plans.timings.is_some().then(Instant::now);
    let graph = Pending::collect(roots);
    let result = cache::run(&engine.gpu, &engine.pipelines, &mut plans, &graph, start);
    if let (Some(start), Some(timings)) = (start, &mut plans.timings) {
        timings.evaluations += 1;
        timings.inside += start.elapsed();
    }
    result
}

/// What `roots` need, as [`run`] would compute it now.
pub(crate) fn collect(device: Device, roots: &[&Tensor]) -> Result<Pending> {
    let engine = engine(device)?;
    let _alone = engine.plans();
    Ok(Pending::collect(roots))
}

/// The dispatches that computing a graph takes.
pub(crate) fn dissect(device: Device, graph: &Pending) -> Result<Vec<Dispatch>> {
    compile::dissect(&engine(device)?.gpu, graph)
}

/// What the kernels of a GPU are made for.
pub(crate) fn target(device: Device) -> Result<KernelTarget> {
    Ok(engine(device)?.gpu.target.clone())
}

/// Counters of a GPU.
pub(crate) fn stats(device: Device) -> Result<Stats> {
    let engine = engine(device)?;
    let gpu = &engine.gpu;
    let mut stats = gpu.counters.stats();
    gpu.pool.fill_stats(&mut stats);
    Ok(stats)
}

/// Waits until all queued work is done.
pub(crate) fn synchronize(device: Device) -> Result<()> {
    let engine = same_engine(device)?;
    transfer::synchronize(&engine.gpu, || engine.plans())
}

/// Gives the memory that nothing uses back to the driver.
pub(crate) fn trim(device: Device) -> Result<()> {
    let engine = engine(device)?;
    let gpu = &engine.gpu;
    let mut plans = engine.plans();
    plans.trim(gpu);
    drop(plans);
    // Memory is free when the work that used it is done.
    gpu.wait(None)?;
    gpu.check()
}

/// Whether a value is still there: its device was not lost since.
pub(crate) fn is_there(device: Device, array: &GpuArray) -> bool {
    engine(device).is_ok_and(|engine| array.buffer.is_of(&engine.gpu.pool))
}

/// Has a device fail as if its driver had reset it: for tests.
pub(crate) fn lose(device: Device) -> Result<()> {
    engine(device)?.gpu.device.destroy();
    Ok(())
}

/// Copies host values to a device.
pub(crate) fn upload(device: Device, array: &Array) -> Result<GpuArray> {
    transfer::upload(&engine(device)?.gpu, array)
}

/// A value on the host, waited for. `state`: whether it is that of a variable, which is to be had again once somebody was told
/// of what went wrong with it.
pub(crate) fn download(device: Device, array: &GpuArray, state: bool) -> Result<Array> {
    let engine = engine(device)?;
    transfer::download(&engine.gpu, array, state, || engine.plans())
}

/// As [`download`]; a thread of its own waits for the device.
pub(crate) async fn download_async(device: Device, array: &GpuArray, state: bool) -> Result<Array> {
    let engine = engine(device)?;
    transfer::download_async(&engine.gpu, array, state, || engine.plans()).await
}

/// How its kernels are timed.
pub(crate) fn timing(device: Device) -> Result<Timing> {
    Ok(profile::timing_of(&engine(device)?.gpu))
}

/// Begins to time the kernels.
pub(crate) fn start_timing(device: Device) -> Result<()> {
    let engine = engine(device)?;
    let mut plans = engine.plans();
    if plans.timings.is_some() {
        return Err(Error::argument("Device::profile", format!("{device} is being profiled already")));
    }
    plans.timings = Some(Timings::default());
    Ok(())
}

/// What was timed.
pub(crate) fn stop_timing(device: Device) -> Result<Timings> {
    let engine = engine(device)?;
    let mut plans = engine.plans();
    Ok(plans.timings.take().unwrap_or_default())
}
