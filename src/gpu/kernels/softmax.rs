//! Softmax and cross-entropy over the rows of a matrix.
//!
//! Each is one kernel: it finds the row's maximum, then the sum of exponentials, then writes. Who works on a row (one
//! invocation, one subgroup, one workgroup) is a block of the source that is exchanged by row length and adapter.

use std::borrow::Cow;

use super::pool2d::{GROUP, widen};
use super::{KernelTarget, Launch, Launches, Operand, Turns, fold};

/// Rows up to this many loads long belong to one invocation.
const SHORT: usize = 32;

/// Longest row, in loads, for one subgroup on a CPU adapter: lavapipe cuts an invocation's loops, four in all, after 65,535
/// iterations.
const LONGEST_PER_LANE: usize = 16_000;

/// `out[rows, cols]` = softmax of each row. Inputs: `x`.
///
/// A row that holds a NaN or `+inf`, or nothing but `-inf`, becomes NaN.
pub fn softmax(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = include_str!("../../../shaders/softmax.wgsl");
    launch(t, Kernel { label: "softmax", source, inputs: 1, sizes: &[] }, rows, cols)
}

/// `out[rows, cols]` = logarithm of the softmax of each row. Inputs: `x`.
///
/// A row that holds a NaN or `+inf`, or nothing but `-inf`, becomes NaN.
pub fn log_softmax(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = include_str!("../../../shaders/softmax.wgsl");
    let mut launches = launch(t, Kernel { label: "log_softmax", source, inputs: 1, sizes: &[] }, rows, cols);
    for launch in &mut launches.list {
        launch.constants.push(("LOG", 1.0));
    }
    launches
}

/// `loss[rows]` = `-log_softmax(logits)[label]`. Inputs: `logits[rows, cols]`, `labels[rows]` as u32.
///
/// The loss of a row whose label is not below `cols`, or whose logits have no softmax, is NaN.
pub fn cross_entropy_sparse(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = include_str!("../../../shaders/cross_entropy_sparse.wgsl");
    launch(t, Kernel { label: "cross_entropy_sparse", source, inputs: 2, sizes: &[cols] }, rows, cols)
}

/// `dlogits[rows, cols]` = `g * (softmax(logits) - onehot(label))`. Inputs: `logits`, `labels[rows]` as u32, `g[rows]`.
///
/// `g_stride` is 1, or 0 where `g` has one element for all rows. A row whose label is not below `cols`, or whose logits have
/// no softmax, becomes NaN.
pub fn cross_entropy_sparse_grad(t: &KernelTarget, rows: usize, cols: usize, g_stride: usize) -> Launches {
    let source = include_str!("../../../shaders/cross_entropy_sparse_grad.wgsl");
    launch(
        t,
        Kernel { label: "cross_entropy_sparse_grad", source, inputs: 3, sizes: &[cols, g_stride] },
        rows,
        cols,
    )
}

/// `loss[rows]` = `-sum(probs * log_softmax(logits))`. Inputs: `logits`, `probs`, both `[rows, cols]`.
pub fn cross_entropy_dense(t: &KernelTarget, rows: usize, cols: usize) -> Launches {
    let source = include_str!("../../../shaders/cross_entropy_dense.wgsl");
    launch(t, Kernel { label: "cross_entropy_dense", source, inputs: 2, sizes: &[] }, rows, cols)
}

/// `dlogits[rows, cols]` = `g * (sum(probs) * softmax(logits) - probs)`. Inputs: `logits`, `probs`, `g[rows]`.
///
/// `g_stride` is 1, or 0 where `g` has one element for all rows.
pub fn cross_entropy_dense_grad(t: &KernelTarget, rows: usize, cols: usize, g_stride: usize) -> Launches {
    let source = include_str!("../../../shaders/cross_entropy_dense_grad.wgsl");
    launch(t, Kernel { label: "cross_entropy_dense_grad", source, inputs: 3, sizes: &[g_stride] }, rows, cols)
}

struct Kernel<'a> {
    label: &'static str,
    source: &'static str,
    inputs: usize,
    /// What the uniform block holds after rows and columns.
    sizes: &'a [usize],
}

/// Who shares a row.
#[derive(Clone, Copy, PartialEq)]
enum Team {
    Invocation,
    Subgroup(u32),
    Workgroup(u32),
}

impl Team {
    fn choose(t: &KernelTarget, loads: usize) -> Team {
        match t.subgroup {
            _ if loads <= SHORT => Team::Invocation,
            Some(lanes) if t.cpu_adapter && loads <= LONGEST_PER_LANE * lanes as usize => {
                Team::Subgroup(lanes)
            }
            None if t.cpu_adapter && loads <= 32 * SHORT => Team::Invocation,
            _ => {
                // Barriers cost little against a row this long, even on a CPU.
                let wanted = if loads <= 256 { 64 } else { 256 };
                let allowed = 1 << t.max_invocations.max(1).ilog2();
                Team::Workgroup(wanted.min(allowed))
            }
        }
    }

    fn size(self) -> usize {
        match self {
            Team::Invocation => 1,
            Team::Subgroup(lanes) | Team::Workgroup(lanes) => lanes as usize,
        }
    }

    /// Puts the team's block into a kernel.
    fn install(self, source: Cow<'static, str>) -> Cow<'static, str> {
        let block = match self {
            Team::Invocation => return source,
            Team::Subgroup(_) => include_str!("../../../shaders/softmax_team_subgroup.wgsl"),
            Team::Workgroup(_) => include_str!("../../../shaders/softmax_team_workgroup.wgsl"),
        };
        match (source.split_once("// team:\n"), source.split_once("// end of team\n")) {
            (Some((before, _)), Some((_, after))) => format!("{before}{block}{after}").into(),
            _ => source,
        }
    }
}

fn launch(t: &KernelTarget, kernel: Kernel, rows: usize, cols: usize) -> Launches {
    if rows == 0 || cols == 0 {
        return Launches::default();
    }
    let (width, source) = widen(kernel.source, cols);
    let loads = cols / width;
    let team = Team::choose(t, loads);
    let (constants, rows_per_group) = match team {
        Team::Invocation => (Vec::new(), GROUP),
        Team::Subgroup(lanes) | Team::Workgroup(lanes) => (vec![("GROUP", f64::from(lanes))], 1),
    };
    // The maximum, the sum, what is written; and as often the team comes together by halves.
    let own = Turns::of(loads.div_ceil(team.size()));
    let together = Turns::of(team.size().ilog2() as usize);
    let turns = own.then(own).then(own).then(together).then(together).then(together);
    let mut uniform = vec![rows as u32, loads as u32];
    uniform.extend(kernel.sizes.iter().map(|&v| v as u32));
    Launches {
        temps: Vec::new(),
        list: vec![Launch {
            label: kernel.label,
            source: team.install(source),
            constants,
            uniform,
            inputs: (0..kernel.inputs).map(Operand::Input).collect(),
            output: Operand::Output,
            workgroups: fold(rows.div_ceil(rows_per_group), t.max_workgroups_per_dimension),
            turns,
            epilogue: true,
        }],
    }
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
}
