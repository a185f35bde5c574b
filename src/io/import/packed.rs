//! What PyTorch keeps in several arrays and a model in one, or the other way round: gates of recurrent layers, whose biases come twice,
//! and the projections of attention, which are one matrix there.
//!
//! Layers are taken apart when weights are read, so that each has arrays of its own under one path, and joined when they are written.

use super::weights::Weights;
use crate::error::Result;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap};

/// Queries, keys and values, in the order in which they are joined.
const PROJECTIONS: [&str; 3] = ["query", "key", "value"];

/// An array of a recurrent layer: what it is, of which layer of the stack, and whether of the way back.
fn recurrent(role: &str) -> Option<(&str, usize, &str)> {
    let (what, rest) = role.rsplit_once("_l")?;
    let (number, back) = match rest.strip_suffix("_reverse") {
        Some(number) => (number, "_reverse"),
        None => (rest, ""),
    };
    let known = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].contains(&what);
    known.then_some(())?;
    Some((what, number.parse().ok()?, back))
}

/// A path and a name in it.
pub(super) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// Both biases as one: side by side where the gates need them apart (GRU: the rows of its weights are three times those of the state),
/// else their sum.
fn biases(first: &Tensor, second: &Tensor, gates: usize) -> Result<Tensor> {
    if gates == 3 { Tensor::stack(&[first, second], 0) } else { first + second }
}

/// Weights with arrays of their own for each layer: of a stack `rnn` of recurrent layers `rnn.0`, `rnn.1`, .. (`rnn` where it is alone).
pub(super) fn apart(weights: &Weights) -> Result<Weights> {
    let mut layers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in &weights.tensors {
        let (path, role) = name.rsplit_once('.').unwrap_or(("", name));
        if let Some((_, layer, _)) = recurrent(role) {
            let count = layers.entry(path).or_default();
            *count = (*count).max(layer.saturating_add(1));
        }
    }
    let by_name: HashMap<&str, &Tensor> = weights.tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let find = |path: &str, role: &str| by_name.get(joined(path, role).as_str()).copied();
    let mut tensors = Vec::new();
    for (name, tensor) in &weights.tensors {
        let (path, role) = name.rsplit_once('.').unwrap_or(("", name));
        if let Some((what, layer, back)) = recurrent(role) {
            let place =
                if layers.get(path) == Some(&1) { path.into() } else { joined(path, &layer.to_string()) };
            let of = |what: &str| find(path, &format!("{what}_l{layer}{back}"));
            match what {
                "weight_ih" | "weight_hh" => {
                    tensors.push((joined(&place, &format!("{what}{back}")), tensor.clone()))
                }
                "bias_ih" => match (of("weight_hh").map(Tensor::dims), of("bias_hh")) {
                    (Some(&[rows, units]), Some(second)) if second.shape() == tensor.shape() => {
                        let both = biases(tensor, second, rows / units.max(1))?;
                        tensors.push((joined(&place, &format!("biases{back}")), both));
                    }
                    _ => tensors.push((name.clone(), tensor.clone())),
                },
                // Taken with the first.
                _ if of("bias_ih").is_some_and(|first| first.shape() == tensor.shape()) => {}
                _ => tensors.push((name.clone(), tensor.clone())),
            }
            continue;
        }
        let kind = role.strip_prefix("in_proj_").filter(|kind| ["weight", "bias"].contains(kind));
        let rows = tensor.dims().first().copied().unwrap_or(0);
        if let Some(kind) = kind.filter(|_| rows > 0 && rows.is_multiple_of(3)) {
            for (i, what) in PROJECTIONS.iter().enumerate() {
                let part = tensor.slice(0, i * (rows / 3), rows / 3)?;
                tensors.push((joined(path, &format!("{what}_{kind}")), part));
            }
            continue;
        }
        let outer = path.strip_suffix("out_proj").map(|outer| outer.strip_suffix('.').unwrap_or(outer));
        match outer {
            Some(outer) if find(outer, "in_proj_weight").is_some() => {
                tensors.push((joined(outer, &format!("out_{role}")), tensor.clone()));
            }
            _ => tensors.push((name.clone(), tensor.clone())),
        }
    }
    Ok(Weights { tensors, ..weights.clone() })
}

/// Arrays of layers as PyTorch has them: paths, what they are, and the arrays.
pub(super) fn together(arrays: Vec<(String, &str, Tensor)>) -> Result<Vec<(String, Tensor)>> {
    let mut out = Vec::new();
    let find = |path: &str, role: &str| {
        arrays.iter().find(|(p, r, _)| p == path && *r == role).map(|(_, _, tensor)| tensor)
    };
    for (path, role, tensor) in &arrays {
        let (what, back) = match role.strip_suffix("_reverse") {
            Some(what) => (what, "_reverse"),
            None => (*role, ""),
        };
        match what {
            "weight_ih" | "weight_hh" => {
                out.push((joined(path, &format!("{what}_l0{back}")), tensor.clone()))
            }
            "biases" => {
                let [first, second] = match tensor.rank() {
                    2 => [0, 1].map(|row| tensor.slice(0, row, 1)?.squeeze(0)),
                    _ => [Ok(tensor.clone()), tensor.zeros_like()],
                };
                out.push((joined(path, &format!("bias_ih_l0{back}")), first?));
                out.push((joined(path, &format!("bias_hh_l0{back}")), second?));
            }
            "query_weight" | "query_bias" => {
                let kind = what.trim_start_matches("query_");
                let parts = PROJECTIONS.iter().filter_map(|p| find(path, &format!("{p}_{kind}")));
                let whole = Tensor::concat(&parts.collect::<Vec<_>>(), 0)?;
                out.push((joined(path, &format!("in_proj_{kind}")), whole));
            }
            "key_weight" | "key_bias" | "value_weight" | "value_bias" => {}
            "out_weight" | "out_bias" => {
                out.push((
                    joined(path, &format!("out_proj.{}", what.trim_start_matches("out_"))),
                    tensor.clone(),
                ));
            }
            _ => out.push((joined(path, role), tensor.clone())),
        }
    }
    Ok(out)
}
