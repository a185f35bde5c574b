//! Numbers by the bins that they are in.

use super::FeatureBatches;
use super::features::{as_float, constant, each_of_finite};
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape, floats_as};
use crate::tensor::Tensor;
use crate::text::{OutputMode, encode, encoded_shape};
use serde::{Deserialize, Serialize};

/// The bin of each number: Keras's `Discretization`. Bin i holds what is from boundary i - 1 up to, but without, boundary i; the first
/// and the last are open. NaN is in the last. The boundaries are one list for all features: give each column a layer of its own where
/// they differ.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Discretization;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[-1.5f32, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]], Device::Cpu)?;
/// let bins = Discretization::with_boundaries(&[0.0, 1.0, 2.0]);
/// assert_eq!(bins.apply(&x)?.to_vec::<u32>()?, [0, 2, 3, 1, 1, 3, 2, 1]);
/// let quartiles = Discretization::new(4).adapt(&x)?;
/// assert_eq!(quartiles.apply(&x)?.to_vec::<u32>()?, [0, 2, 3, 2, 1, 3, 3, 1]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a layer without boundaries, boundaries that don't ascend, and the mode `TfIdf`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Discretization {
    bins: Option<usize>,
    /// None before it was adapted; few data may have fewer than there are bins for, or none.
    boundaries: Option<Vec<f64>>,
    epsilon: f64,
    output: OutputMode,
}

impl Discretization {
    /// So many bins with about as much data in each: [`adapt`](Self::adapt) finds the boundaries.
    pub fn new(bins: usize) -> Discretization {
        Discretization { bins: Some(bins), boundaries: None, epsilon: 0.01, output: OutputMode::Int }
    }

    /// Between these, in ascending order: one bin more than boundaries.
    pub fn with_boundaries(boundaries: &[f64]) -> Discretization {
        Discretization { bins: None, boundaries: Some(boundaries.to_vec()), ..Discretization::new(0) }
    }

    /// How exact the quantiles are: a summary of `1 / epsilon` values is kept of the data, 0.01 where nothing is said.
    pub fn epsilon(mut self, epsilon: f64) -> Discretization {
        self.epsilon = epsilon;
        self
    }

    /// What numbers become: their bins, u32, where nothing else is said.
    pub fn output(mut self, mode: OutputMode) -> Discretization {
        self.output = mode;
        self
    }

    /// The boundaries between the bins; empty before the layer was adapted.
    pub fn boundaries(&self) -> &[f64] {
        self.boundaries.as_deref().unwrap_or_default()
    }

    /// With boundaries at quantiles of these features, all elements together: a tensor `[samples, ..]`, or the first input of a
    /// [`Source`](crate::data::Source). They are Keras's: interpolated in a summary of the data, which batches are merged into.
    ///
    /// # Errors
    ///
    /// The boundaries were given; the number of bins is 0, or epsilon not between 0 and 1; there are no samples; an element is not finite.
    pub fn adapt(mut self, data: &(impl FeatureBatches + ?Sized)) -> Result<Discretization> {
        const OP: &str = "Discretization::adapt";
        let Some(bins) = self.bins else {
            return Err(Error::argument(
                OP,
                "boundaries were given; use Discretization::new(bins) to have them found",
            ));
        };
        if bins == 0 || bins > 1 << 24 || !(1e-7..1.0).contains(&self.epsilon) {
            let message = format!(
                "{bins} bins and an epsilon of {}; expected 1 to 16,777,216 bins, and 0.0000001 to 1",
                self.epsilon
            );
            return Err(Error::argument(OP, message));
        }
        let mut summary = Summary::default();
        each_of_finite(data, |_, values| {
            summary = Summary::of(values, self.epsilon).merged(&summary).compressed(self.epsilon);
            Ok(())
        })?;
        let mut points = summary.compressed(1.0 / bins as f64).points;
        points.pop();
        self.boundaries = Some(points.into_iter().map(|(value, _)| value).collect());
        Ok(self)
    }

    /// The features `[n, ..]` by themselves, without a model: what [`Dataset::map_features`](crate::data::Dataset::map_features) takes.
    ///
    /// # Errors
    ///
    /// As [`build`](Layer::build).
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let alone = x.rank() > 1 && x.dims().last() == Some(&1);
        let module = self.module(x.device(), alone).map_err(|e| e.named("Discretization"))?;
        module.forward(x, &Context::eval())
    }

    fn module(&self, device: Device, alone: bool) -> Result<DiscretizationModule> {
        let wrong = |message: String| Err(Error::argument("build", message));
        let Some(boundaries) = &self.boundaries else {
            return wrong(
                "has no boundaries; call adapt(&train) before the model is built, or give them".into(),
            );
        };
        let ascend = boundaries.windows(2).all(|w| w[0] <= w[1]);
        if !ascend || boundaries.iter().any(|b| !b.is_finite()) {
            return wrong(format!("boundaries {boundaries:?} are not finite and in ascending order"));
        }
        if self.output == OutputMode::TfIdf {
            return wrong("bins have no tf_idf; use count".into());
        }
        let boundaries = constant(boundaries, &[boundaries.len()], device)?;
        Ok(DiscretizationModule { boundaries, alone, output: self.output })
    }
}

/// A sample of data: values in ascending order, each with the number of elements that it stands for (`keras.layers.Discretization`).
#[derive(Clone, Default)]
struct Summary {
    points: Vec<(f64, f64)>,
}

impl Summary {
    fn of(values: &[f64], epsilon: f64) -> Summary {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let step = (sorted.len() as f64 * epsilon).max(1.0);
        let taken = sorted.iter().skip((step - 1.0) as usize).step_by(step as usize);
        Summary { points: taken.map(|&v| (v, step)).collect() }
    }

    fn merged(mut self, other: &Summary) -> Summary {
        self.points.extend(&other.points);
        self.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        self
    }

    /// Values at equal distances of the cumulated weight, interpolated.
    fn compressed(self, epsilon: f64) -> Summary {
        if (self.points.len() as f64) * epsilon < 1.0 {
            return self;
        }
        let cumulated: Vec<f64> = self
            .points
            .iter()
            .scan(0.0, |sum, (_, weight)| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let whole = cumulated.last().copied().unwrap_or(1.0);
        let mut points = Vec::new();
        let mut before = 0.0;
        for i in 0..(1.0 / epsilon).ceil() as usize {
            let share = (epsilon + i as f64 * epsilon) * whole;
            let above = cumulated.partition_point(|&c| c <= share);
            let (value, weight) = match above {
                0 => (self.points[0].0, cumulated[0]),
                n if n == cumulated.len() => (self.points[n - 1].0, whole),
                n => {
                    let part = (share - cumulated[n - 1]) / (cumulated[n] - cumulated[n - 1]);
                    let between = |a: f64, b: f64| a + (b - a) * part;
                    (between(self.points[n - 1].0, self.points[n].0), between(cumulated[n - 1], cumulated[n]))
                }
            };
            points.push((value, weight - before));
            before = weight;
        }
        Summary { points }
    }
}

impl Layer for Discretization {
    fn kind(&self) -> &'static str {
        "Discretization"
    }

    fn details(&self) -> String {
        format!("{} bins, {}", self.boundaries().len() + 1, self.output.name())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let alone = input.last() == Some(&Some(1));
        let module = self.module(cx.device(), alone)?;
        Ok(Built::new(module, encoded_sample(input, alone, self.output, self.boundaries().len() + 1)?))
    }
}

/// Of a sample of numbers, the sample that encoding them gives.
pub(super) fn encoded_sample(
    input: SampleShape,
    alone: bool,
    output: OutputMode,
    depth: usize,
) -> Result<SampleShape> {
    let batch: Vec<Option<usize>> = [None].into_iter().chain(input.iter().copied()).collect();
    SampleShape::new(&encoded_shape(&batch, alone, output, Some(depth))[1..])
}

struct DiscretizationModule {
    boundaries: Tensor,
    alone: bool,
    output: OutputMode,
}

impl Module for DiscretizationModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let x = as_float(x, cx)?;
        let bins = self.boundaries.cast(x.dtype())?.searchsorted(&x, true)?;
        let y = encode(&bins, self.alone, self.output, self.boundaries.numel() + 1, None)?;
        floats_as(&y, x.dtype())
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
