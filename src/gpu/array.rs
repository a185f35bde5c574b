//! A value on a GPU.

use super::memory::GpuBuffer;
use super::record::Lineage;
use crate::dtype::DType;
use crate::shape::{Shape, Spec};
use std::sync::Arc;

/// A value on a GPU: contiguous elements in a (shared) buffer, from an offset that can be bound.
#[derive(Clone, Debug)]
pub(crate) struct GpuArray {
    pub buffer: Arc<GpuBuffer>,
    /// Bytes into the buffer; a multiple of [`ALIGNMENT`](super::memory::ALIGNMENT).
    pub offset: u64,
    pub shape: Shape,
    pub dtype: DType,
    /// An upper bound of the elements (u32), where the host knows one.
    pub largest: Option<u32>,
    /// What kernels may have recorded about what it was computed from.
    pub lineage: Lineage,
}

impl GpuArray {
    pub fn spec(&self) -> Spec {
        Spec::new(self.shape, self.dtype)
    }
}

/// Bytes of a value's buffer: whole words, and never none.
pub(crate) fn storage_bytes(spec: &Spec) -> u64 {
    (spec.bytes() as u64).next_multiple_of(16).max(16)
}
