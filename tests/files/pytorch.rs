//! PyTorch's weights.

use super::*;
use wgrad::Padding3d;
use wgrad::io::import::{self, Mapping};
use wgrad::nn::{
    BatchNorm, Conv3d, ConvTranspose2d, ConvTranspose3d, DepthwiseConv2d, Embedding, Functional,
    GlobalAvgPool2d, GroupNorm, Layer, LayerNorm, MaxPool3d, Merge, PRelu, Reshape,
};

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
fn weights_of_pytorch_go_into_a_model_in_f64() {
    let weights = import::pytorch(weights_file("stack.pt")).unwrap();
    let (single, double) = (torch_stack(Device::Cpu), torch_stack(Device::Cpu));
    double.to_dtype(DType::F64).unwrap();
    single.import_weights(&weights, &Mapping::pytorch()).unwrap();
    double.import_weights(&weights, &Mapping::pytorch()).unwrap();
    for (a, b) in single.parameters().iter().zip(double.parameters()) {
        let (a, b) = (a.variable.value(), b.variable.value());
        assert_eq!(b.dtype(), DType::F64);
        assert_eq!(a.cast(DType::F64).unwrap().to_vec::<f64>().unwrap(), b.to_vec::<f64>().unwrap());
    }
    // And what is exported is f64, which PyTorch converts to what its model is.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    double.export_pytorch(&path).unwrap();
    assert!(import::pytorch(&path).unwrap().tensors().iter().all(|(_, t)| t.dtype() == DType::F64));
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
fn volumes_of_pytorch_predict_the_same() {
    let weights = import::pytorch(weights_file("volumes.pt")).unwrap();
    let sides = Padding3d::Explicit([0, 0, 1, 1, 1, 1]);
    for device in DEVICES {
        let stack = Sequential::new()
            .add(Conv3d::new(4, [2, 3, 3]).padding(sides))
            .add(BatchNorm::new().epsilon(1e-5))
            .add(Activation::Relu)
            .add(MaxPool3d::new([1, 2, 2]))
            .add(ConvTranspose3d::new(2, [2, 2, 2]).stride([2, 1, 1]).groups(2))
            .add(LayerNorm::new().axes([0, 1, 2, 3]).epsilon(1e-5))
            .add(Flatten::new())
            .add(Dense::new(3));
        let model = stack.build([3, 4, 4, 2], device).unwrap();
        model.import_weights(&weights, &Mapping::pytorch()).unwrap();
        check(&model, &inputs(&[2, 3, 4, 4, 2], device), "torch volumes");
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
