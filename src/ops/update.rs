//! Writing over a part of a tensor, at a place that may change from step to step.

use super::constant::scalar;
use super::index::select_within;
use super::random::iota;
use super::view::full;
use super::{Grads, Lowering, Operation, Vjp, same_device, same_dtype};
use crate::cpu::{Array, Element, dispatch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Spec, Tensor};

/// The first input with the second written over it along an axis, from a place on that the third gives (one u32; the part
/// fits in). Where the first input is nobody's any more, it is done in its memory.
#[derive(Debug, Hash)]
struct UpdateSlice {
    axis: usize,
}

/// `x` with `part` in place of its elements `start..start + part's length` along an axis.
pub(crate) fn update_slice(x: &Tensor, axis: isize, start: usize, part: &Tensor) -> Result<Tensor> {
    const OP: &str = "update_slice";
    let a = x.shape().axis(OP, axis)?;
    same_device(OP, &[x, part])?;
    same_dtype(OP, x, part)?;
    let (whole, shape) = (x.shape(), part.shape());
    let fits = shape.rank() == whole.rank() && (0..whole.rank()).all(|d| d == a || shape[d] == whole[d]);
    if !fits {
        let message = format!(
            "a part {shape} for a tensor {whole} along axis {axis}: expected as many dimensions, and the same sizes outside \
             that axis"
        );
        return Err(Error::shape(OP, message));
    }
    let (n, k) = (whole[a], shape[a]);
    if start.checked_add(k).is_none_or(|end| end > n) {
        let message = format!("{k} elements from {start} leave axis {axis} of length {n}");
        return Err(Error::argument(OP, message));
    }
    if part.numel() == 0 {
        return Ok(x.clone());
    }
    if k == n {
        return Ok(part.clone());
    }
    write(x, a, part, &scalar(start as f64, DType::U32, x.device())?)
}

fn write(x: &Tensor, axis: usize, part: &Tensor, start: &Tensor) -> Result<Tensor> {
    let inputs = vec![x.clone(), part.clone(), start.clone()];
    Tensor::from_op(UpdateSlice { axis }, inputs, x.shape(), x.dtype(), x.device())
}

impl UpdateSlice {
    /// Writes a contiguous part.
    fn write<T: Element>(&self, part: &Array, start: &Array, out: &Spec, dst: &mut [T]) -> Result<()> {
        let start = start.slice::<u32>()?.first().copied().unwrap_or(0) as usize;
        let inner: usize = out.shape[self.axis + 1..].iter().product();
        let (row, run) = (out.shape[self.axis] * inner, part.shape[self.axis] * inner);
        let src = part.slice::<T>()?;
        for (dst, src) in dst.chunks_mut(row.max(1)).zip(src.chunks(run.max(1))) {
            let end = start * inner + src.len();
            let fits = dst.get_mut(start * inner..end);
            fits.ok_or_else(|| Error::internal("a part that leaves its axis"))?.copy_from_slice(src);
        }
        Ok(())
    }
}

impl Operation for UpdateSlice {
    fn name(&self) -> &'static str {
        "update_slice"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let (part, start) = (&cx.inputs[1], &cx.inputs[2]);
        let (shape, device) = (part.shape(), part.device());
        let mut grads = vec![None, None, None];
        if cx.needs[0] {
            // What was written over has no part in the result.
            grads[0] = Some(write(cx.grad, self.axis, &full(0.0, shape, part.dtype(), device)?, start)?);
        }
        if cx.needs[1] {
            let places = (iota(shape[self.axis], device)? + start)?;
            grads[1] = Some(select_within(cx.grad, self.axis, &places)?);
        }
        Ok(grads)
    }
    fn overwrites(&self) -> bool {
        true
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let part = inputs[1].contiguous()?;
        dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
            inputs[0].copy_to(dst)?;
            self.write(&part, &inputs[2], out, dst)
        }))
    }
    fn cpu_owned(&self, mut inputs: Vec<Array>, out: &Spec) -> Result<Array> {
        let (first, others) = match inputs.split_first_mut() {
            Some((first, others)) if others.len() == 2 => (first, others),
            _ => return Err(Error::internal("update_slice: an input is missing")),
        };
        let written = dispatch!(out.dtype, T => match first.sole_slice::<T>() {
            Some(dst) => {
                self.write(&others[0], &others[1], out, dst)?;
                true
            }
            None => false,
        });
        if written { Ok(inputs.swap_remove(0)) } else { self.cpu(&inputs, out) }
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Update { axis: self.axis }
    }
}
