//! Pointwise nodes that are computed together, block by block, while a block is in the cache.
//!
//! A group is a set of pointwise nodes of one shape. Each block of it goes through all of them, by the same loops that they
//! have alone, so not a bit differs. If the group continues a kernel that writes its output in pieces (a convolution, the
//! gradient of max-pooling), it is computed on each piece right after the kernel wrote it. Groups are found in f32 graphs
//! only: f64, which gradients are checked in, runs node by node.

use super::array::Array;
use super::program::{Floats, Instruction, Program, Term, Truths};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::{Lowering, Pointwise, View};
use crate::shape::{Shape, Spec};
use crate::tensor::{Entry, Pending, Value};
use std::sync::Arc;

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
    /// Inputs that are packed from others as the group reads them: the input, and what packs it, which may be reshaped to be it.
    packed: Vec<(usize, usize)>,
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

/// What a node is.
fn lowering(entries: &[Entry], at: usize) -> Lowering<'_> {
    let Entry { tensor, inputs, .. } = &entries[at];
    let specs: Vec<Spec> = inputs.iter().map(|&i| entries[i as usize].tensor.0.spec).collect();
    tensor.0.op.gpu(&specs, &tensor.0.spec)
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
        let mut group = Group { members, producer: None, packed: Vec::new(), shape };
        group.producer = group.find_producer(entries, uses, &roles);
        if group.producer.is_none()
            && let Some(shorter) = group.before_masks(entries, uses, &roles)
        {
            group = shorter;
        }
        if group.members.len() == 1 && group.producer.is_none() {
            continue;
        }
        if group.producer.is_none() {
            group.packed = group.find_packed(entries, uses, &roles);
        }
        for i in group.nodes() {
            roles[i] = Role::Deferred;
        }
        roles[group.last()] = Role::Last(groups.len());
        groups.push(group);
    }
    (roles, groups)
}

impl Group {
    fn last(&self) -> usize {
        self.members[self.members.len() - 1]
    }

    /// What members read, each once, members among it.
    fn inputs(&self, entries: &[Entry]) -> Vec<usize> {
        let mut inputs: Vec<usize> =
            self.members.iter().flat_map(|&m| &entries[m].inputs).map(|&i| i as usize).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
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

    /// Inputs that nothing else uses, of packed arrays: to read these takes less than to copy them first.
    fn find_packed(&self, entries: &[Entry], uses: &[u32], roles: &[Role]) -> Vec<(usize, usize)> {
        let own = |i: usize| roles[i] == Role::Alone && !entries[i].ready && !entries[i].keep;
        let packed = self.inputs(entries).into_iter().filter_map(|input| {
            let spec = &entries[input].tensor.0.spec;
            let whole = spec.shape.numel() == self.shape.numel() && spec.dtype == DType::F32;
            if !whole
                || !own(input)
                || self.members.contains(&input)
                || uses[input] != self.uses_of(entries, input)
            {
                return None;
            }
            match lowering(entries, input) {
                Lowering::Pack { .. } => Some((input, input)),
                Lowering::View(View::Reshape) => {
                    let source = *entries[input].inputs.first()? as usize;
                    let packs = own(source) && matches!(lowering(entries, source), Lowering::Pack { .. });
                    (packs && uses[source] == 1).then_some((input, source))
                }
                _ => None,
            }
        });
        packed.collect()
    }

    /// The group up to its first mask that only others use, if that much continues a kernel. The mask of a ReLU then goes to
    /// the group that uses it: to compare again costs less than to write the mask and read it, and far less than to write
    /// and read the kernel's output once more.
    fn before_masks(&self, entries: &[Entry], uses: &[u32], roles: &[Role]) -> Option<Group> {
        let mask = |&m: &usize| entries[m].tensor.0.spec.dtype == DType::U8 && self.uses_of(entries, m) == 0;
        let end = self.members.iter().position(mask).filter(|&end| end > 0)?;
        let mut shorter = Group {
            members: self.members[..end].to_vec(),
            producer: None,
            packed: Vec::new(),
            shape: self.shape,
        };
        shorter.producer = shorter.find_producer(entries, uses, roles);
        shorter.producer.is_some().then_some(shorter)
    }

    /// All nodes that are computed with it, inputs before users.
    pub fn nodes(&self) -> Vec<usize> {
        let packed = self.packed.iter().flat_map(|&(input, pack)| {
            let reshaped = (input != pack).then_some(input);
            std::iter::once(pack).chain(reshaped)
        });
        packed.chain(self.producer).chain(self.members.iter().copied()).collect()
    }

    /// Inputs in whose memory outputs may be computed, and the outputs, of which the first are the inputs' in this order.
    ///
    /// An input's memory is free if it has a value from before this graph, which nobody reads but members of the group, and they let go of
    /// it: nobody asks for gradients, and each result has somebody who holds it, or is read by members alone. Both moments of Adam are such
    /// inputs. What they are overwritten by comes into the cache with them; an array of its own would have to be fetched as well.
    fn overwritten(&self, entries: &[Entry], uses: &[u32]) -> (Vec<usize>, Vec<usize>) {
        let mut outputs: Vec<usize> = self.members.clone();
        outputs.retain(|&m| self.is_output(entries, uses, m));
        let forgets = |&m: &usize| {
            let Entry { tensor, keep, .. } = &entries[m];
            !tensor.0.tracked && (*keep || !outputs.contains(&m))
        };
        if self.producer.is_some() || !self.members.iter().all(forgets) {
            return (Vec::new(), outputs);
        }
        let mut inputs = self.inputs(entries);
        inputs.retain(|&i| {
            let Entry { tensor, ready, .. } = &entries[i];
            let spec = &tensor.0.spec;
            *ready
                && spec.dtype == DType::F32
                && spec.shape == self.shape
                && uses[i] == self.uses_of(entries, i)
                // This list has a handle, and each node that reads it.
                && Arc::strong_count(&tensor.0) == 1 + uses[i] as usize
                // Its node has the value, and who computes this graph.
                && tensor.0.with_value(|value| {
                    matches!(value, Some(Value::Cpu(array)) if array.is_contiguous() && array.handles() == 2)
                })
        });
        // Floats first, for they are what is overwritten.
        outputs.sort_by_key(|&m| entries[m].tensor.0.spec.dtype != DType::F32);
        let floats = outputs.iter().filter(|&&m| entries[m].tensor.0.spec.dtype == DType::F32).count();
        inputs.truncate(floats);
        (inputs, outputs)
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
        let (overwritten, outputs) = self.overwritten(entries, uses);
        let mut own = vec![None; overwritten.len()];
        let mut program = Program::default();
        for &(_, pack) in &self.packed {
            let Lowering::Pack { offsets } = lowering(entries, pack) else {
                return Err(Error::internal("what packs a group's input is something else"));
            };
            let part = |(&i, &at): (&u32, &usize)| {
                let array = take(i as usize).ok_or_else(|| Error::internal("a packed array is missing"))?;
                Ok((at, array.contiguous()?))
            };
            let parts = entries[pack].inputs.iter().zip(offsets).map(part).collect::<Result<_>>()?;
            program.packed.push((parts, program.floats));
            program.floats += 1;
        }
        // Where each member's result is, as long as somebody reads it.
        let mut results: Vec<Option<Term>> = vec![None; self.members.len()];
        let (mut free_floats, mut free_truths) = (Vec::new(), Vec::new());
        for (at, &member) in self.members.iter().enumerate() {
            let entry = &entries[member];
            let Some(op) = entry.tensor.0.op.pointwise() else { continue };
            let mut operands = Vec::with_capacity(entry.inputs.len());
            for &input in &entry.inputs {
                let input = input as usize;
                if let Some(place) = self.members.iter().position(|&m| m == input) {
                    operands.extend(results[place]);
                } else if let Some(i) = self.packed.iter().position(|&(packed, _)| packed == input) {
                    operands.push(Term::Floats(Floats::Register(program.packed[i].1)));
                } else if self.producer == Some(input) {
                    operands.push(Term::Floats(Floats::Piece));
                } else if let Some(i) = overwritten.iter().position(|&own| own == input) {
                    own[i] = take(input);
                    operands.push(Term::Floats(Floats::Own(i)));
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
                true => Term::Truths(Truths::Register(to)),
                false => Term::Floats(Floats::Register(to)),
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
                        Some(Term::Floats(Floats::Register(register))) => free_floats.push(register),
                        Some(Term::Truths(Truths::Register(register))) => free_truths.push(register),
                        _ => {}
                    }
                }
            }
        }
        let place = |m: &usize| self.members.iter().position(|member| member == m);
        program.outputs = outputs.iter().filter_map(|m| results[place(m)?]).collect();
        let arrays = match self.producer {
            None => {
                let room = program.room(own.into_iter().flatten().collect(), &self.shape)?;
                // From here on nothing can fail, or a value that is needed would be lost.
                overwritten.iter().for_each(|&i| entries[i].tensor.0.forget_value());
                program.run(&self.shape, room)?
            }
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
        Ok(outputs.into_iter().zip(arrays).collect())
    }
}

#[cfg(test)]
mod tests;
