//! Attention without a matrix of scores: a block of queries meets one block of keys after the other, and the softmax is corrected
//! whenever a larger score comes (Dao et al., "FlashAttention", 2022). For gradients the scores are computed again, from the logarithm
//! of the sum of exponentials that the forward pass leaves of each row.
//!
//! A key that is hidden has the score minus infinity and the weight 0, whatever it holds. The logarithm of a row that sees no key is
//! plus infinity, so that all of its weights are 0 again.

use super::float::Float;
use super::gemm::{gemm, sum_partials};
use super::matrix::Matrix;
use super::{PARALLEL_FLOPS, for_each_chunk};
use crate::cpu::simd::vectorized;
use crate::geometry::AttentionGeometry;

/// Queries of a block.
const QUERIES: usize = 64;
/// Keys of a block: two blocks of scores fit the second-level cache.
const KEYS: usize = 256;
/// So many pieces of work keep the cores of a machine busy where there are fewer heads than that.
const PIECES: usize = 8;
/// Elements that are computed side by side.
const LANES: usize = 16;

/// Matrices `[batch, heads, rows, columns]` whose columns stand side by side.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    pub data: &'a [T],
    /// Element strides along batch, heads and rows.
    pub strides: [usize; 3],
}

impl<'a, T> Rows<'a, T> {
    /// The rows of one head from `first` on.
    fn of(&self, batch: usize, head: usize, first: usize) -> Matrix<'a, T> {
        let [b, h, r] = self.strides;
        Matrix { data: &self.data[batch * b + head * h + first * r..], strides: [r, 1] }
    }
}

fn transposed<T>(m: Matrix<'_, T>) -> Matrix<'_, T> {
    Matrix { strides: [m.strides[1], m.strides[0]], ..m }
}

/// Query, key and value, and who sees whom.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T> {
    pub query: Rows<'a, T>,
    pub key: Rows<'a, T>,
    pub value: Rows<'a, T>,
    pub bias: Option<&'a [T]>,
    pub lengths: Option<&'a [i32]>,
}

/// Neighbouring queries of one head.
#[derive(Clone, Copy)]
struct Block {
    batch: usize,
    head: usize,
    first: usize,
    len: usize,
}

/// How many keys a query sees at most, bias aside.
fn seen_keys(g: &AttentionGeometry, lengths: Option<&[i32]>, batch: usize, query: usize) -> usize {
    let all = lengths.map_or(g.keys, |l| g.keys.min(usize::try_from(l[batch]).unwrap_or(0)));
    if g.causal { all.min(query + 1) } else { all }
}

impl<T: Float> Inputs<'_, T> {
    /// What is added to the scores of a query from a key on, and the stride along the keys.
    fn bias_of(&self, g: &AttentionGeometry, block: &Block, row: usize, key: usize) -> Option<(&[T], usize)> {
        let (bias, [b, h, q, k]) = (self.bias?, g.bias?);
        Some((&bias[block.batch * b + block.head * h + (block.first + row) * q + key * k..], k))
    }

    /// `scores[row] = scale q k^T + bias` for the keys that each query of the block sees from `first` on, of `n`, and minus infinity
    /// for the others.
    fn scores(&self, g: &AttentionGeometry, block: &Block, first: usize, n: usize, scores: &mut [T]) {
        let kv = block.head / g.group();
        let q = self.query.of(block.batch, block.head, block.first);
        let k = transposed(self.key.of(block.batch, kv, first));
        gemm([block.len, n, g.depth], q, k, scores, KEYS, false, false);
        let scale = T::from_f64(g.scale());
        for (row, scores) in scores.chunks_mut(KEYS).take(block.len).enumerate() {
            let end = seen_keys(g, self.lengths, block.batch, block.first + row);
            let (seen, hidden) = scores[..n].split_at_mut(end.clamp(first, first + n) - first);
            match self.bias_of(g, block, row, first) {
                Some((bias, stride)) => add_bias(scale, bias, stride, seen),
                None => scale_all(scale, seen),
            }
            hidden.fill(T::NEG_INFINITY);
        }
    }

    /// Sets the weights of hidden keys to 0 where the row's logarithm has made NaN of them, too.
    fn clear_hidden(
        &self,
        g: &AttentionGeometry,
        block: &Block,
        first: usize,
        n: usize,
        weights: &mut [T],
        logs: &[T],
    ) {
        for (row, weights) in weights.chunks_mut(KEYS).take(block.len).enumerate() {
            if !logs[row].is_nan() {
                continue;
            }
            let end = seen_keys(g, self.lengths, block.batch, block.first + row);
            let (seen, hidden) = weights[..n].split_at_mut(end.clamp(first, first + n) - first);
            hidden.fill(T::ZERO);
            if let Some((bias, stride)) = self.bias_of(g, block, row, first) {
                for (key, weight) in seen.iter_mut().enumerate() {
                    if bias[key * stride] == T::NEG_INFINITY {
                        *weight = T::ZERO;
                    }
                }
            }
        }
    }

    /// Whether a query sees any key.
    fn sees(&self, g: &AttentionGeometry, block: &Block, row: usize) -> bool {
        let end = seen_keys(g, self.lengths, block.batch, block.first + row);
        match self.bias_of(g, block, row, 0) {
            Some((bias, stride)) => (0..end).any(|key| bias[key * stride] != T::NEG_INFINITY),
            None => end > 0,
        }
    }

    /// The blocks of keys that a block of queries sees any of.
    fn key_blocks(
        &self,
        g: &AttentionGeometry,
        block: &Block,
    ) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let end = seen_keys(g, self.lengths, block.batch, block.first + block.len - 1);
        (0..end).step_by(KEYS).map(move |first| (first, KEYS.min(end - first)))
    }
}

/// The output `[batch, heads, queries, width]`, and behind it the logarithm of each row's sum of exponentials.
pub fn forward<T: Float>(g: &AttentionGeometry, inputs: &Inputs<T>, out: &mut [T]) {
    let (out, logs) = out.split_at_mut(g.out_len());
    let heads = out.chunks_mut(g.queries * g.width).zip(logs.chunks_mut(g.queries));
    let mut blocks: Vec<_> = heads
        .enumerate()
        .flat_map(|(index, (out, logs))| {
            let parts = out.chunks_mut(QUERIES * g.width).zip(logs.chunks_mut(QUERIES));
            parts.enumerate().map(move |(i, (out, logs))| {
                let [batch, head] = [index / g.heads, index % g.heads];
                (Block { batch, head, first: i * QUERIES, len: logs.len() }, out, logs)
            })
        })
        .collect();
    for_each_chunk(&mut blocks, 1, g.flops() >= PARALLEL_FLOPS, |_, blocks| {
        for (block, out, logs) in blocks {
            forward_block(g, inputs, block, out, logs);
        }
    });
}

fn forward_block<T: Float>(
    g: &AttentionGeometry,
    inputs: &Inputs<T>,
    block: &Block,
    out: &mut [T],
    logs: &mut [T],
) {
    T::with_scratch(QUERIES * (KEYS + 3), |scratch| {
        let (scores, rest) = scratch.split_at_mut(QUERIES * KEYS);
        let (peaks, rest) = rest.split_at_mut(QUERIES);
        let (sums, factors) = rest.split_at_mut(QUERIES);
        peaks.fill(T::LOWEST);
        sums.fill(T::ZERO);
        out.fill(T::ZERO);
        for (first, n) in inputs.key_blocks(g, block) {
            inputs.scores(g, block, first, n, scores);
            weigh(n, &mut scores[..block.len * KEYS], peaks, sums, factors);
            if first > 0 {
                for (out, &factor) in out.chunks_exact_mut(g.width).zip(&*factors) {
                    if factor != T::ONE {
                        scale_all(factor, out);
                    }
                }
            }
            let weights = Matrix { data: scores, strides: [KEYS, 1] };
            let v = inputs.value.of(block.batch, block.head / g.group(), first);
            gemm([block.len, g.width, n], weights, v, out, g.width, true, false);
        }
        for (row, (out, log)) in out.chunks_exact_mut(g.width).zip(logs).enumerate() {
            let (peak, sum) = (peaks[row], sums[row]);
            if sum == T::ZERO {
                // All scores are minus infinity: of hidden keys, or of keys that are seen, whose softmax does not exist.
                let sees = inputs.sees(g, block, row);
                out.fill(if sees { T::from_f64(f64::NAN) } else { T::ZERO });
                *log = if sees { T::from_f64(f64::NAN) } else { -T::NEG_INFINITY };
            } else {
                scale_all(T::ONE / sum, out);
                *log = peak + sum.ln();
            }
        }
    });
}

/// The gradients of query, key and value, one behind the other. `results` is what [`forward`] gave, `d_out` the gradient of its output.
pub fn backward<T: Float>(
    g: &AttentionGeometry,
    inputs: &Inputs<T>,
    results: &[T],
    d_out: &[T],
    grads: &mut [T],
) {
    let [_, of_keys, of_values] = g.sizes();
    let (dq, rest) = grads.split_at_mut(g.rows() * g.depth);
    let (dk, dv) = rest.split_at_mut(of_keys);
    let (k_len, v_len) = (g.keys * g.depth, g.keys * g.width);
    let planes = g.batch * g.kv_heads;
    // The heads of a group, by blocks of queries.
    let per_head = g.queries.div_ceil(QUERIES);
    let blocks = per_head * g.group();
    let pieces = (PIECES / planes).clamp(1, blocks.div_ceil(4));
    let parallel = g.flops() >= PARALLEL_FLOPS;
    let mut run = |dk: &mut [T], dv: &mut [T]| {
        let mut tasks = Vec::with_capacity(planes * pieces);
        let (mut dq, mut dk, mut dv) = (&mut *dq, dk, dv);
        for plane in 0..planes {
            for piece in 0..pieces {
                let range = piece * blocks / pieces..(piece + 1) * blocks / pieces;
                let of_range = range.clone().map(|i| QUERIES.min(g.queries - i % per_head * QUERIES));
                let (of_queries, of_key, of_value);
                (of_queries, dq) = dq.split_at_mut(of_range.sum::<usize>() * g.depth);
                (of_key, dk) = dk.split_at_mut(k_len);
                (of_value, dv) = dv.split_at_mut(v_len);
                tasks.push((plane, range, of_queries, of_key, of_value));
            }
        }
        for_each_chunk(&mut tasks, 1, parallel, |_, tasks| {
            for (plane, range, dq, dk, dv) in tasks {
                dk.fill(T::ZERO);
                dv.fill(T::ZERO);
                let mut dq = std::mem::take(dq);
                for i in range.clone() {
                    let first = i % per_head * QUERIES;
                    let len = QUERIES.min(g.queries - first);
                    let head = *plane % g.kv_heads * g.group() + i / per_head;
                    let block = Block { batch: *plane / g.kv_heads, head, first, len };
                    let (now, later) = dq.split_at_mut(len * g.depth);
                    backward_block(g, inputs, &block, results, d_out, [now, &mut dk[..], &mut dv[..]]);
                    dq = later;
                }
            }
        });
    };
    if pieces == 1 {
        return run(dk, dv);
    }
    T::with_scratch(pieces * (of_keys + of_values), |parts| {
        let (k_parts, v_parts) = parts.split_at_mut(pieces * of_keys);
        run(k_parts, v_parts);
        for (sums, parts, len) in [(dk, k_parts, k_len), (dv, v_parts, v_len)] {
            for (sum, parts) in sums.chunks_exact_mut(len).zip(parts.chunks_exact(pieces * len)) {
                sum_partials(parts, sum);
            }
        }
    });
}

/// The gradients of a block of queries, and what it adds to those of the keys and values of its head.
fn backward_block<T: Float>(
    g: &AttentionGeometry,
    inputs: &Inputs<T>,
    block: &Block,
    results: &[T],
    d_out: &[T],
    [dq, dk, dv]: [&mut [T]; 3],
) {
    let from = (block.batch * g.heads + block.head) * g.queries + block.first;
    let of_block = from * g.width..(from + block.len) * g.width;
    let (out, d_out) = (&results[of_block.clone()], &d_out[of_block]);
    let logs = &results[g.out_len() + from..][..block.len];
    let kv = block.head / g.group();
    let q = inputs.query.of(block.batch, block.head, block.first);
    let d_rows = Matrix { data: d_out, strides: [g.width, 1] };
    dq.fill(T::ZERO);
    T::with_scratch(2 * QUERIES * KEYS + QUERIES, |scratch| {
        let (weights, rest) = scratch.split_at_mut(QUERIES * KEYS);
        let (slopes, means) = rest.split_at_mut(QUERIES * KEYS);
        dot_rows(g.width, out, d_out, means);
        for (first, n) in inputs.key_blocks(g, block) {
            inputs.scores(g, block, first, n, weights);
            weigh_again(n, &mut weights[..block.len * KEYS], logs);
            inputs.clear_hidden(g, block, first, n, weights, logs);
            let v = transposed(inputs.value.of(block.batch, kv, first));
            gemm([block.len, n, g.width], d_rows, v, slopes, KEYS, false, false);
            let by_key = Matrix { data: &*weights, strides: [1, KEYS] };
            let of_values = &mut dv[first * g.width..][..n * g.width];
            gemm([n, g.width, block.len], by_key, d_rows, of_values, g.width, true, false);
            slope(n, T::from_f64(g.scale()), &weights[..block.len * KEYS], means, slopes);
            let by_key = Matrix { data: &*slopes, strides: [1, KEYS] };
            let of_keys = &mut dk[first * g.depth..][..n * g.depth];
            gemm([n, g.depth, block.len], by_key, q, of_keys, g.depth, true, false);
            let by_query = Matrix { data: &*slopes, strides: [KEYS, 1] };
            let k = inputs.key.of(block.batch, kv, first);
            gemm([block.len, g.depth, n], by_query, k, dq, g.depth, true, false);
        }
    });
}

vectorized! {
fn scale_all[T: Float](factor: T, x: &mut [T]) {
    for x in x {
        *x *= factor;
    }
}
}

vectorized! {
/// `x = x scale + bias`, minus infinity where the bias is, whatever x is.
fn add_bias[T: Float](scale: T, bias: &[T], stride: usize, x: &mut [T]) {
    let one = |x: &mut T, b: T| *x = if b == T::NEG_INFINITY { b } else { *x * scale + b };
    if stride == 1 {
        for (x, &b) in x.iter_mut().zip(bias) {
            one(x, b);
        }
    } else {
        for (i, x) in x.iter_mut().enumerate() {
            one(x, bias[i * stride]);
        }
    }
}
}

vectorized! {
/// `w = exp(score - peak)` for rows of `n` scores, `KEYS` apart. Peaks and sums go on from the blocks before, whose sums and outputs are
/// to be multiplied by `factors`.
fn weigh[T: Float](n: usize, scores: &mut [T], peaks: &mut [T], sums: &mut [T], factors: &mut [T]) {
    let stats = peaks.iter_mut().zip(sums.iter_mut()).zip(factors.iter_mut());
    for (row, ((peak, sum), factor)) in scores.chunks_mut(KEYS).zip(stats) {
        let row = &mut row[..n];
        let mut top = [*peak; LANES];
        let whole = n - n % LANES;
        for x in row[..whole].chunks_exact(LANES) {
            for l in 0..LANES {
                top[l] = if x[l] > top[l] { x[l] } else { top[l] };
            }
        }
        let mut high = *peak;
        for &x in top.iter().chain(&row[whole..]) {
            high = if x > high { x } else { high };
        }
        let mut lanes = [T::ZERO; LANES];
        for x in row[..whole].chunks_exact_mut(LANES) {
            for l in 0..LANES {
                x[l] = (x[l] - high).exp_below();
                lanes[l] += x[l];
            }
        }
        let mut all = T::ZERO;
        for x in &mut row[whole..] {
            *x = (*x - high).exp_below();
            all += *x;
        }
        for l in lanes {
            all += l;
        }
        *factor = (*peak - high).exp_below();
        *sum = *sum * *factor + all;
        *peak = high;
    }
}
}

vectorized! {
/// `w = exp(score - log)` for rows of `n` scores.
fn weigh_again[T: Float](n: usize, scores: &mut [T], logs: &[T]) {
    for (row, &log) in scores.chunks_mut(KEYS).zip(logs) {
        for x in &mut row[..n] {
            *x = (*x - log).exp_below();
        }
    }
}
}

vectorized! {
/// `d = w (d - mean) scale` for rows of `n`, 0 where the weight is.
fn slope[T: Float](n: usize, scale: T, weights: &[T], means: &[T], d: &mut [T]) {
    for ((d, w), &mean) in d.chunks_mut(KEYS).zip(weights.chunks(KEYS)).zip(means) {
        for (d, &w) in d[..n].iter_mut().zip(&w[..n]) {
            let slope = w * (*d - mean) * scale;
            *d = if w == T::ZERO { T::ZERO } else { slope };
        }
    }
}
}

vectorized! {
/// The dot product of each row of `a` with that of `b`.
fn dot_rows[T: Float](n: usize, a: &[T], b: &[T], dots: &mut [T]) {
    for ((a, b), dot) in a.chunks_exact(n).zip(b.chunks_exact(n)).zip(dots) {
        let mut lanes = [T::ZERO; LANES];
        let whole = n - n % LANES;
        for (a, b) in a[..whole].chunks_exact(LANES).zip(b[..whole].chunks_exact(LANES)) {
            for l in 0..LANES {
                lanes[l] += a[l] * b[l];
            }
        }
        let mut all = T::ZERO;
        for (&a, &b) in a[whole..].iter().zip(&b[whole..]) {
            all += a * b;
        }
        for l in lanes {
            all += l;
        }
        *dot = all;
    }
}
}

#[cfg(test)]
mod tests;
