//! What the public surface promises as a whole.

use wgrad::data::{Batch, Dataset, Pipeline, Source};
use wgrad::prelude::*;
use wgrad::train::{Callback, EarlyStopping, History};

fn is_send<T: Send + ?Sized>() {}
fn is_sync<T: Sync + ?Sized>() {}

/// Whatever trains can be moved to another thread, by what compiles.
#[test]
fn what_trains_moves_between_threads() {
    is_send::<Trainer<wgrad::nn::Model>>();
    is_send::<Box<dyn Source>>();
    is_send::<Box<dyn Callback>>();
    is_send::<Box<dyn wgrad::optim::Optimizer>>();
    is_send::<(Dataset, Pipeline<Batch>, EarlyStopping, History, wgrad::Gradients)>();
    is_send::<(Tensor, Variable, wgrad::Graph, wgrad::Error, wgrad::Axes)>();
    is_sync::<(Tensor, Variable, wgrad::Graph, wgrad::Error, Dataset)>();
    is_sync::<(
        Box<dyn Module>,
        Box<dyn wgrad::nn::Layer>,
        Box<dyn wgrad::nn::Loss>,
        Box<dyn wgrad::train::Metric>,
    )>();
}

/// What is overridden in a type is not lost behind a pointer. (That no method is forgotten, clippy sees.)
#[test]
fn pointers_to_optimizers_and_sources_are_what_they_point_to() -> Result<()> {
    let mut adam = Adam::new(0.5).ema(0.5);
    let config = adam.config();
    assert_eq!(config, (&mut adam as &mut dyn wgrad::optim::Optimizer).config());
    let w = Variable::new(Tensor::new([1.0f32], Device::Cpu)?);
    let mut boxed: Box<Box<dyn wgrad::optim::Optimizer>> = Box::new(Box::new(adam));
    boxed.step(&w.value().sum(.., false)?.backward()?)?;
    assert_eq!((boxed.name(), boxed.steps(), boxed.config()), ("Adam", 1, config));
    assert!(boxed.average(&w)?.is_some() && boxed.swap_averages()?);

    let (digits, _) = data::synthetic::digits(20, 1, 1).into_datasets()?;
    let boxed: Box<dyn Source> = Box::new(digits.clone());
    for source in [&boxed as &dyn Source, &&digits] {
        assert_eq!((source.name(), source.samples(), source.steps(8)), (digits.name(), Some(20), Some(3)));
        assert_eq!((source.unit(), source.endless()), (digits.unit(), false));
        assert!(source.split_for_validation(0.5).is_ok());
    }
    Ok(())
}
