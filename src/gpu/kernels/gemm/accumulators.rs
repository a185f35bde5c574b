//! Levels of accumulators, so that long sums keep their digits.
//!
//! A sum of n terms one after the other may be off by n / 2 roundings, all in one direction where the terms are alike. The
//! accumulators `c` therefore take a few terms only, are then added to the accumulators `d` and begin anew, and, where the
//! sum is long, the `d` to the `e`. Compensated summation would need fewer registers, but infinities would become NaN in it,
//! and drivers with fast math may undo it.

use super::parts::line;
use std::fmt::Write;

/// Additions that an accumulator takes before it is added to one of the next level.
pub(super) const CHAIN: usize = 32;

/// Additions up to which one level is enough, as a multiple of the chain: another one costs a third more to compile. Of a sum of
/// few terms in all more roundings are forgiven than of a long one's part.
const SHORT: usize = 5;
const SHORT_PART: usize = 2;
/// Terms of such a sum.
const FEW: usize = 640;
/// Those up to which the last level takes what its neighbour below hands up.
const LAST: usize = 4;

/// More k, or more of the first level's sums, than there are: so a kernel with levels that a sum has no need of leaves them zero.
const NEVER: usize = 1 << 30;

const NAMES: [char; 3] = ['c', 'd', 'e'];

/// Levels for so many additions, which are those of a part of a sum of so many terms.
pub(super) fn levels(additions: usize, terms: usize) -> usize {
    let short = if terms <= FEW { SHORT } else { SHORT_PART };
    match additions {
        n if n <= short * CHAIN => 1,
        n if n <= LAST * CHAIN * CHAIN => 2,
        _ => 3,
    }
}

/// The words `block` and `blocks` of a sum that needs so many levels, of which the first takes `block` k. Its bits are the same
/// in a kernel that has more.
pub(super) fn emptied_after(levels: usize, block: usize) -> [usize; 2] {
    [if levels > 1 { block } else { NEVER }, if levels > 2 { CHAIN } else { NEVER }]
}

/// Declares the accumulators of all levels, of `rows` by `vectors`.
pub(super) fn declare_accumulators(s: &mut String, levels: usize, rows: usize, vectors: usize, ty: &str) {
    for name in &NAMES[..levels] {
        for (i, j) in places(rows, vectors) {
            line!(s, "    var {name}{i}_{j} = {ty}();");
        }
    }
    if levels > 2 {
        line!(s, "    var flushes = 0u;");
    }
}

/// Adds the first level to the second, and the second to the third where it has taken its share.
pub(super) fn flush(s: &mut String, levels: usize, rows: usize, vectors: usize, ty: &str, indent: &str) {
    for (i, j) in places(rows, vectors) {
        line!(s, "{indent}d{i}_{j} += c{i}_{j};");
        line!(s, "{indent}c{i}_{j} = {ty}();");
    }
    if levels > 2 {
        line!(s, "{indent}flushes += 1u;");
        line!(s, "{indent}if flushes >= p.blocks {{");
        line!(s, "{indent}    flushes = 0u;");
        for (i, j) in places(rows, vectors) {
            line!(s, "{indent}    e{i}_{j} += d{i}_{j};");
            line!(s, "{indent}    d{i}_{j} = {ty}();");
        }
        line!(s, "{indent}}}");
    }
}

/// Adds all levels up into the first.
pub(super) fn add_up_levels(s: &mut String, levels: usize, rows: usize, vectors: usize) {
    for name in &NAMES[1..levels] {
        for (i, j) in places(rows, vectors) {
            line!(s, "    c{i}_{j} += {name}{i}_{j};");
        }
    }
}

/// Rows, and vectors in each.
pub(super) fn places(rows: usize, vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..vectors).map(move |j| (i, j)))
}
