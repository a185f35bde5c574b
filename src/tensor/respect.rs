//! What gradients are asked for, and the form that they have then.

use super::Tensor;
use crate::error::{Error, Result};
use crate::sealed;

/// What [`Tensor::gradients`] is asked for: one tensor, an array of them by value, a slice, or what is a reference to an array or vector.
pub trait WithRespectTo: sealed::WithRespectTo {
    /// A tensor, an array or a vector.
    type Gradients;
    /// The tensors.
    fn places(&self) -> &[&Tensor];
    /// Their gradients, as many as there are tensors.
    ///
    /// # Errors
    ///
    /// There are more or fewer.
    fn gradients(found: Vec<Tensor>) -> Result<Self::Gradients>;
}

fn as_array<const N: usize>(found: Vec<Tensor>) -> Result<[Tensor; N]> {
    found.try_into().map_err(|_| Error::internal("there are more or fewer gradients than tensors"))
}

impl sealed::WithRespectTo for &Tensor {}

impl WithRespectTo for &Tensor {
    type Gradients = Tensor;
    fn places(&self) -> &[&Tensor] {
        std::slice::from_ref(self)
    }
    fn gradients(found: Vec<Tensor>) -> Result<Tensor> {
        let [gradient] = as_array(found)?;
        Ok(gradient)
    }
}

impl<const N: usize> sealed::WithRespectTo for [&Tensor; N] {}

impl<const N: usize> WithRespectTo for [&Tensor; N] {
    type Gradients = [Tensor; N];
    fn places(&self) -> &[&Tensor] {
        self
    }
    fn gradients(found: Vec<Tensor>) -> Result<[Tensor; N]> {
        as_array(found)
    }
}

macro_rules! several {
    ($([$($generics:tt)*] $t:ty),*) => {$(
        impl<$($generics)*> sealed::WithRespectTo for $t {}
        impl<$($generics)*> WithRespectTo for $t {
            type Gradients = Vec<Tensor>;
            fn places(&self) -> &[&Tensor] { &self[..] }
            fn gradients(found: Vec<Tensor>) -> Result<Vec<Tensor>> { Ok(found) }
        }
    )*};
}
several!([] &[&Tensor], [const N: usize] &[&Tensor; N], [] &Vec<&Tensor>);
