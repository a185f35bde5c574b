//! Layers by kind: from the settings in a file to a layer.

use super::{
    Activation, AvgPool2d, BatchNorm, Conv2d, ConvTranspose2d, Cropping2d, Dense, DepthwiseConv2d, Dropout,
    Embedding, Flatten, GaussianNoise, GlobalAvgPool2d, GlobalMaxPool2d, GroupNorm, Layer, LayerNorm,
    MaxPool2d, PRelu, Permute, Reshape, SeparableConv2d, Sequential, Softmax, SpatialDropout2d, UpSample2d,
    ZeroPad2d,
};
use crate::data::Augment;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

type Make = fn(&Value) -> serde_json::Result<Box<dyn Layer>>;

/// The kinds of layers that a model can be loaded with: all of wgrad's, and those that were added.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Layer, Layers};
/// # fn main() -> Result<()> {
/// let config = Dense::new(10).config()?;
/// let again = Layers::default().make("Dense", &config)?;
/// assert_eq!(again.details(), "10");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Layers {
    makers: BTreeMap<&'static str, Make>,
}

impl Layers {
    /// As well layers of a kind of one's own, whose [`Layer::config`] gives what `Deserialize` reads.
    pub fn with<L: Layer + DeserializeOwned + 'static>(mut self, kind: &'static str) -> Layers {
        self.makers.insert(kind, |value| Ok(Box::new(L::deserialize(value)?)));
        self
    }

    /// The known kinds, in alphabetical order.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.makers.keys().copied().collect()
    }

    /// A layer of a kind with these settings.
    ///
    /// # Errors
    ///
    /// The kind is unknown, or its settings are others.
    pub fn make(&self, kind: &str, config: &Value) -> Result<Box<dyn Layer>> {
        if kind == "Sequential" {
            return Ok(Box::new(Sequential::from_config(config, |kind, config| self.make(kind, config))?));
        }
        let Some(make) = self.makers.get(kind) else {
            let known = self.kinds();
            let message = format!(
                "no layer of kind {kind} is known; add it with Layers::with. Known are {}",
                known.join(", ")
            );
            return Err(Error::argument("Layers::make", message));
        };
        make(config).map_err(|e| Error::argument("Layers::make", format!("settings of a {kind}: {e}")))
    }
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds()).finish()
    }
}

impl Default for Layers {
    fn default() -> Layers {
        Layers { makers: BTreeMap::new() }
            .with::<Activation>("Activation")
            .with::<Augment>("Augment")
            .with::<AvgPool2d>("AvgPool2d")
            .with::<BatchNorm>("BatchNorm")
            .with::<Conv2d>("Conv2d")
            .with::<ConvTranspose2d>("ConvTranspose2d")
            .with::<Cropping2d>("Cropping2d")
            .with::<Dense>("Dense")
            .with::<DepthwiseConv2d>("DepthwiseConv2d")
            .with::<Dropout>("Dropout")
            .with::<Embedding>("Embedding")
            .with::<Flatten>("Flatten")
            .with::<GaussianNoise>("GaussianNoise")
            .with::<GlobalAvgPool2d>("GlobalAvgPool2d")
            .with::<GlobalMaxPool2d>("GlobalMaxPool2d")
            .with::<GroupNorm>("GroupNorm")
            .with::<LayerNorm>("LayerNorm")
            .with::<MaxPool2d>("MaxPool2d")
            .with::<PRelu>("PRelu")
            .with::<Permute>("Permute")
            .with::<Reshape>("Reshape")
            .with::<SeparableConv2d>("SeparableConv2d")
            .with::<Softmax>("Softmax")
            .with::<SpatialDropout2d>("SpatialDropout2d")
            .with::<UpSample2d>("UpSample2d")
            .with::<ZeroPad2d>("ZeroPad2d")
    }
}
