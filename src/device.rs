//! Devices: where tensors live and operations run.

use crate::error::{Error, Result};
use std::fmt;

/// Where a tensor lives. Switching is one word: the same program runs on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The host: plain reference kernels on all cores.
    Cpu,
    /// The best GPU adapter, or the one that the environment variable `WGRAD_ADAPTER` names (a part of its name, or
    /// its number in [`Device::list`]).
    ///
    /// For tests, `WGRAD_KERNELS` chooses the kernels of all adapters, whatever they are: `tiled` (those of real GPUs),
    /// `register` or `subgroup` (those of software adapters). It is read when an adapter is opened.
    Gpu,
    /// A further adapter, of [`Device::adapter`] or [`Device::named`].
    Adapter(AdapterId),
}

/// The number of an adapter in [`Device::list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdapterId(pub(crate) usize);

/// The kind of hardware behind an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What is known of a device.
#[derive(Clone, Debug)]
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

/// Counters of a device since the process first used it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Kernels dispatched (operations run, on the CPU).
    pub dispatches: u64,
    /// Command buffers submitted (graphs run, on the CPU).
    pub submits: u64,
    /// Evaluations that found their plan ready.
    pub plan_hits: u64,
    /// Evaluations that had to be planned.
    pub plan_misses: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Buffers that had to be allocated because the pool had none.
    pub allocations: u64,
    /// Bytes held by tensors.
    pub bytes_live: u64,
    /// Bytes free in the pool.
    pub bytes_pooled: u64,
    /// The most bytes ever held by tensors and running plans at once.
    pub bytes_peak: u64,
    /// Nanoseconds that callers spent waiting for the device (computing, on the CPU); the rest of a step's time is
    /// the host's own: graph, plan look-up, encoding.
    pub device_ns: u64,
}

impl Device {
    /// A real GPU where there is one, else the CPU. A software adapter is chosen only where `WGRAD_ADAPTER` names it.
    pub fn best() -> Device {
        match crate::gpu::default_info() {
            Ok(info) if info.kind != DeviceKind::Software => Device::Gpu,
            Ok(_) if std::env::var_os(crate::gpu::ADAPTER_VARIABLE).is_some() => Device::Gpu,
            _ => Device::Cpu,
        }
    }

    /// The adapter of this number in [`Device::list`].
    pub fn adapter(index: usize) -> Result<Device> {
        crate::gpu::by_index(index)
    }

    /// The first adapter whose name or driver contains `part`, whatever the case.
    pub fn named(part: &str) -> Result<Device> {
        crate::gpu::by_name(part)
    }

    /// The CPU and every adapter. Never fails: without a driver the list holds the CPU alone.
    pub fn list() -> Vec<DeviceInfo> {
        let mut list = vec![cpu_info()];
        list.extend(crate::gpu::list());
        list
    }

    /// What is known of this device.
    pub fn info(self) -> Result<DeviceInfo> {
        match self {
            Device::Cpu => Ok(cpu_info()),
            gpu => crate::gpu::info(gpu),
        }
    }

    /// Counters since the process first used the device.
    pub fn stats(self) -> Result<Stats> {
        match self {
            Device::Cpu => Ok(crate::cpu::stats()),
            gpu => crate::gpu::stats(gpu),
        }
    }

    /// Waits until everything that was queued on the device is done.
    ///
    /// # Errors
    ///
    /// What went wrong with it and was not told yet: an index outside its axis ([`Error::Argument`]), a device that was lost.
    pub fn synchronize(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            gpu => crate::gpu::synchronize(gpu),
        }
    }

    /// Gives the memory that tensors and plans have left for further use back to the system or the driver.
    ///
    /// Between evaluations a device keeps what the latest ones used, so that a training step allocates nothing; what none of
    /// the last 64 to 96 evaluations has used goes by itself, as far as it exceeds 64 MiB. See [`Stats::bytes_pooled`].
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// Tensor::ones([1000, 1000], Device::Cpu)?.exp()?.to_vec::<f32>()?;
    /// Device::Cpu.trim()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such device, or it fails while its work is waited for.
    pub fn trim(self) -> Result<()> {
        match self {
            Device::Cpu => {
                crate::cpu::trim();
                Ok(())
            }
            gpu => crate::gpu::trim(gpu),
        }
    }

    /// Opens a GPU anew with bindings of at most so many bytes, for tests of values larger than a binding. What is on it is lost.
    #[doc(hidden)]
    pub fn limit_bindings(self, bytes: u64) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            gpu => crate::gpu::limit_bindings(gpu, bytes),
        }
    }

    /// Has a GPU fail as if its driver had reset it, for tests of what follows.
    #[doc(hidden)]
    pub fn simulate_loss(self) -> Result<()> {
        match self {
            Device::Cpu => Err(Error::argument("Device::simulate_loss", "the CPU can't be lost")),
            gpu => crate::gpu::lose(gpu),
        }
    }

    /// An error that says what to do where the device can't be used.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            gpu => crate::gpu::context(gpu).map(drop),
        }
    }
}

fn cpu_info() -> DeviceInfo {
    DeviceInfo {
        device: Device::Cpu,
        name: format!("host CPU, {} threads", rayon::current_num_threads()),
        backend: "host".into(),
        kind: DeviceKind::Cpu,
        driver: format!("wgrad {}", env!("CARGO_PKG_VERSION")),
        features: vec!["f64".into()],
        limits: Vec::new(),
    }
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

impl std::str::FromStr for Device {
    type Err = Error;

    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    fn from_str(s: &str) -> Result<Device> {
        match s.to_ascii_lowercase().as_str() {
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            "best" => Ok(Device::best()),
            other => Device::named(other),
        }
    }
}
