//! Features and labels in memory.

use super::batches::{Batches, OnDevice};
use crate::cpu::CpuElement;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Samples with their labels, on the host; copies on devices are made when they are first needed, and kept.
///
/// Bytes stay bytes on the device too, and are decoded to f32 as part of reading a batch: a quarter of the memory and
/// of the traffic. A `Dataset` is a cheap handle; clones share everything.
///
/// ```
/// # use wgrad::prelude::*;
/// # use wgrad::data::Dataset;
/// # fn main() -> Result<()> {
/// let images = Tensor::zeros([10, 4, 4, 1], Device::Cpu)?.cast(DType::U8)?;
/// let labels = Tensor::arange(0, 10, Device::Cpu)?;
/// let set = Dataset::from_tensors("example", &images, &labels)?.scaled(1.0 / 255.0);
/// for batch in set.batches(4, Device::Cpu)?.shuffled(1)? {
///     let (x, y) = batch?;
///     assert_eq!((x.dtype(), y.dtype()), (DType::F32, DType::U32));
///     assert_eq!(x.dims()[0], y.dims()[0]); // 4, 4, then the last 2
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Dataset {
    name: String,
    /// `[samples, ..]`, on the CPU.
    features: Tensor,
    /// `[samples, ..]`, on the CPU.
    labels: Tensor,
    /// What features are multiplied by when they are read.
    scale: f64,
    copies: Arc<Mutex<Vec<(Device, OnDevice)>>>,
}

impl Dataset {
    /// Features `[samples, ..]` and labels `[samples, ..]`, from any device.
    ///
    /// # Errors
    ///
    /// The two differ in their first dimension, or have none.
    pub fn from_tensors(name: impl Into<String>, features: &Tensor, labels: &Tensor) -> Result<Dataset> {
        let name = name.into();
        match (features.dims(), labels.dims()) {
            ([n, ..], [m, ..]) if n == m => {}
            _ => {
                let message = format!(
                    "features {} and labels {}: expected one row of each per sample, [samples, ..] both",
                    features.shape(),
                    labels.shape()
                );
                return Err(Error::data(name, message));
            }
        }
        let host = |t: &Tensor| t.detach()?.to_device(Device::Cpu);
        Ok(Self::on_host(name, host(features)?, host(labels)?, 1.0))
    }

    /// Features `[samples, ..]` and labels `[samples, ..]` of ndarrays.
    ///
    /// # Errors
    ///
    /// As [`from_tensors`](Self::from_tensors).
    pub fn from_arrays<F: CpuElement, L: CpuElement>(
        name: impl Into<String>,
        features: &ndarray::ArrayRef<F, impl ndarray::Dimension>,
        labels: &ndarray::ArrayRef<L, impl ndarray::Dimension>,
    ) -> Result<Dataset> {
        let features = Tensor::from_ndarray(features, Device::Cpu)?;
        Self::from_tensors(name, &features, &Tensor::from_ndarray(labels, Device::Cpu)?)
    }

    fn on_host(name: String, features: Tensor, labels: Tensor, scale: f64) -> Dataset {
        Dataset { name, features, labels, scale, copies: Arc::default() }
    }

    /// The same samples, their features multiplied by this as they are read: `1.0 / 255.0` for grey levels.
    pub fn scaled(self, scale: f64) -> Dataset {
        Self::on_host(self.name, self.features, self.labels, scale)
    }

    /// What this is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.features.dims()[0]
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one sample's features.
    pub fn sample_shape(&self) -> &[usize] {
        &self.features.dims()[1..]
    }

    /// All features as they are stored, unscaled, on the CPU: `[samples, ..]`.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// All labels as they are stored, on the CPU: `[samples, ..]`.
    pub fn labels(&self) -> &Tensor {
        &self.labels
    }

    /// The first `n` samples (all where there are fewer).
    pub fn take(&self, n: usize) -> Result<Dataset> {
        self.part(0, n.min(self.len()))
    }

    /// The first `n` samples, and the others.
    ///
    /// # Errors
    ///
    /// There are fewer than `n`.
    pub fn split_at(&self, n: usize) -> Result<(Dataset, Dataset)> {
        if n > self.len() {
            let message = format!("has {} samples; it can't be split after {n}", self.len());
            return Err(Error::data(&self.name, message));
        }
        Ok((self.part(0, n)?, self.part(n, self.len() - n)?))
    }

    fn part(&self, start: usize, len: usize) -> Result<Dataset> {
        if len == self.len() {
            return Ok(self.clone());
        }
        let (features, labels) = (self.features.slice(0, start, len)?, self.labels.slice(0, start, len)?);
        crate::eval(&[&features, &labels])?;
        Ok(Self::on_host(self.name.clone(), features, labels, self.scale))
    }

    /// The samples in batches, on a device, in order; see [`Batches::shuffled`]. The last batch may be smaller.
    ///
    /// # Errors
    ///
    /// The batch size is 0, or the device has no room for the data set.
    pub fn batches(&self, batch_size: usize, device: Device) -> Result<Batches> {
        if batch_size == 0 {
            return Err(Error::argument("Dataset::batches", "the batch size is 0; it must be at least 1"));
        }
        Ok(Batches::new(self.on_device(device)?, batch_size))
    }

    fn on_device(&self, device: Device) -> Result<OnDevice> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, copy)) = copies.iter().find(|(d, _)| *d == device) {
            return Ok(copy.clone());
        }
        // Integer labels are small: as u32 they need no conversion in every batch.
        let labels = match self.labels.dtype().is_float() {
            true => self.labels.clone(),
            false => self.labels.cast(DType::U32)?,
        };
        labels.eval()?;
        let copy = OnDevice {
            features: self.features.to_device(device)?,
            labels: labels.to_device(device)?,
            scale: self.scale,
        };
        copies.push((device, copy.clone()));
        Ok(copy)
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (features, labels) = (&self.features, &self.labels);
        write!(
            f,
            "Dataset({}: {} samples, features {} {:?}, labels {} {:?})",
            self.name,
            self.len(),
            features.dtype(),
            self.sample_shape(),
            labels.dtype(),
            &labels.dims()[1..]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn counting(n: usize) -> Dataset {
        let features: Vec<u8> = (0..n * 2).map(|i| i as u8).collect();
        let labels: Vec<u8> = (0..n as u8).collect();
        let d = Device::Cpu;
        let features = Tensor::from_vec(features, [n, 2], d).unwrap();
        Dataset::from_tensors("counting", &features, &Tensor::from_vec(labels, [n], d).unwrap()).unwrap()
    }

    fn all(batches: Batches) -> (Vec<usize>, Vec<f32>, Vec<u32>) {
        let (mut sizes, mut features, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for batch in batches {
            let (x, y) = batch.unwrap();
            sizes.push(y.numel());
            features.extend(x.to_vec::<f32>().unwrap());
            labels.extend(y.to_vec::<u32>().unwrap());
        }
        (sizes, features, labels)
    }

    #[test]
    fn batches_hold_every_sample_once_with_its_label() {
        let set = counting(10).scaled(0.5);
        assert_eq!(set.batches(4, Device::Cpu).unwrap().len(), 3);
        let (sizes, features, labels) = all(set.batches(4, Device::Cpu).unwrap());
        assert_eq!(sizes, [4, 4, 2]);
        assert_eq!(labels, (0..10).collect::<Vec<u32>>());
        assert_eq!(features, (0..20).map(|i| i as f32 * 0.5).collect::<Vec<_>>());
        let shuffled = |seed| all(set.batches(4, Device::Cpu).unwrap().shuffled(seed).unwrap());
        let (sizes, features, labels) = shuffled(3);
        assert_eq!(sizes, [4, 4, 2]);
        for (i, &label) in labels.iter().enumerate() {
            assert_eq!(features[2 * i..2 * i + 2], [label as f32, label as f32 + 0.5]);
        }
        assert_eq!(shuffled(3).2, labels);
        assert_ne!(shuffled(4).2, labels);
        let mut sorted = labels.clone();
        sorted.sort_unstable();
        assert!(labels != sorted && sorted == (0..10).collect::<Vec<_>>());
        assert_eq!(all(set.batches(100, Device::Cpu).unwrap()).0, [10]);
        assert!(set.batches(0, Device::Cpu).is_err());
    }

    #[test]
    fn parts_are_the_samples_they_say() {
        let set = counting(10);
        let (first, rest) = set.split_at(7).unwrap();
        assert_eq!((first.len(), rest.len(), set.take(99).unwrap().len()), (7, 3, 10));
        assert_eq!(all(rest.batches(2, Device::Cpu).unwrap()).2, [7, 8, 9]);
        assert_eq!(all(first.take(2).unwrap().batches(2, Device::Cpu).unwrap()).1, [0.0, 1.0, 2.0, 3.0]);
        let message = set.split_at(11).unwrap_err().to_string();
        assert_eq!(message, "counting: has 10 samples; it can't be split after 11");
        assert!(all(set.take(0).unwrap().batches(2, Device::Cpu).unwrap()).0.is_empty());
    }

    #[test]
    fn features_without_labels_are_an_error() {
        let (x, y) = (ndarray::arr2(&[[1.0f32], [2.0]]), ndarray::arr1(&[1u8, 2, 3]));
        let message = Dataset::from_arrays("odd", &x, &y).unwrap_err().to_string();
        assert!(message.starts_with("odd: features [2, 1] and labels [3]"), "{message}");
        let set = Dataset::from_arrays("even", &x, &ndarray::arr1(&[0.5f32, 1.0])).unwrap();
        let (x, y) = set.batches(2, Device::Cpu).unwrap().next().unwrap().unwrap();
        assert_eq!((x.shape(), y.to_vec::<f32>().unwrap()), (Shape::new(&[2, 1]).unwrap(), vec![0.5, 1.0]));
    }
}
