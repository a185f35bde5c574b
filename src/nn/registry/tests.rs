//! One layer of each kind: whatever its settings, and in f64.

use super::*;
use crate::nn::{
    AvgPool2d, BatchNorm, Build, Context, ConvTranspose2d, Embedding, GlobalAvgPool2d, LayerNorm, Reshape,
    Softmax, UpSample2d, ZeroPad2d, floats_as, is_stateful,
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
        Box::new(AvgPool3d::new([2, 1, 2]).padding(Padding3d::Explicit([1, 0, 0, 0, 1, 1])).ceil_mode(true)),
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
            MultiHeadAttention::new(2, 4).kv_heads(1).value_dim(3).output_dim(5).dropout(0.1).rotary(10.0),
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

/// A layer of each kind with its settings, and those that the kinds leave out, with a sample that it takes.
fn each_with_sample() -> Vec<(Box<dyn Layer>, SampleShape)> {
    let layers = Layers::default();
    let mut list: Vec<Box<dyn Layer>> =
        all().into_iter().map(|(kind, settings)| layers.make_of(kind, &settings).unwrap()).collect();
    list.push(Box::new(AvgPool2d::new([2, 2]).ceil_mode(true)));
    list.push(Box::new(SpectralNorm::new(Dense::new(3))));
    list.push(Box::new(SpectralNorm::new(Conv2d::new(4, [2, 2]))));
    list.push(Box::new(Sequential::new().add(Dense::new(3)).add(Activation::Gelu).add(BatchNorm::new())));
    list.push(Box::new(Lstm::new(2).stateful(true).return_sequences(true)));
    let samples: [&[usize]; 6] = [&[4, 4, 4], &[3, 4, 4, 4], &[6, 4], &[64], &[3], &[2, 4, 8]];
    let found: Vec<(Box<dyn Layer>, SampleShape)> = list
        .into_iter()
        .filter_map(|layer| {
            let takes = |sample: &&&[usize]| {
                let sample = SampleShape::new(**sample).unwrap();
                let built = Build::new(Device::Cpu, 0).layer(copy(&*layer), sample);
                built.is_ok_and(|built| {
                    built
                        .forward(&input(&*layer, sample, 0), &Context::train(1))
                        .and_then(|y| y.eval())
                        .is_ok()
                })
            };
            let sample = SampleShape::new(*samples.iter().find(takes)?).unwrap();
            Some((layer, sample))
        })
        .collect();
    // Some settings above are only to be read: but each kind is here.
    let missing: Vec<&str> =
        layers.kinds().into_iter().filter(|kind| !found.iter().any(|(l, _)| l.kind() == *kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    found
}

fn copy(layer: &dyn Layer) -> Box<dyn Layer> {
    Layers::default().make(layer.kind(), &layer.config().unwrap()).unwrap()
}

/// A batch of two for a layer.
fn input(layer: &dyn Layer, sample: SampleShape, seed: u64) -> Tensor {
    let dims: Vec<usize> = std::iter::once(2).chain(sample.iter().map(|d| d.unwrap())).collect();
    match layer.kind() {
        "Embedding" | "CategoryEncoding" | "IntegerLookup" => {
            Tensor::randint(0, 5, dims, Device::Cpu, seed).unwrap().cast(DType::U32).unwrap()
        }
        _ => Tensor::randn(dims, Device::Cpu, seed).unwrap(),
    }
}

fn numbers(t: &Tensor) -> Vec<f64> {
    t.cast(DType::F64).unwrap().to_vec::<f64>().unwrap()
}

#[track_caller]
fn assert_near(single: &Tensor, double: &Tensor, what: &str) {
    assert_eq!(single.shape(), double.shape(), "{what}");
    let (single, double) = (numbers(single), numbers(double));
    let largest = double.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (a, b)) in single.iter().zip(&double).enumerate() {
        assert!((a - b).abs() <= 2e-5 * largest, "{what}, element {i}: {a} in f32, {b} in f64");
    }
}

#[test]
fn every_layer_computes_in_f64_what_it_does_in_f32() {
    for (layer, sample) in each_with_sample() {
        let kind = layer.kind();
        let built =
            |dtype| Build::new(Device::Cpu, 3).with_dtype(dtype).layer(copy(&*layer), sample).unwrap();
        let (single, double) = (built(DType::F32), built(DType::F64));
        // Weights of one seed are near each other, and neither type has those of the other.
        for (a, b) in single.parameters().iter().zip(double.parameters()) {
            let (a, b) = (a.variable.value(), b.variable.value());
            assert_eq!((a.dtype(), b.dtype()), (DType::F32, DType::F64), "{kind}");
            assert_near(&a, &b, kind);
        }
        let double = built(DType::F32);
        double.to_dtype(DType::F64).unwrap();
        let x = input(&*layer, sample, 5);
        let wide = floats_as(&x, DType::F64).unwrap();
        for cx in [|| Context::eval(), || Context::train(9)] as [fn() -> Context; 2] {
            let (short, long) = (cx(), cx());
            let x = if x.dtype().is_float() { x.watch().unwrap() } else { x.clone() };
            let wide = if wide.dtype().is_float() { wide.watch().unwrap() } else { wide.clone() };
            let (y, z) = (single.forward(&x, &short).unwrap(), double.forward(&wide, &long).unwrap());
            if y.dtype().is_float() && x.dtype().is_float() {
                assert_eq!(z.dtype(), DType::F64, "{kind}");
            }
            assert_near(&y, &z, kind);
            if !z.is_tracked() {
                continue;
            }
            let grads = |y: &Tensor| {
                let slopes = Tensor::randn(y.shape(), Device::Cpu, 8).unwrap().cast(y.dtype()).unwrap();
                (y * slopes).unwrap().sum(.., false).unwrap().backward().unwrap()
            };
            let (narrow, grads) = (grads(&y), grads(&z));
            for (a, b) in single.parameters().iter().zip(double.parameters()).filter(|(p, _)| p.trainable()) {
                let (a, b) =
                    (narrow.get_or_zeros(&a.variable).unwrap(), grads.get_or_zeros(&b.variable).unwrap());
                assert_eq!(b.dtype(), DType::F64, "{kind}");
                assert_near(&a, &b, &format!("{kind}, gradient"));
            }
            if wide.dtype().is_float() {
                let (a, b) = (narrow.get_or_zeros(&x).unwrap(), grads.get_or_zeros(&wide).unwrap());
                assert_eq!(b.dtype(), DType::F64, "{kind}");
                assert_near(&a, &b, &format!("{kind}, gradient of the input"));
            }
        }
        assert!(double.parameters().iter().all(|p| p.variable.value().dtype() == DType::F64), "{kind}");
    }
}

#[test]
fn gradients_of_every_layer_in_f64_are_those_of_differences() {
    for (layer, sample) in each_with_sample() {
        let built = Build::new(Device::Cpu, 3).with_dtype(DType::F64).layer(copy(&*layer), sample).unwrap();
        // What these compute moves with each pass.
        if layer.kind() == "SpectralNorm" || is_stateful(&built) {
            continue;
        }
        let x = floats_as(&input(&*layer, sample, 6), DType::F64).unwrap();
        crate::testing::check_module_gradients(&built, &[x])
            .unwrap_or_else(|e| panic!("{} {}: {e}", layer.kind(), layer.details()));
    }
}
