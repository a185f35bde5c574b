//! What differs between the variables that one update changes.

use crate::error::Result;
use crate::tensor::Tensor;

/// What differs between variables: the learning rate's factor, that factor times the decoupled weight decay, and the coupled
/// weight decay.
pub(super) type Factors = [f64; 3];

/// One of the [`Factors`], of all variables of an arena.
pub(super) enum Factor {
    Same(f64),
    /// `[rows, 1]`
    Rows(Tensor),
}

impl Factor {
    pub fn is_zero(&self) -> bool {
        matches!(self, Factor::Same(f) if *f == 0.0)
    }

    /// `x * factor * by`
    pub fn times(&self, x: &Tensor, by: f64) -> Result<Tensor> {
        match self {
            Factor::Same(f) => x * (f * by),
            Factor::Rows(rows) => x * (rows * by),
        }
    }
}
