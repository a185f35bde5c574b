//! Kernels of reductions: a prologue of pointwise work on what is read, an epilogue on what is stored, and where few outputs
//! would leave the device idle, two passes over fixed pieces, combined in their order.

mod loops;

use super::Values;
use super::emit::{BITS, Emitter, Width, storage, typed};
use super::expr::{Bindings, Builder, ExprId, Exprs};
use super::kernel::{
    ARGS_BINDING, EXTRA_BINDING, Epilogue, GROUP, Generated, header, lanes as binding_lanes, main_head,
    scalar_buffers,
};
use super::library::helpers;
use super::words::{Helpers, Words, divide};
use crate::dtype::DType;
use crate::gpu::kernels::{KernelTarget, fold};
use crate::ops::ReduceKind;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A reduction with its prologue, and perhaps an epilogue.
#[derive(Hash)]
pub(super) struct ReductionKernel {
    pub bindings: Bindings,
    /// How many buffers and arguments of these are what is reduced; the rest is the epilogue's.
    own: [usize; 2],
    kind: ReduceKind,
    exprs: Exprs,
    root: ExprId,
    dtype: DType,
    /// Number of loop variables of the output; the others run over what is reduced.
    outer: usize,
    width: Width,
    epilogue: Option<Epilogue>,
    /// Turns that a loop over all that is reduced takes. What is reduced is one line of so many, whatever its axes: it can be
    /// cut anywhere.
    line: usize,
    /// Turns of a piece, and number of pieces.
    pieces: (usize, usize),
    /// Whether another kernel combines the pieces, were it only one.
    in_pieces: bool,
    /// Elements of the line, where the last turn may go beyond them.
    end: Option<usize>,
    /// How results of pieces are combined.
    combining: Combining,
}

/// How an invocation that combines the results of pieces goes through them.
#[derive(Clone, Copy, Hash, PartialEq)]
enum Combining {
    /// For one output, or for four where the pieces were computed so.
    AsComputed,
    /// For four outputs at once, though each was computed alone.
    FourOutputs,
    /// Of all that there is four pieces at once, which lie side by side where there is one output. There are a multiple of four, the
    /// last of which may be empty.
    FourPieces,
}

impl Combining {
    /// Pieces that are read in a turn.
    fn pieces(self) -> usize {
        if self == Combining::FourPieces { 4 } else { 1 }
    }
}

/// The kernels of a reduction: one, or one for pieces and further ones that combine their results.
#[derive(Clone)]
pub(super) struct ReductionKernels {
    pub first: Generated,
    /// Bytes of the results before, and the kernel that combines them.
    pub further: Vec<(usize, Generated)>,
}

/// Turns of a piece at most: [`BLOCK`] blocks of blocks, so that no plain sum is longer than a block.
const LONGEST_PIECE: usize = BLOCK * BLOCK * BLOCK;

/// Terms of a plain sum. Rounding the sum of equal terms errs in one direction: 128 at a time and then all of those, sixteen
/// million of them were 4e-4 off; by sums of 16 sums of 16 they are 6e-7 off at most.
const BLOCK: usize = 16;

impl ReductionKernel {
    pub fn new(
        values: &Values<'_>,
        value: usize,
        root: Option<usize>,
        kind: ReduceKind,
        axes: &[bool],
        target: &KernelTarget,
    ) -> Option<ReductionKernel> {
        let input = values.input(value, 0);
        let shape = values.spec(input).shape;
        // variables: the output's dimensions, then the reduced ones
        let kept: Vec<usize> = (0..shape.rank()).filter(|&d| !axes[d]).collect();
        let mut reduced: Vec<usize> = (0..shape.rank()).filter(|&d| axes[d]).collect();
        let outer = kept.len();
        let build = |reduced: &[usize]| {
            let order = || kept.iter().chain(reduced).copied().enumerate();
            let dims: Vec<usize> = order().map(|(_, d)| shape[d]).collect();
            let mut bindings = Bindings::default();
            let mut builder = Builder::new(values, &mut bindings, &dims);
            let mut place = vec![super::index::Lin::default(); shape.rank()];
            // A batch of one is a batch.
            for (v, d) in order().filter(|&(_, d)| shape[d] != 1 || d == 0) {
                place[d] = super::index::Lin::var(v);
            }
            let id = builder.eval(input, super::index::Coordinates::of(place));
            let exprs = (!builder.conflict).then_some(builder.exprs);
            exprs.map(|exprs| (bindings, exprs, id))
        };
        let (mut bindings, mut exprs, mut id) = build(&reduced)?;
        // Any order gives the sum: the order of memory reads it in one go, whatever views have done to the axes.
        if let Some(strides) = exprs.strides(outer..outer + reduced.len()) {
            let natural = reduced.clone();
            let stride = |d: &usize| strides[natural.iter().position(|n| n == d).unwrap_or(0)];
            reduced.sort_by_key(|d| std::cmp::Reverse(stride(d)));
            if reduced != natural {
                (bindings, exprs, id) = build(&reduced)?;
            }
        }
        let groups = exprs.merge(&[outer, reduced.len()]);
        let outer = groups[0];
        let reduced = groups[1];
        let (last_out, last_red) = (outer - 1, outer + reduced - 1);
        // Four at a time along the variable that walks memory in steps of one. A product of a line of any length goes from left to
        // right: in another order what is infinite may meet what has become 0.
        let overruns =
            |v: usize| kind != ReduceKind::Prod && v == last_red && Emitter::can_overrun(&exprs, v);
        let contiguous = |v: usize| {
            let mut ones = 0;
            exprs.visit(|l| ones += (l.coefficient(v) == 1) as usize);
            ones > 0 && (Emitter::can_widen(&exprs, v) || overruns(v))
        };
        let width = if contiguous(last_red) {
            Width::Four { along: last_red }
        } else if contiguous(last_out) {
            Width::Four { along: last_out }
        } else {
            Width::One
        };
        let outputs: usize = exprs.extents[..outer].iter().product();
        let elements: usize = exprs.extents[outer..].iter().product();
        let (per_thread, per_turn) = match width {
            Width::Four { along } if along == last_out => (4, 1),
            Width::Four { .. } => (1, 4),
            Width::One => (1, 1),
        };
        // Pieces fill the adapter where there are few outputs, unless they would be so short that combining them costs more than
        // it saves; and no piece is longer than its sums may be, however many outputs there are.
        let line = elements.div_ceil(per_turn);
        let threads = (outputs / per_thread).max(1);
        let (wanted, shortest) = if target.cpu_adapter { (256, 256) } else { (16_384, 32) };
        let by_threads = (wanted / threads).min(elements / shortest);
        let count = by_threads.max(line.div_ceil(LONGEST_PIECE)).clamp(1, line.max(1));
        // What is added up along the first axis grows with the batch: one form for batches of all sizes.
        let in_pieces = count > 1 || axes.first() == Some(&true);
        let piece = match count {
            1 => line,
            // whole blocks, so that only the last piece has a rest
            _ => line.div_ceil(count).next_multiple_of(BLOCK),
        };
        // Real GPUs load four at a time. A product goes from left to right, as above.
        let combining = match (outputs, per_thread) {
            _ if target.cpu_adapter => Combining::AsComputed,
            _ if kept.is_empty() && kind != ReduceKind::Prod => Combining::FourPieces,
            (n, 1) if n.is_multiple_of(4) => Combining::FourOutputs,
            _ => Combining::AsComputed,
        };
        let count = line.div_ceil(piece.max(1)).max(1);
        let pieces = (piece, if in_pieces { count.next_multiple_of(combining.pieces()) } else { count });
        let own = [bindings.buffers.len(), bindings.args.len()];
        let epilogue = match root {
            Some(root) => Some(Epilogue::new(values, value, root, &bindings)?),
            None => None,
        };
        let bindings = epilogue.as_ref().map_or(bindings, |e| e.bindings.clone());
        let dtype = values.spec(value).dtype;
        let end = match width {
            Width::Four { along } if overruns(along) => Some(elements),
            _ => None,
        };
        Some(ReductionKernel {
            bindings,
            own,
            kind,
            exprs,
            root: id,
            dtype,
            outer,
            width,
            epilogue,
            line,
            pieces,
            in_pieces,
            end,
            combining,
        })
    }

    /// Storage buffers that it binds besides its output.
    pub fn storage(&self) -> usize {
        let records = self.exprs.records() || self.epilogue.as_ref().is_some_and(|e| e.exprs.records());
        self.bindings.buffers.len() + records as usize
    }

    /// Number of expressions in the prologue.
    pub fn size(&self) -> usize {
        self.exprs.list.len()
    }

    pub fn generate(&self, values: &Values<'_>, target: &KernelTarget) -> ReductionKernels {
        let outputs: usize = self.exprs.extents[..self.outer].iter().product();
        let (_, mut count) = self.pieces;
        let lanes_out = match self.width {
            Width::Four { along } if along < self.outer => 4,
            _ => 1,
        };
        let first = self.pieces_kernel(values, target, outputs, lanes_out, !self.in_pieces);
        // An invocation of a real GPU that went through thousands of results alone would keep all others waiting.
        let at_once = self.combining.pieces();
        let most = if target.cpu_adapter { LONGEST_PIECE } else { BLOCK * BLOCK / at_once };
        let lanes = if self.combining == Combining::FourOutputs { 4 } else { lanes_out };
        let mut further = Vec::new();
        let mut combined = !self.in_pieces;
        while !combined {
            let bytes = 4 * outputs * count;
            let turns = count / at_once;
            let piece = if turns <= most {
                turns
            } else {
                turns.div_ceil(turns.div_ceil(most)).next_multiple_of(BLOCK)
            };
            let left = match turns.div_ceil(piece) {
                1 => 1,
                several => several.next_multiple_of(at_once),
            };
            let kernel = self.combine_kernel(values, target, outputs, [turns, piece, left], lanes);
            further.push((bytes, kernel));
            (count, combined) = (left, left == 1);
        }
        ReductionKernels { first, further }
    }

    /// The epilogue functions for a kernel that stores so many lanes, and the buffers that are bound element by element,
    /// those of `other` expressions in the same kernel included.
    fn epilogue_text(
        &self,
        lanes: usize,
        other: Option<(&Exprs, Width)>,
        words: &mut Words,
    ) -> (String, BTreeSet<usize>, Helpers) {
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
                let (text, used) = epilogue.functions(width, &scalar, words);
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

    /// Reduces pieces of the line of what is reduced; the whole of it where there is one piece.
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
        let mut words = Words::after_sizes();
        let (functions, scalar, mut used_helpers) = match last {
            true => self.epilogue_text(lanes_out, Some(own), &mut words),
            false => (String::new(), scalar_buffers(&[own]), BTreeSet::new()),
        };
        let mut e = Emitter::new(&self.exprs, self.width, "wg_", scalar.clone());
        e.words = words;
        let split = e.split(self.outer);
        let (begin, place, advance) = self.odometer(&mut e);
        let value = e.operand(self.root, lanes);
        used_helpers.extend(e.helpers.iter().copied());
        let mut words = std::mem::take(&mut e.words);
        let value = match self.end {
            Some(end) => {
                let (ty, init, end) = (typed(self.dtype, 4), self.initial(), words.word(end as u32));
                format!(
                    "select({ty}({init}), {value}, vec4<u32>(q * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>({end}))"
                )
            }
            None => value,
        };
        let bindings = if last { &self.bindings } else { &self.first_bindings() };
        let mut text = header(values, bindings, 1, |b| binding_lanes(&scalar, b));
        let out = self.output_type(last);
        let binding = 1 + bindings.buffers.len();
        let _ = writeln!(
            text,
            "@group(0) @binding({binding}) var<storage, read_write> o0: array<{}>;",
            storage(out, lanes_out)
        );
        let rows = outputs / lanes_out;
        let invocations = rows * count;
        // sizes: invocations, outputs / lanes, turns of the line, turns of a piece
        let place_of = match self.in_pieces {
            false => format!("    let part = 0u;\n    let i = t * {lanes_out}u;\n"),
            true => {
                let part = divide(&mut used_helpers, "t", "sizes.y", invocations);
                format!("    let part = {part};\n    let i = (t - part * sizes.y) * {lanes_out}u;\n")
            }
        };
        words.declare(&mut text, 0);
        text.push_str(BITS);
        text.push_str(&helpers(&used_helpers));
        text.push_str(&functions);
        text.push_str(&main_head());
        text.push_str(&place_of);
        text.push_str(&split);
        text.push_str("    let from_r = part * sizes.w;\n    let to_r = min(from_r + sizes.w, sizes.z);\n");
        text.push_str(&begin);
        let body = format!("{place}{}", e.body);
        self.loops(&mut text, lanes, lanes_out == 1, [&body, &value, &advance]);
        self.finish(&mut text, last.then_some(out), lanes_out);
        Generated {
            wgsl: text.into(),
            words: words.finish([invocations as u32, rows as u32, self.line as u32, piece as u32]),
            workgroups: fold(invocations.div_ceil(GROUP), target.max_workgroups_per_dimension),
            turns: self.turns(piece),
        }
    }

    /// Stores `result`: through the epilogue as a type, or beside those of the other pieces.
    fn finish(&self, text: &mut String, out: Option<DType>, lanes: usize) {
        match out {
            Some(out) => {
                let call = if lanes == 4 { "epilogue4" } else { "epilogue" };
                let _ = writeln!(text, "    let stored = {call}(result, i);");
                text.push_str(&Emitter::store(out, lanes, "o0", "i", "stored"));
            }
            None => {
                let _ = writeln!(text, "    let at = part * (sizes.y * {lanes}u) + i;");
                text.push_str(&Emitter::store(self.dtype, lanes, "o0", "at", "result"));
            }
        }
        text.push_str("}\n");
    }

    /// The reduced variables of turn `q`: what is to be written before the loop, at the beginning of a turn, and at its end.
    /// One variable is `q` itself; several are carried along, since a division per turn would cost more than the turn.
    fn odometer(&self, e: &mut Emitter) -> (String, String, String) {
        let (first, end) = (self.outer, self.exprs.extents.len());
        let step = |v: usize| match self.width {
            Width::Four { along } if along == v => 4,
            _ => 1,
        };
        if end - first == 1 {
            return (String::new(), format!("    let wg_v{first} = q * {}u;\n", step(first)), String::new());
        }
        let (mut begin, mut advance) = (String::new(), String::new());
        let mut rest = "from_r".to_string();
        for v in (first..end).rev() {
            let by = step(v);
            let n = self.exprs.extents[v] / by;
            // The outermost needs no remainder.
            if v == first {
                let _ = writeln!(begin, "    var wg_v{v} = {rest} * {by}u;");
                break;
            }
            let (turns, end) = (e.words.word(n as u32), e.words.word((n * by) as u32));
            let quotient = divide(&mut e.helpers, &rest, &turns, self.line);
            let _ = writeln!(
                begin,
                "    let wg_q{v} = {quotient};\n    var wg_v{v} = ({rest} - wg_q{v} * {turns}) * {by}u;"
            );
            rest = format!("wg_q{v}");
            let _ = writeln!(
                advance,
                "    {}let wg_c{v} = wg_v{v} >= {end};\n    wg_v{v} = select(wg_v{v}, 0u, wg_c{v});\n    \
                 wg_v{} += select(0u, {}u, wg_c{v});",
                if v + 1 == self.exprs.extents.len() {
                    format!("wg_v{v} += {by}u;\n    ")
                } else {
                    String::new()
                },
                v - 1,
                step(v - 1),
            );
        }
        (begin, String::new(), advance)
    }

    /// Combines the results of pieces, which take so many turns, so many at a time, in their order.
    fn combine_kernel(
        &self,
        values: &Values<'_>,
        target: &KernelTarget,
        outputs: usize,
        [turns, piece, left]: [usize; 3],
        lanes: usize,
    ) -> Generated {
        let lanes_read = lanes.max(self.combining.pieces());
        let last = left == 1;
        let mut words = Words::after_sizes();
        let (functions, scalar, mut used_helpers) = match last {
            true => self.epilogue_text(lanes, None, &mut words),
            false => Default::default(),
        };
        let loads = if last { self.combine_loads() } else { Vec::new() };
        let rows = outputs / lanes;
        let invocations = rows * left;
        let part = divide(&mut used_helpers, "t", "sizes.y", invocations);
        let mut text = String::with_capacity(2048);
        words.declare(&mut text, 0);
        let ty = storage(self.dtype, lanes_read);
        let _ = writeln!(text, "@group(0) @binding(1) var<storage, read> parts: array<{ty}>;");
        let out = self.output_type(last);
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
        if last && !self.bindings.args.is_empty() {
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
        // sizes: invocations, outputs / lanes, turns through all pieces, turns of an invocation
        let _ = writeln!(
            text,
            "    let part = {part};\n    let column = t - part * sizes.y;\n    let i = column * {lanes}u;\n    \
             let from_r = part * sizes.w;\n    let to_r = min(from_r + sizes.w, sizes.z);"
        );
        self.loops(&mut text, lanes_read, lanes_read > lanes, ["", "parts[q * sizes.y + column]", ""]);
        self.finish(&mut text, last.then_some(out), lanes);
        Generated {
            wgsl: text.into(),
            words: words.finish([invocations as u32, rows as u32, turns as u32, piece as u32]),
            workgroups: fold(invocations.div_ceil(GROUP), target.max_workgroups_per_dimension),
            turns: self.turns(piece),
        }
    }

    /// What the first of several passes reads: an epilogue's buffers are the last one's.
    pub fn first_bindings(&self) -> Bindings {
        self.bindings.first(self.own)
    }

    /// Buffers (positions among the bindings) that the last combining kernel reads.
    pub fn combine_loads(&self) -> Vec<usize> {
        self.epilogue.iter().flat_map(|e| e.loads()).collect()
    }
}
