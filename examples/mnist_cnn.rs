//! Trains a convolutional network on MNIST and tells how well and how fast.
//!
//! `cargo run --release --example mnist_cnn` needs no argument: it takes the best device, and MNIST from the user's cache,
//! a download, or, where neither is to be had, synthetic digits. `--help` lists what can be chosen. Ctrl-C (and SIGTERM) ends
//! the run after its step, and what `--save` and the other options name is written.

mod common;

use clap::Parser;
use ring::digest::{Context, SHA256};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;
use wgrad::Stats;
use wgrad::data::Dataset;
use wgrad::prelude::*;
use wgrad::train::{Event, Flow, History, Step};

/// Train a convolutional network on MNIST.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    #[command(flatten)]
    digits: common::Digits,
    /// Passes over the training set.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Seed of the initial weights and of the order of images.
    #[arg(long, default_value_t = 8)]
    seed: u64,
    /// Train on the first N images only.
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Write the weights to this file (safetensors) after training, also where Ctrl-C ends it.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Begin with the weights in this file.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// Train for so many steps (20 where none are given), print what each kernel takes, and stop.
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "20")]
    profile: Option<usize>,
    /// Write figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the curves of loss and accuracy into this file (SVG or PNG, by its ending).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn build_model(seed: u64, device: Device) -> Result<Model> {
    Sequential::new()
        .add(Conv2d::new(32, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::Relu))
        .add(Dense::new(10))
        .seed(seed)
        .build([28, 28, 1], device)
}

fn main() -> Result<()> {
    let start = Instant::now();
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (mut train, test) = arguments.digits.load()?;
    if let Some(n) = arguments.limit_train {
        train = train.take(n)?;
    }
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    let model = build_model(arguments.seed, device)?;
    println!("{}", model.summary());
    if let Some(file) = &arguments.load {
        model.load(file)?;
    }

    let mut figures = Figures::new(device, start);
    let mut trainer =
        Trainer::new(model, Adam::new(arguments.lr), SparseCategoricalCrossentropy::from_logits())
            .metric(Accuracy::new())
            .build()?;
    if let Some(steps) = arguments.profile {
        return profile(&mut trainer, &train.take(steps.max(1) * arguments.batch_size)?, &arguments);
    }
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c()
        .callback(|event| figures.record(event));
    let history = trainer.fit(&train, fit)?;
    // Before all else: who interrupts may not wait for long.
    if let Some(file) = &arguments.save {
        trainer.model().save(file)?;
        println!("saved in {}", file.display());
    }
    if let Some(file) = arguments.plot.as_ref().filter(|_| !history.epochs.is_empty()) {
        history.plot(file)?;
    }
    if let Some(file) = &arguments.json {
        let report =
            figures.report(&arguments, &device.info()?.name, train.name(), &history, trainer.model())?;
        std::fs::write(file, format!("{report:#}\n")).map_err(|e| Error::io(file, e))?;
    }
    if trainer.interrupted() {
        println!("interrupted after {} whole epochs", history.epochs.len());
        return Ok(());
    }
    // The last epoch has been validated on the test set; without an epoch, it is measured here.
    let result = match history.epochs.last().and_then(|e| e.validation.clone()) {
        Some(result) => result,
        None => trainer.evaluate(&test)?,
    };
    println!("test {result}");
    Ok(())
}

/// Trains on a few batches, twice: the first time plans and compiles, the second is looked at.
fn profile(trainer: &mut Trainer<Model>, train: &Dataset, arguments: &Arguments) -> Result<()> {
    let fit = || Fit::epochs(1).batch_size(arguments.batch_size).seed(arguments.seed).verbose(false);
    trainer.fit(train, fit())?;
    let profile = trainer.model().device().profile(|| trainer.fit(train, fit()).map(drop))?;
    println!("{profile}");
    Ok(())
}

/// What is noted while training.
struct Figures {
    device: Device,
    start: Instant,
    cold_start_ms: Option<f64>,
    first_losses: Vec<Tensor>,
    /// Counters after the last step, where that was in the same epoch.
    before: Option<Stats>,
    samples: Vec<Sample>,
}

/// One step's share of the counters.
struct Sample {
    epoch: usize,
    /// Steps before it, in all epochs.
    warm: usize,
    /// Whether the batch was a full one: the last, smaller one needs a plan of its own.
    full: bool,
    ms: f64,
    host_us: f64,
    dispatches: u64,
    submits: u64,
    allocations: u64,
    plan_misses: u64,
}

impl Figures {
    fn new(device: Device, start: Instant) -> Figures {
        Figures {
            device,
            start,
            cold_start_ms: None,
            first_losses: Vec::new(),
            before: None,
            samples: Vec::new(),
        }
    }

    fn record(&mut self, event: Event<'_>) -> Result<Flow> {
        match event {
            Event::Step(step) => self.step(step)?,
            // Validation counts for no step.
            Event::Epoch(_) => self.before = None,
            _ => {}
        }
        Ok(Flow::Continue)
    }

    fn step(&mut self, step: Step<'_>) -> Result<()> {
        if self.cold_start_ms.is_none() {
            self.device.synchronize()?;
            self.cold_start_ms = Some(self.start.elapsed().as_secs_f64() * 1e3);
        }
        if self.first_losses.len() < 50 {
            // Kept, not read: reading would wait for the device.
            self.first_losses.push(step.loss.clone());
        }
        let now = self.device.stats()?;
        if let Some(before) = self.before.replace(now) {
            let wall = step.elapsed.as_nanos() as f64;
            self.samples.push(Sample {
                epoch: step.epoch,
                warm: (step.epoch - 1) * step.steps.unwrap_or(0) + step.step - 1,
                full: Some(step.step) != step.steps,
                ms: wall / 1e6,
                host_us: (wall - (now.device_ns - before.device_ns) as f64).max(0.0) / 1e3,
                dispatches: now.dispatches - before.dispatches,
                submits: now.submits - before.submits,
                allocations: now.allocations - before.allocations,
                plan_misses: now.plan_misses - before.plan_misses,
            });
        }
        Ok(())
    }

    fn report(
        &self,
        arguments: &Arguments,
        adapter: &str,
        dataset: &str,
        history: &History,
        model: &Model,
    ) -> Result<serde_json::Value> {
        // The second epoch, where there is one; else what comes after the first hundred steps.
        let second: Vec<&Sample> = self.samples.iter().filter(|s| s.epoch == 2).collect();
        let warm = || self.samples.iter().filter(|s| s.epoch == 1 && s.warm >= 100 && s.full).collect();
        let samples: Vec<&Sample> = if second.is_empty() { warm() } else { second };
        let median = |value: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(|s| value(s)).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let mean = |value: fn(&Sample) -> u64| {
            let sum: u64 = samples.iter().map(|s| value(s)).sum();
            (!samples.is_empty()).then(|| sum as f64 / samples.len() as f64)
        };
        let first_losses = self.first_losses.iter().map(Tensor::item::<f32>).collect::<Result<Vec<f32>>>()?;
        let epochs: Vec<_> = history
            .epochs
            .iter()
            .map(|e| {
                json!({
                    "train_loss": e.train.loss,
                    "train_accuracy": e.train.metric("accuracy"),
                    "test_loss": e.validation.as_ref().map(|v| v.loss),
                    "test_accuracy": e.validation.as_ref().and_then(|v| v.metric("accuracy")),
                    "seconds": e.seconds,
                })
            })
            .collect();
        Ok(json!({
            "device": self.device.to_string(),
            "adapter": adapter,
            "dataset": dataset,
            "seed": arguments.seed,
            "batch_size": arguments.batch_size,
            "epochs": epochs,
            "first_losses": first_losses,
            "step_ms_median": median(|s| s.ms),
            "dispatches_per_step": mean(|s| s.dispatches),
            "submits_per_step": mean(|s| s.submits),
            "allocations_per_step": mean(|s| s.allocations),
            "plan_misses_after_warmup": samples.iter().map(|s| s.plan_misses).sum::<u64>(),
            "host_us_per_step": median(|s| s.host_us),
            "cold_start_ms": self.cold_start_ms,
            "peak_bytes": self.device.stats()?.bytes_peak,
            "weights_sha256": weights_sha256(model)?,
        }))
    }
}

/// SHA-256 of all parameters' values, in order: equal for equal weights.
fn weights_sha256(model: &Model) -> Result<String> {
    let mut hash = Context::new(&SHA256);
    for parameter in model.parameters() {
        for value in parameter.variable.value().to_vec::<f32>()? {
            hash.update(&value.to_le_bytes());
        }
    }
    Ok(hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}
