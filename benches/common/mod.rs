//! What the benches share.

// Every bench compiles this module and uses its own part of it.
#![allow(dead_code)]

use criterion::Criterion;
use std::time::Duration;
use wgrad::prelude::*;

/// The CPU, and the GPU where there is one. `WGRAD_ADAPTER` chooses it.
pub fn devices() -> Vec<Device> {
    match Device::Gpu.info() {
        Ok(info) => {
            eprintln!("gpu is {} ({}), {}", info.name, info.kind, info.driver);
            vec![Device::Cpu, Device::Gpu]
        }
        Err(e) => {
            eprintln!("only the CPU is measured: {e}");
            vec![Device::Cpu]
        }
    }
}

/// Few and short samples: figures to compare by tens of percents, in minutes for all of them.
pub fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
}

/// Computes what `f` builds, and waits for it.
pub fn run<const N: usize>(device: Device, f: impl Fn() -> Result<[Tensor; N]>) {
    let tensors = f().expect("the operation accepts its inputs");
    wgrad::eval(&tensors.each_ref()).expect("the device computes");
    device.synchronize().expect("the device answers");
}

/// Uniform in -1 to 1, computed before anything is measured.
pub fn uniform(shape: &[usize], device: Device, seed: u64) -> Result<Tensor> {
    let t = ((Tensor::rand(shape, device, seed)? * 2.0)? - 1.0)?;
    t.eval()?;
    t.detach()
}

/// The network of `examples/mnist_cnn.rs`.
pub fn network(device: Device) -> Result<Model> {
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

/// The value below which this share of the samples lies.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * share) as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
