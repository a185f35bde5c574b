//! Loops, made ready to be computed: what is the same in every turn is computed once, what is handed on is taken apart, and the rows of a batch
//! go their ways apart, where no row needs another.
//!
//! Threads that share each kernel of a turn wait for each other several times in it; for a recurrent layer that was most of the time. Those that
//! have some rows of the batch each meet at the end of the loop.

use super::array::Array;
use super::element::Element;
use super::kernels::PARALLEL_WORK;
use super::kernels::float::Float;
use super::kernels::gemm::{Matrix, PackedRight};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::{Lowering, View};
use crate::shape::{Shape, Spec};
use crate::tensor::{Entry, Leaf, Loop, Looped, Operation, Pending, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a batch that a thread takes: fewer, and products with weights wait for the weights.
const ROWS: usize = 16;
/// Of one thread, about, for what a turn is worth.
const FLOPS_PER_NANOSECOND: usize = 100;

/// Where a leaf's value is from.
pub(super) enum Source {
    /// The same in every turn: of this array all, or the rows at hand.
    Constant { array: Array, by_rows: bool },
    /// Row t of an input, which begins at `offset + t * stride`: all of it, or the rows at hand.
    Row { input: usize, offset: usize, stride: usize, by_rows: bool },
    /// A part of what the turn before handed on.
    Carried(usize),
}

/// A part of what a turn hands on to the next.
pub(super) struct Field {
    /// What the first turn is given.
    pub first: Array,
    /// The position in the graph of what is handed on.
    pub next: usize,
    /// Where the last one goes in the operation's output, if it does.
    pub kept: Option<usize>,
}

/// A part of a result of every turn: that of row t is in the operation's output from `offset + t * stride` on.
pub(super) struct Column {
    pub result: usize,
    pub offset: usize,
    pub stride: usize,
}

/// A product with a right side that is the same in every turn: from its left side to an output, by all threads or one.
pub(super) type Prepared = Arc<dyn Fn(&Array, &Spec, bool) -> Result<Array> + Send + Sync>;

/// A loop as it is computed.
pub(super) struct Turns {
    /// What is computed in a turn, for all rows of the batch or for as many as a thread takes.
    pub graph: Pending,
    /// Of the graph's leaves.
    pub sources: Vec<Option<Source>>,
    pub prepared: Vec<Option<Prepared>>,
    pub fields: Vec<Field>,
    pub columns: Vec<Column>,
}

/// A node while a loop is taken apart.
struct Part {
    tensor: Tensor,
    inputs: Vec<usize>,
    source: Option<Source>,
    spec: Spec,
    in_place: bool,
}

impl Part {
    fn op(&self) -> &dyn Operation {
        &*self.tensor.0.op
    }
}

/// Whether a node computes each row of its output from the same row of some inputs, and of the others from all: which inputs those are. Given
/// fewer rows of them it gives fewer rows, the same ones.
fn by_rows(op: &dyn Operation, inputs: &[Spec], out: &Spec) -> Option<Vec<bool>> {
    let shape = &out.shape;
    let rows = *shape.first()?;
    let has_rows = |spec: &Spec| spec.shape.rank() == shape.rank() && spec.shape[0] == rows;
    let repeats = |spec: &Spec| spec.shape.broadcasts_to(shape) && !has_rows(spec);
    let broadcast =
        || inputs.iter().all(|i| has_rows(i) || repeats(i)).then(|| inputs.iter().map(has_rows).collect());
    if op.pointwise().is_some() {
        return broadcast();
    }
    let begins = |spec: &Spec| spec.shape.first() == Some(&rows);
    let only = inputs.first()?;
    let whole = match op.gpu(inputs, out) {
        Lowering::View(View::Broadcast) => return broadcast(),
        Lowering::View(View::Reshape) => begins(only),
        Lowering::View(View::Permute(axes)) => axes[0] == 0,
        Lowering::View(View::Slice { start, step }) => begins(only) && start[0] == 0 && step[0] == 1,
        Lowering::Concat { axis } | Lowering::Assemble { axis } => axis != 0,
        Lowering::Pad { before, .. } => begins(only) && before[0] == 0,
        Lowering::Reduce { axes, .. } => begins(only) && !axes[0],
        Lowering::Matmul => {
            let [a, b] = inputs else { return None };
            if shape.rank() == 2 {
                return (a.shape.rank() == 2 && b.shape.rank() == 2).then(|| vec![true, false]);
            }
            let leading = |spec: &Spec| spec.shape.rank() < shape.rank() || spec.shape[0] == 1;
            let fits = [a, b].iter().all(|spec| has_rows(spec) || leading(spec));
            return fits.then(|| inputs.iter().map(has_rows).collect());
        }
        _ => false,
    };
    whole.then(|| vec![true; inputs.len()])
}

/// A loop taken apart.
struct Parts {
    parts: Vec<Part>,
    fields: Vec<Field>,
    columns: Vec<Column>,
}

impl Parts {
    fn specs(&self, part: &Part) -> Vec<Spec> {
        part.inputs.iter().map(|&i| self.parts[i].spec).collect()
    }

    /// What a node is; nothing, where it is a leaf.
    fn lowering<'p>(&self, part: &'p Part) -> Option<Lowering<'p>> {
        part.source.is_none().then(|| part.op().gpu(&self.specs(part), &part.spec))
    }

    /// What a node packs into one vector, and where.
    fn packed(&self, at: usize) -> Option<Vec<(usize, usize)>> {
        let part = &self.parts[at];
        match self.lowering(part)? {
            Lowering::Pack { offsets } => {
                Some(part.inputs.iter().copied().zip(offsets.iter().copied()).collect())
            }
            _ => None,
        }
    }

    fn new(looped: &Loop, inputs: &[Array]) -> Result<Parts> {
        let Loop { graph, leaves, carries, rows, .. } = looped;
        let input = |i: usize| inputs.get(i).ok_or_else(|| Error::internal("a loop has no such input"));
        let mut this = Parts { parts: Vec::new(), fields: Vec::new(), columns: Vec::new() };
        for (at, entry) in graph.entries.iter().enumerate() {
            let spec = entry.tensor.0.spec;
            let source = match leaves.get(at) {
                None => None,
                Some(&Leaf::Whole { input: i }) => {
                    Some(Source::Constant { array: input(i)?.clone(), by_rows: false })
                }
                Some(&Leaf::Row { input, offset, stride }) => {
                    Some(Source::Row { input, offset, stride, by_rows: false })
                }
                // Until its fields are known.
                Some(&Leaf::Carried(carry)) => Some(Source::Carried(carry)),
            };
            let inputs = entry.inputs.iter().map(|&i| i as usize).collect();
            let (tensor, in_place) = (entry.tensor.clone(), entry.in_place);
            this.parts.push(Part { tensor, inputs, source, spec, in_place });
        }
        for rows in rows {
            let stride = this.parts[rows.result].spec.shape.numel();
            let packed = this.packed(rows.result).unwrap_or_else(|| vec![(rows.result, 0)]);
            let column = |(result, at)| Column { result, offset: rows.offset + at, stride };
            this.columns.extend(packed.into_iter().map(column));
        }
        for (number, carry) in carries.iter().enumerate() {
            let carried = |leaf: &Leaf| matches!(leaf, Leaf::Carried(c) if *c == number);
            let places: Vec<usize> = (0..leaves.len()).filter(|&at| carried(&leaves[at])).collect();
            this.take_apart(&places, input(carry.input)?, carry.next, carry.kept);
        }
        Ok(this)
    }

    /// Finds the fields of what is handed on: what is packed at the end of a turn and cut out of the leaves at the beginning of the next, or
    /// all of it.
    fn take_apart(&mut self, leaves: &[usize], first: &Array, next: usize, kept: bool) {
        let results = self.packed(next);
        let cuts = results.as_ref().and_then(|results| self.cuts(leaves, results));
        let results = results.filter(|_| cuts.is_some()).unwrap_or_else(|| vec![(next, 0)]);
        let base = self.fields.len();
        for (at, field) in cuts.unwrap_or_else(|| leaves.iter().map(|&at| (at, 0)).collect()) {
            let part = &mut self.parts[at];
            (part.source, part.inputs) = (Some(Source::Carried(base + field)), Vec::new());
        }
        for (next, at) in results {
            let shape = self.parts[next].spec.shape;
            let first = first.with_layout(shape, shape.strides().map(|s| s as isize), first.offset + at);
            self.fields.push(Field { first, next, kept: kept.then_some(at) });
        }
    }

    /// The nodes that are fields of some leaves, each with the number of its field: nothing else may use the leaves.
    fn cuts(&self, leaves: &[usize], results: &[(usize, usize)]) -> Option<Vec<(usize, usize)>> {
        let mut cuts = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            if !part.inputs.iter().any(|i| leaves.contains(i)) {
                continue;
            }
            let len = part.spec.shape.numel();
            let start = match self.lowering(part)? {
                Lowering::View(View::Slice { start: &[start], step: &[1] }) => start,
                Lowering::View(View::Reshape) => 0,
                _ => return None,
            };
            let field =
                results.iter().position(|&(r, at)| at == start && self.parts[r].spec.shape.numel() == len)?;
            cuts.push((at, field));
            // Reshaped as it was before it was packed.
            let shape = self.parts[results[field].0].spec.shape;
            let reshaped = |part: &Part| {
                part.inputs.contains(&at)
                    && part.spec.shape == shape
                    && matches!(self.lowering(part), Some(Lowering::View(View::Reshape)))
            };
            cuts.extend(
                (0..self.parts.len()).filter(|&user| reshaped(&self.parts[user])).map(|user| (user, field)),
            );
        }
        let results_of =
            |at: &usize| self.columns.iter().any(|c| c.result == *at) || results.iter().any(|r| r.0 == *at);
        (!leaves.iter().any(results_of)).then_some(cuts)
    }

    /// Computes what is the same in every turn.
    fn hoist(&mut self) -> Result<()> {
        for at in 0..self.parts.len() {
            let part = &self.parts[at];
            if part.source.is_some() || Looped::of(part.op()).is_some() {
                continue;
            }
            let constant = |&i: &usize| match &self.parts[i].source {
                Some(Source::Constant { array, .. }) => Some(array.clone()),
                _ => None,
            };
            if let Some(inputs) = part.inputs.iter().map(constant).collect::<Option<Vec<_>>>() {
                let array = part.op().cpu(&inputs, &part.spec)?;
                let part = &mut self.parts[at];
                part.source = Some(Source::Constant { array, by_rows: false });
                part.inputs = Vec::new();
            }
        }
        Ok(())
    }

    fn results(&self) -> impl Iterator<Item = usize> + '_ {
        self.fields.iter().map(|f| f.next).chain(self.columns.iter().map(|c| c.result))
    }

    /// Which nodes are needed, and of which of those a row of a batch needs its own row alone: all results, if the batch can be cut.
    fn by_rows(&self, batch: Option<usize>) -> Option<Vec<Option<bool>>> {
        let mut needs = vec![None; self.parts.len()];
        let need = |needs: &mut Vec<Option<bool>>, at: usize, rows: bool| {
            let differs = needs[at].is_some_and(|before| before != rows);
            needs[at] = Some(rows);
            (!differs).then_some(())
        };
        for at in self.results() {
            need(&mut needs, at, batch.is_some())?;
        }
        for at in (0..self.parts.len()).rev() {
            let Some(rows) = needs[at] else { continue };
            let part = &self.parts[at];
            if rows && part.spec.shape.first() != batch.as_ref() {
                return None;
            }
            let inputs = match part.source {
                // Each of those who have some rows has its own.
                Some(Source::Carried(_)) if batch.is_some() && !rows => return None,
                Some(_) => continue,
                None if rows => by_rows(part.op(), &self.specs(part), &part.spec)?,
                None => vec![false; part.inputs.len()],
            };
            for (&input, rows) in part.inputs.iter().zip(inputs) {
                need(&mut needs, input, rows)?;
            }
        }
        Some(needs)
    }

    /// About how many nanoseconds one thread needs for a turn.
    fn work(&self) -> usize {
        let work = self.parts.iter().filter(|part| part.source.is_none()).map(|part| {
            let flops = part.op().flops(&self.specs(part), &part.spec) as usize;
            part.spec.shape.numel() + flops / FLOPS_PER_NANOSECOND
        });
        work.sum()
    }

    /// The rows of the batch, if all that is handed on has so many, and those of a part: a matter of sizes alone, so that results don't depend on
    /// the number of threads.
    fn cut(&self) -> Option<(usize, usize)> {
        let mut batches = self.fields.iter().map(|f| self.parts[f.next].spec.shape.first());
        let batch = *batches.next()??;
        let parts = (batch + ROWS / 2) / ROWS;
        let same = batches.all(|b| b == Some(&batch));
        (same && parts > 1 && self.work() >= PARALLEL_WORK / 2).then(|| (batch, batch.div_ceil(parts)))
    }

    /// The products with a constant right side, these packed, if it is for more than one turn.
    fn prepared(&self, needs: &[Option<bool>], turns: usize) -> Result<Vec<Option<Prepared>>> {
        let prepared = self.parts.iter().zip(needs).map(|(part, need)| {
            let [_, right] = part.inputs[..] else { return Ok(None) };
            if turns < 2 {
                return Ok(None);
            }
            let (Some(Source::Constant { array, .. }), Some(_), Some(false)) =
                (&self.parts[right].source, need, needs[right])
            else {
                return Ok(None);
            };
            let matrices = self.specs(part).iter().all(|spec| spec.shape.rank() == 2);
            match self.lowering(part) {
                Some(Lowering::Matmul) if matrices => matmul_by(array),
                _ => Ok(None),
            }
        });
        prepared.collect()
    }

    /// What is computed in a turn, of so many rows of the batch or of all.
    fn turns(
        &self,
        needs: &[Option<bool>],
        rows: Option<usize>,
        prepared: &[Option<Prepared>],
    ) -> Result<Turns> {
        // Where the nodes that are needed are in the new graph.
        let mut places = vec![0; self.parts.len()];
        let (mut entries, mut sources, mut products) = (Vec::new(), Vec::new(), Vec::new());
        for (at, part) in self.parts.iter().enumerate() {
            let Some(by_rows) = needs[at] else { continue };
            places[at] = entries.len();
            let tensor = match rows.filter(|_| by_rows) {
                None => part.tensor.clone(),
                Some(rows) => {
                    let mut dims = part.spec.shape.to_vec();
                    dims[0] = rows;
                    let spec = Spec::new(Shape::from_dims(&dims), part.spec.dtype);
                    Tensor::build(part.tensor.0.op.clone(), Vec::new(), spec, Device::Cpu, false, None)?
                }
            };
            let inputs = part.inputs.iter().map(|&i| places[i] as u32).collect();
            let ready = part.source.is_some();
            entries.push(Entry { tensor, inputs, ready, keep: false, in_place: part.in_place });
            sources.push(part.source.as_ref().map(|source| source.by_rows(rows.is_some() && by_rows)));
            products.push(prepared[at].clone());
        }
        let field = |f: &Field| Field { next: places[f.next], first: f.first.clone(), ..*f };
        let column = |c: &Column| Column { result: places[c.result], ..*c };
        Ok(Turns {
            graph: Pending { entries },
            sources,
            prepared: products,
            fields: self.fields.iter().map(field).collect(),
            columns: self.columns.iter().map(column).collect(),
        })
    }
}

/// The product with a matrix, packed once.
fn matmul_by(right: &Array) -> Result<Option<Prepared>> {
    fn of<T: Float + Element>(right: &Array) -> Result<Option<Prepared>> {
        let [k, n] = [right.shape[0], right.shape[1]];
        // What runs backwards is left to who copies it.
        let strides: [Result<usize, _>; 2] = [0, 1].map(|d| right.strides[d].try_into());
        let [Ok(down), Ok(across)] = strides else { return Ok(None) };
        let matrix = Matrix { data: &right.raw::<T>()?[right.offset..], strides: [down, across] };
        let Some(packed) = PackedRight::new(matrix, [k, n]) else { return Ok(None) };
        let multiply = move |left: &Array, out: &Spec, parallel: bool| {
            let left = left.contiguous()?;
            Array::build::<T>(out.shape, |c| {
                packed.multiply(left.slice::<T>()?, c, parallel);
                Ok(())
            })
        };
        Ok(Some(Arc::new(multiply)))
    }
    match right.dtype() {
        DType::F32 => of::<f32>(right),
        DType::F64 => of::<f64>(right),
        _ => Ok(None),
    }
}

impl Source {
    /// The same for who has some rows of the batch.
    fn by_rows(&self, by_rows: bool) -> Source {
        match self {
            Source::Constant { array, .. } => Source::Constant { array: array.clone(), by_rows },
            &Source::Row { input, offset, stride, .. } => Source::Row { input, offset, stride, by_rows },
            &Source::Carried(field) => Source::Carried(field),
        }
    }
}

/// A loop as it is computed: parts of the batch one beside the other, each by a graph for as many rows.
pub(super) struct Plan {
    /// For one number of rows, or two where the last part has fewer.
    pub turns: Vec<Turns>,
    /// The rows of each part and its graph; of the only one, if the batch is not cut.
    pub parts: Vec<(Range<usize>, usize)>,
}

pub(super) fn plan(looped: &Loop, inputs: &[Array]) -> Result<Plan> {
    let mut loose = Parts::new(looped, inputs)?;
    loose.hoist()?;
    if let Some((batch, rows)) = loose.cut()
        && let Some(needs) = loose.by_rows(Some(batch))
    {
        let prepared = loose.prepared(&needs, looped.turns)?;
        let starts = (0..batch).step_by(rows);
        let parts: Vec<_> =
            starts.map(|from| (from..batch.min(from + rows), usize::from(from + rows > batch))).collect();
        let mut turns = vec![loose.turns(&needs, Some(rows), &prepared)?];
        if !batch.is_multiple_of(rows) {
            turns.push(loose.turns(&needs, Some(batch % rows), &prepared)?);
        }
        return Ok(Plan { turns, parts });
    }
    let needs = loose.by_rows(None).ok_or_else(|| Error::internal("a loop computes nothing"))?;
    let turns = vec![loose.turns(&needs, None, &loose.prepared(&needs, looped.turns)?)?];
    Ok(Plan { turns, parts: vec![(0..1, 0)] })
}

impl Turns {
    /// The positions of all results.
    pub fn results(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|c| c.result).chain(self.fields.iter().map(|f| f.next))
    }

    /// The elements of a result, for the rows at hand.
    fn len(&self, result: usize) -> usize {
        self.graph.entries[result].tensor.0.spec.shape.numel()
    }
}

/// Cuts a loop's output into the places of what each part of the batch keeps, in the order in which it is computed: the columns of each turn, and at
/// the end what is handed on. Between them is nothing that anybody reads.
pub(super) fn places<'a, T: Element>(
    looped: &Loop,
    turns: &[Turns],
    parts: &[(Range<usize>, usize)],
    out: &'a mut [T],
) -> Result<Vec<Vec<&'a mut [T]>>> {
    let mut ranges = Vec::new();
    for (number, (rows, graph)) in parts.iter().enumerate() {
        let turns = &turns[*graph];
        let begin = |result: usize| rows.start * (turns.len(result) / rows.len());
        for turn in 0..looped.turns {
            for column in &turns.columns {
                let start = column.offset + looped.row(turn) * column.stride + begin(column.result);
                ranges.push((start, turns.len(column.result), number, ranges.len()));
            }
        }
        for (field, at) in turns.fields.iter().filter_map(|f| Some((f, f.kept?))) {
            ranges.push((at + begin(field.next), turns.len(field.next), number, ranges.len()));
        }
    }
    ranges.sort_unstable_by_key(|range| (range.0, range.1));
    let mut places: Vec<Vec<(usize, &mut [T])>> = parts.iter().map(|_| Vec::new()).collect();
    let (mut rest, mut end) = (out, 0);
    for (start, len, part, order) in ranges {
        let overlap = || Error::internal("results of a loop overlap");
        let gap = start.checked_sub(end).ok_or_else(overlap)?;
        let (between, later) = rest.split_at_mut_checked(gap).ok_or_else(overlap)?;
        let (place, later) = later.split_at_mut_checked(len).ok_or_else(overlap)?;
        between.fill(T::default());
        places[part].push((order, place));
        (rest, end) = (later, start + len);
    }
    rest.fill(T::default());
    let in_order = |mut places: Vec<(usize, &'a mut [T])>| {
        places.sort_unstable_by_key(|p| p.0);
        places.into_iter().map(|p| p.1).collect()
    };
    Ok(places.into_iter().map(in_order).collect())
}

#[cfg(test)]
mod tests;
