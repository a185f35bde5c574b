//! Vectors of many shards, added in an order that depends on the number of shards alone.
//!
//! Shards are the leaves of a tree: 0 and 1, 2 and 3 and so on are added, then the sums of two neighbours, then of four; a last one
//! without a neighbour goes on as it is. Whoever holds the left one of two computes their sum, so that the same additions are made
//! whatever rank holds which shard, in each element.

use super::agree::spread;
use super::collective::Collective;
use crate::error::{Error, Result};
use bytemuck::Pod;
use std::collections::BTreeMap;
use std::ops::Range;

/// Vectors shorter than this go up the tree and down again whole: there are fewer messages then than where each rank adds a part.
const SHORT: usize = 1024;

/// What vectors that are added are made of. Which of two is added to the other must not matter, in any bit.
pub(crate) trait Summand: Pod {
    fn add(&mut self, other: Self);
}

impl Summand for f32 {
    fn add(&mut self, other: f32) {
        *self += other;
    }
}

impl Summand for f64 {
    fn add(&mut self, other: f64) {
        *self += other;
    }
}

/// The shards of a rank: as many of each as of the others, or one more, in their order.
pub(crate) fn shards_of(rank: usize, ranks: usize, shards: usize) -> Range<usize> {
    rank * shards / ranks..(rank + 1) * shards / ranks
}

/// The sum over all shards of vectors of `len` elements, on all ranks the same. `mine` are those of this rank, by the number of the
/// shard; one that is missing is left out of the sum.
pub(crate) fn sum<T: Summand>(
    world: &dyn Collective,
    shards: usize,
    len: usize,
    mut mine: BTreeMap<usize, Vec<T>>,
) -> Result<Vec<T>> {
    let (rank, ranks) = (world.rank(), world.size());
    let own = shards_of(rank, ranks, shards);
    let each = shards / ranks;
    // Where the shards of each rank are a subtree, and these a whole tree, each rank can add a part of the vector.
    let whole = each * ranks == shards && each.is_power_of_two() && ranks.is_power_of_two();
    let spread = whole && ranks > 1 && len >= SHORT.max(ranks);
    let mut stride = 1;
    while stride < if spread { each } else { shards } {
        for left in (0..shards).step_by(2 * stride) {
            let right = left + stride;
            if right >= shards {
                continue;
            }
            let (here, there) = (own.contains(&left), own.contains(&right));
            if there {
                let value = mine.remove(&right);
                if here {
                    add(&mut mine, left, value);
                } else {
                    let to = owner(left, ranks, shards);
                    world.transfer(Some((to, pack(value.as_deref()))), None)?;
                }
            } else if here {
                let from = owner(right, ranks, shards);
                let value = unpack(from, world.transfer(None, Some(from))?, len)?;
                add(&mut mine, left, value);
            }
        }
        stride *= 2;
    }
    let total = mine.remove(&own.start);
    let total = if spread { add_parts(world, len, total)? } else { spread_whole(world, len, total)? };
    total.ok_or_else(|| Error::internal("a sum of no shards"))
}

/// The rank that holds a shard.
fn owner(shard: usize, ranks: usize, shards: usize) -> usize {
    // The first whose shards end behind it.
    ((shard + 1) * ranks).div_ceil(shards) - 1
}

fn add<T: Summand>(held: &mut BTreeMap<usize, Vec<T>>, left: usize, right: Option<Vec<T>>) {
    let Some(right) = right else { return };
    match held.get_mut(&left) {
        Some(sum) => add_to(sum, &right),
        None => {
            held.insert(left, right);
        }
    }
}

fn add_to<T: Summand>(sum: &mut [T], other: &[T]) {
    for (sum, other) in sum.iter_mut().zip(other) {
        sum.add(*other);
    }
}

/// A vector as a message: whether there is one, and its elements.
fn pack<T: Pod>(vector: Option<&[T]>) -> Vec<u8> {
    let elements = bytemuck::cast_slice(vector.unwrap_or_default());
    let mut message = Vec::with_capacity(1 + elements.len());
    message.push(u8::from(vector.is_some()));
    message.extend_from_slice(elements);
    message
}

fn unpack<T: Pod>(from: usize, message: Option<Vec<u8>>, len: usize) -> Result<Option<Vec<T>>> {
    let message = message.unwrap_or_default();
    match message.split_first() {
        Some((0, [])) => Ok(None),
        Some((1, elements)) if elements.len() == len * size_of::<T>() => {
            Ok(Some(bytemuck::pod_collect_to_vec(elements)))
        }
        _ => {
            let message = format!(
                "has sent {} bytes where {len} numbers of {} bytes are added: the ranks have different models or programs",
                message.len(),
                size_of::<T>()
            );
            Err(Error::rank(from, message))
        }
    }
}

/// Each rank holds a subtree's sum: two that are neighbours exchange halves and add them, then quarters with the next, so that each
/// ends with a part of the whole sum; then they exchange these (Thakur, Rabenseifner and Gropp, "Optimization of collective
/// communication operations in MPICH", 2005, section 4.5). Each element is added in the order of the tree: the order of two summands
/// doesn't matter.
fn add_parts<T: Summand>(world: &dyn Collective, len: usize, mine: Option<Vec<T>>) -> Result<Option<Vec<T>>> {
    let (rank, ranks) = (world.rank(), world.size());
    let mut parts: Vec<Range<usize>> = std::iter::once(0..len).collect();
    let mut mine = mine;
    let mut stride = 1;
    while stride < ranks {
        let peer = rank ^ stride;
        let part = parts[parts.len() - 1].clone();
        let middle = part.start.midpoint(part.end);
        let (keep, give) = if rank < peer {
            (part.start..middle, middle..part.end)
        } else {
            (middle..part.end, part.start..middle)
        };
        let given = pack(mine.as_ref().map(|v| &v[give.start - part.start..give.end - part.start]));
        let got: Option<Vec<T>> = unpack(peer, world.transfer(Some((peer, given)), Some(peer))?, keep.len())?;
        let kept = mine.map(|v| v[keep.start - part.start..keep.end - part.start].to_vec());
        mine = match (kept, got) {
            (Some(mut kept), Some(got)) => {
                add_to(&mut kept, &got);
                Some(kept)
            }
            (kept, got) => kept.or(got),
        };
        parts.push(keep);
        stride *= 2;
    }
    while let Some(part) = parts.pop() {
        let Some(whole) = parts.last() else { break };
        stride /= 2;
        let peer = rank ^ stride;
        let message = pack(mine.as_deref());
        let other =
            unpack::<T>(peer, world.transfer(Some((peer, message)), Some(peer))?, whole.len() - part.len())?;
        mine = match (mine, other) {
            (Some(mut mine), Some(other)) if part.start == whole.start => {
                mine.extend(other);
                Some(mine)
            }
            (Some(mine), Some(mut other)) => {
                other.extend(mine);
                Some(other)
            }
            _ => None,
        };
    }
    Ok(mine)
}

/// Rank 0 has the sum: gives it to all others.
fn spread_whole<T: Pod>(world: &dyn Collective, len: usize, mine: Option<Vec<T>>) -> Result<Option<Vec<T>>> {
    let (rank, size) = (world.rank(), world.size());
    if size == 1 {
        return Ok(mine);
    }
    let message = spread(world, if rank == 0 { pack(mine.as_deref()) } else { Vec::new() })?;
    if rank == 0 { Ok(mine) } else { unpack(0, Some(message), len) }
}
