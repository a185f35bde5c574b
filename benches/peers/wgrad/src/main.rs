//! wgrad. The variable VARIANT chooses the device: wgrad_cpu or wgrad_gpu.

use harness::{
    Arguments, Classifier, Conv, Images, Library, Output, PIXELS, Result, Work, median, process_status,
    uniform,
};
use std::process::ExitCode;
use std::time::Instant;
use wgrad::{Conv2dOptions, Stats};
use wgrad::nn::Context;
use wgrad::prelude::*;
use wgrad::train::{Event, Flow};

fn network(device: Device) -> wgrad::Result<Model> {
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

fn adam() -> Adam {
    Adam::new(1e-3).epsilon(1e-7)
}

struct Training {
    device: Device,
    model: Model,
    adam: Adam,
}

impl Training {
    fn images(&self, pixels: &[f32]) -> wgrad::Result<Tensor> {
        Tensor::from_slice(pixels, [pixels.len() / PIXELS, 28, 28, 1], self.device)
    }
}

impl harness::Trainer for Training {
    type Loss = Tensor;

    fn step(&mut self, pixels: &[f32], labels: &[u32]) -> Result<Tensor> {
        let labels = Tensor::from_slice(labels, [labels.len()], self.device)?;
        let logits = self.model.forward(&self.images(pixels)?, &Context::train(0))?;
        let loss = logits.cross_entropy(&labels)?;
        let gradients = loss.backward()?;
        // What nobody holds is not kept when the step is computed.
        drop(logits);
        self.adam.step(&gradients)?;
        Ok(loss.detach()?)
    }

    fn read(loss: Tensor) -> Result<f32> {
        Ok(loss.item()?)
    }

    fn classifier(&self) -> Result<Classifier<'_>> {
        Ok(Box::new(|pixels| {
            let classes = self.model.infer(&self.images(pixels)?)?.argmax(-1, false)?;
            Ok(classes.to_vec::<i32>()?.into_iter().map(|class| class as u32).collect())
        }))
    }
}

struct Wgrad {
    device: Device,
}

impl Wgrad {
    fn of_environment() -> Result<Wgrad> {
        match std::env::var("VARIANT").as_deref() {
            Ok("wgrad_cpu") => Ok(Wgrad { device: Device::Cpu }),
            Ok("wgrad_gpu") => Ok(Wgrad { device: Device::Gpu }),
            _ => Err("VARIANT must be wgrad_cpu or wgrad_gpu".into()),
        }
    }

    /// Computes the tensors and waits for them.
    fn finish(&self, tensors: &[&Tensor]) -> Result<()> {
        wgrad::eval(tensors)?;
        Ok(self.device.synchronize()?)
    }

    /// What steps cost besides computing, when they are full batches and when they are the smaller one that ends an epoch.
    fn stats(&self, batch: usize, out: &Output) -> Result<()> {
        const FULL: usize = 8;
        const WARM: usize = 4;
        const EPOCHS: usize = 30;
        let images = Images::random(8192);
        let mut trainer = self.trainer()?;
        let rest = (batch * 3).div_ceil(4);
        let (mut full, mut partial) = (Shares::default(), Shares::default());
        for epoch in 0..WARM + EPOCHS {
            for step in 0..=FULL {
                let size = if step < FULL { batch } else { rest };
                let (x, y) = images.batch(step, size);
                let (before, start) = (self.device.stats()?, Instant::now());
                harness::Trainer::step(&mut trainer, x, y)?;
                let wall_ns = start.elapsed().as_nanos() as f64;
                if epoch >= WARM {
                    let shares = if size == batch { &mut full } else { &mut partial };
                    shares.add(before, self.device.stats()?, wall_ns);
                }
            }
        }
        self.device.synchronize()?;
        full.print(&format!("stats_b{batch}"), out);
        if rest != batch {
            partial.print(&format!("stats_b{batch}_partial{rest}"), out);
        }
        Ok(())
    }

    /// Whether memory stays what it is.
    fn flat(&self, batch: usize, steps: usize, out: &Output) -> Result<()> {
        let images = Images::random(8192);
        let mut trainer = self.trainer()?;
        for step in 1..=steps {
            let (x, y) = images.batch(step, batch);
            let loss = harness::Trainer::step(&mut trainer, x, y)?;
            if step == 100 || step == steps {
                <Training as harness::Trainer>::read(loss)?;
                let stats = self.device.stats()?;
                if let Some(kib) = process_status("VmRSS:") {
                    out.value(&format!("flat_b{batch}_step{step}_rss_mb"), kib / 1024.0);
                }
                let held = (stats.bytes_live + stats.bytes_pooled) as f64 / (1 << 20) as f64;
                out.value(&format!("flat_b{batch}_step{step}_device_mb"), held);
            }
        }
        Ok(())
    }

    /// MNIST the short way: the library's own data set and training loop.
    fn fit(&self, batch: usize, epochs: usize, out: &Output) -> Result<()> {
        let folder =
            std::env::var("MNIST_DIR").map_err(|_| "MNIST_DIR must name a folder with the raw IDX files")?;
        let (train, test) = data::mnist::load_from(folder)?;
        // Pixels stay bytes.
        let bytes = (train.len() + test.len()) * (PIXELS + 1);
        out.value(&format!("fit_b{batch}_data_mb"), bytes as f64 / (1 << 20) as f64);
        let loss = SparseCategoricalCrossentropy::from_logits();
        let mut trainer = Trainer::new(network(self.device)?, adam(), loss).metric(Accuracy::new()).build()?;
        let fit = Fit::epochs(epochs).batch_size(batch).validation(&test).verbose(false).callback(|event| {
            if let Event::Epoch(epoch) = event {
                let metric = format!("fit_b{batch}_epoch{}", epoch.number);
                out.value(&format!("{metric}_s"), epoch.train.seconds);
                if let Some(accuracy) = epoch.validation.as_ref().and_then(|v| v.metric("accuracy")) {
                    out.value(&format!("{metric}_accuracy"), accuracy);
                }
            }
            Ok(Flow::Continue)
        });
        trainer.fit(&train, fit)?;
        out.peak_memory(&format!("fit_b{batch}"));
        Ok(())
    }
}

/// The shares that steps had in the device's counters.
#[derive(Default)]
struct Shares {
    dispatches: u64,
    submits: u64,
    allocations: u64,
    plan_misses: u64,
    host_us: Vec<f64>,
}

impl Shares {
    fn add(&mut self, before: Stats, now: Stats, wall_ns: f64) {
        self.dispatches += now.dispatches - before.dispatches;
        self.submits += now.submits - before.submits;
        self.allocations += now.allocations - before.allocations;
        self.plan_misses += now.plan_misses - before.plan_misses;
        self.host_us.push((wall_ns - (now.device_ns - before.device_ns) as f64).max(0.0) / 1e3);
    }

    fn print(&mut self, metric: &str, out: &Output) {
        let steps = self.host_us.len() as f64;
        out.value(&format!("{metric}_dispatches"), self.dispatches as f64 / steps);
        out.value(&format!("{metric}_submits"), self.submits as f64 / steps);
        out.value(&format!("{metric}_allocations"), self.allocations as f64 / steps);
        out.value(&format!("{metric}_plan_misses"), self.plan_misses as f64 / steps);
        out.value(&format!("{metric}_host_us"), median(&mut self.host_us));
    }
}

impl Library for Wgrad {
    type Trainer = Training;

    fn name(&self) -> &str {
        "wgrad"
    }

    fn device(&self) -> Result<String> {
        let info = self.device.info()?;
        Ok(format!("{}, {} ({}), {}", info.name, info.kind, info.backend, info.driver))
    }

    fn trainer(&self) -> Result<Training> {
        let (model, mut adam) = (network(self.device)?, adam());
        adam.prepare(&model.parameters().into_iter().map(|p| p.variable).collect::<Vec<_>>())?;
        Ok(Training { device: self.device, model, adam })
    }

    fn matmul(&self, a: &[f32], b: &[f32], n: usize, times: usize) -> Result<Work<'_>> {
        let (a, b) =
            (Tensor::from_slice(a, [n, n], self.device)?, Tensor::from_slice(b, [n, n], self.device)?);
        Ok(Box::new(move |read| {
            let mut product = b.clone();
            for _ in 0..times {
                product = a.matmul(&product)?;
            }
            self.finish(&[&product])?;
            Ok(if read { product.slice(0, 0, 1)?.to_vec()? } else { Vec::new() })
        }))
    }

    fn conv(&self, case: &Conv, backward: bool) -> Result<Work<'_>> {
        let Conv { batch, size, inputs, outputs, padding, .. } = *case;
        let out = case.output_size();
        let tensor = |dims: [usize; 4], limit, seed| {
            Tensor::from_vec(uniform(dims.iter().product(), limit, seed), dims, self.device)
        };
        let image = tensor([batch, size, size, inputs], 1.0, 2)?;
        let kernel = tensor([3, 3, inputs, outputs], 0.1, 3)?;
        let bias = Tensor::zeros([outputs], self.device)?;
        let upstream = tensor([batch, out, out, outputs], 1.0, 4)?;
        self.finish(&[&bias])?;
        let options = Conv2dOptions::new().padding(Padding::Explicit([padding; 4]));
        Ok(Box::new(move |_| {
            if !backward {
                self.finish(&[&(image.conv2d(&kernel, options)? + &bias)?])?;
                return Ok(Vec::new());
            }
            let (image, kernel, bias) = (image.watch()?, kernel.watch()?, bias.watch()?);
            let loss = ((image.conv2d(&kernel, options)? + &bias)? * &upstream)?.sum(.., false)?;
            let gradients = loss.backward()?;
            let [image, kernel, bias] =
                [gradients.get(&image)?, gradients.get(&kernel)?, gradients.get(&bias)?];
            self.finish(&[&loss, &image, &kernel, &bias])?;
            Ok(Vec::new())
        }))
    }

    fn other(&self, mode: &str, arguments: &Arguments, out: &Output) -> Result<bool> {
        match mode {
            "stats" => self.stats(arguments.number(0)?, out)?,
            "flat" => self.flat(arguments.number(0)?, arguments.number(1)?, out)?,
            "fit" => self.fit(arguments.number(0)?, arguments.number(1)?, out)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn main() -> ExitCode {
    harness::main(Wgrad::of_environment())
}
