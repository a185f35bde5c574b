//! Gradients against central finite differences in f64 on the CPU: every operation that has one, and gradients of
//! gradients for those marked so.

mod common;

use common::ops::{Case, Size, ops};
use common::{InputKind, direction, tensor};
use wgrad::prelude::*;
use wgrad::testing::check_gradients;

/// `sum(direction * y^2)`: the square keeps a curvature where y is linear.
fn project(y: &Tensor) -> Result<Tensor> {
    let r = tensor(&direction(7, y.numel()), y.dims(), DType::F64, Device::Cpu)?;
    (y.square()? * r)?.sum(.., false)
}

/// The projection of the gradients onto a fixed direction: a scalar whose gradient is a Hessian times that direction.
fn slope(case: &Case, inputs: &[Tensor]) -> Result<Tensor> {
    let loss = project(&case.run(inputs, Device::Cpu, DType::F64)?)?;
    let grads = loss.backward()?;
    let mut total = Tensor::new(0.0f64, Device::Cpu)?;
    for (i, (x, input)) in inputs.iter().zip(&case.inputs).enumerate() {
        if input.watched {
            let s = tensor(&direction(11 + i as u64, x.numel()), x.dims(), DType::F64, Device::Cpu)?;
            total = (total + (grads.get_or_zeros(x)? * s)?.sum(.., false)?)?;
        }
    }
    Ok(total)
}

/// The inputs of a case as plain tensors, which the check makes f64 and watches.
fn plain(case: &Case) -> Result<Vec<Tensor>> {
    case.inputs.iter().map(|i| i.tensor(Device::Cpu, DType::F64)).collect()
}

/// The cases whose gradients are not those of `f`.
fn failures(
    seed: u64,
    chosen: fn(&Case) -> bool,
    f: fn(&Case, &[Tensor]) -> Result<Tensor>,
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for case in ops(seed, Size::Small).iter().filter(|c| chosen(c)) {
        match check_gradients(|x| f(case, x), &plain(case)?) {
            Err(e @ Error::Mismatch { .. }) => failures.push(format!("{}: {e}", case.name)),
            result => result?,
        }
    }
    Ok(failures)
}

fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    for seed in 1..=8 {
        report(failures(seed, |c| c.differentiable, |case, x| case.run(x, Device::Cpu, DType::F64))?);
    }
    Ok(())
}

#[test]
fn gradients_of_gradients_match_finite_differences() -> Result<()> {
    for seed in 1..=4 {
        report(failures(seed, |c| c.second, slope)?);
    }
    Ok(())
}

/// Watching must not depend on the table's flags: every float input of a differentiable case gets a gradient.
#[test]
fn every_float_input_has_a_gradient() -> Result<()> {
    for case in ops(5, Size::Small).iter().filter(|c| c.differentiable) {
        let inputs = case.tensors(Device::Cpu, DType::F64)?;
        let grads = case.run(&inputs, Device::Cpu, DType::F64)?.sum(.., false)?.backward()?;
        for (x, input) in inputs.iter().zip(&case.inputs).filter(|(_, i)| i.kind == InputKind::Float) {
            assert!(input.watched, "{}", case.name);
            assert_eq!(grads.get(x)?.shape(), x.shape(), "{}", case.name);
        }
    }
    Ok(())
}
