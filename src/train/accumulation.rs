//! Gradients of several batches as those of the one batch that holds them all.

use super::outputs::{Computed, Over};
use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::optim::{Count, GradientAccumulator, State, part_of, under};
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;
use std::collections::BTreeMap;

/// Sums of gradients, and what each is divided by.
///
/// The one batch's loss is a mean over all samples, or, of an output whose loss ignores some rows, over the rows that count.
/// These are divided by different numbers, which are known only when the last batch has come: each is summed by itself.
pub(super) struct Accumulation {
    batches: usize,
    by_samples: GradientAccumulator,
    /// By the number of the output; of a step of one's own, by that of the optimizer.
    by_rows: BTreeMap<usize, GradientAccumulator>,
}

impl Accumulation {
    /// Gives the mean after this many batches.
    pub fn new(batches: usize) -> Accumulation {
        Accumulation { batches, by_samples: GradientAccumulator::new(batches), by_rows: BTreeMap::new() }
    }

    /// Adds the gradients of a batch. Gives the mean if it is the last; else [`pending`](Self::pending) is to be evaluated.
    pub fn add(&mut self, batch: &Computed, samples: usize) -> Result<Option<Gradients>> {
        let mut means = Vec::new();
        for (over, grads) in batch.gradient_sums(samples)? {
            let (sums, count) = match over {
                Over::Samples => (&mut self.by_samples, Count::Known(samples as f64)),
                Over::Rows(output) => {
                    let Some(rows) = batch.rows[output].clone() else {
                        return Err(Error::internal("a loss counts rows, and there are none"));
                    };
                    let batches = self.batches;
                    let sums =
                        self.by_rows.entry(output).or_insert_with(|| GradientAccumulator::new(batches));
                    (sums, Count::Rows(rows))
                }
            };
            means.extend(sums.add_sum(&grads, count)?);
        }
        join(means)
    }

    /// Adds the gradients of what an optimizer minimises in a step of one's own, multiplied by the samples. Gives the mean if the batch is
    /// the last; [`pending_of`](Self::pending_of) is to be evaluated.
    pub fn add_part(&mut self, part: usize, sums: &Gradients, samples: usize) -> Result<Option<Gradients>> {
        let of_part = self.by_rows.entry(part).or_insert_with(|| GradientAccumulator::new(self.batches));
        of_part.add_sum(sums, Count::Known(samples as f64))
    }

    /// What has to be evaluated after each batch, of one part.
    pub fn pending_of(&self, part: usize) -> Vec<Tensor> {
        self.by_rows.get(&part).map(GradientAccumulator::pending).unwrap_or_default()
    }

    /// The mean of each part over the batches so far.
    pub fn take_parts(&mut self) -> Result<Vec<(usize, Gradients)>> {
        let mut means = Vec::new();
        for (part, sums) in &mut self.by_rows {
            means.extend(sums.take()?.map(|mean| (*part, mean)));
        }
        Ok(means)
    }

    /// The mean over the batches so far; `None` where there are none.
    pub fn take(&mut self) -> Result<Option<Gradients>> {
        let mut means = Vec::new();
        for sums in self.all_mut() {
            means.extend(sums.take()?);
        }
        join(means)
    }

    /// What has to be evaluated after each batch.
    pub fn pending(&self) -> Vec<Tensor> {
        self.all().flat_map(|(_, sums)| sums.pending()).collect()
    }

    /// Batches that the current sums have.
    pub fn count(&self) -> usize {
        self.all().map(|(_, sums)| sums.count()).max().unwrap_or(0)
    }

    /// All sums, with what their entries in a state begin with.
    fn all(&self) -> impl Iterator<Item = (String, &GradientAccumulator)> {
        let by_rows = self.by_rows.iter().map(|(output, sums)| (prefix(*output), sums));
        std::iter::once((String::new(), &self.by_samples)).chain(by_rows)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut GradientAccumulator> {
        std::iter::once(&mut self.by_samples).chain(self.by_rows.values_mut())
    }

    /// The current sums of these named variables.
    pub fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        let mut state = State::new();
        for (prefix, sums) in self.all() {
            state.extend(under(&prefix, sums.export_state(variables)?));
        }
        Ok(state)
    }

    /// Takes over what [`export_state`](Self::export_state) gave, of so many outputs or optimizers.
    pub fn import_state(
        &mut self,
        variables: &[(String, Variable)],
        state: &State,
        outputs: usize,
    ) -> Result<()> {
        self.by_samples.import_state(variables, state)?;
        for output in 0..outputs {
            let part = part_of(state, &prefix(output));
            if !part.is_empty() {
                let mut sums = GradientAccumulator::new(self.batches);
                sums.import_state(variables, &part)?;
                self.by_rows.insert(output, sums);
            }
        }
        Ok(())
    }
}

fn prefix(output: usize) -> String {
    format!("output{output}/")
}

/// The gradients of a sum of losses.
pub(super) fn join(mut parts: Vec<Gradients>) -> Result<Option<Gradients>> {
    if parts.len() < 2 {
        return Ok(parts.pop());
    }
    no_grad(|| {
        let mut sums: BTreeMap<u64, (Variable, Tensor)> = BTreeMap::new();
        let mut loss: Option<Tensor> = None;
        for part in &parts {
            for (variable, grad) in part.variables() {
                let sum = match sums.remove(&variable.id()) {
                    Some((_, sum)) => (sum + grad)?,
                    None => grad,
                };
                sums.insert(variable.id(), (variable, sum));
            }
            loss = Some(match loss {
                Some(sum) => (sum + part.loss())?,
                None => part.loss().clone(),
            });
        }
        Ok(loss.map(|loss| Gradients::of_variables(sums.into_values().collect(), loss)))
    })
}
