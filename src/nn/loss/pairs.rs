//! Losses of two or three vectors of a sample: which should be near each other, and which should not.

use super::base::{Loss, elements, sample_means};
use crate::error::{Error, Result};
use crate::ops::require_float;
use crate::tensor::Tensor;

/// The margin of a loss is a finite number.
pub(super) fn check_margin(op: &str, margin: f64, range: std::ops::RangeInclusive<f64>) -> Result<()> {
    if range.contains(&margin) && margin.is_finite() {
        return Ok(());
    }
    let message = format!("the margin is {margin}; expected {} to {}", range.start(), range.end());
    Err(Error::argument(op, message))
}

/// Vectors of one shape, `[batch, features]`.
fn same_vectors(op: &str, vectors: &[&Tensor]) -> Result<()> {
    let shapes = || vectors.iter().map(|v| v.shape().to_string()).collect::<Vec<_>>().join(", ");
    for v in vectors {
        require_float(op, "an input", v)?;
    }
    if vectors.iter().all(|v| v.rank() == 2 && v.shape() == vectors[0].shape()) {
        return Ok(());
    }
    let message = format!("got {}; expected vectors [batch, features] of one shape", shapes());
    Err(Error::shape(op, message))
}

/// What says something of each of the pairs, as numbers of their type.
fn of_each(op: &str, like: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let batch = like.dims()[0];
    if targets.shape() == [batch] || targets.shape() == [batch, 1] {
        return targets.cast(like.dtype())?.reshape([batch]);
    }
    let message = format!("targets are {}; expected one for each pair, [{batch}]", targets.shape());
    Err(Error::shape(op, message))
}

/// The vectors of `[batch, count, features]`, as a model's output has them.
fn unstacked<const COUNT: usize>(op: &str, outputs: &Tensor) -> Result<[Tensor; COUNT]> {
    match *outputs.dims() {
        [batch, count, features] if count == COUNT => {
            let mut vectors = Vec::new();
            for i in 0..COUNT {
                vectors.push(outputs.slice(1, i, 1)?.reshape([batch, features])?);
            }
            vectors.try_into().map_err(|_| Error::internal("another number of vectors"))
        }
        _ => {
            let message = format!("outputs are {}; expected [batch, {COUNT}, features]", outputs.shape());
            Err(Error::shape(op, message))
        }
    }
}

/// The contrastive loss of distances (Hadsell et al., 2006): `d^2` of pairs that are alike, `max(margin - d, 0)^2` of others, as
/// TensorFlow Addons' `ContrastiveLoss`. Outputs are distances, targets of the same shape are 1 where a pair is alike and 0 where it is
/// not. [`of_pairs`](Self::of_pairs) takes the vectors.
///
/// ```
/// use wgrad::nn::Contrastive;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (distances, alike) = (Tensor::new([0.5f32, 0.5, 2.0], Device::Cpu)?, Tensor::new([1u8, 0, 0], Device::Cpu)?);
/// assert_eq!(Contrastive::new(1.0).per_sample(&distances, &alike)?.to_vec::<f32>()?, [0.25, 0.25, 0.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats, targets of another shape, and a margin that is negative or not finite.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Contrastive {
    margin: f64,
}

impl Contrastive {
    const NAME: &str = "Contrastive";

    /// Pairs that are not alike are at least `margin` apart, or cost something.
    pub fn new(margin: f64) -> Self {
        Contrastive { margin }
    }

    /// The loss of each pair, `[batch]`, by its Euclidean distance: `a` and `b` `[batch, features]`, `alike` `[batch]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (a, b) = (Tensor::new([[0.0f32, 0.0]], Device::Cpu)?, Tensor::new([[0.3f32, 0.4]], Device::Cpu)?);
    /// let loss = wgrad::nn::Contrastive::new(1.0).of_pairs(&a, &b, &Tensor::new([1u8], Device::Cpu)?)?;
    /// assert!((loss.item::<f32>()? - 0.25).abs() < 1e-6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As of the loss; or vectors of different shapes.
    pub fn of_pairs(&self, a: &Tensor, b: &Tensor, alike: &Tensor) -> Result<Tensor> {
        same_vectors(Self::NAME, &[a, b])?;
        let distances = (a - b)?.norm(-1, false)?;
        self.per_sample(&distances, &of_each(Self::NAME, &distances, alike)?)
    }
}

/// A margin of 1.
impl Default for Contrastive {
    fn default() -> Self {
        Contrastive::new(1.0)
    }
}

impl Loss for Contrastive {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        check_margin(Self::NAME, self.margin, 0.0..=f64::INFINITY)?;
        let (d, alike) = elements(Self::NAME, outputs, targets)?;
        let near = (&alike * d.square()?)?;
        let far = ((1.0 - alike)? * (self.margin - d)?.relu()?.square()?)?;
        sample_means(&(near + far)?)
    }
}

/// The cosine embedding loss, PyTorch's `CosineEmbeddingLoss`: `1 - cos` of pairs whose target is 1, `max(cos - margin, 0)` of those
/// whose target is -1. As a [`Loss`] it takes outputs `[batch, 2, features]`; [`of`](Self::of) takes the vectors.
///
/// ```
/// use wgrad::nn::CosineEmbedding;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let a = Tensor::new([[1.0f32, 0.0], [1.0, 0.0]], Device::Cpu)?;
/// let b = Tensor::new([[0.0f32, 2.0], [3.0, 0.0]], Device::Cpu)?;
/// let targets = Tensor::new([1i32, -1], Device::Cpu)?;
/// assert_eq!(CosineEmbedding::new().of(&a, &b, &targets)?.to_vec::<f32>()?, [1.0, 1.0]);
/// assert_eq!(CosineEmbedding::new().margin(0.25).of(&a, &b, &targets)?.to_vec::<f32>()?, [1.0, 0.75]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Vectors that are no floats or of different shapes, targets that are not one for each pair, and a margin outside -1 to 1.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct CosineEmbedding {
    margin: f64,
}

impl CosineEmbedding {
    const NAME: &str = "CosineEmbedding";

    /// With a margin of 0.
    pub fn new() -> Self {
        CosineEmbedding { margin: 0.0 }
    }

    /// Vectors that should differ cost nothing up to this cosine.
    pub fn margin(self, margin: f64) -> Self {
        CosineEmbedding { margin }
    }

    /// The loss of each pair, `[batch]`: `a` and `b` `[batch, features]`, targets `[batch]`, 1 or -1. Other targets count nothing.
    ///
    /// # Errors
    ///
    /// Those of the type.
    pub fn of(&self, a: &Tensor, b: &Tensor, targets: &Tensor) -> Result<Tensor> {
        check_margin(Self::NAME, self.margin, -1.0..=1.0)?;
        same_vectors(Self::NAME, &[a, b])?;
        let targets = of_each(Self::NAME, a, targets)?;
        // PyTorch adds this to the squares of lengths, in single precision.
        let length = |v: &Tensor| (v.square()?.sum(-1, false)? + f64::from(1e-12f32))?.sqrt();
        let cosine = ((a * b)?.sum(-1, false)? / (length(a)? * length(b)?)?)?;
        let unlike = targets.eq(-1.0)?.select((&cosine - self.margin)?.relu()?, cosine.zeros_like()?)?;
        targets.eq(1.0)?.select((1.0 - cosine)?, unlike)
    }
}

impl Loss for CosineEmbedding {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let [a, b] = unstacked(Self::NAME, outputs)?;
        self.of(&a, &b, targets)
    }
}

/// The triplet loss, PyTorch's `TripletMarginLoss`: `max(d(anchor, positive) - d(anchor, negative) + margin, 0)`, where distances are
/// norms of differences, to whose elements 1e-6 is added. As a [`Loss`] it takes outputs `[batch, 3, features]` (anchor, positive,
/// negative) and looks at no targets; [`of`](Self::of) takes the vectors. [`TripletHard`](super::TripletHard) and
/// [`TripletSemiHard`](super::TripletSemiHard) find triplets in a batch by labels.
///
/// ```
/// use wgrad::nn::TripletMargin;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let [anchor, positive, negative] = [[[0.0f32, 0.0]], [[0.0, 1.0]], [[1.5, 0.0]]].map(|v| Tensor::new(v, Device::Cpu));
/// let loss = TripletMargin::new().of(&anchor?, &positive?, &negative?)?;
/// assert!((loss.item::<f32>()? - 0.5).abs() < 1e-5); // 1 - 1.5 + 1
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Vectors that are no floats or of different shapes, a margin that is negative or not finite, and an order of the norm that is not
/// above 0.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TripletMargin {
    margin: f64,
    p: f64,
    swap: bool,
}

impl TripletMargin {
    const NAME: &str = "TripletMargin";

    /// PyTorch's settings: a margin of 1, Euclidean distances, no swap.
    pub fn new() -> Self {
        TripletMargin { margin: 1.0, p: 2.0, swap: false }
    }

    /// How much farther the negative has to be than the positive.
    pub fn margin(self, margin: f64) -> Self {
        TripletMargin { margin, ..self }
    }

    /// The order of the norm that distances are measured by.
    pub fn p(self, p: f64) -> Self {
        TripletMargin { p, ..self }
    }

    /// Whether the negative counts by its distance from anchor or positive, whichever is smaller (Balntas et al., 2016).
    pub fn swap(self, swap: bool) -> Self {
        TripletMargin { swap, ..self }
    }

    /// The loss of each triplet, `[batch]`, of vectors `[batch, features]`.
    ///
    /// # Errors
    ///
    /// Those of the type.
    pub fn of(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
        check_margin(Self::NAME, self.margin, 0.0..=f64::INFINITY)?;
        if self.p.is_nan() || self.p <= 0.0 {
            let message = format!("the order of the norm is {}; expected a number above 0", self.p);
            return Err(Error::argument(Self::NAME, message));
        }
        same_vectors(Self::NAME, &[anchor, positive, negative])?;
        let distance = |a: &Tensor, b: &Tensor| ((a - b)? + 1e-6)?.norm_p(self.p, -1, false);
        let near = distance(anchor, positive)?;
        let mut far = distance(anchor, negative)?;
        if self.swap {
            far = far.minimum(distance(positive, negative)?)?;
        }
        ((near - far)? + self.margin)?.relu()
    }
}

impl Default for TripletMargin {
    fn default() -> Self {
        TripletMargin::new()
    }
}

impl Loss for TripletMargin {
    fn per_sample(&self, outputs: &Tensor, _targets: &Tensor) -> Result<Tensor> {
        let [anchor, positive, negative] = unstacked(Self::NAME, outputs)?;
        self.of(&anchor, &positive, &negative)
    }
}
