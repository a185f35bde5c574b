//! A training step of the MNIST network (forward, backward, Adam) on both devices: `cargo bench --bench step`.

mod common;

use common::{config, devices, uniform};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgrad::nn::Context;
use wgrad::prelude::*;

fn build(device: Device) -> Result<Model> {
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

fn step(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("mnist_cnn step");
    for device in devices() {
        for batch in [32, 128] {
            let images = uniform(&[batch, 28, 28, 1], device, 1)?;
            let labels = Tensor::randint(0, 10, [batch], device, 2)?;
            labels.eval()?;
            let model = build(device)?;
            let mut adam = Adam::new(1e-3);
            let mut train = || -> Result<()> {
                let logits = model.forward(&images, &Context::train(0))?;
                let grads = logits.cross_entropy(&labels)?.backward()?;
                drop(logits);
                adam.step(&grads)?;
                device.synchronize()
            };
            // The first steps plan and compile.
            for _ in 0..3 {
                train()?;
            }
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(device.to_string(), batch), |bench| {
                bench.iter(|| train().expect("a step that ran before runs again"));
            });
        }
    }
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    step(c).expect("the model is built");
}

criterion_group! { name = benches; config = config(); targets = all }
criterion_main!(benches);
