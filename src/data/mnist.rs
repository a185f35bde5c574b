//! MNIST and data sets in its format (Fashion-MNIST, Kuzushiji-MNIST, EMNIST ...): four IDX files with
//! the images and labels of a training and a test set.

use super::Dataset;
use super::idx_files::{CLASSES, load_dir_checked};
pub use super::idx_files::{RawDataset, RawSplit};
use super::mnist_cache::MNIST;
pub use super::mnist_cache::{DATA_FOLDER_VARIABLE, load_or_download};
use super::synthetic;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::path::Path;

/// As many synthetic digits as MNIST has images.
const SYNTHETIC_COUNTS: (usize, usize) = (60_000, 10_000);

impl RawDataset {
    /// The training and the test set: images `[samples, height, width, 1]`, scaled to 0 to 1 as they are read, and
    /// labels `[samples]`.
    ///
    /// # Errors
    ///
    /// There was no memory for the images.
    pub fn into_datasets(self) -> Result<(Dataset, Dataset)> {
        Ok((dataset(&self.name, self.train)?, dataset(&self.name, self.test)?))
    }

    /// As [`into_datasets`](Self::into_datasets), with the names of the classes.
    pub(super) fn into_named_datasets(self, classes: &[&str]) -> Result<(Dataset, Dataset)> {
        let (train, test) = self.into_datasets()?;
        Ok((train.with_classes(classes), test.with_classes(classes)))
    }
}

fn dataset(name: &str, split: RawSplit) -> Result<Dataset> {
    let RawSplit { images, labels, count, height, width, .. } = split;
    if images.is_empty() && count > 0 {
        let message = format!("no room for {count} images of {height}x{width} of {name}; ask for fewer");
        return Err(Error::OutOfMemory { device: "cpu".into(), message });
    }
    let images = Tensor::from_vec(images, [count, height, width, 1], Device::Cpu)?;
    let labels = Tensor::from_vec(labels, [count], Device::Cpu)?;
    Ok(Dataset::from_tensors(name, &images, &labels)?.scaled(1.0 / 255.0))
}

/// Loads a data set with ten classes from a folder with four files in MNIST's format, whose names may
/// have a dot for the second hyphen, and `.gz` or not (what is gzipped is seen from the content):
/// `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`,
/// `t10k-labels-idx1-ubyte`.
///
/// # Errors
///
/// The folder or some of the files are missing, a file is malformed (see [`IdxArray::read`](super::idx::IdxArray::read)), there are
/// more or fewer images than labels, none at all, a label of 10 or above, or the training and test
/// images differ in size.
pub fn load_dir(dir: &Path) -> Result<RawDataset> {
    load_dir_with_classes(dir, CLASSES)
}

/// As [`load_dir`], for a data set with another number of classes (EMNIST: 26, 47 or 62; its letters
/// count from 1, so they need 27).
///
/// # Errors
///
/// As [`load_dir`], with `classes` as the bound of the labels.
pub fn load_dir_with_classes(dir: &Path, classes: usize) -> Result<RawDataset> {
    load_dir_checked(dir, classes, MNIST.name, true, MNIST.digests)
}

/// MNIST's training and test set, from the user's cache, or downloaded into it: see [`load_or_download`]. Each image is
/// `[28, 28, 1]` in 0 to 1.
///
/// # Errors
///
/// As [`load_or_download`].
pub fn load() -> Result<(Dataset, Dataset)> {
    load_or_download()?.into_datasets()
}

/// The training and test set in a folder: see [`load_dir`].
///
/// # Errors
///
/// As [`load_dir`].
pub fn load_from(dir: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    load_dir(dir.as_ref())?.into_datasets()
}

/// MNIST as [`load`] finds it; where there is none to be had, as many synthetic digits, and a warning on standard error
/// that says so and why. The data sets' names tell which.
///
/// # Errors
///
/// Only what the synthetic digits meet: no memory.
pub fn load_or_synthetic() -> Result<(Dataset, Dataset)> {
    load().or_else(|error| {
        eprintln!(
            "WARNING: THIS IS NOT MNIST. Synthetic digits take its place; accuracies say nothing about MNIST.\n\
             WARNING: MNIST could not be had: {error}"
        );
        synthetic::digits(SYNTHETIC_COUNTS.0, SYNTHETIC_COUNTS.1, 0).into_datasets()
    })
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn synthetic_digits_become_data_sets() {
        let raw = data::synthetic::digits(20, 10, 1);
        let (pixel, label) = (raw.train.images[400], raw.train.labels[0]);
        let (train, test) = raw.into_datasets().unwrap();
        assert_eq!((train.len(), test.len(), train.sample_shape()), (20, 10, &[28, 28, 1][..]));
        assert!(train.name().contains("not MNIST") && test.name().contains("not MNIST"));
        let (x, y) = train.batches(3, Device::Cpu).unwrap().next().unwrap().unwrap();
        assert_eq!(x.shape(), [3, 28, 28, 1]);
        let values = x.to_vec::<f32>().unwrap();
        assert!((values[400] - f32::from(pixel) / 255.0).abs() < 1e-6);
        assert!(values.iter().all(|v| (0.0..=1.0).contains(v)) && values.iter().any(|&v| v > 0.5));
        assert_eq!(y.to_vec::<u32>().unwrap()[0], u32::from(label));
    }
}
