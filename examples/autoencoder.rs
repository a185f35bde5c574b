//! A convolutional autoencoder: 784 pixels become a few numbers, and these become the image again.
//!
//! `cargo run --release --example autoencoder` trains on MNIST and writes a sheet of test images with what came out of
//! them into `target/autoencoder`.

mod common;

use clap::Parser;
use std::path::PathBuf;
use wgrad::data::{self, BatchIter, Dataset, Pass};
use wgrad::nn::{BinaryCrossentropy, ConvTranspose2d, Reshape};
use wgrad::plot;
use wgrad::prelude::*;

/// Train a convolutional autoencoder on MNIST, and draw images beside their reconstructions.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    #[command(flatten)]
    digits: common::Digits,
    /// How many numbers an image becomes.
    #[arg(long, value_name = "N", default_value_t = 16)]
    code: usize,
    /// Passes over the training set.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    /// Seed of the initial weights and of the order of images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train on the first N images only.
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/autoencoder")]
    out: PathBuf,
}

/// Images that are their own targets. The labels are left out of each batch; nothing is copied.
struct Itself(Dataset);

impl data::Source for Itself {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        Ok(Box::new(self.0.pass(pass)?.map(|batch| {
            let mut batch = batch?;
            batch.targets = batch.inputs.clone();
            Ok(batch)
        })))
    }

    fn samples(&self) -> Option<usize> {
        self.0.samples()
    }

    fn unit(&self) -> &'static str {
        self.0.unit()
    }
}

/// The output is logits: the loss takes them as they are, and `sigmoid` makes pixels of them.
fn build_model(code: usize, seed: u64, device: Device) -> Result<Model> {
    let half = |filters| Conv2d::new(filters, [3, 3]).stride([2, 2]).padding(Padding::Same);
    let double = |filters| ConvTranspose2d::new(filters, [3, 3]).stride([2, 2]).padding(Padding::Same);
    Sequential::new()
        .add(half(16).activation(Activation::Relu))
        .add(half(32).activation(Activation::Relu))
        .add(Flatten::new())
        .add_named("code", Dense::new(code))
        .add(Dense::new(7 * 7 * 32).activation(Activation::Relu))
        .add(Reshape::new([7, 7, 32]))
        .add(double(16).activation(Activation::Relu))
        .add(double(1))
        .seed(seed)
        .build([28, 28, 1], device)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (train, test) = arguments.digits.load()?;
    let train = train.take(arguments.limit_train.unwrap_or(usize::MAX))?;
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    let pictures = common::Pictures::new(&arguments.out)?;

    let model = build_model(arguments.code, arguments.seed, device)?;
    println!("{}", model.summary());
    let (train, test) = (Itself(train), Itself(test));
    let mut trainer =
        Trainer::new(model, Adam::new(arguments.lr), BinaryCrossentropy::from_logits()).build()?;
    let before = trainer.evaluate(&test)?;
    println!("before training: test {before}");
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c();
    let history = trainer.fit(&train, fit)?;

    let images = test.0.take(24)?.scaled_features(device)?;
    let reconstructions = trainer.predict(&images)?.sigmoid()?;
    let rows = [("input", &images), ("output", &reconstructions)];
    let title = format!("Images from {} numbers each", arguments.code);
    pictures.save(plot::image_rows(&rows)?.titled(&title), "reconstructions.png")?;
    if !history.epochs.is_empty() {
        pictures.save(plot::history(&history)?, "history.png")?;
    }
    // The last epoch has been validated on the test set; without one, that was measured before.
    let result = history.epochs.last().and_then(|e| e.validation.clone()).unwrap_or(before);
    println!("test {result}");
    Ok(())
}
