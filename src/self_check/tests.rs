//! The self-check finds what it is made to find, and leaves nothing out.

use super::case::Cases;
use super::*;
use crate::ops::table::{Binary, Compare, Unary};
use crate::tensor::Tensor;
use std::collections::BTreeSet;

/// Names of the operations that a tensor is computed from.
fn names(roots: &[Tensor], found: &mut BTreeSet<String>) {
    let mut seen = std::collections::HashSet::new();
    let mut stack = roots.to_vec();
    while let Some(t) = stack.pop() {
        if seen.insert(t.0.id) {
            found.insert(t.0.op.name().to_string());
            stack.extend(t.0.inputs());
        }
    }
}

/// The string literals in the functions called `name` of a source.
fn declared(source: &str) -> Vec<String> {
    let mut list = Vec::new();
    let mut lines = source.lines().take_while(|l| !l.starts_with("#[cfg(test)]"));
    while let Some(line) = lines.next() {
        if !line.trim_start().starts_with("fn name(") || line.ends_with(';') {
            continue;
        }
        let body = lines.by_ref().take_while(|l| *l != "    }");
        list.extend(body.flat_map(|l| l.split('"').skip(1).step_by(2).map(String::from).collect::<Vec<_>>()));
    }
    list
}

#[test]
fn every_operation_is_checked() -> Result<()> {
    let mut checked = BTreeSet::new();
    for case in cases()? {
        names(&case.build(Device::Cpu)?, &mut checked);
    }
    let mut all: BTreeSet<String> = BTreeSet::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    for entry in std::fs::read_dir(folder).expect("the crate's sources") {
        let path = entry.expect("an entry").path();
        all.extend(declared(&std::fs::read_to_string(path).expect("a source")));
    }
    assert!(all.len() > 30, "{all:?}");
    all.extend(Unary::ALL.iter().map(|f| f.name().to_string()));
    all.extend(Binary::ALL.iter().map(|f| f.name().to_string()));
    all.extend(Compare::ALL.iter().map(|f| f.name().to_string()));
    // Leaves; and `to_device` has its value from the beginning.
    let leaves = ["constant", "input", "variable", "to_device"];
    let missing: Vec<&String> =
        all.iter().filter(|n| !checked.contains(*n) && !leaves.contains(&n.as_str())).collect();
    assert!(missing.is_empty(), "add cases for {missing:?} to src/self_check/table.rs");
    Ok(())
}

#[test]
fn the_gpu_agrees_with_the_cpu() -> Result<()> {
    let report = Device::Gpu.self_check()?;
    assert!(report.passed(), "{report}");
    assert!(report.operations.len() > 70 && report.operations.iter().any(|o| o.difference > 0.0));
    Ok(())
}

#[test]
fn differences_are_found() -> Result<()> {
    let x = Tensor::new([1.0f32, 2.0], Device::Cpu)?;
    let mut c = Cases::default();
    c.add("square", vec![x], |x| x[0].square());
    let case = &c.list[0];
    let want = case.run(Device::Cpu)?;
    assert_eq!(want.len(), 2, "the result and its gradient");
    assert_eq!(case.compare(&want, &want), (0.0, None));
    let mut got = want.clone();
    got[1] = vec![0.0, 0.0];
    let (difference, problem) = case.compare(&got, &want);
    assert!(difference > 0.1 && problem.is_some_and(|p| p.contains("gradient")));
    let mut got = want.clone();
    got[0][1] = f64::NAN;
    assert_eq!(case.compare(&got, &want).0, f64::INFINITY);
    got[0].pop();
    assert!(case.compare(&got, &want).1.is_some_and(|p| p.contains("elements")));
    Ok(())
}

#[test]
fn the_report() {
    let device = Device::list().remove(0);
    let operation = |name: &str, problem: Option<&str>| CheckedOperation {
        name: name.into(),
        cases: 2,
        difference: if problem.is_some() { f64::INFINITY } else { 1.5e-7 },
        tolerance: 2e-5,
        problem: problem.map(String::from),
        time: Duration::from_millis(12),
    };
    let mut report =
        SelfCheck { device, operations: vec![operation("matmul", None)], time: Duration::from_secs(1) };
    assert!(
        report.passed()
            && report.to_string().ends_with("all 1 operations agree with the CPU (2 cases, 1.0 s)")
    );
    report.operations.push(operation("conv2d", Some("element 0 is 0")));
    let text = report.to_string();
    assert!(
        !report.passed() && text.contains("matmul         2      1.5e-7     2.0e-5      12.0  ok\n"),
        "{text}"
    );
    assert!(text.contains("FAILED\nconv2d: element 0 is 0\n1 of 2 operations FAILED"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(
        (&json["passed"], &json["operations"][1]["difference"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert!(Device::Cpu.self_check().is_err());
}
