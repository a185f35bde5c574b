//! Which shape is each pixel part of? A U-Net (Ronneberger et al., 2015) segments drawn discs, rectangles and triangles.
//!
//! `cargo run --release --example segmentation` draws its data, trains, tells how well each class is found, and writes test images with
//! their truth and the network's answer into `target/segmentation`.

mod common;

use clap::Parser;
use std::f64::consts::TAU;
use std::path::PathBuf;
use wgrad::data::Dataset;
use wgrad::nn::{BatchNorm, ConvTranspose2d, Functional, Merge, Symbol};
use wgrad::optim::OneCycle;
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::{MeanIou, confusion_matrix};

/// Train a U-Net to segment drawn shapes, and draw what it makes of test images.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// Images to train with; a fifth as many are drawn to test with.
    #[arg(long, default_value_t = 3000)]
    images: usize,
    /// Filters of the first level; each level below has twice as many.
    #[arg(long, default_value_t = 8)]
    width: usize,
    /// Passes over the training set.
    #[arg(long, default_value_t = 6)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 1e-2)]
    lr: f64,
    /// Seed of the images, of the initial weights and of the order of images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/segmentation")]
    out: PathBuf,
}

/// Pixels along an edge; half of it three times must be whole.
const SIDE: usize = 64;
/// Shapes in an image, the later ones in front.
const SHAPES: usize = 3;
const CLASSES: [&str; 4] = ["background", "disc", "rectangle", "triangle"];
/// Their red, green and blue in pictures.
const COLORS: [[f32; 3]; 4] = [[0.15, 0.17, 0.2], [0.12, 0.47, 0.71], [0.85, 0.37, 0.01], [0.95, 0.9, 0.55]];

/// Images `[n, SIDE, SIDE, 1]` of shapes whose size, place, direction and tone vary, on a ground that is lit from one side, with noise;
/// and the class of every pixel, `[n, SIDE, SIDE]`.
fn shapes(n: usize, mut seed: u64) -> Result<Dataset> {
    let mut uniform = |low: f64, high: f64| {
        seed = seed.wrapping_add(1);
        (Tensor::rand([n, 1, 1], Device::Cpu, seed)? * (high - low))? + low
    };
    let edge = SIDE as f64;
    let pixels = Tensor::arange(0, SIDE as i64, Device::Cpu)?.cast(DType::F32)?;
    let (x, y) = (pixels.reshape([1, 1, SIDE])?, pixels.reshape([1, SIDE, 1])?);
    let light = (((&x / edge)? - 0.5)? * uniform(-0.4, 0.4)?)?;
    let light = (light + ((&y / edge)? - 0.5)? * uniform(-0.4, 0.4)?)?;
    let ground = uniform(0.35, 0.65)?;
    let (mut image, mut classes) = (ground.clone(), Tensor::zeros([n, SIDE, SIDE], Device::Cpu)?);
    for _ in 0..SHAPES {
        // Pixels as the shape sees them: it is upright, in the middle, and of size 1.
        let (dx, dy) = ((&x - uniform(0.1 * edge, 0.9 * edge))?, (&y - uniform(0.1 * edge, 0.9 * edge))?);
        let (angle, size) = (uniform(0.0, TAU)?, uniform(0.12 * edge, 0.25 * edge)?);
        let (cos, sin) = (angle.cos()?, angle.sin()?);
        let a = (((&dx * &cos)? + &dy * &sin)? / &size)?.abs()?;
        let b = (((dy * cos)? - dx * sin)? / size)?;
        let disc = (a.square()? + b.square())?;
        let rectangle = a.maximum(b.abs()? * 1.6)?;
        let triangle = ((&b * -2.0)?.maximum((a * 3f64.sqrt())? + b)? / 1.4)?;

        let class = uniform(1.0, 4.0)?.floor()?;
        let inside = class.eq(1.0)?.select(disc, class.eq(2.0)?.select(rectangle, triangle))?.lt(1.0)?;
        let contrast = uniform(-1.0, 1.0)?;
        let tone = ((&ground + contrast.sign()? * 0.1)? + contrast * 0.25)?;
        image = inside.select(tone, image)?;
        classes = inside.select(class, classes)?;
    }
    let noise = (Tensor::randn([n, SIDE, SIDE], Device::Cpu, seed)? * 0.06)?;
    let images = ((light + image)? + noise)?.clamp(0.0, 1.0)?.unsqueeze(-1)?;
    Ok(Dataset::from_tensors("shapes", &images, &classes.cast(DType::U8)?)?.with_classes(&CLASSES))
}

/// Two convolutions that leave the size as it is.
fn block(net: &mut Functional, filters: usize, mut x: Symbol) -> Result<Symbol> {
    for _ in 0..2 {
        x = net.layer(Conv2d::new(filters, [3, 3]).padding(Padding::Same).bias(false), x)?;
        x = net.layer(BatchNorm::new().momentum(0.9), x)?;
        x = net.layer(Activation::Relu, x)?;
    }
    Ok(x)
}

/// Down to an eighth of the size, and up again: on each level what comes from below is put beside what was there on the way down.
fn build_model(width: usize, seed: u64, device: Device) -> Result<Model> {
    let mut net = Functional::new(device).seed(seed);
    let (mut x, mut passed) = (net.input("image", [SIDE, SIDE, 1])?, Vec::new());
    for filters in [width, 2 * width, 4 * width] {
        x = block(&mut net, filters, x)?;
        passed.push((filters, x));
        x = net.layer(MaxPool2d::new([2, 2]), x)?;
    }
    x = block(&mut net, 8 * width, x)?;
    for (filters, skip) in passed.into_iter().rev() {
        x = net.layer(ConvTranspose2d::new(filters, [2, 2]).stride([2, 2]), x)?;
        x = net.merge(Merge::Concat { axis: -1 }, &[skip, x])?;
        x = block(&mut net, filters, x)?;
    }
    let logits = net.layer(Conv2d::new(CLASSES.len(), [1, 1]), x)?;
    net.build(&[("classes", logits)])
}

/// Classes `[n, height, width]` as colours.
fn colored(classes: &Tensor) -> Result<Tensor> {
    let colors = Tensor::new(COLORS, Device::Cpu)?.index_select(0, &classes.flatten(0)?)?;
    colors.reshape([classes.dims()[0], SIDE, SIDE, 3])
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let pictures = common::Pictures::new(&arguments.out)?;
    let n = arguments.images;
    let (train, test) = shapes(n + n.div_ceil(5), arguments.seed)?.split_at(n)?;
    println!("data: {} images to train with, {} to test with", train.len(), test.len());

    let model = build_model(arguments.width, arguments.seed, device)?;
    println!("{}", model.summary());
    let steps = (arguments.epochs * train.len().div_ceil(arguments.batch_size.max(1))).max(1) as u64;
    let adam = Adam::new(arguments.lr).schedule(OneCycle::new(arguments.lr, steps));
    let mut trainer = Trainer::new(model, adam, SparseCategoricalCrossentropy::from_logits())
        .metric(Accuracy::new())
        .metric(MeanIou::new(CLASSES.len()))
        .build()?;
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c();
    let history = trainer.fit(&train, fit)?;

    let first = test.take(10)?;
    let answers = trainer.predict(first.features())?.argmax(-1, false)?.to_device(Device::Cpu)?;
    let (truth, answers) = (colored(first.labels())?, colored(&answers)?);
    let rows = [("image", first.features()), ("truth", &truth), ("network", &answers)];
    let title = "Test images: discs blue, rectangles orange, triangles yellow";
    pictures.save(plot::image_rows(&rows)?.titled(title), "segmented.png")?;
    // Without an epoch there are no curves.
    if !history.epochs.is_empty() {
        pictures.save(plot::history(&history)?, "history.png")?;
    }

    let matrix = confusion_matrix(trainer.model(), &test, arguments.batch_size)?;
    let ious = [0, 1, 2, 3].map(|class| matrix.iou(class));
    println!("\nintersection over union of test images");
    for (class, iou) in CLASSES.iter().zip(ious) {
        println!("  {class:<12}{iou:.3}");
    }
    let background = matrix.support(0) as f64 / matrix.total() as f64;
    println!("background alone: pixel accuracy {background:.4}, mean IoU {:.3}", background / 4.0);
    println!(
        "network: pixel accuracy {:.4}, mean IoU {:.3}",
        matrix.accuracy(),
        ious.iter().sum::<f64>() / 4.0
    );
    Ok(())
}
