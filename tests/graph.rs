//! Traced functions and their pictures: a call gives what the closure gives, to the bit.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::graph::NodeKind;
use wgrad::nn::{BatchNorm, Context, SpatialDropout2d};
use wgrad::prelude::*;
use wgrad::{Graph, TensorSpec};

on_both_devices! {
    a_call_gives_the_bits_of_the_closure;
    a_new_shape_is_traced_once;
    variables_are_read_at_each_call;
    variables_are_set_at_each_call;
    batch_norm_moves_its_averages;
    gradients_inside;
    gradients_through_a_call;
    detached_and_watched_stay_so;
    a_training_loop_plans_once;
    frozen_variables_are_noticed;
    random_numbers;
    reading_inside_is_an_error;
    what_has_no_place_inside;
    arguments_are_checked;
    nothing_in_nothing_out;
    calls_within_calls;
    a_chain_of_any_length;
    kernels_are_the_plans;
    pictures_are_well_formed;
    pending_tensors_can_be_drawn;
}

/// Counters are the process's: the tests of this file run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bits(t: &Tensor) -> Result<Vec<u32>> {
    Ok(t.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn spec(dims: &[usize], device: Device) -> Result<TensorSpec> {
    TensorSpec::f32(dims, device)
}

fn network(device: Device) -> Result<Model> {
    Sequential::new()
        .add(Conv2d::new(4, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dense::new(8).activation(Activation::Relu))
        .add(Dense::new(3))
        .build([8, 8, 1], device)
}

/// Every element well-formed: tags close in order, attributes are quoted, no stray `<` or `&`.
fn check_xml(text: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let between = &rest[..at];
        assert!(!between.contains('>'), "stray > in {between:?}");
        for part in between.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;"].iter().any(|e| part.starts_with(e)), "stray & in {between:?}");
        }
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "tag {tag:?}");
        let name = tag.trim_matches('/').split_whitespace().next().expect("a name").to_string();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (_, true) => {}
            _ => open.push(name),
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "left open: {open:?}");
}

mod checks {
    use super::*;

    pub fn a_call_gives_the_bits_of_the_closure(device: Device) -> Result<()> {
        let _alone = alone();
        let model = network(device)?;
        let captured = Tensor::rand([3], device, 9)?;
        let f = |x: &[Tensor]| -> Result<Vec<Tensor>> {
            let y = (model.forward(&x[0], &Context::eval())? * &captured)?;
            Ok(vec![y.softmax(-1)?, (y.sum(0, false)? + &x[1])?, x[1].clone()])
        };
        let graph = Graph::trace(&[spec(&[5, 8, 8, 1], device)?, spec(&[3], device)?], f)?;
        for seed in 0..3 {
            let inputs = [Tensor::randn([5, 8, 8, 1], device, seed)?, Tensor::randn([3], device, seed + 50)?];
            let (want, got) = (f(&inputs)?, graph.call(&[&inputs[0], &inputs[1]])?);
            assert_eq!(got.len(), 3);
            for (g, w) in got.iter().zip(&want) {
                assert_eq!((g.shape(), g.dtype(), bits(g)?), (w.shape(), w.dtype(), bits(w)?));
            }
        }
        assert_eq!(graph.traces(), 1);
        Ok(())
    }

    pub fn a_new_shape_is_traced_once(device: Device) -> Result<()> {
        let _alone = alone();
        let runs = Mutex::new(0);
        let graph = Graph::trace(&[spec(&[2, 3], device)?], |x| {
            *runs.lock().expect("nobody panics") += 1;
            Ok(vec![x[0].sum(.., false)?])
        })?;
        for n in [2, 4, 2, 4, 7, 4] {
            let sum = graph.call(&[&Tensor::ones([n, 3], device)?])?[0].item::<f32>()?;
            assert_eq!(sum, 3.0 * n as f32);
        }
        assert_eq!((graph.traces(), *runs.lock().expect("nobody panics")), (3, 3));
        let shapes: Vec<Vec<usize>> = graph.signatures().iter().map(|s| s[0].spec.shape.to_vec()).collect();
        assert_eq!(shapes, [[2, 3], [4, 3], [7, 3]]);
        assert_eq!(
            format!("{graph:?}"),
            format!(
                "Graph(traced for f32 [2, 3] on {device}; f32 [4, 3] on {device}; f32 [7, 3] on {device})"
            )
        );
        Ok(())
    }

    pub fn variables_are_read_at_each_call(device: Device) -> Result<()> {
        let _alone = alone();
        let (w, frozen) = (
            Variable::new(Tensor::full([3], 2.0f32, device)?),
            Variable::not_trainable(Tensor::full([3], 1.0f32, device)?),
        );
        let snapshot = w.value();
        let graph = Graph::trace(&[spec(&[3], device)?], |x| {
            Ok(vec![((&x[0] * &w)? + &frozen)?, (&x[0] * &snapshot)?])
        })?;
        let x = Tensor::ones([3], device)?;
        assert_eq!(graph.call(&[&x])?[0].to_vec::<f32>()?, [3.0; 3]);
        let before = graph.call(&[&x])?;
        w.set(Tensor::full([3], 5.0f32, device)?)?;
        frozen.set(Tensor::full([3], -1.0f32, device)?)?;
        assert_eq!(graph.call(&[&x])?[0].to_vec::<f32>()?, [4.0; 3]);
        // what was called before keeps what it read, and a captured tensor is what it was
        assert_eq!(before[0].to_vec::<f32>()?, [3.0; 3]);
        assert_eq!(graph.call(&[&x])?[1].to_vec::<f32>()?, [2.0; 3]);
        assert_eq!(graph.traces(), 1);
        Ok(())
    }

    pub fn variables_are_set_at_each_call(device: Device) -> Result<()> {
        let _alone = alone();
        let count = Variable::not_trainable(Tensor::zeros([2], device)?);
        let w = Variable::new(Tensor::ones([2], device)?);
        let graph = Graph::trace(&[spec(&[2], device)?], |x| {
            count.set(count.value() + &x[0])?;
            w.add_assign(&x[0])?;
            // later reads see the new values
            Ok(vec![(count.value() * &w)?])
        })?;
        assert_eq!(count.value().to_vec::<f32>()?, [0.0; 2], "tracing sets nothing");
        let x = Tensor::full([2], 2.0f32, device)?;
        for (c, v) in [(2.0, 3.0), (4.0, 5.0), (6.0, 7.0)] {
            let out = graph.call(&[&x])?;
            assert_eq!(out[0].to_vec::<f32>()?, [c * v; 2]);
            assert_eq!(
                (count.value().to_vec::<f32>()?, w.value().to_vec::<f32>()?),
                (vec![c; 2], vec![v; 2])
            );
        }
        assert!(w.value().is_tracked() && !count.value().is_tracked());
        Ok(())
    }

    pub fn batch_norm_moves_its_averages(device: Device) -> Result<()> {
        let _alone = alone();
        let build = || Sequential::new().add(Dense::new(4)).add(BatchNorm::new()).seed(3).build([3], device);
        let (eager, traced) = (build()?, build()?);
        let graph = Graph::trace(&[spec(&[6, 3], device)?], |x| {
            Ok(vec![traced.forward(&x[0], &Context::train(1))?])
        })?;
        for seed in 0..3 {
            let x = Tensor::randn([6, 3], device, seed)?;
            let want = eager.forward(&x, &Context::train(1))?;
            assert_eq!(bits(&graph.call(&[&x])?[0])?, bits(&want)?);
        }
        for (e, t) in eager.parameters().iter().zip(traced.parameters()) {
            common::assert_close(
                &common::values(&t.variable.value())?,
                &common::values(&e.variable.value())?,
                1e-6,
                &e.name,
            );
            assert_eq!(t.variable.is_trainable(), e.variable.is_trainable());
        }
        Ok(())
    }

    pub fn gradients_inside(device: Device) -> Result<()> {
        let _alone = alone();
        let model = network(device)?;
        let variables: Vec<Variable> = model.parameters().into_iter().map(|p| p.variable).collect();
        let f = |x: &[Tensor]| -> Result<Vec<Tensor>> {
            let loss = model.forward(&x[0], &Context::train(1))?.cross_entropy(&x[1])?;
            let grads = loss.backward()?;
            let mut out = vec![loss];
            for v in &variables {
                out.push(grads.get(v)?);
            }
            Ok(out)
        };
        let labels = TensorSpec::new([4], DType::U8, device)?;
        let graph = Graph::trace(&[spec(&[4, 8, 8, 1], device)?, labels], f)?;
        for seed in 0..2 {
            let x = Tensor::randn([4, 8, 8, 1], device, seed)?;
            let y = Tensor::new([0u8, 1, 2, 1], device)?;
            let want = f(&[x.clone(), y.clone()])?;
            let got = graph.call(&[&x, &y])?;
            wgrad::eval(&want.iter().collect::<Vec<_>>())?;
            wgrad::eval(&got.iter().collect::<Vec<_>>())?;
            for (g, w) in got.iter().zip(&want) {
                assert_eq!(bits(g)?, bits(w)?);
            }
        }
        Ok(())
    }

    pub fn gradients_through_a_call(device: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::randn([3, 2], device, 1)?);
        let f = |x: &[Tensor]| -> Result<Vec<Tensor>> { Ok(vec![x[0].matmul(&w)?.tanh()?]) };
        let graph = Graph::trace(&[spec(&[4, 3], device)?], f)?;
        let x = Tensor::randn([4, 3], device, 2)?.watch()?;
        let gradients = |y: Tensor| -> Result<(Vec<u32>, Vec<u32>)> {
            let grads = y.square()?.sum(.., false)?.backward()?;
            let (gx, gw) = (grads.get(&x)?, grads.get(&w)?);
            wgrad::eval(&[&gx, &gw])?;
            Ok((bits(&gx)?, bits(&gw)?))
        };
        let want = gradients(f(std::slice::from_ref(&x))?.remove(0))?;
        assert_eq!(gradients(graph.call(&[&x])?.remove(0))?, want);
        assert_eq!(graph.traces(), 2, "once without and once with gradients to the argument");
        assert_eq!(gradients(graph.call(&[&x])?.remove(0))?, want);
        assert_eq!(graph.traces(), 2);
        // nothing is recorded within no_grad, and all is again after it
        assert!(!no_grad(|| graph.call(&[&x]))?[0].is_tracked());
        assert!(graph.call(&[&x])?[0].is_tracked());
        Ok(())
    }

    pub fn detached_and_watched_stay_so(device: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::full([2], 3.0f32, device)?);
        let f = |x: &[Tensor]| -> Result<Vec<Tensor>> {
            let constant = x[0].detach()?.square()?;
            let silent = no_grad(|| w.value() * 2.0)?;
            let inner = x[0].watch()?;
            let slope = inner.square()?.sum(.., false)?.backward()?.get(&inner)?;
            Ok(vec![((&constant + &silent)? * &x[0])?, slope])
        };
        let graph = Graph::trace(&[spec(&[2], device)?], f)?;
        let x = Tensor::new([1.0f32, 2.0], device)?.watch()?;
        for out in [f(std::slice::from_ref(&x))?, graph.call(&[&x])?] {
            assert_eq!(out[1].to_vec::<f32>()?, [2.0, 4.0]);
            let grads = out[0].sum(.., false)?.backward()?;
            assert!(!grads.contains(&w));
            assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [7.0, 10.0]);
        }
        Ok(())
    }

    pub fn a_training_loop_plans_once(device: Device) -> Result<()> {
        let _alone = alone();
        let model = network(device)?;
        let mut adam = Adam::new(1e-2);
        let labels = TensorSpec::new([4], DType::U8, device)?;
        let graph = Graph::trace(&[spec(&[4, 8, 8, 1], device)?, labels], |x| {
            Ok(vec![model.forward(&x[0], &Context::train(1))?.cross_entropy(&x[1])?])
        })?;
        let y = Tensor::new([0u8, 1, 2, 1], device)?;
        let mut losses = Vec::new();
        let mut stats = device.stats()?;
        for step in 0..12 {
            if step == 3 {
                stats = device.stats()?;
            }
            let x = Tensor::randn([4, 8, 8, 1], device, 1)?;
            let loss = graph.call(&[&x, &y])?.remove(0);
            adam.step(&loss.backward()?)?;
            losses.push(loss);
        }
        let after = device.stats()?;
        assert_eq!((after.plan_misses, after.pipelines), (stats.plan_misses, stats.pipelines));
        assert_eq!(after.submits - stats.submits, 9, "one submission for each step");
        let (first, last) = (losses[0].item::<f32>()?, losses[11].item::<f32>()?);
        assert!(last < 0.5 * first, "{first} to {last}");
        assert_eq!(graph.traces(), 1);
        Ok(())
    }

    pub fn frozen_variables_are_noticed(device: Device) -> Result<()> {
        let _alone = alone();
        let (a, b) = (Variable::new(Tensor::ones([2], device)?), Variable::new(Tensor::ones([2], device)?));
        let graph = Graph::trace(&[spec(&[2], device)?], |x| {
            let grads = ((&x[0] * &a)? * &b)?.sum(.., false)?.backward()?;
            Ok(vec![grads.get_or_zeros(&a)?, grads.get_or_zeros(&b)?])
        })?;
        let x = Tensor::full([2], 3.0f32, device)?;
        let both =
            || -> Result<Vec<f32>> { graph.call(&[&x])?.iter().map(|t| Ok(t.to_vec::<f32>()?[0])).collect() };
        assert_eq!(both()?, [3.0, 3.0]);
        b.set_trainable(false)?;
        assert_eq!(both()?, [3.0, 0.0]);
        b.set_trainable(true)?;
        assert_eq!(both()?, [3.0, 3.0]);
        assert_eq!((graph.traces(), graph.signatures().len()), (3, 1));
        Ok(())
    }

    pub fn random_numbers(device: Device) -> Result<()> {
        let _alone = alone();
        let model = Sequential::new()
            .add(Dropout::new(0.5))
            .add(SpatialDropout2d::new(0.5))
            .build([4, 4, 8], device)?;
        let f = |x: &[Tensor]| -> Result<Vec<Tensor>> {
            Ok(vec![model.forward(&x[0], &Context::train(5))?, Tensor::randn([9], device, 3)?])
        };
        let graph = Graph::trace(&[spec(&[2, 4, 4, 8], device)?], f)?;
        let x = Tensor::ones([2, 4, 4, 8], device)?;
        let want = f(std::slice::from_ref(&x))?;
        for _ in 0..2 {
            let got = graph.call(&[&x])?;
            assert_eq!((bits(&got[0])?, bits(&got[1])?), (bits(&want[0])?, bits(&want[1])?));
        }
        let seeded =
            |seed| -> Result<Vec<Vec<u32>>> { graph.call_seeded(&[&x], seed)?.iter().map(bits).collect() };
        let (one, two) = (seeded(1)?, seeded(2)?);
        assert_eq!(one, seeded(1)?);
        for i in 0..2 {
            assert!(one[i] != two[i] && one[i] != bits(&want[i])?);
        }
        let misses = device.stats()?.plan_misses;
        for seed in 3..8 {
            seeded(seed)?;
        }
        assert_eq!(device.stats()?.plan_misses, misses);
        Ok(())
    }

    pub fn reading_inside_is_an_error(device: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::ones([2], device)?);
        type Read = fn(&Tensor, &Variable) -> Result<()>;
        let reads: [Read; 6] = [
            |x, _| x.to_vec::<f32>().map(drop),
            |x, _| x.sum(.., false)?.item::<f32>().map(drop),
            |x, _| (x * 2.0)?.eval(),
            |_, w| w.value().to_vec::<f32>().map(drop),
            |x, w| wgrad::eval(&[&(x * w)?]),
            |x, _| x.to_device(if x.device() == Device::Cpu { Device::Gpu } else { Device::Cpu }).map(drop),
        ];
        for (i, read) in reads.iter().enumerate() {
            let error = Graph::trace(&[spec(&[2], device)?], |x| {
                read(&x[0], &w)?;
                Ok(vec![x[0].clone()])
            });
            let message = error.expect_err("it can't be read").to_string();
            assert!(message.contains("known only when the function is called"), "{i}: {message}");
        }
        // what depends on neither can be read, and a printed tensor says why it can't
        Graph::trace(&[spec(&[2], device)?], |x| {
            assert_eq!(Tensor::ones([2], device)?.sum(.., false)?.item::<f32>()?, 2.0);
            assert!(x[0].to_string().contains("known only when"));
            assert!(Graph::of(&[&x[0]]).is_err());
            Ok(Vec::new())
        })?;
        assert_eq!(w.value().to_vec::<f32>()?, [1.0; 2], "all is as before");
        Ok(())
    }

    pub fn what_has_no_place_inside(device: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::ones([2], device)?);
        let sgd = Mutex::new(Sgd::new(0.1));
        let error = Graph::trace(&[spec(&[2], device)?], |x| {
            let loss = (&x[0] * &w)?.sum(.., false)?;
            sgd.lock().expect("nobody panics").step(&loss.backward()?)?;
            Ok(vec![loss])
        });
        let message = error.expect_err("no steps inside").to_string();
        assert!(message.contains("step after the call"), "{message}");
        assert_eq!(
            (w.value().to_vec::<f32>()?, sgd.lock().expect("nobody panics").steps()),
            (vec![1.0; 2], 0)
        );
        assert!(Graph::trace(&[], |_| w.set_trainable(false).map(|()| Vec::new())).is_err());
        // a tensor of another trace
        let leaked = Mutex::new(None);
        Graph::trace(&[spec(&[2], device)?], |x| {
            *leaked.lock().expect("nobody panics") = Some((&x[0] * 2.0)?);
            Ok(Vec::new())
        })?;
        let leaked = leaked.into_inner().expect("nobody panics").expect("it was traced");
        let error = Graph::trace(&[spec(&[2], device)?], |x| Ok(vec![(&x[0] + &leaked)?]));
        assert!(error.expect_err("a foreign tensor").to_string().contains("another function"));
        // an error of the closure comes out, and leaves nothing behind
        let error = Graph::trace(&[spec(&[2], device)?], |x| Ok(vec![x[0].reshape([3])?]));
        assert!(error.expect_err("no such shape").to_string().starts_with("reshape"));
        assert_eq!(w.value().to_vec::<f32>()?, [1.0; 2]);
        Ok(())
    }

    pub fn arguments_are_checked(device: Device) -> Result<()> {
        let _alone = alone();
        let graph =
            Graph::trace(&[spec(&[2, 3], device)?, spec(&[3], device)?], |x| Ok(vec![(&x[0] + &x[1])?]))?;
        let (a, b) = (Tensor::ones([2, 3], device)?, Tensor::ones([3], device)?);
        let fails = |inputs: &[&Tensor], parts: &[&str]| {
            let message = graph.call(inputs).expect_err("wrong arguments").to_string();
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        };
        fails(&[&a], &["1 arguments", "has 2"]);
        fails(
            &[&a, &b.cast(DType::I32)?],
            &["argument 1 (of 2", "i32 [3] on", "expected f32 [3] on", "cast"],
        );
        fails(&[&b, &b], &["argument 0 (of 2", "f32 [3] on", "expected f32 [2, 3]"]);
        let other = if device == Device::Cpu { Device::Gpu } else { Device::Cpu };
        fails(&[&a, &Tensor::ones([3], other)?], &["argument 1", &format!("on {other}"), "to_device"]);
        // the closure's own error where a new shape does not fit
        fails(&[&Tensor::ones([2, 4], device)?, &b], &["add", "[2, 4]", "[3]"]);
        assert_eq!(graph.traces(), 1);
        let fixed = graph.fixed();
        assert!(fixed.call(&[&a, &b]).is_ok());
        let error = fixed.call(&[&Tensor::ones([5, 3], device)?, &b]).expect_err("another shape");
        assert!(error.to_string().contains("fixed"), "{error}");
        assert!(TensorSpec::new([2], DType::F64, Device::Gpu).is_err());
        Ok(())
    }

    pub fn nothing_in_nothing_out(device: Device) -> Result<()> {
        let _alone = alone();
        let none = Graph::trace(&[], |_| Ok(Vec::new()))?;
        assert!(none.call(&[])?.is_empty());
        check_xml(&none.to_svg()?);
        let constant = Graph::trace(&[], |_| Ok(vec![(Tensor::ones([2], device)? * 3.0)?]))?;
        assert_eq!(constant.call(&[])?[0].to_vec::<f32>()?, [3.0; 2]);
        let empty = Graph::trace(&[spec(&[0, 3], device)?], |x| Ok(vec![x[0].exp()?, x[0].sum(0, false)?]))?;
        let out = empty.call(&[&Tensor::zeros([0, 3], device)?])?;
        assert_eq!((out[0].dims(), out[1].to_vec::<f32>()?), (&[0, 3][..], vec![0.0; 3]));
        check_xml(&empty.to_svg()?);
        Ok(())
    }

    pub fn calls_within_calls(device: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::full([2], 3.0f32, device)?);
        let inner = Graph::trace(&[spec(&[2], device)?], |x| {
            w.add_assign(&x[0])?;
            Ok(vec![(&x[0] * &w)?])
        })?;
        let outer = Graph::trace(&[spec(&[2], device)?], |x| {
            let once = inner.call(&[&x[0]])?;
            inner.call(&[&once[0]])
        })?;
        let x = Tensor::ones([2], device)?;
        // w: 3 + 1 = 4, out 4; w: 4 + 4 = 8, out 32
        assert_eq!(outer.call(&[&x])?[0].to_vec::<f32>()?, [32.0; 2]);
        assert_eq!(w.value().to_vec::<f32>()?, [8.0; 2]);
        assert_eq!(outer.call(&[&x])?[0].to_vec::<f32>()?, [9.0 * 18.0; 2]);
        Ok(())
    }

    pub fn a_chain_of_any_length(device: Device) -> Result<()> {
        let _alone = alone();
        let graph = Graph::trace(&[spec(&[2], device)?], |x| {
            let mut y = x[0].clone();
            for _ in 0..5000 {
                y = (y + 1.0)?;
            }
            Ok(vec![y])
        })?;
        assert_eq!(graph.call(&[&Tensor::zeros([2], device)?])?[0].to_vec::<f32>()?, [5000.0; 2]);
        Ok(())
    }

    pub fn kernels_are_the_plans(device: Device) -> Result<()> {
        let _alone = alone();
        let model = network(device)?;
        let variables: Vec<Variable> = model.parameters().into_iter().map(|p| p.variable).collect();
        let labels = TensorSpec::new([4], DType::U8, device)?;
        let graph = Graph::trace(&[spec(&[4, 8, 8, 1], device)?, labels], |x| {
            let loss = model.forward(&x[0], &Context::train(1))?.cross_entropy(&x[1])?;
            let grads = loss.backward()?;
            let mut out = vec![loss];
            for v in &variables {
                out.push(grads.get(v)?);
            }
            Ok(out)
        })?;
        let x = Tensor::from_vec(vec![0.5f32; 256], [4, 8, 8, 1], device)?;
        let y = Tensor::new([0u8, 1, 2, 1], device)?;
        // Once before: initial values are moved to the variables then.
        wgrad::eval(&graph.call(&[&x, &y])?.iter().collect::<Vec<_>>())?;
        let diagram = graph.diagram()?;
        let out = graph.call(&[&x, &y])?;
        let before = device.stats()?;
        wgrad::eval(&out.iter().collect::<Vec<_>>())?;
        let ran = device.stats()?.dispatches - before.dispatches;
        assert_eq!(diagram.kernels().len() as u64, ran);
        // every operation but views that are read in place is computed somewhere, and kernels agree with nodes
        for (n, node) in diagram.nodes().iter().enumerate() {
            let leaf = node.kind != NodeKind::Operation;
            assert!(!leaf || node.kernels.is_empty());
            for &k in &node.kernels {
                assert!(diagram.kernels()[k].nodes.contains(&n));
            }
            assert!(node.inputs.iter().all(|&i| i < n));
        }
        let computed = |name: &str| {
            let mut of = diagram.nodes().iter().filter(|n| n.name == name).peekable();
            of.peek().is_some() && of.all(|n| !n.kernels.is_empty())
        };
        assert!(computed("conv2d") && computed("matmul") && computed("relu") && computed("max_pool2d"));
        // bias and relu are computed in the convolution's kernel
        let conv = diagram.nodes().iter().find(|n| n.name == "conv2d").expect("there is one");
        let relu = diagram.nodes().iter().find(|n| n.name == "relu").expect("there is one");
        assert_eq!(conv.kernels[0], relu.kernels[0]);

        let dot = diagram.to_dot();
        for n in 0..diagram.nodes().len() {
            assert_eq!(dot.matches(&format!("  n{n} [label=")).count(), 1, "node {n}");
        }
        assert_eq!(dot.matches("subgraph cluster_").count(), diagram.kernels().len());
        let edges: usize = diagram.nodes().iter().map(|n| n.inputs.len()).sum();
        assert_eq!(dot.matches(" -> ").count(), edges);
        assert_eq!(dot.matches('{').count(), dot.matches('}').count());

        let text = graph.to_string();
        assert!(text.starts_with("2 inputs, 6 variables, "), "{text}");
        assert!(text.contains("= output 0") && text.contains("f32 [4, 8, 8, 1]"), "{text}");
        Ok(())
    }

    pub fn pictures_are_well_formed(device: Device) -> Result<()> {
        let _alone = alone();
        let model = network(device)?;
        let graph = Graph::trace(&[spec(&[4, 8, 8, 1], device)?], |x| {
            let y = model.forward(&x[0], &Context::eval())?.softmax(-1)?;
            Ok(vec![y.argmax(-1, false)?, y.ge(0.5)?, (y.max(.., false)? * 2.0)?])
        })?;
        let svg = graph.to_svg()?;
        check_xml(&svg);
        let diagram = graph.diagram()?;
        for name in ["conv2d", "matmul", "softmax", "argmax", "input 0", "variable 5", "f32 [4, 8, 8, 1]"] {
            assert!(svg.contains(name), "{name}");
        }
        assert!(!svg.contains("scalar"), "numbers stand in the boxes of their users");
        assert!(svg.contains("= output 2") && svg.contains(&format!("{}  ", diagram.kernels().len() - 1)));
        let folder = tempfile::tempdir().expect("a folder");
        let (dot, picture) = (folder.path().join("g.dot"), folder.path().join("g.svg"));
        graph.save_dot(&dot)?;
        graph.save_svg(&picture)?;
        assert_eq!(std::fs::read_to_string(&picture).expect("it was written"), svg);
        assert_eq!(std::fs::read_to_string(&dot).expect("it was written"), graph.to_dot()?);
        assert!(graph.save_svg(folder.path().join("missing/g.svg")).is_err());
        Ok(())
    }

    pub fn pending_tensors_can_be_drawn(device: Device) -> Result<()> {
        let _alone = alone();
        let x = Tensor::from_vec((0..12).map(|v| v as f32).collect(), [3, 4], device)?;
        let hidden = (&x * 0.5)?.relu()?;
        let sum = hidden.exp()?.sum(-1, false)?;
        let diagram = Graph::of(&[&sum])?;
        let before = device.stats()?;
        sum.eval()?;
        let ran = device.stats()?.dispatches - before.dispatches;
        assert_eq!(diagram.kernels().len() as u64, ran);
        assert_eq!(diagram.nodes().iter().filter(|n| n.kind == NodeKind::Constant).count(), 1);
        check_xml(&diagram.to_svg());
        // all is computed now
        let done = Graph::of(&[&sum, &hidden])?;
        assert!(done.kernels().is_empty() && done.nodes().len() == 2);
        assert_eq!(done.nodes()[0].results, ["output 0"]);
        Ok(())
    }
}
