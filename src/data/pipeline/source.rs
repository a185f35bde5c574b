//! Pipelines of samples or batches as what training reads from.

use super::{Cardinality, Pipeline};
use crate::data::sample::label_type;
use crate::data::{Batch, BatchIter, IntoSample, Pass, Source};
use crate::device::Device;
use crate::error::Result;

/// Batches as they are: the trainer's batch size has no say.
impl Source for Pipeline<Batch> {
    fn name(&self) -> &str {
        &self.name
    }

    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        let device = pass.device;
        Ok(Box::new(self.epoch(pass.shuffle.unwrap_or(0)).map(move |batch| on_device(batch?, device))))
    }

    fn endless(&self) -> bool {
        self.is_endless()
    }

    fn steps(&self, _batch_size: usize) -> Option<usize> {
        match self.cardinality {
            Cardinality::Finite(n) => Some(n),
            _ => None,
        }
    }
}

/// Samples, batched as the trainer says.
impl<T: IntoSample + Send + 'static> Source for Pipeline<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        let (device, batches) = (pass.device, self.clone().batch(pass.batch_size));
        let items = batches.epoch(pass.shuffle.unwrap_or(0));
        Ok(Box::new(items.map(move |batch| on_device(batch?, device))))
    }

    fn endless(&self) -> bool {
        self.is_endless()
    }

    fn samples(&self) -> Option<usize> {
        match self.cardinality {
            Cardinality::Finite(n) => Some(n),
            _ => None,
        }
    }
}

/// Moves a batch; bytes are moved as bytes.
fn on_device(mut batch: Batch, device: Device) -> Result<Batch> {
    for target in &mut batch.targets {
        *target = label_type(target)?;
    }
    batch.to_device(device)
}
