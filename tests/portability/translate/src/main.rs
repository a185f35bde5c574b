//! `translate OUT DIR...` validates every kernel (`*.wgsl`, with the constants in the `*.json` beside it) of the folders, translates
//! it into every language of wgpu's backends, with the checks of debug builds and without, and has the SPIR-V looked at by spirv-val
//! where that is installed. What was translated lies in `OUT/TARGET-checked` and `OUT/TARGET-trusted`; a table is printed, and what
//! failed by name. Ends with code 1 where anything did.

mod kernel;
mod target;

use kernel::Kernel;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use target::{Language, TARGETS};

/// What became of kernels, by target.
#[derive(Default)]
struct Tally {
    rows: BTreeMap<String, Row>,
}

#[derive(Default)]
struct Row {
    ok: usize,
    /// Kernels for adapters that this target has nothing to do with.
    apart: usize,
    failed: Vec<(String, String)>,
}

impl Tally {
    fn note(&mut self, target: &str, kernel: &str, result: Result<(), String>) {
        let row = self.rows.entry(target.into()).or_default();
        match result {
            Ok(()) => row.ok += 1,
            Err(message) => row.failed.push((kernel.into(), message)),
        }
    }

    fn add(&mut self, other: Tally) {
        for (name, row) in other.rows {
            let mine = self.rows.entry(name).or_default();
            mine.ok += row.ok;
            mine.apart += row.apart;
            mine.failed.extend(row.failed);
        }
    }

    /// Prints a table, and failures of the same kind together. Whether there were none.
    fn show(&self) -> bool {
        println!("{:<28}  {:>6}  {:>6}  {:>6}", "target", "ok", "failed", "apart");
        for (name, row) in &self.rows {
            println!("{name:<28}  {:>6}  {:>6}  {:>6}", row.ok, row.failed.len(), row.apart);
            let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (kernel, message) in &row.failed {
                kinds.entry(message).or_default().push(kernel);
            }
            for (message, kernels) in kinds {
                println!("    {} x {}: {message}", kernels.len(), kernels[..kernels.len().min(5)].join(", "));
            }
        }
        self.rows.values().all(|row| row.failed.is_empty())
    }
}

/// The version of spirv-val, if there is one.
fn spirv_val() -> Option<String> {
    let output = Command::new("spirv-val").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_string())
}

fn validated(file: &Path, environment: &str) -> Result<(), String> {
    let output = Command::new("spirv-val")
        .args(["--target-env", environment])
        .arg(file)
        .output()
        .map_err(|e| format!("spirv-val: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let text =
                [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
            Err(format!("spirv-val: {}", text.lines().next().unwrap_or("no reason given")))
        }
    }
}

/// Kernels with more than limits allow, and the largest of them.
#[derive(Default)]
struct Over {
    default: Vec<String>,
    downlevel: usize,
}

fn translate(path: &Path, out: &Path, spirv_val: bool, tally: &mut Tally, over: &mut Over) {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let kernel = match Kernel::read(path) {
        Ok(kernel) => kernel,
        Err(message) => return tally.note("naga", &name, Err(message)),
    };
    tally.note("naga", &name, Ok(()));
    if !kernel.over_default.is_empty() {
        over.default.push(format!("{} ({})", kernel.name, kernel.over_default.join(", ")));
    }
    over.downlevel += usize::from(!kernel.over_downlevel.is_empty());
    for target in &TARGETS {
        for (checked, suffix) in [(true, "checked"), (false, "trusted")] {
            let row = format!("{}-{suffix}", target.name);
            if kernel.needs.intersects(target.lacks) {
                tally.rows.entry(row).or_default().apart += 1;
                continue;
            }
            let file = out.join(&row).join(format!("{name}.{}", target.extension()));
            let mut result = target.write(&kernel, checked).and_then(|bytes| {
                std::fs::write(&file, bytes).map_err(|e| format!("{}: {e}", file.display()))
            });
            if let (Language::Spirv(_, _, environment), true) = (&target.language, spirv_val) {
                result = result.and_then(|()| validated(&file, environment));
            }
            tally.note(&row, &name, result);
        }
    }
}

fn kernels(folders: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "wgsl") {
                files.push(path);
            }
        }
    }
    // The same kernel may be in several folders.
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    files.dedup_by(|a, b| a.file_name() == b.file_name());
    Ok(files)
}

fn run(out: &Path, folders: &[PathBuf]) -> std::io::Result<bool> {
    let files = kernels(folders)?;
    if files.is_empty() {
        println!("no kernels in {folders:?}");
        return Ok(false);
    }
    for target in &TARGETS {
        for suffix in ["checked", "trusted"] {
            std::fs::create_dir_all(out.join(format!("{}-{suffix}", target.name)))?;
        }
    }
    let checker = spirv_val();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (tally, mut over) = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let (files, checker) = (&files, checker.is_some());
                scope.spawn(move || {
                    let (mut tally, mut over) = (Tally::default(), Over::default());
                    for path in files.iter().skip(part).step_by(threads) {
                        translate(path, out, checker, &mut tally, &mut over);
                    }
                    (tally, over)
                })
            })
            .collect();
        let (mut tally, mut over) = (Tally::default(), Over::default());
        for part in parts {
            let (t, o) = part.join().expect("a thread that translates doesn't panic");
            tally.add(t);
            over.default.extend(o.default);
            over.downlevel += o.downlevel;
        }
        (tally, over)
    });
    println!("{} kernels, naga 30, {}", files.len(), checker.as_deref().unwrap_or("no spirv-val"));
    let ok = tally.show();
    over.default.sort();
    println!(
        "over WebGPU's default limits: {}; over downlevel limits: {}",
        over.default.len(),
        over.downlevel
    );
    for name in over.default.iter().take(5) {
        println!("    {name}");
    }
    Ok(ok)
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Some((out, folders)) = arguments.split_first().filter(|(_, folders)| !folders.is_empty()) else {
        eprintln!("usage: translate OUT DIR...");
        return 2.into();
    };
    match run(out, folders) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("translate: {e}");
            ExitCode::FAILURE
        }
    }
}
