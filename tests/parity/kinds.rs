//! The kernels of real GPUs and those for adapters without subgroups, run here too: this binary once more for each kind, with
//! the variable that chooses it. An adapter is opened once per process. So with the other variables that opening one reads.

use std::process::Command;
use wgrad::prelude::*;

/// The tests that reach kernels of which there are several kinds.
const TESTS: [&str; 2] = ["exact::", "rows::"];
const AND_OPERATIONS: [&str; 3] = ["exact::", "rows::", "every_operation_on_small_shapes"];

/// The test that tells whether the variables had their effect.
const ASKED_FOR: &str = "the_kernels_are_those_asked_for";

/// Whether these tests pass with these variables, and what they say.
fn run(variables: &[(&str, &str)], tests: &[&str]) -> (bool, String) {
    let binary = std::env::current_exe().expect("the path of the test binary");
    let mut command = Command::new(binary);
    command.args(tests).envs(variables.iter().copied());
    let output = command.output().expect("the test binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// They pass, and are some. What is large for the sake of real GPUs' blocks is left to these.
#[track_caller]
fn assert_pass(variables: &[(&str, &str)], tests: &[&str]) {
    let skip: &[&str] =
        if variables == [("WGRAD_KERNELS", "tiled")] { &[] } else { &["--skip", "large_enough"] };
    let (passed, text) = run(variables, &[tests, &[ASKED_FOR], skip].concat());
    assert!(passed && text.contains(&format!("{ASKED_FOR} ... ok")), "with {variables:?}:\n{text}");
    let count = text.split(" passed;").next().and_then(|t| t.rsplit(' ').next()?.parse::<usize>().ok());
    assert!(count > Some(tests.len()), "with {variables:?}: {count:?} tests\n{text}");
}

#[test]
fn tiled_kernels_and_teams_of_a_workgroup_are_right() {
    assert_pass(&[("WGRAD_KERNELS", "tiled")], &AND_OPERATIONS);
}

#[test]
fn kernels_without_subgroups_are_right() {
    assert_pass(&[("WGRAD_KERNELS", "register")], &TESTS);
}

#[test]
fn small_blocks_for_weak_compilers_are_right() {
    assert_pass(&[("WGRAD_KERNELS", "small")], &AND_OPERATIONS);
}

#[test]
fn an_unknown_kind_of_kernels_is_an_error_that_lists_the_kinds() {
    let (passed, text) = run(&[("WGRAD_KERNELS", "fastest")], &[ASKED_FOR]);
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
    let run =
        |folder: &std::path::Path| run(&[("WGRAD_DUMP_SHADERS", folder.to_str().unwrap())], &[ASKED_FOR]);
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("kernels");
    assert!(run(&inside).0);
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
    let (passed, text) = run(&blocked);
    assert!(!passed && text.contains("WGRAD_DUMP_SHADERS"), "{text}");
}

#[test]
fn a_variable_that_holds_no_number_is_an_error_that_says_so() {
    const SUBMISSION: (&str, &str) = ("WGRAD_SUBMISSION_MS", "a whole number of milliseconds");
    const BINDING: (&str, &str) = ("WGRAD_MAX_BINDING", "a whole number of bytes");
    const UNITS: (&str, &str) = ("WGRAD_COMPUTE_UNITS", "a whole number of compute units");
    let cases = [
        (SUBMISSION, "soon"),
        (SUBMISSION, "-1"),
        (SUBMISSION, "0.5"),
        (SUBMISSION, "18446744073709551616"),
        (BINDING, "1 MiB"),
        (UNITS, "many"),
    ];
    for ((variable, expected), value) in cases {
        let (passed, text) = run(&[(variable, value)], &[ASKED_FOR]);
        assert!(!passed, "{variable}={value}:\n{text}");
        let given = format!("{variable}: '{value}' is no number");
        for part in [given.as_str(), expected, "unset the variable"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
    for ((variable, _), value) in [(SUBMISSION, "0"), (SUBMISSION, ""), (BINDING, "4096"), (UNITS, "1")] {
        let (passed, text) = run(&[(variable, value)], &[ASKED_FOR]);
        assert!(passed, "{variable}={value}:\n{text}");
    }
}

#[test]
fn no_compute_units_are_an_error_that_says_how_many_there_may_be() {
    for units in ["0", "4097"] {
        let (passed, text) = run(&[("WGRAD_COMPUTE_UNITS", units)], &[ASKED_FOR]);
        let says =
            format!("WGRAD_COMPUTE_UNITS: '{units}' is no number of compute units: expected 1 to 4096");
        assert!(!passed && text.contains(&says), "{text}");
    }
}

/// Products are cut otherwise for small GPUs and for large ones: all of them are right.
#[test]
fn products_are_right_whatever_the_number_of_compute_units() {
    for units in ["3", "500"] {
        let tests = ["exact::products_of_all_sizes", "exact::convolutions"];
        assert_pass(&[("WGRAD_KERNELS", "tiled"), ("WGRAD_COMPUTE_UNITS", units)], &tests);
    }
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
        let (passed, text) = run(&fault, &[ASKED_FOR]);
        assert!(!passed, "{kernel}, {find}: \n{text}");
        for part in [says, "can't be used", "WGRAD_ADAPTER", "doctor", "Device::Cpu"] {
            assert!(text.contains(part), "{kernel}, {find}: no '{part}' in\n{text}");
        }
        // Whoever looks for the fault gets past it.
        let (_, text) = run(&[&fault[..], &[("WGRAD_TRIAL", "never")]].concat(), &[ASKED_FOR]);
        assert!(!text.contains("can't be used") && text.contains("test result:"), "{text}");
    }
    // Without a fault all is well, and a time that has no name is an error that lists those that have.
    assert!(run(&[("WGRAD_TRIAL", "always")], &[ASKED_FOR]).0);
    let (passed, text) = run(&[("WGRAD_TRIAL", "sometimes")], &[ASKED_FOR]);
    assert!(!passed);
    for part in ["WGRAD_TRIAL: 'sometimes'", "once (", "always (", "never ("] {
        assert!(text.contains(part), "{text}");
    }
}

/// Mesa's lavapipe makes subgroups as wide as the vectors that it is told to use; other drivers are tested once more as they are.
#[test]
fn subgroups_of_four_and_sixteen_are_right() {
    for (bits, lanes) in [("128", "4"), ("512", "16")] {
        let tests = ["exact::products_of_all_sizes", "exact::convolutions", "exact::reductions", "rows::"];
        assert_pass(&[("LP_NATIVE_VECTOR_WIDTH", bits), ("WGRAD_TEST_LANES", lanes)], &tests);
    }
}

#[test]
fn with_the_least_that_there_is_all_is_right() {
    let (passed, text) = run(&[("WGRAD_LIMITS", "least")], &[ASKED_FOR]);
    assert!(!passed && text.contains("WGRAD_LIMITS: 'least'") && text.contains("webgpu ("), "{text}");
    assert_pass(&[("WGRAD_LIMITS", "webgpu")], &AND_OPERATIONS);
}

/// Trivial in this process; in those above the variable must have had its effect.
#[test]
fn the_kernels_are_those_asked_for() -> Result<()> {
    let x = Tensor::ones([70, 70], Device::Gpu)?;
    x.eval()?;
    let profile = Device::Gpu.profile(|| x.matmul(&x)?.eval())?;
    let names: Vec<&str> = profile.kernels.iter().map(|k| k.name.as_str()).collect();
    if let Ok(kind) = std::env::var("WGRAD_KERNELS") {
        let label = if kind == "small" { "register" } else { kind.trim_end_matches('s') };
        assert!(names.iter().any(|name| name.contains(label)), "{kind} kernels were asked for: {names:?}");
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
