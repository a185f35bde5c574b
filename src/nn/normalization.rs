//! Layers that give their input a mean of zero and a variance of one: over the batch, over features, over groups.

use super::affine::{Affine, AffineModule, affine_methods};
use super::{Build, Built, Context, Initializer, Layer, Module, Parameters, Regularizer, SampleShape};
use crate::axes::Axes;
use crate::backend::eval;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::moments::{Moments, moments};
use crate::shape::Shape;
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Batch normalisation (Ioffe and Szegedy, 2015), for samples `[features]` or `[.., channels]`: each feature, or channel, gets
/// mean zero and variance one over the batch (and all places of an image), then `gamma * x + beta`.
///
/// A training pass uses the batch's own mean and variance, and moves `moving_mean` and `moving_variance` towards them:
/// `moving = momentum * moving + (1 - momentum) * batch`. A pass that predicts uses the moving ones, and so does a training
/// pass of a frozen layer, one whose `gamma` and `beta` are not trainable, as in Keras; without either only
/// [`trainable(false)`](Self::trainable) freezes it. Both variances are biased (divided by n) as in Keras; PyTorch's
/// `running_var` is unbiased, and its momentum is 1 minus this one.
///
/// The moving averages are computed along with the step by [`Trainer`](crate::train::Trainer). In a loop of your own evaluate
/// [`Context::take_also_compute`] together with the step.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{BatchNorm, Context};
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(BatchNorm::new().momentum(0.5)).build([1], Device::Cpu)?;
/// let x = Tensor::new([[1.0f32], [3.0]], Device::Cpu)?;
/// let y = model.forward(&x, &Context::train(0))?.to_vec::<f32>()?;
/// assert!((y[0] + 0.9995).abs() < 1e-4 && (y[1] - 0.9995).abs() < 1e-4);
/// let mean = model.parameter("batchnorm.moving_mean")?.variable.value();
/// assert_eq!(mean.item::<f32>()?, 1.0); // 0.5 * 0 + 0.5 * 2
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct BatchNorm {
    momentum: f64,
    affine: Affine,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    synchronized: bool,
}

impl BatchNorm {
    /// Keras's settings: momentum 0.99, epsilon 0.001, with `gamma` and `beta`.
    pub fn new() -> BatchNorm {
        BatchNorm { momentum: 0.99, affine: Affine::default(), synchronized: false }
    }

    /// The share of the old value that a moving average keeps at each step: from 0 to 1, or `build` fails.
    pub fn momentum(mut self, momentum: f64) -> BatchNorm {
        self.momentum = momentum;
        self
    }

    /// Whether a training pass that several ranks [share](crate::distributed) uses mean and variance of the whole batch, each rank's samples
    /// counted alike, rather than those of each shard (PyTorch's `SyncBatchNorm`). The same as without it where there is one process.
    ///
    /// All ranks wait for each other in the layer, once forward and once backward: worth it where a shard has too few samples for
    /// statistics. Needs as many [shards](crate::train::Fit::shards) as ranks, or the pass fails. In a loop of one's own,
    /// [`Context::distributed`] says who the others are.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::BatchNorm;
    /// # fn main() -> Result<()> {
    /// let norm = BatchNorm::new().synchronized(true);
    /// let model = Sequential::new().add(Conv2d::new(8, [3, 3]).bias(false)).add(norm).build([28, 28, 1], Device::Cpu)?;
    /// println!("{}", model.summary());
    /// # Ok(()) }
    /// ```
    pub fn synchronized(mut self, synchronized: bool) -> BatchNorm {
        self.synchronized = synchronized;
        self
    }
}

impl Default for BatchNorm {
    fn default() -> BatchNorm {
        BatchNorm::new()
    }
}

affine_methods!(BatchNorm);

impl Layer for BatchNorm {
    fn kind(&self) -> &'static str {
        "BatchNorm"
    }

    fn details(&self) -> String {
        if self.synchronized { "synchronized".into() } else { String::new() }
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        if !(0.0..=1.0).contains(&self.momentum) {
            let message = format!("expects a momentum from 0 to 1, got {}", self.momentum);
            return Err(Error::argument("build", message));
        }
        let features = cx.features(input)?;
        let affine = self.affine.build(cx, &[features])?;
        let buffer = |variable: Variable| -> Result<Variable> {
            variable.set_trainable(false)?;
            Ok(variable)
        };
        let module = BatchNormModule {
            affine,
            momentum: self.momentum,
            synchronized: self.synchronized,
            mean: buffer(cx.full([features], 0.0)?)?,
            variance: buffer(cx.full([features], 1.0)?)?,
            unread: AtomicU32::new(0),
        };
        Ok(Built::new(module, input))
    }
}

struct BatchNormModule {
    affine: AffineModule,
    momentum: f64,
    synchronized: bool,
    mean: Variable,
    variance: Variable,
    /// Training passes in a row that found the moving averages not computed yet.
    unread: AtomicU32,
}

/// So many training passes may wait for their moving averages to be computed. More than one: a layer can be used twice in
/// a step.
const MOST_UNREAD: u32 = 8;

impl BatchNormModule {
    /// What the batch is normalised by; `None` where it is the moving averages.
    fn of_batch(&self, x: &Tensor, cx: &Context) -> Result<Option<Moments>> {
        if !cx.is_training() || self.affine.is_frozen() {
            return Ok(None);
        }
        let shared = cx.shared().filter(|_| self.synchronized);
        if let Some(batch) =
            shared.map(|batch| batch.at_once("BatchNorm::synchronized")).transpose()?.flatten()
        {
            return batch.moments(x);
        }
        if x.numel() == 0 {
            return Ok(None);
        }
        moments(x, &std::array::from_fn(|d| d + 1 < x.rank())).map(Some)
    }

    /// Moves the moving averages, lazily.
    fn update(&self, batch: &Moments, cx: &Context) -> Result<()> {
        no_grad(|| {
            for (moving, batch) in [(&self.mean, &batch.mean), (&self.variance, &batch.variance)] {
                let old = moving.value();
                let batch = batch.detach()?.reshape(old.shape())?;
                // From the side that has the larger share: where both are equal, so is the average, exactly.
                let (from, to, share) = match cx.kept_share(self.momentum) {
                    m if m < 0.5 => (&batch, &old, m),
                    m => (&old, &batch, 1.0 - m),
                };
                moving.set(from + ((to - from)? * share)?)?;
                cx.also_compute(moving.value());
            }
            Ok(())
        })
    }

    /// A loop that never evaluates the moving averages must not keep the graphs of all its steps alive.
    fn settle(&self) -> Result<()> {
        let (mean, variance) = (self.mean.value(), self.variance.value());
        if mean.0.has_value() && variance.0.has_value() {
            self.unread.store(0, Relaxed);
        } else if self.unread.fetch_add(1, Relaxed) + 1 >= MOST_UNREAD {
            self.unread.store(0, Relaxed);
            eval(&[&mean, &variance])?;
        }
        Ok(())
    }
}

impl Module for BatchNormModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        match self.of_batch(x, cx)? {
            Some(batch) => {
                self.settle()?;
                self.update(&batch, cx)?;
                let offset = Some(&batch.offset);
                self.affine.apply(&batch.centered, offset, &batch.variance, |t| Ok(t.clone()))
            }
            None => {
                let centered = (x - &self.mean)?;
                self.affine.apply(&centered, None, &self.variance.value(), |t| Ok(t.clone()))
            }
        }
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.affine.visit(parameters);
        parameters.buffer("moving_mean", &self.mean);
        parameters.buffer("moving_variance", &self.variance);
    }
}

/// Layer normalisation (Ba et al., 2016): each sample gets mean zero and variance one over some axes, the last where nothing
/// else is said, then `gamma * x + beta` with one of each for every element of these axes. The same in training and
/// predicting.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::LayerNorm;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(LayerNorm::new().epsilon(1e-6)).build([2], Device::Cpu)?;
/// let y = model.infer(&Tensor::new([[1.0f32, 3.0], [10.0, 30.0]], Device::Cpu)?)?.to_vec::<f32>()?;
/// assert!(y.iter().zip([-1.0, 1.0, -1.0, 1.0]).all(|(y, e)| (y - e).abs() < 1e-5));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct LayerNorm {
    axes: Vec<isize>,
    affine: Affine,
}

impl LayerNorm {
    /// Keras's settings: the last axis, epsilon 0.001, with `gamma` and `beta`.
    pub fn new() -> LayerNorm {
        LayerNorm { axes: vec![-1], affine: Affine::default() }
    }

    /// The axes of a sample (0 is the first after the batch, -1 the last) that are normalised together. `build` fails where there
    /// are none, one is given twice, or the sample lacks one.
    pub fn axes(mut self, axes: impl Into<Vec<isize>>) -> LayerNorm {
        self.axes = axes.into();
        self
    }
}

impl Default for LayerNorm {
    fn default() -> LayerNorm {
        LayerNorm::new()
    }
}

affine_methods!(LayerNorm);

impl Layer for LayerNorm {
    fn kind(&self) -> &'static str {
        "LayerNorm"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        if self.axes.is_empty() {
            return Err(Error::argument("build", "expects at least one axis, got none; the default is [-1]"));
        }
        let mut place = vec![1; input.rank()];
        for &axis in &self.axes {
            let d = input.axis("build", axis)?;
            let message = || {
                format!("expects a size along axis {d}, got {input}; give it one, or leave it out of axes")
            };
            place[d] = input[d].ok_or_else(|| Error::shape("build", message()))?;
        }
        let mask = Axes::from(&self.axes).mask("build", Shape::from_dims(&place))?;
        let axes: Vec<usize> = (0..input.rank()).filter(|&d| mask[d]).collect();
        let sizes: Vec<usize> = axes.iter().map(|&d| place[d]).collect();
        let affine = self.affine.build(cx, &sizes)?;
        let axes = axes.into_iter().map(|d| d as isize + 1).collect();
        Ok(Built::new(LayerNormModule { affine, axes, place }, input))
    }
}

struct LayerNormModule {
    affine: AffineModule,
    /// Of the batch.
    axes: Vec<isize>,
    /// Shape of gamma and beta beside a sample.
    place: Vec<usize>,
}

impl Module for LayerNormModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        if x.numel() == 0 {
            return Ok(x.clone());
        }
        let m = moments(x, &Axes::from(&self.axes).mask("LayerNorm", x.shape())?)?;
        self.affine.apply(&m.centered, Some(&m.offset), &m.variance, |t| t.reshape(&self.place))
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.affine.visit(parameters);
    }
}

/// Group normalisation (Wu and He, 2018): the channels of `[.., channels]` are split into groups, and each group of a sample
/// gets mean zero and variance one over its channels and all places, then `gamma * x + beta` for each channel. One group is
/// like layer normalisation over all axes, as many groups as channels are instance normalisation.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::GroupNorm;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(GroupNorm::new(4)).build([8, 8, 16], Device::Cpu)?;
/// assert_eq!(model.parameter("groupnorm.gamma")?.variable.shape(), [16]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct GroupNorm {
    groups: usize,
    affine: Affine,
}

impl GroupNorm {
    /// This many groups (Keras's own are 32), or `build` fails where they don't divide the channels; epsilon 0.001, with `gamma`
    /// and `beta`.
    pub fn new(groups: usize) -> GroupNorm {
        GroupNorm { groups, affine: Affine::default() }
    }
}

affine_methods!(GroupNorm);

impl Layer for GroupNorm {
    fn kind(&self) -> &'static str {
        "GroupNorm"
    }

    fn details(&self) -> String {
        format!("{} groups", self.groups)
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let channels = cx.features(input)?;
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let message = format!(
                "expects channels in a multiple of {} groups, got {channels}; change the groups",
                self.groups
            );
            return Err(Error::argument("build", message));
        }
        let affine = self.affine.build(cx, &[channels])?;
        Ok(Built::new(GroupNormModule { affine, groups: self.groups }, input))
    }
}

/// Instance normalisation (Ulyanov et al., 2016): each channel of a sample `[.., channels]` gets mean zero and variance one over all
/// its places, then `gamma * x + beta` for each channel: [`GroupNorm`] with a group for each channel. (PyTorch's has no `gamma` and `beta`
/// where nothing is said.)
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::InstanceNorm;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(InstanceNorm::new().epsilon(1e-6)).build((None, 1), Device::Cpu)?;
/// let y = model.infer(&Tensor::new([[[1.0f32], [3.0]], [[10.0], [30.0]]], Device::Cpu)?)?;
/// wgrad::testing::assert_close(y, [-1.0, 1.0, -1.0, 1.0], 1e-5, 0.0)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses samples without places or a known number of channels, and an epsilon that is not above 0 and finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct InstanceNorm {
    affine: Affine,
}

impl InstanceNorm {
    /// Epsilon 0.001, with `gamma` and `beta`.
    pub fn new() -> InstanceNorm {
        InstanceNorm { affine: Affine::default() }
    }
}

impl Default for InstanceNorm {
    fn default() -> InstanceNorm {
        InstanceNorm::new()
    }
}

affine_methods!(InstanceNorm);

impl Layer for InstanceNorm {
    fn kind(&self) -> &'static str {
        "InstanceNorm"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let channels = cx.features(input)?;
        if input.rank() < 2 {
            let message = format!(
                "expects [.., channels] with places before the channels, got {input}; LayerNorm has features alone"
            );
            return Err(Error::shape("build", message));
        }
        if channels == 0 {
            return Err(Error::shape("build", format!("expects at least one channel, got {input}")));
        }
        let affine = self.affine.build(cx, &[channels])?;
        Ok(Built::new(GroupNormModule { affine, groups: channels }, input))
    }
}

struct GroupNormModule {
    affine: AffineModule,
    groups: usize,
}

impl Module for GroupNormModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let (n, channels) = match x.dims() {
            [n, .., channels] if x.numel() > 0 => (*n, *channels),
            _ => return Ok(x.clone()),
        };
        let per_group = channels / self.groups;
        let apart = x.reshape([n, x.numel() / (n * channels), self.groups, per_group])?;
        let m = moments(&apart, &Axes::from([1, 3]).mask("GroupNorm", apart.shape())?)?;
        let place = |t: &Tensor| t.reshape([self.groups, per_group]);
        self.affine.apply(&m.centered, Some(&m.offset), &m.variance, place)?.reshape(x.shape())
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.affine.visit(parameters);
    }
}

#[cfg(test)]
mod over_ranks;
#[cfg(test)]
mod tests;
