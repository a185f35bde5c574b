//! What a model that generates keeps of the tokens before: rows that are appended to a buffer of a fixed capacity.

use crate::cpu::dispatch;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::fmt;

/// Slices that are appended along an axis, in a tensor whose length along that axis, the capacity, is fixed. What is computed
/// from the whole capacity ([`full`](Self::full)), with what is not filled yet masked ([`mask`](Self::mask),
/// [`causal_mask`](Self::causal_mask)), has the same shapes at each length: one plan serves them all, since the length is an
/// argument of it.
///
/// An append writes what is new and moves nothing else, as long as nothing refers to the tensor from before it when it is
/// computed. Where something does (a clone of the cache, what `full` gave, a part of that, a result of it that is not computed
/// yet), the buffer is copied once, and each goes on with its own: whatever was read keeps its value. So a clone is how a
/// generation is forked, or taken back.
///
/// Generate under [`no_grad`](crate::no_grad). Gradients flow through a cache as through any operation, but what they need is
/// kept, which takes a copy of the buffer for each append. On a GPU, u8 is copied at each append, too.
///
/// A cache is no state of a function that [`Graph::trace`](crate::Graph::trace) records: its length would be the same in each call.
/// Call the model itself, whose plan is found again at each length.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Cache;
/// # fn main() -> Result<()> {
/// let mut cache = Cache::new([4, 2], 0, DType::F32, Device::Cpu)?; // room for four rows of two
/// cache.append(&Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], Device::Cpu)?)?;
/// let before = cache.clone();
/// cache.append(&Tensor::new([[5.0f32, 6.0]], Device::Cpu)?)?;
/// assert_eq!((cache.len(), cache.capacity()), (3, 4));
/// assert_eq!(cache.full().to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
/// assert_eq!(cache.mask()?.to_vec::<u8>()?, [1, 1, 1, 0]);
/// assert_eq!(before.filled()?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cache {
    buffer: Tensor,
    axis: usize,
    len: usize,
}

impl Cache {
    /// An empty cache: `shape` has the capacity along `axis`, and the sizes of what is appended elsewhere. It takes its memory
    /// at once.
    ///
    /// # Errors
    ///
    /// An axis that the shape doesn't have, no room for it, or f64 on a GPU.
    pub fn new(shape: impl AsRef<[usize]>, axis: isize, dtype: DType, device: Device) -> Result<Cache> {
        let shape = Shape::new(shape.as_ref())?;
        let axis = shape.axis("Cache::new", axis)?;
        let buffer = dispatch!(dtype, T => Tensor::filled::<T>(shape, T::default(), device))?;
        Ok(Cache { buffer, axis, len: 0 })
    }

    /// Appends slices: of the cache's type and device, of its sizes but along the axis, where there may be any number.
    ///
    /// # Errors
    ///
    /// What does not fit, in shape, type or device, and more than there is room for: a cache does not grow by itself, because
    /// everything that is computed from it would take more time and be planned anew. Nothing is appended then.
    pub fn append(&mut self, slices: &Tensor) -> Result<()> {
        self.buffer = self.appended(slices)?;
        self.len += slices.shape()[self.axis];
        Ok(())
    }

    /// The buffer with more in it.
    fn appended(&self, slices: &Tensor) -> Result<Tensor> {
        const OP: &str = "Cache::append";
        let (whole, shape, axis) = (self.buffer.shape(), slices.shape(), self.axis);
        let fits =
            shape.rank() == whole.rank() && (0..whole.rank()).all(|d| d == axis || shape[d] == whole[d]);
        if !fits || slices.dtype() != self.buffer.dtype() || slices.device() != self.buffer.device() {
            let message = format!(
                "{} {shape} on {} given; {self:?} takes the same type, device and sizes, with any length along axis {axis}",
                slices.dtype(),
                slices.device()
            );
            return Err(Error::argument(OP, message));
        }
        if shape[axis] > self.capacity() - self.len {
            let message = format!(
                "{} more do not fit into {self:?}; make it larger at the beginning, or call grow",
                shape[axis]
            );
            return Err(Error::argument(OP, message));
        }
        self.buffer.update_slice(axis as isize, self.len, slices)
    }

    /// Makes room for `capacity` in all. Copies the buffer; what is computed from it is planned anew, once.
    ///
    /// # Errors
    ///
    /// Less than there is room for already.
    pub fn grow(&mut self, capacity: usize) -> Result<()> {
        let Some(more) = capacity.checked_sub(self.capacity()) else {
            let message = format!("{self:?} can't be made smaller, to {capacity}; slice what full gives");
            return Err(Error::argument("Cache::grow", message));
        };
        let mut pads = vec![(0, 0); self.buffer.rank()];
        pads[self.axis].1 = more;
        self.buffer = self.buffer.pad(pads, 0.0)?;
        Ok(())
    }

    /// How many slices were appended.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slices there is room for.
    pub fn capacity(&self) -> usize {
        self.buffer.shape()[self.axis]
    }

    /// The axis along which slices are appended.
    pub fn axis(&self) -> usize {
        self.axis
    }

    /// All of the capacity: what was appended, zeros behind it. Its shape is that of [`new`](Self::new), whatever the length.
    pub fn full(&self) -> Tensor {
        self.buffer.clone()
    }

    /// What was appended. Its shape changes with the length, and on a GPU each shape is planned for itself: for loops there is
    /// [`full`](Self::full).
    pub fn filled(&self) -> Result<Tensor> {
        self.buffer.slice(self.axis as isize, 0, self.len)
    }

    /// 1 where there is something, 0 behind it: u8 `[capacity]`. The length is an argument of the plan, not a part of it.
    pub fn mask(&self) -> Result<Tensor> {
        Tensor::arange(0, self.capacity() as i64, self.buffer.device())?.lt(self.len as f64)
    }

    /// For the latest `queries` slices what each may attend to, itself and all before it: u8 `[queries, capacity]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut cache = wgrad::nn::Cache::new([4, 1], 0, DType::F32, Device::Cpu)?;
    /// cache.append(&Tensor::zeros([3, 1], Device::Cpu)?)?;
    /// assert_eq!(cache.causal_mask(2)?.to_vec::<u8>()?, [1, 1, 0, 0, 1, 1, 1, 0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// More queries than were appended.
    pub fn causal_mask(&self, queries: usize) -> Result<Tensor> {
        let Some(first) = self.len.checked_sub(queries) else {
            let message = format!("{queries} queries, but {self:?}; append what they belong to first");
            return Err(Error::argument("Cache::causal_mask", message));
        };
        let device = self.buffer.device();
        let last = (Tensor::arange(0, queries as i64, device)?.unsqueeze(-1)? + first as f64)?;
        Tensor::arange(0, self.capacity() as i64, device)?.le(&last)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cache { buffer, axis, len } = self;
        let (shape, dtype, device) = (buffer.shape(), buffer.dtype(), buffer.device());
        write!(f, "Cache({len} of {} along axis {axis} of {dtype} {shape} on {device})", self.capacity())
    }
}

/// The keys and values of one attention layer, of equally many tokens: two [`Cache`]s.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::KvCache;
/// # fn main() -> Result<()> {
/// let device = Device::Cpu;
/// let (capacity, heads, size) = (16, 2, 4);
/// let mut cache = KvCache::new([capacity, heads, size], [capacity, heads, size], 0, DType::F32, device)?;
/// // One step of attention: the token's query, key and value, [1, heads, size] each.
/// let step = |cache: &mut KvCache, q: &Tensor, k: &Tensor, v: &Tensor| {
///     cache.append(k, v)?;
///     let keys = cache.keys().permute([1, 2, 0])?; // [heads, size, capacity]
///     let scores = (q.permute([1, 0, 2])?.matmul(keys)? / (size as f64).sqrt())?; // [heads, 1, capacity]
///     let weights = cache.causal_mask(1)?.select(&scores, -1e30)?.softmax(-1)?;
///     weights.matmul(cache.values().permute([1, 0, 2])?) // [heads, 1, size]
/// };
/// for token in 0..3 {
///     let x = Tensor::randn([1, heads, size], device, token)?;
///     let y = no_grad(|| step(&mut cache, &x, &x, &x))?;
///     assert_eq!(y.shape(), [heads, 1, size]);
/// }
/// assert_eq!(cache.len(), 3);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct KvCache {
    keys: Cache,
    values: Cache,
}

impl KvCache {
    /// An empty cache: both shapes have the capacity along `axis`, see [`Cache::new`].
    ///
    /// # Errors
    ///
    /// As [`Cache::new`], and capacities that differ.
    pub fn new(
        keys: impl AsRef<[usize]>,
        values: impl AsRef<[usize]>,
        axis: isize,
        dtype: DType,
        device: Device,
    ) -> Result<KvCache> {
        let (keys, values) =
            (Cache::new(keys, axis, dtype, device)?, Cache::new(values, axis, dtype, device)?);
        if keys.capacity() != values.capacity() {
            let message = format!("keys are {keys:?}, values {values:?}; give both the same capacity");
            return Err(Error::shape("KvCache::new", message));
        }
        Ok(KvCache { keys, values })
    }

    /// Appends the keys and values of tokens.
    ///
    /// # Errors
    ///
    /// As [`Cache::append`], and keys and values of different numbers of tokens. Nothing is appended then.
    pub fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<()> {
        let next = [self.keys.appended(keys)?, self.values.appended(values)?];
        let (more, other) = (keys.shape()[self.keys.axis], values.shape()[self.values.axis]);
        if more != other {
            let message = format!("keys of {more} tokens and values of {other}; give both for each token");
            return Err(Error::shape("KvCache::append", message));
        }
        [self.keys.buffer, self.values.buffer] = next;
        self.keys.len += more;
        self.values.len += more;
        Ok(())
    }

    /// All keys, zeros behind them: see [`Cache::full`].
    pub fn keys(&self) -> Tensor {
        self.keys.full()
    }

    /// All values, zeros behind them: see [`Cache::full`].
    pub fn values(&self) -> Tensor {
        self.values.full()
    }

    /// How many tokens were appended.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// See [`Cache::mask`].
    pub fn mask(&self) -> Result<Tensor> {
        self.keys.mask()
    }

    /// See [`Cache::causal_mask`].
    pub fn causal_mask(&self, queries: usize) -> Result<Tensor> {
        self.keys.causal_mask(queries)
    }

    /// See [`Cache::grow`].
    pub fn grow(&mut self, capacity: usize) -> Result<()> {
        let mut next = self.clone();
        next.keys.grow(capacity)?;
        next.values.grow(capacity)?;
        *self = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
