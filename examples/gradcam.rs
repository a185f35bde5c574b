//! Where does a network look? Grad-CAM (Selvaraju et al., 2017): what a class's score owes to each place of the last convolution's maps.
//!
//! `cargo run --release --example gradcam` trains a network on MNIST for a short time, writes heat maps over digits that it reads rightly
//! and wrongly into `target/gradcam`, and puts the maps to a test: without the pixels that they mark, is the digit still read?

mod common;

use clap::Parser;
use std::path::PathBuf;
use wgrad::Resampling;
use wgrad::nn::Context;
use wgrad::plot;
use wgrad::prelude::*;

/// Train a convolutional network on MNIST, and draw where it looks.
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
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Seed of the initial weights, of the order of images and of the random pixels of the test.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train on the first N images only.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    limit_train: usize,
    /// Write the weights to this file after training.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Take the weights from this file instead of training.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// The share of a digit's pixels that the test blackens.
    #[arg(long, default_value_t = 0.3)]
    share: f64,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/gradcam")]
    out: PathBuf,
}

/// The network of `mnist_cnn`, with a border and one pooling less: the last maps are 14x14, and cover the image.
fn build_model(seed: u64, device: Device) -> Result<Model> {
    let conv = |filters| Conv2d::new(filters, [3, 3]).padding(Padding::Same).activation(Activation::Relu);
    Sequential::new()
        .add(conv(32))
        .add(MaxPool2d::new([2, 2]))
        .add(conv(64))
        .add_named("last", conv(64))
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::Relu))
        .add_named("scores", Dense::new(10))
        .seed(seed)
        .build([28, 28, 1], device)
}

/// How much each pixel speaks for a class, from 0 to 1: one map `[n, size, size, 1]` for each image and class.
fn heat(model: &Model, images: &Tensor, classes: &Tensor, size: usize) -> Result<Tensor> {
    let both = model.outputs_of(&["last", "scores"])?;
    let both = both.forward_all(std::slice::from_ref(images), &Context::eval())?;
    let (maps, scores) = (&both[0], &both[1]);
    // No image has a part in another's score: one backward pass gives the slopes of all.
    let score = scores.take_along_axis(1, &classes.unsqueeze(1)?)?.sum(.., false)?;
    let slopes = score.gradients(maps)?;
    let heat = (slopes.mean([1, 2], true)? * maps)?.sum(-1, true)?.relu()?;
    let heat = heat.resize2d([size, size], Resampling::Bilinear, false)?;
    &heat / (heat.max(1.., true)? + 1e-9)
}

/// The probability of these classes.
fn probability(model: &Model, images: &Tensor, classes: &Tensor) -> Result<Tensor> {
    model.infer(images)?.softmax(-1)?.take_along_axis(1, &classes.unsqueeze(1)?)?.squeeze(1)
}

/// The images without a share of their bright pixels: those with the largest marks.
fn without(images: &Tensor, marks: &Tensor, share: f64) -> Result<Tensor> {
    let bright = images.gt(0.0)?.flatten(1)?;
    let order = bright.select(marks.flatten(1)?, -1.0)?.argsort(-1, true)?;
    let place = order.argsort(-1, false)?; // of each pixel in that order
    let gone = (bright.sum(-1, true)?.cast(DType::F32)? * share)?;
    images * place.cast(DType::F32)?.ge(gone)?.cast(DType::F32)?.reshape(images.shape())
}

/// Digits beside what speaks for what they are read as, and, for those that are something else, beside what speaks for that.
fn sheet(
    model: &Model,
    images: &Tensor,
    read: &Tensor,
    truth: &Tensor,
    wrong: bool,
) -> Result<plot::Picture> {
    const SIZE: usize = 84;
    let large = images.resize2d([SIZE, SIZE], Resampling::Nearest, false)?;
    let mut parts = vec![large.broadcast_to([images.dims()[0], SIZE, SIZE, 3])?];
    for classes in if wrong { vec![read, truth] } else { vec![read] } {
        // From black over red and yellow to white.
        let glow =
            (heat(model, images, classes, SIZE)? * 3.0)? - Tensor::new([0.0f32, 1.0, 2.0], images.device())?;
        let over = ((&large * 0.35)? + glow?.clamp(0.0, 1.0)? * 0.65)?;
        parts.push(over.pad([(0, 0), (0, 0), (4, 0), (0, 0)], 1.0)?);
    }
    let chances = probability(model, images, read)?.to_vec::<f32>()?;
    let classes = truth.to_vec::<i32>()?.into_iter().zip(read.to_vec::<i32>()?).zip(chances);
    let captions = classes.map(|((truth, read), chance)| format!("{truth} read as {read} ({chance:.2})"));
    plot::captioned_images(&Tensor::concat(&parts.iter().collect::<Vec<_>>(), 2)?, captions)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (train, test) = arguments.digits.load()?;
    let train = train.take(arguments.limit_train)?;
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    let share = arguments.share;
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::other("--share is a share of the pixels: from 0 to 1"));
    }
    let pictures = common::Pictures::new(&arguments.out)?;

    let model = build_model(arguments.seed, device)?;
    println!("{}", model.summary());
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, Adam::new(arguments.lr), loss).metric(Accuracy::new()).build()?;
    if let Some(file) = &arguments.load {
        trainer.model().load(file)?;
    } else {
        let fit = Fit::epochs(arguments.epochs)
            .batch_size(arguments.batch_size)
            .seed(arguments.seed)
            .validation(&test)
            .stop_on_ctrl_c();
        trainer.fit(&train, fit)?;
    }
    let model = trainer.model();
    if let Some(file) = &arguments.save {
        model.save(file)?;
        println!("saved in {}", file.display());
    }

    let images = (test.features().cast(DType::F32)? / 255.0)?;
    let truth = test.labels().cast(DType::I32)?;
    let read = trainer.predict_on(&test)?.remove(0).argmax(-1, false)?.to_device(Device::Cpu)?;
    let (right, wrong) = (read.eq(&truth)?.nonzero()?, read.ne(&truth)?.nonzero()?);
    println!("read wrongly: {} of {}", wrong.numel(), test.len());
    // The first of some images, what they are read as, and what they are.
    let first = |places: &Tensor, most: usize| {
        let places = places.flatten(0)?.slice(0, 0, places.numel().min(most))?;
        let of = |t: &Tensor| t.index_select(0, &places)?.to_device(device);
        Ok::<_, Error>((of(&images)?, of(&read)?, of(&truth)?))
    };
    for (name, places, title) in [
        ("right.png", &right, "What speaks for the digit that was read"),
        (
            "wrong.png",
            &wrong,
            "What speaks for the digit that was read, and, on the right, for the one that it is",
        ),
    ] {
        if places.numel() > 0 {
            let (images, read, truth) = first(places, 15)?;
            let sheet = sheet(model, &images, &read, &truth, name == "wrong.png")?;
            pictures.save(sheet.titled(title), name)?;
        }
    }

    let (images, read, _) = first(&right, 1000)?;
    let marks = heat(model, &images, &read, 28)?;
    let random = Tensor::rand(marks.shape(), device, arguments.seed)?;
    println!("\nprobability of what is read, mean of {}", read.numel());
    println!("without {:.0} % of the bright pixels:", 100.0 * share);
    for (name, images) in [
        ("none", images.clone()),
        ("those marked least", without(&images, &(1.0 - &marks)?, share)?),
        ("as many at random", without(&images, &random, share)?),
        ("those marked most", without(&images, &marks, share)?),
    ] {
        println!("  {name:<20}{:.3}", probability(model, &images, &read)?.mean(.., false)?.item::<f32>()?);
    }
    Ok(())
}
