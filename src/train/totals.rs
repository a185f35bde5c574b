//! Loss and metrics summed over batches, on the device.

use super::history::Evaluation;
use super::metric::Metric;
use crate::autograd::no_grad;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::time::Duration;

/// Sums over the samples so far.
pub(super) struct Totals {
    loss: Tensor,
    metrics: Vec<Tensor>,
    samples: usize,
}

impl Totals {
    pub fn new(metrics: &[Box<dyn Metric>], device: Device) -> Result<Totals> {
        // Real zeros rather than a repeated scalar: the first step is then like all others.
        let zeros = |shape: &[usize]| Tensor::from_vec(vec![0.0f32; shape.iter().product()], shape, device);
        let sums = metrics.iter().map(|m| zeros(&m.shape())).collect::<Result<_>>()?;
        Ok(Totals { loss: zeros(&[])?, metrics: sums, samples: 0 })
    }

    /// Adds a batch. Lazy: [`tensors`](Self::tensors) have to be evaluated.
    pub fn add(
        &mut self,
        metrics: &[Box<dyn Metric>],
        loss: &Tensor,
        outputs: &Tensor,
        targets: &Tensor,
        samples: usize,
    ) -> Result<()> {
        no_grad(|| {
            self.loss = (&self.loss + (loss * samples as f64)?)?;
            for (metric, total) in metrics.iter().zip(&mut self.metrics) {
                let sum = metric.sum(outputs, targets)?;
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
                *total = (&*total + sum)?;
            }
            self.samples += samples;
            Ok(())
        })
    }

    /// What has to be evaluated along with the batch.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.loss).chain(&self.metrics)
    }

    /// The means over all samples so far. Waits for the device.
    pub fn read(&self, metrics: &[Box<dyn Metric>], time: Duration) -> Result<Evaluation> {
        let loss = f64::from(self.loss.item::<f32>()?) / self.samples as f64;
        let mut results = Vec::new();
        for (metric, sum) in metrics.iter().zip(&self.metrics) {
            results.push((metric.name().to_string(), metric.result(&sum.to_vec::<f32>()?, self.samples)));
        }
        Ok(Evaluation { loss, metrics: results, samples: self.samples, seconds: time.as_secs_f64() })
    }
}
