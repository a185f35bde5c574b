//! For each layer, what another framework calls its parameters and how it lays them out.

use super::layout::{Layout, Order};
use crate::cpu::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::{Leaf, Parameter, SampleShape};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Whose weights they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    PyTorch,
    Keras,
}

/// The way from another framework's array to a parameter's value and back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    /// Axis d here is axis `axes[d]` there; empty where all are the same.
    axes: Vec<isize>,
    /// For axes here whose elements stand in another order there.
    orders: Vec<(isize, Arc<[usize]>)>,
    /// The shape there where it is neither the same nor `axes` says it.
    shape: Option<Shape>,
}

/// One parameter of a layer.
pub(super) struct Slot {
    pub parameter: Parameter,
    /// What it is called there.
    pub names: &'static [&'static str],
    pub change: Change,
    /// Its shape there.
    pub shape: Shape,
}

impl Change {
    fn axes(axes: &[isize]) -> Change {
        Change { axes: axes.to_vec(), ..Change::default() }
    }

    fn reorder(mut self, axis: isize, order: &Order) -> Change {
        self.orders.extend(order.iter().map(|o| (axis, o.clone())));
        self
    }

    fn reshape(shape: Shape) -> Change {
        Change { shape: Some(shape), ..Change::default() }
    }

    /// The shape there of what is `ours` here.
    fn theirs(&self, ours: Shape) -> Shape {
        let mut dims = ours.to_vec();
        for (d, &axis) in self.axes.iter().enumerate() {
            dims[axis as usize] = ours[d];
        }
        self.shape.unwrap_or_else(|| Shape::from_dims(&dims))
    }

    /// The parameter's value, of shape and type `like`.
    pub fn import(&self, theirs: &Tensor, like: &Tensor) -> Result<Array> {
        let mut t = theirs.clone();
        if !self.axes.is_empty() {
            t = t.permute(&self.axes)?;
        }
        for (axis, order) in &self.orders {
            t = t.index_select(*axis, &places(order.iter().copied())?)?;
        }
        t.reshape(like.shape())?.cast(like.dtype())?.to_host()?.contiguous()
    }

    /// The array that the other framework has for a parameter's value.
    pub fn export(&self, ours: &Tensor) -> Result<Tensor> {
        let mut t = ours.clone();
        for (axis, order) in &self.orders {
            let mut back = vec![0; order.len()];
            for (i, &p) in order.iter().enumerate() {
                back[p] = i;
            }
            t = t.index_select(*axis, &places(back.into_iter())?)?;
        }
        if !self.axes.is_empty() {
            let mut back = vec![0; self.axes.len()];
            for (d, &axis) in self.axes.iter().enumerate() {
                back[axis as usize] = d as isize;
            }
            t = t.permute(&back)?;
        }
        match self.shape {
            Some(shape) => t.reshape(shape),
            None => Ok(t),
        }
    }
}

fn places(order: impl Iterator<Item = usize>) -> Result<Tensor> {
    let places: Vec<u32> = order.map(|p| p as u32).collect();
    let n = places.len();
    Tensor::from_vec(places, [n], crate::device::Device::Cpu)
}

/// `[out, in, kh, kw]` to `[kh, kw, in, out]`, of volumes `[out, in, kd, kh, kw]` likewise; for transposed convolutions the same,
/// with in and out changed on both sides.
fn kernel(weight: Shape) -> Change {
    let sizes = 2..weight.rank() as isize;
    Change::axes(&sizes.chain([1, 0]).collect::<Vec<_>>())
}

/// A layer's parameters as the other framework has them; `input` and `output` say where PyTorch has their elements.
///
/// # Errors
///
/// In words: the layer has no counterpart there.
pub(super) fn slots(
    format: Format,
    leaf: &Leaf,
    parameters: &[Parameter],
    input: &Layout,
    output: &Layout,
) -> Result<Vec<Slot>, String> {
    if let (Format::PyTorch, Layout::Unknown(since)) = (format, input) {
        return Err(format!(
            "{}: after {since} it is not known in which order PyTorch has the elements",
            leaf.path
        ));
    }
    let order = |layout: &Layout| match layout {
        Layout::Vector(order) => order.clone(),
        _ => None,
    };
    let mut list = Vec::new();
    for parameter in parameters {
        let shape = parameter.variable.shape();
        let (names, change) = match format {
            Format::PyTorch => {
                let (name, change) =
                    pytorch(leaf, &parameter.name, shape, input, &order(input), &order(output))
                        .map_err(|e| format!("{}: {e}", leaf.path))?;
                (name, change)
            }
            Format::Keras => {
                keras(leaf, &parameter.name, shape).map_err(|e| format!("{}: {e}", leaf.path))?
            }
        };
        let theirs = change.theirs(shape);
        list.push(Slot { parameter: parameter.clone(), names, change, shape: theirs });
    }
    Ok(list)
}

/// A parameter of a recurrent layer. Gates stand in one order here and there, but of a GRU, where the first two are exchanged.
fn recurrent(kind: &str, config: &serde_json::Value, name: &str, shape: Shape, back: bool) -> Found {
    if kind == "Gru" && config["reset_after"] == false {
        return Err("PyTorch's GRU has reset_after(true)".into());
    }
    let order: Order = (kind == "Gru").then(|| {
        let units = shape.last().map_or(0, |all| all / 3);
        (units..2 * units).chain(0..units).chain(2 * units..3 * units).collect()
    });
    let last = shape.rank() as isize - 1;
    let change = match name {
        "bias" => Change::default(),
        _ => Change::axes(&[1, 0]),
    };
    let names: &[&str] = match (name, back) {
        ("weight", false) => &["weight_ih"],
        ("weight", true) => &["weight_ih_reverse"],
        ("recurrent_weight", false) => &["weight_hh"],
        ("recurrent_weight", true) => &["weight_hh_reverse"],
        (_, false) => &["biases"],
        (_, true) => &["biases_reverse"],
    };
    Ok((names, change.reorder(last, &order)))
}

type Found = Result<(&'static [&'static str], Change), String>;

fn pytorch(leaf: &Leaf, name: &str, shape: Shape, layout: &Layout, input: &Order, output: &Order) -> Found {
    let same = Change::default;
    Ok(match (leaf.kind.as_str(), name) {
        ("Dense", "weight") => (&["weight"], Change::axes(&[1, 0]).reorder(0, input).reorder(1, output)),
        ("Dense", "bias") => (&["bias"], same().reorder(0, output)),
        (
            "Conv1d" | "DepthwiseConv1d" | "ConvTranspose1d" | "Conv2d" | "DepthwiseConv2d"
            | "ConvTranspose2d" | "Conv3d" | "ConvTranspose3d",
            "weight",
        ) => (&["weight"], kernel(shape)),
        (
            "Conv1d" | "DepthwiseConv1d" | "ConvTranspose1d" | "Conv2d" | "DepthwiseConv2d"
            | "ConvTranspose2d" | "Conv3d" | "ConvTranspose3d",
            "bias",
        ) => (&["bias"], same()),
        ("SeparableConv2d", _) => {
            return Err(
                "PyTorch has no SeparableConv2d; use DepthwiseConv2d and Conv2d one after the other".into()
            );
        }
        ("SeparableConv1d", _) => {
            return Err(
                "PyTorch has no SeparableConv1d; use DepthwiseConv1d and Conv1d one after the other".into()
            );
        }
        ("SimpleRnn" | "Lstm" | "Gru", _) => recurrent(&leaf.kind, &leaf.config, name, shape, false)?,
        ("Bidirectional", _) => {
            let Some((kind, config)) = leaf.config["layer"].as_object().and_then(|layer| layer.iter().next())
            else {
                return Err("it is not known which layer goes both ways".into());
            };
            if leaf.config["merge"] != "concat" {
                return Err("PyTorch puts the outputs of both ways one behind the other; use BidirectionalMerge::Concat".into());
            }
            match name.split_once('.') {
                Some(("forward", name)) => recurrent(kind, config, name, shape, false)?,
                Some((_, name)) => recurrent(kind, config, name, shape, true)?,
                None => return Err(format!("it is not known what the parameter {name} is")),
            }
        }
        ("MultiHeadAttention", _) => {
            let names: &[&str] = match name {
                "query.weight" => &["query_weight"],
                "query.bias" => &["query_bias"],
                "key.weight" => &["key_weight"],
                "key.bias" => &["key_bias"],
                "value.weight" => &["value_weight"],
                "value.bias" => &["value_bias"],
                "out.weight" => &["out_weight"],
                _ => &["out_bias"],
            };
            (names, if shape.rank() == 2 { Change::axes(&[1, 0]) } else { same() })
        }
        ("RmsNorm", "gamma") => (&["weight"], same().reorder(0, input)),
        ("InstanceNorm", "gamma") => (&["weight"], same()),
        ("InstanceNorm", "beta") => (&["bias"], same()),
        ("BatchNorm", "gamma") => (&["weight"], same().reorder(0, input)),
        ("BatchNorm", "beta") => (&["bias"], same().reorder(0, input)),
        ("BatchNorm", "moving_mean") => (&["running_mean"], same().reorder(0, input)),
        ("BatchNorm", "moving_variance") => (&["running_var"], same().reorder(0, input)),
        ("GroupNorm", _) if input.is_some() => {
            return Err("PyTorch groups the elements of a flattened image otherwise".into());
        }
        ("GroupNorm", "gamma") => (&["weight"], same()),
        ("GroupNorm", "beta") => (&["bias"], same()),
        ("LayerNorm", "gamma" | "beta") => {
            let names: &[&str] = if name == "gamma" { &["weight"] } else { &["bias"] };
            let rank = leaf.input.rank() as i64;
            let axes: Vec<i64> = leaf.config["axes"].as_array().map_or_else(Vec::new, |list| {
                let axis = |v: &serde_json::Value| v.as_i64().map(|a| if a < 0 { a + rank } else { a });
                list.iter().filter_map(axis).collect()
            });
            let all = axes.len() as i64 == rank;
            let change = match layout {
                Layout::Vector(order) => same().reorder(0, order),
                // [channels, height, width] there
                Layout::Image if all => Change::axes(&(1..rank as isize).chain([0]).collect::<Vec<_>>()),
                // Over channels only, on an image with its channels last for once; or over height and width.
                Layout::Image if shape.rank() == 1 && axes == [rank - 1] => same(),
                Layout::Image if axes.len() as i64 == rank - 1 && axes.iter().all(|&a| a < rank - 1) => {
                    same()
                }
                // [channels, length] there, or turned for once
                Layout::Sequence if all => Change::axes(&[1, 0]),
                Layout::Sequence => same(),
                Layout::Plain if axes.iter().all(|&a| a >= rank - axes.len() as i64) => same(),
                _ => return Err(format!("PyTorch's LayerNorm has no axes {axes:?} of {}", leaf.input)),
            };
            (names, change)
        }
        ("Embedding", "weight") => (&["weight"], same()),
        ("PRelu", "alpha") => {
            let features = shape.last().copied().unwrap_or(1);
            if shape.numel() != features {
                return Err(format!(
                    "PyTorch's PReLU has one slope or one for each channel, this has {shape}"
                ));
            }
            let change = if shape.rank() == 1 && features > 1 {
                same().reorder(0, input)
            } else {
                Change::reshape(Shape::from_dims(&[features]))
            };
            (&["weight"], change)
        }
        (kind, _) => {
            return Err(format!("it is not known how PyTorch lays out the parameter {name} of a {kind}"));
        }
    })
}

fn keras(leaf: &Leaf, name: &str, shape: Shape) -> Found {
    let same = Change::default;
    // [kh, kw, channels, multiplier] there, with the same elements in the same order
    let depthwise = || {
        let channels = leaf.input.last().copied().flatten().unwrap_or(1);
        let dims: Vec<usize> = shape.to_vec();
        match dims.as_slice() {
            [kh, kw, 1, all] => {
                Change::reshape(Shape::from_dims(&[*kh, *kw, channels, all / channels.max(1)]))
            }
            [k, 1, all] => Change::reshape(Shape::from_dims(&[*k, channels, all / channels.max(1)])),
            _ => same(),
        }
    };
    Ok(match (leaf.kind.as_str(), name) {
        ("Dense" | "Conv2d" | "ConvTranspose2d" | "Conv1d" | "ConvTranspose1d", "weight")
        | ("Conv3d" | "ConvTranspose3d", "weight") => (&["kernel"], same()),
        ("DepthwiseConv2d" | "DepthwiseConv1d", "weight") => (&["kernel", "depthwise_kernel"], depthwise()),
        ("SeparableConv2d" | "SeparableConv1d", "depthwise_weight") => (&["depthwise_kernel"], depthwise()),
        ("SeparableConv2d" | "SeparableConv1d", "pointwise_weight") => (&["pointwise_kernel"], same()),
        ("Dense" | "Conv2d" | "ConvTranspose2d" | "DepthwiseConv2d" | "SeparableConv2d", "bias")
        | ("Conv1d" | "ConvTranspose1d" | "DepthwiseConv1d" | "SeparableConv1d", "bias")
        | ("Conv3d" | "ConvTranspose3d", "bias") => (&["bias"], same()),
        ("SimpleRnn" | "Lstm" | "Gru", "weight") => (&["kernel"], same()),
        ("SimpleRnn" | "Lstm" | "Gru", "recurrent_weight") => (&["recurrent_kernel"], same()),
        ("SimpleRnn" | "Lstm" | "Gru", "bias") => (&["bias"], same()),
        ("BatchNorm" | "LayerNorm" | "GroupNorm", "gamma") => (&["gamma"], same()),
        ("BatchNorm" | "LayerNorm" | "GroupNorm", "beta") => (&["beta"], same()),
        ("BatchNorm", "moving_mean") => (&["moving_mean"], same()),
        ("BatchNorm", "moving_variance") => (&["moving_variance"], same()),
        ("Embedding", "weight") => (&["embeddings"], same()),
        ("PRelu", "alpha") => (&["alpha"], same()),
        ("Bidirectional", "forward.weight") => (&["kernel"], same()),
        ("Bidirectional", "forward.recurrent_weight") => (&["recurrent_kernel"], same()),
        ("Bidirectional", "forward.bias") => (&["bias"], same()),
        ("Bidirectional", "backward.weight") => (&["backward_kernel"], same()),
        ("Bidirectional", "backward.recurrent_weight") => (&["backward_recurrent_kernel"], same()),
        ("Bidirectional", "backward.bias") => (&["backward_bias"], same()),
        ("TimeDistributed", _) => {
            let step = leaf.input.get(1..).unwrap_or_default();
            let inner = Leaf {
                path: leaf.path.clone(),
                kind: leaf.config["kind"].as_str().unwrap_or_default().into(),
                config: leaf.config["config"].clone(),
                input: SampleShape::new(step).map_err(|e| e.to_string())?,
                output: leaf.output,
                inputs: Vec::new(),
                parameters: Vec::new(),
                again: None,
            };
            return keras(&inner, name, shape);
        }
        (kind, _) => {
            return Err(format!("it is not known what Keras calls the parameter {name} of a {kind}"));
        }
    })
}

/// The kind of layer of a Keras class in snake case, which its files name layers by: `conv2d_1` is the second Conv2D.
pub(super) fn kind_of(name: &str) -> Option<&'static str> {
    let class = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let class = if class.len() < name.len() { class.strip_suffix('_').unwrap_or(name) } else { name };
    Some(match class {
        "dense" => "Dense",
        "conv2d" => "Conv2d",
        "conv2d_transpose" => "ConvTranspose2d",
        "depthwise_conv2d" => "DepthwiseConv2d",
        "separable_conv2d" => "SeparableConv2d",
        "conv1d" => "Conv1d",
        "conv1d_transpose" => "ConvTranspose1d",
        "depthwise_conv1d" => "DepthwiseConv1d",
        "separable_conv1d" => "SeparableConv1d",
        "conv3d" => "Conv3d",
        "conv3d_transpose" => "ConvTranspose3d",
        "simple_rnn" => "SimpleRnn",
        "lstm" => "Lstm",
        "gru" => "Gru",
        "bidirectional" => "Bidirectional",
        "time_distributed" => "TimeDistributed",
        "batch_normalization" => "BatchNorm",
        "layer_normalization" => "LayerNorm",
        "group_normalization" => "GroupNorm",
        "embedding" => "Embedding",
        "p_re_lu" => "PRelu",
        _ => return None,
    })
}

/// Whether an array can become a parameter: numbers with a fraction don't become integers, nor the other way round.
pub(super) fn fits(from: DType, to: DType) -> bool {
    from == to || (from.is_float() && to.is_float())
}
