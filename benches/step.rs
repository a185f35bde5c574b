//! A training step of the MNIST network (forward, backward, Adam) on both devices: `cargo bench --bench step`.

mod common;

use common::{config, devices, network, uniform};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgrad::nn::Context;
use wgrad::prelude::*;

fn step(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("mnist_cnn step");
    for device in devices() {
        for batch in [32, 128] {
            let labels = Tensor::randint(0, 10, [batch], device, 2)?;
            let mut train = training(device, batch, labels)?;
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(device.to_string(), batch), |bench| {
                bench.iter(|| train().expect("a step that ran before runs again"));
            });
        }
    }
    group.finish();
    Ok(())
}

/// What it costs that kernels look whether labels are within their axis: with labels that come from the host, which knows the
/// largest, nothing is checked; those that were computed on the device are.
fn labels(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("mnist_cnn step, labels");
    for device in devices().into_iter().filter(|&device| device != Device::Cpu) {
        let batch = 128;
        let computed = Tensor::randint(0, 10, [batch], device, 2)?.cast(DType::U32)?;
        let known = Tensor::from_slice(&computed.to_vec::<u32>()?, [batch], device)?;
        for (name, labels) in [("known", known), ("checked", computed)] {
            let mut train = training(device, batch, labels)?;
            group.bench_function(BenchmarkId::new(device.to_string(), name), |bench| {
                bench.iter(|| train().expect("a step that ran before runs again"));
            });
        }
    }
    group.finish();
    Ok(())
}

/// A step of training that has been planned and compiled.
fn training(device: Device, batch: usize, labels: Tensor) -> Result<impl FnMut() -> Result<()>> {
    let images = uniform(&[batch, 28, 28, 1], device, 1)?;
    labels.eval()?;
    let model = network(device)?;
    let mut adam = Adam::new(1e-3);
    let mut train = move || -> Result<()> {
        let logits = model.forward(&images, &Context::train(0))?;
        let grads = logits.cross_entropy(&labels)?.backward()?;
        drop(logits);
        adam.step(&grads)?;
        device.synchronize()
    };
    for _ in 0..3 {
        train()?;
    }
    Ok(train)
}

fn all(c: &mut Criterion) {
    step(c).expect("the model is built");
    labels(c).expect("the model is built");
}

criterion_group! { name = benches; config = config(); targets = all }
criterion_main!(benches);
