//! Data sets of what functions make of others.

use super::Dataset;
use crate::data::batches::decode;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};

impl Dataset {
    /// With what `f` makes of the features of all samples, `[samples, ..]` (of the first input; on the CPU, and
    /// [`scaled`](Self::scaled) if they are). It is computed now, once: what is random belongs into
    /// [`augmented`](crate::data::Source::augmented) instead.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::data::Dataset;
    /// use wgrad::nn::Normalization;
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Tensor::new([[1.0f32], [3.0], [5.0]], Device::Cpu)?, Tensor::new([0u32, 2, 1], Device::Cpu)?);
    /// let (train, test) = Dataset::from_tensors("table", &x, &y)?.split_at(2)?;
    /// let normalise = Normalization::new().adapt(&train)?; // of what is trained on, for both
    /// let test = test.map_features(|x| normalise.apply(x))?.map_labels(|y| y.one_hot(3))?;
    /// assert_eq!(test.features().to_vec::<f32>()?, [3.0]);
    /// assert_eq!(test.labels().to_vec::<f32>()?, [0.0, 1.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `f` fails, or gives another number of rows; what it gives can't be computed.
    pub fn map_features(&self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Dataset> {
        self.map_inputs(|mut inputs| {
            if let Some(first) = inputs.first_mut() {
                *first = f(first)?;
            }
            Ok(inputs)
        })
    }

    /// With what `f` makes of all inputs, `[samples, ..]` each, as [`map_features`](Self::map_features) does of the first: columns of a
    /// table become inputs of their own, say.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::data::Dataset;
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Tensor::zeros([5, 4], Device::Cpu)?, Tensor::zeros([5], Device::Cpu)?);
    /// let table = Dataset::from_tensors("table", &x, &y)?;
    /// let table = table.map_inputs(|x| {
    ///     Ok(vec![x[0].slice(1, 0, 3)?, x[0].slice(1, 3, 1)?.cast(DType::U32)?]) // numbers, and a category
    /// })?;
    /// assert_eq!(table.inputs()[1].shape(), [5, 1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`map_features`](Self::map_features); or `f` gives no input.
    pub fn map_inputs(&self, f: impl FnOnce(Vec<Tensor>) -> Result<Vec<Tensor>>) -> Result<Dataset> {
        let given = self.inputs.iter().map(|(x, scale)| decode(x.clone(), *scale)).collect::<Result<_>>()?;
        let inputs = no_grad(|| f(given))?;
        if inputs.is_empty() {
            return Err(Error::data(&self.name, "map_inputs: expected at least one input, got none"));
        }
        let checked = inputs.iter().map(|x| Ok((self.check_rows("the mapped input", x)?, None)));
        let inputs = checked.collect::<Result<_>>()?;
        Ok(self.changed(|set| set.inputs = inputs))
    }

    /// With what `f` makes of the labels of all samples, `[samples, ..]` (of the first target; on the CPU).
    ///
    /// # Errors
    ///
    /// As [`map_features`](Self::map_features).
    pub fn map_labels(&self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Dataset> {
        let Some(labels) = self.targets.first() else {
            return Err(Error::data(self.name(), "has no labels to map; add them with with_targets"));
        };
        let labels = no_grad(|| f(labels))?;
        let labels = self.check_rows("the mapped label", &labels)?;
        Ok(self.changed(|set| {
            if let Some(first) = set.targets.first_mut() {
                *first = labels;
            }
        }))
    }
}
