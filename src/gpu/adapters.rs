//! Adapters: which there are, what is known of them, and which of them a device is.

use crate::device::{AdapterId, Device, DeviceInfo, DeviceKind};
use crate::error::{Error, Result};
use std::sync::OnceLock;
use wgpu::{Adapter, Backends, DeviceType, Features};

/// Names the adapter that [`Device::Gpu`] is: a part of its name, or its number.
pub(crate) const ADAPTER_VARIABLE: &str = "WGRAD_ADAPTER";

/// What adapters are asked for: with the feature `gles` OpenGL's too, for machines that have nothing better.
fn backends() -> Backends {
    if cfg!(feature = "gles") { Backends::PRIMARY | Backends::GL } else { Backends::PRIMARY }
}

fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = backends();
        // Validation layers are for debugging wgpu itself; wgpu's own checks stay on.
        descriptor.flags = wgpu::InstanceFlags::empty();
        wgpu::Instance::new(descriptor)
    })
}

/// All adapters that can compute, in the driver's order; OpenGL's last, for most of them are another one's second door.
pub(super) fn adapters() -> &'static [Adapter] {
    static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(|| {
        let mut all = pollster::block_on(instance().enumerate_adapters(backends()));
        all.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
        all.sort_by_key(|a| a.get_info().backend == wgpu::Backend::Gl);
        all
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
    let mut backends = if cfg!(target_os = "macos") {
        vec!["Metal"]
    } else if cfg!(windows) {
        vec!["Vulkan", "DX12"]
    } else {
        vec!["Vulkan"]
    };
    if cfg!(feature = "gles") {
        backends.push("OpenGL");
    }
    let backends = backends.join(", ");
    let how = if cfg!(target_os = "linux") {
        "install your GPU's Vulkan driver (mesa-vulkan-drivers or the vendor's) and the loader (libvulkan1); on a machine \
         without GPU the same Mesa package brings lavapipe, a software driver"
    } else {
        "install or update the graphics driver"
    };
    let message =
        format!("{what}: tried {backends}; adapters found: {found}. To use a GPU, {how}; or use Device::Cpu");
    Error::NoAdapter { message }
}

/// Which adapter [`Device::Gpu`] is.
pub(super) fn default_index() -> Result<usize> {
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
    // Of equals the first, which is never OpenGL's where there is another.
    let best = adapters().iter().enumerate().min_by_key(|(_, a)| rank(a));
    best.map(|(i, _)| i).ok_or_else(|| no_adapter("no GPU adapter"))
}

/// An adapter by number, or by a part of its name, of its driver's, or by its backend.
fn find(wanted: &str) -> Option<usize> {
    if let Ok(index) = wanted.parse::<usize>() {
        return (index < adapters().len()).then_some(index);
    }
    let wanted = wanted.to_lowercase();
    adapters().iter().position(|a| {
        let info = a.get_info();
        let words = format!("{} {} {} {:?}", info.name, info.driver, info.driver_info, info.backend);
        words.to_lowercase().contains(&wanted)
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

/// The number of a device's adapter.
pub(super) fn index_of(device: Device) -> Result<usize> {
    match device {
        Device::Adapter(AdapterId(i)) if i < adapters().len() => Ok(i),
        Device::Adapter(AdapterId(i)) => Err(no_adapter(&format!("there is no adapter {i}"))),
        Device::Gpu => default_index(),
        Device::Cpu => Err(Error::internal("the CPU is not an adapter")),
    }
}
