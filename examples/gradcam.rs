//! Where does a network look? Grad-CAM (Selvaraju et al., 2017): what a class's score owes to each place of the last convolution's maps.
//!
//! `cargo run --release --example gradcam` trains a network on MNIST for a short time, writes heat maps over digits that it reads rightly
//! and wrongly into `target/gradcam`, and puts the maps to a test: without the pixels that they mark, is the digit still read?

mod common;

use clap::Parser;
use std::path::PathBuf;
use wgrad::Resampling;
use wgrad::data::Dataset;
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
    let [maps, scores] = &model.forward_layers(["last", "scores"], images, &Context::eval())?;
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

/// Digits beside what speaks for what they are read as; those that are something else, also beside what speaks for that.
fn sheet(model: &Model, digits: &Dataset, wrong: bool) -> Result<plot::Picture> {
    const SIZE: usize = 84;
    let batch = digits.to_batch(model.device())?;
    let (images, truth) = (&batch.inputs[0], &batch.targets[0].cast(DType::I32)?);
    let read = &model.infer(images)?.argmax(-1, false)?;
    let large = images.resize2d([SIZE, SIZE], Resampling::Nearest, false)?;
    let mut parts = vec![large.broadcast_to([digits.len(), SIZE, SIZE, 3])?];
    for classes in if wrong { vec![read, truth] } else { vec![read] } {
        let glow = plot::ColorMap::Hot.colors(&heat(model, images, classes, SIZE)?)?;
        parts.push(((&large * 0.35)? + glow * 0.65)?.pad([(0, 0), (0, 0), (4, 0), (0, 0)], 1.0)?);
    }
    let chances = probability(model, images, read)?.to_vec::<f32>()?;
    let classes = truth.to_vec::<i32>()?.into_iter().zip(read.to_vec::<i32>()?).zip(chances);
    let captions = classes.map(|((truth, read), chance)| format!("{truth} read as {read} ({chance:.2})"));
    Ok(plot::Sheet::new(&Tensor::concat(&parts, 2)?)?.captions(captions)?.columns(5).draw())
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
        let fit = Fit::epochs(arguments.epochs).batch_size(arguments.batch_size).seed(arguments.seed);
        trainer.fit(&train, fit.validation(&test).stop_on_ctrl_c())?;
    }
    let model = trainer.model();
    if let Some(file) = &arguments.save {
        model.save(file)?;
        println!("saved in {}", file.display());
    }

    let read = trainer.predict_on(&test)?.remove(0).argmax(-1, false)?.to_vec::<i32>()?;
    let truth = test.labels().cast(DType::I32)?.to_vec::<i32>()?;
    let (right, wrong): (Vec<_>, Vec<_>) = (0..test.len()).partition(|&i| read[i] == truth[i]);
    println!("read wrongly: {} of {}", wrong.len(), test.len());
    let first = |places: &[usize], most: usize| test.select(&places[..places.len().min(most)]);
    let title = "What speaks for the digit that was read";
    if !right.is_empty() {
        pictures.save(sheet(model, &first(&right, 15)?, false)?.titled(title), "right.png")?;
    }
    if !wrong.is_empty() {
        let title = format!("{title}, and, on the right, for the one that it is");
        pictures.save(sheet(model, &first(&wrong, 15)?, true)?.titled(&title), "wrong.png")?;
    }

    let images = first(&right, 1000)?.scaled_features(device)?;
    let read = model.infer(&images)?.argmax(-1, false)?;
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
