//! Layers that tell a sequence's places apart.

use super::multi_head::sequence;
use super::rotary::{constants, places};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::constraint::settled;
use crate::nn::{
    Build, Built, Constraint, Context, Initializer, Layer, Module, Parameter, Parameters, Regularizer,
    SampleShape,
};
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// Adds a learnt vector for each place: `[time, features]` to the same, of up to `sequence_length` places. Weight
/// `[sequence_length, features]`, Glorot uniform. (KerasHub's layer of this name gives the vectors alone, which are then added.)
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Embedding, PositionEmbedding};
/// # fn main() -> Result<()> {
/// let model = Sequential::new()
///     .add(Embedding::new(1000, 16))
///     .add(PositionEmbedding::new(128))
///     .build((None,), Device::Cpu)?;
/// assert_eq!(model.parameter("positionembedding.weight")?.variable.shape(), [128, 16]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses samples that are not `[time, features]`, and a length of 0 or below that of a sample; a pass
/// refuses more places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct PositionEmbedding {
    sequence_length: usize,
    initializer: Initializer,
    regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    constraint: Option<Constraint>,
    trainable: bool,
}

impl PositionEmbedding {
    /// Vectors for so many places.
    pub fn new(sequence_length: usize) -> PositionEmbedding {
        let initializer = Initializer::GlorotUniform;
        PositionEmbedding {
            sequence_length,
            initializer,
            regularizer: None,
            constraint: None,
            trainable: true,
        }
    }

    /// How the first values are drawn: Glorot uniform where nothing else is said.
    pub fn embeddings_initializer(mut self, initializer: Initializer) -> PositionEmbedding {
        self.initializer = initializer;
        self
    }

    /// A penalty on the size of all vectors, added to the loss.
    pub fn embeddings_regularizer(mut self, regularizer: Regularizer) -> PositionEmbedding {
        self.regularizer = Some(regularizer);
        self
    }

    /// What the vectors are changed to after each update.
    pub fn embeddings_constraint(mut self, constraint: Constraint) -> PositionEmbedding {
        self.constraint = Some(constraint);
        self
    }

    /// Whether training changes the vectors.
    pub fn trainable(mut self, trainable: bool) -> PositionEmbedding {
        self.trainable = trainable;
        self
    }

    fn check(&self, end: usize) -> Result<()> {
        if end <= self.sequence_length {
            return Ok(());
        }
        let message = format!("{end} places, with vectors for {}; make it longer", self.sequence_length);
        Err(Error::shape("PositionEmbedding", message))
    }
}

impl Layer for PositionEmbedding {
    fn kind(&self) -> &'static str {
        "PositionEmbedding"
    }

    fn details(&self) -> String {
        self.sequence_length.to_string()
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let shape = [self.sequence_length, sequence(cx, input)?];
        if self.sequence_length == 0 {
            return Err(Error::argument("build", "expects a sequence length of at least 1, got 0"));
        }
        self.check(input[0].unwrap_or(0))?;
        let weight = cx.weight(&self.initializer, shape, shape)?;
        let weight = settled(weight, self.trainable, &self.constraint)?;
        Ok(Built::new(PositionModule { weight, settings: self.clone() }, input))
    }
}

struct PositionModule {
    weight: Variable,
    settings: PositionEmbedding,
}

/// The number of places of a batch.
fn count(layer: &str, x: &Tensor) -> Result<usize> {
    match *x.dims() {
        [_, n, _] => Ok(n),
        _ => Err(Error::shape(layer, format!("expects [batch, time, features], got {}", x.shape()))),
    }
}

impl Module for PositionModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let (first, n) = (cx.position(), count("PositionEmbedding", x)?);
        self.settings.check(first.saturating_add(n))?;
        match cx.is_generating() {
            true => x + self.weight.value().index_select(0, &places(first, n, x.device())?)?,
            false => x + self.weight.value().slice(0, 0, n)?,
        }
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.add(Parameter::new("weight", &self.weight).regularized(self.settings.regularizer));
    }
}

/// Adds sines and cosines of each place (Vaswani et al., 2017): `[time, features]` to the same, of any length. Feature `2i` gets
/// `sin(place / max_wavelength^(2i / features))`, feature `2i + 1` the cosine of it. Nothing is learnt. (KerasHub's layer of this name
/// gives the sines alone, which are then added.)
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::SinePositionEncoding;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(SinePositionEncoding::new()).build((None, 4), Device::Cpu)?;
/// let y = model.infer(&Tensor::zeros([1, 2, 4], Device::Cpu)?)?;
/// wgrad::testing::assert_close(y, [0.0, 1.0, 0.0, 1.0, 0.841471, 0.540302, 0.01, 0.99995], 1e-6, 1e-6)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses samples that are not `[time, features]`, and a wavelength below 1 or not finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct SinePositionEncoding {
    max_wavelength: f64,
}

impl SinePositionEncoding {
    /// A wavelength of 10,000 at most.
    pub fn new() -> SinePositionEncoding {
        SinePositionEncoding { max_wavelength: 1e4 }
    }

    /// The longest wavelength, divided by 2 pi.
    pub fn max_wavelength(mut self, max_wavelength: f64) -> SinePositionEncoding {
        self.max_wavelength = max_wavelength;
        self
    }
}

impl Default for SinePositionEncoding {
    fn default() -> SinePositionEncoding {
        SinePositionEncoding::new()
    }
}

impl Layer for SinePositionEncoding {
    fn kind(&self) -> &'static str {
        "SinePositionEncoding"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let features = sequence(cx, input)?;
        let base = self.max_wavelength;
        if !(base >= 1.0 && base.is_finite()) {
            let message = format!("expects a finite wavelength of at least 1, got {base}");
            return Err(Error::argument("build", message));
        }
        Ok(Built::new(SineModule { base, features }, input))
    }
}

struct SineModule {
    base: f64,
    features: usize,
}

impl Module for SineModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let (n, device, d) = (count("SinePositionEncoding", x)?, x.device(), self.features);
        let speed = |i: usize| self.base.powf(-((i - i % 2) as f64) / d as f64);
        let dtype = if x.dtype().is_float() { x.dtype() } else { cx.dtype() };
        let speeds = constants((0..d).map(speed).collect(), dtype, device)?;
        let odd: Vec<u8> = (0..d).map(|i| (i % 2) as u8).collect();
        let angles = (places(cx.position(), n, device)?.cast(dtype)?.unsqueeze(-1)? * speeds)?;
        x + Tensor::from_vec(odd, [d], device)?.select(angles.cos()?, angles.sin()?)?
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
