//! The CPU backend: computes a graph node by node. Pointwise nodes go through the cache together ([`fuse`]), which changes
//! no bit, so that it stays a cross-check for the plans of the GPU.

mod array;
mod element;
mod fuse;
pub(crate) mod kernels;
pub(crate) mod memory;
pub(crate) mod pointwise;
mod program;
mod run;
pub(crate) mod simd;
mod strided;
mod turns;

pub(crate) use array::Array;
pub use element::Element;
pub(crate) use element::{dispatch, dispatch_float};
pub(crate) use memory::{stats, trim};
pub(crate) use run::{collect, dissect, run, start_timing, stop_timing};
