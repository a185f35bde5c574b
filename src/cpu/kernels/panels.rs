//! The right side of products that read their left side where it lies: packed, in panels as wide as the kernels take.

use std::ops::Range;

use wgrad_tiles::{CHAIN, Onto, Right, Row, Terms, panel_width, product, width};

use super::float::Float;
use super::{CHAIN_OF_SUMS, for_each_chunk};

/// Terms of a sum that are added up in one call, as chains whose sums are added one after the other.
pub const BLOCK: usize = CHAIN * CHAIN_OF_SUMS;
/// Writes some terms and columns of the right side as a panel.
pub type Write<'a, T> = &'a (dyn Fn(Range<usize>, Range<usize>, &mut [T]) + Sync);

/// Columns of a matrix in panels of about the same width.
pub struct Panels {
    pub columns: usize,
    /// Columns of all panels but the last.
    pub each: usize,
}

impl Panels {
    pub fn new<T: Float>(columns: usize) -> Panels {
        let widest = width::<T>().unwrap_or(1);
        Panels { columns, each: panel_width::<T>(columns.div_ceil(columns.div_ceil(widest))) }
    }

    pub fn len(&self) -> usize {
        self.columns.div_ceil(self.each)
    }

    pub fn columns(&self, panel: usize) -> Range<usize> {
        panel * self.each..self.columns.min((panel + 1) * self.each)
    }

    /// Numbers that all take packed, for so many terms.
    pub fn packed_len<T: Float>(&self, terms: usize) -> usize {
        let last = self.columns(self.len() - 1).len();
        terms * ((self.len() - 1) * self.each + panel_width::<T>(last))
    }

    /// Where a panel begins and how long it is when all are packed one after the other, and of it the part of some terms.
    pub fn packed<T: Float>(&self, panel: usize, terms: usize, part: &Range<usize>) -> Range<usize> {
        let width = panel_width::<T>(self.columns(panel).len());
        let first = panel * self.each * terms;
        first + part.start * width..first + part.end * width
    }

    /// All panels of a matrix, one after the other.
    pub fn pack<T: Float>(&self, terms: usize, write: Write<'_, T>, packed: &mut [T]) {
        // A piece has the terms of one call, so that threads share wide and narrow weights alike.
        for_each_chunk(packed, self.each * terms, packed.len() >= 1 << 16, |panel, packed| {
            let width = panel_width::<T>(self.columns(panel).len());
            for_each_chunk(packed, width * BLOCK / 8, packed.len() >= 1 << 16, |part, packed| {
                let first = part * (BLOCK / 8);
                write(first..first + packed.len() / width, self.columns(panel), packed);
            });
        });
    }
}

/// Stretches of the terms of a sum, each of them added up in one call; one without terms, if there are none.
pub fn blocks(terms: usize) -> impl Iterator<Item = Range<usize>> {
    (0..terms.max(1)).step_by(BLOCK).map(move |first| first..terms.min(first + BLOCK))
}

pub fn onto(first: bool) -> Onto {
    if first { Onto::Nothing } else { Onto::Sums }
}

/// The product of some rows with all panels.
pub fn by_rows<T: Float>(a: &[T], rows: &[Row], terms: &[u32], panels: &Panels, packed: &[T], c: &mut [T]) {
    for panel in 0..panels.len() {
        let columns = panels.columns(panel);
        for part in blocks(terms.len()) {
            let b = &packed[panels.packed::<T>(panel, terms.len(), &part)];
            let sums = onto(part.start == 0);
            product(
                a,
                rows,
                Terms::new(&terms[part]),
                Right::panel(b, columns.len()),
                columns.len(),
                &mut c[columns.start..],
                sums,
            );
        }
    }
}
