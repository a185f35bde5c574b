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

pub mod conv2d;
pub mod gemm;
pub mod index;
pub mod kind;
pub mod pool2d;
pub mod softmax;
mod turns;
pub mod uniform;

#[cfg(test)]
mod tests;

pub use turns::Turns;
pub use uniform::Uniform;

/// Invocations per workgroup of every kernel that has no reason for another number.
const GROUP: usize = 64;

/// Where a dispatch reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The operation's i-th input.
    Input(usize),
    /// A buffer that lives only inside this operation.
    Temp(usize),
    /// The operation's result.
    Output,
}

/// One dispatch of a hand-written kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Name for profiles and debug labels, such as `conv2d_forward/subgroup`.
    pub label: &'static str,
    /// Complete WGSL with the entry point `main`.
    pub source: std::borrow::Cow<'static, str>,
    /// Values of pipeline-overridable constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Contents of the uniform block at binding 0 (the compiler pads it to 16 bytes).
    pub uniform: Uniform,
    /// Bindings 1, 2, ... in order.
    pub inputs: Vec<Operand>,
    /// The binding after the inputs, the only one that is written.
    pub output: Operand,
    pub workgroups: [u32; 3],
    /// The most turns that the loops of one of its invocations take together.
    pub turns: Turns,
    /// True where every stored value goes through `epilogue`/`epilogue4` (only ever the last dispatch).
    pub epilogue: bool,
}

/// The dispatches that compute one operation.
#[derive(Clone, Debug, Default)]
pub struct Launches {
    /// Sizes in bytes of the `Temp` buffers.
    pub temps: Vec<usize>,
    pub list: Vec<Launch>,
}

/// What a kernel choice may depend on: the measured kind of the adapter, never its name.
#[derive(Clone, Debug)]
pub struct KernelTarget {
    /// The adapter runs on a CPU (lavapipe, WARP): barriers and workgroup memory are ruinous there.
    pub cpu_adapter: bool,
    /// Size of a subgroup where it is fixed and the SUBGROUP feature is enabled.
    pub subgroup: Option<u32>,
    /// Shaders may have 64-bit integers (asked for on adapters that run on a CPU only).
    pub int64: bool,
    /// Bytes of workgroup memory.
    pub workgroup_storage: u32,
    pub max_invocations: u32,
    pub max_workgroups_per_dimension: u32,
}

/// Folds a one-dimensional grid that may exceed the limit per dimension (65,535) into x and y; kernels compute
/// `workgroup_id.y * num_workgroups.x + workgroup_id.x` and guard the end.
pub fn fold(groups: usize, limit: u32) -> [u32; 3] {
    let limit = limit as usize;
    if groups <= limit {
        return [groups.max(1) as u32, 1, 1];
    }
    let y = groups.div_ceil(limit);
    [groups.div_ceil(y) as u32, y as u32, 1]
}
