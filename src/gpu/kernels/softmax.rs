//! Softmax and cross-entropy over the rows of a matrix.
//!
//! Each is one kernel: it finds the row's maximum, then the sum of exponentials, then writes. Who works on a row (one
//! invocation, one subgroup, one workgroup) is a block of the source that is exchanged by row length and adapter. Rows too
//! long for a team take several passes: parts of them are summed up, then combined, and the kernel itself only writes.

use std::borrow::Cow;

use super::pool2d::{GROUP, widen};
use super::{KernelTarget, Launch, Launches, Operand, Turns, fold};

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
    let source = include_str!("../../../shaders/softmax.wgsl");
    launch(
        t,
        Kernel { label: "softmax", source, inputs: 1, sizes: &[], probs: false, per_row: false },
        rows,
        cols,
    )
}

/// `out[rows, cols]` = logarithm of the softmax of each row. Inputs: `x`.
///
/// A row that holds a NaN or `+inf`, or nothing but `-inf`, becomes NaN.
pub fn log_softmax(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = include_str!("../../../shaders/softmax.wgsl");
    let mut launches = launch(
        t,
        Kernel { label: "log_softmax", source, inputs: 1, sizes: &[], probs: false, per_row: false },
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
    let source = include_str!("../../../shaders/cross_entropy_sparse.wgsl");
    launch(
        t,
        Kernel {
            label: "cross_entropy_sparse",
            source,
            inputs: 2,
            sizes: &[cols],
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
    let source = include_str!("../../../shaders/cross_entropy_sparse_grad.wgsl");
    launch(
        t,
        Kernel {
            label: "cross_entropy_sparse_grad",
            source,
            inputs: 3,
            sizes: &[cols, g_stride],
            probs: false,
            per_row: false,
        },
        rows,
        cols,
    )
}

/// `loss[rows]` = `-sum(probs * log_softmax(logits))`. Inputs: `logits`, `probs`, both `[rows, cols]`.
pub fn cross_entropy_dense(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = include_str!("../../../shaders/cross_entropy_dense.wgsl");
    launch(
        t,
        Kernel { label: "cross_entropy_dense", source, inputs: 2, sizes: &[], probs: true, per_row: true },
        rows,
        cols,
    )
}

/// `dlogits[rows, cols]` = `g * (sum(probs) * softmax(logits) - probs)`. Inputs: `logits`, `probs`, `g[rows]`.
///
/// `g_stride` is 1, or 0 where `g` has one element for all rows.
pub fn cross_entropy_dense_grad(t: &KernelTarget, rows: usize, cols: usize, g_stride: usize) -> Launches {
    let source = include_str!("../../../shaders/cross_entropy_dense_grad.wgsl");
    launch(
        t,
        Kernel {
            label: "cross_entropy_dense_grad",
            source,
            inputs: 3,
            sizes: &[g_stride],
            probs: true,
            per_row: false,
        },
        rows,
        cols,
    )
}

/// What a row comes down to, as `softmax_parts.wgsl` and `softmax_combine.wgsl` have found it.
const STATISTICS: &str = "struct Stats { peak: f32, sum: f32, mass: f32, cross: f32 }
@group(0) @binding(BINDING) var<storage, read> stats: array<Stats>;

fn row_max(base: u32, lane: u32) -> f32 { return stats[base / sizes.cols].peak; }
fn row_sum(base: u32, lane: u32, peak: f32) -> f32 { return stats[base / sizes.cols].sum; }
fn row_mass(base: u32, lane: u32) -> f32 { return stats[base / sizes.cols].mass; }
fn row_loss(base: u32, lane: u32, peak: f32, log_sum: f32) -> f32 {
    let row = stats[base / sizes.cols];
    return row.cross + select(0.0, log_sum * row.mass, row.mass != 0.0);
}
";

struct Kernel<'a> {
    label: &'static str,
    source: &'static str,
    inputs: usize,
    /// What the uniform block holds after rows and columns.
    sizes: &'a [usize],
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
            Team::Subgroup(_) => include_str!("../../../shaders/softmax_team_subgroup.wgsl"),
            Team::Workgroup(_) => include_str!("../../../shaders/softmax_team_workgroup.wgsl"),
            Team::Many(_) => include_str!("../../../shaders/softmax_team_many.wgsl"),
        };
        exchange(source, "team", block)
    }
}

/// Replaces a marked block of a kernel.
fn exchange(source: Cow<'static, str>, name: &str, block: &str) -> Cow<'static, str> {
    let (begin, end) = (format!("// {name}:\n"), format!("// end of {name}\n"));
    match (source.split_once(&begin), source.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{block}{after}").into(),
        _ => source,
    }
}

fn launch(t: &KernelTarget, kernel: Kernel, rows: usize, cols: usize) -> Launches {
    if rows == 0 || cols == 0 {
        return Launches::default();
    }
    let (width, source) = widen(kernel.source, cols);
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
    kernel: &Kernel,
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
    let mut uniform = vec![rows as u32, loads as u32];
    uniform.extend(kernel.sizes.iter().map(|&v| v as u32));
    Launch {
        label: kernel.label,
        source,
        constants,
        uniform,
        inputs,
        output: Operand::Output,
        workgroups: fold(groups, t.max_workgroups_per_dimension),
        turns,
        epilogue: true,
    }
}

/// Long rows: what parts of them come down to, what these come down to together, and then what is to be stored.
fn in_parts(
    t: &KernelTarget,
    kernel: &Kernel,
    rows: usize,
    loads: usize,
    width: usize,
    source: Cow<'static, str>,
) -> Launches {
    let mut launches = Launches::default();
    let sum = Turns::around(BLOCK, Turns::of(BLOCK));
    let mut parts = loads.div_ceil(LONGEST);
    let pass = |label, source, constants, inputs, sizes: [usize; 3], launches: &mut Launches| {
        launches.temps.push(16 * sizes[0]); // four f32
        let output = Operand::Temp(launches.temps.len() - 1);
        launches.list.push(Launch {
            label,
            source,
            constants,
            uniform: sizes.map(|v| v as u32).to_vec(),
            inputs,
            output,
            workgroups: fold(sizes[0].div_ceil(GROUP), t.max_workgroups_per_dimension),
            turns: Turns::of(LONGEST).then(sum),
            epilogue: false,
        });
        output
    };
    let mut stats = pass(
        "softmax/parts",
        widen(include_str!("../../../shaders/softmax_parts.wgsl"), width).1,
        vec![("PROBS", f64::from(u8::from(kernel.probs)))],
        vec![Operand::Input(0), Operand::Input(usize::from(kernel.probs))],
        [rows * parts, loads, parts],
        &mut launches,
    );
    while parts > 1 {
        let left = parts.div_ceil(LONGEST);
        stats = pass(
            "softmax/combine",
            include_str!("../../../shaders/softmax_combine.wgsl").into(),
            Vec::new(),
            vec![stats],
            [rows * left, parts, left],
            &mut launches,
        );
        parts = left;
    }
    let team = Team::Many(if kernel.per_row { 1 } else { loads.div_ceil(BLOCK) as u32 });
    // They are bound after the inputs, and what is written after them.
    let at = kernel.inputs + 1;
    let written = |at: usize| format!("@binding({at}) var<storage, read_write>");
    let source = exchange(team.install(source), "statistics", STATISTICS)
        .replace(&written(at), &written(at + 1))
        .replace("BINDING", &at.to_string());
    let mut inputs: Vec<Operand> = (0..kernel.inputs).map(Operand::Input).collect();
    inputs.push(stats);
    let turns = Turns::of(if kernel.per_row { 0 } else { BLOCK });
    launches.list.push(last(t, kernel, [rows, loads], team, source.into(), inputs, turns));
    launches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_replace_the_marked_block() {
        let source = include_str!("../../../shaders/softmax.wgsl");
        assert_eq!(Team::Invocation.install(source.into()), source);
        for (team, mark) in [(Team::Subgroup(8), "subgroupMax"), (Team::Workgroup(64), "workgroupBarrier")] {
            let text = team.install(source.into());
            assert!(text.contains(mark) && !text.contains("const TEAM = 1u;"));
            assert_eq!(text.matches("fn team_max").count(), 1);
        }
    }

    fn target(cpu_adapter: bool, subgroup: Option<u32>) -> KernelTarget {
        KernelTarget {
            cpu_adapter,
            subgroup,
            int64: false,
            workgroup_storage: 16_384,
            max_invocations: 256,
            max_workgroups_per_dimension: 65_535,
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
                            launch.turns.check(launch.label, String::new).unwrap();
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
                let module = naga::front::wgsl::parse_str(&launch.source)
                    .unwrap_or_else(|e| panic!("{}: {}", launch.label, e.emit_to_string(&launch.source)));
                let flags = naga::valid::ValidationFlags::all();
                let all = naga::valid::Capabilities::all();
                let checked = naga::valid::Validator::new(flags, all).validate(&module);
                assert!(checked.is_ok(), "{}: {checked:?}", launch.label);
                // every binding up to the output's is declared, once each
                for binding in 0..launch.inputs.len() + 2 {
                    let declared = launch.source.matches(&format!("@binding({binding})")).count();
                    assert_eq!(declared, 1, "{}: binding {binding}", launch.label);
                }
            }
        }
    }
}
