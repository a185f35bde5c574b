//! Training with the loop in one's own hands: variables, forward, backward, step. No layers, no trainer.
//!
//! `cargo run --release --example custom_loop [DEVICE [FOLDER]]`: `cpu`, `gpu` or `best` (the default), and a folder with
//! MNIST's files; without one, MNIST from the cache or a download, else synthetic digits.

use wgrad::prelude::*;

const HIDDEN: usize = 128;
const BATCH_SIZE: usize = 64;

/// Weights with the variance that keeps the size of activations (He et al., 2015).
fn weights(inputs: usize, outputs: usize, seed: u64, device: Device) -> Result<Variable> {
    let scale = (2.0 / inputs as f64).sqrt();
    Ok(Variable::new((Tensor::randn([inputs, outputs], device, seed)? * scale)?))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let device: Device = arguments.next().unwrap_or("best".into()).parse()?;
    let (train, test) = match arguments.next() {
        Some(folder) => data::mnist::load_from(folder)?,
        None => data::mnist::load_or_synthetic()?,
    };
    println!("{} on {device}", train.name());

    let (w1, b1) = (weights(784, HIDDEN, 1, device)?, Variable::new(Tensor::zeros([HIDDEN], device)?));
    let (w2, b2) = (weights(HIDDEN, 10, 2, device)?, Variable::new(Tensor::zeros([10], device)?));
    let forward = |images: &Tensor| -> Result<Tensor> {
        let hidden = (images.flatten(1)?.matmul(&w1)? + &b1)?.relu()?;
        hidden.matmul(&w2)? + &b2
    };
    let mut sgd = Sgd::new(0.05).momentum(0.9).nesterov(true);

    for epoch in 0..2 {
        for (step, batch) in train.batches(BATCH_SIZE, device)?.shuffled(epoch)?.enumerate() {
            let (images, labels) = batch?;
            let loss = forward(&images)?.cross_entropy(&labels)?;
            let grads = loss.backward()?;
            sgd.step(&grads)?;
            if step % 200 == 0 {
                // The only place that waits for the device.
                println!("epoch {} step {step:>3}  loss {:.4}", epoch + 1, loss.item::<f32>()?);
            }
        }
        let mut right = Tensor::zeros([], device)?;
        for batch in test.batches(500, device)? {
            let (images, labels) = batch?;
            let chosen = no_grad(|| forward(&images))?.argmax(-1, false)?;
            right = (right + chosen.eq(labels.cast(DType::I32)?)?.cast(DType::F32)?.sum(.., false)?)?;
            right.eval()?;
        }
        println!("epoch {}  test accuracy {:.4}", epoch + 1, right.item::<f32>()? / test.len() as f32);
    }
    Ok(())
}
