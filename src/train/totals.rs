//! Losses and metrics summed over batches, on the device.

use super::history::Evaluation;
use super::outputs::{Computed, Output};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::optim::State;
use crate::shape::Shape;
use crate::tensor::{Tensor, no_grad};
use std::collections::BTreeMap;

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
            let name = if several && !output.name.is_empty() {
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

/// What the sums over rows and the numbers of rows are saved under.
const ROWS: [&str; 2] = ["row_sum", "rows"];

/// Real zeros rather than a repeated scalar: the first step is then like all others.
fn zero(device: Device) -> Result<Tensor> {
    Tensor::from_vec(vec![0.0f32], [0; 0], device)
}

/// A sum that goes on: in f32, and in f64 from the first number on that is f64.
pub(super) fn plus(sum: &Tensor, next: &Tensor) -> Result<Tensor> {
    if sum.dtype() == next.dtype() { sum + next } else { sum.cast(DType::F64)? + next.cast(DType::F64)? }
}

/// Tensors of one type: f64 where one of them is.
pub(super) fn alike(tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let wide = tensors.iter().any(|t| t.dtype() == DType::F64);
    tensors.into_iter().map(|t| if wide { t.cast(DType::F64) } else { Ok(t) }).collect()
}

/// The elements of a tensor of floats.
pub(super) fn floats(t: &Tensor) -> Result<Vec<f64>> {
    match t.dtype() {
        DType::F64 => t.to_vec::<f64>(),
        _ => Ok(t.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
    }
}

/// Sums over the samples so far: f32, but those of losses in f64 are f64.
pub(super) struct Totals {
    /// Of the loss; where outputs have losses that count their rows, of the rest of it.
    loss: Tensor,
    sums: Vec<Tensor>,
    samples: usize,
    /// By output, of losses that count their rows: the sum over these, and how many they are. From the first batch on.
    rows: BTreeMap<usize, [Tensor; 2]>,
}

impl Totals {
    pub fn new(outputs: &[Output], device: Device) -> Result<Totals> {
        // Real zeros here, too.
        let zeros = |shape: &[usize]| Tensor::filled(Shape::new(shape)?, 0.0f32, device);
        let mut sums = Vec::new();
        for (_, quantity) in quantities(outputs) {
            sums.push(match quantity {
                Quantity::Loss(_) => zeros(&[])?,
                Quantity::Metric(i, k) => zeros(&outputs[i].metrics[k].shape())?,
            });
        }
        Ok(Totals { loss: zeros(&[])?, sums, samples: 0, rows: BTreeMap::new() })
    }

    /// Adds a batch. Lazy: [`tensors`](Self::tensors) have to be evaluated.
    pub fn add(&mut self, outputs: &[Output], batch: &Computed, samples: usize) -> Result<()> {
        no_grad(|| {
            if batch.counted.is_empty() {
                self.loss = plus(&self.loss, &(&batch.loss * samples as f64)?)?;
            } else if let Some(plain) = &batch.plain {
                self.loss = plus(&self.loss, &(plain * samples as f64)?)?;
            }
            for (output, (loss, rows)) in batch.losses.iter().zip(&batch.rows).enumerate() {
                let (Some(loss), Some(rows)) = (loss, rows) else { continue };
                let [sum, count] = match self.rows.remove(&output) {
                    Some(known) => known,
                    None => [zero(loss.device())?, zero(loss.device())?],
                };
                let of_batch = (loss * rows.cast(loss.dtype())?)?;
                self.rows.insert(output, [plus(&sum, &of_batch)?, (count + rows)?]);
            }
            for ((_, quantity), total) in quantities(outputs).into_iter().zip(&mut self.sums) {
                let sum = match quantity {
                    Quantity::Loss(i) => match (&batch.losses[i], &batch.rows[i]) {
                        (Some(loss), None) => (loss * samples as f64)?,
                        _ => continue,
                    },
                    Quantity::Metric(i, k) => {
                        let metric = &outputs[i].metrics[k];
                        let Some(target) = &batch.targets[i] else { continue };
                        let sum = outputs[i].told(metric.sum(&batch.outputs[i], target), outputs.len())?;
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
                *total = plus(total, &sum)?;
            }
            self.samples += samples;
            Ok(())
        })
    }

    /// Adds sums over other samples.
    pub fn merge(&mut self, other: &Totals) -> Result<()> {
        no_grad(|| {
            self.loss = plus(&self.loss, &other.loss)?;
            for (total, sum) in self.sums.iter_mut().zip(&other.sums) {
                *total = plus(total, sum)?;
            }
            for (&output, [other_sum, other_count]) in &other.rows {
                let [sum, count] = match self.rows.remove(&output) {
                    Some(known) => known,
                    None => [zero(other_sum.device())?, zero(other_sum.device())?],
                };
                self.rows.insert(output, [plus(&sum, other_sum)?, (count + other_count)?]);
            }
            self.samples += other.samples;
            Ok(())
        })
    }

    /// The same sums over so many samples with these values: as many as [`tensors`](Self::tensors), in their order.
    pub fn with_values(mut self, samples: usize, values: Vec<Tensor>) -> Totals {
        let slots =
            std::iter::once(&mut self.loss).chain(&mut self.sums).chain(self.rows.values_mut().flatten());
        slots.zip(values).for_each(|(slot, value)| *slot = value);
        Totals { samples, ..self }
    }

    /// The mean of the part of the loss that isn't a mean over rows, lazily.
    pub fn plain_loss(&self) -> Result<Tensor> {
        &self.loss / self.samples.max(1) as f64
    }

    /// The sum of an output's loss over the rows that count, and how many these are.
    pub fn rows_of(&self, output: usize) -> Option<&[Tensor; 2]> {
        self.rows.get(&output)
    }

    /// What has to be evaluated along with the batch.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.loss).chain(&self.sums).chain(self.rows.values().flatten())
    }

    /// Samples so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The elements of all sums, brought over together: a wait for each would be one too many.
    fn values(&self) -> Result<Vec<Vec<f64>>> {
        let all = alike(self.tensors().map(|t| t.flatten(0)).collect::<Result<_>>()?)?;
        let joined = match &all[..] {
            [one] => one.clone(),
            _ => no_grad(|| Tensor::concat(&all, 0))?,
        };
        let joined = floats(&joined)?;
        let mut rest = &joined[..];
        let mut values = Vec::with_capacity(all.len());
        for part in &all {
            let (part, after) = rest.split_at(part.numel().min(rest.len()));
            values.push(part.to_vec());
            rest = after;
        }
        Ok(values)
    }

    /// The sums that the loss is made of, as [`mean_loss`](Self::mean_loss) takes them.
    pub fn loss_sums(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.loss).chain(self.rows.values().flatten())
    }

    /// The mean loss over so many samples with these sums.
    pub fn mean_loss(&self, outputs: &[Output], sums: &[f64], samples: usize) -> f64 {
        let mut loss = sums.first().map_or(f64::NAN, |sum| sum / samples as f64);
        for (&output, of_rows) in self.rows.keys().zip(sums.get(1..).unwrap_or_default().chunks(2)) {
            if outputs[output].weight != 0.0 {
                loss += outputs[output].weight * (of_rows[0] / of_rows[1].max(1.0));
            }
        }
        loss
    }

    /// The means over all samples so far. Waits for the device.
    pub fn read(&self, outputs: &[Output], seconds: f64) -> Result<Evaluation> {
        Ok(self.read_sums(outputs, seconds)?.0)
    }

    /// As [`read`](Self::read), with the sums that the loss is made of.
    pub fn read_sums(&self, outputs: &[Output], seconds: f64) -> Result<(Evaluation, Vec<f64>)> {
        let mut values = self.values()?.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let scalar = |values: Vec<f64>| values.first().copied().unwrap_or(f64::NAN);
        let mean = |sum: Vec<f64>| scalar(sum) / self.samples as f64;
        let mut parts = vec![scalar(next())];
        let sums: Vec<Vec<f64>> = self.sums.iter().map(|_| next()).collect();
        let mut of_rows = BTreeMap::new();
        for &output in self.rows.keys() {
            let (sum, count) = (scalar(next()), scalar(next()));
            of_rows.insert(output, sum / count.max(1.0));
            parts.extend([sum, count]);
        }
        let loss = self.mean_loss(outputs, &parts, self.samples);
        let mut metrics = Vec::new();
        for ((name, quantity), sum) in quantities(outputs).into_iter().zip(sums) {
            let value = match quantity {
                Quantity::Loss(i) => match of_rows.get(&i) {
                    Some(&of_output) => of_output,
                    None => mean(sum),
                },
                Quantity::Metric(i, k) => {
                    let sum: Vec<f32> = sum.into_iter().map(|v| v as f32).collect();
                    outputs[i].metrics[k].result(&sum, self.samples)
                }
            };
            metrics.push((name, value));
        }
        Ok((Evaluation { loss, metrics, samples: self.samples, seconds }, parts))
    }

    #[cfg(test)]
    pub fn set_for_test(&mut self, loss: f32, samples: usize) {
        self.loss = Tensor::from_vec(vec![loss], [0; 0], self.loss.device()).unwrap();
        self.samples = samples;
    }

    /// The sums by name, to be saved in the middle of an epoch.
    pub fn export(&self, outputs: &[Output]) -> State {
        let sums = std::iter::once(&self.loss).chain(&self.sums).cloned();
        let named = names(outputs).into_iter().zip(sums);
        let mut state: State = named.map(|(name, sum)| (format!("sum/{name}"), sum)).collect();
        for (output, parts) in &self.rows {
            let named = ROWS.iter().zip(parts);
            state.extend(named.map(|(part, tensor)| (format!("{part}/{output}"), tensor.clone())));
        }
        state
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
                Some((_, sum)) if sum.shape() == slot.shape() && sum.dtype().is_float() => {
                    *slot = sum.to_device(device)?;
                }
                _ => return Ok(None),
            }
        }
        for output in 0..outputs.len() {
            let entry = |part: &str| {
                let name = format!("{part}/{output}");
                let found = state.iter().find(|(other, sum)| *other == name && sum.rank() == 0);
                found.map(|(_, sum)| sum.to_device(device)).transpose()
            };
            if let (Some(sum), Some(count)) = (entry(ROWS[0])?, entry(ROWS[1])?) {
                totals.rows.insert(output, [sum, count]);
            }
        }
        totals.samples = samples;
        Ok(Some(totals))
    }
}
