//! Models as tables of text.

use super::{Parameter, SampleShape};
use crate::device::Device;

/// What a module is, beside its parameters.
pub(crate) struct Shown {
    /// Its name with those of the modules that it is in, each with a dot behind it.
    pub path: String,
    /// In a few words; empty where it says nothing.
    pub what: String,
    /// Shape of what it gives for one sample, of a layer.
    pub output: Option<SampleShape>,
    /// Whether it is what the one output of the model that it is a layer of comes from.
    pub ends: bool,
}

/// A number with commas between thousands.
pub(crate) fn grouped(n: impl std::fmt::Display) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Bytes in the largest unit of which there is at least one.
fn bytes(n: usize) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.2} {}", UNITS[unit]) }
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Align {
    Left,
    Right,
}

/// The rule between parts of a table, and the table, whose first row is its header; columns are aligned to the left where nothing else
/// is said.
pub(super) fn aligned(rows: &[Vec<String>], columns: &[Align]) -> (String, String) {
    let count = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * widths.len());
    let mut out = format!("{rule}\n");
    for (i, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, &w))| match columns.get(c) {
            Some(Align::Right) => format!("{cell:>w$}"),
            _ => format!("{cell:<w$}"),
        });
        out += &format!(" {}\n", cells.collect::<Vec<_>>().join("  "));
        if i == 0 {
            out += &format!("{rule}\n");
        }
    }
    (rule, out)
}

/// The last line of a table: how many parameters there are.
pub(super) fn total(parameters: &[Parameter]) -> String {
    let size: usize = parameters.iter().map(|p| p.variable.value().0.spec.bytes()).sum();
    let count = |p: &Parameter| p.variable.shape().numel();
    let mut out =
        format!("{} parameters ({})", grouped(parameters.iter().map(count).sum::<usize>()), bytes(size));
    let fixed: usize = parameters.iter().filter(|p| !p.trainable()).map(count).sum();
    if fixed > 0 {
        out += &format!(", {} of them not trainable", grouped(fixed));
    }
    out
}

/// What a visit has shown, in order.
pub(super) enum Line {
    Module(Shown),
    Parameter(Parameter),
}

/// A row of the table of [`of_lines`].
struct Row {
    path: String,
    what: String,
    shape: String,
    parameters: usize,
    /// A layer, whose inside is not shown.
    closed: bool,
}

/// The table of a module, of all that its visit has shown.
pub(super) fn of_lines(lines: Vec<Line>, device: Device) -> String {
    let mut rows: Vec<Row> = Vec::new();
    let mut parameters = Vec::new();
    for line in lines {
        let path = match &line {
            Line::Module(shown) => &shown.path,
            Line::Parameter(parameter) => &parameter.name,
        };
        let closed =
            rows.iter().any(|row| row.closed && path.len() > row.path.len() && path.starts_with(&row.path));
        match line {
            Line::Module(shown) if closed => drop(shown),
            // The module of the row before says what it is.
            Line::Module(shown) if rows.last().is_some_and(|row| row.path == shown.path) => {
                if let Some(row) = rows.last_mut() {
                    if row.what.is_empty() {
                        row.what = shown.what;
                    }
                    if let Some(output) = shown.output.filter(|_| !row.closed) {
                        (row.shape, row.closed) = (output.to_string(), true);
                    }
                }
            }
            Line::Module(Shown { path, what, output, .. }) => {
                let shape = output.map(|o| o.to_string()).unwrap_or_default();
                rows.push(Row { path, what, shape, parameters: 0, closed: output.is_some() });
            }
            Line::Parameter(parameter) => {
                let shape = parameter.variable.shape();
                for row in rows.iter_mut().filter(|row| parameter.name.starts_with(&row.path)) {
                    row.parameters += shape.numel();
                }
                if !closed {
                    rows.push(Row {
                        path: parameter.name.clone(),
                        what: match parameter.trainable() {
                            true => String::new(),
                            false => "not trained".into(),
                        },
                        shape: shape.to_string(),
                        parameters: shape.numel(),
                        closed: false,
                    });
                }
                parameters.push(parameter);
            }
        }
    }
    let mut table: Vec<Vec<String>> =
        vec![["name", "module", "shape", "parameters"].map(String::from).to_vec()];
    let root = rows.first().map(|row| row.what.clone()).filter(|what| !what.is_empty());
    for row in rows.iter().skip(1) {
        let path = row.path.trim_end_matches('.');
        let (depth, name) = (path.matches('.').count(), path.rsplit('.').next().unwrap_or(path));
        let name = format!("{}{name}", "  ".repeat(depth));
        table.push(vec![name, row.what.clone(), row.shape.clone(), grouped(row.parameters)]);
    }
    let (rule, table) = aligned(&table, &[Align::Left, Align::Left, Align::Left, Align::Right]);
    let root = root.unwrap_or_else(|| "module".into());
    format!("{root} on {device}\n{table}{rule}\n{}", total(&parameters))
}
