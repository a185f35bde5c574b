//! Everybody learns what everybody has to say.

use super::collective::{Collective, telling};
use crate::error::{Error, Result};

/// What a rank has to say, or why it can't go on.
type Said = std::result::Result<String, String>;

/// What each rank of a group says, in their order, or the first error among what they say: then all ranks get it. So a set-up is
/// checked before anything is computed, where nobody would be left waiting for a rank that can't begin.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::distributed::{Alone, agree};
/// # fn main() -> Result<()> {
/// assert_eq!(agree(&Alone, Ok("60,000 samples".into()))?, ["60,000 samples"]);
/// let error = agree(&Alone, Err("no file mnist.gz".into())).unwrap_err();
/// assert!(error.to_string().contains("rank 0"));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// A rank has said one, has left, or has failed.
pub fn agree(world: &dyn Collective, mine: Said) -> Result<Vec<String>> {
    let all = telling(world, gather(world, mine))?;
    all.into_iter()
        .enumerate()
        .map(|(rank, words)| words.map_err(|reason| Error::rank(rank, reason)))
        .collect()
}

/// What each rank says, in their order.
fn gather(world: &dyn Collective, mine: Said) -> Result<Vec<Said>> {
    let (rank, size) = (world.rank(), world.size());
    let mut all = vec![(rank, mine)];
    let garbled = |from: usize| {
        Error::rank(from, "has sent something else than it was asked for: the ranks run different programs")
    };
    let read = |from: usize, message: Option<Vec<u8>>| -> Result<Vec<(usize, Said)>> {
        serde_json::from_slice(&message.unwrap_or_default()).map_err(|_| garbled(from))
    };
    let write = |all: &[(usize, Said)]| serde_json::to_vec(all).map_err(Error::other);
    // Up: each takes what the ranks after it have gathered, and hands it on.
    let reach = reach(rank, size);
    let mut stride = 1;
    while stride < reach {
        let from = rank + stride;
        if from < size {
            all.append(&mut read(from, world.transfer(None, Some(from))?)?);
        }
        stride *= 2;
    }
    if rank != 0 {
        world.transfer(Some((rank - reach, write(&all)?)), None)?;
    }
    // Down, the same way.
    let message = spread(world, if rank == 0 { write(&all)? } else { Vec::new() })?;
    if rank != 0 {
        all = read(rank - reach, Some(message))?;
    }
    let mut said = Vec::with_capacity(size);
    for (k, (from, words)) in all.into_iter().enumerate() {
        if from != k {
            return Err(garbled(from));
        }
        said.push(words);
    }
    if said.len() == size { Ok(said) } else { Err(garbled(0)) }
}

/// In the tree of all ranks, how far away the one is that this rank hands what it has gathered to; of rank 0, who hands it to nobody, the
/// first power of two that no rank is as far away as.
fn reach(rank: usize, size: usize) -> usize {
    let mut stride = 1;
    while stride < size && rank.is_multiple_of(2 * stride) {
        stride *= 2;
    }
    stride
}

/// Rank 0's message, which each rank gives to those below it: those from which what is gathered comes, the farthest first.
pub(super) fn spread(world: &dyn Collective, mine: Vec<u8>) -> Result<Vec<u8>> {
    let (rank, size) = (world.rank(), world.size());
    let mut stride = reach(rank, size);
    let message = match rank {
        0 => mine,
        _ => world.transfer(None, Some(rank - stride))?.unwrap_or_default(),
    };
    while stride > 1 {
        stride /= 2;
        if rank + stride < size {
            world.transfer(Some((rank + stride, message.clone())), None)?;
        }
    }
    Ok(message)
}
