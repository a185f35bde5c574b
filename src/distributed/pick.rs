//! A device for each rank.

use super::agree::agree;
use super::collective::Collective;
use crate::device::{Device, DeviceKind};
use crate::error::Result;

/// The device that this rank of a group computes on, opened, by what [`Device`] is parsed from: `cpu`, `gpu`, `best`, or a part of an
/// adapter's name. Where a machine has several GPUs as good as the best, each of its ranks takes another one of these, in turn.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::distributed::{Alone, device};
/// # fn main() -> Result<()> {
/// assert_eq!(device(&Alone, "cpu")?, Device::Cpu);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// A rank has no such device, or can't use it. All ranks get the error, which names that rank.
pub fn pick(world: &dyn Collective, wanted: &str) -> Result<Device> {
    let mine = own(world.local_rank(), wanted);
    agree(world, mine.as_ref().map(|_| String::new()).map_err(ToString::to_string))?;
    mine
}

fn own(local_rank: usize, wanted: &str) -> Result<Device> {
    let wanted: Device = wanted.parse()?;
    let first = wanted.info()?;
    if wanted != Device::Gpu || std::env::var_os("WGRAD_ADAPTER").is_some() {
        return Ok(wanted);
    }
    let real = [DeviceKind::DiscreteGpu, DeviceKind::IntegratedGpu, DeviceKind::VirtualGpu];
    if !real.contains(&first.kind) {
        return Ok(wanted);
    }
    // An adapter is listed once for each interface that it has.
    let same = |info: &crate::DeviceInfo| info.kind == first.kind && info.backend == first.backend;
    let all: Vec<Device> = Device::list().into_iter().filter(same).map(|info| info.device).collect();
    let chosen = if all.is_empty() { wanted } else { all[local_rank % all.len()] };
    chosen.info()?;
    Ok(chosen)
}
