//! Kernels of reductions: a prologue of pointwise work on what is read, an epilogue on what is stored, and where few outputs
//! would leave the device idle, two passes over fixed pieces, combined in their order.

use super::Values;
use super::emit::{BITS, Emitter, Width, literal, split_index, storage, typed};
use super::expr::{Bindings, Builder, ExprId, Exprs};
use super::kernel::{
    ARGS_BINDING, EXTRA_BINDING, Epilogue, GROUP, Generated, header, lanes as binding_lanes, main_head,
    scalar_buffers,
};
use super::library::helpers;
use crate::dtype::DType;
use crate::gpu::kernels::{KernelTarget, fold};
use crate::ops::reduce::ReduceKind;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A reduction with its prologue, and perhaps an epilogue.
pub(super) struct Reduction {
    pub bindings: Bindings,
    kind: ReduceKind,
    exprs: Exprs,
    root: ExprId,
    dtype: DType,
    /// Number of loop variables of the output; the others run over what is reduced.
    outer: usize,
    width: Width,
    epilogue: Option<Epilogue>,
    /// The reduced variable that is cut into pieces: the longest.
    split: usize,
    /// Length of the pieces, and their number.
    pieces: (usize, usize),
}

/// The kernels of a reduction: one, or one for pieces and one for their results.
pub(super) struct ReductionKernels {
    pub first: Generated,
    /// Bytes of the pieces' results, and the kernel that combines them.
    pub second: Option<(usize, Generated)>,
}

/// Iterations of one invocation at most: lavapipe cuts loops at 65,535, and real GPUs like short ones.
const LONGEST_LOOP: usize = 16_384;

impl Reduction {
    pub fn new(
        values: &Values<'_>,
        value: usize,
        root: Option<usize>,
        kind: ReduceKind,
        axes: &[bool],
        target: &KernelTarget,
    ) -> Option<Reduction> {
        let input = values.input(value, 0);
        let shape = values.spec(input).shape;
        // variables: the output's dimensions, then the reduced ones
        let order: Vec<usize> =
            (0..shape.rank()).filter(|&d| !axes[d]).chain((0..shape.rank()).filter(|&d| axes[d])).collect();
        let outer = order.iter().filter(|&&d| !axes[d]).count();
        let dims: Vec<usize> = order.iter().map(|&d| shape[d]).collect();
        let mut bindings = Bindings::default();
        let mut builder = Builder::new(values, &mut bindings, &dims);
        let mut place = vec![super::index::Lin::default(); shape.rank()];
        for (v, &d) in order.iter().enumerate() {
            if shape[d] != 1 {
                place[d] = super::index::Lin::var(v);
            }
        }
        let id = builder.eval(input, super::index::Place::Axes(place));
        if builder.conflict {
            return None;
        }
        let mut exprs = builder.exprs;
        let groups = exprs.merge(&[outer, shape.rank() - outer]);
        let outer = groups[0];
        let reduced = groups[1];
        let (last_out, last_red) = (outer - 1, outer + reduced - 1);
        // Four at a time along the variable that walks memory in steps of one.
        let contiguous = |v: usize| {
            let mut ones = 0;
            exprs.visit(|l| ones += (l.coefficient(v) == 1) as usize);
            ones > 0 && Emitter::can_widen(&exprs, v)
        };
        let width = if contiguous(last_red) {
            Width::Four { along: last_red }
        } else if contiguous(last_out) {
            Width::Four { along: last_out }
        } else {
            Width::One
        };
        let outputs: usize = exprs.extents[..outer].iter().product();
        let split = (outer..outer + reduced).max_by_key(|&v| exprs.extents[v]).unwrap_or(outer);
        let length = exprs.extents[split];
        let inner: usize = exprs.extents[outer..].iter().product::<usize>() / length.max(1);
        let per_thread = if width == (Width::Four { along: last_out }) { 4 } else { 1 };
        let threads = (outputs / per_thread).max(1);
        let (wanted, shortest) = if target.cpu_adapter { (256, 256) } else { (16_384, 32) };
        let by_threads = (wanted / threads).min(length * inner / shortest).max(1);
        let by_length = (length * inner).div_ceil(LONGEST_LOOP);
        let count = by_threads.max(by_length).min(length.max(1));
        let step = match width {
            Width::Four { along } if along == split => 4,
            _ => 1,
        };
        let piece = length.div_ceil(count).next_multiple_of(step).max(1);
        let pieces = (piece, length.div_ceil(piece).max(1));
        let epilogue = match root {
            Some(root) => Some(Epilogue::new(values, value, root, &bindings)?),
            None => None,
        };
        let bindings = epilogue.as_ref().map_or(bindings, |e| e.bindings.clone());
        let dtype = values.spec(value).dtype;
        Some(Reduction { bindings, kind, exprs, root: id, dtype, outer, width, epilogue, split, pieces })
    }

    /// Number of expressions in the prologue.
    pub fn size(&self) -> usize {
        self.exprs.list.len()
    }

    fn initial(&self) -> String {
        match (self.kind, self.dtype) {
            (ReduceKind::Sum, d) => literal(0.0, d),
            (ReduceKind::Prod, d) => literal(1.0, d),
            (ReduceKind::Max, DType::I32) => "bitcast<i32>(0x80000000u)".into(),
            (ReduceKind::Max, d) => literal(f64::NEG_INFINITY, d),
            (ReduceKind::Min, DType::I32) => "i32(0x7fffffff)".into(),
            (ReduceKind::Min, DType::U32) => "0xffffffffu".into(),
            (ReduceKind::Min, d) => literal(f64::INFINITY, d),
        }
    }

    fn combine(&self, a: &str, b: &str) -> String {
        match self.kind {
            ReduceKind::Sum => format!("{a} + {b}"),
            ReduceKind::Prod => format!("{a} * {b}"),
            ReduceKind::Max => format!("max({a}, {b})"),
            ReduceKind::Min => format!("min({a}, {b})"),
        }
    }

    pub fn generate(&self, values: &Values<'_>, target: &KernelTarget) -> ReductionKernels {
        let outputs: usize = self.exprs.extents[..self.outer].iter().product();
        let (_, count) = self.pieces;
        let split = count > 1;
        let lanes_out = match self.width {
            Width::Four { along } if along < self.outer => 4,
            _ => 1,
        };
        let first = self.pieces_kernel(values, target, outputs, lanes_out, !split);
        let second = split.then(|| {
            let wide = outputs.is_multiple_of(4);
            (
                4 * outputs * count,
                self.combine_kernel(values, target, outputs, count, if wide { 4 } else { 1 }),
            )
        });
        ReductionKernels { first, second }
    }

    /// The epilogue functions for a kernel that stores so many lanes, and the buffers that are bound element by element,
    /// those of `other` expressions in the same kernel included.
    fn epilogue_text(
        &self,
        lanes: usize,
        other: Option<(&Exprs, Width)>,
    ) -> (String, BTreeSet<usize>, BTreeSet<(&'static str, usize)>) {
        let mut users: Vec<(&Exprs, Width)> = other.into_iter().collect();
        match &self.epilogue {
            None => {
                let (one, four) = (typed(self.dtype, 1), typed(self.dtype, 4));
                let text = format!(
                    "fn epilogue(v: {one}, i: u32) -> {one} {{ return v; }}\n\
                     fn epilogue4(v: {four}, i: u32) -> {four} {{ return v; }}\n"
                );
                (text, scalar_buffers(&users), BTreeSet::new())
            }
            Some(epilogue) => {
                let width = epilogue.width(lanes == 1);
                users.push((&epilogue.exprs, width));
                let scalar = scalar_buffers(&users);
                let (text, used) = epilogue.functions(width, &scalar);
                (text, scalar, used)
            }
        }
    }

    fn output_type(&self, epilogue: bool) -> DType {
        match (&self.epilogue, epilogue) {
            (Some(e), true) => e.dtype,
            _ => self.dtype,
        }
    }

    /// Reduces pieces of the outermost reduced variable; the whole of it where there is one piece.
    fn pieces_kernel(
        &self,
        values: &Values<'_>,
        target: &KernelTarget,
        outputs: usize,
        lanes_out: usize,
        last: bool,
    ) -> Generated {
        let (piece, count) = self.pieces;
        let lanes = self.width.lanes();
        let own = (&self.exprs, self.width);
        let (functions, scalar, mut used_helpers) = match last {
            true => self.epilogue_text(lanes_out, Some(own)),
            false => (String::new(), scalar_buffers(&[own]), BTreeSet::new()),
        };
        let mut e = Emitter::new(&self.exprs, self.width, "wg_", scalar.clone());
        let value = e.operand(self.root, lanes);
        used_helpers.extend(e.helpers.iter().copied());
        let used = Emitter::variables_used(&self.exprs);
        let mut text = header(values, &self.bindings, |b| binding_lanes(&scalar, b));
        let out = self.output_type(last);
        let binding = 1 + self.bindings.buffers.len();
        let _ = writeln!(
            text,
            "@group(0) @binding({binding}) var<storage, read_write> o0: array<{}>;",
            storage(out, lanes_out)
        );
        text.push_str(BITS);
        text.push_str(&helpers(&used_helpers));
        text.push_str(&functions);
        text.push_str(&main_head());
        // sizes: invocations, outputs / lanes, length of the outermost reduced variable, length of a piece
        if count > 1 {
            text.push_str("    let part = t / sizes.y;\n    let i = (t % sizes.y)");
        } else {
            text.push_str("    let part = 0u;\n    let i = t");
        }
        let _ = writeln!(text, " * {lanes_out}u;");
        text.push_str(&split_index("wg_", "i", 0, &self.exprs.extents[..self.outer], &used));
        let ty = typed(self.dtype, lanes);
        let init = self.initial();
        let _ = writeln!(text, "    let zero = {ty}({init});\n    var sum = zero;");
        text.push_str("    let from_r = part * sizes.w;\n    let to_r = min(from_r + sizes.w, sizes.z);\n");
        let step = |v: usize| match self.width {
            Width::Four { along } if along == v => 4,
            _ => 1,
        };
        // Blocks keep rounding errors small: a sum of sums of 128 rather than one long sum.
        let (v, by) = (self.split, step(self.split));
        let _ = writeln!(
            text,
            "    for (var block = from_r; block < to_r; block += {block}u) {{\n    var part_sum = zero;\n    \
             let end = min(block + {block}u, to_r);\n    for (var wg_v{v} = block; wg_v{v} < end; wg_v{v} += {by}u) {{",
            block = 128 * by
        );
        let inner: Vec<usize> = (self.outer..self.exprs.extents.len()).filter(|&v| v != self.split).collect();
        for &v in &inner {
            let (n, by) = (self.exprs.extents[v], step(v));
            let _ = writeln!(text, "    for (var wg_v{v} = 0u; wg_v{v} < {n}u; wg_v{v} += {by}u) {{");
        }
        text.push_str(&e.body);
        let _ = writeln!(text, "    part_sum = {};", self.combine("part_sum", &value));
        text.push_str(&"    }\n".repeat(inner.len() + 1));
        let _ = writeln!(text, "    sum = {};\n    }}", self.combine("sum", "part_sum"));
        let result = if lanes == 4 && lanes_out == 1 {
            let halves = self.combine("sum.x", "sum.y");
            let _ =
                writeln!(text, "    let low = {halves};\n    let high = {};", self.combine("sum.z", "sum.w"));
            self.combine("low", "high")
        } else {
            "sum".to_string()
        };
        let _ = writeln!(text, "    let result = {result};");
        if last {
            let call = if lanes_out == 4 { "epilogue4" } else { "epilogue" };
            let _ = writeln!(text, "    let stored = {call}(result, i);");
            text.push_str(&Emitter::store(out, lanes_out, "o0", "i", "stored"));
        } else {
            let at = format!("part * (sizes.y * {lanes_out}u) + i");
            let _ = writeln!(text, "    let at = {at};");
            text.push_str(&Emitter::store(out, lanes_out, "o0", "at", "result"));
        }
        text.push_str("}\n");
        let rows = outputs / lanes_out;
        let invocations = rows * count;
        Generated {
            wgsl: text,
            sizes: [invocations as u32, rows as u32, self.exprs.extents[self.split] as u32, piece as u32],
            workgroups: fold(invocations.div_ceil(GROUP), target.max_workgroups_per_dimension),
        }
    }

    /// Combines the pieces' results, in their order.
    fn combine_kernel(
        &self,
        values: &Values<'_>,
        target: &KernelTarget,
        outputs: usize,
        count: usize,
        lanes: usize,
    ) -> Generated {
        let (functions, scalar, used_helpers) = self.epilogue_text(lanes, None);
        let loads: Vec<usize> = self.epilogue.iter().flat_map(|e| e.loads()).collect();
        let mut text = "@group(0) @binding(0) var<uniform> sizes: vec4<u32>;\n".to_string();
        let ty = storage(self.dtype, lanes);
        let _ = writeln!(text, "@group(0) @binding(1) var<storage, read> parts: array<{ty}>;");
        let out = self.output_type(true);
        let _ = writeln!(
            text,
            "@group(0) @binding(2) var<storage, read_write> o0: array<{}>;",
            storage(out, lanes)
        );
        for &b in &loads {
            let ty = storage(values.spec(self.bindings.buffers[b]).dtype, binding_lanes(&scalar, b));
            let _ = writeln!(
                text,
                "@group(0) @binding({}) var<storage, read> wg_b{b}: array<{ty}>;",
                EXTRA_BINDING + b as u32
            );
        }
        if !self.bindings.args.is_empty() {
            let n = self.bindings.args.len().div_ceil(4);
            let _ = writeln!(
                text,
                "@group(0) @binding({ARGS_BINDING}) var<uniform> wg_args: array<vec4<u32>, {n}>;"
            );
        }
        text.push_str(BITS);
        text.push_str(&helpers(&used_helpers));
        text.push_str(&functions);
        text.push_str(&main_head());
        let _ = writeln!(
            text,
            "    let i = t * {lanes}u;\n    var sum = parts[t];\n    for (var k = 1u; k < sizes.z; k++) {{\n    \
             sum = {};\n    }}",
            self.combine("sum", "parts[k * sizes.x + t]")
        );
        let call = if lanes == 4 { "epilogue4" } else { "epilogue" };
        let _ = writeln!(text, "    let stored = {call}(sum, i);");
        text.push_str(&Emitter::store(out, lanes, "o0", "i", "stored"));
        text.push_str("}\n");
        let invocations = outputs / lanes;
        Generated {
            wgsl: text,
            sizes: [invocations as u32, outputs as u32, count as u32, 0],
            workgroups: fold(invocations.div_ceil(GROUP), target.max_workgroups_per_dimension),
        }
    }

    /// Buffers (positions among the bindings) that the combining kernel reads.
    pub fn combine_loads(&self) -> Vec<usize> {
        self.epilogue.iter().flat_map(|e| e.loads()).collect()
    }
}
