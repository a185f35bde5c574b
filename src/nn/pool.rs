//! Pooling layers.

use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::Result;
use crate::ops::conv2d::Padding;
use crate::ops::pool2d::{Pool2dOptions, check_adaptive};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Layers of windows with `$options`, over a sample of which `$parts` are the sizes: what is counted, and in what.
macro_rules! pooling {
    ($(#[$doc:meta])* $layer:ident, $method:ident, $options:ident, $size:ty, $padding:ty, $parts:ident, $units:literal, $whole:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[must_use]
        pub struct $layer {
            options: $options,
        }

        impl $layer {
            /// A window of this size that moves by its own size, without padding.
            pub fn new(window: $size) -> Self {
                $layer { options: $options::new(window) }
            }

            #[doc = concat!($units, " from one window to the next.")]
            pub fn stride(mut self, stride: $size) -> Self {
                self.options.stride = stride;
                self
            }

            #[doc = concat!("Border around the ", $whole, ".")]
            pub fn padding(mut self, padding: $padding) -> Self {
                self.options.padding = padding;
                self
            }

            /// Whether a window that reaches beyond the border at the end counts, as far as it lies inside: sizes are rounded up,
            /// not down. PyTorch's `ceil_mode`.
            pub fn ceil_mode(mut self, ceil: bool) -> Self {
                self.options.ceil_mode = ceil;
                self
            }
        }

        impl Layer for $layer {
            fn kind(&self) -> &'static str {
                stringify!($layer)
            }

            fn details(&self) -> String {
                self.options.extent()
            }

            fn config(&self) -> Result<Config> {
                Config::of(self)
            }

            fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
                let [size @ .., c] = cx.$parts(input)?;
                let size = self.options.resolve_open(stringify!($layer), size)?;
                Ok(Built::new(self.clone(), SampleShape::new([&size[..], &[c]].concat())?))
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
                x.$method(self.options)
            }

            fn visit(&self, _parameters: &mut Parameters<'_>) {}
        }
    };
}
pub(super) use pooling;

pooling! {
    /// The largest element of each window, per channel: `[height, width, channels]` to `[height', width', channels]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(MaxPool2d::new([2, 2])).build([11, 11, 3], Device::Cpu)?;
    /// assert_eq!(model.output_shape(), [5, 5, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no image, a window or a stride of 0, a window larger than the padded image,
    /// and a border as wide as the window.
    MaxPool2d, max_pool2d, Pool2dOptions, [usize; 2], Padding, image, "Rows and columns", "image"
}

pooling! {
    /// The mean of each window, per channel: `[height, width, channels]` to `[height', width', channels]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::AvgPool2d;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(AvgPool2d::new([2, 2])).build([2, 2, 1], Device::Cpu)?;
    /// let x = Tensor::new([[[[1.0f32], [2.0]], [[3.0], [6.0]]]], Device::Cpu)?;
    /// assert_eq!(model.infer(&x)?.to_vec::<f32>()?, [3.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`MaxPool2d`].
    AvgPool2d, avg_pool2d, Pool2dOptions, [usize; 2], Padding, image, "Rows and columns", "image"
}

impl AvgPool2d {
    /// Whether places of the border count in the average, as zeros.
    pub fn count_include_pad(mut self, count: bool) -> Self {
        self.options.count_include_pad = count;
        self
    }
}

/// Layers that make one number of each channel, over these axes of a batch: `$parts` are the sizes of a sample.
macro_rules! global_pooling {
    ($(#[$doc:meta])* $layer:ident, $parts:ident, $axes:expr, $method:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[must_use]
        pub struct $layer {
            keep_dims: bool,
        }

        impl $layer {
            /// To `[channels]`.
            pub fn new() -> Self {
                $layer { keep_dims: false }
            }

            /// Whether the axes that are gone through are kept, with length 1.
            pub fn keep_dims(mut self, keep: bool) -> Self {
                self.keep_dims = keep;
                self
            }
        }

        impl Layer for $layer {
            fn kind(&self) -> &'static str {
                stringify!($layer)
            }

            fn config(&self) -> Result<Config> {
                Config::of(self)
            }

            fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
                let [.., c] = cx.$parts(input)?;
                let mut output = if self.keep_dims { vec![Some(1); $axes.len()] } else { Vec::new() };
                output.push(c);
                Ok(Built::new(self.clone(), SampleShape::new(output)?))
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
                x.$method($axes, self.keep_dims)
            }

            fn visit(&self, _parameters: &mut Parameters<'_>) {}
        }
    };
}
pub(super) use global_pooling;

global_pooling! {
    /// The mean of each channel: `[height, width, channels]` to `[channels]`.
    ///
    /// ```
    /// use wgrad::nn::GlobalAvgPool2d;
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(GlobalAvgPool2d::new()).build([7, 7, 64], Device::Cpu)?;
    /// assert_eq!(model.output_shape(), [64]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no image.
    GlobalAvgPool2d, image, [1, 2], mean
}

global_pooling! {
    /// The largest element of each channel: `[height, width, channels]` to `[channels]`. Ties share the gradient.
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no image.
    GlobalMaxPool2d, image, [1, 2], max
}

macro_rules! adaptive_pooling {
    ($(#[$doc:meta])* $layer:ident, $kind:literal, $method:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[must_use]
        pub struct $layer {
            size: [usize; 2],
        }

        impl $layer {
            /// To so many rows and columns.
            pub fn new(size: [usize; 2]) -> Self {
                $layer { size }
            }
        }

        impl Layer for $layer {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn details(&self) -> String {
                let [h, w] = self.size;
                format!("{h}x{w}")
            }

            fn config(&self) -> Result<Config> {
                Config::of(self)
            }

            fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
                let [h, w, c] = cx.image(input)?;
                check_adaptive($kind, [h.unwrap_or(1), w.unwrap_or(1)], self.size)?;
                let [oh, ow] = self.size.map(Some);
                Ok(Built::new(self.clone(), SampleShape::new([oh, ow, c])?))
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
                x.$method(self.size)
            }

            fn visit(&self, _parameters: &mut Parameters<'_>) {}
        }
    };
}

adaptive_pooling! {
    /// The means of as many windows as the output is to have rows and columns, whatever the image has: `[height, width, channels]` to
    /// `[size[0], size[1], channels]`. PyTorch's `AdaptiveAvgPool2d`; [`Tensor::adaptive_avg_pool2d`] says which windows these are.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::AdaptiveAvgPool2d;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new()
    ///     .add(AdaptiveAvgPool2d::new([2, 2])) // images of any size become vectors of one length
    ///     .add(Flatten::new())
    ///     .add(Dense::new(10))
    ///     .build((None, None, 3), Device::Cpu)?;
    /// assert_eq!(model.infer(&Tensor::ones([4, 7, 5, 3], Device::Cpu)?)?.shape(), [4, 10]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`build`](Layer::build) refuses a sample that is no image, a size of 0 and one out of all proportion.
    AdaptiveAvgPool2d, "AdaptiveAvgPool2d", adaptive_avg_pool2d
}

adaptive_pooling! {
    /// The largest elements of as many windows as the output is to have rows and columns: as [`AdaptiveAvgPool2d`].
    ///
    /// # Errors
    ///
    /// As [`AdaptiveAvgPool2d`].
    AdaptiveMaxPool2d, "AdaptiveMaxPool2d", adaptive_max_pool2d
}
