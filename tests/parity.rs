//! The GPU against the CPU: every operation, forward and gradient, over many random shapes, with inputs that are views of
//! every kind.

mod common;

use common::ops::{Size, ops};
use common::parity::{check_cases, difference, outcome};
use common::views::{VIEWS, View, hide};
use common::{Rng, compare};
use wgrad::prelude::*;

#[test]
fn every_operation_on_small_shapes() -> Result<()> {
    (1..=2).try_for_each(|seed| check_cases(&ops(seed, Size::Small), seed, &[View::Plain]))
}

#[test]
fn every_operation_on_odd_shapes() -> Result<()> {
    (11..=13).try_for_each(|seed| check_cases(&ops(seed, Size::Large), seed, &[View::Plain]))
}

#[test]
fn every_operation_on_views() -> Result<()> {
    (21..=23).try_for_each(|seed| check_cases(&ops(seed, Size::Large), seed, &VIEWS))
}

/// Each view before each operation, on few elements.
#[test]
fn every_view_of_every_input() -> Result<()> {
    VIEWS[1..]
        .iter()
        .zip(31..)
        .try_for_each(|(&view, seed)| check_cases(&ops(seed, Size::Small), seed, &[view]))
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
            if let Err(e) = compare(&got.output, &copied.output, case.tol, 0.0) {
                failures.push(format!("{} (seed {seed}), view and copy: {e}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
