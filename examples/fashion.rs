//! Fashion-MNIST with what a good classifier takes: augmentation on the device, batch normalisation, and a learning rate
//! that rises and falls.
//!
//! `cargo run --release --example fashion` trains for a short time and writes pictures into `target/fashion`. `--epochs 20
//! --limit-train 55000` trains for long. `--dataset mnist` takes MNIST; where the files can't be had, synthetic digits take
//! their place.

mod common;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use wgrad::data::{self, Augment, Dataset, Source as _};
use wgrad::nn::BatchNorm;
use wgrad::optim::{Constant, CosineDecay, OneCycle, Schedule as _};
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::confusion_matrix;

/// Train a convolutional network with augmentation, batch normalisation and a schedule on Fashion-MNIST.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// A folder with the four files of the data set.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to train on.
    #[arg(long, value_enum, default_value = "fashion")]
    dataset: Source,
    /// Passes over the training set.
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 4e-3)]
    lr: f64,
    /// How the learning rate goes.
    #[arg(long, value_enum, default_value = "one-cycle")]
    schedule: Rates,
    /// Show each image as it is, rather than changed at random.
    #[arg(long)]
    no_augment: bool,
    /// Seed of the initial weights, of the order of images and of their changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train on the first N images only (of all but the 5,000 for validation).
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    limit_train: usize,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/fashion")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Source {
    Fashion,
    Mnist,
    Synthetic,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Rates {
    /// Up to the highest rate in 30 % of the steps, then down to almost nothing.
    OneCycle,
    /// Up to the highest rate in 5 % of the steps, then down along a cosine.
    Cosine,
    /// The highest rate always.
    Constant,
}

fn load_data(arguments: &Arguments) -> Result<(Dataset, Dataset)> {
    match (arguments.dataset, &arguments.data) {
        (Source::Synthetic, _) => {
            eprintln!("these are synthetic digits, NOT Fashion-MNIST");
            data::synthetic::digits(60_000, 10_000, 0).into_datasets()
        }
        (Source::Mnist, Some(folder)) => data::mnist::load_from(folder),
        (Source::Mnist, None) => data::mnist::load_or_synthetic(),
        (Source::Fashion, Some(folder)) => data::fashion_mnist::load_from(folder),
        (Source::Fashion, None) => data::fashion_mnist::load().or_else(|error| {
            eprintln!(
                "WARNING: THIS IS NOT FASHION-MNIST. Synthetic digits take its place; accuracies say nothing about \
                 it.\nWARNING: Fashion-MNIST could not be had: {error}"
            );
            data::synthetic::digits(60_000, 10_000, 0).into_datasets()
        }),
    }
}

/// A convolution, normalised before its activation. The normalisation adds a constant, so the convolution needs none. Its
/// running averages, which prediction goes by, are of the last few dozen steps: with the usual 0.99 they would still be half
/// of what they began with after a hundred.
fn block(net: Sequential, filters: usize) -> Sequential {
    net.add(Conv2d::new(filters, [3, 3]).padding(Padding::Same).bias(false))
        .add(BatchNorm::new().momentum(0.9))
        .add(Activation::Relu)
}

fn build_model(seed: u64, device: Device) -> Result<Model> {
    let net = block(Sequential::new(), 32).add(MaxPool2d::new([2, 2]));
    let net = block(net, 64).add(MaxPool2d::new([2, 2]));
    block(net, 64)
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dropout::new(0.3))
        .add(Dense::new(10))
        .seed(seed)
        .build([28, 28, 1], device)
}

fn optimizer(arguments: &Arguments, steps: u64) -> Adam {
    let (adam, rate) = (Adam::new(arguments.lr), arguments.lr);
    match arguments.schedule {
        Rates::OneCycle => adam.schedule(OneCycle::new(rate, steps)),
        Rates::Cosine => {
            let warmup = steps / 20;
            adam.schedule(CosineDecay::new(rate, (steps - warmup).max(1)).after_warmup(warmup))
        }
        Rates::Constant => adam.schedule(Constant::new(rate)),
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (all, test) = load_data(&arguments)?;
    let (train, validation) = all.validation_split(1.0 / 12.0)?;
    let train = train.take(arguments.limit_train)?;
    println!(
        "data {}: {} training, {} validation and {} test images",
        train.name(),
        train.len(),
        validation.len(),
        test.len()
    );
    let pictures = common::Pictures::new(&arguments.out)?;

    // A shirt seen in a mirror is a shirt, a digit is none.
    let clothes = !train.classes().is_empty();
    let augment = match (arguments.no_augment, clothes) {
        (true, _) => Augment::new(),
        (false, true) => Augment::new().shift(0.07, 0.07).flip_horizontal(),
        (false, false) => Augment::new().shift(0.07, 0.07),
    };
    let first = train.take(12)?.scaled_features(Device::Cpu)?;
    let changed = (1..=3).map(|seed| augment.apply(&first, seed)).collect::<Result<Vec<_>>>()?;
    let rows =
        [("as they are", &first), ("changed", &changed[0]), ("again", &changed[1]), ("again", &changed[2])];
    pictures.save(plot::image_rows(&rows)?.titled("What is trained on"), "augmented.png")?;

    let model = build_model(arguments.seed, device)?.with_classes(train.classes());
    println!("{}", model.summary());
    let steps = (arguments.epochs * train.len().div_ceil(arguments.batch_size.max(1))).max(1) as u64;
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer =
        Trainer::new(model, optimizer(&arguments, steps), loss).metric(Accuracy::new()).build()?;
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&validation)
        .stop_on_ctrl_c();
    let history = trainer.fit(&train.augmented(augment), fit)?;

    let matrix = confusion_matrix(trainer.model(), &test, arguments.batch_size)?;
    let matrix = if clothes { matrix.with_classes(test.classes())? } else { matrix };
    println!("{}", matrix.report());
    pictures.save(plot::confusion_matrix(&matrix)?, "confusion.png")?;
    if !history.epochs.is_empty() {
        pictures.save(plot::history(&history)?, "history.png")?;
    }
    println!("test accuracy {:.4}", matrix.accuracy());
    Ok(())
}
