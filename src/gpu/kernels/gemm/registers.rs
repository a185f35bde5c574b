//! Generates GEMM kernels that keep their block in registers and use no workgroup memory, for adapters that run on a
//! CPU: there a barrier costs more than it saves, and a lane of a subgroup is a lane of a vector register.
//!
//! The lanes of a workgroup lie along n. Each lane accumulates `rows` x `cols` elements. With subgroups, every lane loads
//! A for another row (or another k) and `subgroupBroadcast` hands it round; without, every lane loads all of A itself.
//! The block is written out in full because drivers keep an indexed array in memory.

use std::fmt::Write;
use std::ops::Range;

use super::{ALayout, BLoad};

/// Shape of a generated kernel: everything that the source text depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    /// Lanes of a workgroup, all of them along n; the size of a subgroup where `subgroup`.
    pub lanes: usize,
    pub subgroup: bool,
    /// Rows of C per workgroup.
    pub rows: usize,
    /// Columns of C per lane: 1, 2 or a multiple of 4.
    pub cols: usize,
    /// All of k at once, that many: a block of `lanes` rows after the other, B in registers.
    pub short_k: Option<usize>,
    /// Every workgroup's part of a segment is a multiple of 4, where A is contiguous along k.
    pub whole_quads: bool,
    pub a: ALayout,
    /// A is bound as `vec4` and loaded so.
    pub a_vec4: bool,
    pub b: BLoad,
    /// Places of A may be outside of the image.
    pub masked: bool,
    /// `row_init` gives rows another order than that of C.
    pub permuted: bool,
    /// C is bound as `vec4` and stored so.
    pub out_vec4: bool,
}

const XYZW: [char; 4] = ['x', 'y', 'z', 'w'];

/// Appends a formatted line. Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _ = writeln!($out, $($arg)*); }};
}
pub(super) use line;

impl Registers {
    /// Columns of C per workgroup.
    pub fn tile_n(&self) -> usize {
        self.lanes * self.cols
    }

    /// k per step of the walk, where A is contiguous along m.
    pub fn step(&self) -> usize {
        if self.subgroup { self.lanes } else { 1 }
    }

    /// Components of an accumulator, and accumulators per row.
    fn vector(&self) -> (usize, usize) {
        let width = self.cols.min(4);
        (width, self.cols / width)
    }

    fn vector_type(&self) -> &'static str {
        match self.vector().0 {
            1 => "f32",
            2 => "vec2<f32>",
            _ => "vec4<f32>",
        }
    }

    /// The kernel, to stand below the declarations of an operand file.
    pub fn source(&self) -> String {
        let mut s = super::bindings(self.a_vec4, self.b != BLoad::Scalar, self.out_vec4);
        self.store_function(&mut s);
        let (lanes, rows) = (self.lanes, self.rows);
        let lane = if self.subgroup { "subgroup_invocation_id" } else { "local_invocation_index" };
        line!(s, "@compute @workgroup_size({lanes})");
        line!(s, "fn main(");
        line!(s, "    @builtin(workgroup_id) group: vec3<u32>,");
        line!(s, "    @builtin(num_workgroups) groups: vec3<u32>,");
        line!(s, "    @builtin({lane}) lane: u32,");
        line!(s, ") {{");
        s += &super::tile_prologue(rows, self.tile_n());
        self.columns(&mut s);
        if let Some(k) = self.short_k {
            self.short(&mut s, k);
            s += "}\n";
            return s;
        }
        let (_, vectors) = self.vector();
        for i in 0..rows {
            for j in 0..vectors {
                line!(s, "    var c{i}_{j} = {}();", self.vector_type());
            }
        }
        match self.a {
            ALayout::AlongK => self.segments(&mut s),
            ALayout::AlongM => self.walk(&mut s),
        }
        line!(s, "    let base = batch.out + split * p.out_split;");
        for i in 0..rows {
            let out_row = match (self.permuted, self.subgroup) {
                (false, _) => format!("m0 + {i}u"),
                (true, false) => format!("row{i}.out"),
                (true, true) => format!("subgroupBroadcast(row{}.out, {}u)", i / lanes, i % lanes),
            };
            line!(s, "    let out{i} = {out_row};");
            line!(s, "    if m0 + {i}u < p.m {{");
            for j in 0..vectors {
                line!(s, "        store(c{i}_{j}, base + out{i} * p.out_m, column{j});");
            }
            line!(s, "    }}");
        }
        s += "}\n";
        s
    }

    fn store_function(&self, s: &mut String) {
        let (width, _) = self.vector();
        line!(s, "fn store(v: {}, row: u32, n: u32) {{", self.vector_type());
        line!(s, "    let i = row + n;");
        if self.out_vec4 {
            line!(s, "    if n < p.n {{ out[i / 4u] = epilogue4(v, i); }}");
        } else {
            for (e, component) in XYZW.iter().enumerate().take(width) {
                let value = if width == 1 { "v".to_string() } else { format!("v.{component}") };
                line!(s, "    if n + {e}u < p.n {{ out[i + {e}u] = epilogue({value}, i + {e}u); }}");
            }
        }
        line!(s, "}}\n");
    }

    /// First column of each accumulator, and where its elements of B are; columns past the end repeat the last one.
    fn columns(&self, s: &mut String) {
        let (width, vectors) = self.vector();
        for j in 0..vectors {
            line!(s, "    let column{j} = n0 + {}u + lane * {width}u;", j * self.lanes * width);
            if self.b == BLoad::QuadsAlongN {
                line!(s, "    let col{j} = min(column{j}, p.n - 4u) / 4u;");
                continue;
            }
            let quad = if self.b == BLoad::QuadsAlongK { " / 4u" } else { "" };
            for e in 0..width {
                line!(s, "    let col{j}_{e} = min(column{j} + {e}u, p.n - 1u) * p.b_n{quad};");
            }
        }
    }

    /// `vecN(f(0), f(1), ...)`
    fn compose(&self, f: impl Fn(usize) -> String) -> String {
        let (width, _) = self.vector();
        if width == 1 {
            return f(0);
        }
        let parts: Vec<String> = (0..width).map(f).collect();
        format!("{}({})", self.vector_type(), parts.join(", "))
    }

    /// Loads one row of B into `b{name}_{j}`, from the element index `at` of its first column.
    fn load_b_row(&self, s: &mut String, name: usize, at: &str, indent: &str) {
        let (_, vectors) = self.vector();
        match self.b {
            BLoad::QuadsAlongN => line!(s, "{indent}let bq{name} = ({at}) / 4u;"),
            _ => line!(s, "{indent}let bi{name} = {at};"),
        }
        for j in 0..vectors {
            let value = match self.b {
                BLoad::QuadsAlongN => format!("b[bq{name} + col{j}]"),
                BLoad::QuadsAlongK => {
                    self.compose(|e| format!("b[bi{name} / 4u + col{j}_{e}][bi{name} % 4u]"))
                }
                BLoad::Scalar => self.compose(|e| format!("b[bi{name} + col{j}_{e}]")),
            };
            line!(s, "{indent}let b{name}_{j} = {value};");
        }
    }

    /// Loads four consecutive rows of B into `b0_{j}` to `b3_{j}`, from k on.
    fn load_b_quad(&self, s: &mut String) {
        let (width, vectors) = self.vector();
        if self.b != BLoad::QuadsAlongK {
            for kk in 0..4 {
                self.load_b_row(s, kk, &format!("segment.b + (k + {kk}u) * p.b_k"), "            ");
            }
            return;
        }
        for j in 0..vectors {
            for e in 0..width {
                line!(s, "            let t{j}_{e} = b[(segment.b + k) / 4u + col{j}_{e}];");
            }
            for (kk, component) in XYZW.iter().enumerate() {
                let value = self.compose(|e| format!("t{j}_{e}.{component}"));
                line!(s, "            let b{kk}_{j} = {value};");
            }
        }
    }

    /// Adds `a * B[kk, :]` to row `i`.
    fn multiply(&self, s: &mut String, i: usize, a: &str, kk: usize, indent: &str) {
        let (_, vectors) = self.vector();
        for j in 0..vectors {
            line!(s, "{indent}c{i}_{j} += {a} * b{kk}_{j};");
        }
    }

    /// Rows whose A a lane loads itself: one of each group of rows where lanes share, else all of them.
    fn loaded_rows(&self) -> usize {
        if self.subgroup { self.rows.div_ceil(self.lanes) } else { self.rows }
    }

    /// The value of row `i`, given what the lanes loaded.
    fn shared(&self, i: usize) -> String {
        if self.subgroup {
            format!("subgroupBroadcast(a{}, {}u)", i / self.lanes, i % self.lanes)
        } else {
            format!("a{i}")
        }
    }

    /// A contiguous along k: segments, and quads of k inside of them.
    fn segments(&self, s: &mut String) {
        let loaded = self.loaded_rows();
        for g in 0..loaded {
            let m =
                if self.subgroup { format!("m0 + {}u + lane", g * self.lanes) } else { format!("m0 + {g}u") };
            line!(s, "    let row{g} = row_init(min({m}, p.m - 1u), batch);");
        }
        line!(s, "    for (var i = s0; i < s1; i++) {{");
        line!(s, "        let segment = segment_init(i, batch);");
        for g in 0..loaded {
            line!(s, "        let place{g} = a_segment(row{g}, segment);");
            let index = format!("place{g}.index");
            let index = if self.masked { format!("select(0u, {index}, place{g}.valid)") } else { index };
            line!(s, "        let at{g} = {index};");
        }
        // A segment that lies outside of the image for all rows is skipped.
        let mut end = "k1";
        if self.masked {
            let any: Vec<String> = (0..loaded).map(|g| format!("place{g}.valid")).collect();
            let any = any.join(" || ");
            let any = if self.subgroup { format!("subgroupAny({any})") } else { any };
            line!(s, "        let end = select(k0, k1, {any});");
            end = "end";
        }
        line!(s, "        var k = k0;");
        line!(s, "        for (; k + 4u <= {end}; k += 4u) {{");
        self.segment_quad(s);
        line!(s, "        }}");
        if !self.whole_quads {
            self.segment_rest(s, end);
        }
        line!(s, "    }}");
    }

    /// The last one to three k of a segment.
    fn segment_rest(&self, s: &mut String, end: &str) {
        line!(s, "        for (; k < {end}; k++) {{");
        self.load_b_row(s, 0, "segment.b + k * p.b_k", "            ");
        for g in 0..self.loaded_rows() {
            let value = if self.a_vec4 {
                format!("a[(at{g} + k) / 4u][(at{g} + k) % 4u]")
            } else {
                format!("a[at{g} + k]")
            };
            line!(s, "            let a{g} = {};", self.mask(&value, g, "0.0"));
        }
        for i in 0..self.rows {
            line!(s, "            let r{i} = {};", self.shared(i));
            self.multiply(s, i, &format!("r{i}"), 0, "            ");
        }
        line!(s, "        }}");
    }

    fn mask(&self, value: &str, g: usize, zero: &str) -> String {
        if self.masked { format!("select({zero}, {value}, place{g}.valid)") } else { value.to_string() }
    }

    /// Four k of a segment.
    fn segment_quad(&self, s: &mut String) {
        self.load_b_quad(s);
        let group = if self.subgroup { self.lanes } else { 1 };
        for g in 0..self.loaded_rows() {
            let value = if self.a_vec4 {
                format!("a[(at{g} + k) / 4u]")
            } else {
                let parts: Vec<String> = (0..4).map(|e| format!("a[at{g} + k + {e}u]")).collect();
                format!("vec4<f32>({})", parts.join(", "))
            };
            line!(s, "            let a{g} = {};", self.mask(&value, g, "vec4<f32>()"));
            for i in g * group..((g + 1) * group).min(self.rows) {
                line!(s, "            let r{i} = {};", self.shared(i));
                for (kk, component) in XYZW.iter().enumerate() {
                    self.multiply(s, i, &format!("r{i}.{component}"), kk, "            ");
                }
            }
        }
    }

    /// A contiguous along m: each lane walks along k with a step of the number of lanes.
    fn walk(&self, s: &mut String) {
        let quads = if self.a_vec4 { self.rows / 4 } else { self.rows };
        for q in 0..quads {
            let m = if self.a_vec4 {
                format!("min(m0 + {}u, p.m - 4u)", 4 * q)
            } else {
                format!("min(m0 + {q}u, p.m - 1u)")
            };
            line!(s, "    let row{q} = row_init({m}, batch);");
        }
        let step = self.step();
        let first = if self.subgroup { "k0 + lane" } else { "k0" };
        line!(s, "    var k = k0;");
        line!(s, "    var w = walk_init({first});");
        line!(s, "    for (; k + {step}u <= k1; k += {step}u) {{");
        for q in 0..quads {
            self.load_walk_a(s, q);
        }
        // Several k per accumulator at a time: there are more accumulators than registers.
        for first in (0..step).step_by(4) {
            let range = first..(first + 4).min(step);
            for kk in range.clone() {
                self.load_b_row(s, kk, &format!("batch.b + (k + {kk}u) * p.b_k"), "        ");
            }
            self.multiply_walk(s, quads, range, self.subgroup);
        }
        line!(s, "        w = walk_step(w);");
        line!(s, "    }}");
        if step > 1 {
            line!(s, "    w = walk_init(k);");
            line!(s, "    for (; k < k1; k++) {{");
            for q in 0..quads {
                self.load_walk_a(s, q);
            }
            self.load_b_row(s, 0, "batch.b + k * p.b_k", "        ");
            self.multiply_walk(s, quads, 0..1, false);
            line!(s, "        w = walk_next(w);");
            line!(s, "    }}");
        }
    }

    /// All of k at once: what depends on k only is computed once, then `rows` are gone through by the number of lanes.
    fn short(&self, s: &mut String, k: usize) {
        let (lanes, (_, vectors)) = (self.lanes, self.vector());
        for kk in 0..k {
            let walk = if kk == 0 { "walk_init(0u)".to_string() } else { format!("walk_next(w{})", kk - 1) };
            line!(s, "    let w{kk} = {walk};");
            self.load_b_row(s, kk, &format!("b_index(w{kk}, batch)"), "    ");
        }
        line!(s, "    let last = min(m0 + {}u, p.m);", self.rows);
        line!(s, "    for (var m = m0; m < last; m += {lanes}u) {{");
        line!(s, "        let row = row_init(min(m + lane, p.m - 1u), batch);");
        for kk in 0..k {
            line!(s, "        let place{kk} = a_place(row, w{kk});");
            let index = format!("place{kk}.index");
            let index = if self.masked { format!("select(0u, {index}, place{kk}.valid)") } else { index };
            line!(s, "        let a{kk} = {};", self.mask(&format!("a[{index}]"), kk, "0.0"));
        }
        for i in 0..lanes {
            for kk in 0..k {
                line!(s, "        let r{i}_{kk} = subgroupBroadcast(a{kk}, {i}u);");
            }
            line!(s, "        if m + {i}u < last {{");
            for j in 0..vectors {
                let sum: Vec<String> = (0..k).map(|kk| format!("r{i}_{kk} * b{kk}_{j}")).collect();
                line!(s, "            let c{j} = {};", sum.join(" + "));
                line!(s, "            store(c{j}, batch.out + (m + {i}u) * p.out_m, column{j});");
            }
            line!(s, "        }}");
        }
        line!(s, "    }}");
    }

    fn load_walk_a(&self, s: &mut String, q: usize) {
        line!(s, "        let place{q} = a_place(row{q}, w);");
        let index = if self.masked {
            format!("select(0u, place{q}.index, place{q}.valid)")
        } else {
            format!("place{q}.index")
        };
        let (value, zero) = if self.a_vec4 {
            (format!("a[{index} / 4u]"), "vec4<f32>()")
        } else {
            (format!("a[{index}]"), "0.0")
        };
        line!(s, "        let a{q} = {};", self.mask(&value, q, zero));
    }

    fn multiply_walk(&self, s: &mut String, quads: usize, range: Range<usize>, broadcast: bool) {
        for q in 0..quads {
            for kk in range.clone() {
                let value =
                    if broadcast { format!("subgroupBroadcast(a{q}, {kk}u)") } else { format!("a{q}") };
                line!(s, "        let r{kk}_{q} = {value};");
            }
            if !self.a_vec4 {
                for kk in range.clone() {
                    self.multiply(s, q, &format!("r{kk}_{q}"), kk, "        ");
                }
                continue;
            }
            for (e, component) in XYZW.iter().enumerate() {
                for kk in range.clone() {
                    self.multiply(s, 4 * q + e, &format!("r{kk}_{q}.{component}"), kk, "        ");
                }
            }
        }
    }
}
