//! The layers of a model with models inside it taken apart: what importing weights goes by.

use super::layer::{Build, Built};
use super::leaf::Leaf;
use super::module::Parameters;
use super::network::{Network, Work};
use super::{Layers, Model, Module, Parameter, SampleShape, Sequential};
use crate::device::Device;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::HashMap;

impl Model {
    /// All layers, each after those it reads.
    ///
    /// # Errors
    ///
    /// A model inside the model has layers of one's own.
    pub(crate) fn leaves(&self) -> Result<Vec<Leaf>> {
        let mut out = Vec::new();
        expand(&self.network, "", &self.parameters(), None, &mut out)?;
        Ok(out)
    }
}

impl Built {
    /// Its layers, behind an input that is as it is in the other framework.
    pub(super) fn leaves(&self) -> Result<Vec<Leaf>> {
        let Some(made) = &self.made else { return Ok(Vec::new()) };
        let leaf = |kind: &str, output, inputs| Leaf {
            path: String::new(),
            kind: kind.into(),
            config: Value::Null,
            input: made.input,
            output,
            inputs,
            parameters: Vec::new(),
            again: None,
        };
        let mut out = vec![leaf("Input", made.input, Vec::new())];
        let parameters = self.module.parameters();
        if made.kind == "Sequential" {
            inside(&made.config, "", &parameters, made.input, &[0], &mut out)?;
        } else {
            let config = made.config.clone().unwrap_or_default();
            out.push(Leaf { config, parameters, ..leaf(made.kind, self.output, vec![0]) });
        }
        Ok(out)
    }
}

impl Parameters<'_> {
    /// The layers of the model or built layer that is visited; without work where nobody wants to know.
    pub(super) fn leaves(&mut self, leaves: impl FnOnce() -> Result<Vec<Leaf>>) {
        if let Some(tell) = &mut self.leaves {
            tell(&self.path, leaves());
        }
    }
}

/// All layers of a module's models and [built](Built) layers, under the names that it shows them by, and its other parameters. How they
/// read each other nobody knows.
///
/// # Errors
///
/// As [`Model::leaves`].
pub(crate) fn leaves_of(module: &(impl Module + ?Sized)) -> Result<(Vec<Leaf>, Vec<Parameter>)> {
    let mut told: Vec<(String, Result<Vec<Leaf>>)> = Vec::new();
    let mut tell = |path: &str, leaves| {
        // What is inside of another is a part of that.
        if !told.iter().any(|(outer, _)| path.starts_with(outer)) {
            told.push((path.to_string(), leaves));
        }
    };
    let mut own = Vec::new();
    let mut each = |parameter| own.push(parameter);
    let mut parameters = Parameters::new(&mut each);
    parameters.leaves = Some(&mut tell);
    module.visit(&mut parameters);
    own.retain(|parameter| !told.iter().any(|(path, _)| parameter.name.starts_with(path)));
    let mut out: Vec<Leaf> = Vec::new();
    for (path, leaves) in told {
        let start = out.len();
        out.extend(leaves?.into_iter().map(|leaf| Leaf {
            path: format!("{path}{}", leaf.path).trim_end_matches('.').to_string(),
            inputs: leaf.inputs.iter().map(|x| start + x).collect(),
            again: leaf.again.map(|of| start + of),
            ..leaf
        }));
    }
    Ok((out, own))
}

/// Appends a network's leaves; gives the places of its nodes' outputs. `fed` is the leaf that a network inside another one
/// reads.
fn expand(
    network: &Network,
    path: &str,
    parameters: &[Parameter],
    fed: Option<usize>,
    out: &mut Vec<Leaf>,
) -> Result<Vec<usize>> {
    let mut places: Vec<usize> = Vec::new();
    // Names of layers have no dot.
    let mut by_layer: HashMap<&str, Vec<Parameter>> = HashMap::new();
    for parameter in parameters {
        if let Some((layer, name)) = parameter.name.split_once('.') {
            by_layer.entry(layer).or_default().push(Parameter { name: name.into(), ..parameter.clone() });
        }
    }
    for node in &network.nodes {
        let inputs: Vec<usize> = node.inputs.iter().map(|&i| places[i]).collect();
        let input = inputs.first().map_or(node.output, |&i| out[i].output);
        let path = if path.is_empty() { node.name.clone() } else { format!("{path}.{}", node.name) };
        let mut leaf = Leaf {
            path: path.clone(),
            kind: String::new(),
            config: Value::Null,
            input,
            output: node.output,
            inputs,
            parameters: Vec::new(),
            again: None,
        };
        match &node.work {
            Work::Input => {
                if let Some(fed) = fed {
                    places.push(fed);
                    continue;
                }
                leaf.kind = "Input".into();
            }
            Work::Merge(merge) => {
                leaf.kind = "Merge".into();
                leaf.config = serde_json::to_value(merge).unwrap_or_default();
            }
            Work::Again(of) => {
                // The layer's leaves once more, without parameters of their own.
                let first = places[*of];
                let Work::Layer { kind, config, .. } = &network.nodes[*of].work else {
                    return Err(Error::internal("a node without a layer is used again"));
                };
                leaf.path.clone_from(&out[first].path);
                if *kind == "Sequential" {
                    let start = out.len();
                    let place = inside(config, &path, &[], input, &leaf.inputs, out)?;
                    // Both uses have equally many leaves, in one order; the last is the output.
                    let count = out.len() - start;
                    for i in 0..count {
                        out[start + i].again = Some(first + 1 + i - count);
                    }
                    places.push(place);
                    continue;
                }
                leaf.kind = (*kind).into();
                leaf.config = config.clone().unwrap_or_default();
                leaf.again = Some(first);
            }
            Work::Layer { kind, config, .. } => {
                let own = by_layer.remove(node.name.as_str()).unwrap_or_default();
                if *kind == "Sequential" {
                    places.push(inside(config, &path, &own, input, &leaf.inputs, out)?);
                    continue;
                }
                leaf.kind = (*kind).into();
                leaf.config = config.clone().unwrap_or_default();
                leaf.parameters = own;
            }
        }
        out.push(leaf);
        places.push(out.len() - 1);
    }
    Ok(places)
}

/// Appends the leaves of a stack inside a model; gives the place of its output.
fn inside(
    config: &Result<Value, String>,
    path: &str,
    parameters: &[Parameter],
    input: SampleShape,
    inputs: &[usize],
    out: &mut Vec<Leaf>,
) -> Result<usize> {
    let config = config.as_ref().map_err(|e| Error::argument(path, e.clone()))?;
    let stack = Sequential::from_config(config, |kind, config| Layers::default().make_of(kind, config))?;
    // Only names and shapes of this copy are used.
    let network = stack.network(input, &mut Build::unset(Device::Cpu))?;
    let places = expand(&network, path, parameters, inputs.first().copied(), out)?;
    places.last().copied().ok_or_else(|| Error::argument(path, "the model inside has no layers"))
}
