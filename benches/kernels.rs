//! Runs what the table of machine code is made of (`benches/isa/`), with the kernels of real GPUs, and writes these down: each is
//! a file `FOLDER/CASE/LABEL-HASH.wgsl`. Nothing is measured; `benches/isa/run` calls it with the folder.
//!
//! Each case is a process: kernels that another case has compiled could stand in for better ones.

mod common;

use common::{network, run};
use std::path::Path;
use std::process::{Command, exit};
use wgrad::nn::Context;
use wgrad::prelude::*;
use wgrad::{Axes, Conv2dOptions, Padding, Pool2dOptions};

const GPU: Device = Device::Gpu;

type Case = (&'static str, fn() -> Result<()>);

const CASES: [Case; 29] = [
    ("cnn", cnn),
    ("matmul 128", || matmul([2048, 2048, 160])),
    ("matmul 128 odd", || matmul([2047, 2047, 159])),
    ("matmul 64", || matmul([64, 8192, 160])),
    ("matmul 64 odd", || matmul([63, 8191, 159])),
    ("conv2d 128", || convolution([3, 1], 128)),
    ("conv2d 128 odd", || convolution([3, 1], 127)),
    ("conv2d 128 weight", || weight_gradient(128)),
    ("conv2d 128 weight odd", || weight_gradient(127)),
    ("softmax 32", || softmax([4096, 32])),
    ("softmax 1024", || softmax([1024, 1024])),
    ("softmax 1023", || softmax([1024, 1023])),
    ("softmax 100000", || softmax([8, 100_000])),
    ("log_softmax 32", || log_softmax([4096, 32])),
    ("log_softmax 1024", || log_softmax([1024, 1024])),
    ("sum rows", || sum(1024, 1.into())),
    ("sum rows odd", || sum(1023, 1.into())),
    ("sum columns", || sum(1024, 0.into())),
    ("sum columns odd", || sum(1023, 0.into())),
    ("sum all", || sum(1024, (..).into())),
    ("argmax", || run_with([2048, 1024], |x| x.argmax(1, false))),
    ("max 2x2", || pool(32, 2, Tensor::max_pool2d)),
    ("max 2x2 odd", || pool(31, 2, Tensor::max_pool2d)),
    ("max 3x3", || pool(32, 3, Tensor::max_pool2d)),
    ("max 3x3 odd", || pool(31, 3, Tensor::max_pool2d)),
    ("avg 2x2", || pool(32, 2, Tensor::avg_pool2d)),
    ("avg 3x3", || pool(32, 3, Tensor::avg_pool2d)),
    ("sgd", || steps(Sgd::new(0.05).momentum(0.9))),
    ("adam", || steps(Adam::new(1e-3).weight_decay(0.01))),
];

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (Some(folder), case) = (arguments.next(), arguments.next()) else {
        println!("benches/isa/run calls this: nothing is measured here");
        return Ok(());
    };
    if let Some(wanted) = case {
        let (_, compute) = CASES.into_iter().find(|(name, _)| *name == wanted).expect("a case of the list");
        return compute();
    }
    for (name, _) in CASES {
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args([&folder, name])
            .env("WGRAD_KERNELS", "tiled")
            .env("WGRAD_DUMP_SHADERS", Path::new(&folder).join(name))
            .status()
            .expect("this program runs");
        if !status.success() {
            eprintln!("{name} failed");
            exit(1);
        }
    }
    Ok(())
}

/// Values that no kernel makes.
fn values(shape: &[usize]) -> Result<Tensor> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    Tensor::from_slice(&values, shape, GPU)
}

fn run_with<const RANK: usize>(shape: [usize; RANK], f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    let x = values(&shape)?;
    run(GPU, || Ok([f(&x)?]));
    Ok(())
}

/// Training steps of the MNIST network at batch 128.
fn cnn() -> Result<()> {
    let images = values(&[128, 28, 28, 1])?;
    let labels = Tensor::from_slice(&[3u32; 128], [128], GPU)?;
    let model = network(GPU)?;
    let mut adam = Adam::new(1e-3);
    for _ in 0..2 {
        let logits = model.forward(&images, &Context::train(0))?;
        let grads = logits.cross_entropy(&labels)?.backward()?;
        drop(logits);
        adam.step(&grads)?;
    }
    GPU.synchronize()
}

/// All four layouts.
fn matmul([m, n, k]: [usize; 3]) -> Result<()> {
    let (a, at) = (values(&[m, k])?, values(&[k, m])?);
    let (b, bt) = (values(&[k, n])?, values(&[n, k])?);
    run(GPU, || Ok([a.matmul(&b)?, a.matmul(bt.transpose()?)?]));
    run(GPU, || Ok([at.transpose()?.matmul(&b)?, at.transpose()?.matmul(bt.transpose()?)?]));
    Ok(())
}

/// Forward pass and input gradient of a padded convolution with so many channels before and after.
fn convolution(kernel: [usize; 2], channels: usize) -> Result<()> {
    let x = values(&[16, 32, 32, channels])?;
    let w = values(&[kernel[0], kernel[1], channels, channels])?;
    let watched = x.watch()?;
    let y = watched.conv2d(&w, Conv2dOptions::new().padding(Padding::Same))?;
    let grads = y.backward_with(&x)?;
    run(GPU, || Ok([y.detach()?, grads.get(&watched)?]));
    Ok(())
}

fn weight_gradient(channels: usize) -> Result<()> {
    let x = values(&[16, 32, 32, channels])?;
    let w = values(&[3, 3, channels, channels])?.watch()?;
    let grads = x.conv2d(&w, Conv2dOptions::new().padding(Padding::Same))?.backward_with(&x)?;
    run(GPU, || Ok([grads.get(&w)?]));
    Ok(())
}

fn softmax(shape: [usize; 2]) -> Result<()> {
    run_with(shape, |x| x.softmax(-1))
}

/// With its gradient.
fn log_softmax(shape: [usize; 2]) -> Result<()> {
    run_with(shape, |x| {
        let watched = x.watch()?;
        watched.log_softmax(-1)?.backward_with(x)?.get(&watched)
    })
}

fn sum(len: usize, axes: Axes) -> Result<()> {
    run_with([2048, len], |x| x.sum(&axes, false))
}

/// Pooling and its gradient, over that many channels.
fn pool(channels: usize, kernel: usize, f: fn(&Tensor, Pool2dOptions) -> Result<Tensor>) -> Result<()> {
    let options = Pool2dOptions::new([kernel, kernel]).stride([2, 2]);
    let x = values(&[32, 26, 26, channels])?.watch()?;
    let y = f(&x, options)?;
    y.eval()?;
    let grads = y.backward_with(&values(&y.shape())?)?;
    run(GPU, || Ok([grads.get(&x)?]));
    Ok(())
}

/// Steps of an optimizer.
fn steps(mut optimizer: impl Optimizer) -> Result<()> {
    let w = Variable::new(values(&[64, 64])?);
    for _ in 0..2 {
        let grads = w.value().square()?.sum(.., false)?.backward()?;
        optimizer.step(&grads)?;
    }
    GPU.synchronize()
}
