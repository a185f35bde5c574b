//! Generates GEMM kernels that stage tiles of A and B in workgroup memory, for real GPUs.
//!
//! A workgroup computes a tile of `bm` x `bn`, `bk` deep at a time; an invocation accumulates `tm` x `tn` of it in
//! registers. While one pair of tiles is multiplied, the next is already on its way into registers.
//!
//! Tiles hold quads along the dimension that is contiguous in memory, so that global loads, workgroup stores and
//! workgroup loads are all of 16 bytes, and a transposed operand costs nothing: the multiplication picks components.
//!
//! **The state of the loop.** At the head of a turn, registers `qa..` and `qb..` hold this turn's tiles, the walks `w..` and `k..`
//! stand where they were loaded, and nobody reads the tiles in workgroup memory any more. The turn stores the registers, waits
//! (all are stored), moves the walks on and loads the next tiles into the registers, which the multiplication need not wait
//! for, multiplies, and waits again (all have read). Every invocation takes the same turns, `k0` and `k1` being the workgroup's,
//! so all reach both barriers.
//!
//! **Edges.** Rows and columns past the end repeat the last one and are not stored. k past the end is multiplied, and both
//! operands are zero there, not one of them: zero times an infinity would be NaN.

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

/// How the quads of one operand's tile are spread over the invocations.
struct Staging {
    /// Quads along the contiguous dimension, and quads per invocation.
    quads: usize,
    per_invocation: usize,
    /// How far the slow coordinate moves from one quad of an invocation to the next.
    slow_step: usize,
}

impl Tiled {
    /// The turns of an invocation that goes through so much of k.
    pub fn turns(&self, k: usize) -> Turns {
        Turns::around(k.div_ceil(self.block.bk), Turns::of(self.block.bk / 4))
    }

    fn staging(&self, extent: usize, along_k: bool) -> Staging {
        let quads = if along_k { self.block.bk / 4 } else { extent / 4 };
        let threads = self.block.invocations();
        Staging { quads, per_invocation: extent * self.block.bk / 4 / threads, slow_step: threads / quads }
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
        // A row of quads along k is one quad longer than needed, so that neighbours lie in different banks.
        let (a_quads, b_quads) = (
            if self.a_along_k() { bm * (bk / 4 + 1) } else { bk * bm / 4 },
            if self.b_along_k { bn * (bk / 4 + 1) } else { bk * bn / 4 },
        );
        let mut s = bindings(element(self.a_vec4), element(self.b != BLoad::Scalar), self.out_vec4);
        self.name_operands(&mut s);
        line!(s, "var<workgroup> tile_a: array<vec4<f32>, {a_quads}>;");
        line!(s, "var<workgroup> tile_b: array<vec4<f32>, {b_quads}>;\n");
        self.load_functions(&mut s);
        self.store_function(&mut s);
        line!(s, "@compute @workgroup_size({tx}, {ty})");
        line!(s, "fn main(");
        line!(s, "    @builtin(workgroup_id) group: vec3<u32>,");
        line!(s, "    @builtin(num_workgroups) groups: vec3<u32>,");
        line!(s, "    @builtin(local_invocation_id) local: vec3<u32>,");
        line!(s, "    @builtin(local_invocation_index) index: u32,");
        line!(s, ") {{");
        s += &tile_prologue(bm, bn);
        self.stage_init(&mut s);
        declare_accumulators(&mut s, self.levels, tm, tn / 4, "vec4<f32>");
        self.stage_load(&mut s, "    ");
        if self.levels > 1 {
            line!(s, "    var pending = 0u;");
        }
        line!(s, "    for (var k = k0; k < k1; k += {bk}u) {{");
        self.stage_store(&mut s);
        line!(s, "        workgroupBarrier();");
        self.stage_step(&mut s);
        self.stage_load_next(&mut s);
        self.multiply(&mut s);
        line!(s, "        workgroupBarrier();");
        if self.levels > 1 {
            line!(s, "        pending += {bk}u;");
            line!(s, "        if pending >= p.block {{");
            line!(s, "            pending = 0u;");
            flush(&mut s, self.levels, tm, tn / 4, "vec4<f32>", "            ");
            line!(s, "        }}");
        }
        line!(s, "    }}");
        add_up_levels(&mut s, self.levels, tm, tn / 4);
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
        line!(s, "// Operands: A along {a} by {a4}, B along {b} by {b4}, C by {c4}, {levels} levels.");
    }

    /// `load_a`, `load_b`: a quad of the operand, zero beyond the end of k.
    fn load_functions(&self, s: &mut String) {
        if self.a_vec4 {
            line!(s, "fn load_a(row: Row, w: Walk, k: u32, k1: u32) -> vec4<f32> {{");
            line!(s, "    let place = a_place(row, w);");
            line!(s, "    if !place.valid || k >= k1 {{ return vec4<f32>(); }}");
            line!(s, "    return a[place.index / 4u];");
            line!(s, "}}\n");
        } else {
            line!(s, "fn load_a1(row: Row, w: Walk, k: u32, k1: u32) -> f32 {{");
            line!(s, "    let place = a_place(row, w);");
            line!(s, "    if !place.valid || k >= k1 {{ return 0.0; }}");
            line!(s, "    return a[place.index];");
            line!(s, "}}\n");
        }
        let columns = "i: u32, n: u32";
        match (self.b, self.b_along_k) {
            (BLoad::QuadsAlongN, _) => {
                line!(s, "fn load_b({columns}) -> vec4<f32> {{");
                line!(s, "    return b[(i + min(n, p.n - 4u)) / 4u];");
            }
            (BLoad::QuadsAlongK, _) => {
                line!(s, "fn load_b({columns}) -> vec4<f32> {{");
                line!(s, "    return b[(i + min(n, p.n - 1u) * p.b_n) / 4u];");
            }
            (BLoad::Scalar, true) => {
                line!(s, "fn load_b1({columns}) -> f32 {{");
                line!(s, "    return b[i + min(n, p.n - 1u) * p.b_n];");
            }
            (BLoad::Scalar, false) => {
                line!(s, "fn load_b({columns}) -> vec4<f32> {{");
                let parts: Vec<String> =
                    (0..4).map(|e| format!("b[i + min(n + {e}u, p.n - 1u) * p.b_n]")).collect();
                line!(s, "    return vec4<f32>({});", parts.join(", "));
            }
        }
        line!(s, "}}\n");
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

    /// What an invocation loads: its quads' rows of A, columns of B, and walks along k.
    fn stage_init(&self, s: &mut String) {
        let a = self.a_staging();
        line!(s, "    let a_fast = index % {}u;", a.quads);
        line!(s, "    let a_slow = index / {}u;", a.quads);
        if self.a_along_k() {
            line!(s, "    var wa = walk_init(k0 + a_fast * 4u);");
            line!(s, "    var ka = k0 + a_fast * 4u;");
        }
        for r in 0..a.per_invocation {
            let slow = r * a.slow_step;
            if self.a_along_k() {
                line!(s, "    let row{r} = row_init(min(m0 + a_slow + {slow}u, p.m - 1u), batch);");
                continue;
            }
            line!(s, "    var wa{r} = walk_init(k0 + a_slow + {slow}u);");
            line!(s, "    var ka{r} = k0 + a_slow + {slow}u;");
            if r > 0 {
                continue;
            }
            if self.a_vec4 {
                line!(s, "    let row0 = row_init(min(m0 + a_fast * 4u, p.m - 4u), batch);");
            } else {
                for e in 0..4 {
                    line!(s, "    let row0_{e} = row_init(min(m0 + a_fast * 4u + {e}u, p.m - 1u), batch);");
                }
            }
        }
        let b = self.b_staging();
        line!(s, "    let b_fast = index % {}u;", b.quads);
        line!(s, "    let b_slow = index / {}u;", b.quads);
        if self.b_along_k {
            line!(s, "    var wb = walk_init(k0 + b_fast * 4u);");
            line!(s, "    var kb = k0 + b_fast * 4u;");
        } else {
            for r in 0..b.per_invocation {
                line!(s, "    var wb{r} = walk_init(k0 + b_slow + {}u);", r * b.slow_step);
                line!(s, "    var kb{r} = k0 + b_slow + {}u;", r * b.slow_step);
            }
        }
        for r in 0..a.per_invocation {
            line!(s, "    var qa{r} = vec4<f32>();");
        }
        for r in 0..b.per_invocation {
            line!(s, "    var qb{r} = vec4<f32>();");
        }
    }

    /// Loads the invocation's quads of the next tiles into registers.
    fn stage_load(&self, s: &mut String, indent: &str) {
        let a = self.a_staging();
        if self.a_along_k() && !self.a_vec4 {
            for e in 1..4 {
                let previous = if e == 1 { "wa".to_string() } else { format!("wa_{}", e - 1) };
                line!(s, "{indent}let wa_{e} = walk_next({previous});");
            }
        }
        for r in 0..a.per_invocation {
            let value = match (self.a_along_k(), self.a_vec4) {
                (true, true) => format!("load_a(row{r}, wa, ka, k1)"),
                (true, false) => quad(|e| {
                    let walk = if e == 0 { "wa".to_string() } else { format!("wa_{e}") };
                    format!("load_a1(row{r}, {walk}, ka + {e}u, k1)")
                }),
                (false, true) => format!("load_a(row0, wa{r}, ka{r}, k1)"),
                (false, false) => quad(|e| format!("load_a1(row0_{e}, wa{r}, ka{r}, k1)")),
            };
            line!(s, "{indent}qa{r} = {value};");
        }
        let b = self.b_staging();
        if self.b_along_k && self.b == BLoad::Scalar {
            for e in 1..4 {
                let previous = if e == 1 { "wb".to_string() } else { format!("wb_{}", e - 1) };
                line!(s, "{indent}let wb_{e} = walk_next({previous});");
            }
        }
        for r in 0..b.per_invocation {
            line!(s, "{indent}qb{r} = vec4<f32>();");
            let n = format!("n0 + b_slow + {}u", r * b.slow_step);
            if self.b_along_k && self.b == BLoad::Scalar {
                for (e, c) in XYZW.iter().enumerate() {
                    let walk = if e == 0 { "wb".to_string() } else { format!("wb_{e}") };
                    line!(
                        s,
                        "{indent}if kb + {e}u < k1 {{ qb{r}.{c} = load_b1(b_index({walk}, batch), {n}); }}"
                    );
                }
            } else if self.b_along_k {
                line!(s, "{indent}if kb < k1 {{ qb{r} = load_b(b_index(wb, batch), {n}); }}");
            } else {
                line!(
                    s,
                    "{indent}if kb{r} < k1 {{ qb{r} = load_b(b_index(wb{r}, batch), n0 + b_fast * 4u); }}"
                );
            }
        }
    }

    fn stage_load_next(&self, s: &mut String) {
        line!(s, "        if k + {}u < k1 {{", self.block.bk);
        self.stage_load(s, "            ");
        line!(s, "        }}");
    }

    fn stage_step(&self, s: &mut String) {
        let bk = self.block.bk;
        let mut step = |name: String| {
            line!(s, "        w{name} = walk_step(w{name});");
            line!(s, "        k{name} += {bk}u;");
        };
        let a = self.a_staging();
        if self.a_along_k() {
            step("a".into())
        } else {
            (0..a.per_invocation).for_each(|r| step(format!("a{r}")))
        }
        let b = self.b_staging();
        if self.b_along_k {
            step("b".into())
        } else {
            (0..b.per_invocation).for_each(|r| step(format!("b{r}")))
        }
    }

    fn stage_store(&self, s: &mut String) {
        let a = self.a_staging();
        for r in 0..a.per_invocation {
            let stride = if self.a_along_k() { a.quads + 1 } else { a.quads };
            line!(s, "        tile_a[(a_slow + {}u) * {stride}u + a_fast] = qa{r};", r * a.slow_step);
        }
        let b = self.b_staging();
        for r in 0..b.per_invocation {
            let slow = format!("(b_slow + {}u)", r * b.slow_step);
            if self.b_along_k {
                // The columns of an invocation's quad lie bn / 4 rows apart: neighbouring invocations read
                // neighbouring rows, which lie in different banks.
                let row = format!("({slow} % 4u * {}u + {slow} / 4u)", self.block.bn / 4);
                line!(s, "        tile_b[{row} * {}u + b_fast] = qb{r};", b.quads + 1);
            } else {
                line!(s, "        tile_b[{slow} * {}u + b_fast] = qb{r};", b.quads);
            }
        }
    }

    /// Multiplies the two tiles, four k at a time.
    fn multiply(&self, s: &mut String) {
        let Block { bm, bn, bk, tm, tn } = self.block;
        let tx = bn / tn;
        line!(s, "        for (var q = 0u; q < {}u; q++) {{", bk / 4);
        for (kk, component) in XYZW.iter().enumerate() {
            for j in 0..tn / 4 {
                if !self.b_along_k {
                    line!(
                        s,
                        "            let b{kk}_{j} = tile_b[(q * 4u + {kk}u) * {}u + local.x + {}u];",
                        bn / 4,
                        j * tx
                    );
                    continue;
                }
                let stride = bk / 4 + 1;
                if kk == 0 {
                    for e in 0..4 {
                        let row = format!("(local.x + {}u)", e * bn / 4 + j * tx);
                        line!(s, "            let t{j}_{e} = tile_b[{row} * {stride}u + q];");
                    }
                }
                let value = quad(|e| format!("t{j}_{e}.{component}"));
                line!(s, "            let b{kk}_{j} = {value};");
            }
        }
        if self.a_along_k() {
            for i in 0..tm {
                line!(s, "            let a{i} = tile_a[(local.y * {tm}u + {i}u) * {}u + q];", bk / 4 + 1);
                for (kk, c) in XYZW.iter().enumerate() {
                    fma_row(s, i, tn / 4, &format!("a{i}.{c}"), kk);
                }
            }
        } else {
            for kk in 0..4 {
                for g in 0..tm / 4 {
                    let at = format!("(q * 4u + {kk}u) * {}u + local.y * {}u + {g}u", bm / 4, tm / 4);
                    line!(s, "            let a{kk}_{g} = tile_a[{at}];");
                    for (e, c) in XYZW.iter().enumerate() {
                        fma_row(s, 4 * g + e, tn / 4, &format!("a{kk}_{g}.{c}"), kk);
                    }
                }
            }
        }
        line!(s, "        }}");
    }
}

fn quad(f: impl Fn(usize) -> String) -> String {
    format!("vec4<f32>({}, {}, {}, {})", f(0), f(1), f(2), f(3))
}

fn fma_row(s: &mut String, i: usize, vectors: usize, a: &str, kk: usize) {
    for j in 0..vectors {
        line!(s, "            c{i}_{j} = fma(vec4<f32>({a}), b{kk}_{j}, c{i}_{j});");
    }
}
