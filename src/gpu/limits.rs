//! What an opened device may do: as much as its adapter can, or less, so that small tensors go the way of large ones and any machine
//! can stand for a weaker one.

use crate::environment::choice;
use crate::error::Result;
use wgpu::{Adapter, DeviceType, Features, Limits};

/// Chooses what a device is opened with; see [`KINDS`].
pub(super) const LIMITS_VARIABLE: &str = "WGRAD_LIMITS";

/// What the variable may be, and what it means.
const KINDS: [(&str, &str); 2] = [
    ("adapter", "all that the adapter has, as without the variable"),
    ("webgpu", "WebGPU's default limits and no optional feature, as the weakest adapter that there is"),
];

/// Optional features that kernels and profiles make use of where they are there.
const WANTED: Features = Features::SUBGROUP.union(Features::PIPELINE_CACHE).union(Features::TIMESTAMP_QUERY);

/// Those that only kernels for adapters that run on a CPU make use of.
const WANTED_ON_CPU: Features = Features::SHADER_INT64;

/// The features and limits that an adapter is opened with.
///
/// # Errors
///
/// The environment asks for limits that have no such name.
pub(super) fn of(adapter: &Adapter) -> Result<(Features, Limits)> {
    if choice(LIMITS_VARIABLE, "limits", &KINDS)? == Some("webgpu") {
        return Ok((Features::empty(), Limits::default()));
    }
    let wanted = match adapter.get_info().device_type {
        DeviceType::Cpu => WANTED.union(WANTED_ON_CPU),
        _ => WANTED,
    };
    Ok((adapter.features() & wanted, adapter.limits()))
}
