//! The table of all operations: what the crate's tests go through, what [`Device::self_check`](crate::Device::self_check) computes
//! on a user's device, and what `docs/operations.md` is written from. An operation that is in no row fails a test.
//!
//! Each row is one call with inputs drawn from a domain; what a check makes of it (views, finite differences, another device) is
//! the check's. Hidden, for it is no interface: rows come and go.

mod case;
mod composed;
mod images;
mod input;
mod kernels;
mod moving;
mod numbers;
mod pointwise;
mod products;
mod rows;
mod sorting;

pub use case::{Args, Case, DEFAULT_TOLERANCE, Size, Table};
pub use input::{Domain, Input, InputKind, Rng, tensor};
pub use kernels::LARGE_PRODUCTS;
pub use rows::ops;

#[cfg(test)]
mod tests;
