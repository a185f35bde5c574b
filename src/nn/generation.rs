//! Generation token by token with any model of attention.

use super::past::Past;
use super::{Context, Module};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use std::fmt;

/// A sequence that a model continues: what its layers computed of the tokens so far is kept, so that each step costs as much as
/// its new tokens.
///
/// A step gives what a pass over all tokens would give for the new ones. So every layer must treat each token by itself
/// (`Embedding`, `Dense`, `LayerNorm` along the last axis, `Dropout`), or know of those before, as these do:
/// [`MultiHeadAttention`](super::MultiHeadAttention) and [`TransformerDecoder`](super::TransformerDecoder), which must be causal,
/// [`PositionEmbedding`](super::PositionEmbedding) and [`SinePositionEncoding`](super::SinePositionEncoding). A layer of your own
/// has [`Context::position`] and [`Context::extend_cache`]. Other layers that look at several tokens, such as convolutions, see
/// the new ones only.
///
/// Memory for `capacity` tokens is taken at the first step, and every step of one token is the same plan. A clone goes on by itself:
/// a generation is forked by it, or taken back.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Embedding, Generation, PositionEmbedding, TransformerDecoder};
/// # fn main() -> Result<()> {
/// let model = Sequential::new()
///     .add(Embedding::new(50, 16))
///     .add(PositionEmbedding::new(32))
///     .add(TransformerDecoder::new(32, 2))
///     .add(Dense::new(50))
///     .build((None,), Device::Cpu)?;
/// let mut generation = Generation::new(32);
/// let mut tokens = Tensor::new([[3u32, 14, 15]], Device::Cpu)?; // the prompt, [batch, tokens]
/// for _ in 0..5 {
///     let logits = generation.step(&model, &tokens)?; // [batch, new tokens, vocabulary]
///     let last = logits.slice(1, logits.shape()[1] - 1, 1)?;
///     tokens = last.argmax(-1, false)?.cast(DType::U32)?; // the likeliest, [batch, 1]
/// }
/// assert_eq!(generation.len(), 3 + 4);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Generation {
    past: Past,
}

impl Generation {
    /// Nothing yet, with room for so many tokens.
    pub fn new(capacity: usize) -> Generation {
        Generation { past: Past::new(capacity) }
    }

    /// The model's output for the next tokens, `[batch, tokens, ..]`, as if it was given all from the first on; without recording
    /// for gradients, as [`Module::infer`]. Of any number of tokens: the prompt at once, then one by one.
    ///
    /// # Errors
    ///
    /// There is no room for the tokens, another batch than before, attention that is not causal; as [`Module::forward`]. Nothing
    /// is kept of a step that fails.
    pub fn step(&mut self, model: &(impl Module + ?Sized), tokens: &Tensor) -> Result<Tensor> {
        let mut outputs = self.step_of(tokens, |cx| Ok(vec![model.forward(tokens, cx)?]))?;
        outputs.pop().ok_or_else(|| Error::internal("a pass without an output"))
    }

    /// As [`step`](Self::step), of a model with several inputs or outputs. The first input are the tokens; the others are given as
    /// they are at each step: the sequence that a decoder attends to.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step) and [`Module::forward_all`].
    pub fn step_all(&mut self, model: &(impl Module + ?Sized), inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let Some(tokens) = inputs.first() else {
            return Err(Error::argument("Generation::step_all", "expects at least one input, got none"));
        };
        self.step_of(tokens, |cx| model.forward_all(inputs, cx))
    }

    fn step_of(
        &mut self,
        tokens: &Tensor,
        run: impl FnOnce(&Context) -> Result<Vec<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        const OP: &str = "Generation::step";
        let &[_, n, ..] = tokens.dims() else {
            let message = format!(
                "expects tokens [batch, tokens], got {}; unsqueeze(0) makes a batch of one",
                tokens.shape()
            );
            return Err(Error::shape(OP, message));
        };
        if n > self.capacity() - self.len() {
            let message = format!(
                "{n} more tokens, with {} of {}; make it larger at the beginning, or begin anew with the last of them",
                self.len(),
                self.capacity()
            );
            return Err(Error::argument(OP, message));
        }
        let cx = Context::generating(self.past.clone());
        let outputs = no_grad(|| run(&cx));
        if let (Ok(_), Some(mut past)) = (&outputs, cx.into_past()) {
            past.commit(n);
            self.past = past;
        }
        outputs
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.past.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how many tokens there is room.
    pub fn capacity(&self) -> usize {
        self.past.capacity()
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({} of {} tokens)", self.len(), self.capacity())
    }
}
