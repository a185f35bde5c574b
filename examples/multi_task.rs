//! Two tasks at once: shared convolutions, one head that reads the digit and one that tells odd from even.
//!
//! `cargo run --release --example multi_task` trains both heads together. `--head digit` or `--head parity` trains that head
//! and the convolutions; the other head is measured, but left as it is. Ctrl-C ends the run after the step, with a
//! checkpoint if `--checkpoint FILE` is given; started again, it goes on from there.

mod common;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use wgrad::data::Dataset;
use wgrad::nn::{BinaryCrossentropy, Functional};
use wgrad::prelude::*;
use wgrad::train::{BinaryAccuracy, ModelCheckpoint};

/// Train one network for two tasks on MNIST: which digit, and odd or even.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    #[command(flatten)]
    digits: common::Digits,
    /// Which head to train.
    #[arg(long, value_enum, default_value = "both")]
    head: Head,
    /// What the loss of odd or even counts for, beside 1 for the digit.
    #[arg(long, default_value_t = 0.5)]
    parity_weight: f64,
    /// Passes over the training set.
    #[arg(long, default_value_t = 2)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Seed of the initial weights and of the order of images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train on the first N images only.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    limit_train: usize,
    /// Save the run to this file after each epoch and on Ctrl-C, and go on from it where it exists.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Head {
    Digit,
    Parity,
    Both,
}

/// Each image with two targets: its digit, and 1 where that is odd.
fn with_parity(set: &Dataset) -> Result<Dataset> {
    let digits: Vec<u32> = set.labels().cast(DType::U32)?.to_vec()?;
    let odd = digits.iter().map(|digit| (digit % 2) as f32).collect();
    set.also_target(&Tensor::from_vec(odd, [set.len(), 1], Device::Cpu)?)
}

fn build_model(seed: u64, device: Device) -> Result<Model> {
    let mut net = Functional::new(device).seed(seed);
    let image = net.input("image", [28, 28, 1])?;
    let x = net.layer(Conv2d::new(16, [3, 3]).activation(Activation::Relu), image)?;
    let x = net.layer(MaxPool2d::new([2, 2]), x)?;
    let x = net.layer(Conv2d::new(32, [3, 3]).activation(Activation::Relu), x)?;
    let x = net.layer(MaxPool2d::new([2, 2]), x)?;
    let features = net.layer(Flatten::new(), x)?;
    let x = net.layer(Dense::new(64).activation(Activation::Relu), features)?;
    let digit = net.named("digit_head", Dense::new(10), x)?;
    let x = net.layer(Dense::new(32).activation(Activation::Relu), features)?;
    let parity = net.named("parity_head", Dense::new(1), x)?;
    net.build(&[("digit", digit), ("parity", parity)])
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (train, test) = arguments.digits.load()?;
    let (train, test) = (with_parity(&train.take(arguments.limit_train)?)?, with_parity(&test)?);
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    let model = build_model(arguments.seed, device)?;
    println!("{}", model.summary());

    // A head whose loss has weight 0 is measured, and not trained.
    let (digit, parity) = match arguments.head {
        Head::Digit => (1.0, 0.0),
        Head::Parity => (0.0, 1.0),
        Head::Both => (1.0, arguments.parity_weight),
    };
    let mut trainer = Trainer::multi(model, Adam::new(arguments.lr))
        .output("digit", SparseCategoricalCrossentropy::from_logits(), digit)
        .output("parity", BinaryCrossentropy::from_logits(), parity)
        .metric_for("digit", Accuracy::new())
        .metric_for("parity", BinaryAccuracy::from_logits())
        .build()?;
    let mut fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c();
    if let Some(file) = &arguments.checkpoint {
        if file.exists() {
            trainer.resume(file)?;
            println!("going on from {}", file.display());
        }
        fit = fit.with(ModelCheckpoint::new(file.display().to_string()));
    }
    let history = trainer.fit(&train, fit)?;
    if trainer.interrupted() {
        if let Some(file) = &arguments.checkpoint {
            trainer.save_checkpoint(file)?;
            println!("interrupted; saved in {}", file.display());
        }
        return Ok(());
    }
    // The last epoch has been validated on the test set; without an epoch, it is measured here.
    let result = match history.epochs.last().and_then(|e| e.validation.clone()) {
        Some(result) => result,
        None => trainer.evaluate(&test)?,
    };
    println!("test loss {:.4}", result.loss);
    for output in ["digit", "parity"] {
        let of_output = result.metrics.iter().filter(|(name, _)| name.starts_with(output));
        for (name, value) in of_output {
            println!("  {name} {value:.4}");
        }
    }
    Ok(())
}
