//! Values and gradients of PyTorch and Keras in float64 (tests/golden/layers.py, windows.py, sequences.py, spectral.py): operations in f64 on the CPU to the last
//! digits, operations and layers in f32 on both devices to what single precision gives.

mod common;

#[path = "golden_layers/attention.rs"]
mod attention;
#[path = "golden_layers/preprocessing.rs"]
mod preprocessing;

use common::{tensor, values};
use serde_json::Value;
use wgrad::nn::{
    AvgPool1d, AvgPool3d, BatchNorm, Bidirectional, BidirectionalMerge, Context, Conv1d, Conv3d,
    ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Cropping1d, Cropping2d, Cropping3d, DepthwiseConv1d,
    DepthwiseConv2d, Embedding, GlobalAvgPool1d, GlobalAvgPool2d, GlobalAvgPool3d, GlobalMaxPool1d,
    GlobalMaxPool2d, GlobalMaxPool3d, GroupNorm, Gru, Layer, LayerNorm, Lstm, MaxPool1d, MaxPool3d, PRelu,
    Permute, SampleShape, SeparableConv1d, SeparableConv2d, SimpleRnn, Softmax, SpectralNorm,
    TimeDistributed, UpSample1d, UpSample2d, UpSample3d, ZeroPad1d, ZeroPad2d, ZeroPad3d,
};
use wgrad::prelude::*;
use wgrad::{
    Conv1dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions, ConvTranspose3dOptions,
    GridOptions, GridPadding, Interpolation, Padding1d, Padding3d, Pool1dOptions, Pool3dOptions, Resampling,
};

/// Of each element, `tolerance * (1 + |expected|)`.
const F64: f64 = 1e-12;
const F32: f64 = 4e-6;
/// What PyTorch and TensorFlow themselves compute in single precision inside: the call, how the note begins, and why.
const SINGLE_INSIDE: [(&str, &str, &str); 3] = [
    ("resize2d", "TensorFlow, ", "TensorFlow resizes in single precision"),
    ("hard_sigmoid", "", "PyTorch's gradient has 1/6 in single precision"),
    ("upsample2d", "Keras, ", "TensorFlow weights the neighbours in single precision"),
];
/// Of layers, whose gradients are sums of many products.
const LAYER: f64 = 1e-5;
/// Where the mean is a hundred standard deviations away, the input itself has two digits less.
const FAR_FROM_ZERO: f64 = 1e-3;

fn file() -> Value {
    serde_json::from_str(include_str!("golden/layers.json")).expect("valid JSON")
}

fn sequences() -> Value {
    serde_json::from_str(include_str!("golden/sequences.json")).expect("valid JSON")
}

fn spectral() -> Value {
    serde_json::from_str(include_str!("golden/spectral.json")).expect("valid JSON")
}

fn windows() -> Value {
    serde_json::from_str(include_str!("golden/windows.json")).expect("valid JSON")
}

fn sampling() -> Value {
    serde_json::from_str(include_str!("golden/sampling.json")).expect("valid JSON")
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn sizes(v: &Value) -> Vec<usize> {
    numbers(v).into_iter().map(|n| n as usize).collect()
}

/// A sample's shape; null where a dimension is open.
fn sample_shape(v: &Value) -> Result<SampleShape> {
    let dims = v.as_array().expect("a list").iter().map(|d| d.as_u64().map(|n| n as usize));
    SampleShape::new(dims.collect::<Vec<_>>())
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or_default()
}

fn compare(got: &Tensor, want: &Value, tolerance: f64, what: &str, failures: &mut Vec<String>) -> Result<()> {
    let (got, want) = (values(got)?, numbers(want));
    assert_eq!(got.len(), want.len(), "{what}");
    let wrong = got.iter().zip(&want).enumerate().find(|(_, (g, w))| {
        let close = (*g - *w).abs() <= tolerance * (1.0 + w.abs());
        !close
    });
    failures.extend(wrong.map(|(i, (g, w))| format!("{what}: element {i}: {g:e}, expected {w:e}")));
    Ok(())
}

fn padding(mode: f64, sides: &[usize]) -> Padding {
    match mode as usize {
        0 => Padding::Valid,
        1 => Padding::Same,
        _ => Padding::Explicit([sides[0], sides[1], sides[2], sides[3]]),
    }
}

fn interpolation(code: f64) -> Interpolation {
    if code == 0.0 { Interpolation::Nearest } else { Interpolation::Bilinear }
}

/// The calls of "ops".
fn call(name: &str, a: &[f64], x: &[Tensor]) -> Result<Tensor> {
    let u: Vec<usize> = a.iter().map(|&v| v as usize).collect();
    match name {
        "relu6" => x[0].relu6(),
        "selu" => x[0].selu(),
        "hard_sigmoid" => x[0].hard_sigmoid(),
        "hard_silu" => x[0].hard_silu(),
        "softsign" => x[0].softsign(),
        "mish" => x[0].mish(),
        "conv2d_transpose" => {
            let options = ConvTranspose2dOptions::new()
                .stride([u[0], u[1]])
                .padding(padding(a[2], &u[3..7]))
                .output_padding((u[7] == 1).then_some([u[8], u[9]]))
                .dilation([u[10], u[11]])
                .groups(u[12]);
            x[0].conv2d_transpose(&x[1], options)
        }
        "conv1d" => {
            let options = Conv1dOptions::new().stride(u[0]).padding(Padding1d::Explicit([u[1], u[2]]));
            x[0].conv1d(&x[1], options.dilation(u[3]).groups(u[4]))
        }
        "conv1d_transpose" => {
            let options =
                ConvTranspose1dOptions::new().stride(u[0]).padding(Padding1d::Explicit([u[1], u[1]]));
            x[0].conv1d_transpose(&x[1], options.output_padding(u[2]).dilation(u[3]).groups(u[4]))
        }
        "max_pool1d" | "avg_pool1d" => {
            let options = Pool1dOptions::new(u[0]).stride(u[1]).padding(Padding1d::Explicit([u[2], u[2]]));
            let options = options.ceil_mode(u[4] == 1);
            match name {
                "max_pool1d" => x[0].max_pool1d(options),
                _ => x[0].avg_pool1d(options.count_include_pad(u[3] == 1)),
            }
        }
        "conv3d" => {
            let options = Conv3dOptions::new().stride([u[0], u[1], u[2]]).groups(u[12]);
            let sides = Padding3d::Explicit(u[3..9].try_into().expect("six sides"));
            x[0].conv3d(&x[1], options.padding(sides).dilation([u[9], u[10], u[11]]))
        }
        "conv3d_transpose" => {
            let options = ConvTranspose3dOptions::new().stride([u[0], u[1], u[2]]).groups(u[12]);
            let options = options.padding(Padding3d::Explicit([u[3], u[3], u[4], u[4], u[5], u[5]]));
            let options = options.output_padding([u[6], u[7], u[8]]).dilation([u[9], u[10], u[11]]);
            x[0].conv3d_transpose(&x[1], options)
        }
        "max_pool3d" | "avg_pool3d" => {
            let options = Pool3dOptions::new([u[0], u[1], u[2]]).stride([u[3], u[4], u[5]]);
            let options = options.padding(Padding3d::Explicit([u[6], u[6], u[7], u[7], u[8], u[8]]));
            let options = options.count_include_pad(u[9] == 1).ceil_mode(u[10] == 1);
            if name == "max_pool3d" { x[0].max_pool3d(options) } else { x[0].avg_pool3d(options) }
        }
        "resize2d" => {
            let how =
                [Resampling::Nearest, Resampling::Bilinear, Resampling::Bicubic, Resampling::CatmullRom];
            x[0].resize2d([u[0], u[1]], how[u[2]], u[3] == 1)
        }
        "grid_sample" => {
            let padding = [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection][u[1]];
            let options = GridOptions::new().nearest(u[0] == 1).padding(padding).align_corners(u[2] == 1);
            x[0].grid_sample(&x[1], options)
        }
        "upsample2d" => x[0].upsample2d([u[0], u[1]], interpolation(a[2])),
        other => panic!("golden_layers.rs does not know {other}"),
    }
}

fn check_ops(float: DType, device: Device) -> Result<()> {
    let files = [file(), windows(), sampling()];
    let files = files.each_ref().map(|f| f["ops"].as_array().expect("entries"));
    assert!(files[0].len() > 40 && files[1].len() > 15 && files[2].len() > 30, "a file is not whole");
    let entries = files.into_iter().flatten();
    let mut failures = Vec::new();
    for entry in entries {
        let what = format!("{} {} {}", text(entry, "call"), entry["args"], text(entry, "note"));
        let single = SINGLE_INSIDE
            .iter()
            .any(|(name, note, _)| *name == text(entry, "call") && text(entry, "note").starts_with(note));
        let tolerance = if float == DType::F64 && !single { F64 } else { F32 };
        let mut x = Vec::new();
        for input in entry["inputs"].as_array().expect("inputs") {
            x.push(tensor(&numbers(&input["values"]), &sizes(&input["shape"]), float, device)?.watch()?);
        }
        let y = call(text(entry, "call"), &numbers(&entry["args"]), &x)?;
        assert_eq!(y.dims(), &sizes(&entry["shape"])[..], "{what}");
        compare(&y, &entry["output"], tolerance, &what, &mut failures)?;
        let upstream = tensor(&numbers(&entry["upstream"]), y.dims(), float, device)?;
        let grads = y.backward_with(&upstream)?;
        for (i, want) in entry["grads"].as_array().expect("gradients").iter().enumerate() {
            let what = format!("gradient of input {i} of {what}");
            compare(&grads.get(&x[i])?, want, tolerance, &what, &mut failures)?;
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// The layers of "layers".
fn layer(name: &str, a: &[f64]) -> Box<dyn Layer> {
    let u: Vec<usize> = a.iter().map(|&v| v as usize).collect();
    let axes: Vec<isize> = a.iter().map(|&v| v as isize).collect();
    let pad = |at: usize| padding(a[at], &[]);
    let pad3d = |at: usize| if u[at] == 0 { Padding3d::Valid } else { Padding3d::Same };
    let pad1d = |at: usize| [Padding1d::Valid, Padding1d::Same, Padding1d::Causal][u[at]];
    match name {
        "dense" => Box::new(Dense::new(4).activation(Activation::Tanh)),
        "conv2d" => {
            let layer = Conv2d::new(u[0], [u[1], u[2]]).stride([u[3], u[4]]).padding(pad(5));
            let layer = layer.dilation([u[6], u[7]]).groups(u[8]);
            Box::new(if u[3] == 2 { layer.activation(Activation::Relu) } else { layer })
        }
        "depthwise_conv2d" => {
            let layer = DepthwiseConv2d::new([u[0], u[1]]).depth_multiplier(u[2]);
            Box::new(layer.stride([u[3], u[4]]).padding(pad(5)))
        }
        "separable_conv2d" => {
            Box::new(SeparableConv2d::new(u[0], [u[1], u[2]]).depth_multiplier(u[3]).padding(pad(4)))
        }
        "conv_transpose2d" => {
            let layer = ConvTranspose2d::new(u[0], [u[1], u[2]]).stride([u[3], u[4]]).padding(pad(5));
            Box::new(if u[6] == 1 { layer.output_padding([u[7], u[8]]) } else { layer })
        }
        "global_avg_pool2d" => Box::new(GlobalAvgPool2d::new()),
        "global_max_pool2d" => Box::new(GlobalMaxPool2d::new().keep_dims(!u.is_empty())),
        "zero_pad2d" => Box::new(ZeroPad2d::new([u[0], u[1], u[2], u[3]])),
        "cropping2d" => Box::new(Cropping2d::new([u[0], u[1], u[2], u[3]])),
        "upsample2d" => Box::new(UpSample2d::new([u[0], u[1]]).interpolation(interpolation(a[2]))),
        "softmax" => Box::new(Softmax::new().axis(axes[0])),
        "permute" => Box::new(Permute::new(u)),
        "prelu" => Box::new(PRelu::new().shared_axes(axes)),
        "leaky_relu" => Box::new(Activation::LeakyRelu(a[0])),
        "elu" => Box::new(Activation::Elu),
        "exponential" => Box::new(Activation::Exponential),
        "log_softmax" => Box::new(Activation::LogSoftmax),
        "embedding" => Box::new(Embedding::new(u[0], u[1])),
        "layer_norm" => Box::new(LayerNorm::new().axes(axes)),
        "group_norm" => Box::new(GroupNorm::new(u[0])),
        "batch_norm" => Box::new(BatchNorm::new().momentum(a[0]).center(a[1] == 1.0).scale(a[2] == 1.0)),
        "conv1d" => {
            let layer = Conv1d::new(u[0], u[1]).stride(u[2]).padding(pad1d(3));
            Box::new(layer.dilation(u[4]).groups(u[5]))
        }
        "conv_transpose1d" => Box::new(ConvTranspose1d::new(u[0], u[1]).stride(u[2]).padding(pad1d(3))),
        "depthwise_conv1d" => Box::new(DepthwiseConv1d::new(u[0]).depth_multiplier(u[1]).padding(pad1d(2))),
        "separable_conv1d" => Box::new(SeparableConv1d::new(u[0], u[1]).depth_multiplier(u[2])),
        "max_pool1d" => Box::new(MaxPool1d::new(u[0]).stride(u[1]).padding(pad1d(2))),
        "avg_pool1d" => Box::new(AvgPool1d::new(u[0]).stride(u[1]).padding(pad1d(2))),
        "global_avg_pool1d" => Box::new(GlobalAvgPool1d::new()),
        "global_max_pool1d" => Box::new(GlobalMaxPool1d::new().keep_dims(true)),
        "zero_pad1d" => Box::new(ZeroPad1d::new([u[0], u[1]])),
        "cropping1d" => Box::new(Cropping1d::new([u[0], u[1]])),
        "upsample1d" => Box::new(UpSample1d::new(u[0])),
        "conv3d" => {
            let layer = Conv3d::new(u[0], [u[1], u[2], u[3]]).stride([u[4], u[5], u[6]]).padding(pad3d(7));
            let layer = layer.groups(u[8]);
            Box::new(if u[8] == 1 { layer.activation(Activation::Relu) } else { layer })
        }
        "conv_transpose3d" => {
            let layer = ConvTranspose3d::new(u[0], [u[1], u[2], u[3]]);
            Box::new(layer.stride([u[4], u[5], u[6]]).padding(pad3d(7)))
        }
        "max_pool3d" => {
            Box::new(MaxPool3d::new([u[0], u[1], u[2]]).stride([u[3], u[4], u[5]]).padding(pad3d(6)))
        }
        "avg_pool3d" => {
            Box::new(AvgPool3d::new([u[0], u[1], u[2]]).stride([u[3], u[4], u[5]]).padding(pad3d(6)))
        }
        "global_avg_pool3d" => Box::new(GlobalAvgPool3d::new()),
        "global_max_pool3d" => Box::new(GlobalMaxPool3d::new().keep_dims(true)),
        "zero_pad3d" => Box::new(ZeroPad3d::new(u[..6].try_into().expect("six sides"))),
        "cropping3d" => Box::new(Cropping3d::new(u[..6].try_into().expect("six sides"))),
        "upsample3d" => Box::new(UpSample3d::new([u[0], u[1], u[2]])),
        "simple_rnn" => {
            let layer = SimpleRnn::new(u[0]).go_backwards(u[1] == 1).return_sequences(u[2] == 1);
            Box::new(if u[2] == 1 { layer.activation(Activation::Relu).bias(false) } else { layer })
        }
        "lstm" => Box::new(Lstm::new(u[0]).go_backwards(u[1] == 1).return_sequences(u[2] == 1)),
        "gru" => Box::new(Gru::new(u[0]).go_backwards(u[1] == 1).return_sequences(u[2] == 1)),
        "gru_before" => {
            let layer = Gru::new(u[0]).go_backwards(u[1] == 1).return_sequences(u[2] == 1);
            Box::new(layer.reset_after(false).bias(u[1] == 0))
        }
        "bidirectional" => {
            let merges = [
                BidirectionalMerge::Concat,
                BidirectionalMerge::Sum,
                BidirectionalMerge::Multiply,
                BidirectionalMerge::Average,
            ];
            let layer = Lstm::new(u[0]).return_sequences(u[2] == 1);
            Box::new(Bidirectional::new(layer).merge(merges[u[1]]))
        }
        "time_distributed" => Box::new(TimeDistributed::new(Conv2d::new(2, [2, 2]))),
        "spectral_dense" => Box::new(SpectralNorm::new(Dense::new(u[0])).power_iterations(u[1])),
        "spectral_conv2d" => {
            Box::new(SpectralNorm::new(Conv2d::new(u[0], [u[1], u[2]])).power_iterations(u[3]))
        }
        "frozen_batch_norm" => Box::new(BatchNorm::new().momentum(a[0]).trainable(false)),
        other => panic!("golden_layers.rs does not know {other}"),
    }
}

/// The variable of a model of one layer: its name has the layer's before it.
fn variable(model: &Model, name: &str) -> Variable {
    let list = model.parameters();
    let found = list.iter().find(|p| p.name.split_once('.').is_some_and(|(_, own)| own == name));
    found.unwrap_or_else(|| panic!("{name} is not among {list:?}")).variable.clone()
}

fn check_layers(device: Device) -> Result<()> {
    let (file, sequences, spectral) = (file(), sequences(), spectral());
    let [single, sequences, spectral] =
        [&file, &sequences, &spectral].map(|f| f["layers"].as_array().expect("entries"));
    assert!(single.len() > 35 && sequences.len() > 15, "a file is not whole");
    let entries = single.iter().chain(sequences).chain(spectral);
    let mut failures = Vec::new();
    for entry in entries {
        let (name, note) = (text(entry, "layer"), text(entry, "note"));
        let what = format!("{name} {} {note}", entry["args"]);
        let tolerance = if note.contains("far from zero") { FAR_FROM_ZERO } else { LAYER };
        let inputs = entry["inputs"].as_array().expect("inputs");
        // Some layers are built for any length, and given several in turn.
        let any_length = !entry["sample"].is_null();
        let sample = match any_length {
            true => sample_shape(&entry["sample"])?,
            false => SampleShape::new(&sizes(&inputs[0]["shape"])[1..])?,
        };
        let made = layer(name, &numbers(&entry["args"]));
        let model = Sequential::new().add(made).build(sample, device)?;
        let weights = entry["weights"].as_array().expect("weights");
        assert_eq!(weights.len(), model.parameters().len(), "{what}");
        for weight in weights {
            let t = tensor(&numbers(&weight["values"]), &sizes(&weight["shape"]), DType::F32, device)?;
            variable(&model, text(weight, "name")).set(t)?;
        }
        let mut last = None;
        for input in inputs {
            let dtype = if input["dtype"] == "float" { DType::F32 } else { DType::I32 };
            let x = tensor(&numbers(&input["values"]), &sizes(&input["shape"]), dtype, device)?;
            let x = if dtype == DType::F32 { x.watch()? } else { x };
            let cx = if entry["training"] == true { Context::train(1) } else { Context::eval() };
            let y = model.forward(&x, &cx)?;
            let pending = cx.take_also_compute();
            wgrad::eval(&pending.iter().chain([&y]).collect::<Vec<_>>())?;
            last = Some((x, y));
        }
        let (x, y) = last.expect("at least one batch");
        assert_eq!(y.dims(), &sizes(&entry["shape"])[..], "{what}");
        let built = match any_length {
            true => sample_shape(&entry["built"])?,
            false => SampleShape::new(&y.dims()[1..])?,
        };
        assert_eq!(model.output_shape(), built, "{what}: build");
        compare(&y, &entry["output"], tolerance, &what, &mut failures)?;
        let upstream = tensor(&numbers(&entry["upstream"]), y.dims(), DType::F32, device)?;
        let grads = y.backward_with(&upstream)?;
        let expected = entry["grads"].as_array().expect("gradients");
        let trained = model.parameters().iter().filter(|p| p.trainable()).count();
        assert_eq!(expected.iter().filter(|e| e["name"] != "input").count(), trained, "{what}");
        for want in expected {
            let got = match text(want, "name") {
                "input" => grads.get(&x)?,
                name => grads.get(&variable(&model, name))?,
            };
            let what = format!("gradient of {} of {what}", want["name"]);
            compare(&got, &want["values"], tolerance, &what, &mut failures)?;
        }
        for buffer in entry["after"].as_array().expect("buffers") {
            let got = variable(&model, text(buffer, "name")).value();
            let what = format!("{} after {what}", buffer["name"]);
            compare(&got, &buffer["values"], tolerance, &what, &mut failures)?;
        }
        let predicted = model.infer(&x)?;
        let what = format!("prediction of {what}");
        compare(&predicted, &entry["predicted"], tolerance, &what, &mut failures)?;
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn operations_in_f64_on_the_cpu() -> Result<()> {
    check_ops(DType::F64, Device::Cpu)
}

#[test]
fn operations_in_f32_on_the_cpu() -> Result<()> {
    check_ops(DType::F32, Device::Cpu)
}

#[test]
fn operations_in_f32_on_the_gpu() -> Result<()> {
    check_ops(DType::F32, Device::Gpu)
}

#[test]
fn layers_on_the_cpu() -> Result<()> {
    check_layers(Device::Cpu)
}

#[test]
fn layers_on_the_gpu() -> Result<()> {
    check_layers(Device::Gpu)
}
