//! Models that are built for any length: one set of weights, several lengths in turn, the numbers of the same computation by
//! tensor operations and in f64, gradients, files, training, and errors that say what doesn't fit.

mod common;

use common::{DEVICES, Rng, assert_close, direction, tensor, values};
use std::path::PathBuf;
use wgrad::data::{Batch, BatchIter, Pass, Source};
use wgrad::nn::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, BatchNorm, Build, Built, Context, ConvTranspose2d,
    Cropping2d, Embedding, Functional, GaussianNoise, GlobalAvgPool2d, GlobalMaxPool2d, GroupNorm,
    Initializer, InstanceNorm, IntoSampleShape, Layer, LayerNorm, Layers, Merge, MultiHeadAttention, PRelu,
    Parameters, Permute, PositionEmbedding, Reshape, RmsNorm, SampleShape, SinePositionEncoding, Softmax,
    SpatialDropout2d, TransformerDecoder, TransformerEncoder, UnitNorm, UpSample2d, UpSample3d, ZeroPad2d,
};
use wgrad::prelude::*;
use wgrad::testing::{assert_module_parity, check_module_gradients};
use wgrad::{Config, INFER};

/// The shape of a sample in which dimensions may be open.
type Open = &'static [Option<usize>];

/// A layer, the shape that it is built for, a batch that doesn't fit, and how the error begins.
type Failing = (Box<dyn Layer>, Open, Vec<usize>, &'static str);

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Rng(seed);
    (0..n).map(|_| f64::from(rng.uniform(-2.0, 2.0) as f32)).collect()
}

fn batch(seed: u64, dims: &[usize], device: Device) -> Result<Tensor> {
    tensor(&numbers(seed, dims.iter().product()), dims, DType::F32, device)
}

/// Words below a vocabulary's size.
fn words(seed: u64, dims: &[usize], vocabulary: usize, device: Device) -> Result<Tensor> {
    let mut rng = Rng(seed);
    let list: Vec<f64> =
        (0..dims.iter().product()).map(|_| rng.uniform(0.0, vocabulary as f64).floor()).collect();
    tensor(&list, dims, DType::U32, device)
}

fn message<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

fn bits(t: &Tensor) -> Result<Vec<u32>> {
    Ok(t.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn build(layer: impl Layer + 'static, sample: impl IntoSampleShape, device: Device) -> Result<Model> {
    Sequential::new().add(layer).seed(3).build(sample, device)
}

/// `tanh(x w + b)` of rows in f64, and its gradients for an upstream gradient: of x, of w, of b.
fn dense_of_rows(x: &[f64], w: &[f64], b: &[f64], g: &[f64]) -> [Vec<f64>; 4] {
    let (units, features) = (b.len(), w.len() / b.len());
    let rows = x.len() / features;
    let (mut y, mut dx) = (vec![0.0; rows * units], vec![0.0; x.len()]);
    let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; units]);
    for r in 0..rows {
        for u in 0..units {
            let sum: f64 = (0..features).map(|f| x[r * features + f] * w[f * units + u]).sum();
            let out = (sum + b[u]).tanh();
            let up = g[r * units + u] * (1.0 - out * out);
            y[r * units + u] = out;
            db[u] += up;
            for f in 0..features {
                dx[r * features + f] += up * w[f * units + u];
                dw[f * units + u] += up * x[r * features + f];
            }
        }
    }
    [y, dx, dw, db]
}

#[test]
fn dense_acts_on_the_last_axis_of_any_rank() -> Result<()> {
    let (features, units) = (7, 5);
    let cases: [(Open, &[&[usize]]); 5] = [
        (&[Some(7)], &[&[4], &[1]]),
        (&[None, Some(7)], &[&[2, 3], &[2, 9], &[1, 1], &[3, 40], &[2, 3]]),
        (&[Some(6), Some(7)], &[&[2, 6]]),
        (&[None, None, Some(7)], &[&[2, 3, 4], &[1, 5, 2]]),
        (&[None, Some(2), None, Some(7)], &[&[1, 3, 2, 4], &[2, 1, 2, 1]]),
    ];
    for device in DEVICES {
        for (sample, batches) in cases {
            let layer = Dense::new(units)
                .activation(Activation::Tanh)
                .bias_initializer(Initializer::RandomNormal { mean: 0.0, std: 0.5 });
            let model = build(layer, sample, device)?;
            assert_eq!(model.output_shape().last(), Some(&Some(units)));
            let (weight, bias) = (&model.parameters()[0].variable, &model.parameters()[1].variable);
            assert_eq!(
                (weight.shape(), bias.shape()),
                (wgrad::Shape::new(&[7, 5])?, wgrad::Shape::new(&[5])?)
            );
            for outer in batches {
                let dims = [outer, &[features][..]].concat();
                let x = batch(11, &dims, device)?.watch()?;
                let y = model.forward(&x, &Context::eval())?;
                assert_eq!(y.dims(), [outer, &[units][..]].concat());
                assert!(model.output_shape().admits(&y.dims()[1..]));
                let upstream = direction(5, y.numel());
                let grads = y.backward_with(&tensor(&upstream, y.dims(), DType::F32, device)?)?;
                let [wanted, dx, dw, db] = dense_of_rows(
                    &values(&x)?,
                    &values(&weight.value())?,
                    &values(&bias.value())?,
                    &upstream,
                );
                let what = format!("{dims:?} on {device}");
                assert_close(&values(&y)?, &wanted, 2e-6, &what);
                assert_close(&values(&grads.get(&x)?)?, &dx, 4e-6, &what);
                assert_close(&values(&grads.get(weight)?)?, &dw, 4e-6, &what);
                assert_close(&values(&grads.get(bias)?)?, &db, 4e-6, &what);
                // The same by operations of tensors, to the bit.
                let rows = x.reshape([dims[..outer.len()].iter().product(), features])?;
                let by_hand = (rows.matmul(weight)? + bias)?.tanh()?.reshape(y.dims())?;
                assert_eq!(bits(&y)?, bits(&by_hand)?, "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_of_dense_layers_match_finite_differences_at_every_rank() -> Result<()> {
    let layer = || Dense::new(3).activation(Activation::Tanh);
    for (sample, x) in [
        (vec![Some(4)], vec![2, 4]),
        (vec![Some(4)], vec![1, 4]),
        (vec![None, Some(4)], vec![2, 3, 4]),
        (vec![None, Some(4)], vec![3, 1, 4]),
        (vec![None, None, Some(4)], vec![2, 1, 3, 4]),
    ] {
        let model = build(layer(), sample, Device::Cpu)?;
        check_module_gradients(&model, &[batch(2, &x, Device::Cpu)?])?;
        assert_module_parity(&model, &[batch(2, &x, Device::Cpu)?])?;
    }
    for layer in attentive() {
        let model = build(layer, vec![None, Some(4)], Device::Cpu)?;
        check_module_gradients(&model, &[batch(2, &[2, 3, 4], Device::Cpu)?])?;
        assert_module_parity(&model, &[batch(2, &[2, 3, 4], Device::Cpu)?])?;
    }
    // Words have no gradient; their vectors do, at every length. A sample may be a single word.
    for (sample, ids) in [(vec![], vec![4]), (vec![None], vec![2, 3]), (vec![None, None], vec![2, 2, 3])] {
        let stack =
            Sequential::new().add(Embedding::new(6, 4)).add(LayerNorm::new().epsilon(0.1)).add(layer());
        let model = stack.build(sample, Device::Cpu)?;
        check_module_gradients(&model, &[words(3, &ids, 6, Device::Cpu)?])?;
        assert_module_parity(&model, &[words(3, &ids, 6, Device::Cpu)?])?;
    }
    Ok(())
}

/// Layers of attention, and what else transformers have.
fn attentive() -> Vec<Box<dyn Layer>> {
    vec![
        Box::new(MultiHeadAttention::new(4, 2).kv_heads(2).value_dim(3).rotary(10.0)),
        Box::new(TransformerEncoder::new(3, 2).activation(Activation::Tanh)),
        Box::new(TransformerDecoder::new(3, 2).activation(Activation::Tanh).normalize_first(true)),
        Box::new(PositionEmbedding::new(5)),
        Box::new(InstanceNorm::new().epsilon(0.1)),
        Box::new(RmsNorm::new()),
        Box::new(UnitNorm::new()),
    ]
}

/// Words to logits at every place.
fn tagger(device: Device) -> Result<Model> {
    Sequential::new()
        .add(Embedding::new(50, 12))
        .add(Dropout::new(0.25))
        .add(Dense::new(16).activation(Activation::Gelu))
        .add(LayerNorm::new())
        .add(Dense::new(8).activation(Activation::Softmax))
        .add(Dense::new(5))
        .seed(4)
        .build((None,), device)
}

#[test]
fn one_model_takes_many_lengths_in_turn() -> Result<()> {
    for device in DEVICES {
        let open = tagger(device)?;
        assert_eq!(
            (open.input_shape().to_string(), open.output_shape().to_string()),
            ("[None]".into(), "[None, 5]".into())
        );
        // Beyond 65,535 places, and back.
        for (samples, length) in [(2, 7), (3, 1), (1, 300), (2, 7), (1, 70_001), (5, 12)] {
            let x = words(length as u64, &[samples, length], 50, device)?;
            let y = open.infer(&x)?;
            assert_eq!(y.dims(), [samples, length, 5]);
            // The model that was built for just this length has the same weights and gives the same bits.
            let known = Model::from_config(&known_length(&open, length)?, &Layers::default(), 4, device)?;
            assert_eq!(bits(&y)?, bits(&known.infer(&x)?)?, "{samples} x {length} on {device}");
            // What is said at one place does not depend on the others.
            if length > 1 {
                let part = open.infer(&x.slice(1, length / 2, length - length / 2)?)?;
                let whole = y.slice(1, length / 2, length - length / 2)?;
                assert_close(&values(&part)?, &values(&whole)?, 1e-5, "a part of the sequence");
            }
        }
    }
    Ok(())
}

/// The architecture of a model of one open dimension, with a size there.
fn known_length(model: &Model, length: usize) -> Result<Config> {
    model.config()?.to_string().replacen("null", &length.to_string(), 1).parse()
}

#[test]
fn batches_and_sequences_without_elements_have_outputs_without_elements() -> Result<()> {
    for device in DEVICES {
        let model = tagger(device)?;
        for dims in [[2, 0], [0, 3], [0, 0]] {
            let x = Tensor::zeros(dims, device)?.cast(DType::U32)?;
            let y = model.infer(&x)?;
            assert_eq!((y.dims(), y.to_vec::<f32>()?.len()), (&[dims[0], dims[1], 5][..], 0));
            let y = model.forward(&x, &Context::train(1))?;
            let weight = model.parameter("dense.weight")?.variable;
            let grads = y.sum(.., false)?.backward()?;
            assert!(values(&grads.get(&weight)?)?.iter().all(|&g| g == 0.0));
        }
        let flat = build(Flatten::new(), (None, 3), device)?;
        assert_eq!(flat.infer(&Tensor::zeros([2, 0, 3], device)?)?.dims(), [2, 0]);
        let split = build(Reshape::new([INFER, 2]), (None, 4), device)?;
        assert_eq!(split.infer(&Tensor::zeros([0, 3, 4], device)?)?.dims(), [0, 6, 2]);
        assert_eq!(split.infer(&Tensor::zeros([2, 0, 4], device)?)?.dims(), [2, 0, 2]);
    }
    Ok(())
}

#[test]
fn what_is_not_a_number_stays_in_its_row() -> Result<()> {
    for device in DEVICES {
        let model = build(Dense::new(3), (None, 4), device)?;
        let mut x = numbers(1, 2 * 5 * 4);
        (x[4], x[13]) = (f64::NAN, f64::INFINITY);
        let y = values(&model.infer(&tensor(&x, &[2, 5, 4], DType::F32, device)?)?)?;
        for (row, y) in y.chunks(3).enumerate() {
            match row {
                1 => assert!(y.iter().all(|v| v.is_nan())),
                3 => assert!(y.iter().all(|v| v.is_infinite())),
                _ => assert!(y.iter().all(|v| v.is_finite()), "{row}: {y:?}"),
            }
        }
        // Views as they come out of other operations.
        let x = batch(8, &[5, 4, 2], device)?.permute([2, 0, 1])?;
        let whole = model.infer(&tensor(&values(&x)?, &[2, 5, 4], DType::F32, device)?)?;
        assert_eq!(bits(&model.infer(&x)?)?, bits(&whole)?);
    }
    Ok(())
}

/// Every layer carries what is open through: what it says at build is what it gives, for several sizes.
#[test]
fn every_layer_says_what_it_gives() -> Result<()> {
    let any: Open = &[None, None, Some(4)];
    let rows: [(Box<dyn Layer>, Open, &str); 39] = [
        (Box::new(Activation::Relu), any, "[None, None, 4]"),
        (Box::new(Dropout::new(0.5)), any, "[None, None, 4]"),
        (Box::new(SpatialDropout2d::new(0.5)), any, "[None, None, 4]"),
        (Box::new(GaussianNoise::new(0.5)), any, "[None, None, 4]"),
        (Box::new(Softmax::new().axis(0)), any, "[None, None, 4]"),
        (Box::new(PRelu::new().shared_axes([0, 1])), any, "[None, None, 4]"),
        (Box::new(BatchNorm::new()), any, "[None, None, 4]"),
        (Box::new(GroupNorm::new(2)), any, "[None, None, 4]"),
        (Box::new(LayerNorm::new()), any, "[None, None, 4]"),
        (Box::new(LayerNorm::new().axes([1, -1])), &[None, Some(5), Some(4)], "[None, 5, 4]"),
        (Box::new(Dense::new(3)), any, "[None, None, 3]"),
        (Box::new(Conv2d::new(3, [2, 2])), any, "[None, None, 3]"),
        (Box::new(Conv2d::new(3, [2, 2]).padding(Padding::Same)), &[None, Some(5), Some(4)], "[None, 5, 3]"),
        (Box::new(Conv2d::new(3, [2, 3]).stride([2, 2])), &[Some(6), None, Some(4)], "[3, None, 3]"),
        (
            Box::new(ConvTranspose2d::new(2, [3, 3]).stride([2, 2])),
            &[None, Some(5), Some(4)],
            "[None, 11, 2]",
        ),
        (Box::new(MaxPool2d::new([2, 2])), any, "[None, None, 4]"),
        (Box::new(AvgPool2d::new([2, 2]).padding(Padding::Same)), &[Some(6), None, None], "[3, None, None]"),
        (Box::new(MaxPool2d::new([2, 2]).ceil_mode(true)), &[Some(5), None, Some(4)], "[3, None, 4]"),
        (Box::new(AdaptiveAvgPool2d::new([2, 3])), any, "[2, 3, 4]"),
        (Box::new(AdaptiveMaxPool2d::new([1, 2])), &[None; 3], "[1, 2, None]"),
        (Box::new(GlobalAvgPool2d::new()), any, "[4]"),
        (Box::new(GlobalMaxPool2d::new().keep_dims(true)), &[None; 3], "[1, 1, None]"),
        (Box::new(ZeroPad2d::new([1, 2, 3, 4])), &[None, Some(5), None], "[None, 12, None]"),
        (Box::new(Cropping2d::new([1, 1, 1, 2])), &[None, Some(5), Some(4)], "[None, 2, 4]"),
        (Box::new(UpSample2d::new([2, 3])), &[Some(6), None, Some(4)], "[12, None, 4]"),
        (Box::new(Permute::new([2, 0, 1])), any, "[4, None, None]"),
        (Box::new(Flatten::new()), any, "[None]"),
        (Box::new(Reshape::new([INFER, 2, 2])), any, "[None, 2, 2]"),
        (Box::new(Reshape::new([6, 20])), any, "[6, 20]"),
        (Box::new(data::Augment::new().crop([2, 3])), any, "[2, 3, 4]"),
        (Box::new(MultiHeadAttention::new(2, 3).causal(true).output_dim(5)), &[None, Some(4)], "[None, 5]"),
        (Box::new(TransformerEncoder::new(6, 2).dropout(0.5)), &[None, Some(4)], "[None, 4]"),
        (Box::new(TransformerDecoder::new(6, 2).rotary(1e4)), &[None, Some(4)], "[None, 4]"),
        (Box::new(PositionEmbedding::new(9)), &[None, Some(4)], "[None, 4]"),
        (Box::new(SinePositionEncoding::new()), &[None, Some(4)], "[None, 4]"),
        (Box::new(InstanceNorm::new()), any, "[None, None, 4]"),
        (Box::new(RmsNorm::new()), any, "[None, None, 4]"),
        (Box::new(UnitNorm::new()), any, "[None, None, 4]"),
        (Box::new(UnitNorm::new().axes([0])), any, "[None, None, 4]"),
    ];
    for device in DEVICES {
        for (layer, sample, expected) in &rows {
            let kind = layer.kind();
            let copy = || Layers::default().make(kind, &layer.config()?);
            let model = Sequential::new().add(copy()?).seed(3).build(*sample, device)?;
            assert_eq!(model.output_shape().to_string(), *expected, "{kind}");
            // Reshape to sizes takes one number of elements only.
            let sizes = if *expected == "[6, 20]" {
                vec![[6, 5, 4], [5, 6, 4]]
            } else {
                vec![[6, 5, 4], [6, 5, 4], [9, 7, 4]]
            };
            for size in sizes {
                let size: Vec<usize> = size.iter().zip(*sample).map(|(&n, d)| d.unwrap_or(n)).collect();
                let x = batch(6, &[&[2], &size[..]].concat(), device)?;
                let y = model.infer(&x)?;
                assert!(model.output_shape().admits(&y.dims()[1..]), "{kind}: {}", y.shape());
                let trained = model.forward(&x, &Context::train(2))?;
                assert_eq!(trained.dims(), y.dims(), "{kind}");
                // As the layer that was built for this size.
                let known = Sequential::new().add(copy()?).seed(3).build(&size, device)?;
                assert_eq!(known.output_shape().known().as_deref(), Some(&y.dims()[1..]), "{kind}");
                let fresh = Sequential::new().add(copy()?).seed(3).build(*sample, device)?;
                assert_eq!(bits(&fresh.infer(&x)?)?, bits(&known.infer(&x)?)?, "{kind} of {size:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn merges_carry_open_dimensions() {
    let shape = |dims: &[Option<usize>]| SampleShape::new(dims).unwrap();
    let (any, five) = (shape(&[None, Some(4)]), shape(&[Some(5), Some(4)]));
    let (one, wide) = (shape(&[Some(1), Some(4)]), shape(&[None, None]));
    let last = Merge::Concat { axis: -1 };
    let first = Merge::Concat { axis: 0 };
    for (merge, inputs, expected) in [
        (Merge::Add, vec![any, any], "[None, 4]"),
        (Merge::Add, vec![any, five], "[5, 4]"),
        (Merge::Multiply, vec![one, any], "[None, 4]"),
        (Merge::Maximum, vec![any, one, five], "[5, 4]"),
        (Merge::Average, vec![wide, any], "[None, 4]"),
        (last, vec![any, any], "[None, 8]"),
        (last, vec![any, five], "[5, 8]"),
        (last, vec![five, wide], "[5, None]"),
        (first, vec![any, five], "[None, 4]"),
        (first, vec![five, five, one], "[11, 4]"),
    ] {
        assert_eq!(merge.output(&inputs).unwrap().to_string(), expected, "{merge:?} of {inputs:?}");
    }
    for (merge, inputs, expected) in [
        (
            Merge::Add,
            vec![any, five, shape(&[Some(6), Some(4)])],
            "expects equal shapes (or dimensions of 1), got [None, 4], [5, 4], [6, 4]",
        ),
        (
            last,
            vec![one, any, five],
            "expects shapes that differ only in axis 1, got [1, 4], [None, 4], [5, 4]",
        ),
        (Merge::Add, vec![any, shape(&[None])], "expects inputs of one rank, got [None, 4], [None]"),
    ] {
        let text = message(merge.output(&inputs));
        assert!(text.contains(expected), "{text}");
    }
}

/// A model of branches for images of any size, with a layer that is used twice.
fn branches(device: Device) -> Result<Model> {
    let mut net = Functional::new(device).seed(9);
    let (left, right) = (net.input("left", (None, None, 2))?, net.input("right", (None, None, 2))?);
    let conv = Conv2d::new(4, [3, 3]).padding(Padding::Same).activation(Activation::Tanh);
    let a = net.named("shared", conv, left)?;
    let b = net.again(a, right)?;
    assert_eq!(net.shape(b)?, [None, None, Some(4)]);
    let both = net.merge(Merge::Concat { axis: -1 }, &[a, b])?;
    let gate = net.layer(GlobalAvgPool2d::new().keep_dims(true), both)?;
    let gated = net.merge(Merge::Multiply, &[both, gate])?;
    let mask = net.layer(Dense::new(1), gated)?;
    let pooled = net.layer(GlobalMaxPool2d::new(), gated)?;
    let block = Sequential::new().add(Dense::new(6).activation(Activation::Relu)).add(Dense::new(3));
    let class = net.named("head", block, pooled)?;
    net.build(&[("mask", mask), ("class", class)])
}

#[test]
fn functional_models_and_models_inside_them_take_any_size() -> Result<()> {
    for device in DEVICES {
        let model = branches(device)?;
        let shapes: Vec<String> = model.outputs().iter().map(|(_, shape)| shape.to_string()).collect();
        assert_eq!(shapes, ["[None, None, 1]", "[3]"]);
        for (n, h, w) in [(2, 5, 4), (1, 9, 3), (2, 5, 4), (3, 1, 1)] {
            let inputs = [batch(1, &[n, h, w, 2], device)?, batch(2, &[n, h, w, 2], device)?];
            let outputs = model.infer_all(&inputs)?;
            assert_eq!((outputs[0].dims(), outputs[1].dims()), (&[n, h, w, 1][..], &[n, 3][..]));
        }
        // Two inputs, each of which may have any size, but not of different ones: the merge says so.
        let inputs = [batch(1, &[1, 4, 4, 2], device)?, batch(2, &[1, 4, 5, 2], device)?];
        let text = message(model.infer_all(&inputs));
        assert!(text.starts_with("layer concat (Concat): "), "{text}");
        assert!(text.contains("[1, 4, 4, 4]") && text.contains("[1, 4, 5, 4]"), "{text}");
    }
    Ok(())
}

#[test]
fn a_layer_is_used_again_where_its_open_dimensions_have_sizes() -> Result<()> {
    let mut net = Functional::new(Device::Cpu);
    let (any, ten) = (net.input("any", (None, 4))?, net.input("ten", [10, 4])?);
    let a = net.layer(Dense::new(3), any)?;
    let b = net.again(a, ten)?;
    assert_eq!(net.shape(b)?, [None, Some(3)]);
    let c = net.layer(Dense::new(3), ten)?;
    let text = message(net.again(c, any));
    assert_eq!(
        text,
        "Functional::again: the layer dense_1 was built for [10, 4], got [None, 4]; use it first where the dimension is open"
    );
    let text = message(net.again(a, c));
    assert_eq!(text, "Functional::again: the layer dense was built for [None, 4], got [10, 3]");
    Ok(())
}

#[test]
fn files_hold_open_dimensions() -> Result<()> {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("model.safetensors");
    for device in DEVICES {
        let model = tagger(device)?;
        model.save_model(&path)?;
        let again = Model::load_model(&path, device)?;
        assert_eq!((again.summary(), again.config()?), (model.summary(), model.config()?));
        for length in [3, 11] {
            let x = words(5, &[2, length], 50, device)?;
            assert_eq!(bits(&again.infer(&x)?)?, bits(&model.infer(&x)?)?);
        }
        let model = branches(device)?;
        model.save_model(&path)?;
        let again = Model::load_model(&path, device)?;
        assert_eq!(
            (again.inputs(), again.outputs(), again.config()?),
            (model.inputs(), model.outputs(), model.config()?)
        );
        let inputs = [batch(1, &[1, 3, 6, 2], device)?, batch(2, &[1, 3, 6, 2], device)?];
        for (a, b) in again.infer_all(&inputs)?.iter().zip(&model.infer_all(&inputs)?) {
            assert_eq!(bits(a)?, bits(b)?);
        }
        // Weights of a model that was built for one length fit: they have no lengths.
        let known = Model::from_config(&known_length(&tagger(device)?, 9)?, &Layers::default(), 77, device)?;
        known.save(&path)?;
        let open = tagger(device)?;
        open.load(&path)?;
        let x = words(5, &[2, 9], 50, device)?;
        assert_eq!(bits(&open.infer(&x)?)?, bits(&known.infer(&x)?)?);
    }
    Ok(())
}

/// What earlier versions wrote, letter by letter: sizes in the architecture, none of them open.
#[test]
fn architectures_of_before_are_read_and_written_as_they_were() -> Result<()> {
    let text = r#"{"nodes":[{"input":[4,4,2],"inputs":[],"name":"input"},{"inputs":[0],"layer":{"config":{"sides":[1,0,1,0]},"kind":"Cropping2d"},"name":"cropping2d"},{"inputs":[1],"layer":{"config":{"sample":[3,6]},"kind":"Reshape"},"name":"reshape"},{"inputs":[2],"layer":{"config":{},"kind":"Flatten"},"name":"flatten"},{"inputs":[3],"layer":{"config":{"activation":"linear","units":2,"weights":{"bias":true,"bias_initializer":"zeros","bias_regularizer":null,"kernel_initializer":"glorot_uniform","kernel_regularizer":null,"trainable":true}},"kind":"Dense"},"name":"dense"}],"outputs":[{"name":"output","node":4}]}"#;
    let config: Config = text.parse()?;
    let model = Model::from_config(&config, &Layers::default(), 3, Device::Cpu)?;
    let stack = || {
        Sequential::new()
            .add(Cropping2d::new([1, 0, 1, 0]))
            .add(Reshape::new([3, 6]))
            .add(Flatten::new())
            .add(Dense::new(2))
            .seed(3)
    };
    let built = stack().build([4, 4, 2], Device::Cpu)?;
    assert_eq!((model.config()?, model.summary()), (config, built.summary()));
    assert_eq!(built.config()?, model.config()?);
    let x = batch(4, &[2, 4, 4, 2], Device::Cpu)?;
    assert_eq!(bits(&model.infer(&x)?)?, bits(&built.infer(&x)?)?);
    // The first weights are what they were: of the seed, drawn in the order of layers.
    let weights = built.parameters()[0].variable.value().to_vec::<f32>()?;
    assert_eq!(weights[..3].iter().map(|w| w.to_bits()).collect::<Vec<_>>(), FIRST_WEIGHTS);
    Ok(())
}

/// Bits of the first weights of that model before dimensions could be open.
const FIRST_WEIGHTS: [u32; 3] = [3202092133, 3196857995, 3195469689];

/// A file that `save_model` wrote before dimensions could be open: a convolution, normalisations, views, a merge, a stack inside.
#[test]
fn model_files_of_before_predict_what_they_did() -> Result<()> {
    let old =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights/functional.wgrad.safetensors");
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("again.safetensors");
    let n = 2 * 6 * 6 * 2;
    let pixels: Vec<f64> = (0..n).map(|i| f64::from(((i * 37 % 101) as f64 / 50.0 - 1.0) as f32)).collect();
    for device in DEVICES {
        let model = Model::load_model(&old, device)?;
        assert_eq!(
            (model.input_shape(), model.classes()),
            (SampleShape::new([6, 6, 2])?, &["cat", "dog"].map(String::from)[..])
        );
        model.save_model(&path)?;
        let again = Model::load_model(&path, device)?;
        assert_eq!((again.config()?, again.summary()), (model.config()?, model.summary()));
        for (old, new) in model.parameters().iter().zip(again.parameters()) {
            assert_eq!(old.name, new.name);
            assert_eq!(bits(&old.variable.value())?, bits(&new.variable.value())?, "{}", new.name);
        }
        for model in [model, again] {
            let outputs = model.infer_all(&[tensor(&pixels, &[2, 6, 6, 2], DType::F32, device)?])?;
            let class = [-0.21307547, -0.72748315, -0.22487563, 0.5893513];
            let mean = [0.30631816, 0.23891288, 0.2866792, 0.33696562, 0.26484388, 0.26659247];
            assert_close(&values(&outputs[0])?, &class, 2e-6, "class");
            assert_close(&values(&outputs[1])?, &mean, 2e-6, "mean");
        }
    }
    Ok(())
}

#[test]
fn the_summary_says_none() -> Result<()> {
    let summary = tagger(Device::Cpu)?.summary();
    assert!(summary.starts_with("input [None] on cpu\n"), "{summary}");
    for row in ["[None, 12]           600\n", "[None, 16]           208\n", "[None, 5]             45\n"] {
        assert!(summary.contains(row), "{summary}");
    }
    let debug = format!("{:?}", tagger(Device::Cpu)?);
    assert!(debug.starts_with("Model([None] to [None, 5], "), "{debug}");
    Ok(())
}

#[test]
fn errors_at_build_name_layer_expectation_and_fix() {
    let cases: [(Box<dyn Layer>, Open, &str); 14] = [
        (
            Box::new(Dense::new(3)),
            &[None],
            "layer 1 (Dense 3): expects [.., features] with a known number of features, got [None]; give that dimension a size in the input's shape, or pool over what is open",
        ),
        (
            Box::new(BatchNorm::new()),
            &[Some(3), None],
            "layer 1 (BatchNorm): expects [.., features] with a known number",
        ),
        (Box::new(GroupNorm::new(2)), &[None], "expects [.., features] with a known number"),
        (
            Box::new(Conv2d::new(3, [2, 2])),
            &[None; 3],
            "layer 1 (Conv2d 3): expects [.., features] with a known number of features, got [None, None, None]",
        ),
        (
            Box::new(Conv2d::new(3, [2, 2])),
            &[None, Some(28)],
            "expects [height, width, channels], got [None, 28]; add Reshape::new([INFER, 28, 1]) before it",
        ),
        (
            Box::new(MaxPool2d::new([2, 2])),
            &[None, None],
            "got [None, None]; give the input a third dimension of 1",
        ),
        (
            Box::new(Conv2d::new(3, [2, 5])),
            &[None, Some(4), Some(1)],
            "the window covers 5 columns, the padded image has 4",
        ),
        (
            Box::new(LayerNorm::new().axes([0, 1])),
            &[None, Some(4)],
            "layer 1 (LayerNorm): expects a size along axis 0, got [None, 4]; give it one, or leave it out of axes",
        ),
        (
            Box::new(PRelu::new()),
            &[Some(2), None, Some(4)],
            "got [2, None, 4]; share the open ones: .shared_axes([1])",
        ),
        (
            Box::new(PRelu::new().shared_axes([2])),
            &[None, None, Some(4)],
            "got [None, None, 4]; share the open ones: .shared_axes([0, 1, 2])",
        ),
        (
            Box::new(Reshape::new([2, 3])),
            &[None, Some(4)],
            "layer 1 (Reshape): expects 6 elements for [2, 3], got [None, 4], which never has so many; change the target shape",
        ),
        (
            Box::new(UpSample3d::new([0, 1, 1])),
            &[None, Some(4), Some(4), Some(3)],
            "expects factors of at least 1, got [0, 1, 1]",
        ),
        (Box::new(Reshape::new([0, INFER])), &[None, Some(4)], "which never has so many"),
        (Box::new(Softmax::new().axis(2)), &[None, Some(4)], "axis 2 is outside a tensor of shape [None, 4]"),
    ];
    for (layer, sample, expected) in cases {
        let text = message(Sequential::new().add(layer).build(sample, Device::Cpu));
        assert!(text.starts_with("Sequential::build: layer 1 ("), "{text}");
        assert!(text.contains(expected), "{text}\nexpected: {expected}");
    }
    let flat = Sequential::new().add(Flatten::new()).add(Dense::new(3)).build((None, 4), Device::Cpu);
    let text = message(flat);
    assert!(text.contains("layer 2 (Dense 3): ") && text.contains("rather than flatten it"), "{text}");
    let text = message(Sequential::new().add(Dense::new(2)).build((None, 0, 3), Device::Cpu));
    assert!(text.contains("samples of shape [None, 0, 3] have no elements"), "{text}");
    let text = message(Functional::new(Device::Cpu).input("x", vec![None; 9]));
    assert!(text.contains("9 dimensions given, at most 8"), "{text}");
}

#[test]
fn errors_at_a_call_name_layer_expectation_and_fix() -> Result<()> {
    for device in DEVICES {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, device);
        let model = build(Dense::new(3), (None, 4), device)?;
        for (dims, expected) in [
            (&[2, 7, 5][..], "Model::forward: expects [batch, None, 4], got [2, 7, 5]"),
            (
                &[7, 4],
                "Model::forward: expects [batch, None, 4], got [7, 4]; for one sample, add the dimension with unsqueeze(0)",
            ),
            (&[2, 7, 4, 1], "Model::forward: expects [batch, None, 4], got [2, 7, 4, 1]"),
            (&[], "Model::forward: expects [batch, None, 4], got []"),
        ] {
            assert_eq!(message(model.infer(&zeros(dims)?)), expected);
        }
        // A length that the model wasn't built for: it could be.
        let known = build(Dense::new(3), (7, 4), device)?;
        assert_eq!(
            message(known.infer(&zeros(&[2, 8, 4])?)),
            "Model::forward: expects [batch, 7, 4], got [2, 8, 4]; build the model with None for a dimension that varies"
        );
        let cases: [Failing; 6] = [
            (
                Box::new(Conv2d::new(2, [3, 3])),
                &[None, None, Some(1)],
                vec![1, 9, 2, 1],
                "layer conv2d (Conv2d): conv2d: the window covers 3 columns, the padded image has 2; use a smaller kernel or Padding::Same",
            ),
            (Box::new(MaxPool2d::new([2, 2])), &[None; 3], vec![1, 1, 4, 1], "layer maxpool2d (MaxPool2d): "),
            (
                Box::new(Cropping2d::new([2, 1, 0, 0])),
                &[None; 3],
                vec![1, 3, 3, 1],
                "layer cropping2d (Cropping2d): Cropping2d: of 3 rows nothing is left without [2, 1, 0, 0]; crop less",
            ),
            (
                Box::new(Reshape::new([INFER, 3])),
                &[None],
                vec![2, 7],
                "layer reshape (Reshape): Reshape: expects a multiple of 3 elements for [None, 3], got samples of [7] with 7; use batches of another length, or change the target shape",
            ),
            (
                Box::new(Reshape::new([2, 3])),
                &[None],
                vec![2, 7],
                "layer reshape (Reshape): Reshape: expects 6 elements for [2, 3], got samples of [7] with 7",
            ),
            (
                Box::new(data::Augment::new().crop([3, 3])),
                &[None; 3],
                vec![1, 2, 4, 1],
                "layer augment (Augment): Augment: can't crop [3, 3] from images of [2, 4]",
            ),
        ];
        for (layer, sample, dims, expected) in cases {
            let model = Sequential::new().add(layer).build(sample, device)?;
            let text = message(model.infer(&zeros(&dims)?));
            assert!(text.starts_with(expected), "{text}\nexpected: {expected}");
        }
        // Sizes that a merge knows from its other input.
        let mut net = Functional::new(device);
        let (any, five) = (net.input("any", (None, 4))?, net.input("five", [5, 4])?);
        let sum = net.merge(Merge::Add, &[any, five])?;
        let model = net.build(&[("sum", sum)])?;
        assert_eq!(model.output_shape(), [5, 4]);
        assert_eq!(model.infer_all(&[zeros(&[2, 5, 4])?, zeros(&[2, 5, 4])?])?[0].dims(), [2, 5, 4]);
        let text = message(model.infer_all(&[zeros(&[2, 6, 4])?, zeros(&[2, 5, 4])?]));
        assert!(text.starts_with("layer add (Add): ") && text.contains("[2, 6, 4]"), "{text}");
    }
    Ok(())
}

/// Since a dense layer takes any rank, it is the loss that notices a model that was not flattened, and says so.
#[test]
fn a_forgotten_flatten_is_told_by_the_loss() -> Result<()> {
    let model =
        Sequential::new().add(Conv2d::new(4, [3, 3])).add(Dense::new(10)).build([8, 8, 1], Device::Cpu)?;
    let y = model.infer(&Tensor::zeros([2, 8, 8, 1], Device::Cpu)?)?;
    let labels = Tensor::zeros([2], Device::Cpu)?.cast(DType::U8)?;
    let text = message(SparseCategoricalCrossentropy::from_logits().compute(&y, &labels));
    assert!(text.ends_with("; for one label a sample, flatten or pool before the last layer"), "{text}");
    let text = message(MeanSquaredError::new().compute(&y, &Tensor::zeros([2, 10], Device::Cpu)?));
    assert!(text.ends_with("or change the last layer, or flatten or pool before it"), "{text}");
    Ok(())
}

/// Sequences whose label at each place is the word modulo 5: of another length in every batch.
struct Sentences {
    lengths: Vec<usize>,
}

impl Source for Sentences {
    fn name(&self) -> &str {
        "sentences"
    }
    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        let (n, device) = (pass.batch_size, pass.device);
        Ok(Box::new(self.lengths.iter().enumerate().map(move |(i, &length)| {
            let x = words(i as u64, &[n, length], 50, device)?;
            let labels: Vec<f64> = values(&x)?.iter().map(|w| w % 5.0).collect();
            Ok(Batch::new(x, tensor(&labels, &[n, length], DType::U32, device)?))
        })))
    }
    fn samples(&self) -> Option<usize> {
        None
    }
    fn steps(&self, _: usize) -> Option<usize> {
        Some(self.lengths.len())
    }
}

#[test]
fn batches_of_every_length_are_fitted_evaluated_and_predicted() -> Result<()> {
    for device in DEVICES {
        let model = tagger(device)?;
        let loss = SparseCategoricalCrossentropy::from_logits();
        let mut trainer = Trainer::new(model, Adam::new(2e-2), loss).metric(Accuracy::new()).build()?;
        let sentences = Sentences { lengths: vec![4, 9, 1, 17, 9, 6, 30, 12] };
        let history = trainer.fit(&sentences, Fit::epochs(25).batch_size(8).verbose(false))?;
        let last = &history.epochs[24].train;
        assert!(last.loss < 0.5 * history.epochs[0].train.loss, "{history:?}");
        // Every batch counts by its samples, and every place of a sample the same.
        let evaluation = trainer.evaluate(&sentences)?;
        let (mut right, mut loss) = (0.0, 0.0);
        for batch in sentences.pass(&Pass::new(8, device))? {
            let batch = batch?;
            let logits = trainer.predict(&batch.inputs[0])?;
            let labels = values(&batch.targets[0])?;
            for (row, &label) in values(&logits)?.chunks(5).zip(&labels) {
                let best = (0..5).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
                let log_sum = row.iter().map(|v| v.exp()).sum::<f64>().ln();
                right += f64::from(u8::from(best as f64 == label)) / labels.len() as f64 / 8.0;
                loss += (log_sum - row[label as usize]) / labels.len() as f64 / 8.0;
            }
        }
        let said = evaluation.value("accuracy").unwrap_or(f64::NAN);
        assert!((said - right).abs() < 1e-6 && right > 0.7, "{evaluation}: {right}");
        assert!((evaluation.loss - loss).abs() < 1e-5, "{evaluation}: {loss}");
        for length in [3, 40] {
            let x = words(2, &[20, length], 50, device)?;
            assert_eq!(trainer.predict(&x)?.dims(), [20, length, 5]);
        }
        assert_eq!(trainer.predict_on(&Sentences { lengths: vec![5, 5] })?[0].dims(), [16, 5, 5]);
        let text = message(trainer.predict_on(&Sentences { lengths: vec![5, 6] }));
        assert_eq!(
            text,
            "Trainer::predict: batches gave outputs [8, 5, 5] and [8, 6, 5], which are no one tensor; predict samples of \
             each length by themselves"
        );
    }
    Ok(())
}

/// A layer of one's own: what it is told of open dimensions is what a built-in one is told.
struct Doubled;

impl Layer for Doubled {
    fn kind(&self) -> &'static str {
        "Doubled"
    }
    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let scale = cx.full([cx.features(input)?], 2.0)?;
        // A shape without open dimensions goes as well.
        match input.known() {
            Some(shape) => Ok(Built::new(DoubledModule(scale), shape)),
            None => Ok(Built::new(DoubledModule(scale), input)),
        }
    }
}

struct DoubledModule(Variable);

impl Module for DoubledModule {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x * &self.0
    }
    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.weight("scale", &self.0);
    }
}

#[test]
fn layers_of_ones_own_carry_open_dimensions() -> Result<()> {
    for device in DEVICES {
        let model = Sequential::new().add(Doubled).add(Dense::new(3)).build((None, 4), device)?;
        assert_eq!(model.output_shape(), [None, Some(3)]);
        for length in [1, 6] {
            assert_eq!(model.infer(&batch(1, &[2, length, 4], device)?)?.dims(), [2, length, 3]);
        }
        assert_eq!(build(Doubled, [3, 4], device)?.output_shape(), [3, 4]);
        assert!(
            message(build(Doubled, (3, None), device))
                .contains("with a known number of features, got [3, None]")
        );
    }
    Ok(())
}
