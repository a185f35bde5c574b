//! Stable sorts of rows.

use super::float::Number;
use super::{PARALLEL_WORK, for_each_chunk, units_per_task};
use crate::geometry::SearchGeometry;
use crate::threads::on_threads;
use rayon::slice::ParallelSliceMut;

/// An element that can be sorted: with its place it becomes a number whose order is the one wanted, so that no two are equal and any
/// sort is stable.
pub trait Sortable: Number {
    type Packed: Ord + Copy + Send;

    /// Descending, all keys are flipped, and no place is.
    fn pack(self, place: u32, descending: bool) -> Self::Packed;
    fn place(packed: Self::Packed) -> u32;
}

macro_rules! sortable {
    ($($t:ty: |$v:ident| $key:expr;)*) => {$(
        impl Sortable for $t {
            type Packed = u64;

            #[inline(always)]
            fn pack(self, place: u32, descending: bool) -> u64 {
                let $v = self;
                let key: u32 = $key;
                u64::from(if descending { !key } else { key }) << 32 | u64::from(place)
            }

            #[inline(always)]
            fn place(packed: u64) -> u32 {
                packed as u32
            }
        }
    )*};
}

sortable! {
    u8: |v| v.into();
    u32: |v| v;
    i32: |v| v as u32 ^ 1 << 31;
    f32: |v| match v {
        v if v.is_nan() => u32::MAX,
        0.0 => 1 << 31,
        v if v.is_sign_negative() => !v.to_bits(),
        v => v.to_bits() ^ 1 << 31,
    };
}

impl Sortable for f64 {
    type Packed = (u64, u32);

    #[inline(always)]
    fn pack(self, place: u32, descending: bool) -> (u64, u32) {
        let key = match self {
            v if v.is_nan() => u64::MAX,
            0.0 => 1 << 63,
            v if v.is_sign_negative() => !v.to_bits(),
            v => v.to_bits() ^ 1 << 63,
        };
        (if descending { !key } else { key }, place)
    }

    #[inline(always)]
    fn place(packed: (u64, u32)) -> u32 {
        packed.1
    }
}

/// The places of the first `kept` elements of each row of so many, in the order of their values: NaN the largest, both zeros equal, and
/// equal elements in the order of their places.
pub fn argsort<T: Sortable>(len: usize, kept: usize, descending: bool, x: &[T], order: &mut [i32]) {
    if kept == 0 || len == 0 {
        return;
    }
    let work = len * (len.ilog2() as usize + 1);
    let parallel = x.len() / len * work >= PARALLEL_WORK;
    let rows = units_per_task(work);
    for_each_chunk(order, rows * kept, parallel, |task, order| {
        let mut packed = Vec::with_capacity(len);
        for (i, order) in order.chunks_exact_mut(kept).enumerate() {
            let row = &x[(task * rows + i) * len..][..len];
            packed.clear();
            packed.extend(row.iter().zip(0..).map(|(&v, place)| v.pack(place, descending)));
            if kept < len {
                packed.select_nth_unstable(kept);
                packed.truncate(kept);
            }
            match packed.len() < PARALLEL_WORK {
                true => packed.sort_unstable(),
                false => on_threads(&mut || packed.par_sort_unstable()),
            }
            for (order, &packed) in order.iter_mut().zip(&packed) {
                *order = T::place(packed) as i32;
            }
        }
    });
}

/// `found[row, i]` = how many elements of a sorted row are below a value, or not above it.
pub fn search<T: Sortable>(g: &SearchGeometry, sorted: &[T], values: &[T], found: &mut [u32]) {
    let work = g.len.max(1).ilog2() as usize + 1;
    let chunk = units_per_task(work);
    for_each_chunk(found, chunk, values.len() * work >= PARALLEL_WORK, |task, found| {
        for (found, i) in found.iter_mut().zip(task * chunk..) {
            let key = values[i].pack(0, false);
            let below = |v: &T| {
                let other = v.pack(0, false);
                other < key || (g.right && other == key)
            };
            *found = sorted[i / g.count * g.len..][..g.len].partition_point(below) as u32;
        }
    });
}

/// `inverse[order[i]] = i`, where each place stands in the order once.
pub fn inverse(order: &[u32], inverse: &mut [u32]) {
    for (&place, i) in order.iter().zip(0..) {
        inverse[place as usize] = i;
    }
}

#[cfg(test)]
mod tests {
    use super::super::float::testing::numbers;
    use super::*;

    fn sorted<T: Sortable>(x: &[T], kept: usize, descending: bool) -> Vec<i32> {
        let mut order = vec![-1; kept];
        argsort(x.len(), kept, descending, x, &mut order);
        order
    }

    #[test]
    fn orders_are_stable_and_nan_is_the_largest() {
        let x = [0.0, f32::NAN, -1.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, 1e-40, -1e-40];
        let (up, down) = ([5, 2, 8, 0, 3, 7, 4, 1, 6], [1, 6, 4, 7, 0, 3, 8, 2, 5]);
        assert_eq!(sorted(&x, 9, false), up);
        assert_eq!(sorted(&x, 9, true), down);
        let wide = x.map(f64::from);
        for kept in 0..=9 {
            assert_eq!(sorted(&wide, kept, false), up[..kept]);
            assert_eq!(sorted(&x, kept, true), down[..kept]);
        }
        assert_eq!(sorted(&[3i32, -1, i32::MIN, i32::MAX, -1, 0], 6, false), [2, 1, 4, 5, 0, 3]);
        assert_eq!(sorted(&[3u32, 1 << 31, u32::MAX, 0, 3], 5, true), [2, 1, 0, 4, 3]);
        assert_eq!(sorted(&[3u8, 255, 0, 3], 4, true), [1, 0, 3, 2]);
    }

    #[test]
    fn rows_of_all_lengths() {
        for (rows, len) in [(1, 1), (300, 7), (3, 5000), (1, 120_000), (0, 3)] {
            let x: Vec<f32> = numbers(rows * len, 1).iter().map(|v| (v * 50.0).round() as f32).collect();
            let mut order = vec![-1; x.len()];
            argsort(len, len, false, &x, &mut order);
            for (x, order) in x.chunks(len).zip(order.chunks(len)) {
                let mut want: Vec<i32> = (0..len as i32).collect();
                want.sort_by(|&a, &b| x[a as usize].partial_cmp(&x[b as usize]).expect("numbers"));
                assert_eq!(order, want);
            }
            let places: Vec<u32> = order.iter().take(len).map(|&i| i as u32).collect();
            let mut back = vec![0; places.len()];
            inverse(&places, &mut back);
            assert!(back.iter().enumerate().all(|(i, &at)| places[at as usize] == i as u32));
        }
    }
}
