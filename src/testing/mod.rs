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
//! use wgrad::{CustomOp, Shape, apply_custom};
//! use wgrad::prelude::*;
//! use wgrad::testing::{assert_close, check_gradients};
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
mod pass;
#[doc(hidden)]
pub mod table;
#[cfg(test)]
mod tests;

pub use close::{Values, assert_close};
pub use gradients::{check_gradients, check_module_gradients};
pub use parity::{assert_module_parity, assert_parity};
pub use pass::Outputs;
pub(crate) use pass::elements;
