//! A layer for every step.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::layer::wrapped;
use crate::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::tensor::Tensor;
use serde_json::{Value, json};

/// A layer applied to every step of a sequence, with the same weights: `[time, ..]` to `[time, ..]`. Its parameters have the names
/// that the layer gives them. (Layers that only look at the last axis, such as [`Dense`](crate::nn::Dense), take sequences as they
/// are.)
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{GlobalAvgPool2d, Lstm, TimeDistributed};
/// # fn main() -> Result<()> {
/// // Films of any length: each picture becomes a vector, then they are read in turn.
/// let model = Sequential::new()
///     .add(TimeDistributed::new(Conv2d::new(4, [3, 3])))
///     .add(TimeDistributed::new(GlobalAvgPool2d::new()))
///     .add(Lstm::new(8))
///     .build((None, 16, 16, 3), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([2, 5, 16, 16, 3], Device::Cpu)?)?.shape(), [2, 8]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a sample without dimensions, and what the layer refuses.
#[must_use]
pub struct TimeDistributed {
    layer: Box<dyn Layer>,
}

impl TimeDistributed {
    /// This layer for every step.
    pub fn new(layer: impl Layer + 'static) -> TimeDistributed {
        TimeDistributed { layer: Box::new(layer) }
    }

    /// What [`Layer::config`] wrote down.
    pub(in crate::nn) fn from_config(
        config: &Value,
        make: impl Fn(&str, &Value) -> Result<Box<dyn Layer>>,
    ) -> Result<TimeDistributed> {
        Ok(TimeDistributed { layer: wrapped("TimeDistributed", config, make)? })
    }
}

impl Layer for TimeDistributed {
    fn kind(&self) -> &'static str {
        "TimeDistributed"
    }

    fn details(&self) -> String {
        format!("{} {}", self.layer.kind(), self.layer.details()).trim_end().into()
    }

    fn config(&self) -> Result<Config> {
        Ok(Config(json!({ "kind": self.layer.kind(), "config": self.layer.config()? })))
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let Some((time, step)) = input.split_first() else {
            let message = "expects [time, ..], got []; add Reshape::new([INFER, 1]) before it";
            return Err(Error::shape("build", message));
        };
        let built = self.layer.build(SampleShape::new(step)?, cx)?;
        let output = SampleShape::new([&[*time], &*built.output].concat())?;
        Ok(Built::new(TimeDistributedModule { module: built.module }, output))
    }
}

struct TimeDistributedModule {
    module: Box<dyn Module>,
}

impl Module for TimeDistributedModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let [n, time, step @ ..] = x.dims() else {
            let message = format!("expects [batch, time, ..], got {}", x.shape());
            return Err(Error::shape("TimeDistributed", message));
        };
        let y = self.module.forward(&x.reshape([&[n * time], step].concat())?, cx)?;
        y.reshape([&[*n, *time], y.dims().get(1..).unwrap_or_default()].concat())
    }

    fn takes_integers(&self) -> bool {
        self.module.takes_integers()
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.module.visit(parameters);
    }
}
