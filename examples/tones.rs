//! Sounds by their waveform: a network of 1-D convolutions tells vowels apart, drawn here as a voice makes them or read from files.
//!
//! `cargo run --release --example tones` trains on synthetic vowels: pulses of a voice whose pitch and speaker vary, through the
//! resonances (formants) of a mouth that says a, e, i, o or u, with noise. `--wav FOLDER` takes recordings instead, a folder of WAV
//! files for each class. The confusion matrix is drawn into `target/tones`.

mod common;

use clap::Parser;
use std::f32::consts::TAU;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wgrad::data::Dataset;
use wgrad::nn::{BatchNorm, Conv1d, GlobalAvgPool1d, MaxPool1d};
use wgrad::optim::OneCycle;
use wgrad::plot;
use wgrad::prelude::*;
use wgrad::train::confusion_matrix;

/// Train a classifier of sounds with 1-D convolutions.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// A folder that has a folder of WAV files for each class; without it vowels are drawn.
    #[arg(long, value_name = "FOLDER")]
    wav: Option<PathBuf>,
    /// Samples of each sound: of a file those in its middle, with silence around what is too short.
    #[arg(long, default_value_t = 2048)]
    length: usize,
    /// Sounds that are drawn.
    #[arg(long, default_value_t = 1500)]
    sounds: usize,
    /// Noise, beside a voice of magnitude 1.
    #[arg(long, default_value_t = 0.3)]
    noise: f32,
    /// Passes over the training set.
    #[arg(long, default_value_t = 6)]
    epochs: usize,
    /// Sounds per step.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 5e-3)]
    lr: f64,
    /// Seed of the sounds, of the initial weights and of the order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the picture into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/tones")]
    out: PathBuf,
}

/// Samples per second of the sounds that are drawn.
const RATE: f32 = 8000.0;
/// Vowels by their first two formants, in Hz: means over many men (Peterson and Barney, 1952).
const VOWELS: [(&str, [f32; 2]); 5] = [
    ("a", [730.0, 1090.0]),
    ("e", [530.0, 1840.0]),
    ("i", [270.0, 2290.0]),
    ("o", [570.0, 840.0]),
    ("u", [300.0, 870.0]),
];

/// Numbers for one sound, uniform in 0..1: what differs from speaker to speaker.
const DRAWN: usize = 5;

/// A vowel: pulses at the voice's pitch, which falls a little, through two resonances, one after the other.
fn vowel(formants: [f32; 2], u: &[f32], noise: &[f32], loudness: f32) -> Vec<f32> {
    let pitch = 90.0 + 160.0 * u[0];
    let mouth = 0.9 + 0.25 * u[1]; // a shorter mouth has higher formants
    let fall = 0.2 * u[2];
    let mut phase = u[3];
    let n = noise.len();
    let mut sound: Vec<f32> = (0..n)
        .map(|t| {
            phase += pitch * (1.0 - fall * t as f32 / n as f32) / RATE;
            if phase >= 1.0 {
                phase -= 1.0;
                1.0
            } else {
                0.0
            }
        })
        .collect();
    for formant in formants {
        // A resonance of 60 to 120 Hz: two poles.
        let radius = (-TAU / 2.0 * (60.0 + 60.0 * u[4]) / RATE).exp();
        let (a, b) = (2.0 * radius * (TAU * formant * mouth / RATE).cos(), -radius * radius);
        let (mut before, mut last) = (0.0, 0.0);
        for v in &mut sound {
            let next = *v + a * last + b * before;
            (before, last) = (last, next);
            *v = next;
        }
    }
    let power = sound.iter().map(|v| v * v).sum::<f32>() / n.max(1) as f32;
    let scale = 1.0 / power.sqrt().max(1e-6);
    sound.iter().zip(noise).map(|(v, noise)| v * scale + noise * loudness).collect()
}

/// Vowels in turn, `[sounds, length, 1]`, and which they are.
fn drawn(arguments: &Arguments) -> Result<Dataset> {
    let (n, length) = (arguments.sounds, arguments.length);
    let uniform = Tensor::rand([n, DRAWN], Device::Cpu, arguments.seed)?.to_vec::<f32>()?;
    let noise = Tensor::randn([n, length], Device::Cpu, arguments.seed + 1)?.to_vec::<f32>()?;
    let mut sounds = Vec::with_capacity(n * length);
    for (i, (u, noise)) in uniform.chunks(DRAWN).zip(noise.chunks(length.max(1))).enumerate() {
        sounds.extend(vowel(VOWELS[i % VOWELS.len()].1, u, noise, arguments.noise));
    }
    let labels = (0..n).map(|i| (i % VOWELS.len()) as u32).collect();
    let (sounds, labels) =
        (Tensor::from_vec(sounds, [n, length, 1], Device::Cpu)?, Tensor::from_vec(labels, [n], Device::Cpu)?);
    Ok(Dataset::from_tensors("vowels", &sounds, &labels)?.with_classes(&VOWELS.map(|v| v.0)))
}

/// What is in a folder, in alphabetical order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut list =
        list.map(|e| Ok(e.map_err(|e| Error::io(folder, e))?.path())).collect::<Result<Vec<_>>>()?;
    list.sort();
    Ok(list)
}

/// The first channel of a WAV file: its middle, as loud as all others.
fn recording(file: &Path, length: usize) -> Result<Vec<f32>> {
    let told = |e: hound::Error| Error::data(file.display().to_string(), e.to_string());
    let reader = hound::WavReader::open(file).map_err(told)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels.max(1));
    let samples: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => {
            reader.into_samples::<f32>().step_by(channels).collect::<Result<_, _>>()
        }
        hound::SampleFormat::Int => {
            let whole = reader.into_samples::<i32>().step_by(channels);
            whole.map(|s| s.map(|s| s as f32)).collect::<Result<_, _>>()
        }
    }
    .map_err(told)?;
    let (skipped, missing) = (samples.len().saturating_sub(length) / 2, length.saturating_sub(samples.len()));
    let middle = &samples[skipped..(skipped + length).min(samples.len())];
    let power = middle.iter().map(|v| v * v).sum::<f32>() / middle.len().max(1) as f32;
    let scale = 1.0 / power.sqrt().max(1e-6);
    let mut sound = vec![0.0; missing / 2];
    sound.extend(middle.iter().map(|v| v * scale));
    sound.resize(length, 0.0);
    Ok(sound)
}

/// The recordings of a folder: a folder for each class.
fn recorded(folder: &Path, length: usize) -> Result<Dataset> {
    let (mut classes, mut sounds, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let is_wav = |path: &PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav"));
        for file in entries(&class)?.into_iter().filter(is_wav) {
            sounds.extend(recording(&file, length)?);
            labels.push(classes.len() as u32);
        }
        classes.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    let n = labels.len();
    if classes.len() < 2 || n < 10 {
        let message = format!(
            "has {} folders with {n} WAV files in them; expected a folder for each of several classes, and at least ten files",
            classes.len()
        );
        return Err(Error::data(folder.display().to_string(), message));
    }
    let (sounds, labels) =
        (Tensor::from_vec(sounds, [n, length, 1], Device::Cpu)?, Tensor::from_vec(labels, [n], Device::Cpu)?);
    Ok(Dataset::from_tensors("recordings", &sounds, &labels)?.with_classes(&classes))
}

/// Windows of a few milliseconds find tones; each following layer sees four times as far.
fn build_model(classes: usize, seed: u64, device: Device) -> Result<Model> {
    let block = |net: Sequential, filters, kernel, stride| {
        let conv = Conv1d::new(filters, kernel).stride(stride).bias(false);
        net.add(conv).add(BatchNorm::new().momentum(0.9)).add(Activation::Relu)
    };
    let net = block(Sequential::new(), 16, 64, 4).add(MaxPool1d::new(2));
    let net = block(net, 32, 9, 1).add(MaxPool1d::new(4));
    block(net, 32, 9, 1)
        .add(GlobalAvgPool1d::new()) // sounds of any length
        .add(Dense::new(classes))
        .seed(seed)
        .build((None, 1), device)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let all = match &arguments.wav {
        Some(folder) => recorded(folder, arguments.length)?.shuffled(arguments.seed)?,
        None => drawn(&arguments)?,
    };
    let (train, test) = all.validation_split(0.25)?;
    println!(
        "data: {} sounds to train with, {} to test with; {} samples each",
        train.len(),
        test.len(),
        arguments.length
    );

    let start = Instant::now();
    let model = build_model(all.classes().len(), arguments.seed, device)?.with_classes(all.classes());
    println!("{}", model.summary());
    let steps = (arguments.epochs * train.len().div_ceil(arguments.batch_size.max(1))).max(1) as u64;
    let adam = Adam::new(arguments.lr).schedule(OneCycle::new(arguments.lr, steps));
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, adam, loss).metric(Accuracy::new()).build()?;
    let fit = Fit::epochs(arguments.epochs)
        .batch_size(arguments.batch_size)
        .seed(arguments.seed)
        .validation(&test)
        .stop_on_ctrl_c();
    trainer.fit(&train, fit)?;
    println!("trained in {:.1} s", start.elapsed().as_secs_f64());

    let matrix =
        confusion_matrix(trainer.model(), &test, arguments.batch_size)?.with_classes(all.classes())?;
    println!("{}", matrix.report());
    common::Pictures::new(&arguments.out)?.save(plot::confusion_matrix(&matrix)?, "confusion.png")?;
    println!("test accuracy {:.4}", matrix.accuracy());
    Ok(())
}
