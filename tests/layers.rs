//! What holds for every layer: it is made again from its settings, both devices compute the same, and wrong settings and
//! inputs are told. And batch normalisation in training.

mod common;
#[path = "layers/recurrent.rs"]
mod recurrent;
#[path = "layers/windows.rs"]
mod windows;

use common::{Rng, assert_close, direction, tensor, values};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::nn::{
    ActivityRegularization, AdaptiveAvgPool2d, AdaptiveMaxPool2d, AlphaDropout, AvgPool1d, AvgPool2d,
    AvgPool3d, BatchNorm, Bidirectional, BidirectionalMerge, CategoryEncoding, Constraint, Context, Conv1d,
    Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Cropping1d, Cropping2d, Cropping3d,
    DepthwiseConv1d, DepthwiseConv2d, Discretization, Embedding, GaussianNoise, GlobalAvgPool1d,
    GlobalAvgPool2d, GlobalAvgPool3d, GlobalMaxPool1d, GlobalMaxPool2d, GlobalMaxPool3d, GroupNorm, Gru,
    Initializer, InstanceNorm, IntegerLookup, Layer, LayerNorm, Layers, Lstm, MaxPool1d, MaxPool3d,
    MultiHeadAttention, Normalization, PRelu, Permute, PositionEmbedding, Regularizer, Rescaling, Reshape,
    RmsNorm, SeparableConv1d, SeparableConv2d, SimpleRnn, SinePositionEncoding, Softmax, SpatialDropout2d,
    SpectralNorm, TimeDistributed, TransformerDecoder, TransformerEncoder, UnitNorm, UpSample1d, UpSample2d,
    UpSample3d, ZeroPad1d, ZeroPad2d, ZeroPad3d,
};
use wgrad::prelude::*;
use wgrad::text::OutputMode;
use wgrad::train::{Event, Flow};
use wgrad::{Config, INFER, Interpolation, Padding1d, Padding3d};

/// The device's counters are those of the whole process: every test here takes its turn, whether it reads them or not.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every kind of layer, with settings that are not the default ones, and a sample's shape.
fn all() -> Vec<(Box<dyn Layer>, Vec<usize>)> {
    let l1 = Regularizer::l1(0.25);
    let l2 = Regularizer::l2(0.5);
    let image = vec![6, 5, 4];
    let constant = Initializer::Constant(0.5);
    let mut list: Vec<(Box<dyn Layer>, Vec<usize>)> = vec![
        (Box::new(data::Augment::new().shift(0.1, 0.2).flip_horizontal()), image.clone()),
        (
            Box::new(
                Dense::new(3)
                    .activation(Activation::Selu)
                    .kernel_initializer(Initializer::LecunNormal)
                    .bias_initializer(constant)
                    .kernel_regularizer(l1)
                    .bias_regularizer(l2),
            ),
            vec![7],
        ),
        (Box::new(Dense::new(3).bias(false).trainable(false)), vec![7]),
        (
            Box::new(
                Dense::new(3)
                    .kernel_constraint(Constraint::min_max_norm(0.5, 1.0).rate(0.5).axes([0, 1]))
                    .bias_constraint(Constraint::non_neg())
                    .activity_regularizer(l1),
            ),
            vec![7],
        ),
        (Box::new(ActivityRegularization::new(l2)), image.clone()),
        (Box::new(Embedding::new(11, 3).embeddings_constraint(Constraint::unit_norm().axes([1]))), vec![4]),
        (
            Box::new(
                Gru::new(4)
                    .stateful(true)
                    .recurrent_constraint(Constraint::max_norm(1.0))
                    .bias_constraint(Constraint::max_norm(2.0).axes([-1]))
                    .activity_regularizer(l2),
            ),
            vec![6, 3],
        ),
        (Box::new(PRelu::new().alpha_constraint(Constraint::non_neg())), image.clone()),
        (Box::new(RmsNorm::new().gamma_constraint(Constraint::non_neg())), image.clone()),
        (Box::new(PositionEmbedding::new(7).embeddings_constraint(Constraint::unit_norm())), vec![5, 6]),
        (
            Box::new(
                Conv2d::new(6, [3, 2])
                    .stride([2, 1])
                    .padding(Padding::Explicit([1, 0, 2, 1]))
                    .groups(2)
                    .kernel_initializer(Initializer::HeUniform)
                    .kernel_regularizer(Regularizer::l1_l2(0.1, 0.2)),
            ),
            image.clone(),
        ),
        (Box::new(Conv2d::new(2, [2, 2]).dilation([2, 2]).padding(Padding::Same)), image.clone()),
        (
            Box::new(
                DepthwiseConv2d::new([3, 3])
                    .depth_multiplier(2)
                    .padding(Padding::Same)
                    .kernel_initializer(Initializer::Orthogonal { gain: 0.5 })
                    .activation(Activation::Relu6),
            ),
            image.clone(),
        ),
        (
            Box::new(SeparableConv2d::new(5, [3, 3]).depth_multiplier(2).stride([2, 2]).bias(false)),
            image.clone(),
        ),
        (
            Box::new(
                ConvTranspose2d::new(6, [3, 3])
                    .stride([2, 3])
                    .padding(Padding::Explicit([1, 1, 0, 1]))
                    .output_padding([1, 2])
                    .groups(2)
                    .activation(Activation::Mish)
                    .kernel_regularizer(l2),
            ),
            image.clone(),
        ),
        (Box::new(ConvTranspose2d::new(2, [4, 4]).stride([2, 2]).padding(Padding::Same)), image.clone()),
        (Box::new(MaxPool2d::new([2, 2]).stride([1, 2])), image.clone()),
        (Box::new(AvgPool2d::new([3, 3]).padding(Padding::Same).count_include_pad(true)), image.clone()),
        (Box::new(MaxPool2d::new([3, 2]).stride([2, 2]).ceil_mode(true)), image.clone()),
        (Box::new(AdaptiveAvgPool2d::new([2, 3])), image.clone()),
        (Box::new(AdaptiveMaxPool2d::new([3, 4])), image.clone()),
        (Box::new(GlobalAvgPool2d::new()), image.clone()),
        (Box::new(GlobalMaxPool2d::new().keep_dims(true)), image.clone()),
        (Box::new(ZeroPad2d::new([0, 1, 2, 3])), image.clone()),
        (Box::new(Cropping2d::new([1, 2, 0, 3])), image.clone()),
        (Box::new(UpSample2d::new([2, 3])), image.clone()),
        (Box::new(UpSample2d::new([3, 2]).interpolation(Interpolation::Bilinear)), image.clone()),
        (Box::new(Flatten::new()), image.clone()),
        (Box::new(Reshape::new([10, 12])), image.clone()),
        (Box::new(Reshape::new([3, INFER, 2])), image.clone()),
        (Box::new(Permute::new([2, 0, 1])), image.clone()),
        (Box::new(Dropout::new(0.25)), image.clone()),
        (Box::new(SpatialDropout2d::new(0.5)), image.clone()),
        (Box::new(AlphaDropout::new(0.25)), image.clone()),
        (
            Box::new(SpectralNorm::new(Conv2d::new(3, [2, 2]).kernel_regularizer(l2)).power_iterations(2)),
            image.clone(),
        ),
        (Box::new(SpectralNorm::new(Gru::new(3))), vec![6, 3]),
        (Box::new(GaussianNoise::new(0.75)), image.clone()),
        (Box::new(Softmax::new().axis(1)), image.clone()),
        (
            Box::new(PRelu::new().shared_axes([0, 1]).alpha_initializer(constant).alpha_regularizer(l1)),
            image.clone(),
        ),
        (
            Box::new(
                BatchNorm::new()
                    .momentum(0.8)
                    .epsilon(0.01)
                    .gamma_initializer(constant)
                    .beta_initializer(Initializer::RandomNormal { mean: 0.0, std: 1.0 })
                    .gamma_regularizer(l1)
                    .beta_regularizer(l2),
            ),
            image.clone(),
        ),
        (
            Box::new(
                Conv1d::new(6, 3)
                    .stride(2)
                    .padding(Padding1d::Explicit([2, 1]))
                    .groups(2)
                    .activation(Activation::Tanh)
                    .kernel_regularizer(l1),
            ),
            vec![7, 4],
        ),
        (Box::new(Conv1d::new(2, 3).dilation(2).padding(Padding1d::Causal).bias(false)), vec![7, 3]),
        (Box::new(DepthwiseConv1d::new(3).depth_multiplier(2).padding(Padding1d::Same)), vec![7, 4]),
        (Box::new(SeparableConv1d::new(5, 3).depth_multiplier(2).stride(2)), vec![7, 4]),
        (
            Box::new(
                ConvTranspose1d::new(6, 3)
                    .stride(3)
                    .padding(Padding1d::Explicit([1, 0]))
                    .output_padding(2)
                    .groups(2)
                    .bias_regularizer(l2),
            ),
            vec![7, 4],
        ),
        (Box::new(MaxPool1d::new(3).stride(2).padding(Padding1d::Same)), vec![8, 4]),
        (
            Box::new(AvgPool1d::new(3).padding(Padding1d::Explicit([1, 2])).count_include_pad(true)),
            vec![8, 4],
        ),
        (Box::new(GlobalAvgPool1d::new().keep_dims(true)), vec![8, 4]),
        (Box::new(GlobalMaxPool1d::new()), vec![8, 4]),
        (Box::new(ZeroPad1d::new([0, 3])), vec![8, 4]),
        (Box::new(Cropping1d::new([1, 2])), vec![8, 4]),
        (Box::new(UpSample1d::new(3)), vec![8, 4]),
        (Box::new(AvgPool1d::new(3).stride(2).ceil_mode(true)), vec![8, 4]),
        (
            Box::new(
                Conv3d::new(6, [2, 3, 1])
                    .stride([2, 1, 1])
                    .dilation([1, 1, 2])
                    .padding(Padding3d::Explicit([1, 0, 2, 1, 0, 0]))
                    .groups(2)
                    .activation(Activation::Tanh)
                    .kernel_regularizer(l2),
            ),
            vec![3, 4, 3, 4],
        ),
        (
            Box::new(Conv3d::new(8, [3, 2, 2]).padding(Padding3d::Same).groups(4).bias(false)),
            vec![3, 4, 3, 4],
        ),
        (
            Box::new(
                ConvTranspose3d::new(4, [3, 2, 2])
                    .stride([2, 1, 3])
                    .padding(Padding3d::Explicit([1, 1, 0, 0, 1, 0]))
                    .output_padding([1, 0, 2])
                    .groups(2)
                    .bias_initializer(constant),
            ),
            vec![2, 3, 2, 4],
        ),
        (
            Box::new(ConvTranspose3d::new(2, [2, 3, 3]).stride([2, 2, 2]).padding(Padding3d::Same)),
            vec![2, 3, 2, 3],
        ),
        (Box::new(MaxPool3d::new([2, 3, 2]).stride([1, 2, 2]).padding(Padding3d::Same)), vec![3, 5, 4, 2]),
        (
            Box::new(
                AvgPool3d::new([3, 2, 2])
                    .padding(Padding3d::Explicit([1, 2, 0, 1, 1, 0]))
                    .count_include_pad(true)
                    .ceil_mode(true),
            ),
            vec![3, 5, 4, 2],
        ),
        (Box::new(GlobalAvgPool3d::new().keep_dims(true)), vec![3, 4, 3, 2]),
        (Box::new(GlobalMaxPool3d::new()), vec![3, 4, 3, 2]),
        (Box::new(ZeroPad3d::new([0, 1, 2, 0, 1, 1])), vec![3, 4, 3, 2]),
        (Box::new(Cropping3d::new([0, 1, 2, 0, 1, 1])), vec![3, 4, 3, 2]),
        (Box::new(UpSample3d::new([2, 1, 3]).interpolation(Interpolation::Bilinear)), vec![3, 4, 3, 2]),
        (Box::new(BatchNorm::new().center(false)), vec![5]),
        (
            Box::new(
                SimpleRnn::new(3)
                    .activation(Activation::Relu)
                    .recurrent_initializer(Initializer::GlorotNormal)
                    .recurrent_regularizer(l1)
                    .bias(false),
            ),
            vec![7, 4],
        ),
        (
            Box::new(
                Lstm::new(5)
                    .return_sequences(true)
                    .dropout(0.25)
                    .recurrent_dropout(0.5)
                    .kernel_regularizer(l1)
                    .bias_regularizer(l2),
            ),
            vec![7, 4],
        ),
        (
            Box::new(Lstm::new(4).unit_forget_bias(false).recurrent_activation(Activation::HardSigmoid)),
            vec![1, 3],
        ),
        (
            Box::new(Gru::new(4).go_backwards(true).return_sequences(true).bias_initializer(constant)),
            vec![6, 3],
        ),
        (Box::new(Gru::new(16).reset_after(false).recurrent_dropout(0.25).trainable(false)), vec![6, 8]),
        (
            Box::new(
                Bidirectional::new(Gru::new(4).return_sequences(true)).merge(BidirectionalMerge::Multiply),
            ),
            vec![6, 3],
        ),
        (Box::new(Bidirectional::new(Lstm::new(4))), vec![6, 3]),
        (Box::new(TimeDistributed::new(Conv2d::new(3, [2, 2]).kernel_regularizer(l2))), vec![4, 3, 3, 2]),
        (Box::new(BatchNorm::new().scale(false).center(false)), vec![5]),
        (Box::new(LayerNorm::new().axes([0, -1]).scale(false)), image.clone()),
        (Box::new(LayerNorm::new().gamma_regularizer(l2)), vec![9]),
        (Box::new(GroupNorm::new(2).epsilon(0.1)), image.clone()),
        (
            Box::new(
                Embedding::new(11, 3)
                    .embeddings_initializer(Initializer::TruncatedNormal { mean: 0.0, std: 0.5 })
                    .embeddings_regularizer(l2),
            ),
            vec![4],
        ),
        (
            Box::new(
                MultiHeadAttention::new(4, 2)
                    .kv_heads(2)
                    .value_dim(3)
                    .output_dim(5)
                    .causal(true)
                    .dropout(0.25)
                    .rotary(100.0)
                    .bias_initializer(constant)
                    .kernel_regularizer(l1),
            ),
            vec![5, 6],
        ),
        (
            Box::new(
                PositionEmbedding::new(7)
                    .embeddings_initializer(Initializer::RandomNormal { mean: 0.0, std: 1.0 })
                    .embeddings_regularizer(l2),
            ),
            vec![5, 6],
        ),
        (Box::new(SinePositionEncoding::new().max_wavelength(50.0)), vec![5, 6]),
        (
            Box::new(
                // Without rotary positions the gradient of the keys' bias is 0, but for rounding.
                TransformerEncoder::new(7, 3)
                    .rotary(10.0)
                    .activation(Activation::GeluTanh)
                    .dropout(0.25)
                    .layer_norm_epsilon(0.01)
                    .bias_regularizer(l2),
            ),
            vec![5, 6],
        ),
        (
            Box::new(
                TransformerDecoder::new(7, 3).normalize_first(true).kv_heads(1).rotary(10.0).bias(false),
            ),
            vec![5, 6],
        ),
        (Box::new(InstanceNorm::new().epsilon(0.1).gamma_initializer(constant)), image.clone()),
        (
            Box::new(RmsNorm::new().epsilon(0.1).gamma_initializer(constant).gamma_regularizer(l2)),
            image.clone(),
        ),
        (Box::new(RmsNorm::new().scale(false)), vec![9]),
        (Box::new(UnitNorm::new().axes([0, -1])), image.clone()),
    ];
    let activations = [
        Activation::Linear,
        Activation::Relu,
        Activation::LeakyRelu(0.125),
        Activation::Elu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Relu6,
        Activation::Selu,
        Activation::HardSigmoid,
        Activation::HardSilu,
        Activation::Softsign,
        Activation::Exponential,
        Activation::Mish,
        Activation::LogSoftmax,
        Activation::Softmax,
    ];
    list.extend(activations.map(|a| (Box::new(a) as Box<dyn Layer>, vec![6])));
    list
}

/// Layers that make inputs of a model: most take whole numbers.
fn preprocessing() -> Vec<(Box<dyn Layer>, Vec<usize>)> {
    let lookup = IntegerLookup::new().mask(0).oov_indices(2).with_vocabulary([5, -7, 9]).unwrap();
    vec![
        (Box::new(Normalization::with_statistics(&[0.5, -2.0], &[4.0, 0.25]).invert(true)), vec![3, 2]),
        (Box::new(Rescaling::new(0.25).offset(-1.0)), vec![4]),
        (Box::new(Discretization::with_boundaries(&[-1.5, 0.0, 2.0]).output(OutputMode::OneHot)), vec![1]),
        (Box::new(CategoryEncoding::new(5).output(OutputMode::Count)), vec![3]),
        (Box::new(lookup), vec![3]),
    ]
}

fn again(layer: &dyn Layer) -> Result<Box<dyn Layer>> {
    // through text, as in a file
    let text = layer.config()?.to_string();
    Layers::default().make(layer.kind(), &text.parse()?)
}

fn build(layer: Box<dyn Layer>, sample: &[usize], device: Device) -> Result<Model> {
    Sequential::new().add(layer).seed(5).build(sample, device)
}

/// Names, values and settings of a model's parameters.
fn state(model: &Model) -> Result<Vec<String>> {
    let one = |p: wgrad::nn::Parameter| {
        let bits: Vec<u32> = p.variable.value().to_vec::<f32>()?.into_iter().map(f32::to_bits).collect();
        let shape = p.variable.shape();
        let constrained = p.variable.is_constrained();
        Ok(format!(
            "{} {shape} {} {} {:?} {constrained} {bits:?}",
            p.name,
            p.buffer,
            p.trainable(),
            p.regularizer
        ))
    };
    model.parameters().into_iter().map(one).collect()
}

#[test]
fn every_layer_is_made_again_from_its_settings() -> Result<()> {
    let _alone = alone();
    let mut kinds = Vec::new();
    for (layer, sample) in all().into_iter().chain(preprocessing()) {
        let (kind, config, details) = (layer.kind(), layer.config()?, layer.details());
        let copy = again(&*layer)?;
        assert_eq!((copy.kind(), copy.config()?, copy.details()), (kind, config, details));
        let (first, second) = (build(layer, &sample, Device::Cpu)?, build(copy, &sample, Device::Cpu)?);
        assert_eq!(first.output_shape(), second.output_shape(), "{kind}");
        assert_eq!(state(&first)?, state(&second)?, "{kind}");
        kinds.push(kind);
    }
    for kind in Layers::default().kinds() {
        assert!(kinds.contains(&kind), "{kind} is not tested");
    }
    let error = Layers::default().make("Dense", &Config::default().with("units", "many")?).err();
    let message = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(message.starts_with("Layers::make: settings of a Dense: "), "{message}");
    Ok(())
}

/// A batch for a layer: integers for an embedding, numbers for all others.
fn batch(kind: &str, sample: &[usize], device: Device) -> Result<Tensor> {
    let dims = [&[3], sample].concat();
    let mut rng = Rng(9);
    let numbers: Vec<f64> = (0..dims.iter().product()).map(|_| rng.uniform(-2.0, 2.0)).collect();
    match kind {
        "Embedding" => {
            let indices: Vec<f64> = numbers.iter().map(|v| ((v + 2.0) * 2.75).floor()).collect();
            tensor(&indices, &dims, DType::U8, device)
        }
        _ => tensor(&numbers, &dims, DType::F32, device)?.watch(),
    }
}

/// Outputs of training and predicting, gradients and buffers.
fn outcome(layer: Box<dyn Layer>, sample: &[usize], device: Device) -> Result<Vec<Vec<f64>>> {
    let kind = layer.kind();
    let model = build(layer, sample, device)?;
    let x = batch(kind, sample, device)?;
    let cx = Context::train(4);
    let y = model.forward(&x, &cx)?;
    assert_eq!(Some(&y.dims()[1..]), model.output_shape().known().as_deref(), "{kind}");
    let mut list = vec![y.clone()];
    if y.is_tracked() {
        // Not the sum of squares: that of a normalised input is a constant.
        let upstream = tensor(&direction(6, y.numel()), y.dims(), DType::F32, device)?;
        let grads = y.backward_with(&upstream)?;
        if x.is_tracked() {
            list.push(grads.get(&x)?);
        }
        for p in model.parameters().iter().filter(|p| p.trainable()) {
            list.push(grads.get(&p.variable)?);
        }
    }
    list.extend(cx.take_also_compute());
    list.extend(cx.take_losses());
    list.push(model.infer(&x)?);
    list.extend(model.penalty()?);
    wgrad::eval(&list.iter().collect::<Vec<_>>())?;
    list.iter().map(values).collect()
}

#[test]
fn every_layer_is_the_same_on_both_devices() -> Result<()> {
    let _alone = alone();
    for ((layer, sample), (copy, _)) in all().into_iter().zip(all()) {
        let kind = layer.kind();
        assert_eq!(
            state(&build(again(&*layer)?, &sample, Device::Cpu)?)?,
            state(&build(again(&*layer)?, &sample, Device::Gpu)?)?,
            "{kind}: first values differ"
        );
        let what = format!("{kind} {}", layer.details());
        let (cpu, gpu) = (outcome(layer, &sample, Device::Cpu)?, outcome(copy, &sample, Device::Gpu)?);
        assert_eq!(cpu.len(), gpu.len(), "{what}");
        for (i, (c, g)) in cpu.iter().zip(&gpu).enumerate() {
            assert_close(g, c, 2e-5, &format!("{what}, part {i}"));
        }
    }
    Ok(())
}

#[test]
fn penalties_follow_the_formulas() -> Result<()> {
    let _alone = alone();
    let layer = Conv2d::new(2, [2, 2])
        .kernel_initializer(Initializer::Constant(-0.5))
        .bias_initializer(Initializer::Constant(2.0))
        .kernel_regularizer(Regularizer::l1_l2(0.5, 0.25))
        .bias_regularizer(Regularizer::l2(0.125));
    let model = Sequential::new().add(layer).add(BatchNorm::new().gamma_regularizer(Regularizer::l1(3.0)));
    let model = model.build([4, 4, 1], Device::Cpu)?;
    let penalty = model.penalty()?.expect("a penalty").item::<f32>()?;
    // eight weights of -1/2, two biases of 2, two gammas of 1
    assert_eq!(penalty, 8.0 * (0.5 * 0.5 + 0.25 * 0.25) + 2.0 * 0.125 * 4.0 + 2.0 * 3.0);
    Ok(())
}

#[test]
fn errors_say_what_to_do() {
    let _alone = alone();
    let error = |layer: Box<dyn Layer>, sample: &[usize]| {
        build(layer, sample, Device::Cpu).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let image: &[usize] = &[4, 4, 3];
    let cases: Vec<(Box<dyn Layer>, &[usize], &str)> = vec![
        (
            Box::new(ConvTranspose2d::new(2, [3, 3]).output_padding([1, 0])),
            image,
            "smaller than the stride [1, 1]",
        ),
        (
            Box::new(
                ConvTranspose2d::new(2, [2, 2]).stride([2, 2]).padding(Padding::Same).output_padding([0, 0]),
            ),
            image,
            "the output padding must be at least 1",
        ),
        (
            Box::new(ConvTranspose2d::new(2, [1, 1]).padding(Padding::Explicit([2, 2, 0, 0]))),
            image,
            "of 4 rows the padding cuts off 4: nothing is left",
        ),
        (Box::new(ConvTranspose2d::new(4, [1, 1]).groups(2)), image, "multiples of 2 groups, got 3 and 4"),
        (Box::new(ConvTranspose2d::new(4, [0, 1])), image, "must all be at least 1"),
        (Box::new(ConvTranspose2d::new(2, [3, 3])), &[4, 4], "add Reshape::new([4, 4, 1]) before it"),
        (Box::new(DepthwiseConv2d::new([5, 5])), image, "use a smaller kernel or Padding::Same"),
        (
            Box::new(DepthwiseConv2d::new([1, 1]).depth_multiplier(0)),
            image,
            "at least one window for each channel",
        ),
        (Box::new(SeparableConv2d::new(0, [1, 1])), image, "at least one filter"),
        (Box::new(GlobalAvgPool2d::new()), &[4], "expects [height, width, channels], got [4]"),
        (
            Box::new(AdaptiveAvgPool2d::new([2, 0])),
            image,
            "(AdaptiveAvgPool2d 2x0): size [2, 0]: expected at least 1",
        ),
        (Box::new(AdaptiveMaxPool2d::new([usize::MAX, 1])), image, "at most 1048576 rows"),
        (Box::new(Cropping2d::new([2, 2, 0, 0])), image, "nothing is left without [2, 2, 0, 0]; crop less"),
        (Box::new(Cropping2d::new([usize::MAX, 2, 0, 0])), image, "crop less"),
        (Box::new(ZeroPad2d::new([usize::MAX, 2, 0, 0])), image, "split the tensor"),
        (Box::new(UpSample2d::new([0, 1])), image, "factors of at least 1"),
        (Box::new(Softmax::new().axis(3)), image, "axis 3 is outside"),
        (Box::new(AlphaDropout::new(1.0)), image, "at least 0 and below 1, got 1"),
        (
            Box::new(SpectralNorm::new(Flatten::new())),
            image,
            "a parameter weight of at least two dimensions, got Flatten with none",
        ),
        (
            Box::new(SpectralNorm::new(SeparableConv2d::new(2, [1, 1]))),
            image,
            "got SeparableConv2d with depthwise_weight, ",
        ),
        (
            Box::new(SpectralNorm::new(Dense::new(2)).power_iterations(0)),
            image,
            "at least one power iteration, got 0",
        ),
        (Box::new(Permute::new([0, 1])), image, "each axis from 0 to 2 once for [4, 4, 3], got [0, 1]"),
        (Box::new(Reshape::new([INFER, 5])), image, "expects"),
        (Box::new(Reshape::new([INFER, INFER])), image, "only one dimension can be worked out"),
        (Box::new(PRelu::new().shared_axes([3])), image, "axis 3 is outside"),
        (Box::new(BatchNorm::new().momentum(1.5)), image, "a momentum from 0 to 1, got 1.5"),
        (Box::new(BatchNorm::new().epsilon(0.0)), image, "a finite epsilon above 0"),
        (Box::new(BatchNorm::new()), &[], "add Reshape::new([1]) before it"),
        (Box::new(LayerNorm::new().axes([])), image, "at least one axis"),
        (Box::new(LayerNorm::new().axes([0, -3])), image, "given twice"),
        (Box::new(GroupNorm::new(2)), image, "a multiple of 2 groups, got 3"),
        (Box::new(InstanceNorm::new()), &[4], "places before the channels, got [4]; LayerNorm"),
        (Box::new(RmsNorm::new().epsilon(0.0)), image, "a finite epsilon above 0"),
        (Box::new(UnitNorm::new().axes([])), image, "at least one axis"),
        (Box::new(UnitNorm::new().axes([0, -3])), image, "given twice"),
        (
            Box::new(MultiHeadAttention::new(2, 4)),
            &[4],
            "expects [time, features], got [4]; add Reshape::new([4, 1])",
        ),
        (Box::new(MultiHeadAttention::new(3, 4).kv_heads(2)), &[5, 4], "those of keys, got 3 and 2"),
        (Box::new(MultiHeadAttention::new(0, 4)), &[5, 4], "those of keys, got 0 and 0"),
        (Box::new(MultiHeadAttention::new(2, 0)), &[5, 4], "at least one feature, got 0 and 0"),
        (Box::new(MultiHeadAttention::new(2, 4).dropout(1.0)), &[5, 4], "below 1, got 1"),
        (Box::new(MultiHeadAttention::new(2, 3).rotary(1e4)), &[5, 4], "an even number of them, got 3"),
        (
            Box::new(MultiHeadAttention::new(2, 4).rotary(0.5)),
            &[5, 4],
            "a finite base of at least 1, got 0.5",
        ),
        (Box::new(TransformerEncoder::new(8, 3)), &[5, 4], "a multiple of 3 heads, got 4"),
        (Box::new(TransformerDecoder::new(0, 2)), &[5, 4], "at least one unit, got 0"),
        (Box::new(PositionEmbedding::new(4)), &[5, 4], "5 places, with vectors for 4; make it longer"),
        (Box::new(PositionEmbedding::new(0)), &[5, 4], "at least 1, got 0"),
        (Box::new(SinePositionEncoding::new().max_wavelength(0.0)), &[5, 4], "at least 1, got 0"),
        (Box::new(Embedding::new(0, 4)), &[4], "at least one element, got 0 and 4"),
        (
            Box::new(Conv1d::new(2, 5)),
            &[4, 3],
            "covers 5 steps, the padded sequence has 4; use a smaller kernel or Padding1d::Same",
        ),
        (Box::new(Conv1d::new(4, 3).groups(2)), &[4, 3], "multiples of 2 groups, got 3 and 4"),
        (
            Box::new(Conv1d::new(4, 3).stride(0)),
            &[4, 3],
            "kernel 3, stride 0 and dilation 1 must all be at least 1",
        ),
        (
            Box::new(Conv1d::new(2, 3)),
            image,
            "expects [time, features], got [4, 4, 3]; add Reshape before it",
        ),
        (Box::new(SeparableConv1d::new(0, 3)), &[4, 3], "at least one filter"),
        (
            Box::new(DepthwiseConv1d::new(3).depth_multiplier(0)),
            &[4, 3],
            "at least one window for each channel",
        ),
        (Box::new(ConvTranspose1d::new(2, 3).padding(Padding1d::Causal)), &[4, 3], "has no causal padding"),
        (
            Box::new(ConvTranspose1d::new(2, 3).output_padding(1)),
            &[4, 3],
            "output padding 1 must be smaller than the stride 1",
        ),
        (
            Box::new(ConvTranspose1d::new(2, 2).stride(2).padding(Padding1d::Same).output_padding(0)),
            &[4, 3],
            "an even window (here 2) the output padding must be at least 1",
        ),
        (
            Box::new(ConvTranspose1d::new(2, 1).padding(Padding1d::Explicit([2, 2]))),
            &[4, 3],
            "of 4 steps the padding cuts off 4: nothing is left",
        ),
        (
            Box::new(MaxPool1d::new(2).padding(Padding1d::Explicit([0, 2]))),
            &[4, 3],
            "padding [0, 2] is not smaller than the window 2",
        ),
        (Box::new(AvgPool1d::new(5)), &[4, 3], "covers 5 steps"),
        (Box::new(Cropping1d::new([2, 2])), &[4, 3], "of 4 steps nothing is left without [2, 2]; crop less"),
        (Box::new(ZeroPad1d::new([usize::MAX, 2])), &[4, 3], "split the tensor"),
        (Box::new(UpSample1d::new(0)), &[4, 3], "a factor of at least 1"),
        (Box::new(GlobalMaxPool1d::new()), &[4], "expects [time, features], got [4]"),
        (
            Box::new(Conv3d::new(2, [3, 1, 1])),
            &[2, 4, 4, 3],
            "covers 3 slices, the padded volume has 2; use a smaller kernel or Padding3d::Same",
        ),
        (Box::new(Conv3d::new(4, [1, 1, 1]).groups(2)), &[2, 4, 4, 3], "multiples of 2 groups, got 3 and 4"),
        (Box::new(Conv3d::new(4, [1, 1, 1]).dilation([1, 0, 1])), &[2, 4, 4, 3], "must all be at least 1"),
        (
            Box::new(Conv3d::new(2, [1, 1, 1])),
            &[4, 4, 3],
            "expects [depth, height, width, channels], got [4, 4, 3]; add Reshape with a channel of 1 before it",
        ),
        (
            Box::new(ConvTranspose3d::new(2, [3, 3, 3]).output_padding([0, 1, 0])),
            &[2, 4, 4, 3],
            "output padding [0, 1, 0] must be smaller than the stride [1, 1, 1]",
        ),
        (
            Box::new(ConvTranspose3d::new(2, [1; 3]).padding(Padding3d::Explicit([2, 2, 0, 0, 0, 0]))),
            &[2, 4, 4, 3],
            "of 2 slices the padding cuts off 4: nothing is left",
        ),
        (
            Box::new(MaxPool3d::new([2; 3]).padding(Padding3d::Explicit([0, 2, 0, 0, 0, 0]))),
            &[2, 4, 4, 3],
            "padding [0, 2, 0, 0, 0, 0] is not smaller than the window [2, 2, 2]",
        ),
        (Box::new(Cropping3d::new([1, 1, 0, 0, 0, 0])), &[2, 4, 4, 3], "of 2 slices nothing is left"),
        (Box::new(UpSample3d::new([1, 0, 1])), &[2, 4, 4, 3], "factors of at least 1, got [1, 0, 1]"),
        (Box::new(Lstm::new(0)), &[4, 3], "at least one unit, got 0"),
        (
            Box::new(Lstm::new(2)),
            &[4],
            "expects [time, features], got [4]; add Reshape::new([4, 1]) before it",
        ),
        (Box::new(Gru::new(2).dropout(1.0)), &[4, 3], "a dropout of at least 0 and below 1, got 1"),
        (Box::new(SimpleRnn::new(2).recurrent_dropout(-0.5)), &[4, 3], "a recurrent dropout of at least 0"),
        (Box::new(Bidirectional::new(Gru::new(2))), image, "expects [time, features], got [4, 4, 3]"),
        (
            Box::new(TimeDistributed::new(MaxPool2d::new([2, 2]))),
            &[4, 4],
            "expects [height, width, channels], got [4]",
        ),
        (Box::new(TimeDistributed::new(Dense::new(2))), &[], "expects [time, ..], got []"),
        (Box::new(GaussianNoise::new(-1.0)), image, "at least 0, got -1"),
        (Box::new(SpatialDropout2d::new(1.0)), image, "below 1, got 1"),
        (
            Box::new(Dense::new(2).kernel_initializer(Initializer::RandomUniform { min: 1.0, max: 0.0 })),
            &[4],
            "a minimum not above the maximum",
        ),
        (
            Box::new(Dense::new(2).bias_initializer(Initializer::Orthogonal { gain: 1.0 })),
            &[4],
            "two dimensions",
        ),
    ];
    for (layer, sample, expected) in cases {
        let kind = layer.kind();
        let message = error(layer, sample);
        assert!(message.starts_with(&format!("Sequential::build: layer 1 ({kind}")), "{kind}: {message}");
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
    }
}

#[test]
fn an_embedding_takes_integers_of_its_vocabulary() -> Result<()> {
    let _alone = alone();
    let model = Sequential::new().add(Embedding::new(3, 2)).build([2], Device::Cpu)?;
    let message = model.infer(&Tensor::zeros([1, 2], Device::Cpu)?).err().map(|e| e.to_string());
    assert_eq!(
        message.as_deref(),
        Some(
            "layer embedding (Embedding): Embedding: expects integers (u8, i32 or u32), got f32; use .cast(DType::U32)"
        )
    );
    let message = model.infer(&Tensor::new([[1i32, 3]], Device::Cpu)?)?.to_vec::<f32>().err();
    assert!(message.is_some_and(|e| e.to_string().contains("index 3 at position 1")));
    Ok(())
}

#[test]
fn operations_refuse_what_they_cannot_do() -> Result<()> {
    let _alone = alone();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, Device::Cpu);
    let options = wgrad::ConvTranspose2dOptions::default;
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let x = zeros(&[1, 4, 4, 2])?;
    let told = message(x.conv2d_transpose(&zeros(&[3, 3, 2, 5])?, options()));
    assert!(told.contains("takes 5 channels (its last dimension)"), "{told}");
    let told = message(x.conv2d_transpose(&zeros(&[3, 3, 2])?, options()));
    assert!(told.contains("expected [n, h, w, c] and [kh, kw, out / groups, c]"), "{told}");
    let three = options().groups(3);
    assert!(message(x.conv2d_transpose(&zeros(&[3, 3, 2, 2])?, three)).contains("into 3 groups"));
    let far = options().stride([usize::MAX, 1]);
    assert!(!message(x.conv2d_transpose(&zeros(&[3, 3, 2, 2])?, far)).is_empty());
    assert!(message(x.upsample2d([usize::MAX, 1], Interpolation::Nearest)).contains("split the tensor"));
    assert!(message(x.upsample2d([0, 1], Interpolation::Nearest)).contains("at least 1"));
    assert!(message(zeros(&[2, 2])?.upsample2d([1, 1], Interpolation::Nearest)).contains("[n, h, w, c]"));
    // Of sequences, in their words.
    let (s, w) = (zeros(&[2, 5, 4])?, zeros(&[3, 2, 6])?);
    let plain = wgrad::Conv1dOptions::new;
    let told = message(s.conv1d(&w, plain()));
    assert!(
        told.starts_with("conv1d: sequence [2, 5, 4] and weight [3, 2, 6], 1 groups: expected 4 channels"),
        "{told}"
    );
    assert!(message(s.conv1d(&w, plain().groups(2).dilation(3))).contains("covers 7 steps"));
    assert!(message(s.conv1d(&w, plain().groups(2).stride(usize::MAX))).contains("out of all proportion"));
    let told = message(x.conv1d(&w, plain()));
    assert!(
        told.contains(
            "sequence [1, 4, 4, 2] and weight [3, 2, 6]: expected [n, length, c] and [k, c / groups, out]"
        ),
        "{told}"
    );
    let told = message(s.conv1d_transpose(&w, wgrad::ConvTranspose1dOptions::new()));
    assert!(told.starts_with("conv1d_transpose: ") && told.contains("to be the 4 channels"), "{told}");
    let pool = wgrad::Pool1dOptions::new;
    assert!(message(s.max_pool1d(pool(6))).starts_with("max_pool1d: the window covers 6 steps"));
    assert!(message(x.avg_pool1d(pool(2))).contains("sequence [1, 4, 4, 2]: expected [n, length, c]"));
    assert!(message(s.cast(DType::I32)?.max_pool1d(pool(2))).contains("the sequence is i32"));
    // No steps, no samples: what stays inside of a sequence has no place in it, all else gives none.
    let empty = zeros(&[2, 0, 4])?.watch()?;
    let causal = empty.conv1d(&w, plain().groups(2).padding(Padding1d::Causal))?;
    assert_eq!(causal.shape(), [2, 0, 6]);
    assert_eq!(causal.sum(.., false)?.backward()?.get(&empty)?.shape(), [2, 0, 4]);
    assert!(message(empty.conv1d(&w, plain().groups(2))).contains("has 0"));
    assert_eq!(empty.max_pool1d(pool(2).padding(Padding1d::Same))?.shape(), [2, 0, 4]);
    assert_eq!(zeros(&[0, 5, 4])?.conv1d(&w, plain().groups(2))?.shape(), [0, 3, 6]);
    assert_eq!(zeros(&[0, 5, 4])?.avg_pool1d(pool(2))?.shape(), [0, 2, 4]);
    // Of volumes.
    let (v, w) = (zeros(&[1, 3, 4, 5, 4])?, zeros(&[2, 2, 2, 2, 6])?);
    let plain = wgrad::Conv3dOptions::new;
    let told = message(v.conv3d(&w, plain()));
    let expected = "conv3d: volume [1, 3, 4, 5, 4] and weight [2, 2, 2, 2, 6], 1 groups: expected 4 channels";
    assert!(told.starts_with(expected), "{told}");
    let told = message(x.conv3d(&w, plain()));
    assert!(told.contains("expected [n, d, h, w, c] and [kd, kh, kw, c / groups, out]"), "{told}");
    assert!(message(v.conv3d(&w, plain().groups(2).dilation([3, 1, 1]))).contains("covers 4 slices"));
    let far = plain().groups(2).stride([usize::MAX, 1, 1]);
    assert!(message(v.conv3d(&w, far)).contains("out of all proportion"));
    let far = plain().groups(2).padding(Padding3d::Explicit([1 << 30, 0, 0, 0, 0, 0]));
    assert!(message(v.conv3d(&w, far)).starts_with("conv3d: "));
    let told = message(v.conv3d_transpose(&w, wgrad::ConvTranspose3dOptions::new()));
    assert!(told.starts_with("conv3d_transpose: ") && told.contains("to be the 4 channels"), "{told}");
    let pool = wgrad::Pool3dOptions::new;
    assert!(message(v.max_pool3d(pool([4, 1, 1]))).starts_with("max_pool3d: the window covers 4 slices"));
    assert!(message(x.avg_pool3d(pool([1; 3]))).contains("expected [n, d, h, w, c]"));
    assert!(message(v.cast(DType::I32)?.max_pool3d(pool([1; 3]))).contains("the volume is i32"));
    assert!(message(x.upsample3d([1; 3], Interpolation::Nearest)).contains("[n, d, h, w, c]"));
    let empty = zeros(&[2, 0, 4, 4, 4])?.watch()?;
    let same = empty.conv3d(&w, plain().groups(2).padding(Padding3d::Explicit([1, 1, 0, 0, 0, 0])))?;
    assert_eq!(same.shape(), [2, 1, 3, 3, 6]);
    assert_eq!(same.sum(.., false)?.backward()?.get(&empty)?.shape(), [2, 0, 4, 4, 4]);
    assert_eq!(zeros(&[0, 3, 4, 4, 4])?.conv3d(&w, plain().groups(2))?.shape(), [0, 2, 3, 3, 6]);
    assert_eq!(zeros(&[0, 3, 4, 4, 4])?.avg_pool3d(pool([2; 3]))?.shape(), [0, 1, 2, 2, 4]);
    assert_eq!(
        zeros(&[0, 3, 4, 4, 6])?.conv3d_transpose(&w, wgrad::ConvTranspose3dOptions::new())?.shape(),
        [0, 4, 5, 5, 2]
    );
    // nothing in, nothing out
    let none = zeros(&[0, 4, 4, 2])?;
    assert_eq!(none.conv2d_transpose(&zeros(&[3, 3, 5, 2])?, options())?.shape(), [0, 6, 6, 5]);
    assert_eq!(none.upsample2d([2, 1], Interpolation::Bilinear)?.shape(), [0, 8, 4, 2]);
    Ok(())
}

fn normalised(device: Device) -> Result<Model> {
    Sequential::new()
        .add(Conv2d::new(8, [3, 3]).bias(false))
        .add(BatchNorm::new().momentum(0.9))
        .add(Activation::Relu)
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dense::new(16))
        .add(BatchNorm::new())
        .add(Activation::Relu)
        .add(Dense::new(10))
        .seed(3)
        .build([28, 28, 1], device)
}

/// What the device's counters are after each step, or each loss (which takes a buffer for each that is held).
fn train(
    device: Device,
    epochs: usize,
    count: bool,
) -> Result<(Trainer<Model>, Vec<wgrad::Stats>, Vec<f32>)> {
    let (set, _) = data::synthetic::digits(512, 10, 5).into_datasets()?;
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer =
        Trainer::new(normalised(device)?, Adam::new(1e-3), loss).metric(Accuracy::new()).build()?;
    let (mut stats, mut losses) = (Vec::new(), Vec::new());
    let fit = Fit::epochs(epochs).batch_size(32).verbose(false).callback(|event| {
        if let Event::Step(step) = event {
            match count {
                true => stats.push(device.stats()?),
                false => losses.push(step.loss.clone()),
            }
        }
        Ok(Flow::Continue)
    });
    trainer.fit(&set, fit)?;
    let losses = losses.iter().map(|l| l.item::<f32>()).collect::<Result<_>>()?;
    Ok((trainer, stats, losses))
}

#[test]
fn batch_norm_trains_alike_on_both_devices() -> Result<()> {
    let _alone = alone();
    let ((cpu, _, cpu_losses), (gpu, _, gpu_losses)) =
        (train(Device::Cpu, 1, false)?, train(Device::Gpu, 1, false)?);
    assert!(cpu_losses[15] < 0.8 * cpu_losses[0], "does not learn: {cpu_losses:?}");
    for (step, (a, b)) in cpu_losses.iter().zip(&gpu_losses).enumerate() {
        assert!((a - b).abs() <= 2e-3 * a.abs(), "step {step}: {a} on the CPU, {b} on the GPU");
    }
    for name in ["batchnorm.moving_mean", "batchnorm_1.moving_variance"] {
        let read = |t: &Trainer<Model>| values(&t.model().parameter(name)?.variable.value());
        assert_close(&read(&gpu)?, &read(&cpu)?, 1e-2, name);
    }
    Ok(())
}

#[test]
fn a_step_with_batch_norm_is_one_submission() -> Result<()> {
    let _alone = alone();
    let (_, stats, _) = train(Device::Gpu, 3, true)?;
    let (before, after) = (stats[31], stats[47]);
    // the third epoch: 16 steps, between the two the sums of the second and whether all weights are finite, and within it a note of
    // the loss so far
    let submits = after.submits - before.submits;
    assert!((16..=22).contains(&submits), "{submits} submissions in 16 steps");
    let dispatches = (after.dispatches - before.dispatches) / 16;
    assert!(dispatches <= 60, "{dispatches} dispatches in a step");
    assert_eq!(after.plan_misses, before.plan_misses);
    assert_eq!(after.allocations, before.allocations);
    Ok(())
}

#[test]
fn five_hundred_steps_with_batch_norm_keep_memory_flat() -> Result<()> {
    let _alone = alone();
    for device in common::DEVICES {
        let model = Sequential::new()
            .add(Dense::new(8))
            .add(BatchNorm::new())
            .add(Activation::Relu)
            .add(Dense::new(2))
            .build([4], device)?;
        let mut optimizer = Sgd::new(0.01);
        let x = Tensor::rand([16, 4], device, 1)?;
        let mut warm = None;
        for step in 0..500 {
            let cx = Context::train(step);
            let loss = model.forward(&x, &cx)?.square()?.mean(.., false)?;
            let mut pending = optimizer.update(&loss.backward()?)?;
            pending.extend(cx.take_also_compute());
            wgrad::eval(&pending.iter().collect::<Vec<_>>())?;
            drop(loss);
            if step == 50 {
                device.synchronize()?;
                warm = Some(device.stats()?);
            }
        }
        device.synchronize()?;
        let (first, last) = (warm.expect("more than 50 steps"), device.stats()?);
        assert!(last.bytes_live <= first.bytes_live, "{device}: {first:?} {last:?}");
        assert_eq!(last.plan_misses, first.plan_misses, "{device}");
        if device == Device::Gpu {
            assert_eq!(last.allocations, first.allocations);
        }
    }
    Ok(())
}

#[test]
fn a_frozen_batch_norm_predicts_while_others_train() -> Result<()> {
    let _alone = alone();
    for device in common::DEVICES {
        let model = Sequential::new().add(BatchNorm::new().momentum(0.0)).build([2], device)?;
        let x = tensor(&[1.0, 5.0, 3.0, 9.0], &[2, 2], DType::F32, device)?;
        let step = |x: &Tensor| {
            let cx = Context::train(0);
            let y = model.forward(x, &cx)?;
            let waiting = cx.take_also_compute();
            wgrad::eval(&waiting.iter().collect::<Vec<_>>())?;
            Ok::<_, Error>((values(&y)?, waiting.len()))
        };
        let read = |name: &str| values(&model.parameter(name)?.variable.value());
        step(&x)?;
        assert_eq!(read("batchnorm.moving_mean")?, [2.0, 7.0]);
        assert_eq!(read("batchnorm.moving_variance")?, [1.0, 4.0]);
        model.set_trainable(false)?;
        let other = (&x * 10.0)?;
        let (frozen, waiting) = step(&other)?;
        assert_eq!(waiting, 0);
        assert_eq!(frozen, values(&model.infer(&other)?)?);
        assert_eq!(read("batchnorm.moving_mean")?, [2.0, 7.0]);
        // Buffers are not released with the weights.
        model.set_trainable(true)?;
        assert!(!model.parameter("batchnorm.moving_mean")?.trainable());
        assert_eq!(step(&other)?.1, 2);
        assert_eq!(read("batchnorm.moving_mean")?, [20.0, 70.0]);
    }
    Ok(())
}

/// Lengths are sizes to the kernels, not structure: a model that has seen two of them knows all kernels that others need, but
/// for those that are chosen by how large a matrix is.
#[test]
fn a_model_takes_new_lengths_without_new_kernels() -> Result<()> {
    let _alone = alone();
    let model = Sequential::new()
        .add(Embedding::new(50, 12))
        .add(Dense::new(16).activation(Activation::Gelu))
        .add(LayerNorm::new())
        .add(Dense::new(5))
        .build((None,), Device::Gpu)?;
    let predict = |length: usize| -> Result<()> {
        let words = Tensor::zeros([3, length], Device::Gpu)?.cast(DType::U32)?;
        model.infer(&words)?.to_vec::<f32>().map(drop)
    };
    // One that four divides, one that it doesn't.
    predict(4)?;
    predict(7)?;
    let before = Device::Gpu.stats()?.pipelines;
    for length in (2..20).chain([31, 64, 65, 100, 301, 1000, 5003, 30_000]) {
        predict(length)?;
    }
    let new = Device::Gpu.stats()?.pipelines - before;
    assert!(new <= 4, "{new} pipelines for 26 lengths");
    Ok(())
}

/// Squares of small and of large numbers are no numbers of f32; what is 0 stays 0.
#[test]
fn unit_norms_of_extremes() -> Result<()> {
    for device in [Device::Cpu, Device::Gpu] {
        let model = Sequential::new().add(UnitNorm::new()).build([2], device)?;
        let x = Tensor::new([[3e-9f32, 4e-9], [3e25, 4e25], [0.0, 0.0], [-5.0, 0.0]], device)?;
        wgrad::testing::assert_close(model.infer(&x)?, [0.6, 0.8, 0.6, 0.8, 0.0, 0.0, -1.0, 0.0], 1e-6, 0.0)?;
    }
    Ok(())
}

#[test]
fn separable_convolutions_of_no_steps() -> Result<()> {
    for device in [Device::Cpu, Device::Gpu] {
        for padding in [wgrad::Padding1d::Same, wgrad::Padding1d::Causal] {
            let layer = wgrad::nn::SeparableConv1d::new(4, 3).padding(padding);
            let model = Sequential::new().add(layer).build((None, 3), device)?;
            assert_eq!(model.infer(&Tensor::zeros([2, 0, 3], device)?)?.dims(), [2, 0, 4]);
        }
    }
    Ok(())
}
