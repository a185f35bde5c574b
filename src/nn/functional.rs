//! Models that are no stacks: branches, several inputs, several outputs.

use super::layer::{Build, Layer};
use super::merge::Merge;
use super::model::Model;
use super::network::Network;
use super::sample_shape::{IntoSampleShape, SampleShape};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::next_id;

/// What a layer of a [`Functional`] model will give: a place in the model, without a value. Only the builder that made it takes
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    builder: u64,
    node: usize,
}

/// Builds a model layer by layer, from inputs to outputs, as Keras's functional API.
///
/// Layers are built as they are added, so that an error comes from the line that made it.
///
/// ```
/// use wgrad::Shape;
/// use wgrad::nn::{Functional, Merge};
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let mut net = Functional::new(Device::Cpu);
/// let image = net.input("image", [28, 28, 1])?;
/// let x = net.layer(Conv2d::new(8, [3, 3]).activation(Activation::Relu), image)?;
/// let y = net.layer(Conv2d::new(8, [3, 3]).padding(Padding::Same), x)?;
/// let x = net.merge(Merge::Add, &[x, y])?; // a residual connection
/// let x = net.layer(Flatten::new(), x)?;
/// let digit = net.layer(Dense::new(10), x)?;
/// let odd = net.layer(Dense::new(1), x)?;
/// let model = net.build(&[("digit", digit), ("odd", odd)])?;
///
/// let images = Tensor::zeros([2, 28, 28, 1], Device::Cpu)?;
/// let outputs = model.infer_all(&[images])?;
/// assert_eq!((outputs[0].shape(), outputs[1].shape()), (Shape::new(&[2, 10])?, Shape::new(&[2, 1])?));
/// # Ok(()) }
/// ```
#[must_use]
pub struct Functional {
    id: u64,
    cx: Build,
    network: Network,
}

impl Functional {
    /// An empty model on a device; seed 0.
    pub fn new(device: Device) -> Functional {
        Functional { id: next_id(), cx: Build::new(device, 0), network: Network::default() }
    }

    /// The seed of the initial weights of the layers that follow.
    pub fn seed(mut self, seed: u64) -> Functional {
        self.cx = Build::new(self.cx.device(), seed).with_dtype(self.cx.dtype());
        self
    }

    /// The float type of the weights of the layers that follow, as [`Sequential::dtype`](super::Sequential::dtype): say it before the
    /// first of them.
    pub fn dtype(mut self, dtype: DType) -> Functional {
        self.cx = self.cx.with_dtype(dtype);
        self
    }

    fn symbol(&self, node: Result<usize>, place: &str) -> Result<Symbol> {
        let node = node.map_err(|e| match e {
            Error::Shape { .. } | Error::DType { .. } | Error::Argument { .. } => e.named(place),
            other => other.within(place),
        })?;
        Ok(Symbol { builder: self.id, node })
    }

    fn node(&self, symbol: Symbol) -> Result<usize> {
        if symbol.builder == self.id {
            return Ok(symbol.node);
        }
        Err(Error::argument("Functional", "the symbol belongs to another model's builder"))
    }

    /// An input: the shape of one sample, without the batch dimension, as for [`Sequential::build`](super::Sequential::build).
    ///
    /// ```
    /// use wgrad::nn::{Embedding, Functional, Merge};
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut net = Functional::new(Device::Cpu);
    /// let words = net.input("words", (None,))?; // as many as there are
    /// let x = net.layer(Embedding::new(1000, 16), words)?;
    /// let y = net.layer(Dense::new(16).activation(Activation::Relu), x)?;
    /// let sum = net.merge(Merge::Add, &[x, y])?;
    /// assert_eq!(net.shape(sum)?, [None, Some(16)]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The name is taken, the shape has no elements, or the device can't be used, or does not have the [type](Self::dtype).
    pub fn input(&mut self, name: &str, shape: impl IntoSampleShape) -> Result<Symbol> {
        self.cx.check().map_err(|e| e.named("Functional::input"))?;
        let shape = SampleShape::new(shape)?;
        let node = self.network.input(Some(name), shape);
        self.symbol(node, "Functional::input")
    }

    /// A layer fed by `x`.
    ///
    /// # Errors
    ///
    /// The layer doesn't take the shape of `x`.
    pub fn layer(&mut self, layer: impl Layer, x: Symbol) -> Result<Symbol> {
        self.layer_all(layer, &[x])
    }

    /// A layer fed by several symbols, in the order that it says: attention to another sequence, a mask beside a sequence.
    ///
    /// ```
    /// use wgrad::nn::{Functional, MultiHeadAttention};
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut net = Functional::new(Device::Cpu);
    /// let (words, image) = (net.input("words", (None, 32))?, net.input("patches", [49, 64])?);
    /// let y = net.layer_all(MultiHeadAttention::new(4, 8), &[words, image])?; // words look at the image
    /// assert_eq!(net.shape(y)?, [None, Some(32)]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The layer doesn't take so many inputs, or the shape of one of them.
    pub fn layer_all(&mut self, layer: impl Layer, xs: &[Symbol]) -> Result<Symbol> {
        let xs = xs.iter().map(|&x| self.node(x)).collect::<Result<Vec<_>>>()?;
        let node = self.network.layer(None, &layer, &xs, &mut self.cx);
        self.symbol(node, layer.kind())
    }

    /// As [`layer`](Self::layer), under a name of your own, by which its weights are then found: `<name>.weight`.
    ///
    /// # Errors
    ///
    /// The name is taken or has a dot, or the layer doesn't take the shape of `x`.
    pub fn named(&mut self, name: &str, layer: impl Layer, x: Symbol) -> Result<Symbol> {
        self.named_all(name, layer, &[x])
    }

    /// As [`layer_all`](Self::layer_all), under a name of your own.
    ///
    /// # Errors
    ///
    /// As [`named`](Self::named) and [`layer_all`](Self::layer_all).
    pub fn named_all(&mut self, name: &str, layer: impl Layer, xs: &[Symbol]) -> Result<Symbol> {
        let xs = xs.iter().map(|&x| self.node(x)).collect::<Result<Vec<_>>>()?;
        let node = self.network.layer(Some(name), &layer, &xs, &mut self.cx);
        self.symbol(node, layer.kind())
    }

    /// The layer that gave `of` once more, with the same weights, fed by `x`.
    ///
    /// ```
    /// use wgrad::nn::{Functional, Merge};
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut net = Functional::new(Device::Cpu);
    /// let (left, right) = (net.input("left", [8])?, net.input("right", [8])?);
    /// let a = net.layer(Dense::new(4), left)?;
    /// let b = net.again(a, right)?;
    /// let both = net.merge(Merge::Subtract, &[a, b])?;
    /// let model = net.build(&[("difference", both)])?;
    /// assert_eq!(model.parameter_count(), 8 * 4 + 4);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `of` is no layer's output, or `x` has another shape than the layer was built for. (Where that has open dimensions, so
    /// has the output, whatever `x` has there.)
    pub fn again(&mut self, of: Symbol, x: Symbol) -> Result<Symbol> {
        let (of, x) = (self.node(of)?, self.node(x)?);
        let node = self.network.again(None, of, x);
        self.symbol(node, "Functional::again")
    }

    /// One tensor of several.
    ///
    /// # Errors
    ///
    /// There are too few or their shapes don't go together.
    pub fn merge(&mut self, merge: Merge, xs: &[Symbol]) -> Result<Symbol> {
        let xs = xs.iter().map(|&x| self.node(x)).collect::<Result<Vec<_>>>()?;
        let node = self.network.merge(None, merge, &xs);
        self.symbol(node, merge.kind())
    }

    /// The shape that a symbol will have, for one sample.
    ///
    /// # Errors
    ///
    /// The symbol is of another builder.
    pub fn shape(&self, x: Symbol) -> Result<SampleShape> {
        Ok(self.network.nodes[self.node(x)?].output)
    }

    /// The model with these outputs, by name. Its inputs are all that were made, in that order.
    ///
    /// # Errors
    ///
    /// There is no output or no input, two outputs have one name, or a layer leads to no output.
    pub fn build(mut self, outputs: &[(&str, Symbol)]) -> Result<Model> {
        const OP: &str = "Functional::build";
        if outputs.is_empty() || self.network.inputs.is_empty() {
            return Err(Error::argument(OP, "a model needs at least one input and one output"));
        }
        for &(name, symbol) in outputs {
            let node = self.node(symbol)?;
            if self.network.outputs.iter().any(|(other, _)| other == name) {
                return Err(Error::argument(
                    OP,
                    format!("two outputs are named {name}; names must be unique"),
                ));
            }
            self.network.outputs.push((name.to_string(), node));
        }
        let nodes = &self.network.nodes;
        let mut used = vec![false; nodes.len()];
        for &(_, node) in &self.network.outputs {
            used[node] = true;
        }
        for (i, node) in nodes.iter().enumerate().rev() {
            if used[i] {
                node.inputs.iter().for_each(|&x| used[x] = true);
            }
        }
        if let Some(i) = used.iter().position(|used| !used) {
            let message =
                format!("{} leads to no output; leave it out, or name it as an output", nodes[i].name);
            return Err(Error::argument(OP, message));
        }
        Ok(Model::new(self.network, &self.cx))
    }
}

impl std::fmt::Debug for Functional {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Functional({} nodes on {})", self.network.nodes.len(), self.cx.device())
    }
}
