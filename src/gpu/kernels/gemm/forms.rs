//! Loops that give the same bits.
//!
//! How many rows or columns a workgroup takes says nothing of the order in which the terms of an element are added, and a level
//! of accumulators that is never emptied into adds zero. So where the best loops for a size are not compiled, others that are
//! can stand in for them. What does decide bits stays: which k are added up together (how k is split, the levels that the sum
//! needs, the k of a turn), and that is decided by the problem before.

use super::parts::ALayout;
use super::registers::Registers;
use super::text::Loop;
use super::tiled::{Block, Tiled};

/// Rows per workgroup that products by few rows have loops of their own for; the last is for all others.
const ROWS: [usize; 4] = [4, 8, 16, 32];

/// The most levels that loops have.
const REGISTER_LEVELS: usize = 3;
const TILED_LEVELS: usize = 2;

/// The others among register kernels: those with more rows first, since the loops of few rows load B again for each few.
pub(super) fn of_registers(best: &Registers) -> Vec<Loop> {
    if best.short_k.is_some() {
        return Vec::new();
    }
    // Where A is loaded along m, a workgroup's rows begin where a load does.
    let whole = |rows: &usize| best.a == ALayout::AlongK || rows.is_multiple_of(best.a_width);
    // What is skipped, being outside of the image for all rows, depends on how many these are, and moves the places where
    // accumulators are emptied. With more rows than there are, nothing changes.
    let skips = best.masked && best.a == ALayout::AlongK && best.levels > 1;
    let rows: Vec<usize> = match ROWS.contains(&best.rows) {
        true => {
            let more = ROWS.into_iter().filter(|&r| r >= best.rows);
            let fewer = ROWS.into_iter().rev().filter(|&r| r < best.rows && !skips);
            more.chain(fewer).filter(whole).collect()
        }
        false => vec![best.rows],
    };
    let with = |rows, levels| Registers { rows, levels, ..best.clone() };
    let all = rows.into_iter().flat_map(|rows| (best.levels..=REGISTER_LEVELS).map(move |l| (rows, l)));
    all.map(|(rows, levels)| with(rows, levels)).filter(|r| r != best).map(Loop::Registers).collect()
}

/// The others among kernels for real GPUs: of these blocks, which come largest first.
pub(super) fn of_tiles<'b>(best: &Tiled, blocks: impl DoubleEndedIterator<Item = &'b Block>) -> Vec<Loop> {
    let with = |&block, levels| Tiled { block, levels, ..best.clone() };
    // The block that was chosen, with more levels; then the smaller ones, which waste least.
    let levels = |block| (best.levels..=TILED_LEVELS).map(move |l| with(block, l));
    let mut all: Vec<Tiled> = blocks.rev().flat_map(levels).collect();
    all.sort_by_key(|t| t.block != best.block);
    all.into_iter().filter(|t| t != best).map(Loop::Tiled).collect()
}
