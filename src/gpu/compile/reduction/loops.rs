//! The loops of a reduction: over a line, in blocks of blocks where the order matters.

use super::{BLOCK, ReductionKernel};
use crate::dtype::DType;
use crate::gpu::compile::emit::{literal, typed};
use crate::gpu::kernels::Turns;
use crate::ops::ReduceKind;
use std::fmt::Write;

impl ReductionKernel {
    pub(super) fn initial(&self) -> String {
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

    pub(super) fn combine(&self, a: &str, b: &str) -> String {
        match self.kind {
            ReduceKind::Sum => format!("{a} + {b}"),
            ReduceKind::Prod => format!("{a} * {b}"),
            ReduceKind::Max => format!("max({a}, {b})"),
            ReduceKind::Min => format!("min({a}, {b})"),
        }
    }

    /// Whether NaN has to be looked for beside the result: `max` and `min` drop it on some drivers, and any comparison of it
    /// may be folded on others.
    pub(super) fn seeks_nan(&self) -> bool {
        self.dtype.is_float() && matches!(self.kind, ReduceKind::Max | ReduceKind::Min)
    }

    /// Levels of loops that a line of so many turns is reduced in: the order matters to sums of floats. (A product errs by as
    /// many roundings in any order, and the one from left to right is soon away from 1, below which floats are denser.)
    pub(super) fn levels(&self) -> usize {
        let rounds = self.dtype.is_float() && self.kind == ReduceKind::Sum;
        // Three, however short the line is: a text for lines of all lengths, and the loops around the loop cost little.
        if rounds { 3 } else { 1 }
    }

    pub(super) fn turns(&self, longest: usize) -> Turns {
        if self.levels() == 1 {
            return Turns::of(longest);
        }
        let (blocks, block) = (longest.div_ceil(BLOCK).min(BLOCK), longest.min(BLOCK));
        Turns::around(longest.div_ceil(BLOCK * BLOCK), Turns::around(blocks, Turns::of(block)))
    }

    /// Loops of `q` from `from_r` to `to_r` that leave what `body` computes as `value`, combined, in `result`: block by block,
    /// `lanes` of them side by side, which end up in one where `join`.
    pub(super) fn loops(&self, text: &mut String, lanes: usize, join: bool, turn: [&str; 3]) {
        let [body, value, advance] = turn;
        let (ty, uint) = (typed(self.dtype, lanes), typed(DType::U32, lanes));
        let init = self.initial();
        let levels = self.levels();
        text.push_str("    var q = from_r;\n");
        for level in 0..levels {
            let _ = writeln!(text, "    var sum{level} = {ty}({init});");
        }
        if self.seeks_nan() {
            let _ = writeln!(text, "    var magnitude = {uint}(0u);");
        }
        for level in (1..levels).rev() {
            let outer = if level + 1 == levels { "to_r".to_string() } else { format!("end{}", level + 1) };
            let block = BLOCK.pow(level as u32);
            let _ = writeln!(
                text,
                "    while (q < {outer}) {{\n    let end{level} = min(q + {block}u, {outer});\n    sum{} = {ty}({init});",
                level - 1
            );
        }
        let end = if levels == 1 { "to_r" } else { "end1" };
        let _ = writeln!(text, "    while (q < {end}) {{\n{body}    let value = {value};");
        let _ = writeln!(text, "    sum0 = {};", self.combine("sum0", "value"));
        if self.seeks_nan() {
            let bits = format!("bitcast<{uint}>(value) & {uint}(0x7fffffffu)");
            let _ = writeln!(text, "    magnitude = max(magnitude, {bits});");
        }
        let _ = writeln!(text, "{advance}    q += 1u;\n    }}");
        for level in 1..levels {
            let (all, part) = (format!("sum{level}"), format!("sum{}", level - 1));
            let _ = writeln!(text, "    {all} = {};\n    }}", self.combine(&all, &part));
        }
        let sum = format!("sum{}", levels - 1);
        let quad = |of: &str, combine: &dyn Fn(&str, &str) -> String| {
            let (low, high) = (
                combine(&format!("{of}.x"), &format!("{of}.y")),
                combine(&format!("{of}.z"), &format!("{of}.w")),
            );
            combine(&format!("({low})"), &format!("({high})"))
        };
        let joins = join && lanes == 4;
        let result = if joins { quad(&sum, &|a, b| self.combine(a, b)) } else { sum };
        if !self.seeks_nan() {
            let _ = writeln!(text, "    let result = {result};");
            return;
        }
        let magnitude =
            if joins { quad("magnitude", &|a, b| format!("max({a}, {b})")) } else { "magnitude".into() };
        let lanes = if joins { 1 } else { lanes };
        let (ty, uint) = (typed(self.dtype, lanes), typed(DType::U32, lanes));
        let nan = literal(f64::NAN, self.dtype);
        let _ = writeln!(
            text,
            "    let result = select({result}, {ty}({nan}), {magnitude} > {uint}(0x7f800000u));"
        );
    }
}
