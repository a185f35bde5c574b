//! Forecasts of a series that has seasons, a trend and noise, by an LSTM and a GRU.
//!
//! `cargo run --release --example time_series` trains both on what came first, compares their errors on what came last with those of
//! two naive forecasts, and writes a picture of the forecasts beside the truth into `target/time_series`.

mod common;

use clap::Parser;
use std::f32::consts::TAU;
use std::path::PathBuf;
use std::time::Instant;
use wgrad::data::Dataset;
use wgrad::nn::{Gru, Layer, Lstm};
use wgrad::optim::OneCycle;
use wgrad::plot;
use wgrad::prelude::*;

/// Train an LSTM and a GRU to forecast a synthetic series, and draw what they forecast.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// Hours that a forecast is made from.
    #[arg(long, default_value_t = 72)]
    window: usize,
    /// Hours that are forecast.
    #[arg(long, default_value_t = 12)]
    horizon: usize,
    /// Numbers in the state of each network.
    #[arg(long, default_value_t = 32)]
    units: usize,
    /// Passes over the training set.
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// Windows per step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 1e-2)]
    lr: f64,
    /// Seed of the noise, of the initial weights and of the order of windows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/time_series")]
    out: PathBuf,
}

/// Hours of the whole series; the last fifth is for validation.
const HOURS: usize = 3000;
/// Days that the picture shows.
const SHOWN: usize = 8;

/// A value for every hour: a day with two peaks, a week, a slow rise, and noise that nobody can forecast.
fn series(seed: u64) -> Result<Vec<f32>> {
    let noise = Tensor::randn([HOURS], Device::Cpu, seed)?.to_vec::<f32>()?;
    let value = |(hour, noise): (usize, f32)| {
        let t = hour as f32;
        let day = (TAU * t / 24.0).sin() + 0.5 * (TAU * t / 12.0 + 1.0).sin();
        day + 0.7 * (TAU * t / 168.0).sin() + 0.001 * t + 0.15 * noise
    };
    Ok(noise.into_iter().enumerate().map(value).collect())
}

/// Windows `[n, window, 1]` and what follows them, `[n, horizon]`; both are differences from the last value of the window, so that a
/// trend is none.
fn windows(values: &[f32], window: usize, horizon: usize, name: &str) -> Result<Dataset> {
    let (mut features, mut targets, mut n) = (Vec::new(), Vec::new(), 0);
    for part in values.windows(window + horizon) {
        let (past, future) = part.split_at(window);
        let last = past[window - 1];
        features.extend(past.iter().map(|v| v - last));
        targets.extend(future.iter().map(|v| v - last));
        n += 1;
    }
    let features = Tensor::from_vec(features, [n, window, 1], Device::Cpu)?;
    let targets = Tensor::from_vec(targets, [n, horizon], Device::Cpu)?;
    Dataset::from_tensors(name, &features, &targets)
}

/// The root of the mean squared error.
fn error(forecast: &[f32], truth: &[f32]) -> f32 {
    let squares: f64 = forecast.iter().zip(truth).map(|(f, t)| f64::from(f - t).powi(2)).sum();
    (squares / truth.len().max(1) as f64).sqrt() as f32
}

/// Trains a network that begins with this layer; gives its forecasts for the validation set.
fn forecasts(
    layer: impl Layer + 'static,
    arguments: &Arguments,
    sets: [&Dataset; 2],
    device: Device,
) -> Result<Vec<f32>> {
    let [train, validation] = sets;
    let name = layer.kind();
    let start = Instant::now();
    let model = Sequential::new()
        .add(layer)
        .add(Dense::new(arguments.horizon))
        .seed(arguments.seed)
        .build((None, 1), device)?; // windows of any length
    println!("{}", model.summary());
    let steps = (arguments.epochs * train.len().div_ceil(arguments.batch_size.max(1))).max(1) as u64;
    let adam = Adam::new(arguments.lr).schedule(OneCycle::new(arguments.lr, steps)).global_clip_norm(1.0);
    let mut trainer = Trainer::new(model, adam, MeanSquaredError::new()).build()?;
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(validation)
        .stop_on_ctrl_c();
    let history = trainer.fit(train, fit)?;
    if !history.epochs.is_empty() {
        history.plot(arguments.out.join(format!("{}.png", name.to_lowercase())))?;
    }
    let forecast = trainer.predict(validation.features())?.to_vec::<f32>()?;
    println!("{name}: trained in {:.1} s", start.elapsed().as_secs_f64());
    Ok(forecast)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let &Arguments { window, horizon, units, .. } = &arguments;
    let device = common::device(&arguments.device)?;
    let values = series(arguments.seed)?;
    let cut = HOURS * 4 / 5;
    if window < 24 || horizon == 0 || window + horizon > HOURS - cut - SHOWN * 24 {
        return Err(Error::other(
            "--window must be at least a day, 24, and --horizon at least 1; both far shorter than 400",
        ));
    }
    let pictures = common::Pictures::new(&arguments.out)?;
    let train = windows(&values[..cut], window, horizon, "the first hours")?;
    let validation = windows(&values[cut..], window, horizon, "the last hours")?;
    println!("data: {} windows to train with, {} to validate with", train.len(), validation.len());

    let lstm = forecasts(Lstm::new(units), &arguments, [&train, &validation], device)?;
    let gru = forecasts(Gru::new(units), &arguments, [&train, &validation], device)?;

    // What needs no network: as it is now, and as it was a day ago.
    let truth = validation.targets()[0].to_vec::<f32>()?;
    let past = validation.features().to_vec::<f32>()?;
    let yesterday = (0..truth.len()).map(|i| past[i / horizon * window + window - 24 + i % horizon % 24]);
    let yesterday: Vec<f32> = yesterday.collect();
    println!("\nroot of the mean squared error over {horizon} hours (the noise alone has 0.15)");
    for (name, forecast) in [
        ("as it is now", &vec![0.0; truth.len()]),
        ("as yesterday", &yesterday),
        ("LSTM", &lstm),
        ("GRU", &gru),
    ] {
        println!("  {name:<13}{:.3}", error(forecast, &truth));
    }

    // The picture: a forecast for the next hours, then the next one.
    let mut curves = [Vec::new(), Vec::new(), Vec::new()];
    for sample in (0..SHOWN * 24).step_by(horizon) {
        let last = values[cut + sample + window - 1];
        let future = sample * horizon..(sample + 1) * horizon;
        for (curve, from) in curves.iter_mut().zip([&truth, &lstm, &gru]) {
            curve.extend(from[future.clone()].iter().map(|v| v + last));
        }
    }
    let [truth, lstm, gru] = &curves;
    let title = format!("Forecasts of {horizon} hours");
    let curves = plot::lines(&[("truth", truth), ("LSTM", lstm), ("GRU", gru)])?;
    pictures.save(curves.titled(&title), "forecast.png")
}
