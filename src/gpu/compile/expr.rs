//! What one generated kernel computes: the expressions of its outputs, down to the buffers that it loads from.
//!
//! An expression is built for a value *at coordinates*: index forms over the kernel's loop variables. Views change the
//! coordinates and are gone; what is left are loads, arithmetic, and guards where a tensor is padded or joined. The same value
//! at the same coordinates is one expression, however often it is used (`memo`); operands come before their users in
//! [`Exprs::list`], so a walk along the list meets them first.
//!
//! A kernel can't see what its other invocations compute. A value that this very kernel makes (one of its outputs, or what its
//! host is about to store) may therefore be used at the invocation's own element only: anything else sets
//! [`Builder::conflict`], and whoever asked gives the fusion up.

use super::Values;
use super::index::{Atom, Coordinates, Lin};
use crate::dtype::DType;
use crate::ops::fault::Check;
use crate::ops::table::{Binary, Compare};
use crate::ops::{IndexFn, Lowering, Pointwise, View};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::rc::Rc;

pub(super) type ExprId = usize;

#[derive(Clone, Debug, Hash)]
pub(super) enum Expr {
    /// An element of a buffer (a position in [`Bindings::buffers`]).
    Load {
        buffer: usize,
        index: Lin,
    },
    /// The value that the kernel which this is the epilogue of is about to store.
    Host,
    /// A word of the arguments (a position in [`Bindings::args`]).
    Arg(usize),
    /// The bits of an f64.
    Constant(u64),
    Index(Lin),
    /// Random bits of a key (two argument words from this one) at an index.
    Philox {
        key: usize,
        index: Lin,
    },
    Point {
        op: Pointwise,
        args: Vec<ExprId>,
    },
    /// An index that must be within an axis: recorded, and 0, where it is not.
    Check {
        index: ExprId,
        check: Check,
    },
    /// `inside` where `low <= lin < low + len`, else `outside`.
    Guard {
        lin: Lin,
        low: i64,
        len: i64,
        inside: ExprId,
        outside: ExprId,
    },
}

/// What a kernel binds besides its outputs: stored values (as graph positions) and argument words.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings {
    pub buffers: Vec<usize>,
    /// (graph position of the scalar, word)
    pub args: Vec<(usize, usize)>,
}

/// The same where a text names as many, at whatever places in the graph these are.
impl Hash for Bindings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        [self.buffers.len(), self.args.len()].hash(state);
    }
}

impl Bindings {
    /// The first of them: what a kernel reads that does only the first part of the work.
    pub fn first(&self, [buffers, args]: [usize; 2]) -> Bindings {
        Bindings { buffers: self.buffers[..buffers].to_vec(), args: self.args[..args].to_vec() }
    }

    fn buffer(&mut self, value: usize) -> usize {
        self.buffers.iter().position(|&b| b == value).unwrap_or_else(|| {
            self.buffers.push(value);
            self.buffers.len() - 1
        })
    }

    fn arg(&mut self, value: usize, words: usize) -> usize {
        self.args.iter().position(|&a| a == (value, 0)).unwrap_or_else(|| {
            self.args.extend((0..words).map(|w| (value, w)));
            self.args.len() - words
        })
    }
}

/// Expressions over common loop variables.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Exprs {
    pub list: Vec<(Expr, DType)>,
    /// Values that each loop variable takes.
    pub extents: Vec<usize>,
}

/// Builds expressions from the graph.
pub(super) struct Builder<'a, 'v> {
    pub values: &'a Values<'v>,
    pub bindings: &'a mut Bindings,
    pub exprs: Exprs,
    /// Values computed by this very kernel: inlined, though they are stored too.
    pub own: &'a [usize],
    /// The kernel that hosts these expressions as its epilogue.
    pub host: Option<usize>,
    /// Where the host's and the own values may be read: the element that the invocation computes.
    pub home: Lin,
    /// Set where a value of this kernel would be read elsewhere than at home: the fusion is not possible.
    pub conflict: bool,
    memo: Vec<(usize, Coordinates, ExprId)>,
}

impl<'a, 'v> Builder<'a, 'v> {
    pub fn new(values: &'a Values<'v>, bindings: &'a mut Bindings, shape: &[usize]) -> Self {
        let place = Self::origin(shape);
        Builder {
            values,
            bindings,
            exprs: Exprs { list: Vec::with_capacity(16), extents: shape.to_vec() },
            own: &[],
            host: None,
            home: place.linear(shape),
            conflict: false,
            memo: Vec::with_capacity(16),
        }
    }

    /// The coordinates of an iteration over a shape: one variable per dimension. The first dimension is mostly a batch, and what
    /// is computed of one example is no other kernel than of many: it has a variable even where it is 1.
    pub fn origin(shape: &[usize]) -> Coordinates {
        let axis = |(d, &n): (usize, &usize)| if n == 1 && d > 0 { Lin::default() } else { Lin::var(d) };
        Coordinates::of(shape.iter().enumerate().map(axis).collect())
    }

    fn push(&mut self, e: Expr, dtype: DType) -> ExprId {
        self.exprs.list.push((e, dtype));
        self.exprs.list.len() - 1
    }

    /// The expression of a value at a place.
    pub fn eval(&mut self, value: usize, place: Coordinates) -> ExprId {
        if let Some(found) = self.memo.iter().find(|m| m.0 == value && m.1 == place) {
            return found.2;
        }
        let id = self.build(value, &place);
        self.memo.push((value, place, id));
        id
    }

    fn build(&mut self, value: usize, place: &Coordinates) -> ExprId {
        let values = self.values;
        let spec = values.spec(value);
        let shape = spec.shape;
        let own = self.own.contains(&value);
        if own || self.host == Some(value) {
            if place.linear(&shape) != self.home {
                self.conflict = true;
            }
            if !own {
                return self.push(Expr::Host, spec.dtype);
            }
        } else if values.is_stored(value) {
            let buffer = self.bindings.buffer(value);
            return self.push(Expr::Load { buffer, index: place.linear(&shape) }, spec.dtype);
        }
        match &values.lower[value] {
            Lowering::Scalar(_) => {
                let arg = self.bindings.arg(value, shape.numel());
                self.push(Expr::Arg(arg), spec.dtype)
            }
            Lowering::Index(IndexFn::Iota) => self.push(Expr::Index(place.linear(&shape)), spec.dtype),
            Lowering::Index(IndexFn::RandomBits) => {
                let key = self.bindings.arg(values.input(value, 0), 2);
                self.push(Expr::Philox { key, index: place.linear(&shape) }, spec.dtype)
            }
            Lowering::Pointwise(op) => {
                let args = (0..values.inputs(value).len())
                    .map(|i| {
                        let input = values.input(value, i);
                        let place = self.broadcast(place, &shape, &values.spec(input).shape);
                        self.eval(input, place)
                    })
                    .collect();
                self.push(Expr::Point { op: *op, args }, spec.dtype)
            }
            Lowering::Check(check) => {
                let index = self.eval(values.input(value, 0), place.clone());
                self.push(Expr::Check { index, check: *check }, spec.dtype)
            }
            Lowering::View(view) => {
                let input = values.input(value, 0);
                let from = values.spec(input).shape;
                let place = match view {
                    View::Reshape if from == shape => place.clone(),
                    View::Reshape => Coordinates::Linear(place.linear(&shape)),
                    View::Broadcast => self.broadcast(place, &shape, &from),
                    View::Permute(perm) => {
                        let axes = place.axes(&shape, &self.exprs.extents);
                        let mut moved = vec![Lin::default(); axes.len()];
                        for (axis, &p) in axes.iter().zip(perm.iter()) {
                            moved[p] = axis.clone();
                        }
                        Coordinates::of(moved)
                    }
                    View::Slice { start, step } => {
                        let axes = place.axes(&shape, &self.exprs.extents);
                        let moved = axes.iter().zip(start.iter().zip(step.iter()));
                        Coordinates::of(
                            moved.map(|(a, (&s, &by))| a.times(by as i64).plus(s as i64)).collect(),
                        )
                    }
                };
                self.eval(input, place)
            }
            Lowering::Gather { axis } => {
                let (table, indices) = (values.input(value, 0), values.input(value, 1));
                let n = values.spec(table).shape[*axis] as i64;
                let mut axes = Rc::unwrap_or_clone(place.axes(&shape, &self.exprs.extents));
                let index = self.eval(indices, Coordinates::of(vec![axes[*axis].clone()]));
                // The index is within the axis; that nothing outside the table is read does not rest on it.
                let within = Atom::Clamp(Rc::new(Lin::atom(Atom::Value(index, n))), 0, n);
                axes[*axis] = Lin::atom(within);
                self.eval(table, Coordinates::of(axes))
            }
            Lowering::Concat { axis } => {
                let axes = place.axes(&shape, &self.exprs.extents);
                let at = axes[*axis].clone();
                let (least, most) = at.range(&self.exprs.extents);
                let mut end = shape[*axis] as i64;
                let mut result = None;
                for &part in values.inputs(value).iter().rev() {
                    let part = part as usize;
                    let len = values.spec(part).shape[*axis] as i64;
                    end -= len;
                    if len == 0 || most < end || least >= end + len {
                        continue;
                    }
                    let whole = least >= end && most < end + len;
                    let mut inner = axes.to_vec();
                    inner[*axis] = match whole {
                        true => at.clone().plus(-end),
                        false => Lin::atom(Atom::Clamp(Rc::new(at.clone()), end, len)),
                    };
                    let inside = self.eval(part, Coordinates::of(inner));
                    result = Some(match result {
                        None => inside,
                        Some(outside) => self.push(
                            Expr::Guard { lin: at.clone(), low: end, len, inside, outside },
                            spec.dtype,
                        ),
                    });
                }
                result.unwrap_or_else(|| self.push(Expr::Constant(0f64.to_bits()), spec.dtype))
            }
            Lowering::Update { axis } => self.update(value, *axis, place),
            Lowering::Pad { before, value: filler } => {
                let input = values.input(value, 0);
                let from = values.spec(input).shape;
                let axes = place.axes(&shape, &self.exprs.extents);
                let outside = self.push(Expr::Constant(filler.to_bits()), spec.dtype);
                if from.numel() == 0 {
                    return outside;
                }
                let padded: Vec<usize> = (0..from.rank()).filter(|&d| from[d] != shape[d]).collect();
                let mut inner = axes.to_vec();
                for &d in &padded {
                    let clamp = Atom::Clamp(Rc::new(axes[d].clone()), before[d] as i64, from[d] as i64);
                    inner[d] = Lin::atom(clamp);
                }
                let mut result = self.eval(input, Coordinates::of(inner));
                for &d in &padded {
                    let (low, len) = (before[d] as i64, from[d] as i64);
                    let guard = Expr::Guard { lin: axes[d].clone(), low, len, inside: result, outside };
                    result = self.push(guard, spec.dtype);
                }
                result
            }
            // These are always stored; only a mistake of the compiler gets here.
            Lowering::Reduce { .. }
            | Lowering::Pack { .. }
            | Lowering::Assemble { .. }
            | Lowering::Kernel(_)
            | Lowering::Loop
            | Lowering::Matmul
            | Lowering::Unsupported(_) => {
                self.conflict = true;
                self.push(Expr::Constant(0f64.to_bits()), spec.dtype)
            }
        }
    }

    /// What lies under the part that is written, or that part.
    fn update(&mut self, value: usize, axis: usize, place: &Coordinates) -> ExprId {
        let values = self.values;
        let (base, part) = (values.input(value, 0), values.input(value, 1));
        let (spec, n) = (values.spec(value), values.spec(part).shape[axis]);
        let mut axes = Rc::unwrap_or_clone(place.axes(&spec.shape, &self.exprs.extents));
        let outside = self.eval(base, Coordinates::of(axes.clone()));
        let at = self.index(axes[axis].clone());
        let start = self.eval(values.input(value, 2), Coordinates::of(Vec::new()));
        // What comes before the part is far beyond its end, since u32 wraps.
        let op = Pointwise::Binary(Binary::Sub);
        let within = self.push(Expr::Point { op, args: vec![at, start] }, DType::U32);
        let len = self.index(Lin::constant(n as i64));
        let op = Pointwise::Compare(Compare::Lt);
        let covered = self.push(Expr::Point { op, args: vec![within, len] }, DType::U8);
        let read = Rc::new(Lin::atom(Atom::Value(within, n as i64)));
        axes[axis] = Lin::atom(Atom::Clamp(read, 0, n as i64));
        let inside = self.eval(part, Coordinates::of(axes));
        self.push(Expr::Point { op: Pointwise::Where, args: vec![covered, inside, outside] }, spec.dtype)
    }

    /// An index as a value.
    pub fn index(&mut self, lin: Lin) -> ExprId {
        self.push(Expr::Index(lin), DType::U32)
    }

    fn broadcast(&self, place: &Coordinates, shape: &[usize], input: &[usize]) -> Coordinates {
        if shape == input {
            return place.clone();
        }
        let axes = place.axes(shape, &self.exprs.extents);
        let skip = shape.len() - input.len();
        // A batch of one is not repeated to a batch of one.
        let single = |d: usize, n: usize| n == 1 && (d + skip > 0 || shape[0] > 1);
        let axis =
            |(d, &n): (usize, &usize)| if single(d, n) { Lin::default() } else { axes[d + skip].clone() };
        Coordinates::of(input.iter().enumerate().map(axis).collect())
    }
}

impl Exprs {
    /// The buffers that are loaded from.
    pub fn loads(&self) -> Vec<usize> {
        let load = |(e, _): &(Expr, DType)| match e {
            Expr::Load { buffer, .. } => Some(*buffer),
            _ => None,
        };
        let mut list: Vec<usize> = self.list.iter().filter_map(load).collect();
        list.sort_unstable();
        list.dedup();
        list
    }

    /// How far apart in memory the neighbours along each of these variables are, by the first load that depends on any; `None`
    /// where one of them is hidden in a quotient or a remainder. A variable that it does not depend on counts as the farthest.
    pub fn strides(&self, variables: Range<usize>) -> Option<Vec<u64>> {
        let index = self.list.iter().find_map(|(e, _)| match e {
            Expr::Load { index, .. } if variables.clone().any(|v| index.uses(v)) => Some(index),
            _ => None,
        })?;
        let stride = |v| match index.coefficient(v).unsigned_abs() {
            0 => u64::MAX,
            far => far,
        };
        (!variables.clone().any(|v| index.hides(v))).then(|| variables.map(stride).collect())
    }

    /// Calls `f` on every index form.
    pub fn visit(&self, mut f: impl FnMut(&Lin)) {
        for (e, _) in &self.list {
            match e {
                Expr::Load { index, .. } | Expr::Index(index) | Expr::Philox { index, .. } => {
                    index.visit(&mut f)
                }
                Expr::Guard { lin, .. } => lin.visit(&mut f),
                Expr::Host | Expr::Arg(_) | Expr::Constant(_) | Expr::Point { .. } | Expr::Check { .. } => {}
            }
        }
    }

    /// Whether an index form depends on the variable.
    pub fn uses(&self, v: usize) -> bool {
        let mut uses = false;
        self.visit(|l| uses |= l.uses(v));
        uses
    }

    /// Whether some value may be one that has to be recorded: such a kernel binds the words for it.
    pub fn records(&self) -> bool {
        self.list.iter().any(|(e, dtype)| match e {
            Expr::Check { .. } => true,
            Expr::Point { op, .. } => op.records(*dtype),
            _ => false,
        })
    }

    /// Merges neighbouring variables that every index walks as one, within each of the groups of variables given
    /// (outermost first). Gives the number of variables left in each group.
    ///
    /// `u` and the `v` inside of it are one where, in all index forms, a step of `u` is as far as all of `v`'s steps together:
    /// `u`'s coefficient is `v`'s times the values that `v` takes. Their common variable then takes the product of both numbers
    /// of values, with `v`'s coefficient. A variable inside of a quotient or remainder counts there too (`visit` goes inside),
    /// so what `(u * n + v) / m` says stays true.
    pub fn merge(&mut self, groups: &[usize]) -> Vec<usize> {
        let mut map: Vec<(usize, bool)> = Vec::new();
        let mut extents: Vec<usize> = Vec::new();
        let mut left = Vec::new();
        let mut first = 0;
        for &count in groups {
            let start = extents.len();
            let mut previous: Option<usize> = None;
            for v in first..first + count {
                let n = self.extents[v];
                // A batch of one is a batch. Of what is reduced in some order the first variable may be another.
                if n == 1 && (v > first || (groups.len() > 1 && !self.uses(v))) {
                    // adds nothing to any index
                    map.push((start, false));
                    continue;
                }
                let joins = previous.is_some_and(|u| {
                    let mut ok = true;
                    self.visit(|l| ok &= l.coefficient(u) == l.coefficient(v) * n as i64);
                    ok
                });
                match (joins, extents.last_mut(), previous) {
                    (true, Some(extent), Some(u)) => {
                        *extent *= n;
                        // the innermost of the merged variables keeps its coefficient
                        map[u].1 = false;
                    }
                    _ => extents.push(n),
                }
                map.push((extents.len() - 1, true));
                previous = Some(v);
            }
            if extents.len() == start {
                extents.push(1);
            }
            left.push(extents.len() - start);
            first += count;
        }
        for (e, _) in &mut self.list {
            match e {
                Expr::Load { index, .. } | Expr::Index(index) | Expr::Philox { index, .. } => {
                    *index = index.renamed(&map);
                }
                Expr::Guard { lin, .. } => *lin = lin.renamed(&map),
                Expr::Host | Expr::Arg(_) | Expr::Constant(_) | Expr::Point { .. } | Expr::Check { .. } => {}
            }
        }
        self.extents = extents;
        left
    }
}
