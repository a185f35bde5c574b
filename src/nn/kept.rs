//! What a layer keeps from one batch to the next.

use crate::tensor::Tensor;
use std::sync::{Mutex, PoisonError};

/// The state of a layer after the last batch; nothing at first.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<Vec<Tensor>>>);

impl Kept {
    pub fn get(&self) -> Option<Vec<Tensor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn put(&self, state: Option<Vec<Tensor>>) {
        let old = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), state);
        // outside the lock: dropping may free a long graph
        drop(old);
    }
}
