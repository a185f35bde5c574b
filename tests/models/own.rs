//! Models of one's own: `#[derive(Module)]`, layers built alone.

use super::{message, values};
use std::collections::BTreeMap;
use std::sync::Arc;
use wgrad::nn::{Build, Built, Context, Embedding, Frozen};
use wgrad::prelude::*;

fn names(module: &dyn Module) -> Vec<String> {
    module.parameters().into_iter().map(|p| p.name).collect()
}

fn variable() -> Variable {
    Variable::new(Tensor::ones([2], Device::Cpu).unwrap())
}

fn dense(units: usize, features: usize) -> Built {
    Build::new(Device::Cpu, units as u64).layer(Dense::new(units), [features]).unwrap()
}

/// `x + inner(x)`
#[derive(Module)]
struct Residual<M> {
    inner: M,
}

impl<M: Module> Residual<M> {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        x + self.inner.forward(x, cx)?
    }
}

#[derive(Module)]
struct Unit;

impl Unit {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        Ok(x.clone())
    }
}

type Pair = (Variable, Option<Variable>);

#[derive(Module)]
#[module(no_forward, outputs("a", "b"), integers)]
#[allow(dead_code)]
struct All<M: Module, const N: usize> {
    list: Vec<Residual<M>>,
    none: Option<Variable>,
    some: Option<Vec<Variable>>,
    array: [Variable; N],
    tuple: (Variable, Pair),
    map: BTreeMap<String, Built>,
    boxed: Box<dyn Module>,
    shared: Arc<Unit>,
    activation: Activation,
    rate: f64,
    #[module(skip)]
    cache: Vec<Tensor>,
    #[module(buffer)]
    mean: [Variable; 1],
    #[module(name = "renamed")]
    r#type: Variable,
}

#[derive(Module)]
struct Tuple(Built, Variable);

impl Tuple {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.0.forward(x, cx)? * &self.1
    }
}

#[test]
fn parameters_are_named_by_field_whatever_it_is() {
    let all = All {
        list: vec![Residual { inner: dense(3, 3) }, Residual { inner: dense(3, 3) }],
        none: None,
        some: Some(vec![variable(), variable()]),
        array: [variable(), variable()],
        tuple: (variable(), (variable(), Some(variable()))),
        map: ["b", "a"].into_iter().map(|name| (name.to_string(), dense(2, 2))).collect(),
        boxed: Box::new(Tuple(dense(2, 1), variable())),
        shared: Arc::new(Unit),
        activation: Activation::Relu,
        rate: 0.5,
        cache: vec![Tensor::ones([1], Device::Cpu).unwrap()],
        mean: [variable()],
        r#type: variable(),
    };
    let expected = [
        "list.0.inner.weight",
        "list.0.inner.bias",
        "list.1.inner.weight",
        "list.1.inner.bias",
        "some.0",
        "some.1",
        "array.0",
        "array.1",
        "tuple.0",
        "tuple.1.0",
        "tuple.1.1",
        "map.a.weight",
        "map.a.bias",
        "map.b.weight",
        "map.b.bias",
        "boxed.0.weight",
        "boxed.0.bias",
        "boxed.1",
        "mean.0",
        "renamed",
    ];
    assert_eq!(names(&all), expected);
    let buffers: Vec<String> = all.parameters().into_iter().filter(|p| p.buffer).map(|p| p.name).collect();
    assert_eq!(buffers, ["mean.0"]);
    assert_eq!((all.output_names(), all.takes_integers()), (vec!["a".to_string(), "b".into()], true));
    let x = Tensor::ones([1, 3], Device::Cpu).unwrap();
    let error = message(all.forward(&x, &Context::eval()));
    assert!(error.contains("All has no forward (#[module(no_forward)]); call the modules in it"), "{error}");
}

/// Two inputs, two outputs.
#[derive(Module)]
#[module(forward_all, outputs("sum", "words"), integers)]
struct Several {
    words: Built,
    head: Built,
}

impl Several {
    fn new(device: Device) -> Result<Several> {
        let mut cx = Build::new(device, 3);
        let words = cx.layer(Embedding::new(5, 4), (None,))?;
        Ok(Several { head: cx.layer(Dense::new(2), words.output)?, words })
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        let [words, numbers] = inputs else {
            return Err(Error::other("expected words and numbers"));
        };
        let words = self.words.forward(words, cx)?;
        let head = self.head.forward(&words, cx)?;
        Ok(vec![(head.sum(1, false)? + numbers)?, words])
    }
}

#[test]
fn several_inputs_and_outputs_on_both_devices() {
    let run = |device: Device| -> Result<[Vec<f32>; 2]> {
        let model = Several::new(device)?;
        let words = Tensor::new([[0, 4, 2], [1, 1, 1]], device)?;
        let numbers = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], device)?;
        let outputs = model.forward_all(&[words.clone(), numbers], &Context::eval())?;
        let error = message(model.forward(&words, &Context::eval()));
        assert!(error.contains("expected words and numbers"), "{error}");
        Ok([outputs[0].to_vec()?, outputs[1].to_vec()?])
    };
    let (cpu, gpu) = (run(Device::Cpu).unwrap(), run(Device::Gpu).unwrap());
    for (a, b) in cpu.iter().flatten().zip(gpu.iter().flatten()) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn layers_alone_do_what_they_do_in_a_model() {
    let stack = || Sequential::new().add(Dense::new(4).activation(Activation::Tanh)).add(Dense::new(2));
    let model = stack().seed(9).build([3], Device::Cpu).unwrap();
    let mut cx = Build::new(Device::Cpu, 9);
    let first = cx.layer(Dense::new(4).activation(Activation::Tanh), [3]).unwrap();
    let second = cx.layer(Dense::new(2), first.output).unwrap();
    let whole = Build::new(Device::Cpu, 9).layer(stack(), [3]).unwrap();
    let bytes = Tensor::from_vec(vec![1u8, 2, 3], [1, 3], Device::Cpu).unwrap();
    let x = bytes.cast(DType::F32).unwrap();
    let expected = values(&model.infer(&x).unwrap());
    let both = |x: &Tensor| second.infer(&first.infer(x).unwrap()).unwrap();
    assert_eq!(values(&both(&x)), expected);
    assert_eq!(values(&both(&bytes)), expected, "bytes are numbers");
    assert_eq!(values(&whole.infer(&x).unwrap()), expected);
    assert_eq!(names(&whole), ["dense.weight", "dense.bias", "dense_1.weight", "dense_1.bias"]);
    let error = message(first.infer(&Tensor::ones([1, 7], Device::Cpu).unwrap()));
    assert!(error.starts_with("layer Dense 4, tanh: matmul: "), "{error}");
    let error = message(Build::new(Device::Cpu, 0).layer(Conv2d::new(4, [3, 3]), [8, 8]));
    let expected =
        "Build::layer: Conv2d: expects [height, width, channels], got [8, 8]; add Reshape::new([8, 8, 1])";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn own_models_are_trained_saved_frozen_and_resumed() {
    let make = |seed| -> Result<Residual<Tuple>> {
        let mut cx = Build::new(Device::Cpu, seed);
        Ok(Residual { inner: Tuple(cx.layer(Dense::new(2), [2])?, cx.full([2], 1.0)?) })
    };
    let folder = tempfile::tempdir().unwrap();
    let (weights, checkpoint) = (folder.path().join("w.safetensors"), folder.path().join("c.safetensors"));
    let x = Tensor::rand([16, 2], Device::Cpu, 1).unwrap();
    let set = data::Dataset::from_tensors("line", &x, &(&x * 3.0).unwrap()).unwrap();
    let trainer = |seed| Trainer::new(make(seed).unwrap(), Adam::new(0.05), MeanSquaredError::new()).build();
    let (mut first, mut second) = (trainer(1).unwrap(), trainer(2).unwrap());
    let fit = |epochs| Fit::epochs(epochs).batch_size(4).verbose(false);
    let history = first.fit(&set, fit(4)).unwrap();
    assert!(history.epochs[3].train.loss < history.epochs[0].train.loss);
    first.save_checkpoint(&checkpoint).unwrap();
    first.model().save(&weights).unwrap();
    first.fit(&set, fit(1)).unwrap();
    second.resume(&checkpoint).unwrap();
    assert_eq!(second.model().inner.0.parameters()[0].name, "weight");
    let loaded = make(3).unwrap();
    loaded.load(&weights).unwrap();
    assert_eq!(values(&loaded.infer(&x).unwrap()), values(&second.model().infer(&x).unwrap()));
    // a field frozen: the other is trained on
    let model = make(4).unwrap();
    model.inner.0.set_trainable(false).unwrap();
    let loss = model.forward(&x, &Context::train(1)).unwrap().sum(.., false).unwrap();
    let grads = loss.backward().unwrap();
    assert_eq!((grads.len(), grads.contains(&model.inner.1)), (1, true));
}

#[test]
fn what_is_frozen_stays_so_and_is_saved() {
    let model = Residual { inner: Frozen::new(dense(2, 2)).unwrap() };
    model.set_trainable(true).unwrap();
    assert!(model.parameters().iter().all(|p| p.buffer && !p.trainable()));
    assert_eq!(names(&model), ["inner.weight", "inner.bias"]);
    let x = Tensor::ones([1, 2], Device::Cpu).unwrap().watch().unwrap();
    let grads = model.forward(&x, &Context::train(1)).unwrap().sum(.., false).unwrap().backward().unwrap();
    assert_eq!(grads.len(), 1, "gradients flow through it to what is before");
    let released = model.inner.release().unwrap();
    assert!(released.parameters().iter().all(|p| p.trainable()));
}

#[test]
fn a_summary_is_the_tree_of_fields() {
    let conv = Build::new(Device::Cpu, 0).layer(Conv2d::new(4, [3, 3]), (None, None, 1)).unwrap();
    let stack = Sequential::new().add(Dense::new(3)).add(Dropout::new(0.5)).build([2], Device::Cpu).unwrap();
    #[derive(Module)]
    #[module(no_forward)]
    struct Net {
        blocks: Vec<Residual<Built>>,
        conv: Built,
        stack: Model,
        scale: Variable,
        #[module(buffer)]
        mean: Variable,
    }
    let blocks = vec![Residual { inner: dense(50, 50) }, Residual { inner: dense(50, 50) }];
    let net = Net { blocks, conv, stack, scale: variable(), mean: variable() };
    let summary = net.summary();
    let rows = [
        " blocks                                          5,100",
        "   0        Residual                             2,550",
        "     inner  Dense 50       [50]                  2,550",
        "   1        Residual                             2,550",
        "     inner  Dense 50       [50]                  2,550",
        " conv       Conv2d 4, 3x3  [None, None, 4]          40",
        " stack                                               9",
        "   dense    Dense 3        [3]                       9",
        "   dropout  Dropout 0.5    [3]                       0",
        " scale                     [2]                       2",
        " mean       not trained    [2]                       2",
    ];
    for row in rows {
        assert!(summary.lines().any(|line| line == row), "{row}\nis not in\n{summary}");
    }
    assert!(summary.starts_with("Net on cpu\n───"), "{summary}");
    assert!(summary.ends_with("5,153 parameters (20.13 KiB), 2 of them not trainable"), "{summary}");
}

/// Two convolutions, a shared layer, two heads.
fn pictures(device: Device) -> Model {
    let mut net = wgrad::nn::Functional::new(device).seed(5);
    let image = net.input("image", [6, 6, 1]).unwrap();
    let other = net.input("other", [6, 6, 1]).unwrap();
    let a = net.layer(Conv2d::new(3, [3, 3]).activation(Activation::Tanh), image).unwrap();
    let b = net.again(a, other).unwrap();
    let c = net.layer(Conv2d::new(2, [3, 3]), b).unwrap();
    let flat = net.layer(Flatten::new(), c).unwrap();
    let side = net.layer(Flatten::new(), a).unwrap();
    let (x, y) = (net.layer(Dense::new(4), flat).unwrap(), net.layer(Dense::new(1), side).unwrap());
    net.build(&[("x", x), ("y", y)]).unwrap()
}

#[test]
fn outputs_of_layers_are_those_of_the_model_and_share_its_weights() {
    for device in [Device::Cpu, Device::Gpu] {
        let model = pictures(device);
        let image = |seed| Tensor::rand([2, 6, 6, 1], device, seed).unwrap();
        let (image, other) = (image(1), image(2));
        let inputs = [image.clone(), other.clone()];
        let whole = model.infer_all(&inputs).unwrap();
        let some = model.outputs_of(&["dense_1", "conv2d_again", "dense"]).unwrap();
        assert_eq!(some.output_names(), ["dense_1", "conv2d_again", "dense"]);
        let found = some.infer_all(&inputs).unwrap();
        assert_eq!((values(&found[0]), values(&found[2])), (values(&whole[1]), values(&whole[0])));
        // what only the second needs: its layer stands where the first input reaches it
        let first = model.outputs_of(&["flatten_1"]).unwrap();
        assert_eq!((first.inputs().len(), first.layer_names().len()), (1, 3));
        assert_eq!(first.infer(&image).unwrap().shape(), [2, 48]);
        assert_eq!(model.outputs_of(&["conv2d_1"]).unwrap().inputs().len(), 2);
        let layer = model.layer("conv2d_again").unwrap();
        assert_eq!(values(&layer.infer(&other).unwrap()), values(&found[1]));
        layer.parameter("bias").unwrap().variable.set(Tensor::ones([3], device).unwrap()).unwrap();
        assert_ne!(values(&some.infer_all(&inputs).unwrap()[1]), values(&found[1]));
    }
    let model = pictures(Device::Cpu);
    let errors = [
        (
            message(model.layer("conv")),
            "no layer is named conv; there are image, other, conv2d, conv2d_again",
        ),
        (message(model.layer("image")), "image is an input or a merge: it has no layer"),
        (message(model.outputs_of(&[])), "got no names of layers; there are image"),
        (message(model.outputs_of(&["dense", "dense"])), "dense is given twice"),
        (message(model.outputs_of(&["relu"])), "no layer is named relu"),
    ];
    for (found, expected) in errors {
        assert!(found.contains(expected), "{found}\nexpected: {expected}");
    }
}

#[test]
fn gradients_of_layers_outputs_are_slopes_also_of_one_that_another_follows_from() {
    let w = Variable::new(Tensor::new([2.0f64, -3.0], Device::Cpu).unwrap());
    let a = (&w * 2.0).unwrap();
    let b = a.square().unwrap();
    let y = (&b * &a).unwrap().sum(.., false).unwrap(); // a^3
    let slopes = y.gradients(&[&a, &b, &a]).unwrap();
    let [of_a, of_b, again] = [0, 1, 2].map(|i| slopes[i].to_vec::<f64>().unwrap());
    assert_eq!((of_a, of_b), (vec![48.0, 108.0], vec![4.0, -6.0])); // 3 a^2, a
    assert_eq!(again, [48.0, 108.0]);
    assert_eq!(y.gradients(&[&b]).unwrap()[0].to_vec::<f64>().unwrap(), [4.0, -6.0]);
    // one of one, an array of an array, a vector of a slice or a vector
    assert_eq!(y.gradients(&b).unwrap().to_vec::<f64>().unwrap(), [4.0, -6.0]);
    let [of_b, of_a] = y.gradients([&b, &a]).unwrap();
    assert_eq!(of_a.to_vec::<f64>().unwrap(), [48.0, 108.0]);
    assert_eq!(of_b.to_vec::<f64>().unwrap(), [4.0, -6.0]);
    let [] = y.gradients([]).unwrap();
    let list = vec![&a, &b];
    assert_eq!((y.gradients(&list).unwrap().len(), y.gradients(&list[1..]).unwrap().len()), (2, 1));
    // of second order: a second derivative, 6 a
    let twice = slopes[0].sum(.., false).unwrap().gradients(&[&a]).unwrap();
    assert_eq!(twice[0].to_vec::<f64>().unwrap(), [24.0, -36.0]);
    let apart = (&w * 1.0).unwrap();
    assert_eq!(y.gradients(&[&apart]).unwrap()[0].to_vec::<f64>().unwrap(), [0.0, 0.0]);
    let constant = Tensor::ones([2], Device::Cpu).unwrap();
    let error = message(y.gradients(&[&a, &constant]));
    assert!(error.contains("tensor 1 depends on no variable that is trained"), "{error}");
    assert!(message(b.gradients(&[&a])).contains("reduce it to one element"));
}
