//! Recurrent layers run with states and masks: against Keras, finite differences, and themselves in parts.

use super::alone;
use crate::common::{DEVICES, assert_close, tensor, values};
use serde_json::Value;
use wgrad::nn::{
    Bidirectional, Context, Gru, Layer, Lstm, Module, Recurrent, RecurrentLayer, SimpleRnn, TimeDistributed,
    sequence_mask,
};
use wgrad::prelude::*;
use wgrad::testing::{check_gradients, check_module_gradients};

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn sizes(v: &Value) -> Vec<usize> {
    numbers(v).into_iter().map(|n| n as usize).collect()
}

fn array(v: &Value, device: Device) -> Result<Tensor> {
    tensor(&numbers(&v["values"]), &sizes(&v["shape"]), DType::F32, device)
}

fn module(layer: &str, a: &[usize], features: usize, device: Device) -> Result<Recurrent> {
    let (backwards, sequences) = (a[1] == 1, a[2] == 1);
    match layer {
        "simple_rnn" => {
            let layer = SimpleRnn::new(a[0]).go_backwards(backwards).return_sequences(sequences);
            layer.module(features, device, 1)
        }
        "lstm" => {
            Lstm::new(a[0]).go_backwards(backwards).return_sequences(sequences).module(features, device, 1)
        }
        _ => Gru::new(a[0]).go_backwards(backwards).return_sequences(sequences).module(features, device, 1),
    }
}

/// Output, state and gradients of tests/golden/sequences.py.
#[test]
fn states_and_masks_are_keras_s() -> Result<()> {
    let _alone = alone();
    let file: Value = serde_json::from_str(include_str!("../golden/recurrent.json")).expect("valid JSON");
    let runs = file["runs"].as_array().expect("runs");
    assert!(runs.len() > 12, "the file is not whole");
    for device in DEVICES {
        for run in runs {
            let what = format!("{} {} {} on {device}", run["layer"], run["args"], run["note"]);
            let x = array(&run["input"], device)?.watch()?;
            let state: Vec<Tensor> = run["state"]
                .as_array()
                .expect("states")
                .iter()
                .map(|s| array(s, device)?.watch())
                .collect::<Result<_>>()?;
            let mask = numbers(&run["mask"]);
            let mask = match mask.is_empty() {
                true => None,
                false => Some(tensor(&mask, &x.dims()[..2], DType::I32, device)?),
            };
            let layer = run["layer"].as_str().expect("a name");
            let module = module(layer, &sizes(&run["args"]), x.dims()[2], device)?;
            let mut weights = Vec::new();
            for weight in run["weights"].as_array().expect("weights") {
                let variable = module.parameter(weight["name"].as_str().expect("a name"))?.variable;
                variable.set(array(weight, device)?)?;
                weights.push(variable);
            }
            let out = module.run(&x, Some(&state), mask.as_ref(), &Context::train(1))?;
            let results: Vec<&Tensor> = std::iter::once(&out.output).chain(&out.state).collect();
            let mut loss = Tensor::zeros([], device)?;
            let expected = run["results"].as_array().expect("results");
            assert_eq!(results.len(), expected.len(), "{what}");
            for (result, want) in results.iter().zip(expected) {
                assert_eq!(result.dims(), sizes(&want["shape"]), "{what}");
                let upstream = tensor(&numbers(&want["upstream"]), result.dims(), DType::F32, device)?;
                loss = (loss + (*result * upstream)?.sum(.., false)?)?;
            }
            let grads = loss.backward()?;
            let mut found = vec![grads.get(&x)?];
            for s in &state {
                found.push(grads.get(s)?);
            }
            for w in &weights {
                found.push(grads.get(w)?);
            }
            for (result, want) in results.iter().zip(expected) {
                assert_close(&values(result)?, &numbers(&want["values"]), 4e-6, &what);
            }
            for (i, (got, want)) in found.iter().zip(run["grads"].as_array().expect("gradients")).enumerate()
            {
                // Before the first step that counts Keras gives zeros, wgrad the state. That is zero here, but not its gradient.
                if run["note"] == "mask" && (1..=state.len()).contains(&i) {
                    continue;
                }
                assert_close(&values(got)?, &numbers(want), 1e-5, &format!("gradient {i} of {what}"));
            }
        }
    }
    Ok(())
}

fn each(units: usize) -> [RecurrentLayer; 4] {
    [
        SimpleRnn::new(units).return_sequences(true).into(),
        Lstm::new(units).return_sequences(true).into(),
        Gru::new(units).return_sequences(true).into(),
        Gru::new(units).reset_after(false).return_sequences(true).into(),
    ]
}

fn built(layer: RecurrentLayer, features: usize, device: Device) -> Result<Recurrent> {
    match layer {
        RecurrentLayer::SimpleRnn(layer) => layer.module(features, device, 3),
        RecurrentLayer::Lstm(layer) => layer.module(features, device, 3),
        RecurrentLayer::Gru(layer) => layer.module(features, device, 3),
        other => panic!("the tests know no {other:?}"),
    }
}

/// In f64, of parameters, input and state; and of the gradient itself.
#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    let _alone = alone();
    let x = Tensor::randn([2, 3, 2], Device::Cpu, 1)?;
    for layer in each(2) {
        let module = built(layer, 2, Device::Cpu)?;
        check_module_gradients(&module, std::slice::from_ref(&x))?;
    }
    let stack = Sequential::new()
        .add(Bidirectional::new(Lstm::new(2).return_sequences(true).dropout(0.25).recurrent_dropout(0.25)))
        .add(TimeDistributed::new(Dense::new(2)))
        .add(Gru::new(2).go_backwards(true));
    check_module_gradients(&stack.build((None, 2), Device::Cpu)?, std::slice::from_ref(&x))?;
    // The second derivative, with a state and a mask: all in f64, the weights among the inputs of a product.
    let mask = sequence_mask(&Tensor::new([3u32, 2], Device::Cpu)?, 3)?;
    for layer in each(2) {
        let module = built(layer, 2, Device::Cpu)?;
        for p in module.parameters() {
            p.variable.set_trainable(false)?;
        }
        let state = module.zero_state(2)?;
        let mut inputs = vec![x.clone()];
        for (i, s) in state.iter().enumerate() {
            inputs.push(Tensor::randn(s.shape(), Device::Cpu, 7 + i as u64)?);
        }
        check_gradients(
            |t| {
                let out = module.run(&t[0], Some(&t[1..]), Some(&mask), &Context::eval())?;
                let sum = (out.output.square()?.sum(.., false)? + out.state[0].sin()?.sum(.., false)?)?;
                let grads = sum.backward()?;
                t.iter().map(|x| grads.get(x)).collect::<Result<Vec<_>>>()
            },
            &inputs,
        )?;
    }
    Ok(())
}

/// No steps, one step, no samples: shapes and values as if they were many.
#[test]
fn few_steps_and_samples() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        for layer in each(3) {
            let module = built(layer.clone(), 2, device)?;
            let states = module.zero_state(1)?.len();
            for (n, time) in [(2, 0), (0, 3), (0, 0), (1, 1), (2, 1)] {
                let x = Tensor::ones([n, time, 2], device)?.watch()?;
                let state: Vec<Tensor> = (0..states)
                    .map(|i| Tensor::full([n, 3], 0.5 + i as f64, device))
                    .collect::<Result<_>>()?;
                let out = module.run(&x, Some(&state), None, &Context::train(1))?;
                assert_eq!(out.output.shape(), [n, time, 3]);
                let last = out.state[0].to_vec::<f32>()?;
                match time {
                    0 => assert_eq!(last, vec![0.5; n * 3]),
                    _ => assert_eq!(last, out.output.slice(1, time - 1, 1)?.to_vec::<f32>()?),
                }
                if time > 0 {
                    let grads = out.output.sum(.., false)?.backward()?;
                    assert_eq!(grads.get(&x)?.to_vec::<f32>()?.len(), n * time * 2, "{layer:?} {n} {time}");
                    let w = module.parameter("recurrent_weight")?.variable;
                    let sum = grads.get(&w)?.abs()?.sum(.., false)?.item::<f32>()?;
                    assert!((sum > 0.0) == (n > 0), "{layer:?} {n} {time}: {sum}");
                }
            }
        }
        let both = Sequential::new().add(Bidirectional::new(Lstm::new(3))).build((None, 2), device)?;
        for (n, time) in [(2, 0), (0, 3), (1, 1)] {
            let y = both.infer(&Tensor::ones([n, time, 2], device)?)?;
            assert_eq!(y.shape(), [n, 6]);
            assert_eq!(y.to_vec::<f32>()?.iter().all(|v| *v == 0.0), time * n == 0);
        }
        let words = TimeDistributed::new(wgrad::nn::Embedding::new(5, 2));
        let model = Sequential::new().add(words).build((None, 3), device)?;
        for time in [0, 4] {
            let x = Tensor::zeros([2, time, 3], device)?.cast(DType::U32)?;
            assert_eq!(model.infer(&x)?.shape(), [2, time, 3, 2]);
            assert_eq!(model.infer(&x)?.to_vec::<f32>()?.len(), 12 * time);
        }
    }
    Ok(())
}

/// What stands where the mask is 0 has no effect, on values or gradients, be it NaN.
#[test]
fn masked_steps_have_no_effect() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let mask = sequence_mask(&Tensor::new([2u8, 4], device)?, 4)?;
        for layer in each(3) {
            let module = built(layer, 2, device)?;
            let outcome = |fill: f32| -> Result<Vec<Vec<f64>>> {
                let mut x: Vec<f32> = (0..16).map(|i| (i as f32 * 0.7).sin()).collect();
                x[4..8].fill(fill);
                let x = Tensor::from_vec(x, [2, 4, 2], device)?.watch()?;
                let out = module.run(&x, None, Some(&mask), &Context::train(1))?;
                let grads = out.output.sum(.., false)?.backward()?;
                let mut all = vec![out.output.clone(), grads.get(&x)?];
                for p in module.parameters() {
                    all.push(grads.get(&p.variable)?);
                }
                all.iter().map(values).collect()
            };
            let (zeros, nan) = (outcome(0.0)?, outcome(f32::NAN)?);
            assert_eq!(zeros, nan, "{device}");
            assert_eq!(zeros[0][3..6], zeros[0][6..9], "the output before is repeated");
            assert_eq!(zeros[1][4..8], [0.0; 4]);
        }
    }
    Ok(())
}

/// The same features are dropped at all steps, others for other samples; a state is dropped where it is multiplied only.
#[test]
fn dropout_is_the_same_at_all_steps() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let layer = SimpleRnn::new(64).return_sequences(true).activation(Activation::Linear).dropout(0.5);
        let module = layer.module(64, device, 1)?;
        module.parameter("weight")?.variable.set(Tensor::eye(64, device)?)?;
        module.parameter("recurrent_weight")?.variable.set(Tensor::zeros([64, 64], device)?)?;
        let y = module.forward(&Tensor::ones([2, 3, 64], device)?, &Context::train(3))?;
        let y = y.to_vec::<f32>()?;
        assert!(y.iter().all(|&v| v == 0.0 || v == 2.0));
        let rows: Vec<&[f32]> = y.chunks(64).collect();
        assert!(rows[0] == rows[1] && rows[1] == rows[2] && rows[3] == rows[5] && rows[0] != rows[3]);
        let dropped = y.iter().filter(|v| **v == 0.0).count() as f32 / y.len() as f32;
        assert!((dropped - 0.5).abs() < 0.15, "{dropped}");
        assert_eq!(module.infer(&Tensor::ones([1, 1, 64], device)?)?.to_vec::<f32>()?, [1.0; 64]);
        let layer = SimpleRnn::new(64).return_sequences(true).activation(Activation::Linear);
        let module = layer.recurrent_dropout(0.5).module(64, device, 1)?;
        module.parameter("weight")?.variable.set(Tensor::eye(64, device)?)?;
        module.parameter("recurrent_weight")?.variable.set(Tensor::eye(64, device)?)?;
        let y = module.forward(&Tensor::ones([1, 3, 64], device)?, &Context::train(3))?.to_vec::<f32>()?;
        let kept: Vec<bool> = y[64..128].iter().map(|&v| v == 3.0).collect();
        assert!(y[..64] == [1.0; 64] && kept.iter().any(|k| *k) && !kept.iter().all(|k| *k));
        // 1 + 2 * 3 where it is kept, else 1
        let want: Vec<f32> = kept.iter().map(|&k| if k { 7.0 } else { 1.0 }).collect();
        assert_eq!(y[128..], want[..]);
    }
    Ok(())
}

/// Another length or batch compiles nothing new: the second length may (a class of sizes), the others don't.
#[test]
fn other_lengths_make_no_new_pipelines() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    let model = Sequential::new()
        .add(Bidirectional::new(Lstm::new(12).return_sequences(true)))
        .add(Gru::new(8))
        .add(Dense::new(1))
        .build((None, 3), device)?;
    let mut adam = Adam::new(1e-3);
    let mut step = |n: usize, time: usize| -> Result<u64> {
        let x = Tensor::randn([n, time, 3], device, 1)?;
        let loss = model.forward(&x, &Context::train(1))?.square()?.mean(.., false)?;
        adam.step(&loss.backward()?)?;
        loss.item::<f32>()?;
        Ok(device.stats()?.pipelines)
    };
    step(4, 7)?;
    let first = step(4, 9)?;
    for (n, time) in [(4, 8), (4, 23), (4, 50), (4, 11)] {
        assert_eq!(step(n, time)?, first, "{n} sequences of {time} steps");
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let _alone = alone();
    let module = Lstm::new(3).module(2, Device::Cpu, 1)?;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, Device::Cpu);
    let cx = Context::eval();
    let told = |state: Option<&[Tensor]>, mask: Option<&Tensor>, shape: &[usize]| -> Result<String> {
        let error = module.run(&zeros(shape)?, state, mask, &cx).err();
        Ok(error.map(|e| e.to_string()).unwrap_or_default())
    };
    assert_eq!(told(None, None, &[4, 2])?, "Lstm: expects [batch, time, features], got [4, 2]");
    assert_eq!(told(None, None, &[4, 5, 3])?, "Lstm: expects [batch, time, 2], got [4, 5, 3]");
    let one = [zeros(&[4, 3])?];
    let message = told(Some(&one), None, &[4, 5, 2])?;
    assert!(message.contains("a state of 2 of shape [batch, units] = [4, 3], got 1 of [4, 3]"), "{message}");
    let wrong = [zeros(&[4, 3])?, zeros(&[3, 3])?];
    assert!(told(Some(&wrong), None, &[4, 5, 2])?.contains("got 2 of [4, 3], [3, 3]; hand on what run gave"));
    let message = told(None, Some(&zeros(&[4])?), &[4, 5, 2])?;
    assert!(message.contains("a mask [batch, time] = [4, 5] for [4, 5, 2], got [4]"), "{message}");
    let message = sequence_mask(&zeros(&[4])?, 5).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("expects integers [batch], got f32 [4]"), "{message}");
    assert!(Lstm::new(0).module(2, Device::Cpu, 1).is_err());
    Ok(())
}

/// Sequences cut into batches are what they are in one, until the state is forgotten; gradients stay within a batch.
#[test]
fn stateful_layers_go_on_where_they_ended() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let whole = |layer: RecurrentLayer, stateful: bool| {
            let layer: Box<dyn Layer> = match layer {
                RecurrentLayer::Lstm(l) => Box::new(l.stateful(stateful)),
                RecurrentLayer::Gru(l) => Box::new(l.stateful(stateful)),
                other => panic!("{other:?}"),
            };
            Sequential::new().add(layer).add(Dense::new(2)).seed(3).build((None, 3), device)
        };
        let x = tensor(&crate::common::direction(4, 2 * 9 * 3), &[2, 9, 3], DType::F32, device)?;
        let layers: [RecurrentLayer; 2] = [Lstm::new(4).into(), Gru::new(3).return_sequences(true).into()];
        for layer in layers {
            let (plain, stateful) = (whole(layer.clone(), false)?, whole(layer, true)?);
            let parts = |from: usize, n: usize| x.slice(1, from, n);
            let want = values(&plain.infer(&x)?)?;
            for _ in 0..2 {
                stateful.reset_states();
                let first = values(&stateful.infer(&parts(0, 4)?)?)?;
                // In training, too, beside a batch of another length.
                let cx = Context::train(1);
                let second = stateful.forward(&parts(4, 2)?, &cx)?;
                let pending = cx.take_also_compute();
                wgrad::eval(&pending.iter().chain([&second]).collect::<Vec<_>>())?;
                let third = values(&stateful.infer(&parts(6, 3)?)?)?;
                let end = &want[want.len() - 2..];
                assert_close(&third[third.len() - 2..], end, 1e-5, &format!("{device}"));
                assert_close(&first, &values(&plain.infer(&parts(0, 4)?)?)?, 1e-6, "from zeros");
                let grads = second.sum(.., false)?.backward()?;
                assert!(grads.get(&stateful.parameters()[0].variable)?.dims()[0] == 3);
            }
            let message = stateful.infer(&x.slice(0, 0, 1)?).unwrap_err().to_string();
            assert!(message.contains("one size until reset_states is called"), "{message}");
            stateful.reset_states();
            drop(stateful.infer(&x.slice(0, 0, 1)?)?);
            let spec = wgrad::TensorSpec::f32([2, 4, 3], device)?;
            let message = wgrad::Graph::trace(&[spec], |x| Ok(vec![stateful.infer(&x[0])?]));
            assert!(message.is_err_and(|e| e.to_string().contains("hand the state on by Recurrent::run")));
        }
        let both =
            Sequential::new().add(Bidirectional::new(Gru::new(2).stateful(true))).build([3, 3], device)?;
        let first = values(&both.infer(&x.slice(1, 0, 3)?)?)?;
        assert_ne!(values(&both.infer(&x.slice(1, 0, 3)?)?)?, first);
        both.reset_states();
        assert_eq!(values(&both.infer(&x.slice(1, 0, 3)?)?)?, first);
    }
    Ok(())
}
