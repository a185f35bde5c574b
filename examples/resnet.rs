//! A residual network for CIFAR-10 (He et al., "Deep residual learning for image recognition", 2015, section 4.2), of modules of its own.
//!
//! `cargo run --release --features cifar10 --example resnet` takes CIFAR-10 from `--data DIR` or the user's cache, and downloads it
//! otherwise (170 MB). Where it can't be had, or with `--dataset synthetic`, shapes are drawn instead: ten classes of coloured images
//! of the same size. `--blocks 3 --epochs 100 --limit-train 50000` is the paper's ResNet-20. Pictures go into `target/resnet`.

mod common;

use clap::{Parser, ValueEnum};
use std::f64::consts::TAU;
use std::path::PathBuf;
use wgrad::data::{Augment, Dataset};
use wgrad::nn::{BatchNorm, Build, Built, Context, GlobalAvgPool2d, Initializer, SampleShape};
use wgrad::optim::OneCycle;
use wgrad::prelude::*;
use wgrad::train::confusion_matrix;
use wgrad::{INFER, Interpolation, plot};

/// Train a residual network on CIFAR-10.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// A folder with the files of CIFAR-10's binary version, or its archive.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to train on.
    #[arg(long, value_enum, default_value = "cifar10")]
    dataset: Source,
    /// Blocks of each of the three stages: N makes a network of 6 N + 2 layers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    blocks: usize,
    /// Passes over the training set.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    /// What is added of each weight to its gradient.
    #[arg(long, default_value_t = 5e-4)]
    weight_decay: f64,
    /// Seed of the initial weights, of the order of images and of their changes, and of shapes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train on the first N images only.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit_train: usize,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/resnet")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Source {
    Cifar10,
    Synthetic,
}

const SIDE: usize = 32;
const SHAPES: [&str; 10] =
    ["disc", "ring", "square", "frame", "triangle", "cross", "ellipse", "half disc", "crescent", "star"];

/// Below 0 at points inside of a shape, above outside.
fn outline(shape: usize, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let radius = |x: &Tensor, y: &Tensor| (x.square()? + y.square()?)?.sqrt();
    let (r, a, b) = (radius(x, y)?, x.abs()?, y.abs()?);
    match shape {
        0 => r - 0.85,
        1 => (r - 0.7)?.abs()? - 0.2,
        2 => a.maximum(&b)? - 0.75,
        3 => (a.maximum(&b)? - 0.65)?.abs()? - 0.2,
        4 => ((a * 0.866)? + (y * 0.5)?)?.maximum((-y)?)? - 0.5,
        5 => (a.minimum(&b)? - 0.25)?.maximum((a.maximum(&b)? - 0.9)?),
        6 => radius(x, &(y * 3f64.sqrt())?)? - 0.9,
        7 => (r - 0.9)?.maximum(y),
        8 => (r - 0.9)?.maximum((0.7 - radius(x, &(y - 0.45)?)?)?),
        _ => (r - 0.6)? - ((y.atan2(x)? * 5.0)?.cos()? * 0.3)?,
    }
}

/// Images of one shape, `[n, 32, 32, 3]` bytes: place, turn and size vary, colours, stripes over all of it, and noise.
fn draw(shape: usize, n: usize, seed: u64) -> Result<Tensor> {
    let mut seed = seed.wrapping_mul(10).wrapping_add(shape as u64) << 8;
    let mut within = |low: f64, high: f64, channels: usize| {
        seed += 1; // each has numbers of its own
        (Tensor::rand([n, 1, 1, channels], Device::Cpu, seed)? * (high - low))? + low
    };
    let axis = Tensor::linspace(-1.0, 1.0, SIDE, Device::Cpu)?;
    let (x, y) = (axis.reshape([SIDE, 1])?, axis.reshape([SIDE, 1, 1])?);
    let (u, v) = ((&x - within(-0.25, 0.25, 1)?)?, (&y - within(-0.25, 0.25, 1)?)?);
    let (turn, size) = (within(0.0, TAU, 1)?, within(0.5, 0.8, 1)?);
    let (sin, cos) = (turn.sin()?, turn.cos()?);
    let along = (((&u * &cos)? + &v * &sin)? / &size)?;
    let across = (((&v * &cos)? - &u * &sin)? / &size)?;
    let inside = (outline(shape, &along, &across)? * (&size * -30.0)?)?.sigmoid()?;
    let waves = ((&x * within(-25.0, 25.0, 1)?)? + (&y * within(-25.0, 25.0, 1)?)?)?;
    let stripes = ((waves + within(0.0, TAU, 1)?)?.sin()? * within(0.0, 0.12, 1)?)?;
    let (ink, paper, loudness) = (within(0.4, 1.0, 3)?, within(0.0, 0.6, 3)?, within(0.0, 0.12, 1)?);
    let noise = (Tensor::randn([n, SIDE, SIDE, 3], Device::Cpu, seed)? * loudness)?;
    let images = (((&paper + (inside * (ink - &paper)?)?)? + stripes)? + noise)?;
    (images.clamp(0.0, 1.0)? * 255.0)?.cast(DType::U8)
}

/// Shapes in turn.
fn shapes(n: usize, seed: u64) -> Result<Dataset> {
    let each = n.div_ceil(SHAPES.len());
    let images = (0..SHAPES.len()).map(|shape| draw(shape, each, seed)).collect::<Result<Vec<_>>>()?;
    let images = Tensor::stack(&images, 1)?.reshape([INFER, SIDE, SIDE, 3])?;
    let labels = Tensor::arange(0, SHAPES.len() as i64, Device::Cpu)?.tile([each])?;
    let set = Dataset::from_tensors("synthetic shapes", &images, &labels)?;
    set.scaled(1.0 / 255.0).with_classes(&SHAPES).take(n)
}

fn load_data(arguments: &Arguments) -> Result<(Dataset, Dataset)> {
    let drawn = || {
        let seed = arguments.seed.wrapping_mul(2);
        Ok((shapes(arguments.limit_train, seed)?, shapes(2000, seed.wrapping_add(1))?))
    };
    let (train, test) = match (arguments.dataset, &arguments.data) {
        (Source::Synthetic, _) => {
            eprintln!("these are synthetic shapes, NOT CIFAR-10");
            drawn()
        }
        (Source::Cifar10, Some(folder)) => data::cifar10::load_from(folder),
        (Source::Cifar10, None) => data::cifar10::load().or_else(|error| {
            eprintln!(
                "WARNING: THIS IS NOT CIFAR-10. Synthetic shapes take its place; accuracies say nothing about it.\n\
                 WARNING: CIFAR-10 could not be had: {error}"
            );
            drawn()
        }),
    }?;
    Ok((train.take(arguments.limit_train)?, test))
}

/// A convolution, normalised.
fn conv(filters: usize, kernel: usize, stride: usize) -> Sequential {
    let conv = Conv2d::new(filters, [kernel; 2]).stride([stride; 2]).padding(Padding::symmetric(kernel / 2));
    Sequential::new()
        .add(conv.bias(false).kernel_initializer(Initializer::HeNormal))
        .add(BatchNorm::new().momentum(0.9).epsilon(1e-5))
}

/// Two convolutions, whose output is added to their input: that of a block with another size is projected.
#[derive(Module)]
struct Block {
    first: Built,
    second: Built,
    projection: Option<Built>,
}

impl Block {
    fn new(filters: usize, stride: usize, input: SampleShape, cx: &mut Build) -> Result<Block> {
        let first = cx.layer(conv(filters, 3, stride).add(Activation::Relu), input)?;
        let second = cx.layer(conv(filters, 3, 1), first.output)?;
        let projection = (stride > 1).then(|| cx.layer(conv(filters, 1, stride), input)).transpose()?;
        Ok(Block { first, second, projection })
    }

    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let y = self.second.forward(&self.first.forward(x, cx)?, cx)?;
        match &self.projection {
            Some(projection) => (y + projection.forward(x, cx)?)?.relu(),
            None => (y + x)?.relu(),
        }
    }
}

#[derive(Module)]
struct ResNet {
    augment: Built,
    stem: Built,
    blocks: Vec<Block>,
    head: Built,
}

impl ResNet {
    /// As in the paper, but that a block which halves the image projects its input.
    fn new(blocks: usize, classes: usize, seed: u64, device: Device) -> Result<ResNet> {
        let mut cx = Build::new(device, seed);
        // As a layer it changes images while training only; it normalises them always.
        let augment =
            Augment::new().flip_horizontal().shift(0.125, 0.125).interpolation(Interpolation::Nearest);
        let augment = cx.layer(augment.normalise(&[0.5], &[0.25]), [SIDE, SIDE, 3])?;
        let stem = cx.layer(conv(16, 3, 1).add(Activation::Relu), augment.output)?;
        let (mut shape, mut list) = (stem.output, Vec::new());
        for stage in 0..3 {
            for i in 0..blocks {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let block = Block::new(16 << stage, stride, shape, &mut cx)?;
                shape = block.second.output;
                list.push(block);
            }
        }
        let head = Sequential::new().add(GlobalAvgPool2d::new()).add(Dense::new(classes));
        Ok(ResNet { augment, stem, blocks: list, head: cx.layer(head, shape)? })
    }

    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let mut x = self.stem.forward(&self.augment.forward(x, cx)?, cx)?;
        for block in &self.blocks {
            x = block.forward(&x, cx)?;
        }
        self.head.forward(&x, cx)
    }
}

/// The first images, with their classes.
fn samples(set: &Dataset) -> Result<plot::Picture> {
    let some = set.take(40)?;
    let labels = some.labels().cast(DType::U32)?.to_vec::<u32>()?;
    let names = labels.into_iter().map(|label| some.classes()[label as usize].as_str());
    Ok(plot::captioned_images(some.features(), names)?.titled("What is trained on"))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (train, test) = load_data(&arguments)?;
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    let pictures = common::Pictures::new(&arguments.out)?;
    pictures.save(samples(&train)?, "samples.png")?;

    let model = ResNet::new(arguments.blocks, train.classes().len(), arguments.seed, device)?;
    println!("{}", model.summary());
    let steps = (arguments.epochs * train.len().div_ceil(arguments.batch_size.max(1))).max(1) as u64;
    let sgd = Sgd::new(arguments.lr)
        .momentum(0.9)
        .nesterov(true)
        .coupled_weight_decay(arguments.weight_decay)
        .schedule(OneCycle::new(arguments.lr, steps));
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, sgd, loss).metric(Accuracy::new()).build()?;
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c();
    let history = trainer.fit(&train, fit)?;

    let matrix = confusion_matrix(trainer.model(), &test, arguments.batch_size)?;
    println!("{}", matrix.report());
    pictures.save(plot::confusion_matrix(&matrix)?, "confusion.png")?;
    pictures.save(plot::misclassified(trainer.model(), &test, test.classes(), 40)?, "mistakes.png")?;
    if !history.epochs.is_empty() {
        pictures.save(plot::history(&history)?, "history.png")?;
    }
    let depth = 6 * arguments.blocks + 2;
    println!("ResNet-{depth}: test accuracy {:.4}; chance is 0.1", matrix.accuracy());
    Ok(())
}
