//! Sums over windows along one axis, each in a logarithmic number of additions.
//!
//! A window is cut into stretches whose lengths are powers of two, and the sums of all stretches of one length are halves
//! added to halves. Unlike the difference of two running sums this never cancels, and rounding errors grow with the
//! logarithm of the window's length.

use std::ops::Range;

use super::float::Float;
use super::for_each_chunk;

/// `out[outer, o, inner] = sum of x[outer, i, inner] over i in windows[o]`. An empty window (also one that ends before it
/// begins) has the sum 0.
pub(super) fn sum<T: Float>(
    x: &[T],
    [len, inner]: [usize; 2],
    windows: &[Range<usize>],
    parallel: bool,
    out: &mut [T],
) {
    let line = windows.len() * inner;
    if line == 0 || len == 0 {
        return out.fill(T::ZERO);
    }
    for_each_chunk(out, line, parallel, |outer, out| {
        T::with_scratch(len * inner, |stretches| {
            stretches.copy_from_slice(&x[outer * len * inner..][..len * inner]);
            sum_one(stretches, inner, windows, out);
        });
    });
}

/// `stretches` holds the input, and is used up.
fn sum_one<T: Float>(stretches: &mut [T], inner: usize, windows: &[Range<usize>], out: &mut [T]) {
    let longest = windows.iter().map(|w| w.len()).max().unwrap_or(0);
    out.fill(T::ZERO);
    let mut length = 1;
    while length <= longest {
        for (out, window) in out.chunks_exact_mut(inner).zip(windows) {
            if window.len() & length != 0 {
                // The shorter stretches of this window lie before.
                let start = (window.start + window.len() % length) * inner;
                add(out, &stretches[start..start + inner]);
            }
        }
        // From stretches of this length to those of twice as many: each takes in the one that follows it.
        let step = length * inner;
        let mut at = 0;
        while at + 2 * step <= stretches.len() {
            let n = step.min(stretches.len() - step - at);
            let (left, right) = stretches[at..].split_at_mut(step);
            add(&mut left[..n], &right[..n]);
            at += step;
        }
        if at + step < stretches.len() {
            let n = stretches.len() - step - at;
            let (left, right) = stretches[at..].split_at_mut(step);
            add(&mut left[..n], &right[..n]);
        }
        length *= 2;
    }
}

fn add<T: Float>(to: &mut [T], from: &[T]) {
    for (t, f) in to.iter_mut().zip(from) {
        *t += *f;
    }
}

/// For each of `len` places the windows that it lies in. Both ends of the windows never go back.
pub(super) fn containing(windows: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    let first = |i: usize| windows.partition_point(|w| w.end <= i);
    let last = |i: usize| windows.partition_point(|w| w.start <= i);
    (0..len).map(|i| first(i)..last(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_all_kinds_of_windows() {
        let x: Vec<f64> = (0..3 * 11 * 2).map(|i| ((i * 37) % 101) as f64).collect();
        let backwards = Range { start: 7, end: 5 };
        let windows = [0..0, 0..1, 0..11, 3..8, 4..11, 10..11, 11..11, backwards];
        let mut out = vec![f64::NAN; 3 * windows.len() * 2];
        sum(&x, [11, 2], &windows, false, &mut out);
        for outer in 0..3 {
            for (o, window) in windows.iter().enumerate() {
                for c in 0..2 {
                    let want: f64 = window.clone().map(|i| x[(outer * 11 + i) * 2 + c]).sum();
                    assert_eq!(out[(outer * windows.len() + o) * 2 + c], want, "{window:?}");
                }
            }
        }
    }

    #[test]
    fn places_know_their_windows() {
        let windows = [0..2, 0..4, 2..6, 4..7, 7..7];
        let all = containing(&windows, 7);
        for (i, range) in all.iter().enumerate() {
            let want: Vec<usize> = (0..windows.len()).filter(|&o| windows[o].contains(&i)).collect();
            assert_eq!(range.clone().collect::<Vec<_>>(), want, "place {i}");
        }
    }
}
