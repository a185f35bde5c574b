//! Files of NumPy, PyTorch and Keras, written by the real ones (tests/golden/weights.py): arrays bit by bit, and weights by the
//! predictions that they lead to.

use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use wgrad::io::import::{self, Mapping, Weights};
use wgrad::io::{npz, save_tensors};
use wgrad::nn::{
    Build, Built, Context, DepthwiseConv2d, GroupNorm, Layer, PRelu, Parameter, Permute, SeparableConv2d,
};
use wgrad::prelude::*;

const DEVICES: [Device; 2] = [Device::Cpu, Device::Gpu];
/// Of each prediction, absolutely; they are about one.
const TOLERANCE: f32 = 1e-5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn weights_file(name: &str) -> PathBuf {
    golden("weights").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let digit = |d: u8| (d as char).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|p| digit(p[0]) * 16 + digit(p[1])).collect()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.cast(DType::F64).unwrap().to_vec::<f64>().unwrap()
}

fn message<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

/// What the models were asked about, as in tests/golden/weights.py.
fn inputs(shape: &[usize], device: Device) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f64 / 50.0 - 1.0) as f32).collect();
    Tensor::from_vec(values, shape, device).unwrap()
}

fn all(model: &Model) -> Vec<Vec<f32>> {
    model.parameters().iter().map(|p| p.variable.value().to_vec::<f32>().unwrap()).collect()
}

/// That a model predicts what the one that saved the weights did.
fn check(model: &Model, x: &Tensor, expected: &str) {
    let outputs = model.infer_all(std::slice::from_ref(x)).unwrap();
    let expected_all = &json("weights.json")[expected];
    assert_eq!(outputs.len(), expected_all.as_array().unwrap().len(), "{expected}");
    for (y, want) in outputs.iter().zip(expected_all.as_array().unwrap()) {
        let (got, want) = (y.to_vec::<f32>().unwrap(), numbers(want));
        assert_eq!(got.len(), want.len(), "{expected}");
        for (g, w) in got.iter().zip(&want) {
            assert!((g - *w as f32).abs() < TOLERANCE, "{expected} on {}: {got:?}\n{want:?}", x.device());
        }
    }
}

// ---- NumPy ----

#[test]
fn npy_files_of_numpy_are_read_and_written_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let files = json("numpy.json");
    for (name, file) in files["files"].as_object().unwrap() {
        let content = bytes(&file["hex"]);
        std::fs::write(&path, &content).unwrap();
        let loaded = Tensor::load_npy(&path, Device::Cpu);
        if let Some(error) = file["error"].as_str() {
            let message = message(loaded);
            assert!(message.contains("x.npy: ") && message.contains(error), "{name}: {message:?}");
            continue;
        }
        let x = loaded.unwrap_or_else(|e| panic!("{name}: {e}"));
        let dims: Vec<usize> = numbers(&file["dims"]).iter().map(|&d| d as usize).collect();
        assert_eq!((x.dims(), values(&x)), (&dims[..], numbers(&file["values"])), "{name}");
        if file["exact"] == true {
            x.save_npy(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content, "{name}");
            if x.dtype() != DType::F64 {
                Tensor::load_npy(&path, Device::Gpu).unwrap().save_npy(&path).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), content, "{name} by way of the GPU");
            }
        }
    }
    let dtype = |name: &str| {
        std::fs::write(&path, bytes(&files["files"][name]["hex"])).unwrap();
        Tensor::load_npy(&path, Device::Cpu).unwrap().dtype()
    };
    assert_eq!(
        ["other >f8", "other <f2", "other <i8", "big u8", "other |b1", "other >u2"].map(dtype),
        [DType::F64, DType::F32, DType::I32, DType::U32, DType::U8, DType::I32]
    );
    // Written from a view, and no temporary file stays.
    let t = inputs(&[2, 3], Device::Cpu).transpose().unwrap();
    t.save_npy(&path).unwrap();
    assert_eq!(values(&Tensor::load_npy(&path, Device::Cpu).unwrap()), values(&t));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(Tensor::load_npy(folder.path().join("none"), Device::Cpu), Err(Error::Io { .. })));
}

#[test]
fn damaged_npy_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let load = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        message(Tensor::load_npy(&path, Device::Cpu))
    };
    let header = |text: &str| {
        let mut content = b"\x93NUMPY\x01\x00".to_vec();
        content.extend((text.len() as u16).to_le_bytes());
        content.extend(text.as_bytes());
        content
    };
    let of = |shape: &str| header(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"));
    let cases: [(Vec<u8>, &str); 11] = [
        (b"PK\x03\x04".to_vec(), "no .npy file"),
        (Vec::new(), "no .npy file"),
        (b"\x93NUMPY\x01".to_vec(), "cut off within its header"),
        (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version 9.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "header of 4294967295 bytes"),
        // No memory is asked for before the file's size is known to agree.
        (of("(4000000000,)"), "32000000000 bytes, and 0 follow"),
        (of("(99999999999999999999,)"), "no number of a size"),
        (of("(1000000, 1000000)"), "more than 2^32 - 1"),
        (of("(3"), "a dimension is no number"),
        (header("{'descr': '<f8'}"), "descr, fortran_order and shape are needed"),
        (header("{'descr': '<f8', 'fortran_order': 1, 'shape': ()}"), "expected \"False\""),
    ];
    for (content, expected) in cases {
        let message = load(&content);
        assert!(message.contains(expected), "{message:?}, expected {expected}");
    }
    let mut whole = of("(2,)");
    whole.extend([0; 16]);
    assert_eq!(load(&whole), "");
    for cut in 0..whole.len() {
        assert_ne!(load(&whole[..cut]), "", "{cut}");
    }
}

#[test]
fn npz_files_of_numpy_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    let archives = &json("numpy.json")["archives"];
    for kind in ["savez", "savez_compressed"] {
        std::fs::write(&path, bytes(&archives[kind])).unwrap();
        let arrays = npz::load(&path, Device::Cpu).unwrap();
        let names: Vec<&str> = arrays.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["b", "a", "x/y"], "{kind}");
        assert_eq!(arrays[0].1.dims(), [3, 100]);
        assert_eq!(values(&arrays[0].1), (0..300).map(f64::from).collect::<Vec<_>>());
        assert_eq!((values(&arrays[1].1), values(&arrays[2].1)), (vec![1.0, 2.0], vec![1.5]));
    }
    let named = |names: &[&str]| -> Vec<(String, Tensor)> {
        names.iter().map(|n| (n.to_string(), inputs(&[2, 2], Device::Gpu))).collect()
    };
    npz::save(&path, &named(&["second", "first"])).unwrap();
    let again = npz::load(&path, Device::Gpu).unwrap();
    assert_eq!((again[0].0.as_str(), again[1].0.as_str()), ("second", "first"));
    assert_eq!(values(&again[1].1.to_device(Device::Cpu).unwrap()), values(&inputs(&[2, 2], Device::Cpu)));
    assert!(message(npz::save(&path, &named(&["a", "a"]))).contains("names must be unique"));
    std::fs::write(&path, b"no archive").unwrap();
    assert!(message(npz::load(&path, Device::Cpu)).contains("no zip archive"));
}

// ---- PyTorch ----

fn torch_stack(device: Device) -> Model {
    let conv = || Conv2d::new(4, [3, 3]);
    Sequential::new()
        .add(conv().padding(Padding::Same))
        .add(BatchNorm::new().epsilon(1e-5))
        .add(Activation::Relu)
        .add(MaxPool2d::new([2, 2]))
        .add(conv().groups(2).bias(false))
        .add(DepthwiseConv2d::new([3, 3]).depth_multiplier(2).padding(Padding::Same))
        .add(GroupNorm::new(2).epsilon(1e-5))
        .add(ConvTranspose2d::new(4, [3, 3]).stride([2, 2]).groups(2))
        .add(PRelu::new().shared_axes([0, 1]))
        .add(LayerNorm::new().axes([0, 1, 2]).epsilon(1e-5))
        .add(Flatten::new())
        .add(BatchNorm::new().epsilon(1e-5))
        .add(Dense::new(6))
        .add(PRelu::new().shared_axes([0]))
        .add(Sequential::new().add(Dense::new(6).activation(Activation::Tanh)).add(Dense::new(3)))
        .build([8, 8, 2], device)
        .unwrap()
}

/// The names of the layers of the model that tests/golden/weights.py made.
fn torch_names(layer: &str) -> String {
    let names = [
        ("conv2d", "0"),
        ("batchnorm", "1"),
        ("conv2d_1", "4"),
        ("depthwiseconv2d", "5"),
        ("groupnorm", "6"),
        ("convtranspose2d", "7"),
        ("prelu", "8"),
        ("layernorm", "9"),
        ("batchnorm_1", "11"),
        ("dense", "12"),
        ("prelu_1", "13"),
        ("sequential.dense", "14"),
        ("sequential.dense_1", "16"),
    ];
    names.iter().find(|(ours, _)| *ours == layer).unwrap().1.to_string()
}

#[test]
fn a_stack_of_pytorch_predicts_the_same() {
    for file in ["stack.pt", "stack.safetensors"] {
        let weights = import::pytorch(weights_file(file)).unwrap();
        for device in DEVICES {
            for mapping in [Mapping::pytorch(), Mapping::pytorch().rename(torch_names)] {
                let model = torch_stack(device);
                model.import_weights(&weights, &mapping).unwrap();
                check(&model, &inputs(&[2, 8, 8, 2], device), "torch stack");
            }
        }
    }
}

#[test]
fn what_is_exported_is_what_pytorch_saves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let real = import::pytorch(weights_file("stack.safetensors")).unwrap();
    for device in DEVICES {
        let model = torch_stack(device);
        model.import_weights(&real, &Mapping::pytorch()).unwrap();
        model.export_pytorch_as(&path, torch_names).unwrap();
        let own = import::pytorch(&path).unwrap();
        // PyTorch counts batches for each of two BatchNorms, and needs no such number.
        assert_eq!(own.tensors().len(), real.tensors().len() - 2);
        for (name, tensor) in own.tensors() {
            let expected = real.get(name).unwrap();
            assert_eq!(tensor.shape(), expected.shape(), "{name}");
            assert_eq!(tensor.to_vec::<f32>().unwrap(), expected.to_vec::<f32>().unwrap(), "{name}");
        }
        // And under the model's own names.
        let before = all(&model);
        model.export_pytorch(&path).unwrap();
        let other = torch_stack(device);
        other.import_weights(&import::pytorch(&path).unwrap(), &Mapping::pytorch()).unwrap();
        assert_eq!(all(&other), before);
    }
    let twice = torch_stack(Device::Cpu).export_pytorch_as(&path, |_| "same".into());
    assert!(message(twice).contains("two tensors are named same."));
}

/// `names` for left, right, head, code, norm and decode.
fn torch_branched(names: Option<[&str; 6]>, device: Device) -> Model {
    let mut net = Functional::new(device);
    let image = net.input("image", [8, 8, 2]).unwrap();
    let mut count = 0;
    let mut add = |net: &mut Functional, layer: Box<dyn Layer>, x| {
        let name = names.map(|n| n[count]);
        count += 1;
        match name {
            Some(name) => net.named(name, layer, x).unwrap(),
            None => net.layer(layer, x).unwrap(),
        }
    };
    let conv = || Conv2d::new(3, [3, 3]).padding(Padding::Same);
    let left = add(&mut net, Box::new(conv().activation(Activation::Relu)), image);
    let right = add(&mut net, Box::new(conv().activation(Activation::Tanh)), image);
    let both = net.merge(Merge::Concat { axis: -1 }, &[left, right]).unwrap();
    let small = net.layer(MaxPool2d::new([2, 2]), both).unwrap();
    let flat = net.layer(Flatten::new(), small).unwrap();
    let mean = net.layer(GlobalAvgPool2d::new(), both).unwrap();
    let vector = net.merge(Merge::Concat { axis: -1 }, &[flat, mean]).unwrap();
    let head = add(&mut net, Box::new(Dense::new(4)), vector);
    let code = add(&mut net, Box::new(Dense::new(12)), vector);
    let norm = add(&mut net, Box::new(BatchNorm::new().epsilon(1e-5)), code);
    let relu = net.layer(Activation::Relu, norm).unwrap();
    let pixels = net.layer(Reshape::new([2, 2, 3]), relu).unwrap();
    let decoded = add(&mut net, Box::new(ConvTranspose2d::new(2, [2, 2]).stride([2, 2])), pixels);
    net.build(&[("head", head), ("decoded", decoded)]).unwrap()
}

#[test]
fn branches_and_a_decoder_of_pytorch_predict_the_same() {
    let names = ["left", "right", "head", "code", "norm", "decode"];
    let checkpoint = import::pytorch(weights_file("branched.pt")).unwrap();
    assert!(checkpoint.get("model.left.weight").is_some() && checkpoint.get("epoch").is_none());
    let files = [checkpoint.under("model"), import::pytorch(weights_file("branched.safetensors")).unwrap()];
    let rename = |layer: &str| match layer {
        "conv2d" => "left".to_string(),
        "conv2d_1" => "right".to_string(),
        "dense" => "head".to_string(),
        "dense_1" => "code".to_string(),
        "batchnorm" => "norm".to_string(),
        _ => "decode".to_string(),
    };
    for device in DEVICES {
        let x = inputs(&[2, 8, 8, 2], device);
        for weights in &files {
            let model = torch_branched(Some(names), device);
            model.import_weights(weights, &Mapping::pytorch()).unwrap();
            check(&model, &x, "torch branched");
            let model = torch_branched(None, device);
            model.import_weights(weights, &Mapping::pytorch().rename(rename)).unwrap();
            check(&model, &x, "torch branched");
        }
    }
    // Which of the two equal branches is which, nobody can tell.
    let model = torch_branched(None, Device::Cpu);
    let before = all(&model);
    let message = message(model.import_weights(&files[0], &Mapping::pytorch()));
    for part in ["conv2d, conv2d_1 could be any of the file's right, left", "side by side", "Mapping::rename"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(before, all(&model));
}

#[test]
fn an_embedding_in_half_precision_predicts_the_same() {
    let weights = import::pytorch(weights_file("words.pt")).unwrap();
    for device in DEVICES {
        let stack = Sequential::new().add(Embedding::new(9, 4)).add(Flatten::new()).add(Dense::new(2));
        let model = stack.build([3], device).unwrap();
        model.import_weights(&weights, &Mapping::pytorch()).unwrap();
        check(&model, &Tensor::new([[1u32, 8, 1], [0, 2, 3]], device).unwrap(), "torch words");
    }
}

#[test]
fn tensors_of_every_type_and_layout_come_out_of_a_pickle() {
    let weights = import::pytorch(weights_file("kinds.pt")).unwrap();
    let expected = json("weights.json");
    let expected = expected["kinds"].as_object().unwrap();
    assert_eq!(weights.tensors().len(), expected.len());
    for (name, want) in expected {
        let got = weights.get(name).unwrap();
        let dims: Vec<usize> = numbers(&want["dims"]).iter().map(|&d| d as usize).collect();
        assert_eq!((got.dims(), values(got)), (&dims[..], numbers(&want["values"])), "{name}");
    }
    let message = message(import::pytorch(weights_file("whole.pt")));
    assert!(message.contains("torch.save(model.state_dict(), path)"), "{message}");
}

// ---- Keras ----

fn keras_stack(device: Device) -> Model {
    Sequential::new()
        .add(Conv2d::new(4, [3, 3]).padding(Padding::Same))
        .add(BatchNorm::new())
        .add(Activation::Relu)
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(4, [3, 3]).groups(2).bias(false))
        .add(DepthwiseConv2d::new([3, 3]).depth_multiplier(2).padding(Padding::Same))
        .add(GroupNorm::new(2))
        .add(SeparableConv2d::new(6, [2, 2]).padding(Padding::Same))
        .add(ConvTranspose2d::new(4, [3, 3]).stride([2, 2]))
        .add(PRelu::new().shared_axes([0, 1]))
        .add(LayerNorm::new().axes([0, 1, 2]))
        .add(Dropout::new(0.5))
        .add(Flatten::new())
        .add(Dense::new(6).activation(Activation::Relu))
        .add(BatchNorm::new().scale(false))
        .add(Dense::new(6).activation(Activation::Tanh))
        .add(Dense::new(3))
        .build([8, 8, 2], device)
        .unwrap()
}

#[test]
fn a_stack_of_keras_predicts_the_same() {
    for file in ["stack.keras", "stack.npz"] {
        let weights = import::keras(weights_file(file)).unwrap();
        for device in DEVICES {
            let model = keras_stack(device);
            model.import_weights(&weights, &Mapping::keras()).unwrap();
            check(&model, &inputs(&[2, 8, 8, 2], device), "keras stack");
        }
    }
    let weights = import::keras(weights_file("older.h5")).unwrap();
    for device in DEVICES {
        let dense = |n| Dense::new(n);
        let stack = Sequential::new().add(dense(3).activation(Activation::Tanh)).add(BatchNorm::new());
        let model = stack.add(dense(3)).add(dense(2)).build([4], device).unwrap();
        model.import_weights(&weights, &Mapping::keras()).unwrap();
        check(&model, &inputs(&[2, 4], device), "keras older");
    }
}

#[test]
fn branches_of_keras_predict_the_same() {
    let weights = import::keras(weights_file("branched.weights.h5")).unwrap();
    let build = |names: [&str; 4], device| {
        let mut net = Functional::new(device);
        let image = net.input("image", [8, 8, 2]).unwrap();
        let conv = || Conv2d::new(3, [3, 3]).padding(Padding::Same);
        let left = net.named(names[0], conv().activation(Activation::Relu), image).unwrap();
        let right = net.named(names[1], conv().activation(Activation::Tanh), image).unwrap();
        let both = net.merge(Merge::Concat { axis: -1 }, &[left, right]).unwrap();
        let small = net.layer(MaxPool2d::new([2, 2]), both).unwrap();
        let flat = net.layer(Flatten::new(), small).unwrap();
        let tail = Sequential::new().add_named(names[2], Dense::new(5)).add_named(names[3], Dense::new(4));
        let y = net.named("tail", tail, flat).unwrap();
        let mean = net.layer(GlobalAvgPool2d::new(), both).unwrap();
        net.build(&[("y", y), ("mean", mean)]).unwrap()
    };
    for device in DEVICES {
        let x = inputs(&[2, 8, 8, 2], device);
        let model = build(["left", "right", "inner", "outer"], device);
        model.import_weights(&weights, &Mapping::keras()).unwrap();
        check(&model, &x, "keras branched");
        let model = build(["a", "b", "c", "d"], device);
        let rename = |layer: &str| match layer {
            "a" => "left".into(),
            "b" => "right".into(),
            "tail.c" => "tail.inner".into(),
            // The path in the file is a name, too.
            _ => "layers/sequential/layers/dense_1".to_string(),
        };
        model.import_weights(&weights, &Mapping::keras().rename(rename)).unwrap();
        check(&model, &x, "keras branched");
    }
    let unnamed = build(["a", "b", "c", "d"], Device::Cpu);
    assert!(message(unnamed.import_weights(&weights, &Mapping::keras())).contains("stand side by side"));
}

// ---- What doesn't fit ----

#[test]
fn one_error_lists_every_difference_and_nothing_is_changed() {
    let weights = import::pytorch(weights_file("stack.pt")).unwrap();
    let model = Sequential::new()
        .add(Conv2d::new(5, [3, 3]).padding(Padding::Same))
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dense::new(3))
        .build([8, 8, 2], Device::Cpu)
        .unwrap();
    let before = all(&model);
    let text = message(model.import_weights(&weights, &Mapping::pytorch()));
    for part in [
        "stack.pt: does not fit the model; ",
        "conv2d.weight is [3, 3, 2, 5], which is [5, 2, 3, 3] there; the file's 0.weight is [4, 2, 3, 3]",
        "conv2d.bias is [5]; the file's 0.bias is [4]",
        "dense.weight is [80, 3], which is [3, 80] there; the file's 12.weight is [6, 100]",
        "the file's 16.bias [3] is not in the model",
        "the file's 1.running_var [4] is not in the model",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("num_batches_tracked"), "{text}");
    assert_eq!(before, all(&model));
    let text = message(model.import_weights(&weights, &Mapping::pytorch().rename(|l| format!("x.{l}"))));
    assert!(text.contains("conv2d: the file has no layer \"x.conv2d\""), "{text}");
    // A file of less than the model.
    let part = Weights::new("part", vec![("fc.weight".into(), Tensor::zeros([3, 80], Device::Cpu).unwrap())]);
    let text = message(model.import_weights(&part, &Mapping::pytorch()));
    for part in ["dense.bias [3] is not in the file, whose layer fc has weight [3, 80]", "conv2d.weight"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert_eq!(before, all(&model));
}

/// Multiplies by a number that is learnt.
struct Scale;
struct ScaleModule(Variable);

impl Layer for Scale {
    fn kind(&self) -> &'static str {
        "Scale"
    }
    fn build(&self, input: Shape, cx: &mut Build) -> Result<Built> {
        Ok(Built::new(ScaleModule(cx.full([1], 1.0)?), input))
    }
}

impl Module for ScaleModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x * &self.0
    }
    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("scale", &self.0)]
    }
}

#[test]
fn layers_without_a_counterpart_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let nothing = Weights::new("nothing", Vec::new());
    let build = |stack: Sequential| stack.build([4, 4, 2], Device::Cpu).unwrap();
    let conv = || Conv2d::new(2, [1, 1]);
    let shuffled = Sequential::new().add(Flatten::new()).add(Reshape::new([2, 2, 8])).add(conv());
    let cases: [(Sequential, &str); 5] = [
        (
            Sequential::new().add(Scale),
            "scale: it is not known how PyTorch lays out the parameter scale of a Scale",
        ),
        (Sequential::new().add(SeparableConv2d::new(2, [2, 2])), "use DepthwiseConv2d and Conv2d"),
        (shuffled, "conv2d: after reshape it is not known in which order PyTorch has the elements"),
        (Sequential::new().add(Permute::new([1, 0, 2])).add(conv()), "after permute"),
        (Sequential::new().add(LayerNorm::new().axes([1, 2])), "PyTorch's LayerNorm has no axes [1, 2]"),
    ];
    for (stack, expected) in cases {
        let model = build(stack);
        for text in [
            message(model.export_pytorch(&path)),
            message(model.import_weights(&nothing, &Mapping::pytorch())),
        ] {
            assert!(text.contains(expected), "{text:?}, expected {expected}");
        }
    }
    assert!(!path.exists());
}

#[test]
fn numbers_in_names_tell_the_order_and_other_names_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let build = || {
        let stack = (0..12).fold(Sequential::new(), |s, _| s.add(Dense::new(3).bias(false)));
        stack.build([3], Device::Cpu).unwrap()
    };
    let save = |name: fn(usize) -> String| {
        let tensors: Vec<_> =
            (0..12).map(|i| (name(i), Tensor::full([3, 3], i as f32, Device::Cpu).unwrap())).collect();
        save_tensors(&path, &tensors).unwrap();
        import::pytorch(&path).unwrap()
    };
    let model = build();
    model.import_weights(&save(|i| format!("layers.{}.fc.weight", 2 * i)), &Mapping::pytorch()).unwrap();
    assert_eq!(all(&model).iter().map(|v| v[0] as usize).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    let words =
        save(|i| format!("{}.weight", ["q", "w", "e", "r", "t", "z", "u", "i", "o", "p", "a", "s"][i]));
    let text = message(build().import_weights(&words, &Mapping::pytorch()));
    assert!(text.contains("the file's names don't say which comes first"), "{text}");
}

#[test]
fn layers_that_are_used_twice_are_found_once() {
    let mut net = Functional::new(Device::Cpu);
    let (left, right) = (net.input("left", [2, 2, 2]).unwrap(), net.input("right", [2, 2, 2]).unwrap());
    let stack = Sequential::new().add(Flatten::new()).add(Dense::new(2)).add(Dense::new(2));
    let a = net.named("twin", stack, left).unwrap();
    let b = net.again(a, right).unwrap();
    let joined = net.merge(Merge::Subtract, &[a, b]).unwrap();
    let model = net.build(&[("difference", joined)]).unwrap();
    let tensors = vec![
        ("a.weight".to_string(), inputs(&[2, 8], Device::Cpu)),
        ("a.bias".to_string(), inputs(&[2], Device::Cpu)),
        ("b.weight".to_string(), inputs(&[2, 2], Device::Cpu)),
        ("b.bias".to_string(), inputs(&[2], Device::Cpu)),
    ];
    model.import_weights(&Weights::new("twins", tensors), &Mapping::pytorch()).unwrap();
    // Row of pixel (y, x) and channel c is PyTorch's column c, y, x.
    let theirs = inputs(&[2, 8], Device::Cpu).to_vec::<f32>().unwrap();
    let ours = model.parameter("twin.dense.weight").unwrap().variable.value().to_vec::<f32>().unwrap();
    for pixel in 0..4 {
        for c in 0..2 {
            for o in 0..2 {
                assert_eq!(ours[(pixel * 2 + c) * 2 + o], theirs[o * 8 + c * 4 + pixel]);
            }
        }
    }
}

// ---- Damage ----

/// Reads a damaged file in every way; a panic fails the test, an error doesn't.
fn read(name: &str, content: &[u8], folder: &Path) {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu).unwrap();
    if let Ok(weights) = import::pytorch(&path) {
        let _ = model.import_weights(&weights, &Mapping::pytorch());
    }
    if let Ok(weights) = import::keras(&path) {
        let _ = model.import_weights(&weights, &Mapping::keras());
    }
    let _ = Tensor::load_npy(&path, Device::Cpu);
    let _ = npz::load(&path, Device::Cpu);
}

fn find(content: &[u8], part: &[u8], from: usize) -> usize {
    from + content[from..].windows(part.len()).position(|w| w == part).unwrap()
}

/// Zip's check sum.
fn crc32(content: &[u8]) -> [u8; 4] {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    let crc = content.iter().fold(!0, |crc: u32, &b| (0..8).fold(crc ^ u32::from(b), step));
    (!crc).to_le_bytes()
}

/// A file of torch.save with another pickle of the same length, and its check sum set right: else nobody would look at it.
fn with_pickle(whole: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let start = find(whole, b"\x80\x02", find(whole, b"data.pkl", 0));
    let end = find(whole, b"PK\x07\x08", start);
    let before = crc32(&whole[start..end]);
    let mut content = whole.to_vec();
    change(&mut content[start..end]);
    let after = crc32(&content[start..end]);
    let mut from = end;
    while let Some(at) = content[from..].windows(4).position(|w| w == before) {
        content[from + at..from + at + 4].copy_from_slice(&after);
        from += at + 4;
    }
    content
}

#[test]
fn a_pickle_that_was_changed_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pt");
    let whole = std::fs::read(weights_file("words.pt")).unwrap();
    let renamed = with_pickle(&whole, |pickle| {
        let at = find(pickle, b"words", 0);
        pickle[at] = b'W';
    });
    std::fs::write(&path, renamed).unwrap();
    assert!(import::pytorch(&path).unwrap().get("Words.weight").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_a_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["branched.weights.h5", "older.h5", "words.pt", "kinds.pt", "stack.npz", "branched.safetensors"] {
            let whole = std::fs::read(weights_file(name)).unwrap();
            let mut content = whole.clone();
            for (at, byte) in &changes {
                let at = at.index(content.len());
                content[at] = *byte;
            }
            read(name, &content, folder.path());
            // Within what comes first stand the headers; within zip archives what comes last.
            let mut content = whole.clone();
            for (at, byte) in &changes {
                let n = content.len();
                let near = at.index(n.min(2000));
                content[near] = *byte;
                content[n - 1 - near] = byte.wrapping_mul(3);
            }
            read(name, &content, folder.path());
            read(name, &whole[..cut.index(whole.len())], folder.path());
        }
        for name in ["words.pt", "kinds.pt"] {
            let whole = std::fs::read(weights_file(name)).unwrap();
            let changed = with_pickle(&whole, |pickle| {
                for (at, byte) in &changes {
                    let at = at.index(pickle.len());
                    pickle[at] = *byte;
                }
            });
            read(name, &changed, folder.path());
        }
        let mut array = b"\x93NUMPY\x01\x00\x46\x00{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }".to_vec();
        array.resize(80 + 12, b' ');
        for (at, byte) in &changes {
            let at = at.index(array.len());
            array[at] = *byte;
        }
        read("x.npy", &array, folder.path());
        for start in [&b"\x93NUMPY\x01\x00"[..], b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b""] {
            read("noise", &[start, &noise].concat(), folder.path());
        }
    }
}
