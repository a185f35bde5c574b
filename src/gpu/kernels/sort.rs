//! Stable sorts of rows, by pairs of a key and a place in the row.

use super::launch::{Build, Launch, Pass, fold};
use super::uniform::uniform;
use super::{KernelTarget, Launches, Operand, Turns, Uniform};
use crate::dtype::DType;
use crate::geometry::SearchGeometry;
use crate::gpu::wgsl::shader;

uniform! {
    /// The block of `sort_block.wgsl`. `total`, here and below: invocations.
    struct BlockSizes {
        total: usize,
        len: usize,
        key: Key,
    }
}

uniform! {
    /// The block of `sort_team.wgsl`, `total` being blocks.
    struct TeamSizes {
        total: usize,
        len: usize,
        blocks: usize,
        shift: usize,
        key: Key,
    }
}

uniform! {
    /// How a key is made of an element: see `shared/sort_key.wgsl`.
    pub(super) struct Key {
        float: bool,
        flip: usize,
    }
}

uniform! {
    /// The block of `sort_merge.wgsl`.
    struct MergeSizes {
        total: usize,
        len: usize,
        run: usize,
    }
}

uniform! {
    /// The block of `sort_order.wgsl`.
    struct OrderSizes {
        total: usize,
        len: usize,
        kept: usize,
    }
}

uniform! {
    /// The block of `sort_inverse.wgsl`.
    struct InverseSizes {
        total: usize,
    }
}

uniform! {
    /// The block of `search.wgsl`.
    struct SearchSizes {
        total: usize,
        count: usize,
        len: usize,
        right: bool,
        key: Key,
    }
}

/// Length of the blocks that one invocation per element sorts (as in `sort_block.wgsl`).
const BLOCK: usize = 64;
/// Pairs in the memory of a workgroup, and its invocations (as in `sort_team.wgsl`).
const TEAM_SLOTS: usize = 1024;
const TEAM: usize = 256;

/// Finding a place among so many of them by halves.
pub(super) fn bisection(count: usize) -> Turns {
    Turns::of(count.max(1).ilog2() as usize + 1)
}

impl Key {
    pub(super) fn of(dtype: DType, descending: bool) -> Key {
        let sign = if dtype == DType::I32 { 1u32 << 31 } else { 0 };
        let flip = if descending { !sign } else { sign };
        Key { float: dtype.is_float(), flip: flip as usize }
    }
}

/// The pairs (key, place) of rows of so many elements of 32 bits, each row sorted by its keys: a buffer of this operation. Equal keys
/// keep their order.
///
/// Blocks of each row are sorted, in the memory of workgroups where that is fast, and merged. Cost: about `log2(len)^2 / 2` for each
/// element.
pub(super) fn sorted_pairs(
    launches: &mut Launches,
    t: &KernelTarget,
    elements: Operand,
    [rows, len]: [usize; 2],
    key: Key,
) -> Operand {
    let total = rows * len;
    let pairs = [launches.temp(2 * total.max(1)), launches.temp(2 * total.max(1))];
    if total == 0 {
        return pairs[0];
    }
    let in_teams = !t.cpu_adapter
        && t.max_invocations as usize >= TEAM
        && t.workgroup_storage as usize >= 8 * TEAM_SLOTS;
    let block = if in_teams { len.next_power_of_two().min(TEAM_SLOTS) } else { BLOCK };
    if in_teams {
        let blocks = len.div_ceil(block);
        let shift = block.ilog2() as usize;
        let groups = (rows * blocks).div_ceil(TEAM_SLOTS / block);
        let stages = shift * (shift + 1) / 2;
        launches.list.push(Launch {
            label: "sort/team",
            source: shader!("sort_team.wgsl").into(),
            constants: Vec::new(),
            uniform: Uniform::of(&TeamSizes { total: rows * blocks, len, blocks, shift, key }),
            inputs: vec![elements],
            output: pairs[0],
            workgroups: fold(groups, t.max_workgroups_per_dimension),
            turns: Turns::around(stages + shift, Turns::of(2)).then(Turns::of(2 * (TEAM_SLOTS / TEAM))),
            epilogue: false,
            others: Vec::new(),
        });
    } else {
        launches.push(
            t,
            Pass {
                label: "sort/block",
                source: shader!("sort_block.wgsl").into(),
                total,
                uniform: Uniform::of(&BlockSizes { total, len, key }),
                inputs: vec![elements],
                output: pairs[0],
                turns: Turns::of(BLOCK),
                epilogue: false,
            },
        );
    }
    let mut sorted = 0;
    let mut run = block;
    while run < len {
        launches.push(
            t,
            Pass {
                label: "sort/merge",
                source: shader!("sort_merge.wgsl").into(),
                total,
                uniform: Uniform::of(&MergeSizes { total, len, run }),
                inputs: vec![pairs[sorted]],
                output: pairs[1 - sorted],
                turns: bisection(run),
                epilogue: false,
            },
        );
        sorted = 1 - sorted;
        run *= 2;
    }
    pairs[sorted]
}

/// `order[rows, kept]` (32 bits) = the places of the first elements of each sorted row of `x[rows, len]`, which is f32, i32 or u32.
///
/// Inputs: `x`.
pub fn argsort(t: &KernelTarget, [rows, len, kept]: [usize; 3], dtype: DType, descending: bool) -> Launches {
    let mut launches = Launches::default();
    let key = Key::of(dtype, descending);
    let sorted = sorted_pairs(&mut launches, t, Operand::Input(0), [rows, len], key);
    let total = rows * kept;
    launches.push(
        t,
        Pass {
            label: "sort/order",
            source: shader!("sort_order.wgsl").into(),
            total,
            uniform: Uniform::of(&OrderSizes { total, len, kept }),
            inputs: vec![sorted],
            output: Operand::Output,
            turns: Turns::NONE,
            epilogue: false,
        },
    );
    launches
}

/// `inverse[order[i]] = i` (u32) of an order in which each number below `len` stands once.
///
/// Inputs: `order` as u32.
pub fn inverse(t: &KernelTarget, len: usize) -> Launches {
    let mut launches = Launches::default();
    launches.push(
        t,
        Pass {
            label: "sort/inverse",
            source: shader!("sort_inverse.wgsl").into(),
            total: len,
            uniform: Uniform::of(&InverseSizes { total: len }),
            inputs: vec![Operand::Input(0)],
            output: Operand::Output,
            turns: Turns::NONE,
            epilogue: false,
        },
    );
    launches
}

/// `found[rows, count]` (32 bits) = how many elements of a sorted row are below a value or, with `g.right`, not above it; elements are
/// f32, i32 or u32.
///
/// Inputs: sorted rows, values.
pub fn search(t: &KernelTarget, g: &SearchGeometry, dtype: DType) -> Launches {
    let mut launches = Launches::default();
    let &SearchGeometry { rows, count, len, right } = g;
    let total = rows * count;
    let key = Key::of(dtype, false);
    launches.push(
        t,
        Pass {
            label: "searchsorted",
            source: shader!("search.wgsl").into(),
            total,
            uniform: Uniform::of(&SearchSizes { total, count, len, right, key }),
            inputs: vec![Operand::Input(0), Operand::Input(1)],
            output: Operand::Output,
            turns: bisection(len),
            epilogue: false,
        },
    );
    launches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_counted() {
        let steps = |mut n: usize| {
            let mut steps = 0;
            while n > 0 {
                n /= 2;
                steps += 1;
            }
            Turns::of(steps)
        };
        for n in [1, 2, 3, 4, 63, 64, 65, 1 << 31] {
            assert_eq!(bisection(n), steps(n), "{n}");
        }
        assert!(bisection(0).count() >= 1);
    }
}
