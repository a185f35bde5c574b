//! Tests of fitting, evaluating and predicting.

use super::{Event, Flow};
use crate::data::Dataset;
use crate::nn::{Context, Parameter};
use crate::prelude::*;

/// A small network with everything that is random in it.
fn network(seed: u64) -> Model {
    Sequential::new()
        .add(Conv2d::new(4, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dropout::new(0.2))
        .add(Dense::new(10))
        .seed(seed)
        .build([28, 28, 1], Device::Cpu)
        .unwrap()
}

fn trainer(model: Model) -> Trainer<Model> {
    Trainer::new(model, Adam::new(5e-3), SparseCategoricalCrossentropy::from_logits()).metric(Accuracy::new())
}

fn digits(train: usize, test: usize) -> (Dataset, Dataset) {
    data::synthetic::digits(train, test, 5).into_datasets().unwrap()
}

fn weights(model: &impl Module) -> Vec<u32> {
    let bits = |p: &Parameter| p.variable.value().to_vec::<f32>().unwrap().into_iter().map(f32::to_bits);
    model.parameters().iter().flat_map(bits).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits_after_50_steps() {
    let (train, _) = digits(320, 1);
    let run = |model_seed, fit_seed| {
        let mut trainer = trainer(network(model_seed));
        let fit = Fit::epochs(5).batch_size(32).seed(fit_seed).verbose(false);
        let history = trainer.fit(&train, fit).unwrap();
        (weights(trainer.model()), history.epochs[4].train.loss)
    };
    let first = run(1, 2);
    assert_eq!(first, run(1, 2));
    assert_ne!(first.0, run(1, 3).0);
    assert_ne!(first.0, run(2, 2).0);
}

#[test]
fn a_network_learns_and_every_way_to_measure_agrees() {
    let (train, test) = digits(1000, 201);
    let mut trainer = trainer(network(1));
    let fit = Fit::epochs(4).batch_size(50).validation(&test).verbose(false);
    let history = trainer.fit(&train, fit).unwrap();
    let last = &history.epochs[3];
    let validation = last.validation.clone().unwrap();
    let evaluation = trainer.evaluate(&test).unwrap();
    assert_eq!((validation.loss, &validation.metrics), (evaluation.loss, &evaluation.metrics));
    assert_eq!((last.train.samples, evaluation.samples), (1000, 201));
    let accuracy = evaluation.metric("accuracy").unwrap();
    assert!(accuracy > 0.8, "{accuracy}");

    // By hand: all at once, against batches of 50, 50, 50, 50 and 1.
    let (x, y) = test.batches(201, Device::Cpu).unwrap().next().unwrap().unwrap();
    let logits = trainer.model().infer(&x).unwrap();
    let loss = f64::from(logits.cross_entropy(&y).unwrap().item::<f32>().unwrap());
    assert!((loss - evaluation.loss).abs() < 1e-5 * loss, "{loss} {}", evaluation.loss);
    let predicted = trainer.predict(&x).unwrap();
    assert_eq!(predicted.shape(), [201, 10]);
    let largest = |t: Tensor| t.abs().unwrap().max(&[], false).unwrap().item::<f32>().unwrap();
    let (difference, size) = (largest((predicted - &logits).unwrap()), largest(logits));
    assert!(difference < 1e-5 * size, "{difference} of {size}");
    assert_eq!(trainer.predict(&x.slice(0, 0, 3).unwrap()).unwrap().shape(), [3, 10]);
}

/// A model whose output is its one parameter: the losses of a fit without learning are known.
struct Constant(Variable);

impl Module for Constant {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        (x * 0.0)? + &self.0
    }
    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("value", &self.0)]
    }
}

fn constant() -> Constant {
    Constant(Variable::new(Tensor::zeros([1], Device::Cpu).unwrap()))
}

#[test]
fn the_last_partial_batch_counts_by_its_samples() {
    let targets = Tensor::new([[1.0f32], [1.0], [1.0], [1.0], [3.0]], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("known", &targets, &targets).unwrap();
    let mut trainer = Trainer::new(constant(), Sgd::new(0.0), MeanSquaredError::new());
    let mut sizes = Vec::new();
    let fit = Fit::epochs(1).batch_size(2).verbose(false).callback(|event| {
        if let Event::Step(step) = event {
            assert_eq!((step.epoch, step.steps), (1, Some(3)));
            sizes.push(step.samples);
        }
        Ok(Flow::Continue)
    });
    let history = trainer.fit(&set, fit).unwrap();
    assert_eq!(sizes, [2, 2, 1]);
    // (1 + 1 + 1 + 1 + 9) / 5, not the mean of three batches' means
    assert!((history.epochs[0].train.loss - 2.6).abs() < 1e-6);
    assert!((trainer.evaluate(&set).unwrap().loss - 2.6).abs() < 1e-6);
}

#[test]
fn callbacks_can_look_keep_and_stop() {
    let (train, _) = digits(64, 1);
    let (mut losses, mut epochs) = (Vec::new(), 0);
    let fit = Fit::epochs(10).batch_size(32).verbose(false).callback(|event| match event {
        Event::Step(step) => {
            losses.push(step.loss.clone());
            Ok(Flow::Continue)
        }
        Event::Epoch(epoch) => {
            epochs = epoch.number;
            Ok(if epoch.number == 3 { Flow::Stop } else { Flow::Continue })
        }
    });
    let history = trainer(network(1)).fit(&train, fit).unwrap();
    assert_eq!((history.epochs.len(), epochs, losses.len()), (3, 3, 6));
    let kept: Vec<f32> = losses.iter().map(|l| l.item::<f32>().unwrap()).collect();
    assert!((f64::from(kept[0] + kept[1]) / 2.0 - history.epochs[0].train.loss).abs() < 1e-6);

    let fit = Fit::epochs(10).batch_size(32).verbose(false).callback(|_| Ok(Flow::Stop));
    let history = trainer(network(1)).fit(&train, fit).unwrap();
    assert_eq!((history.epochs.len(), history.epochs[0].train.samples), (1, 32));

    let fit = Fit::epochs(1).verbose(false).callback(|_| Err(Error::argument("mine", "enough")));
    assert_eq!(trainer(network(1)).fit(&train, fit).unwrap_err().to_string(), "mine: enough");
}

#[test]
fn a_step_is_one_evaluation_and_keeps_no_graph() {
    let (train, _) = digits(320, 1);
    let mut losses = Vec::new();
    let fit = Fit::epochs(2).batch_size(32).verbose(false).callback(|event| {
        if let Event::Step(step) = event {
            // Computed by the step, and kept like this it must not keep the graph that it came from.
            assert!(step.loss.0.has_value() && !step.loss.is_tracked());
            step.loss.0.with_inputs(|inputs| assert!(inputs.is_empty()));
            losses.push(step.loss.clone());
        }
        Ok(Flow::Continue)
    });
    let mut trainer = trainer(network(1));
    trainer.fit(&train, fit).unwrap();
    assert_eq!(losses.len(), 20);
    for parameter in trainer.model().parameters() {
        let value = parameter.variable.value();
        assert!(value.0.has_value());
        value.0.with_inputs(|inputs| assert!(inputs.is_empty(), "{}", parameter.name));
    }
}

#[test]
fn a_loss_that_is_not_a_number_is_an_error_that_says_what_to_do() {
    let x = Tensor::new([[1.0f32], [f32::NAN]], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("broken", &x, &x).unwrap();
    let mut trainer = Trainer::new(constant(), Sgd::new(0.1), MeanSquaredError::new());
    let error = trainer.fit(&set, Fit::epochs(3).verbose(false)).unwrap_err();
    assert!(matches!(error, Error::Diverged { epoch: 1, .. }));
    let message = error.to_string();
    assert!(message.contains("epoch 1 is NaN") && message.contains("lower the learning rate"), "{message}");
}

#[test]
fn what_does_not_fit_is_told() {
    let (train, _) = digits(10, 10);
    let mut small = trainer(Sequential::new().add(Dense::new(10)).build([784], Device::Cpu).unwrap());
    let message = small.fit(&train, Fit::epochs(1).verbose(false)).unwrap_err().to_string();
    assert_eq!(message, "Model::forward: expects [batch, 784], got [10, 28, 28, 1]");
    let empty = train.take(0).unwrap();
    let message = small.fit(&empty, Fit::epochs(1).verbose(false)).unwrap_err().to_string();
    assert!(message.ends_with("has no samples to train on"), "{message}");
    assert!(small.evaluate(&empty).unwrap_err().to_string().ends_with("has no samples to evaluate"));
    let message = small.fit(&train, Fit::epochs(1).batch_size(0)).unwrap_err().to_string();
    assert!(message.contains("the batch size is 0"), "{message}");
}

#[test]
fn a_further_fit_goes_on() {
    let (train, _) = digits(64, 1);
    let run = |fits: &[usize]| {
        let mut trainer = trainer(network(1));
        for &epochs in fits {
            trainer.fit(&train, Fit::epochs(epochs).batch_size(32).verbose(false)).unwrap();
        }
        weights(trainer.model())
    };
    assert_eq!(run(&[3]), run(&[1, 2]));
}

/// What Keras did: see tests/golden/train.py.
fn golden() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/golden/train.json")).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn set_weights(model: &Model, values: &serde_json::Value) {
    let parameters = model.parameters();
    assert_eq!(parameters.len(), values.as_array().unwrap().len());
    for (parameter, value) in parameters.iter().zip(values.as_array().unwrap()) {
        let value = Tensor::from_vec(numbers(value), parameter.variable.shape(), Device::Cpu).unwrap();
        parameter.variable.set(value).unwrap();
    }
}

fn close(what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < 1e-5 * theirs.abs().max(0.1), "{what}: {ours}, Keras has {theirs}");
}

fn check_weights(model: &Model, values: &serde_json::Value) {
    for (parameter, value) in model.parameters().iter().zip(values.as_array().unwrap()) {
        let ours = parameter.variable.value().to_vec::<f32>().unwrap();
        for (a, b) in ours.iter().zip(numbers(value)) {
            close(&parameter.name, f64::from(*a), f64::from(b));
        }
    }
}

/// Every number that Keras's history has.
fn check_history(history: &History, theirs: &serde_json::Value) {
    for (name, values) in theirs.as_object().unwrap() {
        for (epoch, value) in history.epochs.iter().zip(values.as_array().unwrap()) {
            let ours = epoch.value(name).unwrap_or_else(|| panic!("no {name}"));
            close(name, ours, value.as_f64().unwrap());
        }
    }
}

fn golden_set(golden: &serde_json::Value) -> Dataset {
    let x = Tensor::from_vec(numbers(&golden["x"]), [10, 4], Device::Cpu).unwrap();
    let labels: Vec<u32> = numbers(&golden["labels"]).iter().map(|&v| v as u32).collect();
    Dataset::from_tensors("golden", &x, &Tensor::from_vec(labels, [10], Device::Cpu).unwrap()).unwrap()
}

fn golden_classifier() -> Model {
    Sequential::new()
        .add(Dense::new(5).activation(Activation::Tanh).kernel_regularizer(Regularizer::l2(0.01)))
        .add(Dense::new(3).bias_regularizer(Regularizer::l1(0.02)))
        .build([4], Device::Cpu)
        .unwrap()
}

#[test]
fn weights_penalties_and_splits_count_as_in_keras() {
    let golden = golden();
    let set = golden_set(&golden);
    let samples = Tensor::from_vec(numbers(&golden["samples"]), [10], Device::Cpu).unwrap();
    let weighted = set.with_weights(&samples).unwrap();
    let fit = || Fit::epochs(3).batch_size(4).shuffle(false).verbose(false);
    let classes = [(0, 2.0), (2, 0.5)];
    for (name, data, fit) in [
        ("plain", &set, fit()),
        ("sample_weights", &weighted, fit()),
        ("class_weights", &set, fit().class_weights(classes)),
        ("both_weights", &weighted, fit().class_weights_of("output", classes)),
        ("split", &set, fit().validation_split(0.35)),
    ] {
        let theirs = &golden[name];
        let model = golden_classifier();
        set_weights(&model, &theirs["begin"]);
        let mut trainer = Trainer::new(model, Sgd::new(0.5), SparseCategoricalCrossentropy::from_logits())
            .metric(Accuracy::new());
        let history = trainer.fit(data, fit).unwrap();
        assert_eq!(history.epochs.len(), 3, "{name}");
        check_history(&history, &theirs["history"]);
        check_weights(trainer.model(), &theirs["end"]);
        let evaluation = trainer.evaluate(&set).unwrap();
        close(name, evaluation.loss, theirs["loss"].as_f64().unwrap());
        close(name, evaluation.metric("accuracy").unwrap(), theirs["accuracy"].as_f64().unwrap());
        close(name, trainer.evaluate(&weighted).unwrap().loss, theirs["weighted_loss"].as_f64().unwrap());
    }
}

#[test]
fn accumulation_is_kerass_and_that_of_a_large_batch() {
    let golden = golden();
    let (set, theirs) = (golden_set(&golden).take(8).unwrap(), &golden["accumulate"]);
    let run = |fit: Fit<'_>, learning_rate: f64| {
        let model = golden_classifier();
        set_weights(&model, &theirs["begin"]);
        let loss = SparseCategoricalCrossentropy::from_logits();
        let mut trainer = Trainer::new(model, Sgd::new(learning_rate), loss);
        let history = trainer.fit(&set, fit.shuffle(false).verbose(false)).unwrap();
        (trainer, history)
    };
    let (ours, history) = run(Fit::epochs(3).batch_size(2).accumulate(2), 0.5);
    check_history(&history, &theirs["history"]);
    check_weights(ours.model(), &theirs["end"]);
    let (large, _) = run(Fit::epochs(3).batch_size(4), 0.5);
    check_weights(large.model(), &theirs["end"]);
    // Four batches of two in threes: what is left at the end of an epoch counts, too.
    let (left, _) = run(Fit::epochs(1).batch_size(2).accumulate(3), 0.0);
    assert_eq!(left.optimizer.steps(), 2);
}

/// A trunk and two heads, as in tests/golden/train.py.
fn two_heads() -> Model {
    let mut net = Functional::new(Device::Cpu);
    let x = net.input("x", [4]).unwrap();
    let x = net.layer(Dense::new(5).activation(Activation::Tanh), x).unwrap();
    let digit = net.named("digit_head", Dense::new(3), x).unwrap();
    let odd = net.named("odd_head", Dense::new(1), x).unwrap();
    net.build(&[("digit", digit), ("odd", odd)]).unwrap()
}

fn two_targets(golden: &serde_json::Value) -> Dataset {
    let odd = Tensor::from_vec(numbers(&golden["odd"]), [10, 1], Device::Cpu).unwrap();
    golden_set(golden).also_target(&odd).unwrap()
}

fn two_losses(model: Model) -> Trainer<Model> {
    Trainer::multi(model, Sgd::new(0.5))
        .output("digit", SparseCategoricalCrossentropy::from_logits(), 1.0)
        .output("odd", BinaryCrossentropy::from_logits(), 0.3)
        .metric_for("digit", Accuracy::new())
        .metric_for("odd", BinaryAccuracy::from_logits())
}

#[test]
fn two_outputs_train_as_in_keras_and_as_by_hand() {
    let golden = golden();
    let theirs = &golden["multi"];
    let set = two_targets(&golden);
    let model = two_heads();
    set_weights(&model, &theirs["begin"]);
    let mut trainer = two_losses(model);
    let fit = Fit::epochs(3).batch_size(5).shuffle(false).validation(&set).verbose(false);
    let history = trainer.fit(&set, fit).unwrap();
    check_history(&history, &theirs["history"]);
    check_weights(trainer.model(), &theirs["end"]);
    assert_eq!(
        history.to_csv().lines().next(),
        Some(
            "epoch,loss,digit_loss,odd_loss,digit_accuracy,odd_binary_accuracy,val_loss,val_digit_loss,val_odd_loss,\
             val_digit_accuracy,val_odd_binary_accuracy,learning_rate,seconds"
        )
    );

    let by_hand = two_heads();
    set_weights(&by_hand, &theirs["begin"]);
    let mut sgd = Sgd::new(0.5);
    let pass = data::Pass { batch_size: 5, shuffle: None, device: Device::Cpu };
    for _ in 0..3 {
        for batch in data::Source::pass(&set, &pass).unwrap() {
            let batch = batch.unwrap();
            let outputs = by_hand.forward_all(&batch.inputs, &Context::train(0)).unwrap();
            let digit = SparseCategoricalCrossentropy::from_logits();
            let digit = digit.compute(&outputs[0], &batch.targets[0]).unwrap();
            let odd = BinaryCrossentropy::from_logits().compute(&outputs[1], &batch.targets[1]).unwrap();
            let loss = (digit + (odd * 0.3).unwrap()).unwrap();
            sgd.step(&loss.backward().unwrap()).unwrap();
        }
    }
    assert_eq!(weights(trainer.model()), weights(&by_hand));

    let outputs = trainer.predict_all(&[set.features().clone()]).unwrap();
    assert_eq!((outputs[0].dims(), outputs[1].dims()), (&[10, 3][..], &[10, 1][..]));
    let same = trainer.predict_on(&set).unwrap();
    for (a, b) in outputs.iter().zip(&same) {
        assert_eq!(a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
    }
}

#[test]
fn a_head_that_is_not_wanted_is_not_trained() {
    let golden = golden();
    let set = two_targets(&golden);
    let of = |model: &Model, part: &str| {
        let of_part = model.parameters().into_iter().filter(|p| p.name.starts_with(part));
        of_part.flat_map(|p| p.variable.value().to_vec::<f32>().unwrap()).collect::<Vec<f32>>()
    };
    let fit = || Fit::epochs(2).batch_size(4).verbose(false);
    let mut trainer = two_losses(two_heads());
    let (trunk, odd) = (of(trainer.model(), "dense."), of(trainer.model(), "odd_head."));
    trainer.set_loss_weight("odd", 0.0).unwrap();
    let history = trainer.fit(&set, fit()).unwrap();
    assert_eq!(odd, of(trainer.model(), "odd_head."));
    assert_ne!(trunk, of(trainer.model(), "dense."));
    // Still measured, but no part of the total.
    let train = &history.epochs[1].train;
    assert!(train.metric("odd_loss").unwrap() > 0.0);
    assert!((train.loss - train.metric("digit_loss").unwrap()).abs() < 1e-6);

    // Then the other head, by itself; one target is enough for an output that is compared with nothing.
    let digit = of(trainer.model(), "digit_head.");
    trainer.set_loss_weight("odd", 1.0).unwrap();
    trainer.set_loss_weight("digit", 0.0).unwrap();
    trainer.fit(&set, fit()).unwrap();
    assert_eq!(digit, of(trainer.model(), "digit_head."));
    assert_ne!(odd, of(trainer.model(), "odd_head."));
    let mut one = Trainer::multi(two_heads(), Sgd::new(0.5)).output(
        "digit",
        SparseCategoricalCrossentropy::from_logits(),
        1.0,
    );
    let odd = of(one.model(), "odd_head.");
    let history = one.fit(&golden_set(&golden), fit()).unwrap();
    assert!(history.epochs[1].train.loss < history.epochs[0].train.loss);
    assert_eq!(odd, of(one.model(), "odd_head."));
}

#[test]
fn mistakes_in_a_trainer_are_told() {
    let golden = golden();
    let set = two_targets(&golden);
    let crossentropy = SparseCategoricalCrossentropy::from_logits;
    let fit = || Fit::epochs(1).verbose(false);
    let message = |mut trainer: Trainer<Model>, fit: Fit<'_>| trainer.fit(&set, fit).unwrap_err().to_string();
    let multi = || Trainer::multi(two_heads(), Sgd::new(0.1));
    for (error, expected) in [
        (
            message(multi().output("digits", crossentropy(), 1.0), fit()),
            "no output is named digits; the model has digit, odd",
        ),
        (message(multi().metric_for("even", Accuracy::new()), fit()), "no output is named even"),
        (message(multi().metric(Accuracy::new()), fit()), "use metric_for to say which accuracy is for"),
        (message(multi(), fit()), "no output has a loss"),
        (
            message(multi().output("digit", crossentropy(), 1.0).output("digit", crossentropy(), 1.0), fit()),
            "output digit is given two losses",
        ),
        (message(multi().output("digit", crossentropy(), f64::NAN), fit()), "expected a finite number"),
        (message(Trainer::new(two_heads(), Sgd::new(0.1), crossentropy()), fit()), "use Trainer::multi"),
        (
            message(Trainer::new(golden_classifier(), Sgd::new(0.1), crossentropy()), fit()),
            "the data has 2 targets; the model has 1 output (output), of which 1 has a loss or metrics",
        ),
        (message(two_losses(two_heads()), fit().class_weights([(0, 2.0)])), "Fit::class_weights_of"),
        (
            message(two_losses(two_heads()), fit().class_weights_of("x", [(0, 2.0)])),
            "no output with a loss is named x",
        ),
        (
            message(two_losses(two_heads()), fit().class_weights_of("odd", [(0, -2.0)])),
            "the weight of class 0 is -2",
        ),
        (message(two_losses(two_heads()), fit().accumulate(0)), "accumulate is 0"),
        (message(two_losses(two_heads()), fit().steps_per_epoch(0)), "steps_per_epoch is 0"),
        (message(two_losses(two_heads()), fit().validation_split(1.0)), "leaves nothing for one side"),
        (message(two_losses(two_heads()), fit().validation_split(0.2).validation(&set)), "both given"),
        (
            message(two_losses(two_heads()), fit().with(super::EarlyStopping::new("val_loss"))),
            "is there a validation set?",
        ),
        (
            message(two_losses(two_heads()), fit().with(super::EarlyStopping::new("accuracy"))),
            "it has loss, digit_loss",
        ),
    ] {
        assert!(error.contains(expected), "{error:?} has no {expected:?}");
    }
    let swapped = set.with_targets(&[set.targets()[1], set.targets()[0]]).unwrap();
    let error = two_losses(two_heads()).fit(&swapped, fit()).unwrap_err().to_string();
    assert!(error.contains("digit:"), "{error}");
    let missing = golden_set(&golden);
    let error = two_losses(two_heads()).fit(&missing, fit()).unwrap_err().to_string();
    assert!(
        error.contains("the data has 1 target; the model has 2 outputs (digit, odd), of which 2 have"),
        "{error}"
    );
    let predicted = two_losses(two_heads()).predict(set.features()).unwrap_err().to_string();
    assert!(predicted.contains("use predict_all"), "{predicted}");
    assert!(two_losses(two_heads()).set_loss_weight("even", 1.0).is_err());
    let pipeline = set.pipeline().unwrap();
    let error = two_losses(two_heads()).fit(&pipeline, fit().validation_split(0.5)).unwrap_err().to_string();
    assert!(error.contains("can't be split"), "{error}");
}

#[test]
fn splits_steps_and_first_epochs_are_what_they_say() {
    let (train, _) = digits(60, 1);
    let fit = |epochs: usize| Fit::epochs(epochs).batch_size(16).verbose(false);
    let (first, last) = train.validation_split(0.2).unwrap();
    let mut split = trainer(network(1));
    let a = split.fit(&train, fit(2).validation_split(0.2)).unwrap();
    let mut given = trainer(network(1));
    let b = given.fit(&first, fit(2).validation(&last)).unwrap();
    assert_eq!(weights(split.model()), weights(given.model()));
    assert_eq!(a.epochs[1].value("val_loss"), b.epochs[1].value("val_loss"));
    assert_eq!((a.epochs[1].train.samples, a.epochs[1].validation.as_ref().unwrap().samples), (48, 12));

    // 60 samples are 4 batches: two epochs of 6 steps are three passes.
    let mut steps = trainer(network(1));
    let mut passes = trainer(network(1));
    let history =
        steps.fit(&train, fit(2).steps_per_epoch(6).validation(&train).validation_steps(2)).unwrap();
    passes.fit(&train, fit(3)).unwrap();
    assert_eq!(weights(steps.model()), weights(passes.model()));
    let samples: Vec<usize> = history.epochs.iter().map(|e| e.train.samples).collect();
    assert_eq!(samples, [60 + 32, 28 + 60]);
    assert_eq!(history.epochs[0].validation.as_ref().unwrap().samples, 32);

    let history = trainer(network(1)).fit(&train, fit(5).initial_epoch(3)).unwrap();
    assert_eq!(history.epochs.iter().map(|e| e.number).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn single_batches_train_as_fit_does() {
    let (train, _) = digits(32, 1);
    let batch =
        data::Source::pass(&train, &data::Pass { batch_size: 32, shuffle: None, device: Device::Cpu })
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
    let (mut fitted, mut by_batch) = (trainer(network(1)), trainer(network(1)));
    let history = fitted.fit(&train, Fit::epochs(2).batch_size(32).shuffle(false).verbose(false)).unwrap();
    by_batch.train_on_batch(&batch).unwrap();
    let second = by_batch.train_on_batch(&batch).unwrap();
    assert_eq!(weights(fitted.model()), weights(by_batch.model()));
    assert_eq!(
        (second.loss, &second.metrics),
        (history.epochs[1].train.loss, &history.epochs[1].train.metrics)
    );
    let tested = by_batch.test_on_batch(&batch).unwrap();
    assert_eq!(tested.loss, by_batch.evaluate(&train).unwrap().loss);
    assert_eq!(weights(fitted.model()), weights(by_batch.model()));
}

/// Drives a callback with given values of `val_x`, as tests/golden/train.py does; gives the learning rate after each epoch.
fn drive(callback: &mut dyn super::Callback, values: &[f64]) -> Vec<f64> {
    let (model, mut optimizer, history) = (constant(), Sgd::new(1.0), History::default());
    let names = ["val_x".to_string()];
    let mut run = super::Run {
        model: &model,
        optimizer: &mut optimizer,
        history: &history,
        epochs: values.len(),
        names: &names,
        interrupted: false,
        checkpoints: Vec::new(),
    };
    callback.on_train_begin(&mut run).unwrap();
    let mut rates = Vec::new();
    let evaluation =
        |x: f64| Evaluation { loss: 1.0, metrics: vec![("x".into(), x)], samples: 1, seconds: 0.0 };
    for (i, &value) in values.iter().enumerate() {
        let epoch = super::Epoch {
            number: i + 1,
            train: evaluation(0.0),
            validation: Some(evaluation(value)),
            learning_rate: run.optimizer.learning_rate(),
            seconds: 0.0,
        };
        let flow = callback.on_epoch_end(&epoch, &mut run).unwrap();
        rates.push(run.optimizer.learning_rate());
        if flow == Flow::Stop {
            break;
        }
    }
    callback.on_train_end(&mut run).unwrap();
    rates
}

#[test]
fn early_stopping_stops_where_keras_does() {
    let golden = golden();
    let losses: Vec<f64> = golden["losses"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    for case in golden["early_stopping"].as_array().unwrap() {
        let settings = &case["settings"];
        let (mode, values) = match case["mode"].as_str().unwrap() {
            "min" => (super::Mode::Min, losses.clone()),
            _ => (super::Mode::Max, losses.iter().map(|v| -v).collect()),
        };
        let mut callback = super::EarlyStopping::new("val_x")
            .mode(mode)
            .patience(settings["patience"].as_u64().unwrap_or(0) as usize)
            .min_delta(settings["min_delta"].as_f64().unwrap_or(0.0))
            .start_from_epoch(settings["start_from_epoch"].as_u64().unwrap_or(0) as usize);
        if let Some(baseline) = settings["baseline"].as_f64() {
            callback = callback.baseline(baseline);
        }
        let epochs = drive(&mut callback, &values).len();
        assert_eq!(epochs as u64, case["epochs"].as_u64().unwrap(), "{case}");
        assert_eq!(callback.stopped_epoch().is_some(), case["stopped"].as_bool().unwrap(), "{case}");
        assert_eq!(callback.best().unwrap().0 as u64, case["best"].as_u64().unwrap(), "{case}");
    }
}

#[test]
fn the_learning_rate_is_reduced_where_keras_does() {
    let golden = golden();
    let losses: Vec<f64> = golden["losses"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    for case in golden["reduce"].as_array().unwrap() {
        let settings = &case["settings"];
        let mut callback = super::ReduceLrOnPlateau::new("val_x")
            .mode(super::Mode::Min)
            .patience(settings["patience"].as_u64().unwrap() as usize)
            .cooldown(settings["cooldown"].as_u64().unwrap_or(0) as usize)
            .factor(settings["factor"].as_f64().unwrap_or(0.1))
            .min_lr(settings["min_lr"].as_f64().unwrap_or(0.0))
            .min_delta(settings["min_delta"].as_f64().unwrap_or(1e-4));
        for (ours, theirs) in drive(&mut callback, &losses).iter().zip(numbers(&case["rates"])) {
            close(&case.to_string(), *ours, f64::from(theirs));
        }
    }
    let mut wrong = super::ReduceLrOnPlateau::new("loss").factor(1.5);
    let (train, _) = digits(10, 1);
    let fit = Fit::epochs(1).with(&mut wrong).verbose(false);
    assert!(trainer(network(1)).fit(&train, fit).unwrap_err().to_string().contains("the factor is 1.5"));
}

#[test]
fn the_best_weights_come_back() {
    let (train, test) = digits(40, 20);
    // A learning rate at which the loss soon rises.
    let mut trainer = Trainer::new(network(1), Adam::new(0.3), SparseCategoricalCrossentropy::from_logits());
    let mut of_epochs = Vec::new();
    struct Keep<'a>(&'a mut Vec<Vec<u32>>);
    impl super::Callback for Keep<'_> {
        fn on_epoch_end(&mut self, _: &super::Epoch, run: &mut super::Run<'_>) -> Result<Flow> {
            let bits =
                |p: &Parameter| p.variable.value().to_vec::<f32>().unwrap().into_iter().map(f32::to_bits);
            self.0.push(run.model().parameters().iter().flat_map(bits).collect());
            Ok(Flow::Continue)
        }
    }
    let mut stopping = super::EarlyStopping::new("val_loss").patience(2).restore_best_weights();
    let fit = Fit::epochs(30).batch_size(20).validation(&test).verbose(false);
    let history = trainer.fit(&train, fit.with(Keep(&mut of_epochs)).with(&mut stopping)).unwrap();
    let (best, value) = stopping.best().unwrap();
    assert_eq!(stopping.stopped_epoch(), Some(best + 2));
    assert_eq!(history.epochs.len(), best + 2);
    assert_eq!(weights(trainer.model()), of_epochs[best - 1]);
    assert_eq!(trainer.evaluate(&test).unwrap().loss, value);
}

#[test]
fn callbacks_are_told_of_everything_in_order() {
    struct Log(Vec<String>);
    impl super::Callback for Log {
        fn on_train_begin(&mut self, run: &mut super::Run<'_>) -> Result<()> {
            self.0.push(format!("begin {} {}", run.epochs(), run.names().join(" ")));
            Ok(())
        }
        fn on_epoch_begin(&mut self, epoch: usize, _: &mut super::Run<'_>) -> Result<()> {
            self.0.push(format!("epoch {epoch}"));
            Ok(())
        }
        fn on_step(&mut self, step: &super::Step<'_>, _: &mut super::Run<'_>) -> Result<Flow> {
            self.0.push(format!("step {}", step.step));
            Ok(Flow::Continue)
        }
        fn on_epoch_end(&mut self, epoch: &super::Epoch, run: &mut super::Run<'_>) -> Result<Flow> {
            self.0.push(format!("end {} {}", epoch.number, run.history().epochs.len()));
            Ok(Flow::Continue)
        }
        fn on_train_end(&mut self, _: &mut super::Run<'_>) -> Result<()> {
            self.0.push("over".into());
            Ok(())
        }
    }
    let mut log = Log(Vec::new());
    let (train, _) = digits(20, 1);
    trainer(network(1)).fit(&train, Fit::epochs(2).batch_size(16).with(&mut log).verbose(false)).unwrap();
    let expected = [
        "begin 2 loss accuracy learning_rate",
        "epoch 1",
        "step 1",
        "step 2",
        "end 1 1",
        "epoch 2",
        "step 1",
        "step 2",
        "end 2 2",
        "over",
    ];
    assert_eq!(log.0, expected);
}

#[test]
fn tables_grow_and_nothing_that_is_not_a_number_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/run.csv");
    let (train, test) = digits(20, 10);
    let run = |epochs: usize, logger: super::CsvLogger| {
        let fit = Fit::epochs(epochs).validation(&test).with(logger).verbose(false);
        trainer(network(1)).fit(&train, fit).unwrap()
    };
    let history = run(2, super::CsvLogger::new(&path));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), history.to_csv());
    run(1, super::CsvLogger::new(&path).append());
    let text = std::fs::read_to_string(&path).unwrap();
    let first: Vec<&str> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(first, ["epoch", "1", "2", "1"]);
    run(1, super::CsvLogger::new(&path));
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);

    let x = Tensor::new([[1.0f32], [f32::NAN], [1.0], [1.0], [1.0], [1.0]], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("broken", &x, &x).unwrap();
    let mut steps = 0;
    let fit = Fit::epochs(3).batch_size(1).shuffle(false).verbose(false).with(super::TerminateOnNan::new());
    let fit = fit.callback(|event| {
        steps += usize::from(matches!(event, Event::Step(_)));
        Ok(Flow::Continue)
    });
    let history = Trainer::new(constant(), Sgd::new(0.1), MeanSquaredError::new()).fit(&set, fit).unwrap();
    // The loss of the second step is read after the third.
    assert_eq!((history.epochs.len(), steps), (1, 3));
    assert!(history.epochs[0].train.loss.is_nan());
}
