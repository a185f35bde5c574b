//! Attention with learnt queries, keys and values.

use super::dot_product::AttentionOptions;
use super::rotary::Rotary;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::dense::Dense;
use crate::nn::dropout::check_rate;
use crate::nn::weights::{WeightSettings, kernel_methods};
use crate::nn::{
    Activation, Build, Built, Context, Initializer, Layer, Module, Parameters, Regularizer, SampleShape,
};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Multi-head attention (Vaswani et al., 2017), Keras's `MultiHeadAttention`: queries, keys and values are learnt products of
/// features, each head attends by [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention), and what all heads found is
/// multiplied by one more weight. `[time, features]` to `[time, features]`, of any length.
///
/// With one input a sequence attends to itself. In a [`Functional`](crate::nn::Functional) model
/// [`layer_all`](crate::nn::Functional::layer_all) gives it several, in Keras's order: the query, the value and, where it is
/// another sequence, the key. [`attention`](Self::attention) makes a module that takes masks.
///
/// The weights are `query.weight` `[features, num_heads * key_dim]`, `key.weight`, `value.weight` and `out.weight`
/// `[num_heads * value_dim, features]`, each with a bias: Keras's and PyTorch's, with the heads one after the other. Glorot
/// uniform; biases zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Functional, MultiHeadAttention};
/// # fn main() -> Result<()> {
/// let layer = || MultiHeadAttention::new(4, 8).causal(true);
/// let model = Sequential::new().add(layer().kv_heads(2)).build((None, 32), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([2, 7, 32], Device::Cpu)?)?.shape(), [2, 7, 32]);
/// assert_eq!(model.parameter("multiheadattention.key.weight")?.variable.shape(), [32, 2 * 8]);
///
/// let mut net = Functional::new(Device::Cpu);
/// let (query, value) = (net.input("query", (None, 32))?, net.input("value", (None, 20))?);
/// let y = net.layer_all(MultiHeadAttention::new(4, 8), &[query, value])?;
/// assert_eq!(net.shape(y)?, [None, Some(32)]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses samples that are not `[time, features]` with known features, no heads, heads of no features, heads of
/// queries that are no multiple of those of keys, a dropout below 0 or from 1 on, and an odd `key_dim` with rotary positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct MultiHeadAttention {
    num_heads: usize,
    key_dim: usize,
    value_dim: Option<usize>,
    kv_heads: Option<usize>,
    output_dim: Option<usize>,
    causal: bool,
    dropout: f64,
    rotary: Option<f64>,
    weights: WeightSettings,
}

impl MultiHeadAttention {
    /// So many heads, whose queries, keys and values have `key_dim` features each.
    pub fn new(num_heads: usize, key_dim: usize) -> MultiHeadAttention {
        MultiHeadAttention {
            num_heads,
            key_dim,
            value_dim: None,
            kv_heads: None,
            output_dim: None,
            causal: false,
            dropout: 0.0,
            rotary: None,
            weights: WeightSettings::default(),
        }
    }

    /// Features of each head's values, where these are not `key_dim`.
    pub fn value_dim(mut self, value_dim: usize) -> MultiHeadAttention {
        self.value_dim = Some(value_dim);
        self
    }

    /// Heads of keys and values, each of which serves several of queries (grouped queries; Ainslie et al., 2023). They divide
    /// `num_heads`; as many where nothing is said.
    pub fn kv_heads(mut self, kv_heads: usize) -> MultiHeadAttention {
        self.kv_heads = Some(kv_heads);
        self
    }

    /// Features of the output, where these are not the query's.
    pub fn output_dim(mut self, output_dim: usize) -> MultiHeadAttention {
        self.output_dim = Some(output_dim);
        self
    }

    /// Whether each place sees those up to itself only: Keras's `use_causal_mask`.
    pub fn causal(mut self, causal: bool) -> MultiHeadAttention {
        self.causal = causal;
        self
    }

    /// The share of weights of attention that is dropped while training.
    pub fn dropout(mut self, rate: f64) -> MultiHeadAttention {
        self.dropout = rate;
        self
    }

    /// Turns queries and keys by their places: [`rotary`](super::rotary) positions with this base, 10,000 usually.
    pub fn rotary(mut self, base: f64) -> MultiHeadAttention {
        self.rotary = Some(base);
        self
    }

    /// With these settings of all four weights.
    pub(super) fn weights(mut self, weights: &WeightSettings) -> MultiHeadAttention {
        self.weights = weights.clone();
        self
    }

    /// The module for a query, a key and a value of so many features: for a layer of your own, and for masks.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::{AttentionOptions, Build, Context, MultiHeadAttention};
    /// # fn main() -> Result<()> {
    /// let mut cx = Build::new(Device::Cpu, 1);
    /// let module = MultiHeadAttention::new(2, 4).attention([16, 8, 8], &mut cx)?;
    /// let (x, memory) = (Tensor::ones([3, 5, 16], Device::Cpu)?, Tensor::ones([3, 9, 8], Device::Cpu)?);
    /// let lengths = AttentionOptions::new().lengths(&Tensor::new([9u32, 4, 1], Device::Cpu)?);
    /// let y = module.forward_with(&x, &memory, &memory, &lengths, &Context::eval())?;
    /// assert_eq!(y.shape(), [3, 5, 16]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// An impossible setting: see [`MultiHeadAttention`].
    pub fn attention(&self, [query, key, value]: [usize; 3], cx: &mut Build) -> Result<Attention> {
        let heads = self.num_heads;
        let kv_heads = self.kv_heads.unwrap_or(heads);
        let value_dim = self.value_dim.unwrap_or(self.key_dim);
        if kv_heads == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
            let message = format!("expects heads in a multiple of those of keys, got {heads} and {kv_heads}");
            return Err(Error::argument("build", message));
        }
        if self.key_dim == 0 || value_dim == 0 {
            let message =
                format!("expects heads of at least one feature, got {} and {value_dim}", self.key_dim);
            return Err(Error::argument("build", message));
        }
        check_rate("build", "dropout", self.dropout)?;
        let rotary = match self.rotary {
            Some(base) => Some(Rotary::new(self.key_dim, base)?),
            None => None,
        };
        let mut dense = |features: usize, heads: usize, size: usize| -> Result<Box<dyn Module>> {
            let Some(units) = heads.checked_mul(size) else {
                let message = format!("{heads} heads of {size} features are more than there can be");
                return Err(Error::argument("build", message));
            };
            let input = SampleShape::new([None, Some(features)])?;
            Ok(Dense::with(units, Activation::Linear, &self.weights).build(input, cx)?.module)
        };
        Ok(Attention {
            query: dense(query, heads, self.key_dim)?,
            key: dense(key, kv_heads, self.key_dim)?,
            value: dense(value, kv_heads, value_dim)?,
            out: dense(heads.saturating_mul(value_dim), 1, self.output_dim.unwrap_or(query))?,
            heads,
            kv_heads,
            causal: self.causal,
            dropout: self.dropout,
            rotary,
        })
    }
}

kernel_methods!(MultiHeadAttention);

/// The features of a sequence.
pub(super) fn sequence(cx: &Build, input: SampleShape) -> Result<usize> {
    cx.sequence(input)?;
    cx.features(input)
}

impl Layer for MultiHeadAttention {
    fn kind(&self) -> &'static str {
        "MultiHeadAttention"
    }

    fn details(&self) -> String {
        let causal = if self.causal { ", causal" } else { "" };
        format!("{} heads of {}{causal}", self.num_heads, self.key_dim)
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        self.build_all(&[input], cx)
    }

    fn build_all(&self, inputs: &[SampleShape], cx: &mut Build) -> Result<Built> {
        let (query, key, value) = match *inputs {
            [x] => (x, x, x),
            [query, value] => (query, value, value),
            [query, value, key] => (query, key, value),
            _ => {
                let message =
                    format!("expects a query, a value and a key at most, got {} inputs", inputs.len());
                return Err(Error::argument("build", message));
            }
        };
        let features = [sequence(cx, query)?, sequence(cx, key)?, sequence(cx, value)?];
        let module = self.attention(features, cx)?;
        let mut output = query.to_vec();
        output[1] = Some(self.output_dim.unwrap_or(features[0]));
        Ok(Built::new(module, SampleShape::new(output)?))
    }
}

/// A built [`MultiHeadAttention`]: what its [`attention`](MultiHeadAttention::attention) makes.
pub struct Attention {
    query: Box<dyn Module>,
    key: Box<dyn Module>,
    value: Box<dyn Module>,
    out: Box<dyn Module>,
    heads: usize,
    kv_heads: usize,
    causal: bool,
    dropout: f64,
    rotary: Option<Rotary>,
}

impl Attention {
    /// What the query, `[batch, queries, features]`, takes from a key and a value, `[batch, keys, features]`: `[batch, queries,
    /// features]`. Masks of the options broadcast to `[batch, heads, queries, keys]`; the layer's own causality counts as well as
    /// theirs, and while training its dropout takes the place of theirs.
    ///
    /// # Errors
    ///
    /// The query, key or value have other shapes or types; in a step of a [`Generation`](crate::nn::Generation), where places matter
    /// (causality, rotary positions): it is not known which of them had tokens before; as
    /// [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention).
    pub fn forward_with(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: &AttentionOptions,
        cx: &Context,
    ) -> Result<Tensor> {
        if cx.is_generating() && (self.causal || options.causal || self.rotary.is_some()) {
            let message = "causal or rotary attention with several inputs does not know which of them had tokens before this step \
                           of a generation; give the layer one input, which attends to itself, or call forward";
            return Err(Error::argument("MultiHeadAttention", message));
        }
        let q = self.turned(&self.split(&*self.query, query, self.heads, cx)?, 0)?;
        let k = self.turned(&self.split(&*self.key, key, self.kv_heads, cx)?, 0)?;
        let v = self.split(&*self.value, value, self.kv_heads, cx)?;
        self.attend(&q, &k, &v, options.clone().causal(options.causal || self.causal), cx)
    }

    /// As [`forward_with`](Self::forward_with) for a sequence that attends to itself, in a step of a generation to what came before as
    /// well.
    pub(super) fn forward_self(
        &self,
        x: &Tensor,
        options: &AttentionOptions,
        cx: &Context,
    ) -> Result<Tensor> {
        if !cx.is_generating() {
            return self.forward_with(x, x, x, options, cx);
        }
        if !self.causal || options.mask.is_some() || options.lengths.is_some() {
            let message = "attention that is not causal, or has a mask, needs all tokens at once, not those of a generation's \
                           step; use MultiHeadAttention::causal(true) or TransformerDecoder, and give what an encoder has made \
                           of another sequence as a second input";
            return Err(Error::argument("MultiHeadAttention", message));
        }
        let first = cx.position();
        let q = self.turned(&self.split(&*self.query, x, self.heads, cx)?, first)?;
        let k = self.turned(&self.split(&*self.key, x, self.kv_heads, cx)?, first)?;
        let v = self.split(&*self.value, x, self.kv_heads, cx)?;
        let Some(cache) = cx.extend_cache(&k, &v)? else {
            return Err(Error::internal("a generation without a cache"));
        };
        let options = AttentionOptions::new().mask(&cache.causal_mask(q.dims()[2])?);
        self.attend(&q, &cache.keys(), &cache.values(), options, cx)
    }

    /// `[batch, time, features]` to `[batch, heads, time, features of a head]`.
    fn split(&self, dense: &dyn Module, x: &Tensor, heads: usize, cx: &Context) -> Result<Tensor> {
        let &[batch, time, _] = x.dims() else {
            let message = format!("expects [batch, time, features], got {}", x.shape());
            return Err(Error::shape("MultiHeadAttention", message));
        };
        let y = dense.forward(x, cx)?;
        let size = y.dims()[2] / heads;
        y.reshape([batch, time, heads, size])?.permute([0, 2, 1, 3])
    }

    fn turned(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        match &self.rotary {
            Some(rotary) => rotary.turn(x, first),
            None => Ok(x.clone()),
        }
    }

    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        mut options: AttentionOptions,
        cx: &Context,
    ) -> Result<Tensor> {
        // Drawn whether it is needed or not: what the layers behind drop does not depend on this rate.
        if let Some(seed) = cx.next_seed().filter(|_| self.dropout > 0.0) {
            options = options.dropout(self.dropout, seed);
        }
        let y = q.scaled_dot_product_attention(k, v, &options)?.permute([0, 2, 1, 3])?;
        let &[batch, time, heads, size] = y.dims() else {
            return Err(Error::internal("attention of another rank"));
        };
        self.out.forward(&y.reshape([batch, time, heads * size])?, cx)
    }
}

impl Module for Attention {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.forward_self(x, &AttentionOptions::new(), cx)
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        let options = AttentionOptions::new();
        Ok(vec![match inputs {
            [x] => self.forward(x, cx)?,
            [query, rest @ ..] if rest.len() < 3 && rest.iter().all(|x| x.0.id == query.0.id) => {
                self.forward(query, cx)?
            }
            [query, value] => self.forward_with(query, value, value, &options, cx)?,
            [query, value, key] => self.forward_with(query, key, value, &options, cx)?,
            _ => {
                let message =
                    format!("expects a query, a value and a key at most, got {} inputs", inputs.len());
                return Err(Error::argument("MultiHeadAttention", message));
            }
        }])
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        for (name, dense) in
            [("query", &self.query), ("key", &self.key), ("value", &self.value), ("out", &self.out)]
        {
            parameters.module(name, &**dense);
        }
    }
}

impl std::fmt::Debug for Attention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attention({} heads, {} of keys)", self.heads, self.kv_heads)
    }
}
