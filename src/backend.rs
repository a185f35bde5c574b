//! The one door to the backends: whatever depends on whether a device is the CPU or a GPU is asked here.

use crate::cpu::{self, Array};
use crate::device::{Device, DeviceInfo, DeviceKind, Stats};
use crate::error::{Error, Result};
use crate::gpu;
use crate::profile::{KernelProfile, Profile, Timing, Timings};
use crate::tensor::{Dispatch, Pending, Tensor, Value, not_known};
use std::time::{Duration, Instant};

/// Computes several tensors together: one plan, and on a GPU one submission.
///
/// So it does every pending tensor among what they need that somebody still holds. On a GPU this queues the work and returns at
/// once; only reading a value waits.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::arange(0, 4, Device::Cpu)?.cast(DType::F32)?;
/// let (sum, max) = (x.sum(.., false)?, x.max(.., false)?);
/// wgrad::eval(&[&sum, &max])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Those of the devices, and a tensor that depends on an argument of a function that is being traced.
pub fn eval(tensors: &[&Tensor]) -> Result<()> {
    let mut devices: Vec<Device> = Vec::new();
    for t in tensors {
        if t.is_symbolic() {
            return Err(not_known());
        }
        if !t.0.has_value() && !devices.contains(&t.0.device) {
            devices.push(t.0.device);
        }
    }
    for device in devices {
        let roots: Vec<&Tensor> =
            tensors.iter().copied().filter(|t| t.0.device == device && !t.0.has_value()).collect();
        match device {
            Device::Cpu => cpu::run(&roots)?,
            other => gpu::run(other, &roots)?,
        }
    }
    Ok(())
}

/// What `roots`, all of one device, need, as [`eval`] would compute it now.
pub(crate) fn collect(device: Device, roots: &[&Tensor]) -> Result<Pending> {
    match device {
        Device::Cpu => Ok(cpu::collect(roots)),
        other => gpu::collect(other, roots),
    }
}

/// The dispatches that computing a graph takes.
pub(crate) fn dissect(device: Device, graph: &Pending) -> Result<Vec<Dispatch>> {
    match device {
        Device::Cpu => Ok(cpu::dissect(graph)),
        other => gpu::dissect(other, graph),
    }
}

/// Puts host values on a device.
pub(crate) fn upload(array: Array, device: Device) -> Result<Value> {
    match device {
        Device::Cpu => Ok(Value::Cpu(array)),
        other => Ok(Value::Gpu(gpu::upload(other, &array)?)),
    }
}

/// The value of a tensor on the host, computed if need be.
pub(crate) fn download(tensor: &Tensor) -> Result<Array> {
    eval(&[tensor])?;
    match tensor.0.value() {
        Some(Value::Cpu(array)) => Ok(array),
        Some(Value::Gpu(array)) => gpu::download(tensor.device(), &array, is_state(tensor)),
        None => Err(no_value(tensor)),
    }
}

/// As [`download`], without blocking the thread while a GPU works.
pub(crate) async fn download_async(tensor: &Tensor) -> Result<Array> {
    eval(&[tensor])?;
    match tensor.0.value() {
        Some(Value::Cpu(array)) => Ok(array),
        Some(Value::Gpu(array)) => gpu::download_async(tensor.device(), &array, is_state(tensor)).await,
        None => Err(no_value(tensor)),
    }
}

/// Whether it is the value of a variable: that is to be had again once somebody was told of what went wrong with it.
fn is_state(tensor: &Tensor) -> bool {
    tensor.0.root.as_ref().is_some_and(|root| root.slot.is_some())
}

fn no_value(tensor: &Tensor) -> Error {
    Error::internal(format!("a tensor of {} was evaluated and has no value", tensor.device()))
}

/// Whether a tensor's value, if it has one, is still there: its device was not lost since.
pub(crate) fn is_there(tensor: &Tensor) -> bool {
    tensor.0.with_value(|value| match value {
        Some(Value::Gpu(array)) => gpu::is_there(tensor.device(), array),
        _ => true,
    })
}

/// Whether attention is one operation there, with a bias or without: drivers that run on a CPU want subgroups for it, whose kernels know no
/// bias.
pub(crate) fn attends_at_once(device: Device, biased: bool) -> Result<bool> {
    if device == Device::Cpu {
        return Ok(true);
    }
    let target = gpu::target(device)?;
    Ok(!target.cpu_adapter || !biased && gpu::kernels::attention::by_lanes(&target).is_some())
}

impl Device {
    /// A real GPU where there is one, else the CPU. A software adapter is chosen only where `WGRAD_ADAPTER` names it.
    pub fn best() -> Device {
        match gpu::default_info() {
            Ok(info) if info.kind != DeviceKind::Software => Device::Gpu,
            Ok(_) if std::env::var_os(gpu::ADAPTER_VARIABLE).is_some() => Device::Gpu,
            _ => Device::Cpu,
        }
    }

    /// The adapter of this number, counted from 0 in the order of [`Device::list`] without the CPU: see [`AdapterId`](crate::AdapterId).
    ///
    /// # Errors
    ///
    /// There is no adapter of this number.
    pub fn adapter(index: usize) -> Result<Device> {
        gpu::by_index(index)
    }

    /// The first adapter whose name or driver contains `part`, whatever the case.
    ///
    /// # Errors
    ///
    /// There is none; the error lists those there are.
    pub fn named(part: &str) -> Result<Device> {
        gpu::by_name(part)
    }

    /// The CPU and every adapter. Never fails: without a driver the list holds the CPU alone.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// for info in Device::list() {
    ///     println!("{:?}: {} ({}, {})", info.device, info.name, info.kind, info.backend);
    /// }
    /// assert_eq!(Device::list()[0].device, Device::Cpu);
    /// ```
    pub fn list() -> Vec<DeviceInfo> {
        let mut list = vec![cpu_info()];
        list.extend(gpu::list());
        list
    }

    /// What is known of this device.
    ///
    /// # Errors
    ///
    /// There is no such device.
    pub fn info(self) -> Result<DeviceInfo> {
        match self {
            Device::Cpu => Ok(cpu_info()),
            other => gpu::info(other),
        }
    }

    /// Counters since the process first used the device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let before = Device::Cpu.stats()?.dispatches;
    /// Tensor::ones([8, 8], Device::Cpu)?.exp()?.eval()?;
    /// assert!(Device::Cpu.stats()?.dispatches > before);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such device, or it can't be opened.
    pub fn stats(self) -> Result<Stats> {
        match self {
            Device::Cpu => Ok(cpu::stats()),
            other => gpu::stats(other),
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
            other => gpu::synchronize(other),
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
                cpu::trim();
                Ok(())
            }
            other => gpu::trim(other),
        }
    }

    /// Runs `f` and tells where the time went, kernel by kernel.
    ///
    /// While `f` runs, every kernel that any thread starts on the device is timed: by timestamps where an adapter has
    /// them, else one by one. Either way each evaluation is waited for, so that the whole is slower than without a
    /// profile. Without a profile nothing of this costs anything.
    ///
    /// # Errors
    ///
    /// The device can't be used, is being profiled already, or fails; or what `f` returns.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let device = Device::Cpu;
    /// let x = Tensor::rand([64, 64], device, 1)?;
    /// let profile = device.profile(|| {
    ///     for _ in 0..3 {
    ///         x.matmul(&x)?.relu()?.eval()?;
    ///     }
    ///     Ok(())
    /// })?;
    /// println!("{profile}");
    /// let matmul = profile.kernels.iter().find(|k| k.name == "matmul").expect("it ran");
    /// assert_eq!((matmul.calls, matmul.flops), (3, 3 * 2 * 64 * 64 * 64));
    /// # Ok(()) }
    /// ```
    pub fn profile(self, f: impl FnOnce() -> Result<()>) -> Result<Profile> {
        let info = self.info()?;
        let timing = match self {
            Device::Cpu => Timing::HostClock,
            other => gpu::timing(other)?,
        };
        self.synchronize()?;
        match self {
            Device::Cpu => cpu::start_timing()?,
            other => gpu::start_timing(other)?,
        }
        let profiling = Profiling(self);
        let start = Instant::now();
        let result = f();
        let wall = start.elapsed();
        let timings = profiling.stop()?;
        result?;
        let mut kernels: Vec<KernelProfile> = timings.kernels.into_values().collect();
        kernels.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.name.cmp(&b.name)));
        Ok(Profile {
            device: info.name,
            timing,
            kernels,
            evaluations: timings.evaluations,
            wall,
            planning: timings.planning,
            encoding: timings.encoding,
            outside: wall.saturating_sub(timings.inside),
        })
    }

    /// Opens a GPU anew with bindings of at most so many bytes, for tests of values larger than a binding. What is on it is lost.
    #[doc(hidden)]
    pub fn limit_bindings(self, bytes: u64) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            other => gpu::limit_bindings(other, bytes),
        }
    }

    /// Has plans submitted in pieces that are estimated to take so long at most, for tests of plans that take longer than a driver
    /// waits. It holds for the device as it is open now.
    #[doc(hidden)]
    pub fn limit_submissions(self, patience: Duration) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            other => gpu::limit_submissions(other, patience),
        }
    }

    /// Has a GPU fail as if its driver had reset it, for tests of what follows.
    #[doc(hidden)]
    pub fn simulate_loss(self) -> Result<()> {
        match self {
            Device::Cpu => Err(Error::argument("Device::simulate_loss", "the CPU can't be lost")),
            other => gpu::lose(other),
        }
    }

    /// An error that says what to do where the device can't be used.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            other => gpu::engine(other).map(drop),
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

impl std::str::FromStr for Device {
    type Err = Error;

    /// `cpu`, `gpu`, `best`, or a part of an adapter's name. The error of any other text lists what there is.
    fn from_str(s: &str) -> Result<Device> {
        let wanted = s.trim().to_ascii_lowercase();
        match wanted.as_str() {
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            "best" => Ok(Device::best()),
            other => match Device::named(other) {
                Ok(device) if !other.is_empty() => Ok(device),
                _ => Err(no_such_device(s)),
            },
        }
    }
}

fn no_such_device(text: &str) -> Error {
    let adapters = gpu::list();
    let names: Vec<String> =
        adapters.iter().map(|a| format!("{} ({}, {})", a.name, a.kind, a.backend)).collect();
    let there = match names.is_empty() {
        true => "of which this machine has none: Device::Gpu says how to get one".to_string(),
        false => format!("of which there are {}", names.join(", ")),
    };
    let message = format!(
        "{text:?} names no device; expected cpu, gpu (the best adapter), best (a real GPU, else the CPU), or a part of an \
         adapter's name, {there}"
    );
    Error::NoAdapter { message }
}

/// Ends the recording, whatever happens in between.
struct Profiling(Device);

impl Profiling {
    fn take(&self) -> Result<Timings> {
        match self.0 {
            Device::Cpu => Ok(cpu::stop_timing()),
            other => gpu::stop_timing(other),
        }
    }

    fn stop(self) -> Result<Timings> {
        let timings = self.take();
        std::mem::forget(self);
        timings
    }
}

impl Drop for Profiling {
    fn drop(&mut self) {
        // only where `f` panics: the panic says more than an error of the device
        let _ = self.take();
    }
}
