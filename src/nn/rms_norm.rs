//! Layers that divide by a size: RMSNorm and unit norm.

use super::affine::{Affine, AffineModule};
use super::{
    Build, Built, Constraint, Context, Initializer, Layer, Module, Parameters, Regularizer, SampleShape,
};
use crate::axes::Axes;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Root-mean-square normalisation (Zhang and Sennrich, 2019), Keras's `RMSNormalization` and PyTorch's `RMSNorm`: each `[.., features]`
/// is divided by the root of the mean of its squares, `x / sqrt(mean(x^2) + epsilon) * gamma`, with a `gamma` for each feature.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::RmsNorm;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(RmsNorm::new()).build((None, 2), Device::Cpu)?;
/// let y = model.infer(&Tensor::new([[[1.0f32, 7.0]]], Device::Cpu)?)?; // the mean of the squares is 25
/// wgrad::testing::assert_close(y, [0.2, 1.4], 1e-6, 0.0)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses samples without a known number of features, and an epsilon that is not above 0 and finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct RmsNorm {
    affine: Affine,
}

impl RmsNorm {
    /// Keras's settings: epsilon 0.000001, with `gamma`.
    pub fn new() -> RmsNorm {
        RmsNorm { affine: Affine { epsilon: 1e-6, center: false, ..Affine::default() } }
    }

    /// What is added to the mean of the squares, so that nothing is divided by zero: finite and above 0, or `build` fails.
    pub fn epsilon(mut self, epsilon: f64) -> RmsNorm {
        self.affine.epsilon = epsilon;
        self
    }

    /// Whether each feature is multiplied by a learnt `gamma`.
    pub fn scale(mut self, scale: bool) -> RmsNorm {
        self.affine.scale = scale;
        self
    }

    /// How the first values of `gamma` are drawn: ones where nothing else is said.
    pub fn gamma_initializer(mut self, initializer: Initializer) -> RmsNorm {
        self.affine.gamma_initializer = initializer;
        self
    }

    /// A penalty on the size of `gamma`, added to the loss.
    pub fn gamma_regularizer(mut self, regularizer: Regularizer) -> RmsNorm {
        self.affine.gamma_regularizer = Some(regularizer);
        self
    }

    /// What `gamma` is changed to after each update.
    pub fn gamma_constraint(mut self, constraint: Constraint) -> RmsNorm {
        self.affine.gamma_constraint = Some(constraint);
        self
    }

    /// Whether training changes `gamma`.
    pub fn trainable(mut self, trainable: bool) -> RmsNorm {
        self.affine.trainable = trainable;
        self
    }
}

impl Default for RmsNorm {
    fn default() -> RmsNorm {
        RmsNorm::new()
    }
}

impl Layer for RmsNorm {
    fn kind(&self) -> &'static str {
        "RmsNorm"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let features = cx.features(input)?;
        Ok(Built::new(RmsNormModule { affine: self.affine.build(cx, &[features])? }, input))
    }
}

struct RmsNormModule {
    affine: AffineModule,
}

impl Module for RmsNormModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        if x.numel() == 0 {
            return Ok(x.clone());
        }
        let square = x.square()?.mean(-1, true)?;
        self.affine.apply(x, None, &square, |t| Ok(t.clone()))
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.affine.visit(parameters);
    }
}

/// Gives what lies along some axes, the last where nothing else is said, a length of one: `x / sqrt(sum(x^2))`, Keras's
/// `UnitNormalization`. Zeros stay zeros; squares neither overflow nor vanish ([`norm`](Tensor::norm)).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::UnitNorm;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(UnitNorm::new()).build([2], Device::Cpu)?;
/// let y = model.infer(&Tensor::new([[3.0f32, 4.0], [0.0, 0.0]], Device::Cpu)?)?;
/// wgrad::testing::assert_close(y, [0.6, 0.8, 0.0, 0.0], 1e-6, 0.0)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses no axes, one that is given twice, or one that the sample lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct UnitNorm {
    axes: Vec<isize>,
}

impl UnitNorm {
    /// Along the last axis.
    pub fn new() -> UnitNorm {
        UnitNorm { axes: vec![-1] }
    }

    /// The axes of a sample (0 is the first after the batch, -1 the last) that have a length of one together.
    pub fn axes(mut self, axes: impl Into<Vec<isize>>) -> UnitNorm {
        self.axes = axes.into();
        self
    }
}

impl Default for UnitNorm {
    fn default() -> UnitNorm {
        UnitNorm::new()
    }
}

impl Layer for UnitNorm {
    fn kind(&self) -> &'static str {
        "UnitNorm"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        if self.axes.is_empty() {
            return Err(Error::argument("build", "expects at least one axis, got none; the default is [-1]"));
        }
        let mut axes = Vec::new();
        for &axis in &self.axes {
            let d = input.axis("build", axis)? as isize + 1;
            if axes.contains(&d) {
                return Err(Error::argument(
                    "build",
                    format!("axis {axis} is given twice in {:?}", self.axes),
                ));
            }
            axes.push(d);
        }
        Ok(Built::new(UnitNormModule { axes }, input))
    }
}

struct UnitNormModule {
    /// Of the batch.
    axes: Vec<isize>,
}

/// Keras's: lengths below it are divided by it.
const SMALLEST: f64 = 1e-12;

impl Module for UnitNormModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x / x.norm(Axes::from(&self.axes), true)?.maximum(SMALLEST)?
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
