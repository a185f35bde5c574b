//! A model as a table.

use super::network::Work;
use super::{Model, Module};

/// A number with commas between thousands.
fn grouped(n: usize) -> String {
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

impl Model {
    /// The layers with their output shapes (`None` where a dimension is open) and numbers of parameters, as a table of text. Where the model is no stack, the
    /// last column says what each layer reads.
    pub fn summary(&self) -> String {
        let network = &self.network;
        let stack = network.is_stack();
        let text = |s: &str| s.to_string();
        let mut header = vec![text("#"), text("layer"), text(""), text("output shape"), text("parameters")];
        if !stack {
            header.push(text("reads"));
        }
        let mut rows = vec![header];
        // The input of a stack is told in the line above the table.
        for node in network.nodes.iter().skip(usize::from(stack)) {
            let (kind, details, count) = match &node.work {
                Work::Input => ("Input", String::new(), 0),
                Work::Layer { kind, details, module, .. } => {
                    (*kind, details.clone(), module.parameter_count())
                }
                Work::Again(of) => ("Again", format!("weights of {}", network.nodes[*of].name), 0),
                Work::Merge(merge) => (merge.kind(), merge.details(), 0),
            };
            let mut row = vec![
                rows.len().to_string(),
                format!("{} ({kind})", node.name),
                details,
                format!("{}", node.output),
                grouped(count),
            ];
            if !stack {
                let reads: Vec<&str> = node.inputs.iter().map(|&i| network.nodes[i].name.as_str()).collect();
                row.push(reads.join(", "));
            }
            rows.push(row);
        }
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0))
            .collect();
        let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * widths.len());
        let inputs = self.inputs();
        let mut out = match &*inputs {
            [(_, shape)] => format!("input {shape} on {}\n{rule}\n", self.device()),
            _ => format!("{} inputs on {}\n{rule}\n", inputs.len(), self.device()),
        };
        for (i, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, &w))| match c {
                0 | 4 => format!("{cell:>w$}"),
                _ => format!("{cell:<w$}"),
            });
            out += &format!(" {}\n", cells.collect::<Vec<_>>().join("  "));
            if i == 0 {
                out += &format!("{rule}\n");
            }
        }
        if network.outputs.len() > 1 {
            let outputs = network.outputs.iter();
            let named = outputs.map(|(name, node)| format!("{name} = {}", network.nodes[*node].name));
            out += &format!("{rule}\noutputs: {}\n", named.collect::<Vec<_>>().join(", "));
        }
        let parameters = self.parameters();
        let size: usize = parameters.iter().map(|p| p.variable.value().0.spec.bytes()).sum();
        let total = self.parameter_count();
        let fixed: usize =
            parameters.iter().filter(|p| !p.trainable()).map(|p| p.variable.shape().numel()).sum();
        out += &format!("{rule}\n{} parameters ({})", grouped(total), bytes(size));
        if fixed > 0 {
            out += &format!(", {} of them not trainable", grouped(fixed));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn the_table_lines_up() {
        let relu = Activation::Relu;
        let model = Sequential::new()
            .add(Conv2d::new(32, [3, 3]).activation(relu))
            .add(MaxPool2d::new([2, 2]))
            .add(Conv2d::new(64, [3, 3]).activation(relu))
            .add(MaxPool2d::new([2, 2]))
            .add(Conv2d::new(64, [3, 3]).activation(relu))
            .add(Flatten::new())
            .add(Dense::new(64).activation(relu))
            .add(Dense::new(10))
            .build([28, 28, 1], Device::Cpu)
            .unwrap();
        let summary = model.summary();
        assert!(summary.starts_with("input [28, 28, 1] on cpu\n───"), "{summary}");
        assert!(summary.ends_with("93,322 parameters (364.54 KiB)"));
        let widths: Vec<usize> = summary.lines().skip(1).take(12).map(|l| l.chars().count()).collect();
        assert!(widths[1..].iter().all(|&w| w.abs_diff(widths[1]) <= 1), "{widths:?}");
        assert!(
            summary.contains("\n 3  conv2d_1 (Conv2d)        64, 3x3, relu  [11, 11, 64]      18,496\n"),
            "{summary}"
        );
    }
}
