//! Generates GEMM kernels that keep their block in registers and use no workgroup memory, for adapters that run on a
//! CPU: there a barrier costs more than it saves, and a lane of a subgroup is a lane of a vector register.
//!
//! The lanes of a workgroup lie along n. Each lane accumulates `rows` x `cols` elements. With subgroups, every lane loads
//! A for another row (or another k) and `subgroupBroadcast` hands it round; without, every lane loads all of A itself.
//! The block is written out in full because drivers keep an indexed array in memory.
//!
//! **Edges.** Rows and columns past the end repeat the last one: they are loaded and multiplied like others, and not stored.
//! k past the end is not gone through at all: whole steps as long as they fit, then one k at a time ([`Registers::whole`] where
//! there are none of these). What lies outside of the image is loaded from somewhere inside and replaced by zero with a
//! `select`: a branch would cost all lanes more.
//!
//! **The state of the loops.** At the head of a turn, `k` is the first k whose products are still missing, `ai..` and `bi..` are
//! the indices of A and B at that k, and the first accumulators have taken additions worth `pending` k since they were emptied.
//! `pending` is a multiple of a step and less than a block: hence the inner loop of [`Registers::loop_over_k`], which ends at
//! the next block, takes at least one step each time, and the loop around it ends.
//!
//! What costs on lavapipe is loads and stores: each is a loop over the lanes, with a test of the bounds for every
//! component, some 400 instructions for a `vec4<f32>`. Hence (see `docs/lavapipe.md`):
//!
//! * Where shaders have 64-bit integers, eight floats are loaded as four of them: half the tests.
//! * An index that is loaded from is carried from turn to turn and used twice (for the load and for the next index).
//!   The compiler otherwise moves its arithmetic into the loop over the lanes.
//! * Stores are written out for a few rows and repeated, the other rows' accumulators moving up: with an epilogue that
//!   reads a bias, stores take most of the time of compilation.
// Over 500 lines in one file: one kernel, written from top to bottom; what is written apart has files below.

use std::fmt::Write;
use std::ops::Range;

use super::Turns;
use super::accumulators::{CHAIN, add_up_levels, declare_accumulators, flush};
use super::parts::{ALayout, BLoad, bindings, line, tile_prologue};

mod columns;

/// Shape of a generated kernel: everything that the source text depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// Every segment is a multiple of the k per turn (always so where A or B is loaded by quads along k). Where A is
    /// contiguous along m only if that is one: k is a batch then, and may be anything.
    pub whole: bool,
    pub a: ALayout,
    /// Elements of A that a lane loads at once: 1, 4, or, as 64-bit integers, 8.
    pub a_width: usize,
    pub b: BLoad,
    /// Elements of B that a lane loads at once: 1, 4, or, as 64-bit integers, 8.
    pub b_width: usize,
    /// Places of A may be outside of the image.
    pub masked: bool,
    /// `row_init` gives rows another order than that of C.
    pub permuted: bool,
    /// C is bound as `vec4` and stored so.
    pub out_vec4: bool,
    /// Levels of accumulators (see [`levels`](super::accumulators::levels)); a sum may need fewer.
    pub levels: usize,
}

const XYZW: [char; 4] = ['x', 'y', 'z', 'w'];

impl Registers {
    /// Columns of C per workgroup.
    pub fn tile_n(&self) -> usize {
        self.lanes * self.cols
    }

    /// k per turn: of the walk where A is contiguous along m, else within a segment.
    pub fn step(&self) -> usize {
        match self.a {
            ALayout::AlongK if self.b == BLoad::QuadsAlongK && self.b_width == 8 => 8,
            ALayout::AlongK => 4,
            _ if !self.subgroup => 1,
            _ if self.a_width > 1 => 4,
            _ => self.lanes,
        }
    }

    /// The turns of an invocation that goes through so many segments of so many k.
    pub fn turns(&self, [segments, k]: [usize; 2]) -> Turns {
        // A block stores few rows at a time, at least one; a block with short k goes through its rows by lanes.
        let stores = Turns::of(self.rows);
        if self.short_k.is_some() {
            return stores;
        }
        let rest = if self.whole { Turns::NONE } else { Turns::of(self.step() - 1) };
        // With several levels, the loop stops at each block, and where a block ends inside of a segment.
        let stops = Turns::of(2 * (k / self.block() + 2));
        let walk = Turns::of(k / self.step()).then(stops).then(rest);
        let all = if self.a == ALayout::AlongK { Turns::around(segments, walk) } else { walk };
        all.then(stores)
    }

    /// k whose products are added up before an accumulator takes them.
    pub fn tree(&self) -> usize {
        match self.a {
            ALayout::AlongK => self.step(),
            ALayout::AlongM => self.step().min(4),
        }
    }

    /// k that the first accumulators take before they are added to the second ones.
    pub fn block(&self) -> usize {
        CHAIN * self.tree()
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

    /// Two accumulators hold the even and the odd ones of eight neighbouring columns.
    fn octets(&self) -> bool {
        self.b == BLoad::QuadsAlongN && self.b_width == 8
    }

    /// The kernel, to stand below the declarations of an operand file.
    pub fn source(&self) -> String {
        let mut s = bindings(element(self.a_width), element(self.b_width), self.out_vec4);
        if self.a_width.max(self.b_width) == 8 {
            s += UNPACK;
        }
        self.store_function(&mut s);
        let (lanes, rows) = (self.lanes, self.rows);
        let lane = if self.subgroup { "subgroup_invocation_id" } else { "local_invocation_index" };
        line!(s, "@compute @workgroup_size({lanes})");
        line!(s, "fn main(");
        line!(s, "    @builtin(workgroup_id) group: vec3<u32>,");
        line!(s, "    @builtin(num_workgroups) groups: vec3<u32>,");
        line!(s, "    @builtin({lane}) lane: u32,");
        line!(s, ") {{");
        s += &tile_prologue(rows, self.tile_n());
        self.columns(&mut s);
        if let Some(k) = self.short_k {
            self.short(&mut s, k);
            s += "}\n";
            return s;
        }
        let (_, vectors) = self.vector();
        declare_accumulators(&mut s, self.levels, rows, vectors, self.vector_type());
        match self.a {
            ALayout::AlongK => self.segments(&mut s),
            ALayout::AlongM => self.walk(&mut s),
        }
        add_up_levels(&mut s, self.levels, rows, vectors);
        self.stores(&mut s);
        s += "}\n";
        s
    }

    /// Adds the first accumulators to the second ones when they have taken a block of k.
    fn flush(&self, s: &mut String, indent: &str) {
        line!(s, "{indent}if pending >= p.block {{");
        line!(s, "{indent}    pending = 0u;");
        let (_, vectors) = self.vector();
        flush(s, self.levels, self.rows, vectors, self.vector_type(), &format!("{indent}    "));
        line!(s, "{indent}}}");
    }

    /// A loop over k in steps from `k` on, of which `turn` is one step. With second accumulators it stops at each block: a test
    /// in every turn would cost more than a loop around the loop.
    fn loop_over_k(&self, s: &mut String, end: &str, indent: &str, turn: impl Fn(&mut String)) {
        let step = self.step();
        if self.levels == 1 {
            line!(s, "{indent}for (; k + {step}u <= {end}; k += {step}u) {{");
            turn(s);
            line!(s, "{indent}}}");
            return;
        }
        line!(s, "{indent}while k + {step}u <= {end} {{");
        line!(s, "{indent}let from_k = k;");
        line!(s, "{indent}let stop = min({end}, k + p.block - pending);");
        line!(s, "{indent}for (; k + {step}u <= stop; k += {step}u) {{");
        turn(s);
        line!(s, "{indent}}}");
        line!(s, "{indent}pending += k - from_k;");
        self.flush(s, indent);
        line!(s, "{indent}}}");
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

    /// Stores a row of accumulators, `c{j}` each, whose first element is at `at`.
    fn store_row(&self, s: &mut String, c: &str, at: &str, indent: &str) {
        let (_, vectors) = self.vector();
        if !self.octets() {
            for j in 0..vectors {
                line!(s, "{indent}store({c}{j}, {at}, column{j});");
            }
            return;
        }
        for j in (0..vectors).step_by(2) {
            let (even, odd) = (format!("{c}{j}"), format!("{c}{}", j + 1));
            line!(s, "{indent}store(vec4({even}.x, {odd}.x, {even}.y, {odd}.y), {at}, column{j});");
            line!(s, "{indent}store(vec4({even}.z, {odd}.z, {even}.w, {odd}.w), {at}, column{j} + 4u);");
        }
    }

    /// Stores the block, a few rows at a time.
    ///
    /// A register has no index, so the loop can't say "row m": its body stores the first few rows' accumulators and then moves
    /// all others up by as many. In turn t, `c0` is what was row t * group; rows that were moved over each other are done with.
    fn stores(&self, s: &mut String) {
        let (rows, (_, vectors)) = (self.rows, self.vector());
        let shared = self.permuted && self.subgroup;
        let group = match shared {
            true => self.lanes,
            false if rows.is_multiple_of(4) => 4,
            false => rows,
        };
        line!(s, "    let base = batch.out + split * p.out_split;");
        let outs = if !self.permuted { 0 } else { rows.div_ceil(if shared { self.lanes } else { 1 }) };
        for g in 0..outs {
            line!(s, "    var out{g} = row{g}.out;");
        }
        let repeated = group < rows;
        let indent = if repeated { "        " } else { "    " };
        line!(s, "    {} m = m0;", if repeated { "var" } else { "let" });
        line!(s, "    let last = min(m0 + {rows}u, p.m);");
        if repeated {
            line!(s, "    for (; m < last; m += {group}u) {{");
        }
        for i in 0..group.min(rows) {
            let row = match (self.permuted, shared) {
                (false, _) => format!("(m + {i}u)"),
                (true, false) => format!("out{i}"),
                (true, true) => format!("subgroupBroadcast(out0, {i}u)"),
            };
            line!(s, "{indent}let at{i} = base + {row} * p.out_m;");
            line!(s, "{indent}if m + {i}u < last {{");
            self.store_row(s, &format!("c{i}_"), &format!("at{i}"), &format!("{indent}    "));
            line!(s, "{indent}}}");
        }
        if !repeated {
            return;
        }
        for i in group..rows {
            for j in 0..vectors {
                line!(s, "        c{}_{j} = c{i}_{j};", i - group);
            }
        }
        let moved = if shared { 1 } else { group };
        for g in moved..outs {
            line!(s, "        out{} = out{g};", g - moved);
        }
        line!(s, "    }}");
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

    /// The `kk`th of the elements that were loaded at once into `{names[0]}{index}`, or, by octets, into the even and
    /// the odd ones.
    fn component(&self, names: &[&str; 3], index: &str, kk: usize) -> String {
        match self.step() {
            8 => format!("{}{index}.{}", names[1 + kk % 2], XYZW[kk / 2]),
            _ => format!("{}{index}.{}", names[0], XYZW[kk]),
        }
    }

    /// Adds the products of row `i`'s `values` with the rows of B from `first` on; halves are added to halves, which
    /// takes as many additions as one after the other and rounds less.
    fn multiply(&self, s: &mut String, i: usize, values: &[String], first: usize, indent: &str) {
        fn sum(terms: &[String]) -> String {
            match terms {
                [] => "0.0".into(),
                [one] => one.clone(),
                [one, two] => format!("({one} + {two})"),
                _ => {
                    let (left, right) = terms.split_at(terms.len() / 2);
                    format!("({} + {})", sum(left), sum(right))
                }
            }
        }
        let (_, vectors) = self.vector();
        for j in 0..vectors {
            let products: Vec<String> =
                values.iter().enumerate().map(|(kk, a)| format!("{a} * b{}_{j}", first + kk)).collect();
            line!(s, "{indent}c{i}_{j} += {};", sum(&products));
        }
    }

    /// Rows whose A a lane loads itself: one of each group of rows where lanes share, else all of them.
    fn loaded_rows(&self) -> usize {
        if self.subgroup { self.rows.div_ceil(self.lanes) } else { self.rows }
    }

    /// The value of row `i`, given what the lanes loaded into `{name}`.
    fn shared(&self, name: &str, i: usize) -> String {
        if self.subgroup {
            format!("subgroupBroadcast({name}{}, {}u)", i / self.lanes, i % self.lanes)
        } else {
            format!("{name}{i}")
        }
    }

    /// A contiguous along k: segments, and quads or octets of k inside of them.
    fn segments(&self, s: &mut String) {
        let loaded = self.loaded_rows();
        for g in 0..loaded {
            let m =
                if self.subgroup { format!("m0 + {}u + lane", g * self.lanes) } else { format!("m0 + {g}u") };
            line!(s, "    let row{g} = row_init(min({m}, p.m - 1u), batch);");
        }
        if self.levels > 1 {
            line!(s, "    var pending = 0u;");
        }
        line!(s, "    for (var i = s0; i < s1; i++) {{");
        line!(s, "        let segment = segment_init(i, batch);");
        for g in 0..loaded {
            line!(s, "        let place{g} = a_segment(row{g}, segment);");
            let index = format!("place{g}.index");
            let index = if self.masked { format!("select(0u, {index}, place{g}.valid)") } else { index };
            line!(s, "        let at{g} = {index};");
            if self.a_width > 1 {
                line!(s, "        var ai{g} = (at{g} + k0) / {}u;", self.a_width);
            }
        }
        self.start_b(s, "segment.b + k0 * p.b_k", "        ");
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
        self.loop_over_k(s, end, "        ", |s| self.segment_turn(s));
        if !self.whole {
            self.segment_rest(s, end);
        }
        line!(s, "    }}");
    }

    /// The last one to three k of a segment.
    fn segment_rest(&self, s: &mut String, end: &str) {
        if self.levels > 1 {
            // Each of these is an addition of its own.
            line!(s, "        pending += (max(k, {end}) - k) * {}u;", self.tree());
        }
        line!(s, "        for (; k < {end}; k++) {{");
        self.load_b_row(s, 0, "segment.b + k * p.b_k", "            ");
        for g in 0..self.loaded_rows() {
            line!(s, "            let a{g} = {};", self.mask(&format!("a[at{g} + k]"), g, "0.0"));
        }
        for i in 0..self.rows {
            line!(s, "            let r{i} = {};", self.shared("a", i));
            self.multiply(s, i, &[format!("r{i}")], 0, "            ");
        }
        line!(s, "        }}");
        if self.levels > 1 {
            self.flush(s, "        ");
        }
    }

    fn mask(&self, value: &str, g: usize, zero: &str) -> String {
        if self.masked { format!("select({zero}, {value}, place{g}.valid)") } else { value.to_string() }
    }

    /// Four or eight k of a segment.
    fn segment_turn(&self, s: &mut String) {
        self.load_b_segment(s);
        let group = if self.subgroup { self.lanes } else { 1 };
        let step = self.step();
        for g in 0..self.loaded_rows() {
            let zero = "vec4<f32>()";
            let mut names = vec![["a", "r"]];
            match self.a_width {
                1 => {
                    let parts: Vec<String> = (0..4).map(|e| format!("a[at{g} + k + {e}u]")).collect();
                    let value = format!("vec4<f32>({})", parts.join(", "));
                    line!(s, "            let a{g} = {};", self.mask(&value, g, zero));
                }
                4 => {
                    let value = format!("a[ai{g}]");
                    line!(s, "            let a{g} = {};", self.mask(&value, g, zero));
                    line!(s, "            ai{g} += 1u;");
                }
                _ => {
                    names = vec![["ae", "re"], ["ao", "ro"]];
                    line!(s, "            let w{g} = a[ai{g}];");
                    line!(s, "            let ae{g} = {};", self.mask(&format!("evens(w{g})"), g, zero));
                    line!(s, "            let ao{g} = {};", self.mask(&format!("odds(w{g})"), g, zero));
                    line!(s, "            ai{g} += 1u;");
                }
            }
            for i in g * group..((g + 1) * group).min(self.rows) {
                for [own, all] in &names {
                    line!(s, "            let {all}{i} = {};", self.shared(own, i));
                }
                let values: Vec<String> =
                    (0..step).map(|kk| self.component(&["r", "re", "ro"], &i.to_string(), kk)).collect();
                self.multiply(s, i, &values, 0, "            ");
            }
        }
    }

    /// A contiguous along m: each lane loads A at another k; where a turn has fewer k than there are lanes, further lanes
    /// load further rows.
    fn walk(&self, s: &mut String) {
        let (step, width) = (self.step(), self.a_width);
        // Lanes' loads side by side along m, and rows of a load of all lanes.
        let beside = if self.subgroup { self.lanes / step } else { 1 };
        let together = beside * width;
        let loads = self.rows.div_ceil(together);
        let (k, further) = match beside {
            1 => ("lane".to_string(), String::new()),
            _ => (format!("lane % {step}u"), format!(" + lane / {step}u * {width}u")),
        };
        for q in 0..loads {
            let m = format!("min(m0 + {}u{further}, p.m - {width}u)", together * q);
            line!(s, "    let row{q} = row_init({m}, batch);");
        }
        let first = if self.subgroup { format!("k0 + {k}") } else { "k0".to_string() };
        self.start_b(s, "batch.b + k0 * p.b_k", "    ");
        line!(s, "    var k = k0;");
        line!(s, "    var w = walk_init({first});");
        if self.levels > 1 {
            line!(s, "    var pending = 0u;");
        }
        self.loop_over_k(s, "k1", "    ", |s| {
            for q in 0..loads {
                self.load_walk_a(s, q);
            }
            // Several k per accumulator at a time: there are more accumulators than registers.
            for first in (0..step).step_by(4) {
                let range = first..(first + 4).min(step);
                self.load_b_rows(s, range.clone(), "batch.b", "        ");
                self.multiply_walk(s, loads, beside, range, self.subgroup);
            }
            line!(s, "        w = walk_step(w);");
        });
        if !self.whole {
            line!(s, "    w = walk_init(k);");
            line!(s, "    for (; k < k1; k++) {{");
            for q in 0..loads {
                self.load_walk_a(s, q);
            }
            self.load_b_row(s, 0, "batch.b + k * p.b_k", "        ");
            self.multiply_walk(s, loads, beside, 0..1, beside > 1);
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
            }
            self.store_row(s, "c", &format!("batch.out + (m + {i}u) * p.out_m"), "            ");
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
        match self.a_width {
            1 => line!(s, "        let a{q} = {};", self.mask(&format!("a[{index}]"), q, "0.0")),
            4 => {
                let value = format!("a[{index} / 4u]");
                line!(s, "        let a{q} = {};", self.mask(&value, q, "vec4<f32>()"));
            }
            _ => {
                line!(s, "        let ao{q} = a[{index} / 8u];");
                line!(s, "        let a{q}_0 = {};", self.mask(&format!("evens(ao{q})"), q, "vec4<f32>()"));
                line!(s, "        let a{q}_1 = {};", self.mask(&format!("odds(ao{q})"), q, "vec4<f32>()"));
            }
        }
    }

    fn multiply_walk(
        &self,
        s: &mut String,
        loads: usize,
        beside: usize,
        range: Range<usize>,
        broadcast: bool,
    ) {
        let halves: &[&str] = if self.a_width == 8 { &["_0", "_1"] } else { &[""] };
        for q in 0..loads {
            for part in 0..beside {
                for kk in range.clone() {
                    for half in halves {
                        let value = match broadcast {
                            true => format!("subgroupBroadcast(a{q}{half}, {}u)", part * self.step() + kk),
                            false => format!("a{q}{half}"),
                        };
                        line!(s, "        let r{kk}_{q}_{part}{half} = {value};");
                    }
                }
                for e in 0..self.a_width {
                    let row = (q * beside + part) * self.a_width + e;
                    if row >= self.rows {
                        continue;
                    }
                    let half = halves[e % halves.len()];
                    let component = match self.a_width {
                        1 => String::new(),
                        _ => format!(".{}", XYZW[e / halves.len()]),
                    };
                    let value = |kk| format!("r{kk}_{q}_{part}{half}{component}");
                    let values: Vec<String> = range.clone().map(value).collect();
                    self.multiply(s, row, &values, range.start, "        ");
                }
            }
        }
    }
}

/// What loads of `width` elements are bound as.
fn element(width: usize) -> &'static str {
    match width {
        1 => "f32",
        4 => "vec4<f32>",
        _ => "vec4<u64>",
    }
}

/// The even and the odd ones of eight floats.
const UNPACK: &str = "fn evens(v: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(v));
}
fn odds(v: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(v >> vec4<u32>(32u)));
}

";
