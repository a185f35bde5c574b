//! A small GPT over characters: it learns to write on as its text does.
//!
//! `cargo run --release --example char_lm` trains on the first scenes of Shakespeare's *Coriolanus* (`examples/coriolanus.txt`, 100 KB,
//! in the public domain) and then writes. `--text FILE` takes another text, `--save model.safetensors` keeps the model, `--load
//! model.safetensors --epochs 0` writes with it again. `benches/peers/py/char_lm.py` is the same model in PyTorch: `--peer FOLDER` gives it
//! the first weights.

mod common;

use clap::Parser;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;
use wgrad::data::Dataset;
use wgrad::nn::{Embedding, Generation, LayerNorm, PositionEmbedding, TransformerDecoder};
use wgrad::prelude::*;

/// Train a small GPT over characters, and have it write.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// A text to learn from, in UTF-8.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Passes over the windows of the text.
    #[arg(long, default_value_t = 4)]
    epochs: usize,
    /// Windows per epoch.
    #[arg(long, default_value_t = 4800)]
    windows: usize,
    /// Windows per step.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Characters of a window: as many as the model can look back.
    #[arg(long, default_value_t = 64)]
    context: usize,
    /// Features of each character.
    #[arg(long, default_value_t = 128)]
    width: usize,
    /// Heads of attention.
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Blocks of attention and dense layers.
    #[arg(long, default_value_t = 3)]
    layers: usize,
    /// The share that blocks drop while training; worthwhile where the text is seen often.
    #[arg(long, default_value_t = 0.0)]
    dropout: f64,
    /// The learning rate of Adam.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Seed of the first weights, and of what is written.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the trained model into this file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Go on from the model of this file.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// How many characters to write.
    #[arg(long, default_value_t = 400)]
    generate: usize,
    /// What is written on from.
    #[arg(long, default_value = "MENENIUS:\n")]
    prompt: String,
    /// How bold to write: near 0 the likeliest characters, 1 as likely as the model finds them.
    #[arg(long, default_value_t = 0.7)]
    temperature: f64,
    /// Time the kernels of this many steps instead of training.
    #[arg(long, value_name = "STEPS")]
    profile: Option<usize>,
    /// Write first weights and the text's numbers into this folder, for the same run in PyTorch.
    #[arg(long, value_name = "DIR")]
    peer: Option<PathBuf>,
}

/// Blocks as GPT-2 has them: each part normalises what it is given, so one more normalisation comes behind the last.
fn build_model(arguments: &Arguments, characters: &[char], device: Device) -> Result<Model> {
    let mut net = Sequential::new()
        .add(Embedding::new(characters.len(), arguments.width))
        .add(PositionEmbedding::new(arguments.context));
    for _ in 0..arguments.layers {
        let block = TransformerDecoder::new(4 * arguments.width, arguments.heads).normalize_first(true);
        net = net.add(block.activation(Activation::GeluTanh).dropout(arguments.dropout));
    }
    let net = net.add(LayerNorm::new().epsilon(1e-5)).add(Dense::new(characters.len()));
    let model = net.seed(arguments.seed).build((None,), device)?;
    Ok(model.with_classes(characters.iter().map(char::to_string)))
}

/// Windows of `context` characters, and what follows each character. Where they begin looks random and is the same in every run:
/// 7919, a prime, is added again and again.
fn windows(name: &str, text: &[u32], context: usize, count: usize) -> Result<Dataset> {
    let Some(starts) = text.len().checked_sub(context).filter(|&n| n > 0) else {
        let message = format!("{} characters are too few for windows of {context}", text.len());
        return Err(Error::data(name, message));
    };
    let cut = |shift: usize| {
        let of = |k: usize| text[k * 7919 % starts + shift..].iter().take(context).copied();
        Tensor::from_vec((0..count).flat_map(of).collect(), [count, context], Device::Cpu)
    };
    Dataset::from_tensors(name, &cut(0)?, &cut(1)?)
}

/// Writes on from a prompt; gives the number of characters in a second.
fn write(model: &Model, characters: &[char], arguments: &Arguments, device: Device) -> Result<f64> {
    let known = |c: char| characters.iter().position(|&k| k == c).map(|i| i as u32);
    let mut tokens: Vec<u32> = arguments.prompt.chars().filter_map(known).collect();
    if tokens.is_empty() {
        return Err(Error::argument("--prompt", "has no character that the model knows; give another"));
    }
    let capacity = arguments.context;
    let mut generation = Generation::new(capacity);
    let kept = (capacity / 2).max(1);
    let mut new = tokens[tokens.len().saturating_sub(kept)..].to_vec();
    print!("{}", tokens.iter().map(|&t| characters[t as usize]).collect::<String>());
    let mut seconds = 0.0;
    for n in 0..arguments.generate {
        let start = Instant::now();
        if generation.len() + new.len() > capacity {
            // What was written last is the beginning of the next window.
            generation = Generation::new(capacity);
            new = tokens[tokens.len().saturating_sub(kept)..].to_vec();
        }
        let logits = generation.step(model, &Tensor::from_slice(&new, [1, new.len()], device)?)?;
        let last = logits.slice(1, new.len() - 1, 1)?.reshape([characters.len()])?;
        let weights = (last / arguments.temperature.max(1e-3))?.softmax(-1)?.to_vec::<f32>()?;
        // The first character up to which the weights reach a random share.
        let share = Tensor::rand([], Device::Cpu, arguments.seed + n as u64)?.item::<f32>()?;
        let mut sum = 0.0;
        let reached = weights.iter().position(|w| {
            sum += w;
            sum > share
        });
        let next = reached.unwrap_or(characters.len() - 1) as u32;
        seconds += start.elapsed().as_secs_f64();
        print!("{}", characters[next as usize]);
        tokens.push(next);
        new = vec![next];
    }
    println!();
    Ok(arguments.generate as f64 / seconds)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let text = match &arguments.text {
        Some(file) => std::fs::read_to_string(file).map_err(|e| Error::io(file, e))?,
        None => include_str!("coriolanus.txt").to_string(),
    };
    let model = match &arguments.load {
        Some(file) => Model::load_model(file, device)?,
        None => {
            let characters: Vec<char> = text.chars().collect::<BTreeSet<char>>().into_iter().collect();
            build_model(&arguments, &characters, device)?
        }
    };
    let characters: Vec<char> = model.classes().iter().filter_map(|name| name.chars().next()).collect();
    let numbers: Vec<u32> =
        text.chars().filter_map(|c| characters.iter().position(|&k| k == c)).map(|i| i as u32).collect();
    println!("{} characters, {} of them different", numbers.len(), characters.len());
    // The last tenth is kept for validation.
    let (train, rest) = numbers.split_at(numbers.len() * 9 / 10);
    let train = windows("text", train, arguments.context, arguments.windows)?;
    let validation = windows("end of the text", rest, arguments.context, arguments.windows.div_ceil(20))?;
    println!("{}", model.summary());
    if let Some(folder) = &arguments.peer {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        model.save(folder.join("first.safetensors"))?;
        Tensor::from_slice(&numbers, [numbers.len()], Device::Cpu)?.save_npy(folder.join("numbers.npy"))?;
    }

    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, Adam::new(arguments.lr), loss).build()?;
    let fit =
        Fit::epochs(arguments.epochs).batch_size(arguments.batch_size).seed(arguments.seed).shuffle(false);
    if let Some(steps) = arguments.profile {
        let some = train.take(steps.max(1) * arguments.batch_size)?;
        let fit = || Fit::epochs(1).batch_size(arguments.batch_size).shuffle(false).verbose(false);
        // The first steps make plans and find memory.
        trainer.fit(&some, fit())?;
        println!("{}", trainer.model().device().profile(|| trainer.fit(&some, fit()).map(drop))?);
        return Ok(());
    }
    let start = Instant::now();
    let history = trainer.fit(&train, fit.validation(&validation).stop_on_ctrl_c())?;
    if let Some(last) = history.epochs.last() {
        let values = ["loss", "val_loss"].map(|name| last.value(name).unwrap_or(f64::NAN));
        let seconds = start.elapsed().as_secs_f64();
        println!("loss per character {:.4}, validation {:.4}, {seconds:.1} s", values[0], values[1]);
    }
    if let Some(file) = &arguments.save {
        trainer.model().save_model(file)?;
        println!("wrote {}", file.display());
    }
    if arguments.generate > 0 {
        let speed = write(trainer.model(), &characters, &arguments, device)?;
        println!("{speed:.0} characters/s");
    }
    Ok(())
}
