//! What a training tells of the kernels that it has compiled. By itself: the device's counters are those of the process.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use wgrad::prelude::*;
use wgrad::train::{Callback, Compiled, Event, Flow, Run};

/// Counts kernels.
#[derive(Default)]
struct Count {
    events: usize,
    kernels: usize,
    /// Ends the run.
    stop: bool,
}

impl Callback for Count {
    fn on_compiled(&mut self, compiled: &Compiled, _run: &mut Run<'_>) -> Result<Flow> {
        self.events += 1;
        self.kernels += compiled.kernels;
        Ok(if self.stop { Flow::Stop } else { Flow::Continue })
    }
}

fn trainer(device: Device) -> Result<Trainer<wgrad::nn::Model>> {
    let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], device)?;
    Trainer::new(model, Adam::new(1e-2).ema(0.9), SparseCategoricalCrossentropy::from_logits()).build()
}

#[test]
fn callbacks_are_told_of_every_pipeline() -> Result<()> {
    let (train, test) = data::synthetic::digits(50, 20, 1).into_datasets()?;
    let mut trainer_on_gpu = trainer(Device::Gpu)?;
    let before = Device::Gpu.stats()?.pipelines;
    let mut count = Count::default();
    let mut events = Vec::new();
    let fit = Fit::epochs(2).batch_size(20).validation(&test).verbose(false);
    let fit = fit.with(&mut count).callback(|event| {
        events.push(match event {
            Event::Step(step) => (step.epoch, "step", step.step),
            Event::Epoch(epoch) => (epoch.number, "epoch", 0),
            Event::Compiled(compiled) => (0, "compiled", compiled.kernels),
            _ => (0, "else", 0),
        });
        Ok(Flow::Continue)
    });
    trainer_on_gpu.fit(&train, fit)?;
    let grown = Device::Gpu.stats()?.pipelines - before;
    assert!(grown > 0);
    assert_eq!(count.kernels as u64, grown, "{events:?}");
    let told: Vec<usize> = events.iter().filter(|e| e.1 == "compiled").map(|e| e.2).collect();
    assert_eq!((told.len(), told.iter().sum::<usize>()), (count.events, count.kernels));
    // the first step's are told of when the step was, and there is no event of nothing
    assert_eq!((events[0], events[1].1), ((1, "step", 1), "compiled"), "{events:?}");
    assert!(!told.contains(&0), "{events:?}");

    // A second run begins with averaged weights, which are packed anew; a third has all that it needs.
    let mut last = usize::MAX;
    for _ in 0..2 {
        let before = Device::Gpu.stats()?.pipelines;
        let mut again = Count::default();
        let fit = Fit::epochs(1).batch_size(20).validation(&test).verbose(false).with(&mut again);
        trainer_on_gpu.fit(&train, fit)?;
        assert_eq!(again.kernels as u64, Device::Gpu.stats()?.pipelines - before);
        last = again.events;
    }
    assert_eq!(last, 0);

    // a run can be ended by what it compiles; what is compiled by other threads is none of it
    let steps = AtomicUsize::new(0);
    let mut stop = Count { stop: true, ..Count::default() };
    let elsewhere = |event: Event<'_>| {
        if let Event::Step(_) = event {
            steps.fetch_add(1, SeqCst);
            let other = || -> Result<f32> {
                let x = Tensor::ones([7, 5, 3], Device::Gpu)?;
                (x.cos()? * x.exp()?)?.max(.., false)?.item::<f32>()
            };
            std::thread::scope(|scope| scope.spawn(other).join()).expect("no panic")?;
        }
        Ok(Flow::Continue)
    };
    let before = Device::Gpu.stats()?.pipelines;
    let fit = Fit::epochs(1).batch_size(20).verbose(false).with(&mut stop).callback(elsewhere);
    trainer_on_gpu.fit(&train, fit)?;
    assert!(Device::Gpu.stats()?.pipelines > before);
    assert_eq!((stop.events, steps.load(SeqCst)), (0, 3));
    let model = Sequential::new()
        .add(Flatten::new())
        .add(Dense::new(12).activation(Activation::Tanh))
        .add(Dense::new(10))
        .build([28, 28, 1], Device::Gpu)?;
    let mut other =
        Trainer::new(model, Sgd::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    let history = other.fit(&train, Fit::epochs(3).batch_size(20).verbose(false).with(&mut stop))?;
    assert!(stop.events > 0);
    assert_eq!((history.epochs.len(), history.epochs[0].train.samples), (1, 20));
    Ok(())
}

#[test]
fn on_the_cpu_nothing_is_compiled() -> Result<()> {
    let (train, _) = data::synthetic::digits(20, 1, 1).into_datasets()?;
    let mut count = Count::default();
    trainer(Device::Cpu)?.fit(&train, Fit::epochs(1).verbose(false).with(&mut count))?;
    assert_eq!(count.events, 0);
    Ok(())
}
