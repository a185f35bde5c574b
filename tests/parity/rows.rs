//! Softmax and cross-entropy: rows of every length that another team works on, sound and broken, against float64. Attention.

use super::common::{Domain, Input, Rng, values};
use wgrad::prelude::*;
use wgrad::testing::assert_close;

/// From one invocation per row to a workgroup's turns, in single elements and in quads.
const LENGTHS: [usize; 13] = [1, 2, 4, 31, 32, 33, 128, 132, 255, 260, 1028, 3001, 9000];

/// Softmax of a row in f64; NaN where a row has none: with a NaN, with +inf, with nothing but -inf.
fn softmax(row: &[f64]) -> Vec<f64> {
    let most = row.iter().fold(f64::NEG_INFINITY, |m, &v| if v.is_nan() { f64::NAN } else { m.max(v) });
    if row.iter().any(|v| v.is_nan()) || !most.is_finite() {
        return vec![f64::NAN; row.len()];
    }
    let exps: Vec<f64> = row.iter().map(|v| (v - most).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    if softmax(row)[0].is_nan() {
        return vec![f64::NAN; row.len()];
    }
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|v| (v - most).exp()).sum();
    row.iter().map(|v| v - most - sum.ln()).collect()
}

fn near(what: &str, got: &Tensor, want: &[f64]) -> Result<()> {
    assert_close(got, want, 3e-6, 1e-6).map_err(|e| Error::mismatch(what, e.to_string()))
}

/// Everything over the rows of `x`, against f64: softmax, its logarithm, both cross-entropies and their gradients.
fn check(what: &str, device: Device, x: &Input, labels: &[usize]) -> Result<()> {
    let (rows, cols) = (x.dims[0], x.dims[1]);
    let t = x.tensor(device, DType::F32)?.watch()?;
    let list: Vec<&[f64]> = x.values.chunks(cols).collect();
    let soft: Vec<f64> = list.iter().flat_map(|r| softmax(r)).collect();
    let logs: Vec<f64> = list.iter().flat_map(|r| log_softmax(r)).collect();
    near(&format!("softmax {what}"), &t.softmax(-1)?, &soft)?;
    near(&format!("log_softmax {what}"), &t.log_softmax(-1)?, &logs)?;
    let at = Tensor::from_vec(labels.iter().map(|&l| l as u32).collect(), [rows], device)?;
    let losses = t.cross_entropy_rows(&at)?;
    let up: Vec<f64> = (0..rows).map(|r| 0.5 + r as f64).collect();
    let upstream = Input::given(&[rows], up.clone()).tensor(device, DType::F32)?;
    let grad = losses.backward_with(&upstream)?.get(&t)?;
    let want: Vec<f64> = (0..rows).map(|r| -logs[r * cols + labels[r]]).collect();
    near(&format!("cross_entropy {what}"), &losses, &want)?;
    let slope = |r: usize, c: usize| up[r] * (soft[r * cols + c] - f64::from(u8::from(labels[r] == c)));
    let want: Vec<f64> = (0..rows * cols).map(|i| slope(i / cols, i % cols)).collect();
    near(&format!("gradient of cross_entropy {what}"), &grad, &want)?;
    // labels as weights of two classes, whose sum differs from row to row
    let mut p = vec![0.0; rows * cols];
    let mass = |r: usize| 1.0 + r as f64;
    for (r, &l) in labels.iter().enumerate() {
        p[r * cols + l] += 0.75 * mass(r);
        p[r * cols + (l + 1) % cols] += 0.25 * mass(r);
    }
    let dense = Input::given(&[rows, cols], p.clone()).tensor(device, DType::F32)?;
    let losses = t.cross_entropy_rows(&dense)?;
    let grad = losses.backward_with(&upstream)?.get(&t)?;
    let term = |r: usize, c: usize| match p[r * cols + c] {
        0.0 if !soft[r * cols].is_nan() => 0.0,
        q => -q * logs[r * cols + c],
    };
    let want: Vec<f64> = (0..rows).map(|r| (0..cols).map(|c| term(r, c)).sum()).collect();
    near(&format!("dense cross_entropy {what}"), &losses, &want)?;
    let want: Vec<f64> = (0..rows * cols).map(|i| up[i / cols] * (mass(i / cols) * soft[i] - p[i])).collect();
    near(&format!("gradient of dense cross_entropy {what}"), &grad, &want)
}

#[test]
fn rows_of_every_length() -> Result<()> {
    for device in [Device::Cpu, Device::Gpu] {
        for cols in LENGTHS {
            let rows = if cols > 1000 { 3 } else { 5 };
            let mut x = Input::float(&mut Rng(cols as u64), &[rows, cols], Domain::Range(-6.0, 6.0));
            x.values[0] = 9.0;
            // at every place of a quad: a maximum that is missed makes infinities
            for r in 1..rows {
                x.values[r * cols + (cols / 2 + r) % cols] = 200.0;
            }
            let labels: Vec<usize> = (0..rows).map(|r| [0, cols - 1, cols / 2][r % 3]).collect();
            check(&format!("of {rows} rows of {cols} on {device}"), device, &x, &labels)?;
        }
    }
    Ok(())
}

/// A row with a NaN or +inf, or with nothing but -inf, is NaN, and its neighbours are what they are.
#[test]
fn broken_rows_are_nan_and_leave_others_alone() -> Result<()> {
    for device in [Device::Cpu, Device::Gpu] {
        for cols in [2usize, 5, 33, 132, 300, 1028, 3001] {
            let rows = 8;
            let mut x = Input::float(&mut Rng(cols as u64), &[rows, cols], Domain::Range(-3.0, 3.0));
            x.values[cols] = f64::NAN;
            x.values[4 * cols - 1] = f64::NAN;
            x.values[4 * cols + cols / 2] = f64::INFINITY;
            x.values[5 * cols..6 * cols].fill(f64::NEG_INFINITY);
            // sound: some of the terms are 0
            x.values[6 * cols] = f64::NEG_INFINITY;
            x.values[8 * cols - 1] = f64::NEG_INFINITY;
            let labels = [0, 0, cols - 1, 0, 0, 0, 1, 0].map(|l: usize| l.min(cols - 1));
            check_broken(&format!("of broken rows of {cols} on {device}"), device, &x, &labels)?;
        }
    }
    Ok(())
}

/// As [`check`], for labels of one class: a class of weight 0 at a logit of -inf adds nothing.
fn check_broken(what: &str, device: Device, x: &Input, labels: &[usize]) -> Result<()> {
    let (rows, cols) = (x.dims[0], x.dims[1]);
    let t = x.tensor(device, DType::F32)?.watch()?;
    let list: Vec<&[f64]> = x.values.chunks(cols).collect();
    let soft: Vec<f64> = list.iter().flat_map(|r| softmax(r)).collect();
    let logs: Vec<f64> = list.iter().flat_map(|r| log_softmax(r)).collect();
    near(&format!("softmax {what}"), &t.softmax(-1)?, &soft)?;
    near(&format!("log_softmax {what}"), &t.log_softmax(-1)?, &logs)?;
    let at = Tensor::from_vec(labels.iter().map(|&l| l as u32).collect(), [rows], device)?;
    for (kind, labels_of) in [("sparse", at.clone()), ("dense", at.one_hot(cols)?)] {
        let losses = t.cross_entropy_rows(&labels_of)?;
        let grad = losses.sum(.., false)?.backward()?.get(&t)?;
        let want: Vec<f64> = (0..rows).map(|r| -logs[r * cols + labels[r]]).collect();
        near(&format!("{kind} cross_entropy {what}"), &losses, &want)?;
        let slope = |r: usize, c: usize| soft[r * cols + c] - f64::from(u8::from(labels[r] == c));
        let want: Vec<f64> = (0..rows * cols).map(|i| slope(i / cols, i % cols)).collect();
        near(&format!("gradient of {kind} cross_entropy {what}"), &grad, &want)?;
    }
    Ok(())
}

/// A label equal to the number of classes is outside, and an error that names it.
#[test]
fn a_label_equal_to_the_class_count_is_no_class() -> Result<()> {
    for device in [Device::Cpu, Device::Gpu] {
        for cols in [3usize, 40, 300, 2000] {
            let x = Input::float(&mut Rng(5), &[3, cols], Domain::Any).tensor(device, DType::F32)?;
            for dtype in [DType::U32, DType::I32] {
                let labels = |last: u32| Tensor::new([0u32, last, 1], device)?.cast(dtype);
                let losses = |last: u32| x.cross_entropy_rows(&labels(last)?).and_then(|y| values(&y));
                assert!(losses(cols as u32 - 1)?.iter().all(|v| v.is_finite()));
                match losses(cols as u32) {
                    Err(Error::Argument { message, .. }) => {
                        assert!(message.contains(&cols.to_string()), "{message}");
                    }
                    other => panic!("{device}: label {cols} of {cols} classes: {other:?}"),
                }
            }
        }
    }
    Ok(())
}

/// Lengths on both sides of tiles, heads that share keys, masks of every kind: against the CPU in f64.
#[test]
fn attention_over_several_tiles() -> Result<()> {
    use wgrad::nn::AttentionOptions;
    let run =
        |device: Device, dtype: DType, [queries, keys, depth, width]: [usize; 4]| -> Result<Vec<Tensor>> {
            let numbers =
                |dims: &[usize], seed| Tensor::randn(dims, Device::Cpu, seed)?.cast(dtype)?.to_device(device);
            let q = (numbers(&[2, 4, queries, depth], 1)? * 0.5)?.watch()?;
            let (k, v) =
                (numbers(&[2, 2, keys, depth], 2)?.watch()?, numbers(&[2, 2, keys, width], 3)?.watch()?);
            let options = match keys % 3 {
                0 => AttentionOptions::new().lengths(&Tensor::new([41u32, 200], device)?).causal(true),
                1 => {
                    let some = numbers(&[2, 4, queries, keys], 5)?;
                    AttentionOptions::new().mask(&some.gt(-0.5)?.select(&some, f64::NEG_INFINITY)?)
                }
                _ => AttentionOptions::new().lengths(&Tensor::new([41u32, 200], device)?),
            };
            let y = q.scaled_dot_product_attention(&k, &v, &options)?;
            let grads = y.backward_with(&numbers(&[2, 4, queries, width], 4)?)?;
            Ok(vec![y, grads.get(&q)?, grads.get(&k)?, grads.get(&v)?])
        };
    for sizes in [[70, 99, 20, 36], [33, 64, 65, 128], [64, 101, 128, 3], [5, 33, 4, 4]] {
        let got = run(Device::Gpu, DType::F32, sizes)?;
        let want = run(Device::Cpu, DType::F64, sizes)?;
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_close(got, want, 2e-5, 2e-5).map_err(|e| e.context(format!("{sizes:?}, {i}")))?;
        }
    }
    Ok(())
}

/// One number of a query, a key or a value is NaN or infinite: it reaches the queries that see it, and never another head. Where some
/// keys are hidden from some queries these are compared in the other head alone: what is hidden may meet a weight of 0, or be passed
/// over.
#[test]
fn broken_numbers_of_attention_reach_those_who_see_them() -> Result<()> {
    use wgrad::nn::AttentionOptions;
    let [queries, keys, width] = [37, 70, 33];
    let run = |device: Device, dtype: DType, (which, at, value): (usize, usize, f64), how: &str| {
        let operand = |i: usize| -> Result<Tensor> {
            let dims = [2, if i == 0 { queries } else { keys }, width];
            let mut numbers = Tensor::randn(dims, Device::Cpu, 1 + i as u64)?.to_vec::<f32>()?;
            if i == which {
                numbers[at] = value as f32;
            }
            Tensor::from_vec(numbers, dims, Device::Cpu)?.cast(dtype)?.to_device(device)?.watch()
        };
        let (q, k, v) = (operand(0)?, operand(1)?, operand(2)?);
        let options = match how {
            "causal" => AttentionOptions::new().causal(true),
            "lengths" => AttentionOptions::new().lengths(&Tensor::new([70u32, 41], device)?),
            _ => AttentionOptions::new(),
        };
        let y = q.scaled_dot_product_attention(&k, &v, &options)?;
        let upstream = Tensor::randn([2, queries, width], Device::Cpu, 4)?.cast(dtype)?;
        let grads = y.backward_with(&upstream.to_device(device)?)?;
        Ok::<_, Error>(vec![y, grads.get(&q)?, grads.get(&k)?, grads.get(&v)?])
    };
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (which, row) in [(0, 0), (0, queries + 36), (1, 5), (1, keys - 1), (2, 33), (2, keys + 40)] {
            for how in ["plain", "causal", "lengths"] {
                let broken = (which, row * width + 7, value);
                let got = run(Device::Gpu, DType::F32, broken, how)?;
                let want = run(Device::Cpu, DType::F64, broken, how)?;
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    let what = format!("{how}, {value} in row {row} of operand {which}, result {i}");
                    let other = 1 - row / if which == 0 { queries } else { keys };
                    let [seen, wanted] = [got, want]
                        .map(|t| if how == "plain" { Ok(t.clone()) } else { t.slice(0, other, 1) });
                    assert_close(&seen?, &wanted?, 2e-5, 2e-5).map_err(|e| e.context(&what))?;
                    assert!(got.slice(0, other, 1)?.isfinite()?.all(.., false)?.item::<u8>()? == 1, "{what}");
                }
            }
        }
    }
    Ok(())
}
