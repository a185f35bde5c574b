//! Trains the network of the example `mnist_cnn` on several processes, on one machine or many.
//!
//! ```text
//! apt install openmpi-bin libopenmpi-dev libclang-dev
//! cargo build --release --features mpi --example mnist_cnn_mpi
//! mpirun -n 4 target/release/examples/mnist_cnn_mpi
//! ```
//!
//! With the same `--shards` any number of ranks trains the same weights, whose SHA-256 is printed at the end. A run that was ended is
//! taken up by the same command with the same `--checkpoint`, also on another number of ranks.

use clap::{Parser, ValueEnum};
use ring::digest::{Context, SHA256};
use std::path::PathBuf;
use std::process::ExitCode;
use wgrad::data::{self, Dataset};
use wgrad::distributed::{Collective, Mpi};
use wgrad::prelude::*;
use wgrad::train::ModelCheckpoint;

/// Train a convolutional network on MNIST, on all ranks that mpirun starts.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name. Of several GPUs of a machine each rank takes one.
    #[arg(long, default_value = "best")]
    device: String,
    /// What to train on.
    #[arg(long, value_enum, default_value = "mnist")]
    dataset: Source,
    /// Passes over the training set.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Images per step, of all ranks together.
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    /// Parts that each batch is cut into: as many as ranks where none are given.
    #[arg(long)]
    shards: Option<usize>,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Seed of the initial weights and of the order of images.
    #[arg(long, default_value_t = 8)]
    seed: u64,
    /// Train on the first N images only.
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Save a checkpoint after each epoch, and go on from it where there is one.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Source {
    Mnist,
    Synthetic,
}

fn load_data(arguments: &Arguments) -> Result<(Dataset, Dataset)> {
    match arguments.dataset {
        Source::Synthetic => data::synthetic::digits(60_000, 10_000, 0).into_datasets(),
        Source::Mnist => data::mnist::load_or_synthetic(),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let world = match Mpi::world() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = train(&arguments, world.clone());
    if let Err(error) = &ended {
        // Before MPI is left: mpirun ends the others when one of them fails, whatever they have to say.
        eprintln!("rank {} on {}: {error}", world.rank(), world.host());
    }
    drop(world);
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn train(arguments: &Arguments, world: Mpi) -> Result<()> {
    let main = world.rank() == 0;
    let device = world.device(&arguments.device)?;
    let (mut train, test) = load_data(arguments)?;
    if let Some(n) = arguments.limit_train {
        train = train.take(n)?;
    }
    if main {
        let shards = arguments.shards.unwrap_or(world.size());
        println!("{} ranks, {shards} shards; rank 0 computes on {}", world.size(), device.info()?.name);
        println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    }
    let model = Sequential::new()
        .add(Conv2d::new(32, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::Relu))
        .add(Dense::new(10))
        .seed(arguments.seed)
        .build([28, 28, 1], device)?;
    let mut trainer =
        Trainer::new(model, Adam::new(arguments.lr), SparseCategoricalCrossentropy::from_logits())
            .metric(Accuracy::new())
            .build()?;
    trainer.distributed(world);
    let mut fit =
        Fit::epochs(arguments.epochs).batch_size(arguments.batch_size).seed(arguments.seed).validation(&test);
    if let Some(shards) = arguments.shards {
        fit = fit.shards(shards);
    }
    if let Some(file) = &arguments.checkpoint {
        if file.exists() {
            trainer.resume(file)?;
        }
        fit = fit.with(ModelCheckpoint::new(file.display().to_string()));
    }
    let history = trainer.fit(&train, fit)?;
    let result = match history.epochs.last().and_then(|e| e.validation.clone()) {
        Some(result) => result,
        None => trainer.evaluate(&test)?,
    };
    if main {
        println!("test {result}");
        println!("weights {}", weights_sha256(trainer.model())?);
    }
    Ok(())
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
