//! Clipping of gradients, as functions of [`Gradients`] for loops of one's own.
//!
//! Optimizers do the same by themselves where they are told to, with fewer kernels: [`clip_value`](super::Adam::clip_value),
//! [`clip_norm`](super::Adam::clip_norm), [`global_clip_norm`](super::Adam::global_clip_norm). Nothing is read back, and
//! nothing is computed before the optimizer steps.
//!
//! ```
//! # use wgrad::prelude::*;
//! use wgrad::optim::clip;
//! # fn main() -> Result<()> {
//! let w = Variable::new(Tensor::new([3.0f32, 4.0], Device::Cpu)?);
//! let grads = w.value().square()?.sum(.., false)?.backward()?;
//! let (grads, norm) = clip::by_global_norm(grads, 5.0)?;
//! assert_eq!(norm.item::<f32>()?, 10.0);
//! assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [3.0, 4.0]);
//! # Ok(()) }
//! ```

use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use serde::{Deserialize, Serialize};

/// How an optimizer clips gradients before it uses them; Keras's formulas. Limits are finite and above 0.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::optim::Clip;
/// # fn main() -> Result<()> {
/// let w = Variable::new(Tensor::new([0.0f32, 0.0], Device::Cpu)?);
/// let mut sgd = Sgd::new(1.0).clip(Clip::Norm(5.0));
/// sgd.step(&(w.value() * Tensor::new([6.0f32, 8.0], Device::Cpu)?)?.sum(.., false)?.backward()?)?;
/// assert_eq!(w.value().to_vec::<f32>()?, [-3.0, -4.0]); // the gradient's norm was 10
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Clip {
    /// Each element to `-limit..=limit` (Keras's `clipvalue`).
    Value(f64),
    /// Each variable's gradient so that its L2 norm is at most this: `g * limit / max(norm, limit)` (`clipnorm`).
    Norm(f64),
    /// All gradients by one factor, so that the norm of them together is at most this: `g * limit / max(norm, limit)`
    /// (`global_clipnorm`).
    GlobalNorm(f64),
}

impl Clip {
    pub(super) fn check(self, op: &str) -> Result<()> {
        let (Clip::Value(limit) | Clip::Norm(limit) | Clip::GlobalNorm(limit)) = self;
        check_limit(op, limit)
    }
}

fn check_limit(op: &str, limit: f64) -> Result<()> {
    if limit > 0.0 && limit.is_finite() {
        return Ok(());
    }
    Err(Error::argument(op, format!("gradients can't be clipped to {limit}; give a limit above 0")))
}

/// What gradients of this norm are multiplied by.
pub(super) fn scale(norm: &Tensor, limit: f64) -> Result<Tensor> {
    limit / norm.maximum(limit)?
}

/// As [`scale`], and NaN where the norm is not finite: all variables then show what has happened to one of them.
pub(super) fn global_scale(norm: &Tensor, limit: f64) -> Result<Tensor> {
    scale(norm, limit)? + (norm * 0.0)?
}

fn map(mut grads: Gradients, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Gradients> {
    no_grad(|| {
        for (variable, grad) in grads.variables() {
            grads.insert(&variable, f(&grad)?)?;
        }
        Ok(grads)
    })
}

/// Clips each element of the variables' gradients to `-limit..=limit`.
///
/// # Errors
///
/// The limit is not above 0.
pub fn by_value(grads: Gradients, limit: f64) -> Result<Gradients> {
    check_limit("clip::by_value", limit)?;
    map(grads, |g| g.clamp(-limit, limit))
}

/// Scales each variable's gradient down so that its L2 norm is at most `limit` (`tf.clip_by_norm`).
///
/// # Errors
///
/// The limit is not above 0.
pub fn by_norm(grads: Gradients, limit: f64) -> Result<Gradients> {
    check_limit("clip::by_norm", limit)?;
    map(grads, |g| g * scale(&g.square()?.sum(.., false)?.sqrt()?, limit)?)
}

/// Scales all variables' gradients by one factor so that the L2 norm of them together is at most `limit`; gives also the
/// norm before that, a scalar (`tf.clip_by_global_norm`). Where the norm is not finite, all gradients
/// become NaN, on devices that keep to IEEE 754.
///
/// # Errors
///
/// The limit is not above 0, or there are no gradients.
pub fn by_global_norm(grads: Gradients, limit: f64) -> Result<(Gradients, Tensor)> {
    check_limit("clip::by_global_norm", limit)?;
    let norm = global_norm(&grads)?;
    let grads = map(grads, |g| {
        let norm = norm.to_device(g.device())?.cast(g.dtype())?;
        g * global_scale(&norm, limit)?
    })?;
    Ok((grads, norm))
}

/// The L2 norm of all variables' gradients together, a scalar (`tf.linalg.global_norm`).
///
/// # Errors
///
/// There are no gradients.
pub fn global_norm(grads: &Gradients) -> Result<Tensor> {
    no_grad(|| {
        let mut sum: Option<Tensor> = None;
        for (_, g) in grads.variables() {
            let squares = g.square()?.sum(.., false)?;
            sum = Some(match sum {
                Some(sum) => {
                    let squares = squares.to_device(sum.device())?.cast(sum.dtype())?;
                    (sum + squares)?
                }
                None => squares,
            });
        }
        match sum {
            Some(sum) => sum.sqrt(),
            None => Err(Error::argument("clip::global_norm", "there are no gradients of variables")),
        }
    })
}
