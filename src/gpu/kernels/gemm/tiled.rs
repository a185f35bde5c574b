//! Generates GEMM kernels that stage tiles of A and B in workgroup memory, for real GPUs.
//!
//! A workgroup computes a tile of `bm` x `bn`, `bk` deep at a time; an invocation accumulates `tm` x `tn` of it in
//! registers. While one pair of tiles is multiplied, the next is already on its way into registers.
//!
//! Tiles hold quads along the dimension that is contiguous in memory, so that global loads, workgroup stores and
//! workgroup loads are all of 16 bytes, and a transposed operand costs nothing: the multiplication picks components.
//!
//! **The state of the loop.** At the head of a turn, registers `qa..` and `qb..` hold this turn's tiles, the walks `wa` and `wb`
//! stand where they were loaded, and nobody reads the tiles in workgroup memory any more. The turn stores the registers, waits
//! (all are stored), moves the walks on and loads the next tiles into the registers, which the multiplication need not wait
//! for, multiplies, and waits again (all have read). Every invocation takes the same turns, `k0` and `k1` being the workgroup's,
//! so all reach both barriers.
//!
//! **Edges.** Rows and columns past the end repeat the last one and are not stored. Where k is no multiple of a tile's, it is the
//! first tile that is not full: it begins `lead` before `k0`, with zeros in both operands, not in one of them: zero times an
//! infinity would be NaN. So no load within the loop asks where k ends. The first chain of additions is the one that is
//! shorter, for the same reason: tiles of any depth that divides [`TILED_CHAIN`] come out at the same ends.
//!
//! **Registers.** What the multiplication shares its cycles with is kept small: an address is what is known of the row or
//! column, kept in a register, and what is known of the tile's k, worked out once for all quads of an invocation (which therefore
//! lie in one k, where they are not along k). `benches/isa` shows what compilers make of it.

use super::accumulators::{add_up_levels, declare_accumulators, flush};
use super::parts::{ALayout, BLoad, bindings, element, line, tile_prologue};
use super::{KernelTarget, Turns};
use std::fmt::Write;

/// Shape of a generated kernel: everything that the source text depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tiled {
    pub block: Block,
    pub a: ALayout,
    /// A is bound as `vec4` and loaded so.
    pub a_vec4: bool,
    pub b: BLoad,
    /// B is contiguous along k.
    pub b_along_k: bool,
    /// Some places of A lie outside of an image, and are zero.
    pub masked: bool,
    /// C is bound as `vec4` and stored so.
    pub out_vec4: bool,
    /// Levels of accumulators (see [`levels`](super::accumulators::levels)).
    pub levels: usize,
}

/// Tile of a workgroup and share of an invocation; `tn` and `bk` are multiples of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Block {
    pub bm: usize,
    pub bn: usize,
    pub bk: usize,
    pub tm: usize,
    pub tn: usize,
}

impl Block {
    pub const fn invocations(&self) -> usize {
        (self.bm / self.tm) * (self.bn / self.tn)
    }

    /// Whether a device has the room for it.
    pub fn fits(&self, t: &KernelTarget) -> bool {
        self.invocations() <= t.max_invocations as usize
            && self.workgroup_bytes() <= t.workgroup_storage as usize
    }

    /// Bytes of workgroup memory, of the layout that takes the most.
    pub const fn workgroup_bytes(&self) -> usize {
        (self.bm + self.bn) * (self.bk / 4 + 1) * 16
    }
}

const XYZW: [char; 4] = ['x', 'y', 'z', 'w'];

/// k that the first accumulators take before they are added to the second ones.
pub(super) const TILED_CHAIN: usize = 64;

/// Accumulators of an invocation from which on those of the second level are kept out of the registers.
const MANY: usize = 64;

/// How the quads of one operand's tile are spread over the invocations.
struct Staging {
    /// Invocations side by side along the contiguous dimension, and quads per invocation.
    lanes: usize,
    per_invocation: usize,
    /// From one quad of an invocation to the next: rows or columns where it is along k, else quads.
    step: usize,
    /// Quads from one line of the tile in workgroup memory to the next.
    stride: usize,
}

impl Tiled {
    /// The turns of an invocation that goes through so much of k.
    pub fn turns(&self, k: usize) -> Turns {
        let Block { bk, .. } = self.block;
        let tiles = k.div_ceil(bk);
        match self.levels {
            1 => Turns::around(tiles, Turns::of(bk / 4)),
            _ => Turns::in_blocks(tiles, TILED_CHAIN / bk, Turns::of(bk / 4)),
        }
    }

    /// A row of quads along k is one quad longer than needed, so that neighbours lie in different banks.
    fn staging(&self, extent: usize, along_k: bool) -> Staging {
        let bk = self.block.bk;
        let threads = self.block.invocations();
        let per_invocation = extent * bk / 4 / threads;
        if along_k {
            let lanes = bk / 4;
            return Staging { lanes, per_invocation, step: threads / lanes, stride: lanes + 1 };
        }
        let lanes = threads / bk;
        Staging { lanes, per_invocation, step: lanes, stride: extent / 4 }
    }

    fn a_along_k(&self) -> bool {
        self.a == ALayout::AlongK
    }

    fn a_staging(&self) -> Staging {
        self.staging(self.block.bm, self.a_along_k())
    }

    fn b_staging(&self) -> Staging {
        self.staging(self.block.bn, self.b_along_k)
    }

    /// The kernel, to stand below the declarations of an operand file.
    pub fn source(&self) -> String {
        let Block { bm, bn, bk, tm, tn } = self.block;
        let (tx, ty) = (bn / tn, bm / tm);
        let lines = |extent, along_k| if along_k { extent } else { bk };
        let a_quads = lines(bm, self.a_along_k()) * self.a_staging().stride;
        let b_quads = lines(bn, self.b_along_k) * self.b_staging().stride;
        let mut s = bindings(element(self.a_vec4), element(self.b != BLoad::Scalar), self.out_vec4);
        self.name_operands(&mut s);
        line!(s, "var<workgroup> tile_a: array<vec4<f32>, {a_quads}>;");
        line!(s, "var<workgroup> tile_b: array<vec4<f32>, {b_quads}>;\n");
        line!(s, "// Quads from elements, which may lie before zero.");
        line!(s, "fn quads(i: u32) -> u32 {{ return u32(i32(i) >> 2u); }}\n");
        self.store_function(&mut s);
        line!(s, "@compute @workgroup_size({tx}, {ty})");
        line!(s, "fn main(");
        line!(s, "    @builtin(workgroup_id) group: vec3<u32>,");
        line!(s, "    @builtin(num_workgroups) groups: vec3<u32>,");
        line!(s, "    @builtin(local_invocation_id) local: vec3<u32>,");
        line!(s, "    @builtin(local_invocation_index) index: u32,");
        line!(s, ") {{");
        s += &tile_prologue(bm, bn);
        line!(s, "    let tiles = (k1 - k0 + {}u) / {bk}u;", bk - 1);
        line!(s, "    let lead = tiles * {bk}u - (k1 - k0);");
        self.stage_init(&mut s);
        self.declare_accumulators(&mut s);
        self.stage_load(&mut s, "    ", true);
        line!(s, "    var tile_k = 0u;");
        let mut indent = "    ";
        if self.levels > 1 {
            line!(s, "    let chain = p.block / {bk}u;");
            line!(s, "    var end = (tiles - 1u) % chain + 1u;");
            line!(s, "    loop {{");
            indent = "        ";
        }
        let end = if self.levels > 1 { "end" } else { "tiles" };
        line!(s, "{indent}for (; tile_k < {end}; tile_k++) {{");
        let inner = format!("{indent}    ");
        self.stage_store(&mut s, &inner);
        line!(s, "{inner}workgroupBarrier();");
        for w in self.walks() {
            line!(s, "{inner}{w} = walk_step({w});");
        }
        self.clear(&mut s, &inner);
        line!(s, "{inner}if tile_k + 1u < tiles {{");
        self.stage_load(&mut s, &format!("{inner}    "), false);
        line!(s, "{inner}}}");
        self.multiply(&mut s, &inner);
        line!(s, "{inner}workgroupBarrier();");
        line!(s, "{indent}}}");
        if self.levels > 1 {
            line!(s, "        if tile_k >= tiles {{ break; }}");
            self.flush(&mut s);
            line!(s, "        end += chain;");
            line!(s, "    }}");
            self.add_up_levels(&mut s);
        }
        line!(s, "    let base = batch.out + split * p.out_split;");
        line!(s, "    let m = m0 + local.y * {tm}u;");
        for j in 0..tn / 4 {
            line!(s, "    let column{j} = n0 + (local.x + {}u) * 4u;", j * tx);
        }
        for i in 0..tm {
            for j in 0..tn / 4 {
                line!(s, "    store(c{i}_{j}, base, m + {i}u, column{j});");
            }
        }
        s += "}\n";
        s
    }

    /// Says what is loaded and stored how, for readers and for `benches/isa`, which finds a kernel in its table by this.
    fn name_operands(&self, s: &mut String) {
        let a = if self.a_along_k() { "k" } else { "m" };
        let b = if self.b_along_k { "k" } else { "n" };
        let [a4, b4, c4] =
            [self.a_vec4, self.b != BLoad::Scalar, self.out_vec4].map(|four| if four { 4 } else { 1 });
        let levels = self.levels;
        let inside = if self.masked { " where it is inside" } else { "" };
        line!(
            s,
            "// Operands: A along {a} by {a4}{inside}, B along {b} by {b4}, C by {c4}, {levels} levels."
        );
    }

    /// Whether the second level has no room in registers: it is added to once in a chain. Compilers keep an array in registers if
    /// they know all indices, so it is indexed from a word that is zero.
    fn far(&self) -> bool {
        self.levels > 1 && self.block.tm * self.block.tn >= MANY
    }

    fn declare_accumulators(&self, s: &mut String) {
        let Block { tm, tn, .. } = self.block;
        declare_accumulators(s, if self.far() { 1 } else { self.levels }, tm, tn / 4, "vec4<f32>");
        if self.far() {
            line!(s, "    var d: array<vec4<f32>, {}>;", tm * tn / 4 + 8);
            line!(s, "    let zero = p.segments - 1u;");
        }
    }

    fn flush(&self, s: &mut String) {
        let Block { tm, tn, .. } = self.block;
        if !self.far() {
            return flush(s, self.levels, tm, tn / 4, "vec4<f32>", "        ");
        }
        for (i, j) in (0..tm).flat_map(|i| (0..tn / 4).map(move |j| (i, j))) {
            line!(s, "        d[zero + {}u] += c{i}_{j};", i * tn / 4 + j);
            line!(s, "        c{i}_{j} = vec4<f32>();");
        }
    }

    fn add_up_levels(&self, s: &mut String) {
        let Block { tm, tn, .. } = self.block;
        if !self.far() {
            return add_up_levels(s, self.levels, tm, tn / 4);
        }
        for (i, j) in (0..tm).flat_map(|i| (0..tn / 4).map(move |j| (i, j))) {
            line!(s, "    c{i}_{j} += d[zero + {}u];", i * tn / 4 + j);
        }
    }

    fn store_function(&self, s: &mut String) {
        line!(s, "fn store(v: vec4<f32>, base: u32, m: u32, n: u32) {{");
        line!(s, "    if m >= p.m || n >= p.n {{ return; }}");
        line!(s, "    let i = base + m * p.out_m + n;");
        if self.out_vec4 {
            line!(s, "    out[i / 4u] = epilogue4(v, i);");
        } else {
            for (e, c) in XYZW.iter().enumerate() {
                line!(s, "    if n + {e}u < p.n {{ out[i + {e}u] = epilogue(v.{c}, i + {e}u); }}");
            }
        }
        line!(s, "}}\n");
    }

    /// The walks of an invocation: one for both operands where both are along k, or neither.
    fn walks(&self) -> &'static [&'static str] {
        if self.a_along_k() == self.b_along_k { &["wa"] } else { &["wa", "wb"] }
    }

    fn b_walk(&self) -> &'static str {
        self.walks().last().unwrap_or(&"wa")
    }

    /// What an invocation loads: its quads' rows of A, columns of B, and walks along k.
    fn stage_init(&self, s: &mut String) {
        let a = self.a_staging();
        line!(s, "    let a_fast = index % {}u;", a.lanes);
        line!(s, "    let a_slow = index / {}u;", a.lanes);
        line!(s, "    let a_k = {};", if self.a_along_k() { "a_fast * 4u" } else { "a_slow" });
        line!(s, "    var wa = walk_early(k0 + a_k - lead);");
        let start = if self.a_vec4 { "quads(a_start(" } else { "(a_start(" };
        for r in 0..a.per_invocation {
            if self.a_along_k() {
                line!(s, "    let row{r} = row_init(min(m0 + a_slow + {}u, p.m - 1u), batch);", r * a.step);
                line!(s, "    let row{r}_a = {start}row{r}));");
                continue;
            }
            let m = format!("m0 + (a_fast + {}u) * 4u", r * a.step);
            if self.a_vec4 {
                line!(s, "    let row{r} = row_init(min({m}, p.m - 4u), batch);");
                line!(s, "    let row{r}_a = {start}row{r}));");
                continue;
            }
            for e in 0..4 {
                line!(s, "    let row{r}_{e} = row_init(min({m} + {e}u, p.m - 1u), batch);");
                line!(s, "    let row{r}_{e}_a = {start}row{r}_{e}));");
            }
        }
        let b = self.b_staging();
        line!(s, "    let b_fast = index % {}u;", b.lanes);
        line!(s, "    let b_slow = index / {}u;", b.lanes);
        line!(s, "    let b_k = {};", if self.b_along_k { "b_fast * 4u" } else { "b_slow" });
        if self.b_walk() == "wb" {
            line!(s, "    var wb = walk_early(k0 + b_k - lead);");
        }
        for r in 0..b.per_invocation {
            let n = match self.b_along_k {
                true => format!("n0 + b_slow + {}u", r * b.step),
                false => format!("n0 + (b_fast + {}u) * 4u", r * b.step),
            };
            match (self.b, self.b_along_k) {
                (BLoad::QuadsAlongN, _) => line!(s, "    let column{r}_b = min({n}, p.n - 4u) / 4u;"),
                (BLoad::QuadsAlongK, _) => line!(s, "    let column{r}_b = min({n}, p.n - 1u) * p.b_n / 4u;"),
                (BLoad::Scalar, true) => line!(s, "    let column{r}_b = min({n}, p.n - 1u) * p.b_n;"),
                (BLoad::Scalar, false) => {
                    for e in 0..4 {
                        line!(s, "    let column{r}_{e}_b = min({n} + {e}u, p.n - 1u) * p.b_n;");
                    }
                }
            }
        }
        line!(s, "    let to_a = a_slow * {}u + a_fast;", a.stride);
        if self.b_along_k {
            // The columns of an invocation's quad lie bn / 4 rows apart: neighbouring invocations read neighbouring rows, which
            // lie in different banks.
            let row = format!("(b_slow % 4u * {}u + b_slow / 4u)", self.block.bn / 4);
            line!(s, "    let to_b = {row} * {}u + b_fast;", b.stride);
        } else {
            line!(s, "    let to_b = b_slow * {}u + b_fast;", b.stride);
        }
        for r in 0..a.per_invocation {
            line!(s, "    var qa{r} = vec4<f32>();");
        }
        for r in 0..b.per_invocation {
            line!(s, "    var qb{r} = vec4<f32>();");
        }
    }

    /// The quads that are about to be loaded are zero, so that nothing of them is kept where they are not.
    fn clear(&self, s: &mut String, indent: &str) {
        for r in 0..self.a_staging().per_invocation {
            line!(s, "{indent}qa{r} = vec4<f32>();");
        }
        for r in 0..self.b_staging().per_invocation {
            line!(s, "{indent}qb{r} = vec4<f32>();");
        }
    }

    /// Loads the invocation's quads of a tile into registers that are zero. The first tile may begin before `k0`.
    fn stage_load(&self, s: &mut String, indent: &str, first: bool) {
        // An element of an operand that is along k and loaded one by one has a walk of its own.
        let elements = |s: &mut String, of: &str, along_k: bool| {
            for e in 1..if along_k { 4 } else { 1 } {
                let previous = if e == 1 { of.to_string() } else { format!("{of}_{}", e - 1) };
                line!(s, "{indent}let {of}_{e} = walk_next({previous});");
            }
        };
        let place = |of: &str, e: usize| if e == 0 { of.to_string() } else { format!("{of}_{e}") };
        let load = |s: &mut String, condition: Vec<String>, to: String, from: String| match condition.len() {
            0 => line!(s, "{indent}{to} = {from};"),
            _ => line!(s, "{indent}if {} {{ {to} = {from}; }}", condition.join(" && ")),
        };
        let late = |k: &str, e: usize| match (first, e) {
            (false, _) => None,
            (true, 0) => Some(format!("{k} >= lead")),
            (true, _) => Some(format!("{k} + {e}u >= lead")),
        };

        let a = self.a_staging();
        let walks = if self.a_along_k() && !self.a_vec4 { 4 } else { 1 };
        elements(s, "wa", walks > 1);
        for e in 0..walks {
            let walk = place("wa", e);
            match self.a_vec4 {
                true => line!(s, "{indent}let at_a = quads(a_offset({walk}));"),
                false => line!(s, "{indent}let {} = a_offset({walk});", place("at_a", e)),
            }
        }
        for r in 0..a.per_invocation {
            for e in 0..if self.a_vec4 { 1 } else { 4 } {
                let row =
                    if self.a_along_k() || self.a_vec4 { format!("row{r}") } else { format!("row{r}_{e}") };
                let e_k = if self.a_along_k() { e } else { 0 };
                let inside = self.masked.then(|| format!("a_inside({row}, {})", place("wa", e_k)));
                let condition = late("a_k", e_k).into_iter().chain(inside).collect();
                let to = if self.a_vec4 { format!("qa{r}") } else { format!("qa{r}.{}", XYZW[e]) };
                load(s, condition, to, format!("a[{row}_a + {}]", place("at_a", e_k)));
            }
        }

        let b = self.b_staging();
        let walk = self.b_walk();
        let walks = if self.b_along_k && self.b == BLoad::Scalar { 4 } else { 1 };
        // Those of A may be there already.
        elements(s, walk, walks > 1 && (walk != "wa" || self.a_vec4));
        for e in 0..walks {
            let walk = place(walk, e);
            match self.b {
                BLoad::Scalar => line!(s, "{indent}let {} = b_index({walk}, batch);", place("at_b", e)),
                _ => line!(s, "{indent}let at_b = b_index({walk}, batch) / 4u;"),
            }
        }
        for r in 0..b.per_invocation {
            if self.b != BLoad::Scalar {
                let condition = late("b_k", 0).into_iter().collect();
                load(s, condition, format!("qb{r}"), format!("b[column{r}_b + at_b]"));
                continue;
            }
            for (e, c) in XYZW.iter().enumerate() {
                let column = if self.b_along_k { format!("column{r}") } else { format!("column{r}_{e}") };
                let e_k = if self.b_along_k { e } else { 0 };
                let condition = late("b_k", e_k).into_iter().collect();
                load(s, condition, format!("qb{r}.{c}"), format!("b[{column}_b + {}]", place("at_b", e_k)));
            }
        }
    }

    fn stage_store(&self, s: &mut String, indent: &str) {
        let a = self.a_staging();
        let b = self.b_staging();
        for r in 0..a.per_invocation {
            let further = r * a.step * if self.a_along_k() { a.stride } else { 1 };
            line!(s, "{indent}tile_a[to_a + {further}u] = qa{r};");
        }
        for r in 0..b.per_invocation {
            let further = r * b.step * if self.b_along_k { b.stride } else { 4 } / 4;
            line!(s, "{indent}tile_b[to_b + {further}u] = qb{r};");
        }
    }

    /// Multiplies the two tiles, four k at a time.
    fn multiply(&self, s: &mut String, indent: &str) {
        let Block { bm, bn, bk, tm, tn } = self.block;
        let tx = bn / tn;
        line!(s, "{indent}for (var q = 0u; q < {}u; q++) {{", bk / 4);
        let inner = &format!("{indent}    ");
        for (kk, component) in XYZW.iter().enumerate() {
            for j in 0..tn / 4 {
                if !self.b_along_k {
                    line!(
                        s,
                        "{inner}let b{kk}_{j} = tile_b[(q * 4u + {kk}u) * {}u + local.x + {}u];",
                        bn / 4,
                        j * tx
                    );
                    continue;
                }
                let stride = bk / 4 + 1;
                if kk == 0 {
                    for e in 0..4 {
                        let row = format!("(local.x + {}u)", e * bn / 4 + j * tx);
                        line!(s, "{inner}let t{j}_{e} = tile_b[{row} * {stride}u + q];");
                    }
                }
                let value = quad(|e| format!("t{j}_{e}.{component}"));
                line!(s, "{inner}let b{kk}_{j} = {value};");
            }
        }
        if self.a_along_k() {
            for i in 0..tm {
                line!(s, "{inner}let a{i} = tile_a[(local.y * {tm}u + {i}u) * {}u + q];", bk / 4 + 1);
                for (kk, c) in XYZW.iter().enumerate() {
                    fma_row(s, inner, i, tn / 4, &format!("a{i}.{c}"), kk);
                }
            }
        } else {
            for kk in 0..4 {
                for g in 0..tm / 4 {
                    let at = format!("(q * 4u + {kk}u) * {}u + local.y * {}u + {g}u", bm / 4, tm / 4);
                    line!(s, "{inner}let a{kk}_{g} = tile_a[{at}];");
                    for (e, c) in XYZW.iter().enumerate() {
                        fma_row(s, inner, 4 * g + e, tn / 4, &format!("a{kk}_{g}.{c}"), kk);
                    }
                }
            }
        }
        line!(s, "{indent}}}");
    }
}

fn quad(f: impl Fn(usize) -> String) -> String {
    format!("vec4<f32>({}, {}, {}, {})", f(0), f(1), f(2), f(3))
}

fn fma_row(s: &mut String, indent: &str, i: usize, vectors: usize, a: &str, kk: usize) {
    for j in 0..vectors {
        line!(s, "{indent}c{i}_{j} = fma(vec4<f32>({a}), b{kk}_{j}, c{i}_{j});");
    }
}
