//! Running sums along an axis of `[outer, axis, inner]`.

use super::float::Number;
use super::{PARALLEL_WORK, for_each_chunk, units_per_task};

/// Columns whose sums are kept at a time.
const COLUMNS: usize = 512;

/// `y[o, a, i] = sum over b up to a of x[o, b, i]`, or over all b from a on in `reverse`; in the type that long sums are kept in.
pub fn cumsum<T: Number>(axis: usize, inner: usize, reverse: bool, x: &[T], y: &mut [T]) {
    let plane = axis * inner;
    if plane == 0 {
        return;
    }
    let task = units_per_task(plane) * plane;
    for_each_chunk(y, task, y.len() >= PARALLEL_WORK, |i, y| {
        let mut sums = [T::Sum::ZERO; COLUMNS];
        for (x, y) in x[i * task..][..y.len()].chunks_exact(plane).zip(y.chunks_exact_mut(plane)) {
            for first in (0..inner).step_by(COLUMNS) {
                let columns = COLUMNS.min(inner - first);
                let sums = &mut sums[..columns];
                sums.fill(T::Sum::ZERO);
                for k in 0..axis {
                    let at = first + inner * if reverse { axis - 1 - k } else { k };
                    for ((sum, &x), y) in
                        sums.iter_mut().zip(&x[at..][..columns]).zip(&mut y[at..][..columns])
                    {
                        *sum = sum.plus(x.to_sum());
                        *y = T::from_sum(*sum);
                    }
                }
            }
        }
    });
}

/// `h[o, t, i] = a[o, t, i] h[o, t - 1, i] + b[o, t, i]` from `h[o, 0, i] = b[o, 0, i]`, or from the end in `reverse`; in the type
/// that long sums are kept in.
pub fn recurrence<T: Number>(axis: usize, inner: usize, reverse: bool, a: &[T], b: &[T], h: &mut [T]) {
    let plane = axis * inner;
    if plane == 0 {
        return;
    }
    let task = units_per_task(plane) * plane;
    for_each_chunk(h, task, h.len() >= PARALLEL_WORK, |n, h| {
        let mut states = [T::Sum::ZERO; COLUMNS];
        for (o, h) in h.chunks_exact_mut(plane).enumerate() {
            let from = n * task + o * plane;
            for first in (0..inner).step_by(COLUMNS) {
                let columns = COLUMNS.min(inner - first);
                let states = &mut states[..columns];
                for k in 0..axis {
                    let at = first + inner * if reverse { axis - 1 - k } else { k };
                    let (a, b) = (&a[from + at..][..columns], &b[from + at..][..columns]);
                    for (((state, &a), &b), h) in states.iter_mut().zip(a).zip(b).zip(&mut h[at..][..columns])
                    {
                        *state = if k == 0 { b.to_sum() } else { a.to_sum().times(*state).plus(b.to_sum()) };
                        *h = T::from_sum(*state);
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_forwards_and_backwards() {
        let x = [1.0f32, 10.0, 2.0, 20.0, 3.0, 30.0];
        let run = |inner, axis, reverse| {
            let mut y = [f32::NAN; 6];
            cumsum(axis, inner, reverse, &x, &mut y);
            y
        };
        assert_eq!(run(2, 3, false), [1.0, 10.0, 3.0, 30.0, 6.0, 60.0]);
        assert_eq!(run(2, 3, true), [6.0, 60.0, 5.0, 50.0, 3.0, 30.0]);
        assert_eq!(run(1, 2, false), [1.0, 11.0, 2.0, 22.0, 3.0, 33.0]);
        assert_eq!(run(6, 1, true), x);
        // more columns than are kept at a time
        let x: Vec<f32> = (0..3 * 1300).map(|i| (i % 7) as f32).collect();
        let mut y = vec![f32::NAN; x.len()];
        cumsum(3, 1300, false, &x, &mut y);
        for c in 0..1300 {
            let (a, b) = (x[c], x[c] + x[1300 + c]);
            assert_eq!([y[c], y[1300 + c], y[2600 + c]], [a, b, b + x[2600 + c]]);
        }
    }

    /// A tenth added a million times in f32 alone is off by a hundredth.
    #[test]
    fn long_sums_keep_their_digits() {
        let x = vec![0.1f32; 1_000_000];
        let mut y = vec![0.0; x.len()];
        cumsum(x.len(), 1, false, &x, &mut y);
        assert_eq!(y[999_999], (0.1f32 as f64 * 1e6) as f32);
    }
}
