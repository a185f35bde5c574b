//! Adapters and devices.

use super::faults::Faults;
use super::kernels::KernelTarget;
use super::kernels::kind::KERNELS_VARIABLE;
use super::memory::{ALIGNMENT, Pool};
use super::pipeline::Pipelines;
use super::plan::PlanCache;
use crate::device::{AdapterId, Device, DeviceInfo, DeviceKind, Stats};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use wgpu::{Adapter, DeviceType, Features};

/// Names the adapter that [`Device::Gpu`] is: a part of its name, or its number.
pub(crate) const ADAPTER_VARIABLE: &str = "WGRAD_ADAPTER";

/// Bytes that a kernel may bind at once, where that is to be less than the adapter's limit: so that small tensors go the way of
/// large ones, in tests.
const BINDING_VARIABLE: &str = "WGRAD_MAX_BINDING";

/// As [`BINDING_VARIABLE`], from within the process.
static MOST_BYTES: AtomicU64 = AtomicU64::new(u64::MAX);

/// Opens a device anew, with bindings of at most so many bytes. What is on it is lost.
pub(crate) fn limit_bindings(device: Device, bytes: u64) -> Result<()> {
    let index = number(device)?;
    MOST_BYTES.store(bytes, Relaxed);
    OPEN.write().unwrap_or_else(PoisonError::into_inner).retain(|(i, _)| *i != index);
    Ok(())
}

/// Optional features that kernels and profiles make use of where they are there.
const WANTED: Features = Features::SUBGROUP.union(Features::PIPELINE_CACHE).union(Features::TIMESTAMP_QUERY);

/// Those that only kernels for adapters that run on a CPU make use of.
const WANTED_ON_CPU: Features = Features::SHADER_INT64;

/// An opened GPU.
pub(crate) struct Gpu {
    pub name: String,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub target: KernelTarget,
    /// Storage buffers that one kernel may bind.
    pub max_storage_buffers: usize,
    pub max_binding: u64,
    pub pool: Arc<Pool>,
    pub pipelines: Pipelines,
    /// Also the lock that makes evaluations of one device follow each other.
    pub plans: Mutex<PlanCache>,
    pub counters: Counters,
    pub faults: Faults,
    failure: Arc<Failure>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub dispatches: AtomicU64,
    pub submits: AtomicU64,
    pub plan_hits: AtomicU64,
    pub plan_misses: AtomicU64,
    pub pipelines: AtomicU64,
    pub device_ns: AtomicU64,
}

impl Counters {
    pub fn stats(&self) -> Stats {
        Stats {
            dispatches: self.dispatches.load(Relaxed),
            submits: self.submits.load(Relaxed),
            plan_hits: self.plan_hits.load(Relaxed),
            plan_misses: self.plan_misses.load(Relaxed),
            pipelines: self.pipelines.load(Relaxed),
            device_ns: self.device_ns.load(Relaxed),
            ..Default::default()
        }
    }
}

/// What the driver reported outside of any call: kept until the next call that can return it.
#[derive(Default)]
struct Failure {
    lost: AtomicBool,
    /// Whether a caller was told of the loss.
    told: AtomicBool,
    message: Mutex<Option<String>>,
}

impl Failure {
    fn set(&self, message: String) {
        let mut slot = self.message.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(message);
    }
}

impl Gpu {
    /// The first thing that went wrong on the device since the last look.
    pub fn check(&self) -> Result<()> {
        let message = || self.failure.message.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_lost() && message().is_some() {
            // What fails on a lost device is reported before the loss is.
            let _ = self.device.poll(wgpu::PollType::Poll);
        }
        let mut slot = message();
        if self.is_lost() {
            let reason = slot.clone().unwrap_or_else(|| "no reason given".into());
            self.failure.told.store(true, Relaxed);
            return Err(Error::DeviceLost { device: self.name.clone(), reason });
        }
        match slot.take() {
            Some(message) => Err(Error::Gpu(format!("{}: {message}", self.name))),
            None => Ok(()),
        }
    }

    /// Whether the device stopped answering. It stays lost; the next use of its adapter opens another.
    pub fn is_lost(&self) -> bool {
        self.failure.lost.load(Relaxed)
    }

    /// The error of a call that failed for this reason, or because the device is lost.
    pub fn failed(&self, reason: String) -> Error {
        let _ = self.device.poll(wgpu::PollType::Poll);
        self.check().err().unwrap_or_else(|| Error::Gpu(format!("{}: {reason}", self.name)))
    }

    /// Waits for a submission (the latest where none is named).
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let start = Instant::now();
        let result = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.counters.device_ns.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        match result {
            Ok(_) => Ok(()),
            Err(e) => Err(self.failed(format!("waiting for the device: {e}"))),
        }
    }
}

fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        // Validation layers are for debugging wgpu itself; wgpu's own checks stay on.
        descriptor.flags = wgpu::InstanceFlags::empty();
        wgpu::Instance::new(descriptor)
    })
}

/// All adapters that can compute, in the driver's order.
fn adapters() -> &'static [Adapter] {
    static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(|| {
        let all = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::PRIMARY));
        let computes = |a: &Adapter| {
            a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
        };
        all.into_iter().filter(computes).collect()
    })
}

fn kind(t: DeviceType) -> DeviceKind {
    match t {
        DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu,
        DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        DeviceType::VirtualGpu => DeviceKind::VirtualGpu,
        DeviceType::Cpu => DeviceKind::Software,
        DeviceType::Other => DeviceKind::Other,
    }
}

fn describe(index: usize, adapter: &Adapter, default: Option<usize>) -> DeviceInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let device = if default == Some(index) { Device::Gpu } else { Device::Adapter(AdapterId(index)) };
    let features = [
        ("subgroups", Features::SUBGROUP),
        ("pipeline cache", Features::PIPELINE_CACHE),
        ("f16", Features::SHADER_F16),
        ("timestamps", Features::TIMESTAMP_QUERY),
        ("cooperative matrices", Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
    ];
    let limits = [
        ("max buffer bytes", limits.max_buffer_size),
        ("max binding bytes", limits.max_storage_buffer_binding_size),
        ("storage buffers per kernel", limits.max_storage_buffers_per_shader_stage as u64),
        ("workgroup memory bytes", limits.max_compute_workgroup_storage_size as u64),
        ("invocations per workgroup", limits.max_compute_invocations_per_workgroup as u64),
        ("workgroups per dimension", limits.max_compute_workgroups_per_dimension as u64),
        ("subgroup size, smallest", info.subgroup_min_size as u64),
        ("subgroup size, largest", info.subgroup_max_size as u64),
    ];
    DeviceInfo {
        device,
        name: info.name.clone(),
        backend: format!("{:?}", info.backend).to_lowercase(),
        kind: kind(info.device_type),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        features: features.iter().filter(|f| adapter.features().contains(f.1)).map(|f| f.0.into()).collect(),
        limits: limits.into_iter().map(|(n, v)| (n.to_string(), v)).collect(),
    }
}

fn no_adapter(what: &str) -> Error {
    let found: Vec<String> = adapters().iter().map(|a| a.get_info().name).collect();
    let found = if found.is_empty() { "none".to_string() } else { found.join(", ") };
    let backends = if cfg!(target_os = "macos") {
        "Metal"
    } else if cfg!(windows) {
        "Vulkan and DX12"
    } else {
        "Vulkan"
    };
    let how = if cfg!(target_os = "linux") {
        "install your GPU's Vulkan driver (mesa-vulkan-drivers or the vendor's) and the loader (libvulkan1); on a machine \
         without GPU the same Mesa package brings lavapipe, a software driver"
    } else {
        "install or update the graphics driver"
    };
    Error::NoAdapter(format!(
        "{what}: tried {backends}; adapters found: {found}. To use a GPU, {how}; or use Device::Cpu"
    ))
}

/// Which adapter [`Device::Gpu`] is.
fn default_index() -> Result<usize> {
    if let Ok(wanted) = std::env::var(ADAPTER_VARIABLE)
        && !wanted.is_empty()
    {
        return find(&wanted)
            .ok_or_else(|| no_adapter(&format!("{ADAPTER_VARIABLE}={wanted} matches no adapter")));
    }
    let rank = |a: &Adapter| match a.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    };
    let best = adapters().iter().enumerate().min_by_key(|(_, a)| rank(a));
    best.map(|(i, _)| i).ok_or_else(|| no_adapter("no GPU adapter"))
}

/// An adapter by number or part of its name.
fn find(wanted: &str) -> Option<usize> {
    if let Ok(index) = wanted.parse::<usize>() {
        return (index < adapters().len()).then_some(index);
    }
    let wanted = wanted.to_lowercase();
    adapters().iter().position(|a| {
        let info = a.get_info();
        format!("{} {} {}", info.name, info.driver, info.driver_info).to_lowercase().contains(&wanted)
    })
}

/// The device of an adapter, in the form that compares equal: the default one is [`Device::Gpu`].
fn device_of(index: usize) -> Device {
    if default_index().ok() == Some(index) { Device::Gpu } else { Device::Adapter(AdapterId(index)) }
}

pub(crate) fn by_index(index: usize) -> Result<Device> {
    if index >= adapters().len() {
        return Err(no_adapter(&format!("there is no adapter {index} (they count from 0)")));
    }
    Ok(device_of(index))
}

pub(crate) fn by_name(part: &str) -> Result<Device> {
    find(part).map(device_of).ok_or_else(|| no_adapter(&format!("no adapter's name contains '{part}'")))
}

pub(crate) fn list() -> Vec<DeviceInfo> {
    let default = default_index().ok();
    adapters().iter().enumerate().map(|(i, a)| describe(i, a, default)).collect()
}

pub(crate) fn default_info() -> Result<DeviceInfo> {
    let index = default_index()?;
    Ok(describe(index, &adapters()[index], Some(index)))
}

pub(crate) fn info(device: Device) -> Result<DeviceInfo> {
    let index = index_of(device)?;
    Ok(describe(index, &adapters()[index], default_index().ok()))
}

fn index_of(device: Device) -> Result<usize> {
    match device {
        Device::Adapter(AdapterId(i)) if i < adapters().len() => Ok(i),
        Device::Adapter(AdapterId(i)) => Err(no_adapter(&format!("there is no adapter {i}"))),
        Device::Gpu => default_index(),
        Device::Cpu => Err(Error::Gpu("the CPU is not an adapter".into())),
    }
}

/// The GPUs that are open, by the numbers of their adapters.
static OPEN: RwLock<Vec<(usize, Arc<Gpu>)>> = RwLock::new(Vec::new());

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

fn find_open(open: &[(usize, Arc<Gpu>)], index: usize) -> Option<Arc<Gpu>> {
    open.iter().find(|(i, _)| *i == index).map(|(_, gpu)| gpu.clone())
}

/// The opened GPU behind a device; opened at first use, and anew where it was lost.
pub(crate) fn context(device: Device) -> Result<Arc<Gpu>> {
    let index = number(device)?;
    let found = find_open(&OPEN.read().unwrap_or_else(PoisonError::into_inner), index);
    if let Some(gpu) = found.filter(|gpu| !gpu.is_lost()) {
        return Ok(gpu);
    }
    let mut open = OPEN.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = find_open(&open, index).filter(|gpu| !gpu.is_lost()) {
        return Ok(gpu); // another thread was quicker
    }
    let gpu = Arc::new(open_adapter(&adapters()[index])?);
    open.retain(|(i, _)| *i != index);
    open.push((index, gpu.clone()));
    Ok(gpu)
}

/// As [`context`], for calls about work that was queued before: where the device was lost this is their error, once.
pub(crate) fn same_context(device: Device) -> Result<Arc<Gpu>> {
    let index = number(device)?;
    let found = find_open(&OPEN.read().unwrap_or_else(PoisonError::into_inner), index);
    match found {
        Some(gpu) if !gpu.is_lost() || !gpu.failure.told.load(Relaxed) => Ok(gpu),
        _ => context(device),
    }
}

fn open_adapter(adapter: &Adapter) -> Result<Gpu> {
    let info = adapter.get_info();
    let cpu_adapter = info.device_type == DeviceType::Cpu;
    let wanted = if cpu_adapter { WANTED.union(WANTED_ON_CPU) } else { WANTED };
    let features = adapter.features() & wanted;
    let wanted = std::env::var(BINDING_VARIABLE).ok().and_then(|v| v.parse().ok()).unwrap_or(u64::MAX);
    let most = wanted.min(MOST_BYTES.load(Relaxed)).max(ALIGNMENT);
    let max_binding = adapter.limits().max_storage_buffer_binding_size.min(most) / ALIGNMENT * ALIGNMENT;
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("wgrad"),
        required_features: features,
        required_limits: wgpu::Limits { max_storage_buffer_binding_size: max_binding, ..adapter.limits() },
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    });
    let (device, queue) = pollster::block_on(request).map_err(|e| {
        Error::NoAdapter(format!("{} could not be opened: {e}; use another adapter", info.name))
    })?;
    let failure = Arc::new(Failure::default());
    let on_error = failure.clone();
    device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| on_error.set(e.to_string())));
    let on_lost = failure.clone();
    device.set_device_lost_callback(move |reason, message| {
        on_lost.set(format!("{reason:?}: {message}"));
        on_lost.lost.store(true, Relaxed);
    });
    let limits = device.limits();
    let fixed = info.subgroup_min_size == info.subgroup_max_size && features.contains(Features::SUBGROUP);
    let target = KernelTarget {
        cpu_adapter,
        subgroup: fixed.then_some(info.subgroup_min_size),
        int64: features.contains(Features::SHADER_INT64),
        workgroup_storage: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
    };
    let wanted = std::env::var_os(KERNELS_VARIABLE).map(|v| v.to_string_lossy().into_owned());
    let target = target.with_kernels(wanted.as_deref(), &info.name)?;
    Ok(Gpu {
        name: info.name.clone(),
        pipelines: Pipelines::new(&device, &info, features.contains(Features::PIPELINE_CACHE)),
        pool: Arc::new(Pool::new(info.name, limits.max_buffer_size)),
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage.min(16) as usize,
        max_binding,
        faults: Faults::new(&device),
        device,
        queue,
        target,
        plans: Mutex::new(PlanCache::default()),
        counters: Counters::default(),
        failure,
    })
}
