//! Batches for a run.

use super::fit::Fit;
use crate::data::{Batch, BatchIter, Pass, Source, with_samples};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::seed;

/// Batches, pass after pass.
pub(super) struct Stream<'a> {
    pub source: &'a dyn Source,
    batch_size: usize,
    shuffle: Option<u64>,
    device: Device,
    batches: Option<BatchIter<'a>>,
    /// Batches of the pass before.
    before: Option<usize>,
    /// Whether the first batch is still to be looked at.
    pub unseen: bool,
}

/// What a stream has next.
pub(super) enum Next {
    Batch(Batch),
    EndOfPass,
    /// Somebody wants the run to end, and there were batches to be passed by.
    Interrupted,
}

impl<'a> Stream<'a> {
    pub fn new(source: &'a dyn Source, fit: &Fit<'_>, device: Device) -> Stream<'a> {
        let shuffle = fit.shuffle.then_some(fit.seed);
        Stream {
            source,
            batch_size: fit.batch_size,
            shuffle,
            device,
            batches: None,
            before: None,
            unseen: fit.warnings,
        }
    }

    /// The next batch of a pass, of which so many were taken before.
    pub fn next(&mut self, pass: u64, taken: usize, fit: &Fit<'_>) -> Result<Next> {
        if self.batches.is_none() {
            let shuffle = self.shuffle.map(|seed| seed::derive(seed, 2 * pass));
            let how = Pass { batch_size: self.batch_size, shuffle, device: self.device };
            let mut batches = with_samples(self.source.name(), self.source.nth_pass(pass, &how)?);
            for k in 0..taken {
                match batches.next() {
                    Some(batch) => drop(batch?),
                    None => {
                        let message = format!(
                            "ends after {k} batches, but the run was interrupted after {taken}; resume it with the same data"
                        );
                        return Err(Error::data(self.source.name(), message));
                    }
                }
                if fit.take_interrupt() {
                    return Ok(Next::Interrupted);
                }
            }
            self.batches = Some(batches);
        }
        match self.batches.as_mut().and_then(Iterator::next).transpose()? {
            Some(batch) => Ok(Next::Batch(batch)),
            // Passes that follow each other without a batch would do so for ever.
            None if taken == 0 => Err(Error::data(self.source.name(), self.nothing(pass))),
            None => {
                (self.batches, self.before) = (None, Some(taken));
                Ok(Next::EndOfPass)
            }
        }
    }

    fn nothing(&self, pass: u64) -> String {
        match self.before {
            None => "has no samples to train on".into(),
            Some(before) => format!(
                "gave no batch in pass {} over it, and {before} in the one before; a source gives its batches anew in each \
                 pass (of one that can't, train on a single pass, with Fit::epochs(1))",
                pass + 1
            ),
        }
    }
}
