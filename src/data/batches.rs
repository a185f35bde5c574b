//! Batches of a data set that lives on a device.

use super::Batch;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::index::select_within;
use crate::ops::random::iota;
use crate::seed::permutation;
use crate::tensor::{Tensor, no_grad};

/// An input as it is read: what has a scale is a number; other integers may be words or categories, which an embedding looks up.
pub(super) fn decode(mut input: Tensor, scale: Option<f64>) -> Result<Tensor> {
    let Some(scale) = scale else { return Ok(input) };
    if !input.dtype().is_float() {
        input = input.cast(DType::F32)?;
    }
    if scale == 1.0 { Ok(input) } else { input * scale }
}

/// A data set's copy on a device.
#[derive(Clone)]
pub(super) struct OnDevice {
    pub device: Device,
    pub samples: usize,
    /// With what each is multiplied by, if it is.
    pub inputs: Vec<(Tensor, Option<f64>)>,
    pub targets: Vec<Tensor>,
    pub weights: Option<Tensor>,
}

impl OnDevice {
    /// Whether the device still has it.
    pub fn is_there(&self) -> bool {
        let inputs = self.inputs.iter().map(|(t, _)| t);
        inputs.chain(&self.targets).chain(&self.weights).all(crate::backend::is_there)
    }
}

/// Batches of one pass, with all inputs and targets. Lazy: a batch is read and decoded as part of whatever is computed
/// from it.
pub(super) struct Reader {
    data: OnDevice,
    order: Option<Tensor>,
    batch_size: usize,
    start: usize,
}

impl Reader {
    pub fn new(data: OnDevice, batch_size: usize, shuffle: Option<u64>) -> Result<Reader> {
        let order = match shuffle {
            Some(seed) => {
                let order = permutation(data.samples as u32, seed);
                Some(Tensor::from_vec(order, [data.samples], data.device)?)
            }
            None => None,
        };
        Ok(Reader { data, order, batch_size, start: 0 })
    }

    fn read(&self, start: usize, len: usize) -> Result<Batch> {
        // The position is a number that the plan is given, not part of it: every batch but the last is one plan.
        let mut rows = (iota(len, self.data.device)? + start)?;
        if let Some(order) = &self.order {
            rows = select_within(order, 0, &rows)?;
        }
        let mut batch = Batch { inputs: Vec::new(), targets: Vec::new(), weights: None };
        for (input, scale) in &self.data.inputs {
            batch.inputs.push(decode(select_within(input, 0, &rows)?, *scale)?);
        }
        for target in &self.data.targets {
            batch.targets.push(select_within(target, 0, &rows)?);
        }
        if let Some(weights) = &self.data.weights {
            batch.weights = Some(select_within(weights, 0, &rows)?);
        }
        Ok(batch)
    }

    fn left(&self) -> usize {
        self.data.samples.saturating_sub(self.start).div_ceil(self.batch_size)
    }
}

impl Iterator for Reader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.data.samples.saturating_sub(self.start);
        if left == 0 {
            return None;
        }
        let len = left.min(self.batch_size);
        let start = self.start;
        self.start += len;
        Some(no_grad(|| self.read(start, len)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left(), Some(self.left()))
    }
}

/// Batches of features `[batch, ..]` and labels `[batch, ..]`, of [`Dataset::batches`](super::Dataset::batches). Lazy: a batch is
/// read and decoded as part of whatever is computed from it. [`Dataset`](super::Dataset) has an example.
#[must_use]
pub struct Batches {
    reader: Reader,
}

impl Batches {
    pub(super) fn new(reader: Reader) -> Batches {
        Batches { reader }
    }

    /// The samples in a random order that depends on the seed only.
    ///
    /// # Errors
    ///
    /// There is no memory for the order.
    pub fn shuffled(self, seed: u64) -> Result<Batches> {
        let Reader { data, batch_size, start, .. } = self.reader;
        Ok(Batches { reader: Reader { start, ..Reader::new(data, batch_size, Some(seed))? } })
    }
}

impl Iterator for Batches {
    type Item = Result<(Tensor, Tensor)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.next().map(|batch| batch?.into_pair("Dataset::batches"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.reader.size_hint()
    }
}

impl ExactSizeIterator for Batches {}
