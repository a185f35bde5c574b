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
use wgrad::nn::{BatchNorm, Build, Built, Context, Initializer};
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

/// The images of five digits, the first of which is class 0.
fn five_digits(set: &Dataset, first: usize) -> Result<Dataset> {
    let classes = (set.labels().cast(DType::I32)? - first)?;
    let places = classes.ge(0)?.logical_and(classes.lt(5)?)?.nonzero()?.squeeze(1)?;
    let (images, classes) = (set.features().index_select(0, &places)?, classes.index_select(0, &places)?);
    let names: Vec<String> = (first..first + 5).map(|digit| digit.to_string()).collect();
    Ok(Dataset::from_tensors(set.name(), &images, &classes)?.scaled(1.0 / 255.0).with_classes(&names))
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

/// All layers of a trained network but its last, with a new one.
#[derive(Module)]
struct Transferred {
    trunk: Model,
    head: Built,
}

impl Transferred {
    fn new(trunk: Model) -> Result<Transferred> {
        // Zeros: what the new head doesn't know yet can't drown what the trunk says.
        let head = Dense::new(5).kernel_initializer(Initializer::Zeros);
        let head = Build::new(trunk.device(), 0).layer(head, trunk.output_shape())?;
        Ok(Transferred { trunk, head })
    }

    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.head.forward(&self.trunk.forward(x, cx)?, cx)
    }
}

/// Trains a model; gives its accuracy on the test set before the training and after each epoch.
fn train<M: Module>(
    name: &str,
    model: M,
    adam: Adam,
    epochs: usize,
    (train, test): (&Dataset, &Dataset),
    arguments: &Arguments,
) -> Result<(M, Vec<f32>)> {
    let trained = model.parameters().into_iter().filter(|p| p.trainable());
    println!("{name}: {} weights are trained", trained.map(|p| p.variable.shape().numel()).sum::<usize>());
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, adam, loss).metric(Accuracy::new()).build()?;
    let before = trainer.evaluate(test)?.metric("accuracy");
    let fit = Fit::epochs(epochs).batch_size(arguments.batch_size).seed(arguments.seed).validation(test);
    let history = trainer.fit(train, fit.stop_on_ctrl_c())?;
    if trainer.interrupted() {
        std::process::exit(130); // as a shell says Ctrl-C: the other trainings are not wanted either
    }
    let after = history.epochs.iter().map(|epoch| epoch.value("val_accuracy"));
    let curve = [before].into_iter().chain(after).flatten().map(|accuracy| accuracy as f32).collect();
    Ok((trainer.into_model(), curve))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (all, test) = arguments.digits.load()?;
    let base = network(arguments.seed, device)?;
    println!("{}", base.summary());
    base.import_weights(&import::pytorch(&arguments.weights)?, &Mapping::pytorch())?;
    let known = confusion_matrix(&base, &five_digits(&test, 0)?, 256)?.accuracy();
    println!("{}: accuracy {known:.4} on digits 0 to 4", arguments.weights.display());
    let (few, test) = (five_digits(&all, 5)?.take(arguments.images)?, five_digits(&test, 5)?);
    println!("data {}: {} training and {} test images of digits 5 to 9", few.name(), few.len(), test.len());
    let pictures = common::Pictures::new(&arguments.out)?;

    let (sets, adam, epochs) = ((&few, &test), || Adam::new(arguments.lr), arguments.epochs);
    let scratch = network(arguments.seed, device)?;
    let (_, scratch) = train("from scratch", scratch, adam(), 2 * epochs, sets, &arguments)?;
    let model = Transferred::new(base.outputs_of(&["features"])?)?;
    model.trunk.set_trainable(false)?;
    let (model, head) = train("new head", model, adam(), epochs, sets, &arguments)?;
    model.trunk.set_trainable(true)?;
    let gently = adam().group(model.trunk.parameters(), |group| group.lr_scale(0.2));
    let (model, tuned) = train("fine-tuned", model, gently, epochs, sets, &arguments)?;

    // The third training begins where the second ends.
    let later = [vec![f32::NAN; epochs], tuned].concat();
    let curves = [("from scratch", &scratch[..]), ("new head", &head), ("fine-tuned", &later)];
    let title = "Accuracy on digits 5 to 9 (a step is an epoch)";
    pictures.save(plot::lines(&curves)?.titled(title), "curves.png")?;
    pictures.save(plot::misclassified(&model, &test, test.classes(), 40)?, "mistakes.png")?;
    for (name, curve) in curves {
        println!("{name:12}  test accuracy {:.4}", curve.last().copied().unwrap_or(f32::NAN));
    }
    Ok(())
}
