//! Losses that compare the samples of a batch with each other.

use super::base::{Loss, check_weights, vectors, weighted_by};
use super::pairs::check_margin;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::random::iota;
use crate::ops::{require_float, same_device};
use crate::tensor::Tensor;

/// What is compared with what in a batch of embeddings `[batch, features]` with labels `[batch]`.
struct Pairs {
    /// `[batch, batch]`
    distances: Tensor,
    /// u8, `[batch, batch]`: others of the same label.
    positives: Tensor,
    /// Those of other labels.
    negatives: Tensor,
}

impl Pairs {
    fn new(op: &str, outputs: &Tensor, labels: &Tensor, squared: bool) -> Result<Pairs> {
        let alike = Pairs::alike(op, outputs, labels)?;
        let differences = (outputs.unsqueeze(1)? - outputs.unsqueeze(0)?)?;
        let distances = match squared {
            true => differences.square()?.sum(-1, false)?,
            false => differences.norm(-1, false)?,
        };
        Ok(Pairs { distances, positives: without_self(&alike)?, negatives: alike.logical_not()? })
    }

    /// u8, `[batch, batch]`: which samples have the same label.
    fn alike(op: &str, outputs: &Tensor, labels: &Tensor) -> Result<Tensor> {
        require_float(op, "the output", outputs)?;
        if labels.dtype().is_float() {
            let message =
                format!("targets are {} {}; expected integer labels", labels.dtype(), labels.shape());
            return Err(Error::dtype(op, message));
        }
        same_device(op, &[outputs, labels])?;
        match (outputs.dims(), labels.dims()) {
            (&[batch, _], &[count]) if batch == count => {}
            _ => {
                let message = format!(
                    "outputs are {}, targets {}; expected [batch, features] and a label for each, [batch]",
                    outputs.shape(),
                    labels.shape()
                );
                return Err(Error::shape(op, message));
            }
        }
        labels.unsqueeze(1)?.eq(labels.unsqueeze(0)?)
    }
}

/// `[batch, batch]` without its diagonal, u8.
fn without_self(alike: &Tensor) -> Result<Tensor> {
    let place = iota(alike.dims()[0], alike.device())?;
    alike.logical_and(place.unsqueeze(1)?.ne(place.unsqueeze(0)?)?)
}

/// The sum of what counts over how much of it there is; 0 where nothing is.
fn mean(losses: &Tensor, count: &Tensor) -> Result<Tensor> {
    losses.sum(.., false)? / count.cast(losses.dtype())?.maximum(1.0)?
}

/// The methods of [`Loss`] for one with `rows(outputs, targets)`, the loss of each anchor and u8, what counts.
macro_rules! mined {
    ($name:ident) => {
        impl Loss for $name {
            fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
                Ok(self.rows(outputs, targets)?.0)
            }

            fn compute(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
                let (losses, counted) = self.rows(outputs, targets)?;
                mean(&losses, &counted.cast(DType::U32)?.sum(.., false)?)
            }

            fn weighted(&self, outputs: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
                let (losses, counted) = self.rows(outputs, targets)?;
                check_weights(&losses, weights)?;
                mean(&weighted_by(weights, &losses)?, &counted.cast(DType::U32)?.sum(.., false)?)
            }

            fn count(&self, outputs: &Tensor, targets: &Tensor) -> Result<Option<Tensor>> {
                let (_, counted) = self.rows(outputs, targets)?;
                counted.cast(DType::F32)?.sum(.., false).map(Some)
            }
        }
    };
}

/// The triplet loss of the hardest triplets of a batch (Hermans et al., 2017; TensorFlow Addons' `TripletHardLoss`): for each sample
/// `max(margin + distance of the farthest with its label - distance of the nearest with another, 0)`.
///
/// Outputs are embeddings `[batch, features]`, often of length 1 ([`UnitNorm`](crate::nn::UnitNorm)), targets integer labels `[batch]`.
/// The mean goes over the samples that have both, and is 0 where none does.
///
/// ```
/// use wgrad::nn::TripletHard;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let embeddings = Tensor::new([[0.0f32], [1.0], [3.0], [9.0]], Device::Cpu)?;
/// let labels = Tensor::new([0u32, 0, 1, 1], Device::Cpu)?;
/// // 1 - 3, 1 - 2, 6 - 2 and 6 - 8, a margin of 1 more
/// assert_eq!(TripletHard::new(1.0).per_sample(&embeddings, &labels)?.to_vec::<f32>()?, [0.0, 0.0, 5.0, 0.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats or no `[batch, features]`, targets that are no integers or no `[batch]`, and a margin that is negative or
/// not finite.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TripletHard {
    margin: f64,
    squared: bool,
    soft: bool,
}

impl TripletHard {
    /// By Euclidean distances.
    pub fn new(margin: f64) -> Self {
        TripletHard { margin, squared: false, soft: false }
    }

    /// Whether distances are squared.
    pub fn squared(self, squared: bool) -> Self {
        TripletHard { squared, ..self }
    }

    /// `softplus` of the difference in place of the margin, which never becomes 0.
    pub fn soft(self, soft: bool) -> Self {
        TripletHard { soft, ..self }
    }

    fn rows(&self, outputs: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
        check_margin("TripletHard", self.margin, 0.0..=f64::INFINITY)?;
        let pairs = Pairs::new("TripletHard", outputs, targets, self.squared)?;
        let d = &pairs.distances;
        if d.numel() == 0 {
            return Ok((outputs.sum(1, false)?, targets.ne(targets)?));
        }
        let counted = pairs.positives.any(1, false)?.logical_and(pairs.negatives.any(1, false)?)?;
        let farthest = pairs.positives.select(d, f64::NEG_INFINITY)?.max(1, false)?;
        let nearest = pairs.negatives.select(d, f64::INFINITY)?.min(1, false)?;
        let off = counted.select((farthest - nearest)?, 0.0)?;
        let losses = if self.soft { off.softplus()? } else { (off + self.margin)?.relu()? };
        Ok((counted.select(&losses, losses.zeros_like()?)?, counted))
    }
}

/// TensorFlow Addons' margin, 1.
impl Default for TripletHard {
    fn default() -> Self {
        TripletHard::new(1.0)
    }
}

mined!(TripletHard);

/// The triplet loss of semi-hard triplets of a batch (Schroff et al., 2015; TensorFlow Addons' `TripletSemiHardLoss`): for each pair of one
/// label, the negative is the nearest of another label that is farther from the first than the second is, or, where all are nearer, the
/// farthest of them.
///
/// Outputs and targets as those of [`TripletHard`]. The mean goes over the pairs that have a negative, and is 0 where none does; the loss
/// of a sample is the sum over its pairs.
///
/// ```
/// use wgrad::nn::TripletSemiHard;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let embeddings = Tensor::new([[0.0f32], [1.0], [1.5], [9.0]], Device::Cpu)?;
/// let labels = Tensor::new([0u32, 0, 1, 2], Device::Cpu)?;
/// // 1 - 1.5 of the first anchor; 1 - 8 of the second, for which the third is nearer than the positive
/// assert_eq!(TripletSemiHard::new(1.0).compute(&embeddings, &labels)?.item::<f32>()?, 0.25);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`TripletHard`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TripletSemiHard {
    margin: f64,
    squared: bool,
}

impl TripletSemiHard {
    /// By Euclidean distances.
    pub fn new(margin: f64) -> Self {
        TripletSemiHard { margin, squared: false }
    }

    /// Whether distances are squared.
    pub fn squared(self, squared: bool) -> Self {
        TripletSemiHard { squared, ..self }
    }

    fn rows(&self, outputs: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
        check_margin("TripletSemiHard", self.margin, 0.0..=f64::INFINITY)?;
        let pairs = Pairs::new("TripletSemiHard", outputs, targets, self.squared)?;
        let (d, negatives) = (&pairs.distances, &pairs.negatives);
        if d.numel() == 0 {
            return Ok((outputs.sum(1, false)?, targets.ne(targets)?));
        }
        let counted = pairs.positives.logical_and(negatives.any(1, true)?)?;
        // [anchor, positive, negative]
        let to_negative = d.unsqueeze(1)?;
        let farther = to_negative.gt(d.unsqueeze(2)?)?.logical_and(negatives.unsqueeze(1)?)?;
        let outside = farther.select(to_negative, f64::INFINITY)?.min(2, false)?;
        let inside = negatives.select(d, f64::NEG_INFINITY)?.max(1, true)?;
        let negative = farther.any(2, false)?.select(outside, inside)?;
        let off = counted.select((d - negative)?, 0.0)?;
        let losses = (off + self.margin)?.relu()?;
        Ok((counted.select(&losses, losses.zeros_like()?)?.sum(1, false)?, counted))
    }
}

/// TensorFlow Addons' margin, 1.
impl Default for TripletSemiHard {
    fn default() -> Self {
        TripletSemiHard::new(1.0)
    }
}

mined!(TripletSemiHard);

/// Rows of length 1; zeros stay so.
fn unit_rows(x: &Tensor) -> Result<Tensor> {
    x / x.norm(-1, true)?.maximum(1e-12)?
}

/// Two matrices `[batch, features]`, and that a temperature is one.
fn views(op: &str, outputs: &Tensor, targets: &Tensor, temperature: f64) -> Result<(Tensor, Tensor)> {
    if !(temperature > 0.0 && temperature.is_finite()) {
        let message = format!("the temperature is {temperature}; expected a finite number above 0");
        return Err(Error::argument(op, message));
    }
    if outputs.rank() != 2 {
        let message = format!("outputs are {}; expected [batch, features]", outputs.shape());
        return Err(Error::shape(op, message));
    }
    vectors(op, outputs, targets)
}

/// InfoNCE (van den Oord et al., 2018): each row of the outputs should be more like its own row of the targets than like all other
/// rows: the cross-entropy of `cosines / temperature` against the row's own place. Outputs and targets are `[batch, features]`, two views
/// of the same samples; gradients flow to both.
///
/// [`symmetric`](Self::symmetric) is the loss of CLIP (Radford et al., 2021).
///
/// ```
/// use wgrad::nn::InfoNce;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[3.0f32, 0.0], [0.0, 1.0]], Device::Cpu)?;
/// let loss = InfoNce::new(1.0).compute(&x, &x)?.item::<f32>()?;
/// assert!((loss - (1.0 + (-1.0f32).exp()).ln()).abs() < 1e-6); // cosines 1 and 0
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs and targets that are no floats `[batch, features]` of one shape, and a temperature that is not above 0 and finite.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct InfoNce {
    temperature: f64,
    symmetric: bool,
}

impl InfoNce {
    /// With this temperature: 0.07 and 0.1 are usual.
    pub fn new(temperature: f64) -> Self {
        InfoNce { temperature, symmetric: false }
    }

    /// The mean of the loss and of that with outputs and targets exchanged.
    pub fn symmetric(self, symmetric: bool) -> Self {
        InfoNce { symmetric, ..self }
    }
}

impl Loss for InfoNce {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (a, b) = views("InfoNce", outputs, targets, self.temperature)?;
        let batch = a.dims()[0];
        if batch == 0 {
            return a.sum(1, false);
        }
        let logits = (unit_rows(&a)?.matmul(unit_rows(&b)?.transpose()?)? / self.temperature)?;
        let own = iota(batch, a.device())?;
        let rows = logits.cross_entropy_rows(&own)?;
        match self.symmetric {
            true => (rows + logits.transpose()?.cross_entropy_rows(&own)?)? * 0.5,
            false => Ok(rows),
        }
    }
}

/// NT-Xent, the loss of SimCLR (Chen et al., 2020): of two views of each sample, each should be more like the other than like any of the
/// other samples' views: the cross-entropy of `cosines / temperature` of all `2 * batch` rows, without those of a row with itself. Outputs
/// and targets are the two views, `[batch, features]`; gradients flow to both. The loss of a sample is the mean of its two rows'.
///
/// ```
/// use wgrad::nn::NtXent;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[3.0f32, 0.0], [0.0, 1.0]], Device::Cpu)?;
/// let loss = NtXent::new(1.0).compute(&x, &x)?.item::<f32>()?;
/// assert!((loss - (1.0 + 2.0 * (-1.0f32).exp()).ln()).abs() < 1e-6); // one cosine 1, two of 0
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`InfoNce`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct NtXent {
    temperature: f64,
}

impl NtXent {
    /// With this temperature: SimCLR has 0.1 to 0.5.
    pub fn new(temperature: f64) -> Self {
        NtXent { temperature }
    }
}

impl Loss for NtXent {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (a, b) = views("NtXent", outputs, targets, self.temperature)?;
        let batch = a.dims()[0];
        if batch == 0 {
            return a.sum(1, false);
        }
        let all = Tensor::concat(&[&unit_rows(&a)?, &unit_rows(&b)?], 0)?;
        let logits = (all.matmul(all.transpose()?)? / self.temperature)?;
        let place = iota(2 * batch, a.device())?;
        let itself = place.unsqueeze(1)?.eq(place.unsqueeze(0)?)?;
        // Cosines are at most 1: nothing is left of a row itself.
        let logits = itself.select(f64::NEG_INFINITY, logits)?;
        let first = iota(batch, a.device())?;
        let other = Tensor::concat(&[&(&first + batch as f64)?, &first], 0)?;
        logits.cross_entropy_rows(&other)?.reshape([2, batch])?.mean(0, false)
    }
}
