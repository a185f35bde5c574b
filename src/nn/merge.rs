//! Layers of several inputs.

use super::SampleShape;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How [`Functional::merge`](super::Functional::merge) makes one tensor of several: Keras's merge layers.
///
/// All but `Concat` work element by element. Shapes must have one rank; a dimension of 1 is repeated as often as the
/// others need it, so a `[1, 1, channels]` gate scales an image. Of an open dimension and one with a size the size counts, and
/// batches must have it.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Merge;
/// # fn main() -> Result<()> {
/// let (a, b) = (Tensor::new([[1.0f32, 2.0]], Device::Cpu)?, Tensor::new([[3.0f32, 4.0]], Device::Cpu)?);
/// assert_eq!(Merge::Average.apply(&[a.clone(), b.clone()])?.to_vec::<f32>()?, [2.0, 3.0]);
/// assert_eq!(Merge::Concat { axis: -1 }.apply(&[a, b])?.shape(), [1, 4]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Merge {
    /// The sum.
    Add,
    /// The first minus the second; exactly two inputs.
    Subtract,
    /// The product.
    Multiply,
    /// The mean.
    Average,
    /// The largest.
    Maximum,
    /// The smallest.
    Minimum,
    /// One after the other along an axis of the sample (the batch does not count): -1 is the last, such as channels.
    Concat {
        /// The axis.
        axis: isize,
    },
}

impl Merge {
    /// The name of the kind, as in `Concat`.
    pub fn kind(self) -> &'static str {
        match self {
            Merge::Add => "Add",
            Merge::Subtract => "Subtract",
            Merge::Multiply => "Multiply",
            Merge::Average => "Average",
            Merge::Maximum => "Maximum",
            Merge::Minimum => "Minimum",
            Merge::Concat { .. } => "Concat",
        }
    }

    pub(super) fn details(self) -> String {
        match self {
            Merge::Concat { axis } => format!("axis {axis}"),
            _ => String::new(),
        }
    }

    /// The shape for one sample, from the shapes of the inputs for one sample.
    ///
    /// # Errors
    ///
    /// Fewer than two inputs (not two for `Subtract`), or shapes that don't go together.
    pub fn output(self, inputs: &[SampleShape]) -> Result<SampleShape> {
        let op = self.kind();
        let [first, rest @ ..] = inputs else {
            return Err(Error::argument(op, "expects at least two inputs, got none"));
        };
        if rest.is_empty() || (self == Merge::Subtract && rest.len() != 1) {
            let expected = if self == Merge::Subtract { "two inputs" } else { "at least two inputs" };
            return Err(Error::argument(op, format!("expects {expected}, got {}", inputs.len())));
        }
        let shapes = || inputs.iter().map(SampleShape::to_string).collect::<Vec<_>>().join(", ");
        if rest.iter().any(|s| s.rank() != first.rank()) {
            let message =
                format!("expects inputs of one rank, got {}; add Reshape before the odd one", shapes());
            return Err(Error::shape(op, message));
        }
        let concat = match self {
            Merge::Concat { axis } => Some(first.axis(op, axis)?),
            _ => None,
        };
        let mut dims = first.to_vec();
        for (d, all) in dims.iter_mut().enumerate() {
            for &size in rest.iter().map(|shape| &shape[d]) {
                *all = match (*all, size) {
                    (Some(a), Some(b)) if concat == Some(d) => Some(a.saturating_add(b)),
                    _ if concat == Some(d) => None,
                    (a, b) if a == b => a,
                    (Some(1), other) | (other, Some(1)) if concat.is_none() => other,
                    (None, size) | (size, None) => size,
                    _ => {
                        let expected = match concat {
                            Some(axis) => format!("shapes that differ only in axis {axis}"),
                            None => "equal shapes (or dimensions of 1)".into(),
                        };
                        return Err(Error::shape(op, format!("expects {expected}, got {}", shapes())));
                    }
                };
            }
        }
        SampleShape::new(dims)
    }

    /// The merged batch, of batches `[samples, ..]`.
    ///
    /// # Errors
    ///
    /// No inputs, shapes that don't go together, or tensors of different types or devices.
    pub fn apply(self, inputs: &[Tensor]) -> Result<Tensor> {
        let fold = |f: fn(&Tensor, &Tensor) -> Result<Tensor>| {
            let Some((first, rest)) = inputs.split_first() else {
                return Err(Error::argument(self.kind(), "expects at least two inputs, got none"));
            };
            rest.iter().try_fold(first.clone(), |all, x| f(&all, x))
        };
        match self {
            Merge::Add => fold(|a, b| a + b),
            Merge::Subtract => fold(|a, b| a - b),
            Merge::Multiply => fold(|a, b| a * b),
            Merge::Average => fold(|a, b| a + b)? / inputs.len() as f64,
            Merge::Maximum => fold(|a, b| a.maximum(b)),
            Merge::Minimum => fold(|a, b| a.minimum(b)),
            // The axis of a sample is one further in a batch; from the end both count alike.
            Merge::Concat { axis } => {
                let axis = if axis < 0 { axis } else { axis + 1 };
                Tensor::concat(inputs, axis)
            }
        }
    }
}
