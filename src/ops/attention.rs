//! Attention: who sees whom, what keys weigh, and one operation for all of it that has no matrix of scores.

use super::{Grads, Lowering, Operation, Vjp};
use crate::cpu::{Array, Element, dispatch_float, kernels};
use crate::dtype::DType;
use crate::error::Result;
use crate::geometry::AttentionGeometry;
use crate::gpu::kernels as gpu;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};
use kernels::attention::{Inputs, Rows};

/// Who sees whom, of queries that are given by their places.
#[derive(Debug)]
pub(crate) struct Masks {
    /// Query i sees the keys up to i only.
    pub causal: bool,
    /// What is added to scores, of as many dimensions; minus infinity hides a key.
    pub bias: Option<Tensor>,
    /// How many keys there are, i32 `[batch, 1, ..]`.
    pub lengths: Option<Tensor>,
    pub keys: usize,
}

impl Masks {
    /// u8, 1 where a query of these places (`[queries]`, i32) sees a key; `None` where all do.
    fn visible(&self, places: &Tensor, bias: Option<&Tensor>) -> Result<Option<Tensor>> {
        let mut all: Vec<Tensor> = Vec::new();
        if self.causal || self.lengths.is_some() {
            let keys = Tensor::arange(0, self.keys as i64, places.device())?;
            if self.causal {
                all.push(keys.le(places.unsqueeze(-1)?)?);
            }
            if let Some(lengths) = &self.lengths {
                all.push(keys.lt(lengths)?);
            }
        }
        if let Some(bias) = bias {
            all.push(bias.detach()?.ne(f64::NEG_INFINITY)?);
        }
        let mut all = all.into_iter();
        let first = all.next();
        first.map(|first| all.try_fold(first, |a, b| a.logical_and(b))).transpose()
    }

    /// What keys weigh by their scores `[.., queries, keys]`, for queries of these places (`[queries]`, i32) with their part of the bias.
    pub fn weights(&self, scores: &Tensor, places: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let scores = match bias {
            Some(bias) => (scores + bias)?,
            None => scores.clone(),
        };
        let Some(visible) = self.visible(places, bias)? else { return scores.softmax(-1) };
        // The lowest score there is: the weight of a key that has it is 0 beside any that is seen. Minus infinity would make NaN of a row
        // of nothing else.
        let lowest = if scores.dtype() == DType::F64 { f64::MIN } else { f64::from(f32::MIN) };
        let weights = visible.select(&scores, lowest)?.softmax(-1)?;
        // Rows that see no key are cleared, and keys that a broken row doesn't see.
        visible.select(&weights, 0.0)
    }
}

/// The output, and behind it the logarithm of each row's sum of exponentials, in one vector.
#[derive(Debug, Hash)]
struct Attention(AttentionGeometry);

/// The gradients of query, key and value, in one vector. Inputs are those of [`Attention`], what it gave, and the gradient of that.
#[derive(Debug, Hash)]
struct AttentionGrad(AttentionGeometry);

/// `softmax(scale q k^T + bias) v` of nothing empty, without a matrix of scores, forwards or backwards. All have four dimensions but
/// the lengths, i32 `[batch]`; the bias broadcasts to the scores and has no gradient.
pub(crate) fn attention(
    [query, key, value]: [&Tensor; 3],
    bias: Option<&Tensor>,
    lengths: Option<&Tensor>,
    causal: bool,
    scale: f64,
) -> Result<Tensor> {
    let (q, v) = (query.shape(), value.shape());
    let g = AttentionGeometry {
        batch: q[0],
        heads: q[1],
        kv_heads: v[1],
        queries: q[2],
        keys: v[2],
        depth: q[3],
        width: v[3],
        causal,
        scale: scale.to_bits(),
        bias: bias.map(|bias| {
            let (shape, strides) = (bias.shape(), bias.shape().strides());
            std::array::from_fn(|d| if shape[d] == 1 { 0 } else { strides[d] })
        }),
        lengths: lengths.is_some(),
    };
    let out = [g.batch, g.heads, g.queries, g.width];
    let len = g.out_len();
    let shape = Shape::new(&[len + g.rows()])?;
    let inputs = [query, key, value].into_iter().chain(bias).chain(lengths).cloned().collect();
    let results = Tensor::from_op(Attention(g), inputs, shape, query.dtype(), query.device())?;
    results.slice(0, 0, len)?.reshape(out)
}

/// Query, key and value, copied only where their columns don't stand side by side; bias and lengths.
struct Arrays {
    rows: [Array; 3],
    bias: Option<Array>,
    lengths: Option<Array>,
}

impl Arrays {
    fn of(g: &AttentionGeometry, inputs: &[Array]) -> Result<Arrays> {
        let row = |a: &Array| -> Result<Array> {
            let whole = a.shape[3] == 1 || a.strides[3] == 1;
            if whole && a.strides[..3].iter().all(|&s| s >= 0) { Ok(a.clone()) } else { a.contiguous() }
        };
        let bias = g.bias.map(|_| inputs[3].contiguous()).transpose()?;
        let lengths = g.lengths.then(|| inputs[inputs.len() - 1].contiguous()).transpose()?;
        Ok(Arrays { rows: [row(&inputs[0])?, row(&inputs[1])?, row(&inputs[2])?], bias, lengths })
    }

    fn inputs<T: Element>(&self) -> Result<Inputs<'_, T>> {
        let [query, key, value] = &self.rows;
        Ok(Inputs {
            query: rows(query)?,
            key: rows(key)?,
            value: rows(value)?,
            bias: self.bias.as_ref().map(Array::slice).transpose()?,
            lengths: self.lengths.as_ref().map(Array::slice).transpose()?,
        })
    }
}

fn rows<T: Element>(a: &Array) -> Result<Rows<'_, T>> {
    Ok(Rows { data: &a.raw::<T>()?[a.offset..], strides: std::array::from_fn(|d| a.strides[d] as usize) })
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn flops(&self, _inputs: &[Spec], _out: &Spec) -> u64 {
        self.0.flops() as u64
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let g = &self.0;
        let mut inputs = cx.inputs.to_vec();
        // Nobody asks for the logarithms: what is behind the output's gradient is 0.
        inputs.extend([cx.output.clone(), cx.grad.slice(0, 0, g.out_len())?]);
        let sizes = g.sizes();
        let shape = Shape::new(&[sizes.iter().sum()])?;
        let all =
            Tensor::from_op(AttentionGrad(g.clone()), inputs, shape, cx.output.dtype(), cx.output.device())?;
        let mut first = 0;
        let mut grads: Grads = vec![None; cx.inputs.len()];
        for (i, size) in sizes.into_iter().enumerate() {
            if cx.needs[i] {
                grads[i] = Some(all.slice(0, first, size)?.reshape(cx.inputs[i].shape())?);
            }
            first += size;
        }
        Ok(grads)
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let arrays = Arrays::of(&self.0, inputs)?;
        dispatch_float!("attention", out.dtype, T => Array::build::<T>(out.shape, |y| {
            kernels::attention::forward(&self.0, &arrays.inputs::<T>()?, y);
            Ok(())
        }))
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Kernel(Box::new(|t| gpu::attention::forward(t, &self.0)))
    }
}

impl Operation for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }

    fn flops(&self, _inputs: &[Spec], _out: &Spec) -> u64 {
        self.0.flops() as u64 / 2 * 5
    }

    /// Of weights P, `S = P (d_out v^T - D)` with D its row's mean by P, and of what is upstream of the gradients `S k`, `S^T q` and
    /// `P^T d_out` (scaled): by matrices of scores.
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let g = &self.0;
        let n = cx.inputs.len();
        // The heads of a group and their rows are the rows of one matrix.
        let rows = |t: &Tensor, columns| t.reshape([g.batch, g.kv_heads, g.group() * g.queries, columns]);
        let [of_queries, of_keys, of_values] = g.sizes();
        let upstream = |first, len, like: &Tensor| cx.grad.slice(0, first, len)?.reshape(like.shape());
        let (q, k, v) = (rows(&cx.inputs[0], g.depth)?, &cx.inputs[1], &cx.inputs[2]);
        let uq = rows(&cx.grad.slice(0, 0, of_queries)?, g.depth)?;
        let (uk, uv) = (upstream(of_queries, of_keys, k)?, upstream(of_queries + of_keys, of_values, v)?);
        let d_out = rows(&cx.inputs[n - 1], g.width)?;
        let (kt, scale) = (k.transpose()?, g.scale());

        let bias = g.bias.is_some().then(|| cx.inputs[3].clone());
        let lengths = g.lengths.then(|| cx.inputs[n - 3].reshape([g.batch, 1, 1, 1])).transpose()?;
        let masks = Masks { causal: g.causal, bias, lengths, keys: g.keys };
        let scores = (q.matmul(&kt)? * scale)?.reshape([g.batch, g.heads, g.queries, g.keys])?;
        let places = Tensor::arange(0, g.queries as i64, q.device())?;
        let p = rows(&masks.weights(&scores, &places, masks.bias.as_ref())?, g.keys)?;

        let mean = |x: &Tensor| (&p * x)?.sum(-1, true);
        let centred = |x: &Tensor| x - mean(x)?;
        let x = ((uq.matmul(&kt)? + q.matmul(&uk.transpose()?)?)? * scale)?;
        let dp = d_out.matmul(&v.transpose()?)?;
        let (s, y) = ((&p * centred(&dp)?)?, (&p * centred(&x)?)?);
        let z = ((&x * centred(&dp)?)? - (mean(&x)? * &dp)?)?;
        let z = (z + d_out.matmul(&uv.transpose()?)?)?;
        let r = (&p * centred(&z)?)?;

        let mut grads: Grads = vec![None; n];
        if cx.needs[0] {
            let grad = ((r.matmul(k)? + s.matmul(&uk)?)? * scale)?;
            grads[0] = Some(grad.reshape(cx.inputs[0].shape())?);
        }
        if cx.needs[1] {
            let grad = (r.transpose()?.matmul(&q)? + s.transpose()?.matmul(&uq)?)?;
            grads[1] = Some((grad * scale)?);
        }
        if cx.needs[2] {
            grads[2] = Some(y.transpose()?.matmul(&d_out)?);
        }
        if cx.needs[n - 1] {
            let grad = (y.matmul(v)? + p.matmul(&uv)?)?;
            grads[n - 1] = Some(grad.reshape([g.out_len()])?);
        }
        Ok(grads)
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let n = inputs.len();
        let arrays = Arrays::of(&self.0, &inputs[..n - 2])?;
        let (results, d_out) = (inputs[n - 2].contiguous()?, inputs[n - 1].contiguous()?);
        dispatch_float!("attention_grad", out.dtype, T => Array::build::<T>(out.shape, |grads| {
            let inputs = arrays.inputs::<T>()?;
            kernels::attention::backward(&self.0, &inputs, results.slice::<T>()?, d_out.slice::<T>()?, grads);
            Ok(())
        }))
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Kernel(Box::new(|t| gpu::attention::backward(t, &self.0)))
    }
}
