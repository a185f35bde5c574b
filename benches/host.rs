//! What the host does in a training step (graph, backward, plan look-up, encoding, submission), and whether memory stays
//! flat: `cargo bench --bench host [-- SAMPLES [BATCH]]`, two epochs over so many samples. With 5000 samples and batches
//! of one, that is 10,000 steps.
//!
//! The network is the one of `examples/mnist_cnn.rs`, trained through [`Trainer`] with a metric. The device is idle when a
//! step begins, so that a software driver's threads don't take the host's cores away, and nothing waits inside a step:
//! its wall time is the host's own. Two figures are taken off for the second column: on the CPU, where the calling thread
//! computes, the time of the operations; on a software adapter the submission, in which its threads wake up and take the
//! core away.

mod common;

use common::{devices, network, quantile};
use std::time::Instant;
use wgrad::prelude::*;
use wgrad::train::{Event, Flow};

/// Resident memory of the process in MB, where the system tells it.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages: Option<f64> = pages.and_then(|s| s.split_whitespace().nth(1)?.parse().ok());
    pages.map_or(f64::NAN, |p| p * 4096.0 / 1e6)
}

fn run(device: Device, samples: usize, batch: usize) -> Result<()> {
    let (train, _) = data::synthetic::digits(samples, 1, 1).into_datasets()?;
    let mut trainer =
        Trainer::new(network(device)?, Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits())
            .metric(Accuracy::new())
            .build()?;
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    let mut before = device.stats()?;
    let start = Instant::now();
    let (mut step_number, mut early, mut late) = (0u64, None, None);
    let fit = Fit::epochs(2).batch_size(batch).verbose(false).callback(|event| {
        if let Event::Step(step) = event {
            let now = device.stats()?;
            step_number += 1;
            if step_number == 100 {
                early = Some((now, resident()));
            }
            late = Some((now, resident()));
            if step.epoch == 2 && step.step > 10 {
                whole.push(step.elapsed.as_secs_f64() * 1e6);
                own.push(step.elapsed.as_secs_f64() * 1e6 - (now.device_ns - before.device_ns) as f64 / 1e3);
            }
            device.synchronize()?;
            before = device.stats()?;
        }
        Ok(Flow::Continue)
    });
    trainer.fit(&train, fit)?;
    println!(
        "{device}, batch {batch}: {step_number} steps in {:.2} s; train_step {:.0} us, of which host {:.0} us (medians; \
         lower deciles {:.0} and {:.0} us)",
        start.elapsed().as_secs_f64(),
        quantile(&mut whole, 0.5),
        quantile(&mut own, 0.5),
        quantile(&mut whole, 0.1),
        quantile(&mut own, 0.1),
    );
    if let (Some((a, a_resident)), Some((b, b_resident))) = (early, late) {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        println!(
            "  step 100 to {step_number}: tensors {:.2} to {:.2} MB, pool {:.2} to {:.2} MB, allocations {} to {}, plans made \
             {} to {}, resident {a_resident:.1} to {b_resident:.1} MB; {:.1} dispatches per step",
            mb(a.bytes_live),
            mb(b.bytes_live),
            mb(a.bytes_pooled),
            mb(b.bytes_pooled),
            a.allocations,
            b.allocations,
            a.plan_misses,
            b.plan_misses,
            (b.dispatches - a.dispatches) as f64 / (step_number - 100).max(1) as f64,
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    // cargo passes `--bench`
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let samples = numbers.first().copied().unwrap_or(1000);
    let batch = numbers.get(1).copied().unwrap_or(1);
    for device in devices() {
        run(device, samples, batch)?;
    }
    Ok(())
}
