//! A layer of a model, as importing weights sees it.

use super::{Parameter, SampleShape};
use crate::error::Result;
use serde_json::Value;

/// Told the path of a model or of a built layer, with a dot behind it, and its layers, before their parameters are shown.
pub(super) type TellLeaves<'a> = dyn FnMut(&str, Result<Vec<Leaf>>) + 'a;

/// A layer, an input or a merge of a model.
pub(crate) struct Leaf {
    /// Its name; with dots where it is in a model inside the model.
    pub path: String,
    /// The kind of layer, or `Input` or `Merge`.
    pub kind: String,
    /// Settings; null where there are none.
    pub config: Value,
    /// The shape of the (first) input for one sample.
    pub input: SampleShape,
    pub output: SampleShape,
    /// The leaves that it reads, which come before it.
    pub inputs: Vec<usize>,
    /// Its parameters, under names such as `weight`; none where the layer was used before.
    pub parameters: Vec<Parameter>,
    /// The leaf that used the same layer first.
    pub again: Option<usize>,
}
