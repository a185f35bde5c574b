//! Losses and metrics summed over batches, on the device.

use super::history::Evaluation;
use super::outputs::{Computed, Output};
use crate::autograd::no_grad;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::optim::State;
use crate::tensor::Tensor;

/// One of the numbers that are shown.
#[derive(Clone, Copy)]
enum Quantity {
    /// The loss of an output, before it is multiplied by its weight.
    Loss(usize),
    /// A metric of an output, by its place among them.
    Metric(usize, usize),
}

/// What is summed beside the total loss, with the names that are shown. As in Keras, names begin with the output's, and
/// there are losses of single outputs, where the model has several outputs.
fn quantities(outputs: &[Output]) -> Vec<(String, Quantity)> {
    let several = outputs.len() > 1;
    let mut all = Vec::new();
    for (i, output) in outputs.iter().enumerate() {
        if several && output.loss.is_some() {
            all.push((format!("{}_loss", output.name), Quantity::Loss(i)));
        }
    }
    for (i, output) in outputs.iter().enumerate() {
        for (k, metric) in output.metrics.iter().enumerate() {
            let name = if several {
                format!("{}_{}", output.name, metric.name())
            } else {
                metric.name().to_string()
            };
            all.push((name, Quantity::Metric(i, k)));
        }
    }
    all
}

/// The names of everything that is shown for a data set, the loss first.
pub(super) fn names(outputs: &[Output]) -> Vec<String> {
    std::iter::once("loss".into()).chain(quantities(outputs).into_iter().map(|(name, _)| name)).collect()
}

/// Sums over the samples so far.
pub(super) struct Totals {
    loss: Tensor,
    sums: Vec<Tensor>,
    samples: usize,
}

impl Totals {
    pub fn new(outputs: &[Output], device: Device) -> Result<Totals> {
        // Real zeros rather than a repeated scalar: the first step is then like all others.
        let zeros = |shape: &[usize]| Tensor::from_vec(vec![0.0f32; shape.iter().product()], shape, device);
        let mut sums = Vec::new();
        for (_, quantity) in quantities(outputs) {
            sums.push(match quantity {
                Quantity::Loss(_) => zeros(&[])?,
                Quantity::Metric(i, k) => zeros(&outputs[i].metrics[k].shape())?,
            });
        }
        Ok(Totals { loss: zeros(&[])?, sums, samples: 0 })
    }

    /// Adds a batch. Lazy: [`tensors`](Self::tensors) have to be evaluated.
    pub fn add(&mut self, outputs: &[Output], batch: &Computed, samples: usize) -> Result<()> {
        no_grad(|| {
            self.loss = (&self.loss + (&batch.loss * samples as f64)?)?;
            for ((_, quantity), total) in quantities(outputs).into_iter().zip(&mut self.sums) {
                let sum = match quantity {
                    Quantity::Loss(i) => match &batch.losses[i] {
                        Some(loss) => (loss * samples as f64)?,
                        None => continue,
                    },
                    Quantity::Metric(i, k) => {
                        let metric = &outputs[i].metrics[k];
                        let Some(target) = &batch.targets[i] else { continue };
                        let sum = metric.sum(&batch.outputs[i], target)?;
                        if sum.shape() != total.shape() || sum.dtype() != total.dtype() {
                            let message = format!(
                                "the metric {} gave {} {}, its shape() says f32 {}",
                                metric.name(),
                                sum.dtype(),
                                sum.shape(),
                                total.shape()
                            );
                            return Err(Error::shape("Metric::sum", message));
                        }
                        sum
                    }
                };
                *total = (&*total + sum)?;
            }
            self.samples += samples;
            Ok(())
        })
    }

    /// What has to be evaluated along with the batch.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.loss).chain(&self.sums)
    }

    /// Samples so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The means over all samples so far. Waits for the device.
    pub fn read(&self, outputs: &[Output], seconds: f64) -> Result<Evaluation> {
        let mean = |sum: &Tensor| Ok(f64::from(sum.item::<f32>()?) / self.samples as f64);
        let mut metrics = Vec::new();
        for ((name, quantity), sum) in quantities(outputs).into_iter().zip(&self.sums) {
            let value = match quantity {
                Quantity::Loss(_) => mean(sum)?,
                Quantity::Metric(i, k) => outputs[i].metrics[k].result(&sum.to_vec::<f32>()?, self.samples),
            };
            metrics.push((name, value));
        }
        Ok(Evaluation { loss: mean(&self.loss)?, metrics, samples: self.samples, seconds })
    }

    /// The sums by name, to be saved in the middle of an epoch.
    pub fn export(&self, outputs: &[Output]) -> State {
        let named = names(outputs).into_iter().zip(self.tensors().cloned());
        named.map(|(name, sum)| (format!("sum/{name}"), sum)).collect()
    }

    /// The sums that [`export`](Self::export) gave; `None` where other numbers were shown then.
    pub fn import(
        outputs: &[Output],
        device: Device,
        state: &State,
        samples: usize,
    ) -> Result<Option<Totals>> {
        let mut totals = Totals::new(outputs, device)?;
        let slots = std::iter::once(&mut totals.loss).chain(&mut totals.sums);
        for (name, slot) in names(outputs).into_iter().zip(slots) {
            let name = format!("sum/{name}");
            match state.iter().find(|(other, _)| *other == name) {
                Some((_, sum)) if sum.shape() == slot.shape() && sum.dtype() == slot.dtype() => {
                    *slot = sum.to_device(device)?;
                }
                _ => return Ok(None),
            }
        }
        totals.samples = samples;
        Ok(Some(totals))
    }
}
