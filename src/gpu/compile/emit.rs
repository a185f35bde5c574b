//! Expressions as WGSL: one element per invocation, or four neighbours at a time where every index allows it.
// Over 500 lines in one file: expressions are written in two widths, whose every line must say the same.

use super::expr::{Expr, ExprId, Exprs};
use super::index::{Atom, Lin, aligned, whole_quads};
use super::integers;
use super::words::{Helpers, Words, divide};
use crate::dtype::DType;
use crate::gpu::wgsl::rename;
use crate::ops::Pointwise;
use crate::ops::fault::{Fault, FaultKind};
use crate::ops::float::wgsl_function;
use crate::ops::philox::UNIT;
use crate::ops::table::{Binary, Compare, Unary};
use std::collections::BTreeSet;
use std::fmt::Write;

/// How many elements an invocation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Width {
    One,
    /// Four neighbours along this loop variable.
    Four {
        along: usize,
    },
}

impl Width {
    pub fn lanes(self) -> usize {
        match self {
            Width::One => 1,
            Width::Four { .. } => 4,
        }
    }
}

/// WGSL type of a value in a register: bytes are computed with as u32.
fn register(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::F64 => "f32",
        DType::I32 => "i32",
        DType::U32 | DType::U8 => "u32",
    }
}

pub(super) fn typed(dtype: DType, lanes: usize) -> String {
    match lanes {
        4 => format!("vec4<{}>", register(dtype)),
        _ => register(dtype).to_string(),
    }
}

/// WGSL type of a buffer's elements, for loads of so many neighbours.
pub(super) fn storage(dtype: DType, lanes: usize) -> String {
    match (dtype, lanes) {
        // four bytes are one word, whether one of them is wanted or all
        (DType::U8, _) => "u32".into(),
        (_, 4) => format!("vec4<{}>", register(dtype)),
        _ => register(dtype).into(),
    }
}

/// How a load reads its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// One element for all lanes.
    Same,
    /// Four neighbours at once.
    Aligned,
    /// Four elements, one by one.
    Scattered,
}

/// Writes one kernel's expressions.
pub(super) struct Emitter<'a> {
    exprs: &'a Exprs,
    width: Width,
    /// Which expressions differ between the lanes.
    wide: Vec<bool>,
    /// Helper functions that are called.
    pub helpers: Helpers,
    /// Buffers bound by their elements one by one because some load needs that.
    pub scalar_buffers: BTreeSet<usize>,
    pub body: String,
    /// The numbers that the text reads.
    pub words: Words,
    names: Vec<Option<String>>,
    prefix: &'static str,
}

impl<'a> Emitter<'a> {
    /// `scalar_buffers`: buffers that other code of the same kernel reads element by element.
    pub fn new(
        exprs: &'a Exprs,
        width: Width,
        prefix: &'static str,
        scalar_buffers: BTreeSet<usize>,
    ) -> Self {
        let mut emitter = Emitter {
            exprs,
            width,
            wide: Vec::new(),
            helpers: BTreeSet::new(),
            scalar_buffers,
            body: String::with_capacity(if prefix.is_empty() { 0 } else { 512 }),
            words: Words::default(),
            names: vec![None; exprs.list.len()],
            prefix,
        };
        if let Width::Four { along } = width {
            emitter.find_wide(along);
        } else {
            emitter.wide = vec![false; exprs.list.len()];
        }
        emitter
    }

    fn find_wide(&mut self, along: usize) {
        for (e, _) in &self.exprs.list {
            let wide = match e {
                Expr::Load { index, .. } | Expr::Index(index) | Expr::Philox { index, .. } => {
                    index.uses(along)
                }
                Expr::Host => true,
                Expr::Arg(_) | Expr::Constant(_) => false,
                Expr::Point { args, .. } => args.iter().any(|&a| self.wide[a]),
                Expr::Check { index, .. } => self.wide[*index],
                Expr::Guard { inside, outside, .. } => self.wide[*inside] || self.wide[*outside],
            };
            self.wide.push(wide);
        }
    }

    /// Whether four neighbours along the variable can be computed together.
    pub fn can_widen(exprs: &Exprs, along: usize) -> bool {
        exprs.extents[along].is_multiple_of(4) && Self::lanes_fit(exprs, along)
    }

    /// Whether that is so for any number of elements: where all are in one line, the last four may go beyond the end. What is
    /// there belongs to the buffers, whose bytes are a multiple of 16, and nobody reads it.
    pub fn can_overrun(exprs: &Exprs, along: usize) -> bool {
        let in_line = |(e, _): &(Expr, DType)| match e {
            Expr::Load { index, .. } | Expr::Philox { index, .. } => {
                !index.uses(along) || aligned(index, along)
            }
            _ => true,
        };
        Self::is_line(exprs, along)
            && !exprs.records()
            && exprs.list.iter().all(in_line)
            && Self::lanes_fit(exprs, along)
    }

    /// Whether all elements are in one line.
    pub fn is_line(exprs: &Exprs, along: usize) -> bool {
        // A batch of one is a batch.
        exprs.extents.iter().enumerate().all(|(v, &n)| v == along || (n == 1 && !exprs.uses(v)))
    }

    fn lanes_fit(exprs: &Exprs, along: usize) -> bool {
        if exprs.extents[along] == 0 {
            return false;
        }
        let probe = Emitter::new(exprs, Width::Four { along }, "", BTreeSet::new());
        let mut scattered = 0;
        let mut fine = true;
        for (e, _) in &exprs.list {
            match e {
                // One index serves all four lanes, each a fixed step on: so the variable must not be inside of a quotient, and
                // nothing that the index is made of may differ between the lanes. Then the loads are one of four neighbours, or
                // four of one each. A part of whole quads is kept to by all lanes alike.
                Expr::Load { index, .. } => {
                    fine &= (!index.hides(along) || aligned(index, along)) && !probe.varies(index);
                    scattered += (index.uses(along) && !aligned(index, along)) as usize;
                }
                Expr::Index(index) => fine &= !index.hides(along) && !probe.varies(index),
                Expr::Philox { index, .. } => fine &= !index.hides(along) && aligned(index, along),
                Expr::Guard { lin, low, len, .. } => {
                    let alike = !lin.uses(along) || whole_quads(lin, *low, *len, along);
                    fine &= alike && !probe.varies(lin);
                }
                _ => {}
            }
        }
        // Loads one by one cost as much as in four invocations: where all of several are so, nothing is gained.
        let loads = exprs.list.iter().filter(|(e, _)| matches!(e, Expr::Load { .. })).count();
        fine && (scattered == 0 || scattered < loads.max(2))
    }

    /// Whether an index depends on an expression that differs between the lanes.
    fn varies(&self, lin: &Lin) -> bool {
        let mut varies = false;
        lin.visit(&mut |l| {
            for (a, _) in &l.terms {
                if let Atom::Value(e, _) = a {
                    varies |= self.wide[*e];
                }
            }
        });
        varies
    }

    fn lanes(&self, e: ExprId) -> usize {
        if self.wide[e] { 4 } else { 1 }
    }

    /// An index form as a u32 expression; negative coefficients wrap.
    pub fn index(&mut self, lin: &Lin) -> String {
        let mut text = String::new();
        for (atom, c) in &lin.terms {
            let name = match atom {
                Atom::Var(v) => format!("{}v{v}", self.prefix),
                Atom::Div(l, n) => self.quotient(l, *n),
                Atom::Mod(l, n) => self.remainder(l, *n),
                Atom::Clamp(l, low, n) => {
                    let i = self.index(l);
                    let (low, last) = (self.words.word(*low as u32), self.words.word((n - 1) as u32));
                    format!("u32(clamp(i32({i}) - i32({low}), 0, i32({last})))")
                }
                Atom::Value(e, _) => format!("u32({})", self.value(*e)),
            };
            let plus = if text.is_empty() { "" } else { " + " };
            let _ = match c {
                1 => write!(text, "{plus}{name}"),
                _ => write!(text, "{plus}{name} * {}", self.words.word(*c as u32)),
            };
        }
        match (lin.offset, text.is_empty()) {
            (0, true) => text.push_str("0u"),
            // Elements one after the other, from the first on.
            (0, false) if matches!(lin.terms[..], [(_, 1)]) => {}
            (offset, true) => text = self.words.word(offset as u32),
            // A part that begins at the first element is no other kernel than one that begins later.
            (offset, false) => {
                let _ = write!(text, " + {}", self.words.word(offset as u32));
            }
        }
        text
    }

    fn most(&self, lin: &Lin) -> usize {
        lin.range(&self.exprs.extents).1.max(0) as usize
    }

    fn quotient(&mut self, lin: &Lin, n: i64) -> String {
        let (i, n, most) = (self.index(lin), self.words.word(n as u32), self.most(lin));
        divide(&mut self.helpers, &i, &n, most)
    }

    fn remainder(&mut self, lin: &Lin, n: i64) -> String {
        let (i, n, most) = (self.index(lin), self.words.word(n as u32), self.most(lin));
        let quotient = divide(&mut self.helpers, &i, &n, most);
        format!("(({i}) - {quotient} * {n})")
    }

    /// Splits the linear index `i` into the first loop variables, so many of them. The outermost needs no remainder.
    pub fn split(&mut self, count: usize) -> String {
        let extents = &self.exprs.extents[..count];
        let used = Self::variables_used(self.exprs);
        let most = extents.iter().product();
        let mut text = Self::zero(self.prefix);
        let mut rest = "i".to_string();
        for (v, &n) in extents.iter().enumerate().rev() {
            let outer = used[..v].contains(&true);
            if v > 0 && (used[v] || outer) {
                let (next, n) = (format!("{}r{v}", self.prefix), self.words.word(n as u32));
                let _ = writeln!(text, "    let {next} = {};", divide(&mut self.helpers, &rest, &n, most));
                if used[v] {
                    let _ = writeln!(text, "    let {}v{v} = {rest} - {next} * {n};", self.prefix);
                }
                rest = next;
            } else if used[v] {
                let _ = writeln!(text, "    let {}v{v} = {rest};", self.prefix);
            }
            if !outer {
                break;
            }
        }
        text
    }

    fn access(&self, buffer: usize, index: &Lin) -> Access {
        match self.width {
            Width::One => Access::Same,
            Width::Four { along } if !index.uses(along) => Access::Same,
            Width::Four { along } if aligned(index, along) && !self.scalar_buffers.contains(&buffer) => {
                Access::Aligned
            }
            Width::Four { .. } => Access::Scattered,
        }
    }

    /// Marks the buffers that can't be bound by fours. Call before writing anything.
    pub fn find_scalar_buffers(&mut self) {
        for (e, dtype) in &self.exprs.list {
            if let Expr::Load { buffer, index } = e
                && *dtype != DType::U8
                && self.access(*buffer, index) != Access::Aligned
            {
                self.scalar_buffers.insert(*buffer);
            }
        }
    }

    /// How far the lanes of an index form are from the first, which is `0u`.
    fn steps(&mut self, index: &Lin) -> [String; 4] {
        let step = match self.width {
            Width::Four { along } if aligned(index, along) => 1,
            Width::Four { along } => index.coefficient(along),
            Width::One => 0,
        };
        let by = if step == 1 { String::new() } else { format!(" * {}", self.words.word(step as u32)) };
        [0, 1, 2, 3].map(|k| if k == 0 { "0u".to_string() } else { format!("{k}u{by}") })
    }

    fn load(&mut self, buffer: usize, index: &Lin, dtype: DType) -> String {
        let name = format!("{}b{buffer}", self.prefix);
        let one = |i: &str| match dtype {
            DType::U8 => format!("(({name}[({i}) >> 2u] >> ((({i}) & 3u) * 8u)) & 255u)"),
            _ => format!("{name}[{i}]"),
        };
        let i = self.index(index);
        match (self.access(buffer, index), dtype) {
            (Access::Same, _) => one(&i),
            (Access::Aligned, DType::U8) => {
                format!("((vec4<u32>({name}[({i}) >> 2u]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u))")
            }
            (Access::Aligned, _) => format!("{name}[({i}) >> 2u]"),
            (Access::Scattered, _) => {
                // Outside of the part that it is kept in, it may be the last place: a whole quad begins before.
                let kept = matches!(self.width, Width::Four { along } if index.hides(along));
                let i = if kept { format!("(({i}) & 0xfffffffcu)") } else { i };
                let lanes: Vec<String> = self.steps(index).map(|by| one(&format!("{i} + {by}"))).into();
                format!("{}({})", typed(dtype, 4), lanes.join(", "))
            }
        }
    }

    /// The name of an expression's value; writes what it needs first.
    pub fn value(&mut self, e: ExprId) -> String {
        if let Some(name) = &self.names[e] {
            return name.clone();
        }
        let (expr, dtype) = self.exprs.list[e].clone();
        let lanes = self.lanes(e);
        let text = match expr {
            Expr::Host => "v".to_string(),
            Expr::Constant(bits) => return literal(f64::from_bits(bits), dtype),
            Expr::Arg(word) => {
                let raw = format!("{}args[{}u].{}", self.prefix, word / 4, ["x", "y", "z", "w"][word % 4]);
                match dtype {
                    DType::U32 | DType::U8 => raw,
                    _ => format!("bitcast<{}>({raw})", register(dtype)),
                }
            }
            Expr::Load { buffer, index } => self.load(buffer, &index, dtype),
            Expr::Index(index) => {
                let i = self.index(&index);
                match lanes {
                    4 => format!("(vec4<u32>({i}) + vec4<u32>({}))", self.steps(&index).join(", ")),
                    _ => format!("({i})"),
                }
            }
            Expr::Philox { key, index } => {
                self.helpers.insert(("philox", 4));
                let i = self.index(&index);
                let word =
                    |w: usize| format!("{}args[{}u].{}", self.prefix, w / 4, ["x", "y", "z", "w"][w % 4]);
                let call = format!("philox_4(({i}) >> 2u, {}, {})", word(key), word(key + 1));
                if lanes == 4 { call } else { format!("{call}[({i}) & 3u]") }
            }
            Expr::Point { op, args } => self.point(op, &args, dtype, lanes),
            Expr::Check { index, check } => {
                let (i, from) = (self.operand(index, lanes), self.exprs.list[index].1);
                self.helpers.extend([("fault", 1), ("check_index", lanes)]);
                // A negative index is a huge one: one comparison finds both ends.
                let i = match from {
                    DType::I32 => format!("bitcast<{}>({i})", typed(DType::U32, lanes)),
                    _ => i,
                };
                let tag = Fault::tag(check.kind, check.axis, from);
                format!("check_index_{lanes}({i}, {}, {tag}u)", self.words.word(check.len as u32))
            }
            Expr::Guard { lin, low, len, inside, outside } => {
                let (a, b) = (self.operand(inside, lanes), self.operand(outside, lanes));
                let i = self.index(&lin);
                let (low, len) = (self.words.word(low as u32), self.words.word(len as u32));
                format!("select({b}, {a}, ({i} - {low}) < {len})")
            }
        };
        let name = format!("{}e{e}", self.prefix);
        let _ = writeln!(self.body, "    let {name} = {text};");
        self.names[e] = Some(name.clone());
        name
    }

    /// A value for so many lanes: repeated where it is the same for all.
    pub fn operand(&mut self, e: ExprId, lanes: usize) -> String {
        let name = self.value(e);
        if lanes == 4 && self.lanes(e) == 1 {
            return format!("{}({name})", typed(self.exprs.list[e].1, 4));
        }
        name
    }

    /// Operands of a function, hidden from the driver where it might compute as if floats were exact: `x - x` is NaN for an
    /// infinite x, and `(a + b) - a` is not b. It must not see that two operands are the same, or what computed them.
    fn operands(&mut self, op: Pointwise, args: &[ExprId], lanes: usize) -> Vec<String> {
        // where the operand may be what another is, and where it may be what was computed from another
        let (same, computed) = match op {
            // one side is enough: the other can't be equal to it then, nor made of it
            Pointwise::Binary(Binary::Sub | Binary::Div) | Pointwise::Compare(_) => (1..2, 1..2),
            Pointwise::Binary(Binary::Atan2 | Binary::FloorDivide) => (1..2, 0..2),
            Pointwise::Where => (0..0, 0..1),
            Pointwise::Cast | Pointwise::Uniform | Pointwise::Normal => (0..0, 0..0),
            // exact, or by bits
            Pointwise::Unary(Unary::Neg | Unary::Abs | Unary::Relu | Unary::Sign) => (0..0, 0..0),
            _ => (0..0, 0..3),
        };
        let mut names = Vec::with_capacity(args.len());
        for (i, &a) in args.iter().enumerate() {
            let name = self.operand(a, lanes);
            let (expr, dtype) = &self.exprs.list[a];
            let is_computed = matches!(expr, Expr::Point { .. } | Expr::Guard { .. } | Expr::Host);
            let hidden = same.contains(&i) || is_computed && computed.contains(&i);
            names.push(match dtype {
                DType::F32 | DType::F64 if hidden => {
                    self.helpers.insert(("opaque", lanes));
                    format!("opaque_{lanes}({name}, {}zero)", self.prefix)
                }
                // what a comparison gave
                DType::U8 if hidden && is_computed => {
                    format!("({name} ^ {}({}zero))", typed(DType::U8, lanes), self.prefix)
                }
                _ => name,
            });
        }
        names
    }

    /// Declares the word that hides operands, for code in which `i` is the place of an element: no element is the last that a
    /// u32 counts, but drivers don't know.
    pub fn zero(prefix: &str) -> String {
        format!("    let {prefix}zero = u32(i == 0xffffffffu);\n")
    }

    fn call(&mut self, name: &'static str, lanes: usize, arguments: &str) -> String {
        self.helpers.insert((name, lanes));
        format!("{name}_{lanes}({arguments})")
    }

    fn point(&mut self, op: Pointwise, args: &[ExprId], dtype: DType, lanes: usize) -> String {
        let mut names = self.operands(op, args, lanes);
        let from = self.exprs.list[args[0]].1;
        let u = |n: u32| format!("{}({n}u)", typed(DType::U32, lanes));
        let byte = |text: String| match dtype {
            DType::U8 => format!("({text} & {})", u(255)),
            _ => text,
        };
        match op {
            Pointwise::Unary(f) if dtype.is_float() => {
                self.instantiate(f.wgsl().unwrap_or("x"), &names, lanes)
            }
            Pointwise::Unary(f) => {
                byte(self.instantiate_integer(f.wgsl_integer().unwrap_or("x"), &names, dtype, lanes))
            }
            Pointwise::Binary(f) if dtype.is_float() => {
                self.instantiate(f.wgsl().unwrap_or("x"), &names, lanes)
            }
            Pointwise::Binary(f) => {
                if op.records(dtype) {
                    self.helpers.extend([("fault", 1), ("check_exponent", lanes)]);
                    let tag = Fault::tag(FaultKind::Exponent, 0, dtype);
                    names[1] = format!("check_exponent_{lanes}({}, {tag}u)", names[1]);
                }
                byte(self.instantiate_integer(f.wgsl_integer().unwrap_or("x"), &names, dtype, lanes))
            }
            Pointwise::Compare(f) => {
                // NaN differs from itself, but compilers make an ordered comparison of `!=`
                if f == Compare::Ne {
                    return format!("select({}, {}, {} == {})", u(1), u(0), names[0], names[1]);
                }
                let condition = rename(f.wgsl(), |word| match word {
                    "x" => Some(names[0].clone()),
                    "y" => Some(names[1].clone()),
                    _ => None,
                });
                format!("select({}, {}, {condition})", u(0), u(1))
            }
            Pointwise::Where => format!("select({}, {}, {} != {})", names[2], names[1], names[0], u(0)),
            Pointwise::Clamp if dtype.is_float() => self.call("clamp", lanes, &names.join(", ")),
            Pointwise::Clamp => format!("min(max({}, {}), {})", names[0], names[1], names[2]),
            Pointwise::Cast => {
                let x = &names[0];
                let to = typed(dtype, lanes);
                match (from, dtype) {
                    (DType::F32, DType::U8) => self.call("to_byte", lanes, x),
                    (DType::F32, DType::I32) => self.call("to_i32", lanes, x),
                    (DType::F32, DType::U32) => self.call("to_u32", lanes, x),
                    (_, DType::U8) => format!("({to}({x}) & {})", u(255)),
                    _ => format!("{to}({x})"),
                }
            }
            Pointwise::Uniform => {
                format!("({}({} >> {}) * {UNIT:e})", typed(DType::F32, lanes), names[0], u(8))
            }
            Pointwise::Normal => self.call("normal", lanes, &names[0]),
        }
    }

    /// A table expression with its arguments, types and helpers filled in.
    fn instantiate(&mut self, expression: &'static str, names: &[String], lanes: usize) -> String {
        let ty = typed(DType::F32, lanes);
        let text = rename(expression, |word| match word {
            "x" => Some(names[0].clone()),
            "y" => names.get(1).cloned(),
            "T" => Some(ty.clone()),
            _ => wgsl_function(word).map(|(name, _)| {
                self.helpers.insert((name, lanes));
                format!("{name}_{lanes}")
            }),
        });
        format!("({text})")
    }

    /// A table expression of integers. What it calls is WGSL's, but for what [`integers`] has.
    fn instantiate_integer(
        &mut self,
        expression: &'static str,
        names: &[String],
        dtype: DType,
        lanes: usize,
    ) -> String {
        let text = rename(expression, |word| match word {
            "x" => Some(names[0].clone()),
            "y" => names.get(1).cloned(),
            "T" => Some(typed(dtype, lanes)),
            _ => integers::function(word, dtype == DType::I32).map(|name| {
                self.helpers.insert((name, lanes));
                format!("{name}_{lanes}")
            }),
        });
        format!("({text})")
    }

    /// The number of elements stored at `index` (in units of the width), as WGSL.
    pub fn store(dtype: DType, lanes: usize, target: &str, i: &str, value: &str) -> String {
        match (dtype, lanes) {
            (DType::U8, 4) => {
                let shifted = format!("({value} & vec4<u32>(255u)) << vec4<u32>(0u, 8u, 16u, 24u)");
                format!(
                    "    let packed_{target} = {shifted};\n    {target}[{i} >> 2u] = \
                     (packed_{target}.x | packed_{target}.y) | (packed_{target}.z | packed_{target}.w);\n"
                )
            }
            (_, 4) => format!("    {target}[{i} >> 2u] = {value};\n"),
            _ => format!("    {target}[{i}] = {value};\n"),
        }
    }

    /// Which loop variables are read by what has been or may be written.
    pub fn variables_used(exprs: &Exprs) -> Vec<bool> {
        let mut used = vec![false; exprs.extents.len()];
        exprs.visit(|l| {
            for (a, _) in &l.terms {
                if let Atom::Var(v) = a {
                    used[*v] = true;
                }
            }
        });
        used
    }
}

/// Included in every generated kernel: infinities and NaN by their bits, at run time since constants must be finite.
pub(super) const BITS: &str = "fn wg_bits(b: u32) -> f32 { return bitcast<f32>(b); }\n";

/// A constant as WGSL.
pub(super) fn literal(c: f64, dtype: DType) -> String {
    match dtype {
        DType::F32 | DType::F64 => {
            let f = c as f32;
            // In ten digits the largest is more than the largest, and Tint refuses it.
            if f.abs() < f32::MAX { format!("f32({f:?})") } else { format!("wg_bits({}u)", f.to_bits()) }
        }
        DType::I32 => format!("i32({})", c as i32),
        DType::U32 => format!("{}u", c as u32),
        DType::U8 => format!("{}u", c as u8),
    }
}
