//! The self-check finds what it is made to find. That it leaves no operation out is a test of the table.

use super::*;
use crate::testing::table::Table;

#[test]
fn the_gpu_agrees_with_the_cpu() -> Result<()> {
    let report = Device::Gpu.self_check()?;
    assert!(report.passed(), "{report}");
    assert!(report.operations.len() > 70 && report.operations.iter().any(|o| o.difference > 0.0));
    Ok(())
}

#[test]
fn differences_are_found() -> Result<()> {
    let mut table = Table { rng: Rng(1), size: Size::Small, cases: Vec::new() };
    table.add("square", vec![Input::given(&[2], vec![1.0, 2.0])], |a| a[0].square());
    let check = Check::of_case(table.cases.remove(0));
    let want = check.run(Device::Cpu)?;
    assert_eq!(want.len(), 2, "the result and its gradient");
    assert_eq!(check.compare(&want, &want), (0.0, None));
    let mut got = want.clone();
    got[1] = vec![0.0, 0.0];
    let (difference, problem) = check.compare(&got, &want);
    assert!(difference > 0.1 && problem.is_some_and(|p| p.contains("gradient")));
    let mut got = want.clone();
    got[0][1] = f64::NAN;
    assert_eq!(check.compare(&got, &want).0, f64::INFINITY);
    got[0].pop();
    assert!(check.compare(&got, &want).1.is_some_and(|p| p.contains("elements")));
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
