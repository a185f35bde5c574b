//! Pieces of work: what is worth a thread, and sums in a fixed order.

use super::float::Float;
use crate::threads::on_threads;

/// Rough work, in elementary operations that run at about one per nanosecond, under which a kernel stays on the calling
/// thread: waking rayon's workers costs 5 to 20 us.
pub const PARALLEL_WORK: usize = 50_000;

/// Floating-point operations of a matrix product that take about as long as [`PARALLEL_WORK`].
pub(super) const PARALLEL_FLOPS: usize = 2_000_000;

/// Called with each piece of an output right after it is computed, while it is in a core's cache, and with the place of its
/// first element: work that follows element by element. Pieces are disjoint and cover the output; threads call it at once.
pub type Finish<'a, T> = &'a (dyn Fn(usize, &mut [T]) + Sync);

/// Calls `finish` on all of an output, or of a part of it that begins at element `first`.
pub(super) fn finish_all<T: Send>(out: &mut [T], first: usize, parallel: bool, finish: Finish<T>) {
    const CHUNK: usize = 1 << 15;
    for_each_chunk(out, CHUNK, parallel, |i, out| finish(first + i * CHUNK, out));
}

/// Calls `f(i, chunk)` for each chunk of `chunk_len` elements (the last may be shorter), over rayon if `parallel`.
pub fn for_each_chunk<T: Send>(
    data: &mut [T],
    chunk_len: usize,
    parallel: bool,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunk_len = chunk_len.max(1);
    if parallel && data.len() > chunk_len {
        on_threads(&mut || share(data, chunk_len, 0, &f));
    } else {
        data.chunks_mut(chunk_len).enumerate().for_each(|(i, chunk)| f(i, chunk));
    }
}

/// The parallel part of [`for_each_chunk`]. The task is a `dyn`: rayon's machinery is then compiled once for each element
/// type and not once for each kernel, which made up almost half of the crate's code.
fn share<T: Send>(data: &mut [T], chunk_len: usize, first: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    let chunks = data.len().div_ceil(chunk_len);
    if chunks <= 1 {
        return f(first, data);
    }
    let half = chunks / 2;
    let (a, b) = data.split_at_mut(half * chunk_len);
    rayon::join(|| share(a, chunk_len, first, f), || share(b, chunk_len, first + half, f));
}

/// Terms that an accumulator of a product takes one after the other, at most: the sum of n like terms may be off by n / 4
/// roundings, all in one direction.
pub(super) const CHAIN: usize = 64;
/// Sums of so many terms that are added one after the other; more go by [`pairwise`].
pub(super) const CHAIN_OF_SUMS: usize = 32;

/// `out = term 0 + term 1 + ...`: `term(i, sum)` overwrites `sum` with term i of `terms`. Halves are added to halves, so that
/// rounding errors grow with the logarithm of the number of terms.
pub(super) fn pairwise<T: Float>(
    terms: std::ops::Range<usize>,
    out: &mut [T],
    term: &mut dyn FnMut(usize, &mut [T]),
) {
    match terms.len() {
        0 => out.fill(T::ZERO),
        1 => term(terms.start, out),
        n => {
            let middle = terms.start + n / 2;
            pairwise(terms.start..middle, out, term);
            T::with_scratch(out.len(), |right| {
                pairwise(middle..terms.end, right, term);
                for (o, r) in out.iter_mut().zip(right) {
                    *o += *r;
                }
            });
        }
    }
}

/// How many units of `unit_work` make a task worth handing to another thread.
pub(super) fn units_per_task(unit_work: usize) -> usize {
    (PARALLEL_WORK / 4 / unit_work.max(1)).max(1)
}
