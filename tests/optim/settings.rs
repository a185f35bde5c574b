//! Settings in files, impossible ones, and states of other models.

use super::{Problem, SHAPES, alone, configs, made};
use serde_json::{Value, json};
use wgrad::optim::{self, AdamW, RmsProp, *};
use wgrad::prelude::*;

#[test]
fn configurations_make_the_same_optimizers() -> Result<()> {
    let _alone = alone();
    for config in configs() {
        let made = made(&config)?;
        let whole = made.config();
        for (key, value) in config.as_object().expect("an object") {
            assert_eq!(whole.get::<Value>(key).as_ref(), Some(value), "{key} of {config}");
        }
        assert_eq!(made.name(), config["name"]);
        assert_eq!(optim::from_config(&whole)?.config(), whole);
    }
    assert_eq!(AdamW::new(0.1).config().get("weight_decay"), Some(0.004));
    assert_eq!(made(&json!({"name": "AdamW", "learning_rate": 0.1}))?.config(), AdamW::new(0.1).config());
    let error = |config: Value| made(&config).map(|o| o.config()).unwrap_err().to_string();
    let whole = |optimizer: Adam| optimizer.config().read::<Value>();
    let unknown = error(json!({"name": "Adamin", "learning_rate": 0.1}));
    assert!(unknown.contains("its `name` may be Sgd, Adam"), "{unknown}");
    let misspelt = error(json!({"name": "Adam", "learning_rate": 0.1, "beta_1": 0.8}));
    assert!(misspelt.contains("Adam has no setting beta_1; it has amsgrad, beta1"), "{misspelt}");
    assert!(error(json!({"name": "Adam"})).contains("missing field `learning_rate`"));
    assert!(
        error(json!({"name": "Adam", "learning_rate": 0.1, "beta1": 1.5})).starts_with("Adam: beta1 is 1.5")
    );
    let custom = Adam::new(0.1).schedule(|step: u64| 0.1 / (step + 1) as f64);
    assert_eq!(custom.learning_rate(), 0.1);
    assert!(error(whole(custom)?).contains("is no schedule of wgrad's"));
    let grouped = Adam::new(0.1).group([Variable::new(Tensor::ones([1], Device::Cpu)?)], |g| g.lr_scale(2.0));
    assert!(error(whole(grouped)?).contains("groups of variables"));
    assert!(Sequence::new(|_: u64| 0.1).config().is_none());
    Ok(())
}

#[test]
fn impossible_settings_are_errors_and_change_nothing() -> Result<()> {
    let _alone = alone();
    let w = Variable::new(Tensor::ones([1], Device::Cpu)?);
    let fails = |mut optimizer: Box<dyn Optimizer>, expected: &str| {
        let error = optimizer.step(&w.value().sum(.., false)?.backward()?).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!((optimizer.steps(), w.value().item::<f32>()?), (0, 1.0));
        Ok(())
    };
    let cases: Vec<(Box<dyn Optimizer>, &str)> = vec![
        (Box::new(Sgd::new(-0.1)), "Sgd: the learning rate is -0.1"),
        (Box::new(Sgd::new(f64::NAN)), "Sgd: the learning rate is NaN"),
        (Box::new(Sgd::new(0.1).momentum(1.0)), "Sgd: momentum is 1"),
        (Box::new(Sgd::new(0.1).weight_decay(-1.0)), "Sgd: weight decay is -1"),
        (Box::new(Sgd::new(0.1).coupled_weight_decay(f64::INFINITY)), "Sgd: coupled weight decay is inf"),
        (Box::new(Sgd::new(0.1).clip_norm(0.0)), "Sgd: gradients can't be clipped to 0"),
        (Box::new(Sgd::new(0.1).ema(1.0)), "Sgd: the momentum of the averages is 1"),
        (Box::new(Sgd::new(0.1).ema_overwrite_every(0)), "Sgd: variables can't be overwritten"),
        (Box::new(Sgd::new(0.1).group([&w], |g| g.lr_scale(-1.0))), "Sgd: a group's lr_scale is -1"),
        (Box::new(Adam::new(0.1).betas(0.9, 1.0)), "Adam: beta2 is 1"),
        (Box::new(AdamW::new(0.1).epsilon(-1.0)), "AdamW: epsilon is -1"),
        (Box::new(RmsProp::new(0.1).rho(1.0)), "RmsProp: rho is 1"),
        (Box::new(Adagrad::new(0.1).initial_accumulator(-1.0)), "Adagrad: the initial accumulator is -1"),
        (Box::new(Nadam::new(0.1).betas(-0.1, 0.9)), "Nadam: beta1 is -0.1"),
        (Box::new(Adadelta::new(0.1).rho(1.0)), "Adadelta: rho is 1"),
        (Box::new(Adamax::new(0.1).betas(0.9, -1.0)), "Adamax: beta2 is -1"),
        (Box::new(Ftrl::new(0.1).power(0.5)), "Ftrl: minus the power is -0.5"),
        (Box::new(Ftrl::new(0.1).l1(f64::NAN)), "Ftrl: l1 is NaN"),
        (Box::new(Lamb::new(0.1).epsilon(f64::INFINITY)), "Lamb: epsilon is inf"),
        (Box::new(Lion::new(0.1).betas(1.0, 0.9)), "Lion: beta1 is 1"),
        (
            Box::new(Adam::new(0.1).schedule(CosineDecay::new(0.1, 0))),
            "Adam: the schedule ({\"alpha\":0.0,\"initial\":0.1",
        ),
        (Box::new(Adam::new(0.1).schedule(StepDecay::new(0.1, 0, 0.5))), "Adam: the schedule"),
        (
            Box::new(Adam::new(0.1).schedule(CosineDecayRestarts::new(0.1, 5).t_mul(0.5))),
            "Adam: the schedule",
        ),
        (
            Box::new(Adam::new(0.1).schedule(|_: u64| -1.0)),
            "Adam: the schedule gives a learning rate of -1 after 0 updates",
        ),
    ];
    for (optimizer, expected) in cases {
        fails(optimizer, expected)?;
    }
    let grads = w.value().sum(.., false)?.backward()?;
    assert!(GradientAccumulator::new(0).add(&grads).unwrap_err().to_string().contains("at least one batch"));
    assert!(clip::by_value(grads, f64::NAN).is_err());
    // What the state consists of is settled by the first step.
    let mut sgd = Sgd::new(0.1);
    sgd.step(&w.value().sum(.., false)?.backward()?)?;
    let error = sgd.momentum(0.9).step(&w.value().sum(.., false)?.backward()?).unwrap_err().to_string();
    assert!(error.contains("can't be changed after the first step"), "{error}");
    Ok(())
}

#[test]
fn states_of_other_models_are_errors() -> Result<()> {
    let _alone = alone();
    let problem = Problem::new(&SHAPES[..2], DType::F32, Device::Cpu)?;
    let mut adam = Adam::new(0.1);
    problem.step(&mut adam, 0)?;
    let state = adam.export_state(&problem.named())?;
    let names: Vec<&str> = state.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["adam.m/v0", "adam.v/v0", "adam.m/v1", "adam.v/v1", "adam.step"]);
    let v = &problem.variables;
    let mut fails = |named: &[(String, Variable)], expected: &str| {
        let error = adam.import_state(named, &state).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(
        &[("c".into(), v[0].clone())],
        "Adam::import_state: the state has no adam.m/c; it is of another model or optimizer",
    );
    fails(&[("v0".into(), v[1].clone())], "adam.m/v0 has shape [7], expected [64]");
    let error = Sgd::new(0.1).import_state(&problem.named(), &state).unwrap_err().to_string();
    assert!(error.contains("Sgd::import_state: the state has no sgd.step"), "{error}");
    let error = Adam::new(0.1).ema(0.9).import_state(&problem.named(), &state).unwrap_err().to_string();
    assert!(error.contains("the state has no adam.ema/v0"), "{error}");
    // A variable that no step has reached begins as all do.
    let fresh = Adagrad::new(0.1).export_state(&problem.named())?;
    assert_eq!(fresh[0].1.to_vec::<f32>()?, [0.1; 7]);
    // A learning rate that was set comes back; a schedule of the program stays otherwise.
    let mut scheduled = Adam::new(0.1).schedule(|step: u64| 1.0 / (2 + step) as f64);
    scheduled.import_state(&problem.named(), &state)?;
    assert_eq!(scheduled.learning_rate(), 1.0 / 3.0);
    adam.set_learning_rate(0.025);
    scheduled.import_state(&problem.named(), &adam.export_state(&problem.named())?)?;
    assert_eq!(scheduled.learning_rate(), 0.025);
    Ok(())
}
