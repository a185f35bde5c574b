//! Numbers from the host, which may change from step to step.

use super::{Grads, Lowering, Operation, Vjp};
use crate::cpu::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A number from the host. On the GPU it is an argument of the plan, not part of it: a learning rate that changes
/// every step neither compiles nor plans anything anew.
#[derive(Debug)]
pub(crate) struct Scalar(pub f64);

/// Nothing: the number is an argument of the plan.
impl Hash for Scalar {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

impl Operation for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }
    fn number(&self) -> Option<f64> {
        Some(self.0)
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(Vec::new())
    }
    fn cpu(&self, _inputs: &[Array], out: &Spec) -> Result<Array> {
        Ok(Array::scalar(self.0, out.dtype))
    }
    fn gpu(&self, _inputs: &[Spec], out: &Spec) -> Lowering<'_> {
        let bits = match out.dtype {
            DType::F32 => (self.0 as f32).to_bits(),
            DType::I32 => self.0 as i32 as u32,
            DType::U32 => self.0 as u32,
            DType::U8 => self.0 as u8 as u32,
            DType::F64 => return Lowering::Unsupported("f64 exists on the CPU only".into()),
        };
        Lowering::Scalar([bits, 0])
    }
}

/// The key of a stream of random numbers: 64 bits that change from call to call.
#[derive(Debug)]
pub(crate) struct RandomKey(pub u64);

/// Nothing: the key is an argument of the plan.
impl Hash for RandomKey {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

impl Operation for RandomKey {
    fn name(&self) -> &'static str {
        "random_key"
    }
    fn reseeded(&self, seed: u64) -> Option<Arc<dyn Operation>> {
        Some(Arc::new(RandomKey(crate::seed::derive(self.0, seed))))
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(Vec::new())
    }
    fn cpu(&self, _inputs: &[Array], _out: &Spec) -> Result<Array> {
        Ok(Array::from_slice(&[self.0 as u32, (self.0 >> 32) as u32]))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Scalar([self.0 as u32, (self.0 >> 32) as u32])
    }
}

/// That a number is one of an element type. Floats take every number, rounded to the nearest; integers only what they hold.
pub(crate) fn check_number(op: &str, value: f64, dtype: DType) -> Result<()> {
    let (low, high) = match dtype {
        DType::F32 | DType::F64 => return Ok(()),
        DType::I32 => (i32::MIN as f64, i32::MAX as f64),
        DType::U32 => (0.0, u32::MAX as f64),
        DType::U8 => (0.0, u8::MAX as f64),
    };
    // the fraction of what is not finite is NaN
    if value.fract() == 0.0 && (low..=high).contains(&value) {
        return Ok(());
    }
    let message = format!(
        "the number {value} is not a {dtype}, which holds whole numbers from {low} to {high}; cast the tensor to f32 first"
    );
    Err(Error::argument(op, message))
}

/// A scalar of the given type.
pub(crate) fn scalar(value: f64, dtype: DType, device: Device) -> Result<Tensor> {
    Tensor::from_op(Scalar(value), Vec::new(), Shape::scalar(), dtype, device)
}
