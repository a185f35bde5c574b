//! Numbers that Keras has, and mistakes in what a trainer is made of.

use super::weights;
use crate::data::Dataset;
use crate::nn::{
    ActivityRegularization, BinaryCrossentropy, Constraint, Context, Functional, LayerNorm, Module as _,
    Regularizer,
};
use crate::prelude::*;
use crate::train::{BinaryAccuracy, EarlyStopping, History, TrainerBuilder};

/// What Keras did: see tests/golden/train.py.
pub fn golden() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../tests/golden/train.json")).unwrap()
}

pub fn numbers(value: &serde_json::Value) -> Vec<f32> {
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

pub fn close(what: &str, ours: f64, theirs: f64) {
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
            .metric(Accuracy::new())
            .build()
            .unwrap();
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
        let mut trainer = Trainer::new(model, Sgd::new(learning_rate), loss).build().unwrap();
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
        .build()
        .unwrap()
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
    let mut one = Trainer::multi(two_heads(), Sgd::new(0.5))
        .output("digit", SparseCategoricalCrossentropy::from_logits(), 1.0)
        .build()
        .unwrap();
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
    let wrong = |builder: TrainerBuilder<Model>| {
        let message = builder.build().map(drop).unwrap_err().to_string();
        message.strip_prefix("Trainer::build: ").expect("which call it was").to_string()
    };
    for (error, expected) in [
        (
            wrong(multi().output("digits", crossentropy(), 1.0)),
            "no output is named digits; the model has digit, odd",
        ),
        (wrong(multi().metric_for("even", Accuracy::new())), "no output is named even"),
        (wrong(multi().metric(Accuracy::new())), "use metric_for to say which accuracy is for"),
        (message(multi().build().unwrap(), fit()), "no output has a loss"),
        (
            wrong(multi().output("digit", crossentropy(), 1.0).output("digit", crossentropy(), 1.0)),
            "output digit is given two losses",
        ),
        (wrong(multi().output("digit", crossentropy(), f64::NAN)), "expected a finite number"),
        (wrong(Trainer::new(two_heads(), Sgd::new(0.1), crossentropy())), "use Trainer::multi"),
        (
            message(Trainer::new(golden_classifier(), Sgd::new(0.1), crossentropy()).build().unwrap(), fit()),
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
            message(two_losses(two_heads()), fit().with(EarlyStopping::new("val_loss"))),
            "is there a validation set?",
        ),
        (
            message(two_losses(two_heads()), fit().with(EarlyStopping::new("accuracy"))),
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

/// What Keras did with constraints: see tests/golden/constraints.py.
#[test]
fn constraints_and_penalties_on_outputs_count_as_in_keras() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/constraints.json")).unwrap();
    for case in golden["values"].as_array().unwrap() {
        let constraint: Constraint = serde_json::from_value(case["config"].clone()).unwrap();
        let shape: Vec<usize> = numbers(&case["shape"]).iter().map(|&n| n as usize).collect();
        let w = Tensor::from_vec(numbers(&case["w"]), shape, Device::Cpu).unwrap();
        let ours = constraint.apply(&w).unwrap().to_vec::<f32>().unwrap();
        for (a, b) in ours.iter().zip(numbers(&case["constrained"])) {
            close(&case["config"].to_string(), f64::from(*a), f64::from(b));
        }
    }
    let theirs = &golden["fit"];
    let first = Dense::new(5)
        .activation(Activation::Tanh)
        .kernel_constraint(Constraint::max_norm(0.75))
        .bias_constraint(Constraint::non_neg())
        .activity_regularizer(Regularizer::l2(0.1));
    let norm = LayerNorm::new()
        .gamma_constraint(Constraint::min_max_norm(0.5, 1.5).rate(0.5))
        .beta_constraint(Constraint::max_norm(0.1));
    let last = Dense::new(3)
        .kernel_constraint(Constraint::unit_norm().axes([1]))
        .activity_regularizer(Regularizer::l1_l2(0.01, 0.02));
    let model = Sequential::new()
        .add(first)
        .add(ActivityRegularization::new(Regularizer::l1(0.05)))
        .add(norm)
        .add(last)
        .build([4], Device::Cpu)
        .unwrap();
    set_weights(&model, &theirs["begin"]);
    let set = golden_set(theirs);
    let mut trainer =
        Trainer::new(model, Sgd::new(0.5), SparseCategoricalCrossentropy::from_logits()).build().unwrap();
    let history = trainer.fit(&set, Fit::epochs(3).batch_size(4).shuffle(false).verbose(false)).unwrap();
    check_history(&history, &theirs["history"]);
    check_weights(trainer.model(), &theirs["end"]);
    close("loss", trainer.evaluate(&set).unwrap().loss, theirs["loss"].as_f64().unwrap());
}
