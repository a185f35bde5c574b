//! What a group of processes can do together, and a group of one.

use crate::error::{Error, Result};
use std::fmt::Debug;
use std::sync::Arc;

/// A group of processes that train together, its ranks: what reductions are made of. [`Mpi`](super::Mpi) is one (feature `mpi`);
/// implement it to train over another engine.
///
/// All ranks call the collective functions ([`Trainer::fit`](crate::train::Trainer::fit),
/// [`Gradients::all_reduce`](crate::Gradients::all_reduce), [`agree`](super::agree)) in the same order. What they compute depends on
/// nothing that an engine does but on whole messages arriving in the order in which they were sent.
///
/// ```
/// use wgrad::distributed::{Alone, Collective};
/// assert_eq!((Alone.rank(), Alone.size()), (0, 1));
/// ```
pub trait Collective: Send + Sync + Debug {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are, at least 1.
    fn size(&self) -> usize;

    /// The number of this process among those of its machine, from 0.
    fn local_rank(&self) -> usize;

    /// What the machine is called, for messages.
    fn host(&self) -> String;

    /// Sends a message, receives one, or does both at once: neither waits for the other, so that two ranks can send to each other.
    /// The message received is the next one that `from` has sent to this rank.
    ///
    /// # Errors
    ///
    /// A rank is outside the group, one has told of an error ([`fail`](Self::fail)), the one that is waited for has left, or the
    /// engine fails.
    fn transfer(&self, send: Option<(usize, Vec<u8>)>, from: Option<usize>) -> Result<Option<Vec<u8>>>;

    /// Tells all other ranks that this one can't go on, and why: whatever they wait for ends in an error that names the rank and
    /// the reason. The group is of no use afterwards.
    fn fail(&self, reason: &str);
}

#[deny(clippy::missing_trait_methods)]
impl<C: Collective + ?Sized> Collective for Arc<C> {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn size(&self) -> usize {
        (**self).size()
    }

    fn local_rank(&self) -> usize {
        (**self).local_rank()
    }

    fn host(&self) -> String {
        (**self).host()
    }

    fn transfer(&self, send: Option<(usize, Vec<u8>)>, from: Option<usize>) -> Result<Option<Vec<u8>>> {
        (**self).transfer(send, from)
    }

    fn fail(&self, reason: &str) {
        (**self).fail(reason);
    }
}

/// The group of a process that is by itself: what a program uses that may also run without an engine. Shards are added in the same
/// order here as over many ranks, so that it leaves the same bits.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::distributed::Alone;
/// # fn main() -> Result<()> {
/// # let (digits, _) = data::synthetic::digits(64, 1, 1).into_datasets()?;
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
/// trainer.distributed(Alone);
/// trainer.fit(&digits, Fit::epochs(1).batch_size(32).shards(4).verbose(false))?; // as on 1, 2 or 4 ranks
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn local_rank(&self) -> usize {
        0
    }

    fn host(&self) -> String {
        "this machine".into()
    }

    fn transfer(&self, send: Option<(usize, Vec<u8>)>, from: Option<usize>) -> Result<Option<Vec<u8>>> {
        match (send, from) {
            (None, None) => Ok(None),
            _ => Err(Error::argument(
                "Collective::transfer",
                "this process is alone; there is nobody to write to",
            )),
        }
    }

    fn fail(&self, _reason: &str) {}
}

/// What came of something that is done together: where it is an error, the others are told.
pub(crate) fn telling<T>(world: &dyn Collective, result: Result<T>) -> Result<T> {
    if let Err(error) = &result {
        world.fail(&error.to_string());
    }
    result
}
