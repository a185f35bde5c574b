//! Where values belong among sorted ones.

use super::{Grads, Lowering, Operation, Vjp, same_device, same_dtype};
use crate::cpu::{Array, dispatch, kernels};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::geometry::SearchGeometry;
use crate::gpu::kernels as gpu;
use crate::tensor::{Spec, Tensor};

/// Inputs: sorted rows, values.
#[derive(Debug, Hash)]
struct Search(SearchGeometry);

/// For each value how many elements of its sorted row are below it or, with `right`, not above it; u32.
pub(crate) fn searchsorted(op: &str, sorted: &Tensor, values: &Tensor, right: bool) -> Result<Tensor> {
    same_device(op, &[sorted, values])?;
    same_dtype(op, sorted, values)?;
    let (s, v) = (sorted.shape(), values.shape());
    let shared = s.rank() == 1;
    let [rows @ .., len] = &s[..] else {
        return Err(Error::shape(op, "a scalar has no order; expected sorted elements [n]"));
    };
    if !shared && (v.rank() != s.rank() || v[..v.rank() - 1] != *rows) {
        let message = format!(
            "sorted rows {s} and values {v}: expected [n] and values of any shape, or [.., n] and values [.., m] with equal \
             dimensions before the last"
        );
        return Err(Error::shape(op, message));
    }
    if v.numel() == 0 || *len == 0 {
        return super::view::full(0.0, v, DType::U32, values.device());
    }
    if sorted.dtype() == DType::U8 && sorted.device() != Device::Cpu {
        // bytes are stored four to a word, which the kernel does not take apart
        return searchsorted(op, &sorted.cast(DType::U32)?, &values.cast(DType::U32)?, right);
    }
    let count = if shared { v.numel() } else { v[v.rank() - 1] };
    let g = SearchGeometry { rows: v.numel() / count, count, len: *len, right };
    let inputs = vec![sorted.clone(), values.clone()];
    Tensor::from_op(Search(g), inputs, v, DType::U32, values.device())
}

impl Operation for Search {
    fn name(&self) -> &'static str {
        "searchsorted"
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None, None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let (sorted, values) = (inputs[0].contiguous()?, inputs[1].contiguous()?);
        dispatch!(sorted.dtype(), T => Array::build::<u32>(out.shape, |dst| {
            kernels::sort::search(&self.0, sorted.slice::<T>()?, values.slice::<T>()?, dst);
            Ok(())
        }))
    }
    fn gpu(&self, inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        let dtype = inputs.first().map_or(DType::F32, |x| x.dtype);
        Lowering::Kernel(Box::new(move |t| gpu::sort::search(t, &self.0, dtype)))
    }
}
