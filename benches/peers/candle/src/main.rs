//! candle on the CPU.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, conv2d, linear,
    loss,
};
use harness::{Classifier, Conv, Library, PIXELS, Result, Trainer, Work, uniform};
use std::process::ExitCode;

const DEVICE: Device = Device::Cpu;

struct Network {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    dense1: Linear,
    dense2: Linear,
}

impl Network {
    fn new(at: VarBuilder) -> candle_core::Result<Network> {
        let config = Conv2dConfig::default();
        Ok(Network {
            conv1: conv2d(1, 32, 3, config, at.pp("conv1"))?,
            conv2: conv2d(32, 64, 3, config, at.pp("conv2"))?,
            conv3: conv2d(64, 64, 3, config, at.pp("conv3"))?,
            dense1: linear(576, 64, at.pp("dense1"))?,
            dense2: linear(64, 10, at.pp("dense2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?;
        let x = self.conv3.forward(&x)?.relu()?.flatten_from(1)?;
        self.dense2.forward(&self.dense1.forward(&x)?.relu()?)
    }
}

fn images(pixels: &[f32]) -> candle_core::Result<Tensor> {
    Tensor::from_slice(pixels, (pixels.len() / PIXELS, 1, 28, 28), &DEVICE)
}

struct Training {
    variables: VarMap,
    network: Network,
    adam: AdamW,
}

impl Trainer for Training {
    type Loss = Tensor;

    fn step(&mut self, pixels: &[f32], labels: &[u32]) -> Result<Tensor> {
        let labels = Tensor::from_slice(labels, labels.len(), &DEVICE)?;
        let loss = loss::cross_entropy(&self.network.forward(&images(pixels)?)?, &labels)?;
        self.adam.backward_step(&loss)?;
        Ok(loss.detach())
    }

    fn read(loss: Tensor) -> Result<f32> {
        Ok(loss.to_scalar()?)
    }

    fn classifier(&self) -> Result<Classifier<'_>> {
        // Plain tensors, so that nothing is kept for gradients.
        let variables = self.variables.data().lock().map_err(|e| e.to_string())?;
        let values = variables.iter().map(|(name, v)| (name.clone(), v.as_detached_tensor())).collect();
        let network = Network::new(VarBuilder::from_tensors(values, DType::F32, &DEVICE))?;
        Ok(Box::new(move |pixels| Ok(network.forward(&images(pixels)?)?.argmax(D::Minus1)?.to_vec1()?)))
    }
}

struct Candle;

impl Library for Candle {
    type Trainer = Training;

    fn name(&self) -> &str {
        "candle"
    }

    fn device(&self) -> Result<String> {
        Ok("CPU".into())
    }

    fn trainer(&self) -> Result<Training> {
        let variables = VarMap::new();
        let network = Network::new(VarBuilder::from_varmap(&variables, DType::F32, &DEVICE))?;
        let settings = ParamsAdamW { lr: 1e-3, weight_decay: 0.0, eps: 1e-7, ..Default::default() };
        let adam = AdamW::new(variables.all_vars(), settings)?;
        Ok(Training { variables, network, adam })
    }

    fn matmul(&self, a: &[f32], b: &[f32], n: usize, times: usize) -> Result<Work<'_>> {
        let (a, b) = (Tensor::from_slice(a, (n, n), &DEVICE)?, Tensor::from_slice(b, (n, n), &DEVICE)?);
        Ok(Box::new(move |read| {
            let mut product = b.clone();
            for _ in 0..times {
                product = a.matmul(&product)?;
            }
            Ok(if read { product.get(0)?.to_vec1()? } else { Vec::new() })
        }))
    }

    fn conv(&self, case: &Conv, backward: bool) -> Result<Work<'_>> {
        let Conv { batch, size, inputs, outputs, padding, .. } = *case;
        let out = case.output_size();
        let image = Tensor::from_vec(
            uniform(batch * inputs * size * size, 1.0, 2),
            (batch, inputs, size, size),
            &DEVICE,
        )?;
        let kernel =
            Tensor::from_vec(uniform(outputs * inputs * 9, 0.1, 3), (outputs, inputs, 3, 3), &DEVICE)?;
        let bias = Tensor::zeros((1, outputs, 1, 1), DType::F32, &DEVICE)?;
        let upstream = Tensor::from_vec(
            uniform(batch * outputs * out * out, 1.0, 4),
            (batch, outputs, out, out),
            &DEVICE,
        )?;
        let forward = move |image: &Tensor, kernel: &Tensor, bias: &Tensor| {
            image.conv2d(kernel, padding, 1, 1, 1)?.broadcast_add(bias)
        };
        if !backward {
            return Ok(Box::new(move |_| {
                forward(&image, &kernel, &bias)?;
                Ok(Vec::new())
            }));
        }
        let (image, kernel, bias) =
            (Var::from_tensor(&image)?, Var::from_tensor(&kernel)?, Var::from_tensor(&bias)?);
        Ok(Box::new(move |_| {
            let loss = (forward(&image, &kernel, &bias)? * &upstream)?.sum_all()?;
            let gradients = loss.backward()?;
            for variable in [&image, &kernel, &bias] {
                gradients.get(variable).ok_or("a gradient is missing")?;
            }
            Ok(Vec::new())
        }))
    }
}

fn main() -> ExitCode {
    harness::main(Ok(Candle))
}
