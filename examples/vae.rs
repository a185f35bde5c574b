//! A variational autoencoder (Kingma and Welling, 2014): digits as points of a plane, from which new digits can be drawn.
//!
//! `cargo run --release --example vae` trains on MNIST and compares the evidence lower bound (ELBO) of the test images with that of the
//! untrained model, in nats per image; each pixel counts as the probability that it is white. Into `target/vae` it writes test images
//! above their reconstructions, what is drawn at points all over the plane, what is drawn from chance, and the curves.
//! `--latent N` makes points of more dimensions: a better bound, and no plane to look at.

mod common;

use clap::Parser;
use std::path::PathBuf;
use wgrad::data::Batch;
use wgrad::nn::{BinaryCrossentropy, Build, Built, Context, Loss, Reshape};
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::OwnStep;

/// Train a variational autoencoder on MNIST, and draw digits from it.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    #[command(flatten)]
    digits: common::Digits,
    /// Dimensions of the latent space.
    #[arg(long, value_name = "N", default_value_t = 2)]
    latent: usize,
    /// Passes over the training set.
    #[arg(long, default_value_t = 15)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Seed of the initial weights, of the noise and of the order of images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train on the first N images only.
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/vae")]
    out: PathBuf,
}

/// Pixels of an image.
const PIXELS: usize = 28 * 28;
/// Digits along a side of the picture of the plane, and how far it reaches to either side of 0.
const SIDE: usize = 20;
const REACH: f64 = 2.5;

#[derive(Module)]
struct Vae {
    encoder: Built,
    decoder: Built,
}

impl Vae {
    fn new(latent: usize, seed: u64, device: Device) -> Result<Vae> {
        let relu = |units| Dense::new(units).activation(Activation::Relu);
        let encoder = Sequential::new().add(Flatten::new()).add(relu(512)).add(relu(256));
        let decoder = Sequential::new().add(relu(256)).add(relu(512)).add(Dense::new(PIXELS));
        let mut cx = Build::new(device, seed);
        Ok(Vae {
            encoder: cx.layer(encoder.add(Dense::new(2 * latent)), [28, 28, 1])?,
            decoder: cx.layer(decoder.add(Reshape::new([28, 28, 1])), [latent])?,
        })
    }

    /// Means and log-variances of the points that an image may be.
    fn encode(&self, x: &Tensor, cx: &Context) -> Result<[Tensor; 2]> {
        self.encoder.forward(x, cx)?.split_into(-1)
    }

    /// Images at these points, `[n, latent]`.
    fn draw(&self, z: &Tensor) -> Result<Tensor> {
        self.decoder.infer(z)?.sigmoid()
    }

    /// Each image as it is drawn at its mean.
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let [mean, _] = self.encode(x, cx)?;
        self.decoder.forward(&mean, cx)?.sigmoid()
    }
}

/// The negative ELBO of a batch, with one point drawn for each image, in nats per image.
fn step(vae: &Vae, batch: &Batch, step: &mut OwnStep<'_>) -> Result<()> {
    let (x, cx) = (&batch.inputs[0], step.context());
    let [mean, log_variance] = vae.encode(x, cx)?;
    // Each step of a training has a seed of its own, derived from the run's; evaluations draw the same noise again.
    let noise = Tensor::randn(mean.dims(), x.device(), cx.noise_seed())?;
    let z = (&mean + (&log_variance * 0.5)?.exp()? * noise)?;
    let logits = vae.decoder.forward(&z, cx)?;
    let reconstruction = (BinaryCrossentropy::from_logits().compute(&logits, x)? * PIXELS as f64)?;
    let kl = ((mean.square()? - 1.0 + log_variance.exp()? - log_variance)? * 0.5)?
        .sum(-1, false)?
        .mean(.., false)?;
    step.report("reconstruction", &reconstruction)?;
    step.report("kl", &kl)?;
    step.minimize(&(reconstruction + kl)?)
}

/// Digits drawn at points all over the plane.
fn plane(vae: &Vae) -> Result<plot::Picture> {
    let device = vae.device();
    let up = Tensor::linspace(REACH, -REACH, SIDE, device)?;
    let grid = Tensor::meshgrid(&[&up, &up.neg()?])?;
    let z = Tensor::stack(&[&grid[1], &grid[0]], -1)?.reshape([SIDE * SIDE, 2])?;
    Ok(plot::Sheet::new(&vae.draw(&z)?)?.columns(SIDE).gap(0).zoom(1).draw())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let (train, test) = arguments.digits.load()?;
    let train = train.take(arguments.limit_train.unwrap_or(usize::MAX))?;
    println!("data {}: {} training and {} test images", train.name(), train.len(), test.len());
    let pictures = common::Pictures::new(&arguments.out)?;

    let vae = Vae::new(arguments.latent, arguments.seed, device)?;
    println!("{}", vae.summary());
    let mut trainer = Trainer::with_step(vae, step)
        .optimizer(Adam::new(arguments.lr))
        .report("reconstruction")
        .report("kl")
        .build()?;
    let before = trainer.evaluate(&test)?;
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c();
    let history = trainer.fit(&train, fit)?;

    let vae = trainer.model();
    let images = test.take(24)?.scaled_features(device)?;
    let rows = [("input", &images), ("output", &trainer.predict(&images)?)];
    let title = "Test images, and what is drawn at their means";
    pictures.save(plot::image_rows(&rows)?.titled(title), "reconstructions.png")?;
    if arguments.latent == 2 {
        let title = format!("Digits at points of the plane, from -{REACH} to {REACH}");
        pictures.save(plane(vae)?.titled(&title), "plane.png")?;
    }
    let z = Tensor::randn([60, arguments.latent], device, arguments.seed)?;
    pictures
        .save(plot::images(&vae.draw(&z)?)?.titled("Digits at points drawn from chance"), "samples.png")?;
    if !history.epochs.is_empty() {
        pictures.save(plot::history(&history)?, "history.png")?;
    }
    // The last epoch has been validated on the test set; without one, that was measured before.
    let after = history.epochs.last().and_then(|e| e.validation.as_ref()).unwrap_or(&before);
    let part = |name| after.metric(name).unwrap_or(f64::NAN);
    println!("test ELBO {:.2} nats per image (untrained: {:.2})", -after.loss, -before.loss);
    println!("  reconstruction {:.2}, KL divergence {:.2}", part("reconstruction"), part("kl"));
    Ok(())
}
