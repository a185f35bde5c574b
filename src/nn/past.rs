//! What the layers of a model keep of the tokens before, while it generates.

use super::KvCache;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The caches of all layers that attend to tokens before, in the order in which a pass comes to them.
#[derive(Clone, Debug)]
pub(super) struct Past {
    capacity: usize,
    /// Tokens before this pass.
    len: usize,
    /// As they were before this pass.
    before: Vec<KvCache>,
    /// With the tokens of this pass.
    after: Vec<KvCache>,
}

impl Past {
    pub fn new(capacity: usize) -> Past {
        Past { capacity, len: 0, before: Vec::new(), after: Vec::new() }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends `[.., tokens, size]` to the cache of the next layer; gives it.
    pub fn extend(&mut self, keys: &Tensor, values: &Tensor) -> Result<KvCache> {
        let layer = self.after.len();
        let mut cache = match self.before.get(layer) {
            Some(cache) => cache.clone(),
            None if self.len == 0 => {
                let room = |t: &Tensor| {
                    let mut dims = t.dims().to_vec();
                    let time = dims.len() - 2;
                    dims[time] = self.capacity;
                    dims
                };
                KvCache::new(room(keys), room(values), -2, keys.dtype(), keys.device())?
            }
            None => {
                let message = format!(
                    "the model has more layers with a cache than before, when it had {layer}; give one model to a generation"
                );
                return Err(Error::argument("Generation", message));
            }
        };
        cache.append(keys, values)?;
        self.after.push(cache.clone());
        Ok(cache)
    }

    /// The pass of so many tokens is over.
    pub fn commit(&mut self, tokens: usize) {
        self.before = std::mem::take(&mut self.after);
        self.len += tokens;
    }
}
