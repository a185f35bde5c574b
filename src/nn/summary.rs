//! A model as a table.

use super::network::Work;
use super::table::{Align, aligned, grouped, total};
use super::{Model, Module};

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
        let (rule, table) =
            aligned(&rows, &[Align::Right, Align::Left, Align::Left, Align::Left, Align::Right]);
        let inputs = self.inputs();
        let mut out = match &*inputs {
            [(_, shape)] => format!("input {shape} on {}\n", self.device()),
            _ => format!("{} inputs on {}\n", inputs.len(), self.device()),
        };
        out += &table;
        if network.outputs.len() > 1 {
            let outputs = network.outputs.iter();
            let named = outputs.map(|(name, node)| format!("{name} = {}", network.nodes[*node].name));
            out += &format!("{rule}\noutputs: {}\n", named.collect::<Vec<_>>().join(", "));
        }
        out + &format!("{rule}\n{}", total(&self.parameters()))
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
