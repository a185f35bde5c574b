//! Mean and variance of each feature over a batch that is in parts on several ranks.

use super::collective::telling;
use super::shared_batch::{SharedBatch, exchanged};
use super::sum::{Summand, sum};
use crate::backend::eval;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::moments::{Moments, moments};
use crate::tensor::{Grads, IdMap, Spec, Tensor, Vjp, inputs_first, no_grad};
use std::collections::BTreeMap;

const OP: &str = "BatchNorm::synchronized";

/// Number, mean, and sum of squared differences from it. Two are joined by the formula of Chan, Golub and LeVeque (1979), in which
/// nothing cancels; written so that it is the same whichever comes first.
impl Summand for [f64; 3] {
    fn add(&mut self, other: [f64; 3]) {
        let ([n, mean, squares], [other_n, other_mean, other_squares]) = (*self, other);
        if other_n == 0.0 {
            return;
        }
        if n == 0.0 {
            *self = other;
            return;
        }
        let all = n + other_n;
        let apart = (mean - other_mean) * (mean - other_mean) * (n * other_n / all);
        *self = [all, (n * mean + other_n * other_mean) / all, (squares + other_squares) + apart];
    }
}

impl SharedBatch {
    /// Mean and variance of each feature, the last axis of `x`, over all other axes and all ranks, each of which counts with its
    /// samples. Evaluates this rank's own, and waits for the others; so does the gradient. `None` where no rank has a sample.
    ///
    /// # Errors
    ///
    /// `x` is part of a function that is being recorded; a rank has left or failed, or has another number of features; the device fails.
    pub fn moments(&self, x: &Tensor) -> Result<Option<Moments>> {
        telling(&*self.world, self.moments_of(x))
    }

    fn moments_of(&self, x: &Tensor) -> Result<Option<Moments>> {
        if x.is_symbolic() {
            let message = "ranks exchange their statistics while the pass is computed: it can't be recorded (by Graph::trace, or as \
                           the body of a scan)";
            return Err(Error::argument(OP, message));
        }
        let features = x.dims().last().copied().unwrap_or(0);
        if features == 0 {
            return Ok(None);
        }
        let own = Own::of(x, features)?;
        let samples = if self.counts { x.numel() / features } else { 0 };
        let numbers = own.compute()?;
        let (origins, rest) = numbers.split_at(features);
        let (offsets, variances) = rest.split_at(features);
        let n = samples as f64;
        let part =
            |c: usize| if n == 0.0 { [0.0; 3] } else { [n, origins[c] + offsets[c], n * variances[c]] };
        let mine = BTreeMap::from([(self.world.rank(), (0..features).map(part).collect())]);
        let all = sum(&*self.world, self.shards, features, mine)?;
        let count = all[0][0];
        if count == 0.0 {
            return Ok(None);
        }
        // Constant from here on: an origin for all ranks, near the mean, so that differences from it don't cancel.
        let rounded = |mean: f64| if x.dtype() == DType::F64 { mean } else { f64::from(mean as f32) };
        let means: Vec<f64> = all.iter().map(|[_, mean, _]| *mean).collect();
        let tensor = |values: &[f64], dims: &[usize]| Tensor::rounded(values, dims, x.dtype(), x.device());
        let shift: Vec<f64> = origins.iter().zip(&means).map(|(own, mean)| own - rounded(*mean)).collect();
        let offsets = means.iter().map(|&mean| mean - rounded(mean));
        let value: Vec<f64> = offsets.chain(all.iter().map(|[_, _, squares]| squares / count)).collect();
        let value = tensor(&value, &[2, features])?;
        let (batch, share) = (self.clone(), n / count);
        let inputs = vec![own.moments, tensor(&shift, &[1, features])?];
        let moved = exchanged("moments_over_ranks", &value, inputs, move |cx| vjp(&batch, share, cx))?;
        let mut place = vec![1; x.rank()];
        place[x.rank() - 1] = features;
        let origin = tensor(&means, &place)?;
        let row = |k: usize| moved.slice(0, k, 1)?.reshape(&place);
        let (offset, variance) = (row(0)?, row(1)?);
        Ok(Some(Moments { mean: (&origin + &offset)?, variance, centered: (x - &origin)?, offset, origin }))
    }
}

/// The statistics of this rank's part alone.
struct Own {
    /// `[2, features]`: mean minus origin, and variance.
    moments: Tensor,
    /// `[1, features]`
    origin: Tensor,
}

impl Own {
    fn of(x: &Tensor, features: usize) -> Result<Own> {
        let row = |t: &Tensor| t.reshape([1, features]);
        if x.numel() == 0 {
            // Zeros that depend on x: the gradient waits for this rank as for all others.
            let nothing = row(&x.sum(0..x.rank() as isize - 1, true)?)?;
            let origin = no_grad(|| nothing.zeros_like())?;
            return Ok(Own { moments: Tensor::concat(&[&nothing, &nothing], 0)?, origin });
        }
        let own = moments(x, &std::array::from_fn(|d| d + 1 < x.rank()))?;
        let moments = Tensor::concat(&[&row(&own.offset)?, &row(&own.variance)?], 0)?;
        Ok(Own { moments, origin: row(&own.origin)? })
    }

    /// Origins, offsets and variances on the host, in f64.
    fn compute(&self) -> Result<Vec<f64>> {
        let all = no_grad(|| Tensor::concat(&[&self.origin, &self.moments.detach()?], 0))?;
        // What somebody holds is kept.
        let costly = costly(&self.moments)?;
        eval(&[&all, &self.moments])?;
        drop(costly);
        match all.dtype() {
            DType::F64 => all.to_vec::<f64>(),
            _ => Ok(all.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        }
    }
}

/// The products and convolutions that a tensor waits for. The backward pass has other evaluations, which would compute them again
/// where they are not kept.
fn costly(of: &Tensor) -> Result<Vec<Tensor>> {
    let (mut seen, mut found) = (IdMap::default(), Vec::new());
    inputs_first(std::iter::once(of), |tensor, expanded| {
        let node = &tensor.0;
        if node.has_value() || !node.tracked || seen.contains_key(&node.id) {
            return Ok(true);
        }
        if expanded {
            seen.insert(node.id, ());
            let inputs: Vec<Spec> = node.with_inputs(|list| list.iter().map(|t| t.0.spec).collect());
            if node.op.flops(&inputs, &node.spec) > 0 {
                found.push(tensor.clone());
            }
        }
        Ok(expanded)
    })?;
    Ok(found)
}

/// The gradient of offset and variance over all ranks `[2, features]`, from those of this rank and what its origin is away from that of
/// all.
///
/// With shares `s` of the samples, `mean = sum(s mean_r)` and `variance = sum(s (variance_r + (mean_r - mean)^2))`. In the second, what
/// the mean contributes is 0: differences from it add up to nothing.
fn vjp(batch: &SharedBatch, share: f64, cx: &Vjp<'_>) -> Result<Grads> {
    // The losses of all ranks depend on the one mean and variance.
    let grad = batch.total(cx.grad)?;
    let row = |t: &Tensor, k| t.slice(0, k, 1);
    let away = ((row(&cx.inputs[0], 0)? + &cx.inputs[1])? - row(cx.output, 0)?)?;
    let of_variance = row(&grad, 1)?;
    let of_mean = (row(&grad, 0)? + ((&of_variance * away)? * 2.0)?)?;
    Ok(vec![Some((Tensor::concat(&[&of_mean, &of_variance], 0)? * share)?), None])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of some numbers joined in another order are equal to the bit where two change places, and right in any order.
    #[test]
    fn parts_are_joined_in_either_direction() {
        let part = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            [n, mean, values.iter().map(|v| (v - mean) * (v - mean)).sum()]
        };
        let joined = |a: &[f64; 3], b: &[f64; 3]| {
            let mut sum = *a;
            sum.add(*b);
            sum
        };
        let values: Vec<f64> = (0..40).map(|k| 1e6 + (f64::from(k) * 0.7).sin()).collect();
        let (a, b, c) = (part(&values[..7]), part(&values[7..9]), part(&values[9..]));
        let none = [0.0; 3];
        for (x, y) in [(&a, &b), (&b, &c), (&a, &none), (&none, &none)] {
            assert_eq!(joined(x, y), joined(y, x));
        }
        assert_eq!(joined(&a, &none), a);
        let whole = part(&values);
        for sum in [joined(&joined(&a, &b), &c), joined(&a, &joined(&c, &b))] {
            assert_eq!(sum[0], 40.0);
            assert!(
                (sum[1] / whole[1] - 1.0).abs() < 1e-15 && (sum[2] / whole[2] - 1.0).abs() < 1e-8,
                "{sum:?}"
            );
        }
    }
}
