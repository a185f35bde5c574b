//! docs/from-keras.md explains examples/from_keras.rs, every line of it.

use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The lines of the guide's Rust blocks.
fn rust_lines(guide: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        match line {
            "```rust" => inside = true,
            "```" => inside = false,
            _ if inside && !line.trim().is_empty() => lines.push(line),
            _ => {}
        }
    }
    lines
}

#[test]
fn the_keras_guide_is_the_example() {
    let (guide, example) = (read("docs/from-keras.md"), read("examples/from_keras.rs"));
    let guide = rust_lines(&guide);
    // What the example does besides: the device and the number of epochs are arguments.
    let besides = |line: &str| {
        line.contains("argument")
            || line.contains("Some(\"")
            || line.contains("_ => Device")
            || line == "    };"
    };
    let as_in_the_guide = |line: &str| match line {
        "    let device = match arguments.next().as_deref() {" => {
            "    let device = Device::best();".to_string()
        }
        line => line.replace("Fit::epochs(epochs)", "Fit::epochs(10)"),
    };
    let code = example.lines().filter(|line| !line.starts_with("//!") && !line.trim().is_empty());
    let code: Vec<String> = code.map(as_in_the_guide).filter(|line| !besides(line)).collect();
    assert!(code.len() > 25, "the example is the whole program");
    assert_eq!(code, guide, "the guide's code, joined, is the example");
}
