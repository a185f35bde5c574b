//! Single operations on both devices: `cargo bench --bench ops`, or a part: `cargo bench --bench ops -- matmul`.
//!
//! Every iteration builds the graph, evaluates it and waits. Throughputs are in operations: for matmul and conv2d
//! floating-point ones (multiplications and additions), elsewhere elements read.

mod common;

use common::{config, devices, run, uniform};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgrad::prelude::*;
use wgrad::{Axes, Conv2dOptions, Pool2dOptions};

fn matmul(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("matmul");
    for device in devices() {
        for n in [256, 512, 1024] {
            let (a, b) = (uniform(&[n, n], device, 1)?, uniform(&[n, n], device, 2)?);
            group.throughput(Throughput::Elements(2 * (n * n * n) as u64));
            group.bench_function(BenchmarkId::new(device.to_string(), n), |bench| {
                bench.iter(|| run(device, || Ok([a.matmul(&b)?])));
            });
        }
    }
    group.finish();
    Ok(())
}

/// The three convolutions of the MNIST network at batch 128: forward, then forward and both gradients.
fn conv2d(c: &mut Criterion) -> Result<()> {
    const N: usize = 128;
    let mut group = c.benchmark_group("conv2d");
    for device in devices() {
        for (size, cin, cout) in [(28, 1, 32), (13, 32, 64), (5, 64, 64)] {
            let out = size - 2;
            let x = uniform(&[N, size, size, cin], device, 1)?;
            let w = uniform(&[3, 3, cin, cout], device, 2)?;
            let dy = uniform(&[N, out, out, cout], device, 3)?;
            let flops = (2 * N * out * out * 9 * cin * cout) as u64;
            let layer = format!("{size}x{size}x{cin} to {cout}");
            group.throughput(Throughput::Elements(flops));
            group.bench_function(BenchmarkId::new(format!("{device} forward"), &layer), |bench| {
                bench.iter(|| run(device, || Ok([x.conv2d(&w, Conv2dOptions::default())?])));
            });
            group.throughput(Throughput::Elements(3 * flops));
            group.bench_function(BenchmarkId::new(format!("{device} with gradients"), &layer), |bench| {
                bench.iter(|| {
                    run(device, || {
                        let (x, w) = (x.watch()?, w.watch()?);
                        let y = x.conv2d(&w, Conv2dOptions::default())?;
                        let grads = y.backward_with(&dy)?;
                        Ok([y.detach()?, grads.get(&x)?, grads.get(&w)?])
                    });
                });
            });
        }
    }
    group.finish();
    Ok(())
}

fn max_pool2d(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("max_pool2d 2x2");
    let options = Pool2dOptions::new([2, 2]);
    for device in devices() {
        let x = uniform(&[128, 26, 26, 32], device, 1)?;
        let dy = uniform(&[128, 13, 13, 32], device, 2)?;
        group.throughput(Throughput::Elements(x.numel() as u64));
        group.bench_function(format!("{device} forward"), |bench| {
            bench.iter(|| run(device, || Ok([x.max_pool2d(options)?])));
        });
        group.bench_function(format!("{device} gradient"), |bench| {
            bench.iter(|| {
                run(device, || {
                    let x = x.watch()?;
                    let grads = x.max_pool2d(options)?.backward_with(&dy)?;
                    Ok([grads.get(&x)?])
                });
            });
        });
    }
    group.finish();
    Ok(())
}

/// The loss and its gradient for the logits.
fn cross_entropy(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("cross_entropy with gradient");
    for device in devices() {
        for (rows, classes) in [(128, 10), (1024, 1000)] {
            let logits = uniform(&[rows, classes], device, 1)?;
            let labels = Tensor::randint(0, classes as i32, [rows], device, 2)?;
            labels.eval()?;
            group.throughput(Throughput::Elements((rows * classes) as u64));
            let id = BenchmarkId::new(device.to_string(), format!("{rows}x{classes}"));
            group.bench_function(id, |bench| {
                bench.iter(|| {
                    run(device, || {
                        let logits = logits.watch()?;
                        let loss = logits.cross_entropy(&labels)?;
                        let grads = loss.backward()?;
                        Ok([loss.detach()?, grads.get(&logits)?])
                    });
                });
            });
        }
    }
    group.finish();
    Ok(())
}

/// A chain that a GPU computes in one kernel and the CPU in five passes.
fn pointwise(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("pointwise");
    for device in devices() {
        let (a, b) = (uniform(&[1 << 20], device, 1)?, uniform(&[1 << 20], device, 2)?);
        group.throughput(Throughput::Elements(1 << 20));
        group.bench_function(format!("{device} add"), |bench| {
            bench.iter(|| run(device, || Ok([(&a + &b)?])));
        });
        group.bench_function(format!("{device} relu((a + b) * a - 0.5) * 2"), |bench| {
            bench.iter(|| run(device, || Ok([((((&a + &b)? * &a)? - 0.5)?.relu()? * 2.0)?])));
        });
    }
    group.finish();
    Ok(())
}

/// Functions of each element, by the element, on the CPU: none should cost ten times what another does.
fn functions(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("functions");
    let x = (uniform(&[1 << 20], Device::Cpu, 1)? * 4.0)?;
    x.eval()?;
    group.throughput(Throughput::Elements(1 << 20));
    type Function = fn(&Tensor) -> Result<Tensor>;
    let list: [(&str, Function); 15] = [
        ("exp", |x| x.exp()),
        ("log", |x| x.log()),
        ("sin", |x| x.sin()),
        ("atan", |x| x.atan()),
        ("expm1", |x| x.expm1()),
        ("sigmoid", |x| x.sigmoid()),
        ("tanh", |x| x.tanh()),
        ("softplus", |x| x.softplus()),
        ("silu", |x| x.silu()),
        ("mish", |x| x.mish()),
        ("erf", |x| x.erf()),
        ("gelu", |x| x.gelu()),
        ("gelu_tanh", |x| x.gelu_tanh()),
        ("fmod", |x| x % 0.3),
        ("gelu with gradient", |x| {
            let x = x.watch()?;
            x.gelu()?.backward_with(&x)?.get(&x)
        }),
    ];
    for (name, f) in list {
        group.bench_function(name, |bench| bench.iter(|| run(Device::Cpu, || Ok([f(&x)?]))));
    }
    group.finish();
    Ok(())
}

fn reduce(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("sum of 1024x1024");
    for device in devices() {
        let x = uniform(&[1024, 1024], device, 1)?;
        group.throughput(Throughput::Elements(1 << 20));
        for (what, axes) in [("rows", Axes::from(1)), ("columns", Axes::from(0)), ("all", Axes::from(..))] {
            group.bench_function(format!("{device} {what}"), |bench| {
                bench.iter(|| run(device, || Ok([x.sum(&axes, false)?])));
            });
        }
    }
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    for bench in [matmul, conv2d, max_pool2d, cross_entropy, pointwise, functions, reduce] {
        bench(c).expect("the bench's inputs are made");
    }
}

criterion_group! { name = benches; config = config(); targets = all }
criterion_main!(benches);
