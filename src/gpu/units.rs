//! How many compute units an adapter is taken to have. wgpu tells no such number, only the adapter's kind, so it is assumed by that,
//! and who knows better says so.
//!
//! What depends on it is how a matrix product or convolution is cut into workgroups for a real GPU: a product of few tiles and a
//! long k has its k split over more of them, until they fill all units, and a second pass adds the parts. Too few
//! parts leave units idle; too many write and read partial sums, and start a second dispatch, for nothing. It decides the order
//! of additions, so it is the same for an adapter whatever else runs on the machine, and is not measured.

use crate::environment::number;
use crate::error::{Error, Result};
use wgpu::DeviceType;

/// The number of compute units, where it is known.
pub(super) const UNITS_VARIABLE: &str = "WGRAD_COMPUTE_UNITS";

/// More than any GPU has.
const MOST: u64 = 4096;

/// Of cards: between the smaller ones of today (24 to 32) and the largest (100 to 190), of which twice as many workgroups occupy
/// the half at least.
const DISCRETE: usize = 64;

/// Of GPUs that are a part of the processor: mostly 4 to 20, a few 30 to 40.
const INTEGRATED: usize = 16;

/// The compute units (AMD's name; NVIDIA's streaming multiprocessors, Apple's cores) of an adapter of this kind, unless the
/// environment says how many there are.
///
/// # Errors
///
/// The variable holds no number from 1 to 4096.
pub(super) fn of(kind: DeviceType) -> Result<usize> {
    let given = number(UNITS_VARIABLE, "compute units, as in 32")?;
    match given {
        Some(units @ 1..=MOST) => Ok(units as usize),
        Some(units) => {
            let message = format!(
                "'{units}' is no number of compute units: expected 1 to {MOST}, as in 32; or unset the variable"
            );
            Err(Error::argument(UNITS_VARIABLE, message))
        }
        None => Ok(assumed(kind)),
    }
}

fn assumed(kind: DeviceType) -> usize {
    match kind {
        // A share of a card, mostly. What runs on a CPU has kernels that don't ask; where it is told to have those of real GPUs, it
        // stands for a card.
        DeviceType::DiscreteGpu | DeviceType::VirtualGpu | DeviceType::Cpu => DISCRETE,
        // OpenGL mostly doesn't say what it drives. A card that is cut too coarsely is busy in part; an integrated GPU that is cut too
        // finely is slower by the second pass at most.
        DeviceType::Other => DISCRETE,
        DeviceType::IntegratedGpu => INTEGRATED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrated_gpus_are_taken_for_smaller_than_cards() {
        let card = assumed(DeviceType::DiscreteGpu);
        assert!(assumed(DeviceType::IntegratedGpu) < card);
        for kind in [DeviceType::VirtualGpu, DeviceType::Other, DeviceType::Cpu] {
            assert_eq!(assumed(kind), card, "{kind:?}");
        }
    }
}
