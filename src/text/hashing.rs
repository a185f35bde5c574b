//! Words and categories as numbers without a vocabulary.

use super::farmhash::fingerprint;
use crate::cpu::dispatch;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::hash::Hasher;
#[allow(deprecated, reason = "the standard library's other hashers need not be SipHash-2-4")]
use std::hash::SipHasher;

/// Puts text into one of a number of bins, the same on every machine and in every run: Keras's `Hashing`. There is nothing to adapt and
/// nothing to save; words of one bin can't be told apart. FarmHash64, or SipHash-2-4 with a salt; numbers are hashed as they are
/// written, and give what Keras gives.
///
/// It runs on the host: use it before a [`Dataset`](crate::data::Dataset) is made, or in the `map` of a
/// [`Pipeline`](crate::data::Pipeline).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::text::Hashing;
/// # fn main() -> Result<()> {
/// let bins = Hashing::new(3).hash(["A", "B", "C", "D", "E"])?;
/// assert_eq!(bins.to_vec::<u32>()?, [1, 0, 1, 1, 2]);
/// let salted = Hashing::new(3).salt([133, 137]).hash(["A", "B", "C", "D", "E"])?;
/// assert_eq!(salted.to_vec::<u32>()?, [1, 2, 1, 0, 2]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct Hashing {
    bins: usize,
    mask: Option<String>,
    salt: Option<[u64; 2]>,
}

impl Hashing {
    /// Into bins 0 to `bins - 1`.
    pub fn new(bins: usize) -> Hashing {
        Hashing { bins, mask: None, salt: None }
    }

    /// This text (or number, as it is written) goes into bin 0, and all else into the others: padding.
    pub fn mask(mut self, value: impl Into<String>) -> Hashing {
        self.mask = Some(value.into());
        self
    }

    /// Two numbers that change which words share a bin.
    pub fn salt(mut self, salt: [u64; 2]) -> Hashing {
        self.salt = Some(salt);
        self
    }

    fn bin(&self, text: &str) -> u32 {
        let hash = match self.salt {
            None => fingerprint(text.as_bytes()),
            Some([a, b]) => {
                #[allow(deprecated, reason = "as above")]
                let mut hasher = SipHasher::new_with_keys(a, b);
                hasher.write(text.as_bytes());
                hasher.finish()
            }
        };
        match &self.mask {
            Some(mask) if mask == text => 0,
            Some(_) => 1 + (hash % (self.bins as u64 - 1)) as u32,
            None => (hash % self.bins as u64) as u32,
        }
    }

    fn check(&self) -> Result<()> {
        let least = 1 + usize::from(self.mask.is_some());
        if self.bins >= least && u32::try_from(self.bins).is_ok() {
            return Ok(());
        }
        let message = format!("{} bins; expected {least} to {}", self.bins, u32::MAX);
        Err(Error::argument("Hashing", message))
    }

    /// The bins of some texts: u32, `[n]`, on the CPU.
    ///
    /// # Errors
    ///
    /// There is no bin (but the one that is for what is masked).
    pub fn hash(&self, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Tensor> {
        self.check()?;
        let bins: Vec<u32> = texts.into_iter().map(|text| self.bin(text.as_ref())).collect();
        let n = bins.len();
        Tensor::from_vec(bins, [n], Device::Cpu)
    }

    /// The bins of integers, by the text of each: u32, in their shape, on their device. They are computed and read.
    ///
    /// # Errors
    ///
    /// As [`hash`](Self::hash); or these are floats; within a function that is being traced there are no values to read.
    pub fn hash_tensor(&self, integers: &Tensor) -> Result<Tensor> {
        self.check()?;
        if integers.dtype().is_float() {
            let message = format!(
                "expects integers or text, got {}; cast them, or use Discretization",
                integers.dtype()
            );
            return Err(Error::dtype("Hashing", message));
        }
        let bins: Vec<u32> = dispatch!(integers.dtype(), T => {
            let values = integers.to_vec::<T>().map_err(|e| e.context("Hashing"))?;
            values.iter().map(|v| self.bin(&v.to_string())).collect()
        });
        Tensor::from_vec(bins, integers.shape(), integers.device())
    }
}
