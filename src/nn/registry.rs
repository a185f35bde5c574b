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
    /// The JSON is none of a model, or names a kind of layer that `layers` doesn't know.
    pub fn from_config(config: &Config, layers: &Layers, seed: u64, device: Device) -> Result<Model> {
        Self::of_config(&config.0, layers, Build::new(device, seed))
    }

    /// As [`from_config`](Self::from_config), with weights that take no memory until they are set.
    pub(crate) fn from_config_unset(config: &Value, layers: &Layers, device: Device) -> Result<Model> {
        Self::of_config(config, layers, Build::unset(device))
    }

    fn of_config(config: &Value, layers: &Layers, mut cx: Build) -> Result<Model> {
        const OP: &str = "Model::from_config";
        let device = cx.device();
        device.check()?;
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
        Ok(Model::new(network, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        AvgPool2d, BatchNorm, Build, Context, ConvTranspose2d, Embedding, GlobalAvgPool2d, LayerNorm,
        Reshape, Softmax, UpSample2d, ZeroPad2d,
    };
    use crate::prelude::*;
    use crate::text::OutputMode;
    use crate::{Interpolation, Padding1d, Padding3d, Shape};
    use serde_json::json;

    /// The places of the numbers in settings.
    fn places(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Number(_) => out.push(path.to_string()),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| places(v, &format!("{path}/{i}"), out));
            }
            Value::Object(map) => map.iter().for_each(|(k, v)| places(v, &format!("{path}/{k}"), out)),
            _ => {}
        }
    }

    /// One of each kind, with settings in which every number stands.
    fn all() -> Vec<(&'static str, Value)> {
        use crate::nn::{
            Cropping2d, DepthwiseConv2d, GaussianNoise, GlobalMaxPool2d, GroupNorm, PRelu, Permute,
            SeparableConv2d, SpatialDropout2d,
        };
        let explicit = Padding::Explicit([1, 0, 2, 1]);
        let layers: Vec<Box<dyn Layer>> = vec![
            Box::new(Activation::Relu),
            Box::new(ActivityRegularization::new(crate::nn::Regularizer::l1_l2(0.1, 0.2))),
            Box::new(AlphaDropout::new(0.5)),
            Box::new(Augment::new().crop([2, 2]).shift(0.1, 0.1).zoom(0.1).rotate(5.0)),
            Box::new(AdaptiveAvgPool2d::new([2, 3])),
            Box::new(AdaptiveMaxPool2d::new([3, 2])),
            Box::new(AvgPool2d::new([2, 2]).padding(explicit).ceil_mode(true)),
            Box::new(AvgPool1d::new(2).padding(Padding1d::Explicit([1, 0]))),
            Box::new(Conv1d::new(4, 2).groups(2).padding(Padding1d::Causal)),
            Box::new(Conv1d::new(4, 2).padding(Padding1d::Explicit([1, 2]))),
            Box::new(ConvTranspose1d::new(4, 2).padding(Padding1d::Explicit([1, 0])).output_padding(0)),
            Box::new(ConvTranspose1d::new(4, 2).padding(Padding1d::Same)),
            Box::new(Cropping1d::new([1, 0])),
            Box::new(DepthwiseConv1d::new(2).depth_multiplier(2)),
            Box::new(GlobalAvgPool1d::new()),
            Box::new(GlobalMaxPool1d::new().keep_dims(true)),
            Box::new(MaxPool1d::new(2).stride(1).padding(Padding1d::Same)),
            Box::new(SeparableConv1d::new(4, 2).depth_multiplier(2)),
            Box::new(UpSample1d::new(2)),
            Box::new(ZeroPad1d::new([1, 2])),
            Box::new(
                AvgPool3d::new([2, 1, 2]).padding(Padding3d::Explicit([1, 0, 0, 0, 1, 1])).ceil_mode(true),
            ),
            Box::new(Conv3d::new(4, [2, 1, 2]).groups(2).padding(Padding3d::Explicit([1, 0, 0, 2, 1, 1]))),
            Box::new(Conv3d::new(4, [2, 2, 1]).padding(Padding3d::Same)),
            Box::new(
                ConvTranspose3d::new(4, [2, 1, 2])
                    .padding(Padding3d::Explicit([1, 0, 0, 0, 0, 1]))
                    .output_padding([0; 3]),
            ),
            Box::new(ConvTranspose3d::new(4, [2, 2, 1]).groups(2).padding(Padding3d::Same)),
            Box::new(Cropping3d::new([1, 0, 0, 1, 1, 0])),
            Box::new(GlobalAvgPool3d::new()),
            Box::new(GlobalMaxPool3d::new().keep_dims(true)),
            Box::new(MaxPool3d::new([2, 1, 2]).stride([1, 1, 2]).padding(Padding3d::Same)),
            Box::new(UpSample3d::new([2, 1, 3]).interpolation(Interpolation::Bilinear)),
            Box::new(ZeroPad3d::new([1, 2, 0, 1, 3, 0])),
            Box::new(BatchNorm::new()),
            Box::new(BatchNorm::new().synchronized(true)),
            Box::new(Bidirectional::new(Gru::new(2).dropout(0.5))),
            Box::new(Gru::new(2).recurrent_dropout(0.5).return_sequences(true)),
            Box::new(Lstm::new(2)),
            Box::new(SimpleRnn::new(2).return_sequences(true)),
            Box::new(TimeDistributed::new(Dense::new(2))),
            Box::new(Conv2d::new(4, [2, 2]).groups(2).padding(explicit)),
            Box::new(Conv2d::new(4, [2, 2]).padding(Padding::Same)),
            Box::new(ConvTranspose2d::new(4, [2, 2]).groups(2).padding(explicit).output_padding([0, 0])),
            Box::new(ConvTranspose2d::new(4, [2, 2]).padding(Padding::Same)),
            Box::new(Cropping2d::new([1, 0, 1, 0])),
            Box::new(Dense::new(3)),
            Box::new(CategoryEncoding::new(5).output(OutputMode::Count)),
            Box::new(Discretization::with_boundaries(&[0.5, 1.5]).output(OutputMode::OneHot)),
            Box::new(IntegerLookup::new().oov_indices(2).mask(7).with_vocabulary([3, 5]).unwrap()),
            Box::new(Normalization::with_statistics(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0])),
            Box::new(Rescaling::new(2.0).offset(1.0)),
            Box::new(DepthwiseConv2d::new([2, 2]).depth_multiplier(2)),
            Box::new(Dropout::new(0.5)),
            Box::new(Embedding::new(10, 4)),
            Box::new(Flatten::new()),
            Box::new(GaussianNoise::new(0.1)),
            Box::new(GlobalAvgPool2d::new()),
            Box::new(GlobalMaxPool2d::new().keep_dims(true)),
            Box::new(GroupNorm::new(2)),
            Box::new(LayerNorm::new().axes([0, -1])),
            Box::new(MaxPool2d::new([2, 2]).stride([1, 1])),
            Box::new(PRelu::new().shared_axes([0, 1])),
            Box::new(Permute::new([1, 0, 2])),
            Box::new(Reshape::new([2, 4, 8])),
            Box::new(SeparableConv2d::new(4, [2, 2]).depth_multiplier(2)),
            Box::new(Softmax::new()),
            Box::new(SpatialDropout2d::new(0.5)),
            Box::new(UpSample2d::new([2, 3])),
            Box::new(UpSample2d::new([2, 3]).interpolation(Interpolation::Bilinear)),
            Box::new(ZeroPad2d::new([1, 2, 3, 4])),
            Box::new(
                MultiHeadAttention::new(2, 4)
                    .kv_heads(1)
                    .value_dim(3)
                    .output_dim(5)
                    .dropout(0.1)
                    .rotary(10.0),
            ),
            Box::new(InstanceNorm::new()),
            Box::new(RmsNorm::new()),
            Box::new(UnitNorm::new().axes([0, -1])),
            Box::new(PositionEmbedding::new(7)),
            Box::new(SinePositionEncoding::new()),
            Box::new(TransformerDecoder::new(4, 2).kv_heads(1).rotary(10.0)),
            Box::new(TransformerEncoder::new(4, 2).kv_heads(1).dropout(0.1)),
        ];
        layers.iter().map(|l| (l.kind(), l.config().unwrap().0)).collect()
    }

    /// Sizes in a file overflowed multiplications, which debug builds notice and release builds don't.
    #[test]
    fn no_number_in_a_layers_settings_makes_building_or_calling_it_panic() {
        let layers = Layers::default();
        let known: Vec<&str> = all().iter().map(|(kind, _)| *kind).collect();
        assert!(layers.kinds().iter().all(|kind| known.contains(kind)), "{:?}", layers.kinds());
        let half = usize::MAX / 2 + 1;
        let numbers = [
            json!(0),
            json!(1),
            json!(3),
            json!(-1),
            json!(i64::MIN),
            json!(i32::MAX),
            json!(1u64 << 31),
            json!(u32::MAX),
            json!(1u64 << 32),
            json!(half),
            json!(usize::MAX - 1),
            json!(usize::MAX),
            json!(1e300),
            json!(-0.5),
        ];
        let samples: [&[usize]; 11] = [
            &[3, 4],
            &[3, 4, 2, 4],
            &[1, 1 << 15, 1 << 15, 2],
            &[4, 4, 4],
            &[4, 4],
            &[64],
            &[],
            &[1, 1, 1 << 31],
            &[1 << 15, 1 << 15, 2],
            &[u32::MAX as usize],
            &[2; 7],
        ];
        // Open where the sample of a batch has something else.
        let open: [(&[Option<usize>], &[usize]); 7] = [
            (&[None, None, Some(4), Some(2)], &[3, 0, 4, 2]),
            (&[None, None, Some(4)], &[4, 4, 4]),
            (&[Some(4), None, Some(4)], &[4, 7, 4]),
            (&[None, Some(4), None], &[0, 4, 3]),
            (&[None], &[64]),
            (&[None; 3], &[1 << 15, 1 << 15, 2]),
            (&[None; 7], &[2; 7]),
        ];
        let open = open.map(|(shape, sample)| (SampleShape::new(shape).unwrap(), sample));
        let samples = samples.map(|sample| (SampleShape::new(sample).unwrap(), sample));
        let (mut built, mut called) = (0, 0);
        for (kind, settings) in all() {
            let mut at = Vec::new();
            places(&settings, "", &mut at);
            let mut variants = vec![settings.clone()];
            for (i, path) in at.iter().enumerate() {
                for number in &numbers {
                    let mut changed = settings.clone();
                    *changed.pointer_mut(path).unwrap() = number.clone();
                    variants.push(changed.clone());
                    // The next number, too: what multiplies is rarely alone.
                    if let Some(next) = at.get(i + 1) {
                        *changed.pointer_mut(next).unwrap() = number.clone();
                        variants.push(changed);
                    }
                }
            }
            for settings in variants {
                let Ok(layer) = layers.make_of(kind, &settings) else { continue };
                for (shape, sample) in samples.into_iter().chain(open) {
                    let Ok(built_layer) = layer.build(shape, &mut Build::unset(Device::Cpu)) else {
                        continue;
                    };
                    built += 1;
                    for batch in [2, 1 << 20] {
                        let Ok(shape) = Shape::new(&[&[batch], sample].concat()) else { continue };
                        let x = Tensor::zeros(shape, Device::Cpu).unwrap();
                        let x = if ["Embedding", "CategoryEncoding", "IntegerLookup"].contains(&kind) {
                            x.cast(DType::U32).unwrap()
                        } else {
                            x
                        };
                        for cx in [Context::eval(), Context::train(1)] {
                            let Ok(y) = built_layer.module.forward(&x, &cx) else { continue };
                            called += 1;
                            assert!(built_layer.output.admits(&y.dims()[1..]), "{kind} {settings}");
                        }
                    }
                }
            }
        }
        assert!(built > 500 && called > 500, "{built} {called}");
    }
}
