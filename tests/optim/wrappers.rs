//! Optimizers around optimizers: Lookahead, and means of the weights.

use super::common::values;
use super::{Problem, SHAPES, alone, differences, made};
use serde_json::{Value, json};
use wgrad::optim::*;
use wgrad::prelude::*;

fn wrapped() -> [Value; 3] {
    let adam = json!({"name": "Adam", "learning_rate": 0.05});
    let sgd = json!({"name": "Sgd", "learning_rate": 0.01, "momentum": 0.9});
    [
        json!({"name": "Lookahead", "optimizer": sgd, "period": 3, "slow_step": 0.25}),
        json!({"name": "Swa", "optimizer": adam, "start": 4, "every": 2}),
        json!({"name": "Swa", "optimizer": {"name": "Lookahead", "optimizer": adam, "period": 2, "slow_step": 0.5},
            "start": 0, "every": 3}),
    ]
}

/// Both by their definitions, in f64: plain gradient descent, whose values are known.
#[test]
fn slow_weights_and_means_are_those_of_the_definitions() -> Result<()> {
    let _alone = alone();
    let start = [2.0, -1.0, 0.5];
    let gradient = |x: f64, step: usize| 2.0 * (x - 0.25 * (step % 3) as f64);
    let train = |optimizer: &mut dyn Optimizer| -> Result<Vec<Vec<f64>>> {
        let w = Variable::new(Tensor::new(start, Device::Cpu)?);
        let mut seen = Vec::new();
        for step in 0..11 {
            let loss = (w.value() - 0.25 * (step % 3) as f64)?.square()?.sum(.., false)?;
            optimizer.step(&loss.backward()?)?;
            seen.push(values(&w.value())?);
        }
        optimizer.finalize()?;
        seen.push(values(&w.value())?);
        Ok(seen)
    };
    let seen = train(&mut Lookahead::new(Sgd::new(0.1)).period(4).slow_step(0.3))?;
    let (mut fast, mut slow) = (start, start);
    for (step, seen) in seen.iter().take(11).enumerate() {
        fast = fast.map(|x| x - 0.1 * gradient(x, step));
        if (step + 1) % 4 == 0 {
            slow = std::array::from_fn(|i| slow[i] + 0.3 * (fast[i] - slow[i]));
            fast = slow;
        }
        super::common::assert_close(seen, &fast, 1e-14, &format!("step {step}"));
    }
    assert_eq!(seen[10], seen[11], "the values are not exchanged in the end");

    let seen = train(&mut Swa::new(Sgd::new(0.1)).start(3).every(2))?;
    let mut x = start;
    let mut counted = Vec::new();
    for (step, seen) in seen.iter().take(11).enumerate() {
        x = x.map(|x| x - 0.1 * gradient(x, step));
        super::common::assert_close(seen, &x, 1e-14, &format!("step {step}"));
        if [5, 7, 9, 11].contains(&(step + 1)) {
            counted.push(x);
        }
    }
    let mean: [f64; 3] = std::array::from_fn(|i| counted.iter().map(|x| x[i]).sum::<f64>() / 4.0);
    super::common::assert_close(&seen[11], &mean, 1e-14, "the mean");
    Ok(())
}

#[test]
fn both_devices_and_resumed_runs_agree() -> Result<()> {
    let _alone = alone();
    for config in wrapped() {
        let written = made(&config)?.config();
        assert_eq!(made(&serde_json::to_value(&written).expect("JSON"))?.config(), written, "{config}");
        let mut ends = Vec::new();
        for device in super::common::DEVICES {
            let problem = Problem::new(&SHAPES, DType::F32, device)?;
            let mut optimizer = made(&config)?;
            (0..7).try_for_each(|step| problem.step(&mut optimizer, step))?;
            // From the middle on twice, once as from a file.
            let state = optimizer.export_state(&problem.named())?;
            let resumed = Problem::new(&SHAPES, DType::F32, device)?;
            for (to, from) in resumed.variables.iter().zip(&problem.variables) {
                to.set(Tensor::from_vec(from.value().to_vec::<f32>()?, from.shape(), device)?)?;
            }
            let mut again = made(&config)?;
            again.import_state(&resumed.named(), &state)?;
            for step in 7..15 {
                problem.step(&mut optimizer, step)?;
                resumed.step(&mut again, step)?;
            }
            assert_eq!(problem.values()?, resumed.values()?, "{config}");
            // Averages are exchanged and back, and put there for good.
            let trained = problem.values()?;
            let swapped = optimizer.swap_averages()?;
            assert_eq!(swapped, config["name"] == "Swa");
            if swapped {
                assert_ne!(problem.values()?, trained, "{config}");
                let message = problem.step(&mut optimizer, 15).unwrap_err().to_string();
                assert!(message.contains("exchange them back with swap_averages"), "{message}");
                // What is saved now would not be what is trained.
                let message = optimizer.export_state(&problem.named()).unwrap_err().to_string();
                assert!(
                    message.contains("Swa::export_state: the variables hold their averages"),
                    "{message}"
                );
                assert!(!optimizer.swap_averages()?);
                assert_eq!(problem.values()?, trained);
            }
            optimizer.finalize()?;
            again.finalize()?;
            assert_eq!(problem.values()?, resumed.values()?, "{config}");
            ends.push(problem.values()?);
        }
        let mut failures = Vec::new();
        differences(&ends[1], &ends[0], 2e-5, &config.to_string(), &mut failures);
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
    Ok(())
}

/// Only what the optimizer inside changes has slow weights and means: not what is frozen, nor what another optimizer trains.
#[test]
fn variables_that_are_not_the_optimizers_own_are_left_alone() -> Result<()> {
    let _alone = alone();
    let one = || Tensor::new([8.0f32], Device::Cpu).map(Variable::new);
    let (own, other, frozen) = (one()?, one()?, one()?);
    let mut lookahead = Lookahead::new(Sgd::new(1.0).over_variables([&own, &frozen])).period(2);
    let mut swa = Swa::new(Sgd::new(1.0).over_variables([&own]));
    for _ in 0..2 {
        let loss = ((own.value() + other.value())? + frozen.value())?.sum(.., false)?;
        let grads = loss.backward()?;
        frozen.set_trainable(false)?;
        lookahead.step(&grads)?;
        frozen.set_trainable(true)?;
        other.set(other.value() * 0.5)?; // somebody else's doing
        swa.step(&grads)?;
    }
    // 8, 7, 6, 5, of which Lookahead saw 8 and 5: halfway to 5; then down by one.
    assert_eq!(own.value().item::<f32>()?, 5.5);
    assert_eq!(other.value().item::<f32>()?, 2.0);
    assert_eq!(frozen.value().item::<f32>()?, 8.0);
    assert!(swa.average(&other)?.is_none() && swa.average(&frozen)?.is_none());
    assert_eq!(swa.average(&own)?.map(|mean| mean.item::<f32>()).transpose()?, Some(5.75)); // of 6 and 5.5
    Ok(())
}

#[test]
fn impossible_wrappers_are_told() -> Result<()> {
    let _alone = alone();
    let w = Variable::new(Tensor::new([1.0f32], Device::Cpu)?);
    let grads = w.value().sum(.., false)?.backward()?;
    let names = [("w".to_string(), w.clone())];
    let sgd = Sgd::new(1.0).export_state(&names)?;
    for (result, expected) in [
        (
            Lookahead::new(Sgd::new(1.0)).period(0).update(&grads),
            "Lookahead: the period is 0 updates; give at least 1",
        ),
        (Lookahead::new(Sgd::new(1.0)).slow_step(1.5).update(&grads), "Lookahead: the slow step is 1.5"),
        (Swa::new(Sgd::new(1.0)).every(0).update(&grads), "Swa: weights can't count after every 0 updates"),
        (Lookahead::new(Sgd::new(-1.0)).update(&grads), "Sgd: the learning rate is -1"),
        (
            Lookahead::new(Sgd::new(1.0)).import_state(&names, &sgd).map(|()| Vec::new()),
            "Lookahead::import_state: the state has no lookahead.count",
        ),
        (
            Swa::new(Sgd::new(1.0)).import_state(&names, &sgd).map(|()| Vec::new()),
            "Swa::import_state: the state has no swa.count/w",
        ),
        (
            made(&json!({"name": "Swa", "optimizer": {"name": "Nothing"}})).map(|_| Vec::new()),
            "optim::from_config: ",
        ),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(w.value().item::<f32>()?, 1.0);
    Ok(())
}
