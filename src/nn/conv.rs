//! Convolution layers.

use super::{Activation, Build, Built, Context, Layer, Module, Parameter, layer_config};
use crate::autograd::Variable;
use crate::error::{Error, Result};
use crate::ops::conv2d::{Conv2dOptions, Padding};
use crate::shape::Shape;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// 2-D convolution: `[height, width, channels]` to `[height', width', filters]`. Weight `[kh, kw, channels / groups,
/// filters]`, Glorot uniform; bias zero.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let layer = Conv2d::new(16, [3, 3]).padding(Padding::Same).stride([2, 2]).activation(Activation::Relu);
/// let model = Sequential::new().add(layer).build([28, 28, 3], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [14, 14, 16]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conv2d {
    filters: usize,
    kernel: [usize; 2],
    options: Conv2dOptions,
    activation: Activation,
    bias: bool,
}

impl Conv2d {
    /// A layer of `filters` windows of `kernel` rows and columns; stride 1, no padding, with bias, without activation.
    pub fn new(filters: usize, kernel: [usize; 2]) -> Conv2d {
        Conv2d {
            filters,
            kernel,
            options: Conv2dOptions::default(),
            activation: Activation::Linear,
            bias: true,
        }
    }

    /// Rows and columns from one window to the next.
    pub fn stride(mut self, stride: [usize; 2]) -> Conv2d {
        self.options.stride = stride;
        self
    }

    /// Zeros around the image.
    pub fn padding(mut self, padding: Padding) -> Conv2d {
        self.options.padding = padding;
        self
    }

    /// Rows and columns from one tap to the next.
    pub fn dilation(mut self, dilation: [usize; 2]) -> Conv2d {
        self.options.dilation = dilation;
        self
    }

    /// Channels are split into this many independent groups.
    pub fn groups(mut self, groups: usize) -> Conv2d {
        self.options.groups = groups;
        self
    }

    /// The function applied to the output.
    pub fn activation(mut self, activation: Activation) -> Conv2d {
        self.activation = activation;
        self
    }

    /// Whether a learnt constant is added to each filter's output.
    pub fn bias(mut self, bias: bool) -> Conv2d {
        self.bias = bias;
        self
    }
}

impl Layer for Conv2d {
    fn kind(&self) -> &'static str {
        "Conv2d"
    }

    fn details(&self) -> String {
        let [kh, kw] = self.kernel;
        format!("{}, {kh}x{kw}{}", self.filters, self.activation.suffix())
    }

    fn config(&self) -> Result<serde_json::Value> {
        layer_config(self)
    }

    fn build(&self, input: Shape, cx: &mut Build) -> Result<Built> {
        let [h, w, c] = cx.image(input)?;
        let ([kh, kw], o) = (self.kernel, self.options);
        if self.filters == 0 {
            return Err(Error::argument("build", "expects at least one filter, got 0"));
        }
        if o.groups == 0 || !c.is_multiple_of(o.groups) || !self.filters.is_multiple_of(o.groups) {
            let message = format!(
                "expects channels and filters in multiples of {} groups, got {c} and {}; change groups or filters",
                o.groups, self.filters
            );
            return Err(Error::argument("build", message));
        }
        let (_, [oh, ow]) = o.padding.resolve("conv2d", [h, w], self.kernel, o.stride, o.dilation)?;
        let taps = kh * kw;
        // As Keras counts: what one output reads, and what one input reaches.
        let (fan_in, fan_out) = (taps * c / o.groups, taps * self.filters);
        let weight = cx.glorot_uniform([kh, kw, c / o.groups, self.filters], fan_in, fan_out)?;
        let bias = if self.bias { Some(cx.full([self.filters], 0.0)?) } else { None };
        let module = Conv2dModule { weight, bias, options: o, activation: self.activation };
        Ok(Built::new(module, Shape::new(&[oh, ow, self.filters])?))
    }
}

struct Conv2dModule {
    weight: Variable,
    bias: Option<Variable>,
    options: Conv2dOptions,
    activation: Activation,
}

impl Module for Conv2dModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let y = x.conv2d(&self.weight, self.options)?;
        let y = match &self.bias {
            Some(bias) => (y + bias)?,
            None => y,
        };
        self.activation.apply(&y)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut list = vec![Parameter::new("weight", &self.weight)];
        list.extend(self.bias.iter().map(|b| Parameter::new("bias", b)));
        list
    }
}
