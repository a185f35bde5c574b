//! What AMD's compiler makes of the kernels: see README.md.
//!
//! usage: isa [--table FILE] [--write] [--asm FOLDER] FILE.wgsl|FOLDER ...

mod code;
mod driver;
mod table;

use code::Code;
use driver::Driver;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use table::Table;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("isa: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no kernel spills and none has become worse than the table says.
fn run() -> Result<bool, String> {
    let (mut table, mut write, mut asm, mut paths) = (None, false, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--table" => table = Some(value()?),
            "--asm" => asm = Some(value()?),
            "--write" => write = true,
            _ => paths.push(PathBuf::from(&argument)),
        }
    }
    let mut files = Vec::new();
    for path in &paths {
        find(path, &mut files)?;
    }
    let driver = Driver::new()?;
    eprintln!("{}", driver.name);
    let mut rows: BTreeMap<String, Vec<(String, Code)>> = BTreeMap::new();
    for file in &files {
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
        let source = read(file)?;
        let about = read(&file.with_extension("json")).unwrap_or_default();
        let built = driver.build(&source, &about).map_err(|e| format!("{}: {e}", file.display()))?;
        if let Some(folder) = &asm {
            let name = file.to_string_lossy().replace(['/', ' '], "_");
            let to = folder.join(format!("{name}.asm"));
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&to, &built.assembly))
                .map_err(|e| format!("{}: {e}", to.display()))?;
        }
        rows.entry(name(file, &source)).or_default().push((source, Code::new(&built)));
    }
    // Kernels of one name (other pointwise work behind them) are numbered, in the order of their texts.
    let mut now = Table::default();
    for (name, mut all) in rows {
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let several = all.len() > 1;
        for (i, (_, code)) in all.into_iter().enumerate() {
            now.rows.insert(if several { format!("{name} #{}", i + 1) } else { name.clone() }, code);
        }
    }
    print!("{}", now.text());
    let Some(path) = table else { return Ok(true) };
    if write {
        std::fs::write(&path, now.csv()).map_err(|e| format!("{}: {e}", path.display()))?;
        return Ok(true);
    }
    let kept = Table::read(&std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?)?;
    let faults = now.faults(&kept);
    for fault in &faults {
        println!("WORSE: {fault}");
    }
    Ok(faults.is_empty())
}

/// All kernels of a folder and the folders in it, in the order of their names.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut inside: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    inside.retain(|p| p.is_dir() || p.extension().is_some_and(|e| e == "wgsl"));
    inside.sort();
    inside.iter().try_for_each(|p| find(p, files))
}

/// Case, label, and what the kernel's text says of its operands: the same whatever else changes in it.
fn name(file: &Path, source: &str) -> String {
    let case = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let label = stem.rsplit_once('-').map_or(stem.as_ref(), |(label, _)| label);
    let operands = source.lines().find_map(|l| l.strip_prefix("// Operands: "));
    let operands = operands.map(|o| format!(" [{}]", o.trim_end_matches('.'))).unwrap_or_default();
    format!("{case}: {label}{operands}").replace(',', ";")
}
