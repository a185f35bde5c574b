//! Several batches are the one batch that holds them: updates and losses against a classifier in float64.

use wgrad::data::Dataset;
use wgrad::nn::{Functional, Regularizer};
use wgrad::prelude::*;

const FEATURES: usize = 4;
const CLASSES: usize = 3;
const SAMPLES: usize = 10;
const L2: f64 = 0.05;
const RATE: f64 = 0.5;

/// Weights and biases of a linear classifier.
#[derive(Clone, Debug)]
struct Linear {
    weight: [[f64; CLASSES]; FEATURES],
    bias: [f64; CLASSES],
}

/// What each sample is, and what it counts for.
#[derive(Clone)]
struct Rows {
    x: Vec<[f64; FEATURES]>,
    labels: Vec<i64>,
    weights: Vec<f64>,
    ignored: Option<i64>,
}

fn features() -> Vec<[f64; FEATURES]> {
    let value = |i: usize, k: usize| f64::from(((i * 37 + k * 11 + i * k * 5) % 16) as u8) / 8.0 - 1.0;
    (0..SAMPLES).map(|i| std::array::from_fn(|k| value(i, k))).collect()
}

fn start(seed: usize) -> Linear {
    let value = |i: usize, k: usize| f64::from(((i * 29 + k * 13 + seed * 7) % 16) as u8) / 16.0 - 0.5;
    Linear {
        weight: std::array::from_fn(|i| std::array::from_fn(|k| value(i, k))),
        bias: std::array::from_fn(|k| value(9, k)),
    }
}

impl Rows {
    fn counts(&self, i: usize) -> bool {
        Some(self.labels[i]) != self.ignored
    }

    /// The mean loss of some samples over those that count, and its gradient.
    fn mean(&self, model: &Linear, samples: std::ops::Range<usize>) -> (f64, Linear) {
        let mut loss = 0.0;
        let mut grad = Linear { weight: [[0.0; CLASSES]; FEATURES], bias: [0.0; CLASSES] };
        let counted = samples.clone().filter(|&i| self.counts(i)).count().max(1) as f64;
        for i in samples.filter(|&i| self.counts(i)) {
            let logit = |k: usize| {
                (0..FEATURES).map(|j| self.x[i][j] * model.weight[j][k]).sum::<f64>() + model.bias[k]
            };
            let logits: [f64; CLASSES] = std::array::from_fn(logit);
            let sum: f64 = logits.iter().map(|v| v.exp()).sum();
            let scale = self.weights[i] / counted;
            loss += scale * (sum.ln() - logits[self.labels[i] as usize]);
            for k in 0..CLASSES {
                let right = f64::from(u8::from(self.labels[i] == k as i64));
                let g = scale * (logits[k].exp() / sum - right);
                grad.bias[k] += g;
                for j in 0..FEATURES {
                    grad.weight[j][k] += g * self.x[i][j];
                }
            }
        }
        (loss, grad)
    }

    /// The classifier after one update for each of these groups of samples.
    fn train(&self, mut model: Linear, groups: &[std::ops::Range<usize>], rate: f64, l2: f64) -> Linear {
        for group in groups {
            let (_, grad) = self.mean(&model, group.clone());
            for k in 0..CLASSES {
                model.bias[k] -= rate * grad.bias[k];
                for j in 0..FEATURES {
                    model.weight[j][k] -= RATE * 2.0 * l2 * model.weight[j][k] + rate * grad.weight[j][k];
                }
            }
        }
        model
    }

    fn tensors(&self) -> Result<(Tensor, Tensor, Tensor)> {
        let x = self.x.iter().flatten().map(|&v| v as f32).collect();
        let labels = self.labels.iter().map(|&v| v as i32).collect();
        let weights = self.weights.iter().map(|&v| v as f32).collect();
        Ok((
            Tensor::from_vec(x, [SAMPLES, FEATURES], Device::Cpu)?,
            Tensor::from_vec::<i32>(labels, [SAMPLES], Device::Cpu)?,
            Tensor::from_vec(weights, [SAMPLES], Device::Cpu)?,
        ))
    }
}

fn set(parameters: &[wgrad::nn::Parameter], to: &Linear) -> Result<()> {
    let weight: Vec<f32> = to.weight.iter().flatten().map(|&v| v as f32).collect();
    let bias: Vec<f32> = to.bias.iter().map(|&v| v as f32).collect();
    let device = parameters[0].variable.value().device();
    parameters[0].variable.set(Tensor::from_vec(weight, [FEATURES, CLASSES], device)?)?;
    parameters[1].variable.set(Tensor::from_vec(bias, [CLASSES], device)?)
}

fn assert_is(parameters: &[wgrad::nn::Parameter], expected: &Linear, what: &str) -> Result<()> {
    let expected = expected.weight.iter().flatten().chain(&expected.bias);
    let mut ours = parameters[0].variable.value().to_vec::<f32>()?;
    ours.extend(parameters[1].variable.value().to_vec::<f32>()?);
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - b).abs() < 2e-6, "{what}: parameter {i} is {a}, expected {b}");
    }
    Ok(())
}

/// One group that has all samples.
fn whole() -> Vec<std::ops::Range<usize>> {
    std::iter::once(0..SAMPLES).collect()
}

/// Labels 0 to 2, with `ignored` here and there: none in the first batch of four, all in the second, one in the third.
fn some_ignored(ignored: i64) -> Vec<i64> {
    let mut labels: Vec<i64> = (0..SAMPLES).map(|i| (i % CLASSES) as i64).collect();
    for i in [4, 5, 6, 7, 9] {
        labels[i] = ignored;
    }
    labels
}

#[test]
fn a_group_that_ends_with_a_smaller_batch_was_a_mean_of_means() -> Result<()> {
    let _alone = super::alone();
    let labels: Vec<i64> = (0..SAMPLES).map(|i| (i * i % CLASSES) as i64).collect();
    let plain = Rows { x: features(), labels, weights: vec![1.0; SAMPLES], ignored: None };
    let weighted = Rows { weights: (0..SAMPLES).map(|i| 0.25 * i as f64).collect(), ..plain.clone() };
    // As Keras has it, the divisor is the number of samples, weighted or not.
    let of_class = [0.5, 2.0, 1.0];
    let by_class = Rows {
        weights: plain.labels.iter().map(|&label| of_class[label as usize]).collect(),
        ..plain.clone()
    };
    let ignoring = Rows { labels: some_ignored(2), ignored: Some(2), ..plain.clone() };
    let ignoring_outside = Rows { labels: some_ignored(255), ignored: Some(255), ..plain.clone() };
    let ignoring_negative = Rows { labels: some_ignored(-1), ignored: Some(-1), ..plain.clone() };
    let ignoring_weighted = Rows { weights: weighted.weights.clone(), ..ignoring_negative.clone() };
    let cases = [
        ("plain", plain, false),
        ("sample weights", weighted, false),
        ("class weights", by_class, true),
        ("a class ignored", ignoring, false),
        ("label 255 ignored", ignoring_outside, false),
        ("label -1 ignored", ignoring_negative.clone(), false),
        ("label -1 ignored, sample weights", ignoring_weighted, false),
        ("label -1 ignored, class weights", ignoring_negative, true),
    ];
    for device in [Device::Cpu, Device::Gpu] {
        for (name, rows, classes) in &cases {
            let (x, labels, weights) = rows.tensors()?;
            let mut data = Dataset::from_tensors("rows", &x, &labels)?;
            let mut rows = rows.clone();
            if *classes {
                for i in (0..SAMPLES).filter(|&i| rows.labels[i] >= 0) {
                    rows.weights[i] = of_class[rows.labels[i] as usize];
                }
            } else if rows.weights.iter().any(|w| *w != 1.0) {
                data = data.with_weights(&weights)?;
            }
            for l2 in [0.0, L2] {
                // Batches of 4, 4 and 2.
                for (accumulate, groups) in
                    [(3, whole()), (2, vec![0..8, 8..10]), (7, whole()), (1, vec![0..4, 4..8, 8..10])]
                {
                    let what = format!("{name} on {device}, accumulate({accumulate}), l2 {l2}");
                    let mut dense = Dense::new(CLASSES);
                    if l2 > 0.0 {
                        dense = dense.kernel_regularizer(Regularizer::l2(l2));
                    }
                    let model = Sequential::new().add(dense).build([FEATURES], device)?;
                    set(&model.parameters(), &start(1))?;
                    let mut loss = SparseCategoricalCrossentropy::from_logits();
                    if let Some(class) = rows.ignored {
                        loss = loss.ignore_class(class);
                    }
                    let mut trainer = Trainer::new(model, Sgd::new(RATE), loss).build()?;
                    let mut fit =
                        Fit::epochs(1).batch_size(4).accumulate(accumulate).shuffle(false).verbose(false);
                    if *classes {
                        fit = fit.class_weights([(0, of_class[0]), (1, of_class[1])]);
                    }
                    let history = trainer.fit(&data, fit)?;
                    assert_is(
                        &trainer.model().parameters(),
                        &rows.train(start(1), &groups, RATE, l2),
                        &what,
                    )?;
                    // With one group, all losses of the epoch are of the first weights.
                    if groups.len() == 1 {
                        let penalty: f64 = start(1).weight.iter().flatten().map(|w| l2 * w * w).sum();
                        let expected = rows.mean(&start(1), 0..SAMPLES).0 + penalty;
                        let ours = history.epochs[0].train.loss;
                        assert!((ours - expected).abs() < 1e-6, "{what}: loss {ours}, expected {expected}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn outputs_that_ignore_different_rows_each_had_the_others_divisor() -> Result<()> {
    let _alone = super::alone();
    let a = Rows { x: features(), labels: some_ignored(2), weights: vec![1.0; SAMPLES], ignored: Some(2) };
    let b_labels: Vec<i64> = (0..SAMPLES).map(|i| if i < 5 { 0 } else { (i % CLASSES) as i64 }).collect();
    let b = Rows { labels: b_labels, ignored: Some(0), ..a.clone() };
    let c_labels: Vec<i64> = (0..SAMPLES).map(|i| (i * 7 % CLASSES) as i64).collect();
    let c = Rows { labels: c_labels, ignored: None, ..a.clone() };
    let outputs = [("a", &a, 1.0), ("b", &b, 0.5), ("c", &c, 2.0)];
    for device in [Device::Cpu, Device::Gpu] {
        let build = || -> Result<Trainer<Model>> {
            let mut net = Functional::new(device);
            let x = net.input("x", [FEATURES])?;
            let mut heads = Vec::new();
            for (name, ..) in outputs {
                heads.push((name, net.named(name, Dense::new(CLASSES), x)?));
            }
            let model = net.build(&heads)?;
            for (i, pair) in model.parameters().chunks(2).enumerate() {
                set(pair, &start(i))?;
            }
            let mut trainer = Trainer::multi(model, Sgd::new(RATE));
            for (name, rows, weight) in outputs {
                let loss = SparseCategoricalCrossentropy::from_logits();
                let loss = match rows.ignored {
                    Some(class) => loss.ignore_class(class),
                    None => loss,
                };
                trainer = trainer.output(name, loss, weight);
            }
            trainer.build()
        };
        let (x, labels, _) = a.tensors()?;
        let data = Dataset::from_tensors("rows", &x, &labels)?;
        let data = data.also_target(&b.tensors()?.1)?.also_target(&c.tensors()?.1)?;
        let fit = || Fit::epochs(1).batch_size(4).accumulate(3).shuffle(false).verbose(false);
        let mut trainer = build()?;
        let history = trainer.fit(&data, fit())?;
        let mut total = 0.0;
        for (i, (name, rows, weight)) in outputs.into_iter().enumerate() {
            let trained = rows.train(start(i), &whole(), RATE * weight, 0.0);
            assert_is(&trainer.model().parameters()[2 * i..], &trained, &format!("{name} on {device}"))?;
            let loss = rows.mean(&start(i), 0..SAMPLES).0;
            total += weight * loss;
            let mut other = build()?;
            other.fit(&data, Fit::epochs(0).batch_size(4).verbose(false))?;
            let evaluated = other.evaluate(&data)?;
            for e in [&history.epochs[0].train, &evaluated] {
                let ours = e.metric(&format!("{name}_loss")).unwrap_or(f64::NAN);
                assert!((ours - loss).abs() < 1e-6, "{name} on {device}: loss {ours}, expected {loss}");
            }
        }
        let ours = history.epochs[0].train.loss;
        assert!((ours - total).abs() < 1e-6, "{device}: loss {ours}, expected {total}");

        // Interrupted within the group and resumed: the same bits.
        let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
        let path = folder.path().join("middle.safetensors");
        let stop = std::sync::atomic::AtomicBool::new(true);
        let mut broken = build()?;
        broken.fit(&data, fit().interrupt(&stop))?;
        assert!(broken.interrupted());
        broken.save_checkpoint(&path)?;
        let mut resumed = build()?;
        resumed.resume(&path)?;
        let again = resumed.fit(&data, fit())?;
        let (again, before) = (&again.epochs[0].train, &history.epochs[0].train);
        assert_eq!((again.loss, &again.metrics), (before.loss, &before.metrics));
        for (p, q) in resumed.model().parameters().iter().zip(trainer.model().parameters()) {
            assert_eq!(
                p.variable.value().to_vec::<f32>()?,
                q.variable.value().to_vec::<f32>()?,
                "{}",
                p.name
            );
        }
    }
    Ok(())
}
