//! Attention as a function: what each query takes from the values of the keys that are like it.

use crate::backend::attends_at_once;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels::attention::takes;
use crate::graph::{ScanMemory, ScanOptions, scan};
use crate::nn::dropout::check_rate;
use crate::ops::attention::{Masks, attention as attention_at_once};
use crate::ops::random;
use crate::ops::{require_float, same_device, same_dtype};
use crate::tensor::Tensor;

const OP: &str = "scaled_dot_product_attention";

/// With more scores than this (256 MiB of f32) queries are taken in blocks.
const MOST_SCORES: usize = 1 << 26;

/// So many scores a block has, or of 16 queries.
const SCORES_OF_A_BLOCK: usize = 1 << 24;

/// How [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention) weighs keys.
///
/// ```
/// use wgrad::nn::AttentionOptions;
/// let options = AttentionOptions::new().causal(true).scale(0.125);
/// assert!(options.causal && options.mask.is_none());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct AttentionOptions {
    /// What scores are multiplied by; where there is none, `1 / sqrt(d)`.
    pub scale: Option<f64>,
    /// Whether query i sees the keys up to i only, itself included: both are counted from the first.
    pub causal: bool,
    /// Which keys a query sees (integers, where it is not 0), or what is added to the scores (floats).
    pub mask: Option<Tensor>,
    /// How many keys each element of the batch has.
    pub lengths: Option<Tensor>,
    /// The share of weights that is dropped, and the seed that says which.
    pub dropout: Option<(f64, u64)>,
}

impl AttentionOptions {
    /// Every query sees every key, scores are multiplied by `1 / sqrt(d)`, nothing is dropped.
    pub fn new() -> AttentionOptions {
        AttentionOptions::default()
    }

    /// What scores are multiplied by, finite; `None` for `1 / sqrt(d)`.
    pub fn scale(self, scale: impl Into<Option<f64>>) -> AttentionOptions {
        AttentionOptions { scale: scale.into(), ..self }
    }

    /// Whether query i sees the keys up to i only. With more or fewer keys than queries both count from the first, as in PyTorch;
    /// for the latest tokens of a [`KvCache`](crate::nn::KvCache) there is its `causal_mask`.
    pub fn causal(self, causal: bool) -> AttentionOptions {
        AttentionOptions { causal, ..self }
    }

    /// A mask that broadcasts to the scores, `[.., heads, queries, keys]`. Of integers (u8, as comparisons give): a query sees a
    /// key where it is not 0. Of floats, of the queries' type: it is added to the scores, and minus infinity hides a key.
    pub fn mask(self, mask: &Tensor) -> AttentionOptions {
        AttentionOptions { mask: Some(mask.clone()), ..self }
    }

    /// How many keys each element of the batch, the first dimension, has: integers `[batch]`. Those behind are not seen.
    pub fn lengths(self, lengths: &Tensor) -> AttentionOptions {
        AttentionOptions { lengths: Some(lengths.clone()), ..self }
    }

    /// Drops weights with probability `rate`, at least 0 and below 1, and divides the others by `1 - rate`; for training.
    pub fn dropout(self, rate: f64, seed: u64) -> AttentionOptions {
        AttentionOptions { dropout: (rate != 0.0).then_some((rate, seed)), ..self }
    }
}

/// Sizes of a problem, checked.
struct Problem {
    /// `[.., heads, queries, keys]`; there may be more than a tensor can have.
    scores: Vec<usize>,
    queries: usize,
    keys: usize,
    /// Heads of the queries for each head of the keys.
    group: usize,
}

impl Problem {
    fn of(query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Problem> {
        same_device(OP, &[query, key, value])?;
        require_float(OP, "the query", query)?;
        same_dtype(OP, query, key)?;
        same_dtype(OP, query, value)?;
        let (q, k, v) = (query.shape(), key.shape(), value.shape());
        let wrong = |what: &str| {
            let message = format!(
                "query {q}, key {k}, value {v}: {what}; expected [.., heads, queries, d], [.., heads, keys, d] and [.., heads, \
                 keys, dv]"
            );
            Err(Error::shape(OP, message))
        };
        let rank = q.rank();
        if rank < 2 || k.rank() != rank || v.rank() != rank {
            return wrong("they need equally many dimensions, two at least");
        }
        if k[..rank - 1] != v[..rank - 1] {
            return wrong("there is not one value for each key");
        }
        if q[rank - 1] != k[rank - 1] {
            return wrong("queries and keys differ in their last dimension");
        }
        let group = match rank {
            2 => 1,
            _ if q[..rank - 3] != k[..rank - 3] => return wrong("the dimensions before the heads differ"),
            _ => match (q[rank - 3], k[rank - 3]) {
                (a, b) if a == b => 1,
                (a, b) if a > 0 && b > 0 && a.is_multiple_of(b) => a / b,
                (a, b) => {
                    return wrong(&format!("{a} heads of queries can't share {b} heads of keys"));
                }
            },
        };
        let scores = [&q[..rank - 1], &[k[rank - 2]]].concat();
        Ok(Problem { scores, queries: q[rank - 2], keys: k[rank - 2], group })
    }

    /// `a x b`, of as many heads as `a` has; each head of `b` serves several of these.
    fn product(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if self.group == 1 {
            return a.matmul(b);
        }
        // The heads of a group and their rows are the rows of one product.
        let mut dims = a.dims().to_vec();
        let heads = dims.len() - 3;
        let rows = [dims[heads] / self.group, self.group * dims[heads + 1]];
        let together = a.reshape([&dims[..heads], &rows, &dims[heads + 2..]].concat())?.matmul(b)?;
        dims[heads + 2] = b.dims()[heads + 2];
        together.reshape(dims)
    }
}

/// What the options say of who sees whom.
fn masks(options: &AttentionOptions, problem: &Problem, query: &Tensor) -> Result<Masks> {
    let keys = problem.keys;
    let mut masks = Masks { causal: options.causal, bias: None, lengths: None, keys };
    if let Some(mask) = &options.mask {
        same_device(OP, &[query, mask])?;
        let (shape, scores) = (mask.dims(), &problem.scores);
        let fits = shape.len() <= scores.len()
            && shape.iter().rev().zip(scores.iter().rev()).all(|(&m, &s)| m == s || m == 1);
        if !fits {
            let message = format!(
                "the mask is {}, and the scores [.., heads, queries, keys] are {scores:?}; give each dimension that size or 1, \
                 with unsqueeze where one is missing in between",
                mask.shape()
            );
            return Err(Error::shape(OP, message));
        }
        // As many dimensions as the scores: blocks are taken along the queries.
        let ones = vec![1; scores.len() - shape.len()];
        let mask = mask.reshape([&ones, shape].concat())?;
        masks.bias = Some(if mask.dtype().is_float() {
            same_dtype(OP, query, &mask)?;
            mask
        } else {
            let zero = Tensor::full_dtype([1], 0.0, query.dtype(), query.device())?;
            mask.ne(0)?.select(zero, f64::NEG_INFINITY)?
        });
    }
    if let Some(lengths) = &options.lengths {
        same_device(OP, &[query, lengths])?;
        let fits = query.rank() > 2 && lengths.dims() == &query.dims()[..1];
        if !fits || lengths.dtype().is_float() {
            let message = format!(
                "lengths are {} {}; expected integers, one for each element of the first dimension of the query, {}, which has \
                 three dimensions at least",
                lengths.dtype(),
                lengths.shape(),
                query.shape()
            );
            return Err(Error::argument(OP, message));
        }
        let mut dims = vec![1; query.rank()];
        dims[0] = query.dims()[0];
        let lengths = if lengths.dtype() == DType::U8 { lengths.cast(DType::U32)? } else { lengths.clone() };
        masks.lengths = Some(lengths.minimum(keys as f64)?.cast(DType::I32)?.reshape(dims)?);
    }
    Ok(masks)
}

/// For queries of these places (`query` is scaled already) the mean of the values that they see, by the weights of the keys.
fn attend(
    problem: &Problem,
    masks: &Masks,
    [query, key, value]: [&Tensor; 3],
    places: &Tensor,
    bias: Option<&Tensor>,
    dropout: Option<(f64, u64)>,
) -> Result<Tensor> {
    let scores = problem.product(query, &key.transpose()?)?;
    let mut weights = masks.weights(&scores, places, bias)?;
    if let Some((rate, seed)) = dropout {
        weights = random::drop_out(&weights, weights.shape(), rate, seed)?;
    }
    problem.product(&weights, value)
}

/// As [`attend`] for all queries, a block of them after the other: the scores of one block are all that there is at a time. For
/// gradients they are computed once more.
fn attend_in_blocks(
    problem: &Problem,
    masks: &Masks,
    [query, key, value]: [&Tensor; 3],
    block: usize,
) -> Result<Tensor> {
    let (n, rank) = (problem.queries, query.rank() as isize);
    let turns = n.div_ceil(block);
    // [.., queries, x] to [blocks, .., queries of a block, x]
    let cut = |t: &Tensor| -> Result<Tensor> {
        let mut pads = vec![(0, 0); t.rank()];
        pads[t.rank() - 2].1 = turns * block - n;
        let dims = t.dims();
        let (outer, last) = (&dims[..dims.len() - 2], dims[dims.len() - 1]);
        let apart = t.pad(pads, 0.0)?.reshape([outer, &[turns, block, last]].concat())?;
        let mut axes: Vec<isize> = (0..=rank).collect();
        axes.remove(rank as usize - 2);
        axes.insert(0, rank - 2);
        apart.permute(axes)
    };
    // Queries behind the last are like it; nobody reads what they give.
    let places = Tensor::arange(0, (turns * block) as i64, query.device())?.minimum((n - 1) as f64)?;
    let mut rows = vec![cut(query)?, places.reshape([turns, block])?];
    let of_each = masks.bias.as_ref().filter(|bias| bias.dims()[bias.rank() - 2] != 1);
    rows.extend(of_each.map(cut).transpose()?);
    let options = ScanOptions::new().memory(ScanMemory::Recompute);
    let out = scan(&[], &rows.iter().collect::<Vec<_>>(), options, |_, rows| {
        let bias = if of_each.is_some() { rows.get(2) } else { masks.bias.as_ref() };
        let part = attend(problem, masks, [&rows[0], key, value], &rows[1], bias, None)?;
        Ok((Vec::new(), vec![part]))
    })?;
    let mut axes: Vec<isize> = (1..=rank).collect();
    axes.insert(rank as usize - 2, 0);
    let mut dims = query.dims().to_vec();
    dims[rank as usize - 2] = turns * block;
    dims[rank as usize - 1] = value.dims()[rank as usize - 1];
    out.rows[0].permute(axes)?.reshape(dims)?.slice(-2, 0, n)
}

/// By the one operation that has no matrix of scores; `None` where it can't be: of nothing, of masks that have a gradient, or that
/// repeat along some of several dimensions before the heads.
fn attend_at_once(
    problem: &Problem,
    masks: &Masks,
    [query, key, value]: [&Tensor; 3],
    scale: f64,
) -> Result<Option<Tensor>> {
    let (rank, dims) = (query.rank(), query.dims());
    let tracked = masks.bias.as_ref().is_some_and(Tensor::is_tracked);
    if tracked || query.numel() == 0 || key.numel() == 0 || value.numel() == 0 {
        return Ok(None);
    }
    // Lengths are of the first dimension: the batch, and not heads that share keys.
    let by_first = rank == 3 && masks.lengths.is_some();
    if by_first && problem.group > 1 {
        return Ok(None);
    }
    let heads_at = if by_first { rank - 2 } else { rank.max(3) - 3 };
    let four = |dims: &[usize]| -> [usize; 4] {
        let heads = dims[heads_at..rank - 2].iter().product();
        [dims[..heads_at].iter().product(), heads, dims[rank - 2], dims[rank - 1]]
    };
    let bias = match &masks.bias {
        Some(bias) => {
            let before = &bias.dims()[..heads_at];
            if before.iter().any(|&n| n != 1) && before != &dims[..heads_at] {
                return Ok(None);
            }
            Some(bias.reshape(four(bias.dims()))?)
        }
        None => None,
    };
    let lengths = match &masks.lengths {
        Some(lengths) => {
            let batch = &dims[..heads_at];
            Some(
                lengths
                    .reshape(&lengths.dims()[..heads_at])?
                    .broadcast_to(batch)?
                    .reshape([four(dims)[0]])?,
            )
        }
        None => None,
    };
    // GPUs read four neighbours at once.
    let padded = |t: &Tensor| -> Result<Tensor> {
        let [.., last] = four(t.dims());
        let t = t.reshape(four(t.dims()))?;
        let more = if t.device() == Device::Cpu { 0 } else { last.next_multiple_of(4) - last };
        if more == 0 { Ok(t) } else { t.pad([(0, 0), (0, 0), (0, 0), (0, more)], 0.0) }
    };
    let [q, k, v] = [padded(query)?, padded(key)?, padded(value)?];
    let y = attention_at_once([&q, &k, &v], bias.as_ref(), lengths.as_ref(), masks.causal, scale)?;
    let width = value.dims()[rank - 1];
    let y = if y.dims()[3] == width { y } else { y.slice(3, 0, width)? };
    y.reshape([&dims[..rank - 1], &[width]].concat()).map(Some)
}

/// How attention is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// With all scores.
    Whole,
    /// With those of so many queries at a time.
    Blocks(usize),
    /// As it is fastest, in the least memory.
    Best,
    /// Without any, wherever that can be.
    #[cfg(test)]
    AtOnce,
}

impl Way {
    /// Whether the one operation beats the others, and can be.
    fn at_once(self, problem: &Problem, biased: bool, query: &Tensor, value: &Tensor) -> Result<bool> {
        let widest = query.dims()[query.rank() - 1].max(value.dims()[value.rank() - 1]);
        let sizes = [problem.queries, problem.keys, problem.group];
        let fits = query.device() == Device::Cpu || takes(sizes, widest);
        Ok(match self {
            #[cfg(test)]
            Way::AtOnce => fits,
            Way::Best => fits && attends_at_once(query.device(), biased)?,
            Way::Whole | Way::Blocks(_) => false,
        })
    }

    /// The best of those with scores.
    fn with_scores(problem: &Problem, options: &AttentionOptions) -> Way {
        let all = problem.scores.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        if all <= MOST_SCORES || options.dropout.is_some() {
            return Way::Whole;
        }
        let of_a_query = (all / problem.queries).max(1);
        Way::Blocks((SCORES_OF_A_BLOCK / of_a_query).clamp(16, problem.queries.max(16)))
    }
}

fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    options: &AttentionOptions,
    way: Way,
) -> Result<Tensor> {
    let problem = Problem::of(query, key, value)?;
    let scale = match options.scale {
        Some(scale) if !scale.is_finite() => {
            let message = format!("expects a finite scale, got {scale}; leave it out for 1 / sqrt(d)");
            return Err(Error::argument(OP, message));
        }
        Some(scale) => scale,
        None => (query.dims()[query.rank() - 1].max(1) as f64).powf(-0.5),
    };
    if let Some((rate, _)) = options.dropout {
        check_rate(OP, "dropout", rate)?;
    }
    let masks = masks(options, &problem, query)?;
    if options.dropout.is_none()
        && way.at_once(&problem, masks.bias.is_some(), query, value)?
        && let Some(y) = attend_at_once(&problem, &masks, [query, key, value], scale)?
    {
        return Ok(y);
    }
    let query = &(query * scale)?;
    let way = if let Way::Whole | Way::Blocks(_) = way { way } else { Way::with_scores(&problem, options) };
    match way {
        Way::Blocks(block) => attend_in_blocks(&problem, &masks, [query, key, value], block),
        _ => {
            let places = Tensor::arange(0, problem.queries as i64, query.device())?;
            let bias = masks.bias.as_ref();
            attend(&problem, &masks, [query, key, value], &places, bias, options.dropout)
        }
    }
}

/// Attention.
impl Tensor {
    /// What each query takes from the values of the keys that are like it (Vaswani et al., 2017): `softmax(q k^T * scale) v`, PyTorch's
    /// `scaled_dot_product_attention`. This tensor is the query, `[.., heads, queries, d]`; the key is `[.., heads, keys, d]`, the
    /// value `[.., heads, keys, dv]`, the result `[.., heads, queries, dv]`. `..` are equal in all three; without heads and batch
    /// they are matrices.
    ///
    /// - With fewer heads of keys and values than of queries each serves several: of 8 and 2, query heads 0 to 3 have the first
    ///   (grouped queries; Ainslie et al., 2023).
    /// - [`AttentionOptions`] say who sees whom. A query that sees no key gives zeros, and its gradients are 0. A key that a
    ///   query doesn't see has no influence on it as long as it and its value are finite: 0 times infinity is NaN.
    /// - Without dropout the matrix of scores is never there, forwards or backwards, on the CPU and, where heads have at most 128 columns
    ///   and 8,192 keys, on GPUs (with grouped queries: where a head of keys serves at most some 8,000 queries of all its heads
    ///   together, less 96 for each of these): a block of queries meets a block of keys at a time, and gradients compute the scores again
    ///   (FlashAttention; Dao et al., 2022). Elsewhere, of more than 2^26 scores (of all batches and heads together) only some
    ///   queries' are computed at a time. Either way memory grows with the keys, not with queries times keys; with dropout there are
    ///   all scores. Gradients of any order; those of gradients, and of a mask of floats, by way of all scores.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::AttentionOptions;
    /// # fn main() -> Result<()> {
    /// let device = Device::Cpu;
    /// let (q, k) = (Tensor::randn([2, 8, 5, 16], device, 1)?, Tensor::randn([2, 2, 5, 16], device, 2)?);
    /// let y = q.scaled_dot_product_attention(&k, &k, &AttentionOptions::new().causal(true))?;
    /// assert_eq!(y.shape(), [2, 8, 5, 16]);
    ///
    /// // The first query sees the first key alone; of a batch without keys nobody sees any.
    /// let first = y.slice(2, 0, 1)?.slice(1, 0, 1)?.to_vec::<f32>()?;
    /// wgrad::testing::assert_close(first, k.slice(2, 0, 1)?.slice(1, 0, 1)?.to_vec::<f32>()?, 1e-6, 1e-6)?;
    /// let lengths = AttentionOptions::new().lengths(&Tensor::new([5u32, 0], device)?);
    /// let y = q.scaled_dot_product_attention(&k, &k, &lengths)?;
    /// assert_eq!(y.slice(0, 1, 1)?.to_vec::<f32>()?, [0.0; 8 * 5 * 16]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Shapes that don't go together, integers, tensors of different types or devices; a mask that does not broadcast to the
    /// scores, lengths that are not one integer for each element of the batch, a scale that is not finite, a dropout below 0 or from
    /// 1 on.
    pub fn scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: &AttentionOptions,
    ) -> Result<Tensor> {
        attention(self, key, value, options, Way::Best)
    }
}

#[cfg(test)]
mod tests;
