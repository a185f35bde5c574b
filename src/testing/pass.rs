//! One pass of what is tested: inputs, outputs, borrowed parameters.

use crate::cpu::{Element, dispatch};
use crate::error::Result;
use crate::nn::{Module, Parameter};
use crate::tensor::Tensor;

/// What a function under test gives: a tensor, or several as a vector, an array or a tuple. See
/// [`check_gradients`](super::check_gradients).
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
pub(crate) fn elements(t: &Tensor) -> Result<Vec<f64>> {
    let array = t.to_host()?.contiguous()?;
    dispatch!(array.dtype(), T => Ok(array.slice::<T>()?.iter().map(|v| v.to_f64()).collect()))
}

/// Fixed numbers in -1..1, none of them near 0: what gradients are taken of, element by element.
pub(super) fn direction(stream: u64, n: usize) -> Vec<f64> {
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
pub(super) fn pass(
    module: &(impl Module + ?Sized),
    inputs: &[Tensor],
    cx: &crate::nn::Context,
) -> Result<PassValues> {
    let outputs = module.forward_all(inputs, cx)?;
    let also = cx.take_also_compute();
    Ok(PassValues { outputs, also })
}

/// What one pass computes.
pub(super) struct PassValues {
    pub outputs: Vec<Tensor>,
    /// Tensors that are computed with it and compared through the module's buffers.
    pub also: Vec<Tensor>,
}

/// The values of a module's parameters, given back to it when this is dropped.
pub(super) struct Borrowed<'a> {
    pub parameters: &'a [Parameter],
    pub originals: Vec<Tensor>,
}

impl<'a> Borrowed<'a> {
    pub fn new(parameters: &'a [Parameter]) -> Result<Borrowed<'a>> {
        let originals = parameters.iter().map(|p| p.variable.value().detach()).collect::<Result<Vec<_>>>()?;
        crate::eval(&originals.iter().collect::<Vec<_>>())?;
        Ok(Borrowed { parameters, originals })
    }

    /// Gives every parameter what `f` makes of its original value.
    pub fn place(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
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
