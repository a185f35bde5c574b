//! What the blocks of encoders and decoders have in common.

use super::multi_head::{MultiHeadAttention, sequence};
use crate::error::{Error, Result};
use crate::nn::dense::Dense;
use crate::nn::weights::WeightSettings;
use crate::nn::{Activation, Build, Context, Dropout, Layer, LayerNorm, Module, Parameters, SampleShape};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub intermediate_dim: usize,
    pub num_heads: usize,
    pub kv_heads: Option<usize>,
    pub rotary: Option<f64>,
    pub activation: Activation,
    pub dropout: f64,
    pub epsilon: f64,
    pub normalize_first: bool,
}

impl Settings {
    /// KerasHub's.
    pub fn new(intermediate_dim: usize, num_heads: usize) -> Settings {
        Settings {
            intermediate_dim,
            num_heads,
            kv_heads: None,
            rotary: None,
            activation: Activation::Relu,
            dropout: 0.0,
            epsilon: 1e-5,
            normalize_first: false,
        }
    }

    pub fn details(&self) -> String {
        let order = if self.normalize_first { ", norm first" } else { "" };
        format!("{} heads, {}{}{order}", self.num_heads, self.intermediate_dim, self.activation.suffix())
    }

    /// The attention of sequences of so many features.
    pub fn attention(&self, features: usize, weights: &WeightSettings) -> Result<MultiHeadAttention> {
        if self.num_heads == 0 || !features.is_multiple_of(self.num_heads) {
            let message =
                format!("expects features in a multiple of {} heads, got {features}", self.num_heads);
            return Err(Error::argument("build", message));
        }
        let mut attention = MultiHeadAttention::new(self.num_heads, features / self.num_heads);
        if let Some(heads) = self.kv_heads {
            attention = attention.kv_heads(heads);
        }
        Ok(attention.dropout(self.dropout).weights(weights))
    }

    /// What is around a part of a block, for samples `[time, features]`.
    pub fn residual(&self, input: SampleShape, weights: &WeightSettings, cx: &mut Build) -> Result<Residual> {
        let norm = LayerNorm::new().epsilon(self.epsilon).trainable(weights.trainable);
        Ok(Residual {
            norm: norm.build(input, cx)?.module,
            dropout: Dropout::new(self.dropout).build(input, cx)?.module,
            normalize_first: self.normalize_first,
        })
    }

    /// Two dense layers, applied to each place.
    pub fn feed_forward(
        &self,
        input: SampleShape,
        weights: &WeightSettings,
        cx: &mut Build,
    ) -> Result<FeedForward> {
        let features = sequence(cx, input)?;
        let first = Dense::with(self.intermediate_dim, self.activation, weights).build(input, cx)?;
        let dropout = Dropout::new(self.dropout).build(first.output, cx)?.module;
        let second = Dense::with(features, Activation::Linear, weights).build(first.output, cx)?;
        Ok(FeedForward { intermediate: first.module, dropout, output: second.module })
    }
}

/// `x + f(x)`, normalised before or behind.
pub(super) struct Residual {
    norm: Box<dyn Module>,
    dropout: Box<dyn Module>,
    normalize_first: bool,
}

impl Residual {
    pub fn around(
        &self,
        x: &Tensor,
        cx: &Context,
        f: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if self.normalize_first {
            let y = f(&self.norm.forward(x, cx)?)?;
            return x + self.dropout.forward(&y, cx)?;
        }
        let y = self.dropout.forward(&f(x)?, cx)?;
        self.norm.forward(&(x + y)?, cx)
    }

    pub fn visit(&self, name: &str, parameters: &mut Parameters<'_>) {
        parameters.module(name, &*self.norm);
    }
}

pub(super) struct FeedForward {
    intermediate: Box<dyn Module>,
    dropout: Box<dyn Module>,
    output: Box<dyn Module>,
}

impl Module for FeedForward {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let y = self.dropout.forward(&self.intermediate.forward(x, cx)?, cx)?;
        self.output.forward(&y, cx)
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.module("intermediate", &*self.intermediate);
        parameters.module("output", &*self.output);
    }
}

/// The builder methods of [`Settings`], for a layer with such a field `block`.
macro_rules! block_methods {
    ($layer:ident) => {
        impl $layer {
            /// Attention of so many heads, and `intermediate_dim` features between the dense layers.
            pub fn new(intermediate_dim: usize, num_heads: usize) -> $layer {
                $layer {
                    block: Settings::new(intermediate_dim, num_heads),
                    weights: WeightSettings::default(),
                }
            }

            /// Heads of keys and values, each of which serves several of queries; as many where nothing is said.
            pub fn kv_heads(mut self, kv_heads: usize) -> $layer {
                self.block.kv_heads = Some(kv_heads);
                self
            }

            /// Turns queries and keys of a sequence that attends to itself by their places: [`rotary`](super::rotary) positions with
            /// this base, 10,000 usually.
            pub fn rotary(mut self, base: f64) -> $layer {
                self.block.rotary = Some(base);
                self
            }

            /// The function between the two dense layers: ReLU where nothing else is said.
            pub fn activation(mut self, activation: Activation) -> $layer {
                self.block.activation = activation;
                self
            }

            /// The share that is dropped while training: of weights of attention, between the dense layers, and of what is added to
            /// the input.
            pub fn dropout(mut self, rate: f64) -> $layer {
                self.block.dropout = rate;
                self
            }

            /// What is added to the variance in the normalisations: 0.00001 where nothing else is said.
            pub fn layer_norm_epsilon(mut self, epsilon: f64) -> $layer {
                self.block.epsilon = epsilon;
                self
            }

            /// Whether each part normalises what it is given (as GPT-2 does), rather than the sum of input and output (as in the paper,
            /// and where nothing is said). The last block's output is not normalised then: put a
            /// [`LayerNorm`](super::super::LayerNorm) behind it.
            pub fn normalize_first(mut self, normalize_first: bool) -> $layer {
                self.block.normalize_first = normalize_first;
                self
            }
        }
    };
}
pub(super) use block_methods;
