//! How the columns of B come into a lane's registers.

use std::fmt::Write;
use std::ops::Range;

use super::super::parts::{BLoad, line};
use super::Registers;

impl Registers {
    /// First column of each accumulator (of each two, by octets), and where its elements of B are; columns past the end
    /// repeat the last one.
    pub(super) fn columns(&self, s: &mut String) {
        let (width, vectors) = self.vector();
        if self.b == BLoad::QuadsAlongN && self.short_k.is_none() {
            line!(s, "    let b_step = p.b_k / {}u;", self.b_width);
        }
        if self.octets() {
            for j in (0..vectors).step_by(2) {
                line!(s, "    let column{j} = n0 + {}u + lane * 8u;", j * self.lanes * 4);
                line!(s, "    let col{j} = min(column{j}, p.n - 8u) / 8u;");
            }
            return;
        }
        for j in 0..vectors {
            line!(s, "    let column{j} = n0 + {}u + lane * {width}u;", j * self.lanes * width);
            if self.b == BLoad::QuadsAlongN {
                line!(s, "    let col{j} = min(column{j}, p.n - 4u) / 4u;");
                continue;
            }
            let quad = match self.b {
                BLoad::QuadsAlongK => format!(" / {}u", self.b_width),
                _ => String::new(),
            };
            for e in 0..width {
                line!(s, "    let col{j}_{e} = min(column{j} + {e}u, p.n - 1u) * p.b_n{quad};");
            }
        }
    }

    /// Accumulators at which an index of B begins.
    fn loads(&self) -> impl Iterator<Item = usize> + use<> {
        let (_, vectors) = self.vector();
        (0..vectors).step_by(if self.octets() { 2 } else { 1 })
    }

    /// Loads the row of B at the indices `{at}{j}` into `b{name}_{j}`; B in quads or octets along n.
    fn load_b_at(&self, s: &mut String, name: usize, at: &str, indent: &str) {
        for j in self.loads() {
            if self.octets() {
                line!(s, "{indent}let t{name}_{j} = b[{at}{j}];");
                line!(s, "{indent}let b{name}_{j} = evens(t{name}_{j});");
                line!(s, "{indent}let b{name}_{} = odds(t{name}_{j});", j + 1);
            } else {
                line!(s, "{indent}let b{name}_{j} = b[{at}{j}];");
            }
        }
    }

    /// Loads one row of B into `b{name}_{j}`, from the element index `at` of its first column.
    pub(super) fn load_b_row(&self, s: &mut String, name: usize, at: &str, indent: &str) {
        if self.b == BLoad::QuadsAlongN {
            line!(s, "{indent}let bq{name} = ({at}) / {}u;", self.b_width);
            for j in self.loads() {
                line!(s, "{indent}let bi{name}_{j} = bq{name} + col{j};");
            }
            self.load_b_at(s, name, &format!("bi{name}_"), indent);
            return;
        }
        let (_, vectors) = self.vector();
        line!(s, "{indent}let bi{name} = {at};");
        for j in 0..vectors {
            let value = self.compose(|e| format!("b[bi{name} + col{j}_{e}]"));
            line!(s, "{indent}let b{name}_{j} = {value};");
        }
    }

    /// Indices of B that are carried along, at `at`, an element index of its first column.
    pub(super) fn start_b(&self, s: &mut String, at: &str, indent: &str) {
        match self.b {
            BLoad::QuadsAlongN => {
                for j in self.loads() {
                    line!(s, "{indent}var bi{j} = ({at}) / {}u + col{j};", self.b_width);
                }
            }
            BLoad::QuadsAlongK => {
                let (width, vectors) = self.vector();
                for j in 0..vectors {
                    for e in 0..width {
                        line!(s, "{indent}var bi{j}_{e} = ({at}) / {}u + col{j}_{e};", self.b_width);
                    }
                }
            }
            BLoad::Scalar => {}
        }
    }

    /// Loads the rows `range` of B, which `start_b` has made indices for and which lie at `at` without them.
    pub(super) fn load_b_rows(&self, s: &mut String, range: Range<usize>, at: &str, indent: &str) {
        for kk in range {
            if self.b != BLoad::QuadsAlongN {
                self.load_b_row(s, kk, &format!("{at} + (k + {kk}u) * p.b_k"), indent);
                continue;
            }
            for j in self.loads() {
                line!(s, "{indent}let bi{kk}_{j} = bi{j};");
                line!(s, "{indent}bi{j} = bi{kk}_{j} + b_step;");
            }
            self.load_b_at(s, kk, &format!("bi{kk}_"), indent);
        }
    }

    /// Loads as many consecutive rows of B as a turn through a segment takes, from k on.
    pub(super) fn load_b_segment(&self, s: &mut String) {
        const INDENT: &str = "            ";
        let (width, vectors) = self.vector();
        if self.b != BLoad::QuadsAlongK {
            self.load_b_rows(s, 0..4, "segment.b", INDENT);
            return;
        }
        for j in 0..vectors {
            for e in 0..width {
                let load = format!("b[bi{j}_{e}]");
                if self.b_width == 8 {
                    line!(s, "{INDENT}let t{j}_{e} = {load};");
                    line!(s, "{INDENT}let even{j}_{e} = evens(t{j}_{e});");
                    line!(s, "{INDENT}let odd{j}_{e} = odds(t{j}_{e});");
                } else {
                    line!(s, "{INDENT}let t{j}_{e} = {load};")
                }
                line!(s, "{INDENT}bi{j}_{e} += 1u;");
            }
            for kk in 0..self.b_width {
                let value = self.compose(|e| self.component(&["t", "even", "odd"], &format!("{j}_{e}"), kk));
                line!(s, "{INDENT}let b{kk}_{j} = {value};");
            }
        }
    }
}
