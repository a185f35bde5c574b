//! Gradients of one's own training loop, over all ranks.

use super::collective::{Collective, telling};
use super::sum::sum;
use crate::autograd::Gradients;
use crate::cpu::Element;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use std::collections::BTreeMap;

impl Gradients {
    /// The mean over all ranks of these gradients and of the loss: for one's own training loop, between `backward` and the optimizer's
    /// step. Waits for the device.
    ///
    /// Each rank has computed the mean over as many samples as the others, from parameters that are the same on all. The sum is made in
    /// an order that depends on the number of ranks alone.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::distributed::Alone; // or Mpi::world()?
    /// # fn main() -> Result<()> {
    /// let w = Variable::new(Tensor::new([1.0f32, 2.0], Device::Cpu)?);
    /// let mut sgd = Sgd::new(0.5);
    /// let grads = w.value().square()?.sum(.., false)?.backward()?;
    /// sgd.step(&grads.all_reduce(&Alone)?)?;
    /// assert_eq!(w.value().to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A rank has left or failed, or has gradients of other sizes; the device fails.
    pub fn all_reduce(&self, world: &dyn Collective) -> Result<Gradients> {
        telling(world, self.sum_over(world, world.size() as f64, true))
    }

    /// The sum over all ranks of these gradients and of the loss, divided by a number. Those of a rank that doesn't count are left out.
    pub(crate) fn sum_over(&self, world: &dyn Collective, divisor: f64, counts: bool) -> Result<Gradients> {
        let variables = self.variables();
        let ranks = world.size();
        let mut tensors: Vec<Tensor> = variables.iter().map(|(_, grad)| grad.clone()).collect();
        tensors.push(self.loss().clone());
        let layout = Layout::of(&tensors);
        let flat = no_grad(|| layout.pack(&tensors))?;
        let total =
            layout.sum(world, ranks, counts.then_some((world.rank(), flat)).into_iter().collect(), &[])?;
        no_grad(|| {
            let mut means = layout.unpack(total, self.loss().device())?;
            for mean in &mut means {
                *mean = (&*mean / divisor)?;
            }
            let loss = means.pop().ok_or_else(|| Error::internal("a sum without a loss"))?;
            let grads: Vec<(Variable, Tensor)> =
                variables.into_iter().map(|(variable, _)| variable).zip(means).collect();
            Ok(Gradients::of_variables(grads, loss))
        })
    }
}

/// Where tensors are in one flat vector. Its numbers are f64 where one of them has such, else f32; so are whole numbers.
pub(crate) struct Layout {
    tensors: Vec<(Vec<usize>, DType)>,
    dtype: DType,
    len: usize,
}

impl Layout {
    pub fn of(tensors: &[Tensor]) -> Layout {
        let described: Vec<_> = tensors.iter().map(|t| (t.dims().to_vec(), t.dtype())).collect();
        let wide = described.iter().any(|(_, dtype)| *dtype == DType::F64);
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let len = tensors.iter().map(Tensor::numel).sum();
        Layout { tensors: described, dtype, len }
    }

    /// The tensors, one after the other, lazily.
    pub fn pack(&self, tensors: &[Tensor]) -> Result<Tensor> {
        let flat: Vec<Tensor> = tensors
            .iter()
            .map(|t| t.detach()?.cast(self.dtype)?.reshape([t.numel()]))
            .collect::<Result<_>>()?;
        Tensor::concat(&flat, 0)
    }

    /// Reads flat vectors of this rank's shards, and adds them and those of all others. `wishes` are further numbers that this rank
    /// adds, which stand behind the others in the sum; those of a rank without a vector don't count.
    pub fn sum(
        &self,
        world: &dyn Collective,
        shards: usize,
        mine: Vec<(usize, Tensor)>,
        wishes: &[f32],
    ) -> Result<Numbers> {
        let len = self.len + wishes.len();
        match self.dtype {
            DType::F64 => Ok(Numbers::F64(sum(world, shards, len, read(mine, wishes)?)?)),
            _ => Ok(Numbers::F32(sum(world, shards, len, read(mine, wishes)?)?)),
        }
    }

    /// The tensors of a sum, on a device, lazily.
    pub fn unpack(&self, sum: Numbers, device: Device) -> Result<Vec<Tensor>> {
        let flat = sum.tensor(&[self.len], device)?;
        let mut start = 0;
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for (dims, dtype) in &self.tensors {
            let len: usize = dims.iter().product();
            let part = flat.slice(0, start, len)?;
            tensors.push(part.reshape(dims.as_slice())?.cast(*dtype)?);
            start += len;
        }
        Ok(tensors)
    }
}

/// The vectors of this rank's shards on the host, the first with the wishes, the others with zeros in their places.
fn read<T: Element + From<f32>>(
    mine: Vec<(usize, Tensor)>,
    wishes: &[f32],
) -> Result<BTreeMap<usize, Vec<T>>> {
    let mut vectors = BTreeMap::new();
    for (shard, flat) in mine {
        let mut values = flat.to_vec::<T>()?;
        let first = vectors.is_empty();
        values.extend(wishes.iter().map(|&wish| T::from(if first { wish } else { 0.0 })));
        vectors.insert(shard, values);
    }
    Ok(vectors)
}

/// A sum over all shards.
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Numbers {
    /// As a tensor of a shape.
    pub fn tensor(self, dims: &[usize], device: Device) -> Result<Tensor> {
        match self {
            Numbers::F32(values) => Tensor::from_vec(values, dims, device),
            Numbers::F64(values) => Tensor::from_vec(values, dims, device),
        }
    }

    /// Takes so many off its end.
    pub fn take_last(&mut self, count: usize) -> Vec<f64> {
        match self {
            Numbers::F32(values) => {
                values.split_off(values.len().saturating_sub(count)).into_iter().map(f64::from).collect()
            }
            Numbers::F64(values) => values.split_off(values.len().saturating_sub(count)),
        }
    }
}
