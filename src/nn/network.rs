//! Layers wired to each other: what models of every kind are made of.

use super::derived::one_of;
use super::element_type::{Stated, among, explained, floats_as};
use super::layer::{Build, Layer};
use super::merge::Merge;
use super::module::taken_by;
use super::{Context, Module, Parameters, SampleShape};
use crate::dtype::DType;
use crate::error::{Error, Result, ResultExt};
use crate::tensor::Tensor;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a node does with its inputs. Clones have one module, and its weights, in common.
#[derive(Clone)]
pub(super) enum Work {
    Input,
    Layer {
        kind: &'static str,
        details: String,
        /// The settings, or why there are none.
        config: Result<Value, String>,
        module: Arc<dyn Module>,
    },
    /// The layer of an earlier node once more, with the same weights.
    Again(usize),
    Merge(Merge),
}

#[derive(Clone)]
pub(super) struct Node {
    /// Unique in its network: `conv2d`, `conv2d_1`, ...
    pub name: String,
    pub work: Work,
    /// Earlier nodes.
    pub inputs: Vec<usize>,
    /// Shape of what it gives for one sample.
    pub output: SampleShape,
}

/// Nodes, each after those it reads. Clones have their modules in common.
#[derive(Clone, Default)]
pub(super) struct Network {
    pub nodes: Vec<Node>,
    pub inputs: Vec<usize>,
    /// Names and nodes.
    pub outputs: Vec<(String, usize)>,
    counts: HashMap<String, usize>,
    /// Of all nodes.
    names: HashSet<String>,
    pub stated: Stated,
}

impl Network {
    /// The name a node gets: the one asked for, which must be free, or one of its kind's.
    fn name(&mut self, wanted: Option<&str>, kind: &str) -> Result<String> {
        if let Some(name) = wanted {
            if name.is_empty() || name.contains('.') {
                let message = format!("{name:?} can't be a name: names are not empty and have no dot");
                return Err(Error::argument("build", message));
            }
            if !self.names.insert(name.to_string()) {
                return Err(Error::argument(
                    "build",
                    format!("two layers are named {name}; names must be unique"),
                ));
            }
            return Ok(name.to_string());
        }
        let base = kind.to_lowercase();
        loop {
            let count = self.counts.entry(base.clone()).or_insert(0);
            let name = if *count == 0 { base.clone() } else { format!("{base}_{count}") };
            *count += 1;
            if self.names.insert(name.clone()) {
                return Ok(name);
            }
        }
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn input(&mut self, name: Option<&str>, shape: SampleShape) -> Result<usize> {
        if shape.contains(&Some(0)) {
            let message = format!("samples of shape {shape} have no elements; give the shape of one sample");
            return Err(Error::shape("build", message));
        }
        let name = self.name(name, "input")?;
        let at = self.push(Node { name, work: Work::Input, inputs: Vec::new(), output: shape });
        self.inputs.push(at);
        Ok(at)
    }

    pub fn layer(
        &mut self,
        name: Option<&str>,
        layer: &dyn Layer,
        xs: &[usize],
        cx: &mut Build,
    ) -> Result<usize> {
        let (work, output) = self.built(layer, xs, cx)?;
        let name = self.name(name, layer.kind())?;
        Ok(self.push(Node { name, work, inputs: xs.to_vec(), output }))
    }

    /// A layer that reads these nodes, and the shape of what it gives.
    fn built(&self, layer: &dyn Layer, xs: &[usize], cx: &mut Build) -> Result<(Work, SampleShape)> {
        let inputs: Vec<SampleShape> = xs.iter().map(|&x| self.nodes[x].output).collect();
        let built = match inputs[..] {
            [input] => layer.build(input, cx)?,
            _ => layer.build_all(&inputs, cx)?,
        };
        let config = layer.config().map(|c| c.0).map_err(|e| e.to_string());
        let work =
            Work::Layer { kind: layer.kind(), details: layer.details(), config, module: built.module.into() };
        Ok((work, built.output))
    }

    /// The same network with another layer in place of that of a node; all other modules are those of this one.
    pub fn with_layer(&self, at: usize, layer: &dyn Layer, cx: &mut Build) -> Result<Network> {
        let mut out = self.clone();
        let (work, output) = self.built(layer, &self.nodes[at].inputs, cx)?;
        let old = self.nodes[at].output;
        let reads = |n: &&Node| n.inputs.contains(&at) || matches!(n.work, Work::Again(of) if of == at);
        if let Some(reader) = self.nodes.iter().find(reads).filter(|_| output != old) {
            let message = format!(
                "{} was built for what {} gave, {old}; the new layer gives {output}",
                reader.name, self.nodes[at].name
            );
            return Err(Error::shape("build", message));
        }
        out.nodes[at] = Node { work, output, ..self.nodes[at].clone() };
        Ok(out)
    }

    pub fn again(&mut self, name: Option<&str>, of: usize, x: usize) -> Result<usize> {
        let of = match self.nodes[of].work {
            Work::Layer { .. } => of,
            Work::Again(of) => of,
            _ => {
                return Err(Error::argument(
                    "build",
                    "only the output of a layer names a layer to be used again",
                ));
            }
        };
        let &[read] = &*self.nodes[of].inputs else {
            let message = format!(
                "the layer {} has several inputs; only layers of one are used again",
                self.nodes[of].name
            );
            return Err(Error::argument("build", message));
        };
        let (expected, got) = (self.nodes[read].output, self.nodes[x].output);
        if !expected.covers(&got) {
            let fix = match got.covers(&expected) {
                true => "; use it first where the dimension is open",
                false => "",
            };
            let message =
                format!("the layer {} was built for {expected}, got {got}{fix}", self.nodes[of].name);
            return Err(Error::shape("build", message));
        }
        let name = self.name(name, &format!("{}_again", self.nodes[of].name))?;
        let output = self.nodes[of].output;
        Ok(self.push(Node { name, work: Work::Again(of), inputs: vec![x], output }))
    }

    pub fn merge(&mut self, name: Option<&str>, merge: Merge, xs: &[usize]) -> Result<usize> {
        let shapes: Vec<SampleShape> = xs.iter().map(|&x| self.nodes[x].output).collect();
        let output = merge.output(&shapes)?;
        let name = self.name(name, merge.kind())?;
        Ok(self.push(Node { name, work: Work::Merge(merge), inputs: xs.to_vec(), output }))
    }

    /// Whether each node reads just the one before: then it is a stack.
    pub fn is_stack(&self) -> bool {
        let chain = |(i, n): (usize, &Node)| matches!(n.work, Work::Layer { .. }) && n.inputs == [i];
        self.inputs == [0] && self.nodes.iter().skip(1).enumerate().all(chain)
    }

    /// The network that gives what some nodes give, with the same modules: no more of it than that takes.
    pub fn up_to(&self, outputs: Vec<(String, usize)>) -> Network {
        let mut used = vec![false; self.nodes.len()];
        outputs.iter().for_each(|&(_, node)| used[node] = true);
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if used[i] {
                node.inputs.iter().for_each(|&x| used[x] = true);
                // A layer that is used again stands where it was used first.
                if let Work::Again(of) = node.work {
                    used[of] = true;
                }
            }
        }
        let mut places = vec![0; self.nodes.len()];
        let mut out = Network { stated: self.stated.clone(), ..Network::default() };
        for (i, node) in self.nodes.iter().enumerate().filter(|&(i, _)| used[i]) {
            let mut node = node.clone();
            node.inputs.iter_mut().for_each(|x| *x = places[*x]);
            if let Work::Again(of) = &mut node.work {
                *of = places[*of];
            }
            out.names.insert(node.name.clone());
            places[i] = out.push(node);
        }
        out.inputs = self.inputs.iter().filter(|&&i| used[i]).map(|&i| places[i]).collect();
        out.outputs = outputs.into_iter().map(|(name, node)| (name, places[node])).collect();
        out
    }

    /// What [`from_config`](super::Model::from_config) makes the same network of.
    ///
    /// # Errors
    ///
    /// A layer can't be written down.
    pub fn config(&self) -> Result<Value> {
        let mut nodes = Vec::new();
        for node in &self.nodes {
            let mut entry = json!({ "name": node.name, "inputs": node.inputs });
            match &node.work {
                Work::Input => entry["input"] = json!(node.output.to_vec()),
                Work::Layer { kind, config, .. } => {
                    let config = config.as_ref().map_err(|e| Error::argument(&node.name, e.clone()))?;
                    entry["layer"] = json!({ "kind": kind, "config": config });
                }
                Work::Again(of) => entry["again"] = json!(of),
                Work::Merge(merge) => entry["merge"] = json!(merge),
            }
            nodes.push(entry);
        }
        let outputs: Vec<Value> =
            self.outputs.iter().map(|(name, node)| json!({ "name": name, "node": node })).collect();
        let mut config = json!({ "nodes": nodes, "outputs": outputs });
        // Not said of f32, which older versions know nothing else than.
        if self.dtype() != DType::F32 {
            config["dtype"] = json!(self.dtype().name());
        }
        Ok(config)
    }

    /// The outputs for as many inputs as there are.
    fn run(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        let mut given = inputs.iter();
        let mut values: Vec<Tensor> = Vec::with_capacity(self.nodes.len());
        // Whether a node follows from the first input, the tokens of a generation.
        let mut follows: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            let reached = node.inputs.iter().any(|&x| follows[x]) || self.inputs.first() == Some(&i);
            follows.push(reached);
            // What comes of integers alone is of the model's type, too.
            let typed = |y: Tensor, xs: &[&Tensor]| match xs.iter().any(|x| x.dtype().is_float()) {
                true => Ok(y),
                false => floats_as(&y, cx.dtype()),
            };
            let told = |kind: &str, module: &dyn Module, xs: &[&Tensor], y: Result<Tensor>| {
                let y = explained(y.and_then(|y| typed(y, xs)), xs, || module.parameters());
                y.with_context(|| format!("layer {} ({kind})", node.name))
            };
            let taken = |module: &dyn Module, x: &Tensor| taken_by(module, x, cx.dtype());
            let run = |kind: &str, module: &dyn Module, x: &Tensor| {
                let y = taken(module, x).and_then(|x| cx.beside(!reached, || module.forward(&x, cx)));
                told(kind, module, &[x], y)
            };
            let run_all = |kind: &str, module: &dyn Module, xs: &[usize]| {
                let xs: Vec<&Tensor> = xs.iter().map(|&x| &values[x]).collect();
                let inputs = xs.iter().map(|x| taken(module, x)).collect::<Result<Vec<_>>>();
                let outputs =
                    inputs.and_then(|inputs| cx.beside(!reached, || module.forward_all(&inputs, cx)));
                let one = outputs.and_then(|mut outputs| match (outputs.pop(), outputs.is_empty()) {
                    (Some(y), true) => Ok(y),
                    _ => Err(Error::argument("forward_all", "a layer of several inputs gives one output")),
                });
                told(kind, module, &xs, one)
            };
            let value = match (&node.work, &*node.inputs) {
                (Work::Layer { kind, module, .. }, &[x]) => run(kind, &**module, &values[x])?,
                (Work::Layer { kind, module, .. }, xs) => run_all(kind, &**module, xs)?,
                (Work::Again(of), &[x]) => match &self.nodes[*of].work {
                    Work::Layer { kind, module, .. } => run(kind, &**module, &values[x])?,
                    _ => {
                        return Err(Error::internal("a node without a layer is used again"));
                    }
                },
                (Work::Merge(merge), xs) => {
                    let numbers = |&x: &usize| match values[x].dtype() {
                        DType::U8 => values[x].cast(cx.dtype()),
                        _ => Ok(values[x].clone()),
                    };
                    let inputs = xs.iter().map(numbers).collect::<Result<Vec<_>>>();
                    let y = inputs.and_then(|inputs| merge.apply(&inputs));
                    y.with_context(|| format!("layer {} ({})", node.name, merge.kind()))?
                }
                // As many as there are inputs: counted above.
                _ => match given.next() {
                    Some(x) => x.clone(),
                    None => return Err(Error::internal("a model has more nodes for inputs than inputs")),
                },
            };
            values.push(value);
        }
        Ok(self.outputs.iter().map(|&(_, node)| values[node].clone()).collect())
    }
}

impl Module for Network {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        one_of(self.forward_all(std::slice::from_ref(x), cx)?, &self.output_names())
    }

    fn forward_all(&self, inputs: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            let names: Vec<&str> = self.inputs.iter().map(|&i| self.nodes[i].name.as_str()).collect();
            let message =
                format!("the model has the inputs {}; got {} tensors", names.join(", "), inputs.len());
            return Err(Error::argument("Module::forward_all", message));
        }
        let given = inputs.iter().map(Tensor::dtype).find(|dtype| dtype.is_float());
        cx.in_type(|| given.unwrap_or_else(|| self.dtype()), || self.run(inputs, cx))
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn dtype(&self) -> DType {
        among(&self.parameters()).or(self.stated.get()).unwrap_or(DType::F32)
    }

    fn output_names(&self) -> Vec<String> {
        self.outputs.iter().map(|(name, _)| name.clone()).collect()
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        let last = match *self.outputs {
            [(_, node)] => match self.nodes[node].work {
                Work::Again(of) => Some(of),
                _ => Some(node),
            },
            _ => None,
        };
        for (i, node) in self.nodes.iter().enumerate() {
            if let Work::Layer { module, kind, details, .. } = &node.work {
                parameters.within(&node.name, |parameters| {
                    parameters.describe_layer(kind, details, node.output, last == Some(i));
                    module.visit(parameters);
                });
            }
        }
    }
}
