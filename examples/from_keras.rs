//! The Keras tutorial's MNIST network, line by line as docs/from-keras.md explains it.
//!
//! `cargo run --release --example from_keras` trains for ten epochs; `-- cpu` or `-- gpu` chooses the device, and a number
//! the epochs: `-- cpu 1`.

use wgrad::prelude::*;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let device: Device = arguments.next().unwrap_or("best".into()).parse()?;
    let epochs = arguments.next().unwrap_or("10".into());
    let epochs = epochs.parse().map_err(|_| Error::other(format!("{epochs} is no number of epochs")))?;

    let (train, test) = data::mnist::load_or_synthetic()?;
    let train = train.pipeline()?.shuffle(60_000, 42).batch(32).prefetch(2);
    let test = test.pipeline()?.batch(32).cache();

    let model = Sequential::new()
        .add(Conv2d::new(32, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::Relu))
        .add(Dense::new(10))
        .build([28, 28, 1], device)?;
    println!("{}", model.summary());

    let mut trainer = Trainer::new(model, Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits())
        .metric(Accuracy::new())
        .build()?;
    let history = trainer.fit(&train, Fit::epochs(epochs).validation(&test).stop_on_ctrl_c())?;
    let evaluation = trainer.evaluate(&test)?;
    println!("test {evaluation}");

    let logits = trainer.predict_on(&test.take(1))?;
    println!("the first test image is a {}", logits[0].argmax(-1, false)?.to_vec::<i32>()?[0]);
    trainer.model().save_model("mnist.safetensors")?;
    history.save_csv("history.csv")?;
    println!("saved mnist.safetensors and history.csv");
    Ok(())
}
