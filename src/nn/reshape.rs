//! Layers that only look at the same numbers another way.

use super::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::shape::INFER;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A sample of any shape as a vector. Takes no time and no memory. Where a dimension is open, so is the vector's length, which
/// [`Dense`](super::Dense) then can't take: pool over the open dimensions instead.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Flatten::new()).build([28, 28, 1], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [784]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[must_use]
pub struct Flatten {}

impl Flatten {
    /// The layer.
    pub fn new() -> Flatten {
        Flatten {}
    }
}

impl Layer for Flatten {
    fn kind(&self) -> &'static str {
        "Flatten"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        let output = SampleShape::new([input.known().map(|shape| shape.numel())])?;
        Ok(Built::new(Reshaped { sample: output }, output))
    }
}

/// A sample under another shape with as many elements; [`INFER`] stands for one dimension to be worked out: now, or for each
/// batch where a dimension of the input is open. Takes no time and no memory.
///
/// ```
/// use wgrad::nn::Reshape;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Reshape::new([2, 3])).build([6], Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([5, 6], Device::Cpu)?)?.shape(), [5, 2, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a shape with another number of elements than the sample has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Reshape {
    sample: Vec<usize>,
}

impl Reshape {
    /// To this shape, without the batch dimension.
    pub fn new(sample: impl AsRef<[usize]>) -> Reshape {
        Reshape { sample: sample.as_ref().to_vec() }
    }
}

impl Layer for Reshape {
    fn kind(&self) -> &'static str {
        "Reshape"
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        let mut dims: Vec<Option<usize>> = self.sample.iter().map(|&d| (d != INFER).then_some(d)).collect();
        if dims.iter().filter(|d| d.is_none()).count() > 1 {
            let message = "only one dimension can be worked out; give the sizes of the others";
            return Err(Error::shape("build", message));
        }
        let target = SampleShape::new(&dims)?;
        let (given, wanted) = (input.known_numel(), target.known_numel());
        if let Some(input) = input.known() {
            let worked_out = given / wanted.max(1);
            dims.iter_mut().filter(|d| d.is_none()).for_each(|d| *d = Some(worked_out));
            let sample = SampleShape::new(&dims)?;
            let wanted = sample.known_numel();
            if given != wanted {
                let message = format!(
                    "expects {wanted} elements for {sample}, got {input} with {given}; change the target shape"
                );
                return Err(Error::shape("build", message));
            }
            return Ok(Built::new(Reshaped { sample }, sample));
        }
        // What is open decides for each batch.
        if wanted == 0 || (target.known().is_some() && !wanted.is_multiple_of(given)) {
            let message = format!(
                "expects {wanted} elements for {target}, got {input}, which never has so many; change the target shape"
            );
            return Err(Error::shape("build", message));
        }
        Ok(Built::new(Reshaped { sample: target }, target))
    }
}

/// A sample's axes in another order: axis d of the output is axis `axes[d]` of the input. Takes no time and no memory.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Permute;
/// # fn main() -> Result<()> {
/// // channels first to channels last
/// let model = Sequential::new().add(Permute::new([1, 2, 0])).build([3, 32, 24], Device::Cpu)?;
/// assert_eq!(model.output_shape(), [32, 24, 3]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a list that doesn't name each axis of the sample once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Permute {
    axes: Vec<usize>,
}

impl Permute {
    /// The sample's axes in their new order, counted from 0 (Keras counts the batch too: its 1 is 0 here).
    pub fn new(axes: impl Into<Vec<usize>>) -> Permute {
        Permute { axes: axes.into() }
    }
}

impl Layer for Permute {
    fn kind(&self) -> &'static str {
        "Permute"
    }

    fn details(&self) -> String {
        format!("{:?}", self.axes)
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, _cx: &mut Build) -> Result<Built> {
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..input.rank()) {
            let message = format!(
                "expects each axis from 0 to {} once for {input}, got {:?}",
                input.rank() as isize - 1,
                self.axes
            );
            return Err(Error::argument("build", message));
        }
        let dims: Vec<Option<usize>> = self.axes.iter().map(|&a| input[a]).collect();
        let axes = std::iter::once(0).chain(self.axes.iter().map(|&a| a as isize + 1)).collect();
        Ok(Built::new(Permuted { axes }, SampleShape::new(dims)?))
    }
}

struct Permuted {
    /// Of the batch.
    axes: Vec<isize>,
}

impl Module for Permuted {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        x.permute(&self.axes)
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

/// To a sample's shape in which one dimension may be open.
struct Reshaped {
    sample: SampleShape,
}

impl Module for Reshaped {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        let (n, given) = match x.dims() {
            [n, sample @ ..] => (*n, sample.iter().product::<usize>()),
            [] => (1, 1),
        };
        let wanted = self.sample.known_numel();
        let open = self.sample.known().is_none();
        if if open { !given.is_multiple_of(wanted) } else { given != wanted } {
            let message = format!(
                "expects {}{wanted} elements for {}, got samples of {:?} with {given}; use batches of another \
                 length, or change the target shape",
                if open { "a multiple of " } else { "" },
                self.sample,
                x.dims().get(1..).unwrap_or_default()
            );
            return Err(Error::shape("Reshape", message));
        }
        let sample = self.sample.iter().map(|d| d.unwrap_or(given / wanted.max(1)));
        x.reshape(std::iter::once(n).chain(sample).collect::<Vec<_>>())
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
