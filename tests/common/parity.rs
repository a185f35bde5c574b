//! The same call on two devices: values and gradients side by side.

use super::ops::Case;
use super::views::{View, Viewed, hide};
use super::{InputKind, Rng, compare, direction, tensor, values};
use wgrad::prelude::*;

/// What a call gives: output and gradients of the watched inputs.
pub struct Outcome {
    pub dims: Vec<usize>,
    pub dtype: DType,
    pub output: Vec<f64>,
    pub gradients: Vec<Vec<f64>>,
}

/// Runs a case on inputs hidden behind views. Output and gradients are computed together, as in training.
pub fn outcome(case: &Case, inputs: &[Viewed], device: Device, float: DType) -> Result<Outcome> {
    let mut bases = Vec::new();
    let mut tensors = Vec::new();
    for (input, recipe) in case.inputs.iter().zip(inputs) {
        let base = recipe.base(input.dtype(float), device)?;
        let base = if input.watched { base.watch()? } else { base };
        tensors.push(recipe.apply(&base)?);
        bases.push(base);
    }
    let y = case.run(&tensors, device, float)?;
    let mut gradients = Vec::new();
    if y.is_tracked() {
        let upstream = tensor(&direction(3, y.numel()), y.dims(), float, device)?;
        let grads = y.backward_with(&upstream)?;
        for (base, input) in bases.iter().zip(&case.inputs) {
            if input.watched && input.kind == InputKind::Float {
                gradients.push(grads.get_or_zeros(base)?);
            }
        }
    }
    let mut all = vec![&y];
    all.extend(&gradients);
    wgrad::eval(&all)?;
    let gradients = gradients.iter().map(values).collect::<Result<_>>()?;
    Ok(Outcome { dims: y.dims().to_vec(), dtype: y.dtype(), output: values(&y)?, gradients })
}

/// What differs between two outcomes of a case, if anything does.
pub fn difference(case: &Case, got: &Outcome, want: &Outcome) -> Option<String> {
    if (&got.dims, got.dtype) != (&want.dims, want.dtype) {
        return Some(format!("{} {:?}, expected {} {:?}", got.dtype, got.dims, want.dtype, want.dims));
    }
    if let Err(e) = compare(&got.output, &want.output, case.tol, case.floor) {
        return Some(e);
    }
    for (i, (g, w)) in got.gradients.iter().zip(&want.gradients).enumerate() {
        if let Err(e) = compare(g, w, case.grad_tol, case.floor) {
            return Some(format!("gradient {i}: {e}"));
        }
    }
    (got.gradients.len() != want.gradients.len()).then(|| "numbers of gradients differ".into())
}

/// Runs every case on the GPU against the CPU, and fails with a list of all that differ. `view` tells how input `i` of
/// case `k` reaches the operation.
#[track_caller]
pub fn check_cases(cases: &[Case], seed: u64, view: impl Fn(usize, usize) -> View) -> Result<()> {
    let mut rng = Rng(seed);
    let mut failures = Vec::new();
    // `WGRAD_CASES=max_pool2d` leaves the others out.
    let only = std::env::var("WGRAD_CASES").unwrap_or_default();
    for (k, case) in cases.iter().enumerate().filter(|(_, case)| case.name.starts_with(&only)) {
        let inputs = case.inputs.iter().enumerate();
        let hidden: Vec<Viewed> = inputs.map(|(i, input)| hide(input, view(k, i), &mut rng)).collect();
        let want = outcome(case, &hidden, Device::Cpu, DType::F32)?;
        let result = outcome(case, &hidden, Device::Gpu, DType::F32);
        let problem = match &result {
            Ok(got) => difference(case, got, &want),
            Err(wgrad::Error::NoAdapter { .. }) => return result.map(drop),
            Err(e) => Some(e.to_string()),
        };
        if let Some(problem) = problem {
            let inputs: Vec<String> = hidden.iter().map(|h| format!("{:?} {:?}", h.dims, h.view)).collect();
            failures.push(format!("{} of {} (seed {seed}): {problem}", case.name, inputs.join(", ")));
        }
    }
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
    Ok(())
}

/// Computes the same tensors on both devices and compares them, each within `tol` of its largest magnitude.
#[track_caller]
pub fn same_on_both(what: &str, tol: f64, f: impl Fn(Device) -> Result<Vec<Tensor>>) -> Result<()> {
    same_above(what, tol, 0.0, f)
}

/// As [`same_on_both`]; magnitudes under `floor` count as `floor`.
#[track_caller]
pub fn same_above(what: &str, tol: f64, floor: f64, f: impl Fn(Device) -> Result<Vec<Tensor>>) -> Result<()> {
    let run = |device| -> Result<Vec<Tensor>> {
        let tensors = f(device)?;
        wgrad::eval(&tensors.iter().collect::<Vec<_>>())?;
        Ok(tensors)
    };
    let (gpu, cpu) = (run(Device::Gpu)?, run(Device::Cpu)?);
    for (i, (g, c)) in gpu.iter().zip(&cpu).enumerate() {
        assert_eq!((g.dims(), g.dtype()), (c.dims(), c.dtype()), "{what}: output {i}");
        if let Err(e) = compare(&values(g)?, &values(c)?, tol, floor) {
            panic!("{what}: output {i} {:?}: {e}", c.dims());
        }
    }
    Ok(())
}
