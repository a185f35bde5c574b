//! A model as a table.

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
    /// The layers with their output shapes and numbers of parameters, as a table of text.
    pub fn summary(&self) -> String {
        let mut rows =
            vec![["#".into(), "layer".into(), "".into(), "output shape".into(), "parameters".into()]];
        for (i, entry) in self.stack.entries.iter().enumerate() {
            rows.push([
                (i + 1).to_string(),
                format!("{} ({})", entry.name, entry.kind),
                entry.details.clone(),
                format!("{}", entry.output),
                grouped(entry.module.parameter_count()),
            ]);
        }
        let width = |c: usize| rows.iter().map(|r: &[String; 5]| r[c].chars().count()).max().unwrap_or(0);
        let [w0, w1, w2, w3, w4] = [width(0), width(1), width(2), width(3), width(4)];
        let rule = "─".repeat(w0 + w1 + w2 + w3 + w4 + 10);
        let mut out = format!("input {} on {}\n{rule}\n", self.input_shape(), self.device());
        for (i, [number, layer, details, shape, count]) in rows.iter().enumerate() {
            out += &format!(" {number:>w0$}  {layer:<w1$}  {details:<w2$}  {shape:<w3$}  {count:>w4$}\n");
            if i == 0 {
                out += &format!("{rule}\n");
            }
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
