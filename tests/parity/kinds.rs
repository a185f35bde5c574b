//! The kernels of real GPUs and those for adapters without subgroups, run here too: this binary once more for each kind, with
//! the variable that chooses it. An adapter is opened once per process. So with the other variables that opening one reads.

use std::process::Command;
use wgrad::prelude::*;

/// The tests that reach kernels of which there are several kinds.
const TESTS: [&str; 3] = ["exact::", "rows::", "the_kernels_are_those_asked_for"];

/// What the tests say with this variable, and whether they pass.
fn run(variable: &str, value: &str, tests: &[&str]) -> (bool, String) {
    let binary = std::env::current_exe().expect("the path of the test binary");
    let output =
        Command::new(binary).args(tests).env(variable, value).output().expect("the test binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

#[track_caller]
fn assert_pass(kernels: &str, also: &[&str]) {
    let (passed, text) = run("WGRAD_KERNELS", kernels, &[&TESTS, also].concat());
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
fn small_blocks_for_weak_compilers_are_right() {
    assert_pass("small", &["every_operation_on_small_shapes"]);
}

#[test]
fn an_unknown_kind_of_kernels_is_an_error_that_lists_the_kinds() {
    let (passed, text) = run("WGRAD_KERNELS", "fastest", &["the_kernels_are_those_asked_for"]);
    assert!(!passed);
    for part in [
        "WGRAD_KERNELS: 'fastest' names no kind of kernels",
        "tiled (",
        "register (",
        "subgroup (",
        "small (",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn compiled_kernels_are_written_into_the_folder_that_is_named() {
    let run = |folder: &std::path::Path| {
        let binary = std::env::current_exe().expect("the path of the test binary");
        Command::new(binary)
            .args(["--exact", "kinds::the_kernels_are_those_asked_for"])
            .env("WGRAD_DUMP_SHADERS", folder)
            .output()
            .expect("the test binary runs")
    };
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("kernels");
    assert!(run(&inside).status.success());
    let entries = std::fs::read_dir(&inside).unwrap();
    let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2 && files.len().is_multiple_of(2), "{files:?}");
    for pair in files.chunks(2) {
        assert_eq!(pair[0], pair[1].with_extension("json"));
        // A whole module: what names it declares by binding is what the list beside it says.
        let wgsl = std::fs::read_to_string(&pair[1]).unwrap();
        let about = std::fs::read_to_string(&pair[0]).unwrap();
        let module = naga::front::wgsl::parse_str(&wgsl).unwrap();
        let about: serde_json::Value = serde_json::from_str(&about).unwrap();
        let listed: Vec<u64> =
            about["bindings"].as_array().unwrap().iter().map(|b| b["binding"].as_u64().unwrap()).collect();
        for (_, variable) in module.global_variables.iter() {
            let Some(binding) = &variable.binding else { continue };
            assert!(listed.contains(&u64::from(binding.binding)), "{}: {binding:?}", pair[1].display());
        }
        assert!(module.entry_points.iter().any(|e| e.name == about["entry_point"].as_str().unwrap()));
    }
    // A folder that can't be made is an error that names the variable or the folder.
    let blocked = folder.path().join("kernels").join(files[0].file_name().unwrap()).join("below");
    let output = run(&blocked);
    let text = [output.stdout, output.stderr].concat();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&text).contains("WGRAD_DUMP_SHADERS"));
}

#[test]
fn a_variable_that_holds_no_number_is_an_error_that_says_so() {
    const SUBMISSION: (&str, &str) = ("WGRAD_SUBMISSION_MS", "a whole number of milliseconds");
    const BINDING: (&str, &str) = ("WGRAD_MAX_BINDING", "a whole number of bytes");
    let test = &["the_kernels_are_those_asked_for"];
    let cases = [
        (SUBMISSION, "soon"),
        (SUBMISSION, "-1"),
        (SUBMISSION, "0.5"),
        (SUBMISSION, "18446744073709551616"),
        (BINDING, "1 MiB"),
    ];
    for ((variable, expected), value) in cases {
        let (passed, text) = run(variable, value, test);
        assert!(!passed, "{variable}={value}:\n{text}");
        let given = format!("{variable}: '{value}' is no number");
        for part in [given.as_str(), expected, "unset the variable"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
    for ((variable, _), value) in [(SUBMISSION, "0"), (SUBMISSION, ""), (BINDING, "4096")] {
        let (passed, text) = run(variable, value, test);
        assert!(passed, "{variable}={value}:\n{text}");
    }
}

/// What a process says that tries the adapter first, and whether it goes on.
fn tried(variables: &[(&str, &str)]) -> (bool, String) {
    let binary = std::env::current_exe().expect("the path of the test binary");
    let mut command = Command::new(binary);
    command.args(["--exact", "kinds::the_kernels_are_those_asked_for"]).envs(variables.iter().copied());
    let output = command.output().expect("the test binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// Faults are planted in debug builds only.
#[cfg(debug_assertions)]
#[test]
fn an_adapter_that_computes_wrongly_is_refused() {
    // Faults of a driver: an operation that is another, NaN, a constant that is off, no compiler.
    let faults = [
        ("matmul", "c0_0 += ", "c0_0 -= ", "a matrix product gave"),
        ("joined", "sum1 = sum1 + sum0", "sum1 = (sum1 - sum1) / (sum1 - sum1)", "a sum gave NaN"),
        ("joined", "0.166666672", "0.2", "a pointwise function gave"),
        ("matmul", "fn main(", "fn another(", "does not compile"),
    ];
    for (kernel, find, replace, says) in faults {
        let fault = [
            ("WGRAD_KERNELS", "register"),
            ("WGRAD_TRIAL", "always"),
            ("WGRAD_MUTANT_KERNEL", kernel),
            ("WGRAD_MUTANT_FIND", find),
            ("WGRAD_MUTANT_REPLACE", replace),
        ];
        let (passed, text) = tried(&fault);
        assert!(!passed, "{kernel}, {find}: \n{text}");
        for part in [says, "can't be used", "WGRAD_ADAPTER", "doctor", "Device::Cpu"] {
            assert!(text.contains(part), "{kernel}, {find}: no '{part}' in\n{text}");
        }
        // Whoever looks for the fault gets past it.
        let (_, text) = tried(&[&fault[..], &[("WGRAD_TRIAL", "never")]].concat());
        assert!(!text.contains("can't be used") && text.contains("test result:"), "{text}");
    }
    // Without a fault all is well, and a time that has no name is an error that lists those that have.
    assert!(tried(&[("WGRAD_TRIAL", "always")]).0);
    let (passed, text) = tried(&[("WGRAD_TRIAL", "sometimes")]);
    assert!(!passed);
    for part in ["WGRAD_TRIAL: 'sometimes'", "once (", "always (", "never ("] {
        assert!(text.contains(part), "{text}");
    }
}

/// Runs tests of this binary with these variables; they pass, and are some.
#[track_caller]
fn assert_others_pass(tests: &[&str], variables: &[(&str, &str)]) {
    let binary = std::env::current_exe().expect("the path of the test binary");
    let output = Command::new(binary)
        .args(tests)
        .args(["--skip", "large_enough"])
        .envs(variables.iter().copied())
        .output()
        .expect("the test binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{variables:?}:\n{text}");
    let passed = text.split(" passed;").next().and_then(|t| t.rsplit(' ').next()?.parse::<usize>().ok());
    assert!(passed >= Some(tests.len()), "{variables:?}: {passed:?}\n{text}");
}

/// Mesa's lavapipe makes subgroups as wide as the vectors that it is told to use; other drivers are tested once more as they are.
#[test]
fn subgroups_of_four_and_sixteen_are_right() {
    for (bits, lanes) in [("128", "4"), ("512", "16")] {
        let tests = [
            "exact::products_of_all_sizes",
            "exact::convolutions",
            "exact::reductions",
            "rows::",
            "the_kernels_are_those_asked_for",
        ];
        assert_others_pass(&tests, &[("LP_NATIVE_VECTOR_WIDTH", bits), ("WGRAD_TEST_LANES", lanes)]);
    }
}

#[test]
fn with_the_least_that_there_is_all_is_right() {
    let (passed, text) = tried(&[("WGRAD_LIMITS", "least")]);
    assert!(!passed && text.contains("WGRAD_LIMITS: 'least'") && text.contains("webgpu ("), "{text}");
    assert_others_pass(
        &[&TESTS[..], &["every_operation_on_small_shapes"]].concat(),
        &[("WGRAD_LIMITS", "webgpu")],
    );
}

/// Trivial in this process; in those above the variable must have had its effect.
#[test]
fn the_kernels_are_those_asked_for() -> Result<()> {
    let x = Tensor::ones([70, 70], Device::Gpu)?;
    x.eval()?;
    let profile = Device::Gpu.profile(|| x.matmul(&x)?.eval())?;
    let names: Vec<&str> = profile.kernels.iter().map(|k| k.name.as_str()).collect();
    if let Ok(kind) = std::env::var("WGRAD_KERNELS") {
        let kind = if kind == "small" { "register".to_string() } else { kind };
        assert!(names.iter().any(|name| name.contains(&kind)), "{kind} kernels were asked for: {names:?}");
    }
    // Without optional features there are no subgroups.
    if std::env::var("WGRAD_LIMITS").is_ok_and(|limits| limits == "webgpu") {
        assert!(!names.iter().any(|name| name.contains("subgroup")), "{names:?}");
    }
    let info = Device::Gpu.info()?;
    if let (Ok(lanes), true) = (std::env::var("WGRAD_TEST_LANES"), info.name.contains("llvmpipe")) {
        let size = info.limits.iter().find(|limit| limit.0 == "subgroup size, largest").map(|limit| limit.1);
        assert_eq!(size.map(|size| size.to_string()), Some(lanes));
    }
    Ok(())
}
