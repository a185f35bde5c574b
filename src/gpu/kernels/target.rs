//! What kernels are made for.

/// What a kernel choice may depend on: the measured kind of the adapter, never its name.
#[derive(Clone, Debug)]
pub struct KernelTarget {
    /// The adapter runs on a CPU (lavapipe, WARP): barriers and workgroup memory are ruinous there.
    pub cpu_adapter: bool,
    /// Size of a subgroup where it is fixed and the SUBGROUP feature is enabled.
    pub subgroup: Option<u32>,
    /// Shaders may have 64-bit integers (asked for on adapters that run on a CPU only).
    pub int64: bool,
    /// The driver's compiler is a weak one, which takes minutes and gigabytes for large blocks in registers (SwiftShader): blocks are
    /// small.
    pub small_blocks: bool,
    /// Bytes of workgroup memory.
    pub workgroup_storage: u32,
    pub max_invocations: u32,
    pub max_workgroups_per_dimension: u32,
    /// Compute units that the adapter is taken to have.
    pub compute_units: usize,
}

impl KernelTarget {
    /// Workgroups of a matrix product that keep a real GPU busy: two for each compute unit, so that one computes while the other
    /// waits.
    pub fn busy(&self) -> usize {
        2 * self.compute_units
    }
}
