//! Which weights of a file belong to which layer, and what doesn't fit.

use super::*;
use wgrad::INFER;
use wgrad::io::import::{self, Mapping, Weights};
use wgrad::io::save_tensors;
use wgrad::nn::{
    Build, Built, Context, Embedding, Functional, GlobalAvgPool2d, Layer, LayerNorm, Merge, Parameters,
    Permute, Reshape, SampleShape, SeparableConv2d,
};

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
    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        Ok(Built::new(ScaleModule(cx.full([1], 1.0)?), input))
    }
}

impl Module for ScaleModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x * &self.0
    }
    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.weight("scale", &self.0);
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

/// Open dimensions are no obstacle, unless the order of a flattened image hangs on them.
#[test]
fn models_of_any_length_go_to_pytorch_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let words = |seed| {
        let layers = Sequential::new().add(Embedding::new(9, 4)).add(Dense::new(6)).add(LayerNorm::new());
        layers.add(Dense::new(3)).seed(seed).build((None,), Device::Cpu).unwrap()
    };
    let images = |seed| {
        let layers =
            Sequential::new().add(Conv2d::new(4, [3, 3])).add(Dense::new(5)).add(Conv2d::new(2, [1, 1]));
        let layers = layers.add(GlobalAvgPool2d::new()).add(Dense::new(3));
        layers.seed(seed).build((None, None, 2), Device::Cpu).unwrap()
    };
    for (model, other) in [(words(1), words(2)), (images(1), images(2))] {
        assert_ne!(all(&model), all(&other));
        model.export_pytorch(&path).unwrap();
        let file = import::pytorch(&path).unwrap();
        other.import_weights(&file, &Mapping::pytorch()).unwrap();
        assert_eq!(all(&model), all(&other));
        // Linear has [out, in].
        let ours = model.parameter("dense.weight").unwrap().variable.value();
        let theirs = file.get("dense.weight").unwrap();
        assert_eq!(theirs.to_vec::<f32>().unwrap(), ours.transpose().unwrap().to_vec::<f32>().unwrap());
    }
    let flat = Sequential::new().add(Flatten::new()).add(Reshape::new([INFER, 4])).add(Dense::new(2));
    let model = flat.build((None, None, 2), Device::Cpu).unwrap();
    let text = message(model.export_pytorch(&path));
    assert!(text.contains("after flatten it is not known in which order PyTorch has the elements"), "{text}");
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
fn twenty_thousand_layers_are_matched_in_seconds() {
    const LAYERS: usize = 20_000;
    let stack = (0..LAYERS).fold(Sequential::new(), |s, _| s.add(Dense::new(1).bias(false)));
    let model = stack.build([1], Device::Cpu).unwrap();
    let own: Vec<String> = model.parameters().iter().map(|p| p.name.replace(".weight", "")).collect();
    // Each comparison of all with all would take minutes.
    let began = std::time::Instant::now();
    let check = |what: &str, name: &dyn Fn(usize) -> String, mapping: &Mapping, first: f32| {
        let tensor = |i: usize| Tensor::full([1, 1], first + i as f32, Device::Cpu).unwrap();
        let tensors = (0..LAYERS).map(|i| (format!("{}.weight", name(i)), tensor(i))).collect();
        model.import_weights(&Weights::new(what, tensors), mapping).unwrap();
        let values = all(&model);
        assert!((0..LAYERS).all(|i| values[i] == [first + i as f32]), "{what}");
        let so_far = began.elapsed();
        assert!(so_far.as_secs() < 60, "{what} after {so_far:?}");
    };
    check("in the file's order", &|i| format!("layers.{i}"), &Mapping::pytorch(), 1.0);
    check("by equal names", &|i| own[i].clone(), &Mapping::pytorch(), 2.0);
    let renamed = Mapping::pytorch().rename(|path| format!("net.{path}"));
    check("by names that are said", &|i| format!("net.{}", own[i]), &renamed, 3.0);
    let other = Weights::new("x", vec![("a.weight".into(), Tensor::ones([2, 2], Device::Cpu).unwrap())]);
    let text = message(model.import_weights(&other, &Mapping::pytorch()));
    assert!(text.contains("differences"), "{}", &text[..200]);
    assert!(began.elapsed().as_secs() < 60);
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
