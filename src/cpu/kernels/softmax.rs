//! Softmax and cross-entropy over rows `[rows, cols]`.
//!
//! Everything is shifted by the row's maximum first, so that no exponential overflows: logits of 1e4 are as exact as small ones.

use super::float::{Float, Index, Number};
use super::{OutOfRange, PARALLEL_WORK, check_range, for_each_chunk, units_per_task};

/// What an exponential costs, in the units of [`PARALLEL_WORK`].
const EXP_WORK: usize = 4;

/// `y[r, c] = exp(x[r, c] - max_r) / sum over j of exp(x[r, j] - max_r)`
pub fn softmax<T: Float>(cols: usize, x: &[T], y: &mut [T]) {
    for_each_row(cols, cols, y, |r, y| softmax_row(row(x, cols, r), y));
}

/// `y[r, c] = x[r, c] - max_r - ln(sum over j of exp(x[r, j] - max_r))`
pub fn log_softmax<T: Float>(cols: usize, x: &[T], y: &mut [T]) {
    for_each_row(cols, cols, y, |r, y| {
        let x = row(x, cols, r);
        let (max, log_sum) = log_sum_exp(x);
        for (y, x) in y.iter_mut().zip(x) {
            *y = *x - max - log_sum;
        }
    });
}

/// `loss[r] = ln(sum over j of exp(x[r, j] - max_r)) + max_r - x[r, label[r]]`
///
/// # Errors
/// The first label that is not a column.
pub fn sparse_cross_entropy<T: Float, I: Index>(
    cols: usize,
    logits: &[T],
    labels: &[I],
    loss: &mut [T],
) -> Result<(), OutOfRange> {
    check_range(labels, cols)?;
    for_each_row(1, cols, loss, |r, loss| {
        let x = row(logits, cols, r);
        let (max, log_sum) = log_sum_exp(x);
        // In this order: the difference of the two largest magnitudes is exact or nearly so.
        loss[0] = log_sum + (max - x[labels[r].value() as usize]);
    });
    Ok(())
}

/// `dlogits[r, c] = dloss[r] * (softmax(x_r)[c] - (c == label[r]))`
///
/// # Errors
/// The first label that is not a column.
pub fn sparse_cross_entropy_grad<T: Float, I: Index>(
    cols: usize,
    logits: &[T],
    labels: &[I],
    dloss: &[T],
    dlogits: &mut [T],
) -> Result<(), OutOfRange> {
    check_range(labels, cols)?;
    for_each_row(cols, cols, dlogits, |r, d| {
        softmax_row(row(logits, cols, r), d);
        d[labels[r].value() as usize] -= T::ONE;
        for d in d {
            *d *= dloss[r];
        }
    });
    Ok(())
}

/// `loss[r] = - sum over c of p[r, c] * log_softmax(x_r)[c]`
pub fn dense_cross_entropy<T: Float>(cols: usize, logits: &[T], labels: &[T], loss: &mut [T]) {
    for_each_row(1, cols, loss, |r, loss| {
        let x = row(logits, cols, r);
        let (max, log_sum) = log_sum_exp(x);
        // What is impossible and not expected either counts for nothing, where 0 times infinity would be NaN.
        let term = |x: T, p: T| match p == T::ZERO && x == T::NEG_INFINITY && max > T::NEG_INFINITY {
            true => T::ZERO,
            false => p * (log_sum + (max - x)),
        };
        let terms = x.iter().zip(row(labels, cols, r)).map(|(x, p)| term(*x, *p));
        loss[0] = sum(terms);
    });
}

/// `dlogits[r, c] = dloss[r] * (softmax(x_r)[c] * (sum over j of p[r, j]) - p[r, c])`, for labels with any sum.
pub fn dense_cross_entropy_grad<T: Float>(
    cols: usize,
    logits: &[T],
    labels: &[T],
    dloss: &[T],
    dlogits: &mut [T],
) {
    for_each_row(cols, cols, dlogits, |r, d| {
        let p = row(labels, cols, r);
        let total = sum(p.iter().copied());
        softmax_row(row(logits, cols, r), d);
        for (d, p) in d.iter_mut().zip(p) {
            *d = dloss[r] * (*d * total - *p);
        }
    });
}

fn row<T>(x: &[T], cols: usize, r: usize) -> &[T] {
    &x[r * cols..(r + 1) * cols]
}

/// Calls `f(row, out)` for each `out` of `out_cols` elements, counting on `cols` exponentials for each.
fn for_each_row<T: Float>(
    out_cols: usize,
    cols: usize,
    out: &mut [T],
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    if out_cols == 0 {
        return;
    }
    let rows = out.len() / out_cols;
    let parallel = rows * cols * EXP_WORK >= PARALLEL_WORK;
    let per_task = units_per_task(cols * EXP_WORK);
    for_each_chunk(out, per_task * out_cols, parallel, |task, out| {
        for (i, out) in out.chunks_exact_mut(out_cols).enumerate() {
            f(task * per_task + i, out);
        }
    });
}

/// The row's maximum, and the logarithm of the sum of `exp(x - maximum)`.
fn log_sum_exp<T: Float>(x: &[T]) -> (T, T) {
    let max = max(x);
    (max, sum(x.iter().map(|x| (*x - max).exp())).ln())
}

fn softmax_row<T: Float>(x: &[T], y: &mut [T]) {
    let max = max(x);
    for (y, x) in y.iter_mut().zip(x) {
        *y = (*x - max).exp();
    }
    let total = sum(y.iter().copied());
    for y in y {
        *y = *y / total;
    }
}

fn max<T: Float>(x: &[T]) -> T {
    x.iter().fold(T::NEG_INFINITY, |max, x| max.larger(*x))
}

/// A sum in f64: rows may have millions of columns. In f64 itself it goes by blocks.
fn sum<T: Float>(terms: impl Iterator<Item = T>) -> T {
    let zero = T::Sum::ZERO;
    let (mut total, mut block) = (zero, zero);
    for (i, term) in terms.enumerate() {
        block = block.plus(term.to_sum());
        if i % 1024 == 1023 {
            total = total.plus(block);
            block = zero;
        }
    }
    T::from_sum(total.plus(block))
}

#[cfg(test)]
mod tests {
    use super::super::float::testing::{assert_close, numbers, to_f32};
    use super::*;

    fn naive_log_softmax(x: &[f64]) -> Vec<f64> {
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = x.iter().map(|v| (v - max).exp()).sum::<f64>().ln();
        x.iter().map(|v| v - max - log_sum).collect()
    }

    fn check(rows: usize, cols: usize, scale: f64) {
        let x: Vec<f64> = numbers(rows * cols, 3).iter().map(|v| f64::from((v * scale) as f32)).collect();
        let p: Vec<f64> = numbers(rows * cols, 4).iter().map(|v| f64::from(v.abs() as f32)).collect();
        let labels: Vec<u32> = (0..rows).map(|r| (r * 7 % cols) as u32).collect();
        let dloss = numbers(rows, 5);
        let log_p: Vec<f64> = x.chunks(cols).flat_map(naive_log_softmax).collect();
        let prob: Vec<f64> = log_p.iter().map(|v| v.exp()).collect();
        let sparse: Vec<f64> = (0..rows).map(|r| -log_p[r * cols + labels[r] as usize]).collect();
        let sparse_grad: Vec<f64> = (0..rows * cols)
            .map(|i| dloss[i / cols] * (prob[i] - f64::from(u8::from(i % cols == labels[i / cols] as usize))))
            .collect();
        let dense: Vec<f64> = (0..rows)
            .map(|r| -(0..cols).map(|c| p[r * cols + c] * log_p[r * cols + c]).sum::<f64>())
            .collect();
        let totals: Vec<f64> = p.chunks(cols).map(|p| p.iter().sum()).collect();
        let dense_grad: Vec<f64> =
            (0..rows * cols).map(|i| dloss[i / cols] * (totals[i / cols] * prob[i] - p[i])).collect();

        fn run<T: Float>(cols: usize, x: &[T], p: &[T], labels: &[u32], dloss: &[T], nan: T) -> [Vec<T>; 6] {
            let (mut a, mut b, mut c, mut d) =
                (vec![nan; x.len()], vec![nan; x.len()], vec![nan; x.len()], vec![nan; x.len()]);
            let (mut l, mut m) = (vec![nan; labels.len()], vec![nan; labels.len()]);
            softmax(cols, x, &mut a);
            log_softmax(cols, x, &mut b);
            sparse_cross_entropy(cols, x, labels, &mut l).unwrap();
            sparse_cross_entropy_grad(cols, x, labels, dloss, &mut c).unwrap();
            dense_cross_entropy(cols, x, p, &mut m);
            dense_cross_entropy_grad(cols, x, p, dloss, &mut d);
            [a, b, l, c, m, d]
        }
        let want = [prob, log_p, sparse, sparse_grad, dense, dense_grad];
        for (got, want) in run(cols, &x, &p, &labels, &dloss, f64::NAN).iter().zip(&want) {
            assert_close(got, want, 1e-11, &format!("f64 {rows}x{cols} scale {scale}"));
        }
        for (got, want) in
            run(cols, &to_f32(&x), &to_f32(&p), &labels, &to_f32(&dloss), f32::NAN).iter().zip(&want)
        {
            assert_close(got, want, 2e-6 * (cols as f64).sqrt(), &format!("f32 {rows}x{cols} scale {scale}"));
        }
    }

    #[test]
    fn against_naive() {
        for (rows, cols) in [(1, 1), (3, 5), (128, 10), (7, 1000), (2, 50_000), (3000, 17)] {
            for scale in [1.0, 30.0, 1e4] {
                check(rows, cols, scale);
            }
        }
    }

    #[test]
    fn extreme_logits_are_exact() {
        let x = [1e4f32, -1e4, 0.0, -1e4, 1e4, 0.0];
        let mut loss = [f32::NAN; 2];
        sparse_cross_entropy(3, &x, &[1u32, 1], &mut loss).unwrap();
        assert_eq!(loss, [2e4, 0.0]);
        let mut d = [f32::NAN; 6];
        sparse_cross_entropy_grad(3, &x, &[1i32, 1], &[1.0, 1.0], &mut d).unwrap();
        assert_eq!(d, [1.0, -1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn bad_labels() {
        let error = |position, value| Err(OutOfRange { position, value, size: 3 });
        assert_eq!(sparse_cross_entropy(3, &[0.0f32; 6], &[0u32, 3], &mut [0.0; 2]), error(1, 3));
        assert_eq!(
            sparse_cross_entropy_grad(3, &[0.0f32; 6], &[-1i32, 7], &[1.0; 2], &mut [0.0; 6]),
            error(0, -1)
        );
    }

    #[test]
    fn empty_and_nan() {
        softmax::<f32>(0, &[], &mut []);
        softmax::<f32>(4, &[], &mut []);
        let mut y = [0.0f32; 2];
        softmax(2, &[1.0, f32::NAN], &mut y);
        assert!(y.iter().all(|v| v.is_nan()));
        let mut loss = [1.0f64; 2];
        dense_cross_entropy(0, &[], &[], &mut loss);
        assert!(loss.iter().all(|v| *v == 0.0));
    }
}
