//! Optimizers and schedules: as Keras and PyTorch compute them, alike on both devices, resumable to the bit, and with as few
//! kernels for many variables as for few.

mod common;

use common::{Rng, tensor, values};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::nn::{Module, Parameter};
use wgrad::optim::{self, AdamW, RmsProp, *};
use wgrad::prelude::*;
use wgrad::{Config, Gradients};

on_both_devices! {
    all_optimizers_as_keras_and_pytorch_in_f32;
    a_resumed_training_goes_on_to_the_bit;
    frozen_variables_stay_and_keep_their_state;
    a_changing_learning_rate_plans_nothing;
    clipping_is_the_same_by_function_and_by_setting;
    averages_are_exchanged_and_back;
    accumulated_gradients_are_those_of_the_whole_batch;
    a_changing_set_of_variables_keeps_every_state;
    a_variable_set_from_outside_is_updated_from_its_new_value;
}

/// Counters are the process's: the tests of this file run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each optimizer with settings that make for all of its state, and then all else that an optimizer may have.
fn configs() -> Vec<Value> {
    let schedule = json!({"kind": "Sequence", "first": {"kind": "LinearWarmup", "from": 0.0, "to": 0.05, "steps": 5},
        "rest": [{"steps": 5, "schedule": {"kind": "CosineDecay", "initial": 0.05, "steps": 20, "alpha": 0.1}}]});
    vec![
        json!({"name": "Sgd", "learning_rate": 0.01}),
        json!({"name": "Sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": true, "coupled_weight_decay": 0.01,
            "clip": {"value": 2.0}}),
        json!({"name": "Adam", "learning_rate": 0.02, "amsgrad": true, "clip": {"global_norm": 3.0}, "schedule": schedule}),
        json!({"name": "Adam", "learning_rate": 0.02, "ema": {"momentum": 0.9, "overwrite_every": 4}}),
        json!({"name": "AdamW", "learning_rate": 0.02, "ema": {"momentum": 0.8}, "clip": {"norm": 1.0}, "schedule": schedule}),
        json!({"name": "RmsProp", "learning_rate": 0.02, "momentum": 0.5, "centered": true, "epsilon": 1e-3,
            "weight_decay": 0.02}),
        json!({"name": "Adagrad", "learning_rate": 0.1, "clip": {"norm": 1.0}}),
        json!({"name": "Nadam", "learning_rate": 0.02, "weight_decay": 0.02}),
        json!({"name": "Lion", "learning_rate": 0.01, "weight_decay": 0.1}),
    ]
}

/// A quadratic that changes from step to step, over variables of these shapes.
struct Problem {
    variables: Vec<Variable>,
    scales: Vec<Tensor>,
}

/// Less and more than a row of 64 elements, exactly one, a scalar, a matrix.
const SHAPES: [&[usize]; 6] = [&[7], &[64], &[3, 50], &[], &[129], &[5]];

impl Problem {
    fn new(shapes: &[&[usize]], dtype: DType, device: Device) -> Result<Problem> {
        let mut rng = Rng(7);
        let mut draw = |shape: &[usize], low: f64| {
            let drawn: Vec<f64> = (0..shape.iter().product()).map(|_| rng.uniform(low, 1.5)).collect();
            tensor(&drawn, shape, dtype, device)
        };
        let mut problem = Problem { variables: Vec::new(), scales: Vec::new() };
        for shape in shapes {
            problem.variables.push(Variable::new(draw(shape, -1.5)?));
            problem.scales.push(draw(shape, 0.1)?);
        }
        Ok(problem)
    }

    fn loss(&self, step: usize) -> Result<Tensor> {
        self.loss_of(step, &(0..self.variables.len()).collect::<Vec<_>>())
    }

    fn loss_of(&self, step: usize, which: &[usize]) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for &i in which {
            let off = (self.variables[i].value() - 0.25 * (step % 5) as f64)?.square()?;
            let part = (&self.scales[i] * off)?.sum(.., false)?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        Ok(sum.expect("variables"))
    }

    fn step(&self, optimizer: &mut dyn Optimizer, step: usize) -> Result<()> {
        optimizer.step(&self.loss(step)?.backward()?)
    }

    fn named(&self) -> Vec<(String, Variable)> {
        self.variables.iter().enumerate().map(|(i, v)| (format!("v{i}"), v.clone())).collect()
    }

    fn values(&self) -> Result<Vec<f64>> {
        let each = self.variables.iter().map(|v| values(&v.value())).collect::<Result<Vec<_>>>()?;
        Ok(each.concat())
    }
}

fn differences(got: &[f64], want: &[f64], tolerance: f64, what: &str, failures: &mut Vec<String>) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        if (g - w).abs() > tolerance * (1.0 + w.abs()) || g.is_nan() {
            failures.push(format!("{what}: element {i}: {g:e}, expected {w:e}"));
        }
    }
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/optim.json")).expect("valid JSON")
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
fn follow(dtype: DType, device: Device, tolerance: f64) -> Result<()> {
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

/// The optimizer of a configuration in a file.
fn made(config: &Value) -> Result<Box<dyn Optimizer>> {
    optim::from_config(&Config::of(config)?)
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

/// Variables of many sizes, with groups and everything else, on both devices.
#[test]
fn both_devices_compute_the_same() -> Result<()> {
    let _alone = alone();
    for config in configs() {
        let train = |device: Device| -> Result<Vec<f64>> {
            let problem = Problem::new(&SHAPES, DType::F32, device)?;
            let mut optimizer = made(&config)?;
            (0..12).try_for_each(|step| problem.step(&mut optimizer, step))?;
            problem.values()
        };
        let (cpu, gpu) = (train(Device::Cpu)?, train(Device::Gpu)?);
        let mut failures = Vec::new();
        differences(&gpu, &cpu, 2e-5, &config.to_string(), &mut failures);
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
    let train = |device: Device| -> Result<Vec<f64>> {
        let problem = Problem::new(&SHAPES, DType::F32, device)?;
        let v = &problem.variables;
        let mut adam = Adam::new(0.05)
            .weight_decay(0.1)
            .global_clip_norm(4.0)
            .group([&v[0], &v[4]], |g| g.lr_scale(0.1))
            .group(&v[2..4], |g| g.weight_decay(0.5).coupled_weight_decay(0.2))
            .exclude_from_weight_decay([&v[5]]);
        (0..12).try_for_each(|step| problem.step(&mut adam, step))?;
        problem.values()
    };
    let mut failures = Vec::new();
    differences(&train(Device::Gpu)?, &train(Device::Cpu)?, 2e-5, "groups", &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

mod checks {
    use super::*;

    pub fn all_optimizers_as_keras_and_pytorch_in_f32(d: Device) -> Result<()> {
        let _alone = alone();
        follow(DType::F32, d, 3e-5)
    }

    pub fn a_resumed_training_goes_on_to_the_bit(d: Device) -> Result<()> {
        let _alone = alone();
        for config in configs() {
            let problem = Problem::new(&SHAPES, DType::F32, d)?;
            let mut optimizer = made(&config)?;
            for step in 0..9 {
                problem.step(&mut optimizer, step)?;
                if step == 6 {
                    let rate = optimizer.learning_rate();
                    assert!(rate > 0.0, "{config}");
                    // as a callback does at a plateau; a schedule ends with it
                    if config["schedule"].is_null() {
                        optimizer.set_learning_rate(rate * 0.3);
                    }
                }
            }
            let state = optimizer.export_state(&problem.named())?;
            let resumed = Problem::new(&SHAPES, DType::F32, d)?;
            for (to, from) in resumed.variables.iter().zip(&problem.variables) {
                to.set(Tensor::from_vec(from.value().to_vec::<f32>()?, from.shape(), d)?)?;
            }
            let mut again = made(&config)?;
            again.import_state(&resumed.named(), &state)?;
            assert_eq!((again.steps(), again.learning_rate()), (9, optimizer.learning_rate()), "{config}");
            for step in 9..18 {
                problem.step(&mut optimizer, step)?;
                resumed.step(&mut again, step)?;
            }
            assert_eq!(problem.values()?, resumed.values()?, "{config}");
            assert_eq!(optimizer.swap_averages()?, again.swap_averages()?);
            assert_eq!(problem.values()?, resumed.values()?, "averages of {config}");
            assert!(problem.values()?.iter().all(|v| v.is_finite()), "{config}");
        }
        Ok(())
    }

    pub fn frozen_variables_stay_and_keep_their_state(d: Device) -> Result<()> {
        let _alone = alone();
        for config in configs() {
            let problem = Problem::new(&SHAPES, DType::F32, d)?;
            let mut optimizer = made(&config)?;
            optimizer.prepare(&problem.variables)?;
            (0..5).try_for_each(|step| problem.step(&mut optimizer, step))?;
            let frozen = &problem.variables[2];
            let before = frozen.value().to_vec::<f32>()?;
            let state_of = |optimizer: &dyn Optimizer| -> Result<Vec<Vec<f64>>> {
                let state = optimizer.export_state(&[("frozen".into(), frozen.clone())])?;
                state.iter().filter(|(n, _)| n.ends_with("/frozen")).map(|(_, t)| values(t)).collect()
            };
            let state = state_of(&optimizer)?;
            // gradients from before the freezing don't change it either
            let grads = problem.loss(5)?.backward()?;
            frozen.set_trainable(false)?;
            optimizer.step(&grads)?;
            let others = problem.values()?;
            (6..9).try_for_each(|step| problem.step(&mut optimizer, step))?;
            assert_eq!(frozen.value().to_vec::<f32>()?, before, "{config}");
            assert_ne!(problem.values()?, others, "{config}");
            assert_eq!(state_of(&optimizer)?, state, "{config}");
            assert_eq!(optimizer.steps(), 9);
            frozen.set_trainable(true)?;
            problem.step(&mut optimizer, 9)?;
            assert_ne!(frozen.value().to_vec::<f32>()?, before, "{config}");
            // A variable that never was trained is left alone by all of it.
            let never = Variable::not_trainable(Tensor::ones([3], d)?);
            optimizer.prepare(std::slice::from_ref(&never))?;
            optimizer.swap_averages()?;
            assert_eq!(never.value().to_vec::<f32>()?, [1.0; 3]);
        }
        Ok(())
    }

    pub fn a_changing_learning_rate_plans_nothing(d: Device) -> Result<()> {
        let _alone = alone();
        for config in configs() {
            let problem = Problem::new(&SHAPES[..3], DType::F32, d)?;
            let mut optimizer = made(&config)?;
            optimizer.prepare(&problem.variables)?;
            let (mut warm, mut warm_rate) = (None, 0.0);
            for step in 0..24 {
                if step % 3 == 2 && config["schedule"].is_null() {
                    optimizer.set_learning_rate(optimizer.learning_rate() * 0.9);
                }
                problem.step(&mut optimizer, step)?;
                // two rounds of overwriting by averages
                if step == 8 {
                    (warm, warm_rate) = (Some(d.stats()?), optimizer.learning_rate());
                }
            }
            let (first, last) = (warm.expect("more steps"), d.stats()?);
            assert_ne!(optimizer.learning_rate(), warm_rate);
            assert_eq!(last.plan_misses, first.plan_misses, "{config}");
            assert_eq!(last.pipelines, first.pipelines, "{config}");
            assert_eq!(last.submits - first.submits, 15, "one submission a step, {config}");
        }
        Ok(())
    }

    pub fn clipping_is_the_same_by_function_and_by_setting(d: Device) -> Result<()> {
        let _alone = alone();
        type Function = fn(Gradients) -> Result<Gradients>;
        let kinds: [(Clip, Function); 3] = [
            (Clip::Value(0.5), |g| clip::by_value(g, 0.5)),
            (Clip::Norm(0.8), |g| clip::by_norm(g, 0.8)),
            (Clip::GlobalNorm(2.0), |g| Ok(clip::by_global_norm(g, 2.0)?.0)),
        ];
        for (kind, function) in kinds {
            let (one, two) = (Problem::new(&SHAPES, DType::F32, d)?, Problem::new(&SHAPES, DType::F32, d)?);
            let (mut set, mut plain) = (Sgd::new(0.1).clip(kind), Sgd::new(0.1));
            for step in 0..4 {
                one.step(&mut set, step)?;
                plain.step(&function(two.loss(step)?.backward()?)?)?;
            }
            let mut failures = Vec::new();
            differences(&one.values()?, &two.values()?, 1e-6, &format!("{kind:?}"), &mut failures);
            assert!(failures.is_empty(), "{}", failures.join("\n"));
        }
        // A gradient of zero stays zero, and small ones stay as they are.
        let w = Variable::new(Tensor::new([3.0f32, 0.0], d)?);
        let grads = (w.value().square()? * 0.5)?.sum(.., false)?.backward()?;
        assert_eq!(clip::global_norm(&grads)?.item::<f32>()?, 3.0);
        let grads = clip::by_norm(grads, 100.0)?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [3.0, 0.0]);
        let zero = (w.value() * 0.0)?.sum(.., false)?.backward()?;
        let (zero, norm) = clip::by_global_norm(zero, 1.0)?;
        assert_eq!((zero.get(&w)?.to_vec::<f32>()?, norm.item::<f32>()?), (vec![0.0; 2], 0.0));
        Ok(())
    }

    pub fn averages_are_exchanged_and_back(d: Device) -> Result<()> {
        let _alone = alone();
        let (one, two) = (Problem::new(&SHAPES, DType::F32, d)?, Problem::new(&SHAPES, DType::F32, d)?);
        let (mut looked_at, mut left) = (Adam::new(0.05).ema(0.7), Adam::new(0.05).ema(0.7));
        let mut averages = vec![0.0; one.values()?.len()];
        for step in 0..8 {
            if step == 4 {
                // parked state has its average exchanged, too
                [&one, &two].iter().try_for_each(|p| p.variables[1].set_trainable(false))?;
            }
            one.step(&mut looked_at, step)?;
            two.step(&mut left, step)?;
            let momentum = if step == 0 { 0.0 } else { 0.7 };
            let frozen = 7..7 + 64;
            for (i, (a, v)) in averages.iter_mut().zip(two.values()?).enumerate() {
                if step < 4 || !frozen.contains(&i) {
                    *a = momentum * *a + (1.0 - momentum) * v;
                }
            }
            let before = one.values()?;
            assert!(looked_at.swap_averages()?);
            let mut failures = Vec::new();
            differences(&one.values()?, &averages, 1e-5, "averages", &mut failures);
            assert!(failures.is_empty(), "step {step}: {}", failures.join("\n"));
            let average = looked_at.average(&one.variables[2])?.expect("averages are kept");
            assert_eq!(values(&average)?, values(&one.variables[2].value())?);
            if step == 2 {
                let error = one.step(&mut looked_at, 3).unwrap_err().to_string();
                assert!(error.starts_with("Adam: the variables hold their averages"), "{error}");
            }
            assert!(!looked_at.swap_averages()?);
            assert_eq!(one.values()?, before);
        }
        assert_eq!(one.values()?, two.values()?);
        // At the end they stay, exchanged before or not; and training can go on from them.
        looked_at.swap_averages()?;
        looked_at.finalize()?;
        left.finalize()?;
        assert_eq!(one.values()?, two.values()?);
        one.step(&mut looked_at, 8)?;
        two.step(&mut left, 8)?;
        assert_eq!(one.values()?, two.values()?);
        assert!(!Sgd::new(0.1).swap_averages()?);
        Ok(())
    }

    pub fn accumulated_gradients_are_those_of_the_whole_batch(d: Device) -> Result<()> {
        let _alone = alone();
        let problem = |seed: u64| -> Result<(Variable, Variable, Vec<Tensor>)> {
            let x = (0..4).map(|i| Tensor::randn([8, 5], d, 100 + i)).collect::<Result<Vec<_>>>()?;
            let w = Variable::new(Tensor::randn([5, 3], d, seed)?);
            Ok((w, Variable::new(Tensor::zeros([3], d)?), x))
        };
        let loss = |w: &Variable, b: &Variable, x: &Tensor| {
            (x.matmul(w)? + &b.value())?.square()?.mean(.., false)?.sqrt()?.square()
        };
        let (w, b, x) = problem(1)?;
        let mut adam = Adam::new(0.05).global_clip_norm(0.5);
        let whole = Tensor::concat(&x.iter().collect::<Vec<_>>(), 0)?;
        for _ in 0..6 {
            adam.step(&loss(&w, &b, &whole)?.backward()?)?;
        }
        let (v, c, x) = problem(1)?;
        let named = [("w".to_string(), v.clone()), ("b".to_string(), c.clone())];
        let mut adam = Adam::new(0.05).global_clip_norm(0.5);
        let mut accumulator = GradientAccumulator::new(4);
        let mut warm = None;
        for step in 0..6 {
            for (i, x) in x.iter().enumerate() {
                let updated = accumulator.step(&loss(&v, &c, x)?.backward()?, &mut adam)?;
                assert_eq!(updated, i == 3);
                if step == 2 && i == 1 {
                    // a resumption in the middle of an accumulation
                    let state = accumulator.export_state(&named)?;
                    accumulator = GradientAccumulator::new(4);
                    accumulator.import_state(&named, &state)?;
                    assert_eq!(accumulator.count(), 2);
                }
            }
            if step == 4 {
                warm = Some(d.stats()?.plan_misses);
            }
        }
        assert_eq!(warm, Some(d.stats()?.plan_misses));
        let mut failures = Vec::new();
        for (one, two) in [(&w, &v), (&b, &c)] {
            differences(&values(&one.value())?, &values(&two.value())?, 1e-5, "accumulated", &mut failures);
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        // What is left at the end of an epoch is a mean, too.
        let fresh = loss(&v, &c, &x[0])?.backward()?;
        assert!(accumulator.add(&fresh)?.is_none());
        let mean = accumulator.take()?.expect("one batch");
        assert_eq!(values(&mean.get(&v)?)?, values(&fresh.get(&v)?)?);
        assert_eq!(values(mean.loss())?, values(fresh.loss())?);
        assert!(accumulator.take()?.is_none() && accumulator.pending().is_empty());
        Ok(())
    }

    /// Each variable has its own history, whatever others come and go.
    pub fn a_changing_set_of_variables_keeps_every_state(d: Device) -> Result<()> {
        let _alone = alone();
        let (both, single) =
            (Problem::new(&SHAPES[..2], DType::F32, d)?, Problem::new(&SHAPES[..2], DType::F32, d)?);
        let (mut together, mut apart) = (Adam::new(0.1), Adam::new(0.1));
        for step in 0..12 {
            let which: &[usize] = if step % 3 == 0 { &[0, 1] } else { &[0] };
            let before = both.variables[1].value().to_vec::<f32>()?;
            together.step(&both.loss_of(step, which)?.backward()?)?;
            let same = before == both.variables[1].value().to_vec::<f32>()?;
            assert_eq!(same, step % 3 != 0, "the second variable in step {step}");
            apart.step(&single.loss_of(step, &[0])?.backward()?)?;
            let first = |p: &Problem| p.variables[0].value().to_vec::<f32>();
            assert_eq!(first(&both)?, first(&single)?, "the first variable in step {step}");
        }
        Ok(())
    }

    pub fn a_variable_set_from_outside_is_updated_from_its_new_value(d: Device) -> Result<()> {
        let _alone = alone();
        let v = Variable::new(Tensor::new([1.0f32, -2.0, 0.5], d)?);
        let mut adam = Adam::new(0.1);
        adam.step(&v.value().sum(.., false)?.backward()?)?;
        v.set(Tensor::full([3], 100.0f32, d))?;
        adam.step(&v.value().sum(.., false)?.backward()?)?;
        for x in v.value().to_vec::<f32>()? {
            assert!((x - 99.9).abs() < 1e-4, "{x}");
        }
        Ok(())
    }
}

/// What an optimizer adds to plain gradient descent is no kernel at all, and a few for the norms of clipping, however many
/// variables there are.
#[test]
fn many_variables_take_no_more_kernels() -> Result<()> {
    let d = Device::Gpu;
    let _alone = alone();
    let dispatches = |optimizer: &mut dyn Optimizer, problem: &Problem| -> Result<u64> {
        problem.step(optimizer, 0)?;
        problem.step(optimizer, 1)?;
        let before = d.stats()?.dispatches;
        problem.step(optimizer, 2)?;
        Ok(d.stats()?.dispatches - before)
    };
    // 24 rows of 64 elements, whole and cut
    let few: [&[usize]; 2] = [&[760], &[761]];
    let many: [&[usize]; 24] = [&[61]; 24];
    for config in configs() {
        let more = |shapes: &[&[usize]]| -> Result<u64> {
            let problem = Problem::new(shapes, DType::F32, d)?;
            let plain = dispatches(&mut Sgd::new(0.1), &problem)?;
            let all = dispatches(&mut made(&config)?, &problem)?;
            Ok(all.saturating_sub(plain))
        };
        let (few, many) = (more(&few)?, more(&many)?);
        // Small kernels share dispatches, so that one of them more or less may show or not.
        let clipped = !config["clip"].is_null();
        assert!(many <= few + u64::from(clipped), "{few} more for 2 variables, {many} more for 24: {config}");
        assert!(few.max(many) <= if clipped { 3 } else { 0 }, "{few} and {many} more dispatches: {config}");
    }
    let grouped = |shapes: &[&[usize]]| -> Result<u64> {
        let problem = Problem::new(shapes, DType::F32, d)?;
        let plain = dispatches(&mut Sgd::new(0.1), &problem)?;
        let mut adam = AdamW::new(0.1)
            .exclude_from_weight_decay(problem.variables.iter().step_by(2))
            .group([&problem.variables[0]], |g| g.lr_scale(0.1));
        Ok(dispatches(&mut adam, &problem)?.saturating_sub(plain))
    };
    assert_eq!((grouped(&few)?, grouped(&many)?), (0, 0), "groups are part of the one kernel");
    Ok(())
}

#[test]
fn clipping_by_norm_in_f64() -> Result<()> {
    let _alone = alone();
    let (a, b) = ([2.0, -8.0, 3.0], [0.25]);
    for (clip, scales) in [
        (Clip::Norm(0.75), [0.75 / 77f64.sqrt(), 1.0]),
        (Clip::GlobalNorm(0.5), [0.5 / 77.0625f64.sqrt(); 2]),
    ] {
        let variables =
            [Variable::new(Tensor::new(a, Device::Cpu)?), Variable::new(Tensor::new(b, Device::Cpu)?)];
        let of = |v: &Variable| v.value().square()?.sum(.., false);
        let loss = ((of(&variables[0])? + of(&variables[1])?)? * 0.5)?;
        Sgd::new(1.0).clip(clip).step(&loss.backward()?)?;
        for ((v, start), scale) in variables.iter().zip([&a[..], &b[..]]).zip(scales) {
            let expected: Vec<f64> = start.iter().map(|x| x - x * scale).collect();
            common::assert_close(&values(&v.value())?, &expected, 1e-15, &format!("{clip:?}"));
        }
    }
    Ok(())
}

#[test]
fn f64_and_f32_variables_are_updated_together() -> Result<()> {
    let _alone = alone();
    // One global norm of both: 3, 4 -> 5.
    let a = Variable::new(Tensor::new([3.0f32], Device::Cpu)?);
    let b = Variable::new(Tensor::new([[4.0f64]], Device::Cpu)?);
    let mut sgd = Sgd::new(1.0).global_clip_norm(2.5);
    let loss =
        (a.value().cast(DType::F64)?.square()?.sum(.., false)? + b.value().square()?.sum(.., false)?)?;
    sgd.step(&(loss * 0.5)?.backward()?)?;
    assert_eq!(a.value().item::<f32>()?, 1.5);
    assert_eq!(b.value().item::<f64>()?, 2.0);
    Ok(())
}

#[test]
fn empty_and_scalar_variables_are_fine() -> Result<()> {
    let _alone = alone();
    for device in common::DEVICES {
        let empty = Variable::new(Tensor::zeros([0, 3], device)?);
        let scalar = Variable::new(Tensor::new(2.0f32, device)?);
        let mut adam = Adam::new(0.5).clip_norm(1.0).ema(0.5);
        let loss = (empty.value().sum(.., false)? + scalar.value().square()?)?;
        adam.step(&loss.backward()?)?;
        assert!((scalar.value().item::<f32>()? - 1.5).abs() < 1e-5);
        assert_eq!(empty.shape(), [0, 3]);
        adam.swap_averages()?;
    }
    Ok(())
}

#[test]
fn groups_are_chosen_by_the_names_of_parameters() -> Result<()> {
    let _alone = alone();
    let model = Sequential::new().add(Dense::new(4)).add(Dense::new(2)).build([3], Device::Cpu)?;
    let of = |end: &'static str| model.parameters().into_iter().filter(move |p| p.name.ends_with(end));
    let mut adam = AdamW::new(0.1)
        .weight_decay(0.5)
        .exclude_from_weight_decay(of("bias"))
        .group(of("weight"), |g| g.lr_scale(0.0));
    let before: Vec<Vec<f32>> =
        model.parameters().iter().map(|p| p.variable.value().to_vec()).collect::<Result<_>>()?;
    let loss =
        model.forward(&Tensor::ones([2, 3], Device::Cpu)?, &wgrad::nn::Context::eval())?.sum(.., false)?;
    adam.step(&loss.backward()?)?;
    for (p, before) in model.parameters().iter().zip(&before) {
        let changed = p.variable.value().to_vec::<f32>()? != *before;
        assert_eq!(changed, p.name.ends_with("bias"), "{}", p.name);
    }
    let config = adam.config();
    assert_eq!(config.get::<Vec<Value>>("groups").map(|g| g.len()), Some(2), "{config}");
    let variables: Vec<Variable> = model.parameters().into_iter().map(Parameter::into).collect();
    assert_eq!(variables.len(), 4);
    Ok(())
}

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
    let unknown = error(json!({"name": "Adamax", "learning_rate": 0.1}));
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
