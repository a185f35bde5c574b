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

/// The most levels that register kernels have.
const LEVELS: usize = 3;

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
    let all = rows.into_iter().flat_map(|rows| (best.levels..=LEVELS).map(move |l| (rows, l)));
    all.map(|(rows, levels)| with(rows, levels)).filter(|r| r != best).map(Loop::Registers).collect()
}

/// The others among kernels for real GPUs: of these blocks, which come largest first.
pub(super) fn of_tiles<'b>(best: &Tiled, blocks: impl DoubleEndedIterator<Item = &'b Block>) -> Vec<Loop> {
    // The smaller blocks first, which waste least.
    let others = blocks.rev().filter(|&&block| block != best.block);
    others.map(|&block| Loop::Tiled(Tiled { block, ..best.clone() })).collect()
}
