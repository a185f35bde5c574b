//! Tiles of a product, each summed in registers.

use crate::{CHAIN, Element, Onto, Row};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Numbers in a vector of this processor, and columns of the widest panel: 0 without vectors.
pub struct Sizes<T>(pub PhantomData<T>);

impl<T: Element> WithSimd for Sizes<T> {
    type Output = [usize; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [usize; 2] {
        let lanes = lanes::<S, T>();
        [lanes, if lanes > 1 { most_vectors::<S>() * lanes } else { 0 }]
    }
}

#[inline(always)]
fn lanes<S: Simd, T: Element>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// Whether there are 16 registers for vectors and not 32: AVX2.
#[inline(always)]
fn few_registers<S: Simd>() -> bool {
    size_of::<S::f32s>() == 32
}

/// Vectors of a row of a tile, at most.
#[inline(always)]
fn most_vectors<S: Simd>() -> usize {
    if few_registers::<S>() { 2 } else { 4 }
}

/// What [`product`](crate::product) is given; it has looked at the places.
pub struct Work<'a, T> {
    pub a: &'a [T],
    pub rows: &'a [Row],
    pub terms: &'a [u32],
    pub right: &'a [T],
    pub stride: usize,
    pub columns: usize,
    pub c: &'a mut [T],
    pub onto: Onto,
}

pub struct Kernel<'a, T>(pub Work<'a, T>);

impl<T: Element> WithSimd for Kernel<'_, T> {
    type Output = ();

    /// Tiles have as many rows as leave registers for the sums of all their vectors, a row of the panel and a number, and others for where
    /// rows begin.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.0.columns.div_ceil(lanes::<S, T>());
        assert!(vectors <= most_vectors::<S>(), "a panel has too many columns");
        let Work { right, stride, terms, .. } = self.0;
        let last = terms.len().checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride));
        let rest = last.and_then(|last| right.len().checked_sub(last));
        assert!(
            terms.is_empty() || rest.is_some_and(|rest| vectors * lanes::<S, T>() <= rest),
            "the right side has not as many rows as there are terms"
        );
        // SAFETY: what it asks for, `product` and the lines above have looked at.
        unsafe {
            if few_registers::<S>() {
                match vectors {
                    2 => tiles::<S, T, 6, 4, 2>(simd, self.0),
                    _ => tiles::<S, T, 8, 4, 1>(simd, self.0),
                }
            } else {
                match vectors {
                    4 => tiles::<S, T, 6, 4, 4>(simd, self.0),
                    3 => tiles::<S, T, 6, 4, 3>(simd, self.0),
                    2 => tiles::<S, T, 8, 4, 2>(simd, self.0),
                    _ => tiles::<S, T, 8, 4, 1>(simd, self.0),
                }
            }
        }
    }
}

/// All rows, `M` at a time, and of what is left up to `L`.
///
/// # Safety
///
/// Every place that rows and terms reach is within `a`, every row of `columns` numbers within `c`, and the right side has `N` vectors for each term.
#[inline(always)]
unsafe fn tiles<S: Simd, T: Element, const M: usize, const L: usize, const N: usize>(
    simd: S,
    mut work: Work<'_, T>,
) {
    let rows = work.rows;
    // What is left for the smaller tile, if it is not more than that.
    let left = rows.len() % M;
    let (most, last) = rows.split_at(rows.len() - if left <= L { left } else { 0 });
    // SAFETY: as the caller says.
    unsafe {
        for rows in most.chunks(M) {
            tile::<S, T, M, N>(simd, rows, &mut work);
        }
        if !last.is_empty() {
            tile::<S, T, L, N>(simd, last, &mut work);
        }
    }
}

/// Up to `M` rows. If there are fewer, the last one is summed several times and written once.
///
/// # Safety
///
/// As for [`tiles`].
#[inline(always)]
unsafe fn tile<S: Simd, T: Element, const M: usize, const N: usize>(
    simd: S,
    rows: &[Row],
    work: &mut Work<'_, T>,
) {
    let lanes = lanes::<S, T>();
    let whole = work.columns == N * lanes;
    let mut from = [rows[rows.len() - 1].from; M];
    for (from, row) in from.iter_mut().zip(rows) {
        *from = row.from;
    }
    // SAFETY: as the caller says.
    let sums = unsafe {
        sums::<S, T, M, N>(simd, work.a.as_ptr(), &from, work.terms, work.right.as_ptr(), work.stride)
    };
    for (row, sums) in rows.iter().zip(&sums) {
        if whole {
            // SAFETY: the row's columns are within `c`.
            let c = unsafe { work.c.as_mut_ptr().add(row.to) };
            for (j, &sum) in sums.iter().enumerate() {
                // SAFETY: so are these of them; vectors have no alignment here.
                unsafe {
                    let c = c.add(j * lanes).cast::<T::Vector<S>>();
                    let sum =
                        if work.onto == Onto::Sums { T::add(simd, c.read_unaligned(), sum) } else { sum };
                    c.write_unaligned(sum);
                }
            }
        } else {
            store_some::<S, T, N>(simd, sums, &mut work.c[row.to..row.to + work.columns], work.onto);
        }
    }
}

/// Writes the first columns of a row.
#[inline(always)]
fn store_some<S: Simd, T: Element, const N: usize>(
    simd: S,
    sums: &[T::Vector<S>; N],
    c: &mut [T],
    onto: Onto,
) {
    let lanes = lanes::<S, T>();
    for (c, &sum) in c.chunks_mut(lanes).zip(sums) {
        // As many as a vector of any processor has.
        let mut buffer = [T::NONE; 16];
        buffer[..c.len()].copy_from_slice(c);
        assert!(lanes <= buffer.len());
        // SAFETY: the buffer holds a vector.
        unsafe {
            let place = buffer.as_mut_ptr().cast::<T::Vector<S>>();
            let sum = if onto == Onto::Sums { T::add(simd, place.read_unaligned(), sum) } else { sum };
            place.write_unaligned(sum);
        }
        let len = c.len();
        c.copy_from_slice(&buffer[..len]);
    }
}

/// The sums of a tile.
///
/// # Safety
///
/// `a` may be read at `from[i] + terms[k]` and `right` for `N` vectors from `k * stride` on.
#[inline(always)]
unsafe fn sums<S: Simd, T: Element, const M: usize, const N: usize>(
    simd: S,
    a: *const T,
    from: &[usize; M],
    terms: &[u32],
    right: *const T,
    stride: usize,
) -> [[T::Vector<S>; N]; M] {
    let zero = T::splat(simd, T::NONE);
    let mut sums = [[zero; N]; M];
    let mut right = right;
    for (chain, terms) in terms.chunks(CHAIN).enumerate() {
        let mut sum = [[zero; N]; M];
        for &at in terms {
            // SAFETY: as the caller says.
            unsafe {
                let a = a.add(at as usize);
                let mut b = [zero; N];
                for (j, b) in b.iter_mut().enumerate() {
                    *b = right.cast::<T::Vector<S>>().add(j).read_unaligned();
                }
                right = right.wrapping_add(stride);
                for i in 0..M {
                    let x = T::splat(simd, *a.add(from[i]));
                    for j in 0..N {
                        sum[i][j] = T::mul_add(simd, x, b[j], sum[i][j]);
                    }
                }
            }
        }
        if chain == 0 {
            sums = sum;
        } else {
            for i in 0..M {
                for j in 0..N {
                    sums[i][j] = T::add(simd, sums[i][j], sum[i][j]);
                }
            }
        }
    }
    sums
}
