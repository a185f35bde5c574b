//! Tests of fitting, evaluating and predicting.

mod callbacks;
mod keras;

use super::{Event, Flow};
use crate::data::Dataset;
use crate::nn::{Context, Parameter, Parameters};
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
    Trainer::new(model, Adam::new(5e-3), SparseCategoricalCrossentropy::from_logits())
        .metric(Accuracy::new())
        .build()
        .unwrap()
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
    let largest = |t: Tensor| t.abs().unwrap().max(.., false).unwrap().item::<f32>().unwrap();
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
    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.weight("value", &self.0);
    }
}

fn constant() -> Constant {
    Constant(Variable::new(Tensor::zeros([1], Device::Cpu).unwrap()))
}

#[test]
fn the_last_partial_batch_counts_by_its_samples() {
    let targets = Tensor::new([[1.0f32], [1.0], [1.0], [1.0], [3.0]], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("known", &targets, &targets).unwrap();
    let mut trainer = Trainer::new(constant(), Sgd::new(0.0), MeanSquaredError::new()).build().unwrap();
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
        Event::Compiled(compiled) => panic!("the CPU compiles nothing: {compiled:?}"),
    });
    let history = trainer(network(1)).fit(&train, fit).unwrap();
    assert_eq!((history.epochs.len(), epochs, losses.len()), (3, 3, 6));
    let kept: Vec<f32> = losses.iter().map(|l| l.item::<f32>().unwrap()).collect();
    assert!((f64::from(kept[0] + kept[1]) / 2.0 - history.epochs[0].train.loss).abs() < 1e-6);

    let fit = Fit::epochs(10).batch_size(32).verbose(false).callback(|_| Ok(Flow::Stop));
    let history = trainer(network(1)).fit(&train, fit).unwrap();
    assert_eq!((history.epochs.len(), history.epochs[0].train.samples), (1, 32));

    let fit = Fit::epochs(1).verbose(false).callback(|_| Err(Error::argument("mine", "enough")));
    assert_eq!(trainer(network(1)).fit(&train, fit).unwrap_err().to_string(), "callback 1: mine: enough");
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
    let mut trainer = Trainer::new(constant(), Sgd::new(0.1), MeanSquaredError::new()).build().unwrap();
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
