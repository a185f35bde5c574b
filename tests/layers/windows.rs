//! Convolution and pooling of sequences and volumes: long ones, and of any length.

use super::alone;
use crate::common::{DEVICES, tensor};
use wgrad::nn::{
    Context, Conv1d, Conv3d, ConvTranspose1d, ConvTranspose3d, GlobalAvgPool1d, GlobalAvgPool3d, MaxPool1d,
    MaxPool3d,
};
use wgrad::prelude::*;
use wgrad::{Conv1dOptions, Padding1d, Padding3d, Pool1dOptions};

/// Whole numbers, whose sums are exact, beyond what 16 bits count.
#[test]
fn long_sequences() -> Result<()> {
    let _alone = alone();
    let (length, kernel, dilation) = (70_001, 3, 4);
    let x: Vec<f64> = (0..length).map(|i| f64::from(i as u32 * 37 % 17) - 8.0).collect();
    let w = [2.0, -1.0, 3.0];
    let tap = |t: usize, k: usize| {
        let back = dilation * (kernel - 1 - k);
        if t < back { 0.0 } else { x[t - back] }
    };
    let causal: Vec<f32> =
        (0..length).map(|t| (0..kernel).map(|k| w[k] * tap(t, k)).sum::<f64>() as f32).collect();
    let largest: Vec<f32> = x.chunks_exact(2).map(|pair| pair[0].max(pair[1]) as f32).collect();
    for device in DEVICES {
        let input = tensor(&x, &[1, length, 1], DType::F32, device)?.watch()?;
        let weight = tensor(&w, &[kernel, 1, 1], DType::F32, device)?.watch()?;
        let options = Conv1dOptions::new().padding(Padding1d::Causal).dilation(dilation);
        let y = input.conv1d(&weight, options)?;
        assert!(y.to_vec::<f32>()? == causal, "{device}");
        let grads = y.sum(.., false)?.backward()?;
        let want: Vec<f32> =
            (0..kernel).map(|k| (0..length).map(|t| tap(t, k)).sum::<f64>() as f32).collect();
        assert_eq!(grads.get(&weight)?.to_vec::<f32>()?, want, "{device}");
        assert!(input.max_pool1d(Pool1dOptions::new(2))?.to_vec::<f32>()? == largest, "{device}");
    }
    Ok(())
}

/// Another length compiles nothing new.
#[test]
fn other_lengths_make_no_new_pipelines() -> Result<()> {
    let _alone = alone();
    let model = Sequential::new()
        .add(Conv1d::new(8, 5).stride(2).padding(Padding1d::Same).activation(Activation::Relu))
        .add(MaxPool1d::new(2))
        .add(Conv1d::new(8, 3).padding(Padding1d::Causal))
        .add(ConvTranspose1d::new(4, 4).stride(2).padding(Padding1d::Same))
        .add(GlobalAvgPool1d::new())
        .build((None, 3), Device::Gpu)?;
    no_new_pipelines(&model, |length| [4, length, 3].to_vec(), [203, 214, 207, 222, 250])
}

#[test]
fn other_depths_make_no_new_pipelines() -> Result<()> {
    let _alone = alone();
    let model = Sequential::new()
        .add(Conv3d::new(4, [3, 2, 2]).padding(Padding3d::Same).activation(Activation::Relu))
        .add(MaxPool3d::new([2, 1, 2]))
        .add(ConvTranspose3d::new(2, [2, 2, 2]).stride([2, 1, 1]))
        .add(GlobalAvgPool3d::new())
        .build((None, 5, 6, 2), Device::Gpu)?;
    no_new_pipelines(&model, |depth| [2, depth, 5, 6, 2].to_vec(), [9, 14, 12, 16, 11])
}

/// Trains for a step at each size; the second may compile another form of some kernel.
fn no_new_pipelines(model: &Model, batch: impl Fn(usize) -> Vec<usize>, sizes: [usize; 5]) -> Result<()> {
    let device = Device::Gpu;
    let mut adam = Adam::new(1e-3);
    let mut step = |size: usize| -> Result<u64> {
        let x = Tensor::randn(batch(size), device, 1)?;
        let loss = model.forward(&x, &Context::train(1))?.square()?.mean(.., false)?;
        adam.step(&loss.backward()?)?;
        loss.item::<f32>()?;
        Ok(device.stats()?.pipelines)
    };
    let [first, second, others @ ..] = sizes;
    step(first)?;
    let compiled = step(second)?;
    for size in others {
        assert_eq!(step(size)?, compiled, "{size}");
    }
    Ok(())
}
