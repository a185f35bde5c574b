//! Devices: where tensors live and operations run.

use std::fmt;

/// Where a tensor lives. Switching is one word: the same program runs on all of them.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let device: Device = "cpu".parse()?; // or "gpu", or `Device::best()`
/// let x = Tensor::ones([2, 3], device)?;
/// assert_eq!(x.device(), Device::Cpu);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// The host: reference kernels on all cores, or on as many threads as the rayon pool has in which it is used (`RAYON_NUM_THREADS`
    /// for the global one). The threads are wgrad's own. Results don't depend on their number.
    Cpu,
    /// The best GPU adapter: discrete before integrated before virtual before software. Which one that is depends on the
    /// process's environment, too, as it is when the process first uses the device:
    ///
    /// - `WGRAD_ADAPTER` names another one, by a part of its name or its driver's, or by its number. Where no adapter is
    ///   called so, using the device is an error.
    /// - `WGRAD_KERNELS`, for tests, chooses the kernels of all adapters, whatever they are: `tiled` (those of real GPUs),
    ///   `register`, `subgroup` or `small` (those of software adapters).
    /// - `WGRAD_LIMITS=webgpu`, for tests, opens every adapter with WebGPU's default limits and no optional feature.
    /// - `WGRAD_COMPUTE_UNITS` says how many compute units (streaming multiprocessors, cores) a real GPU has, which no driver tells: 64 are
    ///   assumed, of GPUs that are a part of the processor 16. Matrix products and convolutions with few outputs and long sums are
    ///   cut into parts by it, so with another number their last bits are others. Software adapters' kernels don't depend on it.
    /// - `WGRAD_TRIAL` says when an adapter is tried before it is used: `once` for each driver, unless it is set to `always` or
    ///   `never`.
    /// - `WGRAD_DUMP_SHADERS` names a folder that every kernel is written into when it is compiled: `LABEL-HASH.wgsl`, and its
    ///   constants and bindings as `LABEL-HASH.json`. A folder or file that can't be written is an error.
    /// - The driver's own variables (`VK_DRIVER_FILES` of Vulkan's loader, for one) may hide adapters or add some.
    ///
    /// A program that must not depend on them names its adapter, by [`Device::named`].
    Gpu,
    /// A further adapter, of [`Device::adapter`] or [`Device::named`].
    Adapter(AdapterId),
}

/// The number of an adapter, counted from 0 in the order of [`Device::list`] without the CPU. It is that of this process:
/// drivers list adapters in no order that they promise, and the environment may hide some, so that another process, or the
/// next run, may find another adapter under the number. To keep a choice, keep the adapter's name ([`DeviceInfo::name`]) and
/// give it to [`Device::named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdapterId(pub(crate) usize);

/// The kind of hardware behind an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// A graphics card of its own.
    DiscreteGpu,
    /// A GPU that shares the host's memory.
    IntegratedGpu,
    /// A GPU of a virtual machine.
    VirtualGpu,
    /// A software driver that runs shaders on the CPU (lavapipe, WARP).
    Software,
    /// Something that does not say.
    Other,
    /// The host itself: [`Device::Cpu`].
    Cpu,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::DiscreteGpu => "discrete GPU",
            DeviceKind::IntegratedGpu => "integrated GPU",
            DeviceKind::VirtualGpu => "virtual GPU",
            DeviceKind::Software => "software adapter",
            DeviceKind::Other => "unknown",
            DeviceKind::Cpu => "CPU",
        })
    }
}

/// What is known of a device: [`Device::info`], [`Device::list`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// What to pass to create tensors on it.
    pub device: Device,
    /// Name of the hardware, as the driver gives it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, or `host`.
    pub backend: String,
    /// Kind of hardware.
    pub kind: DeviceKind,
    /// Driver name and version.
    pub driver: String,
    /// Optional features that wgrad would use, by name.
    pub features: Vec<String>,
    /// Limits that matter for compute, by name.
    pub limits: Vec<(String, u64)>,
}

/// Counters of a device since the process first used it: [`Device::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Kernels dispatched (operations run, on the CPU).
    pub dispatches: u64,
    /// Command buffers submitted (graphs run, on the CPU).
    pub submits: u64,
    /// Evaluations that found their plan ready.
    pub plan_hits: u64,
    /// Evaluations that had to be planned.
    pub plan_misses: u64,
    /// Plans that are kept: at most 4,096, and as many as [`bytes_plans`](Self::bytes_plans) allows; then the least recently used
    /// goes. 0 on the CPU, which plans nothing.
    pub plans: u64,
    /// Pipelines compiled that an evaluation waited for.
    pub pipelines: u64,
    /// Pipelines compiled in the background, which nothing waits for: better ones for plans that run often.
    pub pipelines_in_background: u64,
    /// Buffers that had to be allocated because the pool had none.
    pub allocations: u64,
    /// Bytes held by tensors.
    pub bytes_live: u64,
    /// Bytes free in the pool: at most 1 GiB on the CPU; on a GPU, after an evaluation, at most that or
    /// [`bytes_peak`](Self::bytes_peak), whichever is more. Beyond, what was used least recently is freed. See [`Device::trim`].
    pub bytes_pooled: u64,
    /// About how many bytes the plans hold, on the host and on the device, beside buffers of tensors: at most 64 MiB.
    pub bytes_plans: u64,
    /// The most bytes ever held by tensors and running plans at once.
    pub bytes_peak: u64,
    /// Nanoseconds that callers spent waiting for the device (computing, on the CPU); the rest of a step's time is
    /// the host's own: graph, plan look-up, encoding.
    pub device_ns: u64,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Gpu => f.write_str("gpu"),
            Device::Adapter(AdapterId(i)) => write!(f, "adapter {i}"),
        }
    }
}
