//! Layers by kind: from the settings in a file to a layer.

use super::augment::Augment;
use super::layer::Build;
use super::network::Network;
use super::preprocessing::{CategoryEncoding, Discretization, IntegerLookup, Normalization, Rescaling};
use super::{
    Activation, ActivityRegularization, AdaptiveAvgPool2d, AdaptiveMaxPool2d, AlphaDropout, AvgPool1d,
    AvgPool2d, AvgPool3d, BatchNorm, Bidirectional, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d,
    ConvTranspose3d, Cropping1d, Cropping2d, Cropping3d, Dense, DepthwiseConv1d, DepthwiseConv2d, Dropout,
    Embedding, Flatten, GaussianNoise, GlobalAvgPool1d, GlobalAvgPool2d, GlobalAvgPool3d, GlobalMaxPool1d,
    GlobalMaxPool2d, GlobalMaxPool3d, GroupNorm, Gru, InstanceNorm, Layer, LayerNorm, Lstm, MaxPool1d,
    MaxPool2d, MaxPool3d, Merge, Model, MultiHeadAttention, PRelu, Permute, PositionEmbedding, Reshape,
    RmsNorm, SampleShape, SeparableConv1d, SeparableConv2d, Sequential, SimpleRnn, SinePositionEncoding,
    Softmax, SpatialDropout2d, SpectralNorm, TimeDistributed, TransformerDecoder, TransformerEncoder,
    UnitNorm, UpSample1d, UpSample2d, UpSample3d, ZeroPad1d, ZeroPad2d, ZeroPad3d,
};
use crate::config::Config;
use crate::device::Device;
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
#[must_use]
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
    pub fn make(&self, kind: &str, config: &Config) -> Result<Box<dyn Layer>> {
        self.make_of(kind, &config.0)
    }

    pub(super) fn make_of(&self, kind: &str, config: &Value) -> Result<Box<dyn Layer>> {
        if kind == "Sequential" {
            return Ok(Box::new(Sequential::from_config(config, |kind, config| self.make_of(kind, config))?));
        }
        if kind == "TimeDistributed" {
            let layer = TimeDistributed::from_config(config, |kind, config| self.make_of(kind, config))?;
            return Ok(Box::new(layer));
        }
        if kind == "SpectralNorm" {
            let layer = SpectralNorm::from_config(config, |kind, config| self.make_of(kind, config))?;
            return Ok(Box::new(layer));
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
            .with::<ActivityRegularization>("ActivityRegularization")
            .with::<AdaptiveAvgPool2d>("AdaptiveAvgPool2d")
            .with::<AdaptiveMaxPool2d>("AdaptiveMaxPool2d")
            .with::<AlphaDropout>("AlphaDropout")
            .with::<Augment>("Augment")
            .with::<AvgPool1d>("AvgPool1d")
            .with::<AvgPool2d>("AvgPool2d")
            .with::<AvgPool3d>("AvgPool3d")
            .with::<BatchNorm>("BatchNorm")
            .with::<Bidirectional>("Bidirectional")
            .with::<CategoryEncoding>("CategoryEncoding")
            .with::<Conv1d>("Conv1d")
            .with::<Conv2d>("Conv2d")
            .with::<Conv3d>("Conv3d")
            .with::<ConvTranspose1d>("ConvTranspose1d")
            .with::<ConvTranspose2d>("ConvTranspose2d")
            .with::<ConvTranspose3d>("ConvTranspose3d")
            .with::<Cropping1d>("Cropping1d")
            .with::<Cropping2d>("Cropping2d")
            .with::<Cropping3d>("Cropping3d")
            .with::<Dense>("Dense")
            .with::<DepthwiseConv1d>("DepthwiseConv1d")
            .with::<DepthwiseConv2d>("DepthwiseConv2d")
            .with::<Discretization>("Discretization")
            .with::<Dropout>("Dropout")
            .with::<Embedding>("Embedding")
            .with::<Flatten>("Flatten")
            .with::<GaussianNoise>("GaussianNoise")
            .with::<GlobalAvgPool1d>("GlobalAvgPool1d")
            .with::<GlobalAvgPool2d>("GlobalAvgPool2d")
            .with::<GlobalAvgPool3d>("GlobalAvgPool3d")
            .with::<GlobalMaxPool1d>("GlobalMaxPool1d")
            .with::<GlobalMaxPool2d>("GlobalMaxPool2d")
            .with::<GlobalMaxPool3d>("GlobalMaxPool3d")
            .with::<GroupNorm>("GroupNorm")
            .with::<Gru>("Gru")
            .with::<InstanceNorm>("InstanceNorm")
            .with::<IntegerLookup>("IntegerLookup")
            .with::<LayerNorm>("LayerNorm")
            .with::<Lstm>("Lstm")
            .with::<MaxPool1d>("MaxPool1d")
            .with::<MaxPool2d>("MaxPool2d")
            .with::<MaxPool3d>("MaxPool3d")
            .with::<MultiHeadAttention>("MultiHeadAttention")
            .with::<Normalization>("Normalization")
            .with::<PRelu>("PRelu")
            .with::<Permute>("Permute")
            .with::<PositionEmbedding>("PositionEmbedding")
            .with::<Rescaling>("Rescaling")
            .with::<Reshape>("Reshape")
            .with::<RmsNorm>("RmsNorm")
            .with::<SeparableConv1d>("SeparableConv1d")
            .with::<SeparableConv2d>("SeparableConv2d")
            .with::<SimpleRnn>("SimpleRnn")
            .with::<SinePositionEncoding>("SinePositionEncoding")
            .with::<Softmax>("Softmax")
            .with::<SpatialDropout2d>("SpatialDropout2d")
            .with::<TransformerDecoder>("TransformerDecoder")
            .with::<TransformerEncoder>("TransformerEncoder")
            .with::<UnitNorm>("UnitNorm")
            .with::<UpSample1d>("UpSample1d")
            .with::<UpSample2d>("UpSample2d")
            .with::<UpSample3d>("UpSample3d")
            .with::<ZeroPad1d>("ZeroPad1d")
            .with::<ZeroPad2d>("ZeroPad2d")
            .with::<ZeroPad3d>("ZeroPad3d")
    }
}

impl Model {
    /// A model of an architecture that [`config`](Self::config) wrote down, with fresh weights.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::nn::Layers;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dense::new(10)).build([4], Device::Cpu)?;
    /// let twin = Model::from_config(&model.config()?, &Layers::default(), 7, Device::Cpu)?;
    /// assert_eq!(twin.parameter_count(), model.parameter_count());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The JSON is none of a model, or names a kind of layer that `layers` doesn't know; a model in f64 on a GPU.
    pub fn from_config(config: &Config, layers: &Layers, seed: u64, device: Device) -> Result<Model> {
        Self::of_config(&config.0, layers, Build::new(device, seed))
    }

    /// As [`from_config`](Self::from_config), with weights that take no memory until they are set.
    pub(crate) fn from_config_unset(config: &Value, layers: &Layers, device: Device) -> Result<Model> {
        Self::of_config(config, layers, Build::unset(device))
    }

    fn of_config(config: &Value, layers: &Layers, mut cx: Build) -> Result<Model> {
        const OP: &str = "Model::from_config";
        if let Some(dtype) = config["dtype"].as_str() {
            cx = cx.with_dtype(dtype.parse().map_err(|e: Error| e.named(OP))?);
        }
        cx.check().map_err(|e| e.named(OP))?;
        let wrong = |what: &str| Error::argument(OP, format!("the architecture has no valid {what}"));
        let mut network = Network::default();
        for (i, entry) in config["nodes"].as_array().ok_or_else(|| wrong("nodes"))?.iter().enumerate() {
            let name = entry["name"].as_str().ok_or_else(|| wrong("name of a node"))?;
            let of = |v: &Value| v.as_u64().map(|x| x as usize).filter(|&x| x < i);
            let inputs: Option<Vec<usize>> =
                entry["inputs"].as_array().and_then(|list| list.iter().map(of).collect());
            let inputs = inputs.ok_or_else(|| wrong("wiring"))?;
            if let Some(shape) = entry["input"].as_array() {
                // An open dimension is null.
                let dim = |v: &Value| v.as_u64().map(|n| Some(n as usize)).or(v.is_null().then_some(None));
                let dims: Option<Vec<Option<usize>>> = shape.iter().map(dim).collect();
                let shape = SampleShape::new(dims.ok_or_else(|| wrong("input shape"))?)?;
                network.input(Some(name), shape)?;
            } else if let Some(kind) = entry["layer"]["kind"].as_str() {
                let layer = layers.make_of(kind, &entry["layer"]["config"])?;
                network.layer(Some(name), &layer, &inputs, &mut cx).map_err(|e| e.within(name).named(OP))?;
            } else if let (Some(of), [x]) = (of(&entry["again"]), &*inputs) {
                network.again(Some(name), of, *x).map_err(|e| e.within(name).named(OP))?;
            } else {
                let merge: Merge =
                    serde_json::from_value(entry["merge"].clone()).map_err(|_| wrong("kind of a node"))?;
                network.merge(Some(name), merge, &inputs).map_err(|e| e.within(name).named(OP))?;
            }
        }
        for output in config["outputs"].as_array().ok_or_else(|| wrong("outputs"))? {
            let node = output["node"].as_u64().map(|n| n as usize).filter(|&n| n < network.nodes.len());
            let (Some(name), Some(node)) = (output["name"].as_str(), node) else {
                return Err(wrong("output"));
            };
            network.outputs.push((name.to_string(), node));
        }
        if network.outputs.is_empty() || network.inputs.is_empty() {
            return Err(wrong("inputs and outputs"));
        }
        Ok(Model::new(network, &cx))
    }
}

#[cfg(test)]
mod tests;
