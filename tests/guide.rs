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
    let besides =
        |line: &str| ["    let mut arguments", "    let epochs"].iter().any(|start| line.starts_with(start));
    let as_in_the_guide = |line: &str| match line {
        "    let device: Device = arguments.next().unwrap_or(\"best\".into()).parse()?;" => {
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
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "rs") {
            running += &std::fs::read_to_string(file).unwrap();
        }
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

#[test]
fn the_pytorch_table_is_code_that_runs() {
    let guide = read("docs/from-pytorch.md");
    let files = ["docs/from-pytorch.md", "docs/tensorflow.md", "docs/from-keras.md", "README.md"];
    let running: String = files
        .iter()
        .map(|file| {
            rust_lines(&read(file)).join(
                "
",
            )
        })
        .collect();
    let rows = guide.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| PyTorch |"));
    let mut spans = 0;
    for row in rows.filter(|row| !row.starts_with("| ---")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 2, "two columns: {row}");
        for span in code_spans(cells[1]) {
            assert!(running.contains(&span), "nothing runs `{span}` of {row}");
            spans += 1;
        }
    }
    assert!(spans > 30, "found only {spans} spans");
}

/// The block of a language in a guide.
fn block<'a>(guide: &'a str, language: &str) -> &'a str {
    let after = guide.split(&format!("```{language}\n")).nth(1).unwrap();
    after.split("```").next().unwrap()
}

#[test]
fn the_ci_recipe_is_a_workflow() {
    let guide = read("docs/ci.md");
    let recipe = yaml_rust2::YamlLoader::load_from_str(block(&guide, "yaml")).unwrap();
    let [workflow] = &recipe[..] else { panic!("one document") };
    assert!(workflow["name"].as_str().is_some() && workflow["on"].as_hash().is_some());
    let job = &workflow["jobs"]["test"];
    assert_eq!(job["runs-on"].as_str(), Some("ubuntu-24.04"));
    let steps = job["steps"].as_vec().unwrap();
    let runs: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    // each step does one thing
    assert!(steps.iter().all(|step| step["run"].is_badvalue() != step["uses"].is_badvalue()));
    assert!(runs.iter().any(|run| run.contains("mesa-vulkan-drivers libvulkan1")));
    assert_eq!(runs.iter().filter(|run| **run == "cargo test").count(), 2);
    let kernels: Vec<&str> = steps.iter().filter_map(|step| step["env"]["WGRAD_KERNELS"].as_str()).collect();
    assert_eq!(kernels, ["tiled"]);
    assert_eq!(job["env"]["WGRAD_ADAPTER"].as_str(), Some("llvmpipe"));
}

/// Each promise of docs/reliability.md names tests as `file::name`; all of them exist.
#[test]
fn every_promise_is_guarded_by_a_test_that_exists() {
    let guide = read("docs/reliability.md");
    let mut guards = 0;
    for row in guide.lines().filter(|line| line.starts_with("| ") && line.contains(".rs::")) {
        let spans = code_spans(row);
        let named: Vec<&String> = spans.iter().filter(|span| span.contains(".rs::")).collect();
        assert!(!named.is_empty(), "no test guards: {row}");
        for guard in named {
            let (file, name) = guard.split_once("::").unwrap();
            let name = name.rsplit("::").next().unwrap();
            assert!(read(file).contains(&format!("fn {name}(")), "{guard} does not exist");
            guards += 1;
        }
    }
    for row in guide.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let heading = row.starts_with("| promise |");
        assert!(heading || row.contains(".rs::"), "no test guards: {row}");
    }
    assert!(guards > 20, "found only {guards} tests");
}
