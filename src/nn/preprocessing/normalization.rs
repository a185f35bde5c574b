//! Features with a mean of 0 and a variance of 1, by the data.

use super::FeatureBatches;
use super::features::{as_float, constant, each_of_finite};
use crate::axes::Axes;
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::shape::Shape;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What a deviation is at least: Keras's.
const LEAST_DEVIATION: f64 = 1e-7;

/// `(x - mean) / deviation`, with the mean and variance of the data that it was adapted to: Keras's `Normalization`. There is one of each
/// for every feature, the last axis of a sample, or for the [`axes`](Self::axes) that one names. Nothing is learnt: the numbers are
/// settings, written down with the model, and the same in training and prediction.
///
/// A feature that never changes becomes 0. The sums are in f64, batches joined by Chan's formula (1983), so that neither many samples
/// nor a mean far from 0 cost digits.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Dataset;
/// use wgrad::nn::Normalization;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[0.0f32, 700.0], [2.0, 900.0], [0.0, 700.0], [2.0, 900.0]], Device::Cpu)?;
/// let table = Dataset::from_tensors("table", &x, &Tensor::zeros([4, 1], Device::Cpu)?)?;
/// let normalise = Normalization::new().adapt(&table)?;
/// assert_eq!(normalise.mean(), [1.0, 800.0]);
///
/// let model = Sequential::new().add(normalise.clone()).add(Dense::new(1)).build([2], Device::Cpu)?; // saved with it
/// assert_eq!(model.output_shape(), [1]);
/// assert_eq!(normalise.apply(&x)?.to_vec::<f32>()?[..4], [-1.0, -1.0, 1.0, 1.0]); // or by itself
/// let back = normalise.invert(true).apply(&Tensor::new([[1.0f32, 2.0]], Device::Cpu)?)?;
/// assert_eq!(back.to_vec::<f32>()?, [2.0, 1000.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a layer that has no mean and variance yet, an axis that the sample lacks or whose size is open, and
/// numbers that are not one for each feature, or one for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Normalization {
    axes: Vec<isize>,
    invert: bool,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Default for Normalization {
    fn default() -> Normalization {
        Normalization::new()
    }
}

impl Normalization {
    /// One mean and variance for each feature, the last axis of a sample; [`adapt`](Self::adapt) finds them.
    pub fn new() -> Normalization {
        Normalization { axes: vec![-1], invert: false, mean: Vec::new(), variance: Vec::new() }
    }

    /// With these: one of each for every feature (of several axes in row-major order), or one for all.
    pub fn with_statistics(mean: &[f64], variance: &[f64]) -> Normalization {
        Normalization { mean: mean.to_vec(), variance: variance.to_vec(), ..Normalization::new() }
    }

    /// The axes of a sample (0 is the first after the batch, -1 the last) each of whose places has a mean and variance of its own; with
    /// none there is one for all.
    pub fn axes(mut self, axes: impl Into<Vec<isize>>) -> Normalization {
        self.axes = axes.into();
        self
    }

    /// Whether to do the opposite: `x * deviation + mean`, from what a model predicts to the numbers of the data.
    pub fn invert(mut self, invert: bool) -> Normalization {
        self.invert = invert;
        self
    }

    /// The means, in row-major order of the axes; empty before the layer was adapted.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The variances (divided by n), in row-major order of the axes; empty before the layer was adapted.
    pub fn variance(&self) -> &[f64] {
        &self.variance
    }

    /// With mean and variance of these features: a tensor `[samples, ..]`, or the first input of a
    /// [`Source`](crate::data::Source).
    ///
    /// # Errors
    ///
    /// There are no samples, or samples lack an axis or differ in size along it; an element is not finite; the data can't be read.
    pub fn adapt(mut self, data: &(impl FeatureBatches + ?Sized)) -> Result<Normalization> {
        let mut sums = Sums::default();
        each_of_finite(data, |dims, values| sums.add(&self.axes, dims, values))?;
        (self.mean, self.variance) = (sums.mean, sums.squares);
        self.variance.iter_mut().for_each(|v| *v /= sums.count);
        Ok(self)
    }

    /// The features `[n, ..]` by themselves, without a model: what [`Dataset::map_features`](crate::data::Dataset::map_features) takes.
    ///
    /// # Errors
    ///
    /// As [`build`](Layer::build).
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.module(x.dims().get(1..).unwrap_or_default(), x.device())?.forward(x, &Context::eval())
    }

    fn module(&self, sample: &[usize], device: Device) -> Result<NormalizationModule> {
        self.prepare(SampleShape::new(sample)?, device).map_err(|e| e.named("Normalization"))
    }

    fn prepare(&self, input: SampleShape, device: Device) -> Result<NormalizationModule> {
        const OP: &str = "build";
        let wrong = |message: String| Err(Error::argument(OP, message));
        if self.mean.is_empty() || self.mean.len() != self.variance.len() {
            return wrong(format!(
                "has {} means and {} variances; call adapt(&train) before the model is built, or give both",
                self.mean.len(),
                self.variance.len()
            ));
        }
        if let Some(v) = self.mean.iter().chain(&self.variance).find(|v| !v.is_finite()) {
            return wrong(format!("has {v} among mean and variance; expected finite numbers"));
        }
        if let Some(v) = self.variance.iter().find(|v| **v < 0.0) {
            return wrong(format!("has a variance of {v}; expected at least 0"));
        }
        let mut place = vec![1; input.rank()];
        for &axis in &self.axes {
            let d = input.axis(OP, axis)?;
            let message = || {
                format!("expects a size along axis {d}, got {input}; give it one, or leave it out of axes")
            };
            place[d] = input[d].ok_or_else(|| Error::shape(OP, message()))?;
        }
        Axes::from(&self.axes).mask(OP, Shape::from_dims(&place))?;
        let features: usize = place.iter().product();
        let place = match self.mean.len() {
            1 => vec![1; input.rank()],
            n if n == features => place,
            n => {
                let message = format!(
                    "has {n} means; samples {input} have {features} features along axes {:?}",
                    self.axes
                );
                return Err(Error::shape(OP, message));
            }
        };
        let deviation: Vec<f64> = self.variance.iter().map(|v| v.sqrt().max(LEAST_DEVIATION)).collect();
        Ok(NormalizationModule {
            mean: constant(&self.mean, &place, device)?,
            deviation: constant(&deviation, &place, device)?,
            invert: self.invert,
        })
    }
}

/// Of each feature, so far.
#[derive(Default)]
struct Sums {
    /// Elements of each feature.
    count: f64,
    mean: Vec<f64>,
    /// Squared distances from the mean, added up.
    squares: Vec<f64>,
    /// Sizes of the last batch without its samples, and of which feature each element of a sample is.
    sample: Vec<usize>,
    features: Vec<usize>,
}

impl Sums {
    fn add(&mut self, axes: &[isize], dims: &[usize], values: &[f64]) -> Result<()> {
        let sample = &dims[1..];
        if values.is_empty() {
            return Ok(());
        }
        if self.features.is_empty() || self.sample != sample {
            let (count, features) = features_of(axes, sample)?;
            if !self.mean.is_empty() && self.mean.len() != count {
                let message = format!(
                    "samples are {:?}, then {sample:?}: along axes {axes:?} they must be of one size",
                    self.sample
                );
                return Err(Error::shape("adapt", message));
            }
            (self.sample, self.features) = (sample.to_vec(), features);
            self.mean.resize(count, 0.0);
            self.squares.resize(count, 0.0);
        }
        let n = (values.len() / self.mean.len()) as f64;
        let each = |sums: &mut [f64], f: &dyn Fn(usize, f64) -> f64| {
            for sample in values.chunks_exact(self.features.len()) {
                for (&feature, &v) in self.features.iter().zip(sample) {
                    sums[feature] += f(feature, v);
                }
            }
        };
        let (mut mean, mut squares) = (vec![0.0; self.mean.len()], vec![0.0; self.mean.len()]);
        each(&mut mean, &|_, v| v);
        mean.iter_mut().for_each(|m| *m /= n);
        each(&mut squares, &|feature, v| (v - mean[feature]).powi(2));
        // Chan, Golub and LeVeque (1983).
        let total = self.count + n;
        for (k, (m, s)) in mean.iter().zip(&squares).enumerate() {
            let apart = m - self.mean[k];
            self.mean[k] += apart * (n / total);
            self.squares[k] += s + apart * apart * (self.count * n / total);
        }
        self.count = total;
        Ok(())
    }
}

/// How many features there are along axes of a sample, and which each of its elements is of.
fn features_of(axes: &[isize], sample: &[usize]) -> Result<(usize, Vec<usize>)> {
    let shape = Shape::new(sample)?;
    let mask = Axes::from(axes).mask("adapt", shape)?;
    let mut features = vec![0usize];
    let mut count = 1;
    // From the last axis to the first: what is before an axis repeats what was found.
    for d in (0..shape.rank()).rev() {
        let step = if mask[d] { count } else { 0 };
        features = (0..shape[d]).flat_map(|i| features.iter().map(move |f| f + i * step)).collect();
        count *= if mask[d] { shape[d] } else { 1 };
    }
    Ok((count, features))
}

impl Layer for Normalization {
    fn kind(&self) -> &'static str {
        "Normalization"
    }

    fn details(&self) -> String {
        if self.invert { "invert".into() } else { String::new() }
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        Ok(Built::new(self.prepare(input, cx.device())?, input))
    }
}

struct NormalizationModule {
    mean: Tensor,
    deviation: Tensor,
    invert: bool,
}

impl Module for NormalizationModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let x = as_float(x, cx)?;
        let (mean, deviation) = (self.mean.cast(x.dtype())?, self.deviation.cast(x.dtype())?);
        if self.invert { (x * deviation)? + mean } else { (x - mean)? / deviation }
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
