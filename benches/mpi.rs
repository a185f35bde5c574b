//! What it costs to add gradients over all ranks: `mpirun -n 4 target/release/deps/mpi-...`, as `cargo bench --features mpi --bench mpi
//! --no-run` names it. Rank 0 prints a line per size: the time of a message one way and of a reduction, medians. docs/distributed.md
//! has a model of these. With the argument `overlap`, on two ranks: what a step takes whose gradients are reduced in several parts, each
//! while the next is computed. With `norm`: steps with a BatchNorm of each shard, and of all ranks.

#[path = "common/mod.rs"]
mod common;

use common::network;
use std::sync::mpsc::channel;
use std::time::Instant;
use wgrad::distributed::{Collective, Mpi};
use wgrad::nn::{BatchNorm, Context};
use wgrad::prelude::*;

fn main() -> Result<()> {
    let world = Mpi::world()?;
    let ranks = world.size();
    if std::env::args().any(|argument| argument == "overlap") {
        return overlap(&world);
    }
    if std::env::args().any(|argument| argument == "norm") {
        return norm(&world);
    }
    // Latency: what a message of nothing takes there and back, halved. Only the first two ranks of a pair talk.
    if world.rank() == 0 {
        println!("{ranks} ranks on {}", world.host());
    }
    if ranks > 1 {
        for bytes in [1, 1 << 14, 1 << 20, 1 << 24] {
            let times = repeat(200, || pass(&world, bytes));
            if world.rank() == 0 {
                println!("message of {bytes} bytes: {:.1} us one way", 1e6 * times? / 2.0);
            }
        }
    }
    for elements in [1_000, 93_322, 1_000_000, 10_000_000] {
        let weight = Variable::new(Tensor::zeros([elements], Device::Cpu)?);
        let grads = weight.value().sum(.., false)?.backward()?;
        let seconds =
            repeat(if elements > 1_000_000 { 5 } else { 50 }, || grads.all_reduce(&world).map(drop))?;
        if world.rank() == 0 {
            println!("{elements} gradients: {:.3} ms", 1e3 * seconds);
        }
    }
    Ok(())
}

/// There and back between the ranks 0 and 1.
fn pass(world: &Mpi, bytes: usize) -> Result<()> {
    match world.rank() {
        0 => {
            world.transfer(Some((1, vec![0; bytes])), None)?;
            world.transfer(None, Some(1)).map(drop)
        }
        1 => {
            world.transfer(None, Some(0))?;
            world.transfer(Some((0, vec![0; bytes])), None).map(drop)
        }
        _ => Ok(()),
    }
}

/// The median of so many runs, in seconds.
fn repeat(count: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[count / 2])
}

/// Steps of a network with three BatchNorms, of each shard and of all ranks.
fn norm(world: &Mpi) -> Result<()> {
    let device = device()?;
    let samples = 128;
    for synchronized in [false, true, false, true] {
        let block = |stack: Sequential, filters: usize| {
            let norm = BatchNorm::new().synchronized(synchronized);
            stack.add(Conv2d::new(filters, [3, 3]).bias(false)).add(norm).add(Activation::Relu)
        };
        let pool = || MaxPool2d::new([2, 2]);
        let stack = block(block(Sequential::new(), 32).add(pool()), 64).add(pool());
        let model = block(stack, 64).add(Flatten::new()).add(Dense::new(64)).add(Dense::new(10));
        let model = model.seed(1).build([28, 28, 1], device)?;
        let loss = SparseCategoricalCrossentropy::from_logits();
        let mut trainer = Trainer::new(model, Sgd::new(1e-3), loss).build()?;
        trainer.distributed(world.clone());
        let x = Tensor::rand([samples, 28, 28, 1], device, 1)?;
        let labels = Tensor::from_vec((0..samples).map(|k| (k % 10) as u32).collect(), [samples], device)?;
        let batch = wgrad::data::Batch::new(x, labels);
        let step = repeat(41, || trainer.train_on_batch(&batch).map(drop))?;
        let evaluations = device.profile(|| trainer.train_on_batch(&batch).map(drop))?.evaluations;
        let peak = device.stats()?.bytes_peak >> 20;
        if world.rank() == 0 {
            println!(
                "synchronized {synchronized}: a step of {samples} samples {:.2} ms, {evaluations} evaluations, at most {peak} MiB so far",
                1e3 * step
            );
        }
    }
    Ok(())
}

fn device() -> Result<Device> {
    std::env::var("WGRAD_DEVICE").unwrap_or("cpu".into()).parse()
}

/// Steps of some networks whose gradients are evaluated and reduced in one part, in two, in three: one after the other, and at once.
fn overlap(world: &Mpi) -> Result<()> {
    if world.size() != 2 {
        return Err(wgrad::Error::argument("overlap", "expects two ranks"));
    }
    let device = device()?;
    let wide = |width: usize| {
        let hidden = || Dense::new(width).activation(Activation::Relu);
        Sequential::new()
            .add(Flatten::new())
            .add(hidden())
            .add(hidden())
            .add(Dense::new(10))
            .build([28, 28, 1], device)
    };
    let nets = [
        ("mnist_cnn", network(device)?, 64),
        ("mnist_cnn", network(device)?, 256),
        ("784-1024-1024-10", wide(1024)?, 512),
    ];
    for (name, net, samples) in nets {
        let x = Tensor::rand([samples, 28, 28, 1], device, 1)?;
        let labels = Tensor::from_vec((0..samples).map(|k| (k % 10) as u32).collect(), [samples], device)?;
        for count in [1, 2, 3] {
            let parts = || parts(&net, &x, &labels, count);
            let sizes: Vec<usize> = parts()?.iter().map(Tensor::numel).collect();
            let computed =
                repeat(15, || parts()?.iter().try_for_each(|part| part.to_vec::<f32>().map(drop)))?;
            let ready: Vec<Vec<f32>> = parts()?.iter().map(Tensor::to_vec).collect::<Result<_>>()?;
            let reduced =
                repeat(15, || ready.iter().try_for_each(|part| reduce(world, part.clone()).map(drop)))?;
            let after =
                repeat(15, || parts()?.iter().try_for_each(|part| reduce(world, part.to_vec()?).map(drop)))?;
            let at_once = repeat(15, || {
                std::thread::scope(|scope| {
                    let (give, take) = channel::<Vec<f32>>();
                    let reducer =
                        scope.spawn(|| take.into_iter().try_for_each(|part| reduce(world, part).map(drop)));
                    for part in parts()? {
                        // Where the other thread has failed, it says why.
                        let _ = give.send(part.to_vec()?);
                    }
                    drop(give);
                    reducer.join().map_err(|_| wgrad::Error::other("the reducing thread has panicked"))?
                })
            })?;
            if world.rank() == 0 {
                let [computed, reduced, after, at_once] =
                    [computed, reduced, after, at_once].map(|t| 1e3 * t);
                println!(
                    "{name}, {samples} samples, parts {sizes:?}: computed {computed:.2} ms, reduced {reduced:.2}, one after the other \
                     {after:.2}, at once {at_once:.2}"
                );
            }
        }
    }
    Ok(())
}

/// The gradients of a step in so many vectors, those of the last layers first; lazily.
fn parts(net: &Model, x: &Tensor, labels: &Tensor, count: usize) -> Result<Vec<Tensor>> {
    let grads = net.forward(x, &Context::train(1))?.cross_entropy(labels)?.backward()?;
    let mut rest: Vec<Tensor> = grads.variables().into_iter().map(|(_, grad)| grad).collect();
    let mut parts = Vec::with_capacity(count);
    let all: usize = rest.iter().map(Tensor::numel).sum();
    for k in (0..count).rev() {
        let mut part = Vec::new();
        let mut elements = 0;
        while let Some(grad) = rest.pop() {
            elements += grad.numel();
            part.push(grad.detach()?.flatten(0)?);
            if k > 0 && elements >= all / count {
                break;
            }
        }
        if !part.is_empty() {
            parts.push(Tensor::concat(&part.iter().collect::<Vec<_>>(), 0)?);
        }
    }
    Ok(parts)
}

/// A sum over two ranks as the library makes it: each adds a half, and gives it to the other.
fn reduce(world: &Mpi, mut mine: Vec<f32>) -> Result<Vec<f32>> {
    let (first, middle) = (world.rank() == 0, mine.len() / 2);
    let other = 1 - world.rank();
    let garbled = || wgrad::Error::other("the other rank has sent nothing");
    let bytes = |part: &[f32]| part.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
    let numbers = |message: &[u8]| -> Vec<f32> {
        message.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let (given, kept) = if first { (middle..mine.len(), 0..middle) } else { (0..middle, middle..mine.len()) };
    let got = world.transfer(Some((other, bytes(&mine[given.clone()]))), Some(other))?.ok_or_else(garbled)?;
    for (sum, value) in mine[kept.clone()].iter_mut().zip(numbers(&got)) {
        *sum += value;
    }
    let got = world.transfer(Some((other, bytes(&mine[kept]))), Some(other))?.ok_or_else(garbled)?;
    mine[given].copy_from_slice(&numbers(&got));
    Ok(mine)
}
