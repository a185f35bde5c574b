//! What is updated: many variables and few, of several types and sizes, in groups.

use super::common::{self, values};
use super::{Problem, SHAPES, alone, configs, differences, made};
use serde_json::Value;
use wgrad::nn::{Constraint, Module, Parameter};
use wgrad::optim::{AdamW, *};
use wgrad::prelude::*;

/// What an optimizer adds to plain gradient descent is no kernel at all, and a few for norms, of clipping or of Lamb, however many
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
        let norms = !config["clip"].is_null() || config["name"] == "Lamb";
        assert!(many <= few + u64::from(norms), "{few} more for 2 variables, {many} more for 24: {config}");
        assert!(few.max(many) <= if norms { 3 } else { 0 }, "{few} and {many} more dispatches: {config}");
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

/// What is added up has one gradient, and so have variables of a sum of sums: one tensor, in the places of all of them.
#[test]
fn variables_that_share_a_gradient_are_all_updated() -> Result<()> {
    let _alone = alone();
    for n in [1, 63, 64, 70] {
        let trained = |d: Device| -> Result<Vec<Vec<f64>>> {
            let ones = |shape: [usize; 2]| Ok(Variable::new(Tensor::full(shape, 0.01, d)?));
            let (a, b, c, w) = (ones([3, n])?, ones([3, n])?, ones([3, n])?, ones([n, 4])?);
            let mut optimizer = Sgd::new(0.1);
            for _ in 0..3 {
                let sum = ((a.value() + &b)? + &c)?;
                optimizer.step(&sum.matmul(&w)?.square()?.mean(.., false)?.backward()?)?;
            }
            [&a, &b, &c, &w].into_iter().map(|v| values(&v.value())).collect()
        };
        let (cpu, gpu) = (trained(Device::Cpu)?, trained(Device::Gpu)?);
        assert!(cpu[0] == cpu[1] && cpu[1] == cpu[2] && gpu[0] == gpu[1] && gpu[1] == gpu[2], "{gpu:?}");
        for (cpu, gpu) in cpu.iter().zip(&gpu) {
            common::assert_close(gpu, cpu, 1e-6, &format!("{n} columns"));
        }
    }
    Ok(())
}

/// Constraints are part of the update: of the same evaluation, on packed variables of any size, with averages beside them.
#[test]
fn constraints_are_applied_within_the_step() -> Result<()> {
    let _alone = alone();
    let constraints = [Constraint::non_neg(), Constraint::unit_norm(), Constraint::max_norm(0.5).axes([1])];
    for config in configs() {
        let train = |device: Device| -> Result<(Vec<f64>, Problem)> {
            let problem = Problem::new(&SHAPES, DType::F32, device)?;
            for (variable, constraint) in problem.variables.iter().zip(&constraints) {
                constraint.constrain(variable)?;
            }
            let mut optimizer = made(&config)?;
            (0..6).try_for_each(|step| problem.step(&mut optimizer, step))?;
            Ok((problem.values()?, problem))
        };
        let ((cpu, _), (gpu, problem)) = (train(Device::Cpu)?, train(Device::Gpu)?);
        let mut failures = Vec::new();
        differences(&gpu, &cpu, 2e-5, &config.to_string(), &mut failures);
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let v = |i: usize| values(&problem.variables[i].value());
        let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(v(0)?.iter().all(|&x| x >= 0.0), "{config}");
        assert!((norm(&v(1)?) - 1.0).abs() < 1e-5, "{config}");
        assert!(v(2)?.chunks(50).all(|row| norm(row) < 0.500001), "{config}");
    }
    let problem = Problem::new(&SHAPES, DType::F32, Device::Gpu)?;
    let mut adam = Adam::new(0.1);
    let submissions = |adam: &mut Adam| -> Result<[u64; 2]> {
        (0..2).try_for_each(|step| problem.step(adam, step))?;
        let before = Device::Gpu.stats()?;
        problem.step(adam, 2)?;
        let after = Device::Gpu.stats()?;
        Ok([after.submits - before.submits, after.plan_misses - before.plan_misses])
    };
    assert_eq!(submissions(&mut adam)?, [1, 0]);
    constraints[1].constrain(&problem.variables[4])?;
    assert_eq!(submissions(&mut adam)?, [1, 0]);
    problem.variables[4].release_constraint();
    assert_eq!(submissions(&mut adam)?, [1, 0]);
    Ok(())
}

#[test]
fn impossible_constraints_are_told() -> Result<()> {
    let _alone = alone();
    let matrix = Variable::new(Tensor::ones([2, 3], Device::Cpu)?);
    for (constraint, expected) in [
        (Constraint::max_norm(-1.0), "Constraint: the largest norm is -1; expected 0 or more"),
        (Constraint::max_norm(f64::NAN), "Constraint: the largest norm is NaN; expected 0 or more"),
        (
            Constraint::min_max_norm(2.0, 1.0),
            "Constraint: the smallest norm, 2, is larger than the largest, 1",
        ),
        (Constraint::min_max_norm(0.0, 1.0).rate(1.5), "Constraint: the rate is 1.5; expected 0 to 1"),
        (Constraint::unit_norm().axes([2]), "Constraint: axis 2 is outside a tensor of shape [2, 3]"),
        (Constraint::unit_norm().axes([0, -2]), "Constraint: axis -2 is given twice"),
    ] {
        let message = constraint.constrain(&matrix).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    assert!(!matrix.is_constrained());
    let layer = Dense::new(2).bias_constraint(Constraint::unit_norm().axes([1]));
    let message = Sequential::new().add(layer).build([3], Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("layer 1 (Dense 2): ") && message.contains("axis 1"), "{message}");

    // A function of one's own that gives something else, and one that fails: nothing is changed.
    let before = values(&matrix.value())?;
    let mut sgd = Sgd::new(1.0);
    matrix.constrain(|w| w.sum(0, false));
    let gradients = || matrix.value().sum(.., false)?.backward();
    let message = sgd.step(&gradients()?).unwrap_err().to_string();
    assert!(message.contains("a variable f32 [2, 3] on cpu gave f32 [3] on cpu"), "{message}");
    matrix.constrain(|w| w.sum(7, false));
    assert!(sgd.step(&gradients()?).is_err());
    assert_eq!((values(&matrix.value())?, sgd.steps()), (before, 0));
    Ok(())
}

#[test]
fn an_optimizer_changes_its_own_variables_and_no_others() {
    let _alone = alone();
    for device in [Device::Cpu, Device::Gpu] {
        let layer =
            |units, seed| Sequential::new().add(Dense::new(units)).seed(seed).build([2], device).unwrap();
        let (a, b) = (layer(2, 1), layer(1, 2));
        let held = |m: &Model| {
            m.parameters().iter().map(|p| p.variable.value().to_vec::<f32>().unwrap()).collect::<Vec<_>>()
        };
        let x = Tensor::rand([4, 2], device, 3).unwrap();
        let cx = wgrad::nn::Context::train(0);
        let grads = || {
            let y = b.forward(&a.forward(&x, &cx).unwrap(), &cx).unwrap();
            y.square().unwrap().mean(.., false).unwrap().backward().unwrap()
        };
        // the same as one that sees no other gradients, with a norm that is of all its gradients
        let mut own = Adam::new(0.1).global_clip_norm(0.01).ema(0.5).over(&a);
        let before = held(&b);
        own.prepare(
            &a.parameters().into_iter().chain(b.parameters()).map(|p| p.variable).collect::<Vec<_>>(),
        )
        .unwrap();
        own.step(&grads()).unwrap();
        assert_eq!(held(&b), before);
        let found = held(&a);
        let named = |m: &Model| m.parameters().into_iter().map(|p| (p.name, p.variable)).collect::<Vec<_>>();
        let all: Vec<_> =
            named(&a).into_iter().chain(named(&b).into_iter().map(|(n, v)| (format!("b.{n}"), v))).collect();
        let state = own.export_state(&all).unwrap();
        assert!(state.iter().all(|(name, _)| !name.contains("/b.")), "state of its own variables");
        own.import_state(&all, &state).unwrap();
        own.step(&grads()).unwrap();
        assert_eq!(held(&b), before);

        let fresh = layer(2, 1);
        for (old, new) in a.parameters().iter().zip(fresh.parameters()) {
            old.variable.set(new.variable.value()).unwrap();
        }
        let variables = a.parameters();
        Adam::new(0.1).global_clip_norm(0.01).step(&grads().only(&variables)).unwrap();
        assert_eq!((held(&a), held(&b)), (found, before));

        let apart = layer(3, 4);
        let error = Sgd::new(0.1).over(&apart).step(&grads()).unwrap_err().to_string();
        assert!(error.contains("depends on none of the 2 variables that this optimizer is over"), "{error}");
        let w = variables[0].variable.clone();
        let bias = variables[1].variable.value().to_vec::<f32>().unwrap();
        Sgd::new(0.1).over_variables([&w]).step(&grads()).unwrap();
        assert_eq!(variables[1].variable.value().to_vec::<f32>().unwrap(), bias);
    }
}
