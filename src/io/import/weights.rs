//! What a file of another framework holds: arrays with their names.

use crate::tensor::Tensor;
use std::collections::HashMap;

/// Named arrays out of a file, on the CPU: what `pytorch` and `keras` read. [`Mapping::rename`](super::Mapping::rename) has an
/// example.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Where they come from, for errors.
    pub(super) source: String,
    pub(super) tensors: Vec<(String, Tensor)>,
    /// Whether the order of the arrays is that of the layers.
    pub(super) ordered: bool,
    /// What users call layers, by their paths in the file.
    pub(super) labels: HashMap<String, String>,
}

impl Weights {
    /// Arrays from elsewhere, in the order of the layers; `source` is what errors call them. Names end in what the array is:
    /// `fc1.weight` for PyTorch, `dense/kernel` for Keras.
    pub fn new(source: impl Into<String>, tensors: Vec<(String, Tensor)>) -> Weights {
        Weights { source: source.into(), tensors, ordered: true, labels: HashMap::new() }
    }

    /// All arrays with their names.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// An array by its name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// The arrays whose names begin with `prefix` and a dot, without these: `under("model")` of a checkpoint
    /// `{"model": model.state_dict(), "epoch": 3, ...}`.
    pub fn under(&self, prefix: &str) -> Weights {
        let inside = |name: &str| Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_string());
        let tensors = self.tensors.iter().filter_map(|(n, t)| Some((inside(n)?, t.clone()))).collect();
        Weights { tensors, ..self.clone() }
    }

    /// What users call the layer of a path in a Keras file.
    pub(super) fn label(&self, path: &str) -> Option<String> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let parts: Vec<&str> =
            ends.filter_map(|end| self.labels.get(&path[..end])).map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("."))
    }
}
