//! Generates GEMM kernels that stage tiles of A and B in workgroup memory, for real GPUs.
//!
//! A workgroup computes a tile of `bm` x `bn`, `bk` deep at a time; an invocation accumulates `tm` x `tn` of it in
//! registers. While one pair of tiles is multiplied, the next is already on its way into registers.
//!
//! Tiles hold quads along the dimension that is contiguous in memory, so that global loads, workgroup stores and
//! workgroup loads are all of 16 bytes, and a transposed operand costs nothing: the multiplication picks components.
//!
//! **The state of the loop.** At the head of a turn the turn's tiles are stored, if not yet by all, and the walks `wa` and `wb`
//! stand where they were loaded. The turn waits (all are stored), moves the walks on and loads the next tiles into the registers
//! `qa..` and `qb..`, which the multiplication need not wait for, multiplies, waits again (all have read), and stores the registers.
//! Every invocation takes the same turns, `k0` and `k1` being the workgroup's, so all reach both barriers. (Registers that were stored
//! at the head would be carried around the loop, and compilers copy what is.)
//!
//! **Edges.** Rows and columns past the end repeat the last one and are not stored. Where k is no multiple of a tile's, it is the
//! first tile that is not full: it begins `lead` before `k0`, with zeros in both operands, not in one of them: zero times an
//! infinity would be NaN. So no load within the loop asks where k ends. The first chain of additions is the one that is
//! shorter, for the same reason: tiles of any depth that divides [`TILED_CHAIN`] come out at the same ends.
//!
//! **Levels.** All have two levels of accumulators, though a short sum needs one: were these other kernels, a longer sum than those
//! before would have to wait for its own.
//!
//! **Registers.** What the multiplication shares its cycles with is kept small: an address is what is known of the row or
//! column, kept in a register, and what is known of the tile's k, worked out once for all quads of an invocation (which therefore
//! lie in one k, where they are not along k). `benches/isa` shows what compilers make of it.
// Over 500 lines in one file: one kernel, written from top to bottom.

use super::accumulators::{add_up_levels, declare_accumulators, flush, places};
use super::parts::{ALayout, bindings, element, line, tile_prologue};
use super::{KernelTarget, Turns};
use std::fmt::Write;

/// Shape of a generated kernel: everything that the source text depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tiled {
    pub block: Block,
    pub a: ALayout,
    /// A is bound as `vec4` and loaded so.
    pub a_vec4: bool,
    /// B is bound as `vec4` and loaded so.
    pub b_vec4: bool,
    /// B is contiguous along k.
    pub b_along_k: bool,
    /// Some places of A lie outside of an image, and are zero.
    pub masked: bool,
    /// C is bound as `vec4` and stored so.
    pub out_vec4: bool,
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

/// Levels of accumulators: a third would cost registers that real GPUs don't have.
pub(super) const LEVELS: usize = 2;

/// Accumulators of an invocation from which on those of the second level are kept out of the registers.
const MANY: usize = 64;

/// How the invocations of a workgroup share one operand's tile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Quads along k, side by side along k.
    AlongK,
    /// Quads across k, of elements that are loaded one by one; side by side along k, where the operand is contiguous.
    AcrossK,
    /// Quads across k, side by side.
    Lines,
}

struct Staging {
    order: Order,
    /// Invocations side by side, and quads of one.
    lanes: usize,
    per_invocation: usize,
    /// From one quad of an invocation to the next: rows or columns where they are along k, else quads.
    step: usize,
    /// Quads from one line of the tile in workgroup memory to the next.
    stride: usize,
}

impl Staging {
    fn new(block: &Block, extent: usize, along_k: bool, vec4: bool) -> Staging {
        let bk = block.bk;
        let threads = block.invocations();
        let per_invocation = extent * bk / 4 / threads;
        // A line is a quad longer than needed where those who store side by side store to different lines: they lie in different
        // banks then.
        let (order, lanes, step, stride) = match (along_k, vec4) {
            (true, true) => (Order::AlongK, bk / 4, threads / (bk / 4), bk / 4 + 1),
            (true, false) => (Order::AcrossK, bk, threads / bk, extent / 4 + 1),
            (false, _) => (Order::Lines, threads / bk, threads / bk, extent / 4),
        };
        Staging { order, lanes, per_invocation, step, stride }
    }

    /// Quads of workgroup memory.
    fn quads(&self, extent: usize, bk: usize) -> usize {
        self.stride * if self.order == Order::AlongK { extent } else { bk }
    }

    /// What an invocation's first quad is, from the numbers of the operand's name.
    fn declare(&self, s: &mut String, of: &str) {
        let lanes = self.lanes;
        let (fast, slow) = (format!("index % {lanes}u"), format!("index / {lanes}u"));
        match self.order {
            Order::AlongK => {
                line!(s, "    let {of}_k = {fast} * 4u;");
                line!(s, "    let {of}_line = {slow};");
            }
            Order::AcrossK => {
                line!(s, "    let {of}_k = {fast};");
                line!(s, "    let {of}_line = {slow} * 4u;");
            }
            Order::Lines => {
                line!(s, "    let {of}_k = {slow};");
                line!(s, "    let {of}_line = {fast} * 4u;");
            }
        }
    }

    /// How far the r-th quad's row or column is from the first's.
    fn further(&self, r: usize) -> usize {
        r * self.step * if self.order == Order::AlongK { 1 } else { 4 }
    }
}

impl Tiled {
    /// The turns of an invocation that goes through so much of k.
    pub fn turns(&self, k: usize) -> Turns {
        let Block { bk, .. } = self.block;
        let tiles = k.div_ceil(bk);
        Turns::in_blocks(tiles, TILED_CHAIN / bk, Turns::of(bk / 4))
    }

    fn a_along_k(&self) -> bool {
        self.a == ALayout::AlongK
    }

    fn a_staging(&self) -> Staging {
        Staging::new(&self.block, self.block.bm, self.a_along_k(), self.a_vec4)
    }

    fn b_staging(&self) -> Staging {
        Staging::new(&self.block, self.block.bn, self.b_along_k, self.b_vec4)
    }

    /// The kernel, to stand below the declarations of an operand file.
    pub fn source(&self) -> String {
        let Block { bm, bn, bk, tm, tn } = self.block;
        let (tx, ty) = (bn / tn, bm / tm);
        let a_quads = self.a_staging().quads(bm, bk);
        let b_quads = self.b_staging().quads(bn, bk);
        let mut s = bindings(element(self.a_vec4), element(self.b_vec4), self.out_vec4);
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
        self.stage_store(&mut s, "    ", true);
        line!(s, "    var tile_k = 0u;");
        line!(s, "    let chain = p.block / {bk}u;");
        line!(s, "    var end = (tiles - 1u) % chain + 1u;");
        line!(s, "    loop {{");
        line!(s, "        for (; tile_k < end; tile_k++) {{");
        let inner = "            ";
        line!(s, "{inner}workgroupBarrier();");
        line!(s, "{inner}let more = tile_k + 1u < tiles;");
        for w in self.walks() {
            line!(s, "{inner}{w} = walk_step({w});");
        }
        self.stage_load(&mut s, inner, false);
        self.multiply(&mut s, inner);
        line!(s, "{inner}workgroupBarrier();");
        self.stage_store(&mut s, inner, false);
        line!(s, "        }}");
        line!(s, "        if tile_k >= tiles {{ break; }}");
        self.flush(&mut s);
        line!(s, "        end += chain;");
        line!(s, "    }}");
        self.add_up_levels(&mut s);
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
        let [a4, b4, c4] = [self.a_vec4, self.b_vec4, self.out_vec4].map(|four| if four { 4 } else { 1 });
        let inside = if self.masked { " where it is inside" } else { "" };
        line!(s, "// Operands: A along {a} by {a4}{inside}, B along {b} by {b4}, C by {c4}.");
    }

    /// Whether the second level has no room in registers: it is added to once in a chain. Compilers keep an array in registers if
    /// they know all indices, so it is indexed from a word that is zero.
    fn far(&self) -> bool {
        self.block.tm * self.block.tn >= MANY
    }

    fn declare_accumulators(&self, s: &mut String) {
        let Block { tm, tn, .. } = self.block;
        declare_accumulators(s, if self.far() { 1 } else { LEVELS }, tm, tn / 4, "vec4<f32>");
        if self.far() {
            // Eight more than are used: an array of 256 bytes RADV keeps in registers all the same, which leaves room for 6 waves, not 8.
            line!(s, "    var d: array<vec4<f32>, {}>;", tm * tn / 4 + 8);
            line!(s, "    let zero = p.segments - 1u;");
        }
    }

    fn flush(&self, s: &mut String) {
        let Block { tm, tn, .. } = self.block;
        if !self.far() {
            return flush(s, LEVELS, tm, tn / 4, "vec4<f32>", "        ");
        }
        for (i, j) in places(tm, tn / 4) {
            line!(s, "        d[zero + {}u] += c{i}_{j};", i * tn / 4 + j);
            line!(s, "        c{i}_{j} = vec4<f32>();");
        }
    }

    fn add_up_levels(&self, s: &mut String) {
        let Block { tm, tn, .. } = self.block;
        if !self.far() {
            return add_up_levels(s, LEVELS, tm, tn / 4);
        }
        for (i, j) in places(tm, tn / 4) {
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

    /// The walks of an invocation along k. B needs none where it is not along k: its index then is a multiple of k.
    fn walks(&self) -> &'static [&'static str] {
        if self.b_walk() == Some("wb") { &["wa", "wb"] } else { &["wa"] }
    }

    fn b_walk(&self) -> Option<&'static str> {
        match self.b_staging().order {
            Order::Lines => None,
            order if order == self.a_staging().order => Some("wa"),
            _ => Some("wb"),
        }
    }

    /// What an invocation loads: its quads' rows of A, columns of B, and walks along k.
    fn stage_init(&self, s: &mut String) {
        let a = self.a_staging();
        a.declare(s, "a");
        line!(s, "    var wa = walk_early(k0 + a_k - lead);");
        for (row, r, e) in self.rows() {
            let last = if self.a_vec4 && a.order == Order::Lines { 4 } else { 1 };
            line!(
                s,
                "    let {row} = row_init(min(m0 + a_line + {}u, p.m - {last}u), batch);",
                a.further(r) + e
            );
            let start = format!("a_start({row})");
            line!(s, "    let {row}_a = {};", counted(self.a_vec4, start));
        }
        let b = self.b_staging();
        b.declare(s, "b");
        match self.b_walk() {
            Some("wb") => line!(s, "    var wb = walk_early(k0 + b_k - lead);"),
            Some(_) => {}
            None => {
                line!(s, "    let line_b = {};", counted(self.b_vec4, "b_k * p.b_k".into()));
                line!(s, "    let step_b = {};", counted(self.b_vec4, format!("{}u * p.b_k", self.block.bk)));
                line!(s, "    var tile_b_at = {};", counted(self.b_vec4, "(k0 - lead) * p.b_k".into()));
            }
        }
        for (column, r, e) in self.columns() {
            let n = format!("n0 + b_line + {}u", b.further(r) + e);
            match (self.b_vec4, self.b_along_k) {
                (true, false) => line!(s, "    let {column}_b = (batch.b + min({n}, p.n - 4u)) / 4u;"),
                (true, true) => {
                    line!(s, "    let {column}_b = (batch.b + min({n}, p.n - 1u) * p.b_n) / 4u;");
                }
                (false, _) => line!(s, "    let {column}_b = batch.b + min({n}, p.n - 1u) * p.b_n;"),
            }
        }
        match a.order {
            Order::AlongK => line!(s, "    let to_a = a_line * {}u + a_k / 4u;", a.stride),
            _ => line!(s, "    let to_a = a_k * {}u + a_line / 4u;", a.stride),
        }
        match b.order {
            // The columns of an invocation's quad lie bn / 4 rows apart: neighbouring invocations read neighbouring rows, which
            // lie in different banks.
            Order::AlongK => {
                let row = format!("(b_line % 4u * {}u + b_line / 4u)", self.block.bn / 4);
                line!(s, "    let to_b = {row} * {}u + b_k / 4u;", b.stride);
            }
            _ => line!(s, "    let to_b = b_k * {}u + b_line / 4u;", b.stride),
        }
        let from = if a.order == Order::AlongK { self.block.tm * a.stride } else { self.block.tm / 4 };
        line!(s, "    let from_a = local.y * {from}u;");
    }

    /// The names of an invocation's rows of A: one for a quad that is loaded at once, else four; the quad, and the place in it.
    fn rows(&self) -> Vec<(String, usize, usize)> {
        lines("row", self.a_staging().per_invocation, self.a_vec4)
    }

    fn columns(&self) -> Vec<(String, usize, usize)> {
        lines("column", self.b_staging().per_invocation, self.b_vec4)
    }

    /// Loads the invocation's quads of a tile; what is not `inside` is any number. The first tile may begin before `k0`. After the
    /// last tile nothing is there to load, and the place of the first k is loaded once more. No load is within a branch: where it
    /// ends, compilers wait for the load.
    fn stage_load(&self, s: &mut String, indent: &str, first: bool) {
        let a_place = counted(self.a_vec4, "a_offset(wa)".into());
        let b_place = match self.b_walk() {
            Some(walk) => counted(self.b_vec4, format!("b_offset({walk})")),
            None => "line_b + tile_b_at".into(),
        };
        if !first && self.b_walk().is_none() {
            line!(s, "{indent}tile_b_at += step_b;");
        }
        if first {
            line!(s, "{indent}let first_a = a_k >= lead;");
            line!(s, "{indent}let first_b = b_k >= lead;");
        }
        // Selected for all quads, or, where each may be outside, for each.
        let all = |name: &str, place: &str| match (first, self.masked && name == "a") {
            (true, false) => format!("select(0u, {place}, first_{name})"),
            (false, false) => format!("select(0u, {place}, more)"),
            (_, true) => place.to_string(),
        };
        line!(s, "{indent}let at_a = {};", all("a", &a_place));
        for (row, r, e) in self.rows() {
            let to = register("qa", r, e, self.a_vec4);
            if self.masked {
                let there = if first { "first_a" } else { "more" };
                line!(s, "{indent}let {to}_inside = {there} & a_inside({row}, wa);");
                line!(s, "{indent}let {to} = a[select(0u, {row}_a + at_a, {to}_inside)];");
            } else {
                line!(s, "{indent}let {to} = a[{row}_a + at_a];");
            }
        }
        line!(s, "{indent}let at_b = {};", all("b", &b_place));
        for (column, r, e) in self.columns() {
            line!(s, "{indent}let {} = b[{column}_b + at_b];", register("qb", r, e, self.b_vec4));
        }
    }

    /// Stores what was loaded into the tiles, zero where it is not inside. All quads are stored, then those outside written over:
    /// that costs vector units less than a selection for each of four, and mostly nothing; and compilers move a load into the
    /// branch, or behind the branch, that it is used in, where it is waited for.
    fn stage_store(&self, s: &mut String, indent: &str, first: bool) {
        let (a, b) = (self.a_staging(), self.b_staging());
        let (a4, b4) = (self.a_vec4, self.b_vec4);
        let a_inside = |register: &str| match (self.masked, first) {
            (true, _) => Some(format!("{register}_inside")),
            (false, true) => Some("first_a".to_string()),
            (false, false) => None,
        };
        let b_inside = |_: &str| first.then(|| "first_b".to_string());
        let mut over = Vec::new();
        let mut store =
            |to: String, name: &str, r: usize, vec4: bool, inside: &dyn Fn(&str) -> Option<String>| {
                if vec4 {
                    let quad = register(name, r, 0, true);
                    line!(s, "{indent}{to} = {quad};");
                    over.extend(
                        inside(&quad).map(|inside| format!("if !{inside} {{ {to} = vec4<f32>(); }}")),
                    );
                    return;
                }
                let value = quad(|e| {
                    let one = register(name, r, e, false);
                    inside(&one).map_or(one.clone(), |inside| format!("select(0.0, {one}, {inside})"))
                });
                line!(s, "{indent}{to} = {value};");
            };
        for r in 0..a.per_invocation {
            let further = if a.order == Order::AlongK { a.further(r) * a.stride } else { a.further(r) / 4 };
            store(format!("tile_a[to_a + {further}u]"), "qa", r, a4, &a_inside);
        }
        for r in 0..b.per_invocation {
            let further = b.further(r) / 4 * if b.order == Order::AlongK { b.stride } else { 1 };
            store(format!("tile_b[to_b + {further}u]"), "qb", r, b4, &b_inside);
        }
        for over in over {
            line!(s, "{indent}{over}");
        }
    }

    /// Multiplies the two tiles, four k at a time.
    fn multiply(&self, s: &mut String, indent: &str) {
        let Block { bn, bk, tm, tn, .. } = self.block;
        let (a, b) = (self.a_staging(), self.b_staging());
        let tx = bn / tn;
        line!(s, "{indent}for (var q = 0u; q < {}u; q++) {{", bk / 4);
        let inner = &format!("{indent}    ");
        let load_b = |s: &mut String, kk: usize| {
            for j in 0..tn / 4 {
                if b.order != Order::AlongK {
                    let line = format!("(q * 4u + {kk}u) * {}u", b.stride);
                    line!(s, "{inner}let b{kk}_{j} = tile_b[{line} + local.x + {}u];", j * tx);
                    continue;
                }
                if kk == 0 {
                    for e in 0..4 {
                        let row = format!("(local.x + {}u)", e * bn / 4 + j * tx);
                        line!(s, "{inner}let t{j}_{e} = tile_b[{row} * {}u + q];", b.stride);
                    }
                }
                let value = quad(|e| format!("t{j}_{e}.{}", XYZW[kk]));
                line!(s, "{inner}let b{kk}_{j} = {value};");
            }
        };
        if a.order == Order::AlongK {
            (0..4).for_each(|kk| load_b(s, kk));
            for i in 0..tm {
                line!(s, "{inner}let a{i} = tile_a[from_a + {}u + q];", i * a.stride);
                for (kk, c) in XYZW.iter().enumerate() {
                    fma_row(s, inner, i, tn / 4, &format!("a{i}.{c}"), kk);
                }
            }
        } else {
            // One k after the other: fewer operands in registers at a time.
            for kk in 0..4 {
                load_b(s, kk);
                for g in 0..tm / 4 {
                    line!(
                        s,
                        "{inner}let a{kk}_{g} = tile_a[(q * 4u + {kk}u) * {}u + from_a + {g}u];",
                        a.stride
                    );
                    for (e, c) in XYZW.iter().enumerate() {
                        fma_row(s, inner, 4 * g + e, tn / 4, &format!("a{kk}_{g}.{c}"), kk);
                    }
                }
            }
        }
        line!(s, "{indent}}}");
    }
}

/// An index as what is loaded counts: in quads, or in elements.
fn counted(vec4: bool, at: String) -> String {
    if vec4 { format!("quads({at})") } else { at }
}

/// The register of a quad that is loaded at once, else of one of its elements.
fn register(name: &str, r: usize, e: usize, vec4: bool) -> String {
    if vec4 { format!("{name}{r}") } else { format!("{name}{r}_{e}") }
}

/// Names of so many quads that are loaded at once, else of their elements; the quad, and the place in it.
fn lines(name: &str, quads: usize, at_once: bool) -> Vec<(String, usize, usize)> {
    (0..quads)
        .flat_map(|r| (0..if at_once { 1 } else { 4 }).map(move |e| (r, e)))
        .map(|(r, e)| (register(name, r, e, at_once), r, e))
        .collect()
}

fn quad(f: impl Fn(usize) -> String) -> String {
    format!("vec4<f32>({}, {}, {}, {})", f(0), f(1), f(2), f(3))
}

fn fma_row(s: &mut String, indent: &str, i: usize, vectors: usize, a: &str, kk: usize) {
    for j in 0..vectors {
        line!(s, "{indent}c{i}_{j} = fma(vec4<f32>({a}), b{kk}_{j}, c{i}_{j});");
    }
}
