//! No operation is in no row, every row has an operation, and the page of operations is the table.

use super::*;
use crate::ops::table::{Binary, Compare, Unary};
use crate::{DType, Device, Result, Tensor};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Names of the operations that a tensor is computed from.
fn names(roots: &[Tensor], found: &mut BTreeSet<String>) {
    let mut seen = HashSet::new();
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

/// All names in the functions called `name` of the sources of operations, subfolders included.
fn all_declared(folder: &std::path::Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the crate's sources") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => all_declared(&path, found),
            false => found.extend(declared(&std::fs::read_to_string(path).expect("a source"))),
        }
    }
}

#[test]
fn every_operation_is_in_a_row() -> Result<()> {
    let mut checked = BTreeSet::new();
    for case in ops(1, Size::Small) {
        let inputs = case.tensors(Device::Cpu, DType::F32)?;
        let y = case.run(&inputs, Device::Cpu, DType::F32)?;
        let mut results = vec![y];
        // and, of many, the gradients of gradients
        for _ in 0..if case.second { 2 } else { 1 } {
            let tracked: Vec<&Tensor> = results.iter().filter(|y| y.is_tracked()).collect();
            names(&results, &mut checked);
            let Some(y) = tracked.first() else { break };
            let grads = y.square()?.sum(.., false)?.backward()?;
            let watched = inputs.iter().filter(|x| x.is_tracked());
            results = watched.map(|x| grads.get_or_zeros(x)).collect::<Result<Vec<_>>>()?;
        }
        names(&results, &mut checked);
    }
    let mut all = BTreeSet::new();
    all_declared(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"), &mut all);
    assert!(all.len() > 30, "{all:?}");
    all.extend(Unary::ALL.iter().map(|f| f.name().to_string()));
    all.extend(Binary::ALL.iter().map(|f| f.name().to_string()));
    all.extend(Compare::ALL.iter().map(|f| f.name().to_string()));
    // Leaves, and views of what has its value from the beginning.
    let leaves = ["constant", "input", "variable", "alias", "to_device"];
    let missing: Vec<&String> =
        all.iter().filter(|n| !checked.contains(*n) && !leaves.contains(&n.as_str())).collect();
    assert!(missing.is_empty(), "add rows for {missing:?} to src/testing/table/");
    Ok(())
}

/// `docs/operations.md`, from the table.
fn page() -> String {
    #[derive(Default)]
    struct Row {
        types: BTreeSet<&'static str>,
        gradient: bool,
        second: bool,
        tolerance: f64,
    }
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    // Gradients are packed by optimizers alone.
    for case in ops(1, Size::Small).iter().filter(|case| case.operation() != "pack") {
        let row = rows.entry(case.operation().to_string()).or_default();
        // what an index or a condition is says nothing of what the operation computes with
        let all_floats = case.inputs.iter().any(|i| i.kind == InputKind::Float);
        for input in case.inputs.iter().filter(|i| !all_floats || i.kind == InputKind::Float) {
            row.types.insert(match input.kind {
                InputKind::Float => "f32, f64",
                InputKind::Int(DType::I32) => "i32",
                InputKind::Int(DType::U32) => "u32",
                InputKind::Int(_) => "u8",
            });
        }
        row.gradient |= case.differentiable;
        row.second |= case.second;
        row.tolerance = row.tolerance.max(case.tol);
    }
    let mut text = include_str!("operations.md").to_string();
    for (name, row) in rows {
        let types: Vec<&str> = row.types.into_iter().collect();
        let gradient = match (row.gradient, row.second) {
            (true, true) => "yes, and its own",
            (true, false) => "yes",
            _ => "",
        };
        let off = if row.tolerance == 0.0 { "equal".into() } else { format!("{:.0e}", row.tolerance) };
        text += &format!("| `{name}` | {} | {gradient} | {off} |\n", types.join(", "));
    }
    text
}

#[test]
fn the_page_of_operations_is_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = page();
    if std::env::var_os("WGRAD_WRITE_OPERATIONS").is_some() {
        std::fs::write(&path, &page).expect("docs/operations.md can be written");
    }
    let text = std::fs::read_to_string(&path).expect("docs/operations.md");
    let differs = page.lines().zip(text.lines()).find(|(new, old)| new != old);
    assert!(
        page == text,
        "docs/operations.md is not the table, from {differs:?} on: WGRAD_WRITE_OPERATIONS=1 writes it"
    );
}
