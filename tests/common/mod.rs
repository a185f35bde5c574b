//! What the integration tests share: the comparison, and the table of all operations with its seeded inputs.

// Every test binary compiles this module and uses its own part of it.
#![allow(dead_code, unused_imports)]

pub mod parity;
pub mod views;

use wgrad::prelude::*;
pub use wgrad::testing::table::{self as ops, Domain, Input, InputKind, Rng, tensor};

/// The two devices that every program must run on alike. Without an adapter tests that use the second fail, with the
/// crate's own error.
pub const DEVICES: [Device; 2] = [Device::Cpu, Device::Gpu];

/// Makes two tests of a function of a device: `name::cpu` and `name::gpu`.
#[macro_export]
macro_rules! on_both_devices {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        mod $name {
            $(#[$doc])*
            #[test]
            fn cpu() -> wgrad::Result<()> { super::checks::$name(wgrad::Device::Cpu) }
            $(#[$doc])*
            #[test]
            fn gpu() -> wgrad::Result<()> { super::checks::$name(wgrad::Device::Gpu) }
        }
    )*};
}

/// The values of a tensor of any element type.
pub fn values(t: &Tensor) -> Result<Vec<f64>> {
    Ok(match t.dtype() {
        DType::F32 => t.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::F64 => t.to_vec::<f64>()?,
        DType::I32 => t.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::U32 => t.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
        DType::U8 => t.to_vec::<u8>()?.into_iter().map(f64::from).collect(),
        other => panic!("the tests know no {other}"),
    })
}

/// Seeded values in -1..1 of a shape: an upstream gradient, a projection.
pub fn direction(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.uniform(-1.0, 1.0) as f32 as f64).collect()
}

/// Fails unless `got` is `want` within `tol` times the largest finite magnitude in `want`. NaN must meet NaN, an
/// infinity the same infinity.
#[track_caller]
pub fn assert_close(got: &[f64], want: &[f64], tol: f64, what: &str) {
    if let Err(message) = compare(got, want, tol, 0.0) {
        panic!("{what}: {message}");
    }
}

/// As [`assert_close`], the difference as an error; magnitudes under `floor` count as `floor`.
pub fn compare(got: &[f64], want: &[f64], tol: f64, floor: f64) -> Result<(), String> {
    let scale = want.iter().filter(|v| v.is_finite()).fold(floor, |m, v| m.max(v.abs()));
    wgrad::testing::assert_close(got, want, 0.0, tol * scale)
        .map_err(|e| format!("{e}; that is {tol:.1e} of {scale:.3e}"))
}
