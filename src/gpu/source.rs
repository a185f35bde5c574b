//! What a pipeline is made of.

use super::wgsl::Text;

/// What a binding is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BindingKind {
    Uniform,
    Read,
    ReadWrite,
}

/// A kernel's code and the shape of its bindings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelSource {
    pub label: &'static str,
    pub wgsl: Text,
    /// Override constants; the values as bits, so that sources can be compared.
    pub constants: Vec<(&'static str, u64)>,
    pub bindings: Vec<(u32, BindingKind)>,
    /// Whether every access and loop is checked, whatever the build: kernels from outside the crate.
    pub checked: bool,
}
