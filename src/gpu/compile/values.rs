//! Which values of a graph are stored in a buffer of their own, and which are expressions, computed where they are used.
// Over 500 lines in one file: its decisions are made in one order, each upon those before.

mod strided;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels::{KernelTarget, Launches};
use crate::gpu::memory::ALIGNMENT;
use crate::ops::table::{Binary, Unary};
use crate::ops::{Lowering, Pointwise, View};
use crate::tensor::{Pending, Spec};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What has been found out to be necessary while scheduling, for the next attempt.
#[derive(Default)]
pub(super) struct Constraints {
    /// Values that have to be stored, because the expression around them is too large for one kernel.
    pub stored: HashSet<usize>,
}

/// Who computes with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    None,
    /// The kernel of this value alone.
    One(usize),
    Many,
}

impl Users {
    fn and(self, other: Users) -> Users {
        match (self, other) {
            (Users::None, u) | (u, Users::None) => u,
            (Users::One(a), Users::One(b)) if a == b => self,
            _ => Users::Many,
        }
    }
}

/// An operand of a hand-written kernel: a stored value from a byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub value: usize,
    pub offset: u64,
}

/// A hand-written kernel as it will be launched.
pub(super) struct HandKernel {
    pub launches: Launches,
    pub inputs: Vec<Stored>,
}

/// The graph with what has been decided about each value.
pub(super) struct Values<'v> {
    pub graph: &'v Pending,
    pub lower: Vec<Lowering<'v>>,
    pub stored: Vec<bool>,
    /// A contiguous part of another stored value.
    pub alias: Vec<Option<Stored>>,
    /// Whether it is written over a part of its first input, whose memory it has (its `alias`).
    pub written: Vec<bool>,
    /// Its place in a packed vector: that vector's value and a byte offset.
    pub place: Vec<Option<Stored>>,
    pub users: Vec<Users>,
    pub hand: Vec<Option<HandKernel>>,
    /// Bytes that one binding covers at most.
    pub max_binding: u64,
    /// Values that will be parts of one buffer: that of another graph, which this one is a loop of.
    pub together: Vec<usize>,
    consumers: Vec<Vec<usize>>,
}

/// Expressions of more operations than this, one inside the other, are cut.
const MAX_DEPTH: u32 = 40;

impl<'v> Values<'v> {
    pub fn new(
        graph: &'v Pending,
        target: &KernelTarget,
        max_binding: u64,
        constraints: &Constraints,
        together: Vec<usize>,
    ) -> Result<Values<'v>> {
        let n = graph.entries.len();
        let mut lower = Vec::with_capacity(n);
        for entry in &graph.entries {
            let node = &entry.tensor.0;
            if entry.ready {
                lower.push(Lowering::Unsupported(String::new()));
                continue;
            }
            let inputs: Vec<Spec> =
                entry.inputs.iter().map(|&i| graph.entries[i as usize].tensor.0.spec).collect();
            let l = node.op.gpu(&inputs, &node.spec);
            if let Lowering::Unsupported(why) = &l {
                return Err(Error::dtype(node.op.name(), why.clone()));
            }
            lower.push(l);
        }
        let mut consumers = vec![Vec::new(); n];
        for (c, entry) in graph.entries.iter().enumerate() {
            for &i in &entry.inputs {
                consumers[i as usize].push(c);
            }
        }
        let mut values = Values {
            graph,
            lower,
            stored: vec![false; n],
            alias: vec![None; n],
            written: vec![false; n],
            place: vec![None; n],
            users: vec![Users::None; n],
            hand: (0..n).map(|_| None).collect(),
            max_binding,
            together,
            consumers,
        };
        values.decide(target, constraints)?;
        Ok(values)
    }

    pub fn len(&self) -> usize {
        self.lower.len()
    }

    pub fn spec(&self, v: usize) -> &Spec {
        &self.graph.entries[v].tensor.0.spec
    }

    pub fn inputs(&self, v: usize) -> &[u32] {
        &self.graph.entries[v].inputs
    }

    pub fn input(&self, v: usize, i: usize) -> usize {
        self.graph.entries[v].inputs[i] as usize
    }

    pub fn is_ready(&self, v: usize) -> bool {
        self.graph.entries[v].ready
    }

    pub fn is_stored(&self, v: usize) -> bool {
        self.stored[v] || self.is_ready(v)
    }

    /// Whether a kernel of its own computes the value (with or without an epilogue).
    pub fn is_kernel(&self, v: usize) -> bool {
        matches!(
            self.lower[v],
            Lowering::Kernel(_) | Lowering::Matmul | Lowering::Loop | Lowering::Reduce { .. }
        )
    }

    /// Whether its parts are computed or copied to their places in it.
    pub fn is_copied_to(&self, v: usize) -> bool {
        matches!(self.lower[v], Lowering::Pack { .. } | Lowering::Assemble { .. })
    }

    fn is_expression(&self, v: usize) -> bool {
        !self.is_ready(v) && !self.is_kernel(v) && !self.is_copied_to(v)
    }

    /// The value whose elements, in the same order, this one shows under another shape.
    pub fn base(&self, mut v: usize) -> usize {
        while !self.is_ready(v) && matches!(self.lower[v], Lowering::View(View::Reshape)) {
            v = self.input(v, 0);
        }
        v
    }

    /// What a value shows elements of, by whatever views.
    fn source(&self, mut v: usize) -> usize {
        while !self.is_ready(v) && !self.stored[v] && matches!(self.lower[v], Lowering::View(_)) {
            v = self.input(v, 0);
        }
        v
    }

    /// An expression that is computed by a generated kernel of its own.
    pub fn is_root(&self, v: usize) -> bool {
        self.is_expression(v) && self.stored[v] && self.alias[v].is_none()
    }

    fn require(&mut self, v: usize) {
        let base = self.base(v);
        self.stored[base] = true;
    }

    fn decide(&mut self, target: &KernelTarget, constraints: &Constraints) -> Result<()> {
        // What must be stored, whatever it costs. From inputs to users: a product decides by what of its operands is stored
        // already whether it reads them in place.
        for v in 0..self.len() {
            if self.is_ready(v) {
                continue;
            }
            if self.graph.entries[v].keep || constraints.stored.contains(&v) {
                self.require(v);
            }
            if self.is_copied_to(v) {
                self.stored[v] = true;
            }
            if matches!(self.lower[v], Lowering::Assemble { .. }) {
                // What is copied is read in one place: a text for all pieces, whatever they are computed from.
                for i in 0..self.inputs(v).len() {
                    let source = self.source(self.input(v, i));
                    if !self.inputs(source).is_empty() {
                        self.require(source);
                    }
                }
            }
            self.find_written(v);
            self.prepare_hand(v, target)?;
        }
        // Before costs are counted: a cut makes a load of an expression. Aliases are sought among what is stored, and what has a
        // place in a packed vector is stored for that, so each of these needs those before it.
        self.cut_sums_of_kernels();
        self.cut_deep_expressions();
        self.find_aliases();
        self.find_places();
        self.store_what_is_dear();
        // A kernel can host the work of one user only; one user more and all of them read it from memory.
        for v in 0..self.len() {
            if self.is_kernel(v) && !self.is_ready(v) && self.users[v] == Users::Many {
                self.stored[v] = true;
            }
        }
        Ok(())
    }

    /// What is worth storing, from users to inputs: who computes a value is known once it is known of all its users.
    fn store_what_is_dear(&mut self) {
        let cost = self.costs();
        for v in (0..self.len()).rev() {
            if self.is_ready(v) {
                continue;
            }
            let mut users = Users::None;
            let mut spread = false;
            for &c in &self.consumers[v] {
                users = users.and(self.contribution(c, v));
                // Used by an expression with four times its elements, it would be computed four times and more.
                spread |= self.is_expression(c)
                    && self.spec(c).shape.numel() >= 4 * self.spec(v).shape.numel().max(1);
            }
            self.users[v] = users;
            let computes = matches!(
                self.lower[v],
                Lowering::Pointwise(_)
                    | Lowering::Concat { .. }
                    | Lowering::Gather { .. }
                    | Lowering::Update { .. }
                    | Lowering::Check(_)
                    | Lowering::Index(_)
            );
            if !computes || self.stored[v] {
                continue;
            }
            // Dear expressions are computed once; cheap ones wherever they are used, which saves the memory traffic.
            let cheap = cost[v].operations <= 2 && cost[v].loads <= 1
                || cost[v].loads == 0 && cost[v].operations <= 12;
            if (users == Users::Many && !cheap) || (spread && cost[v].loads > 0 && cost[v].operations > 2) {
                self.stored[v] = true;
            }
        }
    }

    /// Which kernel a consumer computes a value in.
    fn contribution(&self, consumer: usize, value: usize) -> Users {
        match &self.lower[consumer] {
            Lowering::Kernel(_) | Lowering::Matmul | Lowering::Loop => Users::None,
            Lowering::Reduce { .. } => Users::One(consumer),
            Lowering::Pack { .. } if self.place[self.base(value)].is_some() => Users::None,
            Lowering::Pack { .. } | Lowering::Assemble { .. } => Users::One(consumer),
            _ if self.written[consumer] => Users::One(consumer),
            _ if self.alias[consumer].is_some() => Users::None,
            _ if self.stored[consumer] => Users::One(consumer),
            _ => self.users[consumer],
        }
    }

    /// Has a value written over its first input where nobody reads that again, if it is in memory as it is: there before, or
    /// written likewise.
    fn find_written(&mut self, v: usize) {
        // Bytes are stored by the word, whose others would have to be read first.
        let bytes = self.spec(v).dtype == DType::U8;
        if bytes || !self.graph.entries[v].in_place || !matches!(self.lower[v], Lowering::Update { .. }) {
            return;
        }
        let base = self.input(v, 0);
        if self.is_ready(base) || matches!(self.lower[base], Lowering::Update { .. }) {
            self.stored[base] = true;
            self.stored[v] = true;
            self.alias[v] = Some(Stored { value: base, offset: 0 });
            self.written[v] = true;
        }
    }

    /// The launches of a hand-written kernel; its inputs have to be stored.
    fn prepare_hand(&mut self, v: usize, target: &KernelTarget) -> Result<()> {
        let hand = match &self.lower[v] {
            Lowering::Kernel(launches) => {
                HandKernel { launches: launches(target), inputs: self.whole_inputs(v) }
            }
            Lowering::Matmul => self.matmul(v, target)?,
            Lowering::Loop => HandKernel { launches: Launches::default(), inputs: self.whole_inputs(v) },
            _ => return Ok(()),
        };
        for input in &hand.inputs {
            if !self.is_ready(input.value) {
                self.stored[input.value] = true;
            }
        }
        self.hand[v] = Some(hand);
        Ok(())
    }

    /// All inputs as contiguous operands.
    fn whole_inputs(&self, v: usize) -> Vec<Stored> {
        self.inputs(v).iter().map(|&i| Stored { value: self.base(i as usize), offset: 0 }).collect()
    }

    /// Stores the sums in the middle of a sum of kernels' results: each kernel then takes the sum so far along when it stores. It
    /// costs what it costs to store the results and add them up, and however many there are, their kernels are the same.
    fn cut_sums_of_kernels(&mut self) {
        // a sum with a kernel's result among its terms
        let adds = |values: &Self, v: usize| -> bool {
            let terms = || values.inputs(v).iter().map(|&i| values.base(i as usize));
            matches!(values.lower[v], Lowering::Pointwise(Pointwise::Binary(Binary::Add)))
                && terms().any(|t| values.is_kernel(t) && !values.is_ready(t))
        };
        for v in 0..self.len() {
            if self.is_ready(v) || !adds(self, v) {
                continue;
            }
            for i in 0..self.inputs(v).len() {
                let term = self.base(self.input(v, i));
                if !self.is_ready(term) && adds(self, term) {
                    self.stored[term] = true;
                }
            }
        }
    }

    /// Stores values in the middle of chains that would make one enormous expression. Where they are cut should not depend on
    /// how many links there are: what will be stored in any case, being used in several places, is where a chain begins.
    fn cut_deep_expressions(&mut self) {
        if self.deep(&self.stored).is_empty() {
            return;
        }
        let before = self.stored.clone();
        self.store_what_is_dear();
        let dear = std::mem::replace(&mut self.stored, before);
        for v in self.deep(&dear) {
            self.stored[v] = true;
        }
    }

    /// What has to be stored besides, for no chain between stored values to be longer than [`MAX_DEPTH`].
    fn deep(&self, stored: &[bool]) -> Vec<usize> {
        let mut cuts = Vec::new();
        let mut depth = vec![0u32; self.len()];
        for v in 0..self.len() {
            if !self.is_expression(v) || stored[v] {
                continue;
            }
            depth[v] = 1 + self.inputs(v).iter().map(|&i| depth[i as usize]).max().unwrap_or(0);
            if depth[v] > MAX_DEPTH && !matches!(self.lower[v], Lowering::View(_)) {
                cuts.push(v);
                depth[v] = 0;
            }
        }
        cuts
    }

    /// Stored slices that are contiguous parts of stored values need no kernel.
    fn find_aliases(&mut self) {
        for v in 0..self.len() {
            if self.is_ready(v) || !self.stored[v] {
                continue;
            }
            let Lowering::View(View::Slice { start, step }) = &self.lower[v] else { continue };
            let input = self.input(v, 0);
            let base = self.base(input);
            let (from, to, dtype) = (self.spec(input).shape, self.spec(v).shape, self.spec(v).dtype);
            // contiguous: nothing but ones before the last axis that is cut
            let cut = (0..from.rank()).rev().find(|&d| from[d] != to[d]);
            let contiguous = step.iter().zip(to.iter()).all(|(&s, &n)| s == 1 || n == 1)
                && cut.is_none_or(|cut| to[..cut].iter().all(|&n| n == 1));
            let strides = from.strides();
            let elements: usize = start.iter().zip(strides).map(|(&s, by)| s * by).sum();
            let offset = (elements * dtype.size()) as u64;
            if contiguous && offset.is_multiple_of(ALIGNMENT) && self.is_stored(base) && to.numel() > 0 {
                self.alias[v] = Some(Stored { value: base, offset });
            }
        }
    }

    /// Parts of packed vectors that can be computed right into their places. Those that a loop or a kernel from outside computes are
    /// not: what these read is not bound as what may be written, and it may be in the vector.
    fn find_places(&mut self) {
        for v in 0..self.len() {
            if self.is_ready(v) {
                continue;
            }
            let Lowering::Pack { offsets } = &self.lower[v] else { continue };
            let offsets = offsets.to_vec();
            for (i, at) in offsets.into_iter().enumerate() {
                let base = self.base(self.input(v, i));
                let free = !self.is_ready(base)
                    && self.place[base].is_none()
                    && self.alias[base].is_none()
                    && !matches!(self.lower[base], Lowering::Pack { .. } | Lowering::Loop)
                    && !self.graph.entries[base].tensor.0.op.foreign()
                    && self.spec(base).dtype.size() == 4
                    && self.spec(base).shape.numel() > 0;
                if free {
                    self.stored[base] = true;
                    self.place[base] = Some(Stored { value: v, offset: 4 * at as u64 });
                }
            }
        }
    }

    fn costs(&self) -> Vec<Cost> {
        let mut costs = vec![Cost::default(); self.len()];
        for v in 0..self.len() {
            if !self.is_expression(v) || self.stored[v] {
                costs[v] = Cost { operations: 0, loads: 1 };
                continue;
            }
            let mut cost = Cost::default();
            for &i in self.inputs(v) {
                cost.operations = cost.operations.saturating_add(costs[i as usize].operations);
                cost.loads = cost.loads.saturating_add(costs[i as usize].loads);
            }
            cost.operations = cost.operations.saturating_add(match &self.lower[v] {
                Lowering::Pointwise(Pointwise::Unary(
                    Unary::Neg | Unary::Abs | Unary::Square | Unary::Relu | Unary::Sign | Unary::BitNot,
                )) => 1,
                Lowering::Pointwise(
                    Pointwise::Unary(_)
                    | Pointwise::Normal
                    | Pointwise::Binary(
                        Binary::Pow | Binary::Atan2 | Binary::Rem | Binary::Remainder | Binary::FloorDivide,
                    ),
                ) => 4,
                Lowering::Pointwise(_) | Lowering::Check(_) => 1,
                Lowering::Gather { .. } | Lowering::Concat { .. } | Lowering::Update { .. } => 4,
                Lowering::Index(crate::ops::IndexFn::RandomBits) => 20,
                _ => 0,
            });
            costs[v] = cost;
        }
        costs
    }

    /// A value inside the expression of `root` to be stored, so that what is left needs fewer buffers.
    pub fn cut(&self, root: usize, max_loads: usize) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut stack: Vec<usize> = self.inputs(root).iter().map(|&i| i as usize).collect();
        let mut seen = HashSet::new();
        while let Some(v) = stack.pop() {
            if !seen.insert(v) || self.is_stored(v) || !self.is_expression(v) {
                continue;
            }
            let loads = self.loads(v);
            if loads <= max_loads && loads > 1 && best.is_none_or(|b| loads > b.1) {
                best = Some((v, loads));
            }
            stack.extend(self.inputs(v).iter().map(|&i| i as usize));
        }
        best.map(|b| self.base(b.0))
    }

    /// Values inside the expression of `root` to be stored, so that no part reads more than `loads` stored values or
    /// computes more than `size` (shared ones counted at each use). For expressions far beyond the limits: one walk
    /// instead of one cut at a time.
    pub fn split(&self, root: usize, loads: usize, size: usize) -> HashSet<usize> {
        let mut inside = BTreeSet::new();
        let mut stack = vec![root];
        while let Some(v) = stack.pop() {
            if (v == root || !self.is_stored(v) && self.is_expression(v)) && inside.insert(v) {
                stack.extend(self.inputs(v).iter().map(|&i| i as usize));
            }
        }
        let mut cuts = HashSet::new();
        // (values read, values computed); what is not inside is read
        let mut weights: HashMap<usize, (usize, usize)> = HashMap::new();
        for v in inside {
            let mut parts: Vec<(usize, (usize, usize))> = Vec::new();
            for &i in self.inputs(v) {
                let i = i as usize;
                parts.push((i, weights.get(&i).copied().unwrap_or((1, 0))));
            }
            let weight = loop {
                let sum = parts.iter().fold((0, 1), |a, p| (a.0 + p.1.0, a.1 + p.1.1));
                if sum.0 <= loads && sum.1 <= size {
                    break sum;
                }
                let by = |p: &(usize, (usize, usize))| if sum.0 > loads { p.1.0 } else { p.1.1 };
                let Some(heaviest) = parts.iter_mut().filter(|p| by(p) > 1).max_by_key(|p| by(p)) else {
                    break sum;
                };
                heaviest.1 = (1, 0);
                weights.insert(heaviest.0, (1, 0));
                cuts.insert(self.base(heaviest.0));
            };
            weights.insert(v, weight);
        }
        cuts
    }

    /// Number of stored values that an expression reads.
    fn loads(&self, v: usize) -> usize {
        let mut found = HashSet::new();
        let mut seen = HashSet::new();
        let mut stack = vec![v];
        while let Some(v) = stack.pop() {
            if !seen.insert(v) {
                continue;
            }
            if self.is_stored(v) || !self.is_expression(v) {
                found.insert(v);
            } else {
                stack.extend(self.inputs(v).iter().map(|&i| i as usize));
            }
        }
        found.len()
    }
}

#[derive(Clone, Copy, Default)]
struct Cost {
    operations: u32,
    loads: u32,
}
