//! A step whose batch is cut into shards, which several processes may share.

use super::accumulation::join;
use super::outputs::{ClassWeights, Output, Over, compute};
use super::own_step::{Shared, Updates};
use super::sharing::Sharing;
use super::totals::{Totals, plus};
use super::trainer::Trainer;
use crate::autograd::Gradients;
use crate::backend::eval;
use crate::data::Batch;
use crate::device::Device;
use crate::distributed::{Collective, Layout, Numbers};
use crate::error::{Error, Result};
use crate::nn::{Context, Module};
use crate::ops::index::select_within;
use crate::ops::random::iota;
use crate::optim::Optimizer;
use crate::seed;
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use std::ops::Range;
use std::sync::Arc;

/// What the tensors of a shard are, in their order: gradients by what they are divided by, sums of losses and metrics, and what
/// layers keep.
struct Contents {
    gradients: Vec<(Over, Vec<Variable>)>,
    totals: Totals,
    kept: Vec<Variable>,
}

impl<M: Module> Trainer<M> {
    /// Shares the steps of every [`fit`](Self::fit) and [`evaluate`](Self::evaluate) with the ranks of a group: see
    /// [`distributed`](crate::distributed), which has an example. All ranks then call these, with the same model, data and settings.
    ///
    /// Each step's batch is cut into [`shards`](super::Fit::shards), as many as there are ranks where nothing else is said; the loss
    /// and all gradients are those of the whole batch, up to rounding. Layers that look at a batch
    /// ([`BatchNorm`](crate::nn::BatchNorm)) see a shard, or all of it where that is
    /// [wanted](crate::nn::BatchNorm::synchronized); what they keep, such as moving averages, is the mean of all shards
    /// after each step. A loss is taken for a mean over samples: one of your own that is a sum, or an
    /// [added](crate::nn::Context::add_loss) one, comes out as that of a shard. Dropout draws for each shard by itself. Progress is
    /// shown and files are written on rank 0 alone; an interruption of one rank ends the run on all, after the step in which they hear
    /// of it.
    pub fn distributed(&mut self, world: impl Collective + 'static) {
        self.world = Some(Arc::new(world));
        // Those of the last fit were for another group.
        self.shards = None;
    }

    /// Queues one step whose batch is cut into shards; gives its loss. Waits for the device, once.
    pub(super) fn sharded_step(
        &mut self,
        sharing: &Sharing,
        batch: Batch,
        weights: &mut ClassWeights,
        totals: &mut Totals,
    ) -> Result<Tensor> {
        let samples = batch.samples();
        self.compare_first_batch(&*sharing.world, &batch)?;
        if self.own.is_some() {
            return self.shared_own_step(sharing, batch, totals);
        }
        let seed = seed::derive(self.seed, 2 * self.at.steps + 1);
        let Vectors { contents, layout, mine } = of_shards(sharing, &batch, |shard, part, counts| {
            let cx = Context::train(seed::derive(seed, shard as u64)).sharing(sharing.batch(counts));
            self.shard(part, &cx, weights)
        })?;
        drop(batch);
        let sum = self.sum_with_wishes(sharing, &layout, mine)?;
        let active = sharing.shards.min(samples);
        no_grad(|| self.apply(contents, layout.unpack(sum, self.device)?, samples, active, totals))
    }

    /// The sum over all shards; this rank's wishes go along with it, and those of others are heard.
    fn sum_with_wishes(
        &mut self,
        sharing: &Sharing,
        layout: &Layout,
        mine: Vec<(usize, Tensor)>,
    ) -> Result<Numbers> {
        let wishes = [self.wishes.interrupt, self.wishes.stop].map(|wish| if wish { 1.0 } else { 0.0 });
        let mut sum = layout.sum(&*sharing.world, sharing.shards, mine, &wishes)?;
        let heard = sum.take_last(wishes.len());
        self.wishes.agreed_interrupt |= heard[0] > 0.0;
        self.wishes.agreed_stop |= heard[1] > 0.0;
        Ok(sum)
    }

    /// One step of one's own: each rank takes its part of the batch, and each update waits for the gradients of all.
    fn shared_own_step(&mut self, sharing: &Sharing, batch: Batch, totals: &mut Totals) -> Result<Tensor> {
        let samples = batch.samples();
        let Some((shard, rows)) = sharing.own(samples).next() else {
            return Err(Error::internal("a rank has no shard"));
        };
        // Where a rank has no samples, it takes part with one that doesn't count.
        let counted = rows.len();
        let part = cut(&batch, if counted == 0 { 0..1 } else { rows })?;
        drop(batch);
        let seed = seed::derive(self.seed, 2 * self.at.steps + 1);
        let cx = Context::train(seed::derive(seed, shard as u64)).sharing(sharing.batch(counted > 0));
        let mut kept = self.buffers();
        let before: Vec<Tensor> = kept.iter().map(Variable::value).collect();
        let Some(own) = &self.own else { return Err(Error::internal("there is no step of one's own")) };
        let shared = Some(Shared { world: &*sharing.world, counted, samples });
        let updates = Updates { optimizers: &mut self.optimizer, accumulation: None, shared };
        let (computed, mut pending) = own.compute(&self.model, &self.outputs, Some(updates), &part, &cx)?;
        drop(part);
        let mut of_part = Totals::new(&self.outputs, self.device)?;
        of_part.add(&self.outputs, &computed, counted)?;
        drop(computed);
        let count = of_part.tensors().count();
        let mut tensors: Vec<Tensor> = of_part.tensors().cloned().collect();
        let mut after: Vec<Tensor> = kept.iter().map(Variable::value).collect();
        only_changed(&mut kept, &before, &mut after);
        tensors.extend(after);
        let layout = Layout::of(&tensors);
        let flat = no_grad(|| layout.pack(&tensors))?;
        pending.push(flat.clone());
        eval(&pending.iter().collect::<Vec<_>>())?;
        drop((tensors, pending));
        let mine = if counted == 0 { Vec::new() } else { vec![(shard, flat)] };
        let sum = self.sum_with_wishes(sharing, &layout, mine)?;
        no_grad(|| {
            let mut sums = layout.unpack(sum, self.device)?.into_iter();
            let of_batch = of_part.with_values(samples, sums.by_ref().take(count).collect());
            let loss = of_batch.plain_loss()?;
            self.finish_step(of_batch, loss, (kept, sums), sharing.shards.min(samples), Vec::new(), totals)
        })
    }

    /// What layers keep beside weights.
    fn buffers(&self) -> Vec<Variable> {
        let float = |v: &Variable| v.value().dtype().is_float();
        let buffers = self.model.parameters().into_iter().filter(|p| p.buffer).map(|p| p.variable);
        buffers.filter(float).collect()
    }

    /// Everything that a shard adds, lazily.
    fn shard(
        &self,
        batch: &Batch,
        cx: &Context,
        weights: &mut ClassWeights,
    ) -> Result<(Contents, Vec<Tensor>)> {
        let samples = batch.samples();
        let mut kept = self.buffers();
        let before: Vec<Tensor> = kept.iter().map(Variable::value).collect();
        let computed = compute(&self.model, &self.outputs, batch, cx, weights);
        let mut after: Vec<Tensor> = kept.iter().map(Variable::value).collect();
        // Each shard begins where the step does.
        for (variable, value) in kept.iter().zip(&before) {
            variable.set(value)?;
        }
        let mut computed = computed?;
        only_changed(&mut kept, &before, &mut after);
        let (mut gradients, mut tensors) = (Vec::new(), Vec::new());
        for (over, grads) in computed.gradient_sums(samples)? {
            // Of all variables that have one, those of one's own loss too, each once.
            let mut of = Vec::new();
            for (variable, grad) in grads.variables() {
                tensors.push(grad);
                of.push(variable);
            }
            gradients.push((over, of));
        }
        computed.detach()?;
        let mut totals = Totals::new(&self.outputs, self.device)?;
        totals.add(&self.outputs, &computed, samples)?;
        tensors.extend(totals.tensors().cloned());
        tensors.extend(after);
        Ok((Contents { gradients, totals, kept }, tensors))
    }

    /// Uses what all shards add up to.
    fn apply(
        &mut self,
        contents: Contents,
        sums: Vec<Tensor>,
        samples: usize,
        active: usize,
        totals: &mut Totals,
    ) -> Result<Tensor> {
        let mut sums = sums.into_iter();
        let of_parts: Vec<(Over, Vec<(Variable, Tensor)>)> = contents
            .gradients
            .into_iter()
            .map(|(over, variables)| (over, variables.into_iter().zip(sums.by_ref()).collect()))
            .collect();
        let count = contents.totals.tensors().count();
        let of_batch = contents.totals.with_values(samples, sums.by_ref().take(count).collect());
        let loss = weighted_loss(&self.outputs, &of_batch)?;
        let mut means = Vec::new();
        for (over, grads) in of_parts {
            let mean = |sum: &Tensor| match over {
                Over::Samples => sum / samples as f64,
                Over::Rows(output) => {
                    let [_, rows] = of_batch.rows_of(output).ok_or_else(|| Error::internal("no rows"))?;
                    sum / rows.maximum(1.0)?.cast(sum.dtype())?
                }
            };
            let grads = grads.iter().map(|(v, sum)| Ok((v.clone(), mean(sum)?))).collect::<Result<_>>()?;
            means.push(Gradients::of_variables(grads, loss.clone()));
        }
        let Some(grads) = join(means)? else { return Err(Error::internal("a step without gradients")) };
        let pending = self.optimizer.update(&grads)?;
        self.finish_step(of_batch, loss, (contents.kept, sums), active, pending, totals)
    }

    /// Sets what layers keep to the means over shards, adds the sums of the batch, and has all of it computed.
    fn finish_step(
        &mut self,
        of_batch: Totals,
        loss: Tensor,
        (kept, sums): (Vec<Variable>, impl Iterator<Item = Tensor>),
        active: usize,
        mut pending: Vec<Tensor>,
        totals: &mut Totals,
    ) -> Result<Tensor> {
        for (variable, sum) in kept.iter().zip(sums) {
            variable.set((sum / active as f64)?)?;
            pending.push(variable.value());
        }
        totals.merge(&of_batch)?;
        drop(of_batch);
        pending.extend(totals.tensors().cloned());
        pending.push(loss.clone());
        eval(&pending.iter().collect::<Vec<_>>())?;
        self.at.steps += 1;
        Ok(loss)
    }

    /// Measures a batch that is cut into shards.
    pub(super) fn sharded_test(&self, sharing: &Sharing, batch: &Batch, totals: &mut Totals) -> Result<()> {
        let Vectors { contents: of_batch, layout, mine } = of_shards(sharing, batch, |_, part, _| {
            let mut of_shard = Totals::new(&self.outputs, self.device)?;
            self.measure(part, &mut of_shard)?;
            let tensors = of_shard.tensors().cloned().collect();
            Ok((of_shard, tensors))
        })?;
        no_grad(|| {
            let sum = layout.sum(&*sharing.world, sharing.shards, mine, &[])?;
            totals.merge(&of_batch.with_values(batch.samples(), layout.unpack(sum, self.device)?))
        })?;
        eval(&totals.tensors().collect::<Vec<_>>())
    }
}

/// Flat vectors of this rank's shards, by their numbers, and what each is made of.
struct Vectors<T> {
    contents: T,
    layout: Layout,
    mine: Vec<(usize, Tensor)>,
}

/// This rank's shards as flat vectors, each computed before the next is begun, and what they are made of. A shard without samples adds
/// nothing: it is only described, by a sample that isn't computed, where there is no other to do that.
fn of_shards<T>(
    sharing: &Sharing,
    batch: &Batch,
    mut contents: impl FnMut(usize, &Batch, bool) -> Result<(T, Vec<Tensor>)>,
) -> Result<Vectors<T>> {
    let (mut described, mut mine) = (None, Vec::new());
    for (shard, rows) in sharing.own(batch.samples()) {
        let empty = rows.is_empty();
        if empty && described.is_some() {
            continue;
        }
        let (contents, tensors) = contents(shard, &cut(batch, if empty { 0..1 } else { rows })?, !empty)?;
        let layout = Layout::of(&tensors);
        let flat = no_grad(|| layout.pack(&tensors))?;
        drop(tensors);
        described = Some((contents, layout));
        if !empty {
            eval(&[&flat])?;
            mine.push((shard, flat));
        }
    }
    let (contents, layout) = described.ok_or_else(|| Error::internal("a rank has no shard"))?;
    Ok(Vectors { contents, layout, mine })
}

/// The loss of a batch out of its sums.
fn weighted_loss(outputs: &[Output], of_batch: &Totals) -> Result<Tensor> {
    let mut loss = of_batch.plain_loss()?;
    for (i, output) in outputs.iter().enumerate().filter(|(_, output)| output.weight != 0.0) {
        if let Some([sum, rows]) = of_batch.rows_of(i) {
            let mean = (sum / rows.maximum(1.0)?.cast(sum.dtype())?)?;
            loss = plus(&loss, &(mean * output.weight)?)?;
        }
    }
    Ok(loss)
}

/// Leaves out what a step has not changed: frozen weights and constants, of which a mean could be another number.
fn only_changed(kept: &mut Vec<Variable>, before: &[Tensor], after: &mut Vec<Tensor>) {
    let changed: Vec<bool> = before.iter().zip(&*after).map(|(a, b)| !a.is_same(b)).collect();
    let mut flags = changed.iter();
    kept.retain(|_| flags.next() == Some(&true));
    let mut flags = changed.iter();
    after.retain(|_| flags.next() == Some(&true));
}

/// Some samples of a batch, by index: where they begin is a number that a plan is given, not part of it.
fn cut(batch: &Batch, rows: Range<usize>) -> Result<Batch> {
    if let Some((what, other)) = batch.of_other_rows() {
        let message = format!(
            "got {what} of {} in a batch of {} samples; the first dimension counts samples, of all alike",
            other.shape(),
            batch.samples()
        );
        return Err(Error::shape("Trainer", message));
    }
    if batch.samples() == 0 {
        return Err(Error::argument("Trainer", "the batch has no samples"));
    }
    let index = |device: Device| iota(rows.len(), device)? + rows.start;
    let cut = |t: &Tensor| select_within(t, 0, &index(t.device())?);
    no_grad(|| {
        let mut part = batch.clone();
        part.inputs = batch.inputs.iter().map(cut).collect::<Result<_>>()?;
        part.targets = batch.targets.iter().map(cut).collect::<Result<_>>()?;
        part.weights = batch.weights.as_ref().map(cut).transpose()?;
        Ok(part)
    })
}
