//! From a body to the operation that repeats it: what is handed on and what is kept are packed into vectors, so that a turn has two
//! results at most for each element type, and every part of them a place that a kernel can be bound to.

use super::body::{Body, base};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::Pointwise;
use crate::ops::join::{pack, pack_layout};
use crate::shape::{Shape, Spec};
use crate::tensor::{
    Carry, Entry, Gradient, IdMap, Leaf, Loop, Looped, Pending, Placeholder, Rows, Tensor, inputs_first,
    no_grad,
};
use std::collections::HashSet;
use std::sync::Arc;

/// Where the rows of a leaf are: elements of an input of the operation. With a stride of 0 all turns are given the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub input: usize,
    pub offset: usize,
    pub stride: usize,
}

impl Region {
    /// Its rows, `[turns, n]`, of an input.
    pub fn rows(&self, input: &Tensor, turns: usize, n: usize) -> Result<Tensor> {
        let Region { offset, stride, .. } = *self;
        let flat = input.reshape([input.numel()])?;
        if stride == 0 {
            return flat.slice(0, offset, n)?.broadcast_to([turns, n]);
        }
        // The last row may end where the next would go on.
        let len = (turns * stride).min(flat.numel() - offset);
        let part = flat.slice(0, offset, len)?.pad([(0, turns * stride - len)], 0.0)?;
        part.reshape([turns, stride])?.slice(1, 0, n)
    }
}

/// A loop. The leaves of its body are the carried tensors, then rows, then what is the same in every turn; its results the next
/// carried tensors, then what is kept of every turn.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub body: Arc<Body>,
    pub carries: usize,
    pub rows: Vec<Region>,
    /// The inputs that are the same in every turn.
    pub whole: Vec<usize>,
    pub turns: usize,
    pub reverse: bool,
}

/// Where parts are in a loop's output.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of each carried tensor of the output's element type.
    pub carries: Vec<Option<usize>>,
    /// Elements that all carried tensors take.
    pub head: usize,
    /// Of each kept result of that type.
    pub ys: Vec<Option<Section>>,
    /// Elements up to here are what the caller has asked for; then follows what the gradient needs.
    pub visible: usize,
    pub stored: Vec<Section>,
    pub len: usize,
}

/// A column of rows that begin at `start`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    start: usize,
    column: usize,
    stride: usize,
}

impl Section {
    /// As long as it is, in one row at `start` that stands for all.
    pub fn of_one_row(&self, start: usize) -> Section {
        Section { start, stride: 0, ..*self }
    }

    /// Elements from a row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// It as the rows of an input.
    pub fn of(&self, input: usize) -> Region {
        Region { input, offset: self.start + self.column, stride: self.stride }
    }

    /// Its rows, `[turns, n]`, in a loop's output.
    pub fn rows(&self, output: &Tensor, turns: usize, n: usize) -> Result<Tensor> {
        let rows = output.slice(0, self.start, turns * self.stride)?.reshape([turns, self.stride])?;
        rows.slice(1, self.column, n)
    }
}

impl Problem {
    /// The same loop, with values of its body kept as further results.
    pub fn keeping(&self, values: &[u32]) -> Problem {
        let body = &self.body;
        let results = body.results.iter().chain(values).copied().collect();
        Problem { body: Arc::new(body.with_results(results)), ..self.clone() }
    }

    /// The same loop, where nobody asks for its gradient: loops inside store nothing for theirs.
    pub fn storing_nothing(&self) -> Result<Problem> {
        Ok(Problem { body: Arc::new(self.body.storing_nothing()?), ..self.clone() })
    }

    fn device(&self) -> Device {
        self.body.device
    }

    /// The element types of the carried tensors, each with the numbers of these.
    pub fn groups(&self) -> Vec<(DType, Vec<usize>)> {
        let mut groups: Vec<(DType, Vec<usize>)> = Vec::new();
        for (i, spec) in self.body.leaves[..self.carries].iter().enumerate() {
            match groups.iter_mut().find(|g| g.0 == spec.dtype) {
                Some(group) => group.1.push(i),
                None => groups.push((spec.dtype, vec![i])),
            }
        }
        groups
    }

    /// The element types of all that comes out.
    pub fn dtypes(&self) -> Vec<DType> {
        let mut all: Vec<DType> = Vec::new();
        for spec in self.body.results() {
            if !all.contains(&spec.dtype) {
                all.push(spec.dtype);
            }
        }
        all
    }

    /// The output of one element type, with values of the body stored for the gradient.
    pub fn layout(&self, dtype: DType, stored: &[u32]) -> Result<Layout> {
        let specs: Vec<Spec> = self.body.results().collect();
        let places = |specs: &[Spec]| {
            let mine: Vec<usize> = (0..specs.len()).filter(|&i| specs[i].dtype == dtype).collect();
            let (offsets, len) = pack_layout(mine.iter().map(|&i| specs[i].shape.numel()));
            let mut all = vec![None; specs.len()];
            mine.into_iter().zip(offsets).for_each(|(i, at)| all[i] = Some(at));
            (all, len)
        };
        let too_large =
            || Error::shape("scan", "what is kept of all turns has more elements than can be counted");
        let (carries, head) = places(&specs[..self.carries]);
        let (ys, stride) = places(&specs[self.carries..]);
        let section = |start: usize, stride: usize| move |column: usize| Section { start, column, stride };
        let ys = ys.into_iter().map(|at| at.map(section(head, stride))).collect();
        let rows = |stride: usize| stride.checked_mul(self.turns).ok_or_else(too_large);
        let visible = head.checked_add(rows(stride)?).ok_or_else(too_large)?;
        let (stored, stride) = pack_layout(stored.iter().map(|&s| self.body.spec(s).shape.numel()));
        let stored = stored.into_iter().map(section(visible, stride)).collect();
        let len = visible.checked_add(rows(stride)?).ok_or_else(too_large)?;
        Ok(Layout { carries, head, ys, visible, stored, len })
    }

    /// The node that computes the output of one element type. The first inputs are the packed carried tensors, in the order of
    /// [`groups`](Self::groups).
    pub fn node(
        &self,
        inputs: Vec<Tensor>,
        dtype: DType,
        stored: &[u32],
        gradient: Box<dyn Gradient>,
    ) -> Result<Tensor> {
        let layout = self.layout(dtype, stored)?;
        let looped = self.looped(dtype, stored, &layout)?;
        let shape = Shape::new(&[layout.len])?;
        Tensor::from_op(Looped::new(looped, gradient), inputs, shape, dtype, self.device())
    }

    /// What the backends know of the loop with this layout.
    pub fn looped(&self, dtype: DType, stored: &[u32], layout: &Layout) -> Result<Loop> {
        no_grad(|| self.turn(dtype, stored, layout))
    }

    fn turn(&self, dtype: DType, stored: &[u32], layout: &Layout) -> Result<Loop> {
        let Problem { body, turns, reverse, .. } = self;
        let device = self.device();
        let groups = self.groups();
        let mut leaves = Vec::new();
        let mut symbols: Vec<Tensor> = Vec::new();
        let mut leaf = |kind: Leaf, spec: Spec| {
            leaves.push(kind);
            symbols.push(Tensor::symbolic(Placeholder::Input, spec, device, false, None));
            symbols[symbols.len() - 1].clone()
        };
        let mut parts: Vec<Option<Tensor>> = vec![None; self.carries];
        for (g, (dtype, members)) in groups.iter().enumerate() {
            let sizes = members.iter().map(|&i| body.leaves[i].shape.numel());
            let (offsets, len) = pack_layout(sizes);
            let vector = leaf(Leaf::Carried(g), Spec { shape: Shape::new(&[len])?, dtype: *dtype });
            for (&i, at) in members.iter().zip(offsets) {
                let shape = body.leaves[i].shape;
                parts[i] = Some(vector.slice(0, at, shape.numel())?.reshape(shape)?);
            }
        }
        let mut all: Vec<Tensor> = parts.into_iter().flatten().collect();
        for (&Region { input, offset, stride }, spec) in self.rows.iter().zip(&body.leaves[self.carries..]) {
            all.push(leaf(Leaf::Row { input, offset, stride }, *spec));
        }
        for (&input, spec) in self.whole.iter().zip(&body.leaves[self.carries + self.rows.len()..]) {
            all.push(leaf(Leaf::Whole { input }, *spec));
        }
        let built = body.build(all)?;
        let mut packing = Packing { device, taken: symbols.iter().map(|s| s.0.id).collect() };
        let result = |i: usize| built[body.results[i] as usize].clone();
        let mut carries = Vec::new();
        for (g, (d, members)) in groups.iter().enumerate() {
            let next = packing.pack(members.iter().map(|&i| result(i)).collect())?;
            carries.push((Carry { input: g, next: 0, kept: *d == dtype }, next));
        }
        let kept = (self.carries..body.results.len()).map(result).filter(|t| t.dtype() == dtype).collect();
        let stored_values = stored.iter().map(|&s| built[s as usize].clone()).collect();
        let mut rows = Vec::new();
        for (values, offset) in [(kept, layout.head), (stored_values, layout.visible)] {
            let values: Vec<Tensor> = values;
            if !values.is_empty() {
                rows.push((Rows { result: 0, offset }, packing.pack(values)?));
            }
        }
        let roots: Vec<&Tensor> = carries.iter().map(|c| &c.1).chain(rows.iter().map(|r| &r.1)).collect();
        let (graph, positions) = listed(&roots, &symbols, device != Device::Cpu)?;
        let at = |t: &Tensor| positions.get(&t.0.id).copied().unwrap_or_default();
        let carries = carries.iter().map(|(c, t)| Carry { next: at(t), ..*c }).collect();
        let rows = rows.iter().map(|(r, t)| Rows { result: at(t), ..*r }).collect();
        Ok(Loop { graph, leaves, carries, rows, turns: *turns, reverse: *reverse })
    }
}

/// Packs results so that each is computed right where it belongs.
struct Packing {
    device: Device,
    /// Values that can't be: leaves, and those that have a place elsewhere.
    taken: HashSet<u64>,
}

impl Packing {
    fn pack(&mut self, tensors: Vec<Tensor>) -> Result<Tensor> {
        let own = tensors.into_iter().map(|t| {
            // On the CPU all parts are copied.
            if self.device == Device::Cpu || self.taken.insert(base(&t).0.id) {
                return Ok(t);
            }
            // As a value of its own, it is one more output of the kernel that computes or reads it.
            Tensor::from_op(Pointwise::Cast, vec![t.clone()], t.shape(), t.dtype(), t.device())
        });
        pack(&own.collect::<Result<Vec<_>>>()?)
    }
}

/// The graph of roots: leaves first, then what depends on them, inputs before users.
fn listed(roots: &[&Tensor], leaves: &[Tensor], keep: bool) -> Result<(Pending, IdMap<usize>)> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut positions: IdMap<usize> = IdMap::default();
    for leaf in leaves {
        positions.insert(leaf.0.id, entries.len());
        let (tensor, inputs) = (leaf.clone(), [].into_iter().collect());
        entries.push(Entry { tensor, inputs, ready: true, keep: false, in_place: false });
    }
    inputs_first(roots.iter().copied(), |tensor, expanded| {
        let done = positions.contains_key(&tensor.0.id);
        if !done && expanded {
            let position = |t: &Tensor| positions.get(&t.0.id).map(|&p| p as u32);
            let inputs = tensor.0.with_inputs(|list| list.iter().filter_map(position).collect());
            let keep = keep && roots.iter().any(|r| r.0.id == tensor.0.id);
            positions.insert(tensor.0.id, entries.len());
            entries.push(Entry { tensor: tensor.clone(), inputs, ready: false, keep, in_place: false });
        }
        Ok(done)
    })?;
    Ok((Pending { entries }, positions))
}

/// A shape with the turns before it.
pub(super) fn with_turns(turns: usize, shape: &Shape) -> Vec<usize> {
    std::iter::once(turns).chain(shape.iter().copied()).collect()
}
