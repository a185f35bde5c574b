//! A recurrent layer in both directions.

use super::layers::RecurrentLayer;
use super::module::Recurrent;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What [`Bidirectional`] makes of the outputs of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BidirectionalMerge {
    /// One behind the other, `2 * units` features.
    #[default]
    Concat,
    /// The sum.
    Sum,
    /// The product.
    Multiply,
    /// The mean.
    Average,
}

/// A recurrent layer twice, with weights of its own for each direction (Schuster and Paliwal, 1997): from the first step to the last
/// one and back. `[time, features]` to `[2 * units]`, or to `[time, 2 * units]` where the layer returns sequences, whose rows are
/// those of the same steps. Weights as those of the layer, behind `forward.` and `backward.`.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Bidirectional, Gru};
/// # fn main() -> Result<()> {
/// let layer = Bidirectional::new(Gru::new(8).return_sequences(true));
/// let model = Sequential::new().add(layer).build((None, 3), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([2, 20, 3], Device::Cpu)?)?.shape(), [2, 20, 16]);
/// assert_eq!(model.parameters()[0].name, "bidirectional.forward.weight");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses what the layer refuses.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Bidirectional {
    layer: RecurrentLayer,
    merge: BidirectionalMerge,
}

impl Bidirectional {
    /// The layer in both directions, outputs one behind the other. (If it goes backwards, the two change their places.)
    pub fn new(layer: impl Into<RecurrentLayer>) -> Bidirectional {
        Bidirectional { layer: layer.into(), merge: BidirectionalMerge::Concat }
    }

    /// What becomes of the two outputs.
    pub fn merge(mut self, merge: BidirectionalMerge) -> Bidirectional {
        self.merge = merge;
        self
    }
}

impl Layer for Bidirectional {
    fn kind(&self) -> &'static str {
        "Bidirectional"
    }

    fn details(&self) -> String {
        let common = self.layer.common();
        format!("{} {}{}", self.layer.kind(), common.units, common.recurrent.suffix())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let [time, _] = cx.sequence(input)?;
        let features = cx.features(input)?;
        let mut turned = self.layer.clone();
        let recurrent = turned.recurrent_mut();
        recurrent.go_backwards = !recurrent.go_backwards;
        let forward = Recurrent::new(self.layer.clone(), features, cx)?;
        let backward = Recurrent::new(turned, features, cx)?;
        let mut output = forward.sample_output(time)?.to_vec();
        if self.merge == BidirectionalMerge::Concat
            && let Some(last) = output.last_mut()
        {
            *last = last.map(|units| units.saturating_mul(2));
        }
        let module = BidirectionalModule { forward, backward, merge: self.merge };
        Ok(Built::new(module, SampleShape::new(output)?))
    }
}

struct BidirectionalModule {
    forward: Recurrent,
    backward: Recurrent,
    merge: BidirectionalMerge,
}

impl Module for BidirectionalModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let output = |module: &Recurrent| {
            let (rows, state) = module.rows(x, None, None, cx)?;
            rows.or_else(|| state.into_iter().next())
                .ok_or_else(|| Error::internal("a recurrent layer has no state"))
        };
        let (a, b) = (output(&self.forward)?, output(&self.backward)?);
        for y in [&a, &b] {
            self.forward.penalize(y, cx)?;
        }
        match self.merge {
            BidirectionalMerge::Concat => Tensor::concat(&[&a, &b], -1),
            BidirectionalMerge::Sum => a + b,
            BidirectionalMerge::Multiply => a * b,
            BidirectionalMerge::Average => (a + b)? * 0.5,
        }
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.module("forward", &self.forward);
        parameters.module("backward", &self.backward);
    }
}
