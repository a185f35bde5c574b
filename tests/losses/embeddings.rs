//! Losses of embeddings, as PyTorch and TensorFlow Addons compute them, and BLEU, as sacreBLEU and NLTK do
//! (tests/golden/embeddings.py).

use super::common::{DEVICES, tensor, values};
use super::{F64, close, numbers};
use serde_json::Value;
use wgrad::nn::{
    Contrastive, CosineEmbedding, InfoNce, Loss, NtXent, TripletHard, TripletMargin, TripletSemiHard,
};
use wgrad::prelude::*;
use wgrad::train::{Bleu, BleuSmoothing};

fn golden(part: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../golden/embeddings.json")).expect("valid JSON");
    file[part].as_array().expect("entries").clone()
}

/// The mean loss of an entry, as each call gives it.
fn loss_of(name: &str, a: &[f64], x: &[Tensor], targets: &Tensor) -> Result<Vec<Tensor>> {
    let of = |loss: &dyn Loss, y: &Tensor, t: &Tensor| -> Result<Vec<Tensor>> {
        Ok(vec![
            loss.compute(y, t)?,
            loss.weighted(y, t, &Tensor::ones([y.dims()[0]], y.device())?.cast(y.dtype())?)?,
        ])
    };
    let stacked = || Tensor::stack(x, 1);
    match name {
        "triplet_margin" => {
            let loss = TripletMargin::new().margin(a[0]).p(a[1]).swap(a[2] == 1.0);
            let each = loss.of(&x[0], &x[1], &x[2])?.mean(.., false)?;
            Ok([vec![each], of(&loss, &stacked()?, targets)?].concat())
        }
        "cosine_embedding" => {
            let loss = CosineEmbedding::new().margin(a[0]);
            let each = loss.of(&x[0], &x[1], targets)?.mean(.., false)?;
            Ok([vec![each], of(&loss, &stacked()?, targets)?].concat())
        }
        "info_nce" => of(&InfoNce::new(a[0]).symmetric(a[1] == 1.0), &x[0], &x[1]),
        "nt_xent" => of(&NtXent::new(a[0]), &x[0], &x[1]),
        "triplet_semi_hard" => of(&TripletSemiHard::new(a[0]).squared(a[1] == 1.0), &x[0], targets),
        "triplet_hard" => of(&TripletHard::new(a[0]).squared(a[1] == 1.0).soft(a[2] == 1.0), &x[0], targets),
        "contrastive" => of(&Contrastive::new(a[0]), &x[0], targets),
        other => panic!("embeddings.rs does not know {other}"),
    }
}

#[test]
fn losses_of_embeddings_and_their_gradients() -> Result<()> {
    let entries = golden("losses");
    assert!(entries.len() > 30, "the file is not whole");
    let mut failures = Vec::new();
    for (float, device, tolerance) in
        [(DType::F64, Device::Cpu, F64), (DType::F32, Device::Cpu, 2e-5), (DType::F32, Device::Gpu, 2e-5)]
    {
        for entry in &entries {
            let name = entry["name"].as_str().expect("a name");
            let what = format!("{name} {} {float} on {device}", entry["args"]);
            let mut x = Vec::new();
            for input in entry["inputs"].as_array().expect("inputs") {
                let dims: Vec<usize> = numbers(&input["shape"]).into_iter().map(|n| n as usize).collect();
                x.push(tensor(&numbers(&input["values"]), &dims, float, device)?.watch()?);
            }
            let targets = match entry["targets"].is_array() {
                true => numbers(&entry["targets"]),
                false => vec![0.0; x[0].dims()[0]],
            };
            let targets = tensor(&targets, &[targets.len()], DType::I32, device)?;
            for (call, value) in loss_of(name, &numbers(&entry["args"]), &x, &targets)?.iter().enumerate() {
                let grads = value.backward()?;
                let mut got = values(value)?;
                let mut want = vec![entry["value"].as_f64().expect("a number")];
                for (x, grad) in x.iter().zip(entry["grads"].as_array().expect("gradients")) {
                    got.extend(values(&grads.get(x)?)?);
                    want.extend(numbers(grad));
                }
                assert_eq!(got.len(), want.len(), "{what}");
                for (k, (&g, &w)) in got.iter().zip(&want).enumerate() {
                    if !close(g, w, tolerance) {
                        failures.push(format!("{what}, call {call}, number {k}: {g:e}, expected {w:e}"));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Samples without a partner, or without another, are no triplets: they don't count, and nothing becomes infinite.
#[test]
fn what_is_no_triplet_does_not_count() -> Result<()> {
    for device in DEVICES {
        let x = Tensor::new([[0.0f32, 0.0], [1.0, 0.0], [1.0, 2.0], [5.0, 0.0]], device)?.watch()?;
        let hard = TripletHard::new(1.0);
        let semi = TripletSemiHard::new(1.0);
        // 0 and 1 are alike, 2 and 3 are alone: anchors 0 and 1 remain.
        let labels = Tensor::new([7u32, 7, 1, 2], device)?;
        let want = ((1.0 + 1.0 - 5f64.sqrt()).max(0.0) + (1.0 + 1.0 - 2.0)) / 2.0;
        for loss in [&hard as &dyn Loss, &semi] {
            let value = loss.compute(&x, &labels)?;
            assert!((f64::from(value.item::<f32>()?) - want).abs() < 1e-6, "{device}");
            assert_eq!(loss.count(&x, &labels)?.expect("a number").item::<f32>()?, 2.0);
            assert!(values(&value.backward()?.get(&x)?)?.iter().all(|g| g.is_finite()));
        }
        for labels in [[3u32, 3, 3, 3], [0, 1, 2, 3]] {
            let labels = Tensor::new(labels, device)?;
            for loss in [&hard as &dyn Loss, &semi, &TripletHard::new(1.0).soft(true)] {
                let value = loss.compute(&x, &labels)?;
                assert_eq!(value.item::<f32>()?, 0.0);
                assert_eq!(values(&value.backward()?.get(&x)?)?, [0.0; 8]);
            }
        }
        // Two that are one: the gradient of their distance is 0.
        let twins = Tensor::new([[1.0f32], [1.0], [1.0]], device)?.watch()?;
        let value = hard.compute(&twins, &Tensor::new([0u32, 0, 1], device)?)?;
        assert_eq!(value.item::<f32>()?, 1.0);
        assert_eq!(values(&value.backward()?.get(&twins)?)?, [0.0; 3]);
        // No samples: no losses.
        let nothing = Tensor::zeros([0, 3], device)?;
        let labels = Tensor::zeros([0], device)?.cast(DType::U32)?;
        for loss in [&hard as &dyn Loss, &semi, &InfoNce::new(1.0), &NtXent::new(1.0)] {
            let targets = if loss.count(&nothing, &labels)?.is_some() { &labels } else { &nothing };
            assert_eq!(loss.per_sample(&nothing, targets)?.dims(), [0]);
        }
        // Vectors of zeros have no direction.
        let zeros = Tensor::zeros([2, 3], device)?.watch()?;
        for loss in [&InfoNce::new(0.1) as &dyn Loss, &NtXent::new(0.1)] {
            let value = loss.compute(&zeros, &zeros)?;
            assert!((f64::from(value.item::<f32>()?).exp().round() - 2.0).abs() <= 1.0);
            assert!(values(&value.backward()?.get(&zeros)?)?.iter().all(|g| *g == 0.0));
        }
    }
    Ok(())
}

#[test]
fn mistakes_in_losses_of_embeddings_are_told() -> Result<()> {
    let x = Tensor::ones([3, 2], Device::Cpu)?;
    let labels = Tensor::new([0u32, 1, 0], Device::Cpu)?;
    let other = Tensor::ones([2, 2], Device::Cpu)?;
    for (result, expected) in [
        (TripletHard::new(-1.0).compute(&x, &labels), "TripletHard: the margin is -1; expected 0 to inf"),
        (TripletSemiHard::new(f64::INFINITY).compute(&x, &labels), "TripletSemiHard: the margin is inf"),
        (
            TripletHard::new(1.0).compute(&x, &x),
            "TripletHard: targets are f32 [3, 2]; expected integer labels",
        ),
        (
            TripletHard::new(1.0).compute(&other, &labels),
            "TripletHard: outputs are [2, 2], targets [3]; expected [batch, features] and a label for each",
        ),
        (
            InfoNce::new(0.0).compute(&x, &x),
            "InfoNce: the temperature is 0; expected a finite number above 0",
        ),
        (InfoNce::new(1.0).compute(&x, &other), "InfoNce: outputs are [3, 2], targets [2, 2]"),
        (NtXent::new(1.0).compute(&labels, &labels), "NtXent: outputs are [3]; expected [batch, features]"),
        (
            CosineEmbedding::new().margin(2.0).of(&x, &x, &labels),
            "CosineEmbedding: the margin is 2; expected -1 to 1",
        ),
        (
            CosineEmbedding::new().of(&x, &other, &labels),
            "CosineEmbedding: got [3, 2], [2, 2]; expected vectors",
        ),
        (
            CosineEmbedding::new().of(&other, &other, &labels),
            "CosineEmbedding: targets are [3]; expected one for each pair, [2]",
        ),
        (
            CosineEmbedding::new().compute(&x, &labels),
            "CosineEmbedding: outputs are [3, 2]; expected [batch, 2, features]",
        ),
        (
            TripletMargin::new().p(0.0).of(&x, &x, &x),
            "TripletMargin: the order of the norm is 0; expected a number above 0",
        ),
        (
            TripletMargin::new().compute(&x, &labels),
            "TripletMargin: outputs are [3, 2]; expected [batch, 3, features]",
        ),
        (
            Contrastive::new(1.0).of_pairs(&x, &x, &x),
            "Contrastive: targets are [3, 2]; expected one for each pair, [3]",
        ),
        (Contrastive::new(f64::NAN).compute(&x, &x), "Contrastive: the margin is NaN"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}\nexpected: {expected}");
    }
    Ok(())
}

#[test]
fn bleu_is_sacrebleus_and_nltks() -> Result<()> {
    let tokens = |v: &Value| numbers(v).into_iter().map(|n| n as u32).collect::<Vec<u32>>();
    let entries = golden("bleu");
    assert!(entries.len() > 10, "the file is not whole");
    for entry in &entries {
        let written: Vec<Vec<u32>> =
            entry["written"].as_array().expect("sentences").iter().map(tokens).collect();
        let references = entry["references"].as_array().expect("lists").iter();
        let references: Vec<Vec<Vec<u32>>> =
            references.map(|list| list.as_array().expect("a list").iter().map(tokens).collect()).collect();
        let by = entry["smoothing"][1].as_f64().expect("a number");
        let smoothing = match entry["smoothing"][0].as_str().expect("a method") {
            "floor" => BleuSmoothing::Floor(by),
            "add" => BleuSmoothing::Add(by),
            "exponential" => BleuSmoothing::Exponential,
            _ => BleuSmoothing::None,
        };
        let bleu = Bleu::new()
            .max_order(entry["order"].as_u64().expect("an order") as usize)
            .smoothing(smoothing)
            .effective_order(entry["effective"] == true);
        let (score, want) = (bleu.corpus(&written, &references)?, entry["score"].as_f64().expect("a score"));
        assert!((score - want).abs() < 1e-12, "{bleu:?}: {score}, expected {want}");
    }
    let nothing: [[u8; 0]; 1] = [[]];
    assert_eq!(Bleu::new().corpus(&nothing, &[[b"abcd"]])?, 0.0);
    assert_eq!(Bleu::new().corpus::<u8, &[u8], &[u8], [&[u8]; 1]>(&[], &[])?, 0.0);
    assert!((Bleu::new().sentence(b"abcde", &[b"abcde"])? - 1.0).abs() < 1e-15);
    let none: [&[u8]; 0] = [];
    for (result, expected) in [
        (
            Bleu::new().max_order(0).sentence(b"a", &[b"a"]),
            "Bleu: expects n-grams of at least one token, got 0",
        ),
        (Bleu::new().sentence(b"a", &none), "Bleu: sentence 0 has no reference"),
        (Bleu::new().corpus(&[b"a"], &[[b"a"], [b"b"]]), "Bleu: got 1 sentences and 2 lists of references"),
        (
            Bleu::new().smoothing(BleuSmoothing::Floor(f64::NAN)).sentence(b"a", &[b"a"]),
            "Bleu: the smoothing is NaN; expected a finite number of at least 0",
        ),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    Ok(())
}
