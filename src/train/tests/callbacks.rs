//! Callbacks: what they are told, and what they do.

use super::keras::{close, golden, numbers};
use super::{constant, digits, network, trainer, weights};
use crate::data::Dataset;
use crate::nn::Parameter;
use crate::prelude::*;
use crate::train::{Evaluation, Event, Flow, History};

/// Drives a callback with given values of `val_x`, as tests/golden/train.py does; gives the learning rate after each epoch.
fn drive(callback: &mut dyn crate::train::Callback, values: &[f64]) -> Vec<f64> {
    let (model, mut optimizer, history) = (constant(), Sgd::new(1.0), History::default());
    let names = ["val_x".to_string()];
    let mut run = crate::train::Run {
        model: &model,
        optimizer: &mut optimizer,
        history: &history,
        epochs: values.len(),
        names: &names,
        interrupted: false,
        writes_files: true,
        averages: false,
        error: None,
        checkpoints: Vec::new(),
    };
    callback.on_train_begin(&mut run).unwrap();
    let mut rates = Vec::new();
    let evaluation =
        |x: f64| Evaluation { loss: 1.0, metrics: vec![("x".into(), x)], samples: 1, seconds: 0.0 };
    for (i, &value) in values.iter().enumerate() {
        let epoch = crate::train::Epoch {
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
            "min" => (crate::train::Mode::Min, losses.clone()),
            _ => (crate::train::Mode::Max, losses.iter().map(|v| -v).collect()),
        };
        let mut callback = crate::train::EarlyStopping::new("val_x")
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
        let mut callback = crate::train::ReduceLrOnPlateau::new("val_x")
            .mode(crate::train::Mode::Min)
            .patience(settings["patience"].as_u64().unwrap() as usize)
            .cooldown(settings["cooldown"].as_u64().unwrap_or(0) as usize)
            .factor(settings["factor"].as_f64().unwrap_or(0.1))
            .min_lr(settings["min_lr"].as_f64().unwrap_or(0.0))
            .min_delta(settings["min_delta"].as_f64().unwrap_or(1e-4));
        for (ours, theirs) in drive(&mut callback, &losses).iter().zip(numbers(&case["rates"])) {
            close(&case.to_string(), *ours, f64::from(theirs));
        }
    }
    let mut wrong = crate::train::ReduceLrOnPlateau::new("loss").factor(1.5);
    let (train, _) = digits(10, 1);
    let fit = Fit::epochs(1).with(&mut wrong).verbose(false);
    assert!(trainer(network(1)).fit(&train, fit).unwrap_err().to_string().contains("the factor is 1.5"));
}

#[test]
fn the_best_weights_come_back() {
    let (train, test) = digits(40, 20);
    // A learning rate at which the loss soon rises.
    let mut trainer = Trainer::new(network(1), Adam::new(0.3), SparseCategoricalCrossentropy::from_logits())
        .build()
        .unwrap();
    let mut of_epochs = Vec::new();
    struct Keep<'a>(&'a mut Vec<Vec<u32>>);
    impl crate::train::Callback for Keep<'_> {
        fn on_epoch_end(&mut self, _: &crate::train::Epoch, run: &mut crate::train::Run<'_>) -> Result<Flow> {
            let bits =
                |p: &Parameter| p.variable.value().to_vec::<f32>().unwrap().into_iter().map(f32::to_bits);
            self.0.push(run.model().parameters().iter().flat_map(bits).collect());
            Ok(Flow::Continue)
        }
    }
    let mut stopping = crate::train::EarlyStopping::new("val_loss").patience(2).restore_best_weights();
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
    impl crate::train::Callback for Log {
        fn on_train_begin(&mut self, run: &mut crate::train::Run<'_>) -> Result<()> {
            self.0.push(format!("begin {} {}", run.epochs(), run.names().join(" ")));
            Ok(())
        }
        fn on_epoch_begin(&mut self, epoch: usize, _: &mut crate::train::Run<'_>) -> Result<()> {
            self.0.push(format!("epoch {epoch}"));
            Ok(())
        }
        fn on_step(&mut self, step: &crate::train::Step<'_>, _: &mut crate::train::Run<'_>) -> Result<Flow> {
            self.0.push(format!("step {}", step.step));
            Ok(Flow::Continue)
        }
        fn on_epoch_end(
            &mut self,
            epoch: &crate::train::Epoch,
            run: &mut crate::train::Run<'_>,
        ) -> Result<Flow> {
            self.0.push(format!("end {} {}", epoch.number, run.history().epochs.len()));
            Ok(Flow::Continue)
        }
        fn on_train_end(&mut self, _: &mut crate::train::Run<'_>) -> Result<()> {
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
fn a_closure_has_the_run_after_each_epoch() {
    let (train, _) = digits(20, 1);
    let mut trainer = trainer(network(1));
    let bits = |model: &dyn Module| {
        let parameter = model.parameter("dense.weight").unwrap();
        parameter.variable.value().to_vec::<f32>().unwrap()
    };
    let mut seen = Vec::new();
    let fit = Fit::epochs(5).verbose(false).on_epoch(|epoch, run| {
        assert_eq!(run.history().epochs.len(), epoch.number);
        run.optimizer().set_learning_rate(0.1 / (epoch.number + 1) as f64);
        seen.push((epoch.learning_rate, bits(run.model())));
        Ok(if epoch.number == 3 { Flow::Stop } else { Flow::Continue })
    });
    let history = trainer.fit(&train, fit).unwrap();
    assert_eq!(history.epochs.len(), 3);
    assert_eq!(seen.iter().map(|(rate, _)| *rate).collect::<Vec<_>>(), [5e-3, 0.1 / 2.0, 0.1 / 3.0]);
    assert!(seen[0].1 != seen[1].1 && seen[2].1 == bits(trainer.model()));
}

#[test]
fn an_error_says_which_callback_it_is_of() {
    #[derive(Debug, PartialEq)]
    struct Off;
    impl std::fmt::Display for Off {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the sensor is off")
        }
    }
    impl std::error::Error for Off {}
    let (train, _) = digits(20, 1);
    let (quiet, failing) = (|_: Event<'_>| Ok(Flow::Continue), |_: Event<'_>| Err(Error::other(Off)));
    let fit = Fit::epochs(1).verbose(false).callback(quiet).callback(failing);
    let error = trainer(network(1)).fit(&train, fit).unwrap_err();
    assert_eq!(error.to_string(), "callback 2: the sensor is off");
    let Error::Other(own) = error.root() else { panic!("{error}") };
    assert_eq!(own.downcast_ref(), Some(&Off));
    let folder = tempfile::tempdir().unwrap();
    let logger = crate::train::CsvLogger::new(folder.path());
    let error = trainer(network(1)).fit(&train, Fit::epochs(1).verbose(false).with(logger)).unwrap_err();
    assert!(error.to_string().starts_with("callback 1 (csv_logger): "), "{error}");
    assert!(matches!(error.root(), Error::Io { .. }));
}

#[test]
fn tables_grow_and_nothing_that_is_not_a_number_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/run.csv");
    let (train, test) = digits(20, 10);
    let run = |epochs: usize, logger: crate::train::CsvLogger| {
        let fit = Fit::epochs(epochs).validation(&test).with(logger).verbose(false);
        trainer(network(1)).fit(&train, fit).unwrap()
    };
    let history = run(2, crate::train::CsvLogger::new(&path));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), history.to_csv());
    run(1, crate::train::CsvLogger::new(&path).append());
    let text = std::fs::read_to_string(&path).unwrap();
    let first: Vec<&str> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(first, ["epoch", "1", "2", "1"]);
    run(1, crate::train::CsvLogger::new(&path));
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);

    let x = Tensor::new([[1.0f32], [f32::NAN], [1.0], [1.0], [1.0], [1.0]], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("broken", &x, &x).unwrap();
    let mut steps = 0;
    let fit =
        Fit::epochs(3).batch_size(1).shuffle(false).verbose(false).with(crate::train::TerminateOnNan::new());
    let fit = fit.callback(|event| {
        steps += usize::from(matches!(event, Event::Step(_)));
        Ok(Flow::Continue)
    });
    let history = Trainer::new(constant(), Sgd::new(0.1), MeanSquaredError::new())
        .build()
        .unwrap()
        .fit(&set, fit)
        .unwrap();
    // The loss of the second step is read after the third.
    assert_eq!((history.epochs.len(), steps), (1, 3));
    assert!(history.epochs[0].train.loss.is_nan());
}
