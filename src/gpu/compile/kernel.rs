//! Whole kernels around the expressions: pointwise ones, and epilogues of others.

use super::Values;
use super::emit::{BITS, Emitter, Width, storage, typed};
use super::expr::{Bindings, Builder, Expr, ExprId, Exprs};
use super::index::{Atom, Coordinates, Lin, aligned};
use super::library::helpers;
use super::words::{Helpers, Words, read_sizes};
use crate::dtype::DType;
use crate::gpu::kernels::{KernelTarget, Turns, fold};
use crate::gpu::wgsl::Text;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::rc::Rc;

/// Invocations per workgroup of generated kernels.
pub(super) const GROUP: usize = 64;
/// First binding of what an epilogue reads, and the binding of the arguments.
pub(super) const EXTRA_BINDING: u32 = 16;
pub(super) const ARGS_BINDING: u32 = 32;
/// Binding of the numbers that an epilogue reads.
pub(super) const WORDS_BINDING: u32 = 34;

/// A generated kernel, before its buffers are known.
#[derive(Clone)]
pub(super) struct Generated {
    pub wgsl: Text,
    /// Contents of the uniform at binding 0.
    pub words: Vec<u32>,
    pub workgroups: [u32; 3],
    /// The most turns that the loops of one invocation take together.
    pub turns: Turns,
}

/// Expressions of stored values, element by element.
#[derive(Clone, Hash)]
pub(super) struct PointwiseKernel {
    pub bindings: Bindings,
    exprs: Exprs,
    /// The outputs' expressions and types, in the order of their bindings.
    roots: Vec<(ExprId, DType)>,
    width: Width,
    /// Where the output is written, where that is not the element that is computed: an index form.
    target: Option<ExprId>,
}

impl PointwiseKernel {
    /// Builds the expressions of `outputs`, which have equally many elements; `None` where one would have to read
    /// another of them elsewhere than at the same element.
    pub fn new(values: &Values<'_>, outputs: &[usize]) -> Option<PointwiseKernel> {
        let shape = values.spec(outputs[0]).shape;
        let mut bindings = Bindings::default();
        let mut builder = Builder::new(values, &mut bindings, &shape);
        builder.own = outputs;
        let home = builder.home.clone();
        let roots: Vec<(ExprId, DType)> = outputs
            .iter()
            .map(|&o| {
                let place = match values.spec(o).shape == shape {
                    true => Builder::origin(&shape),
                    false => Coordinates::Linear(home.clone()),
                };
                (builder.eval(o, place), values.spec(o).dtype)
            })
            .collect();
        if builder.conflict {
            return None;
        }
        let exprs = builder.exprs;
        let code = Self::finish(bindings, exprs, roots, None, shape.rank());
        // bytes are stored by the word: one invocation would have to compute four elements of every output
        let narrow_bytes = !code.is_wide() && code.roots.iter().any(|r| r.1 == DType::U8);
        if narrow_bytes && code.roots.len() > 1 { None } else { Some(code) }
    }

    /// A copy of a value, whatever it is.
    pub fn copy(values: &Values<'_>, value: usize) -> PointwiseKernel {
        Self::single(values, value, |_| None)
    }

    /// A copy of a value into another, from an index along an axis on.
    pub fn copy_into(
        values: &Values<'_>,
        value: usize,
        into: usize,
        [axis, at]: [usize; 2],
    ) -> PointwiseKernel {
        Self::placed(values, value, into, axis, |_| Lin::constant(at as i64))
    }

    /// What is written over a part of another value along an axis, at its place there.
    pub fn write(values: &Values<'_>, value: usize, axis: usize) -> PointwiseKernel {
        let part = values.input(value, 1);
        let places = (values.spec(value).shape[axis] - values.spec(part).shape[axis] + 1) as i64;
        Self::placed(values, part, value, axis, |builder| {
            let start = builder.eval(values.input(value, 2), Coordinates::of(Vec::new()));
            // The part fits in; that nothing outside is written does not rest on it.
            Lin::atom(Atom::Clamp(Rc::new(Lin::atom(Atom::Value(start, places))), 0, places))
        })
    }

    /// A value, at a place in another: an index along an axis is added.
    fn placed(
        values: &Values<'_>,
        value: usize,
        into: usize,
        axis: usize,
        at: impl FnOnce(&mut Builder<'_, '_>) -> Lin,
    ) -> PointwiseKernel {
        let shape = values.spec(value).shape;
        Self::single(values, value, |builder| {
            let mut axes = Rc::unwrap_or_clone(Builder::origin(&shape).axes(&shape, &builder.exprs.extents));
            axes[axis] = axes[axis].add(&at(builder));
            let place = Coordinates::of(axes).linear(&values.spec(into).shape);
            Some(builder.index(place))
        })
    }

    /// The kernel of one value; `target` gives the place where it is written, were that another.
    fn single(
        values: &Values<'_>,
        value: usize,
        target: impl FnOnce(&mut Builder<'_, '_>) -> Option<ExprId>,
    ) -> PointwiseKernel {
        let shape = values.spec(value).shape;
        let mut bindings = Bindings::default();
        let mut builder = Builder::new(values, &mut bindings, &shape);
        let root = builder.eval(value, Builder::origin(&shape));
        let target = target(&mut builder);
        let exprs = builder.exprs;
        Self::finish(bindings, exprs, vec![(root, values.spec(value).dtype)], target, shape.rank())
    }

    /// Merges the loop variables and chooses the width.
    fn finish(
        bindings: Bindings,
        mut exprs: Exprs,
        roots: Vec<(ExprId, DType)>,
        target: Option<ExprId>,
        rank: usize,
    ) -> PointwiseKernel {
        let left = exprs.merge(&[rank])[0];
        let fits = |target: ExprId| match &exprs.list[target].0 {
            Expr::Index(place) => aligned(place, left - 1),
            _ => false,
        };
        let along = left - 1;
        let width = match target {
            None if Emitter::can_overrun(&exprs, along) => Width::Four { along },
            // What is recorded may not be computed beyond the end; a line's length shall not decide how it is taken.
            None if exprs.records() && Emitter::is_line(&exprs, along) => Width::One,
            _ if Emitter::can_widen(&exprs, along) && target.is_none_or(fits) => Width::Four { along },
            _ => Width::One,
        };
        PointwiseKernel { bindings, exprs, roots, width, target }
    }

    /// Storage buffers that it binds besides its outputs.
    pub fn storage(&self) -> usize {
        self.bindings.buffers.len() + self.exprs.records() as usize
    }

    pub fn is_wide(&self) -> bool {
        self.width != Width::One
    }

    pub fn size(&self) -> usize {
        self.exprs.list.len()
    }

    pub fn generate(&self, values: &Values<'_>, target: &KernelTarget) -> Generated {
        let elements: usize = self.exprs.extents.iter().product();
        let lanes = self.width.lanes();
        let scalar = scalar_buffers(&[(&self.exprs, self.width)]);
        let mut e = Emitter::new(&self.exprs, self.width, "wg_", scalar.clone());
        e.words = Words::after_sizes();
        let split = e.split(self.exprs.extents.len());
        let results: Vec<String> = self.roots.iter().map(|r| e.operand(r.0, lanes)).collect();
        let packs = lanes == 1 && self.roots[0].1 == DType::U8;
        let at = match self.target.map(|target| &self.exprs.list[target].0) {
            Some(Expr::Index(place)) => format!("({})", e.index(place)),
            _ => "i".to_string(),
        };
        let mut text = header(values, &self.bindings, 1, |b| self::lanes(&scalar, b));
        let first = 1 + self.bindings.buffers.len();
        for (k, root) in self.roots.iter().enumerate() {
            let ty = storage(root.1, lanes);
            let _ = writeln!(
                text,
                "@group(0) @binding({}) var<storage, read_write> o{k}: array<{ty}>;",
                first + k
            );
        }
        e.words.declare(&mut text, 0);
        text.push_str(BITS);
        text.push_str(&helpers(&e.helpers));
        let invocations = if packs { elements.div_ceil(4) } else { elements.div_ceil(lanes) };
        text.push_str(&main_head());
        if packs {
            // one word of four bytes per invocation
            let _ = write!(
                text,
                "  var word = 0u;\n  for (var k = 0u; k < 4u; k++) {{\n    let i = t * 4u + k;\n    \
                 if (i < sizes.y) {{\n{split}{}    word |= ({} & 255u) << (8u * k);\n    }}\n  }}\n  o0[t] = word;\n}}\n",
                e.body, results[0]
            );
        } else {
            let _ = writeln!(text, "    let i = t * {lanes}u;");
            text.push_str(&split);
            text.push_str(&e.body);
            for (k, (root, value)) in self.roots.iter().zip(&results).enumerate() {
                text.push_str(&Emitter::store(root.1, lanes, &format!("o{k}"), &at, value));
            }
            text.push_str("}\n");
        }
        Generated {
            wgsl: text.into(),
            words: e.words.finish([invocations as u32, elements as u32, 0, 0]),
            workgroups: fold(invocations.div_ceil(GROUP), target.max_workgroups_per_dimension),
            turns: if packs { Turns::of(4) } else { Turns::NONE },
        }
    }
}

pub(super) fn main_head() -> String {
    format!(
        "@compute @workgroup_size({GROUP})\nfn main(@builtin(workgroup_id) w: vec3<u32>, \
         @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32) {{\n    \
         let t = (w.y * groups.x + w.x) * {GROUP}u + l;\n{}    if (t >= sizes.x) {{ return; }}\n",
        read_sizes()
    )
}

/// Declarations of the arguments and the buffers that are read, which are bound from `first` on.
pub(super) fn header(
    values: &Values<'_>,
    b: &Bindings,
    first: u32,
    lanes: impl Fn(usize) -> usize,
) -> String {
    let mut text = String::with_capacity(2048);
    for (k, &value) in b.buffers.iter().enumerate() {
        let ty = storage(values.spec(value).dtype, lanes(k));
        let _ = writeln!(
            text,
            "@group(0) @binding({}) var<storage, read> wg_b{k}: array<{ty}>;",
            first + k as u32
        );
    }
    if !b.args.is_empty() {
        let _ = writeln!(
            text,
            "@group(0) @binding({ARGS_BINDING}) var<uniform> wg_args: array<vec4<u32>, {}>;",
            b.args.len().div_ceil(4)
        );
    }
    text
}

/// Pointwise work on the values that another kernel is about to store.
#[derive(Hash)]
pub(super) struct Epilogue {
    pub bindings: Bindings,
    pub exprs: Exprs,
    root: ExprId,
    pub dtype: DType,
    /// Type of the values that come in.
    from: DType,
}

impl Epilogue {
    /// The expression of `root` over the values of `host`; `None` where it reads them elsewhere than at its own element.
    pub fn new(values: &Values<'_>, host: usize, root: usize, bindings: &Bindings) -> Option<Epilogue> {
        let mut bindings = bindings.clone();
        let shape = values.spec(root).shape;
        let mut builder = Builder::new(values, &mut bindings, &shape);
        builder.host = Some(host);
        let own = [root];
        builder.own = &own;
        let id = builder.eval(root, Builder::origin(&shape));
        if builder.conflict {
            return None;
        }
        let mut exprs = builder.exprs;
        exprs.merge(&[shape.rank()]);
        let (dtype, from) = (values.spec(root).dtype, values.spec(host).dtype);
        Some(Epilogue { bindings, exprs, root: id, dtype, from })
    }

    /// Four elements at a time where that is possible and wanted.
    pub fn width(&self, narrow: bool) -> Width {
        let last = self.exprs.extents.len() - 1;
        match !narrow && Emitter::can_widen(&self.exprs, last) {
            true => Width::Four { along: last },
            false => Width::One,
        }
    }

    /// The two functions that a kernel calls before it stores: one of them does the work, the other calls it.
    pub fn functions(&self, width: Width, scalar: &BTreeSet<usize>, words: &mut Words) -> (String, Helpers) {
        let mut e = Emitter::new(&self.exprs, width, "wg_", scalar.clone());
        e.words = std::mem::take(words);
        let split = e.split(self.exprs.extents.len());
        let (from, to) = (typed(self.from, 1), typed(self.dtype, 1));
        let (from4, to4) = (typed(self.from, 4), typed(self.dtype, 4));
        let value = e.operand(self.root, width.lanes());
        *words = std::mem::take(&mut e.words);
        let body = &e.body;
        let text = match width {
            // The scalar function is never called then; it keeps the module whole.
            Width::Four { .. } => format!(
                "fn epilogue4(v: {from4}, i: u32) -> {to4} {{\n{split}{body}    return {value};\n}}\n\
                 fn epilogue(v: {from}, i: u32) -> {to} {{ return epilogue4({from4}(v), i).x; }}\n"
            ),
            Width::One => format!(
                "fn epilogue(v: {from}, i: u32) -> {to} {{\n{split}{body}    return {value};\n}}\n\
                 fn epilogue4(v: {from4}, i: u32) -> {to4} {{ return {to4}(epilogue(v.x, i), epilogue(v.y, i + 1u), \
                 epilogue(v.z, i + 2u), epilogue(v.w, i + 3u)); }}\n"
            ),
        };
        (text, e.helpers)
    }

    /// Puts the epilogue into a hand-written kernel; gives that, and the words to be bound at [`WORDS_BINDING`].
    pub fn splice(&self, values: &Values<'_>, source: &Text) -> (Text, Vec<u32>) {
        // A kernel that stores element by element may call the scalar function for any element: it has to be the one that does
        // the work, since four elements at a time must begin at a multiple of four.
        let width = self.width(source.calls_scalar_epilogue());
        let scalar = scalar_buffers(&[(&self.exprs, width)]);
        let mut words = Words::default();
        let (functions, used) = self.functions(width, &scalar, &mut words);
        let mut text = header(values, &self.bindings, EXTRA_BINDING, |b| lanes(&scalar, b));
        words.declare(&mut text, WORDS_BINDING);
        text.push_str(BITS);
        text.push_str(&helpers(&used));
        text.push_str(&functions);
        (source.with_epilogue(text), words.list())
    }

    /// Storage buffers that it adds to those of the kernel (of a reduction: all that are read).
    pub fn storage(&self) -> usize {
        self.bindings.buffers.len() + self.exprs.records() as usize
    }

    /// Positions of the buffers that the epilogue reads.
    pub fn loads(&self) -> Vec<usize> {
        self.exprs.loads()
    }
}

/// The buffers that some of these expressions, written at these widths, read element by element.
pub(super) fn scalar_buffers(users: &[(&Exprs, Width)]) -> BTreeSet<usize> {
    let mut scalar = BTreeSet::new();
    for &(exprs, width) in users {
        let mut e = Emitter::new(exprs, width, "wg_", BTreeSet::new());
        e.find_scalar_buffers();
        scalar.extend(e.scalar_buffers);
        if width == Width::One {
            scalar.extend(exprs.loads());
        }
    }
    scalar
}

pub(super) fn lanes(scalar: &BTreeSet<usize>, buffer: usize) -> usize {
    if scalar.contains(&buffer) { 1 } else { 4 }
}
