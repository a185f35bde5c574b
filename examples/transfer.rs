//! Transfer: weights that PyTorch has trained on the digits 0 to 4 help to tell 5 to 9 apart, of which few images have labels.
//!
//! `cargo run --release --features import --example transfer` reads `examples/digits_0_to_4.pt`, a file of `torch.save`, and trains on
//! 100 images of the other digits three times: from scratch; a new head on the frozen trunk; then all of it, the trunk at a lower
//! rate. Pictures go into `target/transfer`. `benches/peers/py/transfer.py` has made the weights, and does the same in PyTorch.

mod common;

use clap::Parser;
use std::path::PathBuf;
use wgrad::data::Dataset;
use wgrad::io::import::{self, Mapping};
use wgrad::nn::{BatchNorm, Initializer};
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::confusion_matrix;

/// Tell five digits apart by few images, with weights that were trained on five others in PyTorch.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    #[command(flatten)]
    digits: common::Digits,
    /// Weights of the network, as PyTorch saves them.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/digits_0_to_4.pt"))]
    weights: PathBuf,
    /// How many images of the digits 5 to 9 to train on.
    #[arg(long, value_name = "N", default_value_t = 100)]
    images: usize,
    /// Passes over them with a new head, and again with all weights; twice as many from scratch.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 10)]
    batch_size: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    /// Seed of the initial weights and of the order of images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/transfer")]
    out: PathBuf,
}

/// The network whose weights the file has. What stands there as `features.0` is the first layer here, and so on.
fn network(seed: u64, device: Device) -> Result<Model> {
    let norm = || BatchNorm::new().momentum(0.9).epsilon(1e-5); // PyTorch's settings
    Sequential::new()
        .add(Conv2d::new(8, [3, 3]))
        .add(norm())
        .add(Activation::Relu)
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(16, [3, 3]))
        .add(norm())
        .add(Activation::Relu)
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(32, [3, 3]))
        .add(norm())
        .add(Activation::Relu)
        .add_named("features", Flatten::new())
        .add_named("head", Dense::new(5))
        .seed(seed)
        .build([28, 28, 1], device)
}

/// Trains a model; gives its accuracy on the test set before the training and after each epoch.
fn train(
    name: &str,
    model: Model,
    adam: Adam,
    epochs: usize,
    (train, test): (&Dataset, &Dataset),
    arguments: &Arguments,
) -> Result<(Model, Vec<f64>)> {
    println!("{name}: {} weights are trained", model.trainable_parameter_count());
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, adam, loss).metric(Accuracy::new()).build()?;
    let before = trainer.evaluate(test)?.metric("accuracy");
    let fit = Fit::epochs(epochs).batch_size(arguments.batch_size).seed(arguments.seed).validation(test);
    let history = trainer.fit(train, fit.stop_on_ctrl_c())?;
    if trainer.interrupted() {
        std::process::exit(130); // as a shell says Ctrl-C: the other trainings are not wanted either
    }
    let after = history.epochs.iter().map(|epoch| epoch.value("val_accuracy"));
    let curve = [before].into_iter().chain(after).flatten().collect();
    Ok((trainer.into_model(), curve))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (all, test) = arguments.digits.load()?;
    let base = network(arguments.seed, device)?;
    println!("{}", base.summary());
    base.import_weights(&import::pytorch(&arguments.weights)?, &Mapping::pytorch())?;
    let known = confusion_matrix(&base, &test.of_classes_renumbered(0..5)?, 256)?.accuracy();
    println!("{}: accuracy {known:.4} on digits 0 to 4", arguments.weights.display());
    let few = all.of_classes_renumbered(5..10)?.take(arguments.images)?;
    let test = test.of_classes_renumbered(5..10)?;
    println!("data {}: {} training and {} test images of digits 5 to 9", few.name(), few.len(), test.len());
    let pictures = common::Pictures::new(&arguments.out)?;

    let (sets, adam, epochs) = ((&few, &test), || Adam::new(arguments.lr), arguments.epochs);
    let scratch = network(arguments.seed, device)?;
    let (_, scratch) = train("from scratch", scratch, adam(), 2 * epochs, sets, &arguments)?;
    // Zeros: what the new head doesn't know yet can't drown what the trunk says.
    let head = Dense::new(5).kernel_initializer(Initializer::Zeros);
    let (trunk, model) = (base.outputs_of(&["features"])?, base.with_layer("head", head, arguments.seed)?);
    trunk.set_trainable(false)?;
    let (model, head) = train("new head", model, adam(), epochs, sets, &arguments)?;
    trunk.set_trainable(true)?;
    let gently = adam().group(trunk.parameters(), |group| group.lr_scale(0.2));
    let (model, tuned) = train("fine-tuned", model, gently, epochs, sets, &arguments)?;

    let results = [("from scratch", scratch), ("new head", head), ("fine-tuned", tuned)];
    let mut curves = plot::Curves::new("epoch", "accuracy");
    for (name, curve) in &results {
        // The third training begins where the second ends.
        let first = if *name == "fine-tuned" { epochs } else { 0 };
        let places: Vec<f64> = (first..first + curve.len()).map(|epoch| epoch as f64).collect();
        curves = curves.add(name, &places, curve)?;
    }
    pictures.save(curves.draw()?.titled("Test images of digits 5 to 9"), "curves.png")?;
    pictures.save(plot::misclassified(&model, &test, test.classes(), 40)?, "mistakes.png")?;
    for (name, curve) in results {
        println!("{name:12}  test accuracy {:.4}", curve.last().copied().unwrap_or(f64::NAN));
    }
    Ok(())
}
