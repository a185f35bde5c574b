//! Batches of a data set that lives on a device.

use crate::autograd::no_grad;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::random::iota;
use crate::seed::permutation;
use crate::tensor::Tensor;

/// A data set's copy on a device.
#[derive(Clone)]
pub(super) struct OnDevice {
    pub features: Tensor,
    pub labels: Tensor,
    pub scale: f64,
}

/// Batches of features (f32) and labels, of [`Dataset::batches`](super::Dataset::batches). Lazy: a batch is read and
/// decoded as part of whatever is computed from it.
pub struct Batches {
    data: OnDevice,
    order: Option<Tensor>,
    batch_size: usize,
    start: usize,
}

impl Batches {
    pub(super) fn new(data: OnDevice, batch_size: usize) -> Batches {
        Batches { data, order: None, batch_size, start: 0 }
    }

    /// The samples in a random order that depends on the seed only.
    pub fn shuffled(mut self, seed: u64) -> Result<Batches> {
        let n = self.data.labels.dims()[0];
        let order = permutation(n as u32, seed);
        self.order = Some(Tensor::from_vec(order, [n], self.data.features.device())?);
        Ok(self)
    }

    fn read(&self, start: usize, len: usize) -> Result<(Tensor, Tensor)> {
        // The position is a number that the plan is given, not part of it: every batch but the last is one plan.
        let mut rows = (iota(len, self.data.features.device())? + start)?;
        if let Some(order) = &self.order {
            rows = order.index_select(0, &rows)?;
        }
        let mut features = self.data.features.index_select(0, &rows)?;
        if !features.dtype().is_float() {
            features = features.cast(DType::F32)?;
        }
        if self.data.scale != 1.0 {
            features = (features * self.data.scale)?;
        }
        Ok((features, self.data.labels.index_select(0, &rows)?))
    }
}

impl Iterator for Batches {
    type Item = Result<(Tensor, Tensor)>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.data.labels.dims()[0].saturating_sub(self.start);
        if left == 0 {
            return None;
        }
        let len = left.min(self.batch_size);
        let start = self.start;
        self.start += len;
        Some(no_grad(|| self.read(start, len)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.data.labels.dims()[0].saturating_sub(self.start).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches {}
