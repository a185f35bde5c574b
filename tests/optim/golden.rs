//! Optimizers and schedules, step by step as Keras and PyTorch compute them.

use super::common::tensor;
use super::{Problem, alone, differences, made};
use serde_json::Value;
use wgrad::Config;
use wgrad::optim::{AdamW, *};
use wgrad::prelude::*;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/optim.json")).expect("valid JSON")
}

fn list(v: &Value) -> &Vec<Value> {
    v.as_array().expect("a list")
}

/// The numbers of a list of lists, and their shape.
fn numbers(v: &Value) -> (Vec<f64>, Vec<usize>) {
    match v {
        Value::Array(items) => {
            let parts: Vec<_> = items.iter().map(numbers).collect();
            let mut shape = vec![parts.len()];
            shape.extend(&parts[0].1);
            (parts.into_iter().flat_map(|p| p.0).collect(), shape)
        }
        v => (vec![v.as_f64().expect("a number")], Vec::new()),
    }
}

/// All cases of tests/golden/optim.py.
pub fn follow(dtype: DType, device: Device, tolerance: f64) -> Result<()> {
    let file = golden();
    let load = |key: &str| -> Result<Vec<Tensor>> {
        list(&file[key]).iter().map(|v| tensor(&numbers(v).0, &numbers(v).1, dtype, device)).collect()
    };
    let mut failures = Vec::new();
    assert!(list(&file["cases"]).len() > 40, "the file is not whole");
    for case in list(&file["cases"]) {
        let problem = Problem {
            variables: load("start")?.into_iter().map(Variable::new).collect(),
            scales: load("scale")?,
        };
        let mut optimizer = make(case, &problem)?;
        // Keras's minima and maxima with numbers are in single precision even here.
        let by_norm = ["norm", "global_norm"].iter().any(|kind| !case["config"]["clip"][kind].is_null());
        let tolerance = if by_norm { f64::max(tolerance, 1e-6) } else { tolerance };
        let batches = case["accumulate"].as_u64().unwrap_or(1) as usize;
        let mut accumulator = GradientAccumulator::new(batches);
        for step in 0..25 * batches {
            let grads = problem.loss(step)?.backward()?;
            if !accumulator.step(&grads, &mut *optimizer)? {
                continue;
            }
            let updates = (step + 1) / batches;
            if let Some(expected) = case["values"].get(updates.to_string()) {
                let what = format!("{} after {updates} updates, {}", case["of"], case["config"]);
                differences(&problem.values()?, &numbers(expected).0, tolerance, &what, &mut failures);
            }
        }
        assert_eq!(optimizer.steps(), 25);
        if !case["averages"].is_null() {
            optimizer.finalize()?;
            let what = format!("averages of {}", case["config"]);
            differences(&problem.values()?, &numbers(&case["averages"]).0, tolerance, &what, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// The optimizer of a case; those with groups are made as programs make them.
fn make(case: &Value, problem: &Problem) -> Result<Box<dyn Optimizer>> {
    let v = &problem.variables;
    let (config, number) = (&case["config"], |v: &Value| v.as_f64().expect("a number"));
    let rate = number(&config["learning_rate"]);
    if let Some(groups) = case["groups"].as_array() {
        let (scale, coupled) =
            (|i: usize| number(&groups[i]["lr_scale"]), |i: usize| number(&groups[i]["coupled"]));
        // the first group's settings are everybody's
        return Ok(match config["name"].as_str() {
            Some("Sgd") => Box::new(
                Sgd::new(rate)
                    .momentum(number(&config["momentum"]))
                    .coupled_weight_decay(coupled(0))
                    .group([&v[1]], |g| g.lr_scale(scale(1)).coupled_weight_decay(coupled(1)))
                    .group([&v[2]], |g| g.lr_scale(scale(2)).coupled_weight_decay(coupled(2))),
            ),
            _ => Box::new(
                Adam::new(rate)
                    .epsilon(number(&config["epsilon"]))
                    .coupled_weight_decay(coupled(0))
                    .group([&v[1]], |g| g.lr_scale(scale(1)))
                    .exclude_from_weight_decay([&v[1]])
                    .group([&v[2]], |g| g.lr_scale(scale(2)).coupled_weight_decay(coupled(2))),
            ),
        });
    }
    if let Some(exclude) = case["exclude"].as_array() {
        let excluded = exclude.iter().map(|i| &v[i.as_u64().expect("a number") as usize]);
        let decay = number(&config["weight_decay"]);
        return Ok(Box::new(AdamW::new(rate).weight_decay(decay).exclude_from_weight_decay(excluded)));
    }
    made(config)
}

#[test]
fn all_optimizers_as_keras_and_pytorch_in_f64() -> Result<()> {
    let _alone = alone();
    follow(DType::F64, Device::Cpu, 1e-12)
}

#[test]
fn all_schedules_as_keras_and_pytorch() -> Result<()> {
    let file = golden();
    let mut failures = Vec::new();
    assert!(list(&file["schedules"]).len() > 20, "the file is not whole");
    for case in list(&file["schedules"]) {
        let config = Config::of(&case["config"])?;
        let schedule = schedule::from_config(&config)?;
        assert_eq!(schedule.config(), Some(config));
        let expected = numbers(&case["rates"]).0;
        let rates: Vec<f64> = (0..expected.len() as u64).map(|s| schedule.learning_rate(s)).collect();
        let what = format!("{} {}", case["of"], case["config"]);
        differences(&rates, &expected, 1e-14, &what, &mut failures);
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn schedules_far_beyond_their_end() {
    let far = 1 << 40;
    assert_eq!(CosineDecay::new(0.1, 10).alpha(0.5).learning_rate(far), 0.05);
    assert_eq!(PolynomialDecay::new(0.1, 10).learning_rate(far), 1e-4);
    assert_eq!(LinearWarmup::new(0.0, 0.1, 10).learning_rate(far), 0.1);
    assert!((OneCycle::new(0.1, 10).learning_rate(far) - 0.1 / 25.0 / 1e4).abs() < 1e-18);
    // Restarts exactly where they belong, however many there were: at 8 * (1 + 2 + 4 + ..).
    let restarts = CosineDecayRestarts::new(0.1, 8);
    for n in 0..30 {
        let begin = 8 * ((1u64 << n) - 1);
        assert_eq!(restarts.learning_rate(begin), 0.1, "restart {n}");
        assert!(restarts.learning_rate(begin + 8 * (1 << n) - 1) < 0.01, "before restart {}", n + 1);
    }
    let thousands = CosineDecayRestarts::new(0.1, 1).t_mul(10.0);
    assert_eq!([0, 1, 11, 111, 1111, 11111].map(|s| thousands.learning_rate(s)), [0.1; 6]);
}
