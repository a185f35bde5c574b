//! Gradients against central finite differences in f64 on the CPU: every operation that has one, and gradients of
//! gradients for those marked so.

mod common;

use common::ops::{Case, Size, ops};
use common::{Input, Kind, direction, tensor, values};
use wgrad::prelude::*;

/// Step of the differences. With the five-point formula the truncation error is of order h^4, about 1e-12.
const STEP: f64 = 1e-3;
const TOLERANCE: f64 = 1e-6;

/// f' at 0 by five points (Abramowitz and Stegun, 25.3.6).
fn derivative(f: impl Fn(f64) -> Result<f64>) -> Result<f64> {
    Ok((f(-2.0 * STEP)? - 8.0 * f(-STEP)? + 8.0 * f(STEP)? - f(2.0 * STEP)?) / (12.0 * STEP))
}

fn build(inputs: &[Input]) -> Result<Vec<Tensor>> {
    inputs
        .iter()
        .map(|i| {
            let t = i.tensor(Device::Cpu, DType::F64)?;
            if i.watched { t.watch() } else { Ok(t) }
        })
        .collect()
}

/// The inputs with one element moved.
fn nudged(case: &Case, input: usize, element: usize, by: f64) -> Result<Vec<Tensor>> {
    let mut inputs = case.inputs.clone();
    inputs[input].values[element] += by;
    build(&inputs)
}

/// `sum(direction * y)`, or `sum(direction * y^2)`, which keeps a curvature where y is linear.
fn project(y: &Tensor, curved: bool) -> Result<Tensor> {
    let r = tensor(&direction(7, y.numel()), y.dims(), DType::F64, Device::Cpu)?;
    let y = if curved { y.square()? } else { y.clone() };
    (y * r)?.sum(&[], false)
}

/// The projection of the gradients onto a fixed direction: a scalar whose gradient is a Hessian times that direction.
fn slope(case: &Case, inputs: &[Tensor]) -> Result<Tensor> {
    let loss = project(&case.run(inputs, Device::Cpu, DType::F64)?, true)?;
    let grads = loss.backward()?;
    let mut total = Tensor::full([], 0.0f64, Device::Cpu)?;
    for (i, (x, input)) in inputs.iter().zip(&case.inputs).enumerate() {
        if input.watched {
            let s = tensor(&direction(11 + i as u64, x.numel()), x.dims(), DType::F64, Device::Cpu)?;
            total = (total + (grads.get_or_zeros(x)? * s)?.sum(&[], false)?)?;
        }
    }
    Ok(total)
}

/// Compares `gradient` with the differences of `f` along every element of every watched input.
fn check(
    case: &Case,
    what: &str,
    gradient: &[Vec<f64>],
    f: impl Fn(&[Tensor]) -> Result<f64>,
) -> Result<Option<String>> {
    for (i, input) in case.inputs.iter().enumerate().filter(|(_, input)| input.watched) {
        assert_eq!(input.kind, Kind::Float);
        let mut expected = Vec::with_capacity(input.values.len());
        for e in 0..input.values.len() {
            expected.push(derivative(|by| f(&nudged(case, i, e, by)?))?);
        }
        let scale = expected.iter().chain(&gradient[i]).fold(1e-2f64, |m, v| m.max(v.abs()));
        for (e, (got, want)) in gradient[i].iter().zip(&expected).enumerate() {
            let off = (got - want).abs() / scale;
            if off > TOLERANCE || off.is_nan() {
                let (name, dims) = (&case.name, &input.dims);
                return Ok(Some(format!(
                    "{name}: {what} of input {i} {dims:?}, element {e}: {got}, differences say {want}"
                )));
            }
        }
    }
    Ok(None)
}

fn gradients(inputs: &[Tensor], loss: &Tensor) -> Result<Vec<Vec<f64>>> {
    if !loss.is_tracked() {
        return Ok(inputs.iter().map(|x| vec![0.0; x.numel()]).collect());
    }
    let grads = loss.backward()?;
    inputs.iter().map(|x| values(&grads.get_or_zeros(x)?)).collect()
}

fn first_order(seed: u64) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for case in ops(seed, Size::Small).iter().filter(|c| c.differentiable) {
        let inputs = build(&case.inputs)?;
        let f = |x: &[Tensor]| project(&case.run(x, Device::Cpu, DType::F64)?, false);
        let gradient = gradients(&inputs, &f(&inputs)?)?;
        failures.extend(check(case, "gradient", &gradient, |x| f(x)?.item())?);
    }
    Ok(failures)
}

fn second_order(seed: u64) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for case in ops(seed, Size::Small).iter().filter(|c| c.second) {
        let inputs = build(&case.inputs)?;
        let gradient = gradients(&inputs, &slope(case, &inputs)?)?;
        failures.extend(check(case, "second gradient", &gradient, |x| slope(case, x)?.item())?);
    }
    Ok(failures)
}

fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    for seed in 1..=8 {
        report(first_order(seed)?);
    }
    Ok(())
}

#[test]
fn gradients_of_gradients_match_finite_differences() -> Result<()> {
    for seed in 1..=4 {
        report(second_order(seed)?);
    }
    Ok(())
}

/// Watching must not depend on the table's flags: every float input of a differentiable case gets a gradient.
#[test]
fn every_float_input_has_a_gradient() -> Result<()> {
    for case in ops(5, Size::Small).iter().filter(|c| c.differentiable) {
        let inputs = build(&case.inputs)?;
        let grads = case.run(&inputs, Device::Cpu, DType::F64)?.sum(&[], false)?.backward()?;
        for (x, input) in inputs.iter().zip(&case.inputs).filter(|(_, i)| i.kind == Kind::Float) {
            assert!(input.watched, "{}", case.name);
            assert_eq!(grads.get(x)?.shape(), x.shape(), "{}", case.name);
        }
    }
    Ok(())
}
