//! A generative adversarial network of convolutions (DCGAN; Radford et al., 2015): it draws digits from noise.
//!
//! `cargo run --release --example gan` trains a generator and a discriminator against each other on MNIST, with the non-saturating
//! losses of Goodfellow et al. (2014). Neither optimizer touches the other's network: each is `over` its own and leaves all other
//! variables alone, whatever the loss depends on (that of the generator goes through the discriminator); the trainer refuses two that
//! own one variable; and the discriminator is shown the drawn digits `detach`ed, so that its loss has no gradient of the generator at all.
//!
//! A classifier that is trained on real digits says what came of it: how many of the drawn digits it is sure of, the inception score
//! (Salimans et al., 2016), and how many are of each class. Into `target/gan` go digits of the same noise after each epoch, a sheet of
//! digits with what the classifier takes them for, and the curves.

mod common;

use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;
use wgrad::data::{Batch, Dataset};
use wgrad::nn::{BatchNorm, ConvTranspose2d, Reshape};
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::{Event, Flow, OwnStep};

/// Train a DCGAN on MNIST, and draw digits with it.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    #[command(flatten)]
    digits: common::Digits,
    /// Parts of the run; digits are drawn after each.
    #[arg(long, default_value_t = 8)]
    epochs: usize,
    /// Steps in each epoch.
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Images per step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Learning rate of both optimizers.
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    /// Seed of the initial weights, of the noise and of the order of images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/gan")]
    out: PathBuf,
}

/// Numbers of noise that a digit is drawn from.
const NOISE: usize = 32;
/// Digits that are judged, and how likely a class is of which the classifier is sure.
const JUDGED: usize = 2000;
const SURE: f64 = 0.95;

#[derive(Module)]
#[module(no_forward)]
struct Gan {
    /// Also the callback's, which draws digits after each epoch.
    generator: Arc<Model>,
    discriminator: Model,
}

fn build_gan(seed: u64, device: Device) -> Result<Gan> {
    let double = |filters| ConvTranspose2d::new(filters, [4, 4]).stride([2, 2]).padding(Padding::Same);
    let norm = || BatchNorm::new().momentum(0.9).epsilon(1e-5);
    let generator = Sequential::new()
        .add(Dense::new(7 * 7 * 64).bias(false))
        .add(Reshape::new([7, 7, 64]))
        .add(norm())
        .add(Activation::Relu)
        .add(double(32).bias(false))
        .add(norm())
        .add(Activation::Relu)
        .add(double(1).activation(Activation::Sigmoid))
        .seed(seed)
        .build([NOISE], device)?;
    let half = |filters, kernel| Conv2d::new(filters, [kernel; 2]).stride([2, 2]).padding(Padding::Same);
    let discriminator = Sequential::new()
        .add(half(24, 4).activation(Activation::LeakyRelu(0.2)))
        .add(half(48, 4).bias(false))
        .add(norm())
        .add(Activation::LeakyRelu(0.2))
        .add(half(96, 3).bias(false))
        .add(norm())
        .add(Activation::LeakyRelu(0.2))
        .add(Flatten::new())
        .add(Dense::new(1))
        .seed(seed + 1)
        .build([28, 28, 1], device)?;
    Ok(Gan { generator: Arc::new(generator), discriminator })
}

/// The discriminator becomes better at telling digits from drawings, then the generator at what passes for a digit.
fn step(gan: &Gan, batch: &Batch, step: &mut OwnStep<'_>) -> Result<()> {
    let (digits, cx) = (&batch.inputs[0], step.context());
    let noise = Tensor::randn([step.samples(), NOISE], digits.device(), cx.noise_seed())?;
    let drawn = gan.generator.forward(&noise, cx)?;
    // The cross-entropy of logits x is softplus(-x) where the answer is yes, and softplus(x) where it is no.
    let of_digits = gan.discriminator.forward(digits, cx)?.neg()?.softplus()?;
    let of_drawn = gan.discriminator.forward(&drawn.detach()?, cx)?.softplus()?;
    step.minimize_by("discriminator", &(of_digits + of_drawn)?.mean(.., false)?)?;
    let passed_for_digits = gan.discriminator.forward(&drawn, cx)?;
    step.minimize_by("generator", &passed_for_digits.neg()?.softplus()?.mean(.., false)?)
}

/// Trains what tells the digits apart; gives logits.
fn train_classifier(train: &Dataset, test: &Dataset, seed: u64, device: Device) -> Result<Model> {
    let conv = |filters| Conv2d::new(filters, [3, 3]).activation(Activation::Relu);
    let model = Sequential::new()
        .add(conv(16))
        .add(MaxPool2d::new([2, 2]))
        .add(conv(32))
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dense::new(10))
        .seed(seed)
        .build([28, 28, 1], device)?;
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, Adam::new(2e-3), loss).metric(Accuracy::new()).build()?;
    trainer.fit(train, Fit::epochs(2).batch_size(64).seed(seed).verbose(false))?;
    println!("classifier: test {}", trainer.evaluate(test)?);
    Ok(trainer.into_model())
}

/// Images with the class that each is taken for, and how likely that is.
fn captioned(classifier: &Model, images: &Tensor) -> Result<plot::Picture> {
    let (p, classes) = classifier.infer(images)?.softmax(-1)?.topk(1, -1)?;
    let (p, classes) = (p.to_vec::<f32>()?, classes.to_vec::<i32>()?);
    let captions = classes.iter().zip(&p).map(|(class, p)| format!("{class} ({:.0}%)", 100.0 * p));
    plot::captioned_images(images, captions)
}

/// Prints the share of images that the classifier is sure of, their inception score, and how many are of each class.
fn judge(name: &str, classifier: &Model, images: &Tensor) -> Result<()> {
    let log_p = classifier.infer(images)?.log_softmax(-1)?;
    let p = log_p.exp()?;
    let sure = p.max(-1, false)?.ge(SURE)?.cast(DType::F32)?.mean(.., false)?.item::<f32>()?;
    // e to the mean KL divergence between the classes of one image and those of all: 10 where each image is clearly of a class and all
    // classes are as frequent, 1 where nothing is recognised or everything is the same.
    let divergence = (&p * (&log_p - p.mean(0, false)?.log()?)?)?.sum(-1, false)?.mean(.., false)?;
    let score = divergence.exp()?.item::<f32>()?;
    let counts = p.argmax(-1, false)?.bincount(10)?.to_vec::<u32>()?;
    let counts: String = counts.iter().map(|count| format!("{count:5}")).collect();
    println!("  {name:<12} {:5.1}%  {score:15.2}  {counts}", 100.0 * sure);
    Ok(())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (train, test) = arguments.digits.load()?;
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    let pictures = common::Pictures::new(&arguments.out)?;
    let classifier = train_classifier(&train, &test, arguments.seed, device)?;

    let gan = build_gan(arguments.seed, device)?;
    println!("{}", gan.summary());
    let generator = Arc::clone(&gan.generator);
    let adam = || Adam::new(arguments.lr).betas(0.5, 0.999);
    let (of_generator, of_discriminator) = (adam().over(&gan.generator), adam().over(&gan.discriminator));
    let mut trainer = Trainer::with_step(gan, step)
        .optimizer_named("generator", of_generator)
        .optimizer_named("discriminator", of_discriminator)
        .build()?;

    let noise = Tensor::randn([JUDGED, NOISE], device, arguments.seed)?;
    let untrained = generator.infer(&noise)?;
    let few = noise.slice(0, 0, 12)?;
    let mut sheets = vec![("untrained".to_string(), generator.infer(&few)?)];
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .steps_per_epoch(arguments.steps)
        .seed(arguments.seed)
        .stop_on_ctrl_c()
        .callback(|event| {
            if let Event::Epoch(epoch) = event {
                sheets.push((format!("epoch {}", epoch.number), generator.infer(&few)?));
            }
            Ok(Flow::Continue)
        });
    let history = trainer.fit(&train, fit)?;

    let rows: Vec<(&str, &Tensor)> = sheets.iter().map(|(name, digits)| (name.as_str(), digits)).collect();
    pictures
        .save(plot::image_rows(&rows)?.titled("Digits of the same noise after each epoch"), "progress.png")?;
    let drawn = generator.infer(&noise)?;
    let title = "Drawn digits, and what the classifier takes them for";
    pictures.save(captioned(&classifier, &drawn.slice(0, 0, 60)?)?.titled(title), "digits.png")?;
    if !history.epochs.is_empty() {
        pictures.save(plot::history(&history)?, "history.png")?;
    }
    let digits = test.take(JUDGED)?.scaled_features(device)?;
    println!("{JUDGED} digits      sure  inception score  of the classes 0 to 9");
    judge("of the test", &classifier, &digits)?;
    judge("untrained", &classifier, &untrained)?;
    judge("trained", &classifier, &drawn)
}
