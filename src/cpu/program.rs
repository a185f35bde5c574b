//! The steps of a group of pointwise nodes, run block by block.

use super::array::Array;
use super::kernels::float::Float;
use super::kernels::lines::{Ahead, aligned_mut};
use super::{memory, simd::vectorized};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::Pointwise;
use crate::ops::table::{Binary, Compare, Unary};
use crate::shape::Shape;
use crate::threads::on_threads;
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a block: with a handful of intermediate results it stays in a core's first-level cache.
const BLOCK: usize = 1024;
/// Elements of all arrays of a group from which on they are fetched into the cache ahead of time; fewer are in the cache of all cores anyway.
const FETCHED: usize = 4 << 20;
/// Elements of a task: few enough that threads share the parameters of a small network evenly.
const TASK: usize = 1 << 13;

/// Floats that a step reads.
#[derive(Clone, Copy)]
pub(super) enum Floats {
    /// The result of an earlier step.
    Register(usize),
    /// The block as the producer left it.
    Piece,
    /// An input of the group's shape.
    Full(usize),
    /// An input in whose memory an output is computed.
    Own(usize),
    /// An input that repeats.
    Cycle(usize),
    One(f32),
}

/// Truth values that a step reads: the result of an earlier step, or an input.
#[derive(Clone, Copy)]
pub(super) enum Truths {
    Register(usize),
    Full(usize),
}

#[derive(Clone, Copy)]
pub(super) enum Term {
    Floats(Floats),
    Truths(Truths),
}

/// A function, what it reads, and the register of its result, which is none that it reads.
pub(super) enum Instruction {
    Unary(Unary, Floats, usize),
    Binary(Binary, [Floats; 2], usize),
    Compare(Compare, [Floats; 2], usize),
    Where(Truths, [Floats; 2], usize),
}

impl Instruction {
    pub fn new(op: Pointwise, operands: &[Term], to: usize) -> Option<Instruction> {
        use Term::{Floats, Truths};
        Some(match (op, operands) {
            (Pointwise::Unary(f), &[Floats(a)]) => Instruction::Unary(f, a, to),
            (Pointwise::Binary(f), &[Floats(a), Floats(b)]) => Instruction::Binary(f, [a, b], to),
            (Pointwise::Compare(f), &[Floats(a), Floats(b)]) => Instruction::Compare(f, [a, b], to),
            (Pointwise::Where, &[Truths(c), Floats(a), Floats(b)]) => Instruction::Where(c, [a, b], to),
            _ => return None,
        })
    }

    /// The register of floats that it writes.
    pub fn to(&self) -> Option<usize> {
        match *self {
            Instruction::Unary(_, _, to) | Instruction::Binary(_, _, to) | Instruction::Where(_, _, to) => {
                Some(to)
            }
            Instruction::Compare(..) => None,
        }
    }

    pub fn reads_piece(&self) -> bool {
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
pub(super) struct Program {
    pub steps: Vec<Instruction>,
    /// Numbers of registers.
    pub floats: usize,
    pub truths: usize,
    pub full: Vec<Array>,
    pub masks: Vec<Array>,
    /// One period, and as much of the next ones as a block needs.
    pub cycles: Vec<(Vec<f32>, usize)>,
    /// Arrays that are one input, each at its place, and the register that their block is copied to.
    pub packed: Vec<(Vec<(usize, Array)>, usize)>,
    /// Registers that become outputs.
    pub outputs: Vec<Term>,
}

/// An output of the group, before and while it is computed.
pub(super) enum Output {
    Floats(Vec<f32>),
    Truths(Vec<u8>),
    /// In the memory of this input, which nothing else refers to.
    Own(Array),
}

/// The inputs of a program that have the group's shape.
pub(super) struct Views<'a> {
    pub full: Vec<&'a [f32]>,
    pub masks: Vec<&'a [u8]>,
    packed: Vec<Vec<(usize, &'a [f32])>>,
}

/// The registers of a thread.
struct BlockRegisters<'a> {
    pub floats: Vec<&'a mut [f32]>,
    pub truths: Vec<&'a mut [u8]>,
    /// What is read of inputs in whose memory outputs are computed.
    own: Vec<&'a mut [f32]>,
}

/// The blocks of a piece of an output, one after the other.
enum OutputBlocks<'a> {
    /// The block that comes, and those after it.
    Floats(&'a mut [f32], std::slice::ChunksMut<'a, f32>),
    Truths(std::slice::ChunksMut<'a, u8>),
    /// As floats.
    Own(&'a mut [f32], std::slice::ChunksMut<'a, f32>),
}

impl Program {
    /// An input of the group, broadcast to its shape.
    pub fn operand(&mut self, array: &Array, shape: &Shape) -> Result<Term> {
        if array.dtype() == DType::U8 {
            self.masks.push(array.contiguous()?);
            return Ok(Term::Truths(Truths::Full(self.masks.len() - 1)));
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
        Ok(Term::Floats(if period == 1 {
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

    pub fn views(&self) -> Result<Views<'_>> {
        let full = self.full.iter().map(|a| Ok(&a.raw::<f32>()?[a.offset..]));
        let masks = self.masks.iter().map(|a| Ok(&a.raw::<u8>()?[a.offset..]));
        let packed = self.packed.iter().map(|(parts, _)| {
            parts.iter().map(|(at, array)| Ok((*at, array.slice::<f32>()?))).collect::<Result<Vec<_>>>()
        });
        Ok(Views {
            full: full.collect::<Result<_>>()?,
            masks: masks.collect::<Result<_>>()?,
            packed: packed.collect::<Result<_>>()?,
        })
    }

    /// Lends `f` a thread's registers.
    fn with_registers(&self, f: impl FnOnce(BlockRegisters)) {
        let mut truths = vec![0; self.truths * BLOCK];
        f32::with_scratch(self.floats * BLOCK, |floats| {
            f(BlockRegisters {
                floats: floats.chunks_mut(BLOCK).collect(),
                truths: truths.chunks_mut(BLOCK).collect(),
                own: Vec::new(),
            })
        });
    }

    /// Computes some steps for a block of elements; `piece` is what the producer wrote there.
    fn block(
        &self,
        steps: &[Instruction],
        views: &Views,
        block: Range<usize>,
        piece: &[f32],
        registers: &mut BlockRegisters,
        ahead: &Ahead,
    ) {
        let len = block.len();
        let BlockRegisters { floats, truths, own } = registers;
        let own = own.as_slice();
        for (i, step) in steps.iter().enumerate() {
            ahead.fetch(i, steps.len());
            match *step {
                Instruction::Unary(f, a, to) => {
                    let out = std::mem::take(&mut floats[to]);
                    let (a, a_step) = self.read(&a, views, block.clone(), piece, floats, own);
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
                    let (a, a_step) = self.read(&a, views, block.clone(), piece, floats, own);
                    let (b, b_step) = self.read(&b, views, block.clone(), piece, floats, own);
                    f.map_f32(a, a_step, b, b_step, &mut out[..len]);
                    floats[to] = out;
                }
                Instruction::Compare(f, [a, b], to) => {
                    let (a, a_step) = self.read(&a, views, block.clone(), piece, floats, own);
                    let (b, b_step) = self.read(&b, views, block.clone(), piece, floats, own);
                    f.map(a, a_step, b, b_step, &mut truths[to][..len]);
                }
                Instruction::Where(c, [a, b], to) => {
                    let out = std::mem::take(&mut floats[to]);
                    let c = match c {
                        Truths::Register(register) => &truths[register][..len],
                        Truths::Full(i) => &views.masks[i][block.clone()],
                    };
                    let (a, a_step) = self.read(&a, views, block.clone(), piece, floats, own);
                    let (b, b_step) = self.read(&b, views, block.clone(), piece, floats, own);
                    select(c, a, a_step, b, b_step, &mut out[..len]);
                    floats[to] = out;
                }
            }
        }
    }

    /// Copies a block of what is packed; what lies between the parts is zero.
    fn unpack(&self, views: &Views, block: Range<usize>, registers: &mut BlockRegisters) {
        for ((_, register), parts) in self.packed.iter().zip(&views.packed) {
            let to = &mut registers.floats[*register][..block.len()];
            let mut end = 0;
            let first = parts.partition_point(|(at, part)| at + part.len() <= block.start);
            for (at, part) in parts[first..].iter().take_while(|(at, _)| *at < block.end) {
                let (start, stop) = (block.start.max(*at), block.end.min(at + part.len()));
                to[end..start - block.start].fill(0.0);
                end = stop - block.start;
                to[start - block.start..end].copy_from_slice(&part[start - at..stop - at]);
            }
            to[end..].fill(0.0);
        }
    }

    /// A block of a source, and the step from one element to the next: 0 or 1.
    fn read<'a>(
        &'a self,
        source: &'a Floats,
        views: &Views<'a>,
        block: Range<usize>,
        piece: &'a [f32],
        floats: &'a [&mut [f32]],
        own: &'a [&mut [f32]],
    ) -> (&'a [f32], usize) {
        match source {
            Floats::Register(register) => (&floats[*register][..block.len()], 1),
            Floats::Piece => (piece, 1),
            Floats::Own(i) => (&own[*i][..block.len()], 1),
            Floats::Full(i) => (&views.full[*i][block], 1),
            Floats::Cycle(i) => {
                let (data, period) = &self.cycles[*i];
                (&data[block.start % period..][..block.len()], 1)
            }
            Floats::One(value) => (std::slice::from_ref(value), 0),
        }
    }

    /// Computes the one output from what a producer wrote, in its place.
    pub fn finish(&self, views: &Views, first: usize, piece: &mut [f32]) {
        let Some(&Term::Floats(Floats::Register(output))) = self.outputs.first() else { return };
        // Steps after the last that reads the piece may write their result right there.
        let reads = self.steps.iter().rposition(Instruction::reads_piece).map_or(0, |last| last + 1);
        let (before, after) = self.steps.split_at(reads);
        let fetched = views.full.iter().map(|full| full.len()).sum::<usize>() >= FETCHED;
        let in_place = !after.is_empty() && before.iter().all(|step| step.to() != Some(output));
        self.with_registers(|registers| {
            let mut registers = registers;
            for (i, piece) in piece.chunks_mut(BLOCK).enumerate() {
                let first = first + i * BLOCK;
                let block = first..first + piece.len();
                let ahead = Ahead::new(fetched, Self::ahead(views, block.end));
                let nothing = Ahead::default();
                let (now, then) = if before.is_empty() { (&nothing, &ahead) } else { (&ahead, &nothing) };
                self.block(before, views, block.clone(), piece, &mut registers, now);
                if in_place {
                    let register = std::mem::replace(&mut registers.floats[output], piece);
                    self.block(after, views, block.clone(), &[], &mut registers, then);
                    registers.floats[output] = register;
                } else {
                    self.block(after, views, block.clone(), &[], &mut registers, then);
                    piece.copy_from_slice(&registers.floats[output][..piece.len()]);
                }
            }
        });
    }

    /// What the next block reads of the inputs.
    fn ahead<'a>(views: &Views<'a>, first: usize) -> impl Iterator<Item = &'a [f32]> {
        let full = views.full.iter().map(move |full| {
            let end = full.len().min(first + BLOCK);
            &full[first.min(end)..end]
        });
        // Mostly a block lies in one part.
        let packed = views.packed.iter().filter_map(move |parts| {
            let (at, part) = parts.get(parts.partition_point(|(at, part)| at + part.len() <= first))?;
            let from = first.saturating_sub(*at);
            Some(&part[from..part.len().min(from + BLOCK)])
        });
        full.chain(packed)
    }

    /// Makes the next blocks of outputs the registers that become them, and the inputs that they overwrite.
    fn write_to<'a, 'b: 'a>(&self, registers: &mut BlockRegisters<'a>, blocks: &mut [OutputBlocks<'b>]) {
        registers.own.clear();
        for (output, blocks) in self.outputs.iter().zip(blocks) {
            match (output, blocks) {
                (Term::Floats(Floats::Register(register)), OutputBlocks::Floats(block, blocks)) => {
                    let next = blocks.next().unwrap_or_default();
                    registers.floats[*register] = std::mem::replace(block, next);
                }
                (Term::Truths(Truths::Register(register)), OutputBlocks::Truths(blocks)) => {
                    registers.truths[*register] = blocks.next().unwrap_or_default();
                }
                (_, OutputBlocks::Own(block, blocks)) => {
                    let next = blocks.next().unwrap_or_default();
                    registers.own.push(std::mem::replace(block, next));
                }
                _ => {}
            }
        }
    }

    /// Overwrites inputs, after the last step that reads them.
    fn overwrite(&self, registers: &mut BlockRegisters<'_>) {
        let BlockRegisters { floats, own, .. } = registers;
        for (own, output) in own.iter_mut().zip(&self.outputs) {
            if let Term::Floats(Floats::Register(register)) = output {
                own.copy_from_slice(&floats[*register][..own.len()]);
            }
        }
    }

    /// Memory for the outputs: the first are computed in that of inputs, which are given.
    pub fn room(&self, own: Vec<Array>, shape: &Shape) -> Result<Vec<Output>> {
        let n = shape.numel();
        let others = self.outputs.iter().skip(own.len()).map(|output| {
            Ok(match output {
                Term::Floats(_) => Output::Floats(memory::take(n)?),
                Term::Truths(_) => Output::Truths(memory::take(n)?),
            })
        });
        let others = others.collect::<Result<Vec<_>>>()?;
        Ok(own.into_iter().map(Output::Own).chain(others).collect())
    }

    /// Computes all outputs.
    pub fn run(&self, shape: &Shape, mut outputs: Vec<Output>) -> Result<Vec<Array>> {
        let n = shape.numel();
        let views = self.views()?;
        let mut tasks: Vec<Vec<OutputBlocks>> = Vec::new();
        tasks.resize_with(n.div_ceil(TASK), || Vec::with_capacity(self.outputs.len()));
        for output in &mut outputs {
            let tasks = tasks.iter_mut();
            match output {
                Output::Floats(v) => {
                    tasks.zip(aligned_mut(v, n).chunks_mut(TASK)).for_each(|(t, v)| {
                        let mut blocks = v.chunks_mut(BLOCK);
                        t.push(OutputBlocks::Floats(blocks.next().unwrap_or_default(), blocks));
                    });
                }
                Output::Truths(v) => {
                    tasks
                        .zip(aligned_mut(v, n).chunks_mut(TASK))
                        .for_each(|(t, v)| t.push(OutputBlocks::Truths(v.chunks_mut(BLOCK))));
                }
                Output::Own(array) => {
                    let v = array
                        .sole_slice()
                        .ok_or_else(|| Error::internal("somebody reads what is overwritten"))?;
                    tasks.zip(v.chunks_mut(TASK)).for_each(|(t, v)| {
                        let mut blocks = v.chunks_mut(BLOCK);
                        t.push(OutputBlocks::Own(blocks.next().unwrap_or_default(), blocks));
                    });
                }
            }
        }
        let arrays = views.full.len() + views.packed.len() + self.outputs.len();
        let fetched = n * arrays >= FETCHED;
        let task = |(t, mut blocks): (usize, Vec<OutputBlocks>)| {
            self.with_registers(|registers| {
                let mut registers = registers;
                let end = n.min((t + 1) * TASK);
                for first in (t * TASK..end).step_by(BLOCK) {
                    let block = first..end.min(first + BLOCK);
                    self.write_to(&mut registers, &mut blocks);
                    self.unpack(&views, block.clone(), &mut registers);
                    let written = blocks.iter().filter_map(|blocks| match blocks {
                        OutputBlocks::Floats(next, _) | OutputBlocks::Own(next, _) => Some(&**next),
                        OutputBlocks::Truths(_) => None,
                    });
                    let ahead = Ahead::new(fetched, Self::ahead(&views, block.end).chain(written));
                    self.block(&self.steps, &views, block.clone(), &[], &mut registers, &ahead);
                    self.overwrite(&mut registers);
                }
            });
        };
        if tasks.len() > 1 {
            let mut tasks = tasks;
            on_threads(&mut || std::mem::take(&mut tasks).into_par_iter().enumerate().for_each(task));
        } else {
            tasks.into_iter().enumerate().for_each(task);
        }
        Ok(outputs
            .into_iter()
            .map(|output| match output {
                Output::Floats(v) => Array::from_pooled(v, *shape),
                Output::Truths(v) => Array::from_pooled(v, *shape),
                Output::Own(array) => array,
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
