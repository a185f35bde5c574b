//! Weights of sequence models: what PyTorch keeps in several arrays and a model in one, and the other way round.

use super::*;
use wgrad::io::import::{self, Mapping, Weights};
use wgrad::nn::{
    BatchNorm, Bidirectional, BidirectionalMerge, Conv1d, ConvTranspose1d, DepthwiseConv1d, Gru, LayerNorm,
    Lstm, MaxPool1d, MultiHeadAttention, RmsNorm, SimpleRnn, TimeDistributed,
};

fn sequences(device: Device) -> Model {
    Sequential::new()
        .add(Conv1d::new(4, 3).padding(wgrad::Padding1d::Same))
        .add(BatchNorm::new().epsilon(1e-5))
        .add(Lstm::new(3).return_sequences(true))
        .add(Lstm::new(3).return_sequences(true))
        .add(Bidirectional::new(Gru::new(2).return_sequences(true)))
        .add(SimpleRnn::new(4).return_sequences(true))
        .add(MultiHeadAttention::new(2, 2))
        .add(RmsNorm::new().epsilon(1e-5))
        .add(LayerNorm::new().epsilon(1e-5))
        .add(Flatten::new())
        .add(Dense::new(2))
        .build([6, 3], device)
        .unwrap()
}

/// The names of the layers in the file of tests/golden/weights_sequences.py.
fn names(layer: &str) -> String {
    let names = [
        ("conv1d", "conv"),
        ("batchnorm", "norm"),
        ("lstm", "rnn.0"),
        ("lstm_1", "rnn.1"),
        ("bidirectional", "both"),
        ("simplernn", "simple"),
        ("multiheadattention", "attention"),
        ("rmsnorm", "rms"),
        ("layernorm", "layer"),
        ("dense", "head"),
    ];
    names.iter().find(|(ours, _)| *ours == layer).unwrap().1.to_string()
}

fn predicts(model: &Model, x: &Tensor, expected: &str) {
    let (got, want) = (model.infer(x).unwrap(), numbers(&json("weights_sequences.json")[expected]));
    wgrad::testing::assert_close(got, want, 1e-4, 1e-5).unwrap();
}

#[test]
fn sequence_models_of_pytorch_predict_the_same() {
    let weights = import::pytorch(weights_file("sequences.pt")).unwrap();
    for device in DEVICES {
        let model = sequences(device);
        model.import_weights(&weights, &Mapping::pytorch().rename(names)).unwrap();
        predicts(&model, &inputs(&[2, 6, 3], device), "sequences");
        // In the order of the file, without names.
        let model = sequences(device);
        model.import_weights(&weights, &Mapping::pytorch()).unwrap();
        predicts(&model, &inputs(&[2, 6, 3], device), "sequences");
    }
    let weights = import::pytorch(weights_file("convolved.pt")).unwrap();
    for device in DEVICES {
        let model = Sequential::new()
            .add(Conv1d::new(6, 3).groups(2))
            .add(DepthwiseConv1d::new(2).depth_multiplier(2).activation(Activation::Tanh))
            .add(MaxPool1d::new(2))
            .add(ConvTranspose1d::new(3, 3).stride(2))
            .add(LayerNorm::new().axes([0, 1]).epsilon(1e-5))
            .add(Flatten::new())
            .add(Dense::new(4))
            .build([8, 4], device)
            .unwrap();
        model.import_weights(&weights, &Mapping::pytorch()).unwrap();
        predicts(&model, &inputs(&[2, 8, 4], device), "convolved");
    }
}

/// Layers around layers: the weights are those of the layer inside, which files name in two ways.
#[test]
fn wrapped_layers_of_keras_predict_the_same() {
    for file in ["wrapped.weights.h5", "wrapped.npz"] {
        let weights = import::keras(weights_file(file)).unwrap();
        for device in DEVICES {
            let model = Sequential::new()
                .add(TimeDistributed::new(Dense::new(4).activation(Activation::Tanh)))
                .add(Bidirectional::new(Lstm::new(2).return_sequences(true)))
                .add(TimeDistributed::new(Dense::new(4)))
                .add(Bidirectional::new(Gru::new(2)).merge(BidirectionalMerge::Sum))
                .add(Dense::new(2))
                .build([6, 3], device)
                .unwrap();
            model.import_weights(&weights, &Mapping::keras()).unwrap();
            predicts(&model, &inputs(&[2, 6, 3], device), "wrapped");
        }
    }
}

#[test]
fn sequence_models_are_exported_as_pytorch_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = match std::env::var_os("WGRAD_EXPORT") {
        Some(path) => path.into(), // to be checked by PyTorch itself
        None => folder.path().join("w.safetensors"),
    };
    let model = sequences(Device::Cpu);
    let weights = import::pytorch(weights_file("sequences.pt")).unwrap();
    model.import_weights(&weights, &Mapping::pytorch()).unwrap();
    model.export_pytorch(&path).unwrap();
    let own = import::pytorch(&path).unwrap();
    let shape = |name: &str| own.get(name).map(|t| t.dims().to_vec());
    assert_eq!(shape("conv1d.weight"), Some(vec![4, 3, 3]));
    assert_eq!(shape("lstm_1.weight_hh_l0"), Some(vec![12, 3]));
    assert_eq!(shape("bidirectional.bias_hh_l0_reverse"), Some(vec![6]));
    assert_eq!(shape("multiheadattention.in_proj_weight"), Some(vec![12, 4]));
    assert_eq!(shape("multiheadattention.out_proj.bias"), Some(vec![4]));
    // What is kept apart comes back to the bit: the biases of a GRU, the projections of attention.
    for (ours, theirs) in [
        ("bidirectional.bias_hh_l0", "both.bias_hh_l0"),
        ("bidirectional.weight_ih_l0_reverse", "both.weight_ih_l0_reverse"),
        ("multiheadattention.in_proj_bias", "attention.in_proj_bias"),
        ("lstm_1.weight_ih_l0", "rnn.weight_ih_l1"),
    ] {
        let bits = |w: &Weights, name: &str| w.get(name).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(bits(&own, ours), bits(&weights, theirs), "{ours}");
    }
    let again = sequences(Device::Cpu);
    again.import_weights(&own, &Mapping::pytorch()).unwrap();
    assert_eq!(all(&again), all(&model));
}

#[test]
fn what_pytorch_has_no_such_layer_for_is_told() {
    let weights = Weights::new("nothing", Vec::new());
    let cases: [(Sequential, &str); 3] = [
        (Sequential::new().add(Gru::new(2).reset_after(false)), "gru: PyTorch's GRU has reset_after(true)"),
        (
            Sequential::new().add(Bidirectional::new(Lstm::new(2)).merge(BidirectionalMerge::Sum)),
            "bidirectional: PyTorch puts the outputs of both ways one behind the other",
        ),
        (
            Sequential::new().add(wgrad::nn::SeparableConv1d::new(2, 2)),
            "separableconv1d: PyTorch has no SeparableConv1d; use DepthwiseConv1d and Conv1d",
        ),
    ];
    for (stack, expected) in cases {
        let model = stack.build([5, 3], Device::Cpu).unwrap();
        let message = model.import_weights(&weights, &Mapping::pytorch()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    // Half of a recurrent layer, and biases of different sizes: listed, nothing panics.
    let of = |list: &[(&str, &[usize])]| {
        let zeros =
            |(name, dims): &(&str, &[usize])| (name.to_string(), Tensor::zeros(*dims, Device::Cpu).unwrap());
        Weights::new("half", list.iter().map(zeros).collect())
    };
    let model = Sequential::new().add(Lstm::new(2)).build([5, 3], Device::Cpu).unwrap();
    for list in [
        &[("lstm.weight_ih_l0", &[8, 3][..]), ("lstm.bias_ih_l0", &[8])][..],
        &[("lstm.weight_hh_l0", &[8, 0]), ("lstm.bias_ih_l0", &[8]), ("lstm.bias_hh_l0", &[8])],
        &[("lstm.weight_hh_l0", &[8, 2]), ("lstm.bias_ih_l0", &[8]), ("lstm.bias_hh_l0", &[4])],
        &[
            ("lstm.weight_ih_l99999999999999999999", &[8, 3]),
            ("x.in_proj_weight", &[]),
            ("x.out_proj.weight", &[1]),
        ],
        &[("lstm.bias_hh_l0", &[]), ("lstm.bias_ih_l0", &[]), ("lstm.weight_hh_l0", &[])],
    ] {
        let message = model.import_weights(&of(list), &Mapping::pytorch()).unwrap_err().to_string();
        assert!(message.contains("does not fit the model"), "{message}");
    }
}
