//! Trains the network of `mnist_cnn` for an epoch and draws what came of it: curves, confusion matrix, mistakes and first
//! filters.
//!
//! `cargo run --release --example plots` writes the pictures into `target/plots`; `--help` lists what can be chosen.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use wgrad::data::{self, Dataset};
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::confusion_matrix;

/// Train a convolutional network on MNIST for a short time, and draw what came of it.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// A folder with the four files of MNIST, or of a data set in its format.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to train on.
    #[arg(long, value_enum, default_value = "mnist")]
    dataset: Source,
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

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Source {
    Mnist,
    Synthetic,
}

fn load_data(arguments: &Arguments) -> Result<(Dataset, Dataset)> {
    let (train, test) = match (arguments.dataset, &arguments.data) {
        (Source::Synthetic, _) => {
            eprintln!("these are synthetic digits, NOT MNIST");
            data::synthetic::digits(60_000, 10_000, 0).into_datasets()?
        }
        (Source::Mnist, Some(folder)) => data::mnist::load_from(folder)?,
        (Source::Mnist, None) => data::mnist::load_or_synthetic()?,
    };
    Ok((train.take(arguments.limit_train.unwrap_or(usize::MAX))?, test))
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
    let device: Device = arguments.device.parse()?;
    let info = device.info()?;
    println!("device {device}: {}, {} ({}), {}", info.name, info.kind, info.backend, info.driver);
    let (train, test) = load_data(&arguments)?;
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    // Before the training: a folder that can't be made is known at once.
    let out = &arguments.out;
    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;

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
    let mut pictures = vec![
        ("confusion.png", plot::confusion_matrix(&matrix)?),
        ("confusion.svg", plot::confusion_matrix(&matrix)?),
        ("misclassified.png", wrong),
        ("filters.png", filters),
    ];
    // Without an epoch there is nothing to draw.
    if !history.epochs.is_empty() {
        pictures.push(("history.png", plot::history(&history)?));
        pictures.push(("history.svg", plot::history(&history)?));
    }
    for (name, picture) in pictures {
        let file = out.join(name);
        picture.save(&file)?;
        println!("wrote {}", file.display());
    }
    Ok(())
}
