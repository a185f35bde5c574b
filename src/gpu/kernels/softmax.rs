//! Softmax and cross-entropy over the rows of a matrix.
//!
//! Each is one kernel: it finds the row's maximum, then the sum of exponentials, then writes. Who works on a row (one
//! invocation, one subgroup, one workgroup) is a block of the source that is exchanged by row length and adapter. Rows too
//! long for a team take several passes: parts of them are summed up, then combined, and the kernel itself only writes.

use std::borrow::Cow;

use super::launch::Build;
use super::uniform::uniform;
use super::{GROUP, KernelTarget, Launch, Launches, Operand, Turns, Uniform, fold};
use crate::gpu::wgsl::{by_width, exchange_block, renumber, shader};

uniform! {
    /// The block of `softmax.wgsl` and `cross_entropy_dense.wgsl`, with which those of the other kernels begin.
    struct RowSizes {
        rows: usize,
        /// In units of what is loaded at once.
        cols: usize,
    }
}

uniform! {
    /// The block of `cross_entropy_sparse.wgsl`.
    struct SparseSizes {
        row: RowSizes,
        classes: usize,
    }
}

uniform! {
    /// The block of `cross_entropy_sparse_grad.wgsl`.
    struct SparseGradSizes {
        row: RowSizes,
        classes: usize,
        g_stride: usize,
    }
}

uniform! {
    /// The block of `cross_entropy_dense_grad.wgsl`.
    struct DenseGradSizes {
        row: RowSizes,
        g_stride: usize,
    }
}

uniform! {
    /// The block of `softmax_parts.wgsl`.
    struct PartSizes {
        total: usize,
        cols: usize,
        parts: usize,
    }
}

uniform! {
    /// The block of `softmax_combine.wgsl`.
    struct CombineSizes {
        total: usize,
        parts: usize,
        left: usize,
    }
}

/// Rows up to this many loads long belong to one invocation.
const SHORT: usize = 32;

/// Terms of a plain sum (as in the shaders): see `compile/reduction.rs`.
const BLOCK: usize = 16;

/// Loads that one invocation sums up at most: so many blocks, that sums of blocks are no longer than blocks.
const LONGEST: usize = BLOCK * BLOCK;

/// `out[rows, cols]` = softmax of each row. Inputs: `x`.
///
/// A row that holds a NaN or `+inf`, or nothing but `-inf`, becomes NaN.
pub fn softmax(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = shader!("softmax.wgsl");
    launch(
        t,
        RowKernel {
            label: "softmax",
            source,
            inputs: 1,
            uniform: &|row| Uniform::of(&row),
            probs: false,
            per_row: false,
        },
        rows,
        cols,
    )
}

/// `out[rows, cols]` = logarithm of the softmax of each row. Inputs: `x`.
///
/// A row that holds a NaN or `+inf`, or nothing but `-inf`, becomes NaN.
pub fn log_softmax(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = shader!("softmax.wgsl");
    let mut launches = launch(
        t,
        RowKernel {
            label: "log_softmax",
            source,
            inputs: 1,
            uniform: &|row| Uniform::of(&row),
            probs: false,
            per_row: false,
        },
        rows,
        cols,
    );
    // The passes before, over long rows, know nothing of it.
    if let Some(last) = launches.list.last_mut() {
        last.constants.push(("LOG", 1.0));
    }
    launches
}

/// `loss[rows]` = `-log_softmax(logits)[label]`. Inputs: `logits[rows, cols]`, `labels[rows]` as u32.
///
/// The loss of a row whose label is not below `cols`, or whose logits have no softmax, is NaN.
pub fn cross_entropy_sparse(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = shader!("cross_entropy_sparse.wgsl");
    launch(
        t,
        RowKernel {
            label: "cross_entropy_sparse",
            source,
            inputs: 2,
            uniform: &|row| Uniform::of(&SparseSizes { row, classes: cols }),
            probs: false,
            per_row: true,
        },
        rows,
        cols,
    )
}

/// `dlogits[rows, cols]` = `g * (softmax(logits) - onehot(label))`. Inputs: `logits`, `labels[rows]` as u32, `g[rows]`.
///
/// `g_stride` is 1, or 0 where `g` has one element for all rows. A row whose label is not below `cols`, or whose logits have
/// no softmax, becomes NaN.
pub fn cross_entropy_sparse_grad(t: &KernelTarget, rows: usize, cols: usize, g_stride: usize) -> Launches {
    let source = shader!("cross_entropy_sparse_grad.wgsl");
    launch(
        t,
        RowKernel {
            label: "cross_entropy_sparse_grad",
            source,
            inputs: 3,
            uniform: &|row| Uniform::of(&SparseGradSizes { row, classes: cols, g_stride }),
            probs: false,
            per_row: false,
        },
        rows,
        cols,
    )
}

/// `loss[rows]` = `-sum(probs * log_softmax(logits))`. Inputs: `logits`, `probs`, both `[rows, cols]`.
pub fn cross_entropy_dense(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = shader!("cross_entropy_dense.wgsl");
    launch(
        t,
        RowKernel {
            label: "cross_entropy_dense",
            source,
            inputs: 2,
            uniform: &|row| Uniform::of(&row),
            probs: true,
            per_row: true,
        },
        rows,
        cols,
    )
}

/// `dlogits[rows, cols]` = `g * (sum(probs) * softmax(logits) - probs)`. Inputs: `logits`, `probs`, `g[rows]`.
///
/// `g_stride` is 1, or 0 where `g` has one element for all rows.
pub fn cross_entropy_dense_grad(t: &KernelTarget, rows: usize, cols: usize, g_stride: usize) -> Launches {
    let source = shader!("cross_entropy_dense_grad.wgsl");
    launch(
        t,
        RowKernel {
            label: "cross_entropy_dense_grad",
            source,
            inputs: 3,
            uniform: &|row| Uniform::of(&DenseGradSizes { row, g_stride }),
            probs: true,
            per_row: false,
        },
        rows,
        cols,
    )
}

/// What a row comes down to, as `softmax_parts.wgsl` and `softmax_combine.wgsl` have found it and left in `stats`.
const STATISTICS: &str = "
fn row_max(base: u32, lane: u32) -> f32 { return stats[base / sizes.cols].peak; }
fn row_sum(base: u32, lane: u32, peak: f32) -> f32 { return stats[base / sizes.cols].sum; }
fn row_mass(base: u32, lane: u32) -> f32 { return stats[base / sizes.cols].mass; }
fn row_loss(base: u32, lane: u32, peak: f32, log_sum: f32) -> f32 {
    let row = stats[base / sizes.cols];
    return row.cross + select(0.0, log_sum * row.mass, row.mass != 0.0);
}
";

struct RowKernel<'a> {
    label: &'static str,
    source: &'static str,
    inputs: usize,
    uniform: &'a dyn Fn(RowSizes) -> Uniform,
    /// Input 1 is probabilities.
    probs: bool,
    /// Whether it stores one value per row, or one per element.
    per_row: bool,
}

/// Who shares a row.
#[derive(Clone, Copy, PartialEq)]
enum Team {
    Invocation,
    Subgroup(u32),
    Workgroup(u32),
    /// So many invocations, which are told what the row comes down to.
    Many(u32),
}

impl Team {
    /// The team for rows of so many loads; `None` where they are too long for any.
    fn choose(t: &KernelTarget, loads: usize) -> Option<Team> {
        // Barriers are ruinous on a CPU, and a few more passes over a long row cost next to nothing.
        let team = match t.subgroup {
            _ if loads <= SHORT => Team::Invocation,
            Some(lanes) if t.cpu_adapter => Team::Subgroup(lanes),
            None if t.cpu_adapter => Team::Invocation,
            _ => {
                let wanted = if loads <= 256 { 64 } else { 256 };
                let allowed = 1 << t.max_invocations.max(1).ilog2();
                Team::Workgroup(wanted.min(allowed))
            }
        };
        (loads <= LONGEST * team.size()).then_some(team)
    }

    fn size(self) -> usize {
        match self {
            Team::Invocation => 1,
            Team::Subgroup(lanes) | Team::Workgroup(lanes) | Team::Many(lanes) => lanes as usize,
        }
    }

    /// Puts the team's block into a kernel.
    fn install(self, source: Cow<'static, str>) -> Cow<'static, str> {
        let block = match self {
            Team::Invocation => return source,
            Team::Subgroup(_) => shader!("softmax_team_subgroup.wgsl"),
            Team::Workgroup(_) => shader!("softmax_team_workgroup.wgsl"),
            Team::Many(_) => shader!("softmax_team_many.wgsl"),
        };
        exchange_block(source, "team", block)
    }
}

fn launch(t: &KernelTarget, kernel: RowKernel, rows: usize, cols: usize) -> Launches {
    if rows == 0 || cols == 0 {
        return Launches::default();
    }
    let (width, source) = by_width(kernel.source, cols);
    let loads = cols / width;
    match Team::choose(t, loads) {
        Some(team) => {
            // The maximum, up to two sums, what is written; and as often the team comes together by halves.
            let own = Turns::of(loads.div_ceil(team.size()));
            let sum = Turns::around(loads.div_ceil(team.size() * BLOCK), Turns::of(BLOCK));
            let together = Turns::of(team.size().ilog2() as usize);
            let turns = own.then(sum).then(sum).then(own).then(together).then(together).then(together);
            let inputs = (0..kernel.inputs).map(Operand::Input).collect();
            let source = team.install(source);
            let list = vec![last(t, &kernel, [rows, loads], team, source, inputs, turns)];
            Launches { temps: Vec::new(), list }
        }
        None => in_parts(t, &kernel, rows, loads, width, source),
    }
}

/// The dispatch that stores the result.
fn last(
    t: &KernelTarget,
    kernel: &RowKernel,
    [rows, loads]: [usize; 2],
    team: Team,
    source: Cow<'static, str>,
    inputs: Vec<Operand>,
    turns: Turns,
) -> Launch {
    let (constants, groups) = match team {
        Team::Invocation => (Vec::new(), rows.div_ceil(GROUP)),
        Team::Subgroup(lanes) | Team::Workgroup(lanes) => (vec![("GROUP", f64::from(lanes))], rows),
        Team::Many(lanes) => (vec![("TEAM", f64::from(lanes))], (rows * lanes as usize).div_ceil(GROUP)),
    };
    Launch {
        label: kernel.label,
        source,
        constants,
        uniform: (kernel.uniform)(RowSizes { rows, cols: loads }),
        inputs,
        output: Operand::Output,
        workgroups: fold(groups, t.max_workgroups_per_dimension),
        turns,
        epilogue: true,
        others: Vec::new(),
    }
}

/// Long rows: what parts of them come down to, what these come down to together, and then what is to be stored.
fn in_parts(
    t: &KernelTarget,
    kernel: &RowKernel,
    rows: usize,
    loads: usize,
    width: usize,
    source: Cow<'static, str>,
) -> Launches {
    let mut launches = Launches::default();
    let sum = Turns::around(BLOCK, Turns::of(BLOCK));
    let mut parts = loads.div_ceil(LONGEST);
    let pass = |label, source, constants, inputs, total: usize, uniform, launches: &mut Launches| {
        let output = launches.temp(4 * total); // four f32
        launches.list.push(Launch {
            label,
            source,
            constants,
            uniform,
            inputs,
            output,
            workgroups: fold(total.div_ceil(GROUP), t.max_workgroups_per_dimension),
            turns: Turns::of(LONGEST).then(sum),
            epilogue: false,
            others: Vec::new(),
        });
        output
    };
    let total = rows * parts;
    let mut stats = pass(
        "softmax/parts",
        by_width(shader!("softmax_parts.wgsl"), width).1,
        vec![("PROBS", f64::from(u8::from(kernel.probs)))],
        vec![Operand::Input(0), Operand::Input(usize::from(kernel.probs))],
        total,
        Uniform::of(&PartSizes { total, cols: loads, parts }),
        &mut launches,
    );
    while parts > 1 {
        let left = parts.div_ceil(LONGEST);
        let total = rows * left;
        stats = pass(
            "softmax/combine",
            shader!("softmax_combine.wgsl").into(),
            Vec::new(),
            vec![stats],
            total,
            Uniform::of(&CombineSizes { total, parts, left }),
            &mut launches,
        );
        parts = left;
    }
    let team = Team::Many(if kernel.per_row { 1 } else { loads.div_ceil(BLOCK) as u32 });
    // They are bound after the inputs, and what is written after them.
    let at = kernel.inputs as u32 + 1;
    let statistics = format!(
        "{}@group(0) @binding({at}) var<storage, read> stats: array<Stats>;\n{STATISTICS}",
        shader!("shared/row_stats.wgsl")
    );
    let source = renumber(&team.install(source), |binding| (binding == at).then_some(at + 1));
    let source = exchange_block(source.into(), "statistics", &statistics);
    let mut inputs: Vec<Operand> = (0..kernel.inputs).map(Operand::Input).collect();
    inputs.push(stats);
    let turns = Turns::of(if kernel.per_row { 0 } else { BLOCK });
    launches.list.push(last(t, kernel, [rows, loads], team, source, inputs, turns));
    launches
}

#[cfg(test)]
mod tests {
    use super::super::tests::target;
    use super::*;
    use crate::gpu::wgsl::tests::assert_valid;

    #[test]
    fn teams_replace_the_marked_block() {
        let source = shader!("softmax.wgsl");
        assert_eq!(Team::Invocation.install(source.into()), source);
        for (team, mark) in [(Team::Subgroup(8), "subgroupMax"), (Team::Workgroup(64), "workgroupBarrier")] {
            let text = team.install(source.into());
            assert!(text.contains(mark) && !text.contains("const TEAM = 1u;"));
            assert_eq!(text.matches("fn team_max").count(), 1);
        }
    }

    /// Lengths around every change of who works on a row, up to the longest that a 32-bit index reaches.
    #[test]
    fn rows_of_any_length_keep_to_the_limit_of_turns() {
        for t in [target(true, Some(8)), target(true, None), target(false, None), target(false, Some(32))] {
            for exponent in 0..31 {
                for cols in
                    [(1usize << exponent) - 1, 1 << exponent, (1 << exponent) + 1, (5 << exponent) / 4]
                {
                    let all = [
                        softmax(&t, 1, cols),
                        log_softmax(&t, 1, cols),
                        cross_entropy_sparse(&t, 1, cols),
                        cross_entropy_sparse_grad(&t, 1, cols, 0),
                        cross_entropy_dense(&t, 1, cols),
                        cross_entropy_dense_grad(&t, 1, cols, 1),
                    ];
                    for (launches, inputs) in all.iter().zip([1, 1, 2, 3, 2, 3]).filter(|_| cols > 0) {
                        for (k, launch) in launches.list.iter().enumerate() {
                            launch.turns.check("", launch.label, String::new).unwrap();
                            let last = k + 1 == launches.list.len();
                            assert_eq!(launch.epilogue, last);
                            assert_eq!(launch.output == Operand::Output, last);
                            let statistics = usize::from(launches.list.len() > 1);
                            assert!(!last || launch.inputs.len() == inputs + statistics);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn kernels_of_long_rows_are_valid() {
        for launches in [
            softmax(&target(true, None), 3, 100_000),
            log_softmax(&target(true, None), 3, 100_001),
            cross_entropy_sparse(&target(true, None), 3, 100_000),
            cross_entropy_sparse_grad(&target(true, None), 3, 100_001, 0),
            cross_entropy_dense(&target(true, None), 3, 100_001),
            cross_entropy_dense_grad(&target(true, None), 3, 100_000, 1),
        ] {
            assert_eq!(launches.list.len(), launches.temps.len() + 1);
            for launch in &launches.list {
                assert_valid(launch.label, &launch.source);
                // every binding up to the output's is declared, once each
                for binding in 0..launch.inputs.len() + 2 {
                    let declared = launch.source.matches(&format!("@binding({binding})")).count();
                    assert_eq!(declared, 1, "{}: binding {binding}", launch.label);
                }
            }
        }
    }
}
