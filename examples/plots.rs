//! Trains the network of `mnist_cnn` for an epoch and draws what came of it: curves, confusion matrix, mistakes and first
//! filters.
//!
//! `cargo run --release --example plots` writes the pictures into `target/plots`; `--help` lists what can be chosen.

mod common;

use clap::Parser;
use std::path::PathBuf;
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::confusion_matrix;

/// Train a convolutional network on MNIST for a short time, and draw what came of it.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    #[command(flatten)]
    digits: common::Digits,
    /// Passes over the training set.
    #[arg(long, default_value_t = 1)]
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
    /// How many mistakes to draw.
    #[arg(long, value_name = "N", default_value_t = 40)]
    mistakes: usize,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/plots")]
    out: PathBuf,
}

fn build_model(seed: u64, device: Device) -> Result<Model> {
    Sequential::new()
        .add_named("first", Conv2d::new(32, [3, 3]).activation(Activation::Relu))
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
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (train, test) = arguments.digits.load()?;
    let train = train.take(arguments.limit_train.unwrap_or(usize::MAX))?;
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    // Before the training: a folder that can't be made is known at once.
    let pictures = common::Pictures::new(&arguments.out)?;

    let model = build_model(arguments.seed, device)?;
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, Adam::new(arguments.lr), loss).metric(Accuracy::new()).build()?;
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c();
    let history = trainer.fit(&train, fit)?;
    let model = trainer.model();

    let matrix = confusion_matrix(model, &test, arguments.batch_size)?;
    println!("{matrix}");
    let wrong = plot::misclassified(model, &test, model.classes(), arguments.mistakes)?;
    let filters = plot::filters(&model.parameter("first.weight")?.variable.value())?;
    let mut drawn = vec![
        ("confusion.png", plot::confusion_matrix(&matrix)?),
        ("confusion.svg", plot::confusion_matrix(&matrix)?),
        ("misclassified.png", wrong),
        ("filters.png", filters),
    ];
    // Without an epoch there is nothing to draw.
    if !history.epochs.is_empty() {
        drawn.push(("history.png", plot::history(&history)?));
        drawn.push(("history.svg", plot::history(&history)?));
    }
    for (name, picture) in drawn {
        pictures.save(picture, name)?;
    }
    Ok(())
}
