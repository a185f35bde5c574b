//! Categories as vectors.

use super::discretization::encoded_sample;
use super::features::as_float;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::ops::check_index::check_index;
use crate::ops::fault::FaultKind;
use crate::tensor::Tensor;
use crate::text::{OutputMode, encode};
use serde::{Deserialize, Serialize};

/// Integers below a number of tokens as vectors of floats: Keras's `CategoryEncoding`. One that is not below is an error: on the CPU of the
/// call that computes, on a GPU of the next one that waits for the device. Samples without a dimension are one category each.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::CategoryEncoding;
/// use wgrad::text::OutputMode;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[0u32, 1], [0, 0], [1, 2], [3, 1]], Device::Cpu)?;
/// let hot = CategoryEncoding::new(4); // multi-hot, where nothing else is said
/// assert_eq!(hot.apply(&x)?.to_vec::<f32>()?[..8], [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
/// let count = CategoryEncoding::new(4).output(OutputMode::Count);
/// assert_eq!(count.apply(&x)?.to_vec::<f32>()?[4..8], [2.0, 0.0, 0.0, 0.0]);
/// assert_eq!(CategoryEncoding::new(4).output(OutputMode::OneHot).apply(&x)?.shape(), [4, 2, 4]);
/// # Ok(()) }
/// ```
///
/// With weights in place of 1, in the mode `Count`, as a layer of two inputs
/// ([`Functional::layer_all`](crate::nn::Functional::layer_all)) or by [`apply_weighted`](Self::apply_weighted).
///
/// # Errors
///
/// [`build`](Layer::build) refuses 0 tokens, the modes `Int` and `TfIdf`, and weights in other modes than `Count`; a pass refuses floats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct CategoryEncoding {
    tokens: usize,
    output: OutputMode,
}

impl CategoryEncoding {
    /// Of integers below `tokens`.
    pub fn new(tokens: usize) -> CategoryEncoding {
        CategoryEncoding { tokens, output: OutputMode::MultiHot }
    }

    /// What a sample becomes: `OneHot`, `MultiHot` or `Count`.
    pub fn output(mut self, mode: OutputMode) -> CategoryEncoding {
        self.output = mode;
        self
    }

    /// The integers `[n, ..]` by themselves, without a model: what [`Dataset::map_features`](crate::data::Dataset::map_features) takes.
    ///
    /// # Errors
    ///
    /// As [`build`](Layer::build) and a pass.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.module(x).and_then(|module| module.forward(x, &Context::eval())).map_err(|e| e.named(OP))
    }

    /// As [`apply`](Self::apply) in the mode `Count`, with a weight for each integer, in their shape (or one that broadcasts to it).
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply); or the weights don't broadcast, or the mode is another.
    pub fn apply_weighted(&self, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let inputs = [x.clone(), weights.clone()];
        self.check_weighted()
            .and_then(|()| self.module(x)?.weighted(&inputs, &Context::eval()))
            .map_err(|e| e.named(OP))
    }

    fn module(&self, x: &Tensor) -> Result<CategoryModule> {
        self.check()?;
        let alone = x.rank() > 1 && x.dims().last() == Some(&1);
        Ok(CategoryModule { tokens: self.tokens, output: self.output, alone })
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::argument("build", message));
        if self.tokens == 0 || u32::try_from(self.tokens).is_err() {
            return wrong(format!("expects 1 to {} tokens, got {}", u32::MAX, self.tokens));
        }
        match self.output {
            OutputMode::OneHot | OutputMode::MultiHot | OutputMode::Count => Ok(()),
            other => wrong(format!("expects one_hot, multi_hot or count, got {}", other.name())),
        }
    }

    fn check_weighted(&self) -> Result<()> {
        match self.output {
            OutputMode::Count => Ok(()),
            other => {
                let message = format!("weights are counted in the mode count alone, not {}", other.name());
                Err(Error::argument("build", message))
            }
        }
    }
}

const OP: &str = "CategoryEncoding";

impl Layer for CategoryEncoding {
    fn kind(&self) -> &'static str {
        OP
    }

    fn details(&self) -> String {
        format!("{}, {}", self.tokens, self.output.name())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        self.check()?;
        let alone = input.last() == Some(&Some(1));
        let module = CategoryModule { tokens: self.tokens, output: self.output, alone };
        Ok(Built::new(module, encoded_sample(input, alone, self.output, self.tokens)?))
    }

    fn build_all(&self, inputs: &[SampleShape], cx: &mut Build) -> Result<Built> {
        match *inputs {
            [input] => self.build(input, cx),
            [input, _weights] => {
                self.check_weighted()?;
                self.build(input, cx)
            }
            _ => {
                let message =
                    format!("the layer takes integers, or integers and weights, got {} inputs", inputs.len());
                Err(Error::argument("build", message))
            }
        }
    }
}

struct CategoryModule {
    tokens: usize,
    output: OutputMode,
    alone: bool,
}

impl CategoryModule {
    /// The integers, which are sure to be below the number of tokens.
    fn checked(&self, x: &Tensor) -> Result<Tensor> {
        if x.dtype().is_float() {
            let message =
                format!("expects integers (u8, i32 or u32), got {}; use .cast(DType::U32)", x.dtype());
            return Err(Error::dtype(OP, message));
        }
        check_index(x, FaultKind::IndexSelect, 0, self.tokens)
    }

    fn weighted(&self, inputs: &[Tensor], cx: &Context) -> Result<Tensor> {
        let [x, weights] = inputs else {
            let message = format!("expects integers and weights, got {} inputs", inputs.len());
            return Err(Error::argument(OP, message));
        };
        let weights = as_float(weights, cx)?.broadcast_to(x.shape())?;
        encode(&self.checked(x)?, self.alone, self.output, self.tokens, Some(&weights))
    }
}

impl Module for CategoryModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        encode(&self.checked(x)?, self.alone, self.output, self.tokens, None)
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        match inputs {
            [x] => Ok(vec![self.forward(x, cx)?]),
            _ => Ok(vec![self.weighted(inputs, cx)?]),
        }
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
