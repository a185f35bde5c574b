//! Functional models, merge layers, whole-model files.

#[path = "models/own.rs"]
mod own;

use wgrad::Config;
use wgrad::nn::{Build, Built, Context, Functional, Layer, Layers, Merge, Parameters, SampleShape};
use wgrad::prelude::*;

fn values(t: &Tensor) -> Vec<f32> {
    t.to_vec::<f32>().unwrap()
}

fn message<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

/// Two inputs, a shared layer, every kind of merge, two outputs.
fn branched(device: Device, seed: u64) -> Model {
    let mut net = Functional::new(device).seed(seed);
    let left = net.input("left", [4]).unwrap();
    let right = net.input("right", [4]).unwrap();
    let a = net.named("shared", Dense::new(3).activation(Activation::Tanh), left).unwrap();
    let b = net.again(a, right).unwrap();
    let merges =
        [Merge::Add, Merge::Subtract, Merge::Multiply, Merge::Average, Merge::Maximum, Merge::Minimum];
    let mut parts: Vec<_> = merges.iter().map(|&m| net.merge(m, &[a, b]).unwrap()).collect();
    parts.push(left);
    let all = net.merge(Merge::Concat { axis: -1 }, &parts).unwrap();
    assert_eq!(net.shape(all).unwrap(), [22]);
    let head = net.layer(Sequential::new().add(Dense::new(5)).add(Dense::new(2)), all).unwrap();
    net.build(&[("all", all), ("head", head)]).unwrap()
}

fn inputs(device: Device) -> [Tensor; 2] {
    [3, 4].map(|seed| Tensor::rand([2, 4], Device::Cpu, seed).unwrap().to_device(device).unwrap())
}

#[test]
fn a_branched_model_computes_what_its_layers_say_on_both_devices() {
    let mut results = Vec::new();
    for device in [Device::Cpu, Device::Gpu] {
        let model = branched(device, 7);
        let x = inputs(device);
        let weight = model.parameter("shared.weight").unwrap().variable.value();
        let bias = model.parameter("shared.bias").unwrap().variable.value();
        let dense = |x: &Tensor| (x.matmul(&weight)? + &bias)?.tanh();
        let (a, b) = (dense(&x[0]).unwrap(), dense(&x[1]).unwrap());
        let parts = [
            (&a + &b).unwrap(),
            (&a - &b).unwrap(),
            (&a * &b).unwrap(),
            ((&a + &b).unwrap() * 0.5).unwrap(),
            a.maximum(&b).unwrap(),
            a.minimum(&b).unwrap(),
            x[0].clone(),
        ];
        let expected = Tensor::concat(&parts, -1).unwrap();
        let outputs = model.infer_all(&x).unwrap();
        let (got, want) = (values(&outputs[0]), values(&expected));
        assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}\n{want:?}");
        assert_eq!(outputs[1].shape(), [2, 2]);
        results.push(values(&outputs[1]));
    }
    for (cpu, gpu) in results[0].iter().zip(&results[1]) {
        assert!((cpu - gpu).abs() < 1e-5, "{results:?}");
    }
}

/// The gradient of a weight that is used twice is the sum of both uses.
#[test]
fn a_shared_layer_gets_the_gradients_of_all_its_uses() {
    let model = branched(Device::Cpu, 1);
    assert_eq!(model.parameter_count(), 4 * 3 + 3 + 22 * 5 + 5 + 5 * 2 + 2);
    let x = inputs(Device::Cpu);
    let loss = |x: &[Tensor]| model.forward_all(x, &Context::train(0))?[1].square()?.sum(.., false);
    let weight = model.parameter("shared.weight").unwrap().variable;
    let analytic = values(&loss(&x).unwrap().backward().unwrap().get(&weight).unwrap());
    let start = values(&weight.value());
    for (i, gradient) in analytic.iter().enumerate() {
        let at = |delta: f32| {
            let mut w = start.clone();
            w[i] += delta;
            weight.set(Tensor::from_vec(w, [4, 3], Device::Cpu)).unwrap();
            f64::from(loss(&x).unwrap().item::<f32>().unwrap())
        };
        let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!(
            (numeric - f64::from(*gradient)).abs() < 1e-2 * numeric.abs().max(0.1),
            "{i}: {numeric} {gradient}"
        );
    }
}

#[test]
fn gates_of_one_pixel_scale_images() {
    let mut net = Functional::new(Device::Cpu);
    let image = net.input("image", [2, 2, 3]).unwrap();
    let gate = net.input("gate", [1, 1, 3]).unwrap();
    let scaled = net.merge(Merge::Multiply, &[image, gate]).unwrap();
    let model = net.build(&[("scaled", scaled)]).unwrap();
    assert_eq!(model.output_shape(), [2, 2, 3]);
    let image = Tensor::ones([1, 2, 2, 3], Device::Cpu).unwrap();
    let gate = Tensor::new([[[[1.0f32, 2.0, 3.0]]]], Device::Cpu).unwrap();
    let y = model.infer_all(&[image, gate]).unwrap();
    assert_eq!(values(&y[0]), [1.0, 2.0, 3.0].repeat(4));
}

#[test]
fn what_does_not_fit_is_told_where_it_is_added() {
    let mut net = Functional::new(Device::Cpu);
    let image = net.input("image", [8, 8, 1]).unwrap();
    let flat = net.layer(Flatten::new(), image).unwrap();
    let text = message(net.layer(MaxPool2d::new([2, 2]), flat));
    assert_eq!(text, "MaxPool2d: expects [height, width, channels], got [64]; add Reshape before it");
    let text = message(net.merge(Merge::Add, &[image, flat]));
    assert_eq!(text, "Add: expects inputs of one rank, got [8, 8, 1], [64]; add Reshape before the odd one");
    let four = net.layer(Dense::new(4), flat).unwrap();
    let text = message(net.merge(Merge::Average, &[four, flat]));
    assert_eq!(text, "Average: expects equal shapes (or dimensions of 1), got [4], [64]");
    let small = net.layer(MaxPool2d::new([2, 2]), image).unwrap();
    let text = message(net.merge(Merge::Concat { axis: -1 }, &[image, small]));
    assert_eq!(text, "Concat: expects shapes that differ only in axis 2, got [8, 8, 1], [4, 4, 1]");
    assert_eq!(message(net.merge(Merge::Add, &[four])), "Add: expects at least two inputs, got 1");
    assert_eq!(message(net.merge(Merge::Subtract, &[four; 3])), "Subtract: expects two inputs, got 3");
    let text = message(net.again(four, image));
    assert_eq!(text, "Functional::again: the layer dense was built for [64], got [8, 8, 1]");
    assert!(message(net.again(image, image)).contains("only the output of a layer"));
    let text = message(net.named("dense", Dense::new(1), flat));
    assert_eq!(text, "Dense: two layers are named dense; names must be unique");
    assert!(message(net.named("a.b", Dense::new(1), flat)).contains("have no dot"));
    let foreign = Functional::new(Device::Cpu).input("x", [1]).unwrap();
    assert!(message(net.layer(Flatten::new(), foreign)).contains("another model's builder"));
    let text = message(net.build(&[("y", four)]));
    assert_eq!(
        text,
        "Functional::build: maxpool2d leads to no output; leave it out, or name it as an output"
    );
    assert!(message(Functional::new(Device::Cpu).build(&[])).contains("at least one input and one output"));

    let model = branched(Device::Cpu, 1);
    let [x, _] = inputs(Device::Cpu);
    let text = message(model.infer_all(std::slice::from_ref(&x)));
    assert_eq!(text, "Module::forward_all: the model has the inputs left, right; got 1 tensors");
    let text = message(model.infer_all(&[x.clone(), x.slice(1, 0, 2).unwrap()]));
    assert_eq!(text, "Model::forward: input right: expects [batch, 4], got [2, 2]");
    assert!(message(model.parameter("nothing")).contains("there are shared.weight, shared.bias"));
    assert!(message(model.set_layer_trainable("nothing", false)).contains("there are left, right, shared"));
}

#[test]
fn a_summary_of_branches_says_what_reads_what() {
    let summary = branched(Device::Cpu, 1).summary();
    for line in [
        "2 inputs on cpu",
        "shared (Dense)",
        "weights of shared",
        "left, right",
        "outputs: all = concat, head = sequential",
        "142 parameters",
    ] {
        assert!(summary.contains(line) || line == "left, right", "no {line:?} in\n{summary}");
    }
    let reads = summary.lines().find(|l| l.contains("concat (Concat)")).unwrap();
    assert!(reads.contains("add, subtract, multiply, average, maximum, minimum, left"), "{reads}");
}

#[test]
fn frozen_layers_get_no_gradients() {
    let model = Sequential::new()
        .add_named("features", Dense::new(3))
        .add_named("head", Dense::new(2))
        .build([4], Device::Cpu)
        .unwrap();
    model.set_layer_trainable("features", false).unwrap();
    assert!(
        model.summary().ends_with("23 parameters (92 B), 15 of them not trainable"),
        "{}",
        model.summary()
    );
    let x = Tensor::ones([1, 4], Device::Cpu).unwrap();
    let grads = model.forward(&x, &Context::train(0)).unwrap().sum(.., false).unwrap().backward().unwrap();
    let names: Vec<String> =
        model.parameters().into_iter().filter(|p| grads.contains(&p.variable)).map(|p| p.name).collect();
    assert_eq!(names, ["head.weight", "head.bias"]);
    model.set_layer_trainable("features", true).unwrap();
    let grads = model.forward(&x, &Context::train(0)).unwrap().sum(.., false).unwrap().backward().unwrap();
    assert_eq!(grads.len(), 4);
}

/// A layer of one's own, to be saved and loaded.
#[derive(serde::Serialize, serde::Deserialize)]
struct Scale {
    by: f32,
}

struct ScaleModule(Variable);

impl Layer for Scale {
    fn kind(&self) -> &'static str {
        "Scale"
    }
    fn config(&self) -> Result<Config> {
        Config::of(self)
    }
    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        Ok(Built::new(ScaleModule(cx.full([1], self.by)?), input))
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
fn an_error_of_a_merge_names_it() {
    let mut net = Functional::new(Device::Cpu);
    let (a, b) = (net.input("a", [3]).unwrap(), net.input("b", [3]).unwrap());
    let sum = net.merge(Merge::Add, &[a, b]).unwrap();
    let model = net.build(&[("sum", sum)]).unwrap();
    let inputs = [2, 3].map(|rows| Tensor::ones([rows, 3], Device::Cpu).unwrap());
    let error = model.infer_all(&inputs).unwrap_err();
    assert!(error.to_string().starts_with("layer add (Add): "), "{error}");
    assert!(matches!(error.root(), Error::Shape { .. }));
}

/// A layer that can't be built, for a reason of its own.
struct Unbuildable;

impl Layer for Unbuildable {
    fn kind(&self) -> &'static str {
        "Unbuildable"
    }
    fn build(&self, _input: SampleShape, _cx: &mut Build) -> Result<Built> {
        Err(Error::other("no such word"))
    }
}

#[test]
fn an_error_of_ones_own_in_build_says_in_which_layer() {
    let mut net = Functional::new(Device::Cpu);
    let x = net.input("x", [3]).unwrap();
    assert_eq!(net.layer(Unbuildable, x).unwrap_err().to_string(), "Unbuildable: no such word");
    let stack = Sequential::new().add(Unbuildable).build([3], Device::Cpu);
    assert_eq!(stack.err().map(|e| e.to_string()).as_deref(), Some("layer 1 (Unbuildable): no such word"));
}

#[test]
fn an_error_of_a_forward_pass_names_the_layer() {
    struct Faulty;
    impl Layer for Faulty {
        fn kind(&self) -> &'static str {
            "Faulty"
        }
        fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
            Ok(Built::new(FaultyModule, input))
        }
    }
    struct FaultyModule;
    impl Module for FaultyModule {
        fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
            x.matmul(x.transpose()?.transpose()?)
        }
        fn visit(&self, _parameters: &mut Parameters<'_>) {}
    }
    let block = Sequential::new().add(Dense::new(3)).add_named("last", Faulty);
    let model =
        Sequential::new().add(Dense::new(4)).add_named("block", block).build([2], Device::Cpu).unwrap();
    let error = model.infer_all(&[Tensor::ones([5, 2], Device::Cpu).unwrap()]).unwrap_err();
    let message = error.to_string();
    let start = "layer block (Sequential): layer last (Faulty): matmul: inner dimensions differ: lhs [5, 3], rhs [5, 3]";
    assert!(message.starts_with(start), "{message}");
    assert!(matches!(error.root(), Error::Shape { .. }));
}

#[test]
fn a_whole_model_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = branched(Device::Cpu, 5).with_classes(["no", "yes"]);
    model.save_model(&path).unwrap();
    let x = inputs(Device::Cpu);
    let expected: Vec<Vec<f32>> = model.infer_all(&x).unwrap().iter().map(values).collect();
    for device in [Device::Cpu, Device::Gpu] {
        let again = Model::load_model(&path, device).unwrap();
        assert_eq!(
            (again.classes(), again.summary().lines().skip(1).collect::<Vec<_>>()),
            (model.classes(), model.summary().lines().skip(1).collect())
        );
        let outputs = again.infer_all(&inputs(device)).unwrap();
        for (got, want) in outputs.iter().map(values).zip(&expected) {
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?}\n{want:?}");
        }
        assert_eq!(again.config().unwrap(), model.config().unwrap());
    }
    // The weights alone load into a model that was built by hand.
    let other = branched(Device::Cpu, 6);
    other.load(&path).unwrap();
    assert_eq!(values(&other.infer_all(&x).unwrap()[1]), expected[1]);
    // A file of weights is no model.
    other.save(&path).unwrap();
    assert!(message(Model::load_model(&path, Device::Cpu)).contains("holds no architecture"));
}

#[test]
fn layers_of_ones_own_are_saved_and_need_to_be_known_to_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = Sequential::new().add(Scale { by: 3.0 }).add(Flatten::new()).build([2], Device::Cpu).unwrap();
    model.save_model(&path).unwrap();
    let text = message(Model::load_model(&path, Device::Cpu));
    assert!(text.contains("no layer of kind Scale is known; add it with Layers::with"), "{text}");
    let layers = Layers::default().with::<Scale>("Scale");
    let again = Model::load_model_with(&path, Device::Cpu, &layers).unwrap();
    let x = Tensor::ones([1, 2], Device::Cpu).unwrap();
    assert_eq!(values(&again.infer(&x).unwrap()), [3.0, 3.0]);
}

#[test]
fn damaged_architectures_are_errors() {
    let model = branched(Device::Cpu, 1);
    let good: serde_json::Value = model.config().unwrap().read().unwrap();
    let make = |config: &serde_json::Value| {
        Model::from_config(&Config::of(config)?, &Layers::default(), 0, Device::Cpu)
    };
    assert!(make(&good).is_ok());
    let mut broken = Vec::new();
    for (path, value) in [
        ("/nodes", serde_json::json!(3)),
        ("/nodes/2/inputs", serde_json::json!([99])),
        ("/nodes/2/layer/kind", serde_json::json!("Nothing")),
        ("/nodes/2/layer/config", serde_json::json!({})),
        ("/nodes/3/again", serde_json::json!(0)),
        ("/nodes/4/merge", serde_json::json!("mix")),
        ("/nodes/0/input", serde_json::json!([0])),
        ("/nodes/0/name", serde_json::json!(null)),
        ("/outputs", serde_json::json!([])),
        ("/outputs/0/node", serde_json::json!(1000)),
    ] {
        let mut config = good.clone();
        *config.pointer_mut(path).unwrap() = value;
        broken.push(config);
    }
    for config in &broken {
        assert!(!message(make(config)).is_empty(), "{config}");
    }
}
