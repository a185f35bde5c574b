//! Optimizers and schedules: as Keras and PyTorch compute them, alike on both devices, resumable to the bit, and with as few
//! kernels for many variables as for few.

mod common;

#[path = "optim/golden.rs"]
mod golden;
#[path = "optim/settings.rs"]
mod settings;
#[path = "optim/variables.rs"]
mod variables;
#[path = "optim/wrappers.rs"]
mod wrappers;

use common::{Rng, tensor, values};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::optim::{self, *};
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
        json!({"name": "Adadelta", "learning_rate": 1.0, "rho": 0.8}),
        json!({"name": "Adamax", "learning_rate": 0.02}),
        json!({"name": "Ftrl", "learning_rate": 0.1, "l1": 0.01, "l2": 0.1, "l2_shrinkage": 0.01, "beta": 0.1}),
        json!({"name": "Lamb", "learning_rate": 0.02, "weight_decay": 0.02}),
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

/// The optimizer of a configuration in a file.
fn made(config: &Value) -> Result<Box<dyn Optimizer>> {
    optim::from_config(&Config::of(config)?)
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
        golden::follow(DType::F32, d, 3e-5)
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
                let error = looked_at.export_state(&one.named()).unwrap_err().to_string();
                assert!(
                    error.starts_with("Adam::export_state: the variables hold their averages"),
                    "{error}"
                );
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
        let whole = Tensor::concat(&x, 0)?;
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
