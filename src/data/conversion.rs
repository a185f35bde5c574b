//! From a data set to a pipeline, and back.

use super::sample::{IntoSample, Sample, collate, label_type};
use super::{Batch, Cardinality, Dataset, Pipeline};
use crate::cpu::{Array, Element, dispatch};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Dataset {
    /// The samples one by one on the host, decoded and scaled, to be mapped, filtered, zipped and batched.
    ///
    /// A pass over a data set in memory needs none of this: it reads batches on the device itself, shuffled. Go back to
    /// it with [`Pipeline::to_dataset`].
    ///
    /// # Errors
    ///
    /// There is no memory for a copy on the host. [`Pipeline::to_dataset`] has an example.
    pub fn pipeline(&self) -> Result<Pipeline<Sample>> {
        let rows = |(t, scale): &(Tensor, Option<f64>)| Rows::new(t, *scale);
        let inputs: Vec<Rows> = self.inputs.iter().map(rows).collect::<Result<_>>()?;
        let targets: Vec<Rows> =
            self.targets.iter().map(|t| Rows::new(&label_type(t)?, None)).collect::<Result<_>>()?;
        let weights = self.weights.as_ref().map(|w| w.to_vec::<f32>()).transpose()?;
        Ok(Pipeline::indexed(&self.name, self.samples, move |i| {
            Ok(Sample {
                inputs: inputs.iter().map(|rows| rows.get(i)).collect::<Result<_>>()?,
                targets: targets.iter().map(|rows| rows.get(i)).collect::<Result<_>>()?,
                weight: weights.as_ref().and_then(|w| w.get(i).copied()),
            })
        }))
    }
}

impl<T: Send + 'static> Pipeline<T> {
    /// All samples of pass 0 as a data set in memory, which trains from the device's memory.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// let even = digits.pipeline()?.filter(|s| Ok(s.target()?.item::<u32>()? % 2 == 0)).to_dataset()?;
    /// assert_eq!(even.len(), 50);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There are no samples, they differ in shape or type, or an element is an error. An infinite pipeline is one, too.
    pub fn to_dataset(&self) -> Result<Dataset>
    where
        T: IntoSample,
    {
        if self.cardinality() == Cardinality::Infinite {
            return Err(Error::data(self.name(), "never ends; take a number of samples before to_dataset"));
        }
        let samples = self.iter().collect::<Result<Vec<T>>>()?;
        if samples.is_empty() {
            return Err(Error::data(self.name(), "has no samples to make a data set of"));
        }
        Dataset::from_batch(self.name(), collate(samples)?)
    }
}

impl Pipeline<Batch> {
    /// The samples of the batches, one by one.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (digits, _) = data::synthetic::digits(20, 1, 1).into_datasets()?;
    /// assert_eq!(digits.pipeline()?.batch(8).unbatch().iter().count(), 20);
    /// # Ok(()) }
    /// ```
    pub fn unbatch(self) -> Pipeline<Sample> {
        self.flat_map(|batch| {
            let set = Dataset::from_batch("batch", batch)?;
            set.pipeline()?.iter().collect()
        })
    }
}

/// The rows of a tensor on the host.
struct Rows {
    array: Array,
    /// What inputs are multiplied by, if they are.
    scale: Option<f64>,
}

impl Rows {
    fn new(tensor: &Tensor, scale: Option<f64>) -> Result<Rows> {
        Ok(Rows { array: tensor.to_host()?.contiguous()?, scale })
    }

    /// A row as a tensor; one that is scaled is decoded as batches on a device are.
    fn get(&self, i: usize) -> Result<Tensor> {
        let dims = &self.array.shape[1..];
        let len: usize = dims.iter().product();
        let dtype = self.array.dtype();
        dispatch!(dtype, T => {
            let all = self.array.slice::<T>()?;
            let row = all.get(i * len..(i + 1) * len).ok_or_else(|| {
                Error::argument("Dataset::pipeline", format!("no sample {i} in {}", self.array.shape))
            })?;
            match (self.scale, dtype) {
                (Some(scale), DType::F64) => {
                    Tensor::from_vec(row.iter().map(|v| v.convert::<f64>() * scale).collect(), dims, Device::Cpu)
                }
                (Some(scale), _) => {
                    let scale = scale as f32;
                    Tensor::from_vec(row.iter().map(|v| v.convert::<f32>() * scale).collect(), dims, Device::Cpu)
                }
                (None, _) => Tensor::from_slice(row, dims, Device::Cpu),
            }
        })
    }
}
