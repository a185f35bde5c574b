//! Generates the kernels of attention for adapters that run on a CPU and have subgroups: a workgroup is a subgroup, and what the kernels
//! for GPUs have in workgroup memory is in its registers.
//!
//! A workgroup has some rows of weights and goes through tiles of their columns, four to a lane: column `c` of lane `l` is `c * lanes +
//! l`. Of rows a lane loads every so many itself and `subgroupBroadcast` hands them round, as in matrix products (`gemm/registers.rs`). The
//! second product, of weights and what they weigh, has its columns in the lanes: there the weights are handed round. Rows and columns
//! past the end repeat the last one and are hidden or not stored. Everything is written out, but for the loops along a row, over the four
//! columns of the lanes and over the rows that are stored, whose variables move up.

use crate::gpu::kernels::Turns;
use crate::gpu::kernels::gemm::line;
use crate::gpu::wgsl::{declarations, shader};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// What is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    Forward,
    /// The gradient of queries, of keys, of values.
    Query,
    Key,
    Value,
}

/// A kernel: everything that its text depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lanes {
    pub of: Of,
    pub lanes: usize,
    /// Quads of a row of sums in a lane.
    pub chunks: usize,
}

/// Rows of a workgroup, where those of the sums are short.
const ROWS: usize = 32;

/// Rows that are stored at a time.
const STORED: usize = 4;

impl Lanes {
    /// The kernel for sums of so many columns.
    pub fn new(of: Of, lanes: usize, width: usize) -> Lanes {
        Lanes { of, lanes, chunks: width.div_ceil(4 * lanes) }
    }

    /// Rows of a workgroup: sums of long rows take more registers.
    pub fn rows(&self) -> usize {
        if self.chunks <= 2 { ROWS } else { ROWS / 2 }
    }

    /// Columns of a tile.
    pub fn columns(&self) -> usize {
        4 * self.lanes
    }

    /// The turns of an invocation that meets so many tiles, in rows of so many elements of either product.
    pub fn turns(&self, tiles: usize, [depth, width]: [usize; 2]) -> Turns {
        let product = Turns::of(depth / 4);
        let both = if self.slopes() { product.then(Turns::of(width / 4)) } else { product };
        Turns::around(tiles, both.then(Turns::of(4))).then(Turns::of(self.rows() / STORED))
    }

    /// The text, written once.
    pub fn source(self) -> &'static str {
        static WRITTEN: Mutex<Option<HashMap<Lanes, &'static str>>> = Mutex::new(None);
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        written.get_or_insert_default().entry(self).or_insert_with(|| self.write().leak())
    }

    fn by_key(&self) -> bool {
        matches!(self.of, Of::Key | Of::Value)
    }

    /// Whether there is a second product of rows and columns, that of the gradients of weights.
    fn slopes(&self) -> bool {
        matches!(self.of, Of::Query | Of::Key)
    }

    fn forward(&self) -> bool {
        self.of == Of::Forward
    }

    /// What is summed up by the weights, and the length of its rows in quads.
    fn summed(&self) -> [&'static str; 2] {
        match self.of {
            Of::Forward => ["value", "sizes.width"],
            Of::Query => ["key", "sizes.depth"],
            Of::Key => ["query", "sizes.depth"],
            Of::Value => ["d_out", "sizes.width"],
        }
    }

    fn write(&self) -> String {
        let mut s = declarations(shader!("attention_lanes.wgsl")).to_string();
        let others: &[&str] = match self.of {
            Of::Forward => &["bias: array<f32>", "lengths: array<i32>"],
            _ => &[
                "d_out: array<vec4<f32>>",
                "means: array<vec2<f32>>",
                "bias: array<f32>",
                "lengths: array<i32>",
            ],
        };
        for (i, other) in others.iter().enumerate() {
            line!(s, "@group(0) @binding({}) var<storage, read> {other};", 4 + i);
        }
        line!(s, "@group(0) @binding({}) var<storage, read_write> out: array<f32>;\n", 4 + others.len());
        line!(s, "@compute @workgroup_size({})", self.lanes);
        s += "fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = group.y * groups.x + group.x;
    if tile >= sizes.total {
        return;
    }
    let plane = tile / sizes.row_tiles;
    let scale = bitcast<f32>(sizes.scale);
    let causal = sizes.causal != 0u;
";
        line!(s, "    let first_row = (tile - plane * sizes.row_tiles) * {}u;", self.rows());
        s += match self.by_key() {
            false => {
                "    let length = length_of(plane / sizes.heads);
    let rows = sizes.queries;
    let columns = sizes.keys;
    let columns0 = (plane / sizes.group) * columns;
"
            }
            true => {
                "    let length = length_of(plane / (sizes.heads / sizes.group));
    let rows = sizes.keys;
    let columns = sizes.queries;
    let first = select(0u, first_row, causal);
    let end = select(0u, columns, first_row < length);
"
            }
        };
        if !self.by_key() {
            line!(s, "    let end = select(length, min(length, first_row + {}u), causal);", self.rows());
        }
        self.declare(&mut s);
        if self.by_key() {
            s += "    for (var member = 0u; member < sizes.group; member++) {
    let columns0 = (plane * sizes.group + member) * columns;
    for (var column = first; column < end; ";
        } else {
            s += "    for (var column = 0u; column < end; ";
        }
        line!(s, "column += {}u) {{", self.columns());
        self.tile(&mut s);
        line!(s, "    }}{}", if self.by_key() { " }" } else { "" });
        self.stores(&mut s);
        s += "}\n";
        s
    }

    /// Places of the rows, and what there is of each.
    fn declare(&self, s: &mut String) {
        for g in 0..self.rows() / self.lanes {
            let row = g * self.lanes;
            line!(s, "    let row{g} = plane * rows + min(first_row + {row}u + lane, rows - 1u);");
            if self.of == Of::Query {
                line!(s, "    let mean{g} = means[row{g}];");
            }
        }
        for i in 0..self.rows() {
            if self.forward() {
                line!(s, "    var peak{i} = LOWEST;");
                line!(s, "    var sum{i} = 0.0;");
            }
            for v in 0..self.chunks {
                line!(s, "    var o{i}_{v} = vec4<f32>();");
            }
        }
    }

    /// What a tile of columns adds.
    fn tile(&self, s: &mut String) {
        for c in 0..4 {
            let at = c * self.lanes;
            line!(s, "        let place{c} = columns0 + min(column + {at}u + lane, columns - 1u);");
        }
        let at: Vec<String> = (0..4).map(|c| format!("column + {}u + lane", c * self.lanes)).collect();
        line!(s, "        let at = vec4<u32>({});", at.join(", "));
        let [left, right] = if self.by_key() { ["key", "query"] } else { ["query", "key"] };
        self.product(s, "s", left, right, "sizes.depth");
        if self.slopes() {
            let [left, right] = if self.by_key() { ["value", "d_out"] } else { ["d_out", "value"] };
            self.product(s, "t", left, right, "sizes.width");
        }
        if self.by_key() {
            for c in 0..4 {
                line!(s, "        let mean{c} = means[place{c}];");
            }
            line!(s, "        let logs = vec4<f32>(mean0.x, mean1.x, mean2.x, mean3.x);");
            line!(s, "        let mean = vec4<f32>(mean0.y, mean1.y, mean2.y, mean3.y);");
        }
        for i in 0..self.rows() {
            if self.forward() { self.softmax(s, i) } else { self.weight(s, i) }
        }
        self.accumulate(s);
    }

    /// The products of the rows `left` with the columns `right` into `{name}{i}`, of so many quads.
    fn product(&self, s: &mut String, name: &str, left: &str, right: &str, quads: &str) {
        let groups = self.rows() / self.lanes;
        for i in 0..self.rows() {
            line!(s, "        var {name}{i} = vec4<f32>();");
        }
        for g in 0..groups {
            line!(s, "        var {name}a{g} = row{g} * {quads};");
        }
        for c in 0..4 {
            line!(s, "        var {name}b{c} = place{c} * {quads};");
        }
        line!(s, "        for (var quad = 0u; quad < {quads}; quad++) {{");
        for c in 0..4 {
            line!(s, "            let y{c} = {right}[{name}b{c}];");
            line!(s, "            {name}b{c} += 1u;");
        }
        for e in ['x', 'y', 'z', 'w'] {
            line!(s, "            let {e} = vec4<f32>(y0.{e}, y1.{e}, y2.{e}, y3.{e});");
        }
        for g in 0..groups {
            line!(s, "            let x{g} = {left}[{name}a{g}];");
            line!(s, "            {name}a{g} += 1u;");
            for l in 0..self.lanes {
                let i = g * self.lanes + l;
                line!(s, "            let r{i} = subgroupBroadcast(x{g}, {l}u);");
                line!(s, "            {name}{i} += (r{i}.x * x + r{i}.y * y) + (r{i}.z * z + r{i}.w * w);");
            }
        }
        line!(s, "        }}");
    }

    /// Weights of row `i` by its scores, where what was summed up is corrected for a larger score.
    fn softmax(&self, s: &mut String, i: usize) {
        line!(
            s,
            "        let open{i} = at < vec4<u32>(select(length, min(length, first_row + {}u), causal));",
            i + 1
        );
        line!(s, "        let score{i} = s{i} * scale;");
        line!(s, "        let high{i} = select(vec4<f32>(LOWEST), score{i}, open{i});");
        line!(s, "        let most{i} = max(max(high{i}.x, high{i}.y), max(high{i}.z, high{i}.w));");
        line!(s, "        let top{i} = max(peak{i}, subgroupMax(most{i}));");
        line!(s, "        let factor{i} = exp(peak{i} - top{i});");
        line!(s, "        peak{i} = top{i};");
        line!(s, "        s{i} = select(vec4<f32>(), exp(score{i} - top{i}) + broken(score{i}), open{i});");
        line!(s, "        sum{i} = sum{i} * factor{i} + ((s{i}.x + s{i}.y) + (s{i}.z + s{i}.w));");
        for v in 0..self.chunks {
            line!(s, "        o{i}_{v} *= factor{i};");
        }
    }

    /// Weights of row `i`, or their gradients, by the logarithms of queries.
    fn weight(&self, s: &mut String, i: usize) {
        let (logs, mean) = match self.by_key() {
            true => {
                line!(s, "        let low{i} = select(0u, first_row + {i}u, causal);");
                line!(s, "        let high{i} = select(0u, columns, first_row + {i}u < length);");
                line!(s, "        let open{i} = (at >= vec4<u32>(low{i})) & (at < vec4<u32>(high{i}));");
                ("logs".to_string(), "mean".to_string())
            }
            false => {
                let bound = format!("select(length, min(length, first_row + {}u), causal)", i + 1);
                line!(s, "        let open{i} = at < vec4<u32>({bound});");
                let (g, l) = (i / self.lanes, i % self.lanes);
                line!(s, "        let of{i} = subgroupBroadcast(mean{g}, {l}u);");
                (format!("vec4<f32>(of{i}.x)"), format!("of{i}.y"))
            }
        };
        line!(s, "        s{i} = select(vec4<f32>(), exp(s{i} * scale - {logs}) + lost({logs}), open{i});");
        if self.slopes() {
            let slope = format!("s{i} * (t{i} - {mean}) * scale");
            line!(s, "        s{i} = select({slope}, vec4<f32>(), s{i} == vec4<f32>());");
        }
    }

    /// Adds up rows of the columns' second matrix by the weights.
    fn accumulate(&self, s: &mut String) {
        let [summed, quads] = self.summed();
        line!(s, "        var from_column = column;");
        line!(s, "        for (var c = 0u; c < 4u && from_column < end; c++) {{");
        for l in 0..self.lanes {
            line!(s, "            let z{l} = (columns0 + min(from_column + {l}u, columns - 1u)) * {quads};");
            for v in 0..self.chunks {
                let quad = format!("min(lane + {}u, {quads} - 1u)", v * self.lanes);
                line!(s, "            let z{l}_{v} = {summed}[z{l} + {quad}];");
            }
        }
        for i in 0..self.rows() {
            for l in 0..self.lanes {
                line!(s, "            let w{i}_{l} = subgroupBroadcast(s{i}.x, {l}u);");
            }
            for v in 0..self.chunks {
                let terms: Vec<String> = (0..self.lanes).map(|l| format!("w{i}_{l} * z{l}_{v}")).collect();
                line!(s, "            o{i}_{v} += {};", halves(&terms));
            }
            line!(s, "            s{i} = s{i}.yzwx;");
        }
        line!(s, "            from_column += {}u;", self.lanes);
        line!(s, "        }}");
    }

    fn stores(&self, s: &mut String) {
        let quads = self.summed()[1];
        line!(s, "    let last = min(first_row + {}u, rows);", self.rows());
        line!(s, "    for (var m = first_row; m < last; m += {STORED}u) {{");
        for i in 0..STORED {
            line!(s, "        let index{i} = plane * rows + m + {i}u;");
            if self.forward() {
                line!(s, "        let total{i} = subgroupAdd(sum{i});");
                line!(s, "        let mean{i} = 1.0 / total{i};");
            }
            line!(s, "        if m + {i}u < last {{");
            for v in 0..self.chunks {
                let value = if self.forward() {
                    format!("result(o{i}_{v} * mean{i}, total{i}, length)")
                } else {
                    format!("o{i}_{v}")
                };
                line!(s, "            let quad{v} = lane + {}u;", v * self.lanes);
                line!(s, "            if quad{v} < {quads} {{");
                line!(
                    s,
                    "                store({value}, sizes.first + 4u * (index{i} * {quads} + quad{v}));"
                );
                line!(s, "            }}");
            }
            if self.forward() {
                line!(s, "            if lane == 0u {{");
                line!(
                    s,
                    "                out[sizes.logs + index{i}] = logarithm(peak{i}, total{i}, length);"
                );
                line!(s, "            }}");
            }
            line!(s, "        }}");
        }
        for i in STORED..self.rows() {
            let to = i - STORED;
            if self.forward() {
                line!(s, "        sum{to} = sum{i};");
                line!(s, "        peak{to} = peak{i};");
            }
            for v in 0..self.chunks {
                line!(s, "        o{to}_{v} = o{i}_{v};");
            }
        }
        line!(s, "    }}");
    }
}

/// A sum of halves of halves.
fn halves(terms: &[String]) -> String {
    match terms {
        [one] => one.clone(),
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            format!("({} + {})", halves(left), halves(right))
        }
    }
}
