//! The guides keep their promises: docs/from-keras.md explains every line of examples/from_keras.rs, and what README's table
//! says is code that runs.

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
            "```rust" | "```rust,no_run" => inside = true,
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

/// The spans of code in a cell of a table, which writes `|` as `\\|`.
fn code_spans(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(|span| span.replace("\\|", "|")).collect()
}

#[test]
fn the_readme_table_is_code_that_runs() {
    let readme = read("README.md");
    let section = readme.split("## From TensorFlow and Keras").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut running = String::new();
    for guide in ["docs/tensorflow.md", "docs/from-keras.md", "README.md"] {
        running += &rust_lines(&read(guide)).join("\n");
    }
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        running += &std::fs::read_to_string(file.unwrap().path()).unwrap();
    }
    let mut spans = 0;
    for row in section.lines().filter(|line| line.starts_with("| `") || line.starts_with("| a ")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 2, "two columns: {row}");
        for span in code_spans(cells[1]) {
            assert!(running.contains(&span), "nothing runs `{span}` of {row}");
            spans += 1;
        }
    }
    assert!(spans > 70, "found only {spans} spans");
}
