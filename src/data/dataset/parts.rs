//! Parts of a data set.

use super::Dataset;
use crate::error::{Error, Result};

impl Dataset {
    /// The first `n` samples (all where there are fewer). Fails where there is no memory for the copy.
    pub fn take(&self, n: usize) -> Result<Dataset> {
        self.part(0, n.min(self.len()))
    }

    /// All but the first `n` samples. Fails where there is no memory for the copy.
    pub fn skip(&self, n: usize) -> Result<Dataset> {
        let n = n.min(self.len());
        self.part(n, self.len() - n)
    }

    /// The first `n` samples, and the others.
    ///
    /// # Errors
    ///
    /// There are fewer than `n`.
    pub fn split_at(&self, n: usize) -> Result<(Dataset, Dataset)> {
        if n > self.len() {
            let message = format!("has {} samples; it can't be split after {n}", self.len());
            return Err(Error::data(&self.name, message));
        }
        Ok((self.part(0, n)?, self.part(n, self.len() - n)?))
    }

    /// What to train on, and the last `fraction` of the samples to validate with: Keras's `validation_split`. Where the
    /// samples are sorted, [shuffle](Self::shuffled) them first.
    ///
    /// # Errors
    ///
    /// One of the two would be empty.
    pub fn validation_split(&self, fraction: f64) -> Result<(Dataset, Dataset)> {
        // Keras: int(floor(n * (1 - fraction)))
        let train = (self.len() as f64 * (1.0 - fraction)).floor();
        if !(train >= 1.0 && train < self.len() as f64) {
            let message = format!(
                "validation_split({fraction}) of {} samples leaves nothing for one side; expected a fraction between 0 and 1",
                self.len()
            );
            return Err(Error::data(&self.name, message));
        }
        self.split_at(train as usize)
    }

    fn part(&self, start: usize, len: usize) -> Result<Dataset> {
        if len == self.len() {
            return Ok(self.clone());
        }
        self.each(len, |t| t.slice(0, start, len))
    }
}
