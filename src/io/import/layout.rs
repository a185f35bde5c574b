//! Where PyTorch has the elements of each layer's output: it keeps images as channels, height, width, and so its vectors of
//! flattened images are in another order than those of channels-last frameworks.

use crate::nn::{Leaf, SampleShape};
use std::sync::Arc;

/// A vector's order: element i here is PyTorch's element `order[i]`; `None` where both have one order.
pub(super) type Order = Option<Arc<[usize]>>;

/// How PyTorch holds a sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layout {
    /// `[height, width, channels]` here, `[channels, height, width]` there; volumes likewise.
    Image,
    /// `[length, channels]` here, `[channels, length]` there: what convolutions of sequences give.
    Sequence,
    /// The same on both sides.
    Plain,
    /// A vector.
    Vector(Order),
    /// Nothing is known any more since this layer.
    Unknown(String),
}

/// An image, a volume or a sequence of one channel or one place, which has one order on both sides.
fn single(image: SampleShape) -> bool {
    match *image {
        [_, .., Some(1)] => true,
        [ref sizes @ .., _] => sizes.iter().all(|&n| n == Some(1)),
        [] => false,
    }
}

/// The order of a flattened image, volume or sequence with known sizes.
pub(super) fn flattened(image: SampleShape) -> Order {
    if !(2..=4).contains(&image.rank()) || single(image) {
        return None;
    }
    let shape = image.known()?;
    let (n, c) = (shape.numel(), *shape.last()?);
    Some((0..n).map(|i| (i % c) * (n / c) + i / c).collect())
}

/// Whether a layer leaves every element in its place.
fn elementwise(leaf: &Leaf) -> bool {
    matches!(
        leaf.kind.as_str(),
        "Activation"
            | "ActivityRegularization"
            | "AlphaDropout"
            | "Augment"
            | "BatchNorm"
            | "Dropout"
            | "GaussianNoise"
            | "GroupNorm"
            | "InstanceNorm"
            | "LayerNorm"
            | "PRelu"
            | "RmsNorm"
            | "Softmax"
            | "SpatialDropout2d"
    )
}

/// The layout of every leaf's output.
pub(super) fn layouts(leaves: &[Leaf]) -> Vec<Layout> {
    // A dense layer whose vector becomes an image gives it in the order in which PyTorch's `view(-1, c, h, w)` reads it:
    // from the last leaf to the first, who wants which order.
    let mut wanted: Vec<Order> = vec![None; leaves.len()];
    for (i, leaf) in leaves.iter().enumerate().rev() {
        let Some(&from) = leaf.inputs.first() else { continue };
        if leaf.kind == "Reshape" && leaf.input.rank() == 1 && leaf.output.rank() == 3 {
            wanted[from] = flattened(leaf.output);
        } else if elementwise(leaf) && wanted[i].is_some() {
            wanted[from] = wanted[i].clone();
        }
    }
    let mut out: Vec<Layout> = Vec::with_capacity(leaves.len());
    for (i, leaf) in leaves.iter().enumerate() {
        let inputs: Vec<&Layout> = leaf.inputs.iter().map(|&x| &out[x]).collect();
        let layout = output(leaf, &inputs, &wanted[i], leaves);
        out.push(layout);
    }
    out
}

fn output(leaf: &Leaf, inputs: &[&Layout], wanted: &Order, leaves: &[Leaf]) -> Layout {
    let unknown = || Layout::Unknown(leaf.path.clone());
    let plain = |shape: SampleShape| if shape.rank() == 1 { Layout::Vector(None) } else { Layout::Plain };
    let Some(&input) = inputs.first() else {
        return match leaf.input.rank() {
            3 => Layout::Image,
            1 => Layout::Vector(wanted.clone()),
            _ => Layout::Plain,
        };
    };
    if let Some(unknown) = inputs.iter().find(|l| matches!(l, Layout::Unknown(_))) {
        return (*unknown).clone();
    }
    match leaf.kind.as_str() {
        _ if elementwise(leaf) => input.clone(),
        // `nn.Linear` on images with channels last, taken to be turned back before anything flattens them: every place keeps its
        // own.
        "Dense" if leaf.output.rank() > 1 => input.clone(),
        "Dense" => Layout::Vector(wanted.clone()),
        "Conv2d" | "DepthwiseConv2d" | "SeparableConv2d" | "ConvTranspose2d" | "MaxPool2d" | "AvgPool2d"
        | "AdaptiveAvgPool2d" | "AdaptiveMaxPool2d" | "ZeroPad2d" | "Cropping2d" | "UpSample2d" => {
            Layout::Image
        }
        "Conv3d" | "ConvTranspose3d" | "MaxPool3d" | "AvgPool3d" | "ZeroPad3d" | "Cropping3d"
        | "UpSample3d" => Layout::Image,
        "GlobalAvgPool2d" | "GlobalMaxPool2d" | "GlobalAvgPool3d" | "GlobalMaxPool3d" => {
            if leaf.output.rank() > 1 { Layout::Image } else { Layout::Vector(None) }
        }
        "Conv1d" | "DepthwiseConv1d" | "SeparableConv1d" | "ConvTranspose1d" | "MaxPool1d" | "AvgPool1d"
        | "ZeroPad1d" | "Cropping1d" | "UpSample1d" => Layout::Sequence,
        "GlobalAvgPool1d" | "GlobalMaxPool1d" if leaf.output.rank() == 2 => Layout::Sequence,
        "GlobalAvgPool1d" | "GlobalMaxPool1d" => Layout::Vector(None),
        // With `batch_first=True`: every place keeps its own.
        "Embedding"
        | "SimpleRnn"
        | "Lstm"
        | "Gru"
        | "Bidirectional"
        | "MultiHeadAttention"
        | "PositionEmbedding"
        | "SinePositionEncoding" => plain(leaf.output),
        "Flatten" | "Reshape" if leaf.output.rank() == 1 => match input {
            // How PyTorch orders an image of any size differs from batch to batch.
            Layout::Image | Layout::Sequence if leaf.input.known().is_none() && !single(leaf.input) => {
                unknown()
            }
            Layout::Image | Layout::Sequence => Layout::Vector(flattened(leaf.input)),
            Layout::Vector(order) => Layout::Vector(order.clone()),
            _ => Layout::Vector(None),
        },
        "Reshape" => {
            let image = leaf.output.rank() == 3;
            match input {
                Layout::Image if leaf.output == leaf.input => Layout::Image,
                Layout::Vector(order) if image && *order == flattened(leaf.output) => Layout::Image,
                Layout::Vector(None) if !image => Layout::Plain,
                Layout::Plain if image && single(leaf.output) => Layout::Image,
                Layout::Plain if !image => Layout::Plain,
                Layout::Image if single(leaf.input) && (!image || single(leaf.output)) => {
                    if image {
                        Layout::Image
                    } else {
                        Layout::Plain
                    }
                }
                _ => unknown(),
            }
        }
        "Permute" => {
            let axes: Option<Vec<u64>> = leaf
                .config
                .get("axes")
                .and_then(|a| a.as_array().map(|a| a.iter().filter_map(|v| v.as_u64()).collect()));
            match (input, axes.as_deref()) {
                // From channels first to channels last, or back: what PyTorch's layers see all the time.
                (_, Some([1, 2, 0])) => Layout::Image,
                (Layout::Image, Some([2, 0, 1])) => Layout::Plain,
                _ => unknown(),
            }
        }
        "Merge" => {
            let concat = leaf.config.get("concat").is_some();
            if concat && leaf.output.rank() == 1 {
                return joined(leaf, inputs, leaves);
            }
            if inputs.iter().all(|&l| l == input) { input.clone() } else { unknown() }
        }
        // A layer of one's own: nobody knows what it does with places.
        _ => match input {
            Layout::Vector(None) if leaf.output.rank() == 1 => Layout::Vector(None),
            Layout::Image if leaf.output.rank() == 3 => Layout::Image,
            _ => unknown(),
        },
    }
}

/// Vectors one after the other.
fn joined(leaf: &Leaf, inputs: &[&Layout], leaves: &[Leaf]) -> Layout {
    let mut order: Vec<usize> = Vec::new();
    for (layout, &from) in inputs.iter().zip(&leaf.inputs) {
        let start = order.len();
        match layout {
            Layout::Vector(Some(part)) => order.extend(part.iter().map(|p| start + p)),
            Layout::Vector(None) => match leaves[from].output.known() {
                Some(shape) => order.extend(start..start + shape.numel()),
                None => return Layout::Unknown(leaf.path.clone()),
            },
            _ => return Layout::Unknown(leaf.path.clone()),
        }
    }
    let same = order.iter().enumerate().all(|(i, &p)| i == p);
    Layout::Vector((!same).then(|| order.into()))
}
