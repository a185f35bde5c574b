//! An opened GPU: device and queue, memory, what goes wrong with them.

use super::faults::Faults;
use super::kernels::KernelTarget;
use super::kernels::kind::KERNELS_VARIABLE;
use super::limits;
use super::memory::{ALIGNMENT, Pool};
use super::pace::{PATIENCE, Pace};
use super::units;
use crate::device::Stats;
use crate::environment::{number, variable};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wgpu::{Adapter, DeviceType, Features};

/// Bytes that a kernel may bind at once, where that is to be less than the adapter's limit: so that small tensors go the way of
/// large ones, in tests.
pub(super) const BINDING_VARIABLE: &str = "WGRAD_MAX_BINDING";

/// Milliseconds that one submission may be estimated to take, where that is to be other than [`PATIENCE`].
const PATIENCE_VARIABLE: &str = "WGRAD_SUBMISSION_MS";

/// As [`BINDING_VARIABLE`], from within the process.
static MOST_BYTES: AtomicU64 = AtomicU64::new(u64::MAX);

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
    pub counters: Counters,
    pub faults: Faults,
    pub pace: Arc<Pace>,
    failure: Arc<Failure>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub dispatches: AtomicU64,
    pub submits: AtomicU64,
    pub plan_hits: AtomicU64,
    pub plan_misses: AtomicU64,
    /// Plans that are kept now, and their bytes.
    pub plans: AtomicU64,
    pub plan_bytes: AtomicU64,
    pub pipelines: AtomicU64,
    pub pipelines_in_background: AtomicU64,
    pub device_ns: AtomicU64,
}

impl Counters {
    pub fn stats(&self) -> Stats {
        Stats {
            dispatches: self.dispatches.load(Relaxed),
            submits: self.submits.load(Relaxed),
            plan_hits: self.plan_hits.load(Relaxed),
            plan_misses: self.plan_misses.load(Relaxed),
            plans: self.plans.load(Relaxed),
            bytes_plans: self.plan_bytes.load(Relaxed),
            pipelines: self.pipelines.load(Relaxed),
            pipelines_in_background: self.pipelines_in_background.load(Relaxed),
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
            Some(message) => Err(Error::gpu(&self.name, message)),
            None => Ok(()),
        }
    }

    /// Whether the device stopped answering. It stays lost; the next use of its adapter opens another.
    pub fn is_lost(&self) -> bool {
        self.failure.lost.load(Relaxed)
    }

    /// Whether a caller was told that the device is lost.
    pub fn told_of_loss(&self) -> bool {
        self.failure.told.load(Relaxed)
    }

    /// The error of a call that failed for this reason, or because the device is lost.
    pub fn failed(&self, reason: String) -> Error {
        let _ = self.device.poll(wgpu::PollType::Poll);
        self.check().err().unwrap_or_else(|| Error::gpu(&self.name, reason))
    }

    /// Waits for a submission (the latest where none is named).
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        // What is found to be done already was not waited for: the pace is told of it as that.
        let _ = self.device.poll(wgpu::PollType::Poll);
        let start = Instant::now();
        let result = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.counters.device_ns.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        self.pace.waited(start);
        match result {
            Ok(_) => Ok(()),
            Err(e) => Err(self.failed(format!("waiting for the device: {e}"))),
        }
    }
}

/// From now on devices are opened with bindings of at most so many bytes.
pub(super) fn limit_bindings(bytes: u64) {
    MOST_BYTES.store(bytes, Relaxed);
}

/// Opens the device of an adapter.
pub(super) fn open(adapter: &Adapter) -> Result<Gpu> {
    let info = adapter.get_info();
    let cpu_adapter = info.device_type == DeviceType::Cpu;
    let (features, limits) = limits::of(adapter)?;
    let wanted = number(BINDING_VARIABLE, "bytes, as in 1048576")?.unwrap_or(u64::MAX);
    let most = wanted.min(MOST_BYTES.load(Relaxed)).max(ALIGNMENT);
    let max_binding = limits.max_storage_buffer_binding_size.min(most) / ALIGNMENT * ALIGNMENT;
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("wgrad"),
        required_features: features,
        required_limits: wgpu::Limits { max_storage_buffer_binding_size: max_binding, ..limits },
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    });
    let (device, queue) = pollster::block_on(request).map_err(|e| {
        let message = format!("{} could not be opened: {e}; use another adapter", info.name);
        Error::NoAdapter { message }
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
        // Compilers for CPUs that can't even do 64-bit integers are small ones, made for browsers.
        small_blocks: cpu_adapter && !adapter.features().contains(Features::SHADER_INT64),
        workgroup_storage: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        compute_units: units::of(info.device_type)?,
    };
    let wanted = variable(KERNELS_VARIABLE).map(|v| v.to_string_lossy().into_owned());
    let target = target.with_kernels(wanted.as_deref(), &info.name)?;
    let patience = number(PATIENCE_VARIABLE, "milliseconds, as in 100")?;
    let patience = patience.map_or(PATIENCE, Duration::from_millis);
    Ok(Gpu {
        name: info.name.clone(),
        pool: Arc::new(Pool::new(info.name, limits.max_buffer_size)),
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage.min(16) as usize,
        max_binding,
        faults: Faults::new(&device),
        pace: Arc::new(Pace::new(info.device_type, patience)),
        device,
        queue,
        target,
        counters: Counters::default(),
        failure,
    })
}
