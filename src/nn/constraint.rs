//! What weights have to be after every update.

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// Keras divides by norms that are larger by this (`keras.config.epsilon()`).
const EPSILON: f64 = 1e-7;

/// What a weight is changed to after each update, as Keras's constraints do it: every optimizer applies it in the same evaluation as
/// the update. Layers have methods for theirs (`kernel_constraint`), and [`constrain`](Self::constrain) gives one to any variable.
///
/// Norms go over the axes of the weight that [`axes`](Self::axes) gives, the first one where nothing is said: of a
/// [`Dense`](super::Dense) `[features, units]` that is a norm for each unit. The filters of a [`Conv2d`](super::Conv2d) have theirs with
/// `[0, 1, 2]`. First values are not changed; averages ([`ema`](crate::optim::Adam::ema)) are of the values before, as in Keras.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Constraint;
/// # fn main() -> Result<()> {
/// let w = Tensor::new([[3.0f32, 0.3], [4.0, -0.4]], Device::Cpu)?;
/// let columns = Constraint::max_norm(1.0).apply(&w)?; // the first has norm 5, the second 0.5
/// wgrad::testing::assert_close(columns, Tensor::new([[0.6f32, 0.3], [0.8, -0.4]], Device::Cpu)?, 1e-5, 0.0)?;
/// assert_eq!(Constraint::non_neg().apply(&w)?.to_vec::<f32>()?, [3.0, 0.3, 4.0, 0.0]);
///
/// let layer = Dense::new(8).kernel_constraint(Constraint::unit_norm()).bias_constraint(Constraint::non_neg());
/// let model = Sequential::new().add(layer).build([4], Device::Cpu)?;
/// assert!(model.parameters()[0].variable.is_constrained());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The weight lacks an axis, or one is given twice; a norm is negative or not a number, the smallest larger than the largest, or
/// the rate not within 0 to 1. Building a layer tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Constraint {
    kind: Kind,
    #[serde(default = "first_axis")]
    axes: Vec<isize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    NonNeg,
    UnitNorm,
    MaxNorm(f64),
    MinMaxNorm { min: f64, max: f64, rate: f64 },
}

fn first_axis() -> Vec<isize> {
    vec![0]
}

impl Constraint {
    fn of(kind: Kind) -> Constraint {
        Constraint { kind, axes: first_axis() }
    }

    /// `w * min(norm, max) / (norm + 1e-7)`: no norm is larger than `max` (`keras.constraints.MaxNorm`).
    pub fn max_norm(max: f64) -> Constraint {
        Constraint::of(Kind::MaxNorm(max))
    }

    /// `w / (norm + 1e-7)`: every norm is 1 (`keras.constraints.UnitNorm`). What is all zero stays so.
    pub fn unit_norm() -> Constraint {
        Constraint::of(Kind::UnitNorm)
    }

    /// `max(w, 0)`: nothing is negative (`keras.constraints.NonNeg`).
    pub fn non_neg() -> Constraint {
        Constraint::of(Kind::NonNeg)
    }

    /// `w * clamp(norm, min, max) / (norm + 1e-7)`: norms are within a range (`keras.constraints.MinMaxNorm`).
    pub fn min_max_norm(min: f64, max: f64) -> Constraint {
        Constraint::of(Kind::MinMaxNorm { min, max, rate: 1.0 })
    }

    /// How far each update goes from the norm to what [`min_max_norm`](Self::min_max_norm) makes of it: 1 is all the way. The others go
    /// all the way.
    pub fn rate(mut self, rate: f64) -> Constraint {
        if let Kind::MinMaxNorm { min, max, .. } = self.kind {
            self.kind = Kind::MinMaxNorm { min, max, rate };
        }
        self
    }

    /// The axes of the weight that norms go over, -1 being the last.
    pub fn axes(mut self, axes: impl Into<Vec<isize>>) -> Constraint {
        self.axes = axes.into();
        self
    }

    /// What it makes of `w`, a tensor of floats of any shape.
    ///
    /// # Errors
    ///
    /// Those of the type; or `w` is none of floats.
    pub fn apply(&self, w: &Tensor) -> Result<Tensor> {
        self.check(w.shape())?;
        if self.kind == Kind::NonNeg {
            return w.maximum(0.0);
        }
        let norms = w.square()?.sum(&*self.axes, true)?.sqrt()?;
        let wanted = match self.kind {
            Kind::MaxNorm(max) => norms.minimum(max)?,
            Kind::MinMaxNorm { min, max, rate } => {
                let clamped = norms.clamp(min, max)?;
                if rate == 1.0 { clamped } else { ((clamped * rate)? + (&norms * (1.0 - rate))?)? }
            }
            Kind::UnitNorm | Kind::NonNeg => return w / (norms + EPSILON)?,
        };
        w * (wanted / (norms + EPSILON)?)?
    }

    /// Has every optimizer apply it to a variable after each update, in place of what was applied before.
    ///
    /// # Errors
    ///
    /// Those of the type.
    pub fn constrain(&self, variable: &Variable) -> Result<()> {
        self.check(variable.shape())?;
        let constraint = self.clone();
        variable.constrain(move |w| constraint.apply(w));
        Ok(())
    }

    fn check(&self, shape: Shape) -> Result<()> {
        const OP: &str = "Constraint";
        let norm = |what: &str, norm: f64| {
            if norm >= 0.0 {
                return Ok(());
            }
            Err(Error::argument(OP, format!("the {what} norm is {norm}; expected 0 or more")))
        };
        match self.kind {
            Kind::NonNeg => return Ok(()),
            Kind::UnitNorm => {}
            Kind::MaxNorm(max) => norm("largest", max)?,
            Kind::MinMaxNorm { min, max, rate } => {
                norm("smallest", min)?;
                norm("largest", max)?;
                if min > max {
                    let message = format!("the smallest norm, {min}, is larger than the largest, {max}");
                    return Err(Error::argument(OP, message));
                }
                if !(0.0..=1.0).contains(&rate) {
                    return Err(Error::argument(OP, format!("the rate is {rate}; expected 0 to 1")));
                }
            }
        }
        crate::axes::Axes::from(&*self.axes).mask(OP, shape).map(|_| ())
    }
}

/// A variable that is trained, and constrained, as is wanted.
pub(super) fn settled(
    variable: Variable,
    trainable: bool,
    constraint: &Option<Constraint>,
) -> Result<Variable> {
    variable.set_trainable(trainable)?;
    if let Some(constraint) = constraint {
        constraint.constrain(&variable)?;
    }
    Ok(variable)
}
