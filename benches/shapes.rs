//! What a new shape costs: `cargo bench --bench shapes [-- SECTION]`, sections `lstm` and `cnn`.
//!
//! Each section runs in a process of its own whose caches (the crate's and Mesa's) are empty, so that "first step" is what a
//! user sees who has never run the program. Figures are a line each, with the pipelines that were compiled and the plans that
//! were made meanwhile.

mod common;

use common::{devices, uniform};
use std::time::Instant;
use wgrad::nn::Context;
use wgrad::prelude::*;

const BATCH: usize = 16;
const INPUT: usize = 8;
const HIDDEN: usize = 32;

/// An LSTM over single steps, as one writes it by hand from the book's formulas.
struct Lstm {
    input: Variable,
    hidden: Variable,
    bias: Variable,
    head: Variable,
}

impl Lstm {
    fn new(device: Device) -> Result<Lstm> {
        let variable = |shape: &[usize], seed| -> Result<Variable> {
            Ok(Variable::new((uniform(shape, device, seed)? * 0.2)?))
        };
        Ok(Lstm {
            input: variable(&[INPUT, 4 * HIDDEN], 1)?,
            hidden: variable(&[HIDDEN, 4 * HIDDEN], 2)?,
            bias: variable(&[4 * HIDDEN], 3)?,
            head: variable(&[HIDDEN, 1], 4)?,
        })
    }

    /// A prediction for each step of sequences of `[BATCH, T, INPUT]`. The inputs' part of the gates is one product for all steps.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (device, length) = (x.device(), x.shape()[1]);
        let mut h = Tensor::zeros([BATCH, HIDDEN], device)?;
        let mut c = Tensor::zeros([BATCH, HIDDEN], device)?;
        let inputs = x.reshape([BATCH * length, INPUT])?.matmul(&self.input)?;
        let inputs = inputs.reshape([BATCH, length, 4 * HIDDEN])?;
        let mut outputs = Vec::with_capacity(length);
        for t in 0..length {
            let input = inputs.slice(1, t, 1)?.reshape([BATCH, 4 * HIDDEN])?;
            let gates = ((input + h.matmul(&self.hidden)?)? + &self.bias)?;
            let gate = |k: usize| gates.slice(1, k * HIDDEN, HIDDEN);
            c = ((gate(1)?.sigmoid()? * &c)? + (gate(0)?.sigmoid()? * gate(2)?.tanh()?)?)?;
            h = (gate(3)?.sigmoid()? * c.tanh()?)?;
            outputs.push(h.clone());
        }
        let outputs = Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 1)?;
        outputs.reshape([BATCH * length, HIDDEN])?.matmul(&self.head)?.reshape([BATCH, length, 1])
    }
}

/// Milliseconds since, after the device has finished, and what was compiled and planned since `before`.
fn report(what: &str, device: Device, start: Instant, before: wgrad::Stats) -> Result<()> {
    device.synchronize()?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let now = device.stats()?;
    println!(
        "{what:<34} {ms:>9.1} ms, {:>3} pipelines, {:>3} plans",
        now.pipelines - before.pipelines,
        now.plan_misses - before.plan_misses
    );
    Ok(())
}

fn lstm(device: Device) -> Result<()> {
    let model = Lstm::new(device)?;
    let mut adam = Adam::new(1e-3);
    for t in [50, 51, 52, 60] {
        let x = uniform(&[BATCH, t, INPUT], device, 5)?;
        let y = uniform(&[BATCH, t, 1], device, 6)?;
        for step in 0..4 {
            let (start, before) = (Instant::now(), device.stats()?);
            let loss = (model.forward(&x)? - &y)?.square()?.mean(.., false)?;
            let grads = loss.backward()?;
            drop(loss);
            adam.step(&grads)?;
            report(&format!("{device} lstm, T = {t}, step {step}"), device, start, before)?;
        }
    }
    Ok(())
}

fn network(device: Device) -> Result<Model> {
    Sequential::new()
        .add(Conv2d::new(32, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::Relu))
        .add(Dense::new(10))
        .build([28, 28, 1], device)
}

/// A full batch, the last one of an epoch over 60,000 images, then every size.
fn cnn(device: Device) -> Result<()> {
    let model = network(device)?;
    let mut adam = Adam::new(1e-3);
    let mut step = |batch: usize, what: Option<&str>| -> Result<(f64, u64)> {
        let images = uniform(&[batch, 28, 28, 1], device, 1)?;
        let labels = Tensor::randint(0, 10, [batch], device, 2)?;
        labels.eval()?;
        device.synchronize()?;
        let (start, before) = (Instant::now(), device.stats()?);
        let grads = model.forward(&images, &Context::train(0))?.cross_entropy(&labels)?.backward()?;
        adam.step(&grads)?;
        device.synchronize()?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let pipelines = device.stats()?.pipelines - before.pipelines;
        if let Some(what) = what {
            report(&format!("{device} cnn, {what}, batch {batch}"), device, start, before)?;
        }
        Ok((ms, pipelines))
    };
    for what in ["first step", "second step", "third step"] {
        step(128, Some(what))?;
    }
    for what in ["first step", "second step"] {
        step(96, Some(what))?;
    }
    let (mut pipelines, mut extra) = (0, Vec::new());
    for batch in 1..=128 {
        let (first, new) = step(batch, None)?;
        let again = step(batch, None)?.0.min(step(batch, None)?.0);
        if new > 0 {
            println!("{device} cnn, batch {batch}: {new} pipelines");
        }
        pipelines += new;
        extra.push(first - again);
    }
    extra.sort_by(f64::total_cmp);
    println!(
        "{device} cnn, every batch from 1 to 128: {pipelines} pipelines, {:.2} ms more for the first step (median), {:.1} at most",
        extra[64], extra[127]
    );
    Ok(())
}

type Section = (&'static str, fn(Device) -> Result<()>);

fn main() {
    let sections: [Section; 2] = [("lstm", lstm), ("cnn", cnn)];
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let Ok(section) = std::env::var("WGRAD_BENCH_SECTION") {
        let run = sections.iter().find(|s| s.0 == section).expect("a section").1;
        // Compiling and planning are the GPU's; an LSTM's steps are worth comparing.
        for device in devices().into_iter().filter(|&d| d != Device::Cpu || section == "lstm") {
            run(device).expect("the section runs");
        }
        return;
    }
    for (name, _) in sections {
        if !filter.is_empty() && !filter.iter().any(|f| f == name) {
            continue;
        }
        let caches = tempfile::tempdir().expect("a folder for empty caches");
        let program = std::env::current_exe().expect("this program");
        let status = std::process::Command::new(program)
            .env("WGRAD_BENCH_SECTION", name)
            .env("XDG_CACHE_HOME", caches.path())
            .env("MESA_SHADER_CACHE_DIR", caches.path())
            .status()
            .expect("this program starts again");
        assert!(status.success(), "{name} failed");
    }
}
