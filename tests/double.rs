//! Models in f64: built so, or given another type later; their optimizers, graphs, files and training.

use std::path::PathBuf;
use std::sync::Arc;
use wgrad::Graph;
use wgrad::nn::{
    BatchNorm, Build, Built, CategoryEncoding, Constraint, Context, Frozen, Functional, Layers, Merge, Model,
};
use wgrad::nn::{IntegerLookup, Normalization, Regularizer, Rescaling};
use wgrad::optim::{Lookahead, Swa};
use wgrad::prelude::*;
use wgrad::text::OutputMode;

fn message<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_device(Device::Cpu).unwrap().cast(DType::F64).unwrap().to_vec::<f64>().unwrap()
}

fn weights(module: &dyn Module) -> Vec<Vec<f64>> {
    module.parameters().iter().map(|p| values(&p.variable.value())).collect()
}

fn types(module: &dyn Module) -> Vec<DType> {
    module.parameters().iter().map(|p| p.variable.value().dtype()).collect()
}

fn stack() -> Sequential {
    Sequential::new()
        .seed(3)
        .add(Dense::new(8).activation(Activation::Tanh).kernel_regularizer(Regularizer::l2(0.01)))
        .add(BatchNorm::new())
        .add(Dense::new(2).kernel_constraint(Constraint::non_neg()))
}

fn rand(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    Tensor::rand_dtype(shape, dtype, Device::Cpu, seed).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("wgrad-double-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_model_is_built_in_f64_from_the_same_draws() -> Result<()> {
    let (single, double) =
        (stack().build([3], Device::Cpu)?, stack().dtype(DType::F64).build([3], Device::Cpu)?);
    assert_eq!((single.dtype(), double.dtype()), (DType::F32, DType::F64));
    assert!(types(&double).iter().all(|d| *d == DType::F64));
    let mut exact = false;
    for (a, b) in weights(&single).concat().iter().zip(weights(&double).concat()) {
        assert!((a - b).abs() < 2e-7, "{a} {b}");
        exact |= f64::from(b as f32) != b;
    }
    assert!(exact, "the weights have no more than 24 bits");
    let y = double.infer(&rand(&[5, 3], DType::F64, 1))?;
    assert_eq!((y.dtype(), y.shape().to_vec()), (DType::F64, vec![5, 2]));

    let mut net = Functional::new(Device::Cpu).dtype(DType::F64).seed(3);
    let x = net.input("x", [3])?;
    let a = net.layer(Dense::new(4), x)?;
    let b = net.again(a, x)?;
    let sum = net.merge(Merge::Add, &[a, b])?;
    let model = net.build(&[("sum", sum)])?;
    assert_eq!(types(&model), [DType::F64; 2]);
    assert_eq!(model.infer(&rand(&[5, 3], DType::F64, 1))?.dtype(), DType::F64);
    Ok(())
}

#[test]
fn what_no_model_can_be_built_in_is_an_error_before_anything_is_made() -> Result<()> {
    let error = message(stack().dtype(DType::I32).build([3], Device::Cpu));
    assert!(error.starts_with("Sequential::build: expected a float type, f32 or f64, got i32"), "{error}");
    let error = message(stack().dtype(DType::F64).build([3], Device::Gpu));
    assert!(error.starts_with("Sequential::build: f64 exists on Device::Cpu only"), "{error}");
    let error = message(Functional::new(Device::Gpu).dtype(DType::F64).input("x", [3]));
    assert!(error.starts_with("Functional::input: f64 exists on Device::Cpu only"), "{error}");
    let error = message(Build::new(Device::Cpu, 1).with_dtype(DType::U8).full([2], 1.0));
    assert!(error.contains("got u8"), "{error}");
    // A stack within a stack has no type of its own.
    let inner = || Sequential::new().add(Dense::new(2)).dtype(DType::F64);
    let error = message(Sequential::new().add(inner()).build([3], Device::Cpu));
    assert!(error.contains("asks for f64 in a model that is built in f32"), "{error}");
    assert_eq!(Sequential::new().add(inner()).dtype(DType::F64).build([3], Device::Cpu)?.dtype(), DType::F64);
    Ok(())
}

#[test]
fn another_type_is_given_to_all_of_a_model_or_to_nothing() -> Result<()> {
    let model = stack().build([3], Device::Cpu)?;
    let before = weights(&model);
    let variable = model.parameters()[0].variable.clone();
    model.parameters()[2].variable.set_trainable(false)?;
    model.to_dtype(DType::F64)?;
    assert_eq!((types(&model), weights(&model)), (vec![DType::F64; 8], before.clone()));
    assert_eq!(variable.value().dtype(), DType::F64); // a handle of the same slot
    assert!(!model.parameters()[2].trainable() && variable.is_trainable());
    let x = rand(&[4, 3], DType::F64, 2);
    let grads = model.forward(&x, &Context::train(1))?.sum(.., false)?.backward()?;
    assert_eq!(grads.get(&variable)?.dtype(), DType::F64);
    model.to_dtype(DType::F32)?;
    assert_eq!(weights(&model)[0], before[0]);
    model.to_dtype(DType::F32)?; // nothing to do

    assert!(message(model.to_dtype(DType::U32)).contains("expected a float type, f32 or f64, got u32"));
    let gpu = stack().build([3], Device::Gpu)?;
    assert!(
        message(gpu.to_dtype(DType::F64)).starts_with("Module::to_dtype: f64 exists on Device::Cpu only")
    );
    gpu.to_dtype(DType::F32)?;
    assert!(types(&gpu).iter().all(|d| *d == DType::F32));
    let traced = Graph::trace(&[], |_| {
        model.to_dtype(DType::F64)?;
        Ok(vec![])
    });
    assert!(message(traced).contains("Module::to_dtype"));
    assert_eq!(model.dtype(), DType::F32);
    Ok(())
}

#[derive(Module)]
struct Own {
    body: Frozen<Built>,
    head: Arc<Built>,
    scale: Variable,
    #[module(buffer)]
    count: Variable,
}

impl Own {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.head.forward(&self.body.forward(x, cx)?, cx)? * &self.scale
    }
}

#[test]
fn modules_of_ones_own_and_their_shared_parts_change_type_together() -> Result<()> {
    let mut cx = Build::new(Device::Cpu, 1);
    let head = Arc::new(cx.layer(Dense::new(2), [4])?);
    let own = Own {
        body: Frozen::new(cx.layer(Dense::new(4), [3])?)?,
        head: head.clone(),
        scale: cx.full([1], 0.5)?,
        count: Variable::not_trainable(Tensor::new([7], Device::Cpu)?),
    };
    let modules: Box<dyn Module> = Box::new(own);
    modules.to_dtype(DType::F64)?;
    assert_eq!(modules.dtype(), DType::F64);
    assert_eq!(head.parameters()[0].variable.value().dtype(), DType::F64);
    let count = modules.parameter("count")?.variable.value();
    assert_eq!((count.dtype(), count.item::<i32>()?), (DType::I32, 7));
    assert_eq!(modules.infer(&rand(&[5, 3], DType::F64, 1))?.dtype(), DType::F64);
    // Of a model within a model the inner layer is named, once.
    let inner = Sequential::new()
        .add(Sequential::new().add(Dense::new(2)))
        .dtype(DType::F64)
        .build([3], Device::Cpu)?;
    let error = message(inner.infer(&rand(&[5, 3], DType::F32, 1)));
    assert!(
        error.starts_with(
            "layer sequential (Sequential): layer dense (Dense): forward: the input is f32, the weights"
        ),
        "{error}"
    );
    let error = message(modules.infer(&rand(&[5, 3], DType::F32, 1)));
    assert!(
        error.starts_with(
            "layer Dense 4: forward: the input is f32, the weights are f64; cast the input with"
        ),
        "{error}"
    );
    Ok(())
}

#[test]
fn an_input_of_another_type_is_told_where_and_what_to_do() -> Result<()> {
    let model =
        Sequential::new().add(Flatten::new()).add(Dense::new(2)).dtype(DType::F64).build([3], Device::Cpu)?;
    assert_eq!(
        message(model.infer(&rand(&[5, 3], DType::F32, 1))),
        "layer dense (Dense): forward: the input is f32, the weights are f64; cast the input with .cast(DType::F64)?, or give \
         the model the input's type with .to_dtype(DType::F32)?"
    );
    let model = Sequential::new().add(Conv2d::new(2, [2, 2])).build([4, 4, 1], Device::Cpu)?;
    let error = message(model.infer(&rand(&[1, 4, 4, 1], DType::F64, 1)));
    assert!(
        error.contains("layer conv2d (Conv2d): forward: the input is f64, the weights are f32"),
        "{error}"
    );
    // Errors of types that come of something else are what they were.
    let model = Sequential::new().add(wgrad::nn::Embedding::new(4, 2)).build([3], Device::Cpu)?;
    assert!(message(model.infer(&rand(&[1, 3], DType::F32, 1))).contains("expects integers"));
    Ok(())
}

#[test]
fn integers_become_floats_of_the_models_type() -> Result<()> {
    // As Unix times, which f32 holds to 128 seconds.
    let x = Tensor::new([[1_700_000_001i32], [1_700_000_003]], Device::Cpu)?;
    let stack = || Sequential::new().add(Rescaling::new(1.0).offset(-1_700_000_000.0)).add(Dense::new(1));
    let model = stack().dtype(DType::F64).build([1], Device::Cpu)?;
    let inner = model.outputs_of(&["rescaling"])?;
    assert_eq!((inner.dtype(), values(&inner.infer(&x)?)), (DType::F64, vec![1.0, 3.0])); // it has no weights
    let w = values(&model.parameter("dense.weight")?.variable.value())[0];
    assert_eq!(values(&model.infer(&x)?), [w, 3.0 * w]);
    let nested = Sequential::new().add(stack()).build([1], Device::Cpu)?;
    nested.to_dtype(DType::F64)?;
    let w = values(&nested.parameters()[0].variable.value())[0];
    assert_eq!(values(&nested.infer(&x)?), [w, 3.0 * w]);

    let lookup = IntegerLookup::new().with_vocabulary([3, 5])?;
    let model = Sequential::new()
        .add(lookup)
        .add(CategoryEncoding::new(3).output(OutputMode::MultiHot))
        .add(Dense::new(2))
        .dtype(DType::F64)
        .build([4], Device::Cpu)?;
    assert_eq!(model.infer(&Tensor::new([[3u32, 5, 9, 3]], Device::Cpu)?)?.dtype(), DType::F64);
    let statistics = Normalization::new().adapt(&rand(&[50, 2], DType::F32, 1))?;
    let model =
        Sequential::new().add(statistics).add(Dense::new(1)).dtype(DType::F64).build([2], Device::Cpu)?;
    assert_eq!(model.infer(&Tensor::new([[3u8, 200]], Device::Cpu)?)?.dtype(), DType::F64);
    Ok(())
}

/// What no weight says, the model keeps.
#[test]
fn a_model_without_weights_keeps_its_type() -> Result<()> {
    let stack = || Sequential::new().add(Rescaling::new(1.0).offset(-1_700_000_000.0)).add(Flatten::new());
    let x = Tensor::new([[1_700_000_001i32], [1_700_000_003]], Device::Cpu)?;
    let model = stack().dtype(DType::F64).build([1], Device::Cpu)?;
    assert_eq!((model.dtype(), values(&model.infer(&x)?)), (DType::F64, vec![1.0, 3.0]));
    // So do a model of the same architecture, one in a file, and one within another model.
    let again = Model::from_config(&model.config()?, &Layers::default(), 0, Device::Cpu)?;
    assert_eq!((again.dtype(), values(&again.infer(&x)?)), (DType::F64, vec![1.0, 3.0]));
    let folder = folder("no_weights");
    model.save_model(folder.join("model.safetensors"))?;
    let again = Model::load_model(folder.join("model.safetensors"), Device::Cpu)?;
    assert_eq!((again.dtype(), values(&again.infer(&x)?)), (DType::F64, vec![1.0, 3.0]));
    std::fs::remove_dir_all(folder).ok();
    let nested = Sequential::new().add(stack()).dtype(DType::F64).build([1], Device::Cpu)?;
    assert_eq!(values(&nested.infer(&x)?), [1.0, 3.0]);
    let mut model = Functional::new(Device::Cpu).dtype(DType::F64);
    let input = model.input("x", [1])?;
    let output = model.layer(Rescaling::new(1.0).offset(-1_700_000_000.0), input)?;
    let functional = model.build(&[("y", output)])?;
    assert_eq!((functional.dtype(), values(&functional.infer(&x)?)), (DType::F64, vec![1.0, 3.0]));
    // It can be given another type, as one with weights: on the CPU.
    let model = stack().build([1], Device::Cpu)?;
    assert_eq!((model.dtype(), values(&model.infer(&x)?)), (DType::F32, vec![0.0, 0.0]));
    model.to_dtype(DType::F64)?;
    assert_eq!((model.dtype(), values(&model.infer(&x)?)), (DType::F64, vec![1.0, 3.0]));
    model.to_dtype(DType::F32)?;
    assert_eq!((model.dtype(), values(&model.infer(&x)?)), (DType::F32, vec![0.0, 0.0]));
    assert!(message(model.to_dtype(DType::I32)).contains("expected a float type"));
    let model = stack().build([1], Device::Gpu)?;
    assert!(message(model.to_dtype(DType::F64)).contains("Device::Cpu"));
    assert_eq!(model.dtype(), DType::F32);
    Ok(())
}

/// Ten updates of `w -> w - rate * ..` of a loss of two variables, the last six of them in f64.
fn trained(mut optimizer: impl Optimizer, change: bool) -> Result<Vec<f64>> {
    let start = Tensor::new([0.5f32, -0.25, 2.0], Device::Cpu)?;
    let first = if change { start } else { start.cast(DType::F64)? };
    let (a, b) = (Variable::new(first.clone()), Variable::new((&first * 0.5)?));
    let module = Pair { a, b };
    for step in 0..10 {
        if step == 4 {
            module.to_dtype(DType::F64)?;
        }
        let loss = (module.a.value().square()? + (&module.b * &module.a)?)?.sum(.., false)?;
        optimizer.step(&loss.backward()?)?;
    }
    optimizer.finalize()?;
    assert_eq!(module.dtype(), DType::F64);
    Ok(weights(&module).concat())
}

#[derive(Module)]
#[module(no_forward)]
struct Pair {
    a: Variable,
    b: Variable,
}

#[test]
fn optimizers_take_their_state_along() -> Result<()> {
    fn alike<O: Optimizer>(make: impl Fn() -> O) -> Result<()> {
        let (changed, whole) = (trained(make(), true)?, trained(make(), false)?);
        for (a, b) in changed.iter().zip(&whole) {
            assert!((a - b).abs() < 1e-5, "{}: {changed:?} {whole:?}", make().name());
        }
        Ok(())
    }
    alike(|| Sgd::new(0.05).momentum(0.9))?;
    alike(|| Adam::new(0.05).global_clip_norm(1.0).ema(0.5))?;
    alike(|| wgrad::optim::AdamW::new(0.05))?;
    alike(|| Lookahead::new(Adam::new(0.05)).period(3))?;
    alike(|| Swa::new(Sgd::new(0.05)).start(2))?;
    Ok(())
}

#[test]
fn averages_are_exchanged_in_the_type_that_the_variables_have() -> Result<()> {
    fn check(mut optimizer: impl Optimizer) -> Result<()> {
        let a = Variable::new(Tensor::new([1.0f32, 2.0], Device::Cpu)?);
        let module = Pair { b: Variable::new(Tensor::new([3.0f32], Device::Cpu)?), a };
        let step = |optimizer: &mut dyn Optimizer| {
            let loss =
                (module.a.value().square()?.sum(.., false)? + module.b.value().square()?.sum(.., false)?)?;
            optimizer.step(&loss.backward()?)
        };
        for _ in 0..3 {
            step(&mut optimizer)?;
        }
        let trained = weights(&module);
        module.to_dtype(DType::F64)?;
        assert!(optimizer.swap_averages()?);
        assert_ne!(weights(&module), trained);
        module.to_dtype(DType::F32)?;
        assert!(!optimizer.swap_averages()?);
        assert_eq!((types(&module), weights(&module)), (vec![DType::F32; 2], trained));
        step(&mut optimizer)?;
        assert!(optimizer.swap_averages()?);
        module.to_dtype(DType::F64)?;
        optimizer.finalize()?;
        assert_eq!(types(&module), [DType::F64; 2]);
        Ok(())
    }
    check(Sgd::new(0.1).ema(0.5))?;
    check(Swa::new(Sgd::new(0.1)))
}

#[test]
fn gradients_from_before_the_change_are_an_error() -> Result<()> {
    let w = Variable::new(Tensor::new([1.0f32], Device::Cpu)?);
    let module = Pair { a: w.clone(), b: w.clone() };
    let grads = w.value().square()?.sum(.., false)?.backward()?;
    module.to_dtype(DType::F64)?;
    let error = message(Adam::new(0.1).step(&grads));
    assert!(
        error.contains("a gradient is f32, its variable is f64 by now; call backward after to_dtype"),
        "{error}"
    );
    assert_eq!(w.value().item::<f64>()?, 1.0);
    Ok(())
}

#[test]
fn a_graph_is_traced_anew_for_another_type() -> Result<()> {
    let w = Variable::new(Tensor::new([3.0f32], Device::Cpu)?);
    let module = Pair { a: w.clone(), b: w.clone() };
    let graph = Graph::trace(&[], |_| Ok(vec![(&w / 10.0)?]))?;
    assert_eq!(graph.call(&[])?[0].to_vec::<f32>()?, [0.3]);
    module.to_dtype(DType::F64)?;
    assert_eq!(graph.call(&[])?[0].to_vec::<f64>()?, [0.3]);
    module.to_dtype(DType::F32)?;
    assert_eq!(graph.call(&[])?[0].to_vec::<f32>()?, [0.3]);
    Ok(())
}

#[test]
fn weights_files_are_converted_to_the_models_type() -> Result<()> {
    let folder = folder("weights");
    let (single, double) =
        (stack().seed(1).build([3], Device::Cpu)?, stack().dtype(DType::F64).build([3], Device::Cpu)?);
    let exact = weights(&double);
    for name in ["w.safetensors", "w.npz"] {
        let path = folder.join(name);
        double.save(&path)?;
        let other = stack().seed(9).dtype(DType::F64).build([3], Device::Cpu)?;
        other.load(&path)?;
        assert_eq!(weights(&other), exact, "{name}");
    }
    single.load(folder.join("w.safetensors"))?;
    assert_eq!(types(&single), [DType::F32; 8]);
    let rounded: Vec<Vec<f64>> =
        exact.iter().map(|w| w.iter().map(|&v| f64::from(v as f32)).collect()).collect();
    assert_eq!(weights(&single), rounded);
    let path = folder.join("single.safetensors");
    single.save(&path)?;
    double.load(&path)?;
    assert_eq!((types(&double), weights(&double)), (vec![DType::F64; 8], rounded));
    // On a GPU, too, which has f32 only.
    let gpu = stack().build([3], Device::Gpu)?;
    gpu.load(folder.join("w.safetensors"))?;
    assert_eq!(weights(&gpu), weights(&single));
    std::fs::remove_dir_all(folder).ok();
    Ok(())
}

#[test]
fn a_whole_model_in_a_file_keeps_its_type() -> Result<()> {
    let folder = folder("model");
    let path = folder.join("model.safetensors");
    let model = stack().dtype(DType::F64).build([3], Device::Cpu)?;
    model.save_model(&path)?;
    let again = Model::load_model(&path, Device::Cpu)?;
    assert_eq!((types(&again), weights(&again)), (types(&model), weights(&model)));
    let error = message(Model::load_model(&path, Device::Gpu));
    assert!(error.contains("f64") && error.contains("Device::Cpu"), "{error}");
    // Its parts may differ.
    model.layer("dense_1")?.to_dtype(DType::F32)?;
    model.save_model(&path)?;
    assert_eq!(types(&Model::load_model(&path, Device::Cpu)?), types(&model));
    // The architecture says it, too.
    let config = model.config()?;
    assert!(config.to_string().contains("\"dtype\":\"f64\""));
    assert_eq!(Model::from_config(&config, &Layers::default(), 1, Device::Cpu)?.dtype(), DType::F64);
    let damaged = config.to_string().replace("\"f64\"", "\"f99\"").parse()?;
    let error = message(Model::from_config(&damaged, &Layers::default(), 1, Device::Cpu));
    assert!(error.contains("no element type is called \"f99\""), "{error}");
    assert!(!stack().build([3], Device::Cpu)?.config()?.to_string().contains("dtype"));
    std::fs::remove_dir_all(folder).ok();
    Ok(())
}

/// Points of a line with a bend, as files and generators have them: f32.
fn points() -> Result<wgrad::data::Dataset> {
    wgrad::data::Dataset::from_tensors(
        "points",
        &Tensor::rand([96, 3], Device::Cpu, 4)?,
        &targets(DType::F32)?,
    )
}

fn targets(dtype: DType) -> Result<Tensor> {
    let x = Tensor::rand([96, 3], Device::Cpu, 4)?;
    (x.slice(1, 0, 2)? + (x.slice(1, 1, 2)?.square()? * 0.5)?)?.cast(dtype)
}

fn trainer(dtype: DType) -> Result<Trainer<Model>> {
    let model = stack().dtype(dtype).build([3], Device::Cpu)?;
    Trainer::new(model, Adam::new(1e-2), MeanSquaredError::new())
        .metric(wgrad::nn::MeanAbsoluteError::new())
        .build()
}

#[test]
fn a_trainer_feeds_a_model_of_any_type() -> Result<()> {
    let set = points()?;
    let fit = || Fit::epochs(4).batch_size(32).verbose(false);
    let (mut single, mut double) = (trainer(DType::F32)?, trainer(DType::F64)?);
    let (a, b) = (single.fit(&set, fit().validation(&set))?, double.fit(&set, fit().validation(&set))?);
    for (a, b) in a.epochs.iter().zip(&b.epochs) {
        assert!(
            (a.train.loss - b.train.loss).abs() < 1e-4 * a.train.loss,
            "{} {}",
            a.train.loss,
            b.train.loss
        );
    }
    assert!(types(double.model()).iter().all(|d| *d == DType::F64));
    assert!((single.evaluate(&set)?.loss - double.evaluate(&set)?.loss).abs() < 1e-5);
    // The loss is summed in f64, too, on whatever way.
    let y = double.predict(&rand(&[96, 3], DType::F32, 4))?;
    let by_hand = (y - targets(DType::F64)?)?.square()?.mean(.., false)?;
    let by_hand = (by_hand + double.model().penalty()?.unwrap())?.item::<f64>()?;
    let loss = double.evaluate(&set)?.loss;
    assert!((loss - by_hand).abs() < 1e-14, "{loss} {by_hand}");
    let x = rand(&[40, 3], DType::F32, 8);
    let y = double.predict(&x)?;
    assert_eq!((y.dtype(), y.shape().to_vec()), (DType::F64, vec![40, 2]));
    assert_eq!(double.predict_on(&set)?[0].dtype(), DType::F64);
    // f64 data goes into a model in f32.
    assert_eq!(single.predict(&rand(&[40, 3], DType::F64, 8))?.dtype(), DType::F32);
    // Gradients that are accumulated, batches that are cut, and another type in the middle of it all.
    double.fit(&set, fit().accumulate(2))?;
    double.fit(&set, fit().shards(2))?;
    double.update_statistics(&set)?;
    double.find_learning_rate(&set, &wgrad::train::RateFinder::new().steps(10))?;
    double.model().to_dtype(DType::F32)?;
    double.fit(&set, fit())?;
    assert!(types(double.model()).iter().all(|d| *d == DType::F32));
    Ok(())
}

#[test]
fn classes_bytes_weights_and_metrics_go_with_f64() -> Result<()> {
    let (digits, _) = wgrad::data::synthetic::digits(64, 1, 1).into_datasets()?;
    let stack = Sequential::new().add(Flatten::new()).add(Dropout::new(0.2)).add(Dense::new(10));
    let model = stack.dtype(DType::F64).build([28, 28, 1], Device::Cpu)?;
    let loss = SparseCategoricalCrossentropy::from_logits().ignore_class(3);
    let mut trainer = Trainer::new(model, Sgd::new(0.1), loss).metric(Accuracy::new()).build()?;
    let fit =
        || Fit::epochs(2).batch_size(20).class_weights([(1, 2.0), (7, 0.5)]).record_every(2).verbose(false);
    let history = trainer.fit(&digits, fit())?;
    assert!(history.epochs[1].train.loss < history.epochs[0].train.loss && history.steps.len() == 4);
    trainer.fit(&digits, fit().shards(3))?;
    trainer.fit(&digits, fit().accumulate(2))?;
    assert!(trainer.evaluate(&digits)?.loss.is_finite());
    let confusion = wgrad::train::confusion_matrix(trainer.model(), &digits, 20)?;
    assert_eq!(confusion.total(), 64);
    Ok(())
}

#[test]
fn a_run_in_f64_is_resumed_bit_by_bit() -> Result<()> {
    let folder = folder("resume");
    let (set, path) = (points()?, folder.join("run.safetensors"));
    let fit = |epochs| Fit::epochs(epochs).batch_size(32).verbose(false);
    let mut whole = trainer(DType::F64)?;
    whole.fit(&set, fit(4))?;
    let mut first = trainer(DType::F64)?;
    first.fit(&set, fit(2))?;
    first.save_checkpoint(&path)?;
    let mut second = trainer(DType::F64)?;
    second.resume(&path)?;
    second.fit(&set, fit(4))?;
    assert_eq!(weights(second.model()), weights(whole.model()));
    // It is a run in f64, and stays one.
    let mut single = trainer(DType::F32)?;
    let before = weights(single.model());
    let error = message(single.resume(&path));
    assert!(error.contains("dense.weight is f64 in the file, f32 in the model"), "{error}");
    assert_eq!(weights(single.model()), before);
    wgrad::io::Checkpoint::load(&path)?.set_parameters(&single.model().parameters())?;
    assert_eq!(types(single.model()), [DType::F32; 8]);
    // As is a loop of one's own.
    let (model, mut adam) = (stack().dtype(DType::F64).build([3], Device::Cpu)?, Adam::new(0.1));
    let step = |model: &Model, adam: &mut Adam| {
        adam.step(
            &model
                .forward(&rand(&[8, 3], DType::F64, 1), &Context::train(1))?
                .square()?
                .mean(.., false)?
                .backward()?,
        )
    };
    step(&model, &mut adam)?;
    wgrad::io::Checkpoint::of(1, &model, &[&adam])?.save(&path)?;
    let (again, mut other) = (stack().seed(8).dtype(DType::F64).build([3], Device::Cpu)?, Adam::new(0.1));
    assert_eq!(wgrad::io::Checkpoint::load(&path)?.restore(&again, &mut [&mut other])?, 1);
    step(&model, &mut adam)?;
    step(&again, &mut other)?;
    assert_eq!(weights(&model), weights(&again));
    std::fs::remove_dir_all(folder).ok();
    Ok(())
}

#[test]
fn a_model_in_f64_generates_token_by_token() -> Result<()> {
    use wgrad::nn::{Embedding, Generation, TransformerDecoder};
    let model = Sequential::new()
        .add(Embedding::new(13, 8))
        .add(TransformerDecoder::new(16, 2).rotary(100.0))
        .add(Dense::new(13))
        .dtype(DType::F64)
        .build((None,), Device::Cpu)?;
    let tokens = Tensor::randint(0, 13, [2, 6], Device::Cpu, 5)?.cast(DType::U32)?;
    let whole = model.infer(&tokens)?;
    let mut generation = Generation::new(6);
    for at in 0..6 {
        let y = generation.step(&model, &tokens.slice(1, at, 1)?)?;
        assert_eq!(y.dtype(), DType::F64);
        for (a, b) in values(&y).iter().zip(values(&whole.slice(1, at, 1)?)) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }
    Ok(())
}

#[test]
fn a_training_step_of_ones_own_gets_floats_of_the_models_type() -> Result<()> {
    let model = stack().dtype(DType::F64).build([3], Device::Cpu)?;
    let step = |model: &Model, batch: &wgrad::data::Batch, step: &mut wgrad::train::OwnStep<'_>| {
        let y = model.forward(&batch.inputs[0], step.context())?;
        let error = (y - &batch.targets[0])?.square()?.mean(.., false)?;
        step.report("error", &error)?;
        step.minimize(&error)
    };
    let mut trainer = Trainer::with_step(model, step).optimizer(Adam::new(1e-2)).report("error").build()?;
    let history = trainer.fit(&points()?, Fit::epochs(3).batch_size(32).verbose(false))?;
    assert!(history.epochs[2].train.loss < history.epochs[0].train.loss);
    Ok(())
}

#[test]
fn metrics_and_losses_take_outputs_in_f64() -> Result<()> {
    use wgrad::nn::*;
    use wgrad::train::*;
    let two = |t: Tensor| Ok::<_, Error>((t.cast(DType::F64)?, t));
    let labels = Tensor::new([0u32, 2, 1, 2, 0, 1], Device::Cpu)?;
    let (wide_rows, rows) = two(Tensor::randn([6, 3], Device::Cpu, 1)?)?;
    let (wide_shares, shares) = two(rows.softmax(-1)?)?;
    let (wide_units, units) = two(Tensor::rand([6, 1], Device::Cpu, 2)?)?;
    let (wide_answers, answers) =
        two(Tensor::new([[0.0f32], [1.0], [1.0], [0.0], [1.0], [0.0]], Device::Cpu)?)?;
    let (wide_hot, hot) = two(labels.one_hot(3)?)?;
    let near = |name: &str, single: Tensor, double: Tensor| {
        for (a, b) in values(&single).iter().zip(values(&double)) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: {a} in f32, {b} in f64");
        }
    };
    let check = |metrics: Vec<Box<dyn Metric>>, single: [&Tensor; 2], double: [&Tensor; 2]| {
        for metric in metrics {
            let sum =
                |[y, t]: [&Tensor; 2]| metric.sum(y, t).unwrap_or_else(|e| panic!("{}: {e}", metric.name()));
            let (single, double) = (sum(single), sum(double));
            assert_eq!(double.dtype(), DType::F32, "{}", metric.name());
            near(metric.name(), single, double);
        }
    };
    let of_rows: Vec<Box<dyn Metric>> = vec![
        Box::new(Accuracy::new()),
        Box::new(TopKAccuracy::new(2)),
        Box::new(Confusion::new(3)),
        Box::new(MeanIou::new(3)),
        Box::new(SparseCategoricalCrossentropy::from_logits()),
    ];
    check(of_rows, [&rows, &labels], [&wide_rows, &labels]);
    let of_shares: Vec<Box<dyn Metric>> =
        vec![Box::new(CategoricalCrossentropy::from_probabilities()), Box::new(KLDivergence::new())];
    check(of_shares, [&shares, &hot], [&wide_shares, &wide_hot]);
    check(vec![Box::new(Perplexity::new())], [&shares.log()?, &labels], [&wide_shares.log()?, &labels]);
    let of_units: Vec<Box<dyn Metric>> = vec![
        Box::new(BinaryAccuracy::from_probabilities()),
        Box::new(Precision::from_probabilities()),
        Box::new(Recall::from_probabilities()),
        Box::new(F1Score::from_probabilities()),
        Box::new(Auc::from_probabilities()),
        Box::new(Confusion::from_probabilities()),
        Box::new(R2Score::new()),
        Box::new(PearsonCorrelation::new()),
        Box::new(RootMeanSquaredError::new()),
        Box::new(MeanAbsolutePercentageError::new()),
        Box::new(BinaryCrossentropy::from_probabilities()),
    ];
    check(of_units, [&units, &answers], [&wide_units, &wide_answers]);
    let ways = (wide_rows.clone(), wide_hot.clone());
    let losses: Vec<Box<dyn Loss>> = vec![
        Box::new(MeanSquaredError::new()),
        Box::new(MeanAbsoluteError::new()),
        Box::new(Huber::new(1.0)),
        Box::new(LogCosh::new()),
        Box::new(Hinge::new()),
        Box::new(SquaredHinge::new()),
        Box::new(CategoricalHinge::new()),
        Box::new(CosineSimilarity::new()),
        Box::new(CategoricalCrossentropy::from_logits()),
        Box::new(CategoricalFocalCrossentropy::from_logits()),
        Box::new(BinaryFocalCrossentropy::from_logits()),
    ];
    for loss in losses {
        let weights = Tensor::new([1.0f64, 0.5, 2.0, 0.0, 1.0, 1.0], Device::Cpu)?;
        let (single, double) = (loss.compute(&rows, &hot)?, loss.compute(&ways.0, &ways.1)?);
        assert_eq!(double.dtype(), DType::F64);
        near("a loss", single, double);
        let single = loss.weighted(&rows, &hot, &weights.cast(DType::F32)?)?;
        near("a weighted loss", single, loss.weighted(&ways.0, &ways.1, &weights)?);
    }
    Ok(())
}
