//! Keras's weights.

use super::*;
use wgrad::io::import::{self, Mapping};
use wgrad::nn::{
    AvgPool3d, BatchNorm, Conv1d, Conv3d, ConvTranspose2d, ConvTranspose3d, DepthwiseConv1d, DepthwiseConv2d,
    Embedding, Functional, GlobalAvgPool2d, GroupNorm, Gru, LayerNorm, Lstm, Merge, PRelu, SeparableConv2d,
    SimpleRnn,
};

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

/// Sequences of any length: the same weights, whatever the model was built for, and also inside another model.
#[test]
fn sequences_of_keras_predict_the_same() {
    let weights = import::keras(weights_file("sequences.weights.h5")).unwrap();
    let stack = || {
        Sequential::new()
            .add(Embedding::new(9, 6))
            .add(Dense::new(6).activation(Activation::Relu))
            .add(LayerNorm::new())
            .add(Dense::new(6).activation(Activation::Tanh))
            .add(Dense::new(3))
    };
    for device in DEVICES {
        let words = |n: usize| {
            let list: Vec<u32> = (0..2 * n as u32).map(|i| i % 9).collect();
            Tensor::from_vec(list, [2, n], device).unwrap()
        };
        let any = stack().build((None,), device).unwrap();
        let mut net = Functional::new(device);
        let x = net.input("words", (None,)).unwrap();
        let y = net.layer(stack(), x).unwrap();
        let inside = net.build(&[("y", y)]).unwrap();
        for model in [any, inside] {
            model.import_weights(&weights, &Mapping::keras()).unwrap();
            for n in [3, 7] {
                check(&model, &words(n), &format!("keras sequences of {n}"));
            }
        }
        let seven = stack().build([7], device).unwrap();
        seven.import_weights(&weights, &Mapping::keras()).unwrap();
        check(&seven, &words(7), "keras sequences of 7");
    }
}

/// Weights of recurrent layers are in their cells, which files name in two ways.
#[test]
fn recurrent_layers_of_keras_predict_the_same() {
    for file in ["recurrent.weights.h5", "recurrent.npz"] {
        let weights = import::keras(weights_file(file)).unwrap();
        for device in DEVICES {
            let model = Sequential::new()
                .add(Conv1d::new(4, 3).padding(wgrad::Padding1d::Causal))
                .add(DepthwiseConv1d::new(3).depth_multiplier(2))
                .add(Lstm::new(3).return_sequences(true))
                .add(Gru::new(4).return_sequences(true))
                .add(SimpleRnn::new(3).return_sequences(true))
                .add(Lstm::new(3))
                .add(Dense::new(2))
                .build((None, 3), device)
                .unwrap();
            model.import_weights(&weights, &Mapping::keras()).unwrap();
            check(&model, &inputs(&[2, 7, 3], device), "keras recurrent");
        }
    }
}

#[test]
fn volumes_of_keras_predict_the_same() {
    let weights = import::keras(weights_file("volumes.weights.h5")).unwrap();
    for device in DEVICES {
        let conv = Conv3d::new(4, [2, 3, 3]).padding(wgrad::Padding3d::Same).groups(2);
        let stack = Sequential::new()
            .add(conv.activation(Activation::Relu))
            .add(AvgPool3d::new([1, 2, 2]))
            .add(ConvTranspose3d::new(2, [2, 2, 2]).stride([2, 1, 1]))
            .add(Flatten::new())
            .add(Dense::new(3));
        let model = stack.build([3, 4, 4, 2], device).unwrap();
        model.import_weights(&weights, &Mapping::keras()).unwrap();
        check(&model, &inputs(&[2, 3, 4, 4, 2], device), "keras volumes");
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
