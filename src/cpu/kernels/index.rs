//! Picking slices along an axis by index, and the gradient of that.
//!
//! A tensor is seen as `[outer, axis, inner]`: the dimensions before the axis, the axis, the dimensions after it.

use super::float::{Index, Number};
use super::{OutOfRange, PARALLEL_WORK, check_range, for_each_chunk, units_per_task};

/// Ranges of the axis that the gradient's tasks own, at most.
const MAX_RANGES: usize = 16;

/// `y[o, j, i] = x[o, indices[j], i]`: x `[outer, axis, inner]`, y `[outer, indices, inner]`.
///
/// # Errors
/// The first index that is not a place along the axis.
pub fn index_select<T: Number, I: Index>(
    axis: usize,
    inner: usize,
    x: &[T],
    indices: &[I],
    y: &mut [T],
) -> Result<(), OutOfRange> {
    check_range(indices, axis)?;
    if inner == 0 || indices.is_empty() {
        return Ok(());
    }
    let parallel = y.len() >= PARALLEL_WORK;
    let per_task = units_per_task(inner);
    for_each_chunk(y, per_task * inner, parallel, |task, y| {
        for (i, y) in y.chunks_exact_mut(inner).enumerate() {
            let row = task * per_task + i;
            let place = row / indices.len() * axis + indices[row % indices.len()].value() as usize;
            y.copy_from_slice(&x[place * inner..(place + 1) * inner]);
        }
    });
    Ok(())
}

/// `dx[o, a, i] = sum over j with indices[j] == a of dy[o, j, i]`, in the order of j.
///
/// # Errors
/// The first index that is not a place along the axis.
pub fn index_select_grad<T: Number, I: Index>(
    axis: usize,
    inner: usize,
    dy: &[T],
    indices: &[I],
    dx: &mut [T],
) -> Result<(), OutOfRange> {
    check_range(indices, axis)?;
    if inner == 0 || axis == 0 {
        return Ok(());
    }
    let parallel = dx.len() + dy.len() >= PARALLEL_WORK;
    // Each task owns a range of places and looks through all indices for its own: no two write to the same place.
    let outer = dx.len() / (axis * inner);
    let ranges = if parallel { MAX_RANGES.div_ceil(outer.max(1)).min(axis) } else { 1 };
    let range = axis.div_ceil(ranges);
    let long = most_repeats(axis, indices) > LONGEST_PLAIN_SUM;
    for_each_chunk(dx, axis * inner, parallel, |o, dx| {
        for_each_chunk(dx, range * inner, parallel, |r, dx| {
            let start = r * range;
            let dy = &dy[o * indices.len() * inner..][..indices.len() * inner];
            if !long {
                dx.fill(T::ZERO);
                return add_lines(inner, dy, indices, start, dx, |sum, dy: T| sum.plus(dy));
            }
            let mut sums = vec![T::Sum::ZERO; dx.len()];
            add_lines(inner, dy, indices, start, &mut sums, |sum, dy: T| sum.plus(dy.to_sum()));
            for (dx, sum) in dx.iter_mut().zip(sums) {
                *dx = T::from_sum(sum);
            }
        });
    });
    Ok(())
}

/// `last[i]` = one more than the last position at which i stands among the indices, 0 where at none. Indices beyond it are left out.
pub fn index_last(indices: &[u32], last: &mut [u32]) {
    last.fill(0);
    for (j, &index) in indices.iter().enumerate() {
        if let Some(last) = last.get_mut(index as usize) {
            *last = j as u32 + 1;
        }
    }
}

/// Lines that are summed plainly in their own type; sums of more are kept in a wider one.
const LONGEST_PLAIN_SUM: u32 = 16;

/// How often the index that comes most often comes.
fn most_repeats<I: Index>(axis: usize, indices: &[I]) -> u32 {
    if indices.len() <= LONGEST_PLAIN_SUM as usize {
        return 0;
    }
    let mut counts = vec![0u32; axis];
    for index in indices {
        let count = &mut counts[index.value() as usize];
        *count = count.saturating_add(1);
    }
    counts.into_iter().max().unwrap_or(0)
}

/// Adds each line of `dy` to the line of `sums` that its index names, as far as those are there: they begin at place `start`.
fn add_lines<T: Number, S: Number, I: Index>(
    inner: usize,
    dy: &[T],
    indices: &[I],
    start: usize,
    sums: &mut [S],
    add: impl Fn(S, T) -> S,
) {
    let len = sums.len() / inner;
    for (index, dy) in indices.iter().zip(dy.chunks_exact(inner)) {
        let place = (index.value() as usize).wrapping_sub(start);
        if place < len {
            for (sum, dy) in sums[place * inner..][..inner].iter_mut().zip(dy) {
                *sum = add(*sum, *dy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::float::testing::numbers;
    use super::*;

    fn check(outer: usize, axis: usize, inner: usize, indices: &[u32]) {
        let x = numbers(outer * axis * inner, 1);
        let dy = numbers(outer * indices.len() * inner, 2);
        let (mut y_want, mut dx_want) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        for o in 0..outer {
            for (j, &index) in indices.iter().enumerate() {
                for i in 0..inner {
                    let at = (o * axis + index as usize) * inner + i;
                    let to = (o * indices.len() + j) * inner + i;
                    y_want[to] = x[at];
                    dx_want[at] += dy[to];
                }
            }
        }
        let (mut y, mut dx) = (vec![f64::NAN; dy.len()], vec![f64::NAN; x.len()]);
        index_select(axis, inner, &x, indices, &mut y).unwrap();
        index_select_grad(axis, inner, &dy, indices, &mut dx).unwrap();
        // Exactly: the order of the sums is part of the contract.
        assert_eq!((y, dx), (y_want, dx_want));
    }

    #[test]
    fn against_naive() {
        check(1, 5, 3, &[4, 0, 0, 2]);
        check(3, 4, 1, &[3, 3, 1]);
        check(2, 7, 5, &[]);
        check(0, 7, 5, &[1]);
        check(2, 7, 0, &[1]);
        let many: Vec<u32> = (0..5000u32).map(|i| i * i % 97).collect();
        check(1, 97, 64, &many);
        check(3, 97, 17, &many);
        check(40, 97, 3, &many);
    }

    #[test]
    fn the_last_of_each() {
        let mut last = [9; 4];
        index_last(&[2, 0, 2, 7, 0], &mut last);
        assert_eq!(last, [5, 0, 3, 0]);
    }

    #[test]
    fn integers_and_errors() {
        let mut y = [0u8; 2];
        index_select(3, 1, &[7u8, 8, 9], &[2i32, 0], &mut y).unwrap();
        assert_eq!(y, [9, 7]);
        let error = |position, value, size| Err(OutOfRange { position, value, size });
        assert_eq!(index_select(3, 1, &[7u8, 8, 9], &[2i32, -1], &mut y), error(1, -1, 3));
        assert_eq!(index_select(0, 1, &[] as &[f32], &[0u32], &mut [0.0]), error(0, 0, 0));
        assert_eq!(index_select_grad(2, 1, &[1.0f32, 2.0], &[0u32, 2], &mut [0.0; 2]), error(1, 2, 2));
        assert_eq!(
            OutOfRange { position: 1, value: -1, size: 3 }.to_string(),
            "index -1 at position 1 is out of range for size 3"
        );
    }
}
