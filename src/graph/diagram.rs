//! What a graph computes, node by node, and in which kernels: as a listing, in Graphviz's language, as a picture.

use super::trace::{Source, Trace};
use crate::backend::{collect, dissect};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::files::write_whole;
use crate::shape::Shape;
use crate::tensor::{Dispatch, Tensor, not_known};
use std::fmt::{self, Write};
use std::path::Path;

/// What a node of a [`Diagram`] is: see [`Diagram::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeKind {
    /// The argument of this number.
    Input(usize),
    /// The variable of this number, in the order in which the function reads them.
    Variable(usize),
    /// A tensor that has its value.
    Constant,
    /// An operation.
    Operation,
}

/// A node of a [`Diagram`]: see [`Diagram::nodes`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GraphNode {
    /// What it is.
    pub kind: NodeKind,
    /// The operation, a number with its value; what leaves are.
    pub name: String,
    /// Shape of the value.
    pub shape: Shape,
    /// Element type of the value.
    pub dtype: DType,
    /// The device that it is on.
    pub device: Device,
    /// Numbers of the nodes that it is computed from.
    pub inputs: Vec<usize>,
    /// The kernels that compute it, the first of which stores it if any does. Several compute it anew where that costs less
    /// than reading it. None for leaves, and for views that are read in place.
    pub kernels: Vec<usize>,
    /// What becomes of it: `output 0`, `new variable 2`.
    pub results: Vec<String>,
}

impl GraphNode {
    /// A number from the host, or a tensor of one.
    fn is_scalar(&self) -> bool {
        self.kind == NodeKind::Operation && self.inputs.is_empty() && self.name.starts_with("scalar ")
    }
}

/// A kernel of a [`Diagram`]: one dispatch on a GPU; on the CPU one operation, or several that go through the cache
/// together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GraphKernel {
    /// The operations that it computes; ` | ` between small kernels that share the dispatch.
    pub name: String,
    /// Workgroups per dimension; zeros on the CPU.
    pub grid: [u32; 3],
    /// Numbers of the nodes that it computes. None for the first pass of two.
    pub nodes: Vec<usize>,
}

/// The nodes of a graph, inputs before users, and the kernels that compute them, in their order: what the plan of the device
/// is in truth, fusion and all (but for what a call of a traced function writes in place). From [`Graph::diagram`](super::Graph::diagram) and [`Graph::of`](super::Graph::of).
///
/// `{}` prints a listing, [`to_dot`](Self::to_dot) gives Graphviz's language, [`to_svg`](Self::to_svg) a picture.
///
/// ```
/// use wgrad::{Graph, graph::NodeKind};
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones([2, 3], Device::Cpu)?.exp()?;
/// let diagram = Graph::of(&[&(x + 1.0)?])?;
/// let operations = diagram.nodes().iter().filter(|node| node.kind == NodeKind::Operation);
/// for node in operations {
///     println!("{} {}, computed by kernels {:?}", node.name, node.shape, node.kernels);
/// }
/// assert!(!diagram.kernels().is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Diagram {
    nodes: Vec<GraphNode>,
    kernels: Vec<GraphKernel>,
}

/// Fills of kernels, one after the other: light enough for black text.
pub(super) const COLORS: [&str; 12] = [
    "#cfe2f3", "#fce5cd", "#d9ead3", "#f4cccc", "#d9d2e9", "#fff2cc", "#d0e0e3", "#ead1dc", "#e2efda",
    "#dae3f3", "#f8d7b5", "#e6e6c8",
];

fn name_of(tensor: &Tensor) -> String {
    let op = &tensor.0.op;
    match op.name() {
        // `Scalar(0.5)`: the value is all that there is to it
        "scalar" => {
            format!("scalar {}", format!("{op:?}").trim_start_matches("Scalar(").trim_end_matches(')'))
        }
        name => name.to_string(),
    }
}

impl Diagram {
    pub(super) fn of_trace(trace: &Trace) -> Result<Diagram> {
        let mut diagram = Diagram { nodes: Vec::new(), kernels: Vec::new() };
        let graphs = trace.graphs()?;
        for node in &trace.nodes {
            let (kind, name, inputs) = match &node.source {
                Source::Input(i) => (NodeKind::Input(*i), format!("input {i}"), Vec::new()),
                Source::Variable(k) => (NodeKind::Variable(*k), format!("variable {k}"), Vec::new()),
                Source::Held(_) => (NodeKind::Constant, "constant".to_string(), Vec::new()),
                Source::Op { inputs, .. } => {
                    (NodeKind::Operation, String::new(), inputs.iter().map(|&i| i as usize).collect())
                }
            };
            diagram.nodes.push(GraphNode {
                kind,
                name,
                inputs,
                shape: node.spec.shape,
                dtype: node.spec.dtype,
                device: node.device,
                kernels: Vec::new(),
                results: Vec::new(),
            });
        }
        for (i, &node) in trace.outputs.iter().enumerate() {
            diagram.nodes[node as usize].results.push(format!("output {i}"));
        }
        for (k, node) in trace.assignments() {
            diagram.nodes[node as usize].results.push(format!("new variable {k}"));
        }
        for (device, graph, numbers) in graphs {
            for (entry, &i) in graph.entries.iter().zip(&numbers) {
                if diagram.nodes[i].kind == NodeKind::Operation {
                    diagram.nodes[i].name = name_of(&entry.tensor);
                }
            }
            diagram.add_kernels(dissect(device, &graph)?, &numbers);
        }
        Ok(diagram)
    }

    pub(super) fn of_pending(roots: &[&Tensor]) -> Result<Diagram> {
        let mut diagram = Diagram { nodes: Vec::new(), kernels: Vec::new() };
        let mut devices: Vec<Device> = Vec::new();
        for t in roots {
            if t.is_symbolic() {
                return Err(not_known());
            }
            if !devices.contains(&t.device()) {
                devices.push(t.device());
            }
        }
        for device in devices {
            let here: Vec<&Tensor> = roots.iter().copied().filter(|t| t.device() == device).collect();
            let graph = collect(device, &here)?;
            let first = diagram.nodes.len();
            for entry in &graph.entries {
                let number = roots.iter().position(|r| r.0.id == entry.tensor.0.id);
                let (kind, name) = match entry.ready {
                    true => (NodeKind::Constant, "constant".to_string()),
                    false => (NodeKind::Operation, name_of(&entry.tensor)),
                };
                diagram.nodes.push(GraphNode {
                    kind,
                    name,
                    shape: entry.tensor.shape(),
                    dtype: entry.tensor.dtype(),
                    device,
                    inputs: entry.inputs.iter().map(|&i| first + i as usize).collect(),
                    kernels: Vec::new(),
                    results: number.map(|n| format!("output {n}")).into_iter().collect(),
                });
            }
            let numbers: Vec<usize> = (first..diagram.nodes.len()).collect();
            diagram.add_kernels(dissect(device, &graph)?, &numbers);
        }
        Ok(diagram)
    }

    fn add_kernels(&mut self, dispatches: Vec<Dispatch>, numbers: &[usize]) {
        for dispatch in dispatches {
            let mut nodes: Vec<usize> = dispatch.nodes.iter().map(|&n| numbers[n as usize]).collect();
            nodes.sort_unstable();
            nodes.dedup();
            for &node in &nodes {
                self.nodes[node].kernels.push(self.kernels.len());
            }
            self.kernels.push(GraphKernel { name: dispatch.name, grid: dispatch.grid, nodes });
        }
    }

    /// The nodes, inputs before users.
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// The kernels, in the order in which they run.
    pub fn kernels(&self) -> &[GraphKernel] {
        &self.kernels
    }

    /// The graph in [Graphviz](https://graphviz.org)'s language: a box for each node with its shape, the nodes of a kernel
    /// inside a coloured frame. A node that several kernels compute stands in the first and names the others.
    pub fn to_dot(&self) -> String {
        let mut out = String::from(
            "digraph graph_of_tensors {\n  node [shape=box, style=\"filled,rounded\", fillcolor=white, fontname=\"monospace\", \
             fontsize=11];\n  edge [color=\"#555555\"];\n  fontname=\"sans-serif\"; fontsize=11;\n",
        );
        for (k, kernel) in self.kernels.iter().enumerate() {
            let color = COLORS[k % COLORS.len()];
            let _ = writeln!(
                out,
                "  subgraph cluster_{k} {{\n    label=\"{}\"; style=filled; color=\"{color}\";",
                escape(&format!("{k}: {}{}", kernel.name, grid(kernel.grid)))
            );
            let mine: Vec<usize> =
                kernel.nodes.iter().copied().filter(|&n| self.nodes[n].kernels.first() == Some(&k)).collect();
            for &n in &mine {
                let _ = writeln!(out, "    {}", self.dot_node(n));
            }
            if mine.is_empty() {
                // Graphviz draws no frame around nothing.
                let _ = writeln!(out, "    pass{k} [label=\"first pass\", style=dashed];");
            }
            out.push_str("  }\n");
        }
        for n in (0..self.nodes.len()).filter(|&n| self.nodes[n].kernels.is_empty()) {
            let _ = writeln!(out, "  {}", self.dot_node(n));
        }
        for (n, node) in self.nodes.iter().enumerate() {
            for &i in &node.inputs {
                let _ = writeln!(out, "  n{i} -> n{n};");
            }
        }
        out.push_str("}\n");
        out
    }

    fn dot_node(&self, n: usize) -> String {
        let node = &self.nodes[n];
        let mut label = format!("{}\n{} {}", node.name, node.dtype, node.shape);
        for result in &node.results {
            let _ = write!(label, "\n= {result}");
        }
        if node.kernels.len() > 1 {
            let others: Vec<String> = node.kernels[1..].iter().map(usize::to_string).collect();
            let _ = write!(label, "\nalso in {}", others.join(", "));
        }
        let fill = match node.kind {
            NodeKind::Input(_) => ", fillcolor=\"#b6d7a8\"",
            NodeKind::Variable(_) => ", fillcolor=\"#ffd966\"",
            NodeKind::Constant => ", fillcolor=\"#eeeeee\"",
            NodeKind::Operation => "",
        };
        format!("n{n} [label=\"{}\"{fill}];", escape(&label))
    }

    /// Writes [`to_dot`](Self::to_dot) to a file; whole or not at all.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn save_dot(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), self.to_dot().as_bytes())
    }

    /// The number that a node is, where it is nothing but a number from the host (or a tensor filled with it).
    pub(super) fn scalar(&self, mut n: usize) -> Option<&str> {
        loop {
            let node = &self.nodes[n];
            if node.is_scalar() {
                return node.name.strip_prefix("scalar ");
            }
            match (&node.inputs[..], node.name.as_str()) {
                (&[only], "broadcast_to" | "reshape") if node.results.is_empty() => n = only,
                _ => return None,
            }
        }
    }
}

/// Workgroups as people write them; nothing on the CPU.
pub(super) fn grid(grid: [u32; 3]) -> String {
    match grid {
        [0, ..] => String::new(),
        [x, 1, 1] => format!("  [{x}]"),
        [x, y, 1] => format!("  [{x}x{y}]"),
        [x, y, z] => format!("  [{x}x{y}x{z}]"),
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A line for each node: number, type and shape, what it is, the kernels; then the kernels.
impl fmt::Display for Diagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |kind: fn(&NodeKind) -> bool| self.nodes.iter().filter(|n| kind(&n.kind)).count();
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let results: usize = self.nodes.iter().map(|n| n.results.len()).sum();
        writeln!(
            f,
            "{}, {}, {}, {}, {}",
            plural(count(|k| matches!(k, NodeKind::Input(_))), "input"),
            plural(count(|k| matches!(k, NodeKind::Variable(_))), "variable"),
            plural(count(|k| matches!(k, NodeKind::Operation)), "operation"),
            plural(results, "result"),
            plural(self.kernels.len(), "kernel"),
        )?;
        let mut rows: Vec<[String; 4]> = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(|i| format!("%{i}")).collect();
            let call = match node.kind {
                NodeKind::Operation if !inputs.is_empty() => format!("{}({})", node.name, inputs.join(", ")),
                _ => node.name.clone(),
            };
            let kernels: Vec<String> = node.kernels.iter().map(usize::to_string).collect();
            let mut notes = Vec::new();
            if !kernels.is_empty() {
                notes.push(format!("kernel {}", kernels.join(", ")));
            }
            notes.extend(node.results.iter().map(|r| format!("= {r}")));
            rows.push([format!("%{n}"), call, format!("{} {}", node.dtype, node.shape), notes.join("  ")]);
        }
        let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for [number, call, spec, notes] in &rows {
            let line = format!(
                "  {number:>a$}  {call:<b$}  {spec:<c$}  {notes}",
                a = widths[0],
                b = widths[1],
                c = widths[2]
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        if !self.kernels.is_empty() {
            writeln!(f, "kernels, in order:")?;
        }
        for (k, kernel) in self.kernels.iter().enumerate() {
            writeln!(f, "  {k:>3}  {}{}", kernel.name, grid(kernel.grid))?;
        }
        Ok(())
    }
}
