//! Indices and labels that must be places of an axis: checked once, where the host does not know it already.

use super::fault::{Check, Fault, FaultKind};
use super::{Grads, Lowering, Operation, Vjp};
use crate::cpu::{Array, kernels::OutOfRange};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Spec, Tensor, Value};

/// The same integers as u32, all of them below a length.
#[derive(Debug, Hash)]
struct CheckIndex(Check);

/// `indices` as u32, sure to be places of an axis: others are an error when the values are computed or, on a GPU, waited for.
pub(crate) fn check_index(indices: &Tensor, kind: FaultKind, axis: usize, len: usize) -> Result<Tensor> {
    // What the host knows of the values spares the kernels the check.
    let within = indices.device() != Device::Cpu && largest(indices, 0).is_some_and(|v| (v as usize) < len);
    if within {
        return indices.cast(DType::U32);
    }
    let op = CheckIndex(Check { kind, axis, len });
    Tensor::from_op(op, vec![indices.clone()], indices.shape(), DType::U32, indices.device())
}

/// How many views the look at what is below them goes through.
const MAX_VIEWS: usize = 16;

/// An upper bound of unsigned integers, where the host knows one: values that came from it, and views and selections of them.
fn largest(t: &Tensor, depth: usize) -> Option<u32> {
    match t.dtype() {
        DType::U8 => return Some(u8::MAX.into()),
        DType::U32 => {}
        _ => return None,
    }
    let known = t.0.with_value(|value| {
        value.map(|v| match v {
            Value::Gpu(array) => array.largest,
            Value::Cpu(_) => None,
        })
    });
    if let Some(known) = known {
        return known;
    }
    let view = ["alias", "reshape", "permute", "broadcast_to", "slice", "index_select"];
    if depth >= MAX_VIEWS || !view.contains(&t.0.op.name()) {
        return None;
    }
    let source = t.0.with_inputs(|inputs| inputs.first().cloned());
    largest(&source?, depth + 1)
}

impl Operation for CheckIndex {
    fn name(&self) -> &'static str {
        "check_index"
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let Check { kind, axis, len } = self.0;
        let fault = |e: OutOfRange| {
            Fault { kind, axis, value: e.value, bound: len, position: Some(e.position) }.error()
        };
        let x = inputs[0].contiguous()?;
        macro_rules! checked {
            ($t:ty) => {{
                let values = x.slice::<$t>()?;
                crate::cpu::kernels::check_range(values, len).map_err(fault)?;
                Array::build::<u32>(out.shape, |dst| {
                    dst.iter_mut().zip(values).for_each(|(d, &v)| *d = v as u32);
                    Ok(())
                })
            }};
        }
        match x.dtype() {
            DType::U32 => {
                crate::cpu::kernels::check_range(x.slice::<u32>()?, len).map_err(fault)?;
                Ok(x)
            }
            DType::I32 => checked!(i32),
            DType::U8 => checked!(u8),
            other => Err(Error::dtype(self.name(), format!("indices are {other}, integers are needed"))),
        }
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Check(self.0)
    }
}
