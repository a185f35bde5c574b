//! The kernels of real GPUs and those for adapters without subgroups, run here too: this binary once more for each kind, with
//! the variable that chooses it. An adapter is opened once per process.

use std::process::Command;
use wgrad::prelude::*;

/// The tests that reach kernels of which there are several kinds.
const TESTS: [&str; 3] = ["exact::", "rows::", "the_kernels_are_those_asked_for"];

/// What the tests say with these kernels, and whether they pass.
fn run(kernels: &str, tests: &[&str]) -> (bool, String) {
    let binary = std::env::current_exe().expect("the path of the test binary");
    let output = Command::new(binary)
        .args(tests)
        .env("WGRAD_KERNELS", kernels)
        .output()
        .expect("the test binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

#[track_caller]
fn assert_pass(kernels: &str, also: &[&str]) {
    let (passed, text) = run(kernels, &[&TESTS, also].concat());
    assert!(
        passed && text.contains("the_kernels_are_those_asked_for ... ok"),
        "with {kernels} kernels:\n{text}"
    );
}

#[test]
fn tiled_kernels_and_teams_of_a_workgroup_are_right() {
    assert_pass("tiled", &["every_operation_on_small_shapes"]);
}

#[test]
fn kernels_without_subgroups_are_right() {
    assert_pass("register", &[]);
}

#[test]
fn an_unknown_kind_of_kernels_is_an_error_that_lists_the_kinds() {
    let (passed, text) = run("fastest", &["the_kernels_are_those_asked_for"]);
    assert!(!passed);
    for part in ["WGRAD_KERNELS: 'fastest' names no kind of kernels", "tiled (", "register (", "subgroup ("] {
        assert!(text.contains(part), "{text}");
    }
}

/// Trivial in this process; in those above the variable must have had its effect.
#[test]
fn the_kernels_are_those_asked_for() -> Result<()> {
    let x = Tensor::ones([70, 70], Device::Gpu)?;
    x.eval()?;
    let profile = Device::Gpu.profile(|| x.matmul(&x)?.eval())?;
    let names: Vec<&str> = profile.kernels.iter().map(|k| k.name.as_str()).collect();
    if let Ok(kind) = std::env::var("WGRAD_KERNELS") {
        assert!(names.iter().any(|name| name.contains(&kind)), "{kind} kernels were asked for: {names:?}");
    }
    Ok(())
}
