//! The GPU backend, over wgpu: a graph becomes a plan (fused kernels, memory), a plan is kept and replayed.
//!
//! - [`memory`], [`array`], [`record`]: pooled buffers, values in them, what kernels recorded about what values depend on
//! - [`adapters`], [`limits`], [`units`], [`context`]: what there is, how much of it is used and assumed, and an opened device: queue,
//!   memory, errors of the driver, [`faults`]
//! - [`pace`]: how long work is about to take, and how it is cut
//! - [`source`], [`pipeline`], [`step`]: kernels, compiled ones, and where one reads and writes; [`dump`]: their texts as files
//! - [`transfer`]: host -> device and back
//! - [`plan`]: steps -> one command buffer, one pass, one submission (or pieces); [`profile`]: the same, kernel by kernel
//! - [`compile`]: graph -> plan: what is computed where, which kernels, in which buffers
//! - [`trial`]: whether an adapter computes at all
//! - [`cache`]: plans by their graphs; [`background`]: what is compiled while nobody waits
//! - [`engine`]: all of it, for whoever asks from outside
//! - [`kernels`]: hand-written kernels
//! - [`wgsl`]: whatever is done to the text of kernels

mod adapters;
mod array;
mod background;
mod cache;
mod compile;
mod context;
mod dump;
mod engine;
mod faults;
pub mod kernels;
mod limits;
mod memory;
#[cfg(debug_assertions)]
mod mutant;
mod pace;
mod pipeline;
mod pipeline_cache;
mod plan;
mod profile;
mod record;
mod source;
mod step;
mod transfer;
mod trial;
mod units;
mod wgsl;

pub(crate) use adapters::{ADAPTER_VARIABLE, by_index, by_name, default_info, info, list};
pub(crate) use array::GpuArray;
pub(crate) use engine::{
    collect, dissect, download, download_async, engine, is_there, limit_bindings, limit_submissions, lose,
    run, start_timing, stats, stop_timing, synchronize, target, timing, trim, upload,
};
