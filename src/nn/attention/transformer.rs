//! The blocks of a transformer.

use super::block::{FeedForward, Residual, Settings, block_methods};
use super::dot_product::AttentionOptions;
use super::multi_head::{Attention, sequence};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::weights::{WeightSettings, kernel_methods};
use crate::nn::{
    Activation, Build, Built, Context, Initializer, Layer, Module, Parameters, Regularizer, SampleShape,
};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A block of a transformer's encoder (Vaswani et al., 2017), KerasHub's `TransformerEncoder` and PyTorch's
/// `TransformerEncoderLayer`: a sequence attends to itself, then two dense layers treat each place; around both, the input is added
/// and the sum normalised. `[time, features]` to the same, of any length. Heads have `features / num_heads` features.
///
/// With a second input (see [`Functional::layer_all`](crate::nn::Functional::layer_all)), a mask `[time]` that is 0 where a
/// sequence is padded, nobody attends to those places.
///
/// Parameters: those of [`MultiHeadAttention`](super::MultiHeadAttention) under `attention`, `feedforward.intermediate`,
/// `feedforward.output`, and the normalisations `attention_norm` and `feedforward_norm`.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Functional, TransformerEncoder};
/// # fn main() -> Result<()> {
/// let block = TransformerEncoder::new(64, 4).activation(Activation::Gelu).dropout(0.1);
/// let model = Sequential::new().add(block.clone()).add(block.clone()).build((None, 32), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([2, 7, 32], Device::Cpu)?)?.shape(), [2, 7, 32]);
///
/// let mut net = Functional::new(Device::Cpu);
/// let (x, mask) = (net.input("x", (None, 32))?, net.input("mask", (None,))?);
/// let y = net.layer_all(block, &[x, mask])?;
/// let model = net.build(&[("y", y)])?;
/// let mask = Tensor::new([[1u8, 1, 1], [1, 0, 0]], Device::Cpu)?;
/// model.infer_all(&[Tensor::ones([2, 3, 32], Device::Cpu)?, mask])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses samples that are not `[time, features]`, features that are no multiple of the heads, and what its parts
/// refuse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct TransformerEncoder {
    block: Settings,
    weights: WeightSettings,
}

block_methods!(TransformerEncoder);
kernel_methods!(TransformerEncoder);

impl Layer for TransformerEncoder {
    fn kind(&self) -> &'static str {
        "TransformerEncoder"
    }

    fn details(&self) -> String {
        self.block.details()
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        self.build_all(&[input], cx)
    }

    fn build_all(&self, inputs: &[SampleShape], cx: &mut Build) -> Result<Built> {
        let &[input, ref mask @ ..] = inputs else {
            return Err(Error::argument("build", "expects at least one input, got none"));
        };
        check_mask(input, mask)?;
        Ok(Built::new(
            EncoderModule { parts: Parts::of(&self.block, &self.weights, false, input, cx)? },
            input,
        ))
    }
}

/// That what comes behind a sequence is at most one mask of its length.
fn check_mask(sequence: SampleShape, rest: &[SampleShape]) -> Result<()> {
    match rest {
        [] => Ok(()),
        [mask]
            if mask.rank() == 1 && (mask[0] == sequence[0] || mask[0].is_none() || sequence[0].is_none()) =>
        {
            Ok(())
        }
        _ => {
            let shapes = rest.iter().map(SampleShape::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("expects one mask [time] for a sequence {sequence}, got {shapes}");
            Err(Error::shape("build", message))
        }
    }
}

/// Options that hide what is padded: `[batch, keys]`, 0 where nobody looks.
fn padding(mask: &Tensor) -> Result<AttentionOptions> {
    let &[batch, keys] = mask.dims() else {
        let message = format!("expects a mask [batch, time], got {}", mask.shape());
        return Err(Error::shape("Transformer", message));
    };
    Ok(AttentionOptions::new().mask(&mask.ne(0)?.reshape([batch, 1, 1, keys])?))
}

/// What both kinds of blocks have.
struct Parts {
    attention: Attention,
    attention_residual: Residual,
    feed_forward: FeedForward,
    feed_forward_residual: Residual,
}

impl Parts {
    fn of(
        block: &Settings,
        weights: &WeightSettings,
        causal: bool,
        input: SampleShape,
        cx: &mut Build,
    ) -> Result<Parts> {
        let features = sequence(cx, input)?;
        let mut attention = block.attention(features, weights)?.causal(causal);
        if let Some(base) = block.rotary {
            attention = attention.rotary(base);
        }
        Ok(Parts {
            attention: attention.attention([features; 3], cx)?,
            attention_residual: block.residual(input, weights, cx)?,
            feed_forward: block.feed_forward(input, weights, cx)?,
            feed_forward_residual: block.residual(input, weights, cx)?,
        })
    }

    fn attend(&self, x: &Tensor, options: &AttentionOptions, cx: &Context) -> Result<Tensor> {
        self.attention_residual.around(x, cx, |x| self.attention.forward_self(x, options, cx))
    }

    fn feed(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.feed_forward_residual.around(x, cx, |x| self.feed_forward.forward(x, cx))
    }
}

struct EncoderModule {
    parts: Parts,
}

impl Module for EncoderModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.parts.feed(&self.parts.attend(x, &AttentionOptions::new(), cx)?, cx)
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        Ok(vec![match inputs {
            [x] => self.forward(x, cx)?,
            [x, mask] => self.parts.feed(&self.parts.attend(x, &padding(mask)?, cx)?, cx)?,
            _ => {
                let message = format!("expects a sequence and a mask at most, got {} inputs", inputs.len());
                return Err(Error::argument("TransformerEncoder", message));
            }
        }])
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.module("attention", &self.parts.attention);
        self.parts.attention_residual.visit("attention_norm", parameters);
        parameters.module("feedforward", &self.parts.feed_forward);
        self.parts.feed_forward_residual.visit("feedforward_norm", parameters);
    }
}

/// A block of a transformer's decoder (Vaswani et al., 2017), KerasHub's `TransformerDecoder` and PyTorch's
/// `TransformerDecoderLayer`: as [`TransformerEncoder`], but each place sees those up to itself only. With one input it is a block
/// of a GPT. With a second one (see [`Functional::layer_all`](crate::nn::Functional::layer_all)), an encoder's output of whatever
/// features and length, it attends to that as well before the dense layers; a third is a mask `[time]` that is 0 where that is
/// padded.
///
/// Parameters: as the encoder's; `cross_attention` and `cross_attention_norm` where there is a second input.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Functional, TransformerDecoder, TransformerEncoder};
/// # fn main() -> Result<()> {
/// let mut net = Functional::new(Device::Cpu);
/// let (source, target) = (net.input("source", (None, 16))?, net.input("target", (None, 16))?);
/// let memory = net.layer(TransformerEncoder::new(32, 2), source)?;
/// let y = net.layer_all(TransformerDecoder::new(32, 2), &[target, memory])?;
/// let model = net.build(&[("y", y)])?;
/// let inputs = [Tensor::ones([1, 5, 16], Device::Cpu)?, Tensor::ones([1, 3, 16], Device::Cpu)?];
/// assert_eq!(model.infer_all(&inputs)?[0].shape(), [1, 3, 16]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`TransformerEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct TransformerDecoder {
    block: Settings,
    weights: WeightSettings,
}

block_methods!(TransformerDecoder);
kernel_methods!(TransformerDecoder);

impl Layer for TransformerDecoder {
    fn kind(&self) -> &'static str {
        "TransformerDecoder"
    }

    fn details(&self) -> String {
        self.block.details()
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        self.build_all(&[input], cx)
    }

    fn build_all(&self, inputs: &[SampleShape], cx: &mut Build) -> Result<Built> {
        let &[input, ref rest @ ..] = inputs else {
            return Err(Error::argument("build", "expects at least one input, got none"));
        };
        let parts = Parts::of(&self.block, &self.weights, true, input, cx)?;
        let cross = match rest {
            [] => None,
            [memory, mask @ ..] => {
                let (features, of_memory) = (sequence(cx, input)?, sequence(cx, *memory)?);
                check_mask(*memory, mask)?;
                let attention = self.block.attention(features, &self.weights)?;
                let attention = attention.attention([features, of_memory, of_memory], cx)?;
                Some((attention, self.block.residual(input, &self.weights, cx)?))
            }
        };
        Ok(Built::new(DecoderModule { parts, cross }, input))
    }
}

struct DecoderModule {
    parts: Parts,
    /// To another sequence.
    cross: Option<(Attention, Residual)>,
}

impl DecoderModule {
    fn run(&self, x: &Tensor, memory: Option<(&Tensor, AttentionOptions)>, cx: &Context) -> Result<Tensor> {
        let mut y = self.parts.attend(x, &AttentionOptions::new(), cx)?;
        match (&self.cross, memory) {
            (None, None) => {}
            (Some((attention, residual)), Some((memory, options))) => {
                let attend = |y: &Tensor| attention.forward_with(y, memory, memory, &options, cx);
                y = residual.around(&y, cx, attend)?;
            }
            (cross, _) => {
                let (built, given) = if cross.is_some() { ("a second", "none") } else { ("one", "a second") };
                let message = format!("the block was built for {built} input, and is given {given}");
                return Err(Error::argument("TransformerDecoder", message));
            }
        }
        self.parts.feed(&y, cx)
    }
}

impl Module for DecoderModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.run(x, None, cx)
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        let (x, memory) = match inputs {
            [x] => (x, None),
            [x, memory] => (x, Some((memory, AttentionOptions::new()))),
            [x, memory, mask] => (x, Some((memory, padding(mask)?))),
            _ => {
                let message = format!(
                    "expects a sequence, a second one and a mask at most, got {} inputs",
                    inputs.len()
                );
                return Err(Error::argument("TransformerDecoder", message));
            }
        };
        Ok(vec![self.run(x, memory, cx)?])
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.module("attention", &self.parts.attention);
        self.parts.attention_residual.visit("attention_norm", parameters);
        if let Some((attention, residual)) = &self.cross {
            parameters.module("cross_attention", attention);
            residual.visit("cross_attention_norm", parameters);
        }
        parameters.module("feedforward", &self.parts.feed_forward);
        self.parts.feed_forward_residual.visit("feedforward_norm", parameters);
    }
}
