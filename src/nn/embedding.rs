//! A learnt vector for each of a number of things.

use super::constraint::settled;
use super::{
    Build, Built, Constraint, Context, Initializer, Layer, Module, Parameter, Parameters, Regularizer,
    SampleShape,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::fault::FaultKind;
use crate::ops::index::select_for;
use crate::tensor::Tensor;
use crate::variable::Variable;
use serde::{Deserialize, Serialize};

/// Integers below a vocabulary's size to vectors: `[..]` to `[.., dim]`. Weight `[vocabulary, dim]`, uniform in +-0.05.
///
/// The input's element type is an integer. One outside the vocabulary is an error: on the CPU of the call that computes, on a
/// GPU of the next one that waits for the device.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Embedding;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Embedding::new(1000, 16)).build((None,), Device::Cpu)?; // any number of words
/// let words = Tensor::zeros([2, 7], Device::Cpu)?.cast(DType::U32)?;
/// assert_eq!(model.infer(&words)?.shape(), [2, 7, 16]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a vocabulary or a dimension of 0; a pass refuses an input of floats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Embedding {
    vocabulary: usize,
    dim: usize,
    initializer: Initializer,
    regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    constraint: Option<Constraint>,
    trainable: bool,
}

impl Embedding {
    /// A vector of `dim` elements for each integer below `vocabulary`.
    pub fn new(vocabulary: usize, dim: usize) -> Embedding {
        let initializer = Initializer::RandomUniform { min: -0.05, max: 0.05 };
        Embedding { vocabulary, dim, initializer, regularizer: None, constraint: None, trainable: true }
    }

    /// How the first values are drawn.
    pub fn embeddings_initializer(mut self, initializer: Initializer) -> Embedding {
        self.initializer = initializer;
        self
    }

    /// A penalty on the size of all vectors, added to the loss.
    pub fn embeddings_regularizer(mut self, regularizer: Regularizer) -> Embedding {
        self.regularizer = Some(regularizer);
        self
    }

    /// What the vectors are changed to after each update.
    pub fn embeddings_constraint(mut self, constraint: Constraint) -> Embedding {
        self.constraint = Some(constraint);
        self
    }

    /// Whether training changes the vectors.
    pub fn trainable(mut self, trainable: bool) -> Embedding {
        self.trainable = trainable;
        self
    }
}

impl Layer for Embedding {
    fn kind(&self) -> &'static str {
        "Embedding"
    }

    fn details(&self) -> String {
        format!("{} to {}", self.vocabulary, self.dim)
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        if self.vocabulary == 0 || self.dim == 0 {
            let message = format!(
                "expects a vocabulary and vectors of at least one element, got {} and {}",
                self.vocabulary, self.dim
            );
            return Err(Error::argument("build", message));
        }
        let shape = [self.vocabulary, self.dim];
        let weight = cx.weight(&self.initializer, shape, shape)?;
        let weight = settled(weight, self.trainable, &self.constraint)?;
        let output = SampleShape::new([&*input, &[Some(self.dim)]].concat())?;
        Ok(Built::new(EmbeddingModule { weight, regularizer: self.regularizer }, output))
    }
}

struct EmbeddingModule {
    weight: Variable,
    regularizer: Option<Regularizer>,
}

impl Module for EmbeddingModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        if x.dtype().is_float() {
            let message =
                format!("expects integers (u8, i32 or u32), got {}; use .cast(DType::U32)", x.dtype());
            return Err(Error::dtype("Embedding", message));
        }
        let weight = self.weight.value();
        let shape = [x.dims(), &weight.dims()[1..]].concat();
        select_for(FaultKind::Embedding, &weight, 0, &x.reshape([x.numel()])?)?.reshape(shape)
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.add(Parameter::new("weight", &self.weight).regularized(self.regularizer));
    }
}
