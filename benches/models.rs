//! Training steps of whole models, and attention alone: `cargo bench --bench models -- SECTION [DEVICE [STEPS]]`, sections `transformer`,
//! `lstm`, `conv1d`, `resnet18` and `attention`; the device is `cpu` or `gpu`.
//!
//! A line for each: the median of so many steps (10), in milliseconds; of no steps the profile of one. `benches/peers/py/torch_models.py` takes the same arguments and
//! does the same; `benches/peers/models.sh` runs both in turn.

mod common;

use common::{quantile, uniform};
use std::time::Instant;
use wgrad::Padding1d;
use wgrad::nn::{
    AttentionOptions, BatchNorm, Context, Conv1d, Embedding, Functional, GlobalAvgPool1d, GlobalAvgPool2d,
    LayerNorm, Lstm, Merge, PositionEmbedding, Symbol, TransformerDecoder,
};
use wgrad::prelude::*;

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let section = arguments.next().unwrap_or_default();
    let device = match arguments.next().as_deref() {
        Some("gpu") => Device::Gpu,
        _ => Device::Cpu,
    };
    let steps = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(10);
    match section.as_str() {
        "transformer" => transformer(device, steps),
        "lstm" => lstm(device, steps),
        "conv1d" => conv1d(device, steps),
        "resnet18" => resnet18(device, steps),
        "attention" => attention(device, steps),
        _ => {
            println!("sections: transformer, lstm, conv1d, resnet18, attention");
            Ok(())
        }
    }
}

/// The median time of a step, after two that warm up.
fn measure(name: &str, steps: usize, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    let mut times = Vec::with_capacity(steps);
    for i in 0..steps + 2 {
        let start = Instant::now();
        step()?;
        if i >= 2 {
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
    }
    println!("{name} {:.2}", quantile(&mut times, 0.5));
    Ok(())
}

/// Steps of Adam on one batch, of classes by logits `[.., classes]`.
fn train(name: &str, steps: usize, model: &Model, x: &Tensor, labels: &Tensor) -> Result<()> {
    x.eval()?;
    labels.eval()?;
    let mut adam = Adam::new(1e-3);
    let mut step = || {
        let logits = model.forward(x, &Context::train(0))?;
        let grads = logits.cross_entropy(labels)?.backward()?;
        drop(logits);
        adam.step(&grads)?;
        x.device().synchronize()
    };
    if steps == 0 {
        step()?;
        println!("{}", x.device().profile(step)?);
        return Ok(());
    }
    measure(name, steps, step)
}

/// Four blocks of GPT-2 with 256 features and 8 heads, 8 windows of 256 symbols, of which there are 100.
fn transformer(device: Device, steps: usize) -> Result<()> {
    let (batch, length, symbols) = (8, 256, 100);
    let mut stack = Sequential::new().add(Embedding::new(symbols, 256)).add(PositionEmbedding::new(length));
    for _ in 0..4 {
        stack =
            stack.add(TransformerDecoder::new(1024, 8).normalize_first(true).activation(Activation::Gelu));
    }
    let model = stack.add(LayerNorm::new()).add(Dense::new(symbols)).build([length], device)?;
    let tokens = Tensor::randint(0, symbols as i32, [batch, length], device, 1)?;
    let labels = Tensor::randint(0, symbols as i32, [batch, length], device, 2)?;
    train("transformer", steps, &model, &tokens, &labels)
}

/// Hidden 256 from 64 features, 100 steps, 32 sequences.
fn lstm(device: Device, steps: usize) -> Result<()> {
    let model = Sequential::new().add(Lstm::new(256)).add(Dense::new(10)).build([100, 64], device)?;
    let x = uniform(&[32, 100, 64], device, 1)?;
    train("lstm", steps, &model, &x, &Tensor::randint(0, 10, [32], device, 2)?)
}

/// Four convolutions of 9 taps to 64 channels over 16,000 samples, two sounds.
fn conv1d(device: Device, steps: usize) -> Result<()> {
    let mut stack = Sequential::new();
    for _ in 0..4 {
        stack = stack.add(Conv1d::new(64, 9).padding(Padding1d::Same).activation(Activation::Relu));
    }
    let model = stack.add(GlobalAvgPool1d::new()).add(Dense::new(10)).build([16_000, 1], device)?;
    let x = uniform(&[2, 16_000, 1], device, 1)?;
    train("conv1d", steps, &model, &x, &Tensor::randint(0, 10, [2], device, 2)?)
}

/// ResNet-18 for small pictures: a first convolution of 3x3, no pooling behind it. Eight pictures of 32x32.
fn resnet18(device: Device, steps: usize) -> Result<()> {
    let mut net = Functional::new(device);
    let convolution = |filters, size, stride| {
        Conv2d::new(filters, [size, size]).stride([stride; 2]).padding(Padding::Same).bias(false)
    };
    let normalized = |net: &mut Functional, layer: Conv2d, x: Symbol| {
        let x = net.layer(layer, x)?;
        net.layer(BatchNorm::new(), x)
    };
    let image = net.input("image", [32, 32, 3])?;
    let x = normalized(&mut net, convolution(64, 3, 1), image)?;
    let mut x = net.layer(Activation::Relu, x)?;
    let mut channels = 64;
    for filters in [64, 128, 256, 512] {
        for block in 0..2 {
            let stride = if block == 0 && filters > 64 { 2 } else { 1 };
            let y = normalized(&mut net, convolution(filters, 3, stride), x)?;
            let y = net.layer(Activation::Relu, y)?;
            let y = normalized(&mut net, convolution(filters, 3, 1), y)?;
            let short = match channels == filters {
                true => x,
                false => normalized(&mut net, convolution(filters, 1, stride), x)?,
            };
            let sum = net.merge(Merge::Add, &[short, y])?;
            x = net.layer(Activation::Relu, sum)?;
            channels = filters;
        }
    }
    let x = net.layer(GlobalAvgPool2d::new(), x)?;
    let logits = net.layer(Dense::new(10), x)?;
    let model = net.build(&[("class", logits)])?;
    let x = uniform(&[8, 32, 32, 3], device, 1)?;
    train("resnet18", steps, &model, &x, &Tensor::randint(0, 10, [8], device, 2)?)
}

/// Forward, then forward and backward: batch, heads, length, columns of a head; every query sees all keys, then those before it.
fn attention(device: Device, steps: usize) -> Result<()> {
    for [batch, heads, length, width] in [
        [8, 8, 16, 32],
        [8, 8, 64, 32],
        [8, 8, 256, 32],
        [8, 4, 256, 64],
        [1, 4, 2048, 64],
        [1, 1, 8192, 128],
    ] {
        for causal in [false, true] {
            let heads_of =
                |seed| uniform(&[batch, length, heads, width], device, seed)?.permute([0, 2, 1, 3])?.watch();
            let (q, k, v) = (heads_of(1)?, heads_of(2)?, heads_of(3)?);
            let upstream = uniform(&[batch, heads, length, width], device, 4)?;
            let options = AttentionOptions::new().causal(causal);
            let name = format!("{batch}x{heads}x{length}x{width}{}", if causal { " causal" } else { "" });
            measure(&format!("attention {name} forward"), steps, || {
                q.scaled_dot_product_attention(&k, &v, &options)?.eval()?;
                device.synchronize()
            })?;
            measure(&format!("attention {name} with gradients"), steps, || {
                let y = q.scaled_dot_product_attention(&k, &v, &options)?;
                let grads = y.backward_with(&upstream)?;
                wgrad::eval(&[&y, &grads.get(&q)?, &grads.get(&k)?, &grads.get(&v)?])?;
                device.synchronize()
            })?;
        }
    }
    Ok(())
}
