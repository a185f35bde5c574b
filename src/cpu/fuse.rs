//! Pointwise nodes that are computed together, block by block, while a block is in the cache.
//!
//! A group is a set of pointwise nodes of one shape. Each block of it goes through all of them, by the same loops that they
//! have alone, so not a bit differs. If the group continues a kernel that writes its output in pieces (a convolution, the
//! gradient of max-pooling), it is computed on each piece right after the kernel wrote it. Groups are found in f32 graphs
//! only: f64, which gradients are checked in, runs node by node.

use super::array::Array;
use super::kernels::float::Float;
use super::{memory, simd::vectorized};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::Pointwise;
use crate::ops::table::{Binary, Compare, Unary};
use crate::shape::Shape;
use crate::tensor::{Entry, Pending};
use rayon::prelude::*;

/// Elements of a block: with a handful of intermediate results it stays in a core's first-level cache.
const BLOCK: usize = 1024;
/// Elements of a task: few enough that threads share the parameters of a small network evenly.
const TASK: usize = 1 << 13;
/// Nodes after a group's first that are looked at.
const WINDOW: usize = 64;
/// Nodes of a group at most.
const MAX_MEMBERS: usize = 24;

/// How an entry of a graph is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Alone,
    /// With a group, later.
    Deferred,
    /// The last of this group, which is computed in its place.
    Last(usize),
}

pub(super) struct Group {
    /// Positions in the graph, ascending.
    members: Vec<usize>,
    /// What the group continues.
    producer: Option<usize>,
    shape: Shape,
}

/// Whether a node can be a member.
fn pointwise(entry: &Entry, entries: &[Entry]) -> Option<Pointwise> {
    if entry.ready {
        return None;
    }
    let node = &entry.tensor.0;
    let op = node.op.pointwise()?;
    let shape = &node.spec.shape;
    let float = |i: usize| entries[entry.inputs[i] as usize].tensor.0.spec.dtype == DType::F32;
    let typed = match op {
        Pointwise::Unary(_) => float(0),
        Pointwise::Binary(_) | Pointwise::Compare(_) => float(0) && float(1),
        Pointwise::Where => {
            let condition = &entries[entry.inputs[0] as usize].tensor.0.spec;
            condition.shape == *shape && float(1) && float(2)
        }
        _ => false,
    };
    let fits = |&i: &u32| repeats(&entries[i as usize].tensor.0.spec.shape, shape);
    (typed && shape.numel() > 0 && entry.inputs.iter().all(fits)).then_some(op)
}

/// Whether a tensor that is broadcast to `shape` repeats as a whole: it has the last dimensions, or one element.
fn repeats(small: &Shape, shape: &Shape) -> bool {
    let first = small.iter().position(|&d| d != 1).unwrap_or(small.rank());
    let tail = &small[first..];
    tail == &shape[shape.rank() - tail.len()..]
}

/// Finds the groups of a graph; `uses` counts the users of each entry.
///
/// A group is computed in its last member's place, so everything it needs is there. It ends before the first node that uses
/// a member without being one, so nothing is needed earlier.
pub(super) fn groups(graph: &Pending, uses: &[u32]) -> (Vec<Role>, Vec<Group>) {
    let entries = &graph.entries;
    let ops: Vec<bool> = entries.iter().map(|e| pointwise(e, entries).is_some()).collect();
    let mut roles = vec![Role::Alone; entries.len()];
    let mut groups = Vec::new();
    for first in 0..entries.len() {
        if !ops[first] || roles[first] != Role::Alone {
            continue;
        }
        let shape = entries[first].tensor.0.spec.shape;
        let mut members = vec![first];
        for (j, entry) in entries.iter().enumerate().skip(first + 1).take(WINDOW) {
            let uses_member = entry.inputs.iter().any(|&i| members.contains(&(i as usize)));
            let shares_input = || entry.inputs.iter().any(|i| entries[first].inputs.contains(i));
            let fits = ops[j] && roles[j] == Role::Alone && entry.tensor.0.spec.shape == shape;
            if fits && members.len() < MAX_MEMBERS && (uses_member || shares_input()) {
                members.push(j);
            } else if uses_member {
                break;
            }
        }
        let mut group = Group { members, producer: None, shape };
        group.producer = group.find_producer(entries, uses, &roles);
        if group.producer.is_none()
            && let Some(shorter) = group.before_masks(entries, uses, &roles)
        {
            group = shorter;
        }
        if group.members.len() == 1 && group.producer.is_none() {
            continue;
        }
        for &i in group.members.iter().chain(&group.producer) {
            roles[i] = Role::Deferred;
        }
        roles[group.last()] = Role::Last(groups.len());
        groups.push(group);
    }
    (roles, groups)
}

/// Floats that a step reads.
#[derive(Clone, Copy)]
enum Floats {
    /// The result of an earlier step.
    Register(usize),
    /// The block as the producer left it.
    Piece,
    /// An input of the group's shape.
    Full(usize),
    /// An input that repeats.
    Cycle(usize),
    One(f32),
}

/// Truth values that a step reads: the result of an earlier step, or an input.
#[derive(Clone, Copy)]
enum Truths {
    Register(usize),
    Full(usize),
}

#[derive(Clone, Copy)]
enum Operand {
    Floats(Floats),
    Truths(Truths),
}

/// A function, what it reads, and the register of its result, which is none that it reads.
enum Instruction {
    Unary(Unary, Floats, usize),
    Binary(Binary, [Floats; 2], usize),
    Compare(Compare, [Floats; 2], usize),
    Where(Truths, [Floats; 2], usize),
}

impl Instruction {
    fn new(op: Pointwise, operands: &[Operand], to: usize) -> Option<Instruction> {
        use Operand::{Floats, Truths};
        Some(match (op, operands) {
            (Pointwise::Unary(f), &[Floats(a)]) => Instruction::Unary(f, a, to),
            (Pointwise::Binary(f), &[Floats(a), Floats(b)]) => Instruction::Binary(f, [a, b], to),
            (Pointwise::Compare(f), &[Floats(a), Floats(b)]) => Instruction::Compare(f, [a, b], to),
            (Pointwise::Where, &[Truths(c), Floats(a), Floats(b)]) => Instruction::Where(c, [a, b], to),
            _ => return None,
        })
    }

    /// The register of floats that it writes.
    fn to(&self) -> Option<usize> {
        match *self {
            Instruction::Unary(_, _, to) | Instruction::Binary(_, _, to) | Instruction::Where(_, _, to) => {
                Some(to)
            }
            Instruction::Compare(..) => None,
        }
    }

    fn reads_piece(&self) -> bool {
        let piece = |source: &Floats| matches!(source, Floats::Piece);
        match self {
            Instruction::Unary(_, a, _) => piece(a),
            Instruction::Binary(_, sources, _)
            | Instruction::Compare(_, sources, _)
            | Instruction::Where(_, sources, _) => sources.iter().any(piece),
        }
    }
}

/// What is computed for each block.
#[derive(Default)]
struct Program {
    steps: Vec<Instruction>,
    /// Numbers of registers.
    floats: usize,
    truths: usize,
    full: Vec<Array>,
    masks: Vec<Array>,
    /// One period, and as much of the next ones as a block needs.
    cycles: Vec<(Vec<f32>, usize)>,
    /// Registers that become outputs.
    outputs: Vec<Operand>,
}

/// The inputs of a program that have the group's shape.
struct Views<'a> {
    full: Vec<&'a [f32]>,
    masks: Vec<&'a [u8]>,
}

/// The registers of a thread.
struct BlockRegisters<'a> {
    floats: Vec<&'a mut [f32]>,
    truths: Vec<&'a mut [u8]>,
}

/// A piece of an output.
enum OutputBlock<'a> {
    Floats(&'a mut [f32]),
    Truths(&'a mut [u8]),
}

impl Group {
    fn last(&self) -> usize {
        self.members[self.members.len() - 1]
    }

    /// How many members use an entry.
    fn uses_of(&self, entries: &[Entry], i: usize) -> u32 {
        let inputs = self.members.iter().flat_map(|&m| &entries[m].inputs);
        inputs.filter(|&&input| input as usize == i).count() as u32
    }

    /// Whether the value of a member is needed beyond the group.
    fn is_output(&self, entries: &[Entry], uses: &[u32], member: usize) -> bool {
        entries[member].keep || uses[member] > self.uses_of(entries, member)
    }

    /// An input that nothing else uses, by an operation that computes in pieces. There must be one output alone, which then
    /// takes the place of the producer's.
    fn find_producer(&self, entries: &[Entry], uses: &[u32], roles: &[Role]) -> Option<usize> {
        let (last, rest) = self.members.split_last()?;
        if entries[*last].tensor.0.spec.dtype != DType::F32
            || rest.iter().any(|&m| self.is_output(entries, uses, m))
        {
            return None;
        }
        let inputs = self.members.iter().flat_map(|&m| &entries[m].inputs).map(|&i| i as usize);
        inputs.rev().find(|&i| {
            let (entry, spec) = (&entries[i], &entries[i].tensor.0.spec);
            roles[i] == Role::Alone
                && !self.members.contains(&i)
                && !entry.ready
                && !entry.keep
                && spec.dtype == DType::F32
                && spec.shape == self.shape
                && uses[i] == self.uses_of(entries, i)
                && entry.tensor.0.op.pieces().is_some()
        })
    }

    /// The group up to its first mask that only others use, if that much continues a kernel. The mask of a ReLU then goes to
    /// the group that uses it: to compare again costs less than to write the mask and read it, and far less than to write
    /// and read the kernel's output once more.
    fn before_masks(&self, entries: &[Entry], uses: &[u32], roles: &[Role]) -> Option<Group> {
        let mask = |&m: &usize| entries[m].tensor.0.spec.dtype == DType::U8 && self.uses_of(entries, m) == 0;
        let end = self.members.iter().position(mask).filter(|&end| end > 0)?;
        let mut shorter = Group { members: self.members[..end].to_vec(), producer: None, shape: self.shape };
        shorter.producer = shorter.find_producer(entries, uses, roles);
        shorter.producer.is_some().then_some(shorter)
    }

    /// All nodes that are computed with it, inputs before users.
    pub fn nodes(&self) -> Vec<usize> {
        self.producer.into_iter().chain(self.members.iter().copied()).collect()
    }

    /// Computes the group and gives the values that are needed beyond it. `take` gives the value of an input once for each use
    /// of it.
    pub fn run(
        &self,
        graph: &Pending,
        uses: &[u32],
        mut take: impl FnMut(usize) -> Option<Array>,
    ) -> Result<Vec<(usize, Array)>> {
        let entries = &graph.entries;
        let needed = |m: usize| self.is_output(entries, uses, m);
        let mut program = Program::default();
        // Where each member's result is, as long as somebody reads it.
        let mut results: Vec<Option<Operand>> = vec![None; self.members.len()];
        let (mut free_floats, mut free_truths) = (Vec::new(), Vec::new());
        for (at, &member) in self.members.iter().enumerate() {
            let entry = &entries[member];
            let Some(op) = entry.tensor.0.op.pointwise() else { continue };
            let mut operands = Vec::with_capacity(entry.inputs.len());
            for &input in &entry.inputs {
                let input = input as usize;
                if let Some(place) = self.members.iter().position(|&m| m == input) {
                    operands.extend(results[place]);
                } else if self.producer == Some(input) {
                    operands.push(Operand::Floats(Floats::Piece));
                } else if let Some(array) = take(input) {
                    operands.push(program.operand(&array, &self.shape)?);
                }
            }
            let truth = entry.tensor.0.spec.dtype == DType::U8;
            let (free, count) = match truth {
                true => (&mut free_truths, &mut program.truths),
                false => (&mut free_floats, &mut program.floats),
            };
            let to = free.pop().unwrap_or_else(|| {
                *count += 1;
                *count - 1
            });
            results[at] = Some(match truth {
                true => Operand::Truths(Truths::Register(to)),
                false => Operand::Floats(Floats::Register(to)),
            });
            let Some(step) = Instruction::new(op, &operands, to) else {
                return Err(Error::internal(format!("{} has other operands", entry.tensor.0.op.name())));
            };
            program.steps.push(step);
            // Registers whose last reader this was are free for the next step.
            for (place, &m) in self.members[..at].iter().enumerate() {
                let read_later =
                    self.members[at + 1..].iter().any(|&l| entries[l].inputs.contains(&(m as u32)));
                if !read_later && !needed(m) {
                    match results[place].take() {
                        Some(Operand::Floats(Floats::Register(register))) => free_floats.push(register),
                        Some(Operand::Truths(Truths::Register(register))) => free_truths.push(register),
                        _ => {}
                    }
                }
            }
        }
        let wanted: Vec<usize> = (0..self.members.len()).filter(|&i| needed(self.members[i])).collect();
        program.outputs = wanted.iter().filter_map(|&i| results[i]).collect();
        let arrays = match self.producer {
            None => program.run(&self.shape)?,
            Some(producer) => {
                let entry = &entries[producer];
                let inputs: Vec<Array> = entry.inputs.iter().filter_map(|&i| take(i as usize)).collect();
                let node = &entry.tensor.0;
                let Some(pieces) = node.op.pieces() else {
                    return Err(Error::internal(format!("{} has no pieces", node.op.name())));
                };
                let views = program.views()?;
                let finish = |first: usize, piece: &mut [f32]| program.finish(&views, first, piece);
                vec![pieces.cpu_pieces(&inputs, &node.spec, &finish)?]
            }
        };
        Ok(wanted.into_iter().map(|i| self.members[i]).zip(arrays).collect())
    }
}

impl Program {
    /// An input of the group, broadcast to its shape.
    fn operand(&mut self, array: &Array, shape: &Shape) -> Result<Operand> {
        if array.dtype() == DType::U8 {
            self.masks.push(array.contiguous()?);
            return Ok(Operand::Truths(Truths::Full(self.masks.len() - 1)));
        }
        let strides = array.broadcast_strides(shape);
        let mut period = 1;
        let mut first = shape.rank();
        while first > 0 && (shape[first - 1] == 1 || strides[first - 1] == period as isize) {
            first -= 1;
            period *= shape[first];
        }
        if (0..first).any(|d| strides[d] != 0 && shape[d] != 1) {
            // Some other layout: row-major once for all.
            return self.operand(&array.contiguous()?, shape);
        }
        let data = array.raw::<f32>()?;
        Ok(Operand::Floats(if period == 1 {
            Floats::One(data[array.offset])
        } else if period == shape.numel() {
            self.full.push(array.clone());
            Floats::Full(self.full.len() - 1)
        } else {
            let data = &data[array.offset..array.offset + period];
            self.cycles.push((data.iter().copied().cycle().take(period + BLOCK).collect(), period));
            Floats::Cycle(self.cycles.len() - 1)
        }))
    }

    fn views(&self) -> Result<Views<'_>> {
        let full = self.full.iter().map(|a| Ok(&a.raw::<f32>()?[a.offset..]));
        let masks = self.masks.iter().map(|a| Ok(&a.raw::<u8>()?[a.offset..]));
        Ok(Views { full: full.collect::<Result<_>>()?, masks: masks.collect::<Result<_>>()? })
    }

    /// Lends `f` a thread's registers.
    fn with_registers(&self, f: impl FnOnce(BlockRegisters)) {
        let mut truths = vec![0; self.truths * BLOCK];
        f32::with_scratch(self.floats * BLOCK, |floats| {
            f(BlockRegisters {
                floats: floats.chunks_mut(BLOCK).collect(),
                truths: truths.chunks_mut(BLOCK).collect(),
            })
        });
    }

    /// Computes some steps for elements `first..first + len`; `piece` is what the producer wrote there.
    fn block(
        &self,
        steps: &[Instruction],
        views: &Views,
        first: usize,
        len: usize,
        piece: &[f32],
        registers: &mut BlockRegisters,
    ) {
        let BlockRegisters { floats, truths } = registers;
        for step in steps {
            match *step {
                Instruction::Unary(f, a, to) => {
                    let out = std::mem::take(&mut floats[to]);
                    let (a, a_step) = self.read(&a, views, first, len, piece, floats);
                    if a_step == 1 {
                        f.map_f32(a, &mut out[..len]);
                    } else {
                        f.map_f32(a, &mut out[..1]);
                        let value = out[0];
                        out[..len].fill(value);
                    }
                    floats[to] = out;
                }
                Instruction::Binary(f, [a, b], to) => {
                    let out = std::mem::take(&mut floats[to]);
                    let (a, a_step) = self.read(&a, views, first, len, piece, floats);
                    let (b, b_step) = self.read(&b, views, first, len, piece, floats);
                    f.map_f32(a, a_step, b, b_step, &mut out[..len]);
                    floats[to] = out;
                }
                Instruction::Compare(f, [a, b], to) => {
                    let (a, a_step) = self.read(&a, views, first, len, piece, floats);
                    let (b, b_step) = self.read(&b, views, first, len, piece, floats);
                    f.map(a, a_step, b, b_step, &mut truths[to][..len]);
                }
                Instruction::Where(c, [a, b], to) => {
                    let out = std::mem::take(&mut floats[to]);
                    let c = match c {
                        Truths::Register(register) => &truths[register][..len],
                        Truths::Full(i) => &views.masks[i][first..first + len],
                    };
                    let (a, a_step) = self.read(&a, views, first, len, piece, floats);
                    let (b, b_step) = self.read(&b, views, first, len, piece, floats);
                    select(c, a, a_step, b, b_step, &mut out[..len]);
                    floats[to] = out;
                }
            }
        }
    }

    /// A block of a source, and the step from one element to the next: 0 or 1.
    fn read<'a>(
        &'a self,
        source: &'a Floats,
        views: &Views<'a>,
        first: usize,
        len: usize,
        piece: &'a [f32],
        floats: &'a [&mut [f32]],
    ) -> (&'a [f32], usize) {
        match source {
            Floats::Register(register) => (&floats[*register][..len], 1),
            Floats::Piece => (piece, 1),
            Floats::Full(i) => (&views.full[*i][first..first + len], 1),
            Floats::Cycle(i) => {
                let (data, period) = &self.cycles[*i];
                (&data[first % period..][..len], 1)
            }
            Floats::One(value) => (std::slice::from_ref(value), 0),
        }
    }

    /// Computes the one output from what a producer wrote, in its place.
    fn finish(&self, views: &Views, first: usize, piece: &mut [f32]) {
        let Some(&Operand::Floats(Floats::Register(output))) = self.outputs.first() else { return };
        // Steps after the last that reads the piece may write their result right there.
        let reads = self.steps.iter().rposition(Instruction::reads_piece).map_or(0, |last| last + 1);
        let (before, after) = self.steps.split_at(reads);
        let in_place = !after.is_empty() && before.iter().all(|step| step.to() != Some(output));
        self.with_registers(|registers| {
            let mut registers = registers;
            for (i, piece) in piece.chunks_mut(BLOCK).enumerate() {
                let (first, len) = (first + i * BLOCK, piece.len());
                self.block(before, views, first, len, piece, &mut registers);
                if in_place {
                    let register = std::mem::replace(&mut registers.floats[output], piece);
                    self.block(after, views, first, len, &[], &mut registers);
                    registers.floats[output] = register;
                } else {
                    self.block(after, views, first, len, &[], &mut registers);
                    piece.copy_from_slice(&registers.floats[output][..len]);
                }
            }
        });
    }

    /// Copies registers into outputs, from their element `at` on.
    fn store(&self, registers: &BlockRegisters, at: usize, blocks: &mut [OutputBlock]) {
        for (output, block) in self.outputs.iter().zip(blocks) {
            match (output, block) {
                (Operand::Floats(Floats::Register(register)), OutputBlock::Floats(block)) => {
                    let len = BLOCK.min(block.len() - at);
                    block[at..at + len].copy_from_slice(&registers.floats[*register][..len]);
                }
                (Operand::Truths(Truths::Register(register)), OutputBlock::Truths(block)) => {
                    let len = BLOCK.min(block.len() - at);
                    block[at..at + len].copy_from_slice(&registers.truths[*register][..len]);
                }
                _ => {}
            }
        }
    }

    /// Computes all outputs.
    fn run(&self, shape: &Shape) -> Result<Vec<Array>> {
        enum Whole {
            Floats(Vec<f32>),
            Truths(Vec<u8>),
        }
        let n = shape.numel();
        let mut wholes = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            wholes.push(match output {
                Operand::Floats(_) => Whole::Floats(memory::take(n)?),
                Operand::Truths(_) => Whole::Truths(memory::take(n)?),
            });
        }
        let views = self.views()?;
        let mut tasks: Vec<Vec<OutputBlock>> = Vec::new();
        tasks.resize_with(n.div_ceil(TASK), || Vec::with_capacity(self.outputs.len()));
        for whole in &mut wholes {
            match whole {
                Whole::Floats(v) => tasks
                    .iter_mut()
                    .zip(v[..n].chunks_mut(TASK))
                    .for_each(|(t, v)| t.push(OutputBlock::Floats(v))),
                Whole::Truths(v) => tasks
                    .iter_mut()
                    .zip(v[..n].chunks_mut(TASK))
                    .for_each(|(t, v)| t.push(OutputBlock::Truths(v))),
            }
        }
        let task = |(t, blocks): (usize, &mut Vec<OutputBlock>)| {
            self.with_registers(|mut registers| {
                let end = n.min((t + 1) * TASK);
                for first in (t * TASK..end).step_by(BLOCK) {
                    let len = BLOCK.min(end - first);
                    self.block(&self.steps, &views, first, len, &[], &mut registers);
                    self.store(&registers, first - t * TASK, blocks);
                }
            });
        };
        if tasks.len() > 1 {
            tasks.par_iter_mut().enumerate().for_each(task);
        } else {
            tasks.iter_mut().enumerate().for_each(task);
        }
        Ok(wholes
            .into_iter()
            .map(|whole| match whole {
                Whole::Floats(v) => Array::from_pooled(v, *shape),
                Whole::Truths(v) => Array::from_pooled(v, *shape),
            })
            .collect())
    }
}

vectorized! {
/// `out = a` where the condition is not 0, else `b`; steps are 0 or 1.
fn select[](c: &[u8], a: &[f32], a_step: usize, b: &[f32], b_step: usize, out: &mut [f32]) {
    match (a_step, b_step) {
        (1, 1) => {
            for (out, ((&c, &a), &b)) in out.iter_mut().zip(c.iter().zip(a).zip(b)) {
                *out = if c != 0 { a } else { b };
            }
        }
        (1, _) => {
            let b = b[0];
            for (out, (&c, &a)) in out.iter_mut().zip(c.iter().zip(a)) {
                *out = if c != 0 { a } else { b };
            }
        }
        (_, 1) => {
            let a = a[0];
            for (out, (&c, &b)) in out.iter_mut().zip(c.iter().zip(b)) {
                *out = if c != 0 { a } else { b };
            }
        }
        _ => {
            let (a, b) = (a[0], b[0]);
            for (out, &c) in out.iter_mut().zip(c) {
                *out = if c != 0 { a } else { b };
            }
        }
    }
}
}

#[cfg(test)]
mod tests;
