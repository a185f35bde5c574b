//! The GPU against the CPU: every operation, forward and gradient, over many random shapes, with inputs that are views of
//! every kind.

mod common;

#[path = "parity/division.rs"]
mod division;
#[path = "parity/exact.rs"]
mod exact;
#[path = "parity/kinds.rs"]
mod kinds;
#[path = "parity/rows.rs"]
mod rows;
#[path = "parity/scans.rs"]
mod scans;
#[path = "parity/sorts.rs"]
mod sorts;

use common::ops::{Size, ops};
use common::parity::{check_cases, difference, outcome};
use common::views::{VIEWS, View, hide};
use common::{InputKind, Rng, compare, values};
use wgrad::prelude::*;

#[test]
fn every_operation_on_small_shapes() -> Result<()> {
    check_cases(&ops(1, Size::Small), 1, |_, _| View::Plain)
}

#[test]
fn every_operation_on_odd_shapes() -> Result<()> {
    (11..=12).try_for_each(|seed| check_cases(&ops(seed, Size::Large), seed, |_, _| View::Plain))
}

/// Each operation with views of all kinds: the kinds go round from case to case, input to input and seed to seed.
#[test]
fn every_operation_on_views() -> Result<()> {
    let view = |seed: u64| move |k: usize, i: usize| VIEWS[(k + 3 * i + 3 * seed as usize) % VIEWS.len()];
    (21..=23).try_for_each(|seed| check_cases(&ops(seed, Size::Large), seed, view(seed)))
}

/// NaN, infinities, zeros of both signs and denormal numbers among the values of every operation: they come out alike on both
/// devices. A pass of each kind, since one NaN hides all else that goes into a sum.
#[test]
fn every_operation_on_special_values() -> Result<()> {
    const KINDS: [&[f64]; 5] = [
        &[0.0, -0.0, 1e-40, -1e-40],
        &[f64::NAN],
        &[f64::INFINITY, 0.0, -0.0],
        &[f64::NEG_INFINITY, f64::INFINITY],
        &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-40],
    ];
    // Where a device takes denormal numbers for zero, as WGSL allows, its results have nothing to agree with.
    let tiny = (Tensor::new([1e-40f32], Device::Gpu)? * 1e10)?.item::<f32>()?;
    let kept = |value: &f64| if tiny == 0.0 && value.abs() < 1e-38 { value * 0.0 } else { *value };
    let kinds = KINDS.map(|kind| kind.iter().map(kept).collect::<Vec<f64>>());
    let mut rng = Rng(60);
    for (seed, kind) in (61..).zip(&kinds) {
        let mut cases = ops(seed, Size::Large);
        for case in &mut cases {
            // Padding and the gaps of strides are zeros in some kernels and left out in others: an infinite or undefined weight
            // meets them or does not. To its weight's gradient, a transposed convolution's input is what a weight is here: what is
            // cropped of the output meets it or does not.
            let convolves = case.name.starts_with("conv");
            let transposed = case.operation().ends_with("_transpose");
            if (convolves && kind.iter().any(|v| v.is_infinite()))
                || (transposed && kind.iter().any(|v| v.is_nan()))
            {
                continue;
            }
            // What hidden keys hold must be finite, and what meets it: some kernels pass over hidden keys, others multiply by a weight
            // of 0, and their gradients by the query. (attention's own tests have what holds of broken rows on all devices.)
            if case.name.starts_with("attention") && case.name != "attention/plain" {
                continue;
            }
            let first = if convolves { 1 } else { case.inputs.len() };
            for input in case.inputs.iter_mut().take(first).filter(|i| i.kind == InputKind::Float) {
                let one_in = rng.pick(&[3, 10, 100]);
                for value in &mut input.values {
                    if rng.int(1, one_in) == 1 {
                        *value = rng.pick(kind);
                    }
                }
            }
        }
        check_cases(&cases, seed, |_, _| View::Plain)?;
    }
    Ok(())
}

/// Kernels that only the gradient of a gradient runs: products of products, the gather of a max-pooling, the derivative
/// of a loss's derivative.
#[test]
fn gradients_of_gradients() -> Result<()> {
    const KERNELS: [&str; 10] = [
        "matmul",
        "conv2d",
        "conv2d_transpose",
        "max_pool2d",
        "avg_pool2d",
        "softmax",
        "log_softmax",
        "cross_entropy",
        "index_select",
        "attention",
    ];
    let mut failures = Vec::new();
    for case in ops(51, Size::Small).iter().filter(|c| c.second) {
        if !KERNELS.contains(&case.name.split('/').next().unwrap_or_default()) {
            continue;
        }
        let run = |device: Device| -> Result<Vec<Vec<f64>>> {
            let build = |i: &common::Input| i.tensor(device, DType::F32).and_then(|t| t.watch());
            let plain = |i: &common::Input| i.tensor(device, DType::F32);
            let inputs: Vec<Tensor> = case
                .inputs
                .iter()
                .map(|i| if i.watched { build(i) } else { plain(i) })
                .collect::<Result<_>>()?;
            let watched: Vec<&Tensor> = inputs.iter().filter(|x| x.is_tracked()).collect();
            let y = case.run(&inputs, device, DType::F32)?;
            let grads = y.square()?.sum(.., false)?.backward()?;
            let mut slope = Tensor::zeros([], device)?;
            for x in &watched {
                slope = (slope + grads.get(*x)?.square()?.sum(.., false)?)?;
            }
            let grads = slope.backward()?;
            watched.iter().map(|x| values(&grads.get_or_zeros(*x)?)).collect()
        };
        for (got, want) in run(Device::Gpu)?.iter().zip(&run(Device::Cpu)?) {
            // three products deep: ten times the error of a gradient
            if let Err(e) = compare(got, want, 10.0 * case.grad_tol, case.floor) {
                failures.push(format!("{}: {e}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// The reference itself: a view gives what a copy gives, and f32 what f64 gives.
#[test]
fn the_cpu_agrees_with_itself() -> Result<()> {
    let mut failures = Vec::new();
    for seed in 40..46 {
        let mut rng = Rng(seed);
        for case in &ops(seed, Size::Large) {
            let hidden: Vec<_> = case.inputs.iter().map(|i| hide(i, rng.pick(&VIEWS), &mut rng)).collect();
            let got = outcome(case, &hidden, Device::Cpu, DType::F32)?;
            let mut exact = outcome(case, &hidden, Device::Cpu, DType::F64)?;
            if exact.dtype == DType::F64 {
                exact.dtype = DType::F32;
                if case.tol == 0.0 {
                    // where a case must be exact, the nearest f32 is
                    exact.output.iter_mut().for_each(|v| *v = *v as f32 as f64);
                }
            }
            if let Some(problem) = difference(case, &got, &exact) {
                failures.push(format!("{} (seed {seed}), f32 and f64: {problem}", case.name));
            }
            let plain: Vec<_> = hidden
                .iter()
                .zip(&case.inputs)
                .map(|(h, input)| {
                    let mut copy = input.clone();
                    if h.view == View::Broadcast {
                        let base = h.base(DType::F64, Device::Cpu)?;
                        copy.values = h.apply(&base)?.to_vec()?;
                    }
                    Ok(hide(&copy, View::Plain, &mut Rng(0)))
                })
                .collect::<Result<_>>()?;
            let copied = outcome(case, &plain, Device::Cpu, DType::F32)?;
            if let Err(e) = compare(&got.output, &copied.output, case.tol, case.floor) {
                failures.push(format!("{} (seed {seed}), view and copy: {e}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
