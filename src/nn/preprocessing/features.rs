//! What a layer adapts to.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::Context;
use crate::sealed;
use crate::tensor::{Tensor, no_grad};

/// Features, batch by batch: a tensor `[samples, ..]`, or the first input of any [`Source`](crate::data::Source), such as a
/// [`Dataset`](crate::data::Dataset) or a [`Pipeline`](crate::data::Pipeline). [`Normalization`](super::Normalization) has an example.
pub trait FeatureBatches: sealed::FeatureBatches {
    /// Calls `visit` with each batch `[n, ..]`.
    ///
    /// # Errors
    ///
    /// A batch can't be read; or what `visit` gives.
    fn each_batch(&self, visit: &mut dyn FnMut(&Tensor) -> Result<()>) -> Result<()>;
}

impl sealed::FeatureBatches for Tensor {}

/// So many elements of a tensor are looked at at once: copies in f64 are made of no more.
const ELEMENTS: usize = 1 << 20;

impl FeatureBatches for Tensor {
    fn each_batch(&self, visit: &mut dyn FnMut(&Tensor) -> Result<()>) -> Result<()> {
        let Some((&samples, sample)) = self.dims().split_first() else {
            let message = "a tensor without dimensions has no samples; expected [samples, ..]";
            return Err(Error::shape("adapt", message));
        };
        let x = self.detach()?.to_device(Device::Cpu)?;
        x.eval()?;
        let rows = (ELEMENTS / sample.iter().product::<usize>().max(1)).max(1);
        (0..samples)
            .step_by(rows)
            .try_for_each(|start| visit(&x.slice(0, start, rows.min(samples - start))?))
    }
}

/// Calls `visit` with the sizes and the elements of each batch, which are finite.
pub(super) fn each_of_finite(
    data: &(impl FeatureBatches + ?Sized),
    mut visit: impl FnMut(&[usize], &[f64]) -> Result<()>,
) -> Result<()> {
    let mut any = false;
    no_grad(|| {
        data.each_batch(&mut |batch| {
            if batch.rank() == 0 {
                return Err(Error::shape("adapt", "a batch has no dimensions; expected [samples, ..]"));
            }
            let values = batch.to_device(Device::Cpu)?.cast(DType::F64)?.to_vec::<f64>()?;
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                let sample = values.len() / batch.dims()[0];
                let message = format!(
                    "element {} of a sample of {:?} is {}; fill in what is missing, or leave such samples out, before",
                    at % sample,
                    &batch.dims()[1..],
                    values[at]
                );
                return Err(Error::argument("adapt", message));
            }
            any |= !values.is_empty();
            visit(batch.dims(), &values)
        })
    })?;
    if any { Ok(()) } else { Err(Error::argument("adapt", "there are no samples to adapt to")) }
}

/// Numbers of which a layer computes: integers become floats of the model's type.
pub(super) fn as_float(x: &Tensor, cx: &Context) -> Result<Tensor> {
    if x.dtype().is_float() { Ok(x.clone()) } else { x.cast(cx.dtype()) }
}

/// Settings as a tensor that is kept beside the weights: in f64 where the device has it, so that models in f64 lose nothing.
pub(super) fn constant(values: &[f64], shape: &[usize], device: Device) -> Result<Tensor> {
    let dtype = if device == Device::Cpu { DType::F64 } else { DType::F32 };
    Tensor::rounded(values, shape, dtype, device)
}
