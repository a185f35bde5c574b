//! Graph -> plan: which values are stored, which kernels compute them, fused how, in which buffers.
//!
//! 1. [`values`]: which values must be stored (those that are held, that hand-written kernels read, that are dear and used
//!    in several places); everything else is an expression, inlined where it is used.
//! 2. [`schedule`]: the kernels, in order: epilogues are fused into the kernel that they follow, expressions over the same
//!    elements into one kernel with several outputs, gradients are computed into their places of a packed vector.
//! 3. [`windows`]: what is larger than a binding is bound in several.
//! 4. [`merge`]: small kernels that don't depend on each other become one dispatch.
//! 5. [`assign`]: buffers, by lifetime.
//!
//! What the last four hand on are [`step`]s.

mod assign;
mod emit;
mod expr;
mod forms;
mod index;
mod integers;
mod joined;
mod kernel;
mod library;
mod lifetimes;
mod loops;
mod merge;
mod reduction;
mod schedule;
mod step;
mod tasks;
mod values;
mod windows;
mod words;
mod written;

pub(super) use assign::{compile, dissect, wanted};
use values::Values;
