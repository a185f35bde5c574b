//! Dispatches of hand-written kernels.

use super::{KernelTarget, Turns, Uniform};
use std::borrow::Cow;

/// Invocations per workgroup of every kernel that has no reason for another number.
pub(super) const GROUP: usize = 64;

/// Where a dispatch reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The operation's i-th input.
    Input(usize),
    /// A buffer that lives only inside this operation.
    Temp(usize),
    /// The operation's result.
    Output,
}

/// One dispatch of a hand-written kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Name for profiles and debug labels, such as `conv2d_forward/subgroup`.
    pub label: &'static str,
    /// Complete WGSL with the entry point `main`.
    pub source: Cow<'static, str>,
    /// Values of pipeline-overridable constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Contents of the uniform block at binding 0 (the compiler pads it to 16 bytes).
    pub uniform: Uniform,
    /// Bindings 1, 2, ... in order.
    pub inputs: Vec<Operand>,
    /// The binding after the inputs, the only one that is written.
    pub output: Operand,
    pub workgroups: [u32; 3],
    /// The most turns that the loops of one of its invocations take together.
    pub turns: Turns,
    /// True where every stored value goes through `epilogue`/`epilogue4` (only ever the last dispatch).
    pub epilogue: bool,
    /// Others that give the same bits, the next best first: for where this one would have to be compiled. They differ in what a
    /// [`Form`] has.
    pub others: Vec<Form>,
}

/// A form of a dispatch: what may be one way or another for the same result.
#[derive(Clone, Debug)]
pub struct Form {
    pub source: Cow<'static, str>,
    pub uniform: Uniform,
    pub workgroups: [u32; 3],
    pub turns: Turns,
    /// It takes longer, so that the best is worth compiling where this one stands in.
    pub slower: bool,
}

/// The dispatches that compute one operation.
#[derive(Clone, Debug, Default)]
pub struct Launches {
    /// Sizes in bytes of the `Temp` buffers.
    pub temps: Vec<usize>,
    pub list: Vec<Launch>,
}

/// Folds a one-dimensional grid that may exceed the limit per dimension (65,535) into x and y; kernels compute
/// `workgroup_id.y * num_workgroups.x + workgroup_id.x` and guard the end.
pub fn fold(groups: usize, limit: u32) -> [u32; 3] {
    let limit = limit as usize;
    if groups <= limit {
        return [groups.max(1) as u32, 1, 1];
    }
    let y = groups.div_ceil(limit);
    [groups.div_ceil(y) as u32, y as u32, 1]
}

/// Places of an axis that one invocation takes: all of it, or a chunk where it is longer than `longest`, or long with few others to
/// work beside.
pub(super) fn chunk_of_axis(axis: usize, lines: usize, longest: usize) -> usize {
    if axis > longest || (axis > 1024 && lines < 1024) { (axis.isqrt() + 1).max(256) } else { axis }
}

/// One dispatch with an invocation per item.
pub(super) struct Pass {
    pub label: &'static str,
    pub source: Cow<'static, str>,
    pub total: usize,
    pub uniform: Uniform,
    pub inputs: Vec<Operand>,
    pub output: Operand,
    pub turns: Turns,
    pub epilogue: bool,
}

/// How kernels with an invocation per item are put together.
pub(super) trait Build {
    fn temp(&mut self, words: usize) -> Operand;
    fn push(&mut self, t: &KernelTarget, pass: Pass);
}

impl Build for Launches {
    fn temp(&mut self, words: usize) -> Operand {
        self.temps.push(4 * words);
        Operand::Temp(self.temps.len() - 1)
    }

    fn push(&mut self, t: &KernelTarget, pass: Pass) {
        if pass.total == 0 {
            return;
        }
        self.list.push(Launch {
            label: pass.label,
            source: pass.source,
            constants: Vec::new(),
            uniform: pass.uniform,
            inputs: pass.inputs,
            output: pass.output,
            workgroups: fold(pass.total.div_ceil(GROUP), t.max_workgroups_per_dimension),
            turns: pass.turns,
            epilogue: pass.epilogue,
            others: Vec::new(),
        });
    }
}
