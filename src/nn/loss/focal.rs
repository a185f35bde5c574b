//! Cross-entropies in which what is known already counts little, and losses of overlaps: for classes that are rare.

use super::base::{EPSILON, Loss, Outputs, check_smoothing, elements, sample_means, vectors, weighted_by};
use super::binary::cross_entropy;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// What both focal losses are set to.
#[derive(Clone, Debug)]
struct Focus {
    outputs: Outputs,
    alpha: f64,
    gamma: f64,
    smoothing: f64,
}

impl Focus {
    fn of(outputs: Outputs) -> Focus {
        Focus { outputs, alpha: 0.25, gamma: 2.0, smoothing: 0.0 }
    }

    fn check(&self, op: &str, alpha: std::ops::RangeInclusive<f64>) -> Result<()> {
        check_smoothing(op, self.smoothing)?;
        let known = [("alpha", self.alpha, alpha), ("gamma", self.gamma, 0.0..=f64::MAX)];
        for (name, value, range) in known {
            if !range.contains(&value) {
                let (low, high) = range.into_inner();
                let most = if high == f64::MAX { "finite".to_string() } else { format!("at most {high}") };
                let message = format!("{name} is {value}; it must be at least {low} and {most}");
                return Err(Error::argument(op, message));
            }
        }
        Ok(())
    }

    /// `rest^gamma`, where `rest` is what a probability lacks to 1.
    fn factor(&self, rest: Tensor) -> Result<Tensor> {
        match self.gamma {
            0.0 => rest.ones_like(),
            1.0 => Ok(rest),
            2.0 => rest.square(),
            gamma => rest.pow(gamma),
        }
    }
}

macro_rules! focal_methods {
    ($name:ident) => {
        impl $name {
            /// How fast the weight of an output falls as it comes near its target: `(1 - p)^gamma`; 2 where nothing else is said.
            pub fn gamma(mut self, gamma: f64) -> Self {
                self.focus.gamma = gamma;
                self
            }

            /// Moves the targets away from 0 and 1 by a share from 0 to 1, as the plain cross-entropy does.
            pub fn label_smoothing(mut self, smoothing: f64) -> Self {
                self.focus.smoothing = smoothing;
                self
            }
        }
    };
}

/// The focal loss of independent yes-or-no outputs (Lin et al., "Focal Loss for Dense Object Detection", 2017):
/// [`BinaryCrossentropy`](super::BinaryCrossentropy) times `(1 - p)^gamma`, where `p` is the probability that the output gives to
/// what is true. Outputs and targets are as there (`keras.losses.BinaryFocalCrossentropy`).
///
/// ```
/// use wgrad::nn::BinaryFocalCrossentropy;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let p = Tensor::new([[0.6f32, 0.4], [0.4, 0.6]], Device::Cpu)?;
/// let targets = Tensor::new([[0u8, 1], [0, 0]], Device::Cpu)?;
/// let loss = BinaryFocalCrossentropy::from_probabilities();
/// assert!((loss.compute(&p, &targets)?.item::<f32>()? - 0.268).abs() < 1e-3);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats, targets of another shape, a smoothing or a balance outside 0 to 1, a negative gamma.
#[derive(Clone, Debug)]
#[must_use]
pub struct BinaryFocalCrossentropy {
    focus: Focus,
    balanced: bool,
}

impl BinaryFocalCrossentropy {
    fn of(outputs: Outputs) -> Self {
        BinaryFocalCrossentropy { focus: Focus::of(outputs), balanced: false }
    }

    /// For outputs before the sigmoid: exact for logits of any magnitude.
    pub fn from_logits() -> Self {
        Self::of(Outputs::Logits)
    }

    /// For outputs after a sigmoid.
    pub fn from_probabilities() -> Self {
        Self::of(Outputs::Probabilities)
    }

    /// As well weights yes by `alpha` and no by `1 - alpha` (Keras's `apply_class_balancing`, whose alpha is 0.25).
    pub fn balanced(mut self, alpha: f64) -> Self {
        self.focus.alpha = alpha;
        self.balanced = true;
        self
    }
}

focal_methods!(BinaryFocalCrossentropy);

impl Loss for BinaryFocalCrossentropy {
    fn outputs(&self) -> Option<Outputs> {
        Some(self.focus.outputs)
    }

    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        const NAME: &str = "BinaryFocalCrossentropy";
        self.focus.check(NAME, 0.0..=1.0)?;
        let (x, mut t) = elements(NAME, outputs, targets)?;
        if self.focus.smoothing > 0.0 {
            t = ((t * (1.0 - self.focus.smoothing))? + 0.5 * self.focus.smoothing)?;
        }
        let no = (1.0 - &t)?;
        // What is given to the other answer: 1 - p has lost its digits where p is near 1.
        let (p, rest) = match self.focus.outputs {
            Outputs::Logits => (x.sigmoid()?, x.neg()?.sigmoid()?),
            // What is certain keeps a finite slope where gamma is below 1.
            Outputs::Probabilities => {
                let kept = |p: &Tensor| p.clamp(EPSILON, 1.0 - EPSILON);
                (kept(&x)?, kept(&(1.0 - &x)?)?)
            }
        };
        let wrong = ((&t * rest)? + (&no * p)?)?;
        let losses = weighted_by(&self.focus.factor(wrong)?, &cross_entropy(self.focus.outputs, &x, &t)?)?;
        sample_means(&match self.balanced {
            true => (losses * ((t * self.focus.alpha)? + (no * (1.0 - self.focus.alpha))?)?)?,
            false => losses,
        })
    }
}

/// The focal loss of a choice among classes: outputs and targets `[batch, .., classes]`, targets one-hot rows or probabilities.
///
/// `-sum(targets * alpha * (1 - p)^gamma * log(p))` of each row, with `p` the softmax of logits, or probabilities divided by their
/// row's sum and kept within 1e-7 of 0 and 1 (`keras.losses.CategoricalFocalCrossentropy`, whose alpha is 0.25).
///
/// ```
/// use wgrad::nn::CategoricalFocalCrossentropy;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let logits = Tensor::new([[4.0f32, 0.0], [0.0, 0.0]], Device::Cpu)?;
/// let one_hot = Tensor::new([[1u8, 0], [1, 0]], Device::Cpu)?;
/// let loss = CategoricalFocalCrossentropy::from_logits().per_sample(&logits, &one_hot)?.to_vec::<f32>()?;
/// assert!(loss[1] > 10_000.0 * loss[0]); // plain cross-entropies are 0.018 and 0.69
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats or have no axis of classes, targets of another shape, a smoothing outside 0 to 1, a negative alpha or gamma.
#[derive(Clone, Debug)]
#[must_use]
pub struct CategoricalFocalCrossentropy {
    focus: Focus,
}

impl CategoricalFocalCrossentropy {
    /// For outputs before the softmax: exact for logits of any magnitude.
    pub fn from_logits() -> Self {
        CategoricalFocalCrossentropy { focus: Focus::of(Outputs::Logits) }
    }

    /// For outputs after a softmax.
    pub fn from_probabilities() -> Self {
        CategoricalFocalCrossentropy { focus: Focus::of(Outputs::Probabilities) }
    }

    /// What all is multiplied by; 0.25 where nothing else is said.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.focus.alpha = alpha;
        self
    }
}

focal_methods!(CategoricalFocalCrossentropy);

impl Loss for CategoricalFocalCrossentropy {
    fn outputs(&self) -> Option<Outputs> {
        Some(self.focus.outputs)
    }

    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        const NAME: &str = "CategoricalFocalCrossentropy";
        let Focus { alpha, smoothing, .. } = self.focus;
        self.focus.check(NAME, 0.0..=f64::MAX)?;
        let (x, mut t) = vectors(NAME, outputs, targets)?;
        if smoothing > 0.0 {
            let classes = x.dims().last().copied().unwrap_or(1).max(1) as f64;
            t = ((t * (1.0 - smoothing))? + smoothing / classes)?;
        }
        let (log, rest) = match self.focus.outputs {
            Outputs::Logits => {
                let log = x.log_softmax(-1)?;
                // 1 - exp(log), with all digits where p is near 1
                (log.clone(), log.expm1()?.neg()?)
            }
            Outputs::Probabilities => {
                let p = (&x / x.sum(-1, true)?)?.clamp(EPSILON, 1.0 - EPSILON)?;
                (p.log()?, (1.0 - p)?)
            }
        };
        let weight = ((t * self.focus.factor(rest)?)? * -alpha)?;
        sample_means(&weighted_by(&weight, &log)?.sum(-1, false)?)
    }
}

/// `1 - overlap / (overlap + alpha * missed + beta * invented)` of each sample, by sums over all that is in it: `overlap` of
/// `outputs * targets`, `missed` of `targets * (1 - outputs)`, `invented` of `outputs * (1 - targets)` (`keras.losses.Tversky`
/// with an `axis` of all but the first; Salehi et al., 2017, have alpha and beta the other way round). Outputs are probabilities, of the shape of the targets, mostly masks
/// `[batch, height, width, classes]`. With 0.5 and 0.5 it is [`Dice`], with 1 and 1 one minus the intersection over union.
///
/// ```
/// use wgrad::nn::Tversky;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let p = Tensor::new([[1.0f32, 1.0, 0.0, 0.0]], Device::Cpu)?;
/// let mask = Tensor::new([[1u8, 0, 0, 0]], Device::Cpu)?;
/// let loss = Tversky::new(1.0, 1.0).compute(&p, &mask)?.item::<f32>()?;
/// assert!((loss - 0.5).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats or only `[batch]`, targets of another shape, a weight that is negative or not finite.
#[derive(Clone, Debug)]
#[must_use]
pub struct Tversky {
    alpha: f64,
    beta: f64,
}

impl Tversky {
    /// With what is missed weighted by `alpha`, and what is invented by `beta`.
    pub fn new(alpha: f64, beta: f64) -> Self {
        Tversky { alpha, beta }
    }
}

impl Loss for Tversky {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        const NAME: &str = "Tversky";
        for (name, weight) in [("alpha", self.alpha), ("beta", self.beta)] {
            if !(0.0..=f64::MAX).contains(&weight) {
                let message = format!("{name} is {weight}; it must be at least 0 and finite");
                return Err(Error::argument(NAME, message));
            }
        }
        let (y, t) = vectors(NAME, outputs, targets)?;
        let both = (&y * &t)?.sum(1.., false)?;
        let missed = (&t * (1.0 - &y)?)?.sum(1.., false)?;
        let invented = (y * (1.0 - t)?)?.sum(1.., false)?;
        let all = ((&both + (missed * self.alpha)?)? + (invented * self.beta)?)?;
        1.0 - (both / (all + EPSILON)?)?
    }
}

/// `1 - 2 * overlap / (sum of outputs + sum of targets)` of each sample (Milletari et al., 2016; `keras.losses.Dice` with an
/// `axis` of all but the first). Outputs are probabilities, of the shape of the targets, mostly masks
/// `[batch, height, width, classes]`.
///
/// ```
/// use wgrad::nn::Dice;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let p = Tensor::new([[1.0f32, 1.0, 0.0, 0.0]], Device::Cpu)?;
/// let mask = Tensor::new([[1u8, 1, 1, 0]], Device::Cpu)?;
/// assert!((Dice::new().compute(&p, &mask)?.item::<f32>()? - 0.2).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats or only `[batch]`, targets of another shape.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Dice {}

impl Dice {
    /// The loss.
    pub fn new() -> Self {
        Dice {}
    }
}

impl Loss for Dice {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (y, t) = vectors("Dice", outputs, targets)?;
        let both = (&y * &t)?.sum(1.., false)?;
        let all = (y.sum(1.., false)? + t.sum(1.., false)?)?;
        1.0 - ((both * 2.0)? / (all + EPSILON)?)?
    }
}
