//! Burn. The package that builds this file chooses the backend: burn_flex, burn_wgpu, burn_vulkan.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLoss;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use harness::{Classifier, Conv, Library, PIXELS, Result, Trainer, Work, uniform};
use std::process::ExitCode;

#[cfg(feature = "flex")]
fn device() -> Device {
    Device::flex()
}

#[cfg(feature = "wgpu")]
fn device() -> Device {
    Device::wgpu(Default::default())
}

#[cfg(feature = "vulkan")]
fn device() -> Device {
    Device::vulkan(Default::default())
}

#[derive(Module, Debug)]
struct Network {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    pool: MaxPool2d,
    dense1: Linear,
    dense2: Linear,
}

impl Network {
    fn new(device: &Device) -> Network {
        Network {
            conv1: Conv2dConfig::new([1, 32], [3, 3]).init(device),
            conv2: Conv2dConfig::new([32, 64], [3, 3]).init(device),
            conv3: Conv2dConfig::new([64, 64], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dense1: LinearConfig::new(576, 64).init(device),
            dense2: LinearConfig::new(64, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(x)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x: Tensor<2> = relu(self.conv3.forward(x)).flatten(1, 3);
        self.dense2.forward(relu(self.dense1.forward(x)))
    }
}

fn images(pixels: &[f32], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(pixels.to_vec(), [pixels.len() / PIXELS, 1, 28, 28]), device)
}

struct Training {
    device: Device,
    /// Taken out for the time of a step, which consumes it.
    network: Option<Network>,
    adam: ModuleOptimizer,
    loss: CrossEntropyLoss,
}

impl Trainer for Training {
    type Loss = Tensor<1>;

    fn step(&mut self, pixels: &[f32], labels: &[u32]) -> Result<Tensor<1>> {
        let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
        let labels =
            Tensor::<1, Int>::from_data(TensorData::new(labels, [pixels.len() / PIXELS]), &self.device);
        let network = self.network.take().ok_or("an earlier step failed")?;
        let loss = self.loss.forward(network.forward(images(pixels, &self.device)), labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        self.network = Some(self.adam.step(1e-3, network, gradients));
        Ok(loss.detach())
    }

    fn read(loss: Tensor<1>) -> Result<f32> {
        Ok(loss.into_scalar::<f32>())
    }

    fn classifier(&self) -> Result<Classifier<'_>> {
        let network = self.network.as_ref().ok_or("an earlier step failed")?.valid();
        let device = device();
        Ok(Box::new(move |pixels| {
            let classes = network.forward(images(pixels, &device)).argmax(1).into_data().convert::<i64>();
            let classes = classes.try_to_vec::<i64>().map_err(|e| format!("{e:?}"))?;
            Ok(classes.into_iter().map(|class| class as u32).collect())
        }))
    }
}

struct Burn {
    device: Device,
}

impl Library for Burn {
    type Trainer = Training;

    fn name(&self) -> &str {
        env!("CARGO_PKG_NAME")
    }

    fn device(&self) -> Result<String> {
        Ok(format!("{:?}", self.device))
    }

    fn trainer(&self) -> Result<Training> {
        let device = device().autodiff();
        device.seed(0);
        Ok(Training {
            network: Some(Network::new(&device)),
            adam: AdamConfig::new().with_epsilon(1e-7).init(),
            loss: CrossEntropyLoss::new(None, &device),
            device,
        })
    }

    fn matmul(&self, a: &[f32], b: &[f32], n: usize, times: usize) -> Result<Work<'_>> {
        let matrix = |v: &[f32]| Tensor::<2>::from_data(TensorData::new(v.to_vec(), [n, n]), &self.device);
        let (a, b) = (matrix(a), matrix(b));
        Ok(Box::new(move |read| {
            let mut product = b.clone();
            for _ in 0..times {
                product = a.clone().matmul(product);
            }
            self.device.sync().map_err(|e| format!("{e:?}"))?;
            if !read {
                return Ok(Vec::new());
            }
            let row = product.slice([0..1, 0..n]).into_data();
            row.try_to_vec::<f32>().map_err(|e| format!("{e:?}").into())
        }))
    }

    fn conv(&self, case: &Conv, backward: bool) -> Result<Work<'_>> {
        let Conv { batch, size, inputs, outputs, padding, .. } = *case;
        let out = case.output_size();
        let device = if backward { device().autodiff() } else { device() };
        let tensor = |dims: [usize; 4], limit, seed| {
            let values = uniform(dims.iter().product(), limit, seed);
            Tensor::<4>::from_data(TensorData::new(values, dims), &device)
        };
        let image = tensor([batch, inputs, size, size], 1.0, 2);
        let kernel = tensor([outputs, inputs, 3, 3], 0.1, 3);
        let bias = Tensor::<1>::zeros([outputs], &device);
        let upstream = tensor([batch, outputs, out, out], 1.0, 4);
        let options = move || ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
        Ok(Box::new(move |_| {
            if !backward {
                let result = conv2d(image.clone(), kernel.clone(), Some(bias.clone()), options());
                device.sync().map_err(|e| format!("{e:?}"))?;
                drop(result);
                return Ok(Vec::new());
            }
            let image = image.clone().detach().require_grad();
            let kernel = kernel.clone().detach().require_grad();
            let bias = bias.clone().detach().require_grad();
            let result = conv2d(image.clone(), kernel.clone(), Some(bias.clone()), options());
            let gradients = (result * upstream.clone()).sum().backward();
            let kept = (image.grad(&gradients), kernel.grad(&gradients), bias.grad(&gradients));
            device.sync().map_err(|e| format!("{e:?}"))?;
            match kept {
                (Some(_), Some(_), Some(_)) => Ok(Vec::new()),
                _ => Err("a gradient is missing".into()),
            }
        }))
    }
}

fn main() -> ExitCode {
    harness::main(Ok(Burn { device: device() }))
}
