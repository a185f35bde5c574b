//! Checks for tests of your own: of a model, a loss, a [`CustomOp`](crate::CustomOp).
//!
//! | check | what it finds |
//! | --- | --- |
//! | [`assert_close`] | numbers that differ by more than a relative and an absolute tolerance |
//! | [`assert_parity`], [`assert_module_parity`] | a device whose values or gradients are not the CPU's |
//! | [`check_gradients`], [`check_module_gradients`] | gradients that are not those of the function |
//!
//! Each returns a [`Result`]: in a test that returns one, `?` fails it with the report.
//!
//! ```no_run
//! use wgrad::prelude::*;
//! use wgrad::testing::{assert_module_parity, assert_parity, check_gradients};
//!
//! #[test]
//! fn my_loss_is_right() -> Result<()> {
//!     let (x, y) = (Tensor::randn([4, 3], Device::Cpu, 1)?, Tensor::randn([4, 3], Device::Cpu, 2)?);
//!     let loss = |t: &[Tensor]| (&t[0] - &t[1])?.square()?.mean(.., false);
//!     check_gradients(loss, &[x.clone(), y.clone()])?; // against finite differences
//!     assert_parity(loss, &[x, y]) // every device of this machine against the CPU
//! }
//!
//! #[test]
//! fn my_model_is_the_same_everywhere() -> Result<()> {
//!     let model = Sequential::new().add(Dense::new(8).activation(Activation::Tanh)).add(Dense::new(2));
//!     assert_module_parity(&model.build([3], Device::Cpu)?, &[Tensor::randn([5, 3], Device::Cpu, 1)?])
//! }
//! ```
//!
//! A custom operation is tested alike: both of its kernels and its gradient.
//!
//! ```
//! use std::sync::Arc;
//! use wgrad::prelude::*;
//! use wgrad::testing::{assert_close, check_gradients};
//! use wgrad::{CustomOp, apply_custom};
//!
//! #[derive(Debug)]
//! struct Cube;
//!
//! impl CustomOp for Cube {
//!     fn name(&self) -> &'static str {
//!         "cube"
//!     }
//!     fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
//!         Ok(inputs[0])
//!     }
//!     fn cpu(&self, inputs: &[&[f32]], _: &[Shape], output: &mut [f32]) -> Result<()> {
//!         output.iter_mut().zip(inputs[0]).for_each(|(y, x)| *y = x * x * x);
//!         Ok(())
//!     }
//!     fn vjp(&self, inputs: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
//!         Ok(vec![Some(((inputs[0].square()? * 3.0)? * grad)?)])
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let x = Tensor::new([-1.5f32, 0.5, 2.0], Device::Cpu)?;
//! let cube = |t: &[Tensor]| apply_custom(Arc::new(Cube), &[&t[0]]);
//! assert_close(cube(&[x.clone()])?, [-3.375, 0.125, 8.0], 1e-6, 0.0)?;
//! check_gradients(cube, &[x])?; // and assert_parity, once it has a kernel for GPUs
//! # Ok(()) }
//! ```

mod close;
mod gradients;
mod parity;
#[cfg(test)]
mod tests;

pub use close::{Values, assert_close};
pub use gradients::{check_gradients, check_module_gradients};
pub use parity::{assert_module_parity, assert_parity};

use crate::cpu::{CpuElement, dispatch};
use crate::device::Device;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::nn::{Module, Parameter};
use crate::tensor::Tensor;

/// What a function under test gives: a tensor, or several as a vector, an array or a tuple.
pub trait Outputs {
    /// The tensors in order.
    fn into_tensors(self) -> Vec<Tensor>;
}

impl Outputs for Tensor {
    fn into_tensors(self) -> Vec<Tensor> {
        vec![self]
    }
}

impl Outputs for Vec<Tensor> {
    fn into_tensors(self) -> Vec<Tensor> {
        self
    }
}

impl<const N: usize> Outputs for [Tensor; N] {
    fn into_tensors(self) -> Vec<Tensor> {
        self.into()
    }
}

impl Outputs for (Tensor, Tensor) {
    fn into_tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1]
    }
}

impl Outputs for (Tensor, Tensor, Tensor) {
    fn into_tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1, self.2]
    }
}

/// The elements of a tensor of any type.
fn elements(t: &Tensor) -> Result<Vec<f64>> {
    let array = t.to_host()?.contiguous()?;
    dispatch!(array.dtype(), T => Ok(array.slice::<T>()?.iter().map(|v| v.to_f64()).collect()))
}

/// A tensor of these values, rounded to the type.
fn tensor_of(values: &[f64], like: &Tensor, dtype: DType, device: Device) -> Result<Tensor> {
    fn make<T: CpuElement>(values: &[f64], like: &Tensor, device: Device) -> Result<Tensor> {
        Tensor::from_vec(values.iter().map(|&v| T::from_f64(v)).collect(), like.dims(), device)
    }
    dispatch!(dtype, T => make::<T>(values, like, device))
}

/// Fixed numbers in -1..1, none of them near 0: what gradients are taken of, element by element.
fn direction(stream: u64, n: usize) -> Vec<f64> {
    (0..n as u64)
        .map(|i| {
            let bits = crate::seed::derive(0x5EED ^ stream << 32, i);
            let magnitude = 0.25 + 0.75 * ((bits >> 40) as f64 / (1u64 << 24) as f64);
            // rounded to f32, so that both types see the same number
            f64::from((if bits & 1 == 0 { magnitude } else { -magnitude }) as f32)
        })
        .collect()
}

/// The outputs of one pass through a module, and what it changed.
fn pass(module: &(impl Module + ?Sized), inputs: &[Tensor], cx: &crate::nn::Context) -> Result<Pass> {
    let outputs = module.forward_all(inputs, cx)?;
    let also = cx.take_also_compute();
    Ok(Pass { outputs, also })
}

/// What one pass computes.
struct Pass {
    outputs: Vec<Tensor>,
    /// Tensors that are computed with it and compared through the module's buffers.
    also: Vec<Tensor>,
}

/// The values of a module's parameters, given back to it when this is dropped.
struct Borrowed<'a> {
    parameters: &'a [Parameter],
    originals: Vec<Tensor>,
}

impl<'a> Borrowed<'a> {
    fn new(parameters: &'a [Parameter]) -> Result<Borrowed<'a>> {
        let originals = parameters.iter().map(|p| p.variable.value().detach()).collect::<Result<Vec<_>>>()?;
        crate::eval(&originals.iter().collect::<Vec<_>>())?;
        Ok(Borrowed { parameters, originals })
    }

    /// Gives every parameter what `f` makes of its original value.
    fn place(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        let pairs = self.parameters.iter().zip(&self.originals);
        pairs.into_iter().try_for_each(|(p, original)| p.variable.exchange(&f(original)?))
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        // The values are computed: nothing can fail.
        let _ = self.place(|original| Ok(original.clone()));
    }
}
