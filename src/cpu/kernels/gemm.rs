//! Matrix products, by the `gemm` crate's kernels.

use wgrad_tiles::{pack, panel_width};

use super::float::Float;
pub use super::matrix::Matrix;
use super::matrix::flops;
use super::thin;
pub use super::thin::PackedRight;
use super::{CHAIN, CHAIN_OF_SUMS, PARALLEL_FLOPS, for_each_chunk, pairwise};
use crate::geometry::MatmulGeometry;
use crate::threads::on_threads;

/// A product with at most this many output elements may be cut along k, so that threads share one long sum.
const SPLIT_K_OUTPUT: usize = 64 * 1024;
/// The shortest piece of k worth a task of its own.
const SPLIT_K_PIECE: usize = 1024;
/// The most pieces that k is cut into.
const SPLIT_K_MAX: usize = 16;

/// Columns of a block of a large product.
const COLUMNS_OF_BLOCK: usize = 512;

/// A transposed B with so many elements is copied as rows for products of so many rows, if its columns lie several times so many bytes apart.
/// These share a few places of the first cache, and the GEMM takes five times as long to pack them.
const ROWS_PER_COPY: usize = 32;
const LARGE_COPY: usize = 1 << 12;
const SHARED_PLACES: usize = 1 << 10;

/// `C[m, n] = sum over k of A[m, k] B[k, n]`, or `C += ...` if `accumulate`; rows of `C` are `c_stride` elements apart.
///
/// # Panics
/// If a slice is too short for the sizes: a kernel's mistake, never a caller's data.
pub fn gemm<T: Float>(
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
    parallel: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let (a_strides, b_strides) = (a.strides, b.strides);
    assert!(a.holds(m, k) && b.holds(k, n), "gemm {m}x{n}x{k}: an operand is too short");
    assert!(c_stride >= n && (m - 1) * c_stride + n <= c.len(), "gemm {m}x{n}x{k}: the output is too short");
    let parallel = parallel && flops([m, n, k]) >= PARALLEL_FLOPS;
    let apart = b_strides[1].saturating_mul(size_of::<T>());
    let share_places = apart > SHARED_PLACES && apart.is_multiple_of(SHARED_PLACES);
    if b_strides[0] == 1 && share_places && m >= ROWS_PER_COPY && n * k >= LARGE_COPY {
        return T::with_scratch(k * n, |copy| {
            copy_as_rows(b, n, copy, parallel);
            let b = Matrix { data: copy, strides: [n, 1] };
            gemm([m, n, k], a, b, c, c_stride, accumulate, parallel);
        });
    }
    let multiply = |[m, n]: [usize; 2], a: &[T], b: &[T], c: &mut [T], parallel: bool| {
        // SAFETY: just checked, for parts of what was; `c` is borrowed exclusively, its rows don't overlap.
        unsafe {
            T::gemm(
                [m, n, k],
                a.as_ptr(),
                a_strides,
                b.as_ptr(),
                b_strides,
                c.as_mut_ptr(),
                c_stride,
                accumulate,
                parallel,
            );
        }
    };
    if !parallel {
        return multiply([m, n], a.data, b.data, c, false);
    }
    on_threads(&mut || match rows_of_block([m, n, k]) {
        Some(rows) => for_each_chunk(&mut c[..(m - 1) * c_stride + n], rows * c_stride, true, |task, c| {
            let first = task * rows;
            for column in (0..n).step_by(COLUMNS_OF_BLOCK) {
                multiply(
                    [rows.min(m - first), COLUMNS_OF_BLOCK.min(n - column)],
                    &a.data[first * a_strides[0]..],
                    &b.data[column * b_strides[1]..],
                    &mut c[column..],
                    false,
                );
            }
        }),
        None => multiply([m, n], a.data, b.data, c, true),
    });
}

/// Copies a matrix with `columns` columns, of which each is contiguous, row by row.
fn copy_as_rows<T: Float>(matrix: Matrix<T>, columns: usize, copy: &mut [T], parallel: bool) {
    /// Rows of a task: long columns lie in a page of memory each, and of that something is to be read.
    const ROWS: usize = 256;
    /// Rows and columns of a square, which is turned in the first cache. Where it goes, rows may lie as many bytes apart as make them share
    /// a part of that.
    const SIDE: usize = 64;
    for_each_chunk(copy, ROWS * columns, parallel, |task, copy| {
        T::with_scratch(SIDE * SIDE, |square| {
            for column in (0..columns).step_by(SIDE) {
                let some = SIDE.min(columns - column);
                let width = panel_width::<T>(some);
                for (i, copy) in copy.chunks_mut(SIDE * columns).enumerate() {
                    let first = task * ROWS + i * SIDE + column * matrix.strides[1];
                    let square = &mut square[..copy.len() / columns * width];
                    pack(&matrix.data[first..], matrix.strides, some, square);
                    for (row, square) in copy.chunks_exact_mut(columns).zip(square.chunks_exact(width)) {
                        row[column..][..some].copy_from_slice(&square[..some]);
                    }
                }
            }
        });
    });
}

/// The rows of C that a thread takes, [`COLUMNS_OF_BLOCK`] columns at a time, where that is faster than what the GEMM does by itself: what
/// it packs of B for so few columns stays in a cache of the thread's own. Blocks don't change an element's sum.
fn rows_of_block([m, n, k]: [usize; 3]) -> Option<usize> {
    const ROWS: std::ops::RangeInclusive<usize> = 512..=1024;
    let rows = m.div_ceil(rayon::current_num_threads()).min(*ROWS.end());
    (ROWS.contains(&rows) && n >= 2 * COLUMNS_OF_BLOCK && k >= COLUMNS_OF_BLOCK / 2).then_some(rows)
}

/// `C[b, m, n] = sum over k of A[b, m, k] B[b, k, n]`; `c` is contiguous and overwritten.
pub fn matmul<T: Float>(g: &MatmulGeometry, a: &[T], b: &[T], c: &mut [T]) {
    let size = [g.m, g.n, g.k];
    let matrix_len = g.m * g.n;
    let matrices: usize = g.batch.iter().product();
    if matrix_len == 0 || matrices == 0 {
        return;
    }
    if g.k == 0 {
        c.fill(T::ZERO);
        return;
    }
    let product = |index: usize, c: &mut [T], parallel: bool| {
        let place = [index / (g.batch[1] * g.batch[2]), index / g.batch[2] % g.batch[1], index % g.batch[2]];
        let offset = |strides: [usize; 3]| (0..3).map(|d| place[d] * strides[d]).sum::<usize>();
        let a = Matrix { data: &a[offset(g.a_batch)..], strides: g.a_strides };
        let b = Matrix { data: &b[offset(g.b_batch)..], strides: g.b_strides };
        if thin::applies(size, a, b) {
            thin::multiply(size, a, b, c, parallel);
        } else if parallel && k_pieces(size) > 1 {
            gemm_split_k(size, a, b, c);
        } else if is_long(size) {
            sum_groups(size, a, b, c, false);
        } else {
            gemm(size, a, b, c, g.n, false, parallel);
        }
    };
    let work = flops(size);
    if matrices == 1 || work >= 8 * PARALLEL_FLOPS {
        for (i, c) in c.chunks_mut(matrix_len).enumerate() {
            product(i, c, true);
        }
    } else {
        let per_task = (PARALLEL_FLOPS / 4 / work.max(1)).max(1);
        let parallel = work.saturating_mul(matrices) >= PARALLEL_FLOPS;
        for_each_chunk(c, per_task.saturating_mul(matrix_len), parallel, |task, c| {
            for (i, c) in c.chunks_mut(matrix_len).enumerate() {
                product(task * per_task + i, c, false);
            }
        });
    }
}

/// Into how many pieces k is cut: a matter of sizes alone, so that sums don't depend on the number of threads.
fn k_pieces([m, n, k]: [usize; 3]) -> usize {
    if m * n > SPLIT_K_OUTPUT || k < m.max(n).saturating_mul(8) || flops([m, n, k]) < 4 * PARALLEL_FLOPS {
        return 1;
    }
    (k / SPLIT_K_PIECE).clamp(1, SPLIT_K_MAX)
}

/// Whether a product's sums are so long, for the little that they fill, that they are added up stretch by stretch. (The
/// GEMM itself adds up some 500 terms one after the other.)
fn is_long([m, n, k]: [usize; 3]) -> bool {
    let shortest = if m * n <= 1024 { 4 * CHAIN } else { 16 * CHAIN };
    k > shortest && m * n <= SPLIT_K_OUTPUT && k >= 2 * m.max(n)
}

/// As [`gemm`], for a C that stays in a core's cache: a long k goes in short stretches, each added to C.
pub fn gemm_by_stretches<T: Float>(
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    c: &mut [T],
    c_stride: usize,
    parallel: bool,
) {
    // Up to here the calls would cost more than the digits are worth.
    if k <= 10 * CHAIN {
        return gemm([m, n, k], a, b, c, c_stride, false, parallel);
    }
    if k <= CHAIN * CHAIN_OF_SUMS {
        return sum_stretches([m, n], 0..k, a, b, c, c_stride, parallel);
    }
    T::with_scratch(m * n, |sum| {
        sum_groups([m, n, k], a, b, sum, parallel);
        for (c, sum) in c.chunks_mut(c_stride).zip(sum.chunks_exact(n)) {
            c[..n].copy_from_slice(sum);
        }
    });
}

/// `C[m, n] = sum over a range of k`, a short stretch after the other: the GEMM adds each up in its registers.
fn sum_stretches<T: Float>(
    [m, n]: [usize; 2],
    range: std::ops::Range<usize>,
    a: Matrix<T>,
    b: Matrix<T>,
    c: &mut [T],
    c_stride: usize,
    parallel: bool,
) {
    for first in range.clone().step_by(CHAIN) {
        let a = Matrix { data: &a.data[first * a.strides[1]..], ..a };
        let b = Matrix { data: &b.data[first * b.strides[0]..], ..b };
        let k = CHAIN.min(range.end - first);
        gemm([m, n, k], a, b, c, c_stride, first > range.start, parallel);
    }
}

/// [`sum_stretches`] of groups of stretches, these added up [`pairwise`]. `c` is contiguous.
fn sum_groups<T: Float>([m, n, k]: [usize; 3], a: Matrix<T>, b: Matrix<T>, c: &mut [T], parallel: bool) {
    let group = CHAIN * CHAIN_OF_SUMS;
    pairwise(0..k.div_ceil(group), c, &mut |i, c| {
        sum_stretches([m, n], i * group..k.min((i + 1) * group), a, b, c, n, parallel);
    });
}

/// A product whose k is cut into pieces of fixed size, summed in order.
fn gemm_split_k<T: Float>([m, n, k]: [usize; 3], a: Matrix<T>, b: Matrix<T>, c: &mut [T]) {
    let piece = k.div_ceil(k_pieces([m, n, k])).next_multiple_of(CHAIN);
    let pieces = k.div_ceil(piece);
    T::with_scratch(pieces * m * n, |partial| {
        for_each_chunk(partial, m * n, true, |i, partial| {
            let first = i * piece;
            let a = Matrix { data: &a.data[first * a.strides[1]..], ..a };
            let b = Matrix { data: &b.data[first * b.strides[0]..], ..b };
            sum_groups([m, n, piece.min(k - first)], a, b, partial, false);
        });
        sum_partials(partial, c);
    });
}

/// `sum[i] = partials[0][i] + partials[1][i] + ...`, always in this order.
pub(super) fn sum_partials<T: Float>(partials: &[T], sum: &mut [T]) {
    let len = sum.len();
    for_each_chunk(sum, 4096, partials.len() >= 1 << 18, |i, sum| {
        let first = i * 4096;
        sum.copy_from_slice(&partials[first..first + sum.len()]);
        for partial in partials.chunks_exact(len).skip(1) {
            for (s, p) in sum.iter_mut().zip(&partial[first..]) {
                *s += *p;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::float::testing::{assert_close, numbers, to_f32};
    use super::*;

    fn naive(g: &MatmulGeometry, a: &[f64], b: &[f64]) -> Vec<f64> {
        let mut c = Vec::new();
        for (i, j, l) in (0..g.batch[0])
            .flat_map(|i| (0..g.batch[1]).flat_map(move |j| (0..g.batch[2]).map(move |l| (i, j, l))))
        {
            let a0 = i * g.a_batch[0] + j * g.a_batch[1] + l * g.a_batch[2];
            let b0 = i * g.b_batch[0] + j * g.b_batch[1] + l * g.b_batch[2];
            for m in 0..g.m {
                for n in 0..g.n {
                    c.push(
                        (0..g.k)
                            .map(|k| {
                                a[a0 + m * g.a_strides[0] + k * g.a_strides[1]]
                                    * b[b0 + k * g.b_strides[0] + n * g.b_strides[1]]
                            })
                            .sum(),
                    );
                }
            }
        }
        c
    }

    fn check(g: &MatmulGeometry, a_len: usize, b_len: usize) {
        let (a, b) = (numbers(a_len, 1), numbers(b_len, 2));
        let want = naive(g, &a, &b);
        let mut c = vec![f64::NAN; want.len()];
        matmul(g, &a, &b, &mut c);
        assert_close(&c, &want, 1e-11, &format!("f64 {g:?}"));
        let (a, b) = (to_f32(&a), to_f32(&b));
        let run = |threads: usize| {
            let mut c = vec![f32::NAN; want.len()];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| matmul(g, &a, &b, &mut c));
            c
        };
        let c = run(1);
        assert_close(&c, &want, 1e-5 + 3e-7 * g.k as f64, &format!("f32 {g:?}"));
        assert!(c == run(3), "depends on the number of threads: {g:?}");
    }

    fn plain(m: usize, n: usize, k: usize, ta: bool, tb: bool) -> MatmulGeometry {
        MatmulGeometry {
            batch: [1; 3],
            a_batch: [0; 3],
            b_batch: [0; 3],
            m,
            n,
            k,
            a_strides: if ta { [1, m] } else { [k, 1] },
            b_strides: if tb { [1, k] } else { [n, 1] },
        }
    }

    #[test]
    fn shapes_and_transposes() {
        let sizes = [
            (1, 1, 1),
            (1, 7, 3),
            (5, 1, 9),
            (3, 4, 1),
            (3, 4, 2),
            (16, 16, 40),
            (17, 33, 65),
            (128, 10, 64),
            (200, 130, 129),
            (9, 32, 9000),
            (1, 300, 70),
            (300, 1, 70),
            (1, 3000, 401),
            (3000, 1, 401),
            (1, 1, 5000),
            (31, 2, 4097),
            (3, 5, 0),
            (0, 5, 3),
            (5, 0, 3),
        ];
        for (m, n, k) in sizes {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                check(&plain(m, n, k, ta, tb), m * k, n * k);
            }
        }
    }

    /// In blocks or whole, on one thread or several: the same bits.
    #[test]
    fn blocks_of_large_products() {
        let ([m, n, k], c_stride) = ([1030, 1101, 300], 1110);
        let (a, b) = (to_f32(&numbers(m * k, 1)), to_f32(&numbers(n * k, 2)));
        for (ta, tb) in [(false, false), (true, false), (false, true)] {
            let g = plain(m, n, k, ta, tb);
            let (a, b) =
                (Matrix { data: &a, strides: g.a_strides }, Matrix { data: &b, strides: g.b_strides });
            let run = |threads: usize, parallel: bool| {
                // What lies between the rows and behind them stays.
                let mut c = vec![7.0f32; m * c_stride + 3 * c_stride];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    assert_eq!(rows_of_block([m, n, k]).is_some(), threads < 3);
                    gemm([m, n, k], a, b, &mut c, c_stride, false, parallel);
                    gemm([m, n, k], a, b, &mut c, c_stride, true, parallel);
                });
                c
            };
            let want = run(1, false);
            for threads in 1..=3 {
                assert!(run(threads, true) == want, "{threads} threads, transposed: {ta}, {tb}");
            }
            assert!(want[m * c_stride..].iter().chain(&want[n..c_stride]).all(|&x| x == 7.0));
            let dot = |i: usize, j: usize| -> f64 {
                (0..k)
                    .map(|l| {
                        let (a, b) = (
                            a.data[i * g.a_strides[0] + l * g.a_strides[1]],
                            b.data[l * g.b_strides[0] + j * g.b_strides[1]],
                        );
                        f64::from(a) * f64::from(b)
                    })
                    .sum()
            };
            for (i, j) in [(0, 0), (511, 511), (515, 512), (1023, 1023), (1024, 1024), (m - 1, n - 1)] {
                let (got, want) = (f64::from(want[i * c_stride + j]), 2.0 * dot(i, j));
                assert!((got - want).abs() < 1e-3, "[{i}, {j}]: {got}, not {want}");
            }
        }
    }

    /// A transposed B whose columns share places of the cache is copied first: the same bits as by rows.
    #[test]
    fn transposed_right_sides_are_copied() {
        for (m, n, k, stride) in
            [(33, 70, 300, 512), (32, 65, 1024, 1024), (40, 17, 513, 768), (257, 5, 1030, 1280)]
        {
            let (a, b) = (to_f32(&numbers(m * k, 1)), to_f32(&numbers(n * stride, 2)));
            let lying = Matrix { data: &b[..(n - 1) * stride + k], strides: [1, stride] };
            let rows: Vec<f32> =
                (0..k).flat_map(|l| (0..n).map(move |j| (l, j))).map(|(l, j)| b[j * stride + l]).collect();
            let a = Matrix { data: &a, strides: [k, 1] };
            for parallel in [false, true] {
                let run = |b: Matrix<f32>| {
                    let mut c = vec![1.0f32; m * n];
                    gemm([m, n, k], a, b, &mut c, n, true, parallel);
                    c
                };
                assert!(run(lying) == run(Matrix { data: &rows, strides: [n, 1] }), "{m} {n} {k} {stride}");
            }
        }
    }

    #[test]
    fn few_rows() {
        for (m, n, k) in
            [(8, 1000, 70), (32, 256, 1024), (33, 100, 700), (96, 67, 2000), (70, 1024, 64), (9, 65, 1024)]
        {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let g = plain(m, n, k, ta, tb);
                let (a, b) = (
                    Matrix { data: &[0.0f32], strides: g.a_strides },
                    Matrix { data: &[0.0f32], strides: g.b_strides },
                );
                assert!(
                    thin::applies([m, n, k], a, b) || wgrad_tiles::width::<f32>().is_none(),
                    "{m} {n} {k}"
                );
                check(&g, m * k, n * k);
            }
        }
    }

    #[test]
    fn split_k() {
        assert!(k_pieces([9, 32, 40_000]) > 1);
        for (ta, tb) in [(true, false), (false, true)] {
            check(&plain(9, 32, 40_003, ta, tb), 9 * 40_003, 32 * 40_003);
        }
    }

    #[test]
    fn batches() {
        let g = MatmulGeometry {
            batch: [2, 3, 4],
            a_batch: [12 * 35, 4 * 35, 35],
            b_batch: [0, 42, 0],
            ..plain(5, 6, 7, false, false)
        };
        check(&g, 24 * 35, 3 * 42);
        // B shared by all: folded into one product.
        let g = MatmulGeometry { b_batch: [0; 3], ..g };
        let folded = g.clone().folded();
        assert_eq!((folded.m, folded.batch), (120, [1; 3]));
        check(&folded, 24 * 35, 42);
        check(&g, 24 * 35, 42);
        // A transposed: its rows don't go on.
        check(&MatmulGeometry { a_strides: [1, 5], ..g.clone() }, 24 * 35, 42);
        // A broadcast.
        check(&MatmulGeometry { a_batch: [0; 3], b_batch: [12 * 42, 4 * 42, 42], ..g.clone() }, 35, 24 * 42);
        check(&MatmulGeometry { batch: [2, 0, 4], ..g }, 0, 0);
        let large = MatmulGeometry {
            batch: [1, 2, 5],
            a_batch: [0, 5 * 6400, 6400],
            b_batch: [0, 0, 6400],
            ..plain(80, 80, 80, false, true)
        };
        check(&large, 10 * 6400, 5 * 6400);
    }
}
