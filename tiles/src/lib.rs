//! Products of matrices of which the left one is read where it lies, element by element through two tables of places: the inner loops of
//! wgrad's convolutions on the CPU. A part of wgrad, not for use by itself.
//!
//! `C[row, column] = sum over k of a[from[row] + at[k]] B[k, column]`
//!
//! A window of an image needs no copy for that: its first element is `from[row]`, and each of its taps lies at the same distance from it in all
//! windows. The right side is packed into panels of as many columns as [`width`] says.
//!
//! It is a crate of its own so that it is compiled with optimisations where the rest is not: in a debug build these loops would take a
//! hundred times as long.

mod element;
mod kernel;

pub use element::Element;
use kernel::Work;

/// Terms that are added up one after the other before their sum is added to the others'. (The sum of n like terms may be off by n / 4
/// roundings, all in one direction.)
pub const CHAIN: usize = 64;

/// Columns of the widest panel; none where this processor has no fused multiplication and addition of vectors.
pub fn width<T: Element>() -> Option<usize> {
    let [_, widest] = T::sizes();
    Some(widest).filter(|&width| width > 0)
}

/// Places of a sum's terms, counted from the first.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    at: &'a [u32],
    last: usize,
}

impl<'a> Terms<'a> {
    /// These places, in the order in which they are added up.
    pub fn new(at: &'a [u32]) -> Terms<'a> {
        Terms { at, last: at.iter().max().map_or(0, |&last| last as usize) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

/// A row of the product: where its left side begins, and where its first column goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The place of the left side from which terms are counted.
    pub from: usize,
    /// The place in the output.
    pub to: usize,
}

/// The right side of a product, or some columns of it: a row for each term.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a, T> {
    rows: &'a [T],
    stride: usize,
}

impl<'a, T: Element> Right<'a, T> {
    /// A panel of so many columns, as [`pack`] writes it.
    pub fn panel(panel: &'a [T], columns: usize) -> Right<'a, T> {
        Right { rows: panel, stride: panel_width::<T>(columns) }
    }

    /// Rows of a matrix where they lie, `stride` elements apart. Of each as many columns are read as a panel would have.
    pub fn rows(rows: &'a [T], stride: usize) -> Right<'a, T> {
        Right { rows, stride }
    }
}

/// What becomes of what was in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// It is overwritten.
    Nothing,
    /// The product is added to it.
    Sums,
}

/// `c[row.to + j] = sum over k of a[row.from + terms[k]] right[k, j]` for `columns` columns j, [`width`] at most.
///
/// # Panics
///
/// If a place is outside of a slice: a kernel's mistake, never a caller's data.
pub fn product<T: Element>(
    a: &[T],
    rows: &[Row],
    terms: Terms<'_>,
    right: Right<'_, T>,
    columns: usize,
    c: &mut [T],
    onto: Onto,
) {
    let work = Work { a, rows, terms: terms.at, right: right.rows, stride: right.stride, columns, c, onto };
    let reads = |row: &Row| {
        terms.is_empty() || row.from.checked_add(terms.last).is_some_and(|last| last < work.a.len())
    };
    let writes = |row: &Row| row.to.checked_add(columns).is_some_and(|end| end <= work.c.len());
    assert!(
        rows.iter().all(|row| reads(row) && writes(row)),
        "a place of a product is outside of its matrix"
    );
    if columns > 0 {
        T::compute(work);
    }
}

/// Writes rows of a matrix as a panel: `panel[k, j] = b[k * strides[0] + j * strides[1]]` for `columns` columns, and zeros up to the width
/// that [`panel_width`] says. It has as many rows as `panel` has room for.
///
/// # Panics
///
/// If `b` is too short.
pub fn pack<T: Element>(b: &[T], strides: [usize; 2], columns: usize, panel: &mut [T]) {
    T::pack(b, strides, columns, panel);
}

fn pack_any<T: Element>(b: &[T], strides: [usize; 2], columns: usize, panel: &mut [T]) {
    let width = panel_width::<T>(columns);
    if width == 0 {
        return;
    }
    let rows = panel.len() / width;
    if strides[1] == 1 {
        for (k, to) in panel.chunks_exact_mut(width).enumerate() {
            let from = &b[k * strides[0]..][..columns];
            to[..columns].copy_from_slice(from);
            to[columns..].fill(T::NONE);
        }
        return;
    }
    // Some rows of the panel at a time: what is read of a column is a few cache lines, and what is written stays in the cache.
    const TOGETHER: usize = 64;
    for first in (0..rows).step_by(TOGETHER) {
        let last = rows.min(first + TOGETHER);
        let block = &mut panel[first * width..last * width];
        for j in 0..columns {
            let to = block[j..].iter_mut().step_by(width);
            let from = &b[first * strides[0] + j * strides[1]..];
            if strides[0] == 1 {
                to.zip(&from[..last - first]).for_each(|(to, &from)| *to = from);
            } else {
                to.enumerate().for_each(|(k, to)| *to = from[k * strides[0]]);
            }
        }
        for row in block.chunks_exact_mut(width) {
            row[columns..].fill(T::NONE);
        }
    }
}

/// Asks for these elements to be in the cache soon. Streams that are read a page at a time, in turn, are otherwise waited for at each page:
/// processors look ahead within a page alone.
pub fn prefetch(elements: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        let first = elements.as_ptr().cast::<i8>();
        for at in (0..size_of_val(elements)).step_by(LINE) {
            // SAFETY: the place is within the slice, and nothing is read.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = elements;
}

/// The width of a panel of so many columns: the next number that vectors fill.
pub fn panel_width<T: Element>(columns: usize) -> usize {
    let [lanes, _] = T::sizes();
    columns.next_multiple_of(lanes)
}

#[cfg(test)]
mod tests;
