//! Hand-written kernels: each function turns a problem's geometry into the dispatches that compute it.
//!
//! # The contract between a kernel and the compiler
//!
//! A kernel is a WGSL file in `shaders/`, complete with the headers from `shaders/shared/` that it names ([`wgsl::shader!`]).
//! Its bindings are all in group 0: binding 0 is a uniform block of `u32`s, then the inputs in order (`var<storage, read>`),
//! then the output (`var<storage, read_write>`). A buffer is bound at its first element, contiguous unless the geometry has
//! strides. The uniform block has a twin in Rust, of the same names in the same order ([`uniform`]).
//!
//! [`wgsl::shader!`]: crate::gpu::wgsl
//!
//! A kernel whose last dispatch sends every value that it stores through
//!
//! ```wgsl
//! fn epilogue(v: f32, i: u32) -> f32 { return v; }
//! fn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }
//! ```
//!
//! (each on one line, exactly so; `i` is the element's linear index in the contiguous output, the first of four in
//! `epilogue4`) can have pointwise work fused into it: the compiler replaces the two lines and appends the bindings that
//! the new bodies read, from binding 16 on.

pub mod attention;
pub mod conv2d;
pub mod gemm;
pub mod index;
pub mod kind;
mod launch;
pub mod pool2d;
pub mod scan;
pub mod softmax;
pub mod sort;
mod target;
mod turns;
pub mod uniform;

#[cfg(test)]
mod tests;

use launch::GROUP;
pub use launch::{Form, Launch, Launches, Operand, fold};
pub use target::KernelTarget;
pub use turns::Turns;
pub use uniform::Uniform;
